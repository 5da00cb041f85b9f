#if canImport(BackgroundTasks) && canImport(UIKit) && !os(macOS) && !os(watchOS) && !os(tvOS)
import Foundation
import UIKit

#if canImport(Network)
import Network
#endif

/// What the system says of this device, told to pods as it changes.
final class SystemConditions: Sendable {
    private struct State {
        var conditions = Conditions()
        var pods: [Weak] = []
        var observers: [any NSObjectProtocol] = []
    }

    private struct Weak { weak var pod: Pod? }

    private let state = Locked(State())
    #if canImport(Network)
    private let monitor = Locked(NWPathMonitor())
    #endif

    @MainActor func start() {
        observe(.NSProcessInfoPowerStateDidChange) { system in
            system.change { $0.batteryLow = ProcessInfo.processInfo.isLowPowerModeEnabled }
        }
        observe(UIApplication.backgroundRefreshStatusDidChangeNotification) { system in
            // The status can be read on the main thread alone.
            Task { @MainActor in system.change { $0.restricted = UIApplication.shared.backgroundRefreshStatus != .available } }
        }
        change { conditions in
            conditions.batteryLow = ProcessInfo.processInfo.isLowPowerModeEnabled
            conditions.restricted = UIApplication.shared.backgroundRefreshStatus != .available
        }
        #if canImport(Network)
        monitor.with { monitor in
            monitor.pathUpdateHandler = { [weak self] path in self?.path(path) }
            monitor.start(queue: DispatchQueue(label: "org.rhizome.network"))
        }
        #endif
    }

    deinit {
        #if canImport(Network)
        monitor.with { $0.cancel() }
        #endif
        for observer in state.with({ $0.observers }) { NotificationCenter.default.removeObserver(observer) }
    }

    /// Tells a pod from now on.
    func watch(_ pod: Pod) {
        let conditions: Conditions? = state.with { state in
            state.pods.removeAll { $0.pod == nil }
            if state.pods.contains(where: { $0.pod === pod }) { return nil }
            state.pods.append(Weak(pod: pod))
            return state.conditions
        }
        if let conditions { pod.set(conditions) }
    }

    private func observe(_ name: Notification.Name, _ act: @escaping @Sendable (SystemConditions) -> Void) {
        let observer = NotificationCenter.default.addObserver(forName: name, object: nil, queue: nil) { [weak self] _ in
            if let self { act(self) }
        }
        state.with { $0.observers.append(observer) }
    }

    private func change(_ update: (inout Conditions) -> Void) {
        // Told under the lock, which is instant: of two changes at once, the later is told last.
        state.with { state in
            update(&state.conditions)
            for pod in state.pods { pod.pod?.set(state.conditions) }
        }
    }

    #if canImport(Network)
    private func path(_ path: NWPath) {
        change { conditions in
            conditions.network = path.status != .satisfied ? .none : path.isExpensive ? .metered : .unmetered
            conditions.dataSaver = path.isConstrained
            conditions.localNetworkDenied = path.status != .satisfied && path.unsatisfiedReason == .localNetworkDenied
        }
        for pod in state.with({ $0.pods.compactMap(\.pod) }) {
            // A pod that is suspended looks at the network when it is resumed.
            Task { try? await pod.networkChanged() }
        }
    }
    #endif
}
#endif
