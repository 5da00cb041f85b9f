import Foundation
internal import RhizomeCore

/// An entry: its author log and its place in it.
public struct EntryRef: Sendable, Hashable {
    /// The author log: 64 hexadecimal digits.
    public let author: String
    /// Its place.
    public let seq: UInt64

    init(_ entry: RhizomeCore.EntryRef) { (author, seq) = (entry.author, entry.seq) }

    var core: RhizomeCore.EntryRef { .init(author: author, seq: seq) }
}

/// A device or peer that said, signed, that it holds something on its disk.
public struct Holder: Sendable, Hashable {
    /// Its signing key, in hexadecimal digits.
    public let key: String
    /// What the person calls it.
    public let name: String?
    /// Whether it is a cloud peer.
    public let isCloudPeer: Bool
    /// When it said so, by its clock.
    public let since: Date

    init(_ holder: RhizomeCore.Holder) {
        (key, name, isCloudPeer, since) = (holder.key, holder.name, holder.cloud, Date(millis: holder.since))
    }
}

/// Why a pod is not up to date.
public struct WaitReason: Sendable, Hashable {
    /// What kind of reason. A later version may know more.
    public struct Kind: RawRepresentable, Sendable, Hashable {
        /// The stable word.
        public let rawValue: String
        /// A kind from its word.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// No cloud peer and no reachable device is linked.
        public static let noPeer = Self(rawValue: "no-peer")
        /// Nothing was tried since the pod was opened.
        public static let notTried = Self(rawValue: "not-tried")
        /// Entries were written since the last sync.
        public static let newEntries = Self(rawValue: "new-entries")
        /// No peer answered.
        public static let peerUnreachable = Self(rawValue: "peer-unreachable")
        /// The cloud peer has no room.
        public static let quotaExceeded = Self(rawValue: "quota-exceeded")
        /// The deadline or the byte budget was used up before everything moved.
        public static let notFinished = Self(rawValue: "not-finished")
        /// This version is too old for the identity.
        public static let updateNeeded = Self(rawValue: "update-needed")
        /// The peer refused.
        public static let refused = Self(rawValue: "refused")
        /// The peer ended the session.
        public static let ended = Self(rawValue: "ended")
        /// What the peer sent does not hold together: see ``Status/alarms``.
        public static let distrust = Self(rawValue: "distrust")
        /// This device's own disk failed, or is full.
        public static let storage = Self(rawValue: "storage")
        /// There is no network.
        public static let offline = Self(rawValue: "offline")
        /// The system keeps the app from the local network, where the peer is.
        public static let localNetworkDenied = Self(rawValue: "local-network-denied")
        /// The system restricts what the app does while it is not in front.
        public static let restricted = Self(rawValue: "restricted")
        /// The battery is low.
        public static let batteryLow = Self(rawValue: "battery-low")
        /// The person asked the system to save data.
        public static let dataSaver = Self(rawValue: "data-saver")
        /// The network costs by the byte.
        public static let metered = Self(rawValue: "metered")
    }

    /// What kind of reason.
    public let kind: Kind
    /// The reason in English, safe to log.
    public let text: String
    /// For ``Kind/peerUnreachable``: since when.
    public let since: Date?
    /// For ``Kind/newEntries``: how many. For ``Kind/quotaExceeded``: the quota.
    public let amount: UInt64?

    init(_ reason: RhizomeCore.WaitReason) {
        kind = Kind(rawValue: reason.kind)
        text = reason.text
        since = reason.since.map(Date.init(millis:))
        amount = reason.amount
    }
}

/// Whether what is here is elsewhere too.
public enum SyncState: Sendable, Hashable {
    /// Every entry is held by a cloud peer, as was last confirmed at this time.
    case upToDate(at: Date)
    /// A session is under way: entries confirmed in it, and entries to confirm, as far as is known.
    case syncing(done: UInt64, total: UInt64)
    /// Something is only here, or what is elsewhere was not asked for.
    case waiting(WaitReason)

    init(_ state: RhizomeCore.SyncState) {
        switch state {
        case .upToDate(let at): self = .upToDate(at: Date(millis: at))
        case .syncing(let done, let total): self = .syncing(done: done, total: total)
        case .waiting(let reason): self = .waiting(WaitReason(reason))
        }
    }
}

/// A linked device or cloud peer.
public struct PeerStatus: Sendable, Hashable {
    /// Its signing key, in hexadecimal digits.
    public let key: String
    /// What the person calls it.
    public let name: String?
    /// Whether it is a cloud peer.
    public let isCloudPeer: Bool
    /// Whether it is this device.
    public let isThisDevice: Bool
    /// Whether its membership is ordered; if not, it works tentatively.
    public let isOrdered: Bool
    /// When it was last reached.
    public let reached: Date?

    init(_ peer: RhizomeCore.PeerStatus) {
        (key, name) = (peer.key, peer.name)
        (isCloudPeer, isThisDevice, isOrdered) = (peer.cloud, peer.thisDevice, peer.ordered)
        reached = peer.reached.map(Date.init(millis:))
    }
}

/// Something the owner should know.
public struct Alarm: Sendable, Hashable {
    /// `fork`, `peer-loss`, `equivocation` or `hidden-commits`.
    public let kind: String
    /// Whom it is about: a peer's signing key, an author log, or an identity.
    public let subject: String
    /// When it was first seen.
    public let time: Date

    init(_ alarm: RhizomeCore.Alarm) { (kind, subject, time) = (alarm.kind, alarm.subject, Date(millis: alarm.time)) }
}

/// Everything a person may ask of a pod's state.
public struct Status: Sendable, Hashable {
    /// Whether what is here is elsewhere too.
    public let sync: SyncState
    /// Devices and cloud peers.
    public let peers: [PeerStatus]
    /// Entries here.
    public let entries: UInt64
    /// Bytes that entries and identity log take here, about.
    public let bytes: UInt64
    /// Entries that no cloud peer said it holds.
    public let onlyHere: UInt64
    /// Operations of the identity that wait for their order.
    public let pending: UInt64
    /// Entries whose key has not arrived.
    public let waitingForKey: UInt64
    /// Entries that are here and not shown yet.
    public let unfolded: UInt64
    /// What the owner should know, newest first.
    public let alarms: [Alarm]

    init(_ status: RhizomeCore.Status) {
        sync = SyncState(status.sync)
        peers = status.peers.map(PeerStatus.init)
        (entries, bytes, onlyHere) = (status.entries, status.bytes, status.onlyHere)
        (pending, waitingForKey, unfolded) = (status.pending, status.waitingForKey, status.unfolded)
        alarms = status.alarms.map(Alarm.init)
    }
}

/// How the sync with one peer went.
public struct PeerReport: Sendable, Hashable {
    /// The peer's signing key, in hexadecimal digits.
    public let key: String
    /// What the person calls it.
    public let name: String?
    /// Entries sent that it confirmed.
    public let sent: UInt64
    /// Entries received that are new here.
    public let received: UInt64
    /// Bytes sent.
    public let bytesSent: UInt64
    /// Bytes received.
    public let bytesReceived: UInt64
    /// Why it failed, if it did.
    public let error: RhizomeError?

    init(_ report: RhizomeCore.PeerReport) {
        (key, name, sent, received) = (report.key, report.name, report.sent, report.received)
        (bytesSent, bytesReceived) = (report.bytesSent, report.bytesReceived)
        error = report.error.map { RhizomeError($0) }
    }
}

/// How a sync went.
public struct SyncReport: Sendable, Hashable {
    /// One for each peer that was tried.
    public let peers: [PeerReport]
    /// The pod's state afterwards.
    public let state: SyncState

    init(_ report: RhizomeCore.SyncReport) {
        (peers, state) = (report.peers.map(PeerReport.init), SyncState(report.state))
    }
}

/// What the system says of this device. A status gives it as the reason why something waits; it never keeps a sync from being tried.
/// ``Lifecycle`` keeps it for you.
public struct Conditions: Sendable, Hashable {
    /// What network there is.
    public enum Network: Sendable, Hashable {
        /// The system did not say.
        case unknown
        /// None.
        case none
        /// One that costs by the byte.
        case metered
        /// One that does not.
        case unmetered
    }

    /// The network.
    public var network: Network
    /// Whether the person asked the system to save data.
    public var dataSaver: Bool
    /// Whether the battery is low, or the system saves power.
    public var batteryLow: Bool
    /// Whether the system restricts what this app does while it is not in front.
    public var restricted: Bool
    /// Whether the system keeps this app from the local network.
    public var localNetworkDenied: Bool

    /// Conditions of which the system said nothing, but for what is given.
    public init(
        network: Network = .unknown, dataSaver: Bool = false, batteryLow: Bool = false, restricted: Bool = false,
        localNetworkDenied: Bool = false
    ) {
        self.network = network
        self.dataSaver = dataSaver
        self.batteryLow = batteryLow
        self.restricted = restricted
        self.localNetworkDenied = localNetworkDenied
    }

    var core: RhizomeCore.Conditions {
        let network: RhizomeCore.Network =
            switch network {
            case .unknown: .unknown
            case .none: .none
            case .metered: .metered
            case .unmetered: .unmetered
            }
        return .init(
            network: network, dataSaver: dataSaver, batteryLow: batteryLow, restricted: restricted,
            localNetworkDenied: localNetworkDenied)
    }
}
