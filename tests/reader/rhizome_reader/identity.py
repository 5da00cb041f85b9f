"""The identity log: operations, commits, the fold with its verdicts, and what the keys open."""

import copy

from .crypto import (H, KDF, SIGNED, WRAP, base32, epoch_id, identity_key_id, open_box, plain_hash, sealed_aad, unwrap,
                     verify)
from .dagcbor import ANY, BYTES, TEXT, UINT, Each, Maybe, read, read_versioned, want
from .errors import BadBox, BadShape, BadSignature, ReaderError, Refused, UpdateNeeded

KEYS = [32, 32, 32]
PUBLIC = {
    "Genesis": {"device": KEYS, "recovery": [32, 32], "key": {"id": 32, "wraps": Each(WRAP)}},
    "AddDevice": {"device": KEYS, "consent": 64, "key": {"id": 32, "wraps": Each(WRAP)}},
    "AddPeer": {"peer": KEYS, "consent": 64, "services": Each(TEXT)},
    "ChangeOrderers": {"term": UINT, "orderers": Each(32)},
    "Streams": {},
}
OPERATION = [BYTES, 64, Maybe(BYTES), Maybe(BYTES)]
OPERATION_CORE = [Maybe(32), 32, 16, Maybe(32), ANY, Maybe(32), Maybe(32)]
COMMIT_CORE = [32, UINT, Maybe(32), 32, UINT, UINT, 32]
SEALED = {"name": Maybe(TEXT), "streams": Each([32, TEXT, 32, 32]), "previous": Each([32, 32])}
MAX_OPERATION = 65536
MAX_VOID = 1024  # commits without an effect in one log
DEVICE, PEER = 0, 1


def consent_message(identity, keys, role):
    return identity + b"".join(keys) + bytes([role])


def binding_of(proposer, nonce):
    return H("identity binding", proposer + nonce)


def did_of(identity):
    return "did:rhizome:b" + base32(b"\x01\x71\x1e\x20" + identity)


def key_wrap_info(binding, key_id, recipient):
    return b"rhizome/1 identity key" + binding + key_id + recipient


class Operation:
    """One operation, decoded; nothing about its place in a log is checked here, nor its signature."""

    def __init__(self, data, parts=True):
        """Without `parts` they need not be there: an exported log has none."""
        if len(data) > MAX_OPERATION:
            raise BadShape("an operation of %d bytes" % len(data))
        self.bytes = data
        self.core, self.signature, peers_part, self.sealed = read(data, OPERATION, "an operation")
        fields = read_versioned(self.core, OPERATION_CORE, "an operation's core")
        self.identity, self.proposer, self.nonce, self.seen, public, peers_hash, sealed_hash = fields
        if type(public) is not dict or len(public) != 1:
            raise BadShape("an operation that is not of one kind")
        (self.kind, self.value), = public.items()
        self.id = H("operation", self.core)
        if self.kind not in PUBLIC:
            raise UpdateNeeded("an operation of the unknown kind %r" % self.kind)
        want(self.value, PUBLIC[self.kind], "an operation's " + self.kind)
        if peers_part is not None or peers_hash is not None:
            raise BadShape("an operation with a peers part")
        if parts and sealed_hash != (None if self.sealed is None else H("operation part", self.sealed)):
            raise BadShape("an operation whose sealed part is not the one that was signed")
        if (self.identity is None) != (self.kind == "Genesis"):
            raise BadShape("a genesis is without an identity, and nothing else is")
        try:
            self.sealed_key_id, self.box = read(self.sealed or b"", [32, BYTES], "a sealed part")
        except ReaderError:
            self.sealed_key_id = self.box = None  # void alone

    def check_signature(self):
        verify(self.proposer, "operation", self.id, self.signature)


class Commit:
    def __init__(self, data):
        self.core, self.signature = read(data, SIGNED, "a commit")
        (self.identity, self.index, self.previous, self.operation, self.term, self.time,
         self.orderer) = read_versioned(self.core, COMMIT_CORE, "a commit's core")
        self.hash = H("commit", self.core)


class Member:
    def __init__(self, keys, services=()):
        self.keys, self.services, self.name = keys, list(services), None
        self.signing = keys[0]


class Identity:
    """The fold of an identity log. `add` takes what follows, or raises and changes nothing."""

    def __init__(self):
        self.id = self.binding = self.head = self.recovery = None
        self.count = self.term = self.time = self.void = 0
        self.orderers, self.devices, self.peers = [], {}, {}
        self.wraps, self.key_id, self.used_keys, self.nonces = [], None, set(), set()
        self.good = []  # operations that are not void, in order
        self.keys, self.streams = {}, []  # what unlock() finds
        self.alarms = 0  # what unlock() found that is not what it claims to be: a member lied

    @property
    def did(self):
        return did_of(self.id)

    def add(self, commit_bytes, operation_bytes, parts=True):
        """Takes the next commit and its operation; "ok" or "void"."""
        commit, operation = Commit(commit_bytes), Operation(operation_bytes, parts)
        if commit.operation != operation.id:
            raise Refused("the commit is of another operation")
        if self.id is None:
            return self._begin(commit, operation)
        operation.check_signature()  # the commit covers the id alone: a changed signature is not the proposer's doing
        if commit.identity != self.id or operation.identity != self.id:
            raise Refused("a commit or operation of another identity")
        if commit.index != self.count:
            raise Refused("the commit has index %d, not %d" % (commit.index, self.count))
        if commit.previous != self.head:
            raise Refused("the commit does not link to the one before")
        if commit.term != self.term or commit.orderer not in self.orderers:
            raise Refused("the commit is not by an orderer of term %d" % self.term)
        if commit.time < self.time:
            raise Refused("the commit's time decreases")
        verify(commit.orderer, "commit", commit.hash, commit.signature)
        why = self.why_void(operation)
        if why and self.void >= MAX_VOID:
            raise Refused("a commit without an effect, after %d of them" % MAX_VOID)
        self.void += bool(why)
        self.head, self.time, self.count = commit.hash, commit.time, commit.index + 1
        if why is None:
            self._apply(operation)
        return "void" if why else "ok"

    def _begin(self, commit, operation):
        if operation.kind != "Genesis":
            raise Refused("the log does not begin with a genesis")
        device, recovery, key = (operation.value[k] for k in ("device", "recovery", "key"))
        if operation.proposer != device[0] or commit.orderer != device[0]:
            raise Refused("the genesis is not by the first device")
        if (commit.index, commit.previous, commit.term) != (0, None, 0) or commit.identity != plain_hash(operation.core):
            raise Refused("the first commit has a wrong place or identity")
        if len({*device, *recovery[:1]}) != 4 or recovery[1] in device:
            raise Refused("the genesis uses a key twice")
        operation.check_signature()
        verify(commit.orderer, "commit", commit.hash, commit.signature)
        self.id, self.binding = commit.identity, binding_of(operation.proposer, operation.nonce)
        self.head, self.time, self.count, self.orderers = commit.hash, commit.time, 1, [device[0]]
        self.key_id, self.recovery = key["id"], recovery
        self.used_keys.update(recovery)
        self._apply(operation)
        return "ok"

    def why_void(self, operation):
        """Why the operation would change nothing if it were committed next; None if it would."""
        value = operation.value
        if operation.proposer not in self.devices:
            return "the proposer is not a device"
        if (operation.proposer, operation.nonce) in self.nonces:
            return "the proposer used this nonce before, to some effect"
        try:
            if operation.kind in ("AddDevice", "AddPeer"):
                role = DEVICE if operation.kind == "AddDevice" else PEER
                keys = value["device" if role == DEVICE else "peer"]
                if self.used_keys & set(keys) or len(set(keys)) != 3:
                    return "keys already in use"
                verify(keys[0], "consent", consent_message(self.id, keys, role), value["consent"])
        except BadSignature as error:
            return str(error)
        if operation.kind == "AddPeer" and (len(value["services"]) > 8 or any(len(s.encode()) > 255 for s in value["services"])):
            return "too many or too long services"
        if operation.kind == "ChangeOrderers":
            orderers = value["orderers"]
            if value["term"] != self.term + 1:
                return "a wrong term"
            if not 1 <= len(orderers) <= 7 or len(set(orderers)) != len(orderers):
                return "not 1 to 7 distinct orderers"
            if any(o not in self.devices and o not in self.peers for o in orderers):
                return "an orderer that is neither device nor peer"
        return None

    def _apply(self, operation):
        value = operation.value
        self.good.append(operation)
        self.nonces.add((operation.proposer, operation.nonce))
        if operation.kind == "ChangeOrderers":
            self.term, self.orderers = value["term"], value["orderers"]
        elif operation.kind == "AddPeer":
            self.peers[value["peer"][0]] = Member(value["peer"], value["services"])
            self.used_keys.update(value["peer"])
        elif operation.kind in ("Genesis", "AddDevice"):
            self.devices[value["device"][0]] = Member(value["device"])
            self.used_keys.update(value["device"])
            self.wraps += [(value["key"]["id"], one) for one in value["key"]["wraps"]]

    def tentative(self, pending):
        """The fold as if the pending operations were committed too, in whatever order lets most of them have an effect; who orders
        is never tentative."""
        fold = copy.copy(self)
        fold.devices, fold.peers, fold.wraps = dict(self.devices), dict(self.peers), list(self.wraps)
        fold.used_keys, fold.nonces, fold.good = set(self.used_keys), set(self.nonces), list(self.good)
        fold.keys, fold.streams = {}, []
        waiting = [o for o in pending if o.identity == self.id and o.kind != "ChangeOrderers"]
        while True:
            ready = next((o for o in waiting if fold.why_void(o) is None), None)
            if ready is None:
                return fold
            waiting.remove(ready)
            fold._apply(ready)

    def unlock(self, scalar, public):
        """Finds the identity key with an agreement scalar, then opens every sealed part it can."""
        self.alarms = 0
        for key_id, one in self.wraps:
            if one[0] != public:
                continue
            try:
                self._keep_key(key_id, unwrap(scalar, key_wrap_info(self.binding, key_id, public), one))
            except BadBox:
                self.alarms += 1  # a bad wrap voids the wrap
        if not self.keys:
            raise BadBox("no wrap of the identity key for this key")
        opened = {}
        while True:  # `previous` of one may open another
            ready = [(n, o) for n, o in enumerate(self.good) if n not in opened and o.sealed_key_id in self.keys]
            if not ready:
                break
            for n, operation in ready:
                opened[n] = self._open_sealed(operation)
        for n in sorted(opened):
            operation, part = self.good[n], opened[n]
            if part is None:
                continue
            added = {"Genesis": "device", "AddDevice": "device", "AddPeer": "peer"}.get(operation.kind)
            if added:
                signing = operation.value[added][0]
                (self.devices.get(signing) or self.peers[signing]).name = part["name"]
            for one in part["streams"]:
                if epoch_id(one[0], one[3]) == one[2]:
                    self.streams.append(one)
                else:
                    self.alarms += 1  # an epoch key that is not its id's
        return sum(part is not None for part in opened.values())

    def _keep_key(self, key_id, key):
        if identity_key_id(key) == key_id:
            self.keys[key_id] = key
        else:
            self.alarms += 1

    def _open_sealed(self, operation):
        """The sealed part, or None: one that does not open is void alone."""
        key = KDF("sealed part", self.keys[operation.sealed_key_id])
        try:
            part = read(open_box(key, sealed_aad(self.binding, operation.nonce), operation.box), SEALED, "an opened sealed part")
        except ReaderError:
            self.alarms += 1
            return None
        for key_id, older in part["previous"]:
            self._keep_key(key_id, older)
        return part

    def epoch_key(self, epoch):
        for _, _, one, key in self.streams:
            if one == epoch:
                return key
        return None
