import Foundation
import Testing

@testable import Rhizome

extension All {
    /// Devices that go, and words that bring an identity back, against a real cloud peer.
    @Suite struct MemberTests {
        let scratch = Scratch()

        @Test func the_words_and_the_cloud_peer_bring_everything_back() async throws {
            let cloud = try await Cloud(scratch)
            let created = try await Pod.create(at: scratch.path("phone"), name: "phone", keeper: TestKeeper(), options: loopback)
            let words = created.words.joined(separator: " ")
            try await cloud.link(to: created.pod)
            let id = try await created.pod.write("a line")
            try await sync(created.pod)
            let (did, lost) = (try created.pod.did, try created.pod.device)
            try await created.pod.shutdown()

            let peer = try PeerAddress(cloud.code)
            #expect(try PeerAddress(peer.description) == peer)
            #expect(await failure { _ = try PeerAddress("somewhere") }?.code == "address")
            let recover = { (words: String) in
                try await Pod.recover(
                    at: scratch.path("new"), name: "new phone", words: words, peer: peer, keeper: TestKeeper(), options: loopback)
            }
            let wrong = await failure { _ = try await recover("abandon ability") }
            #expect(wrong?.kind == .invalidInput)
            #expect(wrong?.code == "wrong-words")
            let pod = try await recover("  " + words.uppercased())
            #expect(try pod.did == did)
            try await sync(pod)
            #expect(try await pod.collection("journal").get(id)?["text"] == .text("a line"))

            let removal = try await pod.remove(device: lost)
            #expect(try pod.proposalState(removal) == .tentative)
            try await sync(pod)
            #expect(try pod.proposalState(removal) == .ordered)
            let members = try await pod.members
            #expect(members.members.compactMap(\.name).sorted() == ["cloud", "new phone"])
            let device = try pod.device
            #expect(members.members.filter(\.isThisDevice).map(\.id) == [device])
            #expect(members.removed.map(\.name) == ["phone"])
            #expect(members.removed.map(\.kept) == [0])
            if let again = try await pod.readmitEntries(of: lost) { #expect(try pod.proposalState(again) == .tentative) }
            try await pod.shutdown()
        }

        @Test func devices_are_renamed_removed_and_taken_back_from() async throws {
            let cloud = try await Cloud(scratch)
            let created = try await Pod.create(at: scratch.path("phone"), name: "phone", keeper: TestKeeper(), options: loopback)
            let phone = created.pod
            try await cloud.link(to: phone)
            let tablet = try await secondDevice(of: phone, scratch)
            for pod in [phone, tablet] { try await sync(pod) }
            try await phone.rename(tablet.device, to: "my tablet")
            #expect(try await phone.members.members.compactMap(\.name).sorted() == ["cloud", "my tablet", "phone"])
            #expect(await failure { try await phone.remove(device: phone.device) }?.kind == .refused)
            #expect(await failure { try await phone.remove(device: "tablet") }?.code == "id")
            #expect(await failure { _ = try phone.proposalState(ProposalID(rawValue: "x")) }?.code == "id")
            // The tablet is stolen, and its thief wants other words.
            try await tablet.changeWords(to: Pod.newWords())
            let unseen = try await tablet.write("of the thief")
            for pod in [tablet, phone] { try await sync(pod) }
            #expect(try await phone.members.wordsChange != nil)
            try await phone.takeBack(with: created.words.joined(separator: " "), from: [tablet.device])
            try await sync(phone)
            #expect(try await phone.members.wordsChange == nil)
            #expect(try await phone.members.members.compactMap(\.name).sorted() == ["cloud", "phone"])
            #expect(try await phone.collection("journal").get(unseen) != nil)
            let secret = try await phone.write("nothing for thieves")
            try await sync(phone)
            #expect(try await tablet.syncOnce(within: .seconds(5)).peers.allSatisfy { $0.error != nil })
            #expect(try await tablet.collection("journal").get(secret) == nil)

            let peer = try #require(try await phone.members.members.first(where: \.isCloudPeer))
            #expect(peer.orders)
            try await phone.handOver(to: phone.device)
            try await sync(phone)
            try await phone.remove(peer: peer.key)
            #expect(try await phone.members.members.compactMap(\.name) == ["phone"])
            try await phone.voteForOrderer(phone.device)
            try await phone.shutdown()
            try await tablet.shutdown()
        }

        private func sync(_ pod: Pod) async throws {
            let report = try await pod.syncOnce()
            #expect(report.peers.count == 1 && report.peers.allSatisfy { $0.error == nil })
        }

        @Test func the_words_open_a_folder_whose_secret_is_gone() async throws {
            let created = try await Pod.create(at: scratch.path("pod"), name: "phone", keeper: TestKeeper(), options: loopback)
            let id = try await created.pod.write("never sent")
            try await created.pod.shutdown()
            let keeper = TestKeeper()
            let open = { try await Pod.open(at: scratch.path("pod"), keeper: keeper, options: loopback) }
            #expect(await failure { _ = try await open() }?.kind == .needsRecovery)
            let recover = { try await Pod.recoverFolder(at: scratch.path("pod"), words: $0, keeper: keeper, options: loopback) }
            #expect(await failure { _ = try await recover("not the words") }?.code == "wrong-words")
            let pod = try await recover(created.words.joined(separator: " "))
            #expect(try await pod.collection("journal").get(id) != nil)
            try await pod.shutdown()
            try await open().shutdown()
        }

        @Test func what_was_written_before_joining_moves_in() async throws {
            let before = try await Pod.create(at: scratch.path("before"), name: "phone", keeper: TestKeeper(), options: loopback).pod
            let id = try await before.write("written first")
            let pod = try await Pod.create(at: scratch.path("pod"), name: "phone", keeper: TestKeeper(), options: loopback).pod
            #expect(try await pod.takeIn(before) == TakenIn(documents: 1, events: 0))
            #expect(try await pod.collection("journal").get(id) == before.collection("journal").get(id))
            #expect(try await pod.takeIn(before) == TakenIn(documents: 0, events: 0))
            try await before.shutdown()
            try await pod.shutdown()
        }

        @Test func words_change_and_three_of_them_are_asked_for() async throws {
            let created = try await Pod.create(at: scratch.path("pod"), name: "phone", keeper: TestKeeper(), options: loopback)
            let (pod, words) = (created.pod, created.words.joined(separator: " "))
            let quiz = WordsQuiz(created.words)
            let answers = quiz.places.map { created.words[$0 - 1].uppercased() }
            #expect(quiz.places == quiz.places.sorted() && Set(quiz.places).count == 3)
            #expect(quiz.isRight(answers))
            #expect(!quiz.isRight(Array(answers.dropLast())))
            #expect(!quiz.isRight(["x", "y", "z"]))

            let file = try pod.exportedIdentity
            #expect(try Pod.resolve(pod.did, from: file) == pod.didDocument)
            #expect(await failure { _ = try Pod.resolve(pod.did, from: file.dropLast()) }?.code == "did")

            #expect(try await pod.members.wordsChange == nil)
            let fresh = Pod.newWords()
            #expect(fresh.count == 24)
            try await pod.changeWords(to: fresh, with: words)
            #expect(await failure { try await pod.changeWords(to: Pod.newWords(), with: words) }?.code == "wrong-words")
            #expect(await failure { try await pod.changeWords(to: ["word"]) }?.code == "wrong-words")
            try await pod.changeWords(to: Pod.newWords())
            let change = try #require(try await pod.members.wordsChange)
            #expect((71 * 3600.0...73 * 3600).contains(change.timeIntervalSinceNow))
            try await pod.shutdown()
        }
    }
}
