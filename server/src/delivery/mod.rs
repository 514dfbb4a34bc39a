//! Everything that talks to gateways: APNs and FCM for pushes, and those for
//! text messages ([`sms`]).
//!
//! It knows nothing of the store, of gRPC or of the rules of challenges: it is
//! handed a [`Push`], tries to hand it to the gateway, and says what came of it
//! in an [`Outcome`]. What is durable, and when to try again, is the caller's.
//!
//! A gateway's word on a push passes through four steps: the lane ([`Gateways`]
//! has one per credential) limits what is in flight and asks its breaker; the
//! token source supplies the credential; the client sends; `answer` reads the
//! reply.

mod alarm;
mod apns;
mod attempt;
mod breaker;
mod config;
mod fcm;
mod gateways;
mod key_file;
mod lane;
mod outcome;
mod payload;
mod redact;
pub mod sms;
mod tls;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

pub use self::alarm::{CredentialAlarm, GatewayName};
pub use self::config::{ApnsApp, FcmApp, PushConfig};
pub use self::gateways::{DeliveryError, Gateways};
pub use self::outcome::Outcome;

/// The wall clock: milliseconds since the Unix epoch.
pub type NowMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Who carries a push to the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PushGateway {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm,
}

impl PushGateway {
    /// `apns` or `fcm`, as in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
        }
    }
}

/// APNs keeps two worlds apart: a device token of one is unknown in the other.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum PushEnvironment {
    /// Apps from the store.
    #[default]
    Production,
    /// Development builds. Without meaning for FCM.
    Sandbox,
}

/// Where a push goes.
#[derive(Clone, PartialEq, Eq)]
pub struct PushTarget {
    /// Who carries it.
    pub gateway: PushGateway,
    /// APNs: the app's bundle id (topic). FCM: the Firebase project id.
    pub app_id: String,
    /// APNs only.
    pub environment: PushEnvironment,
    /// APNs: the device token in hex. FCM: the registration token.
    pub token: String,
}

impl fmt::Debug for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushTarget")
            .field("gateway", &self.gateway)
            .field("app_id", &self.app_id)
            .field("environment", &self.environment)
            .field("token", &redact::device_token(&self.token))
            .finish()
    }
}

/// One push to one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The same for every try of this push: APNs' `apns-id`.
    pub push_id: Uuid,
    /// Random and opaque, one per challenge, 1 to 64 bytes: APNs' `apns-collapse-id`.
    pub collapse_id: String,
    /// Where it goes.
    pub target: PushTarget,
    /// When the gateway may give up, in Unix milliseconds.
    pub expire_at_ms: u64,
    /// What it says.
    pub content: Content,
}

impl Push {
    /// Whether the payload is within what the gateway takes (4096 bytes). If
    /// not, a [`Content::Sealed`] push can still go as [`Content::WakeUp`].
    #[must_use]
    pub fn fits(&self) -> bool {
        payload::fits(self)
    }
}

/// What a push says. Never more than this reaches Apple or Google.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// "Come and fetch this challenge."
    WakeUp {
        /// The challenge to fetch.
        challenge_id: String,
    },
    /// The signed challenge itself, encrypted to the device.
    Sealed {
        /// The challenge.
        challenge_id: String,
        /// Opaque to the gateway.
        ciphertext: Vec<u8>,
    },
    /// "Take that prompt away."
    Withdraw {
        /// The challenge that needs no answer any more.
        challenge_id: String,
    },
    /// "Something happened to the account: come and look."
    Notice {
        /// Random: it says nothing of what, or of whom.
        notice_id: String,
    },
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WakeUp { challenge_id } => f
                .debug_struct("WakeUp")
                .field("challenge_id", challenge_id)
                .finish(),
            Self::Sealed {
                challenge_id,
                ciphertext,
            } => f
                .debug_struct("Sealed")
                .field("challenge_id", challenge_id)
                .field("ciphertext_len", &ciphertext.len())
                .finish(),
            Self::Withdraw { challenge_id } => f
                .debug_struct("Withdraw")
                .field("challenge_id", challenge_id)
                .finish(),
            Self::Notice { notice_id } => f
                .debug_struct("Notice")
                .field("notice_id", notice_id)
                .finish(),
        }
    }
}

/// Carries pushes: the real gateways, or what a test puts in their place.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Tries to hand `push` to its gateway. Connection losses and refused
    /// streams have been retried when this returns; everything else is for the
    /// caller, by the [`Outcome`].
    async fn send(&self, push: &Push) -> Outcome;
}
