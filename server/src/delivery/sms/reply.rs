//! One gateway's word on one text.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::callback::{CallbackRefused, CallbackRequest};
use super::{Text, TextState};
use crate::delivery::breaker::Verdict;

/// What came of handing a text to one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Accepted,
    /// Certainly not sent; another gateway may take it.
    NotTaken {
        reason: String,
        after: Option<Duration>,
    },
    /// The number is not one, or wants no texts: true of every gateway.
    Rejected {
        reason: String,
    },
    /// Our credential or our account's settings; another gateway may take it.
    CredentialRejected {
        reason: String,
    },
    /// Perhaps sent.
    Unknown {
        reason: String,
    },
}

impl Reply {
    pub(super) fn not_taken(reason: impl Into<String>) -> Self {
        Self::NotTaken {
            reason: reason.into(),
            after: None,
        }
    }

    pub(super) fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown {
            reason: reason.into(),
        }
    }

    /// For logs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NotTaken { .. } => "not_taken",
            Self::Rejected { .. } => "rejected",
            Self::CredentialRejected { .. } => "credential_rejected",
            Self::Unknown { .. } => "unknown",
        }
    }

    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Accepted => None,
            Self::NotTaken { reason, .. }
            | Self::Rejected { reason }
            | Self::CredentialRejected { reason }
            | Self::Unknown { reason } => Some(reason),
        }
    }
}

/// A reply, and what it says of the gateway's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) verdict: Verdict,
}

impl Answer {
    pub(super) fn new(reply: Reply, verdict: Verdict) -> Self {
        Self { reply, verdict }
    }
}

/// One configured gateway.
#[async_trait]
pub(super) trait Gateway: Send + Sync {
    /// Hands `text` over and waits for the answer, at most for `limit`.
    async fn submit(&self, text: &Text, limit: Duration) -> Answer;

    /// Checks a status callback and reads the reference and the state from it;
    /// none for a state that says nothing new.
    fn callback(
        &self,
        _request: &CallbackRequest<'_>,
    ) -> Result<Option<(String, TextState)>, CallbackRefused> {
        Err(CallbackRefused::UnknownGateway)
    }

    /// Keeps what it needs alive until `stop`.
    async fn run(&self, _stop: CancellationToken) {}
}
