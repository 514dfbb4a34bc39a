"""The sign-in page's side, and the receipts that it checks."""

import json
import uuid
import warnings

import grpc
from google.protobuf import duration_pb2
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import KeySet

import protos
import signing
from checks import equal
from phone import Phone


def seconds(value: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromMilliseconds(int(value * 1000))
    return duration


def state(challenge) -> str:
    name = protos.challenge.ChallengeState.Name(challenge.state)
    return name.removeprefix("CHALLENGE_STATE_")


def reason(challenge) -> str:
    name = protos.challenge.DecisionReason.Name(challenge.reason)
    return name.removeprefix("DECISION_REASON_")


def ended(challenge, wanted_state: str, wanted_reason: str) -> None:
    equal((state(challenge), reason(challenge)), (wanted_state, wanted_reason), "decision")


def method(challenge) -> str:
    return protos.challenge.Method.Name(challenge.method).removeprefix("METHOD_")


class IdentityProvider:
    def __init__(self, broker, tenant_id: str, api_key: str, api_key_id: str):
        self.broker, self.tenant_id, self.api_key_id = broker, tenant_id, api_key_id
        self.channel = grpc.insecure_channel(broker.address)
        self.metadata = (("authorization", f"Bearer {api_key}"),)
        self.approval = protos.approval_grpc.ApprovalServiceStub(self.channel)
        self.enrollment = protos.enrollment_grpc.EnrollmentServiceStub(self.channel)

    def call(self, rpc: str, /, _timeout: float = 20, **fields):
        """Any unary call, by its name."""
        for module, stub in (
            (protos.approval, self.approval),
            (protos.enrollment, self.enrollment),
        ):
            if hasattr(stub, rpc):
                request = getattr(module, f"{rpc}Request")(**fields)
                return getattr(stub, rpc)(request, metadata=self.metadata, timeout=_timeout)
        raise AttributeError(rpc)

    # -- enrolment

    def ticket(self, user_id: str):
        request = protos.enrollment.CreateEnrollmentRequest(user_id=user_id)
        return self.enrollment.CreateEnrollment(request, metadata=self.metadata, timeout=20)

    def wait_enrollment(self, enrollment_id: str, timeout: float = 20):
        request = protos.enrollment.WaitEnrollmentRequest(
            enrollment_id=enrollment_id, timeout=seconds(timeout)
        )
        return self.enrollment.WaitEnrollment(request, metadata=self.metadata, timeout=timeout + 20)

    def authenticators(self, user_id: str) -> list:
        request = protos.enrollment.ListAuthenticatorsRequest(user_id=user_id)
        answer = self.enrollment.ListAuthenticators(request, metadata=self.metadata, timeout=20)
        return list(answer.authenticators)

    def remove(self, user_id: str, authenticator_id: str) -> None:
        request = protos.enrollment.RemoveAuthenticatorRequest(
            user_id=user_id, authenticator_id=authenticator_id
        )
        self.enrollment.RemoveAuthenticator(request, metadata=self.metadata, timeout=20)

    def new_user(self, *algorithms: str) -> tuple:
        """A user that nobody else uses, with a phone for each algorithm."""
        user_id = f"{uuid.uuid4()}@example.be"
        return user_id, *(self.new_phone(user_id, algorithm) for algorithm in algorithms)

    def new_phone(self, user_id: str, algorithm: str, **changes) -> Phone:
        phone = Phone(self.broker.address, algorithm)
        phone.enroll_by_uri(self.ticket(user_id).enrollment_uri, **changes)
        equal(phone.registration.user_id, user_id, "user of the registration")
        equal(phone.registration.tenant_id, self.tenant_id, "tenant of the registration")
        return phone

    # -- challenges

    def request(self, user_id: str, **changes):
        wanted = {
            "request_id": str(uuid.uuid4()),
            "user_id": user_id,
            "context": protos.challenge.SignInContext(
                application_name="Office 365",
                client_address="192.0.2.7",
                location="Gent, België",
                user_agent="Mozilla/5.0",
                details=[protos.challenge.Detail(label="Bedrag", value="€ 12,50")],
            ),
        }
        return protos.approval.CreateChallengeRequest(**wanted | changes)

    def create(self, request):
        answer = self.approval.CreateChallenge(request, metadata=self.metadata, timeout=20)
        return answer.challenge

    def ask(self, user_id: str, **changes):
        challenge = self.create(self.request(user_id, **changes))
        equal(state(challenge), "PENDING", "state of a new challenge")
        return challenge

    def get(self, challenge_id: str):
        request = protos.approval.GetChallengeRequest(challenge_id=challenge_id)
        answer = self.approval.GetChallenge(request, metadata=self.metadata, timeout=20)
        return answer.challenge

    def wait(self, challenge_id: str, timeout: float = 20):
        request = protos.approval.WaitChallengeRequest(
            challenge_id=challenge_id, timeout=seconds(timeout)
        )
        answer = self.approval.WaitChallenge(request, metadata=self.metadata, timeout=timeout + 20)
        return answer.challenge

    def watch(self, challenge_id: str):
        request = protos.approval.WatchChallengeRequest(challenge_id=challenge_id)
        stream = self.approval.WatchChallenge(request, metadata=self.metadata, timeout=90)
        return (answer.challenge for answer in stream)

    def send_code(self, challenge, method: str = "UNSPECIFIED"):
        fields = {"challenge_id": challenge.challenge_id, "method": f"METHOD_{method}"}
        return self.call("SendCode", **fields).challenge

    def verify(self, challenge, code: str):
        fields = {"challenge_id": challenge.challenge_id, "code": code}
        return self.call("VerifyCode", **fields).challenge

    def cancel(self, challenge_id: str):
        request = protos.approval.CancelChallengeRequest(challenge_id=challenge_id)
        answer = self.approval.CancelChallenge(request, metadata=self.metadata, timeout=20)
        return answer.challenge

    # -- receipts

    def jwks(self) -> dict:
        return json.loads(self.broker.get("/.well-known/jwks.json"))

    def decode(self, receipt: str):
        with warnings.catch_warnings():
            # RFC 9864 prefers "Ed25519" to the "EdDSA" that the contract names.
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.decode(receipt, KeySet.import_key_set(self.jwks()), algorithms=["EdDSA"])

    def claims(self, challenge) -> dict:
        """Verifies a receipt's own signature and what every receipt says."""
        token = self.decode(challenge.receipt)
        equal(token.header["alg"], "EdDSA", "alg")
        claims = token.claims
        now = challenge.decide_time.ToSeconds()
        equal(claims["aud"], self.api_key_id, "aud")
        equal(claims["sub"], challenge.user_id, "sub")
        equal(claims["jti"], challenge.challenge_id, "jti")
        equal(claims["decision"], state(challenge), "decision")
        equal(claims["reason"], reason(challenge), "reason")
        assert claims["iss"], "iss"
        assert abs(claims["iat"] - now) <= 5, "iat is the time of the decision"
        assert claims["exp"] > claims["iat"], "exp"
        equal(claims["challenge_key_id"], challenge.signed_challenge.key_id, "challenge_key_id")
        equal(
            signing.from_base64url(claims["challenge_body"]),
            challenge.signed_challenge.body,
            "challenge_body",
        )
        body = signing.from_base64url(claims["challenge_body"])
        keys = {key["kid"]: signing.from_base64url(key["x"]) for key in self.jwks()["keys"]}
        broker_key = signing.Ed25519Public(keys[claims["challenge_key_id"]])
        equal(signing.key_id(broker_key.data), claims["challenge_key_id"], "kid")
        broker_key.verify(
            signing.CHALLENGE, body, signing.from_base64url(claims["challenge_signature"])
        )
        return claims

    def check_receipt(self, challenge, phone: Phone, decision: str) -> dict:
        """Follows the proof down to the device's own signature."""
        claims = self.claims(challenge)
        equal(claims["device_id"], phone.device_id, "device_id")
        equal(claims["device_key"]["alg"], phone.algorithm, "device_key.alg")
        public = signing.from_base64url(claims["device_key"]["public_key"])
        equal(public, phone.key.public, "device_key.public_key")
        body = signing.from_base64url(claims["response_body"])
        signing.public_key(phone.algorithm, public).verify(
            signing.RESPONSE, body, signing.from_base64url(claims["response_signature"])
        )
        response = protos.challenge.ResponseBody.FromString(body)
        equal(response.challenge_id, challenge.challenge_id, "challenge answered")
        equal(response.device_id, phone.device_id, "device that answered")
        equal(
            response.challenge_digest,
            signing.sha256(signing.from_base64url(claims["challenge_body"])),
            "what was shown",
        )
        equal(protos.challenge.Decision.Name(response.decision), f"DECISION_{decision}", "decision")
        if state(challenge) == "APPROVED":
            assert abs(claims["auth_time"] - response.respond_time.ToSeconds()) <= 60, "auth_time"
            assert {"pop", "swk", "user"} <= set(claims["amr"]), f"amr: {claims['amr']}"
            assert "hwk" not in claims["amr"], "the key is in software"
        else:
            assert "amr" not in claims, "nobody was authenticated"
        return claims

    def check_code_receipt(self, challenge, wanted_method: str, authenticator_id: str) -> dict:
        """A code was right: nothing is claimed of a device."""
        ended(challenge, "APPROVED", "CODE_VERIFIED")
        equal(method(challenge), wanted_method, "method")
        equal(challenge.decided_by_authenticator_id, authenticator_id, "decided by")
        equal(challenge.decided_by_device_id, "", "device that decided")
        claims = self.claims(challenge)
        equal(claims["method"], wanted_method, "method of the receipt")
        equal(claims["amr"], ["otp", "sms"] if wanted_method == "SMS" else ["otp"], "amr")
        equal(claims["auth_time"], claims["iat"], "auth_time")
        equal(claims["authenticator_id"], authenticator_id, "authenticator_id")
        of_devices = {"device_id", "device_key", "response_body", "response_signature"}
        equal(of_devices & set(claims), set(), "claims of devices")
        return claims
