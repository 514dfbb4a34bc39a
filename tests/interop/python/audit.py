"""Scenarios: the audit trail, and what an export of it proves."""

import base64
import json
import pathlib
import tempfile

import audit_check
import codes
import protos
import signing
from administration import Admin
from checks import equal, refused, scenario
from identity_provider import ended
from policies import organisation


def some_history(world) -> tuple:
    """An organisation, its operator, and a user with a sign-in by text message."""
    idp, admin = organisation(world)
    user = codes.new_user()
    number, _ = codes.add_phone(idp, user)
    before = world.broker.gateways.last(number)
    asked = idp.ask(user)
    code = world.broker.gateways.code(number, before)
    with refused("INVALID_ARGUMENT", "WRONG_CODE"):
        idp.verify(asked, codes.wrong(code))
    ended(idp.verify(asked, code), "APPROVED", "CODE_VERIFIED")
    # Somebody else's, in between.
    world.other_idp.create(world.other_idp.request(codes.new_user()))
    phone = idp.new_phone(user, "P256")
    denied = idp.ask(user)
    phone.respond(phone.only_pending(), "DENY")
    return idp, admin, user, number, code, asked, denied, phone


def all_entries(admin, **filters) -> list:
    entries, token = [], ""
    while True:
        page = admin.call("ListAuditEntries", page_token=token, page_size=3, **filters)
        entries += page.entries
        token = page.next_page_token
        if not token:
            return entries


@scenario("ListAuditEntries: who did what to what, in pages, by user, action and object")
def list_entries(world):
    idp, admin, user, number, code, asked, denied, phone = some_history(world)
    entries = all_entries(admin)
    equal({entry.tenant_id for entry in entries}, {idp.tenant_id}, "organisations")
    places = [(entry.writer, entry.sequence) for entry in entries]
    equal(places, sorted(set(places)), "order")
    decided = all_entries(admin, action="challenge.decided")
    told = [(entry.object, entry.outcome, entry.user_id, entry.address) for entry in decided]
    wanted = [
        (asked.challenge_id, "APPROVED CODE_VERIFIED", user, "127.0.0.1"),
        (denied.challenge_id, "DENIED USER_DENIED", user, "127.0.0.1"),
    ]
    equal(told, wanted, "decisions")
    actors = [f"api_key:{idp.api_key_id}", f"device:{phone.device_id}"]
    equal([entry.actor for entry in decided], actors, "who decided")
    of_challenge = all_entries(admin, object=asked.challenge_id)
    equal(of_challenge, [e for e in entries if e.object == asked.challenge_id], "by object")
    assert len(all_entries(admin, action="challenge.")) > len(decided), "by the action's beginning"
    of_user = all_entries(admin, user_id=user)
    equal(of_user, [e for e in entries if e.user_id == user], "by user")
    late = all_entries(admin, start_time=decided[1].time)
    equal(late, [e for e in entries if e.time.ToNanoseconds() >= decided[1].time.ToNanoseconds()], "from")
    early = all_entries(admin, end_time=decided[1].time)
    equal(len(early) + len(late), len(entries), "up to")
    for entry in entries:
        audit_check.check_content(entry)
        seen = entry.SerializeToString()
        for secret in (number, number[1:], number[4:], code):
            assert secret.encode() not in seen, f"{entry.action} tells {secret}"
    with refused("NOT_FOUND"):
        admin.call("ListAuditEntries", tenant_id=world.idp.tenant_id)


@scenario("WatchAudit: what is new, from where one left off")
def watch(world):
    idp, admin = organisation(world)
    stream = admin.call("WatchAudit")
    resume = next(stream).resume_token
    challenge = idp.create(idp.request(codes.new_user()))
    told = list(next(stream).entries)
    stream.cancel()
    again = admin.call("WatchAudit", resume_token=resume)
    first = list(next(again).entries)
    again.cancel()
    equal(first[: len(told)], told, "the same again")
    equal({entry.object for entry in first}, {challenge.challenge_id}, "objects")
    equal(first, all_entries(admin, action="challenge."), "as listed")


@scenario("ExportAudit: chain, heads and seal hold, and show nothing of anybody else")
def export(world):
    idp, admin, user, *_ = some_history(world)
    keys = audit_check.key_set(idp.jwks())
    header, lines = audit_check.from_stream(admin.call("ExportAudit"))
    equal(header.tenant_id, idp.tenant_id, "organisation")
    equal(json.loads(header.jwks), idp.jwks(), "jwks")
    entries = audit_check.check(header, lines, keys)
    equal(entries, all_entries(admin), "as listed")
    assert any(line.HasField("digests") for line in lines), "nobody else did anything"
    whole = b"".join(line.SerializeToString() for line in lines)
    assert user.encode() in whole, "the organisation's own"
    for other in (world.idp, world.other_idp):
        for told in (other.tenant_id, other.api_key_id):
            assert told.encode() not in whole, f"{told} is somebody else's"

    world.other_idp.create(world.other_idp.request(codes.new_user()))
    installation = Admin(world.broker, world.broker.admin_key)
    header, lines = audit_check.from_stream(installation.call("ExportAudit"))
    everything = audit_check.check(header, lines, keys)
    assert not any(line.HasField("digests") for line in lines), "digests where all may be seen"
    equal([e for e in everything if e.tenant_id == idp.tenant_id], entries, "the same entries")
    # The head of the earlier export stands in the middle of this one.
    heads = [line.head for line in lines if line.HasField("head")]
    assert len(heads) >= 2, f"{len(heads)} heads"


def alterations(lines: list[dict]) -> dict[str, list[dict]]:
    """An export, altered in one way each."""
    entries = [place for place, line in enumerate(lines) if line["type"] == "entry"]
    one, two = entries[1], entries[2]
    heads = [place for place, line in enumerate(lines) if line["type"] == "head"]
    runs = [place for place, line in enumerate(lines) if line["type"] == "digests"]

    def without(place: int) -> list[dict]:
        return lines[:place] + lines[place + 1 :]

    def changed(place: int, **fields) -> list[dict]:
        return [*lines[:place], lines[place] | fields, *lines[place + 1 :]]

    content = protos.audit.AuditContent.FromString(base64.b64decode(lines[one]["content"]))
    content.outcome = "APPROVED USER_APPROVED"
    rewritten = {"outcome": content.outcome, "content": _base64(content.SerializeToString())}
    digest = {
        "type": "digests",
        "writer": lines[one]["writer"],
        "first_sequence": lines[one]["sequence"],
        "digests": [_base64(signing.sha256(base64.b64decode(lines[one]["content"])))],
        "link": lines[one]["link"],
    }
    swapped = list(lines)
    swapped[one], swapped[two] = swapped[two], swapped[one]
    stranger = signing.Ed25519Private()
    body = base64.b64decode(lines[-1]["body"])
    own = _base64(stranger.sign(audit_check.EXPORT, body))
    # All before the first head is somebody else's: only `first_kept` tells.
    assert heads[0] < entries[0], "no head before the first entry"
    swapped_digests = lines[runs[0]]["digests"][::-1] + [_base64(bytes(32))]
    return {
        "another outcome beside the content": changed(one, outcome="APPROVED USER_APPROVED"),
        "another content": changed(one, **rewritten),
        "another content, and all links made anew": relinked(changed(one, **rewritten)),
        "another user": changed(one, user_id="somebody@example.be"),
        "an entry dropped": without(one),
        "an entry dropped, and all links made anew": relinked(without(one)),
        "an entry twice": [*lines[: one + 1], *lines[one:]],
        "two entries in each other's place": swapped,
        "an entry as a digest": [*lines[:one], digest, *lines[one + 1 :]],
        "other digests": changed(runs[0], digests=swapped_digests),
        "the last head dropped": without(heads[-1]),
        "the beginning dropped, up to a signed head": [lines[0], *lines[heads[0] :]],
        "the header dropped": lines[1:],
        "a head less in the header": changed(0, heads=[]),
        "another issuer": changed(0, issuer="https://another.example"),
        "the seal dropped": lines[:-1],
        "the seal by another key": changed(len(lines) - 1, signature=own),
        "a head with another signature": changed(heads[-1], signature=lines[-1]["signature"]),
        "another time of the export": changed(0, export_time="2026-01-01T00:00:00Z"),
        "another organisation": changed(0, tenant_id=""),
        "something after the seal": [*lines, lines[-1]],
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def relinked(lines: list[dict]) -> list[dict]:
    """As somebody would who knows how links are made, but has no key."""
    link, sequence, made = bytes(32), 0, []
    for line in lines:
        if line["type"] == "entry":
            sequence += 1
            link = signing.sha256(link + signing.sha256(base64.b64decode(line["content"])))
            line = line | {"link": _base64(link), "sequence": sequence}
        elif line["type"] == "digests":
            first, sequence = sequence + 1, sequence + len(line["digests"])
            for digest in line["digests"]:
                link = signing.sha256(link + base64.b64decode(digest))
            line = line | {"link": _base64(link), "first_sequence": first}
        made.append(line)
    return made


@scenario("an export in a file: whole for `countersign audit verify` and for this check, altered for both")
def file(world):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        earlier, path, jwks, bad = (folder / name for name in ("earlier", "export", "jwks", "bad"))
        world.broker.run("audit", "export", "--output", str(earlier))
        idp, *_ = some_history(world)
        arguments = ("--tenant", idp.tenant_id, "--output", str(path))
        done = world.broker.run("audit", "export", *arguments)
        equal(done.returncode, 0, f"exit code ({done.stderr})")
        jwks.write_bytes(world.broker.get("/.well-known/jwks.json"))
        keys = audit_check.key_set(idp.jwks())

        told = json.loads(verify(world, path, jwks, 0))
        entries = audit_check.check(*audit_check.from_file(path), keys)
        equal((told["whole"], told["entries"]), (True, len(entries)), "verify")
        lines, before = (
            [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            for file in (path, earlier)
        )
        altered_ways = alterations(lines) | {
            "the header of an earlier export": [before[0], *lines[1:]],
            "the seal of an earlier export": [*lines[:-1], before[-1]],
        }
        for what, altered in altered_ways.items():
            text = "".join(json.dumps(line) + "\n" for line in altered)
            bad.write_text(text, encoding="utf-8")
            told = json.loads(verify(world, bad, jwks, 1, what))
            assert not told["whole"] and told["faults"], f"{what}: {told}"
            try:
                audit_check.check(*audit_check.from_file(bad), keys)
            except audit_check.Altered:
                continue
            raise AssertionError(f"{what}: not found")
        strange = signing.base64url(signing.Ed25519Private().public)
        other = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": strange}]}
        jwks.write_text(json.dumps(other), encoding="utf-8")
        verify(world, path, jwks, 1, "another broker's keys")
        try:
            audit_check.check(*audit_check.from_file(path), audit_check.key_set(other))
        except audit_check.Altered:
            return
        raise AssertionError("another broker's keys were good enough")


def verify(world, path, jwks, code: int, what: str = "as exported") -> str:
    done = world.broker.run("audit", "verify", str(path), "--jwks", str(jwks), "--json")
    equal(done.returncode, code, f"{what}: exit code ({done.stdout} {done.stderr})")
    return done.stdout
