//! The proof of a decision: claims of a compact JWS (RFC 7515, RFC 7519).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::v1::KeyAlgorithm;
use serde_json::{Map, Value, json};

use super::{
    challenge::{Challenge, DeviceProof, Final, Method, Outcome, Reason, SignedBody},
    device::KeyProtection,
    response::UserVerification,
};

/// How long a receipt may be accepted after the decision.
pub const RECEIPT_LIFETIME: Duration = Duration::from_secs(300);

/// The `typ` header (RFC 8725, section 3.11: explicit typing).
pub const RECEIPT_TYPE: &str = "countersign-receipt+jwt";

/// The bytes that are signed: `base64url(header).base64url(claims)`. The same
/// challenge gives the same bytes for ever.
#[must_use]
pub fn signing_input(
    issuer: &str,
    challenge: &Challenge,
    signed: &SignedBody,
    outcome: &Outcome,
) -> String {
    let header = json!({ "alg": "EdDSA", "typ": RECEIPT_TYPE, "kid": outcome.receipt_key_id });
    let claims = claims(issuer, challenge, signed, outcome);
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string())
    )
}

/// Puts the signature to what was signed.
#[must_use]
pub fn compact(signing_input: &str, signature: &[u8]) -> String {
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn claims(
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

/// The same for codes. "mfa" is not for the broker to say: it knows of one factor.
fn code_amr(method: Method) -> &'static [&'static str] {
    match method {
        Method::Sms => &["otp", "sms"],
        Method::Totp | Method::RecoveryCode => &["otp"],
        Method::Push | Method::RememberedBrowser => &[],
    }
}

/// Authentication method references, RFC 8176.
fn amr(proof: &DeviceProof) -> Vec<&'static str> {
    let mut amr = vec!["pop"];
    amr.push(match proof.key_protection {
        KeyProtection::Hardware => "hwk",
        KeyProtection::Software => "swk",
    });
    amr.push("user");
    match proof.user_verification {
        UserVerification::None => {}
        UserVerification::Pin => amr.extend(["pin", "mfa"]),
        UserVerification::Biometric => amr.extend(["fpt", "mfa"]),
    }
    amr
}

fn algorithm_name(algorithm: KeyAlgorithm) -> &'static str {
    match algorithm {
        KeyAlgorithm::Ed25519 => "ED25519",
        KeyAlgorithm::P256 => "P256",
        KeyAlgorithm::Unspecified => "",
    }
}

/// The state's name in the contract, without its prefix.
#[must_use]
pub fn final_name(state: Final) -> &'static str {
    match state {
        Final::Approved => "APPROVED",
        Final::Denied => "DENIED",
        Final::Expired => "EXPIRED",
        Final::Cancelled => "CANCELLED",
    }
}

/// The reason's name in the contract, without its prefix.
#[must_use]
pub fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::UserApproved => "USER_APPROVED",
        Reason::UserDenied => "USER_DENIED",
        Reason::FraudReported => "FRAUD_REPORTED",
        Reason::WrongNumber => "WRONG_NUMBER",
        Reason::Superseded => "SUPERSEDED",
        Reason::Unreachable => "UNREACHABLE",
        Reason::TimedOut => "TIMED_OUT",
        Reason::CancelledByCaller => "CANCELLED_BY_CALLER",
        Reason::CodeVerified => "CODE_VERIFIED",
        Reason::TooManyAttempts => "TOO_MANY_ATTEMPTS",
        Reason::LockedOut => "LOCKED_OUT",
        Reason::RememberedBrowser => "REMEMBERED_BROWSER",
        Reason::Policy => "POLICY",
    }
}
