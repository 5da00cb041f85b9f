import Foundation
import Testing

@testable import Rhizome
@testable import RhizomeCore

extension All {
    @Suite struct Subscriptions {
        let scratch = Scratch()

        @Test func a_slow_reader_misses_no_result_and_skips_what_was_only_in_between() async throws {
            let pod = try await Pod.make(scratch)
            var newest = pod.collection("journal").newest(by: "date", limit: 500).makeAsyncIterator()
            #expect(try await newest.next()?.rows == [])
            for number in 0..<200 { try await pod.write("\(number)", at: Int64(number)) }
            let update = try #require(try await newest.next())
            #expect(update.rows.map(\.date) == (0..<200).reversed().map { Date(millis: Int64($0)) })
            #expect(update.placed == Array(0..<200))
            try await pod.shutdown()
        }

        @Test func an_updated_list_is_the_list() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            var newest = journal.newest(by: "date", limit: 4).makeAsyncIterator()
            _ = try await newest.next()
            var ids: [DocumentID] = []
            for number in 0..<40 {
                // New ones, moved ones, changed ones, and ones that leave the list.
                if number % 3 == 0 || ids.count < 3 {
                    ids.append(try await pod.write("\(number)", at: Int64(number * 7 % 40)))
                } else if number % 3 == 1 {
                    try await journal.edit(ids[number % ids.count], [.set("date", to: .date(Date(millis: Int64(number * 11 % 40))))])
                } else {
                    try await journal.edit(ids[number % ids.count], [.delete("date"), .set("title", to: .string("\(number)"))])
                }
                let list = try await journal.list(by: "date", limit: 4).rows
                var told = try #require(try await next(&newest, ifOtherThan: list))
                while told != list { told = try #require(try await newest.next()).rows }
            }
            try await pod.shutdown()
        }

        /// The next update's rows, if there must be one: a change of a document that is not among the newest makes none.
        private func next(_ iterator: inout Updates<ListUpdate>.Iterator, ifOtherThan list: [Rhizome.ListRow]) async throws -> [Rhizome
            .ListRow]?
        {
            if last.with({ $0 }) == list { return list }
            let rows = try await iterator.next()?.rows
            last.with { $0 = rows ?? [] }
            return rows
        }

        private let last = Locked<[Rhizome.ListRow]>([])

        @Test func a_document_is_told_before_it_is_here_and_after() async throws {
            let pod = try await Pod.make(scratch)
            let document = pod.collection("journal").newDocument()
            try document.set("title", to: "one")
            var updates = pod.collection("journal").updates(of: document.id).makeAsyncIterator()
            #expect(try await updates.next() == .some(.none))
            try await document.save()
            #expect(try await updates.next()??["title"] == "one")
            try document.set("title", to: "two")
            try await document.save()
            #expect(try await updates.next()??["title"] == "two")
            try await pod.shutdown()
            #expect(try await updates.next() == .none)
        }

        @Test func a_loop_ends_with_its_task_and_leaves_nothing_behind() async throws {
            let pod = try await Pod.make(scratch)
            _ = try await pod.status
            let before = pod.handle.alive().tasks
            for _ in 0..<20 {
                let began = AsyncStream.makeStream(of: Void.self)
                let task = Task {
                    for try await _ in pod.statuses { began.continuation.yield() }
                }
                for await _ in began.stream { break }
                task.cancel()
                try await task.value
            }
            try await eventually("the tasks of 20 loops end") { pod.handle.alive().tasks <= before }
            try await pod.shutdown()
        }

        @Test func a_loop_whose_body_throws_ends_its_subscription() async throws {
            let pod = try await Pod.make(scratch)
            weak var subscription: Subscription<Rhizome.Status>?
            await #expect(throws: Failure.self) {
                var iterator = pod.statuses.makeAsyncIterator()
                subscription = try iterator.subscription.get()
                while try await iterator.next() != nil { throw Failure("the body") }
            }
            #expect(subscription == nil)
            // Whoever still waits in a subscription that ended is told so.
            let statuses = pod.handle.watchStatus()
            _ = try await statuses.next(cancel: nil)
            async let next = statuses.next(cancel: nil)
            statuses.cancel()
            #expect(try await next == nil)
            try await pod.shutdown()
        }

        @Test func two_loops_are_two_subscriptions_and_both_are_told() async throws {
            let pod = try await Pod.make(scratch)
            let newest = pod.collection("journal").newest(by: "date")
            var (one, other) = (newest.makeAsyncIterator(), newest.makeAsyncIterator())
            _ = try await (one.next(), other.next())
            let id = try await pod.write("a line")
            #expect(try await one.next()?.rows.map(\.id) == [id])
            #expect(try await other.next()?.rows.map(\.id) == [id])
            try await pod.shutdown()
        }

        @Test func a_suspended_pod_keeps_its_readers_waiting() async throws {
            let pod = try await Pod.make(scratch)
            var newest = pod.collection("journal").newest(by: "date").makeAsyncIterator()
            _ = try await newest.next()
            try await pod.suspend()
            let told = Locked(false)
            async let update = {
                let update = try await newest.next()
                told.with { $0 = true }
                return update
            }()
            try await Task.sleep(for: .milliseconds(300))
            #expect(!told.with { $0 })
            try await pod.resume()
            let id = try await pod.write("a line")
            #expect(try await update?.rows.map(\.id) == [id])
            try await pod.shutdown()
        }
    }

    @Suite struct Leaks {
        let scratch = Scratch()

        /// Each is called a thousand times and then nine thousand times more: what lives in the library is the same after both.
        @Test func nothing_grows_with_the_number_of_calls() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            let id = try await pod.write("a line")
            let document = try await journal.open(id)
            let call = {
                _ = try await journal.get(id)
                _ = try await journal.list(by: "date")
                _ = try document.value()
                _ = try document.get("text")
                _ = try pod.did
                _ = try await pod.cloudPeers
                _ = try? await journal.get(DocumentID(rawValue: "x"))
                var newest = journal.newest(by: "date").makeAsyncIterator()
                _ = try await newest.next()
                _ = try await document.save()
                _ = journal.newDocument().id
            }
            for _ in 0..<100 { try await call() }
            let first = try await settled(pod)
            for _ in 0..<900 { try await call() }
            let second = try await settled(pod)
            #expect(second.tasks == first.tasks)
            #expect(second.podHandles == first.podHandles)
            // Caches of SQLite's may take or give some pages; a leak of one small object a call would be far more.
            #expect(abs(second.bytes - first.bytes) < 9000 * 8, "\(first.bytes) bytes, then \(second.bytes)")
            try await pod.shutdown()
        }

        private func settled(_ pod: Pod) async throws -> Alive {
            var last = pod.handle.alive()
            while true {
                try await Task.sleep(for: .milliseconds(200))
                let now = pod.handle.alive()
                if now.tasks == last.tasks, now.podHandles == last.podHandles { return now }
                last = now
            }
        }

        @Test func a_loop_over_a_live_query_ends_with_its_task_and_leaves_nothing_behind() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            try await journal.declare(Rhizome.Schema(indexes: [["date"]]))
            try await pod.write("a line")
            let before = pod.handle.alive().tasks
            for _ in 0..<10 {
                let began = AsyncStream.makeStream(of: Void.self)
                let task = Task {
                    for try await _ in journal.updates(of: Rhizome.Query(sortedBy: "date")) { began.continuation.yield() }
                }
                for await _ in began.stream { break }
                task.cancel()
                try await task.value
            }
            // One that is dropped while nothing waits in it.
            weak var subscription: Subscription<QueryUpdate>?
            do {
                var iterator = journal.updates(of: Rhizome.Query(sortedBy: "date")).makeAsyncIterator()
                subscription = try iterator.subscription.get()
                #expect(try await iterator.next()?.rows.count == 1)
            }
            #expect(subscription == nil)
            try await eventually("the tasks of the loops end") { pod.handle.alive().tasks <= before }
            try await pod.shutdown()
        }

        @Test func questions_and_answers_show_nothing_when_they_are_printed() {
            let secret = "what a person wrote"
            let shown: [Any] = [
                Rhizome.Query().where("a", is: .string(secret)).where("b", beginsWith: secret), Rhizome.Search(secret),
                ValueRange(from: .string(secret)), MergedText(wrappedValue: secret), Rhizome.QueryPage.Cursor(rawValue: secret),
                Rhizome.QueryRow(RhizomeCore.QueryRow(id: "1", fields: ["a": .text(value: secret)])),
                Rhizome.ListRow(.init(id: "1", millis: 1, fields: [secret: .null])),
                Rhizome.Span(.init(text: secret, marks: ["a": .str(value: secret)])),
                Rhizome.Excerpt(.init(path: ["a"], text: secret, ranges: [], cutBefore: false, cutAfter: false)),
                Rhizome.TextPiece.marked(secret, before: [:], after: ["a": .string(secret)]),
                Rhizome.Difference(.init(path: [], change: .text(pieces: [.added(text: secret)]))),
                Rhizome.Difference(.init(path: [], change: .set(before: .str(value: secret), after: nil))),
            ]
            for one in shown {
                var dumped = ""
                dump(one, to: &dumped)
                #expect(!"\(one) \(String(reflecting: one)) \(dumped)".contains(secret))
            }
        }
    }
}
