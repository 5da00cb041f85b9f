"""The identity log: operations, commits, the fold with its verdicts, and what the keys open."""

import copy

from .crypto import (H, KDF, SIGNED, WRAP, base32, can_receive, epoch_id, identity_key_id, open_box, plain_hash, sealed_aad, unwrap,
                     verify)
from .dagcbor import ANY, BYTES, TEXT, UINT, Each, Maybe, Optional, encode, read, read_versioned, want
from .errors import BadBox, BadShape, BadSignature, ReaderError, Refused, UpdateNeeded

KEYS = [32, 32, 32]
KEY = {"id": 32, "wraps": Each(WRAP)}
PUBLIC = {
    "Genesis": {"device": KEYS, "recovery": [32, 32], "key": KEY},
    "AddDevice": {"device": KEYS, "consent": 64, "key": KEY},
    "AddPeer": {"peer": KEYS, "consent": 64, "services": Each(TEXT)},
    "ChangeOrderers": {"term": UINT, "orderers": Each(32)},
    "Streams": {},
    "RemoveDevice": {"device": 32, "key": KEY},
    "RaiseCutoff": {"device": 32},
    "RenameDevice": {"device": 32},
    "RemovePeer": {"peer": 32},
    "NewEpoch": {},
    "Rewrap": {"key": KEY},
    "RotateRecovery": {"recovery": [32, 32], "key": KEY},
    "Erase": {},
    "CancelErase": {"erase": 32},
}
VOTES = {"from": 32, "by": Each([32, 64])}
PEERS_PART = {"erase": Each([32, UINT, 32, UINT]), "cutoffs": Each([32, UINT, 32]), "attachments": Optional(Each(32, low=1))}
OPERATION = [BYTES, 64, Maybe(BYTES), Maybe(BYTES)]
OPERATION_CORE = [Maybe(32), 32, 16, Maybe(32), ANY, Maybe(32), Maybe(32)]
COMMIT_CORE = [32, UINT, Maybe(32), 32, UINT, UINT, 32]
SEALED = {"name": Maybe(TEXT), "streams": Each([32, TEXT, 32, 32]), "previous": Each([32, 32]), "documents": Optional(Each(16, low=1))}
MAX_OPERATION = 65536
MAX_VOID = 1024  # commits without an effect in one log
MAX_VOTES = 256
DEVICE, PEER = 0, 1
HOUR = 3_600_000
ROTATION_AFTER, ERASURE_AFTER = 72 * HOUR, 7 * 24 * HOUR
ORDERER, MAJORITY, RECOVERY = 0, 1, 2


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
        self.core, self.signature, self.peers_part, self.sealed = read(data, OPERATION, "an operation")
        fields = read_versioned(self.core, OPERATION_CORE, "an operation's core")
        self.identity, self.proposer, self.nonce, self.seen, public, peers_hash, sealed_hash = fields
        if type(public) is not dict or len(public) != 1:
            raise BadShape("an operation that is not of one kind")
        (self.kind, self.value), = public.items()
        self.id = H("operation", self.core)
        if self.kind not in PUBLIC:
            raise UpdateNeeded("an operation of the unknown kind %r" % self.kind)
        shape = PUBLIC[self.kind]
        if self.kind == "ChangeOrderers" and "votes" in self.value:
            shape = {**shape, "votes": VOTES}
        want(self.value, shape, "an operation's " + self.kind)
        for part, hash_ in ((self.peers_part, peers_hash), (self.sealed, sealed_hash)):
            if parts and hash_ != (None if part is None else H("operation part", part)):
                raise BadShape("an operation with a part that is not the one that was signed")
        if (self.identity is None) != (self.kind == "Genesis"):
            raise BadShape("a genesis is without an identity, and nothing else is")
        try:
            self.sealed_key_id, self.box = read(self.sealed or b"", [32, BYTES], "a sealed part")
        except ReaderError:
            self.sealed_key_id = self.box = None  # void alone

    def check_signature(self):
        verify(self.proposer, "operation", self.id, self.signature)

    def for_peers(self):
        """What peers read; nothing, if the part is not what it should be."""
        try:
            return read(self.peers_part or b"", PEERS_PART, "a part for peers")
        except ReaderError:
            return {"erase": [], "cutoffs": []}


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
        self.void_ones = []  # and those that are, for the keys in them
        self.removed, self.removed_peers = {}, {}  # cut-offs by device and author log; the keys of peers
        self.removed_keys = {}  # all three keys of what was removed, if they are known
        self.key_ids, self.exposed, self.unwrapped, self.recovery_wrapped = set(), False, set(), True
        self.rotation, self.erasures = None, {}
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
        if commit.time < self.time:
            raise Refused("the commit's time decreases")
        if commit.term == self.term:
            if commit.orderer not in self.orderers:
                raise Refused("the commit is not by an orderer of term %d" % self.term)
        else:
            begun = self.begins_term(operation, commit.time)
            if begun is None or operation.value["term"] != commit.term or commit.orderer not in operation.value["orderers"]:
                raise Refused("the commit begins no term that may begin here")
        verify(commit.orderer, "commit", commit.hash, commit.signature)
        why = self.why_void(operation, commit.time)
        if why and self.void >= MAX_VOID:
            raise Refused("a commit without an effect, after %d of them" % MAX_VOID)
        self.void += bool(why)
        if why is None:
            self._mature(commit.time)
            self._apply(operation, commit.time)
        else:
            self.void_ones.append(operation)
        self.head, self.time, self.count = commit.hash, commit.time, commit.index + 1
        return "void" if why else "ok"

    def recovery_at(self, time):
        return self.rotation["keys"] if self.rotation and self.rotation["at"] <= time else self.recovery

    def _mature(self, time):
        if self.rotation and self.rotation["at"] <= time:
            self.recovery, self.recovery_wrapped = self.rotation["keys"], self.rotation["wrapped"] == self.key_id
            self.rotation = None

    def begins_term(self, operation, time):
        """By whose authority the operation begins a term right here without the present orderer; None if by nobody's."""
        if operation.kind != "ChangeOrderers" or self.why_void(operation, time) is not None:
            return None
        if operation.proposer == self.recovery_at(time)[0] and operation.seen == self.head:
            return RECOVERY
        votes = operation.value.get("votes")
        if votes is None or votes["from"] != self.head or len(votes["by"]) > MAX_VOTES:
            return None
        message = encode([1, self.id, operation.value["term"], operation.value["orderers"], votes["from"]])
        voters = set()
        for device, signature in votes["by"]:
            if device not in self.devices:
                continue
            try:
                verify(device, "vote", message, signature)
                voters.add(device)
            except BadSignature:
                pass
        return MAJORITY if 2 * len(voters) > len(self.devices) else None

    def precedence(self, commit, operation):
        """How a good commit stands against others in its place: the greater counts, and of two equal ones the orderer lied."""
        begun = None if commit.term == self.term else self.begins_term(operation, commit.time)
        if begun is None:
            return (commit.term, ORDERER, b"")
        return (operation.value["term"], begun, bytes(255 - one for one in commit.hash))

    def recipients(self):
        return [self.devices[key].keys[1] for key in sorted(self.devices)] + [self.recovery[1]]

    def _take_key(self, key):
        new, self.key_ids = key["id"] not in self.key_ids, self.key_ids | {key["id"]}
        if new and [one[0] for one in key["wraps"]] == self.recipients():
            self.key_id, self.exposed, self.unwrapped, self.recovery_wrapped = key["id"], False, set(), True

    def _stop_ordering(self, key):
        self.orderers = [one for one in self.orderers if one != key] or self.orderers

    @property
    def needs_rewrap(self):
        return self.exposed or not self.recovery_wrapped or bool(self.unwrapped & set(self.devices))

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
        self.key_ids = {key["id"]}
        self._apply(operation, commit.time)
        self.recovery_wrapped = [one[0] for one in key["wraps"]] == self.recipients()
        self.unwrapped = set() if self.recovery_wrapped else {device[0]}
        return "ok"

    def why_void(self, operation, time=None):
        """Why the operation would change nothing if it were committed next; None if it would."""
        value, time = operation.value, self.time if time is None else time
        by_recovery = operation.proposer == self.recovery_at(time)[0]
        if operation.proposer not in self.devices and not by_recovery:
            return "the proposer is neither a device nor the recovery key"
        if (operation.proposer, operation.nonce) in self.nonces:
            return "the proposer used this nonce before, to some effect"
        try:
            if operation.kind in ("AddDevice", "AddPeer"):
                role = DEVICE if operation.kind == "AddDevice" else PEER
                keys = value["device" if role == DEVICE else "peer"]
                removed = keys[0] in (self.removed if role == DEVICE else self.removed_peers)
                if removed and not by_recovery:
                    return "its key was removed"
                comes_back = removed and self.removed_keys.get(keys[0]) == keys
                if len(set(keys)) != 3 or self.used_keys & set(keys) and not comes_back:
                    return "keys already in use"
                if role == DEVICE and not can_receive(keys[1]):
                    return "nothing can be wrapped for its agreement key"
                if not comes_back:
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
            known = lambda o: o in self.devices or o in self.peers or by_recovery and o == operation.proposer
            if not all(map(known, orderers)):
                return "an orderer that is neither device nor peer"
        if operation.kind == "RemoveDevice" and (value["device"] == operation.proposer or value["device"] in self.peers):
            return "a device does not remove itself, nor a peer as if it were one"
        if operation.kind == "RemovePeer" and value["peer"] in self.devices:
            return "not a peer"
        if operation.kind == "RaiseCutoff" and value["device"] not in self.removed:
            return "a device that is not removed"
        if operation.kind == "RenameDevice" and value["device"] not in {**self.devices, **self.peers}:
            return "neither a device nor a peer"
        if operation.kind == "RotateRecovery" and not (by_recovery and value["recovery"] == self.recovery_at(time)):
            if len(set(value["recovery"])) != 2 or self.used_keys & set(value["recovery"]):
                return "keys already in use"
            if not can_receive(value["recovery"][1]):
                return "nothing can be wrapped for its agreement key"
        if operation.kind == "CancelErase":
            due = self.erasures.get(value["erase"], {"due": -1})["due"]
            if due <= time:
                return "nothing that could still be called off"
        return None

    def _apply(self, operation, time):
        value, by_recovery = operation.value, operation.proposer == self.recovery[0]
        self.good.append(operation)
        self.nonces.add((operation.proposer, operation.nonce))
        self.wraps += [(value["key"]["id"], one) for one in value["key"]["wraps"]] if "key" in value else []
        if operation.kind == "ChangeOrderers":
            self.term, self.orderers = value["term"], value["orderers"]
        elif operation.kind == "AddPeer":
            self.peers[value["peer"][0]] = Member(value["peer"], value["services"])
            self.used_keys.update(value["peer"])
            self.removed_peers.pop(value["peer"][0], None)
        elif operation.kind in ("Genesis", "AddDevice"):
            signing, agreement, _ = value["device"]
            self.devices[signing] = Member(value["device"])
            self.used_keys.update(value["device"])
            self.removed.pop(signing, None)
            wrapped = value["key"]["id"] == self.key_id and [one[0] for one in value["key"]["wraps"]] == [agreement]
            self.unwrapped = self.unwrapped - {signing} if wrapped else self.unwrapped | {signing}
        elif operation.kind == "RemoveDevice":
            was = self.devices.pop(value["device"], None)
            self.exposed = self.exposed or was is not None
            if was:
                self.removed_keys[value["device"]] = was.keys
            self._cut(value["device"], operation)
            self._stop_ordering(value["device"])
            self._take_key(value["key"])
        elif operation.kind == "RaiseCutoff":
            self._cut(value["device"], operation)
        elif operation.kind == "RemovePeer":
            was = self.peers.pop(value["peer"], None)
            if was:
                self.removed_keys[value["peer"]] = was.keys
            self.removed_peers[value["peer"]] = True
            self._stop_ordering(value["peer"])
        elif operation.kind == "Rewrap":
            self._take_key(value["key"])
        elif operation.kind == "RotateRecovery":
            self.used_keys.update(value["recovery"])
            well = value["key"]["id"] == self.key_id and [one[0] for one in value["key"]["wraps"]] == value["recovery"][1:]
            self.rotation = None
            if not by_recovery:
                self.rotation = {"keys": value["recovery"], "at": time + ROTATION_AFTER, "wrapped": value["key"]["id"] if well else None}
            elif value["recovery"] != self.recovery:
                self.recovery, self.recovery_wrapped = value["recovery"], well
        elif operation.kind == "Erase":
            self.erasures[operation.id] = {"due": time + (0 if by_recovery else ERASURE_AFTER), "sections": operation.for_peers()["erase"]}
        elif operation.kind == "CancelErase":
            del self.erasures[value["erase"]]

    def _cut(self, device, operation):
        ends = self.removed.setdefault(device, {})
        for author, seq, hash_ in operation.for_peers()["cutoffs"]:
            ends.setdefault(author, set()).add((seq, hash_))

    def tentative(self, pending):
        """The fold as if the pending operations were committed too, in whatever order lets most of them have an effect; who orders
        is never tentative."""
        fold = copy.deepcopy(self)
        fold.good, fold.void_ones = list(self.good), list(self.void_ones)
        fold.keys, fold.streams = {}, []
        waiting = [o for o in pending if o.identity == self.id and o.kind != "ChangeOrderers"]
        waiting.sort(key=lambda o: (o.kind not in ("RemoveDevice", "RemovePeer"), o.id))
        while True:
            later = []
            for one in waiting:
                if fold.why_void(one) is None:
                    fold._apply(one, fold.time)
                else:
                    later.append(one)
            if len(later) == len(waiting):
                fold.void_ones += later
                return fold
            waiting = later

    def unlock(self, scalar, public):
        """Finds identity keys with an agreement scalar, then opens every sealed part it can, of operations without an effect too."""
        self.alarms = 0
        places = [(o, True) for o in self.good] + [(o, False) for o in self.void_ones]
        for operation, good in places:
            key = operation.value.get("key", {"wraps": []})
            for one in key["wraps"]:
                if one[0] != public:
                    continue
                try:
                    self._keep_key(key["id"], unwrap(scalar, key_wrap_info(self.binding, key["id"], public), one))
                except BadBox:
                    self.alarms += good  # a bad wrap voids the wrap
        if not self.keys:
            raise BadBox("no wrap of the identity key for this key")
        opened = {}
        while True:  # `previous` of one may open another
            ready = [(n, o) for n, (o, _) in enumerate(places) if n not in opened and o.sealed_key_id in self.keys]
            if not ready:
                break
            for n, operation in ready:
                opened[n] = self._open_sealed(operation)
        self.current, self.void_epochs = {}, []
        for n in sorted(opened):
            (operation, good), part = places[n], opened[n]
            if part is None:
                continue
            named = {"Genesis": "device", "AddDevice": "device", "AddPeer": "peer"}.get(operation.kind)
            signing = operation.value[named][0] if named else operation.value.get("device") if operation.kind == "RenameDevice" else None
            member = self.devices.get(signing) or self.peers.get(signing)
            if good and member and part["name"] is not None:
                member.name = part["name"]
            for one in part["streams"]:
                if epoch_id(one[0], one[3]) != one[2]:
                    self.alarms += good  # an epoch key that is not its id's
                elif not good:
                    self.void_epochs.append(one)
                else:
                    self.streams.append(one)
                    under, before = operation.sealed_key_id, self.current.get(one[0])
                    if before is None or under == self.key_id or before[2] != self.key_id:
                        self.current[one[0]] = (before[0] if before else one[1], one[2], under)
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
        for _, _, one, key in self.streams + self.void_epochs:
            if one == epoch:
                return key
        return None
