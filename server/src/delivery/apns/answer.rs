//! What APNs' answers mean (Apple, "Handling notification responses from APNs").

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::delivery::Outcome;
use crate::delivery::attempt::Answer;
use crate::delivery::breaker::Verdict;
use crate::delivery::redact;

/// Pause after `TooManyProviderTokenUpdates` when APNs names none.
const TOKEN_UPDATES_PAUSE: Duration = Duration::from_secs(10);

/// An answer as received.
#[derive(Debug)]
pub(super) struct Said {
    status: StatusCode,
    /// APNs' reason, or the status when there is none to read.
    reason: String,
    timestamp_ms: Option<u64>,
}

/// Why APNs refuses a provider token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    /// More than an hour old: a fresh one of the same key will do.
    Expired,
    /// Not signed with a key that APNs knows: only another key will do.
    Invalid,
}

#[derive(Deserialize)]
struct Body {
    reason: String,
    timestamp: Option<u64>,
}

impl Said {
    pub(super) fn parse(status: StatusCode, body: Option<&[u8]>, device_token: &str) -> Self {
        let body = body.and_then(|bytes| serde_json::from_slice::<Body>(bytes).ok());
        let (reason, timestamp_ms) = match body {
            Some(body) => (redact::reason(&body.reason, device_token), body.timestamp),
            None => (format!("status {}", status.as_u16()), None),
        };
        Self {
            status,
            reason,
            timestamp_ms,
        }
    }

    /// What it means. `after` is its Retry-After.
    pub(super) fn classify(&self, after: Option<Duration>) -> Answer {
        let reason = self.reason.clone();
        let hold = after.map(Verdict::Hold);
        match (self.status.as_u16(), self.reason.as_str()) {
            (200, _) => Answer::new(Outcome::Accepted, Verdict::Healthy),
            (410, "Unregistered" | "ExpiredToken") => Answer::new(
                Outcome::TokenDead {
                    reason,
                    since_ms: self.timestamp_ms,
                },
                Verdict::Healthy,
            ),
            (400, "BadDeviceToken") => {
                Answer::new(Outcome::TokenSuspect { reason }, Verdict::Healthy)
            }
            (
                403,
                "InvalidProviderToken"
                | "ExpiredProviderToken"
                | "MissingProviderToken"
                | "BadCertificate"
                | "BadCertificateEnvironment",
            ) => Answer::new(Outcome::CredentialRejected { reason }, Verdict::Healthy),
            (429, "TooManyProviderTokenUpdates") => Answer::new(
                Outcome::RetryAfter { reason, after },
                Verdict::Hold(after.unwrap_or(TOKEN_UPDATES_PAUSE)),
            ),
            // Without Retry-After this is about one device token ("too many
            // requests were made consecutively to the same device token"), and
            // one flooded phone must not cut off the others.
            (429, _) => Answer::new(
                Outcome::RetryAfter { reason, after },
                hold.unwrap_or(Verdict::Neutral),
            ),
            (500..=599, _) => Answer::new(
                Outcome::ServerError { reason, after },
                hold.unwrap_or(Verdict::Failure),
            ),
            // Including reasons not known here: kept as text, never retried.
            _ => Answer::new(Outcome::Rejected { reason }, Verdict::Healthy),
        }
    }

    /// Whether the token was refused, and why.
    pub(super) fn token_refusal(&self) -> Option<TokenRefusal> {
        match (self.status.as_u16(), self.reason.as_str()) {
            (403, "ExpiredProviderToken") => Some(TokenRefusal::Expired),
            (403, "InvalidProviderToken") => Some(TokenRefusal::Invalid),
            _ => None,
        }
    }

    /// Whether the next request should go over a new connection: a refused token
    /// is remembered by its connection, and `Shutdown` says so itself.
    pub(super) fn ends_connection(&self) -> bool {
        self.token_refusal().is_some() || self.reason == "Shutdown"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn said(status: u16, body: &str) -> Said {
        Said::parse(
            StatusCode::from_u16(status).unwrap(),
            Some(body.as_bytes()),
            "abc123",
        )
    }

    fn name(status: u16, reason: &str) -> &'static str {
        said(status, &format!(r#"{{"reason":"{reason}"}}"#))
            .classify(None)
            .outcome
            .name()
    }

    /// Every reason of Apple's table.
    const TABLE: &[(u16, &str, &str)] = &[
        (400, "BadCollapseId", "rejected"),
        (400, "BadDeviceToken", "token_suspect"),
        (400, "BadExpirationDate", "rejected"),
        (400, "BadMessageId", "rejected"),
        (400, "BadPriority", "rejected"),
        (400, "BadTopic", "rejected"),
        (400, "DeviceTokenNotForTopic", "rejected"),
        (400, "DuplicateHeaders", "rejected"),
        (400, "IdleTimeout", "rejected"),
        (400, "InvalidPushType", "rejected"),
        (400, "MissingDeviceToken", "rejected"),
        (400, "MissingTopic", "rejected"),
        (400, "PayloadEmpty", "rejected"),
        (400, "TopicDisallowed", "rejected"),
        (403, "BadCertificate", "credential_rejected"),
        (403, "BadCertificateEnvironment", "credential_rejected"),
        (403, "ExpiredProviderToken", "credential_rejected"),
        (403, "Forbidden", "rejected"),
        (403, "InvalidProviderToken", "credential_rejected"),
        (403, "MissingProviderToken", "credential_rejected"),
        (404, "BadPath", "rejected"),
        (405, "MethodNotAllowed", "rejected"),
        (410, "ExpiredToken", "token_dead"),
        (410, "Unregistered", "token_dead"),
        (413, "PayloadTooLarge", "rejected"),
        (429, "TooManyProviderTokenUpdates", "retry_after"),
        (429, "TooManyRequests", "retry_after"),
        (500, "InternalServerError", "server_error"),
        (503, "ServiceUnavailable", "server_error"),
        (503, "Shutdown", "server_error"),
        (410, "SomethingNew", "rejected"),
        (403, "SomethingNew", "rejected"),
        (599, "SomethingNew", "server_error"),
    ];

    #[test]
    fn every_reason_has_its_outcome() {
        for (status, reason, expected) in TABLE {
            assert_eq!(name(*status, reason), *expected, "{status} {reason}");
        }
    }

    #[test]
    fn a_dead_token_has_its_date_and_an_unknown_reason_its_text() {
        let dead = said(
            410,
            r#"{"reason":"Unregistered","timestamp":1700000000123}"#,
        );
        let expected = Outcome::TokenDead {
            reason: "Unregistered".into(),
            since_ms: Some(1_700_000_000_123),
        };
        assert_eq!(dead.classify(None).outcome, expected);
        let new = said(400, r#"{"reason":"NewThing abc123"}"#);
        let expected = Outcome::Rejected {
            reason: "NewThing [redacted]".into(),
        };
        assert_eq!(new.classify(None).outcome, expected);
    }

    #[test]
    fn an_unreadable_answer_goes_by_its_status() {
        let text = |status| said(status, "<html>").classify(None).outcome;
        assert_eq!(text(410).name(), "rejected", "no token dies on a guess");
        assert_eq!(text(503).reason(), Some("status 503"));
    }

    #[test]
    fn only_a_pause_asked_for_or_a_failure_concerns_the_breaker() {
        let after = Some(Duration::from_secs(3));
        let verdict = |status, reason: &str, after| {
            said(status, &format!(r#"{{"reason":"{reason}"}}"#))
                .classify(after)
                .verdict
        };
        assert_eq!(verdict(429, "TooManyRequests", None), Verdict::Neutral);
        let hold = Verdict::Hold(Duration::from_secs(3));
        assert_eq!(verdict(429, "TooManyRequests", after), hold);
        assert_eq!(verdict(503, "ServiceUnavailable", after), hold);
        assert_eq!(verdict(503, "ServiceUnavailable", None), Verdict::Failure);
        assert_eq!(verdict(403, "InvalidProviderToken", None), Verdict::Healthy);
    }
}
