"""Checks every committed vector against this reader."""

import copy
import json
import os

from . import attachment, did, link, log, wire
from .crypto import (KDF, Device, ed25519_public, epoch_id, identity_key_id, open_box, padme, plain_hash, seal, unwrap,
                     x25519_public)
from .dagcbor import decode, encode
from .errors import BadVector, ReaderError
from .identity import Commit, Identity, Operation

x = bytes.fromhex


def same(got, expected, what):
    if isinstance(got, bytes):
        got = got.hex()
    if got != expected:
        raise BadVector("%s: the reader has %r, the vector %r" % (what, got, expected))


def refused(action, what):
    try:
        action()
    except ReaderError:
        return
    raise BadVector("%s should be refused and is not" % what)


def ranks(values):
    return [sorted(set(values)).index(v) for v in values]


def keys(v):
    device = Device(x(v["device"]["secret"]))
    for name, value in (("signing_public", device.signing), ("agreement_public", device.agreement),
                        ("endpoint_public", device.endpoint), ("views_key", device.views_key)):
        same(value, v["device"][name], "device " + name)
    recovery, entropy = v["recovery"], x(v["recovery"]["entropy"])
    same(ed25519_public(KDF("recovery signing", entropy)), recovery["signing_public"], "recovery signing")
    same(x25519_public(KDF("recovery agreement", entropy)), recovery["agreement_public"], "recovery agreement")
    # BIP-39's list is alphabetical: without the list, the words still have to be in the order of their 11-bit numbers.
    import hashlib
    bits = int.from_bytes(entropy + hashlib.sha256(entropy).digest()[:1], "big")
    words = recovery["words"].split() if isinstance(recovery["words"], str) else recovery["words"]
    same(ranks(words), ranks([bits >> (11 * n) & 2047 for n in reversed(range(24))]), "order of the recovery words")
    key = x(v["identity_key"]["key"])
    same(identity_key_id(key), v["identity_key"]["id"], "identity key id")
    same(KDF("sealed part", key), v["identity_key"]["sealed_part_key"], "sealed part key")
    same(epoch_id(x(v["epoch"]["stream"]), x(v["epoch"]["key"])), v["epoch"]["id"], "epoch id")
    same(KDF("section", x(v["epoch"]["key"])), v["epoch"]["section_key"], "section key")


def pad(v):
    for length, padded in v["cases"]:
        same(padme(length), padded, "PADME of %d" % length)


def seal_(v):
    for case in v["cases"]:
        key, aad, plain, box = (x(case[k]) for k in ("key", "aad", "plain", "box"))
        same(open_box(key, aad, box), case["plain"], "a box's plain text")
        same(seal(key, aad, plain, box[:24]), case["box"], "a box")
        refused(lambda: open_box(key, aad + b"\0", box), "a box with another aad")


def wrap(v):
    for case in v["cases"]:
        secret, info, wrapped = x(case["recipient_secret"]), x(case["info"]), decode(x(case["wrap"]))
        same(unwrap(secret, info, wrapped), case["plain"], "a wrap's plain text")
        refused(lambda: unwrap(secret, info + b"\0", wrapped), "a wrap with another info")


def identity(v):
    fold = Identity()
    for n, one in enumerate(v["log"]):
        same(fold.add(x(one["commit"]), x(one["operation"])), one["verdict"], "the verdict of commit %d" % n)
    for one in v["pending"]:
        Operation(x(one)).check_signature()
    expect = v["expect"]
    devices = [Device(x(secret)) for secret in v["device_secrets"]]
    same([d.signing in fold.devices for d in devices] + [devices[2].signing in fold.peers], [True, True, False, True], "whose secrets")
    for device in devices[1], devices[0]:
        fold.keys, fold.streams = {}, []
        fold.unlock(device.scalar, device.agreement)
        same(fold.keys[fold.key_id], expect["identity_key"], "the identity key")
    refused(lambda: _unlock_copy(v, devices[2]), "the identity key for the peer")
    for name, value in (("identity", fold.id), ("did", fold.did), ("binding", fold.binding), ("commit_count", fold.count),
                        ("head", fold.head), ("term", fold.term), ("orderers", [o.hex() for o in fold.orderers])):
        same(value, expect[name], name)
    by_key = lambda members: sorted(members, key=lambda m: m["signing"])
    same(by_key([{"signing": m.signing.hex(), "name": m.name} for m in fold.devices.values()]), by_key(expect["devices"]), "devices")
    same(by_key([{"signing": m.signing.hex(), "services": m.services} for m in fold.peers.values()]),
         by_key([{k: m[k] for k in ("signing", "services")} for m in expect["peers"]]), "peers")
    got = [{"stream": s.hex(), "label": label, "epoch": e.hex(), "key": k.hex()} for s, label, e, k in fold.streams]
    by_epoch = lambda streams: sorted(streams, key=lambda s: s["epoch"])
    same(by_epoch(got), by_epoch(expect["streams"]), "streams")
    for one in v["refused"]:
        refused(lambda: fold.add(x(one["commit"]), x(one["operation"])), one["name"])


def _unlock_copy(v, device):
    fold = Identity()
    for one in v["log"]:
        fold.add(x(one["commit"]), x(one["operation"]))
    fold.unlock(device.scalar, device.agreement)


def did_(v):
    for case in v["cases"]:
        fold = Identity()
        for one in case["log"]:
            fold.add(x(one["commit"]), x(one["operation"]))
        same(fold.did, case["did"], "the DID")
        same(did.document(fold), case["document"], "the document")
        same(did.document_cbor(fold), case["document_cbor"], "the document as DAG-CBOR")
        same(did.export([(x(one["commit"]), x(one["operation"])) for one in case["log"]]), case["car"], "the file")
        for one in case["versions"]:
            for how in {"version_id": x(one["metadata"]["versionId"])}, {"version_time": one["time"]}:
                document, metadata, _ = did.resolve(case["did"], x(case["car"]), **how)
                same(plain_hash(encode(document)), one["document_hash"], "a version's document")
                same(metadata, one["metadata"], "a version's metadata")
        same(did.resolve(case["did"], x(case["car"]))[0], case["document"], "the newest version")
    for one in v["refused"]:
        refused(lambda: did.resolve(one["did"], x(one["car"])), one["name"])


def summary(fold):
    return {
        "devices": sorted(k.hex() for k in fold.devices), "peers": sorted(k.hex() for k in fold.peers),
        "removed": [{"device": k.hex(), "cutoffs": [[a.hex(), seq, h.hex()] for a in sorted(ends) for seq, h in sorted(ends[a])]}
                    for k, ends in sorted(fold.removed.items())],
        "removed_peers": sorted(k.hex() for k in fold.removed_peers), "orderers": [k.hex() for k in fold.orderers], "term": fold.term,
        "head": fold.head.hex(), "recovery": [k.hex() for k in fold.recovery],
        "next_recovery": fold.rotation and {"keys": [k.hex() for k in fold.rotation["keys"]], "at": fold.rotation["at"]},
        "key_id": fold.key_id.hex(), "exposed": fold.exposed, "needs_rewrap": fold.needs_rewrap,
        "erasures": [{"operation": k.hex(), "due": one["due"], "sections": [[a.hex(), seq, h.hex(), n] for a, seq, h, n in one["sections"]]}
                     for k, one in sorted(fold.erasures.items())],
    }


def reach(fold, scalar, public):
    fold = copy.deepcopy(fold)
    try:
        fold.unlock(scalar, public)
    except ReaderError:
        fold.current = {}
    return {
        "has_key": fold.key_id in fold.keys, "alarms": fold.alarms,
        "streams": [{"stream": s.hex(), "label": label, "current": e.hex(), "under": under.hex()}
                    for s, (label, e, under) in sorted(fold.current.items())],
        "names": [[k.hex(), one.name] for k, one in sorted(fold.devices.items()) + sorted(fold.peers.items())],
    }


def root(v):
    fold, words = Identity(), [KDF("recovery agreement", x(one)) for one in v["recovery_entropies"]]
    for n, one in enumerate(v["log"]):
        if n == v["after_the_first"]:
            same(summary(fold), v["then"]["summary"], "the state before the words")
            same(reach(fold, words[0], x25519_public(words[0])), v["then"]["words"], "what the words reach")
            early = copy.deepcopy(fold)
        same(fold.add(x(one["commit"]), x(one["operation"])), one["verdict"], "the verdict of commit %d" % n)
    same(summary(fold), v["end"], "the state at the end")
    devices = [Device(x(one)) for one in v["device_secrets"]]
    same([reach(fold, one.scalar, one.agreement) for one in devices], v["reach"], "what each reaches")
    same([reach(fold, one, x25519_public(one)) for one in words], v["words_reach"], "what the words reach at the end")
    for pair in v["pairs"]:
        ranks = []
        for commit, operation in pair:
            copy.deepcopy(early).add(x(commit), x(operation))
            ranks.append(early.precedence(Commit(x(commit)), Operation(x(operation))))
        same(ranks[0] > ranks[1], True, "which of two commits counts")


def entry(v):
    device, start = Device(x(v["device_secret"])), log.Start(x(v["start"]))
    same(start.author, v["author"], "author")
    same(start.device, device.signing.hex(), "the start's device")
    same(start.stream, v["stream"], "the start's stream")
    same(epoch_id(start.stream, x(v["epoch_key"])), v["epoch"], "epoch")
    stored = [decode(x(one["stored"])) for one in v["entries"]]
    for one, got in zip(v["entries"], log.check_links(start.author, 2, start.author, stored)):
        same(got.header, one["header"], "header of entry %d" % got.seq)
        same(got.hash, one["hash"], "hash of entry %d" % got.seq)
        got.check_signature(start.device)
        contents = got.open(x(v["epoch_key"]))
        same([c and c.hex() for c in contents], one["contents"], "contents of entry %d" % got.seq)
        for content in contents:
            for kind, body in log.read_content(content)[1] if content is not None else []:
                for change in body[3] if kind == "doc" else []:
                    log.read_change(change, log.actor(start.author, body[1], body[2]))


def range_(v):
    for one in v["good"]:
        last = log.read_range(x(one["range"]), x(one["device"]))[-1]
        same({"seq": last.seq, "hash": last.hash.hex()}, {k: one["heads"][k] for k in ("seq", "hash")}, "head of a range")
    for one in v["refused"]:
        refused(lambda: log.read_range(x(one["range"]), x(one["device"])), one["name"])


def have(v):
    for case in v["cases"]:
        items = [[x(author), base, seq, x(hash_)] for author, base, seq, hash_ in case["items"]]
        last = x(case["last_commit"]) if case["last_commit"] is not None else None
        same(log.digest(last, [x(p) for p in case["pending"]], items), case["digest"], "digest")


def receipt(v):
    got = log.Receipt(x(v["receipt"]), x(v["peer_signing_public"]))
    for name in ("store", "author", "seq", "hash", "time"):
        same(getattr(got, name), v["fields"][name], "the receipt's " + name)


def attachment_(v):
    for one in v["attachments"]:
        manifest = attachment.Manifest(x(one["manifest"]))
        same(manifest.id, one["id"], "an attachment's id")
        same(manifest.padded, one["padded"], "its padded length")
        plain = bytes(n % 251 for n in range(one["size"]))
        boxes = attachment.seal_chunks(x(one["key"]), plain, [x(nonce) for nonce in one["nonces"]])
        for box, expected in zip(boxes, one["boxes"]):
            same(box, expected, "a box sealed again")
        same([box_hash.hex() for box_hash in manifest.hashes], one["hashes"], "its chunks")
        if manifest.open(x(one["key"]), one["size"], boxes) != plain:
            raise BadVector("an attachment that opens to something else")
        refused(lambda: manifest.open(x(one["key"]), one["size"], boxes[::-1] + boxes[:1]), "chunks in another order")
    for one in v["refused"]:
        refused(lambda: attachment.Manifest(x(one)), "the manifest " + one[:40])
    got = attachment.Receipt(x(v["receipt"]["receipt"]))
    for name, expected in (("peer", "peer_signing_public"), ("store", "store"), ("attachment", "attachment"), ("time", "time")):
        same(getattr(got, name), v["receipt"][expected], "the receipt's " + name)


def ticket(v):
    for one in v["good"]:
        got = link.read_ticket(one["ticket"])
        for name, value in got.items():
            same(value, one[name], "the ticket's " + name)
        same(link.write_ticket(**got), one["ticket"], "a ticket written again")
    for text in v["refused"]:
        refused(lambda: link.read_ticket(text), "the ticket " + text)


def link_(v):
    secret, nonce_d, nonce_s = x(v["secret"]), x(v["nonce_d"]), x(v["nonce_s"])
    keys_d, keys_s = ([x(k) for k in v[name]] for name in ("keys_d", "keys_s"))
    commitment = link.commitment(nonce_d)
    same(commitment, v["commitment"], "commitment")
    same(link.proof(secret, v["role_d"], keys_d, commitment), v["proof"], "proof")
    same(link.short_number(secret, commitment, nonce_d, nonce_s, keys_d, keys_s), v["number"], "short number")


def inside(kind, body):
    """Reads what a frame carries as byte strings."""
    if kind in (0, 2):
        for one in body[-1]:
            Operation(one).check_signature()
    elif kind == 3:
        for commit, operation in body[0]:
            if Commit(commit).operation != Operation(operation).id:
                raise BadVector("a commit of another operation")
    elif kind in (5, 10):
        for one in body[0]:
            log.Receipt(one)
    elif kind == 50:
        for one in body[1]:
            attachment.Receipt(one)
    elif kind == 51:
        attachment.Manifest(body[0])
    elif kind == 54 and body[2] is not None:
        attachment.Receipt(body[2])
    elif kind == 4:
        log.read_range(encode(body), log.Start(body[0]).device)


def frames(v):
    for one in v["frames"]:
        kind, body = wire.read_frame(x(one["frame"]))
        same(kind, one["kind"], "a frame's kind")
        inside(kind, body)
        same(encode(body), one["body"], "a frame's body")
        same(wire.write_frame(kind, x(one["body"])), one["frame"], "a frame written again")
    for frame in v["refused"]:
        refused(lambda: wire.read_frame(x(frame)), "the frame " + frame[:40])


CHECKS = {"keys": keys, "pad": pad, "seal": seal_, "wrap": wrap, "identity": identity, "root": root, "did": did_, "entry": entry, "range": range_,
          "have": have, "receipt": receipt, "ticket": ticket, "link": link_, "frames": frames,
          "attachment": attachment_}


def check_all(folder):
    """Yields (name, None or the error) for every vector file."""
    for name, check in CHECKS.items():
        try:
            with open(os.path.join(folder, name + ".json"), encoding="utf-8") as file:
                check(json.load(file))
            yield name, None
        except FileNotFoundError:
            yield name, BadVector("the file is missing")
        except ReaderError as error:
            yield name, error
        except (KeyError, TypeError, ValueError, IndexError) as error:
            yield name, BadVector("the file has not the shape agreed on (%s %s)" % (type(error).__name__, error))
