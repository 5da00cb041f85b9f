import Foundation
internal import RhizomeCore

/// Something that is told whenever it is another than before: at once as it is now, then after every change.
///
/// It is pulled: a loop that is slow skips what was true only in between, and costs nothing meanwhile. Each loop over it is a subscription of its
/// own, which ends with the loop, with its task, or when the pod is shut down. While the pod is suspended it waits.
///
/// ```swift
/// for try await status in pod.statuses {
///     show(status)
/// }
/// ```
public struct Updates<Element: Sendable>: AsyncSequence, Sendable {
    let subscribe: @Sendable () throws -> Subscription<Element>

    /// A subscription.
    public func makeAsyncIterator() -> Iterator { Iterator(subscription: Result { try subscribe() }) }

    /// What one loop holds.
    public struct Iterator: AsyncIteratorProtocol {
        let subscription: Result<Subscription<Element>, any Error>

        /// The next update; `nil` once the pod was shut down or the task was cancelled.
        public mutating func next() async throws -> Element? {
            let subscription = try subscription.get()
            do {
                return try await cancellable(subscription.next)
            } catch is CancellationError {
                return nil
            }
        }
    }
}

/// A subscription of the core's, which ends when nobody holds it any more.
final class Subscription<Element: Sendable>: Sendable {
    let next: @Sendable (CancelHandle) async throws -> Element?
    /// Ends it while it is held: whoever waits for the next is told none.
    let end: @Sendable () -> Void

    init(next: @escaping @Sendable (CancelHandle) async throws -> Element?, end: @escaping @Sendable () -> Void) {
        (self.next, self.end) = (next, end)
    }
}

/// A value and the lock it is used under.
final class Locked<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func with<Result>(_ use: (inout Value) throws -> Result) rethrows -> Result {
        try lock.withLock { try use(&value) }
    }
}
