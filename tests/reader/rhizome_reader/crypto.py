"""The functions of the page's section 1 and 2. The primitives are blake3's, PyNaCl's (libsodium) and cryptography's."""

import base64
import hashlib
import hmac
import os

import nacl.bindings
import nacl.exceptions
import nacl.signing
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .dagcbor import BYTES, encode, want
from .errors import BadBox, BadSignature

WRAP = [32, 32, BYTES]
SIGNED = [BYTES, 64]


def H(domain, message):
    return blake3(message, derive_key_context="rhizome/1 " + domain).digest()


def KDF(purpose, secret):
    return H("key " + purpose, secret)


def plain_hash(message):
    return blake3(message).digest()


def keyed_hash(key, message):
    return blake3(message, key=key).digest()


# Ed25519. libsodium checks most of this too; it is spelt out so that no build option of it can matter.
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_Y8 = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
_SMALL_ORDER_Y = {0, 1, _P - 1, _Y8, _P - _Y8}


def _check_point(raw, what):
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P:
        raise BadSignature("%s is not canonical" % what)
    if y in _SMALL_ORDER_Y:
        raise BadSignature("%s has small order" % what)


def _to_sign(purpose, message):
    return b"rhizome/1 sign " + purpose.encode() + b"\0" + message


def sign(seed, purpose, message):
    return nacl.signing.SigningKey(seed).sign(_to_sign(purpose, message)).signature


def verify(public, purpose, message, signature):
    if len(public) != 32 or len(signature) != 64:
        raise BadSignature("a key or signature of a wrong length")
    _check_point(public, "the signing key")
    _check_point(signature[:32], "R of the %s signature" % purpose)
    if int.from_bytes(signature[32:], "little") >= _L:
        raise BadSignature("s of the %s signature is not canonical" % purpose)
    try:
        nacl.signing.VerifyKey(public).verify(_to_sign(purpose, message), signature)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.CryptoError, ValueError):
        raise BadSignature("the %s signature is bad" % purpose) from None


def ed25519_public(seed):
    return bytes(nacl.signing.SigningKey(seed).verify_key)


def x25519_public(scalar):
    return X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()


def x25519(scalar, public):
    try:
        return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise BadBox("an all-zero shared secret") from None


def can_receive(public):
    """Whether anything can be wrapped for an agreement key: not for a point of small order."""
    try:
        x25519(b"\1" * 32, public)
        return True
    except BadBox:
        return False


# Boxes
def seal(key, aad, plain, nonce=None):
    nonce = nonce or os.urandom(24)
    return nonce + nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, aad, nonce, key)


def open_box(key, aad, box):
    if len(box) < 40:
        raise BadBox("a box of %d bytes" % len(box))
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box[24:], aad, box[:24], key)
    except nacl.exceptions.CryptoError:
        raise BadBox("a box that does not open under its key and place") from None


# HPKE (RFC 9180), base mode: KEM 0x0020, KDF 0x0001, AEAD 0x0003; one message, empty aad.
_KEM = b"KEM\x00\x20"
_SUITE = b"HPKE\x00\x20\x00\x01\x00\x03"


def _extract(suite, salt, label, ikm):
    return hmac.new(salt, b"HPKE-v1" + suite + label + ikm, hashlib.sha256).digest()


def _expand(suite, prk, label, info, length):
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.new(prk, info + b"\1", hashlib.sha256).digest()[:length]  # length <= 32: one block


def _key_and_nonce(dh, enc, recipient, info):
    shared = _expand(_KEM, _extract(_KEM, b"", b"eae_prk", dh), b"shared_secret", enc + recipient, 32)
    context = b"\0" + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
    secret = _extract(_SUITE, shared, b"secret", b"")
    return _expand(_SUITE, secret, b"key", context, 32), _expand(_SUITE, secret, b"base_nonce", context, 12)


def wrap(recipient, info, plain, ephemeral=None):
    ephemeral = ephemeral or os.urandom(32)
    enc = x25519_public(ephemeral)
    key, nonce = _key_and_nonce(x25519(ephemeral, recipient), enc, recipient, info)
    return [recipient, enc, ChaCha20Poly1305(key).encrypt(nonce, plain, b"")]


def unwrap(scalar, info, wrapped):
    recipient, enc, ciphertext = want(wrapped, WRAP, "a wrap")
    if x25519_public(scalar) != recipient:
        raise BadBox("a wrap for somebody else")
    key, nonce = _key_and_nonce(x25519(scalar, enc), enc, recipient, info)
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, b"")
    except InvalidTag:
        raise BadBox("a wrap that does not open") from None


def padme(length):
    if length < 2:
        return length
    e = length.bit_length() - 1
    step = 1 << (e - e.bit_length())
    return -(-length // step) * step


def base32(raw):
    return base64.b32encode(raw).decode().lower().rstrip("=")


class Device:
    """What comes from a device secret."""

    def __init__(self, secret):
        if len(secret) != 32:
            raise BadBox("a device secret of %d bytes" % len(secret))
        self.secret, self.seed, self.scalar = secret, KDF("device signing", secret), KDF("device agreement", secret)
        self.signing, self.agreement = ed25519_public(self.seed), x25519_public(self.scalar)
        self.endpoint = ed25519_public(KDF("device endpoint", secret))
        self.views_key = KDF("views", secret)
        self.keys = [self.signing, self.agreement, self.endpoint]


def identity_key_id(key):
    return H("identity key id", key)


def epoch_id(stream, key):
    return H("epoch id", stream + key)


def sealed_aad(*place):
    return encode([1, *place])
