#!/usr/bin/env python3
"""Plays an identity provider and its users' phones against a real broker,
with stock libraries and from the contract alone.

Usage: run.py PATH-TO-countersign PATH-TO-device-sim
"""

import sys
import types

# Importing them registers their scenarios, in this order: the audit trail is
# looked at when a key was rotated and much has happened.
import calls
import decisions
import events
import rotation
import service
import codes
import policies
import browsers
import metrics
import audit
from broker import Broker
from checks import run
from identity_provider import IdentityProvider

SCENARIO_MODULES = (
    calls, decisions, events, rotation, service, codes, policies, browsers, metrics, audit
)


def prepare(broker: Broker) -> types.SimpleNamespace:
    """Two identity providers, and a challenge that is left to expire meanwhile."""
    idp = IdentityProvider(broker, broker.tenant_id, broker.api_key, broker.api_key_id)
    other = IdentityProvider(broker, *broker.organisation("Another NV"))
    expiring = decisions.start_expiring(idp)
    return types.SimpleNamespace(broker=broker, idp=idp, other_idp=other, expiring=expiring)


def show_log(broker: Broker) -> None:
    print("--- the broker's log ---", broker.log(), "--- end ---", sep="\n", flush=True)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    with Broker(sys.argv[1], sys.argv[2]) as broker:
        try:
            passed, failed = run(prepare(broker))
        except Exception:
            show_log(broker)
            raise
        if failed:
            show_log(broker)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
