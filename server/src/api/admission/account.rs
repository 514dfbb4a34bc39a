//! Whom work is counted for.
//!
//! Before it is authenticated nobody knows who calls: whoever knew the id of
//! another's key could use up the other's share. So what counts is the whole
//! credential. Once it was found good, it is remembered for whom, under a keyed
//! hash that cannot be aimed at from outside (SipHash with random keys); the
//! check itself is made anew at every call. What was never found good counts
//! for the strangers, all of them together being one account.
//!
//! Places are counted more finely, by [`Holder`]: an organisation's operators
//! must get in when its sign-in pages wait by the thousand.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use parking_lot::RwLock;

use super::controller;
use crate::domain::ids::{DeviceId, TenantId};

/// Whom work is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::api) enum Account {
    /// An organisation.
    Tenant(TenantId),
    /// Operators of the installation.
    Installation,
    /// Whoever has shown no good credential yet.
    Strangers,
}

impl controller::Account for Account {
    fn is_protected(&self) -> bool {
        matches!(self, Self::Tenant(_))
    }
}

/// Whose credentials were found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::api) enum Holder {
    /// The identity providers of an organisation.
    Idp(TenantId),
    /// Its operators, or the installation's.
    Admin(Option<TenantId>),
    /// A phone of an organisation.
    Device(TenantId, DeviceId),
}

impl Holder {
    /// Whom its new work counts for.
    pub(super) fn account(self) -> Account {
        match self {
            Self::Idp(tenant) | Self::Admin(Some(tenant)) => Account::Tenant(tenant),
            Self::Admin(None) => Account::Installation,
            Self::Device(..) => Account::Strangers,
        }
    }
}

/// Credentials remembered at most: each takes some 50 bytes. They are good
/// ones, so that only whoever makes API keys can fill it.
const MOST: usize = 65_536;

/// A credential, as far as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(u64);

/// Credentials found good before.
#[derive(Debug, Default)]
pub(super) struct Known {
    hasher: RandomState,
    holders: RwLock<HashMap<Fingerprint, Holder>>,
}

impl Known {
    /// The credential of a call, if it has one that could be an API key.
    pub(super) fn fingerprint(&self, headers: &http::HeaderMap) -> Option<Fingerprint> {
        let value = headers.get(http::header::AUTHORIZATION)?.as_bytes();
        // Without the scheme, however it is spelt: one key is one credential. Nor
        // blanks after it, which are no part of a key that is found good.
        let value = value.trim_ascii();
        let key = value.rsplit(u8::is_ascii_whitespace).next()?;
        if key.is_empty() {
            return None;
        }
        Some(Fingerprint(self.hasher.hash_one(key)))
    }

    pub(super) fn holder(&self, fingerprint: Fingerprint) -> Option<Holder> {
        self.holders.read().get(&fingerprint).copied()
    }

    /// It was found good.
    pub(super) fn learn(&self, fingerprint: Fingerprint, holder: Holder) {
        let mut holders = self.holders.write();
        if holders.len() >= MOST {
            holders.clear();
        }
        holders.insert(fingerprint, holder);
    }

    /// It is good no longer.
    pub(super) fn forget(&self, fingerprint: Fingerprint) {
        self.holders.write().remove(&fingerprint);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// What is remembered must be what was checked: the empty end of a header
    /// would be everybody's.
    #[test]
    fn one_key_is_one_credential_and_no_key_is_none() {
        let known = Known::default();
        let of = |value: &'static str| {
            let mut headers = http::HeaderMap::new();
            let value = http::HeaderValue::from_static(value);
            headers.insert(http::header::AUTHORIZATION, value);
            known.fingerprint(&headers)
        };
        let key = of("Bearer csk_one").unwrap();
        for same in [
            "bearer csk_one",
            "Bearer  csk_one",
            "Bearer csk_one  ",
            " Bearer csk_one\t",
        ] {
            assert_eq!(of(same), Some(key), "{same:?}");
        }
        for none in ["", " ", "  \t"] {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_ne!(of("Bearer csk_two"), Some(key));
        assert_ne!(of("Bearer"), Some(key));
    }
}
