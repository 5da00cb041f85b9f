import Foundation
import Testing

@testable import Rhizome

extension All {
    @Suite struct Attachments {
        private struct Photo: Codable, Hashable {
            var title: String
            var picture: AttachmentReference
            var more: [AttachmentReference] = []
        }

        let scratch = Scratch()

        private func bytes(_ count: Int) -> Data {
            var random = Seeded(state: UInt64(count))
            return Data((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
        }

        @Test func what_is_attached_here_is_read_on_a_second_device() async throws {
            let cloud = try await Cloud(scratch)
            let phone = try await Pod.make(scratch)
            try await cloud.link(to: phone)
            let (picture, small) = (bytes(700_000), bytes(3_000))
            let told = Locked<[AttachmentProgress]>([])
            let reference = try await phone.attach(
                picture, mediaType: "image/jpeg", name: "a photo.jpg", thumbnail: Thumbnail(small, mediaType: "image/png")
            ) { progress in told.with { $0.append(progress) } }
            #expect(reference.size == 700_000 && reference.mediaType == "image/jpeg" && reference.name == "a photo.jpg")
            #expect(told.with { $0 }.last?.done == 700_000)
            #expect(told.with { $0.map(\.done) } == told.with { $0.map(\.done).sorted() })
            let file = scratch.path("a sound")
            try bytes(300_000).write(to: file)
            let sound = try await phone.attach(contentsOf: file, mediaType: "audio/mp4")
            #expect(sound.name == nil && sound.thumbnail == nil)

            let photo = Photo(title: "A tree", picture: reference, more: [sound])
            let id = try await phone.collection("photos").create(photo).id
            #expect(try await phone.status(of: reference.id).holders.isEmpty)
            #expect(await failure { try await phone.evict(reference.id) }?.code == "attachment-only-here")
            #expect(try await phone.attachmentsStatus.onlyHere == 3)
            try await phone.syncOnce()
            #expect(try await phone.status(of: reference.id).holders.map(\.isCloudPeer) == [true])
            let all = try await phone.attachmentsStatus
            #expect(all.count == 3 && all.onlyHere == 0 && all.onlyHereBytes == 0 && all.here > 1_000_000 && all.quota == nil)

            let tablet = try await secondDevice(of: phone, scratch)
            try await tablet.syncOnce()
            let photos = tablet.collection("photos")
            let there = try #require(try await photos.get(id, as: Photo.self))
            #expect(there == photo)
            #expect(Set(try await photos.attachments(of: id)) == [reference, sound])
            // The thumbnail came with the documents' sync; the picture comes when it is asked for.
            let thumbnail = try #require(there.picture.thumbnail)
            #expect(thumbnail.size == 3_000 && thumbnail.mediaType == "image/png")
            let status = try await tablet.status(of: thumbnail.id)
            #expect(status.here == status.size)
            #expect(try await tablet.status(of: reference.id).here == 0)
            #expect(try await tablet.read(thumbnail) == small)
            #expect(try await tablet.read(there.picture, 299_990..<300_010) == picture[299_990..<300_010])
            let part = try await tablet.status(of: reference.id)
            #expect(part.here > 0 && part.here < (part.size ?? 0))

            told.with { $0 = [] }
            try await tablet.fetch(reference.id) { progress in told.with { $0.append(progress) } }
            let whole = try await tablet.status(of: reference.id)
            #expect(whole.here == whole.size)
            #expect(told.with { $0 }.last.map { $0.done == $0.total } == true)
            #expect(try await tablet.read(there.picture) == picture)
            let copy = scratch.path("a copy")
            #expect(try await tablet.export(there.more[0], to: copy) == 300_000)
            #expect(try Data(contentsOf: copy) == bytes(300_000))

            // What is elsewhere too can go from here, unless it is pinned.
            try await tablet.setPinned(sound.id, true)
            #expect(try await tablet.status(of: sound.id).isPinned)
            // With the next sync the cloud peer's word for what came from it comes too.
            try await tablet.syncOnce()
            #expect(try await tablet.status(of: reference.id).holders.map(\.isCloudPeer) == [true])
            #expect(try await tablet.status(of: sound.id).holders.map(\.isCloudPeer) == [true])
            try await tablet.setAttachmentQuota(10_000)
            #expect(try await tablet.attachmentsStatus.quota == 10_000)
            #expect(try await tablet.status(of: reference.id).here == 0)
            #expect(try await tablet.tidyAttachments() == (0, 0))
            #expect(try await tablet.status(of: sound.id).here > 0)
            try await tablet.setAttachmentQuota(nil)
            try await phone.evict(reference.id)
            #expect(try await phone.status(of: reference.id).here == 0)
            #expect(try await phone.read(reference) == picture)
            try await phone.shutdown()
            try await tablet.shutdown()
        }

        @Test func what_cannot_be_attached_or_read_is_refused_and_keeps_nothing() async throws {
            let pod = try await Pod.make(scratch)
            let missing = scratch.path("missing")
            // Each with somebody who listens: a call that never began ends for them too.
            let error = await failure { _ = try await pod.attach(contentsOf: missing, mediaType: "a/b") { _ in } }
            #expect(error?.kind == .storage && error?.code == "attachment-source")
            #expect(await failure { _ = try await pod.attach(Data([1]), mediaType: "") { _ in } }?.code == "attachment-description")
            #expect(await failure { try await pod.fetch(AttachmentID(rawValue: "x")) { _ in } }?.code == "id")
            #expect(try await pod.attachmentsStatus.count == 0)
            let reference = try await pod.attach(Data([1, 2, 3]), mediaType: "a/b") { _ in }
            #expect(
                await failure { try await pod.export(reference, to: missing.appendingPathComponent("x")) { _ in } }?.code
                    == "attachment-target")
            let empty = try await pod.attach(Data(), mediaType: "a/b")
            #expect(try await pod.read(empty) == Data())
            #expect(try await pod.read(reference, 1..<100) == Data([2, 3]))
            #expect(AttachmentReference(.map(["$attachment": .bytes(Data(count: 32))])) == nil)
            let none = AttachmentID(rawValue: String(repeating: "0", count: 64))
            #expect(await failure { try await pod.fetch(none, within: .milliseconds(200)) }?.kind == .notFound)
            #expect(!"\(reference) \(String(reflecting: reference))".contains("key"))
            try await pod.shutdown()
        }
    }

    @Suite struct Erasing {
        let scratch = Scratch()

        @Test func a_deleted_document_is_in_the_trash_on_every_device_until_it_is_brought_back() async throws {
            let cloud = try await Cloud(scratch)
            let phone = try await Pod.make(scratch)
            try await cloud.link(to: phone)
            let ids = [try await phone.write("one"), try await phone.write("two"), try await phone.write("three")]
            try await phone.syncOnce()
            let tablet = try await secondDevice(of: phone, scratch)
            try await tablet.syncOnce()
            let (here, there) = (phone.collection("journal"), tablet.collection("journal"))
            #expect(try await there.count == 3)
            var newest = there.newest(by: "date").makeAsyncIterator()
            #expect(try await newest.next()?.rows.count == 3)

            #expect(try await phone.erase(ids[0]).count == 1)
            try await phone.erase([ids[1]])
            #expect(try await here.get(ids[0]) == nil)
            #expect(try await here.ids == [ids[2]])
            for pod in [phone, tablet] { try await pod.syncOnce() }
            #expect(try await there.get(ids[0]) == nil)
            var rows = try #require(try await newest.next()).rows
            while rows.count != 1 { rows = try #require(try await newest.next()).rows }
            #expect(rows.map(\.id) == [ids[2]])

            let trash = try await tablet.trash
            #expect(Set(trash.map(\.id)) == [ids[0], ids[1]])
            let one = try #require(trash.first { $0.id == ids[0] })
            #expect(one.collection == "journal" && one.value["text"] == .text("one"))
            #expect(try one.device == phone.device)
            let (since, due) = try (#require(one.since), #require(one.due))
            #expect(due.timeIntervalSince(since) == 7 * 86_400)

            try await tablet.cancelErase(ids[0])
            for pod in [tablet, phone] { try await pod.syncOnce() }
            #expect(try await here.get(ids[0])?["text"] == .text("one"))
            #expect(try await there.get(ids[0])?["text"] == .text("one"))
            #expect(try await phone.trash.map(\.id) == [ids[1]])
            #expect(await failure { try await phone.cancelErase(ids[0]) }?.kind == .notFound)
            #expect(await failure { try await phone.erase(DocumentID(rawValue: String(repeating: "0", count: 32))) }?.kind == .notFound)
            try await phone.shutdown()
            try await tablet.shutdown()
        }

        @Test func the_words_delete_for_good_at_once() async throws {
            let created = try await Pod.create(at: scratch.path("pod"), name: "phone", keeper: TestKeeper(), options: loopback)
            let pod = created.pod
            let id = try await pod.write("one")
            let wrong = Pod.newWords().joined(separator: " ")
            #expect(await failure { try await pod.eraseAtOnce(id, with: wrong) }?.code == "wrong-words")
            #expect(try await pod.collection("journal").get(id) != nil)
            #expect(try await pod.eraseAtOnce(id, with: created.words.joined(separator: " ")).isEmpty == false)
            #expect(try await pod.collection("journal").get(id) == nil)
            #expect(try await pod.trash.isEmpty)
            #expect(await failure { try await pod.cancelErase(id) } != nil)
            try await pod.shutdown()
        }
    }
}
