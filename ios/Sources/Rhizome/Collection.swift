import Foundation
internal import RhizomeCore

/// A row of a list.
public struct ListRow: Sendable, Hashable, Identifiable, CustomStringConvertible, CustomReflectable {
    /// The document.
    public let id: DocumentID
    /// The date it is listed by.
    public let date: Date
    /// The document's short top-level fields: strings, numbers, flags and counters as they are, dates as whole numbers (milliseconds
    /// since 1970).
    public var fields: [String: Value] { core.mapValues(Value.init) }

    // Of a page of rows few are looked at.
    private let core: [String: RhizomeCore.Value]

    init(_ row: RhizomeCore.ListRow) {
        (id, date, core) = (DocumentID(rawValue: row.id), Date(millis: row.millis), row.fields)
    }

    /// The value of one of its ``fields``, if it has it.
    public subscript(field: String) -> Value? { core[field].map { Value($0) } }

    /// The row as a type of the app's, which may only ask for what a row has; see ``ValueDecoder``.
    public func read<T: Decodable>(as type: T.Type = T.self) throws -> T { try ValueDecoder().decode(from: .map(fields)) }

    /// Which document: what people write must not reach logs.
    public var description: String { "ListRow(\(id))" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A page of a list.
public struct Page: Sendable, Hashable {
    /// Where a page ends and the next begins.
    public struct Cursor: Sendable, Hashable {
        let core: RhizomeCore.ListCursor
    }

    /// The rows, newest first.
    public let rows: [ListRow]
    /// Given to ``Pod/Collection/list(by:after:limit:)``, it gives the next page; `nil` after the last.
    public let next: Cursor?

    init(_ page: RhizomeCore.Page) {
        (rows, next) = (page.rows.map(ListRow.init), page.next.map(Cursor.init(core:)))
    }
}

/// A list as it is after a change, and what changed.
public struct ListUpdate: Sendable, Hashable {
    /// All rows, newest first.
    public let rows: [ListRow]
    /// Documents that were in the list before and are not now.
    public let removed: [DocumentID]
    /// Places in ``rows`` whose row is new, changed, or was elsewhere.
    public let placed: [Int]
}

/// What a write made.
public struct Written: Sendable, Hashable {
    /// The document.
    public let id: DocumentID
    /// The entry that holds the change; `nil` if the edits changed nothing.
    public let entry: EntryRef?

    init(_ written: RhizomeCore.Written) {
        (id, entry) = (DocumentID(rawValue: written.id), written.entry.map { EntryRef($0) })
    }
}

/// Edits of one document, as part of a batch.
public struct DocumentWrite: Sendable, Hashable {
    /// The document; `nil` makes a new one.
    public var id: DocumentID?
    /// The edits: one change.
    public var edits: [Edit]

    /// Edits of a document.
    public init(_ id: DocumentID, _ edits: [Edit]) { (self.id, self.edits) = (id, edits) }

    /// A new document.
    public init(_ edits: [Edit]) { (id, self.edits) = (nil, edits) }
}

extension Pod {
    /// Documents of one kind: listed, queried, searched, and each with its history.
    public struct Collection: Sendable {
        let handle: CollectionHandle

        /// Its name.
        public var name: String { handle.name() }

        /// A document as it is now; `nil` if it is not here.
        public func get(_ id: DocumentID) async throws -> Value? {
            try await cancellable { try await handle.get(id: id.rawValue, cancel: $0) }.map { Value($0) }
        }

        /// A page by the date in the top-level `field`, newest first.
        ///
        /// - Parameters:
        ///   - field: documents that have no date there are not listed.
        ///   - cursor: the ``Page/next`` of the page before; `nil` for the first.
        ///   - limit: how many rows at most.
        public func list(by field: String, after cursor: Page.Cursor? = nil, limit: Int = 50) async throws -> Page {
            let limit = UInt32(clamping: limit)
            return Page(try await cancellable { try await handle.list(field: field, after: cursor?.core, limit: limit, cancel: $0) })
        }

        /// How many documents there are.
        public var count: Int {
            get async throws { Int(try await cancellable { try await handle.count(cancel: $0) }) }
        }

        /// Makes a document. On the disk when it returns.
        @discardableResult
        public func create(_ edits: [Edit]) async throws -> Written {
            try await write([DocumentWrite(edits)])[0]
        }

        /// Edits a document; one that is not here is made under this id. On the disk when it returns.
        @discardableResult
        public func edit(_ id: DocumentID, _ edits: [Edit]) async throws -> Written {
            try await write([DocumentWrite(id, edits)])[0]
        }

        /// Makes and edits many documents at once, in as few entries as they fit in. On the disk when it returns; if it throws, what went
        /// into entries before stays.
        @discardableResult
        public func write(_ writes: [DocumentWrite]) async throws -> [Written] {
            let writes = writes.map { RhizomeCore.DocumentWrite(id: $0.id?.rawValue, edits: $0.edits.map(\.core)) }
            return try await cancellable { try await handle.write(writes: writes, cancel: $0) }.map { Written($0) }
        }

        /// As ``write(_:)``, in one entry: all of it is written, or nothing; and on every device either all of it is shown or nothing yet.
        ///
        /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `too-large` beyond 2,048 documents or 1 MiB, sealed.
        @discardableResult
        public func transaction(_ writes: [DocumentWrite]) async throws -> [Written] {
            let writes = writes.map { RhizomeCore.DocumentWrite(id: $0.id?.rawValue, edits: $0.edits.map(\.core)) }
            return try await cancellable { try await handle.transaction(writes: writes, cancel: $0) }.map { Written($0) }
        }

        /// The ids of all documents, in their order.
        public var ids: [DocumentID] {
            get async throws {
                try await cancellable { try await handle.documents(cancel: $0) }.map(DocumentID.init(rawValue:))
            }
        }

        /// Opens a document for editing; one that is not here is made by its first save.
        public func open(_ id: DocumentID) async throws -> Document {
            Document(handle: try await cancellable { try await handle.open(id: id.rawValue, cancel: $0) })
        }

        /// A new document, under an id of its own. There is nothing of it until it is saved.
        public func newDocument() -> Document { Document(handle: handle.newDocument()) }

        /// The devices and peers that hold everything that is here of a document, by their signed word.
        public func holders(of id: DocumentID) async throws -> [Holder] {
            try await cancellable { try await handle.holders(id: id.rawValue, cancel: $0) }.map { Holder($0) }
        }

        /// The newest documents by the date in the top-level `field`, as they change.
        public func newest(by field: String, limit: Int = 50) -> Updates<ListUpdate> {
            let limit = UInt32(clamping: limit)
            return Updates { [handle] in
                let subscription = handle.watch(field: field, limit: limit)
                let rows = Locked<[ListRow]>([])
                return Subscription {
                    guard let diff = try await subscription.next(cancel: $0) else { return nil }
                    return rows.with { $0.apply(diff) }
                } end: {
                    subscription.cancel()
                }
            }
        }

        /// One document as it changes, which need not be here yet: `nil` until it is.
        public func updates(of id: DocumentID) -> Updates<Value?> {
            Updates { [handle] in
                let subscription = try mapped { try handle.watchDocument(id: id.rawValue) }
                return Subscription {
                    // A document that is not here is told too, so what is told is an optional in an optional.
                    guard let snapshot = try await subscription.next(cancel: $0) else { return nil }
                    return .some(snapshot.value.map { Value($0) })
                } end: {
                    subscription.cancel()
                }
            }
        }
    }
}

extension [ListRow] {
    /// Makes the list before into the list after, as the core says how.
    fileprivate mutating func apply(_ diff: RhizomeCore.ListDiff) -> ListUpdate {
        let gone = Set(diff.removed).union(diff.placed.map(\.row.id))
        removeAll { gone.contains($0.id.rawValue) }
        for placed in diff.placed { insert(ListRow(placed.row), at: Swift.min(Int(placed.index), count)) }
        return ListUpdate(
            rows: self, removed: diff.removed.map(DocumentID.init(rawValue:)), placed: diff.placed.map { Int($0.index) })
    }
}
