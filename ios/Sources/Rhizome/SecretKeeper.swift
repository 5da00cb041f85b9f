import Foundation
internal import RhizomeCore

/// What a keeper answers when it is asked for a secret.
public enum KeptSecret: Sendable, Equatable {
    /// It is here.
    case found(Data)
    /// There is none under this id, for certain. The pod's folder then opens only with the recovery words.
    case absent
    /// It cannot be read now, as before the first unlock of the device. To be tried again; nothing is changed meanwhile.
    case locked
}

/// Keeps the device secret of a pod, 32 bytes, apart from the pod's folder. ``KeychainKeeper`` is the one that apps use.
///
/// The calls come from a thread of the library's and may wait.
public protocol SecretKeeper: Sendable {
    /// The secret under an id.
    ///
    /// - Throws: what keeps the keeper from knowing. Never because there is no such secret or because it is locked: those are answers.
    func load(id: Data) throws -> KeptSecret

    /// Keeps a new secret under a new id. It never takes the place of another.
    ///
    /// - Throws: if it is not kept, or if there is one under this id already.
    func create(id: Data, secret: Data) throws
}

/// A keeper as the core calls it.
final class ForeignKeeper: RhizomeCore.SecretKeeper {
    private let keeper: any SecretKeeper

    init(_ keeper: any SecretKeeper) { self.keeper = keeper }

    func load(id: Data) throws -> RhizomeCore.KeptSecret {
        do {
            switch try keeper.load(id: id) {
            case .found(let secret): return .found(secret: secret)
            case .absent: return .absent
            case .locked: return .locked
            }
        } catch {
            throw KeeperError.Failed(reason: String(describing: error))
        }
    }

    func create(id: Data, secret: Data) throws {
        do {
            try keeper.create(id: id, secret: secret)
        } catch {
            throw KeeperError.Failed(reason: String(describing: error))
        }
    }
}
