//! The ideal flow's receipt: the claims of the broker's, signed once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_proto::v1::{ChallengeState, DecisionReason, SignedResponse};
use serde::Serialize;

use super::state::Entry;
use super::{AUDIENCE, TENANT_ID};

/// As the broker's.
const LIFETIME: Duration = Duration::from_secs(300);

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

#[derive(Serialize)]
struct DeviceKey {
    alg: &'static str,
    public_key: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    jti: &'a str,
    iat: u64,
    exp: u64,
    tenant: &'a str,
    decision: &'a str,
    reason: &'a str,
    method: &'a str,
    challenge_body: String,
    challenge_signature: String,
    challenge_key_id: &'a str,
    device_id: &'a str,
    response_body: String,
    response_signature: String,
    device_key: DeviceKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    amr: &'a [&'a str],
}

/// The bytes that are signed: `base64url(header).base64url(claims)`.
pub(super) fn signing_input(
    key_id: &str,
    entry: &Entry,
    response: &SignedResponse,
    (state, reason): (ChallengeState, DecisionReason),
    now: SystemTime,
) -> Result<String, serde_json::Error> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let approved = state == ChallengeState::Approved;
    let challenge = &entry.pending;
    let signed = entry.signed();
    let header = Header {
        alg: "EdDSA",
        typ: "countersign-receipt+jwt",
        kid: key_id,
    };
    let claims = Claims {
        iss: "http://127.0.0.1",
        aud: AUDIENCE,
        sub: &challenge.user_id,
        jti: &challenge.challenge_id,
        iat: now.as_secs(),
        exp: (now + LIFETIME).as_secs(),
        tenant: TENANT_ID,
        decision: state.as_str_name().trim_start_matches("CHALLENGE_STATE_"),
        reason: reason.as_str_name().trim_start_matches("DECISION_REASON_"),
        method: "PUSH",
        challenge_body: URL_SAFE_NO_PAD.encode(&signed.body),
        challenge_signature: URL_SAFE_NO_PAD.encode(&signed.signature),
        challenge_key_id: &signed.key_id,
        device_id: &entry.device.device_id,
        response_body: URL_SAFE_NO_PAD.encode(&response.body),
        response_signature: URL_SAFE_NO_PAD.encode(&response.signature),
        device_key: DeviceKey {
            alg: "ED25519",
            public_key: URL_SAFE_NO_PAD.encode(entry.device.public_key.as_bytes()),
        },
        auth_time: approved.then_some(now.as_secs()),
        // A light phone always says that it took a fingerprint.
        amr: if approved {
            &["pop", "swk", "user", "fpt", "mfa"]
        } else {
            &[]
        },
    };
    let mut input = String::with_capacity(2048);
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(&header)?, &mut input);
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(&claims)?, &mut input);
    Ok(input)
}

/// Puts the signature to what was signed.
pub(super) fn compact(mut input: String, signature: &[u8]) -> String {
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut input);
    input
}

/// A JSON Web Key Set of one key (RFC 7517, RFC 8037).
pub(super) fn jwks(key_id: &str, public_key: &[u8]) -> String {
    serde_json::json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": key_id, "x": URL_SAFE_NO_PAD.encode(public_key),
    }] })
    .to_string()
}
