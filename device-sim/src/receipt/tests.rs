#![allow(clippy::unwrap_used, reason = "tests")]
use countersign_proto::signing::{PrivateKey, key_id};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_795_000_000;

struct Issuer {
    broker: PrivateKey,
    device: PrivateKey,
    claims: Value,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    fn new(device: PrivateKey) -> Self {
        let broker = PrivateKey::from_ed25519_seed(&[7; 32]);
        let challenge = ChallengeBody {
            challenge_id: "c-1".to_owned(),
            user_id: "tom.cool@example.be".to_owned(),
            ..Default::default()
        }
        .encode_to_vec();
        let alg = match device.algorithm() {
            KeyAlgorithm::P256 => "P256",
            _ => "ED25519",
        };
        let claims = json!({
            "iss": "https://broker.example", "aud": "key-1", "sub": "tom.cool@example.be",
            "jti": "c-1", "iat": NOW, "exp": NOW + 300, "auth_time": NOW,
            "amr": ["hwk", "user", "mfa"], "decision": "APPROVED", "reason": "USER_APPROVED",
            "method": "PUSH",
            "challenge_body": encode(&challenge),
            "challenge_signature": encode(broker.sign(Purpose::Challenge, &challenge).unwrap()),
            "challenge_key_id": Self::kid(&broker),
            "device_id": "d-1",
            "device_key": {"alg": alg, "public_key": encode(device.public_bytes())},
        });
        let mut issuer = Self {
            broker,
            device,
            claims,
        };
        issuer.respond(&ResponseBody {
            challenge_id: "c-1".to_owned(),
            challenge_digest: sha256(&challenge).to_vec().into(),
            device_id: "d-1".to_owned(),
            decision: Decision::Approve.into(),
            ..Default::default()
        });
        issuer
    }

    fn kid(key: &PrivateKey) -> String {
        key_id(&key.public_bytes().try_into().unwrap())
    }

    fn response(&self) -> ResponseBody {
        let body = self.claims.get("response_body").unwrap().as_str().unwrap();
        ResponseBody::decode(URL_SAFE_NO_PAD.decode(body).unwrap().as_slice()).unwrap()
    }

    fn respond(&mut self, body: &ResponseBody) {
        let body = body.encode_to_vec();
        self.set("response_body", json!(encode(&body)));
        let signature = self.device.sign(Purpose::Response, &body).unwrap();
        self.set("response_signature", json!(encode(signature)));
    }

    fn set(&mut self, claim: &str, value: Value) {
        self.claims
            .as_object_mut()
            .unwrap()
            .insert(claim.to_owned(), value);
    }

    fn issue(&self) -> String {
        self.issue_with(&json!({"alg": "EdDSA", "kid": Self::kid(&self.broker)}))
    }

    fn issue_with(&self, header: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(self.claims.to_string())
        );
        let signature = self.broker.sign_raw(signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }

    fn jwks(&self) -> String {
        json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": Self::kid(&self.broker), "x": encode(self.broker.public_bytes()),
        }]})
        .to_string()
    }

    fn check_at(&self, receipt: &str, seconds: u64) -> Result<Receipt, ReceiptError> {
        ReceiptCheck::new(
            &self.jwks(),
            "key-1",
            UNIX_EPOCH + Duration::from_secs(seconds),
        )?
        .issued_by("https://broker.example")
        .check(receipt)
    }

    fn check(&self) -> Result<Receipt, ReceiptError> {
        self.check_at(&self.issue(), NOW)
    }
}

fn ed25519() -> Issuer {
    Issuer::new(PrivateKey::from_ed25519_seed(&[8; 32]))
}

#[test]
fn an_honest_receipt_holds_for_both_algorithms() {
    for issuer in [ed25519(), Issuer::new(PrivateKey::generate_p256().unwrap())] {
        let receipt = issuer.check().unwrap();
        assert_eq!(receipt.claims.decision, "APPROVED");
        assert_eq!(receipt.challenge.challenge_id, "c-1");
        assert_eq!(receipt.response.unwrap().decision(), Decision::Approve);
    }
}

#[test]
fn a_decision_without_a_device_needs_no_response() {
    let mut issuer = ed25519();
    issuer.set("decision", json!("EXPIRED"));
    issuer.set("reason", json!("TIMED_OUT"));
    issuer.set("device_key", Value::Null);
    assert!(matches!(
        issuer.check(),
        Err(ReceiptError::Contradiction(_))
    ));
    issuer.set("response_body", json!(""));
    issuer.set("response_signature", json!(""));
    issuer.set("device_id", json!(""));
    assert_eq!(
        issuer.check(),
        Err(ReceiptError::Contradiction("decision and authentication"))
    );
    issuer.set("amr", json!([]));
    issuer.set("auth_time", Value::Null);
    assert_eq!(issuer.check().unwrap().response, None);
    issuer.set("decision", json!("APPROVED"));
    issuer.set("reason", json!("USER_APPROVED"));
    assert!(matches!(
        issuer.check(),
        Err(ReceiptError::Contradiction(_))
    ));
}

/// A receipt of a code: no device answered.
fn by_code(method: &str, amr: &[&str]) -> Issuer {
    let mut issuer = ed25519();
    issuer.set("device_key", Value::Null);
    for claim in ["response_body", "response_signature", "device_id"] {
        issuer.set(claim, json!(""));
    }
    issuer.set("reason", json!("CODE_VERIFIED"));
    issuer.set("method", json!(method));
    issuer.set("amr", json!(amr));
    issuer.set("authenticator_id", json!("a-1"));
    issuer
}

#[test]
fn a_code_decides_in_the_place_of_a_device() {
    let honest = [
        ("SMS", &["otp", "sms"][..]),
        ("TOTP", &["otp"]),
        ("RECOVERY_CODE", &["otp"]),
    ];
    for (method, amr) in honest {
        let receipt = by_code(method, amr).check().unwrap();
        assert_eq!(receipt.response, None);
        assert_eq!(receipt.claims.authenticator_id, "a-1");
        assert_eq!(receipt.claims.method, method);
    }
    let refused = [
        ("authenticator_id", json!(""), "reason and decision"),
        ("method", json!("PUSH"), "reason and method"),
        ("method", json!("TOTP"), "method and amr"),
        ("amr", json!(["otp"]), "method and amr"),
        ("amr", json!(["pop", "hwk", "user"]), "method and amr"),
        ("decision", json!("DENIED"), "reason and decision"),
        ("reason", json!("POLICY"), "reason and authenticator_id"),
        ("reason", json!("USER_APPROVED"), "decision and response"),
    ];
    for (claim, value, why) in refused {
        let mut issuer = by_code("SMS", &["otp", "sms"]);
        issuer.set(claim, value);
        assert_eq!(
            issuer.check(),
            Err(ReceiptError::Contradiction(why)),
            "{claim}"
        );
    }
    let mut both = ed25519();
    both.set("reason", json!("CODE_VERIFIED"));
    both.set("authenticator_id", json!("a-1"));
    assert_eq!(
        both.check(),
        Err(ReceiptError::Contradiction("reason and decision"))
    );
    let mut pushed = ed25519();
    pushed.set("method", json!("SMS"));
    assert_eq!(
        pushed.check(),
        Err(ReceiptError::Contradiction("decision and response"))
    );
}

#[test]
fn only_this_brokers_receipts_for_this_key_and_time_hold() {
    let issuer = ed25519();
    let receipt = issuer.issue();
    assert!(issuer.check_at(&receipt, NOW + 300).is_ok());
    assert_eq!(
        issuer.check_at(&receipt, NOW + 360),
        Err(ReceiptError::NotNow)
    );
    assert_eq!(
        issuer.check_at(&receipt, NOW - 61),
        Err(ReceiptError::NotNow)
    );
    for (claim, value) in [("aud", "key-2"), ("iss", "https://else.example")] {
        let mut issuer = ed25519();
        issuer.set(claim, json!(value));
        assert!(
            matches!(issuer.check(), Err(ReceiptError::NotValid(_))),
            "{claim}"
        );
    }
    let mut tampered = receipt.clone();
    let last = if tampered.pop() == Some('A') {
        'Q'
    } else {
        'A'
    };
    tampered.push(last);
    assert!(issuer.check_at(&tampered, NOW).is_err());
    let mut parts: Vec<&str> = receipt.split('.').collect();
    let other = {
        let mut other = ed25519();
        other.set("sub", json!("else@example.be"));
        other.issue()
    };
    parts.splice(1..2, other.split('.').nth(1));
    assert!(matches!(
        issuer.check_at(&parts.join("."), NOW),
        Err(ReceiptError::NotValid(_))
    ));
    let stranger = issuer.issue_with(&json!({"alg": "EdDSA", "kid": "other"}));
    assert!(matches!(
        issuer.check_at(&stranger, NOW),
        Err(ReceiptError::UnknownKey(_))
    ));
    let none = issuer.issue_with(&json!({"alg": "HS256", "kid": Issuer::kid(&issuer.broker)}));
    assert_eq!(
        issuer.check_at(&none, NOW),
        Err(ReceiptError::WrongAlgorithm)
    );
}

#[test]
fn a_broker_cannot_make_up_the_devices_part() {
    let mut issuer = ed25519();
    let honest = issuer.response();

    issuer.set("response_signature", json!(encode([1; 64])));
    assert_eq!(issuer.check(), Err(ReceiptError::BadResponseSignature));

    issuer.respond(&ResponseBody {
        decision: Decision::Deny.into(),
        ..honest.clone()
    });
    assert_eq!(
        issuer.check(),
        Err(ReceiptError::Contradiction("decision and response"))
    );

    issuer.respond(&ResponseBody {
        challenge_digest: vec![0; 32].into(),
        ..honest.clone()
    });
    assert_eq!(
        issuer.check(),
        Err(ReceiptError::Contradiction("response and challenge"))
    );

    issuer.respond(&ResponseBody {
        challenge_id: "c-2".to_owned(),
        ..honest.clone()
    });
    assert_eq!(
        issuer.check(),
        Err(ReceiptError::Contradiction("jti and response"))
    );

    issuer.respond(&ResponseBody {
        device_id: "d-2".to_owned(),
        ..honest.clone()
    });
    assert_eq!(
        issuer.check(),
        Err(ReceiptError::Contradiction("device_id and response"))
    );

    issuer.respond(&honest);
    assert!(issuer.check().is_ok());
    issuer.set("challenge_signature", json!(encode([1; 64])));
    assert_eq!(issuer.check(), Err(ReceiptError::BadChallengeSignature));
}
