import Foundation
internal import RhizomeCore

/// A field, from a document's top through maps: `"date"`, or `["place", "name"]`.
public struct FieldPath: Sendable, Hashable, ExpressibleByStringLiteral, ExpressibleByArrayLiteral {
    /// The names that lead to it.
    public var names: [String]

    /// A field by the names that lead to it.
    public init(_ names: [String]) { self.names = names }
    /// A field at the top.
    public init(stringLiteral value: String) { names = [value] }
    /// A field by the names that lead to it.
    public init(arrayLiteral elements: String...) { names = elements }
}

/// What an app declares of a collection: the indexes that its queries need, and the fields that are searched.
///
/// ```swift
/// try await journal.declare(Schema(indexes: [["date"], ["kind", "date"], .each("tags", then: "date")], search: ["title": 3, "text": 1]))
/// ```
///
/// It is a wish about reading only: documents may lack any field or have it of another type, and are then in no index that needs it.
public struct Schema: Sendable, Hashable {
    /// Documents in the order of these fields, the first first. A document is in it if it has every field, with a value that has an order: all but lists
    /// and maps.
    public struct Index: Sendable, Hashable, ExpressibleByArrayLiteral {
        /// A field, and whether it is a list, each element of which is in the index on its own.
        struct Field: Hashable { var (path, each): (FieldPath, Bool) }

        let fields: [Field]

        /// By fields, 1 to 8 of them.
        public init(_ fields: [FieldPath]) { self.fields = fields.map { Field(path: $0, each: false) } }

        /// By fields at the top.
        public init(arrayLiteral elements: FieldPath...) { self.init(elements) }

        /// By each element of a list, then by other fields.
        public static func each(_ list: FieldPath, then fields: FieldPath...) -> Index {
            Index(fields: [Field(path: list, each: true)] + fields.map { Field(path: $0, each: false) })
        }

        private init(fields: [Field]) { self.fields = fields }
    }

    /// Its indexes, 32 at most.
    public var indexes: [Index]
    /// The fields whose words are searched, 16 at most: a text or string, or a list or map of them; and how much a word in it counts, from 1 to 100.
    public var search: [FieldPath: Int]

    /// What is declared.
    public init(indexes: [Index] = [], search: [FieldPath: Int] = [:]) { (self.indexes, self.search) = (indexes, search) }

    var core: RhizomeCore.Schema {
        let index = { (index: Index) in
            RhizomeCore.Index(fields: index.fields.map { IndexField(path: $0.path.names, each: $0.each) })
        }
        // One that is out of range stays out of range.
        let search = search.sorted { $0.key.names.lexicographicallyPrecedes($1.key.names) }
            .map { SearchField(path: $0.key.names, weight: UInt8(clamping: $0.value)) }
        return .init(indexes: indexes.map(index), search: search)
    }
}

/// What can be an end of a range in a query.
public protocol QueryValue: Comparable, Sendable {
    /// As a document has it.
    var queryValue: Value { get }
}

extension Date: QueryValue {
    /// A ``Value/date(_:)``.
    public var queryValue: Value { .date(self) }
}

extension Int: QueryValue {
    /// A ``Value/int(_:)``.
    public var queryValue: Value { .int(Int64(self)) }
}

extension Double: QueryValue {
    /// A ``Value/float(_:)``.
    public var queryValue: Value { .float(self) }
}

extension String: QueryValue {
    /// A ``Value/string(_:)``.
    public var queryValue: Value { .string(self) }
}

/// A range of values: `1..<5`, `1...5`, `yesterday...`, `..<today`, or a ``ValueRange``.
public protocol QueryRange: Sendable {
    /// Its ends.
    var valueRange: ValueRange { get }
}

/// A range of values. Without an end it goes on to the last value of the same kind: from a date on there are numbers, and no strings.
public struct ValueRange: QueryRange, Hashable {
    var (from, until): (Value?, Value?)
    var (isAboveFrom, hasUntil) = (false, false)

    /// From a value on, up to another that is not in it.
    public init(from: Value? = nil, upTo until: Value? = nil) { (self.from, self.until) = (from, until) }
    /// From a value on, through another that is in it.
    public init(from: Value? = nil, through until: Value) { (self.from, self.until, hasUntil) = (from, until, true) }
    /// Above a value, up to another that is not in it.
    public init(above from: Value, upTo until: Value? = nil) { (self.from, self.until, isAboveFrom) = (from, until, true) }
    /// Above a value, through another that is in it.
    public init(above from: Value, through until: Value) {
        (self.from, self.until, isAboveFrom, hasUntil) = (from, until, true, true)
    }

    /// Itself.
    public var valueRange: ValueRange { self }

    fileprivate func core(_ path: FieldPath) -> FieldRange {
        FieldRange(
            path: path.names, from: from?.core, until: until?.core, aboveFrom: isAboveFrom, toUntil: hasUntil, prefix: nil)
    }
}

extension Range: QueryRange where Bound: QueryValue {
    /// With its upper end out of it.
    public var valueRange: ValueRange { ValueRange(from: lowerBound.queryValue, upTo: upperBound.queryValue) }
}

extension ClosedRange: QueryRange where Bound: QueryValue {
    /// With both ends in it.
    public var valueRange: ValueRange { ValueRange(from: lowerBound.queryValue, through: upperBound.queryValue) }
}

extension PartialRangeFrom: QueryRange where Bound: QueryValue {
    /// From its end on.
    public var valueRange: ValueRange { ValueRange(from: lowerBound.queryValue) }
}

extension PartialRangeUpTo: QueryRange where Bound: QueryValue {
    /// Up to its end.
    public var valueRange: ValueRange { ValueRange(upTo: upperBound.queryValue) }
}

extension PartialRangeThrough: QueryRange where Bound: QueryValue {
    /// Through its end.
    public var valueRange: ValueRange { ValueRange(through: upperBound.queryValue) }
}

/// A question to a collection.
///
/// ```swift
/// let open = Query(sortedBy: "date", descending: true).where("kind", is: "task").where("date", in: monday..<sunday).limit(20)
/// ```
///
/// It is answered from one declared index by one walk, never by looking at every document: the fields that are equal (and the list that contains a
/// value) are the first of the index, in any order, then comes what it is sorted by, whose first field may have a range. It finds the documents that
/// have every field it names.
public struct Query: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    private struct Condition: Hashable { var (field, value): (FieldPath, Value) }
    private enum Limits: Hashable { case range(FieldPath, ValueRange), prefix(FieldPath, String) }

    private var equal: [Condition] = []
    private var contained: Condition?
    private var limits: Limits?
    private var sort: [FieldPath]
    private var descending: Bool
    private var most: UInt32?
    private var cursor: String?

    /// Every document that has these fields, sorted by them, the first first; then by id.
    public init(sortedBy fields: FieldPath..., descending: Bool = false) { (sort, self.descending) = (fields, descending) }

    /// Where a field is this. Numbers, dates and counters are equal if they are worth the same, a text is a string.
    public func `where`(_ field: FieldPath, is value: Value) -> Query {
        with { $0.equal.append(Condition(field: field, value: value)) }
    }

    /// Where a list has this among its elements. One list a query: the last counts.
    public func `where`(_ list: FieldPath, contains value: Value) -> Query {
        with { $0.contained = Condition(field: list, value: value) }
    }

    /// Where a field is in a range, and sorted by it. One range a query: the last counts.
    public func `where`(_ field: FieldPath, in range: some QueryRange) -> Query { with { $0.limits = .range(field, range.valueRange) } }

    /// Where a string or text begins with this, and sorted by it. In place of a range.
    public func `where`(_ field: FieldPath, beginsWith prefix: String) -> Query { with { $0.limits = .prefix(field, prefix) } }

    /// So many rows at most, from 1 to 10,000; 100 if nothing is said.
    public func limit(_ most: Int) -> Query { with { $0.most = UInt32(clamping: most) } }

    /// Goes on after a page.
    public func after(_ cursor: QueryPage.Cursor) -> Query { with { $0.cursor = cursor.rawValue } }

    private func with(_ change: (inout Query) -> Void) -> Query {
        var query = self
        change(&query)
        return query
    }

    var core: RhizomeCore.Query {
        let value = { (condition: Condition) in FieldValue(path: condition.field.names, value: condition.value.core) }
        let range: FieldRange? =
            switch limits {
            case nil: nil
            case .range(let field, let range): range.core(field)
            case .prefix(let field, let prefix): FieldRange(path: field.names, prefix: prefix)
            }
        return .init(
            equal: equal.map(value), contains: contained.map(value), range: range, sort: sort.map(\.names), descending: descending,
            limit: most, after: cursor)
    }

    /// That it is a query: what it asks may be what a person wrote.
    public var description: String { "Query" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// What a person looks for in a collection: words and "phrases" that all must be there, in any of the searched fields; `begin*` is the beginning of a word.
public struct Search: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    private struct Field: Hashable { var (path, range): (FieldPath, ValueRange) }

    private let text: String
    private let (isTyping, hasExcerpts): (Bool, Bool)
    private var field: Field?
    private var most: UInt32?
    private var cursor: String?

    /// A search.
    ///
    /// - Parameters:
    ///   - text: as a person typed it; any text can be given. Of more than 1,024 bytes, 16 terms or 48 words the first count.
    ///   - isTyping: the last word may be begun only.
    ///   - hasExcerpts: without them the documents' texts are not read, which is faster.
    public init(_ text: String, isTyping: Bool = false, hasExcerpts: Bool = true) {
        (self.text, self.isTyping, self.hasExcerpts) = (text, isTyping, hasExcerpts)
    }

    /// Only documents with this field in this range. An index of this field alone must be declared.
    public func within(_ field: FieldPath, _ range: some QueryRange) -> Search {
        with { $0.field = Field(path: field, range: range.valueRange) }
    }

    /// So many hits at most, from 1 to 1,000; 20 if nothing is said.
    public func limit(_ most: Int) -> Search { with { $0.most = UInt32(clamping: most) } }

    /// Goes on after a page.
    public func after(_ cursor: SearchPage.Cursor) -> Search { with { $0.cursor = cursor.rawValue } }

    private func with(_ change: (inout Search) -> Void) -> Search {
        var search = self
        change(&search)
        return search
    }

    var core: RhizomeCore.Search {
        .init(
            text: text, typing: isTyping, excerpts: hasExcerpts, within: field.map { $0.range.core($0.path) }, limit: most, after: cursor)
    }

    /// That it is a search: what is looked for is a person's own words.
    public var description: String { "Search" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
