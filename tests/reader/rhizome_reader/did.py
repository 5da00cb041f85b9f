"""The DID document of an identity log, and a DID resolved from a CAR file."""

import copy
import datetime

from . import car
from .dagcbor import BYTES, Cid, Maybe, encode, read
from .errors import BadCar, NoSuchVersion
from .identity import Commit, Identity, did_of

STEP = [Maybe(Cid), Cid, 64, BYTES]
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
ED25519, X25519 = b"\xed\x01", b"\xec\x01"


def multikey(codec, key):
    n, out = int.from_bytes(codec + key, "big"), ""
    while n:
        n, digit = divmod(n, 58)
        out = _BASE58[digit] + out
    return "z" + out  # both codecs begin with a byte that is not zero


def document(identity):
    did, methods = identity.did, []

    def method(codec, key):
        value = multikey(codec, key)
        methods.append({"id": did + "#" + value, "type": "Multikey", "controller": did, "publicKeyMultibase": value})
        return methods[-1]["id"]

    by_key = lambda members: [members[key] for key in sorted(members)]
    pairs = [(method(ED25519, one.keys[0]), method(X25519, one.keys[1])) for one in by_key(identity.devices)]
    signing, agreement = [a for a, _ in pairs], [b for _, b in pairs]
    recovery = method(ED25519, identity.recovery[0])
    services = [{"id": did + "#peer-" + multikey(ED25519, one.keys[0]), "type": "RhizomeCloudPeer",
                 "serviceEndpoint": {"endpoint": one.keys[2].hex(), "addresses": one.services}} for one in by_key(identity.peers)]
    return {"@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"], "id": did,
            "verificationMethod": methods, "authentication": signing, "assertionMethod": signing, "keyAgreement": agreement,
            "capabilityInvocation": signing + [recovery], "capabilityDelegation": signing, "service": services}


def document_cbor(identity):
    return encode(document(identity))


def export(log):
    """The file of pairs of a commit and an operation, as they are stored."""
    blocks, roots, before = [], [], None
    for commit, operation in log:
        core, signature, *_ = read(operation, [BYTES, 64, Maybe(BYTES), Maybe(BYTES)], "an operation")
        step = encode([before, car.cid(core), signature, commit])
        roots = roots or [car.cid(core)]
        before = car.cid(step)
        blocks += [core, step]
    return car.write(roots + [before], blocks)


def _time(millis):
    return datetime.datetime.fromtimestamp(millis // 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def resolve(did, data, version_id=None, version_time=None):
    """The document, the metadata of the document and the identity; `version_time` in seconds since 1970."""
    roots, blocks = car.read_car(data)
    if len(blocks) % 2 or not blocks:
        raise BadCar("not two blocks for each commit")
    identity, last, versions = Identity(), None, []
    for (core_cid, core), (step_cid, step) in zip(blocks[::2], blocks[1::2]):
        before, of, signature, commit = read(step, STEP, "a step")
        if before != last or of != core_cid:
            raise BadCar("the blocks are not in the order of the log")
        identity.add(commit, encode([core, signature, None, None]), parts=False)
        last = step_cid
        versions.append((identity.head, Commit(commit).time, copy.deepcopy(identity)))
    if roots != [blocks[0][0], last] or identity.did != did or did_of(roots[0][4:]) != did:
        raise BadCar("the roots are not the DID and the last step")
    wanted = len(versions) - 1
    if version_id is not None:
        wanted = next((n for n, one in enumerate(versions) if one[0] == version_id), -1)
    if version_time is not None:
        wanted = sum(one[1] // 1000 <= version_time for one in versions) - 1
    if wanted < 0:
        raise NoSuchVersion("the log has no such version")
    head, time, then = versions[wanted]
    metadata = {"created": _time(versions[0][1]), "versionId": head.hex()}
    if wanted:
        metadata["updated"] = _time(time)
    if wanted + 1 < len(versions):
        metadata["nextVersionId"], metadata["nextUpdate"] = versions[wanted + 1][0].hex(), _time(versions[wanted + 1][1])
    return document(then), metadata, then
