//! What a gateway's answer means for the push, the challenge and the token: as
//! tabled in the delivery rules.

use std::time::Duration;

use crate::{
    delivery::{Outcome, Push},
    domain::{challenge::DeliveryState, push::PushJob, time::Timestamp},
    store::{PushResult, TokenVerdict},
};

/// How long after a server error its one retry comes, if the gateway names no
/// time: the vendors' 10 to 60 s of back-off are as long as a challenge lives.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);
/// A retry must leave the user at least this long to answer.
const WORTH_ASKING: Duration = Duration::from_secs(5);

fn token_verdict(push: &Push, outcome: &Outcome) -> TokenVerdict {
    let token = push.target.token.clone();
    match outcome {
        Outcome::TokenDead { since_ms, .. } => TokenVerdict::Dead {
            token,
            since: since_ms.map(Timestamp::from_millis),
        },
        Outcome::TokenSuspect { .. } => TokenVerdict::Doubtful { token },
        // In particular: trouble with our credential says nothing of a token.
        Outcome::Accepted
        | Outcome::RetryAfter { .. }
        | Outcome::ServerError { .. }
        | Outcome::CredentialRejected { .. }
        | Outcome::Rejected { .. }
        | Outcome::Unknown { .. }
        | Outcome::NoGateway => TokenVerdict::Fine,
    }
}

/// When the one retry comes, if there is to be one and it fits.
fn retry(job: &PushJob, after: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    let due = now.after(after.unwrap_or(RETRY_DELAY));
    (job.attempts == 0 && due.after(WORTH_ASKING) < job.expire_time).then_some(due)
}

/// A try of a prompt.
pub(super) fn prompt(job: &PushJob, push: &Push, outcome: Outcome, now: Timestamp) -> PushResult {
    let token = token_verdict(push, &outcome);
    let perhaps_sent = job.perhaps_sent;
    let failed = |reason: String, taken| PushResult::Finished {
        delivery: Some((DeliveryState::Failed, reason)),
        token: token.clone(),
        taken,
    };
    match outcome {
        Outcome::Accepted => PushResult::Finished {
            delivery: Some((DeliveryState::Accepted, String::new())),
            token,
            taken: true,
        },
        Outcome::ServerError { reason, after } => match retry(job, after, now) {
            Some(due) => PushResult::Again { due, perhaps_sent },
            None => failed(reason, perhaps_sent),
        },
        // Perhaps it came through: the same id can't show it twice.
        Outcome::Unknown { reason } => match retry(job, None, now) {
            Some(due) => PushResult::Again {
                due,
                perhaps_sent: true,
            },
            None => failed(reason, true),
        },
        // At once, so that another way can be offered.
        Outcome::TokenDead { reason, .. }
        | Outcome::TokenSuspect { reason }
        | Outcome::RetryAfter { reason, .. }
        | Outcome::CredentialRejected { reason }
        | Outcome::Rejected { reason } => failed(reason, perhaps_sent),
        Outcome::NoGateway => failed("no gateway for this app".into(), perhaps_sent),
    }
}

/// A try of a withdrawal, or of a wake-up for a notice. One that fails is tried
/// once more: the prompt expires by itself, and the notice is there to be read.
pub(super) fn withdrawal(
    job: &PushJob,
    push: &Push,
    outcome: &Outcome,
    now: Timestamp,
) -> PushResult {
    let after = match outcome {
        Outcome::ServerError { after, .. } => Some(*after),
        Outcome::Unknown { .. } => Some(None),
        _ => None,
    };
    match after.and_then(|after| retry(job, after, now)) {
        Some(due) => PushResult::Again {
            due,
            perhaps_sent: false,
        },
        None => PushResult::Finished {
            delivery: None,
            token: token_verdict(push, outcome),
            taken: false,
        },
    }
}

/// The gateways' reasons that are counted by name. Reasons are kept as text
/// wherever they are stored; here they would be labels without number.
const REASONS: &[&str] = &[
    // APNs: "Handling notification responses from APNs".
    "BadCollapseId",
    "BadDeviceToken",
    "BadExpirationDate",
    "BadMessageId",
    "BadPriority",
    "BadTopic",
    "DeviceTokenNotForTopic",
    "DuplicateHeaders",
    "IdleTimeout",
    "InvalidPushType",
    "MissingDeviceToken",
    "MissingTopic",
    "PayloadEmpty",
    "TopicDisallowed",
    "BadCertificate",
    "BadCertificateEnvironment",
    "ExpiredProviderToken",
    "Forbidden",
    "InvalidProviderToken",
    "MissingProviderToken",
    "BadPath",
    "MethodNotAllowed",
    "Unregistered",
    "ExpiredToken",
    "PayloadTooLarge",
    "TooManyRequests",
    "TooManyProviderTokenUpdates",
    "InternalServerError",
    "ServiceUnavailable",
    "Shutdown",
    // FCM: REST reference, `ErrorCode`, and the general `google.rpc.Code`.
    "INVALID_ARGUMENT",
    "UNREGISTERED",
    "SENDER_ID_MISMATCH",
    "QUOTA_EXCEEDED",
    "UNAVAILABLE",
    "INTERNAL",
    "THIRD_PARTY_AUTH_ERROR",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    // OAuth: RFC 6749, section 5.2.
    "invalid_grant",
    "invalid_client",
    // The senders' own.
    "breaker open",
    "too many pushes in flight",
    "expired before it was sent",
    "no answer in time",
    "no connection in time",
    "stream refused",
    "unexpected answer",
];
/// The senders' own that go on with the cause.
const BEGINNINGS: &[&str] = &[
    "can't connect",
    "connection lost",
    "connection ended by the gateway",
    "stream reset",
];

/// A reason as a label: empty for none, `other` for what has no name here.
pub(super) fn reason_label(reason: Option<&str>) -> &'static str {
    let Some(reason) = reason else {
        return "";
    };
    let exact = REASONS.iter().find(|known| **known == reason);
    exact
        .or_else(|| BEGINNINGS.iter().find(|known| reason.starts_with(**known)))
        .copied()
        .unwrap_or("other")
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
