//! Users with one phone each, made from a seed.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use countersign_proto::signing::{DEVICE_PROOF_METADATA, PrivateKey, Purpose, sha256};
use countersign_proto::v1::{
    Decision, DeviceProof, ResponseBody, SignedChallenge, SignedDeviceProof, SignedResponse,
    UserVerification,
};
use prost::Message;
use tonic::metadata::MetadataValue;

use super::FleetError;

/// Who there is: a pure function of the seed and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Population {
    /// Another seed: other users, with other keys.
    pub seed: u64,
}

impl Population {
    /// The `user_id` of number `index`.
    #[must_use]
    pub fn user_id(&self, index: u64) -> String {
        format!("load-{:x}-{index:07}", self.seed)
    }

    /// The phone's own key. Anybody who knows the seed has it: it is for tests.
    #[must_use]
    pub fn key(&self, index: u64) -> PrivateKey {
        let mut input = b"device-sim fleet key\0".to_vec();
        input.extend_from_slice(&self.seed.to_be_bytes());
        input.extend_from_slice(&index.to_be_bytes());
        PrivateKey::from_ed25519_seed(&sha256(&input))
    }

    /// The phone of number `index`, registered as `device_id`.
    #[must_use]
    pub fn phone(&self, index: u64, device_id: String) -> LightPhone {
        LightPhone {
            key: self.key(index),
            user_id: self.user_id(index),
            device_id,
        }
    }
}

/// A phone that proves and answers, and trusts whatever it is asked.
pub struct LightPhone {
    key: PrivateKey,
    user_id: String,
    device_id: String,
}

impl std::fmt::Debug for LightPhone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LightPhone({} of {})", self.device_id, self.user_id)
    }
}

impl LightPhone {
    /// Whose it is.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// As registered.
    #[must_use]
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// `message` as a call of `method` (the full name, with the slash) that
    /// carries its proof.
    ///
    /// # Errors
    /// [`FleetError::UnusableKey`] when the system gives no randomness.
    pub fn proven<M: Message>(
        &self,
        method: &str,
        message: M,
        now: SystemTime,
    ) -> Result<tonic::Request<M>, FleetError> {
        let mut nonce = vec![0; 16];
        getrandom::fill(&mut nonce).map_err(|_| FleetError::UnusableKey)?;
        let proof = DeviceProof {
            device_id: self.device_id.clone(),
            method: method.to_owned(),
            request_digest: sha256(&message.encode_to_vec()).to_vec().into(),
            issue_time: Some(timestamp(now)),
            nonce: nonce.into(),
        };
        let body = Bytes::from(proof.encode_to_vec());
        let signature = self.sign(Purpose::DeviceProof, &body)?;
        let signed = SignedDeviceProof { body, signature };
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert_bin(
            DEVICE_PROOF_METADATA,
            MetadataValue::from_bytes(&signed.encode_to_vec()),
        );
        Ok(request)
    }

    /// The signed answer to `challenge`. `number`: what the user typed, or empty.
    ///
    /// # Errors
    /// [`FleetError::UnusableKey`].
    pub fn answer(
        &self,
        challenge_id: &str,
        challenge: &SignedChallenge,
        decision: Decision,
        number: &str,
        now: SystemTime,
    ) -> Result<SignedResponse, FleetError> {
        let body = ResponseBody {
            challenge_id: challenge_id.to_owned(),
            challenge_digest: sha256(&challenge.body).to_vec().into(),
            device_id: self.device_id.clone(),
            decision: decision.into(),
            number: number.to_owned(),
            respond_time: Some(timestamp(now)),
            user_verification: UserVerification::Biometric.into(),
            locale: "en".to_owned(),
        };
        let body = Bytes::from(body.encode_to_vec());
        Ok(SignedResponse {
            signature: self.sign(Purpose::Response, &body)?,
            body,
        })
    }

    fn sign(&self, purpose: Purpose, body: &[u8]) -> Result<Bytes, FleetError> {
        self.key
            .sign(purpose, body)
            .map(Bytes::from)
            .map_err(|_| FleetError::UnusableKey)
    }
}

fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    prost_types::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_people_each_time() {
        let (one, other) = (Population { seed: 7 }, Population { seed: 8 });
        assert_eq!(one.user_id(3), "load-7-0000003");
        assert_eq!(one.key(3).public_bytes(), one.key(3).public_bytes());
        assert_ne!(one.key(3).public_bytes(), one.key(4).public_bytes());
        assert_ne!(one.key(3).public_bytes(), other.key(3).public_bytes());
    }
}
