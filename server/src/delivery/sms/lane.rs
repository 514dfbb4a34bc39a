//! The way to one gateway: a limit on what is in flight, and a breaker, so that
//! a slow gateway holds up nothing but itself.

use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::Instrument;

use super::Text;
use super::reply::{Answer, Gateway, Reply};
use crate::delivery::NowMs;
use crate::delivery::alarm::{Bell, Trouble};
use crate::delivery::breaker::Breaker;

/// Longest wait for one answer. Gateways answer within seconds; a person is
/// looking at the page that asks for the code.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for a place in flight: there may be another gateway.
const QUEUE_LIMIT: Duration = Duration::from_secs(2);

pub(super) struct Lane {
    pub(super) name: String,
    pub(super) gateway: Box<dyn Gateway>,
    bell: Bell,
    breaker: Breaker,
    in_flight: Semaphore,
    now: NowMs,
}

impl Lane {
    pub(super) fn new(
        name: &str,
        gateway: Box<dyn Gateway>,
        bell: Bell,
        max_in_flight: usize,
    ) -> Self {
        Self {
            name: name.to_owned(),
            gateway,
            now: bell.now.clone(),
            bell,
            breaker: Breaker::new(),
            in_flight: Semaphore::new(max_in_flight),
        }
    }

    pub(super) async fn send(&self, text: &Text) -> Reply {
        let place = tokio::time::timeout(QUEUE_LIMIT, self.in_flight.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Reply::not_taken("too many texts in flight");
        };
        let now_ms = (self.now)();
        let left = Duration::from_millis(text.expire_at_ms.saturating_sub(now_ms));
        if left.is_zero() {
            return Reply::not_taken("expired before it was sent");
        }
        let permit = match self.breaker.admit(now_ms) {
            Ok(permit) => permit,
            Err(after) => {
                return Reply::NotTaken {
                    reason: "breaker open".to_owned(),
                    after: Some(after),
                };
            }
        };
        let span = tracing::info_span!(
            "text_attempt",
            gateway = self.name,
            text_id = %text.id,
            outcome = tracing::field::Empty,
            reason = tracing::field::Empty,
        );
        let limit = left.min(ATTEMPT_LIMIT);
        let attempt = self.gateway.submit(text, limit).instrument(span.clone());
        let Answer { reply, verdict } = attempt.await;
        span.record("outcome", reply.name());
        if let Some(reason) = reply.reason() {
            span.record("reason", reason);
        }
        tracing::debug!(parent: &span, "text attempt ended");
        permit.settle(verdict, (self.now)());
        match &reply {
            Reply::Accepted => self.bell.clear(Trouble::Refused),
            Reply::CredentialRejected { reason } => self.bell.raise(Trouble::Refused, reason),
            _ => {}
        }
        reply
    }
}
