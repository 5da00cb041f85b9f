import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
import zlib
from contextlib import redirect_stderr, redirect_stdout

from rhizome_reader import crypto, link, log, wire
from rhizome_reader.__main__ import main, write
from rhizome_reader.crypto import padme, seal, sign, unwrap, verify, wrap
from rhizome_reader.dagcbor import decode, encode
from rhizome_reader.errors import BadBox, BadShape, BadSignature, BadTicket, ReaderError, Refused, UpdateNeeded
from rhizome_reader.identity import Identity, Operation

from .build import EPOCH, EPOCH_KEY, FIRST, KEY, PEER, RECOVERY, SECOND, STREAM, Log, pod

ID = b"\x77" * 32


def flipped(data):
    """`data` with each byte changed in turn (every 7th of a long one)."""
    for n in range(0, len(data), 1 if len(data) < 400 else 7):
        yield data[:n] + bytes([data[n] ^ 1]) + data[n + 1:]


class Crypto(unittest.TestCase):
    def test_strict_signatures(self):
        good = sign(FIRST.seed, "p", b"m")
        verify(FIRST.signing, "p", b"m", good)
        s = int.from_bytes(good[32:], "little") + crypto._L
        small = [bytes([1]) + bytes(31), bytes(32), (crypto._P - 1).to_bytes(32, "little"), crypto._Y8.to_bytes(32, "little")]
        bad = [(FIRST.signing, good[:32] + s.to_bytes(32, "little")), (FIRST.signing, (crypto._P + 3).to_bytes(32, "little") + good[32:]),
               (SECOND.signing, good), ((crypto._P + 3).to_bytes(32, "little"), good), (FIRST.signing[:31], good)]
        bad += [(point, point + bytes(32)) for point in small] + [(FIRST.signing, point + good[32:]) for point in small]
        bad += [(FIRST.signing, one) for one in flipped(good)]
        for public, signature in bad:
            with self.assertRaises(BadSignature):
                verify(public, "p", b"m", signature)
        for purpose, message in (("q", b"m"), ("p", b"n")):
            self.assertRaises(BadSignature, verify, FIRST.signing, purpose, message, good)

    def test_hpke_is_rfc_9180_s(self):
        # Appendix A.2.1, sequence number 0, has an aad; so the key and nonce are what can be compared.
        x = bytes.fromhex
        enc, secret = x("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"), x("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
        public = crypto.x25519_public(secret)
        key, nonce = crypto._key_and_nonce(crypto.x25519(secret, enc), enc, public, b"Ode on a Grecian Urn")
        plain = crypto.ChaCha20Poly1305(key).decrypt(nonce, x("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"), b"Count-0")
        self.assertEqual(plain, b"Beauty is truth, truth beauty")

    def test_boxes_and_wraps(self):
        box = seal(KEY, b"aad", b"plain")
        self.assertEqual(crypto.open_box(KEY, b"aad", box), b"plain")
        for one in flipped(box):
            self.assertRaises(BadBox, crypto.open_box, KEY, b"aad", one)
        made = wrap(FIRST.agreement, b"i", KEY)
        self.assertEqual(unwrap(FIRST.scalar, b"i", made), KEY)
        for part in range(3):
            for one in flipped(made[part]):
                self.assertRaises(ReaderError, unwrap, FIRST.scalar, b"i", made[:part] + [one] + made[part + 1:])
        for zero in (bytes(32), b"\1" + bytes(31)):
            self.assertRaises(BadBox, unwrap, FIRST.scalar, b"i", [made[0], zero, made[2]])

    def test_padme(self):
        for length, padded in ((0, 0), (1, 1), (2, 2), (9, 10), (256, 256), (257, 272), (1000, 1024), (1025, 1088), (1048576, 1048576)):
            self.assertEqual(padme(length), padded)
            self.assertEqual(padme(padded), padded)


class Identities(unittest.TestCase):
    def setUp(self):
        self.log, self.fold = Log(), Identity()
        self.assertEqual(self.fold.add(*self.log.rows[0]), "ok")

    def verdict(self, operation, **how):
        return self.fold.add(*self.log.commit(operation, **how))

    def test_fold_and_keys(self):
        self.assertEqual(self.verdict(self.log.add_device()), "ok")
        self.assertEqual(self.verdict(self.log.add_peer()), "ok")
        self.assertEqual(self.verdict(self.log.orderers(1, PEER.signing, SECOND.signing)), "ok")
        self.assertEqual(self.verdict(self.log.operation(SECOND, {"Streams": {}}), orderer=PEER, term=1), "ok")
        self.assertTrue(self.fold.did.startswith("did:rhizome:bafyr4"))
        for device in (FIRST, SECOND):
            self.fold.keys, self.fold.streams = {}, []
            self.fold.unlock(device.scalar, device.agreement)
            self.assertEqual(self.fold.keys[self.fold.key_id], KEY)
            self.assertEqual(self.fold.epoch_key(EPOCH), EPOCH_KEY)
        self.assertEqual([m.name for m in self.fold.devices.values()], ["one", "two"])
        self.fold.keys = {}
        self.fold.unlock(crypto.KDF("recovery agreement", b"\x09" * 32), RECOVERY[1])
        self.fold.keys = {}
        self.assertRaises(BadBox, self.fold.unlock, PEER.scalar, PEER.agreement)

    def test_void(self):
        add = self.log.add_device()
        for name, operation in {
            "not a device": self.log.add_device(proposer=SECOND), "nonce again": self.log.add_device(nonce=(1).to_bytes(16, "big")),
            "key in use": self.log.add_device(new=FIRST), "consent for a peer": self.log.add_device(role=1),
            "services": self.log.add_peer(["a:1"] * 9),
            "long service": self.log.add_peer(["a" * 256]), "term": self.log.orderers(2, FIRST.signing),
            "stranger orders": self.log.orderers(1, PEER.signing), "no orderers": self.log.orderers(1),
            "twice": self.log.orderers(1, FIRST.signing, FIRST.signing),
        }.items():
            with self.subTest(name):
                self.assertEqual(self.verdict(operation), "void")
        self.assertEqual(list(self.fold.devices), [FIRST.signing])
        self.assertEqual(self.verdict(add), "ok")
        self.assertEqual(self.verdict(add), "void")
        # Only what had an effect counts for "same proposer and nonce".
        early = self.log.operation(PEER, {"Streams": {}})
        self.assertEqual(self.verdict(early), "void")
        self.assertEqual(self.verdict(early), "void")
        self.assertEqual(self.verdict(self.log.orderers(1, FIRST.signing)), "ok")

    def test_void_once_and_good_later(self):
        early = self.log.operation(SECOND, {"Streams": {}})
        self.assertEqual([self.verdict(one) for one in (early, self.log.add_device(), early, early)], ["void", "ok", "ok", "void"])

    def test_tentative(self):
        add = Operation(self.log.add_device())
        streams = Operation(self.log.operation(SECOND, {"Streams": {}}))
        orderers = Operation(self.log.orderers(1, FIRST.signing))
        fold = self.fold.tentative([streams, orderers, add])
        self.assertEqual((list(fold.devices), fold.term, fold.good[-2:]), ([FIRST.signing, SECOND.signing], 0, [add, streams]))
        self.assertEqual((list(self.fold.devices), len(self.fold.good)), ([FIRST.signing], 1))
        fold.unlock(SECOND.scalar, SECOND.agreement)

    def test_a_sealed_part_that_does_not_open_is_void_alone(self):
        self.assertEqual(self.verdict(self.log.operation(FIRST, {"Streams": {}}, {"name": 1})), "ok")
        self.fold.unlock(FIRST.scalar, FIRST.agreement)
        self.assertEqual((self.fold.alarms, len(self.fold.streams)), (1, 1))

    def test_refused(self):
        operation = self.log.add_device()
        for change in ({"index": 2}, {"index": 0}, {"previous": ID}, {"previous": None}, {"term": 1}, {"time": 999}, {"identity": ID},
                       {"operation": ID}, {"orderer": SECOND}):
            with self.subTest(str(change)), self.assertRaises(ReaderError):
                self.fold.add(self.log.make(operation, **change)[0], operation)
        commit = self.log.make(operation)[0]
        for one in flipped(commit):
            self.assertRaises(ReaderError, self.fold.add, one, operation)
        for one in flipped(operation):
            self.assertRaises(ReaderError, self.fold.add, commit, one)
        bad = self.log.add_device(purpose="commit")
        self.assertRaises(BadSignature, self.fold.add, self.log.make(bad)[0], bad)
        for other in (self.log.rows[0][1], self.log.operation(FIRST, {"Streams": {}}, identity=ID)):
            self.assertRaises(Refused, self.fold.add, self.log.make(other)[0], other)
        self.assertEqual((self.fold.count, self.fold.add(commit, operation)), (1, "ok"))

    def test_genesis_and_kinds(self):
        commit, genesis = self.log.rows[0]
        for one in flipped(genesis):
            self.assertRaises(ReaderError, Identity().add, commit, one)
        for one in flipped(commit):
            self.assertRaises(ReaderError, Identity().add, one, genesis)
        self.assertRaises(Refused, self.fold.add, commit, genesis)
        self.assertRaises(UpdateNeeded, Operation, self.log.operation(FIRST, {"Forget": {}}))
        for public in ({}, {"Streams": {}, "AddPeer": {}}, {"Streams": {"x": 1}}, [], {"AddDevice": {}}):
            self.assertRaises(ReaderError, Operation, self.log.operation(FIRST, public))


class AuthorLogs(unittest.TestCase):
    def setUp(self):
        self.content = encode([5 << 16, [["app", ["t", b"payload"]], ["doc", ["c", bytes(16), bytes(16), []]], ["new", 1]]])
        self.author, self.start, self.entry, self.range = log.write(FIRST, STREAM, ID, ID, bytes(16), EPOCH, EPOCH_KEY, [self.content])

    def test_read_back(self):
        (got,) = log.read_range(self.range, FIRST.signing)
        self.assertEqual((got.hash, got.open(EPOCH_KEY)), (self.entry.hash, [self.content]))
        self.assertEqual(sum(map(len, got.sections)), 256)
        two = log.write(FIRST, STREAM, ID, ID, bytes(16), EPOCH, EPOCH_KEY, [self.content] * 9, 3, got.hash)
        self.assertEqual(two[0], self.author)
        (second,) = log.read_range(two[3], FIRST.signing)
        self.assertEqual(second.open(EPOCH_KEY), [self.content] * 9)
        both = decode(self.range)
        both[4].append([None] + decode(two[3])[4][0][1:])  # the epoch of the entry before
        self.assertEqual(log.read_range(encode(both), FIRST.signing)[-1].hash, second.hash)
        both[4][0][2] = [[log.section_hash(both[4][0][2][0])]]  # erased: the hash stays
        self.assertEqual(log.read_range(encode(both), FIRST.signing)[0].open(EPOCH_KEY), [None])

    def test_tampered(self):
        for one in flipped(self.range):
            self.assertRaises(ReaderError, log.read_range, one, FIRST.signing)
        self.assertRaises(ReaderError, log.read_range, self.range, SECOND.signing)
        good = decode(self.range)
        for change in ({0: None}, {1: ID}, {2: 3}, {2: 1}, {3: ID}, {4: []}, {4: good[4] * 513}):
            bad = [change.get(n, value) for n, value in enumerate(good)]
            self.assertRaises(ReaderError, log.read_range, encode(bad), FIRST.signing)
        stored = good[4][0]
        for change in ({0: None}, {0: ID}, {1: ID}, {2: []}, {2: stored[2] * 2}, {2: [[ID]]}, {2: [b"\0" * 1048577]}, {3: bytes(64)}):
            bad = [change.get(n, value) for n, value in enumerate(stored)]
            self.assertRaises(ReaderError, log.read_range, encode(good[:4] + [[bad]]), FIRST.signing)

    def test_sections_must_be_filled_as_the_page_says(self):
        make = lambda plain: log.Entry(self.author, 2, self.author, EPOCH, None, [seal(
            crypto.KDF("section", EPOCH_KEY), crypto.sealed_aad(self.author, 2, EPOCH, 0), plain)], bytes(64))
        make(bytes(216)).open(EPOCH_KEY)
        for plain in (bytes(4), bytes(215), bytes(217), bytes(215) + b"\1", b"\0\0\1\0" + bytes(212)):
            self.assertRaises(BadBox, make(plain).open, EPOCH_KEY)
        self.assertRaises(BadShape, make, bytes(3))

    def test_automerge_change(self):
        # A change that Automerge 3 wrote: {a: 1} by the actor ab…ab.
        whole = bytes.fromhex("856f4a83ac35147a01430020abababababababababababababababababababababababababababababababab0101e1bd8cd8060000061503340142025602570170027f0161017f017f14017f00")
        log.read_change(whole, b"\xab" * 32)
        squeeze = zlib.compressobj(wbits=-15)
        body = squeeze.compress(whole[10:]) + squeeze.flush()
        log.read_change(whole[:8] + b"\2" + bytes([len(body)]) + body, b"\xab" * 32)
        self.assertRaises(ReaderError, log.read_change, whole, b"\xac" * 32)
        for one in flipped(whole):
            self.assertRaises(ReaderError, log.read_change, one, b"\xab" * 32)

    def test_receipt_and_digest(self):
        core = encode([1, PEER.signing, bytes(16), self.author, 2, self.entry.hash, 7])
        receipt = encode([core, sign(PEER.seed, "receipt", core)])
        self.assertEqual(log.Receipt(receipt, PEER.signing).time, 7)
        for one in flipped(receipt):
            self.assertRaises(ReaderError, log.Receipt, one, PEER.signing)
        items = [[ID, 0, 3, KEY], [KEY, 0, 9, ID], [ID, 1, 2, KEY]]
        self.assertEqual(log.digest(None, [ID, KEY], items), log.digest(None, [KEY, ID], items[::-1]))
        self.assertNotEqual(log.digest(None, [ID], items), log.digest(ID, [], items))


class LinkAndWire(unittest.TestCase):
    def test_ticket(self):
        given = dict(role=1, endpoint=ID, addresses=["a.example:1", "[::1]:443", "https://relay.example/"], secret=bytes(16), expiry=9)
        text = link.write_ticket(**given)
        self.assertEqual(link.read_ticket(text), given)
        for n in range(len(text)):
            self.assertRaises(BadTicket, link.read_ticket, text[:n] + ("b" if text[n] != "b" else "c") + text[n + 1:])
        for bad in (text + "=", text + "1", text[:-1], "rhizome:", "", "rhizome:é", text.replace("rhizome:", "")):
            self.assertRaises(BadTicket, link.read_ticket, bad)
        self.assertEqual(link.read_ticket(" " + text.upper() + "\n"), given)
        for change in ({"role": 3}, {"secret": bytes(15)}, {"endpoint": b""}):
            self.assertRaises(BadTicket, link.read_ticket, link.write_ticket(**dict(given, **change)))

    def test_frames(self):
        hello = encode([1, 0, ID, ID, bytes(16), []])
        self.assertEqual(wire.read_frame(wire.write_frame(0, hello))[0], 0)
        frame = wire.write_frame(8, encode([7]))
        for bad in (frame[:-1], frame + b"\0", b"\0\0\0\0", b"\0\0\0\x01\x08", b"\xff\xff\xff\xff\0", wire.write_frame(9, encode([])), wire.write_frame(9, encode(["x"])),
                    wire.write_frame(0, encode([2, 0, ID, ID, bytes(16), []])), wire.write_frame(6, encode([None, "x", 0])),
                    wire.write_frame(200, encode([])), wire.write_frame(8, b"\x80\x80"), b""):
            self.assertRaises(ReaderError, wire.read_frame, bad)

    def test_short_number(self):
        number = link.short_number(bytes(16), ID, ID, KEY, FIRST.keys, SECOND.keys)
        self.assertRegex(number, "^[0-9]{6}$")
        self.assertNotEqual(number, link.short_number(bytes(16), ID, ID, KEY, SECOND.keys, FIRST.keys))


class CommandLine(unittest.TestCase):
    def run_main(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(list(arguments))
        return code, out.getvalue(), err.getvalue()

    def test_write(self):
        given = {"device_secret": FIRST.secret.hex(), "stream": STREAM.hex(), "epoch_key": EPOCH_KEY.hex(), "owner": ID.hex(),
                 "author_identity": ID.hex(), "nonce": "00" * 16, "time": 1 << 40,
                 "events": [{"kind": "app", "type": "t", "payload": "00ff"},
                            {"kind": "doc", "collection": "c", "document": "01" * 16, "session": "02" * 16, "changes": ["aa"]}]}
        done = subprocess.run([sys.executable, "-m", "rhizome_reader", "write"], input=json.dumps(given), capture_output=True, text=True,
                              cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        first = json.loads(done.stdout)
        second = write(dict(given, seq=3, link=first["hash"], identity_head=ID.hex()))
        self.assertEqual((first["author"], first["seq"], second["seq"]), (second["author"], 2, 3))
        (entry,) = log.read_range(bytes.fromhex(second["range"]), FIRST.signing)
        self.assertEqual(entry.open(EPOCH_KEY), [bytes.fromhex(second["content"])])
        self.assertRaises(ReaderError, write, dict(given, seq=3))
        self.assertRaises(ReaderError, write, dict(given, link=ID.hex()))

    def test_pod_and_cloud(self):
        with tempfile.TemporaryDirectory() as folder:
            db = pod(folder)
            code, out, err = self.run_main("pod", folder, "--secret", FIRST.secret.hex())
            self.assertEqual((code, err), (0, ""))
            summary = json.loads(out)
            self.assertEqual([summary[k] for k in ("entries_verified", "sections_opened", "author_logs", "receipts", "pending")], [3, 3, 1, 1, 1])
            self.assertEqual((summary["devices"][1]["name"], summary["unknown_kinds"]), ("two", ["later"]))
            code, out, _ = self.run_main("cloud", folder)
            self.assertEqual((code, json.loads(out)["entries_verified"]), (0, 3))
            self.assertEqual(self.run_main("pod", folder, "--secret", SECOND.secret.hex())[0], 1)
            # Of a branch, only the head's signature has to be good.
            change = "UPDATE entries SET signature = ? WHERE branch = 0 AND seq = 2"
            (middle,) = db.execute("SELECT signature FROM entries WHERE branch = 0 AND seq = 2").fetchone()
            db.execute(change, (bytes(64),))
            db.commit()
            self.assertEqual(self.run_main("cloud", folder)[0], 0)
            db.execute(change, (middle,))
            for table, column in (("commits", "bytes"), ("commits", "hash"), ("operations", "bytes"), ("operations", "id"),
                                  ("authors", "start"), ("authors", "author"), ("authors", "device"), ("branches", "hash"),
                                  ("entries", "hash"), ("entries", "sections"), ("entries", "signature"), ("receipts", "bytes"),
                                  ("receipts", "hash"), ("streams", "stream"), ("epochs", "epoch"), ("identities", "identity")):
                for (value,) in db.execute("SELECT %s FROM %s" % (column, table)).fetchall():
                    if (table, column, value) == ("entries", "signature", middle):
                        continue
                    change, other = "UPDATE %s SET %s = ? WHERE %s = ?" % (table, column, column), value[:-1] + bytes([value[-1] ^ 1])
                    db.execute(change, (other, value))
                    db.commit()
                    code, out, err = self.run_main("cloud", folder)
                    with self.subTest("%s.%s" % (table, column)):
                        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
                    db.execute(change, (value, other))
                    db.commit()
            for table in ("entries", "commits", "operations", "branches"):
                rows = db.execute("SELECT * FROM %s ORDER BY 4 DESC" % table)  # of operations, one that is not pending: nobody misses those
                kept, where = rows.fetchone(), " AND ".join(column[0] + " IS ?" for column in rows.description)
                rows.close()
                db.execute("DELETE FROM %s WHERE %s" % (table, where), kept)
                db.commit()
                self.assertEqual(self.run_main("cloud", folder)[0], 1, table)
                db.execute("INSERT INTO %s VALUES (%s)" % (table, ",".join("?" * len(kept))), kept)
                db.commit()
            self.assertEqual(self.run_main("cloud", folder)[0], 0)
            db.close()

    def test_missing_vectors_fail(self):
        with tempfile.TemporaryDirectory() as folder:
            code, out, _ = self.run_main("vectors", folder)
            self.assertEqual((code, out.count("missing")), (1, 15))
