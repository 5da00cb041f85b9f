import Foundation
import Testing

@testable import Rhizome

/// One of each kind of thing a document can hold.
private struct Everything: Codable, Hashable {
    enum Mood: String, Codable, CodingKeyRepresentable { case calm, merry }
    enum Weather: Codable, Hashable {
        case none
        case rain(millimetres: Double)
        case other(String)
    }
    struct Part: Codable, Hashable {
        var name: String
        var weight: Float?
    }

    var flag = true
    var (int, small, unsigned) = (Int.min, Int8(-128), UInt32.max)
    var (double, endless) = (0.1, Double.infinity)
    var string = "a string 🌍"
    var mood = Mood.merry
    var weather = [Weather.none, .rain(millimetres: 1.5), .other("fog")]
    var date = Date(millis: Int64(1_700_000_000_123))
    var data = Data([0, 1, 255])
    var url = URL(string: "https://example.org/a?b=c")!
    var id = UUID()
    var price = Decimal(string: "12.34")!
    var document = DocumentID(rawValue: "00112233445566778899aabbccddeeff")
    var parts = [Part(name: "one", weight: 1.25), Part(name: "two")]
    var nested = [[1, 2], [], [3]]
    var byName = ["a key": Part(name: "three")]
    var byMood = [Mood.calm: 1]
    var tags: Set<String> = ["b", "a"]
    var gaps: [String?] = ["x", nil]
    var (nothing, something) = (String?.none, Int?.some(4))
    var value = Value.map(["any": .list([.text("thing"), .null, .counter(3)])])
    @MergedText var text = "edited together"
    @MergedText var remark: String? = nil
    @MergedText var line: String? = "a line"
    @MergedCounter var seen = 7
    @MergedCounter var left: Int? = nil
}

/// What a person wrote: it must be in no error.
private let secret = "what a person wrote"

extension All {
    @Suite struct Coding {
        let scratch = Scratch()

        @Test func every_type_comes_back_from_the_disk_as_it_was() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            let everything = Everything()
            let id = try await journal.create(everything).id
            #expect(try await journal.get(id, as: Everything.self) == everything)
            #expect(try await journal.get(DocumentID(rawValue: String(repeating: "0", count: 32)), as: Everything.self) == nil)
            try await pod.shutdown()
        }

        @Test func each_type_is_its_own_kind_of_value() throws {
            let value = try ValueEncoder().encode(Everything())
            let kinds: [(String, Value)] = [
                ("flag", true), ("int", .int(.min)), ("small", -128), ("unsigned", 4_294_967_295), ("double", 0.1),
                ("endless", .float(.infinity)),
                ("string", "a string 🌍"), ("mood", "merry"), ("date", .date(Date(millis: Int64(1_700_000_000_123)))),
                ("data", .bytes(Data([0, 1, 255]))), ("url", "https://example.org/a?b=c"), ("price", "12.34"),
                ("document", "00112233445566778899aabbccddeeff"), ("nested", [[1, 2], [], [3]]), ("gaps", ["x", nil]), ("something", 4),
                ("value", ["any": [.text("thing"), nil, .counter(3)]]), ("text", .text("edited together")), ("line", .text("a line")),
                ("seen", .counter(7)), ("byMood", ["calm": 1]), ("byName", ["a key": ["name": "three"]]),
                ("weather", [["none": [:]], ["rain": ["millimetres": 1.5]], ["other": ["_0": "fog"]]]),
            ]
            for (name, kind) in kinds { #expect(value[name] == kind, "\(name)") }
            for name in ["nothing", "remark", "left"] { #expect(value[name] == nil, "\(name)") }
        }

        @Test func a_type_reads_what_another_version_of_the_app_wrote() throws {
            struct Kept: Codable, Hashable {
                var (name, count, share) = ("", 0, 0.0)
                var added: String?
                @MergedText var text = ""
                @MergedCounter var seen = 0
            }
            let written: Value = [
                "name": .text("a text"), "count": .counter(3), "share": 2, "text": "a string", "seen": 5, "unknown": ["deep": [1]],
            ]
            var kept = Kept(name: "a text", count: 3, share: 2, added: nil)
            (kept.text, kept.seen) = ("a string", 5)
            #expect(try ValueDecoder().decode(Kept.self, from: written) == kept)
            struct Row: Decodable { var (when, half) = (Date.distantPast, 0) }
            let row = try ValueDecoder().decode(Row.self, from: ["when": 1500, "half": 3.0])
            #expect(row.when == Date(timeIntervalSince1970: 1.5))
            #expect(row.half == 3)
        }

        /// What a failing decode says, with the path to where it failed.
        private func refusal<T: Decodable>(_ type: T.Type, _ value: Value, at place: SourceLocation = #_sourceLocation) -> String {
            do {
                _ = try ValueDecoder().decode(type, from: value)
                Issue.record("it was read", sourceLocation: place)
            } catch let error as DecodingError {
                #expect(!"\(error) \(error.localizedDescription)".contains(secret), sourceLocation: place)
                let (name, context): (String, DecodingError.Context) =
                    switch error {
                    case .typeMismatch(_, let context): ("type", context)
                    case .valueNotFound(_, let context): ("value", context)
                    case .keyNotFound(let key, let context): ("key \(key.stringValue)", context)
                    case .dataCorrupted(let context): ("data", context)
                    @unknown default: ("", DecodingError.Context(codingPath: [], debugDescription: ""))
                    }
                return "\(name) at \(context.codingPath.map(\.stringValue).joined(separator: ".")): \(context.debugDescription)"
            } catch {
                Issue.record(error, sourceLocation: place)
            }
            return ""
        }

        @Test func what_cannot_be_read_is_refused_with_its_path_and_without_its_content() {
            struct Part: Decodable { var (name, count) = ("", 0) }
            struct Whole: Decodable {
                var parts: [Part]?
                var mood: Everything.Mood?
                var byName: [String: Int]?
                var (small, unsigned): (UInt8?, UInt64?)
                var (id, price): (UUID?, Decimal?)
            }
            let part: Value = ["name": "a", "count": 1]
            let cases: [(Value, String)] = [
                (["parts": [part, ["name": "a"]]], "key count at parts.[1]: this field is missing"),
                (["parts": [part, part, ["name": 3, "count": 3]]], "type at parts.[2].name: expected a string or text, found int"),
                (["parts": [["name": nil, "count": 3]]], "value at parts.[0].name: expected a string or text, found null"),
                (["parts": .string(secret)], "type at parts: expected a list, found string(19)"),
                (["parts": [["name": "a", "count": 1.5]]], "data at parts.[0].count: float is not a whole number that Int can hold"),
                (["small": 256], "data at small: int is not a whole number that UInt8 can hold"),
                (["unsigned": -1], "data at unsigned: int is not a whole number that UInt64 can hold"),
                (["mood": .string(secret)], "data at mood: string(19) is none of Mood"),
                (["byName": [secret: "a"] as Value], "type at byName.*: expected a whole number, found string(1)"),
                (["id": .string(secret)], "data at id: string(19) is not a string that is a UUID that UUID can hold"),
                (
                    ["price": .string("12 " + secret)],
                    "data at price: string(22) is not a string that is a decimal number that Decimal can hold"
                ),
                ([1, 2], "type at : expected a map, found list(2)"),
            ]
            for (value, why) in cases { #expect(refusal(Whole.self, value) == why) }
            #expect(
                refusal(AttachmentReference.self, ["$attachment": .string(secret)])
                    == "type at : expected a reference to an attachment, found map(1)")
        }

        @Test func what_a_document_cannot_hold_is_refused_with_its_path_and_without_its_content() async throws {
            struct Held<Content: Encodable>: Encodable { var held: [Content] }
            func refusal(_ value: some Encodable) -> String {
                do {
                    return "\(try ValueEncoder().encode(value))"
                } catch EncodingError.invalidValue(let value, let context) {
                    #expect(!"\(value) \(context)".contains(secret))
                    return "\(context.codingPath.map(\.stringValue).joined(separator: ".")): \(context.debugDescription)"
                } catch {
                    return "\(error)"
                }
            }
            #expect(
                refusal(Held(held: [1, UInt64(Int64.max) + 1]))
                    == "held.[1]: this whole number is too large for a document: the largest is that of Int64")
            let why = "held.[0]: the keys of a dictionary are strings: let their type conform to CodingKeyRepresentable"
            #expect(refusal(Held(held: [[UUID(): secret]])) == why)
            #expect(refusal(Held(held: [UInt64(Int64.max)])) == "map(1)")

            let pod = try await Pod.make(scratch)
            await #expect(throws: EncodingError.self) { try await pod.collection("journal").create([secret]) }
            #expect(throws: EncodingError.self) { try pod.collection("journal").newDocument().write([secret]) }
            // A reference opens an attachment: it goes nowhere but into a document.
            let reference = try await pod.attach(Data(secret.utf8), mediaType: "text/plain")
            #expect(throws: EncodingError.self) { try JSONEncoder().encode([reference]) }
            #expect(try ValueEncoder().encode([reference]) == [reference.value])
            try await pod.shutdown()
        }

        @Test func a_class_and_what_it_inherits_and_containers_by_hand_come_back() throws {
            class Base: Codable { var base = 1 }
            final class Sub: Base {
                var sub = 2
                private enum Keys: String, CodingKey { case sub, pair, inner }
                override init() { super.init() }
                required init(from decoder: any Decoder) throws {
                    let container = try decoder.container(keyedBy: Keys.self)
                    sub = try container.decode(Int.self, forKey: .sub)
                    var pair = try container.nestedUnkeyedContainer(forKey: .pair)
                    #expect(pair.count == 2)
                    #expect(try pair.decode(String.self) == "x")
                    #expect(try pair.decodeNil())
                    #expect(pair.isAtEnd)
                    #expect(throws: DecodingError.self) { try pair.decode(String.self) }
                    let inner = try container.nestedContainer(keyedBy: Keys.self, forKey: .inner)
                    #expect(inner.allKeys == [.sub])
                    try super.init(from: container.superDecoder())
                }
                override func encode(to encoder: any Encoder) throws {
                    var container = encoder.container(keyedBy: Keys.self)
                    try container.encode(sub, forKey: .sub)
                    var pair = container.nestedUnkeyedContainer(forKey: .pair)
                    try pair.encode("x")
                    try pair.encodeNil()
                    var inner = container.nestedContainer(keyedBy: Keys.self, forKey: .inner)
                    try inner.encode(3, forKey: .sub)
                    try super.encode(to: container.superEncoder())
                }
            }
            let sub = Sub()
            (sub.base, sub.sub) = (5, 6)
            let value = try ValueEncoder().encode(sub)
            #expect(value == ["sub": 6, "pair": ["x", nil], "inner": ["sub": 3], "super": ["base": 5]])
            let back = try ValueDecoder().decode(Sub.self, from: value)
            #expect((back.base, back.sub) == (5, 6))
        }

        @Test func merged_properties_are_plain_elsewhere() throws {
            struct Line: Codable, Equatable {
                @MergedText var text = "a"
                @MergedCounter var seen = 2
            }
            let json = try JSONEncoder().encode(Line())
            #expect(try JSONSerialization.jsonObject(with: json) as? NSDictionary == ["text": "a", "seen": 2])
            #expect(try JSONDecoder().decode(Line.self, from: json) == Line())
        }
    }
}
