"""Twilio's own library (PyPI `twilio`): its validator signs what the broker must
take, and checks what our emulator signs; its client is understood by the
emulator."""

import http.server
import queue
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from processes import PATIENCE, Texts, free_port, wait_for_port

ACCOUNT = "AC0123456789abcdef0123456789abcdef"
TOKEN = "0123456789abcdef0123456789abcdef"


class Messages(http.server.BaseHTTPRequestHandler):
    """Twilio's Messages resource, as far as it is needed here."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = dict(urllib.parse.parse_qsl(body, strict_parsing=True))
        self.server.seen.append((self.path, self.headers["authorization"], form))
        answer = b'{"sid": "SM1", "status": "queued", "error_code": null}'
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def gateway(directory, port):
    secret = directory / "twilio.token"
    secret.write_text(TOKEN + "\n")
    return f"""
[[sms.gateways]]
name = "twilio"
kind = "twilio"
account_sid = "{ACCOUNT}"
auth_token_file = "{secret}"
from = "+3225550100"
url = "http://127.0.0.1:{port}"
"""


def post(url, params, signature):
    headers = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}
    if signature is not None:
        headers["X-Twilio-Signature"] = signature
    request = urllib.request.Request(url, urllib.parse.urlencode(params).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def signed_callbacks(programs, _here, directory):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Messages)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Texts(programs.texts, directory, gateway(directory, server.server_address[1])) as texts:
        body = "123456 is your code & mine, é € 100% + =\n@host.example #123456"
        assert texts.send("+32470123456", body, "ref-a")["outcome"] == "accepted"
        (path, _, form) = server.seen[0]
        assert path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json", path
        assert form["Body"] == body and form["To"] == "+32470123456", form
        url = form["StatusCallback"]
        assert url.startswith(texts.callback_url), url

        validator = RequestValidator(TOKEN)
        params = {
            "AccountSid": ACCOUNT,
            "MessageSid": "SM1",
            "MessageStatus": "delivered",
            "To": "+32470123456",
            "From": "+3225550100",
            "ApiVersion": "2010-04-01",
            "Empty": "",
            "Odd": "a&b=c é+",
        }
        good = validator.compute_signature(url, params)
        assert post(url, params, good) == 204
        assert texts.receipt("ref-a") == ("delivered", "")
        failed = {**params, "MessageStatus": "undelivered", "ErrorCode": "30003"}
        # What was signed for another state, address or account is not taken.
        assert post(url, failed, good) == 403
        assert post(url.replace("ref-a", "ref-b"), params, good) == 403
        stranger = RequestValidator(TOKEN[::-1]).compute_signature(url, params)
        assert post(url, params, stranger) == 403
        assert post(url, params, None) == 403
        assert post(url, params, "") == 403
        assert post(url.replace("/twilio/", "/other/"), params, good) == 404
        assert post(url, failed, validator.compute_signature(url, failed)) == 204
        reason = "undelivered: 30003 unreachable destination handset"
        assert texts.receipt("ref-a") == ("failed", reason)
        assert not texts.passed_over and texts.lines.empty()
    server.shutdown()
    server.server_close()


class Callbacks(http.server.BaseHTTPRequestHandler):
    """Takes status callbacks."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = dict(urllib.parse.parse_qsl(body, keep_blank_values=True, strict_parsing=True))
        self.server.seen.put((self.path, form, self.headers["X-Twilio-Signature"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class ToEmulator(TwilioHttpClient):
    """Twilio's client, with another host under every address."""

    def __init__(self, base, root):
        super().__init__()
        self.base = base
        # Otherwise certificates and proxies of the environment win.
        self.session.trust_env = False
        self.session.verify = str(root)

    def request(self, method, url, *args, **kwargs):
        path = url.removeprefix("https://api.twilio.com")
        assert path != url, url
        return super().request(method, self.base + path, *args, **kwargs)


def the_emulator_is_taken_for_twilio(programs, _here, directory):
    port = free_port()
    others = ("apns", "apns-sandbox", "fcm", "webhook", "smpp", "control")
    flags = [flag for name in others for flag in (f"--{name}-port", "0")]
    command = [programs.device_sim, "gateways", "--credentials", str(directory), *flags]
    with open(directory / "device-sim.log", "w") as log:
        emulator = subprocess.Popen(
            [*command, "--twilio-port", str(port)], stdout=log, stderr=log
        )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Callbacks)
    server.seen = queue.Queue()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        wait_for_port(port)
        account = (directory / "twilio-account-sid").read_text().strip()
        token = (directory / "twilio-auth-token").read_text().strip()
        http_client = ToEmulator(f"https://127.0.0.1:{port}", directory / "root-ca.pem")
        client = Client(account, token, http_client=http_client)
        base = f"http://127.0.0.1:{server.server_address[1]}"
        message = client.messages.create(
            to="+32470123456",
            from_="+3225550100",
            body="123456 is your code & mine, é € 100% + =",
            status_callback=f"{base}/status?reference=ref-a",
        )
        assert message.sid.startswith("SM") and message.status in ("accepted", "queued")
        validator = RequestValidator(token)
        states = []
        while not states or states[-1] != "delivered":
            path, form, signature = server.seen.get(timeout=PATIENCE)
            assert validator.validate(base + path, form, signature), (path, form, signature)
            changed = {**form, "MessageStatus": "failed"}
            assert not validator.validate(base + path, changed, signature)
            assert form["MessageSid"] == message.sid, form
            states.append(form["MessageStatus"])
        assert "sent" in states, states

        for number, code in (("+15005550001", 21211), ("+15005550004", 21610)):
            try:
                client.messages.create(to=number, from_="+3225550100", body="x")
            except TwilioRestException as refused:
                assert refused.code == code, refused
            else:
                raise AssertionError(f"taken: {number}")
        stranger = Client(account, token[::-1], http_client=http_client)
        try:
            stranger.messages.create(to="+32470123456", from_="+3225550100", body="x")
        except TwilioRestException as refused:
            assert (refused.status, refused.code) == (401, 20003), refused
        else:
            raise AssertionError("taken with a wrong token")
    finally:
        emulator.kill()
        emulator.wait()
        server.shutdown()
        server.server_close()


SCENARIOS = (signed_callbacks, the_emulator_is_taken_for_twilio)
