internal import RhizomeCore

extension Document {
    /// Everything it shows, as a type of the app's; see ``ValueDecoder``.
    ///
    /// - Throws: `DecodingError` if what it shows is not of this type.
    public func read<T: Decodable>(as type: T.Type = T.self) throws -> T { try ValueDecoder().decode(from: value()) }

    /// Makes it what `wanted` is, in memory: only what is different from what it shows becomes edits. A ``MergedText`` is edited where it is
    /// different, to a ``MergedCounter`` the difference is added, values of a list are put in, taken out and changed in place (one with a field `id` is
    /// known by it), and fields that the type does not know stay. So what another device changes at the same time, elsewhere in the document, stays too.
    ///
    /// `wanted` was made of what the document shows now: read it again after ``refresh()``.
    ///
    /// - Throws: `EncodingError` for what a document cannot hold. Then nothing was edited.
    public func write(_ wanted: some Codable) throws { try write(over: value(), wanted) }

    /// Changes it in memory as a type of the app's; as ``read(as:)`` and ``write(_:)``.
    public func update<T: Codable>(as type: T.Type = T.self, _ change: (inout T) throws -> Void) throws {
        let shown = try value()
        var wanted: T = try ValueDecoder().decode(from: shown)
        try change(&wanted)
        try write(over: shown, wanted)
    }

    private func write<T: Codable>(over shown: Value, _ wanted: T) throws {
        let encoder = ValueEncoder()
        let after = try encoder.document(wanted)
        // What cannot be read as this type has nothing of it that could have been taken away.
        let before = try (try? ValueDecoder().decode(T.self, from: shown)).map(encoder.document) ?? .map([:], isChoice: false)
        let edits = EditPlan(of: shown, read: before, wanted: after).edits
        if !edits.isEmpty { try edit(edits) }
    }
}

extension Pod.Collection {
    /// Makes a document of a value of the app's; see ``ValueEncoder``. On the disk when it returns.
    @discardableResult
    public func create(_ value: some Encodable) async throws -> Written { try await create(Edit.edits(making: value)) }

    /// A document as it is now, as a type of the app's; `nil` if it is not here.
    ///
    /// - Throws: `DecodingError` if it is not of this type.
    public func get<T: Decodable>(_ id: DocumentID, as type: T.Type) async throws -> T? {
        try await get(id).map { try ValueDecoder().decode(from: $0) }
    }

    /// Changes a document as a type of the app's, and saves it: only what `change` changed is written, so that what another device changes at the
    /// same time stays. See ``Document/write(_:)``. On the disk when it returns. `change` runs where the caller runs.
    ///
    /// - Returns: the entry that holds the change; `nil` if nothing was changed.
    /// - Throws: ``RhizomeError/Kind/notFound`` if the document is not here, `DecodingError` if it is not of this type, and what `change` throws.
    @discardableResult
    public func update<T: Codable>(
        _ id: DocumentID, as type: T.Type = T.self, isolation: isolated (any Actor)? = #isolation, _ change: (inout T) throws -> Void
    ) async throws -> EntryRef? {
        let document = try await open(id)
        if try document.value() == .map([:]), try await get(id) == nil {
            throw RhizomeError(kind: .notFound, code: "no-document", reason: "there is no document \(id) here", isRetryable: false)
        }
        try document.update(as: type, change)
        return try await document.save()
    }

    /// One document as it changes, as a type of the app's; `nil` while it is not here. A loop over it throws `DecodingError` when it is not of this type.
    public func updates<T: Decodable & Sendable>(of id: DocumentID, as type: T.Type) -> Updates<T?> {
        Updates { [handle] in
            let subscription = try mapped { try handle.watchDocument(id: id.rawValue) }
            return Subscription {
                guard let snapshot = try await subscription.next(cancel: $0) else { return nil }
                return .some(try snapshot.value.map { try ValueDecoder().decode(T.self, from: Value($0)) })
            } end: {
                subscription.cancel()
            }
        }
    }
}

extension Edit {
    /// The edits that make a new document of a value of the app's, for ``DocumentWrite``.
    public static func edits(making value: some Encodable) throws -> [Edit] {
        guard case .map(let fields) = try ValueEncoder().document(value).value else { return [] }
        return fields.sorted { $0.key < $1.key }.map { .set(DocumentPath([.field($0)]), to: $1) }
    }
}
