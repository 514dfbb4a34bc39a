"""SMPP 3.4 against npm's `smpp`."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from processes import Smsc, Texts, free_port

PASSWORD = "hunter22"
# Every character of the basic table that a text may hold, and the extension.
ALPHABET = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
)


def gateway(directory, port, password=PASSWORD, more=""):
    secret = directory / "smpp.password"
    secret.write_text(password + "\n")
    return f"""
[[sms.gateways]]
name = "smsc"
kind = "smpp"
address = "localhost:{port}"
system_id = "countersign"
password_file = "{secret}"
system_type = "OTP"
source_addr = "EagleIT"
{more}
"""


def texts_and_receipts(programs, here, directory):
    port = free_port()
    with (
        Smsc(here, directory, port, "countersign", PASSWORD) as smsc,
        Texts(programs.texts, directory, gateway(directory, port)) as texts,
    ):
        body = "123456 is your code — é".replace("—", "-") + ", € 5 {x}"
        accepted = {"outcome": "accepted", "gateway": "smsc", "reason": ""}
        assert texts.send("+32470123400", body, "a") == accepted
        bind = smsc.event("bind")
        assert bind["kind"] == "bind_transceiver" and bind["interface_version"] == 0x34, bind
        assert bind["system_type"] == "OTP", bind
        submit = smsc.event("submit")
        assert 270 <= submit.pop("valid_seconds") <= 301
        assert submit == {
            "event": "submit",
            "to": "32470123400",
            "to_ton": 1,
            "to_npi": 1,
            "from": "EagleIT",
            "from_ton": 5,
            "text": body,
            "data_coding": 0,
            "esm_class": 0,
            "registered_delivery": 1,
        }, submit
        assert texts.receipt("a") == ("delivered", "")
        assert smsc.event("receipt_answered")["status"] == 0

        assert texts.send("+32470123401", ALPHABET, "b") == accepted
        assert smsc.event("submit")["text"] == ALPHABET
        assert texts.receipt("b") == ("delivered", "")
        assert texts.send("+32470123402", reference="c") == accepted
        assert texts.receipt("c") == ("failed", "UNDELIV: 069")
        assert texts.send("+32470123406", reference="d") == accepted
        assert texts.receipt("d") == ("delivered", "")
        # Not in the default alphabet: as UCS-2.
        for _ in range(2):
            smsc.event("submit")
        assert texts.send("+32470123400", "Zoë ê", "e") == accepted
        submit = smsc.event("submit")
        assert (submit["text"], submit["data_coding"]) == ("Zoë ê", 8), submit
        assert texts.stop() == 0
        smsc.event("unbind")


def refusals(programs, here, directory):
    port = free_port()
    with (
        Smsc(here, directory, port, "countersign", PASSWORD),
        Texts(programs.texts, directory, gateway(directory, port)) as texts,
    ):
        assert texts.send("+32470123403")["outcome"] == "rejected"
        assert texts.send("+32470123404")["outcome"] == "retry_after"
        assert texts.send("+32470123405", seconds=1)["outcome"] == "unknown"
        # The session has survived all that.
        assert texts.send("+32470123400")["outcome"] == "accepted"


def a_wrong_password(programs, here, directory):
    port = free_port()
    with (
        Smsc(here, directory, port, "countersign", PASSWORD) as smsc,
        Texts(programs.texts, directory, gateway(directory, port, "wrong")) as texts,
    ):
        assert texts.send("+32470123400")["outcome"] == "credential_rejected"
        assert not smsc.event("bind")["allowed"]
        # Put right while running.
        gateway(directory, port)
        texts.send_until("accepted", "+32470123400")


def an_smsc_that_restarts(programs, here, directory):
    port = free_port()
    with Texts(programs.texts, directory, gateway(directory, port)) as texts:
        assert texts.send("+32470123400")["outcome"] == "retry_after"
        for _ in range(2):
            with Smsc(here, directory, port, "countersign", PASSWORD):
                texts.send_until("accepted", "+32470123400")
            texts.send_until("retry_after", "+32470123400")


def certificate(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    issued = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "cert.pem").write_bytes(issued.public_bytes(pem))
    (directory / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / "key.pem", directory / "cert.pem"


def over_tls(programs, here, directory):
    port = free_port()
    key, cert = certificate(directory)
    trusting = gateway(directory, port, more=f'tls = true\nroot_ca_file = "{cert}"')
    other = directory / "other"
    other.mkdir()
    _, stranger = certificate(other)
    doubting = gateway(directory, port, more=f'tls = true\nroot_ca_file = "{stranger}"')
    with Smsc(here, directory, port, "countersign", PASSWORD, key, cert) as smsc:
        with Texts(programs.texts, directory, doubting) as texts:
            refused = texts.send("+32470123400")
            assert refused["outcome"] == "retry_after", refused
            assert "certificate" in refused["reason"], refused
        with Texts(programs.texts, directory, trusting) as texts:
            assert texts.send("+32470123400", reference="a")["outcome"] == "accepted"
            assert texts.receipt("a") == ("delivered", "")
        assert smsc.event("bind")["allowed"]


SCENARIOS = (texts_and_receipts, refusals, a_wrong_password, an_smsc_that_restarts, over_tls)
