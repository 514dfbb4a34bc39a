//! Names of things.

use std::fmt;

use countersign_proto::{imported::imported_device_id, signing::PublicKey};

use super::{Invalid, time::Timestamp};

/// 10 random bytes for a new id.
pub type IdRandom = [u8; 10];

macro_rules! uuid_id {
    ($(#[$doc:meta] $name:ident),* $(,)?) => { $(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// A new id (UUID version 7, RFC 9562): sorts by `now`.
            #[must_use]
            pub fn new(now: Timestamp, random: &IdRandom) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(now.as_millis(), random).into_uuid())
            }

            /// Reads the canonical text form; `field` names it in the error.
            ///
            /// # Errors
            /// [`Invalid`] when `text` is not a UUID in its hyphenated form.
            pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
                parse_uuid(field, text).map(Self)
            }

            /// From its 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(uuid::Uuid::from_bytes(bytes))
            }

            /// Its 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    )* };
}

uuid_id! {
    /// An organisation.
    TenantId,
    /// One question.
    ChallengeId,
    /// A registered phone.
    DeviceId,
    /// A ticket to register a phone with.
    EnrollmentId,
    /// One push: the `apns-id`, the same for all its tries.
    PushId,
    /// A phone number, an authenticator app or a set of recovery codes.
    AuthenticatorId,
    /// One text message, the same for all its tries.
    TextId,
    /// A remembered browser.
    BrowserId,
}

impl DeviceId {
    /// The id of a device that is imported: follows from what is known of it.
    #[must_use]
    pub fn imported(tenant: TenantId, user: &UserId, key: &PublicKey) -> Self {
        let id = imported_device_id(tenant.as_bytes(), user.as_str(), key.as_bytes());
        Self::from_bytes(id)
    }

    /// Whether it is one of those (UUID version 8; all others are version 7).
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.0.get_version_num() == 8
    }
}

/// Reads a hyphenated UUID.
///
/// # Errors
/// [`Invalid`] when `text` is anything else.
pub fn parse_uuid(field: &str, text: &str) -> Result<uuid::Uuid, Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, "is required"));
    }
    if text.len() != 36 {
        return Err(Invalid::new(field, "must be a UUID of 36 characters"));
    }
    uuid::Uuid::try_parse(text).map_err(|_| Invalid::new(field, "must be a UUID"))
}

/// A user as the identity provider calls them: 1 to 256 bytes, opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(String);

impl UserId {
    /// Accepts a caller's name for a user.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty, longer than 256 bytes, has control characters,
    /// or spaces at either end.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        super::context::check_text(field, text, 1, 256)?;
        // Two users who look the same: one of them locked, the other unknown.
        if text.trim() != text {
            return Err(Invalid::new(field, "must not begin or end with a space"));
        }
        Ok(Self(text.to_owned()))
    }

    /// From a stored record, already checked.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A fixed-length stand-in for keys of the store: SHA-256.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        countersign_proto::signing::sha256(self.0.as_bytes())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
