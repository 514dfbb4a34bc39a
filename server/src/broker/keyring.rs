//! The broker's signing keys, opened: private halves are stored sealed with the
//! installation's master key and live in the clear only here.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::signing::{PrivateKey, Purpose, key_id};
use zeroize::Zeroizing;

use super::{error::BrokerError, random};
use crate::domain::{
    body::broker_key_body,
    challenge::SignedBody,
    signing_key::{self, SigningKey, Succession},
    time::Timestamp,
};

/// The installation's master key: seals what is secret in the store.
pub struct MasterKey {
    seal: LessSafeKey,
    mac: hmac::Key,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

const NONCE_LENGTH: usize = 12;

impl MasterKey {
    /// From its 32 bytes.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] when the length is another.
    pub fn new(bytes: &[u8]) -> Result<Self, BrokerError> {
        let seal = UnboundKey::new(&AES_256_GCM, bytes)
            .map_err(|_| BrokerError::Internal("the master key must have 32 bytes".into()))?;
        // A key of its own for hashes: none of the two uses says anything to the
        // other.
        let parent = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let derived = hmac::sign(&parent, b"countersign/v1/keyed-hashes");
        Ok(Self {
            seal: LessSafeKey::new(seal),
            mac: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        })
    }

    /// A keyed hash of `parts` under `label`; where one part ends is part of it.
    pub(super) fn keyed_hash(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.mac);
        for part in std::iter::once(&label.as_bytes()).chain(parts) {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            context.update(&length.to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        out
    }

    pub(super) fn seal(&self, label: &str, secret: &[u8]) -> Result<Vec<u8>, BrokerError> {
        let nonce = random::bytes::<NONCE_LENGTH>()?;
        let mut sealed = secret.to_vec();
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| BrokerError::Internal("a secret can't be sealed".into()))?;
        let mut out = nonce.to_vec();
        out.append(&mut sealed);
        Ok(out)
    }

    pub(super) fn open(
        &self,
        label: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, BrokerError> {
        let wrong = || {
            BrokerError::Internal("the master key does not open what is stored: wrong key?".into())
        };
        let (nonce, rest) = sealed
            .split_first_chunk::<NONCE_LENGTH>()
            .ok_or_else(wrong)?;
        let mut secret = Zeroizing::new(rest.to_vec());
        let length = self
            .seal
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(label.as_bytes()),
                &mut secret,
            )
            .map_err(|_| wrong())?
            .len();
        secret.truncate(length);
        Ok(secret)
    }
}

/// A key with its private half.
struct OpenKey {
    stored: SigningKey,
    private: PrivateKey,
}

/// All signing keys, oldest first.
pub struct Keyring {
    pub(super) master: MasterKey,
    keys: ArcSwap<Vec<Arc<OpenKey>>>,
    making: tokio::sync::Mutex<()>,
}

impl Keyring {
    /// Opens stored keys.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] when the master key does not open them.
    pub fn new(master: MasterKey, stored: Vec<SigningKey>) -> Result<Self, BrokerError> {
        let keyring = Self {
            master,
            keys: ArcSwap::default(),
            making: tokio::sync::Mutex::default(),
        };
        for key in stored {
            keyring.add(key)?;
        }
        Ok(keyring)
    }

    /// Takes a further key into use.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] when the master key does not open it.
    pub fn add(&self, stored: SigningKey) -> Result<(), BrokerError> {
        let seed = self.master.open(&stored.key_id, &stored.sealed_seed)?;
        let seed = <&[u8; 32]>::try_from(seed.as_slice())
            .map_err(|_| BrokerError::Internal("a sealed seed must have 32 bytes".into()))?;
        let private = PrivateKey::from_ed25519_seed(seed);
        if private.public_bytes() != stored.public_key {
            return Err(BrokerError::Internal(
                "a signing key's halves don't match".into(),
            ));
        }
        let open = Arc::new(OpenKey { stored, private });
        self.keys.rcu(|keys| {
            let mut keys = keys.as_ref().clone();
            keys.push(open.clone());
            keys
        });
        Ok(())
    }

    /// To be held from [`Keyring::make`] to [`Keyring::add`]: two keys made at
    /// the same moment would both follow from the one before them, and neither
    /// from the other.
    pub(super) async fn make_one(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.making.lock().await
    }

    /// Makes a key that signs from `activate_time` on, vouched for by the
    /// newest before it. It is not in use until it is stored and added.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] without randomness.
    pub fn make(
        &self,
        now: Timestamp,
        activate_time: Timestamp,
    ) -> Result<SigningKey, BrokerError> {
        let seed = Zeroizing::new(random::bytes::<32>()?);
        let public = PrivateKey::from_ed25519_seed(&seed).public_bytes();
        let public_key = <[u8; 32]>::try_from(public.as_slice())
            .map_err(|_| BrokerError::Internal("an Ed25519 key must have 32 bytes".into()))?;
        let id = key_id(&public_key);
        let mut create_time = now;
        let succession = match self.keys.load().last() {
            None => None,
            Some(before) => {
                // They are stored in this order, which is the order of
                // succession, whatever the wall clock does.
                let after = before.stored.create_time.after(Duration::from_millis(1));
                create_time = create_time.max(after);
                let body = broker_key_body(&id, &public_key, activate_time);
                Some(Succession {
                    signature: sign(&before.private, Purpose::KeySuccession, &body)?,
                    signer_key_id: before.stored.key_id.clone(),
                    body,
                })
            }
        };
        Ok(SigningKey {
            sealed_seed: self.master.seal(&id, seed.as_slice())?,
            key_id: id,
            public_key,
            create_time,
            activate_time,
            succession,
        })
    }

    /// The stored keys, oldest first.
    #[must_use]
    pub fn stored(&self) -> Vec<SigningKey> {
        self.keys
            .load()
            .iter()
            .map(|key| key.stored.clone())
            .collect()
    }

    fn current(&self, now: Timestamp) -> Result<Arc<OpenKey>, BrokerError> {
        let keys = self.keys.load();
        // As `signing_key::current`.
        keys.iter()
            .rfind(|key| key.stored.activate_time <= now)
            .or_else(|| keys.first())
            .cloned()
            .ok_or_else(|| BrokerError::Internal("there is no signing key".into()))
    }

    /// The id of the key that signs at `now`.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] when there is none.
    pub fn current_id(&self, now: Timestamp) -> Result<String, BrokerError> {
        Ok(self.current(now)?.stored.key_id.clone())
    }

    /// The key that signs at `now`.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] when there is none.
    pub fn current_public(&self, now: Timestamp) -> Result<[u8; 32], BrokerError> {
        Ok(self.current(now)?.stored.public_key)
    }

    /// Signs a challenge body with the key of the moment.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] when there is none.
    pub fn sign_challenge(&self, body: Vec<u8>, now: Timestamp) -> Result<SignedBody, BrokerError> {
        let key = self.current(now)?;
        Ok(SignedBody {
            signature: sign(&key.private, Purpose::Challenge, &body)?,
            key_id: key.stored.key_id.clone(),
            body,
        })
    }

    /// Signs a part of the audit trail with the key of the moment.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] when there is none.
    pub(super) fn sign_audit(
        &self,
        purpose: Purpose,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Result<SignedBody, BrokerError> {
        let key = self.current(now)?;
        Ok(SignedBody {
            signature: sign(&key.private, purpose, &body)?,
            key_id: key.stored.key_id.clone(),
            body,
        })
    }

    /// Signs a receipt with the key named when the decision fell.
    ///
    /// # Errors
    /// [`BrokerError::Internal`] when the key is gone.
    pub fn sign_receipt(&self, key_id: &str, input: &str) -> Result<Vec<u8>, BrokerError> {
        let keys = self.keys.load();
        let key = keys
            .iter()
            .find(|key| key.stored.key_id == key_id)
            .ok_or_else(|| BrokerError::Internal(format!("signing key {key_id} is gone")))?;
        key.private
            .sign_raw(input.as_bytes())
            .map_err(|error| BrokerError::Internal(error.to_string()))
    }

    /// The public keys as a JSON Web Key Set (RFC 7517, RFC 8037): all that
    /// ever signed and the next, so that nobody meets an unknown `kid`.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = self
            .keys
            .load()
            .iter()
            .map(|key| {
                serde_json::json!({
                    "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                    "kid": key.stored.key_id,
                    "x": URL_SAFE_NO_PAD.encode(key.stored.public_key),
                })
            })
            .collect();
        serde_json::json!({ "keys": keys })
    }

    /// The keys from the one that signed at `since` on, oldest first: whoever
    /// trusts the first can follow to all of them.
    #[must_use]
    pub fn since(&self, since: Timestamp) -> Vec<SigningKey> {
        let mut keys = self.stored();
        let from = signing_key::current(&keys, since).unwrap_or_default();
        keys.split_off(from.min(keys.len()))
    }

    /// Where each key stands at `now`, oldest first.
    #[must_use]
    pub fn turns(&self, now: Timestamp) -> Vec<(SigningKey, signing_key::Turn)> {
        let keys = self.stored();
        (0..keys.len())
            .filter_map(|index| {
                Some((
                    keys.get(index)?.clone(),
                    signing_key::turn(&keys, index, now),
                ))
            })
            .collect()
    }
}

fn sign(key: &PrivateKey, purpose: Purpose, body: &[u8]) -> Result<Vec<u8>, BrokerError> {
    key.sign(purpose, body)
        .map_err(|error| BrokerError::Internal(error.to_string()))
}
