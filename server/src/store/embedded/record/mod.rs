//! How things are written down: protobuf, each value behind a version byte.
//!
//! Tags are for ever: a field is added, never reused. `golden/` holds a sample of
//! every kind and variant of every version ever written.

use countersign_proto::{signing::PublicKey, v1::KeyAlgorithm};
use prost::Message;

use crate::domain::{
    challenge::Method,
    device::{KeyProtection, PushGateway},
    time::Timestamp,
};

/// Lets the golden samples leave out no variant.
#[cfg(test)]
pub(super) trait Numbered: Sized + 'static {
    /// All that can be written down.
    const ALL: &'static [Self];
}

/// Numbers of an enum in stored form. Never renumber.
macro_rules! numbered {
    ($to:ident $from:ident $type:ty { $($variant:path = $number:literal),* $(,)? }) => {
        fn $to(value: $type) -> u32 {
            match value { $($variant => $number),* }
        }
        fn $from(number: u32) -> Result<$type, BadRecord> {
            match number {
                $($number => Ok($variant),)*
                _ => Err(BadRecord(concat!("unknown ", stringify!($type)))),
            }
        }
        #[cfg(test)]
        impl $crate::store::embedded::record::Numbered for $type {
            const ALL: &'static [Self] = &[$($variant),*];
        }
    };
}

mod account;
mod browser;
mod challenge;
mod code;
mod decisions;
mod device;
mod installation;
mod notice;
mod policy;
mod push;
mod revocation;
mod spending;
mod stretch;
mod text;
mod ticket;

pub(super) use challenge::{Kept, RequestedBody, with_body};
pub(super) use decisions::{Decision, Decisions};
pub(super) use stretch::{STRETCH, Stretch, next_place};

/// Version of every value written today.
pub(super) const VERSION: u8 = 1;

/// A value that is not what its key promises.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadRecord(pub(super) &'static str);

/// Something that can be written down and read back.
pub(super) trait Record: Sized {
    /// Its stored form, without the version byte.
    type Stored: Message + Default;
    /// To its stored form.
    fn store(&self) -> Self::Stored;
    /// From its stored form.
    fn load(stored: Self::Stored) -> Result<Self, BadRecord>;

    /// Version byte and message.
    fn to_value(&self) -> Vec<u8> {
        to_value(&self.store())
    }

    /// Reads version byte and message.
    fn from_value(value: &[u8]) -> Result<Self, BadRecord> {
        match value.split_first() {
            Some((&VERSION, rest)) => Self::load(
                Self::Stored::decode(rest).map_err(|_| BadRecord("not a protobuf message"))?,
            ),
            Some(_) => Err(BadRecord("unknown record version")),
            None => Err(BadRecord("empty value")),
        }
    }
}

/// Version byte and message.
pub(super) fn to_value(stored: &impl Message) -> Vec<u8> {
    let mut value = Vec::with_capacity(stored.encoded_len().saturating_add(1));
    value.push(VERSION);
    stored.encode_raw(&mut value);
    value
}

fn id16(bytes: &[u8]) -> Result<[u8; 16], BadRecord> {
    bytes
        .try_into()
        .map_err(|_| BadRecord("an id must have 16 bytes"))
}

fn bytes32(bytes: &[u8]) -> Result<[u8; 32], BadRecord> {
    bytes
        .try_into()
        .map_err(|_| BadRecord("a key or hash must have 32 bytes"))
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn algorithm_to(algorithm: KeyAlgorithm) -> u32 {
    u32::try_from(i32::from(algorithm)).unwrap_or_default()
}

fn public_key(algorithm: u32, bytes: &[u8]) -> Result<PublicKey, BadRecord> {
    let algorithm = i32::try_from(algorithm)
        .ok()
        .and_then(|number| KeyAlgorithm::try_from(number).ok())
        .ok_or(BadRecord("unknown key algorithm"))?;
    // It was checked as a whole when it came in.
    PublicKey::from_accepted(algorithm, bytes).map_err(|_| BadRecord("not a public key"))
}

numbered!(gateway_to gateway_from PushGateway { PushGateway::Apns = 1, PushGateway::Fcm = 2 });
numbered!(protection_to protection_from KeyProtection { KeyProtection::Software = 1, KeyProtection::Hardware = 2 });
numbered!(method_to method_from Method { Method::Push = 1, Method::Sms = 2, Method::Totp = 3, Method::RecoveryCode = 4, Method::RememberedBrowser = 5 });
