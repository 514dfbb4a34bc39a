"""Scenarios: "don't ask again on this browser"."""

import codes
from administration import Admin
from checks import equal, refused, scenario
from identity_provider import ended, method, state
from policies import options, organisation, step


def remembered(idp, user, phone) -> str:
    """The token of a browser after an approval with the box ticked."""
    asked = idp.ask(user, remember_browser=True)
    equal(asked.remembered_browser_token, "", "token before the approval")
    phone.respond(phone.only_pending(), "APPROVE", asked.number_to_match)
    approved = idp.wait(asked.challenge_id)
    ended(approved, "APPROVED", "USER_APPROVED")
    assert approved.remembered_browser_token, "no token"
    return approved.remembered_browser_token


def let_in(idp, user, token):
    """The challenge of a browser that is not asked."""
    challenge = idp.create(idp.request(user, browser_token=token))
    ended(challenge, "APPROVED", "REMEMBERED_BROWSER")
    return challenge


def asked_again(idp, user, token) -> None:
    challenge = idp.ask(user, browser_token=token)
    equal(challenge.remembered_browser_token, "", "token")
    idp.cancel(challenge.challenge_id)


@scenario("a remembered browser: let in without a question, the token changes at each use")
def rotation(world):
    idp = world.idp
    user, phone = idp.new_user("ED25519")
    token = remembered(idp, user, phone)
    equal(step(options(idp, user)), "APPROVE", "without the token")
    equal(step(options(idp, user, token)), "REMEMBERED", "with it")
    request = idp.request(user, browser_token=token)
    first = idp.create(request)
    ended(first, "APPROVED", "REMEMBERED_BROWSER")
    equal(method(first), "REMEMBERED_BROWSER", "method")
    equal(len(first.deliveries), 0, "deliveries")
    equal(phone.pending(), [], "prompts")
    claims = idp.claims(first)
    equal(claims["method"], "REMEMBERED_BROWSER", "method of the receipt")
    nobody = {"amr", "auth_time", "device_id", "device_key", "response_body", "authenticator_id"}
    equal(nobody & set(claims), set(), "claims of somebody who was asked")

    # The answer may get lost: the same request gives the same token.
    following = first.remembered_browser_token
    assert following not in ("", token), "the token did not change"
    equal(idp.create(request), first, "the same request again")
    last = let_in(idp, user, following).remembered_browser_token
    assert last not in ("", token, following), "the token did not change"


@scenario("a used token comes back: somebody has a copy, the browser is forgotten")
def replay(world):
    idp = world.idp
    user, phone = idp.new_user("P256")
    copied = remembered(idp, user, phone)
    thief = let_in(idp, user, copied).remembered_browser_token
    asked_again(idp, user, copied)
    asked_again(idp, user, thief)
    admin = Admin(world.broker, world.broker.admin_key)
    trail = admin.call(
        "ListAuditEntries", tenant_id=idp.tenant_id, user_id=user, action="browser."
    ).entries
    told = [entry.action for entry in trail]
    equal(told, ["browser.remembered", "browser.used", "browser.replayed"], "audit trail")


@scenario("a token is its user's and its organisation's, and cookies can be made up")
def made_up(world):
    idp = world.idp
    user, phone = idp.new_user("ED25519")
    other, _ = idp.new_user("ED25519")
    token = remembered(idp, user, phone)
    asked_again(idp, other, token)
    world.other_idp.new_phone(user, "ED25519")
    asked_again(world.other_idp, user, token)
    for nonsense in (token[:-1], token + "0", "csb_", "x" * 4000):
        challenge = idp.create(idp.request(user, browser_token=nonsense))
        equal(state(challenge), "PENDING", "a made-up token")
        phone.respond(phone.only_pending(), "APPROVE", challenge.number_to_match)
    let_in(idp, user, token)


@scenario("a code remembers a browser too; what takes trust away forgets it")
def forgotten(world):
    idp, admin = organisation(world)
    user, phone = idp.new_user("P256")
    paper = iter(idp.call("CreateRecoveryCodes", user_id=user).codes)

    def by_paper() -> str:
        asked = idp.ask(user, method="METHOD_RECOVERY_CODE", remember_browser=True)
        return idp.verify(asked, next(paper)).remembered_browser_token

    def report() -> None:
        idp.ask(user)
        phone.respond(phone.only_pending(), "REPORT_FRAUD")

    identity = {"tenant_id": idp.tenant_id, "user_id": user}
    ways = {
        "forgotten": lambda: equal(idp.call("ForgetBrowsers", user_id=user).forgotten, 1, "number"),
        "another policy": lambda: admin.policy(idp.tenant_id, browser_days=60),
        "a device removed": lambda: idp.new_phone(user, "ED25519").unenroll(),
        "reported": report,
        "locked": lambda: [admin.call(rpc, **identity) for rpc in ("LockUser", "UnlockUser")],
    }
    for way, take_away in ways.items():
        token = by_paper()
        equal(step(options(idp, user, token)), "REMEMBERED", f"before: {way}")
        take_away()
        equal(step(options(idp, user, token)), "APPROVE", way)
    admin.policy(idp.tenant_id, browser_days=0)
    equal(by_paper(), "", "token where policy remembers none")
