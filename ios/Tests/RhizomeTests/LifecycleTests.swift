#if os(Linux)
import BackgroundTasks
import Foundation
import Network
import Testing
import UIKit

@testable import Rhizome

extension All {
    /// What ``Lifecycle`` does when the system speaks: the pod, the core and the cloud peer are real, the system is scripted.
    @Suite struct Lifecycles {
        let scratch = Scratch()
        // The system knows each identifier once in a process.
        let refresh = "refresh-\(UUID().uuidString)"
        let processing = "processing-\(UUID().uuidString)"

        private func lifecycle(_ keeper: TestKeeper, timing: Lifecycle.Timing = .init()) -> Lifecycle {
            Lifecycle(refreshTask: refresh, processingTask: processing, timing: timing) {
                try await Pod.open(at: scratch.path("phone"), keeper: keeper, options: loopback)
            }
        }

        /// A pod with a cloud peer, one unsent entry, and a lifecycle that has it open.
        private func stage() async throws -> (Lifecycle, Pod, Cloud) {
            let (keeper, cloud) = (TestKeeper(), try await Cloud(scratch))
            let pod = try await Pod.make(scratch, keeper: keeper)
            try await cloud.link(to: pod)
            try await pod.syncOnce()
            try await pod.write("a line")
            let lifecycle = lifecycle(keeper)
            await UIKit.Script.enterForeground()
            await lifecycle.register()
            return (lifecycle, try await lifecycle.pod(), cloud)
        }

        private func isSuspended(_ pod: Pod) async -> Bool {
            do {
                _ = try await pod.status
                return false
            } catch {
                return (error as? RhizomeError)?.kind == .suspended
            }
        }

        /// The app leaves the foreground, and the system gives it no time: the pod is suspended, and nothing was sent.
        private func leaveWithoutTime(_ pod: Pod) async throws {
            UIKit.Script.refuseActivities(true)
            defer { UIKit.Script.refuseActivities(false) }
            let ended = UIKit.Script.endedActivities
            await UIKit.Script.enterBackground()
            try await eventually("the pod lets go") { UIKit.Script.endedActivities == ended + 1 }
            #expect(await isSuspended(pod))
        }

        @Test func on_leaving_the_foreground_it_syncs_and_then_suspends() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            let ended = UIKit.Script.endedActivities
            await UIKit.Script.enterBackground()
            try await eventually("the system gets its time back") { UIKit.Script.endedActivities == ended + 1 }
            #expect(await isSuspended(pod))
            await UIKit.Script.enterForeground()
            try await eventually("the pod is taken up again") { await !isSuspended(pod) }
            #expect(try await pod.status.onlyHere == 0)
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }

        @Test func when_time_is_up_the_sync_is_cancelled_and_the_pod_suspended() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            cloud.freeze()
            let ended = UIKit.Script.endedActivities
            await UIKit.Script.enterBackground()
            try await eventually("it begins") { UIKit.Script.activities == 1 }
            try await Task.sleep(for: .milliseconds(300))
            #expect(UIKit.Script.endedActivities == ended)
            let took = try await ContinuousClock().measure {
                UIKit.Script.expireActivities()
                try await eventually("it ends") { UIKit.Script.endedActivities == ended + 1 }
            }
            #expect(took < .seconds(8), "\(took)")
            #expect(await isSuspended(pod))
            cloud.thaw()
            await UIKit.Script.enterForeground()
            try await eventually("the pod is taken up again") { await !isSuspended(pod) }
            #expect(try await pod.status.onlyHere == 1)
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }

        @Test func with_no_time_at_all_it_only_suspends() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            try await leaveWithoutTime(pod)
            await UIKit.Script.enterForeground()
            try await eventually("the pod is taken up again") { await !isSuspended(pod) }
            #expect(try await pod.status.onlyHere == 1)
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }

        @Test func whoever_comes_back_at_once_does_not_wait_for_the_sync() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            cloud.freeze()
            let ended = UIKit.Script.endedActivities
            await UIKit.Script.enterBackground()
            try await Task.sleep(for: .milliseconds(200))
            let took = try await ContinuousClock().measure {
                await UIKit.Script.enterForeground()
                try await eventually("the activity ends") { UIKit.Script.endedActivities == ended + 1 }
            }
            #expect(took < .seconds(8), "\(took)")
            try await Task.sleep(for: .milliseconds(300))
            #expect(await !isSuspended(pod))
            cloud.thaw()
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }

        @Test func both_background_tasks_are_asked_for_and_sync() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            try await leaveWithoutTime(pod)

            let asked = BackgroundTasks.Script.submitted.filter { [refresh, processing].contains($0.identifier) }
            #expect(asked.first { $0.identifier == refresh } is BGAppRefreshTaskRequest)
            let processingRequest = try #require(asked.first { $0.identifier == processing } as? BGProcessingTaskRequest)
            #expect(processingRequest.requiresNetworkConnectivity)
            let earliest = try #require(asked.first { $0.identifier == refresh }?.earliestBeginDate)
            #expect(abs(earliest.timeIntervalSinceNow - 15 * 60) < 60)

            for identifier in [refresh, processing] {
                let task = try #require(BackgroundTasks.Script.begin(identifier))
                try await eventually("\(identifier) is completed") { task.completed != nil }
                #expect(task.completed == true)
                #expect(await isSuspended(pod))
                // There is a next one.
                #expect(BackgroundTasks.Script.submitted.contains { $0.identifier == identifier })
            }
            try await pod.resume()
            #expect(try await pod.status.onlyHere == 0)
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }

        @Test func a_background_task_that_expires_is_completed_without_success() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            cloud.freeze()
            try await leaveWithoutTime(pod)
            let task = try #require(BackgroundTasks.Script.begin(refresh))
            try await Task.sleep(for: .milliseconds(300))
            #expect(task.completed == nil)
            let took = try await ContinuousClock().measure {
                task.expire()
                try await eventually("it is completed") { task.completed != nil }
            }
            #expect(took < .seconds(8), "\(took)")
            #expect(task.completed == false)
            #expect(await isSuspended(pod))
            cloud.thaw()
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }

        @Test func a_task_before_the_first_unlock_ends_and_the_next_one_opens_the_pod() async throws {
            let (keeper, cloud) = (TestKeeper(), try await Cloud(scratch))
            let pod = try await Pod.make(scratch, keeper: keeper)
            try await cloud.link(to: pod)
            try await pod.write("a line")
            try await pod.shutdown()
            // The system starts the app for the task: nobody has opened the pod.
            await UIKit.Script.enterBackground()
            let lifecycle = lifecycle(keeper)
            await lifecycle.register()
            try BGTaskScheduler.shared.submit(BGAppRefreshTaskRequest(identifier: refresh))
            keeper.answer(.locked)
            let first = try #require(BackgroundTasks.Script.begin(refresh))
            try await eventually("it is completed") { first.completed != nil }
            #expect(first.completed == false)
            keeper.answer(.ok)
            let second = try #require(BackgroundTasks.Script.begin(refresh))
            try await eventually("it is completed") { second.completed != nil }
            #expect(second.completed == true)
            let opened = try await lifecycle.pod()
            #expect(await isSuspended(opened))
            await UIKit.Script.enterForeground()
            try await eventually("the pod is taken up") { await !isSuspended(opened) }
            #expect(try await opened.status.onlyHere == 0)
            try await opened.shutdown()
        }

        @Test func a_pod_that_is_still_being_opened_when_the_app_leaves_is_let_go_of_too() async throws {
            let keeper = TestKeeper()
            try await Pod.make(scratch, keeper: keeper).shutdown()
            let gate = AsyncStream.makeStream(of: Void.self)
            let lifecycle = Lifecycle(refreshTask: refresh) {
                for await _ in gate.stream { break }
                return try await Pod.open(at: scratch.path("phone"), keeper: keeper, options: loopback)
            }
            await UIKit.Script.enterForeground()
            await lifecycle.register()
            async let opening = lifecycle.pod()
            try await Task.sleep(for: .milliseconds(100))
            let ended = UIKit.Script.endedActivities
            await UIKit.Script.enterBackground()
            try await Task.sleep(for: .milliseconds(100))
            gate.continuation.yield()
            let pod = try await opening
            try await eventually("the pod lets go") { UIKit.Script.endedActivities == ended + 1 }
            #expect(await isSuspended(pod))
            await UIKit.Script.enterForeground()
            try await pod.shutdown()
        }

        @Test func a_pod_that_is_in_use_for_a_moment_is_resumed_after_it() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            try await leaveWithoutTime(pod)
            let file = open(scratch.path("phone").appendingPathComponent("lock").path, O_RDWR)
            defer { close(file) }
            try #require(flock(file, LOCK_EX | LOCK_NB) == 0)
            await UIKit.Script.enterForeground()
            try await Task.sleep(for: .milliseconds(400))
            #expect(await isSuspended(pod))
            flock(file, LOCK_UN)
            try await eventually("the pod is taken up again") { await !isSuspended(pod) }
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }

        @Test func what_the_system_says_becomes_the_reason() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            defer {
                Network.Script.path(NWPath(status: .satisfied))
                UIKit.Script.lowPower(false)
            }
            let reason = { try await pod.status.sync.reason }
            try await eventually("nothing in the way") { try await reason() == .newEntries }
            Network.Script.path(NWPath(status: .satisfied, isExpensive: true))
            try await eventually("metered") { try await reason() == .metered }
            Network.Script.path(NWPath(status: .satisfied, isConstrained: true))
            try await eventually("low data mode") { try await reason() == .dataSaver }
            UIKit.Script.lowPower(true)
            try await eventually("low power mode") { try await reason() == .batteryLow }
            await UIKit.Script.backgroundRefresh(.denied)
            try await eventually("background refresh is off") { try await reason() == .restricted }
            Network.Script.path(NWPath(status: .unsatisfied))
            try await eventually("offline") { try await reason() == .offline }
            await UIKit.Script.backgroundRefresh(.available)
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }

        @Test func a_lifecycle_that_nobody_holds_listens_to_nothing() async throws {
            let monitors = Network.Script.monitors
            let keeper = TestKeeper()
            let pod = try await Pod.make(scratch, keeper: keeper)
            var made: Lifecycle? = lifecycle(keeper)
            await made?.register()
            _ = try await made?.pod()
            #expect(Network.Script.monitors == monitors + 1)
            made = nil
            #expect(Network.Script.monitors == monitors)
            await UIKit.Script.enterBackground()
            try await Task.sleep(for: .milliseconds(300))
            #expect(await !isSuspended(pod))
            await UIKit.Script.enterForeground()
            // Whatever the system begins for it is completed, as the system wants.
            try BGTaskScheduler.shared.submit(BGAppRefreshTaskRequest(identifier: refresh))
            let task = try #require(BackgroundTasks.Script.begin(refresh))
            #expect(task.completed == false)
            try await pod.shutdown()
        }

        @Test func requests_that_the_system_refuses_do_no_harm() async throws {
            let (lifecycle, pod, cloud) = try await stage()
            BackgroundTasks.Script.refuse(.unavailable)
            defer { BackgroundTasks.Script.refuse(nil) }
            await UIKit.Script.enterBackground()
            try await eventually("the pod lets go") { await isSuspended(pod) }
            await UIKit.Script.enterForeground()
            try await eventually("the pod is taken up again") { await !isSuspended(pod) }
            try await pod.shutdown()
            withExtendedLifetime((lifecycle, cloud)) {}
        }
    }
}
#endif
