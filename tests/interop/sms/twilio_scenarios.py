"""Twilio's own validator (PyPI `twilio`) signs what the broker must take, and
its client library's idea of a form is what the broker must send."""

import http.server
import threading
import urllib.error
import urllib.parse
import urllib.request

from twilio.request_validator import RequestValidator

from processes import Texts

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


def signed_callbacks(program, _here, directory):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Messages)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Texts(program, directory, gateway(directory, server.server_address[1])) as texts:
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


SCENARIOS = (signed_callbacks,)
