import Foundation
internal import RhizomeCore

/// A device or cloud peer of the identity.
public struct Member: Sendable, Hashable, Identifiable {
    /// Its signing key, in hexadecimal digits.
    public let key: String
    /// What the person calls it.
    public let name: String?
    /// Whether it is a cloud peer, which reads nothing.
    public let isCloudPeer: Bool
    /// Whether it is this device.
    public let isThisDevice: Bool
    /// Whether it puts in order what devices propose about the identity.
    public let orders: Bool
    /// Whether its membership is ordered; if not, it works tentatively.
    public let isOrdered: Bool

    /// Its signing key.
    public var id: String { key }

    init(_ member: RhizomeCore.Member) {
        (key, name, orders) = (member.key, member.name, member.orders)
        (isCloudPeer, isThisDevice, isOrdered) = (member.cloud, member.thisDevice, member.ordered)
    }
}

/// A device that was removed.
public struct RemovedMember: Sendable, Hashable, Identifiable {
    /// Its signing key, in hexadecimal digits.
    public let key: String
    /// What the person called it.
    public let name: String?
    /// Entries of it that are kept here and not shown: made after it was removed, or not seen by whoever removed it.
    /// ``Pod/readmitEntries(of:)`` lets them count.
    public let kept: UInt64
    /// Whether the removal is ordered; if not, it works tentatively.
    public let isOrdered: Bool

    /// Its signing key.
    public var id: String { key }

    init(_ member: RhizomeCore.RemovedMember) {
        (key, name, kept, isOrdered) = (member.key, member.name, member.kept, member.ordered)
    }
}

/// Who is of the identity, and who was.
public struct Members: Sendable, Hashable {
    /// Devices, then cloud peers.
    public let members: [Member]
    /// Devices that were removed.
    public let removed: [RemovedMember]
    /// From when on other recovery words count that a device proposed. Whoever did not expect that has 72 hours to take the identity back with
    /// the present words: ``Pod/takeBack(with:from:)``.
    public let wordsChange: Date?

    init(_ members: RhizomeCore.Members) {
        (self.members, removed) = (members.members.map(Member.init), members.removed.map(RemovedMember.init))
        wordsChange = members.wordsChangeAt.map(Date.init(millis:))
    }
}

/// What moved in from a pod of another identity: ``Pod/takeIn(_:)``.
public struct TakenIn: Sendable, Hashable {
    /// Documents that are here now and were not before.
    public let documents: Int
    /// Events of the application's own.
    public let events: Int

    /// So many of each.
    public init(documents: Int, events: Int) { (self.documents, self.events) = (documents, events) }
}

/// Something that a device proposed about the identity: 64 hexadecimal digits.
public struct ProposalID: RawRepresentable, Sendable, Hashable, Codable, CustomStringConvertible {
    /// The digits.
    public let rawValue: String

    /// An id from its digits. Calls throw ``RhizomeError/Kind/invalidInput`` if it is none.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The digits.
    public var description: String { rawValue }
}

/// How far a proposal is.
public enum ProposalState: Sendable, Hashable {
    /// It waits for its order. On this device it counts already.
    case tentative
    /// It is put in order, and counts everywhere.
    case ordered
    /// Something else came before it: it has no effect.
    case void
    /// It is not known here.
    case unknown

    init(_ state: RhizomeCore.ProposalState) {
        switch state {
        case .tentative: self = .tentative
        case .ordered: self = .ordered
        case .void: self = .void
        case .unknown: self = .unknown
        }
    }
}

extension Pod {
    /// Takes everything in that was written in `other`, a pod of another identity on this device: for a person who wrote first and linked their other devices
    /// later. Documents come under their own ids, as they are now; their history stays in `other`, which is not changed. What is here already is left as
    /// it is, so it can be called again.
    @discardableResult
    public func takeIn(_ other: Pod) async throws -> TakenIn {
        let taken = try await cancellable { try await handle.takeIn(other: other.handle, cancel: $0) }
        return TakenIn(documents: Int(taken.documents), events: Int(taken.events))
    }

    // MARK: Who is of the identity

    /// The identity's devices and cloud peers, and the devices that were removed.
    public var members: Members {
        get async throws { Members(try await cancellable { try await handle.members(cancel: $0) }) }
    }

    /// Removes a device, by its signing key.
    ///
    /// From here on nothing that is written by a device that knows of it can be read by the removed one, and nothing that it writes counts. It
    /// keeps, and can read, what it had until then: nothing is erased there. A device that does not know yet goes on taking its entries, and
    /// those stay. What it wrote and never sent comes in only by ``readmitEntries(of:)``.
    ///
    /// - Throws: ``RhizomeError/Kind/refused`` for this device itself: another one removes it.
    @discardableResult
    public func remove(device key: String) async throws -> ProposalID {
        try await proposed { try await handle.removeDevice(device: key, cancel: $0) }
    }

    /// Removes a cloud peer, by its signing key: devices do not sync with it any more. It keeps what it stored, and could never read it.
    @discardableResult
    public func remove(peer key: String) async throws -> ProposalID {
        try await proposed { try await handle.removePeer(peer: key, cancel: $0) }
    }

    /// Calls a device or cloud peer something else.
    @discardableResult
    public func rename(_ key: String, to name: String) async throws -> ProposalID {
        try await proposed { try await handle.rename(member: key, name: name, cancel: $0) }
    }

    /// Lets count what is kept here of a removed device (``RemovedMember/kept``): for when it is found again, or was removed with too little of
    /// it seen. `nil` if there is nothing to let count.
    @discardableResult
    public func readmitEntries(of key: String) async throws -> ProposalID? {
        try await cancellable { try await handle.readmitEntries(device: key, cancel: $0) }.map(ProposalID.init(rawValue:))
    }

    /// Asks the present orderer to let another device or cloud peer put proposals in order from here on.
    @discardableResult
    public func handOver(to key: String) async throws -> ProposalID {
        try await proposed { try await handle.handOver(orderer: key, cancel: $0) }
    }

    /// As ``handOver(to:)`` where the present orderer is lost: this device votes. Once most devices have, it is done; what the old one put in
    /// order that they had not seen waits for its order again.
    @discardableResult
    public func voteForOrderer(_ key: String) async throws -> ProposalID {
        try await proposed { try await handle.voteForOrderer(orderer: key, cancel: $0) }
    }

    /// How far a proposal is.
    public func proposalState(_ id: ProposalID) throws -> ProposalState {
        ProposalState(try mapped { try handle.proposal(id: id.rawValue) })
    }

    private func proposed(_ call: (CancelHandle) async throws -> String) async throws -> ProposalID {
        ProposalID(rawValue: try await cancellable(call))
    }
}
