"""Linking: tickets, the proof, the short number."""

import base64
import binascii

from .crypto import H, KDF, base32, keyed_hash
from .dagcbor import TEXT, UINT, Each, encode, read_versioned
from .errors import BadTicket, ReaderError

PREFIX = "rhizome:"
CORE = [UINT, 32, Each(TEXT), 16, UINT]


def read_ticket(text):
    text = text.strip()
    if not text.isascii():
        raise BadTicket("a ticket with letters that are not base32")
    text = text.lower()
    if not text.startswith(PREFIX):
        raise BadTicket("a ticket begins with rhizome:")
    body = text[len(PREFIX):]
    try:
        raw = base64.b32decode((body + "=" * (-len(body) % 8)).upper())
    except (binascii.Error, ValueError):
        raise BadTicket("a ticket that is not base32") from None
    if base32(raw) != body:
        raise BadTicket("a ticket that is not canonical base32")
    core, check = raw[:-4], raw[-4:]
    if H("ticket", core)[:4] != check:
        raise BadTicket("a ticket with a wrong checksum")
    try:
        role, endpoint, addresses, secret, expiry = read_versioned(core, CORE, "a ticket")
    except ReaderError as error:
        raise BadTicket(str(error)) from None
    if role > 2:
        raise BadTicket("a ticket for the unknown role %d" % role)
    return {"role": role, "endpoint": endpoint, "addresses": addresses, "secret": secret, "expiry": expiry}


def write_ticket(role, endpoint, addresses, secret, expiry):
    core = encode([1, role, endpoint, addresses, secret, expiry])
    return PREFIX + base32(core + H("ticket", core)[:4])


def commitment(nonce):
    return H("link commitment", nonce)


def proof(secret, role, keys, commitment):
    return keyed_hash(KDF("link", secret), bytes([role]) + b"".join(keys) + commitment)


def short_number(secret, commitment, nonce_d, nonce_s, keys_d, keys_s):
    h = H("short number", secret + commitment + nonce_d + nonce_s + b"".join(keys_d) + b"".join(keys_s))
    return "%06d" % (int.from_bytes(h[:8], "big") % 1000000)
