#!/usr/bin/env python3
"""Stock `a2` and `apns-h2` deliver to the emulator of APNs, and are refused by
it as Apple would refuse them.

Usage: run.py PATH-TO-device-sim PATH-TO-countersign-interop-apns

Both libraries know Apple's hosts on port 443 and nothing else. So everything
runs in network, mount and process namespaces of its own, with no interface but
loopback: a private /etc/hosts sends Apple's names to 127.0.0.1 and 127.0.0.2,
where the emulators listen on 443. The namespaces, and what runs in them, end
with this program. Needs util-linux and iproute2, and root or user namespaces.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import cases
from emulator import Emulator

PRODUCTION = "127.0.0.1"
SANDBOX = "127.0.0.2"
# a2 calls the sandbox by its older name, apns-h2 by the newer.
HOSTS = {
    "api.push.apple.com": PRODUCTION,
    "api.development.push.apple.com": SANDBOX,
    "api.sandbox.push.apple.com": SANDBOX,
}


def enter_namespaces():
    """Starts this program again where it sees loopback only."""
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        command.append("--map-root-user")
    again = [sys.executable, os.path.abspath(__file__), "--inside", *sys.argv[1:]]
    os.execvp("unshare", [*command, "--", *again])


def prepare_network(directory):
    """Loopback, and Apple's names on it."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    lines = ["127.0.0.1 localhost"] + [f"{ip} {name}" for name, ip in HOSTS.items()]
    hosts = pathlib.Path(directory, "hosts")
    hosts.write_text("\n".join(lines) + "\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    interfaces = [name for _, name in socket.if_nameindex()]
    if interfaces != ["lo"]:
        sys.exit(f"not alone: {interfaces}")
    for name, ip in HOSTS.items():
        if socket.gethostbyname(name) != ip:
            sys.exit(f"{name} is not {ip}")


def play(client, library, directory, pushes):
    """Sends pushes, those with the same group at once; what the library reports of each."""
    groups = []
    for push in pushes:
        if not groups or push.group is None or push.group != groups[-1][-1].group:
            groups.append([])
        groups[-1].append(push)
    credentials = f"{directory}/credentials"
    plan = {
        "library": library,
        "clients": {
            name: cases.client(library, name, credentials)
            for name in {push.request["client"] for push in pushes}
        },
        "groups": [[push.request for push in group] for group in groups],
    }
    done = subprocess.run(
        [client],
        input=json.dumps(plan),
        env=dict(os.environ, SSL_CERT_FILE=f"{credentials}/root-ca.pem"),
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def inside(device_sim, client):
    passed = failed = 0
    with tempfile.TemporaryDirectory() as directory:
        prepare_network(directory)
        flags = ["--credentials", f"{directory}/credentials"]
        flags += [flag for name in HOSTS for flag in ("--hostname", name)]
        flags += [flag for app in cases.apps() for flag in ("--app", app)]
        for title, mode, scenario in cases.SCENARIOS:
            with (
                # One after the other: they share the directory of keys.
                Emulator(device_sim, PRODUCTION, "--apns-port", "443", *flags, *mode) as production,
                Emulator(device_sim, SANDBOX, "--apns-sandbox-port", "443", *flags, *mode) as sandbox,
            ):
                for library in cases.LIBRARIES:
                    pushes = scenario(library, production, sandbox)
                    answers = play(client, library, directory, pushes)
                    if len(answers) != len(pushes):
                        sys.exit(f"{library}: {len(answers)} answers to {len(pushes)} pushes")
                    titles = {}
                    for push, answer in zip(pushes, answers):
                        emulator = sandbox if push.request["client"] == "sandbox" else production
                        wrong = cases.judge(library, push, answer, emulator)
                        titles[push.title] = titles.get(push.title) or wrong
                    for name, wrong in titles.items():
                        failed, passed = failed + bool(wrong), passed + (not wrong)
                        outcome = f"FAILED ({wrong})" if wrong else "ok"
                        print(f"{library}, {title}: {name}: {outcome}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--inside"]:
        return inside(*arguments[1:])
    if len(arguments) != 2:
        print(__doc__)
        return 2
    enter_namespaces()


if __name__ == "__main__":
    sys.exit(main())
