//! What a phone remembers between starts.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_proto::sealing::EncryptionKey;
use countersign_proto::v1::{Gateway, PushEnvironment, PushRegistration};
use serde::{Deserialize, Serialize};

use super::{PhoneError, TrustedKeys};

/// The only version there is.
const VERSION: u32 = 1;

/// The registration, as JSON on disk. It holds the private key: a file that
/// only its owner may read.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PhoneState {
    /// Version of this form.
    pub version: u32,
    /// Address of the broker.
    pub broker: String,
    /// Certificates to trust for it, in PEM; none: the machine's own.
    pub ca_pem: Option<String>,
    /// From the broker.
    pub device_id: String,
    /// From the broker.
    pub tenant_id: String,
    /// From the broker, to be shown.
    pub organisation: String,
    /// The account registered.
    pub user_id: String,
    /// BCP 47 tag.
    pub language: String,
    /// The device's own key.
    pub key: StoredKey,
    /// X25519 private key for encrypted prompts: 32 bytes in base64; none: the
    /// phone is only ever woken.
    #[serde(default)]
    pub encryption_key: Option<StoredEncryptionKey>,
    /// The broker's keys.
    pub trusted_keys: Vec<TrustedKey>,
    /// How the phone is woken; none: over `Subscribe`.
    pub push: Option<StoredPush>,
    /// The highest number of a notice that the user was told of.
    #[serde(default)]
    pub last_notice: u64,
}

/// A private key at rest.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "algorithm", deny_unknown_fields)]
pub enum StoredKey {
    /// RFC 8032 seed.
    #[serde(rename = "ED25519")]
    Ed25519 {
        /// 32 bytes in base64.
        seed: String,
    },
    /// RFC 5958.
    #[serde(rename = "P256")]
    P256 {
        /// PKCS #8 in base64.
        pkcs8: String,
    },
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ed25519 { .. } => "Ed25519(…)",
            Self::P256 { .. } => "P256(…)",
        })
    }
}

/// A private key at rest that opens encrypted prompts.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct StoredEncryptionKey(String);

impl std::fmt::Debug for StoredEncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("X25519(…)")
    }
}

/// A key of the broker at rest; its thumbprint is computed anew.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// 32 bytes, base64url without padding.
    pub public_key: String,
}

/// A push registration at rest.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct StoredPush {
    /// `APNS` or `FCM`.
    pub gateway: String,
    /// Bundle id or Firebase project.
    pub app_id: String,
    /// `PRODUCTION` or `SANDBOX`.
    pub environment: String,
    /// The device's token.
    pub token: String,
}

impl std::fmt::Debug for StoredPush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({}, …)", self.gateway, self.app_id)
    }
}

impl From<&PushRegistration> for StoredPush {
    fn from(push: &PushRegistration) -> Self {
        Self {
            gateway: match push.gateway() {
                Gateway::Fcm => "FCM",
                _ => "APNS",
            }
            .to_owned(),
            app_id: push.app_id.clone(),
            environment: match push.environment() {
                PushEnvironment::Sandbox => "SANDBOX",
                _ => "PRODUCTION",
            }
            .to_owned(),
            token: push.token.clone(),
        }
    }
}

impl From<&StoredPush> for PushRegistration {
    fn from(stored: &StoredPush) -> Self {
        let gateway = if stored.gateway == "FCM" {
            Gateway::Fcm
        } else {
            Gateway::Apns
        };
        let environment = if stored.environment == "SANDBOX" {
            PushEnvironment::Sandbox
        } else {
            PushEnvironment::Production
        };
        Self {
            gateway: gateway.into(),
            app_id: stored.app_id.clone(),
            environment: environment.into(),
            token: stored.token.clone(),
        }
    }
}

impl PhoneState {
    pub(super) const VERSION: u32 = VERSION;

    /// Reads a saved state.
    ///
    /// # Errors
    /// [`PhoneError::State`].
    pub fn read(path: &Path) -> Result<Self, PhoneError> {
        let failed = |cause: &dyn std::fmt::Display| {
            PhoneError::State(format!("{}: {cause}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let state: Self = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        if state.version != VERSION {
            return Err(failed(&format!(
                "version {} is not known here",
                state.version
            )));
        }
        Ok(state)
    }

    /// Writes the state to a file of mode 0600, whole or not at all.
    ///
    /// # Errors
    /// [`PhoneError::State`].
    pub fn write(&self, path: &Path) -> Result<(), PhoneError> {
        let failed = |cause: &dyn std::fmt::Display| {
            PhoneError::State(format!("{}: {cause}", path.display()))
        };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(&error))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // tempfile makes files of mode 0600 and renames them into place.
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|e| failed(&e))?;
        file.write_all(text.as_bytes()).map_err(|e| failed(&e))?;
        file.write_all(b"\n").map_err(|e| failed(&e))?;
        file.as_file().sync_all().map_err(|e| failed(&e))?;
        file.persist(path).map_err(|e| failed(&e))?;
        Ok(())
    }

    pub(super) fn encryption_key(&self) -> Result<Option<EncryptionKey>, PhoneError> {
        let Some(StoredEncryptionKey(text)) = &self.encryption_key else {
            return Ok(None);
        };
        STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .and_then(|bytes| EncryptionKey::from_bytes(&bytes).ok())
            .map(Some)
            .ok_or(PhoneError::UnusableKey)
    }

    pub(super) fn stored_encryption_key(key: &EncryptionKey) -> StoredEncryptionKey {
        StoredEncryptionKey(STANDARD.encode(key.private_bytes()))
    }

    pub(super) fn trusted(&self) -> Result<TrustedKeys, PhoneError> {
        let mut trusted = TrustedKeys::default();
        for key in &self.trusted_keys {
            let bytes = URL_SAFE_NO_PAD
                .decode(&key.public_key)
                .ok()
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .ok_or_else(|| PhoneError::State("a trusted key is not 32 bytes".to_owned()))?;
            trusted.trust(bytes);
        }
        Ok(trusted)
    }
}

impl TrustedKeys {
    pub(super) fn to_stored(&self) -> Vec<TrustedKey> {
        self.iter()
            .map(|(_, key)| TrustedKey {
                public_key: URL_SAFE_NO_PAD.encode(key),
            })
            .collect()
    }
}
