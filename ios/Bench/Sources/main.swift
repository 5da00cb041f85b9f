// What a call costs from Swift: the same calls as `bench-ours calls` makes in Rust, in the same way. Says what it measured in one line of JSON.
//
//   bench-swift calls --dir DIR --documents N --calls N    makes a pod, and calls it again and again
//   bench-swift open --dir DIR                             opens that pod, with its first 20 documents

import Foundation
import Rhizome

struct Failure: Error { let what: String }

/// Secrets in files, for a machine that has no keychain.
struct FileKeeper: SecretKeeper {
    let folder: URL

    private func file(_ id: Data) -> URL { folder.appendingPathComponent(id.map { String(format: "%02x", $0) }.joined()) }

    func load(id: Data) throws -> KeptSecret {
        FileManager.default.fileExists(atPath: file(id).path) ? .found(try Data(contentsOf: file(id))) : .absent
    }

    func create(id: Data, secret: Data) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try secret.write(to: file(id), options: .withoutOverwriting)
    }
}

let atOnce = 256
let rows = 100
let clock = ContinuousClock()
let options = Pod.Options(listen: ["127.0.0.1:0"])

func argument(_ name: String) throws -> String {
    let arguments = CommandLine.arguments
    guard let place = arguments.firstIndex(of: "--\(name)"), place + 1 < arguments.count else { throw Failure(what: "--\(name) is missing") }
    return arguments[place + 1]
}

func seconds(since began: ContinuousClock.Instant, per count: Int = 1) -> Double {
    let (whole, parts) = (clock.now - began).components
    return (Double(whole) + Double(parts) / 1e18) / Double(count)
}

func calls() async throws -> [String: Double] {
    let folder = URL(fileURLWithPath: try argument("dir"))
    guard let documents = Int(try argument("documents")), let count = Int(try argument("calls")), documents > 0, count > 0 else {
        throw Failure(what: "--documents and --calls are numbers above 0")
    }
    let keeper = FileKeeper(folder: URL(fileURLWithPath: folder.path + ".keys"))
    let pod = try await Pod.create(at: folder, name: "phone", keeper: keeper, options: options).pod
    let journal = pod.collection("journal")
    for first in stride(from: 0, to: documents, by: atOnce) {
        let writes = (first..<min(first + atOnce, documents)).map { number in
            DocumentWrite([
                .set("date", to: .date(Date(timeIntervalSince1970: 1_700_000_000 + Double(number) / 1000))),
                .set("title", to: .string("Day \(number)")),
                .setText("text", to: String(repeating: "A line of what happened on that day. ", count: 3)),
            ])
        }
        try await journal.write(writes)
    }
    guard let id = try await journal.list(by: "date", limit: rows).rows.first?.id else { throw Failure(what: "no documents") }
    let open = try await journal.open(id)
    var said = [String: Double]()
    // Once to warm up.
    for _ in 0..<2 {
        var began = clock.now
        for _ in 0..<count { _ = try open.get("title") }
        said["instant"] = seconds(since: began, per: count)
        let waits = max(count / 10, 1)
        began = clock.now
        for _ in 0..<waits { _ = try await journal.get(id) }
        said["async"] = seconds(since: began, per: waits)
        let pages = max(count / 100, 1)
        began = clock.now
        for _ in 0..<pages { _ = try await journal.list(by: "date", limit: rows) }
        said["page"] = seconds(since: began, per: pages)
    }
    try await pod.shutdown()
    return said
}

func open() async throws -> [String: Double] {
    let folder = URL(fileURLWithPath: try argument("dir"))
    let began = clock.now
    let pod = try await Pod.open(at: folder, keeper: FileKeeper(folder: URL(fileURLWithPath: folder.path + ".keys")), options: options)
    _ = try await pod.collection("journal").list(by: "date", limit: 20)
    let took = seconds(since: began)
    try await pod.shutdown()
    return ["seconds": took]
}

do {
    let said =
        switch CommandLine.arguments.dropFirst().first {
        case "calls": try await calls()
        case "open": try await open()
        default: throw Failure(what: "say calls or open")
        }
    print(String(decoding: try JSONEncoder().encode(said), as: UTF8.self))
} catch {
    FileHandle.standardError.write(Data("bench-swift: \(error)\n".utf8))
    exit(1)
}
