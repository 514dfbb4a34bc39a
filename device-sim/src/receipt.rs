//! The offline check of a receipt, as an identity provider would make it: a
//! stock JOSE library for the broker's signature, then the device's own
//! signature, for which nobody has to trust the broker.

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
        ("APPROVED", "USER_APPROVED") => device == Some(Decision::Approve),
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

fn bytes(field: &str, text: &str) -> Result<Vec<u8>, ReceiptError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| ReceiptError::Malformed(format!("{field}: {error}")))
}

#[cfg(test)]
mod tests {
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
        assert_eq!(issuer.check().unwrap().response, None);
        issuer.set("decision", json!("APPROVED"));
        issuer.set("reason", json!("USER_APPROVED"));
        assert!(matches!(
            issuer.check(),
            Err(ReceiptError::Contradiction(_))
        ));
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
}
