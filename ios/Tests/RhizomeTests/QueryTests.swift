import Foundation
import Testing

@testable import Rhizome

extension All {
    @Suite struct Queries {
        let scratch = Scratch()
        private let schema = Schema(
            indexes: [["date"], ["kind", "date"], ["place.name"], [["place", "name"]], .each("tags", then: "date"), ["title"]],
            search: ["title": 3, "text": 1])

        private func day(_ number: Int) -> Date { Date(millis: Int64(number) * 86_400_000) }

        private func write(_ number: Int) -> DocumentWrite {
            let tags: Value = number % 2 == 0 ? ["even", "all"] : ["all"]
            let place: Value = ["name": .string("place \(number % 5)")]
            var edits: [Edit] = [.set("date", to: .date(day(number))), .set("n", to: .int(Int64(number))), .set("tags", to: tags)]
            edits += [.set("kind", to: number % 3 == 0 ? "task" : "note"), .set("title", to: .string("title \(number % 10)"))]
            edits += [.set("place", to: place), .setText("text", to: "🌍 It rained in Grünheide, day \(number).")]
            return DocumentWrite(edits)
        }

        private func journal(_ pod: Pod) async throws -> Pod.Collection {
            let journal = pod.collection("journal")
            try await journal.declare(schema)
            try await journal.write((0..<30).map(write))
            return journal
        }

        private func numbers(_ rows: [QueryRow]) -> [Int] { rows.compactMap { $0["n"]?.intValue.map(Int.init) } }

        @Test func a_query_finds_what_it_asks_for_in_its_order_page_by_page() async throws {
            let pod = try await Pod.make(scratch)
            let journal = try await journal(pod)
            #expect(try await journal.indexProgress == nil)
            func found(_ query: Query) async throws -> [Int] {
                let rows = numbers(try await journal.query(query).rows)
                #expect(try await journal.count(query) == rows.count)
                return rows
            }
            let tasks = Query(sortedBy: "date").where("kind", is: "task")
            #expect(try await found(tasks) == Array(stride(from: 0, to: 30, by: 3)))
            #expect(try await found(tasks.where("date", in: day(3)..<day(9))) == [3, 6])
            #expect(try await found(tasks.where("date", in: day(3)...day(9))) == [3, 6, 9])
            #expect(try await found(tasks.where("date", in: day(24)...)) == [24, 27])
            #expect(try await found(tasks.where("date", in: ..<day(3))) == [0])
            #expect(try await found(tasks.where("date", in: ...day(3))) == [0, 3])
            let above = ValueRange(above: .date(day(3)), upTo: .date(day(9)))
            #expect(try await found(tasks.where("date", in: above)) == [6])
            #expect(try await found(tasks.where("date", in: ValueRange(above: .date(day(3)), through: .date(day(9))))) == [6, 9])
            #expect(
                try await found(.init(sortedBy: "date", descending: true).where("kind", is: "task").where("date", in: day(20)...)) == [
                    27, 24, 21,
                ])
            #expect(try await found(.init(sortedBy: "date").where("tags", contains: "even").where("date", in: day(25)...)) == [26, 28])
            #expect(try await found(.init().where(["place", "name"], is: "place 4")).sorted() == [4, 9, 14, 19, 24, 29])
            #expect(try await found(.init().where("title", beginsWith: "title 9")).sorted() == [9, 19, 29])
            #expect(try await found(.init(sortedBy: "title").where("title", in: "title 8"...)).count == 6)

            var (pages, next) = ([[Int]](), QueryPage.Cursor?.none)
            repeat {
                var query = Query(sortedBy: "date", descending: true).limit(12)
                if let next { query = query.after(QueryPage.Cursor(rawValue: next.rawValue)) }
                let page = try await journal.query(query)
                pages.append(numbers(page.rows))
                next = page.next
            } while next != nil
            #expect(pages.map(\.count) == [12, 12, 6])
            #expect(pages.flatMap { $0 } == Array((0..<30).reversed()))
            try await pod.shutdown()
        }

        @Test func a_row_is_read_as_a_type() async throws {
            struct Summary: Codable, Equatable {
                var (title, date, n) = ("", Date.distantPast, 0)
            }
            let pod = try await Pod.make(scratch)
            let journal = try await journal(pod)
            let row = try #require(try await journal.query(.init(sortedBy: "date").limit(1)).rows.first)
            #expect(try row.read(as: Summary.self) == Summary(title: "title 0", date: day(0), n: 0))
            #expect(try await journal.list(by: "date", limit: 1).rows.first?.read() == Summary(title: "title 9", date: day(29), n: 29))
            #expect(throws: DecodingError.self) { try row.read(as: [String: Int].self) }
            #expect(try await journal.ids.contains(row.id))
            try await pod.shutdown()
        }

        @Test func a_question_that_no_index_answers_is_refused() async throws {
            let pod = try await Pod.make(scratch)
            let journal = try await journal(pod)
            for query in [Query(sortedBy: "n"), Query().where("kind", is: "task"), Query(sortedBy: "kind", "n")] {
                let error = await failure { _ = try await journal.query(query) }
                #expect(error?.kind == .invalidInput && error?.code == "not-indexed")
            }
            let cursor = QueryPage.Cursor(rawValue: "no cursor")
            #expect(await failure { _ = try await journal.query(.init(sortedBy: "date").after(cursor)) }?.code == "query")
            #expect(await failure { try await journal.declare(Schema(search: ["text": 0])) }?.code == "query")
            #expect(await failure { try await journal.declare(Schema(search: ["text": 1000])) }?.code == "query")
            // What is wrong with a live query is told by its loop.
            var updates = journal.updates(of: .init(sortedBy: "n")).makeAsyncIterator()
            #expect(await failure { _ = try await updates.next() }?.code == "not-indexed")
            try await pod.shutdown()
        }

        @Test func a_search_finds_words_ranks_them_and_says_where_they_are() async throws {
            let pod = try await Pod.make(scratch)
            let journal = try await journal(pod)
            let page = try await journal.search(Search("GRUNHEIDE rained").limit(7))
            #expect(page.hits.count == 7)
            let hit = try #require(page.hits.first)
            let excerpt = try #require(hit.excerpts.first)
            #expect(excerpt.field == "text")
            #expect(excerpt.ranges.map { String(excerpt.text[$0]) } == ["rained", "Grünheide"])
            #expect(hit.row["kind"] != nil && hit.id == hit.row.id)
            let more = try await journal.search(Search("GRUNHEIDE rained").limit(30).after(try #require(page.next)))
            #expect(more.hits.count == 23 && more.next == nil)
            #expect(Set((page.hits + more.hits).map(\.id)).count == 30)
            #expect(zip(page.hits, page.hits.dropFirst()).allSatisfy { $0.score >= $1.score })

            #expect(try await journal.search(Search("grün")).hits.isEmpty)
            #expect(try await journal.search(Search("grün", isTyping: true).limit(50)).hits.count == 30)
            #expect(try await journal.search(Search("grün*", hasExcerpts: false)).hits.allSatisfy(\.excerpts.isEmpty))
            #expect(
                try await journal.search(Search("rained").within("date", day(3)..<day(5))).hits.compactMap { $0.row["n"]?.intValue }
                    .sorted() == [3, 4])
            #expect(try await journal.search(Search("\"day 7\"")).hits.compactMap { $0.row["n"]?.intValue } == [7])
            try await pod.shutdown()
        }

        @Test func a_live_query_is_what_a_fresh_query_finds_whoever_edits() async throws {
            let cloud = try await Cloud(scratch)
            let phone = try await Pod.make(scratch)
            try await cloud.link(to: phone)
            let here = try await journal(phone)
            try await phone.syncOnce()
            let tablet = try await secondDevice(of: phone, scratch)
            try await tablet.syncOnce()
            let there = tablet.collection("journal")
            let ids = try await here.ids
            #expect(ids.count == 30)

            let queries = [
                Query(sortedBy: "date", descending: true).where("kind", is: "task").limit(6),
                Query(sortedBy: "date").where("tags", contains: "even"),
            ]
            var loops = queries.map { here.updates(of: $0).makeAsyncIterator() }
            var shown: [[QueryRow]?] = [nil, nil]
            var told = (removed: 0, reasons: Set<QueryUpdate.Reason>())
            var random = Seeded(state: 7)
            for round in 0..<40 {
                // Edits that put documents in, take them out, change and move them; here, and on the other device.
                let writes = (0...Int.random(in: 0..<3, using: &random)).map { _ in
                    let id = ids[Int.random(in: 0..<ids.count, using: &random)]
                    return switch Int.random(in: 0..<5, using: &random) {
                    case 0: DocumentWrite(id, [.set("date", to: .date(day(Int.random(in: 0..<40, using: &random))))])
                    case 1: DocumentWrite(id, [.set("kind", to: Bool.random(using: &random) ? "task" : "note")])
                    case 2: DocumentWrite(id, [.set("tags", to: Bool.random(using: &random) ? ["even"] : [])])
                    case 3: DocumentWrite([.set("date", to: .date(day(round))), .set("kind", to: "task"), .set("tags", to: ["even"])])
                    default: DocumentWrite(id, [.set("title", to: .string("round \(round)"))])
                    }
                }
                try await (round % 2 == 0 ? here : there).write(writes)
                if round % 4 == 3 { for pod in [tablet, phone] { try await pod.syncOnce() } }
                for (index, query) in queries.enumerated() {
                    let fresh = try await here.query(query).rows
                    while shown[index] != fresh {
                        let update = try #require(try await loops[index].next())
                        // The difference makes the rows before into the rows after.
                        let gone = Set(update.removed).union(update.placed.map { update.rows[$0.index].id })
                        var rows = (shown[index] ?? []).filter { !gone.contains($0.id) }
                        for placed in update.placed { rows.insert(update.rows[placed.index], at: placed.index) }
                        try #require(rows == update.rows)
                        if shown[index] != nil {
                            told.removed += update.removed.count
                            told.reasons.formUnion(update.placed.map(\.reason))
                        }
                        shown[index] = rows
                    }
                }
            }
            #expect(told.removed > 0 && told.reasons == [.inserted, .updated, .moved])
            try await phone.shutdown()
            for index in loops.indices { #expect(try await loops[index].next() == nil) }
            try await tablet.shutdown()
        }
    }
}
