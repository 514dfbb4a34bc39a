"""What is sent, and what must come back."""

import dataclasses
import time
import uuid

# Each library speaks for a team of its own: APNs counts a team's provider tokens.
LIBRARIES = {
    "a2": ("AAAAAAAA02", "KEYOFAAA02", "be.example.a2"),
    "apns-h2": ("HHHHHHHH02", "KEYOFHHH02", "be.example.h2"),
}
OTHER = ("OTHERTEAM1", "KEYOFOTHER", "be.example.other")
# Reasons that a2 has no word for: it gives the status, and drops the body.
UNKNOWN = {"a2": ("ExpiredToken", "InvalidPushType"), "apns-h2": ()}
BURST = 50
# The largest payload of an alert, in bytes, and what is in it besides "x".
LIMIT, AROUND = 4096, len('{"aps":{"alert":"Approve?"},"x":""}')


def apps():
    return [":".join(app) for app in (*LIBRARIES.values(), OTHER)]


def client(library, name, credentials):
    """A client's credentials: right, but for those named after what is wrong."""
    team, key, _ = LIBRARIES[library]
    file = key
    if name == "another team's id":
        team = OTHER[0]
    elif name == "unknown key id":
        key = "NOSUCHKEY0"
    elif name == "another team's key":
        file = OTHER[1]
    return {
        "sandbox": name == "sandbox",
        "key_file": f"{credentials}/AuthKey_{file}.p8",
        "key_id": key,
        "team_id": team,
    }


@dataclasses.dataclass
class Push:
    title: str
    request: dict
    status: int
    reason: str | None = None
    # Neighbours of the same group are sent at once.
    group: str | None = None
    # The text that the phone gets when it connects afterwards.
    stored: str | None = None


def judge(library, push, answer, emulator):
    """What is wrong, or nothing."""
    if answer["failure"]:
        return answer["failure"]
    word = None if push.reason in UNKNOWN[library] else push.reason
    got = (answer["status"], answer["reason"])
    if got != (push.status, word):
        return f"expected {push.status} {word}, got {got[0]} {got[1]}"
    if push.status == 410 and word:
        age = time.time() * 1000 - answer["timestamp"]
        if not 0 <= age < 300_000:
            return f"gone since {answer['timestamp']}, no recent time in milliseconds"
    if push.reason == "BadMessageId":
        return None
    asked = push.request.get("id")
    if asked and answer["id"] != asked:
        return f"apns-id {asked} came back as {answer['id']}"
    # The emulator's own record says the same.
    arrival = emulator.arrival(answer["id"])
    recorded = (arrival["status"], arrival["reason"], arrival["token"])
    if recorded != (push.status, push.reason, push.request["token"]):
        return f"recorded as {recorded}"
    if push.stored:
        stored = emulator.stored(push.request["token"])
        text = stored["payload"]["aps"]["alert"]["body"]
        if (stored["apns_id"], text) != (answer["id"], push.stored):
            return f"the phone got {stored}"
    return None


def alert(topic, body="Approve?"):
    payload = {"alert": {"body": body}}
    return {"client": "main", "topic": topic, "high": True, "payload": payload}


def raw(push_type, **body):
    return {"raw": {"push_type": push_type, "body": body}}


def everything(library, production, sandbox):
    """All that a stock client can be made to send."""
    topic = LIBRARIES[library][2]
    tokens = {
        "phone": production.phone(topic, "production"),
        "away": production.phone(topic, "production"),
        "collapsed": production.phone(topic, "production"),
        "removed": production.phone(topic, "production"),
        "run out": production.phone(topic, "production"),
        "another app's": production.phone(OTHER[2], "production"),
        "sandbox in production": production.phone(topic, "sandbox"),
        "sandbox": sandbox.phone(topic, "sandbox"),
    }
    production.remove(tokens["removed"])
    production.remove(tokens["run out"], "expired")
    pushes = []

    def add(title, status, reason=None, token="phone", group=None, stored=None, **changes):
        request = alert(topic) | {"token": tokens.get(token, token)} | changes
        pushes.append(Push(title, request, status, reason, group, stored))

    # Accepted.
    add("an alert", 200, token="away", stored="Approve?")
    full = {"collapse_id": "c" * 64, "expiration": int(time.time()) + 600}
    add("an alert with every header", 200, token="collapsed", id=str(uuid.uuid4()), **full)
    add("its successor", 200, token="collapsed", id=str(uuid.uuid4()), stored="Approve now?",
        **full | {"payload": alert(topic, "Approve now?")["payload"]})
    add("an alert not to be kept", 200, expiration=0)
    add("a background push", 200, high=False, payload="background")
    add("the largest payload", 200,
        payload=raw("alert", aps={"alert": "Approve?"}, x="x" * (LIMIT - AROUND)))
    add("an alert in the sandbox", 200, token="sandbox", client="sandbox")
    for _ in range(BURST):
        add(f"a burst of {BURST} over a connection in use", 200, group="burst")

    # The payload and its headers.
    add("one byte more", 413, "PayloadTooLarge",
        payload=raw("alert", aps={"alert": "Approve?"}, x="x" * (LIMIT - AROUND + 1)))
    add("no aps", 400, "PayloadEmpty", payload=raw("alert", challenge="c"))
    add("a background push at priority 10", 400, "BadPriority", payload="background")
    add("an alert called background", 400, "InvalidPushType", high=False,
        payload=raw("background", aps={"alert": "Approve?", "content-available": 1}))
    add("a background push called alert", 400, "InvalidPushType",
        payload=raw("alert", aps={"content-available": 1}))
    add("an apns-id that is no UUID", 400, "BadMessageId", id="1")
    # Over 64 bytes, the libraries refuse it themselves.
    add("an empty collapse id", 400, "BadCollapseId", collapse_id="")

    # The topic.
    add("no topic", 400, "MissingTopic", topic=None)
    add("another team's topic", 400, "TopicDisallowed", topic=OTHER[2])
    add("a topic that is none", 400, "BadTopic", topic="be example")

    # The device.
    add("no token", 400, "MissingDeviceToken", token="")
    add("a token that is not hexadecimal", 400, "BadDeviceToken", token="phone-1")
    add("a token that nobody has", 400, "BadDeviceToken", token="ab" * 32)
    add("a sandbox token in production", 400, "BadDeviceToken", token="sandbox in production")
    add("another app's token", 400, "DeviceTokenNotForTopic", token="another app's")
    add("the app was removed", 410, "Unregistered", token="removed")
    add("the token has run out", 410, "ExpiredToken", token="run out")

    # The provider token.
    for wrong in ("another team's id", "unknown key id", "another team's key"):
        add(wrong, 403, "InvalidProviderToken", client=wrong)
    add("a second provider token within 20 minutes", 200, client="second")
    add("a third one", 429, "TooManyProviderTokenUpdates", client="third")
    add("the first one, still", 200)
    return pushes


def refused(reason):
    """Good pushes, and not one accepted."""

    def scenario(library, production, sandbox):
        good = alert(LIBRARIES[library][2])
        phone = production.phone(good["topic"], "production")
        in_sandbox = {"client": "sandbox", "token": sandbox.phone(good["topic"], "sandbox")}
        return [
            Push("an alert", good | {"token": phone}, 403, reason),
            Push("an alert in the sandbox", good | in_sandbox, 403, reason),
        ]

    return scenario


# Title, flags of the emulators, what to send. Both libraries write their JWTs in
# plain base64 with padding, where RFC 7515, section 2, wants base64url without:
# hence the lenient mode, and what the strict one says to them.
SCENARIOS = (
    ("lenient", ["--lenient"], everything),
    ("strict", [], refused("InvalidProviderToken")),
    ("two hours later", ["--lenient", "--clock-ahead", "7200"], refused("ExpiredProviderToken")),
)
