//! The bytes that are signed, and the two kinds of keys that sign them.
//!
//! Signed are an ASCII label, one zero byte, then the body exactly as it is
//! transmitted: nobody re-serializes a message to verify it. The label keeps a
//! signature made for one purpose from being used for another.
//!
//! Ed25519 is pure (RFC 8032) and verified strictly; P-256 is ECDSA over
//! SHA-256 (FIPS 186-5) with the fixed 64-byte `r‖s` form.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use base64::Engine as _;
use ed25519_dalek::Signer as _;

use crate::v1::KeyAlgorithm;

/// Length in bytes of every signature, both algorithms.
pub const SIGNATURE_LENGTH: usize = 64;

/// Metadata key of the [`SignedDeviceProof`](crate::v1::SignedDeviceProof).
pub const DEVICE_PROOF_METADATA: &str = "countersign-device-proof-bin";

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The broker's [`ChallengeBody`](crate::v1::ChallengeBody).
    Challenge,
    /// A device's [`ResponseBody`](crate::v1::ResponseBody).
    Response,
    /// A device's [`DeviceProof`](crate::v1::DeviceProof).
    DeviceProof,
    /// A device's [`EnrollmentBody`](crate::v1::EnrollmentBody).
    Enroll,
    /// The broker's [`BrokerKey`](crate::v1::BrokerKey) that comes next.
    KeySuccession,
    /// The broker's [`AuditHead`](crate::v1::AuditHead).
    AuditHead,
    /// The broker's [`AuditSeal`](crate::v1::AuditSeal).
    AuditExport,
}

impl Purpose {
    /// The label that starts the signed bytes.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Challenge => "countersign/v1/challenge",
            Self::Response => "countersign/v1/response",
            Self::DeviceProof => "countersign/v1/device-proof",
            Self::Enroll => "countersign/v1/enroll",
            Self::KeySuccession => "countersign/v1/key-succession",
            Self::AuditHead => "countersign/v1/audit-head",
            Self::AuditExport => "countersign/v1/audit-export",
        }
    }

    /// Label, one zero byte, body.
    #[must_use]
    pub fn message(self, body: &[u8]) -> Vec<u8> {
        let label = self.label().as_bytes();
        let mut bytes = Vec::with_capacity(label.len() + 1 + body.len());
        bytes.extend_from_slice(label);
        bytes.push(0);
        bytes.extend_from_slice(body);
        bytes
    }
}

/// Why a key or a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The bytes are no public key of the stated algorithm.
    #[error("not a public key of the stated algorithm")]
    BadPublicKey,
    /// The bytes are no private key of the stated algorithm.
    #[error("not a private key of the stated algorithm")]
    BadPrivateKey,
    /// The signature does not belong to these bytes and this key.
    #[error("the signature does not match")]
    BadSignature,
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}

/// RFC 7638 thumbprint (base64url) of an Ed25519 public key: the `kid` of the
/// broker's keys.
#[must_use]
pub fn key_id(public_key: &[u8; 32]) -> String {
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let x = engine.encode(public_key);
    engine.encode(sha256(
        format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes(),
    ))
}

/// A public key that verifies signatures. Kept as it was registered: most of
/// those that are read from a store verify nothing, and to find an Ed25519 key's
/// point costs as much as a tenth of a verification.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Encoded);

#[derive(Clone, PartialEq, Eq)]
enum Encoded {
    /// y and the sign of x (RFC 8032, section 5.1.2).
    Ed25519([u8; 32]),
    /// Uncompressed SEC1.
    P256(Box<[u8; 65]>),
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?} ", self.algorithm())?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

impl PublicKey {
    /// Reads a key as registered or published.
    ///
    /// # Errors
    /// [`SigningError::BadPublicKey`] for a wrong length, a point that is not
    /// on the curve, or an Ed25519 point of small order or not in canonical form.
    pub fn from_bytes(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<Self, SigningError> {
        let key = Self::from_accepted(algorithm, bytes)?;
        match &key.0 {
            Encoded::Ed25519(bytes) => {
                let point = ed25519_dalek::VerifyingKey::from_bytes(bytes)
                    .map_err(|_| SigningError::BadPublicKey)?;
                // The library decodes y modulo the prime; RFC 8032, section 5.1.3,
                // wants y below it, so that a key has one form only.
                if point.is_weak() || point.to_edwards().compress().as_bytes() != bytes {
                    return Err(SigningError::BadPublicKey);
                }
            }
            Encoded::P256(bytes) => {
                let bytes = bytes.as_slice();
                aws_lc_rs::signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes)
                    .map_err(|_| SigningError::BadPublicKey)?;
            }
        }
        Ok(key)
    }

    /// Reads a key that [`PublicKey::from_bytes`] accepted earlier, such as one
    /// from the broker's own store. Looks at its length and form alone; what is
    /// no key after all verifies nothing.
    ///
    /// # Errors
    /// [`SigningError::BadPublicKey`] for a wrong length or form.
    pub fn from_accepted(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<Self, SigningError> {
        let bad = |_| SigningError::BadPublicKey;
        match algorithm {
            KeyAlgorithm::Ed25519 => Ok(Self(Encoded::Ed25519(bytes.try_into().map_err(bad)?))),
            KeyAlgorithm::P256 => {
                let bytes: [u8; 65] = bytes.try_into().map_err(bad)?;
                if bytes.first() != Some(&0x04) {
                    return Err(SigningError::BadPublicKey);
                }
                Ok(Self(Encoded::P256(Box::new(bytes))))
            }
            KeyAlgorithm::Unspecified => Err(SigningError::BadPublicKey),
        }
    }

    /// The key's algorithm.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.0 {
            Encoded::Ed25519(_) => KeyAlgorithm::Ed25519,
            Encoded::P256(_) => KeyAlgorithm::P256,
        }
    }

    /// The key as registered: 32 bytes (Ed25519) or 65 (P-256).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Encoded::Ed25519(bytes) => bytes,
            Encoded::P256(bytes) => bytes.as_slice(),
        }
    }

    /// Checks a signature over `body` made for `purpose`.
    ///
    /// # Errors
    /// [`SigningError::BadSignature`].
    pub fn verify(
        &self,
        purpose: Purpose,
        body: &[u8],
        signature: &[u8],
    ) -> Result<(), SigningError> {
        self.verify_raw(&purpose.message(body), signature)
    }

    /// Checks a signature over bytes without a label (the receipt's JWS).
    ///
    /// # Errors
    /// [`SigningError::BadSignature`].
    pub fn verify_raw(&self, message: &[u8], signature: &[u8]) -> Result<(), SigningError> {
        match &self.0 {
            Encoded::Ed25519(bytes) => {
                let signature = ed25519_dalek::Signature::from_slice(signature)
                    .map_err(|_| SigningError::BadSignature)?;
                // Strictly: neither the key nor the signature's point may be of
                // small order.
                ed25519_dalek::VerifyingKey::from_bytes(bytes)
                    .and_then(|key| key.verify_strict(message, &signature))
                    .map_err(|_| SigningError::BadSignature)
            }
            Encoded::P256(bytes) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes.as_slice())
                    .verify(message, signature)
                    .map_err(|_| SigningError::BadSignature)
            }
        }
    }
}

/// A private key: the broker's (always Ed25519) or a phone's.
pub enum PrivateKey {
    /// Ed25519; its seed is wiped when dropped.
    Ed25519(Box<ed25519_dalek::SigningKey>),
    /// P-256.
    P256(Box<EcdsaKeyPair>),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({:?})", self.algorithm())
    }
}

impl PrivateKey {
    /// An Ed25519 key from its 32-byte seed.
    #[must_use]
    pub fn from_ed25519_seed(seed: &[u8; 32]) -> Self {
        Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(seed)))
    }

    /// A P-256 key from PKCS #8 (RFC 5958) bytes.
    ///
    /// # Errors
    /// [`SigningError::BadPrivateKey`].
    pub fn from_p256_pkcs8(pkcs8: &[u8]) -> Result<Self, SigningError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map(|pair| Self::P256(Box::new(pair)))
            .map_err(|_| SigningError::BadPrivateKey)
    }

    /// A new P-256 key.
    ///
    /// # Errors
    /// [`SigningError::BadPrivateKey`] when the system gives no randomness.
    pub fn generate_p256() -> Result<Self, SigningError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(|pair| Self::P256(Box::new(pair)))
            .map_err(|_| SigningError::BadPrivateKey)
    }

    /// The key's algorithm.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self {
            Self::Ed25519(_) => KeyAlgorithm::Ed25519,
            Self::P256(_) => KeyAlgorithm::P256,
        }
    }

    /// The public half as registered: 32 bytes (Ed25519) or 65 (P-256).
    #[must_use]
    pub fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
            Self::P256(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// Signs `body` for `purpose`: 64 bytes.
    ///
    /// # Errors
    /// [`SigningError::BadPrivateKey`] when the system gives no randomness (P-256).
    pub fn sign(&self, purpose: Purpose, body: &[u8]) -> Result<Vec<u8>, SigningError> {
        self.sign_raw(&purpose.message(body))
    }

    /// Signs bytes without a label (the receipt's JWS): 64 bytes.
    ///
    /// # Errors
    /// [`SigningError::BadPrivateKey`] when the system gives no randomness (P-256).
    pub fn sign_raw(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        match self {
            Self::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Self::P256(pair) => pair
                .sign(&aws_lc_rs::rand::SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SigningError::BadPrivateKey),
        }
    }
}
