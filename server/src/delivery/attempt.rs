//! One push, tried as often as is right within a moment.
//!
//! Connection losses and refused streams are tried again at once, at most
//! twice, under the same id; a renewed credential is tried once. Everything
//! else goes back to the caller.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use http::HeaderMap;
use tracing::Instrument;

use super::breaker::Verdict;
use super::{Outcome, Push, PushGateway};

/// Connection losses and refused streams that are tried again.
const RETRIES: u32 = 2;

/// The gateway's answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) verdict: Verdict,
}

impl Answer {
    pub(super) fn new(outcome: Outcome, verdict: Verdict) -> Self {
        Self { outcome, verdict }
    }
}

/// How one attempt went.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The gateway answered, or there is nothing left to try.
    Answered(Answer),
    /// The gateway refused our credential and another is at hand by now; the
    /// answer stands if that one fares no better.
    Renewed(Answer),
    /// The gateway has certainly not processed it.
    NotSent(String),
    /// The connection was lost after sending.
    Lost(String),
    /// No answer in time after sending.
    TimedOut,
}

impl Attempt {
    fn name(&self) -> &'static str {
        match self {
            Self::Answered(answer) | Self::Renewed(answer) => answer.outcome.name(),
            Self::NotSent(_) => "not_sent",
            Self::Lost(_) => "connection_lost",
            Self::TimedOut => "timed_out",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Answered(answer) | Self::Renewed(answer) => answer.outcome.reason(),
            Self::NotSent(reason) | Self::Lost(reason) => Some(reason),
            Self::TimedOut => None,
        }
    }
}

/// A client of one gateway: sends a push once.
pub(super) trait Client: Send + Sync {
    /// Which gateway.
    const GATEWAY: PushGateway;

    /// Sends `push` once and waits for the answer, at most for `limit`.
    fn attempt(&self, push: &Push, limit: Duration) -> impl Future<Output = Attempt> + Send;

    /// The gateway accepted a push: its credential works.
    fn accepted(&self);

    /// The gateway refused our credential.
    fn credential_rejected(&self, reason: &str);
}

/// Sends `push` through `client`, retrying as described above. `limit` gives
/// the time an attempt may take, and is asked anew for each.
pub(super) async fn send<C: Client>(
    client: &C,
    push: &Push,
    limit: impl Fn() -> Duration + Send,
) -> Answer {
    let mut attempt_no = 0_u32;
    let mut retries_left = RETRIES;
    let mut renewed = false;
    let mut perhaps_sent = false;
    let answer = loop {
        attempt_no = attempt_no.saturating_add(1);
        let span = tracing::info_span!(
            "push_attempt",
            gateway = C::GATEWAY.name(),
            push_id = %push.push_id,
            attempt = attempt_no,
            outcome = tracing::field::Empty,
            reason = tracing::field::Empty,
        );
        let attempt = client.attempt(push, limit()).instrument(span.clone()).await;
        span.record("outcome", attempt.name());
        if let Some(reason) = attempt.reason() {
            span.record("reason", reason);
        }
        tracing::debug!(parent: &span, "push attempt ended");
        match attempt {
            Attempt::Answered(answer) => break answer,
            Attempt::Renewed(_) if !renewed => renewed = true,
            Attempt::Renewed(answer) => break answer,
            Attempt::TimedOut => {
                let reason = "no answer in time".to_owned();
                break Answer::new(Outcome::Unknown { reason }, Verdict::Failure);
            }
            Attempt::NotSent(_) | Attempt::Lost(_) if retries_left > 0 => {
                perhaps_sent |= matches!(attempt, Attempt::Lost(_));
                retries_left = retries_left.saturating_sub(1);
            }
            Attempt::Lost(reason) => {
                break Answer::new(Outcome::Unknown { reason }, Verdict::Failure);
            }
            Attempt::NotSent(reason) => {
                let outcome = if perhaps_sent {
                    Outcome::Unknown { reason }
                } else {
                    Outcome::ServerError {
                        reason,
                        after: None,
                    }
                };
                break Answer::new(outcome, Verdict::Failure);
            }
        }
    };
    // Whatever the last attempt met, an earlier one may have come through. (What
    // is said of the push or of its token was true of that one too.)
    let answer = match answer.outcome {
        Outcome::RetryAfter { reason, .. } | Outcome::ServerError { reason, .. }
            if perhaps_sent =>
        {
            Answer::new(Outcome::Unknown { reason }, answer.verdict)
        }
        outcome => Answer { outcome, ..answer },
    };
    match &answer.outcome {
        Outcome::Accepted => client.accepted(),
        Outcome::CredentialRejected { reason } => client.credential_rejected(reason),
        _ => {}
    }
    answer
}

/// What a broken connection says of the request that was on it: REFUSED_STREAM
/// and GOAWAY mean "not processed" (RFC 9113, sections 8.7 and 6.8), as does a
/// connection that never came about.
pub(super) fn transport_failure(error: &(dyn Error + 'static), never_connected: bool) -> Attempt {
    let mut chain: Option<&(dyn Error + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(current) = chain {
        if let Some(h2) = current.downcast_ref::<h2::Error>() {
            let refused = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            let gone = h2.is_go_away() && h2.is_remote();
            let text = match (h2.reason(), refused, gone) {
                (_, true, _) => "stream refused".to_owned(),
                (Some(reason), _, true) => format!("connection ended by the gateway: {reason}"),
                (Some(reason), _, _) => format!("stream reset: {reason}"),
                (None, _, _) => h2.to_string(),
            };
            return if refused || gone {
                Attempt::NotSent(text)
            } else {
                Attempt::Lost(text)
            };
        }
        last = current.to_string();
        chain = current.source();
    }
    if never_connected {
        Attempt::NotSent(format!("can't connect: {last}"))
    } else {
        Attempt::Lost(format!("connection lost: {last}"))
    }
}

/// Retry-After (RFC 9110, section 10.2.3): seconds, or an HTTP date counted
/// from `now_ms`.
pub(super) fn retry_after(headers: &HeaderMap, now_ms: u64) -> Option<Duration> {
    let text = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date_ms = date
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?
        .as_millis()
        .try_into()
        .ok()?;
    Some(Duration::from_millis(u64::saturating_sub(date_ms, now_ms)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use parking_lot::Mutex;
    use uuid::Uuid;

    use super::*;
    use crate::delivery::{Content, PushEnvironment, PushTarget};

    struct Script(Mutex<Vec<Attempt>>);

    impl Client for Script {
        const GATEWAY: PushGateway = PushGateway::Apns;
        async fn attempt(&self, _: &Push, _: Duration) -> Attempt {
            self.0.lock().pop().unwrap()
        }
        fn accepted(&self) {}
        fn credential_rejected(&self, _: &str) {}
    }

    /// Sends against `script` and tells how many attempts it left unused.
    async fn run(mut script: Vec<Attempt>) -> (Outcome, usize) {
        script.reverse();
        let client = Script(Mutex::new(script));
        let push = Push {
            push_id: Uuid::nil(),
            collapse_id: "c".into(),
            target: PushTarget {
                gateway: PushGateway::Apns,
                app_id: "a".into(),
                environment: PushEnvironment::Production,
                token: "t".into(),
            },
            expire_at_ms: 0,
            content: Content::WakeUp {
                challenge_id: "c".into(),
            },
        };
        let answer = send(&client, &push, || Duration::from_secs(1)).await;
        let left = client.0.lock().len();
        (answer.outcome, left)
    }

    fn accepted() -> Attempt {
        Attempt::Answered(Answer::new(Outcome::Accepted, Verdict::Healthy))
    }
    fn not_sent() -> Attempt {
        Attempt::NotSent("r".into())
    }
    fn lost() -> Attempt {
        Attempt::Lost("r".into())
    }
    fn renewed() -> Attempt {
        let reason = "r".into();
        Attempt::Renewed(Answer::new(
            Outcome::CredentialRejected { reason },
            Verdict::Healthy,
        ))
    }

    #[tokio::test]
    async fn connection_trouble_is_retried_twice() {
        assert_eq!(
            run(vec![not_sent(), lost(), accepted()]).await,
            (Outcome::Accepted, 0)
        );
        let (outcome, left) = run(vec![not_sent(), not_sent(), not_sent(), accepted()]).await;
        assert_eq!((outcome.name(), left), ("server_error", 1));
    }

    #[tokio::test]
    async fn what_may_have_arrived_is_unknown() {
        let (outcome, _) = run(vec![lost(), not_sent(), not_sent()]).await;
        assert_eq!(outcome.name(), "unknown");
        let busy = || {
            let (reason, after) = ("r".into(), None);
            let outcome = Outcome::RetryAfter { reason, after };
            Attempt::Answered(Answer::new(outcome, Verdict::Neutral))
        };
        assert_eq!(run(vec![lost(), busy()]).await.0.name(), "unknown");
        assert_eq!(run(vec![not_sent(), busy()]).await.0.name(), "retry_after");
        let (outcome, left) = run(vec![Attempt::TimedOut, accepted()]).await;
        assert_eq!((outcome.name(), left), ("unknown", 1));
    }

    #[tokio::test]
    async fn a_renewed_credential_is_tried_once() {
        assert_eq!(run(vec![renewed(), accepted()]).await.0, Outcome::Accepted);
        let (outcome, left) = run(vec![renewed(), renewed(), accepted()]).await;
        assert_eq!((outcome.name(), left), ("credential_rejected", 1));
    }

    #[test]
    fn retry_after_in_both_forms() {
        let after = |value: &str, now_ms| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            retry_after(&headers, now_ms)
        };
        assert_eq!(after("17", 0), Some(Duration::from_secs(17)));
        // RFC 9110's own example date is 784111777 s after the epoch.
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let before = 784_111_777_000 - 5_000;
        assert_eq!(after(date, before), Some(Duration::from_secs(5)));
        assert_eq!(after(date, before + 60_000), Some(Duration::ZERO));
        assert_eq!(after("soon", 0), None);
        assert_eq!(after("-1", 0), None);
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }

    #[test]
    fn only_refused_streams_and_goaway_are_certainly_unprocessed() {
        let io = std::io::Error::other("reset");
        assert!(matches!(transport_failure(&io, true), Attempt::NotSent(_)));
        assert!(matches!(transport_failure(&io, false), Attempt::Lost(_)));
        let local: h2::Error = h2::Reason::REFUSED_STREAM.into();
        assert!(matches!(transport_failure(&local, false), Attempt::Lost(_)));
    }
}
