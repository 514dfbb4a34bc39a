"""The webhook against Kannel's `sendsms`, and its delivery reports."""

import urllib.error
import urllib.request

from kannel import Kannel
from processes import Smsc, Texts, free_port

# Characters that a template must encode.
PASSWORD = "p&w =%41+"


def gateway(directory, port, password=PASSWORD):
    secret = directory / "kannel.password"
    secret.write_text(password + "\n")
    url = (
        f"http://127.0.0.1:{port}/cgi-bin/sendsms?username=countersign&password={{secret}}"
        "&from=EagleIT&to={to}&text={text}&charset=UTF-8&coding=0"
        "&dlr-mask=31&dlr-url={status_url}%26status%3D%25d"
    )
    return f"""
[[sms.gateways]]
name = "kannel"
kind = "webhook"
method = "GET"
url = "{url}"
secret_file = "{secret}"
success_pattern = "0:*"
"""


def a_text_through_kannel_and_its_reports(programs, here, directory):
    port = free_port()
    with (
        Smsc(here, directory, port, "kannel", "secret") as smsc,
        Kannel(directory, port, PASSWORD) as kannel,
        Texts(programs.texts, directory, gateway(directory, kannel.sendsms)) as texts,
    ):
        smsc.event("bind")
        body = "123456 is your code & mine, é € 100% + {x}\n@host.example #123456"
        accepted = {"outcome": "accepted", "gateway": "kannel", "reason": ""}
        assert texts.send("+32470123400", body, "ref-a") == accepted
        submit = smsc.event("submit")
        assert submit["text"] == body, submit
        assert submit["to"].lstrip("+") == "32470123400", submit
        # Kannel fetches each report's address by itself: they come in any order.
        states = {texts.receipt("ref-a") for _ in range(2)}
        assert states == {("sent", ""), ("delivered", "")}, states
        assert texts.send("+32470123402", reference="ref-b") == accepted
        states = {texts.receipt("ref-b") for _ in range(2)}
        assert states == {("sent", ""), ("failed", "status 2")}, states
        assert texts.send("+32470123403", reference="ref-c") == accepted
        assert texts.receipt("ref-c") == ("failed", "status 16")


def a_wrong_password(programs, here, directory):
    port = free_port()
    with (
        Smsc(here, directory, port, "kannel", "secret"),
        Kannel(directory, port, PASSWORD) as kannel,
        Texts(programs.texts, directory, gateway(directory, kannel.sendsms, "wrong")) as texts,
    ):
        assert texts.send("+32470123400")["outcome"] == "credential_rejected"


def a_made_up_report(programs, here, directory):
    with Texts(programs.texts, directory, gateway(directory, free_port())) as texts:
        for path in (
            "/sms/kannel/status?reference=ref-a&status=1",
            "/sms/kannel/status?reference=ref-a&mac=AAAA&status=1",
            "/sms/other/status?reference=ref-a&status=1",
        ):
            try:
                urllib.request.urlopen(texts.callback_url + path, timeout=10)
            except urllib.error.HTTPError as refused:
                assert refused.code == (404 if "other" in path else 403), refused.code
            else:
                raise AssertionError(f"taken: {path}")
        assert not texts.passed_over and texts.lines.empty()


SCENARIOS = (a_text_through_kannel_and_its_reports, a_wrong_password, a_made_up_report)
