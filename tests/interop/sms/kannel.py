"""Kannel from Debian: bearerbox with an SMPP link, and smsbox."""

import pathlib
import subprocess

from processes import free_port, wait_for_port

CONFIG = """
group = core
admin-port = {admin}
admin-password = {password}
smsbox-port = {box}
box-allow-ip = "127.0.0.1"
log-file = "{directory}/bearerbox.log"
log-level = 0
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = npm
host = 127.0.0.1
port = {smsc}
smsc-username = kannel
smsc-password = secret
system-type = ""
transceiver-mode = true
interface-version = 34
enquire-link-interval = 10
reconnect-delay = 1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
log-file = "{directory}/smsbox.log"
log-level = 0

group = sendsms-user
username = countersign
password = "{password}"

group = sms-service
keyword = default
max-messages = 0
text = "none"
"""


class Kannel:
    def __init__(self, directory: pathlib.Path, smsc_port, password):
        self.sendsms = free_port()
        self.directory = directory
        box = free_port()
        config = directory / "kannel.conf"
        config.write_text(
            CONFIG.format(
                admin=free_port(),
                box=box,
                directory=directory,
                password=password,
                sendsms=self.sendsms,
                smsc=smsc_port,
            )
        )
        self.processes = []
        self._start("bearerbox", config)
        wait_for_port(box)
        self._start("smsbox", config)
        wait_for_port(self.sendsms)

    def _start(self, box, config):
        with open(self.directory / f"{box}.out", "w") as out:
            command = [f"/usr/sbin/{box}", "-v", "4", str(config)]
            process = subprocess.Popen(command, stdout=out, stderr=out)
        self.processes.append(process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
