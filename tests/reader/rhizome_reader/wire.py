"""Frames and the shapes of their bodies."""

from .dagcbor import BOOL, BYTES, TEXT, UINT, Each, Maybe, read
from .errors import BadFrame, ReaderError
from .identity import KEYS
from .log import ITEM, RANGE

MAX_FRAME = 2097152
REASONS = {
    6: {"unknown-author", "not-a-member", "quota-bytes", "quota-entries", "rate", "too-many-branches", "invalid", "retry", "update-needed", "removed", "not-wanted", "withheld"},
    9: {"done", "deadline", "budget", "shutting-down", "unknown-identity", "not-a-member", "busy", "invalid"},
}
BODIES = {
    0: [UINT, UINT, 32, 32, 16, Each(BYTES)],
    1: [UINT, Maybe(32), Each(32), Each(ITEM), BOOL],
    2: [Each(BYTES)],
    3: [Each([BYTES, BYTES])],
    4: RANGE,
    5: [Each(BYTES)],
    6: [Maybe(32), TEXT, UINT],
    7: [32, Each([UINT, 32])],
    8: [UINT],
    9: [TEXT],
    10: [Each(BYTES)],
    11: [Each([32, UINT, 32])],
    32: [UINT, KEYS, 32, 32],
    33: [UINT, KEYS, 32],
    34: [32],
    35: [32],
    36: [64, TEXT, Each(TEXT)],
    37: [32],
    38: [TEXT],
    39: [],
    40: [32, 64],
    48: [UINT, 32, 16, Each(32)],
    49: [Each(32)],
    50: [Each([32, Maybe(UINT)]), Each(BYTES)],
    51: [BYTES],
    52: [32, BYTES],
    53: [32, UINT, BYTES],
    54: [32, UINT, Maybe(BYTES)],
    55: [32, BOOL, UINT, UINT],
    56: [32, UINT],
    57: [32, TEXT, UINT],
}
REASONS[57] = REASONS[6]


def read_frame(data):
    """(kind, body) of one whole frame."""
    if len(data) < 4:
        raise BadFrame("a frame that is cut short")
    length = int.from_bytes(data[:4], "big")
    if not 1 <= length <= MAX_FRAME:
        raise BadFrame("a frame of length %d" % length)
    if len(data) != 4 + length:
        raise BadFrame("a frame that is not as long as it says")
    kind = data[4]
    if kind not in BODIES:
        raise BadFrame("a frame of the unknown kind %d" % kind)
    try:
        body = read(data[5:], BODIES[kind], "the body of a frame of kind %d" % kind)
    except ReaderError as error:
        raise BadFrame(str(error)) from None
    if kind in (0, 48) and body[0] != 1:
        raise BadFrame("a hello of version %d" % body[0])
    if kind in REASONS and not REASONS[kind] & {item for item in body if type(item) is str}:
        raise BadFrame("a reason that is not in the list")
    return kind, body


def write_frame(kind, body):
    return (len(body) + 1).to_bytes(4, "big") + bytes([kind]) + body
