internal import RhizomeCore

/// A link that is under way.
///
/// Both screens show a short number; the person says whether it is the same; then it ends in an outcome: a ``LinkOutcome`` on a device that has a
/// pod already, the new ``Pod`` on one that joins. A link that nobody holds any more ends.
///
/// ```swift
/// let linking = try await pod.invite()
/// show(code: linking.code!)
/// if let number = try await linking.number {
///     linking.answer(same: await ask(number))
/// }
/// let outcome = try await linking.finished()
/// ```
public final class Linking<Outcome: Sendable>: Sendable {
    private let handle: LinkingHandle
    private let outcome: @Sendable (LinkingHandle, CancelHandle) async throws -> Outcome

    init(handle: LinkingHandle, outcome: @escaping @Sendable (LinkingHandle, CancelHandle) async throws -> Outcome) {
        (self.handle, self.outcome) = (handle, outcome)
    }

    /// The code to show, if this side shows one: as a QR code, or as text.
    public var code: String? { handle.code() }

    /// The code as a QR code to draw, if this side shows one; `nil` too if it is too long for a picture, with dozens of addresses.
    public var matrix: CodeMatrix? {
        handle.matrix().map { CodeMatrix(width: Int($0.width), quietZone: Int($0.quietZone), rows: $0.rows) }
    }

    /// Six digits, once both sides know them, for the person to compare with the other screen; `nil` if the link ended before.
    public var number: String? {
        get async throws { try await cancellable { try await handle.number(cancel: $0) } }
    }

    /// What the person says: whether the other screen shows the same number. The first answer counts.
    public func answer(same: Bool) { handle.answer(same: same) }

    /// Ends it.
    public func abort() { handle.abort() }

    /// How it ended; to be asked once.
    public func finished() async throws -> Outcome {
        try await cancellable { try await outcome(handle, $0) }
    }
}

/// A code as a QR code: dark and light squares. Draw them without smoothing, and leave ``quietZone`` squares light around them.
public struct CodeMatrix: Sendable, Hashable {
    /// How many rows there are, and how many squares in each.
    public let width: Int
    /// How many squares must be left light on each side.
    public let quietZone: Int
    /// From the top, each from the left; `true` is dark.
    public let rows: [[Bool]]
}

/// How a link ended on a device that has a pod already.
public struct LinkOutcome: Sendable, Hashable {
    /// The number that both screens showed.
    public let number: String
    /// Whether the new member is ordered already; if not, it works tentatively.
    public let isOrdered: Bool
}

extension Linking where Outcome == LinkOutcome {
    convenience init(member handle: LinkingHandle) {
        self.init(handle: handle) { handle, cancel in
            let outcome = try await handle.finished(cancel: cancel)
            return LinkOutcome(number: outcome.number, isOrdered: outcome.ordered)
        }
    }
}

extension Linking where Outcome == Pod {
    convenience init(newcomer handle: LinkingHandle) {
        self.init(handle: handle) { handle, cancel in Pod(handle: try await handle.pod(cancel: cancel)) }
    }
}
