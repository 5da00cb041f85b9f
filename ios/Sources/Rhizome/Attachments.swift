import Foundation
internal import RhizomeCore

/// The id of an attachment: 64 hexadecimal digits.
public struct AttachmentID: RawRepresentable, Sendable, Hashable, Codable, CustomStringConvertible {
    /// The digits.
    public let rawValue: String

    /// An id from its digits. Calls throw ``RhizomeError/Kind/invalidInput`` if it is none.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The digits.
    public var description: String { rawValue }
}

/// What a document says of an attachment: where it is found, what opens it, and what it is.
///
/// As a property of a type that documents are read as, it is that part of the document; ``value`` is what goes into a document otherwise. An attachment that
/// no document refers to for 30 days goes from this device.
public struct AttachmentReference: Sendable, Hashable, Codable, CustomStringConvertible, CustomReflectable {
    /// The name of the field that makes a map a reference.
    static let field = "$attachment"

    /// Which attachment.
    public let id: AttachmentID
    /// Its bytes.
    public let size: UInt64
    /// Its media type (RFC 6838), as `image/jpeg`.
    public let mediaType: String
    /// What its file is called, if anything.
    public let name: String?
    /// What stands for it in a document, with the key that opens it.
    public let value: Value
    private let small: Value?

    /// The reference that a value of a document is; `nil` if it is none.
    public init?(_ value: Value) {
        guard let reference = attachmentRef(value: value.core) else { return nil }
        self.init(reference)
    }

    init(_ reference: RhizomeCore.AttachmentRef) {
        (id, size) = (AttachmentID(rawValue: reference.id), reference.size)
        (mediaType, name) = (reference.mediaType, reference.name)
        (value, small) = (Value(reference.value), reference.thumbnail.map { Value($0) })
    }

    /// A small one to be shown in its place: an attachment of its own, which is moved first.
    public var thumbnail: AttachmentReference? { small.flatMap { AttachmentReference($0) } }

    /// Only documents hold references, by ``ValueDecoder``: any other decoder is refused.
    public init(from decoder: any Decoder) throws {
        throw DecodingError.dataCorrupted(
            .init(codingPath: decoder.codingPath, debugDescription: "only a document holds references to attachments"))
    }

    /// Only documents hold references, by ``ValueEncoder``: any other encoder is refused, since the key that opens the attachment would be written.
    public func encode(to encoder: any Encoder) throws {
        throw EncodingError.invalidValue(
            Self.self, .init(codingPath: encoder.codingPath, debugDescription: "only a document holds references to attachments"))
    }

    /// Which attachment: its name is a person's own words, its key a secret.
    public var description: String { "AttachmentReference(\(id))" }
    /// Shows nothing, so that `dump` does not either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension AttachmentReference: Leaf {
    static var words: String { "a reference to an attachment" }
    static func read(_ value: Value) throws(Unreadable) -> AttachmentReference {
        guard let reference = AttachmentReference(value) else { throw .kind }
        return reference
    }
    var written: Value? { value }
}

/// How far a call is that moves an attachment.
public struct AttachmentProgress: Sendable, Hashable {
    /// Bytes that are done.
    public let done: UInt64
    /// Of how many, where that is known.
    public let total: UInt64?
}

/// Where an attachment is.
public struct AttachmentStatus: Sendable, Hashable {
    /// Bytes that it takes, sealed, where it is whole; `nil` if nothing of it is known here but its reference.
    public let size: UInt64?
    /// How many of them are here.
    public let here: UInt64
    /// Whether it is kept here whole, and got where it is not.
    public let isPinned: Bool
    /// Cloud peers that said, signed, that they hold all of it on their disk. None: it may be lost with this device.
    public let holders: [Holder]
}

/// The attachments of a pod, together.
public struct AttachmentsStatus: Sendable, Hashable {
    /// How many are known here.
    public let count: UInt64
    /// Bytes that they take on this device, sealed.
    public let here: UInt64
    /// How many are here whole and held by no cloud peer.
    public let onlyHere: UInt64
    /// Bytes of these, sealed.
    public let onlyHereBytes: UInt64
    /// The most bytes that this device keeps of what is held elsewhere too; `nil`: no limit.
    public let quota: UInt64?
}

/// A small picture to be shown in an attachment's place.
public struct Thumbnail: Sendable, Hashable {
    /// The picture, 262,144 bytes at the most.
    public var data: Data
    /// Its media type.
    public var mediaType: String

    /// A picture.
    public init(_ data: Data, mediaType: String = "image/jpeg") { (self.data, self.mediaType) = (data, mediaType) }
}

/// Attachments: photos, recordings and other files, up to 8 GiB each. They are sealed on the disk and moved after documents, so that they hold none back.
///
/// Calls that may wait for the network take a deadline; what came within it stays, however they end. Where a call takes `progress`, it is called now and
/// then while the call goes on and once when it is done, from any thread.
extension Pod {
    /// Seals bytes and keeps them, on the disk when it returns. To be found again the reference goes into a document.
    ///
    /// - Parameters:
    ///   - data: the bytes.
    ///   - mediaType: their media type (RFC 6838), as `image/jpeg`; 1 to 255 bytes.
    ///   - name: what their file is called, if that matters; at most 255 bytes.
    ///   - thumbnail: a small picture to be shown in its place. It is moved before larger ones.
    ///   - progress: hears how far it is.
    public func attach(
        _ data: Data, mediaType: String, name: String? = nil, thumbnail: Thumbnail? = nil,
        progress: (@Sendable (AttachmentProgress) -> Void)? = nil
    ) async throws -> AttachmentReference {
        let what = NewAttachment(mediaType, name, thumbnail)
        return AttachmentReference(
            try await heard(progress) { try await handle.attachBytes(bytes: data, what: what, progress: $0, cancel: $1) })
    }

    /// As ``attach(_:mediaType:name:thumbnail:progress:)``, what is in a file: in a few mebibytes of memory, however large it is. The file is left as it is.
    ///
    /// - Throws: ``RhizomeError/Kind/storage`` with the code `attachment-source` if it cannot be read. Then nothing was kept.
    public func attach(
        contentsOf file: URL, mediaType: String, name: String? = nil, thumbnail: Thumbnail? = nil,
        progress: (@Sendable (AttachmentProgress) -> Void)? = nil
    ) async throws -> AttachmentReference {
        let (what, path) = (NewAttachment(mediaType, name, thumbnail), file.path)
        return AttachmentReference(
            try await heard(progress) { try await handle.attachFile(path: path, what: what, progress: $0, cancel: $1) })
    }

    /// Bytes of an attachment, checked: those of `range` that it has, or all. What is not here is got first, and stays.
    ///
    /// - Throws: ``RhizomeError/Kind/notFound`` if nobody who could be reached within the deadline holds it.
    public func read(_ reference: AttachmentReference, _ range: Range<UInt64>? = nil, within deadline: Duration = .seconds(60)) async throws
        -> Data
    {
        let (of, range, millis) = (reference.value.core, range ?? 0..<reference.size, deadline.millis)
        return try await cancellable {
            try await handle.readAttachment(of: of, start: range.lowerBound, end: range.upperBound, deadlineMillis: millis, cancel: $0)
        }
    }

    /// Writes an attachment into a file, checked and in little memory; what is not here is got first. Gives how many bytes it has.
    ///
    /// - Throws: as ``read(_:_:within:)``; ``RhizomeError/Kind/storage`` with the code `attachment-target` if the file cannot be written.
    @discardableResult
    public func export(
        _ reference: AttachmentReference, to file: URL, within deadline: Duration = .seconds(60),
        progress: (@Sendable (AttachmentProgress) -> Void)? = nil
    ) async throws -> UInt64 {
        let (of, path, millis) = (reference.value.core, file.path, deadline.millis)
        return try await heard(progress) {
            try await handle.exportAttachment(of: of, path: path, deadlineMillis: millis, progress: $0, cancel: $1)
        }
    }

    /// Gets all of an attachment that is not here.
    ///
    /// - Throws: as ``read(_:_:within:)``.
    public func fetch(
        _ id: AttachmentID, within deadline: Duration = .seconds(60), progress: (@Sendable (AttachmentProgress) -> Void)? = nil
    ) async throws {
        let millis = deadline.millis
        try await heard(progress) {
            try await handle.fetchAttachment(id: id.rawValue, deadlineMillis: millis, progress: $0, cancel: $1)
        }
    }

    /// Where an attachment is.
    public func status(of id: AttachmentID) async throws -> AttachmentStatus {
        let status = try await cancellable { try await handle.attachmentStatus(id: id.rawValue, cancel: $0) }
        return AttachmentStatus(size: status.size, here: status.here, isPinned: status.pinned, holders: status.holders.map { Holder($0) })
    }

    /// All attachments together.
    public var attachmentsStatus: AttachmentsStatus {
        get async throws {
            let status = try await cancellable { try await handle.attachmentsStatus(cancel: $0) }
            return AttachmentsStatus(
                count: status.count, here: status.here, onlyHere: status.onlyHere, onlyHereBytes: status.onlyHereBytes,
                quota: status.quota)
        }
    }

    /// Keeps an attachment on this device, and gets it with the next sync if it is not here; or lets it go again when there is no room.
    public func setPinned(_ id: AttachmentID, _ isPinned: Bool) async throws {
        try await cancellable { try await handle.pinAttachment(id: id.rawValue, pinned: isPinned, cancel: $0) }
    }

    /// The most bytes of attachments that this device keeps; `nil`: no limit, as in the beginning. What no cloud peer holds, what is pinned, and
    /// thumbnails are kept whatever they take.
    public func setAttachmentQuota(_ bytes: UInt64?) async throws {
        try await cancellable { try await handle.setAttachmentQuota(bytes: bytes, cancel: $0) }
    }

    /// Removes an attachment's bytes from this device. It is got again when it is read.
    ///
    /// - Throws: ``RhizomeError/Kind/refused`` if no cloud peer holds it.
    public func evict(_ id: AttachmentID) async throws {
        try await cancellable { try await handle.evictAttachment(id: id.rawValue, cancel: $0) }
    }

    /// Makes room down to the quota, and lets go of what no document referred to for 30 days. A sync does this too, once a day. Gives how many
    /// attachments are only elsewhere now, and how many are gone.
    @discardableResult
    public func tidyAttachments() async throws -> (evicted: UInt64, dropped: UInt64) {
        let tidied = try await cancellable { try await handle.tidyAttachments(cancel: $0) }
        return (tidied.evicted, tidied.dropped)
    }
}

extension Pod.Collection {
    /// The attachments that a document refers to, wherever in it.
    public func attachments(of id: DocumentID) async throws -> [AttachmentReference] {
        try await cancellable { try await handle.attachmentsOf(id: id.rawValue, cancel: $0) }.map { AttachmentReference($0) }
    }
}

extension NewAttachment {
    fileprivate init(_ mediaType: String, _ name: String?, _ thumbnail: Thumbnail?) {
        self.init(
            mediaType: mediaType, name: name, thumbnail: thumbnail?.data, thumbnailType: thumbnail?.mediaType ?? "image/jpeg")
    }
}

/// Calls the core, and tells how far it is.
private func heard<T: Sendable>(
    _ progress: (@Sendable (AttachmentProgress) -> Void)?, _ call: (ProgressHandle?, CancelHandle) async throws -> T
) async throws -> T {
    guard let progress else { return try await cancellable { try await call(nil, $0) } }
    let (handle, ended) = (ProgressHandle(), CancelHandle())
    let tell = { @Sendable (now: RhizomeCore.Progress) in progress(AttachmentProgress(done: now.done, total: now.total)) }
    let listening = Task {
        var last: RhizomeCore.Progress?
        while let now = try? await handle.next(cancel: ended) {
            last = now
            tell(now)
        }
        return last
    }
    do {
        let result = try await cancellable { try await call(handle, $0) }
        // The end may have come with the last step, or before anybody listened.
        let (last, now) = (await listening.value, handle.now())
        if last != now { tell(now) }
        return result
    } catch {
        // A call that was refused before it began has no end to hear of.
        ended.cancel()
        throw error
    }
}
