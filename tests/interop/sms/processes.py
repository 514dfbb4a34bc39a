"""Programs that speak JSON lines, and the ports they use."""

import collections
import json
import queue
import socket
import subprocess
import threading
import time

PATIENCE = 30


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def wait_for_port(port):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Program:
    """A program; every line it prints is a JSON object."""

    def __init__(self, *command, log):
        self.log = open(log, "w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.lines = queue.Queue()
        self.passed_over = collections.deque()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def next(self, wanted):
        """The next object for which `wanted` holds; the others wait their turn."""
        for line in list(self.passed_over):
            if wanted(line):
                self.passed_over.remove(line)
                return line
        while True:
            line = self.lines.get(timeout=PATIENCE)
            assert line is not None, f"ended: {self.process.args}\n{self.said()}"
            if wanted(line):
                return line
            self.passed_over.append(line)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.log.close()


class Smsc(Program):
    """npm's `smpp` as SMSC."""

    def __init__(self, here, directory, port, system_id, password, *tls):
        script = str(here / "smsc.js")
        command = ("node", script, str(port), system_id, password, *map(str, tls))
        super().__init__(*command, log=directory / f"smsc-{port}.log")
        self.event("listening")

    def event(self, name):
        return self.next(lambda line: line["event"] == name)


class Texts(Program):
    """The broker's SMS gateways."""

    def __init__(self, program, directory, config):
        self.port = free_port()
        self.callback_url = f"http://127.0.0.1:{self.port}"
        path = directory / f"texts-{self.port}.toml"
        path.write_text(f'[sms]\ncallback_url = "{self.callback_url}"\n{config}')
        super().__init__(program, str(path), log=directory / f"texts-{self.port}.log")
        self.next(lambda line: "ready" in line)

    def send(self, to, body="Code: 123456", reference="ref", seconds=300):
        text = {"to": to, "body": body, "reference": reference, "seconds": seconds}
        self.process.stdin.write(json.dumps(text) + "\n")
        self.process.stdin.flush()
        return self.next(lambda line: "outcome" in line)

    def send_until(self, outcome, to):
        """Sends until it comes out so."""
        deadline = time.monotonic() + PATIENCE
        while (got := self.send(to))["outcome"] != outcome:
            assert time.monotonic() < deadline, got
            time.sleep(0.05)
        return got

    def receipt(self, reference):
        wanted = lambda line: line.get("receipt", {}).get("reference") == reference
        receipt = self.next(wanted)["receipt"]
        return receipt["state"], receipt["reason"]

    def stop(self):
        self.process.stdin.close()
        return self.process.wait(timeout=PATIENCE)
