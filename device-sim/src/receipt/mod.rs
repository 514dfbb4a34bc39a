//! The offline check of a receipt, as an identity provider would make it: a
//! stock JOSE library for the broker's signature, then the device's own
//! signature, for which nobody has to trust the broker. That a code was right,
//! only the broker can say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_proto::signing::{PublicKey, Purpose, sha256};
use countersign_proto::v1::{ChallengeBody, Decision, KeyAlgorithm, ResponseBody};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use prost::Message as _;
use serde::Deserialize;

/// How far the clocks of broker and identity provider may be apart.
const LEEWAY: Duration = Duration::from_secs(60);

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// It is no compact JWS with the claims of a receipt.
    #[error("the receipt cannot be read: {0}")]
    Malformed(String),
    /// Its algorithm is not EdDSA.
    #[error("the receipt is not signed with EdDSA")]
    WrongAlgorithm,
    /// The JWKS does not hold the key it names.
    #[error("the JWKS holds no Ed25519 key {0}")]
    UnknownKey(String),
    /// The broker's signature, the issuer or the audience is wrong.
    #[error("the receipt is not valid here: {0}")]
    NotValid(String),
    /// It is from the future or has expired.
    #[error("the receipt is not valid at this time")]
    NotNow,
    /// The broker's signature on the challenge inside does not match.
    #[error("the broker's signature on the challenge does not match")]
    BadChallengeSignature,
    /// The device's signature on the response inside does not match.
    #[error("the device's signature on the response does not match")]
    BadResponseSignature,
    /// Two statements of the receipt contradict each other.
    #[error("the receipt contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// The claims as they stand in the JWS. Byte fields: base64url, no padding;
/// empty or absent when no device answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ReceiptClaims {
    /// The broker.
    pub iss: String,
    /// Id of the API key that asked.
    pub aud: String,
    /// The user.
    pub sub: String,
    /// The challenge's id.
    pub jti: String,
    /// Seconds since 1970.
    pub iat: u64,
    /// Seconds since 1970.
    pub exp: u64,
    /// When the user answered, in seconds since 1970.
    #[serde(default)]
    pub auth_time: Option<u64>,
    /// RFC 8176 values.
    #[serde(default)]
    pub amr: Vec<String>,
    /// `APPROVED`, `DENIED`, `EXPIRED` or `CANCELLED`.
    pub decision: String,
    /// Why, e.g. `USER_APPROVED`.
    #[serde(default)]
    pub reason: String,
    /// How the deciding answer was given: `PUSH`, `SMS`, `TOTP`, ….
    #[serde(default)]
    pub method: String,
    /// The authenticator whose code decided.
    #[serde(default)]
    pub authenticator_id: String,
    /// A serialized `ChallengeBody`.
    #[serde(default)]
    pub challenge_body: String,
    /// The broker's signature on it.
    #[serde(default)]
    pub challenge_signature: String,
    /// The key that made it.
    #[serde(default)]
    pub challenge_key_id: String,
    /// A serialized `ResponseBody`.
    #[serde(default)]
    pub response_body: String,
    /// The device's signature on it.
    #[serde(default)]
    pub response_signature: String,
    /// The device's public key.
    #[serde(default)]
    pub device_key: Option<DeviceKeyClaim>,
    /// The device that answered.
    #[serde(default)]
    pub device_id: String,
}

/// A device's public key as a claim.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct DeviceKeyClaim {
    /// `ED25519` or `P256`.
    pub alg: String,
    /// 32 bytes, or 65 (uncompressed SEC1).
    pub public_key: String,
}

/// A receipt that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// As signed by the broker.
    pub claims: ReceiptClaims,
    /// What the phone was asked.
    pub challenge: ChallengeBody,
    /// What the phone answered; `None` when no device did.
    pub response: Option<ResponseBody>,
}

/// What a receipt is checked against.
#[derive(Clone, Debug)]
pub struct ReceiptCheck {
    jwks: JwkSet,
    issuer: Option<String>,
    audience: String,
    now: SystemTime,
}

impl ReceiptCheck {
    /// Checks at `now` against `jwks` (the JSON of `/.well-known/jwks.json`)
    /// for the API key with id `audience`.
    ///
    /// # Errors
    /// [`ReceiptError::Malformed`] when `jwks` is no key set.
    pub fn new(jwks: &str, audience: &str, now: SystemTime) -> Result<Self, ReceiptError> {
        let jwks = serde_json::from_str(jwks)
            .map_err(|error| ReceiptError::Malformed(format!("JWKS: {error}")))?;
        Ok(Self {
            jwks,
            issuer: None,
            audience: audience.to_owned(),
            now,
        })
    }

    /// Also demands this `iss`.
    #[must_use]
    pub fn issued_by(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.to_owned());
        self
    }

    /// Checks everything a receipt says.
    ///
    /// # Errors
    /// The first [`ReceiptError`] found.
    pub fn check(&self, receipt: &str) -> Result<Receipt, ReceiptError> {
        let claims = self.check_jws(receipt)?;
        let challenge_bytes = bytes("challenge_body", &claims.challenge_body)?;
        self.public_key(&claims.challenge_key_id)?
            .verify(
                Purpose::Challenge,
                &challenge_bytes,
                &bytes("challenge_signature", &claims.challenge_signature)?,
            )
            .map_err(|_| ReceiptError::BadChallengeSignature)?;
        let challenge = ChallengeBody::decode(challenge_bytes.as_slice())
            .map_err(|error| ReceiptError::Malformed(format!("challenge_body: {error}")))?;
        if challenge.challenge_id != claims.jti {
            return Err(ReceiptError::Contradiction("jti and challenge"));
        }
        if challenge.user_id != claims.sub {
            return Err(ReceiptError::Contradiction("sub and challenge"));
        }
        let response = check_response(&claims, &challenge_bytes)?;
        check_decision(&claims, response.as_ref())?;
        check_code(&claims, response.as_ref())?;
        check_authentication(&claims)?;
        Ok(Receipt {
            claims,
            challenge,
            response,
        })
    }

    fn check_jws(&self, receipt: &str) -> Result<ReceiptClaims, ReceiptError> {
        let header =
            decode_header(receipt).map_err(|error| ReceiptError::Malformed(error.to_string()))?;
        if header.alg != Algorithm::EdDSA {
            return Err(ReceiptError::WrongAlgorithm);
        }
        let kid = header.kid.unwrap_or_default();
        let unknown = || ReceiptError::UnknownKey(kid.clone());
        let jwk = self.jwks.find(&kid).ok_or_else(unknown)?;
        let key = DecodingKey::from_jwk(jwk).map_err(|_| unknown())?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[&self.audience]);
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
        }
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Against `now` instead of the machine's clock, below.
        validation.validate_exp = false;
        let claims: ReceiptClaims = decode(receipt, &key, &validation)
            .map_err(|error| ReceiptError::NotValid(error.to_string()))?
            .claims;
        let at = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let (Some(issued), Some(expires)) = (at(claims.iat), at(claims.exp)) else {
            return Err(ReceiptError::NotNow);
        };
        if issued > self.now + LEEWAY || expires + LEEWAY <= self.now {
            return Err(ReceiptError::NotNow);
        }
        Ok(claims)
    }

    fn public_key(&self, key_id: &str) -> Result<PublicKey, ReceiptError> {
        let unknown = || ReceiptError::UnknownKey(key_id.to_owned());
        let jwk = self.jwks.find(key_id).ok_or_else(unknown)?;
        let AlgorithmParameters::OctetKeyPair(parameters) = &jwk.algorithm else {
            return Err(unknown());
        };
        if parameters.curve != EllipticCurve::Ed25519 {
            return Err(unknown());
        }
        let x = URL_SAFE_NO_PAD
            .decode(&parameters.x)
            .map_err(|_| unknown())?;
        PublicKey::from_bytes(KeyAlgorithm::Ed25519, &x).map_err(|_| unknown())
    }
}

fn check_response(
    claims: &ReceiptClaims,
    challenge: &[u8],
) -> Result<Option<ResponseBody>, ReceiptError> {
    let Some(device_key) = &claims.device_key else {
        if claims.response_body.is_empty() && claims.response_signature.is_empty() {
            return Ok(None);
        }
        return Err(ReceiptError::Contradiction("response without a device key"));
    };
    let algorithm = match device_key.alg.as_str() {
        "ED25519" => KeyAlgorithm::Ed25519,
        "P256" => KeyAlgorithm::P256,
        other => {
            return Err(ReceiptError::Malformed(format!(
                "device_key.alg {other:?} is not known"
            )));
        }
    };
    let key = PublicKey::from_bytes(algorithm, &bytes("device_key", &device_key.public_key)?)
        .map_err(|error| ReceiptError::Malformed(format!("device_key: {error}")))?;
    let body = bytes("response_body", &claims.response_body)?;
    key.verify(
        Purpose::Response,
        &body,
        &bytes("response_signature", &claims.response_signature)?,
    )
    .map_err(|_| ReceiptError::BadResponseSignature)?;
    let response = ResponseBody::decode(body.as_slice())
        .map_err(|error| ReceiptError::Malformed(format!("response_body: {error}")))?;
    if response.challenge_digest != sha256(challenge).as_slice() {
        return Err(ReceiptError::Contradiction("response and challenge"));
    }
    if response.challenge_id != claims.jti {
        return Err(ReceiptError::Contradiction("jti and response"));
    }
    if response.device_id != claims.device_id {
        return Err(ReceiptError::Contradiction("device_id and response"));
    }
    Ok(Some(response))
}

/// An approval by push has to be the device's own, and a device that denied
/// can't have been overruled.
fn check_decision(
    claims: &ReceiptClaims,
    response: Option<&ResponseBody>,
) -> Result<(), ReceiptError> {
    if !["APPROVED", "DENIED", "EXPIRED", "CANCELLED"].contains(&claims.decision.as_str()) {
        return Err(ReceiptError::Malformed(format!(
            "decision {:?} is not known",
            claims.decision
        )));
    }
    let device = response.map(ResponseBody::decision);
    let agrees = match (claims.decision.as_str(), claims.reason.as_str()) {
        ("APPROVED", "USER_APPROVED") => {
            device == Some(Decision::Approve) && claims.method == "PUSH"
        }
        ("APPROVED", _) => device.is_none_or(|decision| decision == Decision::Approve),
        (_, "USER_DENIED") => device == Some(Decision::Deny),
        (_, "FRAUD_REPORTED") => device == Some(Decision::ReportFraud),
        // A wrong number is an approval that did not count.
        (_, "WRONG_NUMBER") => device == Some(Decision::Approve),
        _ => true,
    };
    if agrees {
        Ok(())
    } else {
        Err(ReceiptError::Contradiction("decision and response"))
    }
}

/// A code can only have approved, in the place of a device, and says whose it was.
fn check_code(claims: &ReceiptClaims, response: Option<&ResponseBody>) -> Result<(), ReceiptError> {
    if claims.reason != "CODE_VERIFIED" {
        return if claims.authenticator_id.is_empty() {
            Ok(())
        } else {
            Err(ReceiptError::Contradiction("reason and authenticator_id"))
        };
    }
    if claims.decision != "APPROVED" || response.is_some() || claims.authenticator_id.is_empty() {
        return Err(ReceiptError::Contradiction("reason and decision"));
    }
    // RFC 8176: what came by text message is both.
    let expected: &[&str] = match claims.method.as_str() {
        "SMS" => &["otp", "sms"],
        "TOTP" | "RECOVERY_CODE" => &["otp"],
        _ => return Err(ReceiptError::Contradiction("reason and method")),
    };
    if claims.amr == expected {
        Ok(())
    } else {
        Err(ReceiptError::Contradiction("method and amr"))
    }
}

/// Nobody authenticated where the sign-in was not approved.
fn check_authentication(claims: &ReceiptClaims) -> Result<(), ReceiptError> {
    let approved = claims.decision == "APPROVED";
    if !approved && (claims.auth_time.is_some() || !claims.amr.is_empty()) {
        return Err(ReceiptError::Contradiction("decision and authentication"));
    }
    Ok(())
}

fn bytes(field: &str, text: &str) -> Result<Vec<u8>, ReceiptError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| ReceiptError::Malformed(format!("{field}: {error}")))
}

#[cfg(test)]
mod tests;
