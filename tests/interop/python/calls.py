"""Scenarios: the identity provider's other calls, enrolment, credentials."""

import os
import uuid

import grpc

import protos
import signing
from checks import Background, equal, for_both_algorithms, refused, scenario
from identity_provider import ended, reason, state
from phone import Phone, WrongBroker, now, parse_uri


@scenario("CreateChallenge is idempotent by request_id")
def idempotent(world):
    idp = world.idp
    user, phone = idp.new_user("ED25519")
    request = idp.request(user)
    first, again = idp.create(request), idp.create(request)
    equal(again.challenge_id, first.challenge_id, "challenge of the same request")
    equal(again.signed_challenge, first.signed_challenge, "what was signed")
    equal(again.number_to_match, first.number_to_match, "number")
    equal(len(phone.pending()), 1, "prompts on the phone")
    changed = protos.approval.CreateChallengeRequest.FromString(request.SerializeToString())
    changed.context.location = "Oostende"
    with refused("INVALID_ARGUMENT", field="request_id"):
        idp.create(changed)
    phone.respond(phone.only_pending(), "DENY")
    ended(idp.create(request), "DENIED", "USER_DENIED")

    racing = idp.request(idp.new_user("ED25519")[0])
    racers = [Background(lambda: idp.create(racing)) for _ in range(8)]
    ids = {racer.join().challenge_id for racer in racers}
    equal(len(ids), 1, "challenges of eight concurrent calls")


@scenario("CreateChallenge names the field that is wrong")
def bad_requests(world):
    idp = world.idp
    user, phone = idp.new_user("ED25519")
    context = protos.challenge.SignInContext
    for field, changes in (
        ("user_id", {"user_id": ""}),
        ("user_id", {"user_id": "u" * 257}),
        ("request_id", {"request_id": "no uuid"}),
        ("context.application_name", {"context": context()}),
        ("context.client_address", {"context": context(application_name="a", client_address="x")}),
        ("ttl", {"ttl": {"seconds": 14}}),
        ("ttl", {"ttl": {"seconds": 601}}),
    ):
        with refused("INVALID_ARGUMENT", field=field):
            idp.create(idp.request(**{"user_id": user} | changes))
    equal(phone.pending(), [], "prompts on the phone")


@scenario("cancel: withdrawn from the phone, once and for all")
def cancel(world):
    idp = world.idp
    user, phone = idp.new_user("P256")
    stream = phone.subscribe()
    stream.next("caught_up")
    challenge = idp.ask(user)
    signed = stream.next("challenge")
    ended(idp.cancel(challenge.challenge_id), "CANCELLED", "CANCELLED_BY_CALLER")
    withdrawal = stream.next("withdrawal")
    equal(withdrawal.challenge_id, challenge.challenge_id, "withdrawn")
    ended(withdrawal, "CANCELLED", "CANCELLED_BY_CALLER")
    equal(phone.pending(), [], "pending after the end")
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        phone.respond(signed, "APPROVE", challenge.number_to_match)
    ended(idp.cancel(challenge.challenge_id), "CANCELLED", "CANCELLED_BY_CALLER")
    idp.claims(idp.get(challenge.challenge_id))
    stream.close()

    answered = idp.ask(user)
    phone.respond(phone.only_pending(), "DENY")
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        idp.cancel(answered.challenge_id)


@scenario("wait: pending when the time is up, and the wait's end ends nothing")
def wait(world):
    idp = world.idp
    user, phone = idp.new_user("ED25519")
    challenge = idp.ask(user)
    equal(state(idp.wait(challenge.challenge_id, 0.2)), "PENDING", "after 200 ms")
    request = protos.approval.WaitChallengeRequest(challenge_id=challenge.challenge_id)
    call = idp.approval.WaitChallenge.future(request, metadata=idp.metadata, timeout=20)
    call.cancel()
    waiting = [Background(lambda: idp.wait(challenge.challenge_id)) for _ in range(4)]
    phone.respond(phone.only_pending(), "APPROVE", challenge.number_to_match)
    for call in waiting:
        ended(call.join(), "APPROVED", "USER_APPROVED")
    ended(idp.wait(challenge.challenge_id), "APPROVED", "USER_APPROVED")


@scenario("watch: what is, what changes, then the end of the stream")
def watch(world):
    idp = world.idp
    user, phone = idp.new_user("P256")
    challenge = idp.ask(user)
    stream = idp.watch(challenge.challenge_id)
    equal(state(next(stream)), "PENDING", "first")
    signed = phone.only_pending()
    phone.acknowledge(challenge.challenge_id)
    phone.respond(signed, "APPROVE", challenge.number_to_match)
    seen = list(stream)
    assert all(state(change) == "PENDING" for change in seen[:-1]), "decided twice"
    ended(seen[-1], "APPROVED", "USER_APPROVED")
    equal(len(list(idp.watch(challenge.challenge_id))), 1, "states of a decided challenge")


@scenario("a newer challenge takes the older one's place")
def superseded(world):
    idp = world.idp
    user, phone = idp.new_user("ED25519")
    older = idp.ask(user)
    newer = idp.ask(user)
    ended(idp.wait(older.challenge_id), "CANCELLED", "SUPERSEDED")
    equal(phone.open(phone.only_pending()).challenge_id, newer.challenge_id, "pending")
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        phone.respond(older.signed_challenge, "APPROVE", older.number_to_match)


@for_both_algorithms("subscribe: what is pending, caught up, what comes, what is withdrawn")
def subscribe(world, algorithm):
    idp = world.idp
    user, phone = idp.new_user(algorithm)
    challenge = idp.ask(user)
    stream = phone.subscribe()
    signed = stream.next("challenge")
    equal(signed, challenge.signed_challenge, "pending at the start")
    stream.next("caught_up")
    # The phone that answered is told too: the answer to its call may get lost.
    phone.respond(signed, "DENY")
    withdrawal = stream.next("withdrawal")
    equal(withdrawal.challenge_id, challenge.challenge_id, "withdrawn")
    ended(withdrawal, "DENIED", "USER_DENIED")
    following = idp.ask(user)
    signed = stream.next("challenge")
    equal(phone.open(signed).challenge_id, following.challenge_id, "what comes")
    phone.respond(signed, "APPROVE", following.number_to_match)
    ended(idp.wait(following.challenge_id), "APPROVED", "USER_APPROVED")
    stream.close()


@for_both_algorithms("enrolment by QR code: the page moves on, the phone is listed")
def enrollment(world, algorithm):
    idp = world.idp
    user = f"{uuid.uuid4()}@example.be"
    equal(idp.authenticators(user), [], "authenticators of an unknown user")
    ticket = idp.ticket(user)
    assert "<svg" in ticket.qr_svg, "qr_svg"
    equal(state_of(idp.wait_enrollment(ticket.enrollment_id, 0.2)), "OPEN", "ticket")
    waiting = Background(lambda: idp.wait_enrollment(ticket.enrollment_id))
    phone = Phone(world.broker.address, algorithm)
    phone.enroll_by_uri(ticket.enrollment_uri)
    equal(phone.registration.organisation, "Eagle IT BVBA", "organisation")
    done = waiting.join()
    equal(state_of(done), "REDEEMED", "ticket")
    equal(done.authenticator.authenticator_id, phone.device_id, "device")
    (listed,) = idp.authenticators(user)
    equal(listed.authenticator_id, phone.device_id, "listed")
    equal(listed.device.display_name, f"Python phone ({algorithm})", "display name")
    wanted = protos.device.KeyAlgorithm.Value(f"KEY_ALGORITHM_{algorithm}")
    equal(listed.device.key_algorithm, wanted, "key algorithm")
    equal(listed.device.has_push_token, False, "push token")

    again = Phone(world.broker.address, algorithm)
    with refused("NOT_FOUND|FAILED_PRECONDITION|PERMISSION_DENIED|UNAUTHENTICATED"):
        again.enroll_by_uri(ticket.enrollment_uri)
    equal(len(idp.authenticators(user)), 1, "devices by one ticket")


def state_of(answer) -> str:
    name = protos.enrollment.EnrollmentState.Name(answer.state)
    return name.removeprefix("ENROLLMENT_STATE_")


@scenario("the QR code's key fingerprint is that of the JWKS, and the app refuses any other")
def pinning(world):
    ticket = world.idp.ticket(f"{uuid.uuid4()}@example.be")
    query = parse_uri(ticket.enrollment_uri)
    pinned = signing.from_base64url(query["k"])
    keys = [signing.from_base64url(key["x"]) for key in world.idp.jwks()["keys"]]
    assert pinned in [signing.sha256(key) for key in keys], "the pinned key is not published"
    phone = Phone(world.broker.address, "P256")
    try:
        phone.enroll(query["t"], pin=signing.sha256(b"another broker"))
    except WrongBroker:
        return
    raise AssertionError("the app trusted another key than the QR code's")


@scenario("enrolment by hand: typing errors are forgiven")
def manual_code(world):
    idp = world.idp
    user = f"{uuid.uuid4()}@example.be"
    for _ in range(50):
        code = idp.ticket(user).manual_code
        if "0" in code and "1" in code:
            break
    else:
        raise AssertionError("no code with a 0 and a 1 among fifty")
    characters = code.replace("-", "").replace(" ", "")
    assert len(characters) >= 16 and not set(characters) & set("ILOU"), code
    typed = code.lower().replace("-", "  ").replace("0", "o").replace("1", "I", 1).replace("1", "l")
    phone = Phone(world.broker.address, "ED25519")
    phone.enroll(f" {typed} ")
    equal(phone.registration.user_id, user, "user")


@scenario("wrong, replaced and worn-out tickets")
def wrong_tickets(world):
    idp = world.idp
    denied = "NOT_FOUND|PERMISSION_DENIED|UNAUTHENTICATED|FAILED_PRECONDITION"
    user = f"{uuid.uuid4()}@example.be"
    phone = Phone(world.broker.address, "P256")
    for nonsense in ("0000-0000-0000-0000-0000", "7XKM2Q9TBW4ZC1RD8HVN"):
        with refused(denied):
            phone.enroll(nonsense)
    for nonsense in ("", "too short", "U" * 20, "x" * 2000):
        with refused(f"INVALID_ARGUMENT|{denied}"):
            phone.enroll(nonsense)

    replaced = idp.ticket(user)
    ticket = idp.ticket(user)
    with refused(denied):
        phone.enroll_by_uri(replaced.enrollment_uri)
    equal(state_of(idp.wait_enrollment(replaced.enrollment_id)), "REPLACED", "older ticket")

    code = parse_uri(ticket.enrollment_uri)["t"]
    last = "0" if code[-1] != "0" else "1"
    for _ in range(5):
        with refused(denied):
            phone.enroll(code[:-1] + last)
    equal(state_of(idp.wait_enrollment(ticket.enrollment_id)), "LOCKED", "ticket after five tries")
    with refused(denied):
        phone.enroll(code)
    equal(idp.authenticators(user), [], "authenticators")


@for_both_algorithms("enrolment without proof of possession is refused")
def possession(world, algorithm):
    idp = world.idp
    user = f"{uuid.uuid4()}@example.be"
    uri = idp.ticket(user).enrollment_uri
    ticket = parse_uri(uri)["t"]
    phone = Phone(world.broker.address, algorithm)
    other = signing.private_key(algorithm)
    denied = "INVALID_ARGUMENT|UNAUTHENTICATED|PERMISSION_DENIED|FAILED_PRECONDITION"
    with refused(denied):
        phone.enroll(ticket, public_key=other.public)
    with refused(denied):
        phone.enroll(ticket, public_key=phone.key.public[:-1])
    with refused(denied):
        phone.enroll(ticket, key_algorithm=0)
    with refused(denied):
        phone.enroll(ticket, enroll_time=now(-120))
    with refused(denied):
        phone.enroll_body(b"\xff\xff")
    small_order = bytes(31) + b"\x80"
    with refused(denied):
        phone.enroll(ticket, key_algorithm=1, public_key=small_order)
    equal(idp.authenticators(user), [], "authenticators")


@scenario("remove and unenroll: the device stops working at that moment")
def removal(world):
    idp = world.idp
    user, first, second = idp.new_user("ED25519", "P256")
    stream = first.subscribe()
    stream.next("caught_up")
    challenge = idp.ask(user, device_id=first.device_id)
    signed = stream.next("challenge")
    idp.remove(user, first.device_id)
    stopped(first)
    with refused("UNAUTHENTICATED|PERMISSION_DENIED|FAILED_PRECONDITION|NOT_FOUND"):
        first.respond(signed, "APPROVE", challenge.number_to_match)
    assert state(idp.get(challenge.challenge_id)) != "APPROVED", "approved by a removed device"
    stream.close()
    with refused("NOT_FOUND"):
        idp.remove(user, first.device_id)
    with refused("NOT_FOUND"):
        idp.remove("somebody else", second.device_id)

    second.unenroll()
    stopped(second)
    equal(idp.authenticators(user), [], "authenticators")


def stopped(phone) -> None:
    for call in (phone.pending, lambda: next(iter(phone.call("Subscribe", subscribe_request())))):
        with refused("UNAUTHENTICATED"):
            call()


def subscribe_request():
    return protos.device.SubscribeRequest()


@for_both_algorithms("device proofs: missing, stale, replayed, for another call, by another key")
def proofs(world, algorithm):
    idp = world.idp
    user, phone = idp.new_user(algorithm)
    _, stranger = idp.new_user(algorithm)
    challenge = idp.ask(user)
    empty = protos.device.ListPendingChallengesRequest()
    shown = protos.device.AcknowledgeChallengeRequest(challenge_id=challenge.challenge_id)
    method = "ListPendingChallenges"

    good = phone.proof(method, b"")
    phone.call(method, empty, metadata=good)
    bad = {
        "replayed": good,
        "missing": (),
        "garbage": (("countersign-device-proof-bin", b"\xff" * 40),),
        "for another method": phone.proof("Unenroll", b""),
        "for another request": phone.proof(method, b"x"),
        "of the past": phone.proof(method, b"", issue_time=now(-90)),
        "of the future": phone.proof(method, b"", issue_time=now(90)),
        "by another key": phone.proof(method, b"", key=stranger.key),
        "of another device": phone.proof(method, b"", device_id=stranger.device_id),
        "of no device": phone.proof(method, b"", device_id=str(uuid.uuid4())),
        "with a short nonce": phone.proof(method, b"", nonce=os.urandom(8)),
        "without a nonce": phone.proof(method, b"", nonce=b""),
    }
    for what, metadata in bad.items():
        try:
            with refused("UNAUTHENTICATED|INVALID_ARGUMENT|FAILED_PRECONDITION"):
                phone.call(method, empty, metadata=metadata)
        except AssertionError as error:
            raise AssertionError(f"proof {what}: {error}") from error
    with refused("UNAUTHENTICATED"):
        phone.call("AcknowledgeChallenge", shown, phone.proof("AcknowledgeChallenge", b""))
    with refused("UNAUTHENTICATED"):
        next(iter(phone.call("Subscribe", subscribe_request(), metadata=())))
    with refused("NOT_FOUND"):
        stranger.acknowledge(challenge.challenge_id)
    phone.acknowledge(challenge.challenge_id)


@scenario("API keys: missing, wrong, of another tenant, of another role")
def credentials(world):
    idp, other = world.idp, world.other_idp
    user, _ = idp.new_user("ED25519")
    challenge = idp.ask(user)
    request = protos.approval.GetChallengeRequest(challenge_id=challenge.challenge_id)
    key = dict(idp.metadata)["authorization"]
    changed = key[:-1] + ("A" if key[-1] != "A" else "B")
    for metadata in ((), (("authorization", changed),), (("authorization", "Bearer csk_x_y"),)):
        with refused("UNAUTHENTICATED"):
            idp.approval.GetChallenge(request, metadata=metadata, timeout=20)
    with refused("NOT_FOUND"):
        other.get(challenge.challenge_id)
    with refused("NOT_FOUND"):
        other.cancel(challenge.challenge_id)
    with refused("NOT_FOUND"):
        other.wait(challenge.challenge_id)
    with refused("NOT_FOUND"):
        next(other.watch(challenge.challenge_id))
    equal(other.authenticators(user), [], "authenticators seen from another tenant")
    namesake = other.create(other.request(user))
    equal(reason(namesake), "UNREACHABLE", "the other tenant's user of the same name")
    equal(state(idp.get(challenge.challenge_id)), "PENDING", "the challenge meanwhile")
    admin = protos.admin_grpc.AdminServiceStub(idp.channel)
    with refused("PERMISSION_DENIED|UNAUTHENTICATED"):
        admin.ListTenants(protos.admin.ListTenantsRequest(), metadata=idp.metadata, timeout=20)
    operator = (("authorization", f"Bearer {world.broker.admin_key}"),)
    with refused("PERMISSION_DENIED|UNAUTHENTICATED"):
        idp.approval.GetChallenge(request, metadata=operator, timeout=20)
    listed = admin.ListTenants(protos.admin.ListTenantsRequest(), metadata=operator, timeout=20)
    assert idp.tenant_id in [tenant.tenant_id for tenant in listed.tenants], "tenants"


@scenario("an unknown rpc and an oversized message are refused")
def unknown(world):
    call = world.idp.channel.unary_unary("/countersign.v1.ApprovalService/Nothing")
    try:
        call(b"", metadata=world.idp.metadata, timeout=20)
    except grpc.RpcError as error:
        equal(error.code().name, "UNIMPLEMENTED", "code")
    else:
        raise AssertionError("answered")
    phone = Phone(world.broker.address, "P256")
    try:
        phone.enroll_body(b"\0" * 5_000_000)
    except grpc.RpcError as error:
        assert error.code().name in ("OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    else:
        raise AssertionError("answered")
