//! A phone app, written from the contract and the protos alone.
//!
//! [`Phone::enroll`] redeems a ticket and pins the broker's key;
//! [`Phone::subscribe`] and [`Phone::list_pending`] hand out challenges only
//! after their signature, account and expiry were checked; [`Phone::respond`]
//! signs the answer. Everything below that (keys, proofs, bodies) is open too,
//! so that tests can play a phone that misbehaves.

mod app;
mod calls;
mod clock;
mod connection;
mod device_key;
mod enroll;
mod enrollment_uri;
mod error;
mod failure;
mod feed;
mod push_message;
mod push_service;
mod state;
mod subscription;
mod trusted_keys;
mod verified;

pub use app::Phone;
pub use calls::{ApprovedElsewhere, Pending, method};
pub use clock::{Now, fixed_offset, system_clock, timestamp};
pub use connection::connect;
pub use device_key::DeviceKey;
pub use enroll::{EnrollOptions, Ticket, enroll_request};
pub use enrollment_uri::EnrollmentUri;
pub use error::PhoneError;
pub(crate) use error::with_causes;
pub(crate) use failure::in_words;
pub use feed::{Feed, Road, feed};
pub use push_message::PushMessage;
pub(crate) use push_service::renew as renew_push;
pub use state::{PhoneState, StoredEncryptionKey, StoredKey, StoredPush, TrustedKey};
pub use subscription::{PhoneEvent, Subscription};
pub use trusted_keys::TrustedKeys;
pub use verified::VerifiedChallenge;
