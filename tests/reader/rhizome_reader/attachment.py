"""Attachments: manifests, chunks and receipts."""

from .crypto import H, KDF, SIGNED, open_box, padme, seal, verify
from .dagcbor import BYTES, UINT, encode, read, read_versioned
from .errors import BadChain

CHUNK = 262144
MAX_CHUNKS = 32768


def aad(number, last):
    return encode([1, number, last])


class Manifest:
    def __init__(self, data):
        self.padded, hashes = read_versioned(data, [UINT, BYTES], "a manifest")
        count = -(-self.padded // CHUNK)
        if not 1 <= count <= MAX_CHUNKS or padme(max(self.padded, 256)) != self.padded or len(hashes) != 32 * count:
            raise BadChain("a manifest that makes no sense")
        self.id = H("attachment", data)
        self.hashes = [hashes[at:at + 32] for at in range(0, len(hashes), 32)]

    def open(self, key, size, boxes):
        """The attachment's bytes, from all its boxes."""
        if padme(max(size, 256)) != self.padded or len(boxes) != len(self.hashes):
            raise BadChain("an attachment of another size")
        plain = b""
        for number, (box, expected) in enumerate(zip(boxes, self.hashes)):
            if H("attachment chunk", box) != expected:
                raise BadChain("a chunk that is not of its attachment")
            plain += open_box(KDF("attachment", key), aad(number, number + 1 == len(boxes)), box)
        if any(plain[size:]) or len(plain) != self.padded:
            raise BadChain("a padding that is not of zeros")
        return plain[:size]


def seal_chunks(key, plain, nonces):
    """The boxes of an attachment."""
    padded = plain + bytes(padme(max(len(plain), 256)) - len(plain))
    pieces = [padded[at:at + CHUNK] for at in range(0, len(padded), CHUNK)]
    return [seal(KDF("attachment", key), aad(number, number + 1 == len(pieces)), piece, nonce)
            for number, (piece, nonce) in enumerate(zip(pieces, nonces))]


def check_file(manifest, bits, path):
    """Every chunk that log.db shows is in the file, and is what its hash says; how many there are."""
    count = len(manifest.hashes)
    if len(bits) != -(-count // 8) or int.from_bytes(bits, "little") >> count:
        raise BadChain("an attachment has other chunks than its manifest")
    here = [number for number in range(count) if bits[number // 8] >> number % 8 & 1]
    if not here:
        return 0
    with open(path, "rb") as file:
        for number in here:
            file.seek(number * (CHUNK + 40))
            if H("attachment chunk", file.read(min(CHUNK, manifest.padded - number * CHUNK) + 40)) != manifest.hashes[number]:
                raise BadChain("a chunk that is not what was written")
    return len(here)


class Receipt:
    def __init__(self, data):
        core, signature = read(data, SIGNED, "an attachment's receipt")
        self.peer, self.store, self.attachment, self.time = read_versioned(core, [32, 16, 32, UINT], "an attachment's receipt")
        verify(self.peer, "attachment receipt", core, signature)
