import Foundation
internal import RhizomeCore

/// One value of a document, with everything below it.
///
/// Its description shows kinds and sizes only: what people write must not reach logs.
public enum Value: Sendable, Hashable {
    /// Nothing.
    case null
    /// True or false.
    case bool(Bool)
    /// A whole number.
    case int(Int64)
    /// A number with a fraction.
    case float(Double)
    /// Text edited together: concurrent edits of it merge.
    case text(String)
    /// A string replaced as a whole: of concurrent writes one wins.
    case string(String)
    /// Bytes replaced as a whole.
    case bytes(Data)
    /// A moment, to the millisecond.
    case date(Date)
    /// A number whose concurrent increments add up.
    case counter(Int64)
    /// Values in order.
    case list([Value])
    /// Values by name.
    case map([String: Value])
}

extension Value {
    /// The value of a field, if this is a map that has it.
    public subscript(field: String) -> Value? {
        if case .map(let fields) = self { fields[field] } else { nil }
    }

    /// The value at a place, if this is a list that is long enough.
    public subscript(index: Int) -> Value? {
        if case .list(let values) = self, values.indices.contains(index) { values[index] } else { nil }
    }

    /// What a text or string says.
    public var stringValue: String? {
        switch self {
        case .text(let value), .string(let value): value
        default: nil
        }
    }

    /// The number of an integer or counter.
    public var intValue: Int64? {
        switch self {
        case .int(let value), .counter(let value): value
        default: nil
        }
    }

    /// The moment of a date.
    public var dateValue: Date? {
        if case .date(let value) = self { value } else { nil }
    }
}

extension Value: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByNilLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// A ``string(_:)``.
    public init(stringLiteral value: String) { self = .string(value) }
    /// An ``int(_:)``.
    public init(integerLiteral value: Int64) { self = .int(value) }
    /// A ``float(_:)``.
    public init(floatLiteral value: Double) { self = .float(value) }
    /// A ``bool(_:)``.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// ``null``.
    public init(nilLiteral: ()) { self = .null }
    /// A ``list(_:)``.
    public init(arrayLiteral elements: Value...) { self = .list(elements) }
    /// A ``map(_:)``; of equal names the last counts.
    public init(dictionaryLiteral elements: (String, Value)...) { self = .map(Dictionary(elements) { $1 }) }
}

extension Value: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The kind, and how large it is.
    public var description: String {
        switch self {
        case .null: "null"
        case .bool: "bool"
        case .int: "int"
        case .float: "float"
        case .text(let value): "text(\(value.utf16.count))"
        case .string(let value): "string(\(value.utf16.count))"
        case .bytes(let value): "bytes(\(value.count))"
        case .date: "date"
        case .counter: "counter"
        case .list(let values): "list(\(values.count))"
        case .map(let fields): "map(\(fields.count))"
        }
    }

    /// As ``description``.
    public var debugDescription: String { description }

    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A way into a document: names of fields and places in lists. `"title"`, or `["tags", 0]`.
public struct DocumentPath: Sendable, Hashable, ExpressibleByStringLiteral, ExpressibleByArrayLiteral {
    /// One step.
    public enum Key: Sendable, Hashable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
        /// A field of a map.
        case field(String)
        /// A place in a list, from 0.
        case index(Int)

        /// A field.
        public init(stringLiteral value: String) { self = .field(value) }
        /// A place.
        public init(integerLiteral value: Int) { self = .index(value) }
    }

    /// The steps, from the document's top.
    public var keys: [Key]

    /// A path of these steps.
    public init(_ keys: [Key]) { self.keys = keys }
    /// A field at the top.
    public init(stringLiteral value: String) { keys = [.field(value)] }
    /// A path of these steps.
    public init(arrayLiteral elements: Key...) { keys = elements }
}

/// One edit of a document.
public enum Edit: Sendable, Hashable {
    /// Puts a value at the end of a path; maps on the way are made.
    case set(DocumentPath, to: Value)
    /// Removes the value at the end of a path.
    case delete(DocumentPath)
    /// Puts a value into the list at a path, before the one at an index; the list's length is its end.
    case insert(DocumentPath, at: Int, Value)
    /// In the text at a path, removes UTF-16 code units from a place on and puts something there. `NSRange` counts the same.
    case spliceText(DocumentPath, at: Int, delete: Int, insert: String)
    /// Makes the text at a path read as given, by the least edits; one that is not there is made.
    case setText(DocumentPath, to: String)
    /// Adds to the counter at a path.
    case increment(DocumentPath, by: Int64)
    /// In the text at a path, sets the mark of this name in a range of UTF-16 code units. Names have 1 to 256 bytes; the value is a single one, and
    /// no text or counter.
    case mark(DocumentPath, Range<Int>, name: String, value: Value, growing: MarkGrowth)
    /// In the text at a path, takes the mark of this name away from a range of UTF-16 code units.
    case unmark(DocumentPath, Range<Int>, name: String, growing: MarkGrowth)
}

/// Whether text that is put in right at the ends of a mark gets the mark too.
public enum MarkGrowth: Sendable, Hashable {
    /// At its start.
    case before
    /// At its end: for bold and the like.
    case after
    /// At both.
    case both
    /// At neither: for links and remarks.
    case none
}

extension Edit: CustomStringConvertible, CustomReflectable {
    /// The kind of edit, and nothing of what it writes.
    public var description: String {
        switch self {
        case .set: "set"
        case .delete: "delete"
        case .insert: "insert"
        case .spliceText: "spliceText"
        case .setText: "setText"
        case .increment: "increment"
        case .mark: "mark"
        case .unmark: "unmark"
        }
    }

    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// The id of a document: 32 hexadecimal digits.
public struct DocumentID: RawRepresentable, Sendable, Hashable, Codable, CustomStringConvertible {
    /// The digits.
    public let rawValue: String

    /// An id from its digits. Calls throw ``RhizomeError/Kind/invalidInput`` if it is none.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The digits.
    public var description: String { rawValue }
}

// MARK: - As the core has them

extension Date {
    init(millis: Int64) { self.init(timeIntervalSince1970: Double(millis) / 1000) }
    init(millis: UInt64) { self.init(timeIntervalSince1970: Double(millis) / 1000) }

    /// Milliseconds since 1970; what no such number can say (`Date.distantFuture` can) is the nearest one that can.
    var millis: Int64 { Int64(exactly: (timeIntervalSince1970 * 1000).rounded()) ?? (timeIntervalSince1970 > 0 ? .max : .min) }
}

extension Value {
    init(_ value: RhizomeCore.Value) {
        switch value {
        case .null: self = .null
        case .bool(let value): self = .bool(value)
        case .int(let value): self = .int(value)
        case .float(let value): self = .float(value)
        case .text(let value): self = .text(value)
        case .str(let value): self = .string(value)
        case .bytes(let value): self = .bytes(value)
        case .date(let millis): self = .date(Date(millis: millis))
        case .counter(let value): self = .counter(value)
        case .list(let values): self = .list(values.map(Value.init))
        case .map(let fields): self = .map(fields.mapValues(Value.init))
        }
    }

    var core: RhizomeCore.Value {
        switch self {
        case .null: .null
        case .bool(let value): .bool(value: value)
        case .int(let value): .int(value: value)
        case .float(let value): .float(value: value)
        case .text(let value): .text(value: value)
        case .string(let value): .str(value: value)
        case .bytes(let value): .bytes(value: value)
        case .date(let value): .date(millis: value.millis)
        case .counter(let value): .counter(value: value)
        case .list(let values): .list(values: values.map(\.core))
        case .map(let fields): .map(fields: fields.mapValues(\.core))
        }
    }
}

/// A place as the core counts it; one below 0 is past every end, so that it is refused there with all others that are.
func place(_ index: Int) -> UInt64 { UInt64(exactly: index) ?? .max }

extension DocumentPath {
    init(_ path: [PathKey]) {
        keys = path.map { key in
            switch key {
            case .field(let name): .field(name)
            case .index(let index): .index(Int(clamping: index))
            }
        }
    }

    var core: [PathKey] {
        keys.map { key in
            switch key {
            case .field(let name): .field(name: name)
            case .index(let index): .index(index: place(index))
            }
        }
    }
}

extension Edit {
    var core: EditOp {
        switch self {
        case .set(let path, let value): .set(path: path.core, value: value.core)
        case .delete(let path): .delete(path: path.core)
        case .insert(let path, let index, let value): .insert(path: path.core, index: place(index), value: value.core)
        case .spliceText(let path, let at, let delete, let insert):
            .spliceText(path: path.core, at: place(at), delete: place(delete), insert: insert)
        case .setText(let path, let text): .setText(path: path.core, text: text)
        case .increment(let path, let by): .increment(path: path.core, by: by)
        case .mark(let path, let range, let name, let value, let growing):
            .mark(
                path: path.core, start: place(range.lowerBound), end: place(range.upperBound), name: name, value: value.core,
                expand: growing.core)
        case .unmark(let path, let range, let name, let growing):
            .unmark(path: path.core, start: place(range.lowerBound), end: place(range.upperBound), name: name, expand: growing.core)
        }
    }
}

extension MarkGrowth {
    fileprivate var core: Expand {
        switch self {
        case .before: .before
        case .after: .after
        case .both: .both
        case .none: .none
        }
    }
}
