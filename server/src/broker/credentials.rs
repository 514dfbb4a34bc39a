//! Who is calling: API keys and device proofs.

use std::collections::HashSet;

use countersign_proto::{
    signing::{Purpose, sha256},
    v1,
};
use parking_lot::Mutex;
use prost::Message as _;
use subtle::ConstantTimeEq as _;

use super::{Broker, IdpCaller, error::BrokerError};
use crate::domain::{
    api_key::{ApiKey, PresentedKey},
    device::Device,
    ids::DeviceId,
    response::{AnswerError, check_clock},
    time::{MAX_CLOCK_SKEW, Timestamp},
};

impl Broker {
    /// The API key behind an `authorization` header.
    ///
    /// # Errors
    /// [`BrokerError::Unauthenticated`], whatever is wrong with it.
    pub async fn authenticate_key(&self, authorization: &str) -> Result<ApiKey, BrokerError> {
        let presented = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, key)| PresentedKey::parse(key.trim()))
            .ok_or(BrokerError::Unauthenticated)?;
        let key = self
            .store
            .api_key(&presented.id)
            .await?
            .filter(|key| key.admits(&presented.secret))
            .ok_or(BrokerError::Unauthenticated)?;
        if let Some(tenant) = key.tenant
            && self.store.tenant(tenant).await?.is_none()
        {
            return Err(BrokerError::Unauthenticated);
        }
        Ok(key)
    }

    /// Checks that a caller who has been waiting still may: a key can be revoked
    /// in the meantime.
    ///
    /// # Errors
    /// [`BrokerError::Unauthenticated`].
    pub(super) async fn still_admits(&self, caller: &IdpCaller) -> Result<(), BrokerError> {
        let key = self.store.api_key(&caller.api_key).await?;
        if key.is_some_and(|key| key.revoke_time.is_none()) {
            Ok(())
        } else {
            Err(BrokerError::Unauthenticated)
        }
    }

    /// The device behind a proof for a call of `method` with a message whose
    /// SHA-256 is `request_digest`.
    ///
    /// # Errors
    /// [`BrokerError::Unauthenticated`] for a proof that is malformed, of an
    /// unknown device, for another call or wrongly signed; `ClockSkew` and
    /// `ProofReplayed` only to the holder of the device's key.
    pub async fn authenticate_device(
        &self,
        proof: &[u8],
        method: &str,
        request_digest: &[u8; 32],
    ) -> Result<Device, BrokerError> {
        let refused = || BrokerError::Unauthenticated;
        if proof.len() > 2048 {
            return Err(refused());
        }
        let signed = v1::SignedDeviceProof::decode(proof).map_err(|_| refused())?;
        let proof = v1::DeviceProof::decode(signed.body.as_ref()).map_err(|_| refused())?;
        let id = DeviceId::parse("device_id", &proof.device_id).map_err(|_| refused())?;
        let device = self.store.device(id).await?.ok_or_else(refused)?;
        device
            .public_key
            .verify(Purpose::DeviceProof, &signed.body, &signed.signature)
            .map_err(|_| refused())?;
        let same_request = bool::from(proof.request_digest.as_ref().ct_eq(request_digest));
        if proof.method != method || !same_request || !(16..=32).contains(&proof.nonce.len()) {
            return Err(refused());
        }
        let now = self.now();
        match check_clock("issue_time", proof.issue_time.as_ref(), now) {
            Ok(()) => {}
            Err(AnswerError::ClockSkew) => {
                return Err(BrokerError::ClockSkew { server_time: now });
            }
            Err(AnswerError::Invalid(_) | AnswerError::BadSignature) => return Err(refused()),
        }
        if !self.nonces.first_use(id, &proof.nonce, now) {
            return Err(BrokerError::ProofReplayed);
        }
        Ok(device)
    }
}

/// Nonces seen, as long as their proofs could still be accepted.
pub(super) struct Nonces(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    since: Timestamp,
    young: HashSet<[u8; 16]>,
    old: HashSet<[u8; 16]>,
}

impl Nonces {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Whether this device uses this nonce for the first time.
    fn first_use(&self, device: DeviceId, nonce: &[u8], now: Timestamp) -> bool {
        let mut input = device.as_bytes().to_vec();
        input.extend_from_slice(nonce);
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(sha256(&input)) {
            *to = from;
        }
        let mut seen = self.0.lock();
        // A proof is accepted for 60 s before and after its issue time: what is
        // older than two minutes can't come again.
        if now.since(seen.since) > MAX_CLOCK_SKEW.saturating_mul(2) {
            seen.old = std::mem::take(&mut seen.young);
            seen.since = now;
        }
        !seen.old.contains(&key) && seen.young.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_nonce_counts_once_while_its_proof_lives() {
        let nonces = Nonces::new();
        let (one, two) = (DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
        let mut now = Timestamp::from_millis(1_000_000_000);
        assert!(nonces.first_use(one, b"n", now));
        assert!(nonces.first_use(two, b"n", now));
        for _ in 0..12 {
            assert!(!nonces.first_use(one, b"n", now));
            now = now.after(Duration::from_secs(10));
        }
        now = now.after(Duration::from_secs(300));
        assert!(nonces.first_use(one, b"m", now));
        now = now.after(Duration::from_secs(121));
        assert!(nonces.first_use(one, b"m2", now));
        assert!(nonces.first_use(one, b"n", now), "long forgotten");
    }
}
