import Foundation
internal import RhizomeCore

/// A document that was deleted and can still be brought back.
public struct TrashedDocument: Sendable, Hashable, Identifiable {
    /// The document.
    public let id: DocumentID
    /// The collection it was in.
    public let collection: String
    /// What it holds, as long as it is here.
    public let value: Value
    /// Which device deleted it: its signing key, in hexadecimal digits.
    public let device: String
    /// When it was deleted, by the clock of whoever puts operations in order; `nil` while that waits for its order.
    public let since: Date?
    /// From when it is gone for good, by the same clock: seven days later. `nil` while it waits for its order: then not before seven days from now.
    public let due: Date?

    init(_ trashed: RhizomeCore.Trashed) {
        (id, collection, value) = (DocumentID(rawValue: trashed.id), trashed.collection, Value(trashed.value))
        (device, since, due) = (trashed.by, trashed.since.map(Date.init(millis:)), trashed.due.map(Date.init(millis:)))
    }
}

/// Deleting. For seven days it can be undone, on every device; then every device and cloud peer drops the document's text and attachments. What stays for ever:
/// that there was something of this size in this entry of this device at this time, and the documents' random ids.
extension Pod {
    /// Deletes a document, as several are deleted.
    @discardableResult
    public func erase(_ id: DocumentID) async throws -> [ProposalID] { try await erase([id]) }

    /// Deletes documents: gone from every list at once, here and on each device that learns of it. ``trash`` names them, and ``cancelErase(_:)`` brings
    /// them back, until seven days after the deletion was put in order. Those that are deleted already stay as they are. Many in one call take less
    /// room in the identity's log, which holds 4,096 operations.
    ///
    /// - Throws: ``RhizomeError/Kind/notFound`` if one is not here. Then none is deleted.
    @discardableResult
    public func erase(_ ids: [DocumentID]) async throws -> [ProposalID] {
        let ids = ids.map(\.rawValue)
        return try await cancellable { try await handle.eraseDocuments(ids: ids, cancel: $0) }.map(ProposalID.init(rawValue:))
    }

    /// Deletes a document for good, with the 24 words: each device and cloud peer that hears of it drops its text. Nothing brings it back. Also for what is
    /// in the trash.
    ///
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `wrong-words` if they are not the identity's words.
    @discardableResult
    public func eraseAtOnce(_ id: DocumentID, with words: String) async throws -> [ProposalID] {
        try await cancellable { try await handle.eraseDocumentAtOnce(id: id.rawValue, words: words, cancel: $0) }
            .map(ProposalID.init(rawValue:))
    }

    /// Brings a deleted document back, in time. Of others that were deleted in the same call, the seven days begin anew.
    ///
    /// - Throws: ``RhizomeError/Kind/notFound`` if it is not in the trash, ``RhizomeError/Kind/refused`` if it is too late.
    public func cancelErase(_ id: DocumentID) async throws {
        try await cancellable { try await handle.cancelErase(id: id.rawValue, cancel: $0) }
    }

    /// The documents that were deleted and can still be brought back, the latest first.
    public var trash: [TrashedDocument] {
        get async throws { try await cancellable { try await handle.trash(cancel: $0) }.map { TrashedDocument($0) } }
    }
}
