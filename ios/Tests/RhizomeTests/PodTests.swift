import Foundation
import Testing

@testable import Rhizome

extension All {
    @Suite struct Pods {
        let scratch = Scratch()

        @Test func what_is_written_is_read_again_after_opening() async throws {
            let keeper = TestKeeper()
            let created = try await Pod.create(at: scratch.path("pod"), name: "phone", keeper: keeper, options: loopback)
            #expect(created.words.count == 24)
            let did = try created.pod.did
            #expect(did.hasPrefix("did:rhizome:"))
            #expect(try created.pod.didDocument.contains(did))
            let id = try await created.pod.write("a line")
            try await created.pod.shutdown()

            let pod = try await Pod.open(at: scratch.path("pod"), keeper: keeper, options: loopback)
            #expect(try pod.did == did)
            #expect(pod.folder.lastPathComponent == "pod")
            let value = try #require(try await pod.collection("journal").get(id))
            #expect(value["text"] == .text("a line"))
            #expect(value["date"]?.dateValue == Date(timeIntervalSince1970: 1))
            #expect(try await pod.verify() == 1)
            try await pod.shutdown()
        }

        @Test func pages_follow_each_other_newest_first() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            let writes = (0..<25).map { DocumentWrite([.set("date", to: .date(Date(millis: Int64($0)))), .set("n", to: .int(Int64($0)))]) }
            try await journal.write(writes)
            #expect(try await journal.count == 25)
            var (found, next, pages) = ([Int64](), Page.Cursor?.none, 0)
            repeat {
                let page = try await journal.list(by: "date", after: next, limit: 10)
                found += page.rows.compactMap { $0.fields["n"]?.intValue }
                (next, pages) = (page.next, pages + 1)
            } while next != nil
            #expect(found == Array((0..<25).reversed()))
            #expect(pages == 3)
            try await pod.shutdown()
        }

        @Test func edits_of_an_open_document_show_at_once_and_are_kept_when_saved() async throws {
            let pod = try await Pod.make(scratch)
            let document = pod.collection("journal").newDocument()
            try document.setText("text", to: "hello 🌍")
            try document.set(["meta", "tags"], to: ["a", "b"])
            try document.set("seen", to: .counter(0))
            try document.increment("seen", by: 3)
            try document.insert("c", into: ["meta", "tags"], at: 2)
            try document.delete(["meta", "tags", 0])
            // The globe is two UTF-16 code units, as NSString counts.
            try document.spliceText("text", at: 8, insert: "!")
            #expect(try document.get("text") == "hello 🌍!".asText)
            #expect(try document.get(["meta", "tags"]) == ["b", "c"])
            #expect(try document.value()["seen"]?.intValue == 3)
            #expect(!document.isSaved)
            #expect(try await pod.collection("journal").get(document.id) == nil)
            let entry = try #require(try await document.save())
            #expect(document.isSaved)
            #expect(try await document.save() == nil)
            #expect(try await pod.collection("journal").get(document.id) == document.value())
            #expect(try await pod.holders(of: entry) == [])

            try document.set("draft", to: true)
            try await document.discard()
            #expect(try document.get("draft") == nil)
            #expect(throws: RhizomeError.self) { try document.increment("text", by: 1) }
            try await pod.shutdown()
        }

        @Test func events_of_a_stream_come_back_in_order() async throws {
            let pod = try await Pod.make(scratch)
            let steps = pod.stream("steps")
            let events = (0..<3).map { Pod.Stream.Event(kind: "walked", payload: Data([$0])) }
            try await steps.append([events[0]])
            try await steps.append([events[1], events[2]])
            #expect(try await steps.events == events)
            #expect(steps.label == "steps")
            try await pod.shutdown()
        }

        @Test func values_and_events_show_nothing_when_they_are_printed() {
            let secret = "what a person wrote"
            let shown: [Any] = [
                Value.text(secret), Value.map([secret: .string(secret)]), Value.list([.bytes(Data(secret.utf8))]),
                Edit.set("a", to: .text(secret)),
                Pod.Stream.Event(kind: secret, payload: Data(secret.utf8)), DocumentWrite([.setText("a", to: secret)]),
            ]
            for one in shown {
                var dumped = ""
                dump(one, to: &dumped)
                #expect(!"\(one) \(String(reflecting: one)) \(dumped)".contains(secret))
            }
        }

        @Test func a_second_device_reads_and_writes_through_the_cloud_peer() async throws {
            let cloud = try await Cloud(scratch)
            let phone = try await Pod.make(scratch)
            let id = try await phone.write("from the phone")
            #expect(try await phone.status.onlyHere == 1)
            try await cloud.link(to: phone)
            let report = try await phone.syncOnce()
            #expect(report.peers.map(\.error) == [nil])
            guard case .upToDate = report.state else { throw Failure("\(report.state)") }
            let peer = try #require(try await phone.cloudPeers.first)
            #expect(try await peer.holds(id) != nil)
            #expect(try await peer.status?.isCloudPeer == true)
            #expect(try await phone.collection("journal").holders(of: id).map(\.isCloudPeer) == [true])

            let tablet = try await secondDevice(of: phone, scratch)
            #expect(try tablet.did == phone.did)
            #expect(try tablet.device != phone.device)
            try await tablet.syncOnce()
            let journal = tablet.collection("journal")
            #expect(try await journal.get(id)?["text"] == "from the phone".asText)

            // What was written on one shows up in the loop of the other.
            var newest = journal.newest(by: "date").makeAsyncIterator()
            #expect(try await newest.next()?.rows.map(\.id) == [id])
            let other = try await phone.write("again", at: 2000)
            try await phone.syncOnce()
            async let update = newest.next()
            try await tablet.syncOnce()
            let told = try #require(try await update)
            #expect(told.rows.map(\.id) == [other, id])
            #expect(told.placed == [0])
            #expect(told.removed == [])
            for pod in [phone, tablet] { try await pod.shutdown() }
        }

        @Test func live_pods_tell_each_other_at_once() async throws {
            let cloud = try await Cloud(scratch)
            let phone = try await Pod.make(scratch)
            try await cloud.link(to: phone)
            let tablet = try await secondDevice(of: phone, scratch)
            try await tablet.syncOnce()
            let lives = [try await phone.goLive(), try await tablet.goLive()]
            var newest = tablet.collection("journal").newest(by: "date").makeAsyncIterator()
            #expect(try await newest.next()?.rows.count == 0)
            let id = try await phone.write("now")
            #expect(try await newest.next()?.rows.map(\.id) == [id])
            for live in lives {
                try await live.stop()
                try await live.stop()
            }
            for pod in [phone, tablet] { try await pod.shutdown() }
        }

        @Test func a_suspended_pod_holds_no_file_and_wakes_with_everything() async throws {
            let pod = try await Pod.make(scratch)
            let id = try await pod.write("before")
            try await pod.suspend()
            let path = scratch.folder.path
            let held = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd"))?.compactMap {
                try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
            }
            #expect(held?.contains { $0.hasPrefix(path) } != true)
            #expect(await failure { _ = try await pod.collection("journal").get(id) }?.kind == .suspended)
            try await pod.resume()
            try await pod.resume()
            #expect(try await pod.collection("journal").get(id)?["text"] == "before".asText)
            try await pod.shutdown()
        }

        @Test func a_sync_with_a_deadline_ends_by_it() async throws {
            let cloud = try await Cloud(scratch)
            let pod = try await Pod.make(scratch)
            try await cloud.link(to: pod)
            try await pod.write("a line")
            cloud.freeze()
            let clock = ContinuousClock()
            var report: SyncReport?
            let took = try await clock.measure { report = try await pod.syncOnce(within: .milliseconds(800)) }
            #expect(took < .seconds(4), "\(took)")
            #expect(report?.peers.map(\.sent) == [0])
            // Whether it was reached before it froze is a matter of the moment.
            #expect([.notFinished, .peerUnreachable].contains(report?.state.reason))
            #expect(try await pod.status.onlyHere == 1)
            cloud.thaw()
            try await pod.syncOnce()
            #expect(try await pod.status.onlyHere == 0)
            try await pod.shutdown()
        }

        @Test func a_call_against_a_peer_that_never_answers_is_cancelled_with_its_task() async throws {
            let cloud = try await Cloud(scratch)
            let pod = try await Pod.make(scratch)
            try await cloud.link(to: pod)
            try await pod.write("a line")
            // Once for what stays: the endpoint.
            cloud.freeze()
            try await pod.syncOnce(within: .milliseconds(500))
            try await Task.sleep(for: .seconds(1))
            let before = (pod.handle.alive(), openFiles())
            for _ in 0..<5 {
                let task = Task { try await pod.syncOnce(within: .seconds(60)) }
                try await Task.sleep(for: .milliseconds(100))
                task.cancel()
                let took = await ContinuousClock().measure {
                    await #expect(throws: CancellationError.self) { try await task.value }
                }
                #expect(took < .seconds(2), "\(took)")
            }
            // A task that was cancelled before it called.
            let never = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                try await pod.syncOnce(within: .seconds(60))
            }
            await #expect(throws: CancellationError.self) { try await never.value }
            try await eventually("tasks and sockets return to where they were") {
                pod.handle.alive().tasks <= before.0.tasks && openFiles() <= before.1
            }
            cloud.thaw()
            try await pod.syncOnce()
            #expect(try await pod.status.onlyHere == 0)
            try await pod.shutdown()
        }

        @Test func conditions_are_the_reason_why_something_waits() async throws {
            let pod = try await Pod.make(scratch)
            let cloud = try await Cloud(scratch)
            try await cloud.link(to: pod)
            try await pod.write("a line")
            var statuses = pod.statuses.makeAsyncIterator()
            #expect(try await statuses.next()?.sync.reason == .newEntries)
            pod.set(Conditions(network: .metered, batteryLow: true))
            #expect(try await statuses.next()?.sync.reason == .batteryLow)
            pod.set(Conditions(network: .none))
            #expect(try await statuses.next()?.sync.reason == .offline)
            try await pod.shutdown()
            #expect(try await statuses.next() == nil)
        }

        @Test func the_library_says_what_it_is_made_of() throws {
            let about = try About.library
            #expect(about.version.split(separator: ".").count == 3)
            // A date, a time and a hash.
            #expect(about.sqlite.split(separator: " ").count == 3)
        }

        @Test func the_privacy_manifest_comes_with_the_library() throws {
            let path = try #require(Bundle.module.url(forResource: "PrivacyInfo", withExtension: "xcprivacy"))
            let plist = try PropertyListSerialization.propertyList(from: Data(contentsOf: path), format: nil)
            let manifest = try #require(plist as? [String: Any])
            #expect(manifest["NSPrivacyTracking"] as? Bool == false)
            #expect((manifest["NSPrivacyAccessedAPITypes"] as? [Any])?.count == 2)
        }
    }
}

struct Failure: Error {
    let text: String

    init(_ text: String) { self.text = text }
}

extension String {
    var asText: Value { .text(self) }
}

extension SyncState {
    var reason: WaitReason.Kind? {
        if case .waiting(let reason) = self { reason.kind } else { nil }
    }
}
