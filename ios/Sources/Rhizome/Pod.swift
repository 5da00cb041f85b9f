import Foundation
internal import RhizomeCore

/// One person's data on one device: a folder, a device secret that a ``SecretKeeper`` keeps, and an identity.
///
/// It is written to with no network, for ever; it syncs when it is told to (``syncOnce(within:bytes:)``), which ``Lifecycle`` does. A folder that
/// is opened twice is one pod.
///
/// Calls marked `async` may wait for the disk or the network, and end when their task is cancelled; all others answer from memory. Apart from
/// `CancellationError` they throw a ``RhizomeError``.
public final class Pod: Sendable {
    let handle: PodHandle

    init(handle: PodHandle) { self.handle = handle }

    /// How a pod uses the network.
    public struct Options: Sendable, Hashable {
        /// Which relays may carry what direct connections cannot. A relay sees the keys and addresses of both ends, sizes and times; never
        /// content.
        public enum Relay: Sendable, Hashable {
            /// None: direct connections only.
            case none
            /// One of one's own.
            case own(URL)
            /// The public relays of iroh's makers.
            case `public`
        }

        /// Relays.
        public var relay: Relay
        /// Addresses to bind, as `IP:PORT`; none: every interface, on a port that the system chooses.
        public var listen: [String]

        /// Direct connections on every interface, but for what is given.
        public init(relay: Relay = .none, listen: [String] = []) { (self.relay, self.listen) = (relay, listen) }

        func core(_ folder: URL) -> PodOptions {
            let relay: RhizomeCore.Relay =
                switch relay {
                case .none: .none
                case .own(let url): .own(url: url.absoluteString)
                case .public: .public
                }
            return PodOptions(path: folder.path, relay: relay, listen: listen)
        }
    }

    /// A new pod, and the words that bring its identity back.
    public struct Created: Sendable {
        /// The pod.
        public let pod: Pod
        /// The 24 recovery words: show them once; they are kept nowhere.
        public let words: [String]
    }

    // MARK: Making and opening

    /// Makes a new identity with this as its first device.
    ///
    /// - Parameters:
    ///   - folder: made if it is not there, kept out of backups, and readable from the first unlock on.
    ///   - name: what the person's other devices call this one.
    ///   - keeper: keeps the device secret; usually ``SecretKeeper/keychain``.
    ///   - options: how it uses the network.
    public static func create(at folder: URL, name: String, keeper: any SecretKeeper, options: Options = Options()) async throws -> Created
    {
        try Folder.prepare(folder)
        let created = try await cancellable {
            try await createPod(pod: options.core(folder), keeper: ForeignKeeper(keeper), name: name, cancel: $0)
        }
        return Created(pod: Pod(handle: created.pod), words: created.words)
    }

    /// Opens the pod in a folder.
    ///
    /// - Throws: ``RhizomeError/Kind/locked`` before the device's first unlock, to be tried again; ``RhizomeError/Kind/needsRecovery`` if the device secret
    ///   is gone; ``RhizomeError/Kind/notFound`` if there is no pod.
    public static func open(at folder: URL, keeper: any SecretKeeper, options: Options = Options()) async throws -> Pod {
        Pod(handle: try await cancellable { try await openPod(pod: options.core(folder), keeper: ForeignKeeper(keeper), cancel: $0) })
    }

    /// Joins the identity of the device that shows `code`, as a new device.
    public static func join(
        at folder: URL, name: String, code: String, keeper: any SecretKeeper, options: Options = Options()
    ) throws -> Linking<Pod> {
        try Folder.prepare(folder)
        return Linking(
            newcomer: try mapped { try joinPod(pod: options.core(folder), keeper: ForeignKeeper(keeper), name: name, code: code) })
    }

    /// Makes a code (``Linking/code``) that a device of an identity scans to let this new one in.
    public static func awaitLink(
        at folder: URL, name: String, keeper: any SecretKeeper, expiresIn: Duration = .seconds(600), options: Options = Options()
    ) async throws -> Linking<Pod> {
        try Folder.prepare(folder)
        return Linking(
            newcomer: try await cancellable {
                try await RhizomeCore.awaitLink(
                    pod: options.core(folder), keeper: ForeignKeeper(keeper), name: name,
                    expiresSeconds: UInt32(clamping: expiresIn.components.seconds), cancel: $0)
            })
    }

    // MARK: What it is

    /// The identity's DID.
    public var did: String { get throws { try mapped { try handle.did() } } }

    /// The signing key of this device, by which others know it, in hexadecimal digits.
    public var device: String { get throws { try mapped { try handle.device() } } }

    /// The identity's DID document (W3C DID Core 1.0) as JSON, as far as its log is ordered.
    public var didDocument: String { get throws { try mapped { try handle.didDocument() } } }

    /// The public part of the identity log, as a CAR file: whoever has it resolves the DID with ``resolve(_:from:)``, asking nobody. It tells the public keys and
    /// addresses of devices and cloud peers, and when they came; no names.
    public var exportedIdentity: Data { get throws { try mapped { try handle.exportIdentity() } } }

    /// The newest DID document in the file of an identity, as JSON. Everything in the file is verified.
    ///
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `did` if the file is not the log of this DID.
    public static func resolve(_ did: String, from file: Data) throws -> String { try mapped { try resolveDid(did: did, file: file) } }

    /// The folder.
    public var folder: URL { URL(fileURLWithPath: handle.path(), isDirectory: true) }

    // MARK: What it holds

    /// Documents of one kind. There is nothing of a collection before the first document in it.
    public func collection(_ name: String) -> Collection { Collection(handle: handle.collection(name: name)) }

    /// An event log for one kind of data. There is nothing of it before the first event in it.
    public func stream(_ label: String) -> Stream { Stream(handle: handle.stream(label: label)) }

    /// The devices and peers that hold an entry, by their signed word. None: it is only here, as far as is known.
    public func holders(of entry: EntryRef) async throws -> [Holder] {
        try await cancellable { try await handle.holders(entry: entry.core, cancel: $0) }.map { Holder($0) }
    }

    /// Checks the log: SQLite's own check, and every chain and signature. Gives how many entries were checked. Slow.
    @discardableResult
    public func verify() async throws -> Int {
        Int(try await cancellable { try await handle.verify(cancel: $0) })
    }

    // MARK: Devices and peers

    /// Makes a code (``Linking/code``) that a new device scans to join this identity: it will read everything.
    public func invite(expiresIn: Duration = .seconds(600)) async throws -> Linking<LinkOutcome> {
        let seconds = UInt32(clamping: expiresIn.components.seconds)
        return Linking(member: try await cancellable { try await handle.invite(expiresSeconds: seconds, cancel: $0) })
    }

    /// Lets the new device that shows `code` into this identity: it will read everything.
    public func linkDevice(code: String) -> Linking<LinkOutcome> { Linking(member: handle.linkDevice(code: code)) }

    /// Links the cloud peer that shows `code`: it will store what it cannot read.
    public func linkCloudPeer(code: String) -> Linking<LinkOutcome> { Linking(member: handle.linkCloudPeer(code: code)) }

    /// The cloud peers of this identity.
    public var cloudPeers: [CloudPeer] {
        get async throws { try await cancellable { try await handle.cloudPeers(cancel: $0) }.map { CloudPeer(handle: $0) } }
    }

    // MARK: Syncing

    /// The pod's state, with its reasons.
    public var status: Status {
        get async throws { Status(try await cancellable { try await handle.status(cancel: $0) }) }
    }

    /// The pod's state, as it changes.
    public var statuses: Updates<Status> {
        Updates { [handle] in
            let subscription = handle.watchStatus()
            return Subscription {
                try await subscription.next(cancel: $0).map { Status($0) }
            } end: {
                subscription.cancel()
            }
        }
    }

    /// The whole job of a background wake: connects to the cloud peers (or, without one, to devices whose address is known), moves what is
    /// missing both ways, gets durable receipts and closes. What was moved stays moved, however it ends.
    ///
    /// - Parameters:
    ///   - deadline: it ends within this time.
    ///   - bytes: how many bytes it may move, both ways, about; `nil`: any number.
    /// - Returns: what moved; what went wrong with a peer stands there too.
    @discardableResult
    public func syncOnce(within deadline: Duration = .seconds(25), bytes: Int? = nil) async throws -> SyncReport {
        let (millis, budget) = (deadline.millis, bytes.map { UInt64(clamping: $0) })
        return SyncReport(
            try await cancellable { try await handle.syncOnce(deadlineMillis: millis, byteBudget: budget, cancel: $0) })
    }

    /// Stays connected to every cloud peer until ``Live/stop()``, or until the handle is dropped: new entries move at once, both ways. For the
    /// foreground: an idle connection keeps a radio awake.
    public func goLive() async throws -> Live {
        Live(handle: try await cancellable { try await handle.goLive(cancel: $0) })
    }

    /// Keeps a pod live for as long as it is held.
    public final class Live: Sendable {
        private let handle: LiveHandle

        init(handle: LiveHandle) { self.handle = handle }

        /// Ends the live sessions and waits for their last words. Can be called again.
        public func stop() async throws { try await uncancelled { try await handle.stop() } }
    }

    /// Says what the system says of this device. ``Lifecycle`` does it for you.
    public func set(_ conditions: Conditions) { handle.setConditions(conditions: conditions.core) }

    /// To be called when the system says that the network changed. ``Lifecycle`` does it for you.
    public func networkChanged() async throws { try await cancellable { try await handle.networkChanged(cancel: $0) } }

    // MARK: Coming and going

    /// Lets go of every file, lock and socket, at a durable point. Until ``resume()``, calls throw ``RhizomeError/Kind/suspended`` at once. To be awaited before
    /// the system suspends the app: it ends one that holds a file lock then. Once begun it comes to its end, even if the task is cancelled.
    public func suspend() async throws { try await uncancelled { try await handle.suspend() } }

    /// Takes everything up again. Does nothing if the pod is not suspended.
    ///
    /// - Throws: ``RhizomeError/Kind/inUse`` if another process has the folder meanwhile; the pod stays suspended then.
    public func resume() async throws { try await uncancelled { try await handle.resume() } }

    /// Ends the pod. Can be called again, and in any phase.
    public func shutdown() async throws { try await uncancelled { try await handle.shutdown() } }
}

extension Duration {
    /// Whole milliseconds: none below 0, and no more than there are.
    var millis: UInt64 {
        let (seconds, over) = UInt64(clamping: components.seconds).multipliedReportingOverflow(by: 1000)
        return over ? .max : seconds &+ UInt64(clamping: components.attoseconds / 1_000_000_000_000_000)
    }
}
