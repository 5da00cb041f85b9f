"""Strict DAG-CBOR, and a small language of shapes to check decoded values with."""

import math
import struct

from .errors import BadShape, NotCanonical

MAX_DEPTH = 64


class Cid(bytes):
    """The bytes of a CID (tag 42), without the leading zero of its encoding."""


def encode(value):
    out = bytearray()
    _encode(value, out)
    return bytes(out)


def _head(major, n, out):
    for info, size, limit in ((24, 1, 1 << 8), (25, 2, 1 << 16), (26, 4, 1 << 32), (27, 8, 1 << 64)):
        if n < 24:
            return out.append(major << 5 | n)
        if n < limit:
            out.append(major << 5 | info)
            return out.extend(n.to_bytes(size, "big"))
    raise NotCanonical("an integer that does not fit 64 bits")


def _key_order(key):
    raw = key.encode()
    return len(raw), raw


def _encode(value, out):
    if value is None or value is True or value is False:
        out.append({None: 0xF6, True: 0xF5, False: 0xF4}[value])
    elif isinstance(value, int):
        _head(0, value, out) if value >= 0 else _head(1, -1 - value, out)
    elif isinstance(value, Cid):
        _head(6, 42, out)
        _encode(b"\0" + value, out)
    elif isinstance(value, (bytes, bytearray)):
        _head(2, len(value), out)
        out.extend(value)
    elif isinstance(value, str):
        raw = value.encode()
        _head(3, len(raw), out)
        out.extend(raw)
    elif isinstance(value, (list, tuple)):
        _head(4, len(value), out)
        for item in value:
            _encode(item, out)
    elif isinstance(value, dict):
        _head(5, len(value), out)
        for key in sorted(value, key=_key_order):
            _encode(key, out)
            _encode(value[key], out)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NotCanonical("a float that is not finite")
        out.append(0xFB)
        out.extend(struct.pack(">d", value))
    else:
        raise NotCanonical("no DAG-CBOR for a %s" % type(value).__name__)


def decode(data):
    """The one value that `data` encodes; anything not canonical, or that follows, is refused."""
    value, end = _decode(bytes(data), 0, 0)
    if end != len(data):
        raise NotCanonical("%d bytes follow the value" % (len(data) - end))
    return value


def _take(data, at, n):
    if n > len(data) - at:
        raise NotCanonical("the value is cut short")
    return data[at:at + n], at + n


def _argument(data, at):
    first, at = _take(data, at, 1)
    major, info = first[0] >> 5, first[0] & 31
    if major == 7 or info < 24:
        return major, info, at
    if info > 27:
        raise NotCanonical("an indefinite or reserved length")
    size = 1 << (info - 24)
    raw, at = _take(data, at, size)
    n = int.from_bytes(raw, "big")
    if n < (24 if size == 1 else 1 << (4 * size)):
        raise NotCanonical("an integer that is not the shortest")
    return major, n, at


def _text(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NotCanonical("text that is not UTF-8") from None


def _decode(data, at, depth):
    if depth > MAX_DEPTH:
        raise NotCanonical("nested too deep")
    major, n, at = _argument(data, at)
    if major == 0:
        return n, at
    if major == 1:
        return -1 - n, at
    if major in (2, 3):
        raw, at = _take(data, at, n)
        return (raw if major == 2 else _text(raw)), at
    if major == 4:
        items = []
        for _ in range(n):
            item, at = _decode(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        result, last = {}, None
        for _ in range(n):
            kind, length, at = _argument(data, at)
            if kind != 3:
                raise NotCanonical("a map key that is not text")
            raw, at = _take(data, at, length)
            if last is not None and (len(raw), raw) <= last:
                raise NotCanonical("map keys out of order or twice")
            last = (len(raw), raw)
            result[_text(raw)], at = _decode(data, at, depth + 1)
        return result, at
    if major == 6:
        if n != 42:
            raise NotCanonical("tag %d" % n)
        inner, at = _decode(data, at, depth + 1)
        if type(inner) is not bytes or len(inner) < 2 or inner[0] != 0:
            raise NotCanonical("tag 42 on something that is not a CID")
        return Cid(inner[1:]), at
    if n in (20, 21, 22):
        return {20: False, 21: True, 22: None}[n], at
    if n == 27:
        raw, at = _take(data, at, 8)
        value = struct.unpack(">d", raw)[0]
        if not math.isfinite(value):
            raise NotCanonical("a float that is not finite")
        return value, at
    raise NotCanonical("a simple value or short float (%d)" % n)


# Shapes: an int n is n bytes, Cid a link, a list has exactly these items, a dict exactly these keys; the rest are below.
BYTES, TEXT, UINT, BOOL, ANY = "bytes", "text", "uint", "bool", "anything"
_TYPES = {BYTES: bytes, TEXT: str, UINT: int, BOOL: bool}


class Maybe:
    def __init__(self, shape):
        self.shape = shape


class Each:
    """A list of `shape`, `low` to `high` of them."""

    def __init__(self, shape, low=0, high=1 << 32):
        self.shape, self.low, self.high = shape, low, high


class Optional:
    """The value of a key that a dict may be without."""

    def __init__(self, shape):
        self.shape = shape


class Either:
    def __init__(self, *shapes):
        self.shapes = shapes


def fits(value, shape):
    if shape is ANY:
        return True
    if shape is Cid:
        return type(value) is Cid
    if isinstance(shape, str):
        return type(value) is _TYPES[shape] and not (shape is UINT and value < 0)
    if isinstance(shape, int):
        return type(value) is bytes and len(value) == shape
    if isinstance(shape, Optional):
        return fits(value, shape.shape)
    if isinstance(shape, Maybe):
        return value is None or fits(value, shape.shape)
    if isinstance(shape, Either):
        return any(fits(value, one) for one in shape.shapes)
    if isinstance(shape, Each):
        return type(value) is list and shape.low <= len(value) <= shape.high and all(fits(v, shape.shape) for v in value)
    if isinstance(shape, dict):
        needed = {k for k, s in shape.items() if not isinstance(s, Optional)}
        return type(value) is dict and needed <= value.keys() <= shape.keys() and all(fits(value[k], shape[k]) for k in value)
    return type(value) is list and len(value) == len(shape) and all(map(fits, value, shape))


def want(value, shape, what):
    if not fits(value, shape):
        raise BadShape("%s has not the shape it should have" % what)
    return value


def read(data, shape, what):
    """Decodes `data` and checks its shape."""
    return want(decode(data), shape, what)


def read_versioned(data, shape, what):
    """The same for a list that begins with the version; its items after the version."""
    from .errors import UpdateNeeded
    value = decode(data)
    if type(value) is list and value and type(value[0]) is int and value[0] != 1:
        raise UpdateNeeded("%s has version %d" % (what, value[0]))
    return want(value, [UINT] + shape, what)[1:]
