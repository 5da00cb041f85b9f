import Foundation
internal import RhizomeCore

/// A row of a query's answer.
public struct QueryRow: Sendable, Hashable, Identifiable, CustomStringConvertible, CustomReflectable {
    /// The document.
    public let id: DocumentID
    /// The document's short top-level fields: strings, numbers, flags and counters as they are, dates as whole numbers (milliseconds since 1970);
    /// no texts, lists and maps.
    public var fields: [String: Value] { core.mapValues(Value.init) }

    // Of a page of rows few are looked at.
    private let core: [String: RhizomeCore.Value]

    init(_ row: RhizomeCore.QueryRow) { (id, core) = (DocumentID(rawValue: row.id), row.fields) }

    init(id: String, fields: [String: RhizomeCore.Value]) { (self.id, core) = (DocumentID(rawValue: id), fields) }

    /// The value of one of its ``fields``, if it has it.
    public subscript(field: String) -> Value? { core[field].map { Value($0) } }

    /// The row as a type of the app's, which may only ask for what a row has; see ``ValueDecoder``.
    public func read<T: Decodable>(as type: T.Type = T.self) throws -> T { try ValueDecoder().decode(from: .map(fields)) }

    /// Which document: what people write must not reach logs.
    public var description: String { "QueryRow(\(id))" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A page of a query's answer.
public struct QueryPage: Sendable, Hashable {
    /// Where a page ends and the next begins. It stays where it is however the documents around it change.
    public struct Cursor: RawRepresentable, Sendable, Hashable, Codable, CustomStringConvertible, CustomReflectable {
        /// To be kept where what a person wrote may be: it holds what the rows are sorted by, in hexadecimal digits.
        public let rawValue: String
        /// What ``rawValue`` was. Calls throw ``RhizomeError/Kind/invalidInput`` if it is none.
        public init(rawValue: String) { self.rawValue = rawValue }
        /// That it is one.
        public var description: String { "QueryPage.Cursor" }
        /// Shows nothing, so that `dump` does not either.
        public var customMirror: Mirror { Mirror(self, children: []) }
    }

    /// The rows, in the query's order.
    public let rows: [QueryRow]
    /// Given to ``Query/after(_:)``, it gives the next page; `nil` after the last.
    public let next: Cursor?
}

/// What a query finds as it is after a change, and what changed.
public struct QueryUpdate: Sendable, Hashable {
    /// Why a row is among those that changed.
    public enum Reason: Sendable, Hashable {
        /// It was not in the answer before.
        case inserted
        /// It is where it was among the others, and another.
        case updated
        /// What the answer is sorted by is another.
        case moved
    }

    /// A row that is new, changed or elsewhere.
    public struct Placed: Sendable, Hashable {
        /// Its place in ``QueryUpdate/rows``.
        public let index: Int
        /// Why.
        public let reason: Reason
    }

    /// All rows, in the query's order.
    public let rows: [QueryRow]
    /// Documents that were in the answer before and are not now.
    public let removed: [DocumentID]
    /// Rows that are new, changed or elsewhere, by place. Taking ``removed`` and these documents out of the rows before, and putting these in where they
    /// belong, first to last, gives ``rows``.
    public let placed: [Placed]
}

/// Part of a text, and where in it is what was looked for.
public struct Excerpt: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// The field.
    public let field: FieldPath
    /// The part: some 200 bytes, or more if what was found is longer.
    public let text: String
    /// Where in ``text``, in order and apart from each other, each from the beginning of a word to the end of one.
    public let ranges: [Range<String.Index>]
    /// Whether the text has more before it.
    public let isCutBefore: Bool
    /// Whether the text has more after it.
    public let isCutAfter: Bool

    init(_ excerpt: RhizomeCore.Excerpt) {
        let text = excerpt.text
        let index = { (place: UInt64) in
            text.utf16.index(text.startIndex, offsetBy: Int(clamping: place), limitedBy: text.endIndex) ?? text.endIndex
        }
        (field, self.text) = (FieldPath(excerpt.path), text)
        ranges = excerpt.ranges.map { index($0.start)..<index($0.end) }
        (isCutBefore, isCutAfter) = (excerpt.cutBefore, excerpt.cutAfter)
    }

    /// How much it is: what people write must not reach logs.
    public var description: String { "Excerpt(\(text.utf16.count), \(ranges.count) ranges)" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A page of what a search finds.
public struct SearchPage: Sendable, Hashable {
    /// Where a page ends and the next begins. Hits whose rank changes meanwhile may be missed or come twice.
    public struct Cursor: RawRepresentable, Sendable, Hashable, Codable {
        /// To be kept.
        public let rawValue: String
        /// What ``rawValue`` was. Calls throw ``RhizomeError/Kind/invalidInput`` if it is none.
        public init(rawValue: String) { self.rawValue = rawValue }
    }

    /// A document that was found.
    public struct Hit: Sendable, Hashable, Identifiable {
        /// The document.
        public var id: DocumentID { row.id }
        /// How well it fits: the more, the better. Comparable within one search.
        public let score: Double
        /// The document's short fields.
        public let row: QueryRow
        /// Of each searched field in which something was found, the part with most of it.
        public let excerpts: [Excerpt]
    }

    /// The best first. Of more than 10,000 matches, those that came to this device last are ranked.
    public let hits: [Hit]
    /// Given to ``Search/after(_:)``, it gives the next page; `nil` after the last.
    public let next: Cursor?
}

/// How far the indexes of a collection are.
public struct IndexProgress: Sendable, Hashable {
    /// Documents that were gone through.
    public let done: Int
    /// Documents there are.
    public let total: Int
}

extension Pod.Collection {
    /// Says which indexes and searched fields the collection has: to be called whenever the pod was opened.
    ///
    /// What is new is built in the background, and until it is done queries that need it throw ``RhizomeError/Kind/invalidInput`` with the code
    /// `indexing`; a collection of some hundred documents is ready when this returns. What the schema does not name is dropped, but for what
    /// ``list(by:after:limit:)`` asked for.
    public func declare(_ schema: Schema) async throws {
        try await cancellable { try await handle.declare(schema: schema.core, cancel: $0) }
    }

    /// How far the indexes are; `nil` if they are ready.
    public var indexProgress: IndexProgress? {
        get async throws {
            try await cancellable { try await handle.indexProgress(cancel: $0) }
                .map { IndexProgress(done: Int(clamping: $0.done), total: Int(clamping: $0.total)) }
        }
    }

    /// A page of what a query finds.
    ///
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `not-indexed` if no declared index answers it, `indexing` while its index is built.
    public func query(_ query: Query) async throws -> QueryPage {
        let page = try await cancellable { try await handle.query(query: query.core, cancel: $0) }
        return QueryPage(rows: page.rows.map { QueryRow($0) }, next: page.next.map(QueryPage.Cursor.init(rawValue:)))
    }

    /// How many documents a query finds, whatever its limit and cursor. Takes time that grows with that number, and reads no document.
    public func count(_ query: Query) async throws -> Int {
        Int(clamping: try await cancellable { try await handle.countQuery(query: query.core, cancel: $0) })
    }

    /// What a query finds as it changes: its first page, from its cursor on. Waits for an index that is built.
    public func updates(of query: Query) -> Updates<QueryUpdate> {
        Updates { [handle] in
            let subscription = try mapped { try handle.watchQuery(query: query.core) }
            let rows = Locked<[QueryRow]>([])
            return Subscription {
                guard let diff = try await subscription.next(cancel: $0) else { return nil }
                return rows.with { $0.apply(diff) }
            } end: {
                subscription.cancel()
            }
        }
    }

    /// A page of what a search finds in the fields that the ``Schema`` names.
    ///
    /// - Throws: as ``query(_:)``.
    public func search(_ search: Search) async throws -> SearchPage {
        let page = try await cancellable { try await handle.search(search: search.core, cancel: $0) }
        let hits = page.hits.map {
            SearchPage.Hit(score: $0.score, row: QueryRow(id: $0.id, fields: $0.fields), excerpts: $0.excerpts.map { Excerpt($0) })
        }
        return SearchPage(hits: hits, next: page.next.map(SearchPage.Cursor.init(rawValue:)))
    }
}

extension [QueryRow] {
    /// Makes the answer before into the answer after, as the core says how.
    fileprivate mutating func apply(_ diff: RhizomeCore.QueryDiff) -> QueryUpdate {
        let gone = Set(diff.removed).union(diff.placed.map(\.row.id))
        removeAll { gone.contains($0.id.rawValue) }
        for placed in diff.placed { insert(QueryRow(placed.row), at: Swift.min(Int(placed.index), count)) }
        let placed = diff.placed.map { placed in
            let reason: QueryUpdate.Reason =
                switch placed.placed {
                case .inserted: .inserted
                case .updated: .updated
                case .moved: .moved
                }
            return QueryUpdate.Placed(index: Int(placed.index), reason: reason)
        }
        return QueryUpdate(rows: self, removed: diff.removed.map(DocumentID.init(rawValue:)), placed: placed)
    }
}
