"""Writes identity logs and pods for the tests, from the page."""

import json
import os
import sqlite3

from rhizome_reader import log
from rhizome_reader.crypto import (H, KDF, Device, ed25519_public, epoch_id, identity_key_id, plain_hash, seal, sealed_aad, sign,
                                   wrap, x25519_public)
from rhizome_reader.dagcbor import encode
from rhizome_reader.identity import Commit, Operation, binding_of, consent_message, key_wrap_info

FIRST, SECOND, PEER = (Device(bytes([n]) * 32) for n in (1, 2, 3))
ENTROPY = b"\x09" * 32
RECOVERY = [ed25519_public(KDF("recovery signing", ENTROPY)), x25519_public(KDF("recovery agreement", ENTROPY))]
KEY, STREAM, EPOCH_KEY = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
EPOCH = epoch_id(STREAM, EPOCH_KEY)


class Log:
    """An identity log under construction."""

    def __init__(self):
        self.identity = self.head = self.binding = None
        self.count, self.nonce = 0, 0
        self.rows = []  # (commit, operation)
        self.commit(self.genesis())

    def operation(self, device, public, sealed=None, nonce=None, **change):
        self.nonce += 1
        nonce = nonce or self.nonce.to_bytes(16, "big")
        self.binding = self.binding or binding_of(device.signing, nonce)
        part = None
        if sealed is not None:
            box = seal(KDF("sealed part", KEY), sealed_aad(self.binding, nonce), encode(sealed))
            part = encode([identity_key_id(KEY), box])
        core = [1, change.get("identity", self.identity), device.signing, nonce, self.head, public, None,
                part and H("operation part", part)]
        core = encode(core)
        return encode([core, sign(device.seed, change.get("purpose", "operation"), H("operation", core)), None, part])

    def key_for(self, *recipients):
        key_id = identity_key_id(KEY)
        return {"id": key_id, "wraps": [wrap(r, key_wrap_info(self.binding, key_id, r), KEY) for r in recipients]}

    def genesis(self):
        self.binding = binding_of(FIRST.signing, (1).to_bytes(16, "big"))
        public = {"Genesis": {"device": FIRST.keys, "recovery": RECOVERY, "key": self.key_for(FIRST.agreement, RECOVERY[1])}}
        return self.operation(FIRST, public, {"name": "one", "streams": [[STREAM, "notes", EPOCH, EPOCH_KEY]], "previous": []})

    def add_device(self, proposer=FIRST, new=SECOND, role=0, **change):
        consent = sign(new.seed, "consent", consent_message(self.identity, new.keys, role))
        public = {"AddDevice": {"device": new.keys, "consent": consent, "key": self.key_for(new.agreement)}}
        return self.operation(proposer, public, {"name": "two", "streams": [], "previous": []}, **change)

    def add_peer(self, services=("host:1",), proposer=FIRST):
        consent = sign(PEER.seed, "consent", consent_message(self.identity, PEER.keys, 1))
        return self.operation(proposer, {"AddPeer": {"peer": PEER.keys, "consent": consent, "services": list(services)}})

    def orderers(self, term, *orderers):
        return self.operation(FIRST, {"ChangeOrderers": {"term": term, "orderers": list(orderers)}})

    def make(self, op_bytes, orderer=FIRST, term=0, **change):
        """A commit after the head, with fields changed for a test."""
        op = Operation(op_bytes)
        fields = dict(identity=self.identity or plain_hash(op.core), index=self.count, previous=self.head, operation=op.id, term=term,
                      time=1000 + self.count, orderer=orderer.signing)
        fields.update(change)
        core = encode([1] + [fields[k] for k in ("identity", "index", "previous", "operation", "term", "time", "orderer")])
        return encode([core, sign(orderer.seed, "commit", H("commit", core))]), H("commit", core), fields["identity"]

    def commit(self, operation, **how):
        commit, self.head, self.identity = self.make(operation, **how)
        self.count += 1
        self.rows.append((commit, operation))
        return commit, operation


def schema():
    """The tables as the page gives them."""
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "docs", "formats.md")
    with open(page, encoding="utf-8") as file:
        sql = file.read().split("```sql\n")[1].split("```")[0]
    return sql + "PRAGMA application_id = 0x72687a31; PRAGMA user_version = 3;"


def pod(folder):
    """A pod's folder with one author log of two entries and a branch; the connection to its log.db stays for tampering."""
    made = Log()
    made.commit(made.add_device())
    made.commit(made.add_peer())
    made.commit(made.rows[-1][1])  # again, to no effect
    pending = made.operation(FIRST, {"Streams": {}})
    db = sqlite3.connect(os.path.join(folder, "log.db"))
    db.executescript(schema())
    put = lambda table, *values: db.execute("INSERT INTO %s VALUES (%s)" % (table, ",".join("?" * len(values))), values)
    for key, value in (("store_id", bytes(16)), ("identity", made.identity), ("secret_check", H("secret check", FIRST.secret))):
        put("meta", key, value)
    put("identities", 1, made.identity, 0, 0, 0, 0)
    put("streams", 1, STREAM)
    put("epochs", 1, EPOCH)
    for n, (commit, operation) in enumerate(made.rows + [(None, pending)]):
        op = Operation(operation)
        db.execute("REPLACE INTO operations VALUES (1, ?, ?, ?, ?)", (op.id, operation, n if commit else None, op.proposer))
        if commit:
            put("commits", 1, n, Commit(commit).hash, commit)
    link, at = None, []
    for seq in (2, 3, 3):
        content = [encode([seq << 16, [["app", ["t", b"%d" % len(at)]], ["later", None]]])]
        author, start, entry, _ = log.write(FIRST, STREAM, made.identity, made.identity, bytes(16), EPOCH, EPOCH_KEY, content, seq, link)
        link = link or entry.hash
        branch = int(len(at) == 2)
        put("entries", 1, branch, seq, entry.hash, 1, None, encode(entry.sections), entry.signature)
        at.append(entry)
    put("authors", 1, author, 1, 1, FIRST.signing, start, 1)
    put("branches", 1, 0, 0, 3, at[1].hash)
    put("branches", 1, 1, 2, 3, at[2].hash)
    core = [1, PEER.signing, bytes(16), author, 3, at[1].hash, 5]
    put("receipts", 1, 0, PEER.signing, bytes(16), 3, at[1].hash, 5, encode([encode(core), sign(PEER.seed, "receipt", encode(core))]))
    db.commit()
    with open(os.path.join(folder, "pod.json"), "w") as file:
        json.dump({"format": 1, "secret": "00" * 16, "recovery": None}, file)
    return db
