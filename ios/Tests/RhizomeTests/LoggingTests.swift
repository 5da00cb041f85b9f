import Foundation
import Testing

#if canImport(os)
import os
#endif

@testable import Rhizome

extension All {
    @Suite struct Logs {
        let scratch = Scratch()

        /// Something that the library warns of: views that are damaged, and made again from the log.
        private func work() async throws {
            let (name, keeper) = (UUID().uuidString, TestKeeper())
            let pod = try await Pod.make(scratch, name, keeper: keeper)
            let id = try await pod.write("what a person wrote")
            try await pod.shutdown()
            let views = scratch.path(name).appendingPathComponent("views.db")
            let kept = try Data(contentsOf: views).prefix(4096)
            try (kept + Data(repeating: 7, count: 65536)).write(to: views)
            let again = try await Pod.open(at: scratch.path(name), keeper: keeper, options: loopback)
            #expect(try await again.collection("journal").get(id) != nil)
            try await again.shutdown()
        }

        @Test func lines_come_up_to_the_level_and_hold_nothing_of_the_person() async throws {
            let found = Locked<[LogLine]>([])
            Logging.send { lines in found.with { $0 += lines } }
            defer {
                Logging.stop()
                Logging.setLevel(.warning)
            }
            Logging.setLevel(nil)
            try await work()
            #expect(found.with { $0 }.isEmpty)
            Logging.setLevel(.warning)
            try await work()
            try await eventually("lines come") { found.with { !$0.isEmpty } }
            let lines = found.with { $0 }
            #expect(lines.allSatisfy { $0.target.hasPrefix("rhizome") && abs($0.time.timeIntervalSinceNow) < 60 })
            #expect(!lines.contains { $0.message.contains("what a person wrote") })
            Logging.stop()
            try await Task.sleep(for: .milliseconds(200))
            let count = found.with { $0.count }
            try await work()
            #expect(found.with { $0.count } == count)
        }

        #if os(Linux)
        @Test func lines_go_to_the_systems_log_for_all_to_read() async throws {
            Logging.sendToSystemLog(subsystem: "org.example.journal")
            defer {
                Logging.stop()
                Logging.setLevel(.warning)
            }
            Logging.setLevel(.warning)
            try await work()
            try await eventually("lines come") { os.Script.lines.contains { $0.subsystem == "org.example.journal" } }
            let lines = os.Script.lines.filter { $0.subsystem == "org.example.journal" }
            #expect(lines.allSatisfy { $0.category.hasPrefix("rhizome") && !$0.text.contains("<private>") && !$0.text.isEmpty })
        }
        #endif
    }
}
