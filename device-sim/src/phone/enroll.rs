//! Redeeming a ticket.

use bytes::Bytes;
use countersign_proto::sealing::EncryptionKey;
use countersign_proto::signing::Purpose;
use countersign_proto::v1::{
    EnrollRequest, EnrollmentBody, KeyAlgorithm, KeyProtection, Platform, PushRegistration,
};
use prost::Message as _;

use super::{DeviceKey, EnrollmentUri, Now, PhoneError, system_clock, timestamp};

/// What the user scanned or typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// The QR code.
    Uri(EnrollmentUri),
    /// "Can't scan?": the code, and the broker that the app is set to. Without
    /// a key to pin, the TLS connection has to vouch for the broker's keys.
    Code {
        /// `http://` or `https://` address of the broker.
        broker: String,
        /// As typed; the broker forgives spacing, case, O for 0, I for 1.
        code: String,
    },
}

impl Ticket {
    /// The broker's address.
    #[must_use]
    pub fn broker(&self) -> &str {
        match self {
            Self::Uri(uri) => &uri.broker,
            Self::Code { broker, .. } => broker,
        }
    }

    /// The secret to send.
    #[must_use]
    pub fn secret(&self) -> &str {
        match self {
            Self::Uri(uri) => &uri.ticket,
            Self::Code { code, .. } => code,
        }
    }

    /// The key to pin.
    #[must_use]
    pub fn pin(&self) -> Option<[u8; 32]> {
        match self {
            Self::Uri(uri) => Some(uri.key_digest),
            Self::Code { .. } => None,
        }
    }
}

/// How the phone introduces itself.
#[derive(Clone)]
pub struct EnrollOptions {
    /// What the user scanned or typed.
    pub ticket: Ticket,
    /// Kind of the key to be made.
    pub algorithm: KeyAlgorithm,
    /// Operating system.
    pub platform: Platform,
    /// BCP 47 tag, e.g. `nl-BE`.
    pub language: String,
    /// Shown in lists, at most 128 bytes.
    pub display_name: String,
    /// Version of the app, at most 64 bytes.
    pub app_version: String,
    /// How the phone is woken; `None`: reached over `Subscribe` only.
    pub push: Option<PushRegistration>,
    /// Where the app says that the key lives.
    pub key_protection: KeyProtection,
    /// Opens encrypted prompts; none: the phone is only ever woken.
    pub encryption_key: Option<EncryptionKey>,
    /// Certificates to trust for `https`, in PEM; `None`: the machine's own.
    pub ca_pem: Option<String>,
    /// The phone's clock.
    pub now: Now,
}

impl EnrollOptions {
    /// An Android phone in English with an Ed25519 key, a new key for encrypted
    /// prompts and no push token.
    #[must_use]
    pub fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            algorithm: KeyAlgorithm::Ed25519,
            platform: Platform::Android,
            language: "en".to_owned(),
            display_name: "Simulated phone".to_owned(),
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            push: None,
            key_protection: KeyProtection::Software,
            // Without randomness there is no device key either: enrolling fails.
            encryption_key: EncryptionKey::generate().ok(),
            ca_pem: None,
            now: system_clock(),
        }
    }

    /// The registration of `key`, to be signed.
    #[must_use]
    pub fn body(&self, key: &DeviceKey) -> EnrollmentBody {
        EnrollmentBody {
            ticket: self.ticket.secret().to_owned(),
            key_algorithm: key.algorithm().into(),
            public_key: key.public_bytes().into(),
            key_protection: self.key_protection.into(),
            platform: self.platform.into(),
            display_name: self.display_name.clone(),
            language: self.language.clone(),
            app_version: self.app_version.clone(),
            push: self.push.clone(),
            encryption_key: self
                .encryption_key
                .as_ref()
                .map(|key| key.public_bytes().to_vec().into())
                .unwrap_or_default(),
            enroll_time: Some(timestamp((self.now)())),
        }
    }
}

/// `body` with its proof of possession by `key`, whatever the body says.
///
/// # Errors
/// [`PhoneError::UnusableKey`].
pub fn enroll_request(body: &EnrollmentBody, key: &DeviceKey) -> Result<EnrollRequest, PhoneError> {
    let body = Bytes::from(body.encode_to_vec());
    Ok(EnrollRequest {
        signature: key.sign(Purpose::Enroll, &body)?,
        body,
    })
}
