//! The messages that are signed, with their fields in the ProtoJSON mapping
//! (proto names, default values left out).

use base64::Engine as _;
use countersign_proto::signing::{key_id, sha256};
use countersign_proto::v1::{
    AcknowledgeChallengeRequest, AuditContent, AuditHead, AuditSeal, BrokerKey, ChallengeBody,
    Decision, Detail, DeviceProof, EnrollmentBody, Gateway, KeyAlgorithm, KeyProtection, Platform,
    PushEnvironment, PushRegistration, ResponseBody, SignInContext, UserVerification,
};
use prost::Message as _;
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::keys::TestKey;

pub(crate) const CHALLENGE_ID: &str = "01970f3c-5c00-7a10-8b5e-2f6d7c8e9a01";
pub(crate) const TENANT_ID: &str = "01970a00-0000-7000-8000-0000000000aa";
pub(crate) const TICKET: &str = "7XKM2Q9TBW4ZC1RD8HVN";

/// A serialized message and its fields.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fields: Value,
}

// 2026-05-27T09:00:00Z and some seconds.
fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 1_779_872_400 + seconds,
        nanos: 0,
    })
}

fn at_text(seconds: i64) -> String {
    format!("2026-05-27T09:{:02}:{:02}Z", seconds / 60, seconds % 60)
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn device_id(algorithm: KeyAlgorithm) -> String {
    match algorithm {
        KeyAlgorithm::P256 => "01970e11-2233-7445-8667-00000000b256",
        KeyAlgorithm::Ed25519 | KeyAlgorithm::Unspecified => "01970e11-2233-7445-8667-000000025519",
    }
    .to_owned()
}

/// A challenge as rich as they come.
pub(crate) fn challenge_with_number() -> Body {
    let nonce: Vec<u8> = (0x40..0x60).collect();
    let body = ChallengeBody {
        challenge_id: CHALLENGE_ID.to_owned(),
        tenant_id: TENANT_ID.to_owned(),
        organisation: "Eagle IT BVBA".to_owned(),
        user_id: "tom.cool@example.be".to_owned(),
        context: Some(SignInContext {
            application_name: "Office 365".to_owned(),
            client_address: "2001:db8::17".to_owned(),
            location: "Liège, België".to_owned(),
            user_agent: "Mozilla/5.0 (X11; Linux x86_64)".to_owned(),
            binding_message: "kiwi-42".to_owned(),
            details: vec![
                Detail {
                    label: "Bedrag".to_owned(),
                    value: "€ 12,50".to_owned(),
                },
                Detail {
                    label: "Rekening".to_owned(),
                    value: "BE71 0961 2345 6769".to_owned(),
                },
            ],
        }),
        template_id: "sign-in".to_owned(),
        template_arguments: vec!["Office 365".to_owned()],
        number_digits: 2,
        create_time: at(0),
        expire_time: at(60),
        nonce: nonce.clone().into(),
    };
    Body {
        bytes: body.encode_to_vec(),
        fields: json!({
            "challenge_id": CHALLENGE_ID,
            "tenant_id": TENANT_ID,
            "organisation": "Eagle IT BVBA",
            "user_id": "tom.cool@example.be",
            "context": {
                "application_name": "Office 365",
                "client_address": "2001:db8::17",
                "location": "Liège, België",
                "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
                "binding_message": "kiwi-42",
                "details": [
                    {"label": "Bedrag", "value": "€ 12,50"},
                    {"label": "Rekening", "value": "BE71 0961 2345 6769"},
                ],
            },
            "template_id": "sign-in",
            "template_arguments": ["Office 365"],
            "number_digits": 2,
            "create_time": at_text(0),
            "expire_time": at_text(60),
            "nonce": base64(nonce),
        }),
    }
}

/// A challenge with the least in it.
pub(crate) fn challenge_minimal() -> Body {
    let nonce = [7; 32];
    let body = ChallengeBody {
        challenge_id: CHALLENGE_ID.to_owned(),
        tenant_id: TENANT_ID.to_owned(),
        organisation: "Eagle IT BVBA".to_owned(),
        user_id: "u".to_owned(),
        context: Some(SignInContext {
            application_name: "VPN".to_owned(),
            ..Default::default()
        }),
        template_id: "sign-in".to_owned(),
        create_time: at(0),
        expire_time: at(15),
        nonce: nonce.to_vec().into(),
        ..Default::default()
    };
    Body {
        bytes: body.encode_to_vec(),
        fields: json!({
            "challenge_id": CHALLENGE_ID,
            "tenant_id": TENANT_ID,
            "organisation": "Eagle IT BVBA",
            "user_id": "u",
            "context": {"application_name": "VPN"},
            "template_id": "sign-in",
            "create_time": at_text(0),
            "expire_time": at_text(15),
            "nonce": base64(nonce),
        }),
    }
}

/// A challenge from a newer broker: field 2047, a string that this version
/// does not know, comes first. Serializing the parsed message again loses it
/// or moves it to the end, so that only the bytes as received verify.
pub(crate) fn challenge_with_unknown_field() -> Body {
    let known = challenge_minimal();
    let mut bytes = vec![0xfa, 0x7f, 5];
    bytes.extend_from_slice(b"later");
    bytes.extend_from_slice(&known.bytes);
    Body {
        bytes,
        fields: known.fields,
    }
}

/// An answer to [`challenge_with_number`].
pub(crate) fn response(key: &TestKey, decision: Decision) -> Body {
    let algorithm = key.private.algorithm();
    let digest = sha256(&challenge_with_number().bytes);
    let number = if decision == Decision::Approve {
        "07"
    } else {
        ""
    };
    let body = ResponseBody {
        challenge_id: CHALLENGE_ID.to_owned(),
        challenge_digest: digest.to_vec().into(),
        device_id: device_id(algorithm),
        decision: decision.into(),
        number: number.to_owned(),
        respond_time: at(21),
        user_verification: UserVerification::Biometric.into(),
        locale: "nl-BE".to_owned(),
    };
    let mut fields = json!({
        "challenge_id": CHALLENGE_ID,
        "challenge_digest": base64(digest),
        "device_id": device_id(algorithm),
        "decision": decision.as_str_name(),
        "respond_time": at_text(21),
        "user_verification": "USER_VERIFICATION_BIOMETRIC",
        "locale": "nl-BE",
    });
    if !number.is_empty() {
        fields["number"] = number.into();
    }
    Body {
        bytes: body.encode_to_vec(),
        fields,
    }
}

/// The request that a proof covers.
pub(crate) fn acknowledge_request() -> Vec<u8> {
    AcknowledgeChallengeRequest {
        challenge_id: CHALLENGE_ID.to_owned(),
    }
    .encode_to_vec()
}

/// The proof of a call of `method` with `request`.
pub(crate) fn device_proof(key: &TestKey, method: &str, request: &[u8]) -> Body {
    let algorithm = key.private.algorithm();
    let nonce: Vec<u8> = (0xa0..0xb0).collect();
    let body = DeviceProof {
        device_id: device_id(algorithm),
        method: method.to_owned(),
        request_digest: sha256(request).to_vec().into(),
        issue_time: at(5),
        nonce: nonce.clone().into(),
    };
    Body {
        bytes: body.encode_to_vec(),
        fields: json!({
            "device_id": device_id(algorithm),
            "method": method,
            "request_digest": base64(sha256(request)),
            "issue_time": at_text(5),
            "nonce": base64(nonce),
        }),
    }
}

/// A registration: an iPhone with a P-256 key, or an Android phone with
/// Ed25519 and no push.
pub(crate) fn enrollment(key: &TestKey) -> Body {
    let algorithm = key.private.algorithm();
    let apple = algorithm == KeyAlgorithm::P256;
    let push_token = "a1".repeat(32);
    let encryption_key = [0x99; 32];
    let body = EnrollmentBody {
        ticket: TICKET.to_owned(),
        key_algorithm: algorithm.into(),
        public_key: key.public().into(),
        key_protection: if apple {
            KeyProtection::Hardware
        } else {
            KeyProtection::Software
        }
        .into(),
        platform: if apple {
            Platform::Ios
        } else {
            Platform::Android
        }
        .into(),
        display_name: "Toms telefoon".to_owned(),
        language: "nl-BE".to_owned(),
        app_version: "1.0.0".to_owned(),
        push: apple.then(|| PushRegistration {
            gateway: Gateway::Apns.into(),
            app_id: "be.example.approve".to_owned(),
            environment: PushEnvironment::Sandbox.into(),
            token: push_token.clone(),
        }),
        encryption_key: if apple {
            encryption_key.to_vec()
        } else {
            Vec::new()
        }
        .into(),
        enroll_time: at(0),
    };
    let mut fields = json!({
        "ticket": TICKET,
        "key_algorithm": algorithm.as_str_name(),
        "public_key": base64(key.public()),
        "key_protection": if apple { "KEY_PROTECTION_HARDWARE" } else { "KEY_PROTECTION_SOFTWARE" },
        "platform": if apple { "PLATFORM_IOS" } else { "PLATFORM_ANDROID" },
        "display_name": "Toms telefoon",
        "language": "nl-BE",
        "app_version": "1.0.0",
        "enroll_time": at_text(0),
    });
    if apple {
        fields["push"] = json!({
            "gateway": "GATEWAY_APNS",
            "app_id": "be.example.approve",
            "environment": "PUSH_ENVIRONMENT_SANDBOX",
            "token": push_token,
        });
        fields["encryption_key"] = base64(encryption_key).into();
    }
    Body {
        bytes: body.encode_to_vec(),
        fields,
    }
}

/// The announcement of the broker's next key.
pub(crate) fn succession(next: &TestKey) -> Body {
    let public: [u8; 32] = next.public().try_into().unwrap();
    let body = BrokerKey {
        key_id: key_id(&public),
        public_key: public.to_vec().into(),
        activate_time: at(600),
    };
    Body {
        bytes: body.encode_to_vec(),
        fields: json!({
            "key_id": key_id(&public),
            "public_key": base64(public),
            "activate_time": at_text(600),
        }),
    }
}

/// A link of an audit trail: that of [`audit_contents`], the first two of which
/// have left.
pub(crate) fn audit_head() -> Body {
    let mut link = [0; 32];
    for content in audit_contents() {
        link = sha256(&[link, sha256(&content)].concat());
    }
    let body = AuditHead {
        issuer: "https://approve.example.be:8443".to_owned(),
        writer: 1,
        sequence: 4,
        link: link.to_vec().into(),
        first_kept: 3,
        sign_time: at(1800),
    };
    Body {
        bytes: body.encode_to_vec(),
        fields: json!({
            "issuer": body.issuer,
            "writer": "1",
            "sequence": "4",
            "link": base64(link),
            "first_kept": "3",
            "sign_time": at_text(1800),
        }),
    }
}

/// Of an export in which entries 3 and 4 are there in full.
pub(crate) fn audit_seal() -> Body {
    let places = [3_u64, 4].into_iter().fold([0; 32], |places, sequence| {
        let place = [1_u64.to_be_bytes(), sequence.to_be_bytes()].concat();
        sha256(&[&places[..], &place].concat())
    });
    let head = audit_head().bytes;
    let body = AuditSeal {
        issuer: "https://approve.example.be:8443".to_owned(),
        tenant_id: "11111111-1111-1111-1111-111111111111".to_owned(),
        export_time: at(1860),
        entries: 2,
        places_digest: places.to_vec().into(),
        heads: vec![head.clone().into()],
    };
    Body {
        bytes: body.encode_to_vec(),
        fields: json!({
            "issuer": body.issuer,
            "tenant_id": body.tenant_id,
            "export_time": at_text(1860),
            "entries": "2",
            "places_digest": base64(places),
            "heads": [base64(head)],
        }),
    }
}

pub(crate) fn audit_contents() -> Vec<Vec<u8>> {
    let tenant = [0x11; 16];
    [
        ("operator", "signing_key.created", "", false),
        ("api_key:0123456789abcdef", "tenant.created", "", true),
        ("api_key:0123456789abcdef", "challenge.created", "tom", true),
        ("device:x", "challenge.decided", "tom", true),
    ]
    .into_iter()
    .zip(1_u8..)
    .map(|((actor, action, user, of_tenant), n)| {
        AuditContent {
            time_ms: 1_779_872_400_000,
            tenant_id: of_tenant.then(|| tenant.to_vec().into()),
            actor: actor.to_owned(),
            address: "192.0.2.1".to_owned(),
            action: action.to_owned(),
            object: format!("object {n}"),
            outcome: String::new(),
            user_id: user.to_owned(),
            salt: vec![n; 16].into(),
        }
        .encode_to_vec()
    })
    .collect()
}
