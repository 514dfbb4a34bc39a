//! A challenge that passed every check a phone makes before showing it.

use std::time::SystemTime;

use countersign_proto::signing::sha256;
use countersign_proto::v1::{ChallengeBody, SignedChallenge};
use prost::Message as _;

use super::clock::system_time;
use super::{PhoneError, TrustedKeys};

/// A challenge signed by a trusted key, for this account; one to be answered had
/// not expired when it was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedChallenge {
    signed: SignedChallenge,
    body: ChallengeBody,
    expire_time: SystemTime,
}

impl VerifiedChallenge {
    /// Signature first, over the bytes as received; only then are they parsed.
    /// Its expiry is for the caller to look at.
    pub(super) fn check(
        signed: SignedChallenge,
        trusted: &TrustedKeys,
        tenant_id: &str,
        user_id: &str,
    ) -> Result<Self, PhoneError> {
        trusted.verify_challenge(&signed)?;
        let body = ChallengeBody::decode(signed.body.clone())
            .map_err(|_| PhoneError::Malformed("challenge"))?;
        if body.tenant_id != tenant_id || body.user_id != user_id {
            return Err(PhoneError::WrongAccount);
        }
        if body.challenge_id.is_empty() {
            return Err(PhoneError::Malformed("challenge"));
        }
        let expire_time = body
            .expire_time
            .as_ref()
            .and_then(system_time)
            .ok_or(PhoneError::Malformed("challenge"))?;
        Ok(Self {
            signed,
            body,
            expire_time,
        })
    }

    pub(super) fn check_expiry(&self, now: SystemTime) -> Result<(), PhoneError> {
        if self.expire_time <= now {
            return Err(PhoneError::Expired);
        }
        Ok(())
    }

    /// The challenge's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.body.challenge_id
    }

    /// What the broker signed, parsed.
    #[must_use]
    pub fn body(&self) -> &ChallengeBody {
        &self.body
    }

    /// What the broker sent.
    #[must_use]
    pub fn signed(&self) -> &SignedChallenge {
        &self.signed
    }

    /// SHA-256 of the body as received, which the answer covers.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.signed.body)
    }

    /// When it ends by itself.
    #[must_use]
    pub fn expire_time(&self) -> SystemTime {
        self.expire_time
    }
}

#[cfg(test)]
impl VerifiedChallenge {
    /// A body that is good for `seconds` from now, without a number.
    pub(crate) fn sample_body(challenge_id: &str, seconds: i64) -> ChallengeBody {
        let now = super::timestamp(super::system_clock()());
        ChallengeBody {
            challenge_id: challenge_id.to_owned(),
            tenant_id: "t-1".to_owned(),
            user_id: "tom.cool@example.be".to_owned(),
            create_time: Some(now),
            expire_time: Some(prost_types::Timestamp {
                seconds: now.seconds + seconds,
                nanos: 0,
            }),
            ..Default::default()
        }
    }

    /// `body` as if it had been checked.
    #[allow(clippy::unwrap_used, reason = "tests")]
    pub(crate) fn sample(body: ChallengeBody) -> Self {
        Self {
            signed: SignedChallenge {
                body: body.encode_to_vec().into(),
                ..Default::default()
            },
            expire_time: body.expire_time.as_ref().and_then(system_time).unwrap(),
            body,
        }
    }
}
