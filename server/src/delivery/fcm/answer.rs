//! What FCM's answers mean (Firebase, "FCM error codes" and REST reference
//! `ErrorCode`).

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::delivery::Outcome;
use crate::delivery::attempt::Answer;
use crate::delivery::breaker::Verdict;
use crate::delivery::redact;

/// The extension that carries FCM's own code.
const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
/// The extension that names an exceeded quota.
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";

/// An answer as received.
#[derive(Debug)]
pub(super) struct Said {
    status: StatusCode,
    /// `details[].errorCode`: FCM's own word.
    code: Option<String>,
    /// FCM's code, or the general status, or the HTTP status.
    reason: String,
    /// A body `{"name":"projects/…"}`.
    named: bool,
    /// The exceeded quota is the device's, not the project's.
    device_quota: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    name: Option<String>,
    error: Option<ErrorBody>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    status: Option<String>,
    details: Vec<Value>,
}

impl Said {
    pub(super) fn parse(status: StatusCode, body: Option<&[u8]>, device_token: &str) -> Self {
        let body: Body = body
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let error = body.error.unwrap_or_default();
        let of_type = |wanted: &'static str| {
            error
                .details
                .iter()
                .filter(move |detail| detail.get("@type").and_then(Value::as_str) == Some(wanted))
        };
        let code = of_type(FCM_ERROR)
            .find_map(|detail| detail.get("errorCode")?.as_str())
            .map(|code| redact::reason(code, device_token));
        let device_quota = of_type(QUOTA_FAILURE)
            .filter_map(|detail| detail.get("violations")?.as_array())
            .flatten()
            .filter_map(|violation| violation.get("subject")?.as_str())
            .any(|subject| subject.starts_with("device:"));
        let reason = code
            .clone()
            .or_else(|| Some(redact::reason(error.status.as_deref()?, device_token)))
            .unwrap_or_else(|| format!("status {}", status.as_u16()));
        Self {
            status,
            code,
            reason,
            named: body.name.is_some_and(|name| name.starts_with("projects/")),
            device_quota,
        }
    }

    /// What it means. `after` is its Retry-After.
    pub(super) fn classify(&self, after: Option<Duration>) -> Answer {
        let reason = self.reason.clone();
        let hold_or_failure = after.map_or(Verdict::Failure, Verdict::Hold);
        match (self.status.as_u16(), self.code.as_deref()) {
            (200, _) if self.named => Answer::new(Outcome::Accepted, Verdict::Healthy),
            // Somebody answered, but not FCM, or not to the end.
            (200..=299, _) => {
                let reason = "unexpected answer".to_owned();
                Answer::new(Outcome::Unknown { reason }, Verdict::Failure)
            }
            (400..=499, Some("UNREGISTERED")) => Answer::new(
                Outcome::TokenDead {
                    reason,
                    since_ms: None,
                },
                Verdict::Healthy,
            ),
            // A bare 403 is a service account without the right to send.
            (_, Some("THIRD_PARTY_AUTH_ERROR" | "SENDER_ID_MISMATCH")) | (401 | 403, _) => {
                Answer::new(Outcome::CredentialRejected { reason }, Verdict::Healthy)
            }
            (429, _) if self.device_quota => {
                Answer::new(Outcome::RetryAfter { reason, after }, Verdict::Neutral)
            }
            (429, _) => Answer::new(Outcome::RetryAfter { reason, after }, hold_or_failure),
            (500..=599, _) => Answer::new(Outcome::ServerError { reason, after }, hold_or_failure),
            // Including a bare 404, which may be a wrong project, and codes not
            // known here: kept as text, never retried.
            _ => Answer::new(Outcome::Rejected { reason }, Verdict::Healthy),
        }
    }

    /// Whether our access token was refused, so that a fresh one may help.
    pub(super) fn token_refused(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
            && self.code.as_deref() != Some("THIRD_PARTY_AUTH_ERROR")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn said(status: u16, body: &Value) -> Said {
        Said::parse(
            StatusCode::from_u16(status).unwrap(),
            Some(body.to_string().as_bytes()),
            "tok",
        )
    }

    fn error(status: &str, code: Option<&str>) -> Value {
        let details: Vec<Value> = code
            .map(|code| json!({"@type": FCM_ERROR, "errorCode": code}))
            .into_iter()
            .collect();
        json!({"error": {"code": 1, "message": "tok", "status": status, "details": details}})
    }

    #[test]
    fn every_code_has_its_outcome() {
        let table: &[(u16, &str, Option<&str>, &str)] = &[
            (
                400,
                "INVALID_ARGUMENT",
                Some("INVALID_ARGUMENT"),
                "rejected",
            ),
            (400, "INVALID_ARGUMENT", None, "rejected"),
            (401, "UNAUTHENTICATED", None, "credential_rejected"),
            (
                401,
                "UNAUTHENTICATED",
                Some("THIRD_PARTY_AUTH_ERROR"),
                "credential_rejected",
            ),
            (
                403,
                "PERMISSION_DENIED",
                Some("SENDER_ID_MISMATCH"),
                "credential_rejected",
            ),
            (403, "PERMISSION_DENIED", None, "credential_rejected"),
            (404, "NOT_FOUND", Some("UNREGISTERED"), "token_dead"),
            (404, "NOT_FOUND", None, "rejected"),
            (404, "UNREGISTERED", None, "rejected"),
            (
                429,
                "RESOURCE_EXHAUSTED",
                Some("QUOTA_EXCEEDED"),
                "retry_after",
            ),
            (500, "INTERNAL", Some("INTERNAL"), "server_error"),
            (503, "UNAVAILABLE", Some("UNAVAILABLE"), "server_error"),
            (500, "INTERNAL", Some("UNREGISTERED"), "server_error"),
            (418, "SOMETHING_NEW", Some("SOMETHING_NEW"), "rejected"),
            (302, "", None, "rejected"),
        ];
        for (status, general, code, expected) in table {
            let answer = said(*status, &error(general, *code)).classify(None);
            assert_eq!(
                answer.outcome.name(),
                *expected,
                "{status} {general} {code:?}"
            );
        }
    }

    #[test]
    fn a_code_under_another_type_kills_no_token() {
        let body = json!({"error": {"status": "NOT_FOUND", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "errorCode": "UNREGISTERED"},
        ]}});
        assert_eq!(said(404, &body).classify(None).outcome.name(), "rejected");
    }

    #[test]
    fn accepted_only_by_fcm_itself() {
        let ok = said(200, &json!({"name": "projects/p/messages/1"}));
        assert_eq!(ok.classify(None).outcome, Outcome::Accepted);
        let portal = Said::parse(StatusCode::OK, Some(b"<html>log in</html>"), "");
        assert_eq!(portal.classify(None).outcome.name(), "unknown");
        let cut = Said::parse(StatusCode::OK, None, "");
        assert_eq!(cut.classify(None).outcome.name(), "unknown");
    }

    #[test]
    fn unknown_codes_stay_as_text_without_the_device_token() {
        let new = said(400, &error("X", Some("NEW_tok")));
        let expected = Outcome::Rejected {
            reason: "NEW_[redacted]".into(),
        };
        assert_eq!(new.classify(None).outcome, expected);
    }

    #[test]
    fn a_project_quota_holds_the_project_and_a_device_quota_the_device() {
        let after = Some(Duration::from_secs(9));
        let project = said(429, &error("RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")));
        let hold = Verdict::Hold(Duration::from_secs(9));
        assert_eq!(project.classify(after).verdict, hold);
        assert_eq!(project.classify(None).verdict, Verdict::Failure);
        let device = said(
            429,
            &json!({"error": {"status": "RESOURCE_EXHAUSTED", "details": [
                {"@type": FCM_ERROR, "errorCode": "QUOTA_EXCEEDED"},
                {"@type": QUOTA_FAILURE, "violations": [{"subject": "device:tok"}]},
            ]}}),
        );
        assert_eq!(device.classify(after).verdict, Verdict::Neutral);
    }

    #[test]
    fn a_fresh_token_helps_against_401_but_not_against_apns_trouble() {
        assert!(said(401, &error("UNAUTHENTICATED", None)).token_refused());
        let third = error("UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR"));
        assert!(!said(401, &third).token_refused());
        assert!(!said(403, &error("PERMISSION_DENIED", None)).token_refused());
    }
}
