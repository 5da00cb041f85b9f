import Foundation

/// Makes a ``Value`` of any `Encodable` type, as ``Pod/Collection`` and ``Document`` do for typed documents.
///
/// | in Swift | in the document |
/// | --- | --- |
/// | `String`, an enum of strings, `URL`, `UUID`, `Decimal`, ``DocumentID`` | ``Value/string(_:)`` |
/// | ``MergedText`` | ``Value/text(_:)`` |
/// | `Int` and all other integers | ``Value/int(_:)`` |
/// | ``MergedCounter`` | ``Value/counter(_:)`` |
/// | `Double`, `Float` | ``Value/float(_:)`` |
/// | `Bool`, `Date` (to the millisecond), `Data` | ``Value/bool(_:)``, ``Value/date(_:)``, ``Value/bytes(_:)`` |
/// | a struct, a class, a dictionary with keys that are strings | ``Value/map(_:)`` |
/// | an array, a set | ``Value/list(_:)`` |
/// | ``AttachmentReference``, ``Value`` | as it is |
/// | an optional that is nil | no field |
public struct ValueEncoder {
    /// Handed to every `encode(to:)`.
    public var userInfo: [CodingUserInfoKey: Any] = [:]

    /// An encoder.
    public init() {}

    /// What a document has for `value`.
    ///
    /// - Throws: `EncodingError` with the path to what a document cannot hold: an integer above that of `Int64`, or a dictionary whose keys are no
    ///   strings. It holds nothing of the value.
    public func encode(_ value: some Encodable) throws -> Value { try tree(value).value }

    func tree(_ value: some Encodable) throws -> Tree {
        try Slot(of: value, at: CodingPlace(), userInfo).tree
    }

    /// What becomes a whole document: a map.
    func document(_ value: some Encodable) throws -> Tree {
        let tree = try tree(value)
        guard case .map = tree else {
            let context = EncodingError.Context(codingPath: [], debugDescription: "a document has fields: this is \(tree.value)")
            throw EncodingError.invalidValue(type(of: value), context)
        }
        return tree
    }
}

extension Value: Codable {
    /// As a property of a type that documents are read as. Any other decoder than a ``ValueDecoder`` is refused: it does not know all kinds.
    public init(from decoder: any Decoder) throws {
        throw DecodingError.dataCorrupted(
            .init(codingPath: decoder.codingPath, debugDescription: "a Value is read from a document: ask for a type that has no Value"))
    }

    /// As a property of a type that documents are written as. Any other encoder than a ``ValueEncoder`` is refused: it does not know all kinds.
    public func encode(to encoder: any Encoder) throws {
        throw EncodingError.invalidValue(
            Self.self, .init(codingPath: encoder.codingPath, debugDescription: "a Value is written into a document, and nowhere else"))
    }
}

/// Where an encoded value is put together. It is a class because containers are handed out before they are filled.
private final class Slot {
    enum Content {
        case nothing
        case tree(Tree)
        case list([Slot])
        case map([String: Slot])
    }

    var content = Content.nothing
    /// Whether its list is a set; whether its map says which case of an enum it is.
    private var (isSet, isChoice) = (false, false)

    init() {}

    init<T: Encodable>(of value: T, at place: CodingPlace, _ userInfo: [CodingUserInfoKey: Any]) throws {
        if let leaf = value as? any Leaf {
            guard let written = leaf.written else {
                throw place.refuses(T.self, "this whole number is too large for a document: the largest is that of Int64")
            }
            content = .tree(.whole(written))
        } else if let value = value as? Value {
            content = .tree(Tree(value))
        } else if let merged = value as? any Merged {
            content = merged.written.map { .tree(.whole($0)) } ?? .nothing
        } else {
            var place = place
            place.isDictionary = value is any Keyed
            try value.encode(to: Encoding(slot: self, place: place, userInfo: userInfo))
            if place.isDictionary, case .list = content {
                throw place.refuses(T.self, "the keys of a dictionary are strings: let their type conform to CodingKeyRepresentable")
            }
            isSet = value is any Unordered
            if case .map(let fields) = content, fields.count == 1 { isChoice = Mirror(reflecting: value).displayStyle == .enum }
            // A type without anything to say, as JSONEncoder has it.
            if case .nothing = content { content = .map([:]) }
        }
    }

    var isNothing: Bool { if case .nothing = content { true } else { false } }

    var tree: Tree {
        switch content {
        case .nothing: .whole(.null)
        case .tree(let tree): tree
        case .list(let slots): isSet ? .set(slots.map(\.tree)) : .list(slots.map(\.tree))
        case .map(let slots): .map(slots.mapValues(\.tree), isChoice: isChoice)
        }
    }

    /// The slot of a field.
    func field(_ name: String) -> Slot {
        let slot = Slot()
        put(slot, name)
        return slot
    }

    func put(_ slot: Slot, _ name: String) {
        if case .map(var fields) = content {
            content = .nothing
            fields[name] = slot
            content = .map(fields)
        }
    }

    /// A slot at the end of the list.
    func next() -> Slot {
        let slot = Slot()
        append(slot)
        return slot
    }

    func append(_ slot: Slot) {
        if case .list(var slots) = content {
            // So that there is one array and not two.
            content = .nothing
            slots.append(slot)
            content = .list(slots)
        }
    }

    var count: Int { if case .list(let slots) = content { slots.count } else { 0 } }

    func becomeMap() { if case .map = content {} else { content = .map([:]) } }
    func becomeList() { if case .list = content {} else { content = .list([]) } }
}

extension CodingPlace {
    /// The error names the type: what a value is stays out of it.
    fileprivate func refuses(_ type: Any.Type, _ why: String) -> EncodingError {
        .invalidValue(type, EncodingError.Context(codingPath: path, debugDescription: why))
    }
}

private struct Encoding: Encoder {
    let slot: Slot
    let place: CodingPlace
    let userInfo: [CodingUserInfoKey: Any]

    var codingPath: [any CodingKey] { place.path }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        slot.becomeMap()
        return KeyedEncodingContainer(Fields(encoding: self))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        slot.becomeList()
        return Elements(encoding: self)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { Single(encoding: self) }

    func made(of value: some Encodable, at place: CodingPlace) throws -> Slot { try Slot(of: value, at: place, userInfo) }

    func below(_ slot: Slot, _ place: CodingPlace) -> Encoding { Encoding(slot: slot, place: place, userInfo: userInfo) }
}

private struct Fields<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let encoding: Encoding

    var codingPath: [any CodingKey] { encoding.codingPath }

    func encodeNil(forKey key: Key) { _ = encoding.slot.field(key.stringValue) }

    func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
        let slot = try encoding.made(of: value, at: encoding.place.at(key))
        // A text or counter that is nil is no field, as the optional of any other type.
        if slot.isNothing, value is any Merged { return }
        encoding.slot.put(slot, key.stringValue)
    }

    private func child(_ key: some CodingKey) -> Encoding {
        encoding.below(encoding.slot.field(key.stringValue), encoding.place.at(key))
    }

    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type, forKey key: Key) -> KeyedEncodingContainer<Nested> {
        child(key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer { child(key).unkeyedContainer() }
    func superEncoder() -> any Encoder { child(Step.parent) }
    func superEncoder(forKey key: Key) -> any Encoder { child(key) }
}

private struct Elements: UnkeyedEncodingContainer {
    let encoding: Encoding

    var codingPath: [any CodingKey] { encoding.codingPath }
    var count: Int { encoding.slot.count }
    private var here: CodingPlace { encoding.place.at(Step(intValue: count)) }

    func encodeNil() { _ = encoding.slot.next() }

    func encode<T: Encodable>(_ value: T) throws {
        encoding.slot.append(try encoding.made(of: value, at: here))
    }

    private func child() -> Encoding {
        let place = here
        return encoding.below(encoding.slot.next(), place)
    }

    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
        child().container(keyedBy: type)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { child().unkeyedContainer() }
    func superEncoder() -> any Encoder { child() }
}

private struct Single: SingleValueEncodingContainer {
    let encoding: Encoding

    var codingPath: [any CodingKey] { encoding.codingPath }

    func encodeNil() { encoding.slot.content = .tree(.whole(.null)) }

    func encode<T: Encodable>(_ value: T) throws {
        encoding.slot.content = .tree(try encoding.made(of: value, at: encoding.place).tree)
    }
}
