"""The emulated gateways of `device-sim gateways`, and the phones' text messages."""

import json
import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import ports


class Gateways:
    """Emulators of APNs, FCM and SMS gateways on free ports."""

    def __init__(self, binary: str, folder: str):
        (control,) = ports.free(1)
        self.control = f"http://127.0.0.1:{control}"
        self._log = open(pathlib.Path(folder) / "gateways.log", "w+b")
        any_port = [
            f"--{name}-port=0"
            for name in ("apns", "apns-sandbox", "fcm", "twilio", "webhook", "smpp")
        ]
        self._process = subprocess.Popen(
            [str(pathlib.Path(binary).resolve()), "gateways", f"--control-port={control}", *any_port],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def broker_toml(self, callback_url: str) -> str:
        """The broker's configuration for these gateways; waits until they are there."""
        query = urllib.parse.urlencode({"callback_url": callback_url})
        deadline = time.monotonic() + 60
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"device-sim gateways ended:\n{self.log()}")
            try:
                return self._call("GET", f"/broker.toml?{query}").decode()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no gateways after 60 s: {error}\n{self.log()}") from error
                time.sleep(0.05)

    # -- text messages

    def texts(self, number: str, after: int = 0, wait: int | None = None) -> list[dict]:
        """What came for a number after the message `after`; with `wait`, once there is one."""
        query = {"to": number, "after": after} | ({} if wait is None else {"wait": wait})
        path = f"/sms/inbox?{urllib.parse.urlencode(query)}"
        return json.loads(self._call("GET", path, timeout=(wait or 0) + 20))

    def last(self, number: str) -> int:
        """Its newest message so far, for `after`."""
        return max((text["seq"] for text in self.texts(number)), default=0)

    def code(self, number: str, after: int = 0) -> str:
        """The code in the next text with one: it stands first, so that it shows
        in a notification. Others tell of changes to the account."""
        while True:
            texts = self.texts(number, after, wait=30)
            assert texts, f"no text for {number} within 30 s"
            for text in texts:
                if found := re.match(r"(\d{4,10})\b", text["text"]):
                    return found[1]
                after = text["seq"]

    # -- phones

    def token(self, app: str = "be.example.countersign") -> str:
        """The push token of a phone that has the app."""
        registration = {"gateway": "apns", "app_id": app, "environment": "production"}
        return json.loads(self._call("POST", "/devices", registration))["token"]

    def uninstall(self, token: str) -> None:
        self._call("DELETE", f"/devices/{token}?how=uninstalled")

    def _call(self, method: str, path: str, body=None, timeout: float = 20) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read()

    def log(self) -> str:
        self._log.flush()
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
