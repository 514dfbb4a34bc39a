"""Scenarios: text messages, authenticator apps and recovery codes."""

import random
import time
import uuid

import pyotp

import protos
from checks import Background, equal, refused, scenario
from identity_provider import ended, method, seconds, state


def some_number() -> str:
    """A Belgian mobile number; no two are neighbours but by chance."""
    return f"+3247{random.randrange(10**7):07}"


def masked(number: str) -> str:
    return f"+XX XXXXXXX{number[-2:]}"


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}}"


def new_user() -> str:
    return f"{uuid.uuid4()}@example.be"


def add_phone(idp, user: str) -> tuple[str, str]:
    """A confirmed number and its authenticator's id."""
    number = some_number()
    added = idp.call("AddPhone", user_id=user, phone_number=number).authenticator
    identity = {"user_id": user, "authenticator_id": added.authenticator_id}
    idp.call("ConfirmPhone", **identity, code=idp.broker.gateways.code(number))
    return number, added.authenticator_id


def add_totp(idp, user: str) -> tuple[pyotp.TOTP, str]:
    """A confirmed authenticator app; the present code is used up."""
    added = idp.call("AddTotp", user_id=user)
    app = pyotp.parse_uri(added.otpauth_uri)
    identity = {"user_id": user, "authenticator_id": added.authenticator.authenticator_id}
    idp.call("ConfirmTotp", **identity, code=app.now())
    return app, added.authenticator.authenticator_id


def next_code(app: pyotp.TOTP) -> str:
    """Of the time step to come: the broker takes one step more or less."""
    return app.at(time.time() + app.interval)


def wrong_totp(app: pyotp.TOTP) -> str:
    near = {app.at(time.time() + step * app.interval) for step in range(-2, 4)}
    return next(code for code in map("{:06}".format, range(1000)) if code not in near)


def attempts_left(told: dict) -> int:
    return int(told["ErrorInfo"].metadata["attempts_left"])


def retry_after(told: dict) -> float:
    return told["RetryInfo"].retry_delay.ToMilliseconds() / 1000


@scenario("AddPhone, ConfirmPhone: the text's code proves the number, shown masked ever after")
def phone_number(world):
    idp, inbox = world.idp, world.broker.gateways
    user, number = new_user(), some_number()
    typed = f"{number[:3]} {number[3:6]}.{number[6:8]}-{number[8:]}"
    added = idp.call("AddPhone", user_id=user, phone_number=typed, language="nl-BE")
    equal(added.code_delivery.masked_destination, masked(number), "masked_destination")
    equal(added.code_delivery.attempts_left, 5, "attempts_left")
    authenticator = added.authenticator
    equal(authenticator.phone_number.masked_number, masked(number), "masked_number")
    equal(authenticator.phone_number.country, "BE", "country")
    equal(authenticator.phone_number.confirmed, False, "confirmed")
    (text,) = inbox.texts(number, wait=30)
    assert "Eagle IT BVBA" in text["text"] and text["segments"] == 1, text
    with refused("RESOURCE_EXHAUSTED", "RESEND_TOO_SOON") as told:
        idp.call("AddPhone", user_id=user, phone_number=number)
    assert 0 < retry_after(told) <= 30, f"{retry_after(told)} s"

    # As long as it is not proven nobody is texted there.
    ended(idp.create(idp.request(user)), "DENIED", "UNREACHABLE")
    code = inbox.code(number)
    identity = {"user_id": user, "authenticator_id": authenticator.authenticator_id}
    with refused("INVALID_ARGUMENT", "WRONG_CODE", field="code") as told:
        idp.call("ConfirmPhone", **identity, code=wrong(code))
    equal(attempts_left(told), 4, "attempts_left")
    stranger = identity | {"user_id": new_user()}
    with refused("NOT_FOUND"):
        idp.call("ConfirmPhone", **stranger, code=code)
    with refused("NOT_FOUND"):
        world.other_idp.call("ConfirmPhone", **identity, code=code)
    confirmed = idp.call("ConfirmPhone", **identity, code=f" {code[:3]} {code[3:]} ")
    equal(confirmed.authenticator.phone_number.confirmed, True, "confirmed")
    equal(confirmed.authenticator.phone_number.language[:2], "nl", "language")
    equal(idp.authenticators(user), [confirmed.authenticator], "listed")
    with refused("ALREADY_EXISTS", "NUMBER_KNOWN"):
        idp.call("AddPhone", user_id=user, phone_number=number)


@scenario("AddPhone: no number, no mobile, a country that policy does not text")
def bad_numbers(world):
    user = new_user()
    for number in ("", "0470123440", "+32", "+3247012344x", "+3225550100", "+31612345678"):
        with refused("INVALID_ARGUMENT|FAILED_PRECONDITION"):
            world.idp.call("AddPhone", user_id=user, phone_number=number)
    equal(world.idp.authenticators(user), [], "authenticators")


@scenario("no device: the code is texted by itself, and whoever waits sees the masked number")
def texted_by_itself(world):
    idp, inbox = world.idp, world.broker.gateways
    user = new_user()
    number, authenticator_id = add_phone(idp, user)
    before = inbox.last(number)
    asked = idp.ask(user)
    shown_masked(asked, number)
    equal(asked.number_to_match, "", "number to match")
    waited = idp.call(
        "WaitChallenge",
        challenge_id=asked.challenge_id,
        timeout=seconds(20),
        known_method="METHOD_PUSH",
    ).challenge
    shown_masked(waited, number)
    watched = idp.watch(asked.challenge_id)
    shown_masked(next(watched), number)
    decided = idp.verify(asked, inbox.code(number, before))
    idp.check_code_receipt(decided, "SMS", authenticator_id)
    ended(list(watched)[-1], "APPROVED", "CODE_VERIFIED")
    equal(idp.get(asked.challenge_id).receipt, decided.receipt, "reading the outcome again")


def shown_masked(challenge, number: str) -> None:
    equal((state(challenge), method(challenge)), ("PENDING", "SMS"), "goes on")
    equal(challenge.code_delivery.masked_destination, masked(number), "masked_destination")


@scenario("a dead push token: WaitChallenge and WatchChallenge are told of the text")
def falls_back(world):
    idp, inbox = world.idp, world.broker.gateways
    user = new_user()
    number, authenticator_id = add_phone(idp, user)
    token = inbox.token()
    push = protos.device.PushRegistration(
        gateway="GATEWAY_APNS", app_id="be.example.countersign", token=token
    )
    phone = idp.new_phone(user, "P256", push=push)
    inbox.uninstall(token)
    before = inbox.last(number)
    asked = idp.ask(user)
    equal(method(asked), "PUSH", "method")
    watched = idp.watch(asked.challenge_id)
    waited = idp.call(
        "WaitChallenge",
        challenge_id=asked.challenge_id,
        timeout=seconds(30),
        known_method="METHOD_PUSH",
        _timeout=60,
    ).challenge
    shown_masked(waited, number)
    shown_masked(next(seen for seen in watched if method(seen) != "PUSH"), number)
    failed = [d for d in waited.deliveries if d.device_id == phone.device_id]
    equal([d.state for d in failed], [protos.challenge.DELIVERY_STATE_FAILED], "push")
    assert failed[0].reason, "the gateway's own reason"
    decided = idp.verify(asked, inbox.code(number, before))
    idp.check_code_receipt(decided, "SMS", authenticator_id)


@scenario("a text's code: not before it is asked for, not again too soon, five wrong ones at most")
def wrong_codes(world):
    idp, inbox = world.idp, world.broker.gateways
    user, _ = idp.new_user("ED25519")
    asked = idp.ask(user)
    with refused("FAILED_PRECONDITION", "NO_CODE_EXPECTED"):
        idp.verify(asked, "123456")
    for other in ("SMS", "TOTP", "RECOVERY_CODE"):
        with refused("FAILED_PRECONDITION", "NO_AUTHENTICATOR"):
            idp.send_code(asked, other)
    number, _ = add_phone(idp, user)
    before = inbox.last(number)
    sent = idp.send_code(asked, "SMS")
    shown_masked(sent, number)
    wait = sent.code_delivery.resend_time.ToMilliseconds() / 1000 - time.time()
    assert 0 < wait <= 31, f"resend_time in {wait} s"
    code = inbox.code(number, before)
    for again in ("SMS", "UNSPECIFIED"):
        with refused("RESOURCE_EXHAUSTED", "RESEND_TOO_SOON") as told:
            idp.send_code(asked, again)
        assert 0 < retry_after(told) <= 30, f"{retry_after(told)} s"
    for nonsense in ("", "x" * 65):
        with refused("INVALID_ARGUMENT", field="code"):
            idp.verify(asked, nonsense)
    with refused("NOT_FOUND"):
        world.other_idp.verify(asked, code)
    for left in (4, 3, 2, 1):
        with refused("INVALID_ARGUMENT", "WRONG_CODE", field="code") as told:
            idp.verify(asked, wrong(code))
        equal(attempts_left(told), left, "attempts_left")
        equal(idp.get(asked.challenge_id).code_delivery.attempts_left, left, "as shown")
    denied = idp.verify(asked, wrong(code))
    ended(denied, "DENIED", "TOO_MANY_ATTEMPTS")
    claims = idp.claims(denied)
    assert "amr" not in claims and "authenticator_id" not in claims, "nobody was authenticated"
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED") as told:
        idp.verify(asked, code)
    equal(told["ErrorInfo"].metadata["state"], "CHALLENGE_STATE_DENIED", "state")
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        idp.send_code(asked, "SMS")

    # The next sign-in: nothing is looked at for a while, the right code neither.
    before = inbox.last(number)
    following = idp.ask(user, method="METHOD_SMS")
    with refused("RESOURCE_EXHAUSTED", "GUESS_TOO_SOON") as told:
        idp.verify(following, inbox.code(number, before))
    assert 0 < retry_after(told) <= 30, f"{retry_after(told)} s"


@scenario("denied on the phone: no code in this sign-in, nor for a while in the next")
def denied(world):
    idp = world.idp
    user, phone = idp.new_user("P256")
    number, _ = add_phone(idp, user)
    asked = idp.ask(user)
    phone.respond(phone.only_pending(), "DENY")
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
        idp.send_code(asked, "SMS")
    following = idp.ask(user)
    with refused("RESOURCE_EXHAUSTED", "DENIED_A_MOMENT_AGO") as told:
        idp.send_code(following, "SMS")
    assert 0 < retry_after(told) <= 60, f"{retry_after(told)} s"


@scenario("TOTP: pyotp reads the URI, the codes agree, each counts once")
def totp(world):
    idp, user = world.idp, new_user()
    added = idp.call("AddTotp", user_id=user, account_name="tom.cool@example.be")
    app = pyotp.parse_uri(added.otpauth_uri)
    assert isinstance(app, pyotp.TOTP), added.otpauth_uri
    equal(app.secret, added.secret, "secret")
    equal((app.issuer, app.name), ("Eagle IT BVBA", "tom.cool@example.be"), "shown in the app")
    equal((app.digits, app.interval, app.digest().name), (6, 30, "sha1"), "kind")
    assert "<svg" in added.qr_svg, "qr_svg"
    identity = {"user_id": user, "authenticator_id": added.authenticator.authenticator_id}
    ended(idp.create(idp.request(user)), "DENIED", "UNREACHABLE")
    with refused("INVALID_ARGUMENT", "WRONG_CODE", field="code") as told:
        idp.call("ConfirmTotp", **identity, code=wrong_totp(app))
    equal(attempts_left(told), 4, "attempts_left")
    used = app.now()
    confirmed = idp.call("ConfirmTotp", **identity, code=used).authenticator
    equal(confirmed.totp_app.confirmed, True, "confirmed")

    asked = idp.ask(user)
    equal(method(asked), "TOTP", "method")
    with refused("INVALID_ARGUMENT", "WRONG_CODE"):
        idp.verify(asked, used)
    code = next_code(app)
    decided = idp.verify(asked, f"{code[:3]} {code[3:]}")
    idp.check_code_receipt(decided, "TOTP", confirmed.authenticator_id)
    again = idp.ask(user)
    with refused("INVALID_ARGUMENT", "WRONG_CODE"):
        idp.verify(again, code)
    (listed,) = idp.authenticators(user)
    equal(listed.last_used_time, decided.decide_time, "last_used_time")


@scenario("recovery codes: ten of 80 bits, typing errors forgiven, each counts once, new ones void old")
def recovery_codes(world):
    idp, user = world.idp, new_user()
    old = idp.call("CreateRecoveryCodes", user_id=user).codes
    made = idp.call("CreateRecoveryCodes", user_id=user)
    equal(len(set(made.codes)), 10, "codes")
    equal(made.authenticator.recovery_codes.remaining, 10, "remaining")
    for code in made.codes:
        assert [len(group) for group in code.split("-")] == [4] * 4, code
        assert not set(code) & set("ILOU"), code
    asked = idp.ask(user, method="METHOD_RECOVERY_CODE")
    with refused("INVALID_ARGUMENT", "WRONG_CODE") as told:
        idp.verify(asked, old[0])
    equal(attempts_left(told), 4, "attempts_left")
    typed = made.codes[0].lower().replace("-", " ").replace("0", "o").replace("1", "l")
    decided = idp.verify(asked, typed)
    idp.check_code_receipt(decided, "RECOVERY_CODE", made.authenticator.authenticator_id)
    (listed,) = idp.authenticators(user)
    equal(listed.recovery_codes.remaining, 9, "remaining")
    again = idp.ask(user, method="METHOD_RECOVERY_CODE")
    with refused("INVALID_ARGUMENT", "WRONG_CODE"):
        idp.verify(again, made.codes[0])
    ended(idp.verify(again, made.codes[1]), "APPROVED", "CODE_VERIFIED")


@scenario("another way and back: push, text, app, paper, push, inside one sign-in")
def there_and_back(world):
    idp, inbox = world.idp, world.broker.gateways
    user, phone = idp.new_user("ED25519")
    number, _ = add_phone(idp, user)
    app, _ = add_totp(idp, user)
    idp.call("CreateRecoveryCodes", user_id=user)
    before = inbox.last(number)
    asked = idp.ask(user)
    seen = []
    for way in ("SMS", "TOTP", "RECOVERY_CODE", "PUSH", "SMS"):
        changed = idp.send_code(asked, way)
        seen.append(method(changed))
        equal(state(changed), "PENDING", "state")
    equal(seen, ["SMS", "TOTP", "RECOVERY_CODE", "PUSH", "SMS"], "methods")
    # A code is looked at as what the page asks for, only.
    with refused("INVALID_ARGUMENT", "WRONG_CODE") as told:
        idp.verify(asked, next_code(app))
    equal(attempts_left(told), 4, "attempts_left")
    inbox.code(number, before)
    codes = [text for text in inbox.texts(number, before) if text["text"][0].isdigit()]
    equal(len(codes), 1, "texts sent: back to the one that still counts")
    # Whichever comes first decides: here the phone.
    phone.respond(phone.only_pending(), "APPROVE", asked.number_to_match)
    decided = idp.wait(asked.challenge_id)
    ended(decided, "APPROVED", "USER_APPROVED")
    equal(method(decided), "PUSH", "method")
    idp.check_receipt(decided, phone, "APPROVE")
    with refused("FAILED_PRECONDITION", "ALREADY_DECIDED") as told:
        idp.verify(asked, codes[0]["text"][:6])
    equal(told["ErrorInfo"].metadata["state"], "CHALLENGE_STATE_APPROVED", "state")


@scenario("notices: the phone is told of every other way that is added or removed, nothing secret")
def notices(world):
    idp = world.idp
    user, phone = idp.new_user("P256")
    stream = phone.subscribe()
    stream.start()
    number, number_id = add_phone(idp, user)
    app, app_id = add_totp(idp, user)
    paper = idp.call("CreateRecoveryCodes", user_id=user)
    for each in (number_id, app_id, paper.authenticator.authenticator_id):
        idp.remove(user, each)
    kinds = protos.device.NoticeKind
    wanted = [
        "PHONE_ADDED",
        "TOTP_ADDED",
        "RECOVERY_CODES_CREATED",
        "PHONE_REMOVED",
        "TOTP_REMOVED",
        "RECOVERY_CODES_REMOVED",
    ]
    told = [stream.next("notice") for _ in wanted]
    stream.close()
    names = [kinds.Name(each.kind).removeprefix("NOTICE_KIND_") for each in told]
    equal(names, wanted, "notices")
    numbers = [each.number for each in told]
    equal(numbers, sorted(set(numbers)), "numbers")
    argument = {argument for each in told for argument in each.arguments}
    for secret in (number, number[1:], number[4:], app.secret, *paper.codes):
        assert not any(secret in each for each in argument), f"a notice tells {secret}"

    # What the phone has it is not told again.
    def listed(after: int) -> list:
        request = protos.device.ListPendingChallengesRequest(last_notice=after)
        return list(phone.call("ListPendingChallenges", request).notices)

    equal(listed(0)[-6:], told, "all of them")
    equal(listed(numbers[3]), told[4:], "what is newer")
    equal(listed(numbers[-1]), [], "nothing newer")


@scenario("eight pages with the right code at once: one decision")
def race(world):
    idp, inbox = world.idp, world.broker.gateways
    user = new_user()
    number, _ = add_phone(idp, user)
    before = inbox.last(number)
    asked = idp.ask(user)
    code = inbox.code(number, before)

    def attempt() -> bool:
        try:
            with refused("FAILED_PRECONDITION", "ALREADY_DECIDED"):
                ended(idp.verify(asked, code), "APPROVED", "CODE_VERIFIED")
        except AssertionError as error:
            if "went through" in str(error):
                return True
            raise
        return False

    attempts = [Background(attempt) for _ in range(8)]
    equal(sum(each.join() for each in attempts), 1, "calls that decided")
