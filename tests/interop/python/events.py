"""Scenarios: following an organisation, and taking an approval back."""

import protos
import signing
from checks import equal, refused, scenario
from identity_provider import IdentityProvider, state

EVENT_TYPE = protos.event.EventType


def watch(idp: IdentityProvider, resume_token: str = "", **changes):
    request = protos.approval.WatchEventsRequest(resume_token=resume_token, **changes)
    return idp.approval.WatchEvents(request, metadata=idp.metadata, timeout=90)


def take(stream, count: int) -> list:
    """The next events, each with the place after it."""
    found = []
    while len(found) < count:
        answer = next(stream)
        if answer.WhichOneof("item") == "event":
            found.append((answer.event, answer.resume_token))
    return found


def names(found: list) -> list[str]:
    return [EVENT_TYPE.Name(event.type).removeprefix("EVENT_TYPE_") for event, _ in found]


@scenario("events: followed from any place, each once, and not those of others")
def followed(world):
    idp = IdentityProvider(world.broker, *world.broker.organisation("Events NV"))
    other = world.other_idp
    live = watch(idp)
    first = next(live)
    equal(first.WhichOneof("item"), "caught_up", "the first answer")
    user, phone = idp.new_user("P256")
    other.new_user("ED25519")
    challenge = idp.ask(user)
    phone.respond(phone.only_pending(), "APPROVE", challenge.number_to_match)
    given_up = idp.ask(user)
    idp.cancel(given_up.challenge_id)
    idp.remove(user, phone.device_id)
    seen = take(live, 4)
    equal(names(seen), ["ENROLLED", "DECIDED", "DECIDED", "REMOVED"], "what happened")
    for event, _ in seen:
        equal(event.user_id, user, "to whom")
    equal(seen[0][0].authenticator_id, phone.device_id, "what was enrolled")
    equal(seen[1][0].challenge_id, challenge.challenge_id, "what was decided")
    equal(seen[1][0].state, protos.challenge.CHALLENGE_STATE_APPROVED, "how")
    equal(seen[1][0].device_id, phone.device_id, "by which device")
    live.cancel()
    for at, place in enumerate([first.resume_token, *(token for _, token in seen)]):
        again = watch(idp, place)
        equal(take(again, 4 - at), seen[at:], f"from place {at}")
        equal(next(again).WhichOneof("item"), "caught_up", "no more")
        again.cancel()
    some = watch(idp, first.resume_token, types=[protos.event.EVENT_TYPE_REMOVED])
    equal(names(take(some, 1)), ["REMOVED"], "only what was asked for")
    some.cancel()
    with refused("INVALID_ARGUMENT", field="resume_token"):
        next(watch(idp, "nowhere"))
    with refused("FAILED_PRECONDITION", "EVENTS_GONE"):
        next(watch(idp, "1.999999999"))


@scenario("events: an approval taken back by another device")
def taken_back(world):
    idp = IdentityProvider(world.broker, *world.broker.organisation("Dissent NV"))
    user, phone, tablet = idp.new_user("ED25519", "P256")
    live = watch(idp)
    next(live)
    challenge = idp.ask(user)
    signed = tablet.only_pending()
    phone.respond(signed, "APPROVE", challenge.number_to_match)
    answer = tablet.send(tablet.answer_unchecked(signed, "REPORT_FRAUD"))
    assert answer.revoked, "recorded"
    equal(state(answer), "APPROVED", "the decision stands")
    after = idp.get(challenge.challenge_id)
    equal(after.revocation.device_id, tablet.device_id, "who said so")
    response = after.revocation.signed_response
    signing.public_key(tablet.algorithm, tablet.key.public).verify(
        signing.RESPONSE, response.body, response.signature
    )
    idp.check_receipt(after, phone, "APPROVE")
    seen = take(live, 2)
    equal(names(seen), ["DECIDED", "REVOKED"], "what happened")
    equal(seen[1][0].device_id, tablet.device_id, "who said so")
    live.cancel()
