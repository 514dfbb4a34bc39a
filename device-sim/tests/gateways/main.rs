//! The gateway emulators against raw clients: they refuse what the real ones refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod apns;
mod apns_connections;
mod apns_faults;
mod apns_tokens;
mod callback;
mod client;
mod control;
mod fcm;
mod phones;
mod smpp_client;
mod sms_inbox;
mod sms_smpp;
mod sms_twilio;
mod sms_webhook;
