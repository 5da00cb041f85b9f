/// What a type's property is in a document, where that is not to be seen from its Swift type.
protocol Merged {
    /// As the document has it; nil for no field.
    var written: Value? { get }
    /// What stands for a field that is missing; nil if it must be there.
    static var absent: Any? { get }
}

/// What a ``MergedText`` says: a `String`, or a `String?` that is nil where a document has no such field. No other type.
public protocol MergeableText: Sendable, Hashable, Codable {}

extension String: MergeableText {}
extension Optional: MergeableText where Wrapped == String {}

/// What a ``MergedCounter`` is: an `Int`, an `Int64`, or an optional of these that is nil where a document has no such field. No other type.
public protocol MergeableNumber: Sendable, Hashable, Codable {}

extension Int: MergeableNumber {}
extension Int64: MergeableNumber {}
extension Optional: MergeableNumber where Wrapped: MergeableNumber & FixedWidthInteger {}

/// A text that is edited together: of a type that a ``Document`` is read as, a property whose concurrent edits merge letter by letter.
///
/// A `String` without it is replaced as a whole: of two devices' writes one wins, which is right for the name of a colour and wrong for a diary. Writing
/// a changed text edits only what is different in it.
///
/// ```swift
/// struct Entry: Codable {
///     var date: Date
///     @MergedText var text: String
///     @MergedText var remark: String?
///     @MergedCounter var opened = 0
/// }
/// ```
///
/// Other encoders, such as `JSONEncoder`, have it as the plain string.
@propertyWrapper public struct MergedText<Text: MergeableText>: Sendable, Hashable, Codable {
    /// What it says.
    public var wrappedValue: Text

    /// A text.
    public init(wrappedValue: Text) { self.wrappedValue = wrappedValue }

    /// The text that is a string elsewhere.
    public init(from decoder: any Decoder) throws { wrappedValue = try decoder.singleValueContainer().decode(Text.self) }

    /// As a string elsewhere.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(wrappedValue)
    }
}

/// A number that is counted together: of a type that a ``Document`` is read as, a property whose concurrent changes add up.
///
/// Two devices that count from 3 to 4 make 5 of it. Writing a changed number adds the difference. Other encoders, such as `JSONEncoder`, have it as the
/// plain number.
@propertyWrapper public struct MergedCounter<Number: MergeableNumber>: Sendable, Hashable, Codable {
    /// How much it is.
    public var wrappedValue: Number

    /// A counter.
    public init(wrappedValue: Number) { self.wrappedValue = wrappedValue }

    /// The counter that is a number elsewhere.
    public init(from decoder: any Decoder) throws { wrappedValue = try decoder.singleValueContainer().decode(Number.self) }

    /// As a number elsewhere.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(wrappedValue)
    }
}

extension MergedText: Merged {
    var written: Value? { (wrappedValue as? String).map(Value.text) }
    static var absent: Any? { nothing(of: Text.self).map(Self.init(wrappedValue:)) }
}

extension MergedCounter: Merged {
    var written: Value? { ((wrappedValue as? Int64) ?? (wrappedValue as? Int).map(Int64.init)).map(Value.counter) }
    static var absent: Any? { nothing(of: Number.self).map(Self.init(wrappedValue:)) }
}

/// The nil of a type that has one.
private func nothing<T>(of type: T.Type) -> T? { (type as? any ExpressibleByNilLiteral.Type)?.init(nilLiteral: ()) as? T }

extension MergedText: CustomStringConvertible, CustomReflectable {
    /// Nothing of what it says: what people write must not reach logs.
    public var description: String { "MergedText" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
