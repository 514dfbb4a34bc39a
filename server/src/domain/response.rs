//! A device's signed answer: read and verified before it may decide anything.

use countersign_proto::{
    signing::{Purpose, sha256},
    v1,
};
use prost::Message as _;

use super::{
    Invalid,
    challenge::{DeviceProof, SignedBody},
    context::check_language,
    device::Device,
    ids::{ChallengeId, DeviceId},
    time::{MAX_CLOCK_SKEW, Timestamp},
};

/// The user's choice. There is no "unspecified": that is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is my sign-in.
    Approve,
    /// Don't let it through.
    Deny,
    /// That wasn't me.
    ReportFraud,
}

/// How the phone made sure that its owner is holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserVerification {
    /// Not at all.
    None,
    /// A PIN or the phone's unlock code.
    Pin,
    /// Fingerprint or face.
    Biometric,
}

/// A verified answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The choice.
    pub choice: Choice,
    /// The number typed; empty for none.
    pub number: String,
    /// The answer as received, and who gave it.
    pub proof: DeviceProof,
}

/// Why an answer is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A field is missing or malformed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Not signed by the device's key.
    #[error("the signature does not match the device's key")]
    BadSignature,
    /// The phone's clock is more than 60 s off.
    #[error("the phone's clock is off")]
    ClockSkew,
}

/// An answer as received: parsed, not yet verified.
#[derive(Debug)]
pub struct UnverifiedAnswer {
    /// Which challenge it claims to answer.
    pub challenge: ChallengeId,
    /// Which device it claims to be from.
    pub device: DeviceId,
    parsed: v1::ResponseBody,
    body: Vec<u8>,
    signature: Vec<u8>,
}

impl UnverifiedAnswer {
    /// Parses the bytes.
    ///
    /// # Errors
    /// [`Invalid`] naming the field that can't be read.
    pub fn parse(body: &[u8], signature: &[u8]) -> Result<Self, Invalid> {
        if body.is_empty() {
            return Err(Invalid::new("response.body", "is required"));
        }
        if body.len() > 1024 {
            return Err(Invalid::new(
                "response.body",
                "must have at most 1024 bytes",
            ));
        }
        if signature.len() != countersign_proto::signing::SIGNATURE_LENGTH {
            return Err(Invalid::new("response.signature", "must have 64 bytes"));
        }
        let parsed = v1::ResponseBody::decode(body)
            .map_err(|_| Invalid::new("response.body", "must be a serialized ResponseBody"))?;
        Ok(Self {
            challenge: ChallengeId::parse("response.body.challenge_id", &parsed.challenge_id)?,
            device: DeviceId::parse("response.body.device_id", &parsed.device_id)?,
            parsed,
            body: body.to_vec(),
            signature: signature.to_vec(),
        })
    }

    /// Checks that `device` signed these bytes.
    ///
    /// # Errors
    /// [`AnswerError::BadSignature`].
    pub fn verify_signature(&self, device: &Device) -> Result<(), AnswerError> {
        device
            .public_key
            .verify(Purpose::Response, &self.body, &self.signature)
            .map_err(|_| AnswerError::BadSignature)
    }

    /// Checks the answer against the challenge it is for. `digits` is how many
    /// digits that challenge asks for.
    ///
    /// # Errors
    /// [`AnswerError`] with the field that is wrong. Nothing is decided by a
    /// malformed answer.
    pub fn into_answer(
        self,
        device: &Device,
        challenge: &SignedBody,
        digits: usize,
        now: Timestamp,
    ) -> Result<Answer, AnswerError> {
        let body = self.parsed;
        let choice = match body.decision() {
            v1::Decision::Approve => Choice::Approve,
            v1::Decision::Deny => Choice::Deny,
            v1::Decision::ReportFraud => Choice::ReportFraud,
            v1::Decision::Unspecified => {
                return Err(Invalid::new(
                    "response.body.decision",
                    "must be APPROVE, DENY or REPORT_FRAUD",
                )
                .into());
            }
        };
        if body.challenge_digest.as_ref() != sha256(&challenge.body) {
            return Err(Invalid::new(
                "response.body.challenge_digest",
                "must be the SHA-256 of the challenge body as issued",
            )
            .into());
        }
        check_clock(
            "response.body.respond_time",
            body.respond_time.as_ref(),
            now,
        )?;
        if choice == Choice::Approve && digits > 0 && body.number.is_empty() {
            return Err(
                Invalid::new("response.body.number", "is required for this challenge").into(),
            );
        }
        // What can't be a number at all is a fault of the app, not of its user.
        if body.number.len() > 6 || !body.number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Invalid::new("response.body.number", "must be at most 6 digits").into());
        }
        check_language("response.body.locale", &body.locale)?;
        let user_verification = match v1::UserVerification::try_from(body.user_verification) {
            Ok(v1::UserVerification::Unspecified | v1::UserVerification::None) => {
                UserVerification::None
            }
            Ok(v1::UserVerification::Pin) => UserVerification::Pin,
            Ok(v1::UserVerification::Biometric) => UserVerification::Biometric,
            Err(_) => {
                return Err(Invalid::new("response.body.user_verification", "is not known").into());
            }
        };
        Ok(Answer {
            choice,
            // A number where none was asked for proves nothing either way.
            number: if digits == 0 {
                String::new()
            } else {
                body.number
            },
            proof: DeviceProof {
                device: device.id,
                body: self.body,
                signature: self.signature,
                public_key: device.public_key.clone(),
                key_protection: device.key_protection,
                user_verification,
            },
        })
    }
}

/// Checks a phone's clock against ours.
///
/// # Errors
/// [`Invalid`] when the time is missing, [`AnswerError::ClockSkew`] when it is
/// more than 60 s from `now`.
pub fn check_clock(
    field: &str,
    time: Option<&prost_types::Timestamp>,
    now: Timestamp,
) -> Result<(), AnswerError> {
    let time = time.ok_or_else(|| Invalid::new(field, "is required"))?;
    let bad = || Invalid::new(field, "must be a time after 1970");
    let secs = u64::try_from(time.seconds).map_err(|_| bad())?;
    let nanos = u64::try_from(time.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .ok_or_else(bad)?;
    let claimed =
        Timestamp::from_millis(secs.saturating_mul(1000).saturating_add(nanos / 1_000_000));
    if claimed.distance(now) > MAX_CLOCK_SKEW {
        return Err(AnswerError::ClockSkew);
    }
    Ok(())
}
