"""Opens the log.db of a pod or a cloud peer, read-only, and verifies everything in it."""

import json
import os
import sqlite3

from . import attachment, log
from .crypto import H, Device, WRAP
from .dagcbor import decode, read, want
from .errors import BadChain, BadPod
from .identity import Commit, Identity, Operation

APPLICATION_ID = 0x72687A31


class Store:
    def __init__(self, folder):
        path = os.path.abspath(os.path.join(folder, "log.db"))
        if not os.path.exists(path):
            raise BadPod("there is no log.db in the folder")
        wal = os.path.exists(path + "-wal") and os.path.getsize(path + "-wal") > 0
        uri = "file:%s?%s" % (path.replace("%", "%25").replace("?", "%3f").replace("#", "%23"), "mode=ro" if wal else "immutable=1")
        try:
            self.db = sqlite3.connect(uri, uri=True)
            self.db.row_factory = sqlite3.Row
            if self.db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise BadPod("log.db has another application id")
            version = self.db.execute("PRAGMA user_version").fetchone()[0]
            if version != 3:
                raise BadPod("log.db has the schema %d" % version)
            if self.db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise BadPod("log.db is damaged, says SQLite")
            self.meta = {row["key"]: row["value"] for row in self.db.execute("SELECT key, value FROM meta")}
            self.ids = {table: self._interned(table) for table in ("streams", "epochs", "identities", "authors")}
        except sqlite3.Error as error:
            raise BadPod("log.db cannot be read: %s" % error) from None

    def rows(self, statement, *arguments):
        try:
            return self.db.execute(statement, arguments).fetchall()
        except sqlite3.Error as error:
            raise BadPod("log.db cannot be read: %s" % error) from None

    def _interned(self, table):
        column = {"identities": "identity", "authors": "author"}.get(table)
        result = {}
        for row in self.rows("SELECT * FROM " + table):
            result[row["id"]] = row[column] if column else next(v for k, v in zip(row.keys(), row) if k != "id")
        return result

    def full(self, table, value):
        """The 32 bytes that a column means, interned or not."""
        if isinstance(value, bytes):
            return value
        if value not in self.ids[table]:
            raise BadPod("log.db names %s number %r, which is not there" % (table, value))
        return self.ids[table][value]


class Verified:
    """What a whole log.db was found to hold."""

    def __init__(self, folder):
        self.store = Store(folder)
        self.identities, self.tentative, self.pending = {}, {}, 0
        self.authors, self.entries, self.receipts = {}, [], 0
        self.starts, self.hashes = {}, {}
        want(self.store.meta.get("store_id"), 16, "the store id in meta")
        for number, identity in self.store.ids["identities"].items():
            self._identity(number, identity)
        for row in self.store.rows("SELECT * FROM authors"):
            self._author(row)
        for row in self.store.rows("SELECT * FROM receipts"):
            self._receipt(row)
        self.chunks = sum(self._attachment(folder, row) for row in self.store.rows("SELECT * FROM attachments"))

    def _attachment(self, folder, row):
        for receipt in self.store.rows("SELECT * FROM attachment_receipts WHERE attachment = ?", row["id"]):
            got = attachment.Receipt(receipt["bytes"])
            if (got.peer, got.store, got.attachment) != (receipt["peer"], receipt["store"], row["attachment"]):
                raise BadPod("a receipt that is not what its row says")
        if row["size"] == 0:
            return 0
        manifest = attachment.Manifest(row["manifest"])
        if manifest.id != row["attachment"]:
            raise BadPod("a manifest that is filed under another attachment")
        owner = self.store.full("identities", row["identity"])
        return attachment.check_file(manifest, row["chunks"], os.path.join(folder, "blobs", owner.hex(), manifest.id.hex()))

    def _identity(self, number, identity):
        operations, pending, fold = {}, [], Identity()
        for row in self.store.rows("SELECT * FROM operations WHERE identity = ?", number):
            operation = Operation(row["bytes"])
            if operation.id != row["id"] or operation.proposer != row["proposer"]:
                raise BadPod("an operation that is not what its row says")
            operations[operation.id] = (operation, row["commit_index"])
            if row["commit_index"] is None:
                operation.check_signature()
                pending.append(operation)
        last = {}  # an operation may stand in the chain twice; its row names the last
        for row in self.store.rows("SELECT * FROM commits WHERE identity = ? ORDER BY idx", number):
            of = Commit(row["bytes"])
            operation, _ = operations.get(of.operation, (None, None))
            if operation is None or of.index != row["idx"] or of.hash != row["hash"]:
                raise BadPod("a commit that is not what its row says, or without its operation")
            fold.add(row["bytes"], operation.bytes)
            last[of.operation] = of.index
        if any(index != last.get(operation) for operation, (_, index) in operations.items()):
            raise BadPod("an operation with the index of a commit that is not its own")
        if fold.id not in (None, identity):
            raise BadPod("an identity whose genesis is another's")
        if fold.id is not None:
            self.identities[identity] = fold
            self.tentative[identity] = fold.tentative(pending)
        self.pending += len(pending)

    def _author(self, row):
        start = log.Start(row["start"])
        said = (row["author"], self.store.full("streams", row["stream"]))
        if said != (start.author, start.stream) or row["device"] != start.device:
            raise BadPod("an author log that is not what its row says")
        if self.store.full("identities", row["identity"]) != start.owner:
            raise BadPod("an author log under an identity that its start does not name")
        fold = self.tentative.get(start.identity)
        if fold is None or start.device not in fold.devices and start.device not in fold.removed:
            raise BadChain("an author log by a device that its identity does not have")
        branches = self.store.rows("SELECT * FROM branches WHERE author = ? ORDER BY base <> 0, branch", row["id"])
        hashes = {1: start.author}
        for branch in branches:
            chain = self._branch(row["id"], start, branch, hashes)
            if branch["base"] == 0:
                hashes.update(chain)
            for seq, value in chain.items():
                self.hashes[row["id"], branch["branch"], seq] = value
        kept = self.store.rows("SELECT count(*) FROM entries WHERE author = ?", row["id"])[0][0]
        if kept != sum(1 for key in self.hashes if key[0] == row["id"]):
            raise BadPod("entries of a branch that is not there")
        self.authors[start.author] = start
        self.starts[row["id"]] = start

    def _branch(self, number, start, branch, main):
        seq = branch["base"] + 1 if branch["base"] else 2
        if seq - 1 not in main:
            raise BadChain("a branch that leaves the main branch where there is none")
        link, chain, entry = main[seq - 1], {}, None
        for row in self.store.rows("SELECT * FROM entries WHERE author = ? AND branch = ? ORDER BY seq", number, branch["branch"]):
            if row["seq"] != seq:
                raise BadChain("an author log without its entry %d" % seq)
            entry = log.Entry(start.author, seq, link, self.store.full("epochs", row["epoch"]), row["head"],
                              decode(row["sections"]), row["signature"])
            if entry.hash != row["hash"]:
                raise BadChain("an entry whose hash is not its row's")
            chain[seq], link, seq = entry.hash, entry.hash, seq + 1
            self.entries.append((start, entry))
        if (branch["seq"], branch["hash"]) != (seq - 1, link):
            raise BadChain("a branch whose head is not its last entry")
        # The signatures before it are stored as they were received: the head's stands for all of them.
        if entry is not None:
            entry.check_signature(start.device)
        return chain

    def _receipt(self, row):
        receipt = log.Receipt(row["bytes"])
        start = self.starts.get(row["author"])
        said = (receipt.peer, receipt.store, receipt.author, receipt.seq, receipt.hash, receipt.time)
        if start is None or said != (row["peer"], row["store"], start.author, row["seq"], row["hash"], row["time"]):
            raise BadPod("a receipt that is not what its row says")
        here = self.hashes.get((row["author"], row["branch"], receipt.seq))
        if here is not None and here != receipt.hash:
            raise BadChain("a receipt for an entry that is another here")
        fold = self.tentative.get(start.owner)
        known = fold and {**fold.peers, **fold.devices, **fold.removed, **fold.removed_peers}
        if fold is None or receipt.peer not in known:
            raise BadChain("a receipt by neither device nor peer of the identity")
        self.receipts += 1


def read_pod(folder, secret):
    """Verifies and opens a pod; a summary."""
    device, found = Device(secret), Verified(folder)
    with open(os.path.join(folder, "pod.json"), encoding="utf-8") as file:
        about = json.load(file)
    if about.get("format") != 1 or len(bytes.fromhex(about["secret"])) != 16:
        raise BadPod("pod.json has another format")
    if found.store.meta.get("secret_check") != H("secret check", secret):
        raise BadPod("the device secret is not this pod's")
    identity = found.identities.get(found.store.full("identities", found.store.meta.get("identity")))
    if identity is None:
        raise BadPod("the pod's identity log is not there")
    ordered, identity = identity, found.tentative[identity.id]
    if about.get("recovery") is not None:
        read(bytes.fromhex(about["recovery"]), WRAP, "the recovery wrap in pod.json")
    identity.unlock(device.scalar, device.agreement)
    opened = erased = events = 0
    documents, unknown = set(), set()
    for start, entry in found.entries:
        key = identity.epoch_key(entry.epoch)
        if key is None:
            raise BadPod("an entry of an epoch whose key the identity log does not give")
        if H("epoch id", start.stream + key) != entry.epoch:
            raise BadChain("an entry under an epoch of another stream")
        for content in entry.open(key):
            if content is None:
                erased += 1
                continue
            opened += 1
            for kind, body in log.read_content(content)[1]:
                events += 1
                if kind == "doc":
                    collection, document, session, changes = body
                    documents.add((start.stream, collection, document))
                    for change in changes:
                        log.read_change(change, log.actor(start.author, document, session))
                elif kind not in log.EVENTS:
                    unknown.add(kind)
    return {
        "identity": identity.did, "commits": ordered.count, "pending": found.pending, "alarms": identity.alarms,
        "devices": [{"signing": m.signing.hex(), "name": m.name} for m in identity.devices.values()],
        "peers": [{"signing": m.signing.hex(), "services": m.services} for m in identity.peers.values()],
        "streams": sorted({label for _, label, _, _ in identity.streams}), "author_logs": len(found.authors),
        "entries_verified": len(found.entries), "sections_opened": opened, "sections_erased": erased, "events": events,
        "unknown_kinds": sorted(unknown), "receipts": found.receipts,
        "documents": sorted("%s/%s" % (collection, document.hex()) for _, collection, document in documents),
    }


def read_cloud(folder):
    """Verifies a cloud peer's log.db without any key; a summary. Nobody's identity key is wrapped for a peer."""
    found = Verified(folder)
    for fold in found.identities.values():
        agreements = {m.keys[1] for m in fold.peers.values()}
        if any(w[0] in agreements for w in fold.wraps):
            raise BadPod("an identity key that is wrapped for a cloud peer")
    return {
        "identities": [{"did": f.did, "commits": f.count, "devices": len(f.devices), "peers": len(f.peers)}
                       for f in found.identities.values()],
        "pending": found.pending, "author_logs": len(found.authors), "entries_verified": len(found.entries),
        "sections_opened": 0, "receipts": found.receipts,
    }
