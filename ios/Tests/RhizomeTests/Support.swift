import Foundation
import Testing

@testable import Rhizome

/// All tests, one after another: they count what lives in the process, and script what the system says to all of it.
@Suite(.serialized) enum All {}

/// A folder that goes with the test.
final class Scratch: Sendable {
    let folder: URL

    init() {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("rhizome-\(UUID().uuidString)")
        try! FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    func path(_ name: String) -> URL { folder.appendingPathComponent(name) }
}

/// A keeper that says what a test has it say.
final class TestKeeper: SecretKeeper {
    enum State { case ok, locked, absent, failing, another }
    struct Failure: Error {}

    private let state = Locked((now: State.ok, secrets: [Data: Data]()))

    func answer(_ now: State) { state.with { $0.now = now } }

    func load(id: Data) throws -> KeptSecret {
        try state.with { state in
            switch state.now {
            case .ok: state.secrets[id].map(KeptSecret.found) ?? .absent
            case .locked: .locked
            case .absent: .absent
            case .failing: throw Failure()
            case .another: .found(Data(repeating: 7, count: 32))
            }
        }
    }

    func create(id: Data, secret: Data) throws {
        try state.with { state in
            guard state.now == .ok, state.secrets[id] == nil else { throw Failure() }
            state.secrets[id] = secret
        }
    }
}

let loopback = Pod.Options(listen: ["127.0.0.1:0"])

extension Pod {
    /// A pod of a new identity, on loopback.
    static func make(_ scratch: Scratch, _ name: String = "phone", keeper: any SecretKeeper = TestKeeper()) async throws -> Pod {
        try await create(at: scratch.path(name), name: name, keeper: keeper, options: loopback).pod
    }

    /// Writes a line of a journal.
    @discardableResult
    func write(_ text: String, at millis: Int64 = 1000) async throws -> DocumentID {
        try await collection("journal").create([.set("date", to: .date(Date(millis: millis))), .setText("text", to: text)]).id
    }
}

/// A real cloud peer, in a process of its own.
final class Cloud: Sendable {
    struct Failed: Error {}

    let code: String
    let process: Process
    private let lines: Lines

    init(_ scratch: Scratch, _ name: String = "cloud") async throws {
        let program = try #require(ProcessInfo.processInfo.environment["RHIZOME_CLOUD"], "`make swift` says where rhizome-cloud is")
        process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = ["serve", "--json", "--listen", "127.0.0.1:0", "--data", scratch.path(name).path]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        lines = Lines(output.fileHandleForReading)
        code = try await lines.code()
    }

    deinit {
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    /// From now on it takes packets and never answers.
    func freeze() { kill(process.processIdentifier, SIGSTOP) }

    func thaw() { kill(process.processIdentifier, SIGCONT) }

    /// Links it to a pod, both numbers the same.
    func link(to pod: Pod) async throws {
        let linking = pod.linkCloudPeer(code: code)
        #expect(try await linking.number?.count == 6)
        linking.answer(same: true)
        _ = try await linking.finished()
    }

    /// What it writes to standard output, read by a thread that may wait.
    private final class Lines: Sendable {
        private let found: AsyncStream<String>

        init(_ handle: FileHandle) {
            let (stream, continuation) = AsyncStream.makeStream(of: String.self)
            found = stream
            Thread.detachNewThread {
                var buffer = Data()
                while case let data = handle.availableData, !data.isEmpty {
                    buffer += data
                    while let end = buffer.firstIndex(of: 10) {
                        continuation.yield(String(decoding: buffer[buffer.startIndex..<end], as: UTF8.self))
                        buffer = Data(buffer[(end + 1)...])
                    }
                }
                continuation.finish()
            }
        }

        func code() async throws -> String {
            for await line in found {
                let json = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                if json?["event"] as? String == "code", let code = json?["code"] as? String { return code }
            }
            throw Failed()
        }
    }
}

/// A second device of the same identity.
func secondDevice(of pod: Pod, _ scratch: Scratch, _ name: String = "tablet") async throws -> Pod {
    let invite = try await pod.invite()
    let join = try Pod.join(at: scratch.path(name), name: name, code: try #require(invite.code), keeper: TestKeeper(), options: loopback)
    async let here = invite.number
    async let there = join.number
    let (one, other) = try await (here, there)
    #expect(one == other)
    #expect(one?.count == 6)
    invite.answer(same: true)
    join.answer(same: true)
    async let outcome = invite.finished()
    let joined = try await join.finished()
    _ = try await outcome
    return joined
}

/// The error that a call throws.
func failure(_ call: () async throws -> Void, at place: SourceLocation = #_sourceLocation) async -> RhizomeError? {
    do {
        try await call()
        Issue.record("it did not fail", sourceLocation: place)
        return nil
    } catch {
        if !(error is RhizomeError) { Issue.record(error, sourceLocation: place) }
        return error as? RhizomeError
    }
}

/// Waits until something holds.
func eventually(
    within limit: Duration = .seconds(30), _ what: Comment, at place: SourceLocation = #_sourceLocation, _ holds: () async throws -> Bool
) async throws {
    let clock = ContinuousClock()
    let end = clock.now + limit
    while try await !holds() {
        try #require(clock.now < end, what, sourceLocation: place)
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// The files and sockets that the process has open.
func openFiles() -> Int {
    let folder = FileManager.default.fileExists(atPath: "/proc/self/fd") ? "/proc/self/fd" : "/dev/fd"
    return (try? FileManager.default.contentsOfDirectory(atPath: folder).count) ?? 0
}
