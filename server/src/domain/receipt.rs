//! The proof of a decision: claims of a compact JWS (RFC 7515, RFC 7519).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::v1::KeyAlgorithm;
use serde::Serialize;

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
    let header = Header {
        alg: "EdDSA",
        kid: &outcome.receipt_key_id,
        typ: RECEIPT_TYPE,
    };
    let claims = claims(issuer, challenge, signed, outcome);
    let mut json = Vec::with_capacity(2048);
    let mut input = String::with_capacity(4096);
    // Neither can fail: there are no maps with other keys than strings, and the
    // writer is memory.
    if serde_json::to_writer(&mut json, &header).is_ok() {
        URL_SAFE_NO_PAD.encode_string(&json, &mut input);
    }
    input.push('.');
    json.clear();
    if serde_json::to_writer(&mut json, &claims).is_ok() {
        URL_SAFE_NO_PAD.encode_string(&json, &mut input);
    }
    input
}

/// Puts the signature to what was signed.
#[must_use]
pub fn compact(mut signing_input: String, signature: &[u8]) -> String {
    signing_input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut signing_input);
    signing_input
}

/// The names in alphabetical order, here and in [`Claims`]: the order is part of
/// the signed bytes.
#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    kid: &'a str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<Vec<&'static str>>,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticator_id: Option<String>,
    challenge_body: String,
    challenge_key_id: &'a str,
    challenge_signature: String,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_key: Option<DeviceKey>,
    exp: u64,
    iat: u64,
    iss: &'a str,
    jti: String,
    method: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_signature: Option<String>,
    sub: &'a str,
    tenant: String,
}

#[derive(Serialize)]
struct DeviceKey {
    alg: &'static str,
    public_key: String,
}

fn claims<'a>(
    issuer: &'a str,
    challenge: &'a Challenge,
    signed: &'a SignedBody,
    outcome: &'a Outcome,
) -> Claims<'a> {
    let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let decided = outcome.decide_time.as_secs();
    let proof = outcome.proof.as_ref();
    // Somebody authenticated only where the sign-in was approved.
    let amr = match (proof, outcome.authenticator) {
        (Some(_) | None, Some(_)) => Some(code_amr(challenge.method).to_vec()),
        (Some(proof), None) => Some(amr(proof)),
        (None, None) => None,
    }
    .filter(|_| outcome.state == Final::Approved);
    Claims {
        auth_time: amr.as_ref().map(|_| decided),
        amr,
        aud: challenge.api_key.as_str(),
        authenticator_id: outcome.authenticator.map(|id| id.to_string()),
        challenge_body: base64(&signed.body),
        challenge_key_id: &signed.key_id,
        challenge_signature: base64(&signed.signature),
        decision: final_name(outcome.state),
        device_id: proof.map(|proof| proof.device.to_string()),
        device_key: proof.map(|proof| DeviceKey {
            alg: algorithm_name(proof.public_key.algorithm()),
            public_key: base64(proof.public_key.as_bytes()),
        }),
        exp: outcome.decide_time.after(RECEIPT_LIFETIME).as_secs(),
        iat: decided,
        iss: issuer,
        jti: challenge.id.to_string(),
        method: challenge.method.name(),
        reason: reason_name(outcome.reason),
        response_body: proof.map(|proof| base64(&proof.body)),
        response_signature: proof.map(|proof| base64(&proof.signature)),
        sub: challenge.user.as_str(),
        tenant: challenge.tenant.to_string(),
    }
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

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
