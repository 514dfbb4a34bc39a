//! Signatures that everybody must accept.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use countersign_proto::signing::{PublicKey, Purpose, sha256};
use countersign_proto::v1::{Decision, KeyAlgorithm, SignedDeviceProof};
use prost::Message as _;

use crate::bodies::{self, Body};
use crate::files::{Accepted, File, Related, from_hex, hex};
use crate::keys::{self, TestKey};

/// Order of P-256, FIPS 186-5 (SP 800-186, section 3.2.1.3).
pub(crate) const P256_ORDER: &str =
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// The file of that name. P-256 signatures still good are taken from `stored`.
pub(crate) fn make(name: &str, stored: Option<&File<Accepted>>) -> File<Accepted> {
    let (about, vectors) = match name {
        "challenge" => ("What the broker signs: ChallengeBody.", challenges(stored)),
        "response" => ("What a phone answers: ResponseBody.", responses(stored)),
        "device-proof" => (
            "What a phone proves its calls with: DeviceProof.",
            proofs(stored),
        ),
        "enroll" => (
            "What a phone registers with: EnrollmentBody.",
            enrollments(stored),
        ),
        "key-succession" => (
            "How the broker's next key is vouched for: BrokerKey.",
            vec![vector(
                "key-succession",
                Purpose::KeySuccession,
                &keys::broker(),
                bodies::succession(&keys::next_broker()),
                stored,
            )],
        ),
        "audit-head" => (
            "How the broker vouches for its audit trail: AuditHead.",
            audit_heads(stored),
        ),
        "audit-export" => (
            "How the broker vouches for an export of its audit trail: AuditSeal.",
            vec![vector(
                "audit-export",
                Purpose::AuditExport,
                &keys::broker(),
                bodies::audit_seal(),
                stored,
            )],
        ),
        other => panic!("no such file: {other}"),
    };
    File {
        about: format!("{about} See README.md."),
        vectors,
    }
}

fn challenges(stored: Option<&File<Accepted>>) -> Vec<Accepted> {
    [
        ("challenge-with-number", bodies::challenge_with_number()),
        ("challenge-minimal", bodies::challenge_minimal()),
        (
            "challenge-with-unknown-field",
            bodies::challenge_with_unknown_field(),
        ),
    ]
    .into_iter()
    .map(|(name, body)| vector(name, Purpose::Challenge, &keys::broker(), body, stored))
    .collect()
}

fn responses(stored: Option<&File<Accepted>>) -> Vec<Accepted> {
    let mut vectors = Vec::new();
    for (short, key) in device_keys() {
        for (decision, word) in [
            (Decision::Approve, "approve"),
            (Decision::Deny, "deny"),
            (Decision::ReportFraud, "report-fraud"),
        ] {
            let name = format!("response-{short}-{word}");
            let body = bodies::response(&key, decision);
            let mut made = vector(&name, Purpose::Response, &key, body, stored);
            made.related = Some(Related {
                challenge_body: Some(hex(bodies::challenge_with_number().bytes)),
                ..Related::default()
            });
            vectors.push(made);
        }
    }
    // (r, s) and (r, order - s) are both good: a device's hardware makes either.
    let approved = vectors
        .iter()
        .find(|made| made.name == "response-p256-approve")
        .unwrap();
    let mut twin = approved.clone();
    twin.name = "response-p256-approve-other-s".to_owned();
    twin.signature = hex(with_other_s(&from_hex(&approved.signature)));
    vectors.push(twin);
    vectors
}

fn proofs(stored: Option<&File<Accepted>>) -> Vec<Accepted> {
    let mut vectors = Vec::new();
    for (short, key) in device_keys() {
        for (method, request) in [
            ("ListPendingChallenges", Vec::new()),
            ("AcknowledgeChallenge", bodies::acknowledge_request()),
        ] {
            let path = format!("/countersign.v1.DeviceService/{method}");
            let name = format!("device-proof-{short}-{}", method.to_lowercase());
            let body = bodies::device_proof(&key, &path, &request);
            let mut made = vector(&name, Purpose::DeviceProof, &key, body, stored);
            let metadata = SignedDeviceProof {
                body: from_hex(&made.body).into(),
                signature: from_hex(&made.signature).into(),
            };
            made.related = Some(Related {
                request: Some(hex(request)),
                metadata_value: Some(STANDARD_NO_PAD.encode(metadata.encode_to_vec())),
                ..Related::default()
            });
            vectors.push(made);
        }
    }
    vectors
}

fn enrollments(stored: Option<&File<Accepted>>) -> Vec<Accepted> {
    let broker = keys::broker().public();
    let uri = format!(
        "countersign://enroll?v=1&b={}&t={}&k={}",
        "https%3A%2F%2Fapprove.example.be%3A8443",
        bodies::TICKET,
        URL_SAFE_NO_PAD.encode(sha256(&broker)),
    );
    device_keys()
        .into_iter()
        .map(|(short, key)| {
            let name = format!("enroll-{short}");
            let body = bodies::enrollment(&key);
            let mut made = vector(&name, Purpose::Enroll, &key, body, stored);
            made.related = Some(Related {
                enrollment_uri: Some(uri.clone()),
                broker_public_key: Some(hex(&broker)),
                ..Related::default()
            });
            made
        })
        .collect()
}

fn audit_heads(stored: Option<&File<Accepted>>) -> Vec<Accepted> {
    let mut made = vector(
        "audit-head",
        Purpose::AuditHead,
        &keys::broker(),
        bodies::audit_head(),
        stored,
    );
    made.related = Some(Related {
        contents: Some(bodies::audit_contents().iter().map(hex).collect()),
        ..Related::default()
    });
    vec![made]
}

/// Both kinds of device key.
pub(crate) fn device_keys() -> [(&'static str, TestKey); 2] {
    [
        ("ed25519", keys::ed25519_device()),
        ("p256", keys::p256_device()),
    ]
}

fn vector(
    name: &str,
    purpose: Purpose,
    key: &TestKey,
    body: Body,
    stored: Option<&File<Accepted>>,
) -> Accepted {
    let signed_bytes = purpose.message(&body.bytes);
    let known = stored
        .and_then(|file| file.vectors.iter().find(|vector| vector.name == name))
        .map(|vector| from_hex(&vector.signature));
    Accepted {
        name: name.to_owned(),
        label: purpose.label().to_owned(),
        message: match purpose {
            Purpose::Challenge => "countersign.v1.ChallengeBody",
            Purpose::Response => "countersign.v1.ResponseBody",
            Purpose::DeviceProof => "countersign.v1.DeviceProof",
            Purpose::Enroll => "countersign.v1.EnrollmentBody",
            Purpose::KeySuccession => "countersign.v1.BrokerKey",
            Purpose::AuditHead => "countersign.v1.AuditHead",
            Purpose::AuditExport => "countersign.v1.AuditSeal",
        }
        .to_owned(),
        key: key.written.clone(),
        fields: body.fields,
        body: hex(&body.bytes),
        body_sha256: hex(sha256(&body.bytes)),
        signed_bytes_sha256: hex(sha256(&signed_bytes)),
        signed_bytes: hex(signed_bytes),
        signature: hex(signature(key, purpose, &body.bytes, known)),
        related: None,
    }
}

/// A signature by `key`; for P-256 the `known` one while it is good.
pub(crate) fn signature(
    key: &TestKey,
    purpose: Purpose,
    body: &[u8],
    known: Option<Vec<u8>>,
) -> Vec<u8> {
    if let (KeyAlgorithm::P256, Some(known)) = (key.private.algorithm(), known) {
        let public = PublicKey::from_bytes(KeyAlgorithm::P256, &key.public()).unwrap();
        if public.verify(purpose, body, &known).is_ok() {
            return known;
        }
    }
    key.private.sign(purpose, body).unwrap()
}

/// `r‖s` to `r‖(order − s)`.
fn with_other_s(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(32);
    [r, &subtract(&from_hex(P256_ORDER), s)].concat()
}

/// `a − b` of big-endian numbers of one length, `a` the greater.
fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = vec![0; a.len()];
    let mut borrow = 0;
    for at in (0..a.len()).rev() {
        let digit = i16::from(a[at]) - i16::from(b[at]) - borrow;
        borrow = i16::from(digit < 0);
        out[at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    out
}
