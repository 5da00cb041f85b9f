import Foundation
internal import RhizomeCore

/// Where a cloud peer is: what a person keeps beside the 24 words.
public struct PeerAddress: Sendable, Hashable, CustomStringConvertible {
    /// Its endpoint and where to look for it, as it is written on paper: `KEY@host:port`, or more places with a comma between.
    public let description: String

    /// An address as ``description`` writes it, or out of a code that the peer shows, expired or not.
    ///
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `address` if it is neither.
    public init(_ text: String) throws { description = try mapped { try peerAddress(text: text) } }
}

/// Asks for three of the 24 words, by their places: whoever wrote them down can say them.
///
/// ```swift
/// let quiz = WordsQuiz(created.words)
/// let answers = await ask(for: quiz.places)
/// if !quiz.isRight(answers) { show(created.words) }
/// ```
public struct WordsQuiz: Sendable {
    private let handle: QuizHandle

    /// Asks for three of `words`, chosen at random.
    public init(_ words: [String]) { handle = QuizHandle(words: words) }

    /// The places asked for, from 1 to 24, lowest first.
    public var places: [Int] { handle.places().map(Int.init) }

    /// Whether these are the words in those places. Letter case and white space around them do not matter.
    public func isRight(_ answers: [String]) -> Bool { handle.isRight(answers: answers) }
}

/// The 24 words cross as Swift strings. What is the library's of them is wiped after use; Swift keeps a string's memory as long as it likes.
/// Hold words no longer than it takes to show or read them, and store them nowhere.
extension Pod {
    // MARK: The recovery words

    /// Brings an identity back on an empty device with nothing but its 24 words and its cloud peer: this becomes a new device.
    ///
    /// Everything that the cloud peer holds comes with the next sync. The devices that are lost stay of the identity until they are removed:
    /// ``remove(device:)``.
    ///
    /// - Parameters:
    ///   - folder: as in ``create(at:name:keeper:options:)``.
    ///   - name: what the person's other devices call this one.
    ///   - words: as the person types them; letter case and white space between them do not matter.
    ///   - peer: where the cloud peer is.
    ///   - keeper: keeps the new device's secret.
    ///   - options: how it uses the network.
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `wrong-words` if they are no words, or not those of an identity that the peer
    ///   holds.
    public static func recover(
        at folder: URL, name: String, words: String, peer: PeerAddress, keeper: any SecretKeeper, options: Options = Options()
    ) async throws -> Pod {
        try Folder.prepare(folder)
        return Pod(
            handle: try await cancellable {
                try await recoverPod(
                    pod: options.core(folder), keeper: ForeignKeeper(keeper), name: name, words: words, peer: peer.description, cancel: $0)
            })
    }

    /// Opens a folder whose device secret is gone (``RhizomeError/Kind/needsRecovery``), with the 24 words, and gives the keeper the secret again.
    /// What was never sent is there. Asks no network.
    ///
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `wrong-words` if they are not the words of this folder; nothing was changed
    ///   then.
    public static func recoverFolder(
        at folder: URL, words: String, keeper: any SecretKeeper, options: Options = Options()
    ) async throws -> Pod {
        Pod(
            handle: try await cancellable {
                try await RhizomeCore.recoverFolder(pod: options.core(folder), keeper: ForeignKeeper(keeper), words: words, cancel: $0)
            })
    }

    /// New recovery words, for ``changeWords(to:)``. They are nothing to anybody yet: show them, ask for three of them (``WordsQuiz``), and only then let
    /// them count.
    public static func newWords() -> [String] { RhizomeCore.newWords() }

    /// Proposes other recovery words. They count 72 hours after this is put in order; until then the present ones do, and can call it off.
    ///
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `wrong-words` if they are no words.
    @discardableResult
    public func changeWords(to new: [String]) async throws -> ProposalID {
        ProposalID(rawValue: try await cancellable { try await handle.changeWords(new: new, cancel: $0) })
    }

    /// As ``changeWords(to:)``, by the present words: the new ones count at once, and the present ones never again.
    ///
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `wrong-words` if they are not the present words.
    public func changeWords(to new: [String], with words: String) async throws {
        try await cancellable { try await handle.changeWordsAtOnce(words: words, new: new, cancel: $0) }
    }

    /// Takes the identity back from devices of it that are in somebody else's hands, by the present words: they and every device that they let in
    /// are removed, whom they removed comes back, and other words that a device proposed are called off. It counts wherever it comes, whatever
    /// they do meanwhile, as long as these are still the words. What they had read by then, they have read. If they removed this device already,
    /// cloud peers no longer listen to it: ``recover(at:name:words:peer:keeper:options:)`` on another one, or in another folder, and take it back there.
    ///
    /// - Throws: ``RhizomeError/Kind/invalidInput`` with the code `wrong-words` if they are not the present words.
    public func takeBack(with words: String, from thieves: [String]) async throws {
        try await cancellable { try await handle.takeBack(words: words, thieves: thieves, cancel: $0) }
    }
}
