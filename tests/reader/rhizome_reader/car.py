"""CAR files, version 1, as the page's section 3 has them."""

from .crypto import plain_hash
from .dagcbor import UINT, Cid, Each, encode, read
from .errors import BadCar, ReaderError

PREFIX = bytes([0x01, 0x71, 0x1E, 0x20])  # CIDv1, dag-cbor, blake3, 32 bytes
MAX_CAR = 64 << 20


def cid(block):
    return Cid(PREFIX + plain_hash(block))


def _varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def _read_varint(data, at):
    n = shift = 0
    while True:
        if at == len(data) or shift > 56:
            raise BadCar("a length that is cut short or too long")
        byte, at = data[at], at + 1
        n |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if byte == 0 and shift > 7:
                raise BadCar("a length that is not the shortest")
            return n, at


def _section(data, at):
    length, at = _read_varint(data, at)
    if length > len(data) - at:
        raise BadCar("the file is cut short")
    return data[at:at + length], at + length


def write(roots, blocks):
    sections = [encode({"roots": roots, "version": 1})] + [cid(block) + block for block in blocks]
    return b"".join(_varint(len(section)) + section for section in sections)


def read_car(data):
    """The roots, and the blocks as pairs of CID and bytes."""
    if len(data) > MAX_CAR:
        raise BadCar("a file of %d bytes" % len(data))
    head, at = _section(data, 0)
    try:
        header = read(head, {"roots": Each(Cid, 0, 2), "version": UINT}, "the header")
    except ReaderError as error:
        raise BadCar(str(error)) from None
    if header["version"] != 1:
        raise BadCar("a CAR file of version %d" % header["version"])
    blocks = []
    while at < len(data):
        section, at = _section(data, at)
        block = section[len(PREFIX) + 32:]
        if section[:len(PREFIX) + 32] != cid(block):
            raise BadCar("a block that is not the one its CID names")
        blocks.append((cid(block), block))
    return header["roots"], blocks
