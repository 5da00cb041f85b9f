// swift-format-ignore-file
// The guide shows lines of this file as they stand here.
#if os(Linux)
import Foundation
import Testing

@testable import Rhizome

extension All {
    /// The code that the README and the guide show.
    @Suite struct Guide {
        let scratch = Scratch()

        @Test func the_first_lines() async throws {
            let (folder, text) = (scratch.path("pod"), "A line that is kept.")
            // guide: first-lines
            let created = try await Pod.create(at: folder, name: "My iPhone", keeper: .keychain)
            let journal = created.pod.collection("journal")             // created.words: 24 words, to be shown once

            try await journal.create([.set("date", to: .date(.now)), .setText("text", to: text)])
            let page = try await journal.list(by: "date", limit: 20)    // newest first; nothing waited for a network

            for try await list in journal.newest(by: "date", limit: 20) {
                show(list.rows)                                         // now, and whenever something changes here or elsewhere
                break
            }
            // guide: end
            #expect(page.rows.count == 1)
            #expect(created.words.count == 24)
            try await created.pod.shutdown()
        }

        @Test func editing_a_text() async throws {
            let pod = try await Pod.make(scratch)
            let id = try await pod.write("A line")
            // guide: editing
            let document = try await pod.collection("journal").open(id)
            try document.spliceText("text", at: 6, insert: " more")     // instant: memory only
            try document.set("mood", to: "calm")
            try await document.save()                                   // one change, on the disk when it returns
            try await document.refresh()                                // brings in what other devices wrote
            // guide: end
            #expect(try document.get("text") == .text("A line more"))
            #expect(try await pod.collection("journal").get(id)?["mood"] == "calm")
            try await pod.shutdown()
        }

        @Test func documents_as_types_and_queries() async throws {
            let pod = try await Pod.make(scratch)
            // guide: types
            struct Note: Codable {
                var kind = "note"
                var date = Date.now
                @MergedText var text: String                            // edited together, letter by letter
            }
            let notes = pod.collection("notes")
            try await notes.declare(Schema(indexes: [["kind", "date"]], search: ["text": 1]))      // whenever the pod was opened
            let id = try await notes.create(Note(text: "Buy bread")).id
            try await notes.update(id, as: Note.self) { $0.text += " and milk" }                   // writes only what is different

            let newest = Query(sortedBy: "date", descending: true).where("kind", is: "note").limit(20)
            for try await found in notes.updates(of: newest) {
                show(found.rows)                                        // now, and whenever they change; found.placed says where
                break
            }
            let hits = try await notes.search(Search("mil", isTyping: true)).hits
            // guide: end
            #expect(hits.map(\.id) == [id])
            #expect(try await notes.get(id, as: Note.self)?.text == "Buy bread and milk")
            try await pod.shutdown()
        }

        @Test func history_attachments_and_deleting() async throws {
            let pod = try await Pod.make(scratch)
            let (id, journal, jpeg) = (try await pod.write("A line"), pod.collection("journal"), Data([1, 2, 3]))
            try await journal.edit(id, [.setText("text", to: "Another line")])
            // guide: more
            let versions = try await journal.history(of: id).versions               // who, when; newest first
            let before = try await journal.get(id, at: versions[1].id)              // and restore(_:to:), differences, blame
            try await journal.undo(id)                                              // what this device did last, nobody else's

            let photo = try await pod.attach(jpeg, mediaType: "image/jpeg")         // or what is in a file, up to 8 GiB
            try await journal.edit(id, [.set("photo", to: photo.value)])            // of a type, a property AttachmentReference
            let picture = try await pod.read(photo)                                 // got from where it is, if it is not here

            try await pod.erase(id)                                                 // for seven days it is in pod.trash
            try await pod.cancelErase(id)
            // guide: end
            #expect(before["text"] == .text("A line") && picture == jpeg)
            #expect(try await journal.get(id)?["text"] == .text("A line"))
            try await pod.shutdown()
        }

        @Test func a_cloud_peer_and_the_truth_about_what_is_where() async throws {
            let cloud = try await Cloud(scratch)
            let pod = try await Pod.make(scratch)
            let id = try await pod.write("A line")
            let code = cloud.code
            // guide: cloud-peer
            let linking = pod.linkCloudPeer(code: code)                 // what `rhizome-cloud serve` shows
            let number = try await linking.number                       // six digits, the same on both sides
            linking.answer(same: await personSays(number))
            _ = try await linking.finished()

            try await pod.syncOnce(within: .seconds(25))
            switch try await pod.status.sync {
            case .upToDate(let since): show("Everything is on your cloud peer since \(since)")
            case .syncing(let done, let total): show("\(done) of \(total)")
            case .waiting(let reason): show(reason.text)
            }
            let holders = try await pod.collection("journal").holders(of: id)
            // guide: end
            #expect(holders.map(\.isCloudPeer) == [true])
            try await pod.shutdown()
        }

        @Test func a_lost_phone_and_the_words() async throws {
            let (cloud, folder) = (try await Cloud(scratch), scratch.path("new"))
            let made = try await Pod.create(at: scratch.path("lost"), name: "My iPhone", keeper: TestKeeper(), options: loopback)
            let (words, typed, written) = (made.words, made.words.joined(separator: " "), cloud.code)
            try await cloud.link(to: made.pod)
            let id = try await made.pod.write("A line")
            try await made.pod.syncOnce()
            try await made.pod.shutdown()
            let personTypes = { (places: [Int]) in places.map { words[$0 - 1] } }
            // guide: words
            let quiz = WordsQuiz(words)                                 // once they are on paper, and before they leave the screen
            show(quiz.isRight(personTypes(quiz.places)))                // three of them, by their places

            // Later, on a new phone: the words, and the address of the cloud peer that was kept beside them.
            let address = try PeerAddress(written)                      // KEY@host:port
            let pod = try await Pod.recover(at: folder, name: "New iPhone", words: typed, peer: address, keeper: .keychain)
            try await pod.syncOnce(within: .seconds(25))                // brings what the cloud peer holds

            for device in try await pod.members.members where device.name == "My iPhone" {
                try await pod.remove(device: device.key)                // it keeps what it had, and reads nothing that is new
            }
            // guide: end
            #expect(try await pod.collection("journal").get(id) != nil)
            #expect(try await pod.members.removed.map(\.name) == ["My iPhone"])
            try await pod.shutdown()
        }

        private func show(_: some Any) {}
        private func personSays(_ number: String?) async -> Bool { number?.count == 6 }
    }
}
#endif
