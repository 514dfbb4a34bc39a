//! What the identity provider keeps of a decision by a code.

use countersign_proto::v1::{self, Method};
use countersign_tests::push::PushWorld;
use device_sim::receipt::ReceiptCheck;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use super::NUMBER;

/// The claims, as a stock library verifies them against the published keys.
async fn claims(world: &PushWorld, receipt: &str) -> Value {
    let jwks: JwkSet = serde_json::from_str(&world.page("/.well-known/jwks.json").await).unwrap();
    let kid = jsonwebtoken::decode_header(receipt).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_audience(&[&world.tenant.api_key_id]);
    // The broker's clock is turned by hand.
    rules.validate_exp = false;
    jsonwebtoken::decode::<Value>(receipt, &key, &rules)
        .unwrap()
        .claims
}

/// Verified by the published keys; says by which authenticator and how, and
/// claims no device's signature.
#[tokio::test]
async fn a_receipt_of_a_code_says_which_and_how() {
    let world = PushWorld::start().await;
    let number = world.phone_number("tom", NUMBER).await;
    let app = world.totp("tom").await;
    let sheet = world.broker.recovery_codes(&world.tenant, "tom").await;
    for (method, amr) in [
        (Method::Sms, json!(["otp", "sms"])),
        (Method::Totp, json!(["otp"])),
        (Method::RecoveryCode, json!(["otp"])),
    ] {
        let seq = world.inbox().last_seq();
        let asked = world.ask_by("tom", method).await.unwrap();
        let code = match method {
            Method::Sms => world.code_after(NUMBER, seq).await,
            Method::Totp => app.code(world.broker.now_ms()),
            _ => sheet[0].clone(),
        };
        let decided = world.verify(&asked.challenge_id, &code).await.unwrap();
        let claims = claims(&world, &decided.receipt).await;
        assert_eq!(claims["jti"], asked.challenge_id);
        assert_eq!(claims["sub"], "tom");
        assert_eq!(claims["decision"], "APPROVED");
        assert_eq!(claims["reason"], "CODE_VERIFIED");
        assert_eq!(claims["amr"], amr);
        let name = method.as_str_name().trim_start_matches("METHOD_");
        assert_eq!(claims["method"], name);
        let by = claims["authenticator_id"].as_str().unwrap();
        assert_eq!(by, decided.decided_by_authenticator_id);
        match method {
            Method::Sms => assert_eq!(by, number),
            Method::Totp => assert_eq!(by, app.id),
            _ => {}
        }
        let decided_at = decided.decide_time.unwrap().seconds;
        assert_eq!(claims["auth_time"], decided_at);
        for of_a_device in [
            "device_id",
            "device_key",
            "response_body",
            "response_signature",
        ] {
            assert_eq!(claims[of_a_device], Value::Null, "{of_a_device}");
        }
        // And the whole as this project's own example of an identity provider
        // checks it, the broker's signature on the challenge included.
        let jwks = world.page("/.well-known/jwks.json").await;
        let now = world.broker.phone_clock()();
        let check = ReceiptCheck::new(&jwks, &world.tenant.api_key_id, now).unwrap();
        let receipt = check.check(&decided.receipt).unwrap();
        assert_eq!(receipt.response, None);
        assert_eq!(receipt.challenge.challenge_id, asked.challenge_id);
    }

    // Where nothing was proven nobody is said to have authenticated.
    let asked = world.ask_by("tom", Method::Totp).await.unwrap();
    let mut ended = asked.clone();
    for _ in 0..5 {
        if let Ok(told) = world.verify(&asked.challenge_id, "000000").await {
            ended = told;
        }
    }
    assert_eq!(ended.reason(), v1::DecisionReason::TooManyAttempts);
    let claims = claims(&world, &ended.receipt).await;
    assert_eq!(claims["decision"], "DENIED");
    for claim in ["amr", "auth_time", "authenticator_id"] {
        assert_eq!(claims[claim], Value::Null, "{claim}");
    }
}
