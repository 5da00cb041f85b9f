// The application's notifications and its background refresh status, and what iOS adds to ProcessInfo.

import Foundation

@MainActor public final class UIApplication {
    public static let shared = UIApplication()
    public nonisolated static let didEnterBackgroundNotification = Notification.Name("UIApplicationDidEnterBackgroundNotification")
    public nonisolated static let willEnterForegroundNotification = Notification.Name("UIApplicationWillEnterForegroundNotification")
    public nonisolated static let backgroundRefreshStatusDidChangeNotification = Notification.Name(
        "UIApplicationBackgroundRefreshStatusDidChangeNotification")

    public enum State: Int, Sendable { case active, inactive, background }

    public fileprivate(set) var backgroundRefreshStatus = UIBackgroundRefreshStatus.available
    public fileprivate(set) var applicationState = State.active
}

public enum UIBackgroundRefreshStatus: Int, Sendable { case restricted, denied, available }

extension Notification.Name {
    public static let NSProcessInfoPowerStateDidChange = Notification.Name("NSProcessInfoPowerStateDidChangeNotification")
}

extension ProcessInfo {
    public var isLowPowerModeEnabled: Bool { System.shared.lock.withLock { System.shared.lowPower } }

    public func performExpiringActivity(withReason reason: String, using block: @escaping @Sendable (Bool) -> Void) {
        let refused = System.shared.lock.withLock {
            if !System.shared.refuses { System.shared.activities.append(block) }
            return System.shared.refuses
        }
        // The system keeps the app awake until the block returns, and calls it again, meanwhile, when time is up.
        Thread.detachNewThread {
            block(refused)
            System.shared.lock.withLock {
                System.shared.ended += 1
                if !refused { System.shared.activities.removeFirst() }
            }
        }
    }
}

private final class System: @unchecked Sendable {
    static let shared = System()
    let lock = NSLock()
    var lowPower = false
    var refuses = false
    var ended = 0
    var activities: [@Sendable (Bool) -> Void] = []
}

/// What a test says to the system, and asks of it.
public enum Script {
    /// Low power mode is switched.
    public static func lowPower(_ on: Bool) {
        System.shared.lock.withLock { System.shared.lowPower = on }
        NotificationCenter.default.post(name: .NSProcessInfoPowerStateDidChange, object: nil)
    }

    /// The person allows or forbids background refresh in the settings.
    @MainActor public static func backgroundRefresh(_ status: UIBackgroundRefreshStatus) {
        UIApplication.shared.backgroundRefreshStatus = status
        NotificationCenter.default.post(name: UIApplication.backgroundRefreshStatusDidChangeNotification, object: nil)
    }

    /// Whether the system gives no time at all.
    public static func refuseActivities(_ refuses: Bool) {
        System.shared.lock.withLock { System.shared.refuses = refuses }
    }

    /// The activities that run now.
    public static var activities: Int { System.shared.lock.withLock { System.shared.activities.count } }

    /// The activities that ended since the process began.
    public static var endedActivities: Int { System.shared.lock.withLock { System.shared.ended } }

    /// Time is up for every activity.
    public static func expireActivities() {
        let running = System.shared.lock.withLock { System.shared.activities }
        for block in running { Thread.detachNewThread { block(true) } }
    }

    @MainActor public static func enterBackground() {
        UIApplication.shared.applicationState = .background
        NotificationCenter.default.post(name: UIApplication.didEnterBackgroundNotification, object: nil)
    }

    @MainActor public static func enterForeground() {
        NotificationCenter.default.post(name: UIApplication.willEnterForegroundNotification, object: nil)
        UIApplication.shared.applicationState = .active
    }
}
