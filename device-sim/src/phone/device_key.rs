//! The phone's own key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use countersign_proto::signing::{PrivateKey, PublicKey, Purpose};
use countersign_proto::v1::KeyAlgorithm;

use super::{PhoneError, StoredKey};

/// A device key that can be saved, which a real phone's could not.
pub struct DeviceKey {
    private: PrivateKey,
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKey({:?})", self.private.algorithm())
    }
}

impl From<PrivateKey> for DeviceKey {
    fn from(private: PrivateKey) -> Self {
        Self { private }
    }
}

impl DeviceKey {
    /// A new key.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`] when the system gives no randomness or the
    /// algorithm is unspecified.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, PhoneError> {
        let private = match algorithm {
            KeyAlgorithm::Ed25519 => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|_| PhoneError::UnusableKey)?;
                PrivateKey::from_ed25519_seed(&seed)
            }
            KeyAlgorithm::P256 => {
                PrivateKey::generate_p256().map_err(|_| PhoneError::UnusableKey)?
            }
            KeyAlgorithm::Unspecified => return Err(PhoneError::UnusableKey),
        };
        Ok(Self { private })
    }

    /// The key's algorithm.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.private.algorithm()
    }

    /// The public half as registered: 32 bytes (Ed25519) or 65 (P-256).
    #[must_use]
    pub fn public_bytes(&self) -> Vec<u8> {
        self.private.public_bytes()
    }

    /// The public half, to verify with.
    ///
    /// # Errors
    /// Never for a key made here; [`PhoneError::UnusableKey`] otherwise.
    pub fn public_key(&self) -> Result<PublicKey, PhoneError> {
        PublicKey::from_bytes(self.algorithm(), &self.public_bytes())
            .map_err(|_| PhoneError::UnusableKey)
    }

    /// Signs `body` for `purpose`: 64 bytes.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`] when the system gives no randomness (P-256).
    pub fn sign(&self, purpose: Purpose, body: &[u8]) -> Result<Bytes, PhoneError> {
        self.private
            .sign(purpose, body)
            .map(Bytes::from)
            .map_err(|_| PhoneError::UnusableKey)
    }

    /// The key as saved: an Ed25519 seed or P-256 PKCS #8, in base64.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`].
    pub fn to_stored(&self) -> Result<StoredKey, PhoneError> {
        Ok(match &self.private {
            PrivateKey::Ed25519(key) => StoredKey::Ed25519 {
                seed: STANDARD.encode(key.to_bytes()),
            },
            PrivateKey::P256(pair) => StoredKey::P256 {
                pkcs8: STANDARD.encode(pair.to_pkcs8v1().map_err(|_| PhoneError::UnusableKey)?),
            },
        })
    }

    /// Reads a saved key.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`].
    pub fn from_stored(stored: &StoredKey) -> Result<Self, PhoneError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| PhoneError::UnusableKey);
        let private = match stored {
            StoredKey::Ed25519 { seed } => {
                let seed =
                    <[u8; 32]>::try_from(decode(seed)?).map_err(|_| PhoneError::UnusableKey)?;
                PrivateKey::from_ed25519_seed(&seed)
            }
            StoredKey::P256 { pkcs8 } => {
                PrivateKey::from_p256_pkcs8(&decode(pkcs8)?).map_err(|_| PhoneError::UnusableKey)?
            }
        };
        Ok(Self { private })
    }
}
