"""A running `device-sim gateways`, and its control page."""

import json
import subprocess
import urllib.request


class Emulator:
    def __init__(self, device_sim, address, *flags):
        self.control = f"http://{address}:2201"
        self.process = subprocess.Popen(
            [device_sim, "gateways", "--listen", address, *flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        # The greeting comes when everything listens, and ends with an empty line.
        for line in self.process.stderr:
            if line == "\n":
                break
        else:
            raise RuntimeError(f"the emulators on {address} ended: {self.process.wait()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def phone(self, topic, environment):
        """A phone with the app: its device token."""
        registration = {"gateway": "apns", "app_id": topic, "environment": environment}
        return self.call("POST", "/devices", registration)["token"]

    def remove(self, token, how="uninstalled"):
        self.call("DELETE", f"/devices/{token}?how={how}")

    def arrival(self, apns_id):
        """What the emulator wrote down of a push."""
        (one,) = [one for one in self.call("GET", "/received") if one["id"] == apns_id]
        return one

    def stored(self, token):
        """The push that waited for a phone that was away: it connects, and hangs up."""
        with urllib.request.urlopen(f"{self.control}/devices/{token}/pushes", timeout=10) as pushes:
            return json.loads(pushes.readline())
