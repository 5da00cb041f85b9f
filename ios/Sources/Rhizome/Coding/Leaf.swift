import Foundation

/// Why a value is not what was asked for.
enum Unreadable: Error {
    /// It is of another kind.
    case kind
    /// It is of the kind, and says what the type cannot hold.
    case content
}

/// A type that is one value of a document.
protocol Leaf {
    /// What it is called in an error.
    static var words: String { get }
    /// What a value says.
    static func read(_ value: Value) throws(Unreadable) -> Self
    /// As the document has it; nil if a document cannot say it.
    var written: Value? { get }
}

extension Bool: Leaf {
    static var words: String { "true or false" }
    static func read(_ value: Value) throws(Unreadable) -> Bool {
        guard case .bool(let value) = value else { throw .kind }
        return value
    }
    var written: Value? { .bool(self) }
}

extension String: Leaf {
    static var words: String { "a string or text" }
    static func read(_ value: Value) throws(Unreadable) -> String {
        guard let value = value.stringValue else { throw .kind }
        return value
    }
    var written: Value? { .string(self) }
}

extension Leaf where Self: FixedWidthInteger {
    static var words: String { "a whole number" }
    static func read(_ value: Value) throws(Unreadable) -> Self {
        let number: Self? =
            switch value {
            case .int(let value), .counter(let value): Self(exactly: value)
            case .float(let value): Self(exactly: value)
            default: throw .kind
            }
        guard let number else { throw .content }
        return number
    }
    var written: Value? { Int64(exactly: self).map(Value.int) }
}

extension Int: Leaf {}
extension Int8: Leaf {}
extension Int16: Leaf {}
extension Int32: Leaf {}
extension Int64: Leaf {}
extension UInt: Leaf {}
extension UInt8: Leaf {}
extension UInt16: Leaf {}
extension UInt32: Leaf {}
extension UInt64: Leaf {}

extension Leaf where Self: BinaryFloatingPoint {
    static var words: String { "a number" }
    static func read(_ value: Value) throws(Unreadable) -> Self {
        switch value {
        case .int(let value), .counter(let value): Self(value)
        case .float(let value): Self(value)
        default: throw .kind
        }
    }
    var written: Value? { .float(Double(self)) }
}

extension Double: Leaf {}
extension Float: Leaf {}

extension Date: Leaf {
    static var words: String { "a date" }
    static func read(_ value: Value) throws(Unreadable) -> Date {
        switch value {
        case .date(let value): value
        // Rows of lists have dates as numbers.
        case .int(let millis): Date(millis: millis)
        default: throw .kind
        }
    }
    // What a document keeps of it, so that it is the same when it is read.
    var written: Value? { .date(Date(millis: millis)) }
}

extension Data: Leaf {
    static var words: String { "bytes" }
    static func read(_ value: Value) throws(Unreadable) -> Data {
        guard case .bytes(let value) = value else { throw .kind }
        return value
    }
    var written: Value? { .bytes(self) }
}

extension URL: Leaf {
    static var words: String { "a string that is a URL" }
    static func read(_ value: Value) throws(Unreadable) -> URL {
        guard let url = URL(string: try String.read(value)) else { throw .content }
        return url
    }
    var written: Value? { .string(absoluteString) }
}

extension UUID: Leaf {
    static var words: String { "a string that is a UUID" }
    static func read(_ value: Value) throws(Unreadable) -> UUID {
        guard let id = UUID(uuidString: try String.read(value)) else { throw .content }
        return id
    }
    var written: Value? { .string(uuidString) }
}

extension Decimal: Leaf {
    static var words: String { "a string that is a decimal number" }
    static func read(_ value: Value) throws(Unreadable) -> Decimal {
        if case .int(let value) = value { return Decimal(value) }
        // A prefix that is a number would be taken for all of it otherwise.
        let text = try String.read(value)
        guard text.wholeMatch(of: /[+-]?[0-9]+(\.[0-9]+)?|NaN/) != nil, let number = Decimal(string: text) else { throw .content }
        return number
    }
    var written: Value? { .string(description) }
}
