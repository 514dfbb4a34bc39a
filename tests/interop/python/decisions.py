"""Scenarios: one question, one answer."""

import uuid

import protos
import signing
from checks import Background, equal, for_both_algorithms, refused, scenario
from identity_provider import ended, reason, seconds, state
from phone import NotMine, now


def wrong(number: str) -> str:
    return f"{(int(number) + 1) % 10 ** len(number):0{len(number)}}"


def still_pending(idp, challenge) -> None:
    seen = idp.get(challenge.challenge_id)
    equal(state(seen), "PENDING", "nothing was decided")
    equal(seen.receipt, "", "receipt of a pending challenge")


@for_both_algorithms("approve: shown, number typed, receipt followed down to the device's key")
def approve(world, algorithm):
    idp = world.idp
    user, phone = idp.new_user(algorithm)
    challenge = idp.ask(user)
    equal(len(challenge.number_to_match), 2, "digits of the number to match")
    waiting = Background(lambda: idp.wait(challenge.challenge_id))

    signed = phone.only_pending()
    body = phone.open(signed)
    equal(signed, challenge.signed_challenge, "what the phone and the page see")
    equal(body.challenge_id, challenge.challenge_id, "challenge_id")
    equal(body.organisation, "Eagle IT BVBA", "organisation")
    equal(body.context.application_name, "Office 365", "application")
    equal(body.context.location, "Gent, België", "location")
    equal([(d.label, d.value) for d in body.context.details], [("Bedrag", "€ 12,50")], "details")
    equal(body.number_digits, 2, "digits asked for")
    equal(len(body.nonce), 32, "nonce")
    equal(body.expire_time.ToSeconds() - body.create_time.ToSeconds(), 60, "life of a challenge")

    phone.acknowledge(challenge.challenge_id)
    wait_until_shown(idp, challenge, phone)

    answer = phone.respond(signed, "APPROVE", challenge.number_to_match)
    ended(answer, "APPROVED", "USER_APPROVED")
    decided = waiting.join()
    ended(decided, "APPROVED", "USER_APPROVED")
    equal(decided.decided_by_device_id, phone.device_id, "decided_by_device_id")
    equal(decided.deliveries[0].state, protos.challenge.DELIVERY_STATE_ANSWERED, "delivery")
    equal(phone.pending(), [], "pending after the answer")
    idp.check_receipt(decided, phone, "APPROVE")
    equal(idp.get(challenge.challenge_id), decided, "reading the outcome again")


def wait_until_shown(idp, challenge, phone) -> None:
    """The page learns that the user sees the prompt."""
    for change in idp.watch(challenge.challenge_id):
        (delivery,) = change.deliveries
        equal(delivery.device_id, phone.device_id, "device of the delivery")
        if delivery.state == protos.challenge.DELIVERY_STATE_SHOWN:
            return
    raise AssertionError("decided before it was shown")


@for_both_algorithms("deny")
def deny(world, algorithm):
    user, phone = world.idp.new_user(algorithm)
    challenge = world.idp.ask(user)
    ended(phone.respond(phone.only_pending(), "DENY"), "DENIED", "USER_DENIED")
    decided = world.idp.get(challenge.challenge_id)
    ended(decided, "DENIED", "USER_DENIED")
    world.idp.check_receipt(decided, phone, "DENY")


@for_both_algorithms("report: that wasn't me")
def report(world, algorithm):
    user, phone = world.idp.new_user(algorithm)
    challenge = world.idp.ask(user)
    ended(phone.respond(phone.only_pending(), "REPORT_FRAUD"), "DENIED", "FRAUD_REPORTED")
    decided = world.idp.get(challenge.challenge_id)
    ended(decided, "DENIED", "FRAUD_REPORTED")
    world.idp.check_receipt(decided, phone, "REPORT_FRAUD")


@for_both_algorithms("wrong number: one try, and the right one comes too late")
def wrong_number(world, algorithm):
    user, phone = world.idp.new_user(algorithm)
    challenge = world.idp.ask(user)
    signed = phone.only_pending()
    answer = phone.respond(signed, "APPROVE", wrong(challenge.number_to_match))
    ended(answer, "DENIED", "WRONG_NUMBER")
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        phone.respond(signed, "APPROVE", challenge.number_to_match)
    decided = world.idp.get(challenge.challenge_id)
    ended(decided, "DENIED", "WRONG_NUMBER")
    claims = world.idp.check_receipt(decided, phone, "APPROVE")
    equal(claims["decision"], "DENIED", "an approval with a wrong number is a denial")


@for_both_algorithms("approval without the number: an error, no decision")
def missing_number(world, algorithm):
    user, phone = world.idp.new_user(algorithm)
    challenge = world.idp.ask(user)
    with refused("INVALID_ARGUMENT"):
        phone.respond(phone.only_pending(), "APPROVE")
    still_pending(world.idp, challenge)


@for_both_algorithms("a response replayed")
def replayed(world, algorithm):
    user, phone = world.idp.new_user(algorithm)
    challenge = world.idp.ask(user)
    body = phone.answer(phone.only_pending(), "APPROVE", challenge.number_to_match)
    ended(phone.send(body), "APPROVED", "USER_APPROVED")
    before = world.idp.get(challenge.challenge_id)
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        phone.send(body)
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        phone.send(phone.answer(before.signed_challenge, "DENY"))
    equal(world.idp.get(challenge.challenge_id), before, "the decision")

    # The same answer to the next challenge is for another body.
    following = world.idp.ask(user)
    with refused("FAILED_PRECONDITION|INVALID_ARGUMENT"):
        phone.send(body)
    still_pending(world.idp, following)


@for_both_algorithms("a response signed by another device")
def another_device(world, algorithm):
    idp = world.idp
    user, phone, second = idp.new_user(algorithm, algorithm)
    _, stranger = idp.new_user(algorithm)
    challenge = idp.ask(user)
    number = challenge.number_to_match
    signed = phone.only_pending()
    body = phone.answer(signed, "APPROVE", number)
    for other in (second, stranger):
        with refused("UNAUTHENTICATED|PERMISSION_DENIED"):
            phone.send(body, key=other.key)
    # A stranger's own, well signed answer.
    foreign = phone.answer(signed, "APPROVE", number, device_id=stranger.device_id)
    with refused("NOT_FOUND|PERMISSION_DENIED"):
        stranger.send(foreign)
    # A device that does not exist, and one that is none.
    nobody = phone.answer(signed, "APPROVE", number, device_id=str(uuid.uuid4()))
    with refused("UNAUTHENTICATED|PERMISSION_DENIED|NOT_FOUND|INVALID_ARGUMENT"):
        phone.send(nobody)
    equal(stranger.pending(), [], "what a stranger's phone sees")
    still_pending(idp, challenge)


@for_both_algorithms("a response for another challenge")
def another_challenge(world, algorithm):
    idp = world.idp
    user, phone = idp.new_user(algorithm)
    other_user, other_phone = idp.new_user(algorithm)
    challenge, other = idp.ask(user), idp.ask(other_user)
    signed, other_signed = phone.only_pending(), other_phone.only_pending()
    digest = signing.sha256(other_signed.body)
    with refused("INVALID_ARGUMENT"):
        phone.respond(signed, "APPROVE", challenge.number_to_match, challenge_digest=digest)
    with refused("NOT_FOUND|PERMISSION_DENIED|INVALID_ARGUMENT"):
        phone.respond(signed, "APPROVE", other.number_to_match, challenge_id=other.challenge_id)
    with refused("NOT_FOUND"):
        phone.respond(
            signed, "APPROVE", challenge.number_to_match, challenge_id=_uuid7_like(challenge)
        )
    still_pending(idp, challenge)
    still_pending(idp, other)


def _uuid7_like(challenge) -> str:
    """A well-formed id that nobody has."""
    return challenge.challenge_id[:-12] + "00000000beef"


@for_both_algorithms("a challenge tampered with: refused by the phone, its answer by the broker")
def tampered(world, algorithm):
    idp = world.idp
    user, phone = idp.new_user(algorithm)
    challenge = idp.ask(user)
    signed = phone.only_pending()

    altered = protos.challenge.ChallengeBody.FromString(signed.body)
    altered.context.location = "Oostende"
    forged = protos.challenge.SignedChallenge(
        body=altered.SerializeToString(), key_id=signed.key_id, signature=signed.signature
    )
    not_shown(phone, forged)
    for spoilt in (
        {"body": signed.body[:-1] + bytes([signed.body[-1] ^ 1])},
        {"signature": bytes([signed.signature[0] ^ 1]) + signed.signature[1:]},
        {"signature": b""},
        {"key_id": "unknown"},
    ):
        kept = {"body": signed.body, "key_id": signed.key_id, "signature": signed.signature}
        not_shown(phone, protos.challenge.SignedChallenge(**kept | spoilt))
    mine = signing.Ed25519Private()
    own = protos.challenge.SignedChallenge(
        body=signed.body,
        key_id=signing.key_id(mine.public),
        signature=mine.sign(signing.CHALLENGE, signed.body),
    )
    not_shown(phone, own)

    # A phone that was deceived answers what it was shown: refused.
    number = challenge.number_to_match
    digest = signing.sha256(forged.body)
    with refused("INVALID_ARGUMENT"):
        phone.respond(signed, "APPROVE", number, challenge_digest=digest)
    still_pending(idp, challenge)


def not_shown(phone, signed) -> None:
    try:
        phone.open(signed)
    except (signing.Refused, NotMine):
        return
    raise AssertionError("the phone showed a challenge that is not the broker's")


@for_both_algorithms("no answers: unspecified, other label, wrong clock, garbage")
def malformed(world, algorithm):
    idp = world.idp
    user, phone = idp.new_user(algorithm)
    challenge = idp.ask(user)
    signed = phone.only_pending()
    number = challenge.number_to_match
    with refused("INVALID_ARGUMENT"):
        phone.respond(signed, "UNSPECIFIED", number)
    with refused("UNAUTHENTICATED|PERMISSION_DENIED"):
        body = phone.answer(signed, "APPROVE", number)
        phone.send(body, label=signing.DEVICE_PROOF)
    for offset in (-90, 90):
        with refused("INVALID_ARGUMENT|FAILED_PRECONDITION|UNAUTHENTICATED"):
            phone.respond(signed, "APPROVE", number, respond_time=now(offset))
    with refused("INVALID_ARGUMENT"):
        phone.send(b"\xff\xff\xff")
    with refused("INVALID_ARGUMENT"):
        phone.send(b"")
    for signature in (b"\0" * 63, b"\0" * 65):
        with refused("INVALID_ARGUMENT|UNAUTHENTICATED"):
            phone.send(phone.answer(signed, "APPROVE", number), signature=signature)
    with refused("UNAUTHENTICATED|PERMISSION_DENIED"):
        phone.send(phone.answer(signed, "APPROVE", number), signature=b"\0" * 64)
    still_pending(idp, challenge)
    ended(phone.respond(signed, "APPROVE", number), "APPROVED", "USER_APPROVED")


@scenario("expiry: ends by itself, with a receipt, and a late answer is refused")
def expiry(world):
    challenge, phone, decided = world.expiring.join(60)
    ended(decided, "EXPIRED", "TIMED_OUT")
    lived = decided.decide_time.ToMilliseconds() - decided.create_time.ToMilliseconds()
    assert 15_000 <= lived < 20_000, f"lived {lived} ms, not 15 s"
    claims = world.idp.claims(decided)
    assert "response_body" not in claims and "amr" not in claims, "nobody answered"
    equal(phone.pending(), [], "pending after the end")
    late = phone.answer_unchecked(challenge.signed_challenge, "APPROVE", challenge.number_to_match)
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        phone.send(late)
    equal(world.idp.get(challenge.challenge_id), decided, "the decision")


def start_expiring(idp) -> Background:
    """Begun before everything else, so that nobody waits for it."""
    user, phone = idp.new_user("P256")
    challenge = idp.ask(user, ttl=seconds(15))
    return Background(lambda: (challenge, phone, idp.wait(challenge.challenge_id, 60)))


@scenario("nobody to ask: UNREACHABLE at once")
def unreachable(world):
    user = f"{uuid.uuid4()}@example.be"
    challenge = world.idp.create(world.idp.request(user))
    equal(reason(challenge), "UNREACHABLE", "reason")
    assert state(challenge) not in ("PENDING", "APPROVED"), state(challenge)


@for_both_algorithms("two devices: the first answer decides, the other prompt is withdrawn")
def two_devices(world, algorithm):
    idp = world.idp
    user, first, second = idp.new_user(algorithm, "ED25519")
    stream = second.subscribe()
    stream.next("caught_up")
    challenge = idp.ask(user)
    equal(len(challenge.deliveries), 2, "deliveries")
    on_second = stream.next("challenge")
    ended(
        first.respond(first.only_pending(), "APPROVE", challenge.number_to_match),
        "APPROVED",
        "USER_APPROVED",
    )
    withdrawal = stream.next("withdrawal")
    equal(withdrawal.challenge_id, challenge.challenge_id, "withdrawn")
    ended(withdrawal, "APPROVED", "USER_APPROVED")
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        second.respond(on_second, "DENY")
    decided = idp.get(challenge.challenge_id)
    idp.check_receipt(decided, first, "APPROVE")
    stream.close()


@scenario("one device of two asked: the other sees nothing and may not answer")
def one_device_asked(world):
    idp = world.idp
    user, asked, other = idp.new_user("ED25519", "ED25519")
    challenge = idp.ask(user, device_id=asked.device_id)
    equal([d.device_id for d in challenge.deliveries], [asked.device_id], "deliveries")
    equal(other.pending(), [], "what the other device sees")
    signed = asked.only_pending()
    with refused("NOT_FOUND|PERMISSION_DENIED"):
        other.respond(signed, "APPROVE", challenge.number_to_match)
    still_pending(idp, challenge)


@scenario("a receipt tampered with or by another key is no receipt")
def forged_receipt(world):
    idp = world.idp
    user, phone = idp.new_user("P256")
    challenge = idp.ask(user)
    phone.respond(phone.only_pending(), "DENY")
    receipt = idp.get(challenge.challenge_id).receipt
    header, claims, signature = receipt.split(".")
    told = signing.from_base64url(claims).replace(b'"DENIED"', b'"APPROVED"')
    assert signing.base64url(told) != claims, "nothing was changed"
    for forged in (
        f"{header}.{signing.base64url(told)}.{signature}",
        f"{header}.{claims}.",
        signing.base64url(b'{"alg":"none"}') + f".{claims}.",
    ):
        try:
            idp.decode(forged)
        except Exception:
            continue
        raise AssertionError("a forged receipt was accepted")
    idp.decode(receipt)
