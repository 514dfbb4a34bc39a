#![allow(clippy::unwrap_used, reason = "tests")]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::{
    signing::{PrivateKey, PublicKey},
    v1::KeyAlgorithm,
};
use serde_json::{Map, Value, json};

use super::*;
use crate::domain::{
    api_key::ApiKeyId,
    browser::Remembering,
    code::Codes,
    ids::{AuthenticatorId, ChallengeId, DeviceId, TenantId, UserId},
    policy::Policy,
    risk::Origin,
    time::Timestamp,
};

/// What was decided, as it has been put since the first version: the claims one
/// by one, sorted by name.
fn expected(
    issuer: &str,
    challenge: &Challenge,
    signed: &SignedBody,
    outcome: &Outcome,
) -> Map<String, Value> {
    let decided = outcome.decide_time.as_secs();
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    put("iss", json!(issuer));
    put("aud", json!(challenge.api_key.as_str()));
    put("sub", json!(challenge.user.as_str()));
    put("jti", json!(challenge.id.to_string()));
    put("iat", json!(decided));
    put(
        "exp",
        json!(outcome.decide_time.after(RECEIPT_LIFETIME).as_secs()),
    );
    put("tenant", json!(challenge.tenant.to_string()));
    put("decision", json!(final_name(outcome.state)));
    put("reason", json!(reason_name(outcome.reason)));
    put("method", json!(challenge.method.name()));
    put(
        "challenge_body",
        json!(URL_SAFE_NO_PAD.encode(&signed.body)),
    );
    put(
        "challenge_signature",
        json!(URL_SAFE_NO_PAD.encode(&signed.signature)),
    );
    put("challenge_key_id", json!(signed.key_id));
    if let Some(proof) = &outcome.proof {
        put("device_id", json!(proof.device.to_string()));
        put("response_body", json!(URL_SAFE_NO_PAD.encode(&proof.body)));
        put(
            "response_signature",
            json!(URL_SAFE_NO_PAD.encode(&proof.signature)),
        );
        put(
            "device_key",
            json!({
                "alg": algorithm_name(proof.public_key.algorithm()),
                "public_key": URL_SAFE_NO_PAD.encode(proof.public_key.as_bytes()),
            }),
        );
        // Somebody authenticated only where the sign-in was approved.
        if outcome.state == Final::Approved {
            put("auth_time", json!(decided));
            put("amr", json!(amr(proof)));
        }
    }
    if let Some(authenticator) = &outcome.authenticator {
        put("authenticator_id", json!(authenticator.to_string()));
        if outcome.state == Final::Approved {
            put("auth_time", json!(decided));
            put("amr", json!(code_amr(challenge.method)));
        }
    }
    claims
}

fn challenge() -> Challenge {
    Challenge {
        id: ChallengeId::from_bytes([9; 16]),
        tenant: TenantId::from_bytes([8; 16]),
        user: UserId::from_stored("tom \"quoted\" \u{e9}\n\\".into()),
        api_key: ApiKeyId::new([1; 8]),
        method: Method::Push,
        number: "42".into(),
        create_time: Timestamp::from_millis(0),
        expire_time: Timestamp::from_millis(60_000),
        prompt_expire_time: Timestamp::from_millis(60_000),
        fallback_time: None,
        codes: Codes::new(&Policy::default().codes),
        collapse_id: "c".into(),
        deliveries: Vec::new(),
        outcome: None,
        remembering: Remembering::default(),
        origin: Origin::default(),
        risks: Vec::new(),
    }
}

#[test]
fn a_receipt_has_the_same_bytes_for_ever() {
    let key = PrivateKey::from_ed25519_seed(&[7; 32]).public_bytes();
    let proof = |user_verification| DeviceProof {
        device: DeviceId::from_bytes([3; 16]),
        body: vec![1, 2, 3],
        signature: vec![4; 64],
        public_key: PublicKey::from_bytes(KeyAlgorithm::Ed25519, &key).unwrap(),
        key_protection: KeyProtection::Hardware,
        user_verification,
    };
    let proofs = [
        None,
        Some(proof(UserVerification::None)),
        Some(proof(UserVerification::Biometric)),
    ];
    let signed = SignedBody {
        body: vec![0xfb; 200],
        signature: vec![5; 64],
        key_id: "key-1".into(),
    };
    for proof in proofs {
        for authenticator in [None, Some(AuthenticatorId::from_bytes([6; 16]))] {
            for method in [Method::Push, Method::Sms, Method::Totp] {
                for state in [Final::Approved, Final::Denied] {
                    let challenge = Challenge {
                        method,
                        ..challenge()
                    };
                    let outcome = Outcome {
                        state,
                        reason: Reason::UserApproved,
                        decide_time: Timestamp::from_millis(1_700_000_000_999),
                        proof: proof.clone(),
                        authenticator,
                        receipt_key_id: "key-2".into(),
                    };
                    let issuer = "https://broker.example";
                    let header = json!({ "alg": "EdDSA", "typ": RECEIPT_TYPE, "kid": "key-2" });
                    let claims = expected(issuer, &challenge, &signed, &outcome);
                    let expected = format!(
                        "{}.{}",
                        URL_SAFE_NO_PAD.encode(header.to_string()),
                        URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string())
                    );
                    let input = signing_input(issuer, &challenge, &signed, &outcome);
                    assert_eq!(input, expected);
                    assert_eq!(compact(input, &[0; 3]), format!("{expected}.AAAA"));
                }
            }
        }
    }
}
