"""Scenario: /metrics, read by the Prometheus project's own parser for Python."""

import math

from prometheus_client.parser import text_string_to_metric_families

import codes
from checks import equal, refused, scenario
from identity_provider import ended

# Name, type and labels, as the parser has them: counters without `_total`.
FAMILIES = {
    "countersign_challenges_created": ("counter", set()),
    "countersign_challenges_decided": ("counter", {"state", "reason"}),
    "countersign_challenges_went_on": ("counter", {"method", "by"}),
    "countersign_calls_refused": ("counter", {"reason"}),
    "countersign_codes_refused": ("counter", {"reason"}),
    "countersign_guesses": ("counter", {"method", "verdict"}),
    "countersign_sms_range_alarms": ("counter", set()),
    "countersign_subscribed_devices": ("gauge", set()),
    "countersign_text_seconds": ("histogram", {"purpose"}),
    "countersign_texts": ("counter", {"purpose", "outcome"}),
}


def scrape(world) -> dict:
    text = world.broker.get("/metrics").decode()
    families = list(text_string_to_metric_families(text))
    named = {family.name: family for family in families}
    equal(len(named), len(families), "families of different names")
    return named


def value(families: dict, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) <= 1, f"{name} {labels} stands there {len(found)} times"
    return found[0] if found else 0


@scenario("/metrics: Prometheus' parser reads it, and what happens is counted once")
def metrics(world):
    idp, inbox = world.idp, world.broker.gateways
    user, phone = idp.new_user("P256")
    number, _ = codes.add_phone(idp, user)
    last = inbox.last(number)
    asked = idp.ask(user)
    before = scrape(world)
    idp.send_code(asked, "SMS")
    code = inbox.code(number, last)
    with refused("RESOURCE_EXHAUSTED", "RESEND_TOO_SOON"):
        idp.send_code(asked, "SMS")
    with refused("INVALID_ARGUMENT", "WRONG_CODE"):
        idp.verify(asked, codes.wrong(code))
    ended(idp.verify(asked, code), "APPROVED", "CODE_VERIFIED")
    after = scrape(world)
    for name, labels in (
        ("countersign_challenges_went_on_total", {"method": "SMS", "by": "caller"}),
        ("countersign_guesses_total", {"method": "SMS", "verdict": "wrong"}),
        ("countersign_guesses_total", {"method": "SMS", "verdict": "right"}),
        ("countersign_calls_refused_total", {"reason": "RESEND_TOO_SOON"}),
        ("countersign_challenges_decided_total", {"state": "APPROVED", "reason": "CODE_VERIFIED"}),
    ):
        grown = value(after, name, **labels) - value(before, name, **labels)
        equal(grown, 1, f"growth of {name} {labels}")
    refusals = [sum(sample.value for sample in codes_refused(seen)) for seen in (before, after)]
    equal(refusals[1] - refusals[0], 1, "growth of countersign_codes_refused_total")
    for name, (kind, labels) in FAMILIES.items():
        assert name in after, f"{name} is not there: {sorted(after)}"
        equal(after[name].type, kind, f"type of {name}")
        assert after[name].documentation, f"help of {name}"
        seen = {label for sample in after[name].samples for label in sample.labels} - {"le"}
        equal(seen, labels, f"labels of {name}")
    for family in after.values():
        check_family(family)
        values = {value for sample in family.samples for value in sample.labels.values()}
        personal = {user, phone.device_id, idp.tenant_id, number, asked.challenge_id}
        equal(values & personal, set(), f"labels of {family.name}")


def codes_refused(families: dict) -> list:
    family = families.get("countersign_codes_refused")
    return family.samples if family else []


def check_family(family) -> None:
    assert family.type in ("counter", "gauge", "histogram"), f"{family.name}: {family.type}"
    places = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
    equal(len(set(places)), len(places), f"different samples of {family.name}")
    if family.type == "counter":
        assert all(sample.name == f"{family.name}_total" for sample in family.samples), family.name
        assert all(sample.value >= 0 for sample in family.samples), family.name
    if family.type == "histogram":
        check_histogram(family)


def check_histogram(family) -> None:
    """Buckets grow up to the one without bound, which has all."""
    series: dict = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        bound = float(labels.pop("le", "nan"))
        of = series.setdefault(tuple(sorted(labels.items())), {"buckets": {}})
        if sample.name.endswith("_bucket"):
            of["buckets"][bound] = sample.value
        else:
            of[sample.name.removeprefix(family.name)] = sample.value
    for labels, of in series.items():
        counts = [count for _, count in sorted(of["buckets"].items())]
        equal(counts, sorted(counts), f"buckets of {family.name} {labels}")
        equal(of["buckets"][math.inf], of["_count"], f"count of {family.name} {labels}")
        assert of["_sum"] >= 0, f"sum of {family.name} {labels}"
