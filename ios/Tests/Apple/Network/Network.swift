// NWPathMonitor, as far as the default path goes.

import Foundation

public struct NWPath: Sendable, Equatable {
    public enum Status: Sendable { case satisfied, unsatisfied, requiresConnection }
    public enum UnsatisfiedReason: Sendable { case notAvailable, cellularDenied, wifiDenied, localNetworkDenied, vpnInactive }

    public let status: Status
    public let unsatisfiedReason: UnsatisfiedReason
    public let isExpensive: Bool
    public let isConstrained: Bool

    public init(
        status: Status, unsatisfiedReason: UnsatisfiedReason = .notAvailable, isExpensive: Bool = false, isConstrained: Bool = false
    ) {
        self.status = status
        self.unsatisfiedReason = unsatisfiedReason
        self.isExpensive = isExpensive
        self.isConstrained = isConstrained
    }
}

public final class NWPathMonitor: @unchecked Sendable {
    private let lock = NSLock()
    private var handler: (@Sendable (NWPath) -> Void)?
    private var queue: DispatchQueue?

    public init() {}

    public var pathUpdateHandler: (@Sendable (NWPath) -> Void)? {
        get { lock.withLock { handler } }
        set { lock.withLock { handler = newValue } }
    }

    public func start(queue: DispatchQueue) {
        lock.withLock { self.queue = queue }
        Monitors.shared.lock.withLock { Monitors.shared.started.append(self) }
        tell(Monitors.shared.lock.withLock { Monitors.shared.path })
    }

    public func cancel() {
        Monitors.shared.lock.withLock { Monitors.shared.started.removeAll { $0 === self } }
    }

    fileprivate func tell(_ path: NWPath) {
        let (handler, queue) = lock.withLock { (self.handler, self.queue) }
        queue?.async { handler?(path) }
    }
}

private final class Monitors: @unchecked Sendable {
    static let shared = Monitors()
    let lock = NSLock()
    var path = NWPath(status: .satisfied)
    var started: [NWPathMonitor] = []
}

/// What a test says to the system, and asks of it.
public enum Script {
    /// The network is another.
    public static func path(_ path: NWPath) {
        let started = Monitors.shared.lock.withLock {
            Monitors.shared.path = path
            return Monitors.shared.started
        }
        for monitor in started { monitor.tell(path) }
    }

    /// How many monitors were started and not cancelled.
    public static var monitors: Int { Monitors.shared.lock.withLock { Monitors.shared.started.count } }
}
