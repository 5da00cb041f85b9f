import Foundation
import Testing

@testable import Rhizome

private struct Task: Codable, Hashable, Identifiable {
    var id: Int
    var title: String
    var done = false
}

private struct Entry: Codable, Hashable {
    enum Place: Codable, Hashable {
        case home
        case at(name: String, floor: Int)
        case abroad(String)
    }

    var title = ""
    var mood: String?
    var date = Date(millis: Int64(0))
    var tasks: [Task] = []
    var numbers: [Int] = []
    var tags: Set<String> = []
    var people: [String: Task] = [:]
    var place = Place.home
    var share = 0.5
    @MergedText var text = ""
    @MergedText var remark: String?
    @MergedCounter var seen = 0
}

/// The same every time.
struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

extension Entry {
    /// Changes some of it.
    fileprivate mutating func shuffle(_ random: inout Seeded) {
        let words = ["", "a", "b 🌍", "long words", "ü"]
        func below(_ most: Int) -> Int { Int.random(in: 0..<most, using: &random) }
        func word() -> String { words[below(words.count)] }
        for _ in 0...below(4) {
            switch below(13) {
            case 0: title = word()
            case 1: mood = below(2) == 0 ? nil : word()
            case 2: date = Date(millis: Int64(below(1000)))
            case 3: tasks.insert(Task(id: below(1000), title: word()), at: below(tasks.count + 1))
            case 4 where !tasks.isEmpty: tasks.remove(at: below(tasks.count))
            case 5 where !tasks.isEmpty: tasks[below(tasks.count)].done.toggle()
            case 6: tasks.shuffle(using: &random)
            case 7: numbers = (0..<below(6)).map { _ in below(4) }
            case 8: tags.formSymmetricDifference([word(), word()])
            case 9: people[word()] = below(3) == 0 ? nil : Task(id: below(3), title: word())
            case 10: place = [.home, .at(name: word(), floor: below(3)), .abroad(word())][below(3)]
            case 11:
                text.insert(contentsOf: word(), at: text.index(text.startIndex, offsetBy: below(text.count + 1)))
                remark = below(2) == 0 ? nil : text
            default: (seen, share) = (seen + below(9) - 4, Double(below(3)))
            }
        }
    }
}

extension All {
    @Suite struct Typed {
        let scratch = Scratch()

        @Test func a_document_is_what_was_written_to_it_whatever_it_was_before() async throws {
            let pod = try await Pod.make(scratch)
            let document = pod.collection("journal").newDocument()
            // Fields that the type does not know stay, at the top and below.
            try document.edit([
                .set("unknown", to: 7), .set(["people", "kept"], to: ["id": 1, "title": "t", "done": false, "unknown": 8]),
            ])
            var random = Seeded(state: 1)
            var entry = Entry()
            entry.people["kept"] = Task(id: 1, title: "t")
            try document.write(entry)
            for round in 0..<300 {
                entry.shuffle(&random)
                entry.people["kept"] = Task(id: 1, title: "\(round)")
                try document.write(entry)
                try #require(try document.read() == entry, "round \(round)")
                if round % 50 == 0 { try await document.save() }
            }
            try await document.save()
            #expect(try document.get("unknown") == 7)
            #expect(try document.get(["people", "kept", "unknown"]) == 8)
            let value = try document.value()
            #expect(try await pod.collection("journal").get(document.id) == value)
            // What is the same is not written.
            try document.write(entry)
            try document.update(as: Entry.self) { $0.seen += 0 }
            #expect(document.isSaved)
            try await pod.shutdown()
        }

        /// What changing a document from one value to another takes.
        private func edits<T: Codable>(_ shown: Value, _ type: T.Type, _ change: (inout T) -> Void) throws -> [Edit] {
            var value = try ValueDecoder().decode(T.self, from: shown)
            let encoder = ValueEncoder()
            let read = try encoder.document(value)
            change(&value)
            return EditPlan(of: shown, read: read, wanted: try encoder.document(value)).edits
        }

        @Test func only_what_is_different_is_edited() throws {
            struct Held: Codable {
                var list: [Task]!
                var numbers: [Int]!
                var tags: Set<String>!
                var place: Entry.Place?
                var name: String?
                var count: Int?
                var any: Value?
                @MergedText var text: String?
                @MergedCounter var seen: Int?
            }
            let task = { (id: Int) in ["id": .int(Int64(id)), "title": .string("\(id)"), "done": false] as Value }
            let four = ["list": [task(1), task(2), task(3), task(4)]] as Value
            #expect(try edits(four, Held.self) { $0.list[2].done = true } == [.set(["list", 2, "done"], to: true)])
            // Known by its id: taken out, put in and changed at once.
            #expect(
                try edits(four, Held.self) {
                    $0.list.remove(at: 0)
                    $0.list.insert(Task(id: 9, title: "9"), at: 1)
                    $0.list[3].title = "new"
                } == [.delete(["list", 0]), .insert(["list"], at: 1, task(9)), .set(["list", 3, "title"], to: "new")])
            #expect(
                try edits(four, Held.self) { $0.list[1] = Task(id: 7, title: "7") }
                    == [.delete(["list", 1]), .insert(["list"], at: 1, task(7))])
            #expect(
                try edits(["numbers": [1, 2, 3]], Held.self) { $0.numbers = [0, 1, 5, 3] }
                    == [.insert(["numbers"], at: 0, 0), .set(["numbers", 2], to: 5)])
            #expect(
                try edits(["tags": ["b", .text("a"), "b"]], Held.self) { $0.tags = ["a", "c"] }
                    == [.delete(["tags", 0]), .delete(["tags", 1]), .insert(["tags"], at: 1, "c")])
            // Two cases of an enum never stand beside each other; what one case holds merges.
            let abroad = ["place": ["abroad": ["_0": "x"]]] as Value
            #expect(try edits(abroad, Held.self) { $0.place = .home } == [.set("place", to: ["home": [:]])])
            #expect(try edits(abroad, Held.self) { $0.place = .abroad("y") } == [.set(["place", "abroad", "_0"], to: "y")])
            #expect(try edits(abroad, Held.self) { $0.place = nil } == [.delete("place")])
            // The document's kind of text and number stays where the type says no other.
            #expect(try edits(["name": .text("old")], Held.self) { $0.name = "new" } == [.setText("name", to: "new")])
            #expect(try edits(["name": "old"], Held.self) { $0.name = "new" } == [.set("name", to: "new")])
            #expect(try edits(["count": .counter(3)], Held.self) { $0.count = 5 } == [.increment("count", by: 2)])
            #expect(try edits(["count": 3], Held.self) { $0.count = 5 } == [.set("count", to: 5)])
            // A text or counter that the type asks for becomes one.
            #expect(try edits(["text": "old"], Held.self) { $0.text = "new" } == [.set("text", to: .text("new"))])
            #expect(try edits(["seen": 3], Held.self) { $0.seen = 5 } == [.set("seen", to: .counter(5))])
            #expect(try edits(["text": "old", "seen": 3, "unknown": 1], Held.self) { _ in } == [])
            // A type that passes over some of a list says nothing of places: all of it is compared, and what it does not know stays.
            struct Known: Codable {
                struct Strings: Codable {
                    var all: [Task]
                    init(from decoder: any Decoder) throws { all = try [Task](from: decoder).filter { !$0.done } }
                    func encode(to encoder: any Encoder) throws { try all.encode(to: encoder) }
                }
                var open: Strings
            }
            let more = ["open": [["id": 1, "title": "1", "done": true], ["id": 2, "title": "2", "done": false, "unknown": 1]]] as Value
            #expect(
                try edits(more, Known.self) { $0.open.all[0].title = "new" } == [
                    .delete(["open", 0]), .set(["open", 0, "title"], to: "new"),
                ])
            // What belongs together changes together.
            let reference = { (size: Int64) in
                ["$attachment": .bytes(Data(count: 32)), "key": .bytes(Data(count: 32)), "size": .int(size), "type": "a/b"] as Value
            }
            #expect(try edits(["any": reference(1)], Held.self) { $0.any = reference(2) } == [.set("any", to: reference(2))])
        }

        @Test func two_devices_that_change_different_fields_both_keep_their_change() async throws {
            let cloud = try await Cloud(scratch)
            let phone = try await Pod.make(scratch)
            try await cloud.link(to: phone)
            var entry = Entry(title: "A day", tasks: [Task(id: 1, title: "one"), Task(id: 2, title: "two")], tags: ["a"])
            (entry.text, entry.people, entry.place) = ("It rained.", ["x": Task(id: 1, title: "x")], .at(name: "home", floor: 1))
            let id = try await phone.collection("journal").create(entry).id
            try await phone.syncOnce()
            let tablet = try await secondDevice(of: phone, scratch)
            try await tablet.syncOnce()
            let (here, there) = (phone.collection("journal"), tablet.collection("journal"))
            #expect(try await there.get(id, as: Entry.self) == entry)

            try await here.update(id, as: Entry.self) {
                $0.title = "A long day"
                $0.text = "Then " + $0.text
                $0.seen += 2
                $0.tasks[0].done = true
                $0.tags.insert("b")
                $0.people["y"] = Task(id: 2, title: "y")
                $0.place = .at(name: "work", floor: 1)
            }
            try await there.update(id, as: Entry.self) {
                $0.mood = "calm"
                $0.text += " It stopped."
                $0.seen += 3
                $0.tasks[1].title = "two again"
                $0.tasks.append(Task(id: 3, title: "three"))
                $0.tags.formSymmetricDifference(["a", "c"])
                $0.people["x"]?.done = true
                $0.place = .at(name: "home", floor: 2)
            }
            for pod in [phone, tablet, phone] { try await pod.syncOnce() }
            let merged = try #require(try await here.get(id, as: Entry.self))
            #expect(try await there.get(id, as: Entry.self) == merged)
            #expect(merged.title == "A long day" && merged.mood == "calm" && merged.seen == 5)
            #expect(merged.text == "Then It rained. It stopped.")
            #expect(merged.tasks == [Task(id: 1, title: "one", done: true), Task(id: 2, title: "two again"), Task(id: 3, title: "three")])
            #expect(merged.tags == ["b", "c"])
            #expect(merged.people == ["x": Task(id: 1, title: "x", done: true), "y": Task(id: 2, title: "y")])
            #expect(merged.place == .at(name: "work", floor: 2))
            try await phone.shutdown()
            try await tablet.shutdown()
        }

        @Test func a_change_of_what_is_not_here_or_of_another_type_is_refused() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            let missing = DocumentID(rawValue: String(repeating: "0", count: 32))
            let error = await failure { try await journal.update(missing, as: Entry.self) { $0.title = "x" } }
            #expect(error?.kind == .notFound && error?.code == "no-document")
            let id = try await journal.create([.set("title", to: 5)]).id
            await #expect(throws: DecodingError.self) { try await journal.update(id, as: Entry.self) { $0.title = "x" } }
            await #expect(throws: DecodingError.self) { try await journal.get(id, as: Entry.self) }
            await #expect(throws: Failure.self) { try await journal.update(id, as: [String: Int].self) { _ in throw Failure("the app") } }
            #expect(try await journal.get(id) == ["title": 5])
            #expect(try await journal.update(id, as: [String: Int].self) { _ in } == nil)
            // What is of another shape can be written over.
            let document = try await journal.open(id)
            try document.write(Entry(title: "x"))
            #expect(try document.read(as: Entry.self) == Entry(title: "x"))
            try await pod.shutdown()
        }

        @Test func a_document_is_told_as_a_type_of_the_apps() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            let document = journal.newDocument()
            var updates = journal.updates(of: document.id, as: Entry.self).makeAsyncIterator()
            #expect(try await updates.next() == .some(.none))
            try document.write(Entry(title: "one"))
            try await document.save()
            #expect(try await updates.next()??.title == "one")
            try document.set("title", to: 5)
            try await document.save()
            await #expect(throws: DecodingError.self) { try await updates.next() }
            try document.set("title", to: "two")
            try await document.save()
            #expect(try await updates.next()??.title == "two")
            try await pod.shutdown()
        }
    }
}
