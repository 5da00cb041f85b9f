"""Author logs: starts, headers, sections, ranges; what peers say about them."""

from .crypto import H, KDF, SIGNED, open_box, padme, seal, sealed_aad, sign, verify
from .dagcbor import ANY, BYTES, TEXT, UINT, Each, Either, Maybe, encode, read, read_versioned, want
from .errors import BadBox, BadChain, BadShape

SECTION = Either(BYTES, [32])
STORED = [Maybe(32), Maybe(32), Each(SECTION, 1, 2048), 64]
RANGE = [Maybe(BYTES), 32, UINT, 32, Each(STORED, 1, 512)]
CONTENT = [UINT, Each([TEXT, ANY])]
EVENTS = {"app": [TEXT, BYTES], "doc": [TEXT, 16, 16, Each(BYTES)]}
ITEM = [32, UINT, UINT, 32]
MAX_BOXES = 1048576
OVERHEAD = 24 + 16 + 4


class Start:
    def __init__(self, data):
        self.core, signature = read(data, SIGNED, "a start")
        self.stream, self.owner, self.identity, self.device, _ = read_versioned(self.core, [32, 32, 32, 32, 16], "a start's core")
        verify(self.device, "start", self.core, signature)
        self.author = H("author", self.core)


def section_hash(section):
    return section[0] if type(section) is list else H("section", section)


class Entry:
    """An entry in its place: `epoch` is already the one in force."""

    def __init__(self, author, seq, link, epoch, head, sections, signature):
        want([epoch, head, sections, signature], STORED, "an entry")
        if seq < 2 or epoch is None:
            raise BadShape("an entry without a seq from 2 on or without an epoch")
        if sum(len(s) for s in sections if type(s) is bytes) > MAX_BOXES:
            raise BadShape("an entry with more than %d bytes of boxes" % MAX_BOXES)
        if any(type(s) is bytes and len(s) < OVERHEAD for s in sections):
            raise BadShape("a box of fewer than %d bytes" % OVERHEAD)
        self.author, self.seq, self.epoch, self.sections, self.signature = author, seq, epoch, sections, signature
        self.header = encode([1, author, seq, link, epoch, [section_hash(s) for s in sections], head])
        self.hash = H("entry", self.header)

    def check_signature(self, device):
        verify(device, "entry", self.hash, self.signature)

    def open(self, epoch_key):
        """The content bytes of each section; None for an erased one."""
        plain = [self._open(n, s, epoch_key) for n, s in enumerate(self.sections)]
        if None not in plain:
            bare = sum(len(content) + OVERHEAD for content, _ in plain)
            if sum(map(len, self.sections)) != padme(max(bare, 256)) or any(zeros for _, zeros in plain[:-1]):
                raise BadBox("an entry that is not filled to PADME of its size")
        return [p and p[0] for p in plain]

    def _open(self, number, section, epoch_key):
        if type(section) is list:
            return None
        plain = open_box(KDF("section", epoch_key), sealed_aad(self.author, self.seq, self.epoch, number), section)
        length = int.from_bytes(plain[:4], "big")
        if len(plain) < 4 + length or any(plain[4 + length:]):
            raise BadBox("a section whose filling is not zeros")
        return plain[4:4 + length], len(plain) - 4 - length


def seal_sections(author, seq, epoch, epoch_key, contents, nonces=None):
    bare = sum(len(c) + OVERHEAD for c in contents)
    fill = padme(max(bare, 256)) - bare
    boxes = []
    for n, content in enumerate(contents):
        zeros = bytes(fill if n == len(contents) - 1 else 0)
        plain = len(content).to_bytes(4, "big") + content + zeros
        aad = sealed_aad(author, seq, epoch, n)
        boxes.append(seal(KDF("section", epoch_key), aad, plain, nonces and nonces[n]))
    return boxes


def read_content(data):
    """(time, [[kind, body]]); a known kind has its shape."""
    time, events = read(data, CONTENT, "a section's content")
    for kind, body in events:
        if kind in EVENTS:
            want(body, EVENTS[kind], "the event " + kind)
    return time, events


def actor(author, document, session):
    return H("actor", author + document + session)


def check_links(author, seq, link, stored, epoch=None):
    """The entries of consecutive stored forms that begin at (seq, link)."""
    entries = []
    for one in stored:
        epoch = one[0] if one[0] is not None else epoch
        if epoch is None:
            raise BadChain("the first entry has no epoch")
        entries.append(Entry(author, seq, link, epoch, *one[1:]))
        seq, link = seq + 1, entries[-1].hash
    return entries


def read_range(data, device):
    """The entries of a range, the last one's signature checked against the author log's device."""
    start, author, seq, link, stored = read(data, RANGE, "a range")
    if (start is not None) != (seq == 2) or seq < 2:
        raise BadChain("a range has its start at seq 2 and only there")
    if start is not None:
        begun = Start(start)
        if (begun.author, begun.device) != (author, device) or link != author:
            raise BadChain("a range that does not follow its start")
    entries = check_links(author, seq, link, stored)
    entries[-1].check_signature(device)
    return entries


def digest(last_commit, pending, items):
    m = (last_commit or bytes(32)) + len(pending).to_bytes(4, "big") + b"".join(sorted(pending))
    for item in sorted((want(i, ITEM, "an item") for i in items), key=lambda i: (i[0], i[2], i[3])):
        m += item[0] + item[2].to_bytes(8, "big") + item[3]
    return H("state", m)


class Receipt:
    def __init__(self, data, peer=None):
        core, signature = read(data, SIGNED, "a receipt")
        (self.peer, self.store, self.author, self.seq, self.hash,
         self.time) = read_versioned(core, [32, 16, 32, UINT, 32, UINT], "a receipt's core")
        if peer is not None and peer != self.peer:
            raise BadChain("a receipt by another peer")
        verify(self.peer, "receipt", core, signature)


def write(device, stream, owner, identity, nonce, epoch, epoch_key, contents, seq=2, link=None, head=None):
    """(author id, Signed start, entry, range) for one new entry; after the start if `link` is None."""
    core = encode([1, stream, owner, identity, device.signing, nonce])
    start = [core, sign(device.seed, "start", core)]
    author = H("author", core)
    for content in contents:
        read_content(content)
    link = author if seq == 2 and link is None else link
    if link is None or (link == author) != (seq == 2):
        raise BadChain("an entry links to the hash of the one before, at seq 2 to the author id")
    entry = Entry(author, seq, link, epoch, head, seal_sections(author, seq, epoch, epoch_key, contents), bytes(64))
    entry.signature = sign(device.seed, "entry", entry.hash)
    stored = [epoch, head, entry.sections, entry.signature]
    whole = encode([encode(start) if seq == 2 else None, author, seq, link, [stored]])
    read_range(whole, device.signing)
    return author, encode(start), entry, whole


def read_change(data, expected_actor):
    """Checks an Automerge change chunk's checksum and actor (Automerge's binary format, not Rhizome's)."""
    import hashlib
    import zlib

    def leb(raw, at):
        n = shift = 0
        while True:
            n, shift, at = n | (raw[at] & 127) << shift, shift + 7, at + 1
            if raw[at - 1] < 128:
                return n, at

    try:
        length, at = leb(data, 9)
        body = data[at:]
        whole, kind, ends = data[:4] == bytes.fromhex("856f4a83"), data[8], len(body) == length
        if kind == 2:
            body = zlib.decompress(body, -15)
        size, sized = len(body), bytearray()
        while size > 127:
            sized.append(size & 127 | 128)
            size >>= 7
        sized.append(size)
        checksum = hashlib.sha256(b"\x01" + bytes(sized) + body).digest()[:4]
        deps, at = leb(body, 0)
        size, at = leb(body, at + 32 * deps)
        found = body[at:at + size]
    except (IndexError, zlib.error):
        raise BadShape("a change that is not an Automerge chunk") from None
    if not (whole and ends and kind in (1, 2) and checksum == data[4:8]):
        raise BadShape("a change that is not one whole Automerge change chunk")
    if found != expected_actor:
        raise BadChain("a change by an actor that is not this author's")
