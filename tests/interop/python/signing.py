"""The signed bytes and their two kinds of keys, written from the contract
alone: label, one zero byte, body as transmitted."""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

CHALLENGE = "countersign/v1/challenge"
RESPONSE = "countersign/v1/response"
DEVICE_PROOF = "countersign/v1/device-proof"
ENROLL = "countersign/v1/enroll"
KEY_SUCCESSION = "countersign/v1/key-succession"

# RFC 8032, section 5.1.
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
# The y-coordinates of the points whose order divides 8.
_Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y = {0, 1, _P - 1, _Y8, _P - _Y8}


class Refused(Exception):
    """A key or signature that may not be accepted."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def signed_bytes(label: str, body: bytes) -> bytes:
    return label.encode("ascii") + b"\0" + body


def key_id(public: bytes) -> str:
    """RFC 7638 thumbprint of an Ed25519 key (RFC 8037, section 2)."""
    x = base64url(public)
    return base64url(sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()))


def _check_point(encoded: bytes, what: str) -> None:
    if len(encoded) != 32:
        raise Refused(f"{what}: not 32 bytes")
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    if y >= _P:
        raise Refused(f"{what}: not canonical")
    if y in _SMALL_ORDER_Y:
        raise Refused(f"{what}: of small order")
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(x_squared, (_P - 1) // 2, _P) != 1:
        raise Refused(f"{what}: not on the curve")


class Ed25519Public:
    algorithm = "ED25519"

    def __init__(self, data: bytes):
        _check_point(data, "key")
        self.data = data
        self._key = ed25519.Ed25519PublicKey.from_public_bytes(data)

    def verify(self, label: str, body: bytes, signature: bytes, strict: bool = True) -> None:
        if len(signature) != 64:
            raise Refused("not 64 bytes")
        if strict:
            _check_point(signature[:32], "R")
            if int.from_bytes(signature[32:], "little") >= _L:
                raise Refused("S: not reduced")
        try:
            self._key.verify(signature, signed_bytes(label, body))
        except InvalidSignature:
            raise Refused("the signature does not match") from None


class P256Public:
    algorithm = "P256"

    def __init__(self, data: bytes):
        if len(data) != 65 or data[0] != 4:
            raise Refused("key: not 65 bytes, uncompressed")
        try:
            self._key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
        except ValueError:
            raise Refused("key: not on the curve") from None
        self.data = data

    def verify(self, label: str, body: bytes, signature: bytes, strict: bool = True) -> None:
        if len(signature) != 64:
            raise Refused("not 64 bytes")
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        try:
            self._key.verify(
                encode_dss_signature(r, s), signed_bytes(label, body), ec.ECDSA(hashes.SHA256())
            )
        except InvalidSignature:
            raise Refused("the signature does not match") from None


def public_key(algorithm: str, data: bytes) -> Ed25519Public | P256Public:
    return {"ED25519": Ed25519Public, "P256": P256Public}[algorithm](data)


class Ed25519Private:
    algorithm = "ED25519"

    def __init__(self, seed: bytes | None = None):
        if seed is None:
            self._key = ed25519.Ed25519PrivateKey.generate()
        else:
            self._key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, label: str, body: bytes) -> bytes:
        return self._key.sign(signed_bytes(label, body))


class P256Private:
    algorithm = "P256"

    def __init__(self, pkcs8: bytes | None = None):
        if pkcs8 is None:
            self._key = ec.generate_private_key(ec.SECP256R1())
        else:
            self._key = serialization.load_der_private_key(pkcs8, None)
        self.public = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def sign(self, label: str, body: bytes) -> bytes:
        der = self._key.sign(signed_bytes(label, body), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def private_key(algorithm: str) -> Ed25519Private | P256Private:
    return {"ED25519": Ed25519Private, "P256": P256Private}[algorithm]()
