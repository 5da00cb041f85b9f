// BGTaskScheduler, as far as registering, submitting and running one go.

import Foundation

open class BGTaskRequest {
    public let identifier: String
    public var earliestBeginDate: Date?

    init(identifier: String) { self.identifier = identifier }
}

public final class BGAppRefreshTaskRequest: BGTaskRequest {
    public override init(identifier: String) { super.init(identifier: identifier) }
}

public final class BGProcessingTaskRequest: BGTaskRequest {
    public var requiresNetworkConnectivity = false
    public var requiresExternalPower = false

    public override init(identifier: String) { super.init(identifier: identifier) }
}

// Not Sendable, as Apple's: whoever takes one to another thread must say why that is safe.
open class BGTask {
    public let identifier: String
    public var expirationHandler: (() -> Void)?
    fileprivate let state = TaskState()

    init(identifier: String) { self.identifier = identifier }

    public func setTaskCompleted(success: Bool) { state.complete(success) }
}

public final class BGAppRefreshTask: BGTask {}
public final class BGProcessingTask: BGTask {}

public final class BGTaskScheduler: @unchecked Sendable {
    public static let shared = BGTaskScheduler()

    public struct Error: Swift.Error {
        public enum Code: Sendable { case unavailable, tooManyPendingTaskRequests, notPermitted }
        public let code: Code
    }

    fileprivate let lock = NSLock()
    fileprivate var handlers: [String: (BGTask) -> Void] = [:]
    fileprivate var submitted: [BGTaskRequest] = []
    fileprivate var refusal: Error?

    /// Answers false for an identifier that is registered already. (Apple's stops the app then.)
    public func register(
        forTaskWithIdentifier identifier: String, using queue: DispatchQueue?, launchHandler: @escaping (BGTask) -> Void
    ) -> Bool {
        lock.withLock {
            guard handlers[identifier] == nil else { return false }
            handlers[identifier] = launchHandler
            return true
        }
    }

    public func submit(_ request: BGTaskRequest) throws {
        try lock.withLock {
            if let refusal { throw refusal }
            // One of each: a second takes the place of the first.
            submitted.removeAll { $0.identifier == request.identifier }
            submitted.append(request)
        }
    }

    public func cancel(taskRequestWithIdentifier identifier: String) {
        lock.withLock { submitted.removeAll { $0.identifier == identifier } }
    }
}

fileprivate final class TaskState: @unchecked Sendable {
    private let lock = NSCondition()
    private var success: Bool?

    func complete(_ success: Bool) {
        lock.withLock {
            precondition(self.success == nil, "setTaskCompleted was called twice")
            self.success = success
            lock.broadcast()
        }
    }

    var completed: Bool? { lock.withLock { success } }
}

/// What a test says to the scheduler, and asks of it.
public enum Script {
    /// A task that the system began.
    public struct Running: @unchecked Sendable {
        private let task: BGTask

        fileprivate init(_ task: BGTask) { self.task = task }

        /// What it was completed with; `nil` until then.
        public var completed: Bool? { task.state.completed }

        /// The system wants its time back.
        public func expire() { task.expirationHandler?() }
    }

    /// The requests that wait, by identifier.
    public static var submitted: [BGTaskRequest] {
        BGTaskScheduler.shared.lock.withLock { BGTaskScheduler.shared.submitted }
    }

    /// Every submission fails from now on; `nil`: succeeds.
    public static func refuse(_ code: BGTaskScheduler.Error.Code?) {
        BGTaskScheduler.shared.lock.withLock { BGTaskScheduler.shared.refusal = code.map { .init(code: $0) } }
    }

    /// Begins the task that waits under `identifier`, on a thread of the system's; `nil` if nothing waits or nobody registered.
    public static func begin(_ identifier: String) -> Running? {
        let scheduler = BGTaskScheduler.shared
        let found: (BGTask, (BGTask) -> Void)? = scheduler.lock.withLock {
            guard let place = scheduler.submitted.firstIndex(where: { $0.identifier == identifier }),
                let handler = scheduler.handlers[identifier]
            else { return nil }
            let request = scheduler.submitted.remove(at: place)
            let processing = request is BGProcessingTaskRequest
            return (processing ? BGProcessingTask(identifier: identifier) : BGAppRefreshTask(identifier: identifier), handler)
        }
        guard let (task, handler) = found else { return nil }
        // The task is handed from the queue's thread to this one and back, as the system does.
        nonisolated(unsafe) let (handed, call) = (task, handler)
        DispatchQueue(label: "com.apple.BGTaskScheduler").sync { call(handed) }
        return Running(task)
    }
}
