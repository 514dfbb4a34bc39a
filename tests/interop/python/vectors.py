#!/usr/bin/env python3
"""Checks the golden vectors of proto/vectors/ with Python's `cryptography`.

Usage: vectors.py
"""

import base64
import json
import sys
import urllib.parse
import uuid

from google.protobuf import json_format

import protos
import sealing
import signing

FOLDER = protos.ROOT / "proto" / "vectors"
ACCEPTED = ("challenge", "response", "device-proof", "enroll", "key-succession", "audit-head", "audit-export")
MESSAGES = {
    "countersign.v1.ChallengeBody": protos.challenge.ChallengeBody,
    "countersign.v1.ResponseBody": protos.challenge.ResponseBody,
    "countersign.v1.DeviceProof": protos.device.DeviceProof,
    "countersign.v1.EnrollmentBody": protos.device.EnrollmentBody,
    "countersign.v1.BrokerKey": protos.challenge.BrokerKey,
    "countersign.v1.AuditHead": protos.audit.AuditHead,
    "countersign.v1.AuditSeal": protos.audit.AuditSeal,
}


def read(name: str) -> list[dict]:
    vectors = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
    assert vectors, "no vectors"
    return vectors


def accepted(vector: dict) -> None:
    body, signature = bytes.fromhex(vector["body"]), bytes.fromhex(vector["signature"])
    bytes_signed = signing.signed_bytes(vector["label"], body)
    assert bytes_signed.hex() == vector["signed_bytes"]
    assert signing.sha256(body).hex() == vector["body_sha256"]
    assert signing.sha256(bytes_signed).hex() == vector["signed_bytes_sha256"]

    message = MESSAGES[vector["message"]].FromString(body)
    fields = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert fields == vector["fields"], fields

    key = vector["key"]
    if key["algorithm"] == "ED25519":
        private = signing.Ed25519Private(bytes.fromhex(key["private_seed"]))
        assert private.sign(vector["label"], body) == signature, "Ed25519 is deterministic"
    else:
        private = signing.P256Private(bytes.fromhex(key["private_pkcs8"]))
    assert private.public.hex() == key["public_key"]
    if "key_id" in key:
        assert signing.key_id(private.public) == key["key_id"]
    public = signing.public_key(key["algorithm"], private.public)
    public.verify(vector["label"], body, signature)
    public.verify(vector["label"], body, private.sign(vector["label"], body))
    related(message, body, signature, vector.get("related", {}))


def related(message, body: bytes, signature: bytes, what: dict) -> None:
    if "challenge_body" in what:
        assert message.challenge_digest == signing.sha256(bytes.fromhex(what["challenge_body"]))
    if "request" in what:
        assert message.request_digest == signing.sha256(bytes.fromhex(what["request"]))
    if "metadata_value" in what:
        text = what["metadata_value"]
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        proof = protos.device.SignedDeviceProof.FromString(raw)
        assert (proof.body, proof.signature) == (body, signature)
    if "enrollment_uri" in what:
        uri = urllib.parse.urlsplit(what["enrollment_uri"])
        query = dict(urllib.parse.parse_qsl(uri.query, strict_parsing=True))
        assert (uri.scheme, uri.netloc, query["v"]) == ("countersign", "enroll", "1")
        assert query["b"].startswith("https://")
        assert query["t"] == message.ticket
        pinned = signing.from_base64url(query["k"])
        assert pinned == signing.sha256(bytes.fromhex(what["broker_public_key"]))
    if "contents" in what:
        link = bytes(32)
        for content in what["contents"]:
            link = signing.sha256(link + signing.sha256(bytes.fromhex(content)))
        assert (message.sequence, message.link) == (len(what["contents"]), link)


def rejected_signature(vector: dict) -> None:
    key = signing.public_key(vector["algorithm"], bytes.fromhex(vector["public_key"]))
    given = (vector["label"], bytes.fromhex(vector["body"]), bytes.fromhex(vector["signature"]))
    refused(lambda: key.verify(*given))
    if vector["strict_only"]:
        key.verify(*given, strict=False)


def rejected_key(vector: dict) -> None:
    data = bytes.fromhex(vector["public_key"])
    refused(lambda: signing.public_key(vector["algorithm"], data))


def refused(call) -> None:
    try:
        call()
    except signing.Refused:
        return
    raise AssertionError("was accepted")


def sealed(vector: dict) -> None:
    device_id, challenge_id = vector["device_id"], vector["challenge_id"]
    private = bytes.fromhex(vector["recipient_private_key"])
    ephemeral = bytes.fromhex(vector["ephemeral_private_key"])
    plaintext = bytes.fromhex(vector["plaintext"])
    assert sealing.info(device_id, challenge_id).hex() == vector["info"]
    public = sealing.public_bytes(private)
    assert public.hex() == vector["recipient_public_key"]

    enc, ct = sealing.seal(plaintext, public, ephemeral, device_id, challenge_id)
    assert enc.hex() == vector["encapsulated_key"]
    assert ct.hex() == vector["ciphertext"], "the same ephemeral key makes the same ciphertext"
    push = vector["push"]
    assert (push["v"], push["t"], push["id"]) == (1, "sealed", challenge_id)
    raw = base64.b64decode(push["c"], validate=True)
    assert raw.hex() == vector["sealed"]
    assert open_sealed(vector, raw) == plaintext

    signed = protos.challenge.SignedChallenge.FromString(plaintext)
    (key,) = {vector["key"]["public_key"] for vector in read("challenge")}
    broker = signing.public_key("ED25519", bytes.fromhex(key))
    broker.verify(signing.CHALLENGE, signed.body, signed.signature)
    assert protos.challenge.ChallengeBody.FromString(signed.body).challenge_id == challenge_id


def open_sealed(vector: dict, raw: bytes) -> bytes:
    message = protos.challenge.SealedChallenge.FromString(raw)
    private = bytes.fromhex(vector["recipient_private_key"])
    return sealing.unseal(message.encapsulated_key, message.ciphertext, private,
                          vector["device_id"], vector["challenge_id"])


def rejected_sealed(vector: dict) -> None:
    refused(lambda: open_sealed(vector, bytes.fromhex(vector["sealed"])))


def imported(vector: dict) -> None:
    tenant, key = uuid.UUID(vector["tenant_id"]).bytes, bytes.fromhex(vector["public_key"])
    parts = (b"countersign/v1/imported-device", tenant, vector["user_id"].encode(), key)
    hashed = b"\0".join(parts)
    assert hashed.hex() == vector["hashed_bytes"]
    # The library knows where version and variant stand, though not of version 8.
    half = int.from_bytes(signing.sha256(hashed)[:16], "big")
    half = half & ~(0xF << 76) | 8 << 76
    half = half & ~(3 << 62) | 2 << 62
    assert str(uuid.UUID(int=half)) == vector["device_id"]
    assert uuid.UUID(vector["device_id"]).version == 8


def main() -> int:
    passed = failed = 0
    files = [(name, accepted) for name in ACCEPTED]
    files += [("rejected-signatures", rejected_signature), ("rejected-keys", rejected_key)]
    files += [("sealed-challenge", sealed), ("rejected-sealed-challenges", rejected_sealed)]
    files += [("imported-device", imported)]
    for name, check in files:
        vectors = read(name)
        for vector in vectors:
            try:
                check(vector)
                passed += 1
            except Exception as error:
                failed += 1
                print(f"FAILED {name}: {vector['name']}: {type(error).__name__}: {error}")
        print(f"{name}.json: {len(vectors)} vectors")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
