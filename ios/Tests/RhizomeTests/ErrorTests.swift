import Foundation
import Testing

@testable import Rhizome
@testable import RhizomeCore

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

extension All {
    @Suite struct Errors {
        let scratch = Scratch()

        @Test func what_is_not_there_or_there_already_is_said() async throws {
            let keeper = TestKeeper()
            let open = { try await Rhizome.Pod.open(at: scratch.path("pod"), keeper: keeper, options: loopback) }
            var error = await failure { _ = try await open() }
            #expect(error?.kind == .notFound)
            #expect(error?.code == "no-pod")
            #expect(error?.isRetryable == false)
            let pod = try await Pod.make(scratch, "pod", keeper: keeper)
            error = await failure { _ = try await Pod.make(scratch, "pod", keeper: keeper) }
            #expect(error?.kind == .alreadyExists)
            // One folder is one pod.
            let again = try await open()
            #expect(try again.did == pod.did)
            try await pod.shutdown()
            #expect(await failure { _ = try await pod.status }?.kind == .closed)
            #expect(await failure { try await pod.resume() }?.kind == .closed)
        }

        @Test func a_folder_that_another_process_has_is_in_use() async throws {
            let keeper = TestKeeper()
            let pod = try await Pod.make(scratch, "pod", keeper: keeper)
            try await pod.suspend()
            // Such a lock belongs to the file's opening, not to the process: it is as good as another's.
            let file = open(scratch.path("pod").appendingPathComponent("lock").path, O_RDWR)
            defer { close(file) }
            try #require(flock(file, LOCK_EX | LOCK_NB) == 0)
            let error = await failure { try await pod.resume() }
            #expect(error?.kind == .inUse)
            #expect(error?.isRetryable == true)
            #expect(await failure { _ = try await pod.status }?.kind == .suspended)
            flock(file, LOCK_UN)
            try await pod.resume()
            try await pod.shutdown()
        }

        @Test func a_locked_a_lost_and_a_wrong_key_are_told_apart_and_change_nothing() async throws {
            let keeper = TestKeeper()
            let pod = try await Pod.make(scratch, "pod", keeper: keeper)
            let (did, id) = (try pod.did, try await pod.write("a line"))
            try await pod.shutdown()
            let open = { try await Rhizome.Pod.open(at: scratch.path("pod"), keeper: keeper, options: loopback) }
            for (state, kind, code, retryable) in [
                (TestKeeper.State.locked, Rhizome.RhizomeError.Kind.locked, "locked", true),
                (.absent, .needsRecovery, "needs-recovery", false),
                (.failing, .storage, "keeper", false),
                (.another, .storage, "damaged", false),
            ] {
                keeper.answer(state)
                let error = await failure { _ = try await open() }
                #expect(error?.kind == kind)
                #expect(error?.code == code)
                #expect(error?.isRetryable == retryable)
            }
            keeper.answer(.ok)
            let again = try await open()
            #expect(try again.did == did)
            #expect(try await again.collection("journal").get(id) != nil)
            try await again.shutdown()
        }

        @Test func a_keeper_that_keeps_nothing_makes_no_pod() async throws {
            let keeper = TestKeeper()
            keeper.answer(.failing)
            let error = await failure { _ = try await Pod.make(scratch, "pod", keeper: keeper) }
            #expect(error?.kind == .storage)
            #expect(error?.code == "keeper")
            keeper.answer(.ok)
            try await Pod.make(scratch, "pod", keeper: keeper).shutdown()
        }

        @Test func wrong_arguments_are_said() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            #expect(await failure { _ = try await journal.get(DocumentID(rawValue: "nonsense")) }?.code == "id")
            let missing = DocumentID(rawValue: String(repeating: "0", count: 32))
            #expect(try await journal.get(missing) == nil)
            #expect(await failure { _ = try await journal.open(DocumentID(rawValue: "")) }?.kind == .invalidInput)
            #expect(await failure { _ = try await pod.linkCloudPeer(code: "rhizome:nonsense").finished() }?.code == "ticket")
            var updates = journal.updates(of: DocumentID(rawValue: "x")).makeAsyncIterator()
            #expect(await failure { _ = try await updates.next() }?.code == "id")
            let options = Rhizome.Pod.Options(listen: ["here"])
            #expect(
                await failure {
                    _ = try await Rhizome.Pod.create(at: scratch.path("x"), name: "x", keeper: TestKeeper(), options: options)
                }?.code
                    == "address")
            let document = journal.newDocument()
            try document.set("list", to: [1])
            #expect(await failure { try document.insert(2, into: "list", at: -1) }?.kind == .invalidInput)
            #expect(await failure { try document.insert(2, into: "list", at: 5) }?.kind == .invalidInput)
            #expect(try document.get("list") == [1])
            let large = Data(repeating: 1, count: 64 << 20)
            #expect(await failure { try await journal.create([.set("blob", to: .bytes(large))]) }?.kind == .invalidInput)
            try await pod.shutdown()
        }

        @Test func a_folder_that_cannot_be_made_and_a_damaged_one_are_said() async throws {
            let file = scratch.path("file")
            try Data().write(to: file)
            let keeper = TestKeeper()
            let error = await failure {
                _ = try await Rhizome.Pod.create(at: file.appendingPathComponent("pod"), name: "x", keeper: keeper, options: loopback)
            }
            #expect(error?.kind == .storage)
            #expect(error?.code == "folder")
            try await Pod.make(scratch, "pod", keeper: keeper).shutdown()
            try Data("{".utf8).write(to: scratch.path("pod").appendingPathComponent("pod.json"))
            let damaged = await failure { _ = try await Rhizome.Pod.open(at: scratch.path("pod"), keeper: keeper, options: loopback) }
            #expect(damaged?.kind == .storage)
            #expect(damaged?.code == "damaged")
        }

        @Test func a_folder_of_a_newer_version_asks_for_an_update() async throws {
            let keeper = TestKeeper()
            try await Pod.make(scratch, "pod", keeper: keeper).shutdown()
            let file = scratch.path("pod").appendingPathComponent("pod.json")
            let text = try String(contentsOf: file, encoding: .utf8)
            try Data(text.replacingOccurrences(of: "\"format\": 1", with: "\"format\": 2").utf8).write(to: file)
            let error = await failure { _ = try await Rhizome.Pod.open(at: scratch.path("pod"), keeper: keeper, options: loopback) }
            #expect(error?.kind == .updateNeeded)
            #expect(error?.code == "update-needed")
            #expect(error?.isRetryable == false)
        }

        @Test func a_link_that_a_person_declines_is_refused_on_both_sides() async throws {
            let pod = try await Pod.make(scratch)
            let invite = try await pod.invite(expiresIn: .seconds(60))
            let join = try Rhizome.Pod.join(
                at: scratch.path("thief"), name: "thief", code: try #require(invite.code), keeper: TestKeeper(), options: loopback)
            _ = try await (invite.number, join.number)
            invite.answer(same: false)
            join.answer(same: true)
            #expect(await failure { _ = try await invite.finished() }?.kind == .refused)
            #expect(await failure { _ = try await join.finished() }?.kind == .refused)
            #expect(try await pod.status.peers.count == 1)
            try await pod.shutdown()
        }

        @Test func a_link_that_is_aborted_ends_and_one_in_the_wrong_role_is_refused() async throws {
            let pod = try await Pod.make(scratch)
            let other = try await Pod.make(scratch, "other")
            let invite = try await other.invite()
            let code = try #require(invite.code)
            let matrix = try #require(invite.matrix)
            #expect(matrix.quietZone == 4 && matrix.rows.count == matrix.width)
            #expect(matrix.rows.allSatisfy { $0.count == matrix.width && $0.contains(true) })
            // The finder's corner.
            #expect(matrix.rows[0].prefix(8) == [true, true, true, true, true, true, true, false])
            let waiting = Task { try await invite.finished() }
            invite.abort()
            await #expect(throws: (any Error).self) { try await waiting.value }
            try await other.shutdown()
            // A code for new devices, in a device that is none.
            let role = await failure { _ = try await pod.linkDevice(code: code).finished() }
            #expect(role?.kind == .refused)
            #expect(role?.code == "link")
            try await pod.shutdown()
        }

        @Test func a_network_that_cannot_be_used_is_said() async throws {
            // An address that is nobody's (RFC 5737), so not this machine's either.
            let options = Rhizome.Pod.Options(listen: ["192.0.2.1:0"])
            let pod = try await Rhizome.Pod.create(at: scratch.path("pod"), name: "phone", keeper: TestKeeper(), options: options).pod
            let error = await failure { _ = try await pod.invite() }
            #expect(error?.kind == .network)
            #expect(error?.isRetryable == true)
            try await pod.shutdown()
        }

        @Test func a_panic_is_an_error_and_the_pod_stays_usable() async throws {
            let pod = try await Pod.make(scratch)
            for error in [
                await failure { try mapped { try pod.handle.panicNow() } },
                await failure { try await cancellable { try await pod.handle.panicLater(cancel: $0) } },
            ] {
                #expect(error?.kind == .internal)
                #expect(error?.code == "panic")
                #expect(error?.reason.contains("a test asked for it") == false)
            }
            let id = try await pod.write("still here")
            #expect(try await pod.collection("journal").get(id) != nil)
            try await pod.shutdown()
        }
    }
}
