//! The broker's push senders against the emulators of APNs and FCM, over real
//! TLS and HTTP/2, and its SMS gateways against theirs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod broken_apns;
mod broken_fcm;
mod credentials;
mod faults;
mod interceptor;
mod outcomes;
mod rig;
mod secrets;
mod sms_failover;
mod sms_kinds;
mod sms_rig;

use std::sync::atomic::Ordering;
use std::time::Duration;

use countersign_server::delivery::{
    Content, Gateways as Senders, NowMs, Outcome, PushEnvironment, PushGateway, PushTarget,
};
use device_sim::gateway::{Environment, GatewaysConfig};
use uuid::Uuid;

use crate::rig::{PROJECT, Rig, TOPIC, assert_all_accepted, tally};
