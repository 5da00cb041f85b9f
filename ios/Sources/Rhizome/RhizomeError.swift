import Foundation
internal import RhizomeCore

/// What a call could not do.
///
/// A call whose task was cancelled throws `CancellationError` instead.
public struct RhizomeError: Error, Sendable, Hashable {
    /// The kinds of errors. There will hardly be more.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// No pod in the folder, no such document, or an attachment that is not here.
        case notFound
        /// There is a pod in the folder.
        case alreadyExists
        /// Another process has the pod open.
        case inUse
        /// The device secret cannot be read before the device is unlocked. Nothing was changed.
        case locked
        /// The device secret is gone: only the recovery words open the folder. Nothing was changed.
        case needsRecovery
        /// The pod is suspended: ``Pod/resume()`` it.
        case suspended
        /// The pod was shut down, or what was asked was told already.
        case closed
        /// The arguments: a path, a place, a value, an id, a code, a size, recovery words; a query that no index answers (`not-indexed`), or not yet
        /// (`indexing`).
        case invalidInput
        /// The disk, a damaged file, a file that is attached or exported, or the keeper of the device secret.
        case storage
        /// The network.
        case network
        /// The other side, the person or the identity's rules said no.
        case refused
        /// This version is too old for the folder or the identity.
        case updateNeeded
        /// A fault of the library's. The pod stays usable.
        case `internal`
    }

    /// What kind of error it is.
    public let kind: Kind
    /// A finer word that stays, for programs: `disk-full`, say, for one kind of ``Kind/storage``.
    public let code: String
    /// What went wrong and what to do, in English. It holds nothing that the person wrote and no keys: safe to log.
    public let reason: String
    /// Whether the same call may work later with nothing changed.
    public let isRetryable: Bool
}

extension RhizomeError: LocalizedError, CustomStringConvertible {
    /// The reason.
    public var errorDescription: String? { reason }
    /// The code and the reason.
    public var description: String { "\(code): \(reason)" }
}

extension RhizomeError {
    init(_ error: RhizomeCore.RhizomeError) {
        switch error {
        case .NotFound(let code, let reason, let retryable): self.init(.notFound, code, reason, retryable)
        case .AlreadyExists(let code, let reason, let retryable): self.init(.alreadyExists, code, reason, retryable)
        case .InUse(let code, let reason, let retryable): self.init(.inUse, code, reason, retryable)
        case .Locked(let code, let reason, let retryable): self.init(.locked, code, reason, retryable)
        case .NeedsRecovery(let code, let reason, let retryable): self.init(.needsRecovery, code, reason, retryable)
        case .Suspended(let code, let reason, let retryable): self.init(.suspended, code, reason, retryable)
        case .Closed(let code, let reason, let retryable): self.init(.closed, code, reason, retryable)
        case .InvalidInput(let code, let reason, let retryable): self.init(.invalidInput, code, reason, retryable)
        case .Storage(let code, let reason, let retryable): self.init(.storage, code, reason, retryable)
        case .Network(let code, let reason, let retryable): self.init(.network, code, reason, retryable)
        case .Refused(let code, let reason, let retryable): self.init(.refused, code, reason, retryable)
        case .UpdateNeeded(let code, let reason, let retryable): self.init(.updateNeeded, code, reason, retryable)
        // Only calls that have a cancel handle throw this, and `cancellable` makes Swift's own error of it.
        case .Cancelled(let code, let reason, let retryable): self.init(.internal, code, reason, retryable)
        case .Internal(let code, let reason, let retryable): self.init(.internal, code, reason, retryable)
        }
    }

    private init(_ kind: Kind, _ code: String, _ reason: String, _ isRetryable: Bool) {
        self.init(kind: kind, code: code, reason: reason, isRetryable: isRetryable)
    }

    /// An error of the core as the app sees it.
    static func mapped(_ error: any Error) -> any Error {
        switch error {
        case RhizomeCore.RhizomeError.Cancelled: CancellationError()
        case let error as RhizomeCore.RhizomeError: RhizomeError(error)
        // What an app's own type threw, on its way through a call.
        case is CancellationError, is DecodingError, is EncodingError: error
        // What the generated code itself throws: a panic that no call of ours caught, or a library that is not of this version.
        default: RhizomeError(.internal, "binding", "the library and its Swift code do not fit together: \(type(of: error))", false)
        }
    }
}

/// Calls the core so that cancelling the task cancels the call.
func cancellable<T: Sendable>(
    isolation: isolated (any Actor)? = #isolation, _ call: (CancelHandle) async throws -> T
) async throws -> T {
    let cancel = CancelHandle()
    do {
        return try await withTaskCancellationHandler {
            try await call(cancel)
        } onCancel: {
            cancel.cancel()
        }
    } catch {
        throw RhizomeError.mapped(error)
    }
}

/// Calls the core where there is nothing to cancel.
func mapped<T>(_ call: () throws -> T) throws -> T {
    do { return try call() } catch { throw RhizomeError.mapped(error) }
}

/// Calls the core where the call must come to its end, cancelled or not.
func uncancelled<T: Sendable>(isolation: isolated (any Actor)? = #isolation, _ call: () async throws -> T) async throws -> T {
    do { return try await call() } catch { throw RhizomeError.mapped(error) }
}
