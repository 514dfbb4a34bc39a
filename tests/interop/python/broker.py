"""Starts the broker as an operator would, and stops it."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.request

import ports
from gateways import Gateways


class Broker:
    """A `countersign serve` on free ports of the loopback interface, emulated
    gateways to send by, and an organisation with an API key."""

    def __init__(self, binary: str, device_sim: str):
        self.binary = str(pathlib.Path(binary).resolve())
        self._device_sim = device_sim
        self._folder = tempfile.TemporaryDirectory(prefix="countersign-interop-")
        self.folder = pathlib.Path(self._folder.name)
        self.grpc_port, self.http_port = ports.free(2)
        self.address = f"127.0.0.1:{self.grpc_port}"
        self.http = f"http://127.0.0.1:{self.http_port}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("COUNTERSIGN_")}
        self._environment = inherited | {
            "COUNTERSIGN_CONFIG": str(self.folder / "broker.toml"),
            "COUNTERSIGN_DATA_DIR": str(self.folder / "data"),
            "COUNTERSIGN_GRPC__LISTEN": self.address,
            "COUNTERSIGN_HTTP__LISTEN": f"127.0.0.1:{self.http_port}",
            "COUNTERSIGN_ADDRESS": f"http://{self.address}",
        }
        self._log = open(self.folder / "log", "w+b")
        self._process = self.gateways = None

    def __enter__(self) -> "Broker":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def _start(self) -> None:
        self.gateways = Gateways(self._device_sim, self._folder.name)
        config = self.gateways.broker_toml(callback_url=self.http)
        (self.folder / "broker.toml").write_text(config, encoding="utf-8")
        self.admin_key = self.command("init", "--json")["admin_key"]
        self._environment["COUNTERSIGN_ADMIN_KEY"] = self.admin_key
        self._process = subprocess.Popen(
            [self.binary, "serve"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait_until_ready()
        self.tenant_id, self.api_key, self.api_key_id = self.organisation("Eagle IT BVBA")

    def organisation(self, name: str) -> tuple[str, str, str]:
        """Adds an organisation; its id, an API key and the key's id."""
        created = self.command("tenant", "create", name, "--country", "BE", "--json")
        return created["tenant_id"], *self.key(created["tenant_id"], "idp")

    def key(self, tenant_id: str, role: str) -> tuple[str, str]:
        """A new API key and its id."""
        key = self.command("key", "create", "--tenant", tenant_id, "--role", role, "--json")
        return key["api_key"], key["api_key_id"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs the program with the installation's key, whatever comes of it."""
        return subprocess.run(
            [self.binary, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def command(self, *arguments: str) -> dict:
        done = self.run(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"countersign {' '.join(arguments)}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.http + path, timeout=10) as answer:
            return answer.read()

    def log(self) -> str:
        self._log.flush()
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"countersign serve ended:\n{self.log()}")
            try:
                self.get("/readyz")
                return
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not ready after 60 s: {error}\n{self.log()}") from error
                time.sleep(0.05)

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self.gateways is not None:
            self.gateways.stop()
        self._log.close()
        self._folder.cleanup()
