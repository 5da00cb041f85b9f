internal import RhizomeCore

/// A document that is open for editing.
///
/// Reading and editing are instant: they touch memory only and may be called on the main thread. ``save()`` makes the edits since the last save
/// durable, as one change. What others wrote comes in by ``refresh()`` alone, so that places in texts and lists mean what the person saw.
public final class Document: Sendable {
    private let handle: DocumentHandle

    init(handle: DocumentHandle) { self.handle = handle }

    /// Its id.
    public var id: DocumentID { DocumentID(rawValue: handle.id()) }

    /// Everything it shows, unsaved edits among it.
    public func value() throws -> Value { Value(try mapped { try handle.value() }) }

    /// The value at the end of a path; `nil` if there is none.
    public func get(_ path: DocumentPath) throws -> Value? { try mapped { try handle.get(at: path.core) }.map { Value($0) } }

    /// Edits it in memory: all of the edits or, if it throws, none.
    public func edit(_ edits: [Edit]) throws {
        try mapped { try handle.edit(edits: edits.map(\.core)) }
    }

    /// Puts a value at the end of a path; maps on the way are made.
    public func set(_ path: DocumentPath, to value: Value) throws { try edit([.set(path, to: value)]) }

    /// Removes the value at the end of a path.
    public func delete(_ path: DocumentPath) throws { try edit([.delete(path)]) }

    /// Puts a value into the list at a path, before the one at an index.
    public func insert(_ value: Value, into path: DocumentPath, at index: Int) throws { try edit([.insert(path, at: index, value)]) }

    /// In the text at a path, removes UTF-16 code units from a place on and puts something there. `NSRange` counts the same.
    public func spliceText(_ path: DocumentPath, at: Int, delete: Int = 0, insert: String = "") throws {
        try edit([.spliceText(path, at: at, delete: delete, insert: insert)])
    }

    /// Makes the text at a path read as given, by the least edits; one that is not there is made.
    public func setText(_ path: DocumentPath, to text: String) throws { try edit([.setText(path, to: text)]) }

    /// Adds to the counter at a path.
    public func increment(_ path: DocumentPath, by amount: Int64 = 1) throws { try edit([.increment(path, by: amount)]) }

    /// The text at a path in pieces with their marks; `nil` if no text is there.
    public func spans(_ path: DocumentPath) throws -> [Span]? {
        try mapped { try handle.spans(at: path.core) }.map { $0.map(Span.init) }
    }

    /// A cursor at a place in the text at a path, in UTF-16 code units; `leaning` says to which side of it it belongs. In letters that are not saved yet it
    /// means something to this ``Document`` only.
    public func cursor(in path: DocumentPath, at index: Int, leaning: TextCursor.Lean = .before) throws -> TextCursor {
        let lean: Lean = leaning == .before ? .before : .after
        return TextCursor(rawValue: try mapped { try handle.cursor(text: path.core, at: place(index), lean: lean) })
    }

    /// Where a cursor is now in the text at a path, in UTF-16 code units; `nil` if it is of another text, or of letters that are not here.
    public func position(of cursor: TextCursor, in path: DocumentPath) throws -> Int? {
        try mapped { try handle.position(text: path.core, cursor: cursor.rawValue) }.map { Int(clamping: $0) }
    }

    /// Whether every edit is on the disk.
    public var isSaved: Bool { handle.isSaved() }

    /// Makes the edits durable that were made before this call; gives the entry that holds them, if there was anything to write. If it
    /// throws, the edits stay: save again.
    @discardableResult
    public func save() async throws -> EntryRef? {
        try await cancellable { try await handle.save(cancel: $0) }.map { EntryRef($0) }
    }

    /// Saves, and brings in what others wrote since; gives whether the document shows something else now.
    @discardableResult
    public func refresh() async throws -> Bool {
        try await cancellable { try await handle.refresh(cancel: $0) }
    }

    /// Saves, and takes back what this device did last in the document and did not take back yet, by a new change. What others wrote stays, and comes
    /// in. Gives whether there was anything to take back.
    @discardableResult
    public func undo() async throws -> Bool { try await cancellable { try await handle.undo(cancel: $0) } }

    /// Saves, and does again what was taken back last, if this device did not edit the document since. Gives whether there was anything.
    @discardableResult
    public func redo() async throws -> Bool { try await cancellable { try await handle.redo(cancel: $0) } }

    /// Forgets the edits since the last save.
    public func discard() async throws {
        try await cancellable { try await handle.discard(cancel: $0) }
    }
}

/// A place in a text, between two characters: it stays there while others write before and after it, and means the same on every device that has the
/// text. When the character it belongs to is deleted, it stays where that was.
public struct TextCursor: RawRepresentable, Sendable, Hashable, Codable {
    /// To which side of it a place belongs.
    public enum Lean: Sendable, Hashable {
        /// To the character before it: what others put in at this place comes after it.
        case before
        /// To the character after it: what others put in at this place comes before it.
        case after
    }

    /// To be kept.
    public let rawValue: String

    /// What ``rawValue`` was. Calls throw ``RhizomeError/Kind/invalidInput`` if it is none.
    public init(rawValue: String) { self.rawValue = rawValue }
}

/// A piece of text that has the same marks throughout.
public struct Span: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// The text.
    public let text: String
    /// What each of its marks is set to.
    public let marks: [String: Value]

    init(_ span: RhizomeCore.Span) { (text, marks) = (span.text, span.marks.mapValues(Value.init)) }

    /// How long it is, in UTF-16 code units: what people write must not reach logs.
    public var description: String { "Span(\(text.utf16.count))" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
