"""A challenge sealed to one device: HPKE (RFC 9180), base mode, single-shot, with
DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305.

Sealing is written out from the RFC: only so can the ephemeral key be given. Opening
is left to the HPKE of `cryptography`.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from signing import Refused

LABEL = b"countersign/v1/sealed-challenge"

# RFC 9180, sections 4.1 and 5.1: KEM 0x0020, KDF 0x0001, AEAD 0x0003.
_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_KEM_SUITE = b"KEM\x00\x20"
_HPKE_SUITE = b"HPKE\x00\x20\x00\x01\x00\x03"


def info(device_id: str, challenge_id: str) -> bytes:
    return b"\0".join([LABEL, device_id.encode("ascii"), challenge_id.encode("ascii")])


def public_bytes(private: bytes) -> bytes:
    return x25519.X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def seal(plaintext: bytes, public: bytes, ephemeral: bytes, device_id: str,
         challenge_id: str) -> tuple[bytes, bytes]:
    """`enc` and `ct`, with a given ephemeral private key."""
    enc = public_bytes(ephemeral)
    dh = x25519.X25519PrivateKey.from_private_bytes(ephemeral).exchange(
        x25519.X25519PublicKey.from_public_bytes(public))
    eae_prk = _extract(_KEM_SUITE, b"", b"eae_prk", dh)
    shared_secret = _expand(_KEM_SUITE, eae_prk, b"shared_secret", enc + public, 32)
    context = (b"\0" + _extract(_HPKE_SUITE, b"", b"psk_id_hash", b"")
               + _extract(_HPKE_SUITE, b"", b"info_hash", info(device_id, challenge_id)))
    secret = _extract(_HPKE_SUITE, shared_secret, b"secret", b"")
    key = _expand(_HPKE_SUITE, secret, b"key", context, 32)
    nonce = _expand(_HPKE_SUITE, secret, b"base_nonce", context, 12)
    return enc, ChaCha20Poly1305(key).encrypt(nonce, plaintext, None)


def unseal(enc: bytes, ct: bytes, private: bytes, device_id: str, challenge_id: str) -> bytes:
    key = x25519.X25519PrivateKey.from_private_bytes(private)
    try:
        # The library takes `enc` and `ct` as one.
        return _SUITE.decrypt(enc + ct, key, info(device_id, challenge_id))
    except (InvalidTag, ValueError) as error:
        raise Refused("not opened") from error


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return _hmac(salt, b"HPKE-v1" + suite + label + ikm)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    # HKDF-Expand (RFC 5869, section 2.3): up to 32 bytes, one round is enough.
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return _hmac(prk, labeled + b"\x01")[:length]


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
