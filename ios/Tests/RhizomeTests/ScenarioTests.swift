import Foundation
import Testing

@testable import Rhizome

extension All {
    /// The scenarios that every language runs alike: see tests/scenarios.
    @Suite struct Scenarios {
        static let folder = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../tests/scenarios").standardized

        static let files: [String] = {
            let all = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
            return all.filter { $0.hasSuffix(".json") }.sorted()
        }()

        @Test func there_are_scenarios() { #expect(Self.files.count >= 4) }

        @Test(arguments: files) func runs(_ file: String) async throws {
            let json = try JSONDecoder().decode(Json.self, from: Data(contentsOf: Self.folder.appendingPathComponent(file)))
            let world = World()
            for (number, fields) in try json["steps"].array.enumerated() {
                let step = Step(try fields.object, "\(file), step \(number)")
                try await step.run(in: world)
            }
        }
    }
}

/// JSON, whose whole numbers keep all their digits.
private enum Json: Decodable, Equatable {
    case null, flag(Bool), int(Int64), float(Double), text(String), list([Json]), map([String: Json])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let flag = try? value.decode(Bool.self) {
            self = .flag(flag)
        } else if let int = try? value.decode(Int64.self) {
            self = .int(int)
        } else if let float = try? value.decode(Double.self) {
            self = .float(float)
        } else if let text = try? value.decode(String.self) {
            self = .text(text)
        } else if let list = try? value.decode([Json].self) {
            self = .list(list)
        } else {
            self = .map(try value.decode([String: Json].self))
        }
    }

    subscript(name: String) -> Json {
        get throws { try given(object[name], "there is no \(name)") }
    }

    var object: [String: Json] { get throws { if case .map(let map) = self { map } else { throw Failure("\(self) is no object") } } }
    var array: [Json] { get throws { if case .list(let list) = self { list } else { throw Failure("\(self) is no list") } } }
    var text: String { get throws { if case .text(let text) = self { text } else { throw Failure("\(self) is no text") } } }
    var flag: Bool { get throws { if case .flag(let flag) = self { flag } else { throw Failure("\(self) is no flag") } } }
    var int: Int64 { get throws { if case .int(let int) = self { int } else { throw Failure("\(self) is no number") } } }
    var names: [String] { get throws { try array.map { try $0.text } } }

    var bytes: Data {
        get throws {
            let digits = Array(try text.utf8)
            return try Data(
                stride(from: 0, to: digits.count, by: 2).map { at in
                    try #require(UInt8(String(decoding: digits[at..<at + 2], as: UTF8.self), radix: 16))
                })
        }
    }

    var double: Double { get throws { if case .float(let float) = self { float } else { Double(try int) } } }

    var value: Value {
        get throws {
            guard let (kind, value) = try object.first else { throw Failure("a value without a kind") }
            try same(object.count, 1, "a value")
            return switch kind {
            case "null": .null
            case "bool": .bool(try value.flag)
            case "int": .int(try value.int)
            case "float": .float(try value.double)
            case "text": .text(try value.text)
            case "str": .string(try value.text)
            case "bytes": .bytes(try value.bytes)
            case "date": .date(Date(millis: try value.int))
            case "counter": .counter(try value.int)
            case "list": .list(try value.array.map { try $0.value })
            case "map": .map(try value.object.mapValues { try $0.value })
            default: throw Failure("no value is called \(kind)")
            }
        }
    }

    var path: DocumentPath {
        get throws {
            DocumentPath(
                try array.map { key in
                    if case .int(let index) = key { .index(Int(index)) } else { .field(try key.text) }
                })
        }
    }

    var edit: Edit {
        get throws {
            let fields = try object
            let (names, edit): ([String], Edit) =
                if let path = fields["set"] {
                    (["set", "value"], .set(try path.path, to: try self["value"].value))
                } else if let path = fields["delete"] {
                    (["delete"], .delete(try path.path))
                } else if let path = fields["insert"] {
                    (["insert", "index", "value"], .insert(try path.path, at: Int(try self["index"].int), try self["value"].value))
                } else if let path = fields["splice"] {
                    (
                        ["splice", "at", "cut", "with"],
                        .spliceText(
                            try path.path, at: Int(try self["at"].int), delete: Int(try self["cut"].int), insert: try self["with"].text)
                    )
                } else if let path = fields["setText"] {
                    (["setText", "text"], .setText(try path.path, to: try self["text"].text))
                } else if let path = fields["increment"] {
                    (["increment", "by"], .increment(try path.path, by: try self["by"].int))
                } else {
                    throw Failure("an edit of unknown kind: \(fields.keys)")
                }
            try same(Set(fields.keys), Set(names), "an edit")
            return edit
        }
    }

    var edits: [Edit] { get throws { try array.map { try $0.edit } } }

    var events: [Pod.Stream.Event] {
        get throws { try array.map { Pod.Stream.Event(kind: try $0["kind"].text, payload: try $0["hex"].bytes) } }
    }
}

/// Fails unless what was found is what was wanted.
private func same<T: Equatable>(_ found: T, _ wanted: T, _ comment: Comment) throws {
    if found != wanted { throw Failure("\(comment): \(found) is not \(wanted)") }
}

private func given<T>(_ found: T?, _ comment: Comment) throws -> T {
    guard let found else { throw Failure("\(comment)") }
    return found
}

/// What the names of a scenario stand for.
private final class World {
    let scratch = Scratch()
    var pods: [String: Pod] = [:]
    var keepers: [String: TestKeeper] = [:]
    var documents: [String: DocumentID] = [:]
    var handles: [String: Document] = [:]
    var lists: [String: (iterator: Updates<ListUpdate>.Iterator, rows: [String]?)] = [:]
    var cloud: Cloud?

    func keeper(_ pod: String) -> TestKeeper {
        let keeper = keepers[pod] ?? TestKeeper()
        keepers[pod] = keeper
        return keeper
    }

    func name(_ id: DocumentID) throws -> String {
        try #require(documents.first { $0.value == id }?.key, "a document that no step made")
    }

    func document(_ name: String) throws -> DocumentID { try #require(documents[name], "no document is called \(name)") }
}

/// A step, which remembers what was asked of it: a field that nobody reads is a mistake.
private final class Step {
    private let fields: [String: Json]
    private let comment: Comment
    private var read: Set<String> = ["do", "error"]

    init(_ fields: [String: Json], _ place: String) {
        self.fields = fields
        comment = "\(place): \(fields)"
    }

    private func maybe(_ name: String) -> Json? {
        read.insert(name)
        return fields[name]
    }

    private subscript(name: String) -> Json {
        get throws { try #require(maybe(name), "\(comment) lacks \(name)") }
    }

    func run(in world: World) async throws {
        let wanted = fields["error"]
        do {
            try await perform(in: world)
            try same(wanted, nil, comment)
            try #require(read.isSuperset(of: fields.keys), comment)
        } catch let error as RhizomeError {
            let wanted = try #require(wanted, "\(comment): \(error)")
            // Kinds are written as Rust writes them.
            let kind = error.kind.rawValue.prefix(1).uppercased() + error.kind.rawValue.dropFirst()
            try same(kind, wanted["kind"].text, comment)
            try same(error.code, wanted["code"].text, comment)
        }
    }

    private func pod(_ world: World, _ name: String = "pod") throws -> Pod {
        let name = try self[name].text
        return try #require(world.pods[name], "no pod is called \(name)")
    }

    private func collection(_ world: World) throws -> Pod.Collection { try pod(world).collection(try self["collection"].text) }

    private func handleName() throws -> String { "\(try self["pod"].text)/\(try self["document"].text)" }

    private func handle(_ world: World) throws -> Document { try given(world.handles[handleName()], comment) }

    private func shake(_ world: World) async throws -> (Linking<LinkOutcome>, Linking<Pod>) {
        let name = try self["newPod"].text
        let invite = try await pod(world).invite(expiresIn: .seconds(60))
        let join = try Pod.join(
            at: world.scratch.path(name), name: name, code: try #require(invite.code), keeper: world.keeper(name), options: loopback)
        async let here = invite.number
        async let there = join.number
        let (one, other) = try await (here, there)
        try #require(one == other && one?.count == 6, comment)
        return (invite, join)
    }

    private func perform(in world: World) async throws {
        switch try self["do"].text {
        case "create":
            let name = try self["pod"].text
            let created = try await Pod.create(at: world.scratch.path(name), name: name, keeper: world.keeper(name), options: loopback)
            try #require(created.words.count == 24)
            world.pods[name] = created.pod
        case "open":
            let name = try self["pod"].text
            world.pods[name] = try await Pod.open(at: world.scratch.path(name), keeper: world.keeper(name), options: loopback)
        case "keeper":
            let states = ["ok": TestKeeper.State.ok, "locked": .locked, "absent": .absent, "failing": .failing]
            let state = try self["state"].text
            world.keeper(try self["pod"].text).answer(try #require(states[state], comment))
        case "suspend": try await pod(world).suspend()
        case "resume": try await pod(world).resume()
        case "shutdown": try await pod(world).shutdown()
        case "write":
            let writes = try self["writes"].array
            let names = try writes.map { try $0["document"].text }
            let edits = try zip(names, writes).map { name, write in
                if let id = world.documents[name] {
                    DocumentWrite(id, try write["edits"].edits)
                } else {
                    DocumentWrite(try write["edits"].edits)
                }
            }
            for (name, written) in zip(names, try await collection(world).write(edits)) {
                try #require(written.entry != nil, comment)
                world.documents[name] = written.id
            }
        case "new":
            let document = try collection(world).newDocument()
            world.documents[try self["document"].text] = document.id
            world.handles[try handleName()] = document
        case "openDocument":
            world.handles[try handleName()] = try await collection(world).open(try world.document(try self["document"].text))
        case "edit": try handle(world).edit(try self["edits"].edits)
        case "save":
            let entry = try await handle(world).save()
            try same(entry != nil, self["written"].flag, comment)
        case "refresh":
            let changed = try await handle(world).refresh()
            try same(changed, self["changed"].flag, comment)
        case "discard": try await handle(world).discard()
        case "handle":
            let document = try handle(world)
            try same(document.isSaved, self["saved"].flag, comment)
            let value = try document.value()
            try same(value, self["value"].value, comment)
        case "get":
            let found = try await collection(world).get(try world.document(try self["document"].text))
            try same(found, maybe("value")?.value, comment)
        case "id":
            let found = try await pod(world).collection("journal").get(DocumentID(rawValue: try self["text"].text))
            try #require(found == nil, comment)
        case "list":
            let (collection, field, limit) = (try collection(world), try self["field"].text, Int(try self["limit"].int))
            var (pages, next) = ([[String]](), Page.Cursor?.none)
            repeat {
                let page = try await collection.list(by: field, after: next, limit: limit)
                pages.append(try page.rows.map { try world.name($0.id) })
                next = page.next
            } while next != nil
            try same(pages, self["pages"].array.map { try $0.names }, comment)
        case "rows":
            let page = try await collection(world).list(by: try self["field"].text, limit: 100)
            let wanted = try self["rows"].array
            try #require(page.rows.count == wanted.count, comment)
            for (row, json) in zip(page.rows, wanted) {
                try same(row.id, world.document(try json["document"].text), comment)
                try same(row.date.millis, json["millis"].int, comment)
                try same(row.fields, json["fields"].object.mapValues { try $0.value }, comment)
            }
        case "count":
            let count = try await collection(world).count
            try same(Int64(count), self["count"].int, comment)
        case "declare":
            let fields = try self["indexes"].array.map { Schema.Index(try $0.names.map { FieldPath([$0]) }) }
            let searched = try self["search"].names.map { (FieldPath([$0]), 1) }
            try await collection(world).declare(Schema(indexes: fields, search: Dictionary(uniqueKeysWithValues: searched)))
        case "query":
            let collection = try collection(world)
            var query = Query(sortedBy: FieldPath([try self["sort"].text])).limit(Int(try self["limit"].int))
            for (field, value) in try self["equal"].object { query = query.where(FieldPath([field]), is: try value.value) }
            var (pages, next) = ([[String]](), QueryPage.Cursor?.none)
            repeat {
                let page = try await collection.query(next.map { query.after($0) } ?? query)
                pages.append(try page.rows.map { try world.name($0.id) })
                next = page.next
            } while next != nil
            try same(pages, self["pages"].array.map { try $0.names }, comment)
        case "search":
            let page = try await collection(world).search(Search(try self["text"].text))
            try same(page.hits.map { try world.name($0.row.id) }, self["hits"].names, comment)
        case "undo":
            let written = try await collection(world).undo(try world.document(try self["document"].text))
            try same(written != nil, self["written"].flag, comment)
        case "redo":
            let written = try await collection(world).redo(try world.document(try self["document"].text))
            try same(written != nil, self["written"].flag, comment)
        case "versions":
            let page = try await collection(world).history(of: try world.document(try self["document"].text), limit: 100)
            try same(Int64(page.versions.count), self["count"].int, comment)
        case "restore":
            let (collection, id) = (try collection(world), try world.document(try self["document"].text))
            let page = try await collection.history(of: id, limit: 100)
            try await collection.restore(id, to: page.versions[Int(try self["version"].int)].id)
        case "erase": try await pod(world).erase(try world.document(try self["document"].text))
        case "cancelErase": try await pod(world).cancelErase(try world.document(try self["document"].text))
        case "trash":
            let trash = try await pod(world).trash
            try same(trash.map { try world.name($0.id) }, self["documents"].names, comment)
        case "append": try await pod(world).stream(try self["stream"].text).append(try self["events"].events)
        case "events":
            let events = try await pod(world).stream(try self["stream"].text).events
            try same(events, self["events"].events, comment)
        case "watch":
            let updates = try collection(world).newest(by: try self["field"].text, limit: Int(try self["limit"].int))
            world.lists[try self["list"].text] = (updates.makeAsyncIterator(), nil)
        case "next":
            let name = try self["list"].text
            var list = try #require(world.lists[name], comment)
            if let ended = maybe("ended") {
                try same(ended.flag, true, comment)
                while try await list.iterator.next() != nil {}
            } else {
                let wanted = try self["rows"].names
                while list.rows != wanted {
                    let update = try given(await list.iterator.next(), comment)
                    list.rows = try update.rows.map { try world.name($0.id) }
                }
            }
            world.lists[name] = list
        case "cancel":
            // A loop has no such call: it ends with its task. This is what that does underneath.
            let list = try given(world.lists[self["list"].text], comment)
            try list.iterator.subscription.get().end()
        case "cloud": world.cloud = try await Cloud(world.scratch)
        case "linkCloud": try await given(world.cloud, comment).link(to: pod(world))
        case "link":
            let (invite, join) = try await shake(world)
            invite.answer(same: true)
            join.answer(same: true)
            async let outcome = invite.finished()
            world.pods[try self["newPod"].text] = try await join.finished()
            _ = try await outcome
        case "declined":
            let (invite, join) = try await shake(world)
            invite.answer(same: false)
            join.answer(same: true)
            for error in [await failure { _ = try await invite.finished() }, await failure { _ = try await join.finished() }] {
                try #require(error?.kind == .refused && error?.code == "link", comment)
            }
        case "join":
            let name = try self["pod"].text
            let join = try Pod.join(
                at: world.scratch.path(name), name: name, code: try self["code"].text, keeper: world.keeper(name), options: loopback)
            _ = try await join.finished()
        case "sync":
            let report = try await pod(world).syncOnce(within: .seconds(60))
            try same(report.state.word, self["state"].text, comment)
            try #require(report.peers.allSatisfy { $0.error == nil }, comment)
        case "conditions":
            let networks = ["unknown": Conditions.Network.unknown, "none": .none, "metered": .metered, "unmetered": .unmetered]
            let network = networks[try self["network"].text]
            try pod(world).set(
                Conditions(
                    network: try #require(network, comment), dataSaver: try self["dataSaver"].flag, batteryLow: try self["batteryLow"].flag,
                    restricted: try self["restricted"].flag, localNetworkDenied: try self["localNetworkDenied"].flag))
        case "status":
            let status = try await pod(world).status
            if let state = maybe("state") { try same(status.sync.word, state.text, comment) }
            let clouds = status.peers.filter(\.isCloudPeer).count
            for (name, found) in [
                ("entries", Int64(status.entries)), ("onlyHere", Int64(status.onlyHere)), ("clouds", Int64(clouds)),
                ("devices", Int64(status.peers.count - clouds)),
            ] {
                if let wanted = maybe(name) { try same(found, wanted.int, "\(comment): \(name)") }
            }
        case "holders":
            let holders = try await collection(world).holders(of: try world.document(try self["document"].text))
            let clouds = holders.filter(\.isCloudPeer).count
            try same(Int64(clouds), self["clouds"].int, comment)
            try same(Int64(holders.count - clouds), self["devices"].int, comment)
        case let other: throw Failure("no step is called \(other)")
        }
    }
}

extension SyncState {
    fileprivate var word: String {
        switch self {
        case .upToDate: "up-to-date"
        case .syncing: "syncing"
        case .waiting(let reason): reason.kind.rawValue
        }
    }
}
