import Foundation
import Testing

@testable import Rhizome

extension All {
    @Suite struct History {
        let scratch = Scratch()

        @Test func every_version_can_be_read_compared_and_restored() async throws {
            struct Line: Codable, Equatable {
                @MergedText var text = ""
                var mood: String?
            }
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            let id = try await journal.create(Line(text: "one")).id
            try await journal.update(id, as: Line.self) { $0.text = "one two" }
            try await journal.update(id, as: Line.self) { $0.mood = "calm" }

            let first = try await journal.history(of: id, limit: 2)
            let rest = try await journal.history(of: id, after: first.next.map { .init(rawValue: $0.rawValue) })
            let versions = first.versions + rest.versions
            #expect(first.versions.count == 2 && rest.next == nil)
            #expect(versions.map(\.kind) == [.edit, .edit, .create])
            #expect(versions.allSatisfy { $0.isThisDevice && $0.deviceName == "phone" && $0.date <= Date() })
            #expect(try versions.map(\.device) == Array(repeating: pod.device, count: 3))
            #expect(try await journal.get(id, at: versions[2].id) == ["text": .text("one")])
            #expect(try await journal.get(id, at: versions[1].id, as: Line.self) == Line(text: "one two"))
            let differences = try await journal.differences(id, from: versions[2].id, to: versions[0].id)
            #expect(differences.map(\.path) == ["mood", "text"])
            #expect(differences.map(\.change) == [.set(before: nil, after: "calm"), .text([.kept("one"), .added(" two")])])
            #expect(try await journal.differences(id, to: versions[2].id).map(\.path) == ["text"])

            #expect(try await journal.restore(id, to: versions[2].id).entry != nil)
            #expect(try await journal.get(id, as: Line.self) == Line(text: "one"))
            let restored = try await journal.history(of: id).versions
            #expect(restored.map(\.kind) == [.restore(versions[2].id), .edit, .edit, .create])

            let missing = DocumentID(rawValue: String(repeating: "0", count: 32))
            #expect(try await journal.history(of: missing).versions.isEmpty)
            #expect(await failure { _ = try await journal.get(missing, at: versions[0].id) }?.kind == .notFound)
            let none = DocumentVersion.ID(rawValue: String(repeating: "0", count: 64))
            #expect(await failure { _ = try await journal.get(id, at: none) }?.kind == .invalidInput)
            #expect(await failure { _ = try await journal.get(id, at: .init(rawValue: "x")) }?.code == "id")
            #expect(await failure { _ = try await journal.history(of: id, after: .init(rawValue: "x")) }?.kind == .invalidInput)
            #expect(try await journal.automergeFile(id).starts(with: [0x85, 0x6f, 0x4a, 0x83]))
            try await pod.shutdown()
        }

        @Test func undo_takes_back_what_this_device_did_and_nothing_of_anothers() async throws {
            let cloud = try await Cloud(scratch)
            let phone = try await Pod.make(scratch)
            try await cloud.link(to: phone)
            let here = phone.collection("journal")
            let id = try await here.create([.setText("text", to: "from the phone"), .set("mood", to: "calm")]).id
            try await phone.syncOnce()
            let tablet = try await secondDevice(of: phone, scratch)
            try await tablet.syncOnce()
            let there = tablet.collection("journal")
            try await there.edit(id, [.spliceText("text", at: 14, delete: 0, insert: ", and the tablet"), .set("mood", to: "merry")])
            try await here.edit(id, [.spliceText("text", at: 0, delete: 0, insert: "Written "), .set("mood", to: "grave")])
            for pod in [tablet, phone, tablet] { try await pod.syncOnce() }

            let blame = try await here.blame(id, "text")
            #expect(blame.map(\.text) == ["Written ", "from the phone", ", and the tablet"])
            #expect(blame.map(\.version.isThisDevice) == [true, true, false])
            #expect(blame.map(\.version.deviceName) == ["phone", "phone", "tablet"])
            let conflicts = try await here.conflicts(id, "mood")
            #expect(Set(conflicts.map(\.value)) == ["merry", "grave"])
            #expect(try await here.get(id)?["mood"] == conflicts.last?.value)

            #expect(try await here.undo(id)?.entry != nil)
            #expect(try await here.get(id)?["text"] == .text("from the phone, and the tablet"))
            #expect(try await here.get(id)?["mood"] == "merry")
            #expect(try await here.redo(id) != nil)
            #expect(try await here.get(id)?["text"] == .text("Written from the phone, and the tablet"))
            #expect(try await here.redo(id) == nil)

            // The same in a document that is open, unsaved edits first.
            let document = try await here.open(id)
            try document.set("title", to: "unsaved")
            #expect(try await document.undo())
            #expect(try document.get("title") == nil)
            #expect(try await document.redo())
            #expect(try document.get("title") == "unsaved")
            let fresh = try await there.open(id)
            #expect(try await fresh.undo())
            #expect(try fresh.get("text") == .text("Written from the phone"))
            #expect(try await fresh.undo() == false)
            try await phone.shutdown()
            try await tablet.shutdown()
        }

        @Test func marks_and_cursors_stay_with_their_letters() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            let document = journal.newDocument()
            try document.setText("text", to: "🌍 bold words")
            try document.edit([.mark("text", 3..<7, name: "bold", value: true, growing: .after)])
            let spans = try #require(try document.spans("text"))
            #expect(spans.map(\.text) == ["🌍 ", "bold", " words"])
            #expect(spans.map(\.marks) == [[:], ["bold": true], [:]])
            try await document.save()
            let cursor = try document.cursor(in: "text", at: 8, leaning: .after)
            #expect(TextCursor(rawValue: cursor.rawValue) == cursor)
            #expect(try document.position(of: cursor, in: "text") == 8)

            try await journal.edit(
                document.id, [.spliceText("text", at: 0, delete: 3, insert: "Now: "), .spliceText("text", at: 9, delete: 0, insert: "er")])
            #expect(try await document.refresh())
            #expect(try document.spans("text")?.map(\.text) == ["Now: ", "bolder", " words"])
            #expect(try document.position(of: cursor, in: "text") == 12)
            #expect(try document.position(of: cursor, in: "mood") == nil)
            #expect(try document.spans("mood") == nil)
            #expect(throws: RhizomeError.self) { try document.position(of: TextCursor(rawValue: "no cursor"), in: "text") }
            #expect(throws: RhizomeError.self) { try document.cursor(in: "text", at: 100) }

            let before = try #require(try await journal.history(of: document.id).versions.first)
            try await journal.edit(document.id, [.unmark("text", 5..<11, name: "bold", growing: .after)])
            #expect(try await journal.spans(document.id, "text")?.map(\.marks) == [[:]])
            #expect(try await journal.spans(document.id, "text", at: before.id)?.map(\.marks) == [[:], ["bold": true], [:]])
            let after = try #require(try await journal.history(of: document.id).versions.first)
            #expect(
                try await journal.differences(document.id, from: before.id, to: after.id).map(\.change) == [
                    .text([.kept("Now: "), .marked("bolder", before: ["bold": true], after: [:]), .kept(" words")])
                ])
            try await pod.shutdown()
        }

        @Test func a_transaction_is_one_entry_or_nothing() async throws {
            let pod = try await Pod.make(scratch)
            let journal = pod.collection("journal")
            let written = try await journal.transaction([DocumentWrite([.set("a", to: 1)]), DocumentWrite([.set("a", to: 2)])])
            #expect(Set(written.map(\.entry)).count == 1)
            #expect(Set(try await journal.ids) == Set(written.map(\.id)))
            let error = await failure {
                try await journal.transaction([DocumentWrite(written[0].id, [.set("a", to: 3)]), DocumentWrite([.increment("b", by: 1)])])
            }
            #expect(error?.kind == .invalidInput)
            #expect(try await journal.get(written[0].id) == ["a": 1])
            #expect(try await journal.count == 2)
            try await pod.shutdown()
        }
    }
}
