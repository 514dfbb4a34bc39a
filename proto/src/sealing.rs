//! A challenge that only one device can read: HPKE (RFC 9180), base mode,
//! single-shot.
//!
//! Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. It has a
//! name of its own in Apple's `CryptoKit` (`Curve25519_SHA256_ChachaPoly`), and
//! runs in constant time on phones without AES instructions.
//!
//! The device's id and the challenge's are part of `info`, so that a ciphertext
//! is good for the one push that it was made for. They are not in `aad`: for
//! single-shot use RFC 9180, section 8.1, recommends `info`, and several
//! libraries take nothing else (Tink, Python's `cryptography`). A ciphertext says
//! nothing of its sender, since the device's key is public: the signature inside
//! does.

use aws_lc_rs::agreement;
use prost::Message as _;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use crate::v1::{SealedChallenge, SignedChallenge};

/// What HPKE's `info` begins with.
pub const LABEL: &str = "countersign/v1/sealed-challenge";

/// Why a challenge can't be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// Nothing can be encrypted to this key: a point of small order (RFC 7748,
    /// section 6.1).
    #[error("not an X25519 public key that can be encrypted to")]
    BadPublicKey,
    /// The bytes are no private key, or the system gives no randomness.
    #[error("not an X25519 private key")]
    BadPrivateKey,
    /// Not sealed to this key, for this device and challenge, or altered since.
    #[error("the sealed challenge cannot be opened")]
    NotOpened,
    /// What was inside is no `SignedChallenge`.
    #[error("the opened bytes are not a signed challenge")]
    Malformed,
}

/// HPKE's `info`: [`LABEL`], device id, challenge id, with one zero byte between
/// each two. Neither id contains one.
#[must_use]
pub fn info(device_id: &str, challenge_id: &str) -> Vec<u8> {
    [LABEL, device_id, challenge_id].join("\0").into_bytes()
}

/// Encrypts `challenge` to the device's registered X25519 key, under a new
/// ephemeral key each time.
///
/// # Errors
/// [`SealingError::BadPublicKey`].
pub fn seal(
    challenge: &SignedChallenge,
    encryption_key: &[u8; 32],
    device_id: &str,
    challenge_id: &str,
) -> Result<SealedChallenge, SealingError> {
    let (encapsulated, ciphertext) = SUITE
        .seal(
            &info(device_id, challenge_id),
            &[],
            &challenge.encode_to_vec(),
            &HpkePublicKey(encryption_key.to_vec()),
        )
        .map_err(|_| SealingError::BadPublicKey)?;
    Ok(SealedChallenge {
        encapsulated_key: encapsulated.0.into(),
        ciphertext: ciphertext.into(),
    })
}

/// A device's X25519 key pair; the private half is wiped when dropped.
#[derive(Clone)]
pub struct EncryptionKey {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl std::fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EncryptionKey(X25519)")
    }
}

impl EncryptionKey {
    /// A new key.
    ///
    /// # Errors
    /// [`SealingError::BadPrivateKey`] when the system gives no randomness.
    pub fn generate() -> Result<Self, SealingError> {
        let (_, private) = SUITE
            .generate_key_pair()
            .map_err(|_| SealingError::BadPrivateKey)?;
        private
            .secret_bytes()
            .try_into()
            .map_err(|_| SealingError::BadPrivateKey)
            .and_then(|bytes| Self::from_bytes(&bytes))
    }

    /// The key with these private bytes (RFC 7748, section 5).
    ///
    /// # Errors
    /// [`SealingError::BadPrivateKey`].
    pub fn from_bytes(private: &[u8; 32]) -> Result<Self, SealingError> {
        let public = agreement::PrivateKey::from_private_key(&agreement::X25519, private)
            .and_then(|key| Ok(key.compute_public_key()?))
            .map_err(|_| SealingError::BadPrivateKey)?;
        Ok(Self {
            private: Zeroizing::new(*private),
            public: public
                .as_ref()
                .try_into()
                .map_err(|_| SealingError::BadPrivateKey)?,
        })
    }

    /// The private half, to be kept.
    #[must_use]
    pub fn private_bytes(&self) -> &[u8; 32] {
        &self.private
    }

    /// The public half as registered.
    #[must_use]
    pub fn public_bytes(&self) -> &[u8; 32] {
        &self.public
    }

    /// Decrypts what was sealed to this key for this device and challenge. The
    /// signature is still to be verified.
    ///
    /// # Errors
    /// [`SealingError::NotOpened`], [`SealingError::Malformed`].
    pub fn open(
        &self,
        sealed: &SealedChallenge,
        device_id: &str,
        challenge_id: &str,
    ) -> Result<SignedChallenge, SealingError> {
        let opened = SUITE
            .open(
                &EncapsulatedSecret(sealed.encapsulated_key.to_vec()),
                &info(device_id, challenge_id),
                &[],
                &sealed.ciphertext,
                &HpkePrivateKey::from(self.private.to_vec()),
            )
            .map_err(|_| SealingError::NotOpened)?;
        SignedChallenge::decode(opened.as_slice()).map_err(|_| SealingError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const DEVICE: &str = "01970e11-2233-7445-8667-000000025519";
    const CHALLENGE: &str = "01970f3c-5c00-7a10-8b5e-2f6d7c8e9a01";

    fn challenge() -> SignedChallenge {
        SignedChallenge {
            body: vec![1; 300].into(),
            key_id: "key".into(),
            signature: vec![2; 64].into(),
        }
    }

    #[test]
    fn only_the_device_opens_it_and_only_for_its_challenge() {
        let key = EncryptionKey::generate().unwrap();
        let sealed = seal(&challenge(), key.public_bytes(), DEVICE, CHALLENGE).unwrap();
        assert_eq!(sealed.encapsulated_key.len(), 32);
        assert_eq!(
            sealed.ciphertext.len(),
            challenge().encode_to_vec().len() + 16
        );
        assert_eq!(key.open(&sealed, DEVICE, CHALLENGE), Ok(challenge()));
        let kept = EncryptionKey::from_bytes(key.private_bytes()).unwrap();
        assert_eq!(kept.open(&sealed, DEVICE, CHALLENGE), Ok(challenge()));

        let other = EncryptionKey::generate().unwrap();
        let not_opened = Err(SealingError::NotOpened);
        assert_eq!(other.open(&sealed, DEVICE, CHALLENGE), not_opened);
        assert_eq!(key.open(&sealed, CHALLENGE, DEVICE), not_opened);
        assert_eq!(key.open(&sealed, DEVICE, DEVICE), not_opened);
        assert_eq!(key.open(&sealed, CHALLENGE, CHALLENGE), not_opened);
    }

    #[test]
    fn no_bit_may_be_altered_and_no_byte_missing() {
        let key = EncryptionKey::generate().unwrap();
        let sealed = seal(&challenge(), key.public_bytes(), DEVICE, CHALLENGE).unwrap();
        let mut altered = Vec::new();
        for at in 0..sealed.ciphertext.len() {
            let mut bytes = sealed.ciphertext.to_vec();
            bytes.get_mut(at).map(|byte| *byte ^= 1).unwrap();
            altered.push((sealed.encapsulated_key.clone(), bytes.into()));
        }
        for at in 0..32 {
            let mut bytes = sealed.encapsulated_key.to_vec();
            bytes.get_mut(at).map(|byte| *byte ^= 1).unwrap();
            altered.push((bytes.into(), sealed.ciphertext.clone()));
        }
        altered.push((vec![0; 32].into(), sealed.ciphertext.clone()));
        altered.push((Vec::new().into(), sealed.ciphertext.clone()));
        altered.push((sealed.encapsulated_key.clone(), Vec::new().into()));
        altered.push((
            sealed.encapsulated_key.clone(),
            sealed.ciphertext.slice(..sealed.ciphertext.len() - 1),
        ));
        for (encapsulated_key, ciphertext) in altered {
            let altered = SealedChallenge {
                encapsulated_key,
                ciphertext,
            };
            assert_eq!(
                key.open(&altered, DEVICE, CHALLENGE),
                Err(SealingError::NotOpened)
            );
        }
    }

    #[test]
    fn two_seals_of_one_challenge_have_nothing_in_common() {
        let key = EncryptionKey::generate().unwrap();
        let make = || seal(&challenge(), key.public_bytes(), DEVICE, CHALLENGE).unwrap();
        let (a, b) = (make(), make());
        assert_ne!(a.encapsulated_key, b.encapsulated_key);
        assert_ne!(a.ciphertext, b.ciphertext);
    }

    #[test]
    fn nothing_is_sealed_to_a_key_of_small_order() {
        let mut one = [0; 32];
        one[0] = 1;
        for key in [[0; 32], one] {
            assert_eq!(
                seal(&challenge(), &key, DEVICE, CHALLENGE),
                Err(SealingError::BadPublicKey)
            );
        }
    }

    #[test]
    fn a_key_never_shows_itself() {
        let key = EncryptionKey::from_bytes(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "EncryptionKey(X25519)");
    }
}
