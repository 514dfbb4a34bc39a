//! API keys: `csk_<id>_<secret>`.

use subtle::ConstantTimeEq as _;

use super::{ids::TenantId, time::Timestamp};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ask for approvals and register phones, in one tenant.
    Idp,
    /// Administer a tenant or the installation.
    Admin,
}

/// The part of an API key that may be shown: 16 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId(String);

impl ApiKeyId {
    /// From 8 random bytes.
    #[must_use]
    pub fn new(random: [u8; 8]) -> Self {
        Self(hex(&random))
    }

    /// From text; `None` when it has not the form of an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16
            && text
                .bytes()
                .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
        .then(|| Self(text.to_owned()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as stored: only a hash of the secret. 256 bits of randomness need no
/// slow hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The part that may be shown.
    pub id: ApiKeyId,
    /// SHA-256 of the secret's text.
    pub secret_hash: [u8; 32],
    /// Its organisation; none: a key of the installation.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub role: Role,
    /// For the operator's lists.
    pub display_name: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it was revoked.
    pub revoke_time: Option<Timestamp>,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({} {:?})", self.id, self.role)
    }
}

impl ApiKey {
    /// Whether `secret` opens this key: right, and not revoked. Takes the same
    /// time wherever a wrong secret differs.
    #[must_use]
    pub fn admits(&self, secret: &str) -> bool {
        let hash = countersign_proto::signing::sha256(secret.as_bytes());
        bool::from(hash.ct_eq(&self.secret_hash)) && self.revoke_time.is_none()
    }
}

/// A key as shown to its owner, once.
pub struct PresentedKey {
    /// The part that may be shown.
    pub id: ApiKeyId,
    /// The rest.
    pub secret: zeroize::Zeroizing<String>,
}

impl PresentedKey {
    /// A new key from 8 and 32 random bytes.
    #[must_use]
    pub fn new(id: [u8; 8], secret: &[u8; 32]) -> Self {
        Self {
            id: ApiKeyId::new(id),
            secret: zeroize::Zeroizing::new(hex(secret)),
        }
    }

    /// Reads `csk_<id>_<secret>`; `None` when it has not that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix("csk_")?.split_once('_')?;
        let plain = !secret.is_empty() && secret.len() <= 128;
        plain.then_some(())?;
        Some(Self {
            id: ApiKeyId::parse(id)?,
            secret: zeroize::Zeroizing::new(secret.to_owned()),
        })
    }

    /// `csk_<id>_<secret>`.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("csk_{}_{}", self.id, self.secret.as_str())
    }

    /// What is stored of the secret.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        countersign_proto::signing::sha256(self.secret.as_bytes())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
