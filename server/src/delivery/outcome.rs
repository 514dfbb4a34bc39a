//! What came of a push, as the caller must act on it.

use std::time::Duration;

/// What came of a push. Every `reason` is the gateway's own word where it gave
/// one, kept as text, since gateways add reasons without notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The gateway took it. Whether it reaches the phone is not known.
    Accepted,
    /// The token will never work again. Clear it, if it is still the same token
    /// and was registered before `since_ms`.
    TokenDead {
        /// `Unregistered`, `ExpiredToken` (APNs) or `UNREGISTERED` (FCM).
        reason: String,
        /// When the gateway learnt it, in Unix milliseconds (APNs only).
        since_ms: Option<u64>,
    },
    /// The token is wrong here, perhaps of the other environment: quarantine it,
    /// don't delete it.
    TokenSuspect {
        /// `BadDeviceToken`.
        reason: String,
    },
    /// Not sent, or refused for now: use the next device or another way.
    RetryAfter {
        /// Why.
        reason: String,
        /// How long the gateway wants to be left alone, where known.
        after: Option<Duration>,
    },
    /// The gateway has trouble or can't be reached, and the push was not taken:
    /// one delayed retry is worth it.
    ServerError {
        /// Why.
        reason: String,
        /// How long the gateway wants to be left alone, where known.
        after: Option<Duration>,
    },
    /// Our credential is refused: an operator must act. Says nothing about the
    /// device.
    CredentialRejected {
        /// Why.
        reason: String,
    },
    /// This push will never be taken.
    Rejected {
        /// Why.
        reason: String,
    },
    /// No answer came after sending: perhaps delivered. A retry must carry the
    /// same `push_id`.
    Unknown {
        /// Why.
        reason: String,
    },
    /// No app is configured for the target.
    NoGateway,
}

impl Outcome {
    /// A stable name, as in spans and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::TokenDead { .. } => "token_dead",
            Self::TokenSuspect { .. } => "token_suspect",
            Self::RetryAfter { .. } => "retry_after",
            Self::ServerError { .. } => "server_error",
            Self::CredentialRejected { .. } => "credential_rejected",
            Self::Rejected { .. } => "rejected",
            Self::Unknown { .. } => "unknown",
            Self::NoGateway => "no_gateway",
        }
    }

    /// The gateway's reason, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Accepted | Self::NoGateway => None,
            Self::TokenDead { reason, .. }
            | Self::TokenSuspect { reason }
            | Self::RetryAfter { reason, .. }
            | Self::ServerError { reason, .. }
            | Self::CredentialRejected { reason }
            | Self::Rejected { reason }
            | Self::Unknown { reason } => Some(reason),
        }
    }
}
