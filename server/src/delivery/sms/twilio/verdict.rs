//! What Twilio's codes mean (Twilio, "Error and warning dictionary").

use std::time::Duration;

use http::StatusCode;

use crate::delivery::breaker::Verdict;
use crate::delivery::sms::TextState;
use crate::delivery::sms::reply::{Answer, Reply};

/// Of a request that was answered with an error. Twilio's own message is not
/// kept: it repeats the number.
pub(super) fn of(status: StatusCode, code: u32, after: Option<Duration>) -> Answer {
    let reason = format!("twilio error {code}");
    let hold_or_failure = after.map_or(Verdict::Failure, Verdict::Hold);
    match (code, status.as_u16()) {
        // Not a number; unreachable; a short code; ourselves; unsubscribed; a
        // landline; too long.
        (21211 | 21214 | 21217 | 21265 | 21266 | 21604 | 21610 | 21614 | 21605 | 21617, _) => {
            Answer::new(Reply::Rejected { reason }, Verdict::Healthy)
        }
        // Authenticate; permission denied; account not active; and settings of
        // the account: sender or messaging service unusable.
        (20003 | 20005 | 20008 | 20403, _)
        | (21212 | 21408 | 21603 | 21606 | 21659 | 21660 | 21661 | 21701 | 21703 | 21705, _) => {
            Answer::new(Reply::CredentialRejected { reason }, Verdict::Healthy)
        }
        // Too many requests; the sender's queue is full.
        (429 | 14107 | 20429 | 21611 | 63038, _) | (_, 429) => {
            Answer::new(Reply::NotTaken { reason, after }, hold_or_failure)
        }
        (_, 504) => Answer::new(Reply::unknown(reason), Verdict::Failure),
        (_, 500..=599) => Answer::new(Reply::NotTaken { reason, after }, hold_or_failure),
        (_, 401 | 403) => Answer::new(Reply::CredentialRejected { reason }, Verdict::Healthy),
        // Refused here; another gateway may know better.
        _ => Answer::new(Reply::not_taken(reason), Verdict::Healthy),
    }
}

/// Of a status callback; none for the states before `sent`, and those not
/// known here.
pub(super) fn state(status: &str, code: Option<u32>) -> Option<TextState> {
    match status.to_ascii_lowercase().as_str() {
        "sent" => Some(TextState::Sent),
        "delivered" | "read" => Some(TextState::Delivered),
        word @ ("undelivered" | "failed" | "canceled") => {
            let reason = match code {
                Some(code) => format!("{word}: {code} {}", meaning(code))
                    .trim()
                    .to_owned(),
                None => word.to_owned(),
            };
            Some(TextState::Failed { reason })
        }
        _ => None,
    }
}

/// The titles of the codes that come with status callbacks.
fn meaning(code: u32) -> &'static str {
    match code {
        30001 => "queue overflow",
        30002 => "account suspended",
        30003 => "unreachable destination handset",
        30004 => "message blocked",
        30005 => "unknown destination handset",
        30006 => "landline or unreachable carrier",
        30007 => "message filtered",
        30008 => "unknown error",
        30009 => "missing inbound segment",
        30010 => "message price exceeds max price",
        30036 => "validity period expired",
        30410 => "provider timeout",
        30453 => "message could not be delivered",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let table = [
            (400, 21211, "rejected"),
            (400, 21610, "rejected"),
            (400, 21614, "rejected"),
            (401, 20003, "credential_rejected"),
            (403, 20005, "credential_rejected"),
            (400, 21606, "credential_rejected"),
            (403, 99999, "credential_rejected"),
            (429, 20429, "not_taken"),
            (429, 0, "not_taken"),
            (503, 20503, "not_taken"),
            (500, 20500, "not_taken"),
            (504, 20504, "unknown"),
            (400, 99999, "not_taken"),
        ];
        for (status, code, expected) in table {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            let answer = of(status, code, None);
            assert_eq!(answer.reply.name(), expected, "{status} {code}");
        }
        let after = Some(Duration::from_secs(7));
        let busy = of(StatusCode::TOO_MANY_REQUESTS, 20429, after);
        assert_eq!(busy.verdict, Verdict::Hold(Duration::from_secs(7)));
    }

    #[test]
    fn states() {
        let failed = |reason: &str| {
            Some(TextState::Failed {
                reason: reason.to_owned(),
            })
        };
        assert_eq!(state("queued", None), None);
        assert_eq!(state("sent", None), Some(TextState::Sent));
        assert_eq!(state("Delivered", None), Some(TextState::Delivered));
        assert_eq!(
            state("undelivered", Some(30005)),
            failed("undelivered: 30005 unknown destination handset")
        );
        assert_eq!(state("failed", Some(30999)), failed("failed: 30999"));
        assert_eq!(state("failed", None), failed("failed"));
        assert_eq!(state("something-new", Some(30005)), None);
    }
}
