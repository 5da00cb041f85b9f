import Foundation
internal import RhizomeCore

/// A cloud peer of the identity: an always-on device of the person's own that stores what it cannot read.
public struct CloudPeer: Sendable, Identifiable {
    let handle: CloudPeerHandle

    /// Its signing key, in hexadecimal digits.
    public var id: String { handle.key() }

    /// What is known of it now; `nil` if it is no longer linked.
    public var status: PeerStatus? {
        get async throws { try await cancellable { try await handle.status(cancel: $0) }.map { PeerStatus($0) } }
    }

    /// Since when it holds all that is here of a document, by its signed word; `nil` if it does not.
    public func holds(_ document: DocumentID) async throws -> Date? {
        try await cancellable { try await handle.holds(document: document.rawValue, cancel: $0) }.map { Date(millis: $0) }
    }
}
