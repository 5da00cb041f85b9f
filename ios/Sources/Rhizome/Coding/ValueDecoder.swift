import Foundation

/// Makes a value of any `Decodable` type of a ``Value``: the other way of ``ValueEncoder``.
///
/// Fields that the type does not know are passed over; one that is missing is an error, as with every decoder, unless the property is optional.
/// A string is read from a string or a text, a number from any number that it can hold exactly (a `Double` from all), a date also from whole milliseconds
/// since 1970, as the rows of a list have it.
public struct ValueDecoder {
    /// Handed to every `init(from:)`.
    public var userInfo: [CodingUserInfoKey: Any] = [:]

    /// A decoder.
    public init() {}

    /// The value of this type that `value` says.
    ///
    /// - Throws: `DecodingError` with the path to what is missing or of another kind. It names kinds and sizes, and holds nothing that a person wrote:
    ///   of a dictionary's keys too the path has only an asterisk.
    public func decode<T: Decodable>(_ type: T.Type = T.self, from value: Value) throws -> T {
        try Decoding(value: value, place: CodingPlace(), userInfo: userInfo).decoded(type)
    }
}

private struct Decoding: Decoder {
    let value: Value
    var place: CodingPlace
    let userInfo: [CodingUserInfoKey: Any]

    var codingPath: [any CodingKey] { place.path }

    func below(_ value: Value, _ place: CodingPlace) -> Decoding { Decoding(value: value, place: place, userInfo: userInfo) }

    func mismatch(_ type: Any.Type, _ wanted: String) -> DecodingError {
        let context = DecodingError.Context(codingPath: codingPath, debugDescription: "expected \(wanted), found \(value)")
        return value == .null ? .valueNotFound(type, context) : .typeMismatch(type, context)
    }

    func corrupted(_ why: String) -> DecodingError {
        .dataCorrupted(DecodingError.Context(codingPath: codingPath, debugDescription: why))
    }

    func decoded<T: Decodable>(_ type: T.Type) throws -> T {
        if let leaf = type as? any Leaf.Type {
            do {
                // What a type reads is of this type.
                return try leaf.read(value) as! T
            } catch .kind {
                throw mismatch(type, leaf.words)
            } catch {
                throw corrupted("\(value) is not \(leaf.words) that \(type) can hold")
            }
        }
        if let value = value as? T { return value }
        var below = self
        below.place.isDictionary = type is any Keyed.Type
        guard type is any RawRepresentable.Type else { return try type.init(from: below) }
        do {
            return try type.init(from: below)
        } catch DecodingError.dataCorrupted {
            // Swift's own words have the value in them.
            throw corrupted("\(value) is none of \(type)")
        }
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard case .map(let fields) = value else { throw mismatch([String: Value].self, "a map") }
        return KeyedDecodingContainer(Fields(decoding: self, fields: fields))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard case .list(let values) = value else { throw mismatch([Value].self, "a list") }
        return Elements(decoding: self, values: values)
    }

    func singleValueContainer() -> any SingleValueDecodingContainer { Single(decoding: self) }
}

private struct Fields<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let decoding: Decoding
    let fields: [String: Value]

    var codingPath: [any CodingKey] { decoding.codingPath }
    var allKeys: [Key] { fields.keys.compactMap { Key(stringValue: $0) } }

    func contains(_ key: Key) -> Bool { fields[key.stringValue] != nil }

    private func child(_ key: some CodingKey) throws -> Decoding {
        guard let value = fields[key.stringValue] else {
            let step: any CodingKey = decoding.place.isDictionary ? Step.hidden : key
            throw DecodingError.keyNotFound(step, DecodingError.Context(codingPath: codingPath, debugDescription: "this field is missing"))
        }
        return decoding.below(value, decoding.place.at(key))
    }

    func decodeNil(forKey key: Key) throws -> Bool { try child(key).value == .null }

    func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
        // A text or counter that may be nil is, without a field.
        if !contains(key), let merged = type as? any Merged.Type, let absent = merged.absent as? T { return absent }
        return try child(key).decoded(type)
    }

    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type, forKey key: Key) throws -> KeyedDecodingContainer<Nested> {
        try child(key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { try child(key).unkeyedContainer() }

    func superDecoder() -> any Decoder {
        decoding.below(fields[Step.parent.stringValue] ?? .null, decoding.place.at(Step.parent))
    }

    func superDecoder(forKey key: Key) -> any Decoder {
        decoding.below(fields[key.stringValue] ?? .null, decoding.place.at(key))
    }
}

private struct Elements: UnkeyedDecodingContainer {
    let decoding: Decoding
    let values: [Value]
    private(set) var currentIndex = 0

    init(decoding: Decoding, values: [Value]) { (self.decoding, self.values) = (decoding, values) }

    var codingPath: [any CodingKey] { decoding.codingPath }
    var count: Int? { values.count }
    var isAtEnd: Bool { currentIndex >= values.count }

    private func child(_ type: Any.Type) throws -> Decoding {
        let place = decoding.place.at(Step(intValue: currentIndex))
        guard !isAtEnd else {
            let context = DecodingError.Context(codingPath: place.path, debugDescription: "the list has \(values.count) values and no more")
            throw DecodingError.valueNotFound(type, context)
        }
        return decoding.below(values[currentIndex], place)
    }

    /// A place is passed once what stands there was read.
    private mutating func passed<T>(_ type: Any.Type, _ read: (Decoding) throws -> T) throws -> T {
        let result = try read(try child(type))
        currentIndex += 1
        return result
    }

    mutating func decodeNil() throws -> Bool {
        guard try child(Value.self).value == .null else { return false }
        currentIndex += 1
        return true
    }

    mutating func decode<T: Decodable>(_ type: T.Type) throws -> T { try passed(type) { try $0.decoded(type) } }

    mutating func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) throws -> KeyedDecodingContainer<Nested> {
        try passed([String: Value].self) { try $0.container(keyedBy: type) }
    }

    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
        try passed([Value].self) { try $0.unkeyedContainer() }
    }

    mutating func superDecoder() throws -> any Decoder { try passed(Value.self) { $0 } }
}

private struct Single: SingleValueDecodingContainer {
    let decoding: Decoding

    var codingPath: [any CodingKey] { decoding.codingPath }

    func decodeNil() -> Bool { decoding.value == .null }

    func decode<T: Decodable>(_ type: T.Type) throws -> T { try decoding.decoded(type) }
}
