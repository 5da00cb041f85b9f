"""Linking: tickets, the proof, the short number."""

import base64
import binascii
import ipaddress
import re

from .crypto import H, KDF, base32, keyed_hash
from .dagcbor import TEXT, UINT, Each, encode, read_versioned
from .errors import BadTicket, ReaderError

PREFIX = "rhizome:"
CORE = [UINT, 32, Each(TEXT), 16, UINT]


def _check_address(text):
    if "://" in text:
        if not re.fullmatch(r"https?://[^\s/]+\S*", text):
            raise BadTicket("an address that is not the URL of a relay")
        return
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise BadTicket("an address without a port")
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise BadTicket("an address that is not IPv6 in brackets") from None
    elif not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise BadTicket("an address whose host is neither a name nor an IP address")


def read_ticket(text):
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
    for address in addresses:
        _check_address(address)
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
