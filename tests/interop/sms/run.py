#!/usr/bin/env python3
"""The broker's SMS gateways against software nobody here wrote: npm's `smpp`
as SMSC, Kannel behind the webhook, and Twilio's own library.

Usage: run.py PATH-TO-texts PATH-TO-device-sim
"""

import pathlib
import sys
import tempfile
import types

import kannel_scenarios
import smpp_scenarios
import twilio_scenarios

HERE = pathlib.Path(__file__).resolve().parent


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    programs = types.SimpleNamespace(texts=sys.argv[1], device_sim=sys.argv[2])
    failed = 0
    modules = (smpp_scenarios, kannel_scenarios, twilio_scenarios)
    scenarios = [scenario for module in modules for scenario in module.SCENARIOS]
    for scenario in scenarios:
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            try:
                scenario(programs, HERE, directory)
            except Exception as error:
                failed += 1
                print(f"FAILED {scenario.__name__}: {error!r}")
                for log in sorted(directory.glob("*.log")):
                    print(f"--- {log.name} ---", *log.read_text().splitlines()[-25:], sep="\n")
            else:
                print(f"ok {scenario.__name__}")
    print(f"{len(scenarios) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
