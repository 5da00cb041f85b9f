#if canImport(BackgroundTasks) && canImport(UIKit) && !os(macOS) && !os(watchOS) && !os(tvOS)
import BackgroundTasks
import Foundation
import UIKit

/// Keeps one pod in step with the app: opens it, syncs and suspends it when the app leaves the foreground, resumes it when the app comes back,
/// syncs in the system's background tasks, and tells it of the network, low power and background restrictions.
///
/// Make one for the life of the app, and ``register()`` it before the app has finished launching:
///
/// ```swift
/// @main struct JournalApp: App {
///     let lifecycle = Lifecycle(refreshTask: "org.example.journal.refresh", processingTask: "org.example.journal.sync") {
///         try await Pod.open(at: .applicationSupportDirectory.appending(path: "pod"), keeper: .keychain)
///     }
///
///     init() { lifecycle.register() }
///
///     var body: some Scene { WindowGroup { JournalView(lifecycle: lifecycle) } }
/// }
/// ```
///
/// The app's `Info.plist` names both tasks under `BGTaskSchedulerPermittedIdentifiers`, and `fetch` and `processing` under `UIBackgroundModes`.
public final class Lifecycle: Sendable {
    /// How long things take and wait.
    public struct Timing: Sendable {
        /// For the sync after the app left the foreground. The system gives about 30 seconds.
        public var leaving: Duration = .seconds(20)
        /// For the sync of a refresh task. The system gives about 30 seconds.
        public var refresh: Duration = .seconds(25)
        /// For the sync of a processing task. The system gives some minutes.
        public var processing: Duration = .seconds(240)
        /// How long after it was asked for a refresh task comes at the earliest, and a processing task after four times that.
        public var earliest: Duration = .seconds(15 * 60)

        /// What fits what the system gives.
        public init() {}
    }

    private let refreshTask: String?
    private let processingTask: String?
    private let timing: Timing
    private let engine: Engine
    private let system: SystemConditions
    private let observers = Locked<[any NSObjectProtocol]>([])

    /// A lifecycle that opens its pod with a closure, when it is first needed.
    ///
    /// - Parameters:
    ///   - refreshTask: the identifier of the app's BGAppRefreshTask; `nil` if it has none.
    ///   - processingTask: the identifier of the app's BGProcessingTask; `nil` if it has none.
    ///   - timing: how long things take and wait.
    ///   - open: opens the pod. It is called again if it threw.
    public init(
        refreshTask: String? = nil, processingTask: String? = nil, timing: Timing = Timing(),
        open: @escaping @Sendable () async throws -> Pod
    ) {
        (self.refreshTask, self.processingTask, self.timing) = (refreshTask, processingTask, timing)
        engine = Engine(open: open)
        system = SystemConditions()
    }

    deinit {
        for observer in observers.with({ $0 }) { NotificationCenter.default.removeObserver(observer) }
    }

    /// The pod; opened by the first who asks. While the app is in the background it may be suspended.
    public func pod() async throws -> Pod {
        let pod = try await engine.pod()
        system.watch(pod)
        return pod
    }

    /// Registers the background tasks and listens for the app's coming and going. To be called once, on the main thread, before the app has
    /// finished launching: the system refuses tasks later than that.
    @MainActor public func register() {
        let inFront = UIApplication.shared.applicationState != .background
        engine.setInFront(inFront)
        listen(to: UIApplication.didEnterBackgroundNotification) { $0.leave() }
        listen(to: UIApplication.willEnterForegroundNotification) { $0.enter() }
        for (identifier, deadline) in [(refreshTask, timing.refresh), (processingTask, timing.processing)] {
            guard let identifier else { continue }
            // Neither the scheduler nor its queue knows actors: the closure must belong to none.
            let run: @Sendable (BGTask) -> Void = { [weak self] task in
                guard let self else { return task.setTaskCompleted(success: false) }
                self.run(task, within: deadline)
            }
            if !BGTaskScheduler.shared.register(forTaskWithIdentifier: identifier, using: nil, launchHandler: run) {
                log("the system did not register the background task \(identifier): is it in BGTaskSchedulerPermittedIdentifiers?")
            }
        }
        system.start()
    }

    private func listen(to name: Notification.Name, _ act: @escaping @Sendable (Lifecycle) -> Void) {
        let observer = NotificationCenter.default.addObserver(forName: name, object: nil, queue: nil) { [weak self] _ in
            if let self { act(self) }
        }
        observers.with { $0.append(observer) }
    }

    /// The app left the foreground: what was written moves while the system still gives time, then the pod lets go of its files.
    private func leave() {
        engine.setInFront(false)
        schedule()
        let (engine, deadline) = (engine, timing.leaving)
        let activity = Locked(Activity())
        ProcessInfo.processInfo.performExpiringActivity(withReason: "Sync what was written") { expired in
            // The system calls once, on a thread that keeps the app awake while it is here, and a second time from another if time is up
            // before that; or only once, if it gives no time at all.
            let done = DispatchSemaphore(value: 0)
            let begun = activity.with { activity in
                if expired {
                    activity.isExpired = true
                    activity.work?.cancel()
                    if activity.work != nil { return false }
                }
                let syncs = !activity.isExpired
                activity.work = Task.detached {
                    await engine.turn { _ = await engine.syncAndRest(within: deadline, syncs: syncs) }
                    done.signal()
                }
                return true
            }
            if begun { done.wait() }
        }
    }

    private struct Activity {
        var work: Task<Void, Never>?
        var isExpired = false
    }

    private func enter() {
        engine.setInFront(true)
        let engine = engine
        Task.detached { await engine.turn(cancelsOthers: true) { await engine.wake() } }
    }

    private func run(_ task: BGTask, within deadline: Duration) {
        // The next one is asked for first: whatever becomes of this one, there is another.
        schedule()
        let engine = engine
        // The scheduler's task may be completed from any thread.
        nonisolated(unsafe) let task = task
        let once = Locked(false)
        let complete: @Sendable (Bool) -> Void = { success in
            let first = once.with { done in
                defer { done = true }
                return !done
            }
            if first { task.setTaskCompleted(success: success) }
        }
        let pod = { @Sendable [weak self] in try await self?.pod() }
        // Whatever this one waits for ends too: the system does not wait for long.
        task.expirationHandler = { Task.detached { await engine.cancelTurns() } }
        Task.detached {
            await engine.turn {
                guard (try? await pod()) != nil else { return complete(false) }
                complete(await engine.syncAndRest(within: deadline, syncs: true))
            }
        }
    }

    private func schedule() {
        let earliest = TimeInterval(timing.earliest.components.seconds)
        var requests: [BGTaskRequest] = []
        if let refreshTask {
            let request = BGAppRefreshTaskRequest(identifier: refreshTask)
            request.earliestBeginDate = Date(timeIntervalSinceNow: earliest)
            requests.append(request)
        }
        if let processingTask {
            let request = BGProcessingTaskRequest(identifier: processingTask)
            request.requiresNetworkConnectivity = true
            request.earliestBeginDate = Date(timeIntervalSinceNow: 4 * earliest)
            requests.append(request)
        }
        for request in requests {
            do {
                try BGTaskScheduler.shared.submit(request)
            } catch {
                // The person may have switched it off, which the status says; the next leaving asks again.
                log("the system takes no request for \(request.identifier): \(error)")
            }
        }
    }

    private func log(_ message: String) { systemLog(message) }
}

/// What becomes of the pod, one thing after another.
private actor Engine {
    private let open: @Sendable () async throws -> Pod
    private let inFront = Locked(true)
    private var opening: Task<Pod, any Error>?
    private var opened: Pod?
    /// The turn that runs now or was the last to be asked for.
    private var last: Task<Void, Never>?
    private var running: [Int: Task<Void, Never>] = [:]
    private var turns = 0

    init(open: @escaping @Sendable () async throws -> Pod) { self.open = open }

    nonisolated func setInFront(_ value: Bool) { inFront.with { $0 = value } }

    func pod() async throws -> Pod {
        if let opened { return opened }
        let task = opening ?? Task { [open] in try await open() }
        opening = task
        do {
            let pod = try await task.value
            opened = pod
            return pod
        } catch {
            if opening == task { opening = nil }
            throw error
        }
    }

    /// Runs `work` when everything asked for before it is done. Cancelling the caller cancels the work, and so does one who comes later and
    /// `cancelsOthers`: coming back to the foreground does not wait for a sync.
    func turn(cancelsOthers: Bool = false, _ work: @escaping @Sendable () async -> Void) async {
        if cancelsOthers { cancelTurns() }
        turns += 1
        let (number, before) = (turns, last)
        let task = Task {
            await before?.value
            await work()
        }
        (last, running[number]) = (task, task)
        await withTaskCancellationHandler {
            await task.value
        } onCancel: {
            task.cancel()
        }
        running[number] = nil
        if last == task { last = nil }
    }

    func cancelTurns() { running.values.forEach { $0.cancel() } }

    /// The pod, if anybody asked for it: one that is being opened must be let go of too.
    private func asked() async -> Pod? {
        if let opened { return opened }
        return try? await opening?.value
    }

    /// Syncs, and lets go of everything unless the app came to the front meanwhile. Gives whether the sync came to its end.
    func syncAndRest(within deadline: Duration, syncs: Bool) async -> Bool {
        guard let pod = await asked() else { return false }
        var done = false
        if syncs, !Task.isCancelled {
            do {
                try await pod.resume()
                done = try await pod.syncOnce(within: deadline).peers.allSatisfy { $0.error == nil }
            } catch {
                systemLog("the sync in the background did not end: \(error)")
            }
        }
        if !inFront.with({ $0 }) {
            // A suspended pod stays so; one that was shut down needs nothing.
            try? await pod.suspend()
        }
        return done
    }

    /// Takes the pod up again. What keeps it from that may pass in a moment: another process of the app's that syncs just now.
    func wake() async {
        guard let pod = await asked() else { return }
        var pause = Duration.milliseconds(50)
        while inFront.with({ $0 }), !Task.isCancelled {
            do {
                try await pod.resume()
                try await pod.networkChanged()
                return
            } catch let error as RhizomeError where error.isRetryable {
                systemLog("the pod cannot be resumed yet: \(error)")
                try? await Task.sleep(for: pause)
                pause = min(pause * 2, .seconds(2))
            } catch {
                return systemLog("the pod cannot be resumed: \(error)")
            }
        }
    }
}
#endif
