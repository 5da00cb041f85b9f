import Foundation
internal import RhizomeCore

/// A version of a document: one change of it, and the document as whoever wrote that saw it.
public struct DocumentVersion: Sendable, Hashable, Identifiable, CustomStringConvertible, CustomReflectable {
    /// What a version is called by: 64 hexadecimal digits.
    public struct ID: RawRepresentable, Sendable, Hashable, Codable, CustomStringConvertible {
        /// The digits.
        public let rawValue: String
        /// An id from its digits. Calls throw ``RhizomeError/Kind/invalidInput`` if it is none.
        public init(rawValue: String) { self.rawValue = rawValue }
        /// The digits.
        public var description: String { rawValue }
    }

    /// What a change is for.
    public enum Kind: Sendable, Hashable {
        /// The first change of the document.
        case create
        /// An edit.
        case edit
        /// Takes back what another change did.
        case undo(ID)
        /// Does again what an undo took back.
        case redo(ID)
        /// Makes the document as it was after another change.
        case restore(ID)
    }

    /// What it is called by.
    public let id: ID
    /// What it is for.
    public let kind: Kind
    /// The entry that carried it.
    public let entry: EntryRef
    /// The device that wrote it, by its signing key, in hexadecimal digits.
    public let device: String
    /// What the person calls that device.
    public let deviceName: String?
    /// Whether it is this device.
    public let isThisDevice: Bool
    /// When it was written, by that device's clock.
    public let date: Date

    init(_ version: RhizomeCore.DocumentVersion) {
        (id, entry, date) = (ID(rawValue: version.change), EntryRef(version.entry), Date(millis: version.millis))
        (device, deviceName, isThisDevice) = (version.device, version.deviceName, version.thisDevice)
        kind =
            switch version.kind {
            case .create: .create
            case .edit: .edit
            case .undo(let change): .undo(ID(rawValue: change))
            case .redo(let change): .redo(ID(rawValue: change))
            case .restore(let change): .restore(ID(rawValue: change))
            }
    }

    /// What it is called by.
    public var description: String { "DocumentVersion(\(id))" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A page of a document's history.
public struct HistoryPage: Sendable, Hashable {
    /// Where a page ends and the next begins.
    public struct Cursor: RawRepresentable, Sendable, Hashable, Codable {
        /// To be kept.
        public let rawValue: String
        /// What ``rawValue`` was. Calls throw ``RhizomeError/Kind/invalidInput`` if it is none.
        public init(rawValue: String) { self.rawValue = rawValue }
    }

    /// The versions, newest first by the clocks of who wrote them.
    public let versions: [DocumentVersion]
    /// Given to ``Pod/Collection/history(of:after:limit:)``, it gives the next page; `nil` after the last.
    public let next: Cursor?
}

/// One difference between two versions of a document.
public struct Difference: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// What is different at one place.
    public enum Change: Sendable, Hashable {
        /// A field was put there, taken away or replaced as a whole, or a counter counted on: what was there, and what is.
        case set(before: Value?, after: Value?)
        /// A value of a list was put in. The path is its place after.
        case inserted(Value)
        /// A value of a list was taken out. The path is its place before.
        case removed(Value)
        /// A text was edited: all of it, in order.
        case text([TextPiece])
    }

    /// Where.
    public let path: DocumentPath
    /// What.
    public let change: Change

    init(_ difference: RhizomeCore.Difference) {
        path = DocumentPath(difference.path)
        change =
            switch difference.change {
            case .set(let before, let after): .set(before: before.map { Value($0) }, after: after.map { Value($0) })
            case .inserted(let value): .inserted(Value(value))
            case .removed(let value): .removed(Value(value))
            case .text(let pieces): .text(pieces.map { TextPiece($0) })
            }
    }

    /// The kind of difference: what people write must not reach logs.
    public var description: String {
        switch change {
        case .set: "set"
        case .inserted: "inserted"
        case .removed: "removed"
        case .text(let pieces): "text(\(pieces.count) pieces)"
        }
    }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A piece of a text in a comparison.
public enum TextPiece: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// The same in both, marks too.
    case kept(String)
    /// The same letters with other marks.
    case marked(String, before: [String: Value], after: [String: Value])
    /// Only in the later one.
    case added(String)
    /// Only in the earlier one.
    case removed(String)

    init(_ piece: RhizomeCore.TextPiece) {
        switch piece {
        case .kept(let text): self = .kept(text)
        case .marked(let text, let before, let after):
            self = .marked(text, before: before.mapValues(Value.init), after: after.mapValues(Value.init))
        case .added(let text): self = .added(text)
        case .removed(let text): self = .removed(text)
        }
    }

    /// Its letters.
    public var text: String {
        switch self {
        case .kept(let text), .marked(let text, _, _), .added(let text), .removed(let text): text
        }
    }

    /// How long it is, in UTF-16 code units: what people write must not reach logs.
    public var description: String { "TextPiece(\(text.utf16.count))" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A piece of a text and who wrote it.
public struct BlameSpan: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// The letters.
    public let text: String
    /// The version that put them in.
    public let version: DocumentVersion

    init(_ span: RhizomeCore.BlameSpan) { (text, version) = (span.text, DocumentVersion(span.version)) }

    /// How long it is, in UTF-16 code units: what people write must not reach logs.
    public var description: String { "BlameSpan(\(text.utf16.count))" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// One of several values that devices put into one place without knowing of each other.
public struct Conflict: Sendable, Hashable {
    /// The value.
    public let value: Value
    /// The version that put it there.
    public let version: DocumentVersion

    init(_ conflict: RhizomeCore.Conflict) { (value, version) = (Value(conflict.value), DocumentVersion(conflict.version)) }
}

/// Each throws ``RhizomeError/Kind/notFound`` for a document that is not here, but ``history(of:after:limit:)``, and ``RhizomeError/Kind/invalidInput`` for a version
/// that it does not have.
extension Pod.Collection {
    /// A page of the versions of a document, newest first by the clocks of who wrote them. A document that is not here has none.
    ///
    /// - Parameters:
    ///   - id: the document.
    ///   - cursor: the ``HistoryPage/next`` of the page before; `nil` for the first.
    ///   - limit: how many entries' worth of versions at most.
    public func history(of id: DocumentID, after cursor: HistoryPage.Cursor? = nil, limit: Int = 50) async throws -> HistoryPage {
        let page = try await cancellable {
            try await handle.history(id: id.rawValue, after: cursor?.rawValue, limit: UInt32(clamping: limit), cancel: $0)
        }
        return HistoryPage(versions: page.versions.map { DocumentVersion($0) }, next: page.next.map(HistoryPage.Cursor.init(rawValue:)))
    }

    /// A document as it was at a version.
    public func get(_ id: DocumentID, at version: DocumentVersion.ID) async throws -> Value {
        Value(try await cancellable { try await handle.documentAt(id: id.rawValue, version: version.rawValue, cancel: $0) })
    }

    /// A document as it was at a version, as a type of the app's; throws `DecodingError` if it was not of this type.
    public func get<T: Decodable>(_ id: DocumentID, at version: DocumentVersion.ID, as type: T.Type) async throws -> T {
        try ValueDecoder().decode(from: try await get(id, at: version))
    }

    /// The text at a path in pieces with their marks, as it is now or was at a version; `nil` if no text is there.
    public func spans(_ id: DocumentID, _ path: DocumentPath, at version: DocumentVersion.ID? = nil) async throws -> [Span]? {
        try await cancellable { try await handle.spans(id: id.rawValue, at: path.core, version: version?.rawValue, cancel: $0) }
            .map { $0.map { Span($0) } }
    }

    /// What is different in a document between two versions; from the empty document if there is no earlier one.
    public func differences(
        _ id: DocumentID, from before: DocumentVersion.ID? = nil, to after: DocumentVersion.ID
    ) async throws -> [Difference] {
        try await cancellable {
            try await handle.differences(id: id.rawValue, before: before?.rawValue, after: after.rawValue, cancel: $0)
        }.map { Difference($0) }
    }

    /// Who wrote the text at a path, letter by letter, in order; empty if no text is there.
    public func blame(_ id: DocumentID, _ path: DocumentPath) async throws -> [BlameSpan] {
        try await cancellable { try await handle.blame(id: id.rawValue, at: path.core, cancel: $0) }.map { BlameSpan($0) }
    }

    /// Every value that devices put into the place at a path without knowing of each other; the last is shown. One, if nobody disagrees. Whoever
    /// sets the place decides.
    public func conflicts(_ id: DocumentID, _ path: DocumentPath) async throws -> [Conflict] {
        try await cancellable { try await handle.conflicts(id: id.rawValue, at: path.core, cancel: $0) }.map { Conflict($0) }
    }

    /// Makes a document as it was at a version, by a new change: every version stays. On the disk when it returns.
    @discardableResult
    public func restore(_ id: DocumentID, to version: DocumentVersion.ID) async throws -> Written {
        Written(try await cancellable { try await handle.restore(id: id.rawValue, version: version.rawValue, cancel: $0) })
    }

    /// Takes back what this device did last in a document and did not take back yet, by a new change: all that one edit, batch or save did. What others
    /// wrote stays. `nil` if there is nothing to take back; it goes up to 1,000 changes back, also after the pod was closed.
    @discardableResult
    public func undo(_ id: DocumentID) async throws -> Written? {
        try await cancellable { try await handle.undo(id: id.rawValue, cancel: $0) }.map { Written($0) }
    }

    /// Does again what was taken back last, if this device did not edit the document since. `nil` if there is nothing.
    @discardableResult
    public func redo(_ id: DocumentID) async throws -> Written? {
        try await cancellable { try await handle.redo(id: id.rawValue, cancel: $0) }.map { Written($0) }
    }

    /// The document as an Automerge file, with its whole history. It holds everything that was ever written in the document, in the clear.
    public func automergeFile(_ id: DocumentID) async throws -> Data {
        try await cancellable { try await handle.exportDocument(id: id.rawValue, cancel: $0) }
    }
}
