"""Scenarios: an organisation's rules, and what a sign-in page has to show by them."""

import codes
import protos
from administration import Admin
from checks import equal, refused, scenario
from identity_provider import IdentityProvider, ended, method, seconds

A = protos.approval


def organisation(world) -> tuple[IdentityProvider, Admin]:
    """An organisation whose rules nobody else lives by, and its own operator."""
    broker = world.broker
    idp = IdentityProvider(broker, *broker.organisation("Eagle IT BVBA"))
    return idp, Admin(broker, broker.key(idp.tenant_id, "admin")[0])


@scenario("UpdatePolicy: what the mask names changes, by the version seen, and each version is kept")
def update(world):
    idp, admin = organisation(world)
    tenant = idp.tenant_id
    first = admin.call("GetPolicy", tenant_id=tenant).policy
    equal(first.version, 1, "version")
    equal((first.codes.digits, first.browser_days, list(first.sms.countries)), (6, 30, ["BE"]), "defaults")

    wanted = {"codes": {"digits": 8, "max_wrong": 3}, "browser_days": 7}
    second = admin.policy(tenant, mask=["codes.digits"], version=1, **wanted)
    equal((second.version, second.codes.digits), (2, 8), "changed")
    equal((second.codes.max_wrong, second.browser_days), (5, 30), "not named in the mask")
    equal(admin.call("GetPolicy", tenant_id=tenant).policy, second, "as stored")
    with refused("FAILED_PRECONDITION", "VERSION_CHANGED") as told:
        admin.policy(tenant, mask=["browser_days"], version=1, browser_days=9)
    equal(told["ErrorInfo"].metadata["version"], "2", "the present version")
    equal(admin.policy(tenant, browser_days=30).version, 2, "a change that changes nothing")

    third = admin.policy(tenant, browser_days=0, sms={"per_number_hour": 3})
    equal((third.browser_days, third.sms.per_number_hour), (0, 3), "without a mask: what is set")
    equal(list(third.sms.countries), ["BE"], "without a mask: all else")
    fourth = admin.policy(tenant, mask=["sms.countries", "codes", "browser_days"])
    equal(list(fourth.sms.countries), [], "emptied")
    equal((fourth.codes, fourth.browser_days), (first.codes, 30), "back to the defaults")
    back = admin.policy(tenant, mask=["*"], **_fields(second))
    equal(back.version, 5, "version")
    back.version = 2
    equal(back, second, "all of an earlier version")

    versions = admin.call("ListPolicyVersions", tenant_id=tenant).versions
    equal([each.policy.version for each in versions], [5, 4, 3, 2, 1], "versions")
    equal(versions[3].policy, second, "the second")
    assert versions[3].changed_by.startswith("api_key:"), versions[3].changed_by
    older = admin.call("ListPolicyVersions", tenant_id=tenant, page_size=1, before_version=3)
    equal([each.policy.version for each in older.versions], [2], "before the third")


def _fields(policy) -> dict:
    return {field.name: value for field, value in policy.ListFields() if field.name != "version"}


@scenario("UpdatePolicy: all faults are named together, and nothing changes")
def faults(world):
    idp, admin = organisation(world)
    before = admin.call("GetPolicy", tenant_id=idp.tenant_id).policy
    with refused("INVALID_ARGUMENT") as told:
        admin.policy(
            idp.tenant_id,
            codes={"digits": 3, "ttl": seconds(601)},
            sms={"countries": ["BE", "UK"]},
            methods={"sms": False, "recommended": "METHOD_SMS"},
            number_digits=7,
            language="tlh",
        )
    named = {violation.field for violation in told["BadRequest"].field_violations}
    wanted = {
        "policy.codes.digits", "policy.codes.ttl", "policy.sms.countries[1]",
        "policy.methods.recommended", "policy.number_digits", "policy.language",
    }
    equal(named, wanted, "fields")
    with refused("INVALID_ARGUMENT", field="update_mask"):
        admin.policy(idp.tenant_id, mask=["codes.length"])
    equal(admin.call("GetPolicy", tenant_id=idp.tenant_id).policy, before, "rules")


@scenario("presets: listed with what they set, applied, and an organisation's own stays")
def presets(world):
    idp, admin = organisation(world)
    listed = {each.name: each for each in admin.call("ListPolicyPresets").presets}
    equal(set(listed), {"standard", "nist", "phishing-hardened", "low-friction"}, "presets")
    nist = admin.policy(idp.tenant_id, preset="NIST")
    equal((nist.number_digits, nist.methods.sms, nist.browser_days), (6, False, 0), "nist")
    equal(list(nist.sms.countries), ["BE"], "the organisation's own")
    nist.version = listed["nist"].policy.version
    del nist.sms.countries[:]
    equal(nist, listed["nist"].policy, "as listed")


@scenario("policy counts at once: digits, sends, caps, methods")
def at_once(world):
    idp, admin = organisation(world)
    inbox = world.broker.gateways
    user = codes.new_user()
    number, _ = codes.add_phone(idp, user)
    codes.add_totp(idp, user)
    admin.policy(idp.tenant_id, codes={"digits": 8, "max_sends": 1, "max_wrong": 1})
    before = inbox.last(number)
    asked = idp.ask(user, method="METHOD_SMS")
    equal(asked.code_delivery.attempts_left, 1, "attempts_left")
    code = inbox.code(number, before)
    equal(len(code), 8, "digits")
    with refused("FAILED_PRECONDITION", "TOO_MANY_SENDS"):
        idp.send_code(asked, "SMS")
    admin.policy(idp.tenant_id, methods={"totp": False})
    with refused("FAILED_PRECONDITION", "NOT_BY_POLICY"):
        idp.send_code(asked, "TOTP")
    ended(idp.verify(asked, codes.wrong(code)), "DENIED", "TOO_MANY_ATTEMPTS")

    admin.policy(idp.tenant_id, sms={"per_number_hour": 1})
    with refused("RESOURCE_EXHAUSTED", "NUMBER_CAP") as told:
        idp.create(idp.request(user, method="METHOD_SMS"))
    assert 0 < codes.retry_after(told) <= 3600, f"{codes.retry_after(told)} s"
    admin.policy(idp.tenant_id, sms={"per_number_hour": 6, "per_tenant_day": 2})
    with refused("RESOURCE_EXHAUSTED", "TENANT_CAP"):
        idp.create(idp.request(user, method="METHOD_SMS"))
    admin.policy(idp.tenant_id, mask=["sms.countries"])
    with refused("INVALID_ARGUMENT|FAILED_PRECONDITION"):
        idp.call("AddPhone", user_id=user, phone_number=codes.some_number())


@scenario("rules and people: whose keys may see and change them")
def whose(world):
    idp, admin = organisation(world)
    _, stranger = organisation(world)
    for rpc in ("GetPolicy", "UpdatePolicy", "ListPolicyVersions", "GetTenant"):
        with refused("NOT_FOUND"):
            stranger.call(rpc, tenant_id=idp.tenant_id)
    caller = Admin(world.broker, dict(idp.metadata)["authorization"].removeprefix("Bearer "))
    for rpc in ("GetPolicy", "UpdatePolicy"):
        with refused("PERMISSION_DENIED"):
            caller.call(rpc, tenant_id=idp.tenant_id)
    installation = Admin(world.broker, world.broker.admin_key)
    equal(installation.policy(idp.tenant_id, browser_days=1).browser_days, 1, "installation key")
    equal(admin.call("GetPolicy", tenant_id=idp.tenant_id).policy.version, 2, "version")


def options(idp, user: str, token: str = ""):
    return idp.call("GetSignInOptions", user_id=user, browser_token=token)


def step(answer) -> str:
    return A.NextStep.Name(answer.next_step).removeprefix("NEXT_STEP_")


@scenario("GetSignInOptions: off, put off, register, approve, enter the code, locked")
def next_steps(world):
    idp, admin = organisation(world)
    tenant, user = idp.tenant_id, codes.new_user()
    admin.policy(tenant, enrollment={"enforcement": "ENFORCEMENT_OFF"})
    equal(step(options(idp, user)), "NOTHING_TO_ASK", "switched off")

    encouraged = {"enforcement": "ENFORCEMENT_ENCOURAGED", "max_snoozes": 1}
    admin.policy(tenant, enrollment=encouraged)
    shown = options(idp, user)
    equal((step(shown), shown.snoozes_left), ("ENROLL_OR_SNOOZE", 1), "encouraged")
    choices = [A.EnrollmentChoice.Name(each) for each in shown.enrollment_choices]
    wanted = [
        "ENROLLMENT_CHOICE_MOBILE_APP",
        "ENROLLMENT_CHOICE_AUTHENTICATION_PHONE",
        "ENROLLMENT_CHOICE_TOTP_APP",
    ]
    equal(choices, wanted, "choices")
    equal(idp.call("SnoozeEnrollment", user_id=user).snoozes_left, 0, "snoozes_left")
    with refused("FAILED_PRECONDITION", "NO_SNOOZE"):
        idp.call("SnoozeEnrollment", user_id=user)
    equal(step(options(idp, user)), "ENROLL", "put off often enough")
    listed = {"enforcement": "ENFORCEMENT_REQUIRED", "listed_users_only": True}
    admin.policy(tenant, enrollment=listed)
    equal(step(options(idp, user)), "NOTHING_TO_ASK", "not listed")
    admin.call("SetUserEnrollment", tenant_id=tenant, user_id=user, listed=True)
    equal(step(options(idp, user)), "ENROLL", "listed")

    number, _ = codes.add_phone(idp, user)
    shown = options(idp, user)
    equal(step(shown), "ENTER_CODE", "with a number")
    (sms,) = shown.methods
    equal((method(sms), sms.masked_destination), ("SMS", codes.masked(number)), "method")
    equal(sms.available, True, "available")
    phone = idp.new_phone(user, "P256")
    shown = options(idp, user)
    equal(step(shown), "APPROVE", "with a phone")
    equal([method(each) for each in shown.methods], ["PUSH", "SMS"], "methods")
    equal(list(shown.methods[0].device_names), ["Python phone (P256)"], "device_names")

    pending = idp.ask(user)
    locked = admin.call("LockUser", tenant_id=tenant, user_id=user).user
    reasons = locked.lock.DESCRIPTOR.fields_by_name["reason"].enum_type.values_by_number
    equal(reasons[locked.lock.reason].name, "LOCK_REASON_OPERATOR", "reason")
    ended(idp.wait(pending.challenge_id), "DENIED", "LOCKED_OUT")
    equal(step(options(idp, user)), "LOCKED", "locked")
    ended(idp.create(idp.request(user)), "DENIED", "LOCKED_OUT")
    admin.call("UnlockUser", tenant_id=tenant, user_id=user)
    asked = idp.ask(user)
    phone.respond(phone.only_pending(), "APPROVE", asked.number_to_match)
    ended(idp.wait(asked.challenge_id), "APPROVED", "USER_APPROVED")

    admin.call("ResetUser", tenant_id=tenant, user_id=user)
    equal(step(options(idp, user)), "ENROLL", "reset")
    equal(idp.authenticators(user), [], "authenticators")
    with refused("UNAUTHENTICATED|PERMISSION_DENIED|NOT_FOUND"):
        phone.pending()
