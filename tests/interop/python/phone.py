"""A phone app, written from contract.md and the comments of the protos."""

import os
import queue
import threading
import time
import urllib.parse

import grpc
from google.protobuf import timestamp_pb2

import protos
import signing

SERVICE = protos.device.DESCRIPTOR.services_by_name["DeviceService"]


class NotMine(Exception):
    """A challenge that the app must not show."""


class WrongBroker(Exception):
    """Not the broker that the QR code is from."""


def now(offset: float = 0) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromNanoseconds(time.time_ns() + int(offset * 1e9))
    return stamp


def parse_uri(uri: str) -> dict[str, str]:
    parts = urllib.parse.urlsplit(uri)
    query = dict(urllib.parse.parse_qsl(parts.query, strict_parsing=True))
    assert (parts.scheme, parts.netloc) == ("countersign", "enroll"), uri
    assert query["v"] == "1", uri
    return query


class Phone:
    """One registration on one phone."""

    def __init__(self, address: str, algorithm: str, key=None):
        self.channel = grpc.insecure_channel(address)
        self.algorithm = algorithm
        self.key = key or signing.private_key(algorithm)
        self.trusted: dict[str, signing.Ed25519Public] = {}
        self.registration = None

    # -- registering

    def enroll_by_uri(self, uri: str, **changes) -> None:
        query = parse_uri(uri)
        self.enroll(query["t"], pin=signing.from_base64url(query["k"]), **changes)

    def enroll(self, ticket: str, pin: bytes | None = None, **changes) -> None:
        body = protos.device.EnrollmentBody(
            ticket=ticket,
            key_algorithm=f"KEY_ALGORITHM_{self.algorithm}",
            public_key=self.key.public,
            key_protection="KEY_PROTECTION_SOFTWARE",
            platform="PLATFORM_ANDROID",
            display_name=f"Python phone ({self.algorithm})",
            language="nl-BE",
            app_version="1.0",
            enroll_time=now(),
        )
        for name, value in changes.items():
            field = getattr(body, name)
            field.CopyFrom(value) if hasattr(field, "CopyFrom") else setattr(body, name, value)
        self.enroll_body(body.SerializeToString(), pin)

    def enroll_body(self, body: bytes, pin: bytes | None = None, signature=None) -> None:
        request = protos.device.EnrollRequest(
            body=body, signature=signature or self.key.sign(signing.ENROLL, body)
        )
        answer = self.call("Enroll", request, metadata=())
        for key in answer.broker_keys:
            if pin is None or signing.sha256(key.public_key) == pin:
                self._trust(key)
        if not self.trusted:
            raise WrongBroker("none of its keys is the one in the QR code")
        self.learn(answer.key_successions)
        for key in answer.broker_keys:
            assert key.key_id in self.trusted, "a key that follows from none"
        self.registration = answer

    def _trust(self, key) -> None:
        assert signing.key_id(key.public_key) == key.key_id, "the key id is no thumbprint"
        self.trusted[key.key_id] = signing.Ed25519Public(key.public_key)

    def learn(self, successions) -> None:
        """Trusts keys that are vouched for by trusted ones."""
        for succession in successions:
            signer = self.trusted.get(succession.signer_key_id)
            if signer is not None:
                signer.verify(signing.KEY_SUCCESSION, succession.body, succession.signature)
                self._trust(protos.challenge.BrokerKey.FromString(succession.body))

    @property
    def device_id(self) -> str:
        return self.registration.device_id

    # -- calling

    def proof(self, method: str, request: bytes, key=None, **changes) -> tuple:
        """The metadata that proves a call."""
        proof = protos.device.DeviceProof(
            device_id=self.device_id,
            method=f"/{SERVICE.full_name}/{method}",
            request_digest=signing.sha256(request),
            issue_time=changes.pop("issue_time", now()),
            nonce=os.urandom(16),
        )
        for name, value in changes.items():
            setattr(proof, name, value)
        body = proof.SerializeToString()
        signed = protos.device.SignedDeviceProof(
            body=body, signature=(key or self.key).sign(signing.DEVICE_PROOF, body)
        )
        return (("countersign-device-proof-bin", signed.SerializeToString()),)

    def call(self, method: str, request, metadata=None):
        """Sends exactly the bytes that were proven."""
        described = SERVICE.methods_by_name[method]
        data = request.SerializeToString()
        if metadata is None:
            metadata = self.proof(method, data)
        answer_type = getattr(protos.device, described.output_type.name)
        kind = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        stub = kind(
            f"/{SERVICE.full_name}/{method}",
            request_serializer=bytes,
            response_deserializer=answer_type.FromString,
        )
        return stub(data, metadata=metadata, timeout=90 if described.server_streaming else 20)

    def pending(self) -> list:
        answer = self.call("ListPendingChallenges", protos.device.ListPendingChallengesRequest())
        self.learn(answer.key_successions)
        return list(answer.challenges)

    def acknowledge(self, challenge_id: str) -> None:
        request = protos.device.AcknowledgeChallengeRequest(challenge_id=challenge_id)
        self.call("AcknowledgeChallenge", request)

    def unenroll(self) -> None:
        self.call("Unenroll", protos.device.UnenrollRequest())

    def subscribe(self) -> "Subscription":
        return Subscription(self.call("Subscribe", protos.device.SubscribeRequest()))

    # -- answering

    def open(self, signed):
        """Verifies a challenge as received, then reads it."""
        key = self.trusted.get(signed.key_id)
        if key is None:
            raise NotMine("signed by a key that is not trusted")
        key.verify(signing.CHALLENGE, signed.body, signed.signature)
        body = protos.challenge.ChallengeBody.FromString(signed.body)
        if (body.tenant_id, body.user_id) != (
            self.registration.tenant_id,
            self.registration.user_id,
        ):
            raise NotMine("for somebody else")
        if body.expire_time.ToNanoseconds() <= time.time_ns():
            raise NotMine("too late")
        return body

    def answer(self, signed, decision: str, number: str = "", **changes) -> bytes:
        """A response body to a challenge that may be shown."""
        self.open(signed)
        return self.answer_unchecked(signed, decision, number, **changes)

    def answer_unchecked(self, signed, decision: str, number: str = "", **changes) -> bytes:
        """A response body to whatever it is."""
        shown = protos.challenge.ChallengeBody.FromString(signed.body)
        body = protos.challenge.ResponseBody(
            challenge_id=shown.challenge_id,
            challenge_digest=signing.sha256(signed.body),
            device_id=self.device_id,
            decision=f"DECISION_{decision}",
            number=number,
            respond_time=changes.pop("respond_time", now()),
            user_verification="USER_VERIFICATION_BIOMETRIC",
            locale="nl-BE",
        )
        for name, value in changes.items():
            setattr(body, name, value)
        return body.SerializeToString()

    def send(self, body: bytes, key=None, label: str = signing.RESPONSE, signature=None):
        """Signs and sends a response body."""
        signature = signature or (key or self.key).sign(label, body)
        response = protos.challenge.SignedResponse(body=body, signature=signature)
        request = protos.device.RespondRequest(response=response)
        return self.call("Respond", request, metadata=())

    def respond(self, signed, decision: str, number: str = "", **changes):
        return self.send(self.answer(signed, decision, number, **changes))

    def only_pending(self):
        pending = self.pending()
        assert len(pending) == 1, f"{len(pending)} pending challenges, not 1"
        return pending[0]


class Subscription:
    """The open app's stream, read by a thread of its own."""

    def __init__(self, stream):
        self._stream = stream
        self._events: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for event in self._stream:
                self._events.put(event)
        except grpc.RpcError as error:
            self._events.put(error)
        self._events.put(None)

    def next(self, kind: str, seconds: float = 20):
        """The next event, which must be of that kind. Notices are for the user
        to read, whatever else happens; where none is awaited they are put aside."""
        while True:
            event = self._events.get(timeout=seconds)
            assert event is not None, "the stream ended"
            if isinstance(event, Exception):
                raise event
            seen = event.WhichOneof("event")
            if seen == "notice" != kind:
                continue
            assert seen == kind, f"{seen}, not {kind}"
            return getattr(event, kind)

    def start(self) -> None:
        """What is at the start has come, keys among it where there are newer ones."""
        while (event := self._events.get(timeout=20)).WhichOneof("event") != "caught_up":
            assert event.WhichOneof("event") == "key_update", event

    def ended(self, seconds: float = 20) -> None:
        """The broker ends the stream, after whatever is still in it."""
        while (event := self._events.get(timeout=seconds)) is not None:
            del event

    def close(self) -> None:
        self._stream.cancel()
