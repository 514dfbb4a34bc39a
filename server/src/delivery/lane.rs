//! The way to one gateway with one credential: a limit on what is in flight,
//! and a breaker, so that a slow gateway holds up nothing but itself.

use std::time::Duration;

use tokio::sync::Semaphore;

use super::attempt::{self, Client};
use super::breaker::Breaker;
use super::{Content, NowMs, Outcome, Push};

/// Longest wait for one answer. Gateways answer within a second; a challenge
/// lives for about a minute, and the caller needs the rest for another way.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for a place in flight.
const QUEUE_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Lane<C> {
    pub(super) client: C,
    breaker: Breaker,
    in_flight: Semaphore,
    now: NowMs,
}

impl<C: Client> Lane<C> {
    pub(super) fn new(client: C, max_in_flight: usize, now: NowMs) -> Self {
        Self {
            client,
            breaker: Breaker::new(),
            in_flight: Semaphore::new(max_in_flight),
            now,
        }
    }

    pub(super) async fn send(&self, push: &Push) -> Outcome {
        let Some(left) = self.time_left(push) else {
            return Outcome::Rejected {
                reason: "expired before it was sent".to_owned(),
            };
        };
        if !push.fits() {
            return Outcome::Rejected {
                reason: "PayloadTooLarge".to_owned(),
            };
        }
        let place = tokio::time::timeout(left.min(QUEUE_LIMIT), self.in_flight.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Outcome::RetryAfter {
                reason: "too many pushes in flight".to_owned(),
                after: None,
            };
        };
        let permit = match self.breaker.admit((self.now)()) {
            Ok(permit) => permit,
            Err(after) => {
                return Outcome::RetryAfter {
                    reason: "breaker open".to_owned(),
                    after: Some(after),
                };
            }
        };
        let answer = attempt::send(&self.client, push, || {
            self.time_left(push).unwrap_or_default()
        })
        .await;
        permit.settle(answer.verdict, (self.now)());
        answer.outcome
    }

    /// How long an attempt may take; none if a prompt has expired. A withdrawal
    /// is worth sending after the challenge's end.
    fn time_left(&self, push: &Push) -> Option<Duration> {
        let left_ms = push.expire_at_ms.saturating_sub((self.now)());
        match push.content {
            Content::Withdraw { .. } => Some(ATTEMPT_LIMIT),
            Content::WakeUp { .. } | Content::Sealed { .. } | Content::Notice { .. }
                if left_ms == 0 =>
            {
                None
            }
            Content::WakeUp { .. } | Content::Sealed { .. } | Content::Notice { .. } => {
                Some(Duration::from_millis(left_ms).min(ATTEMPT_LIMIT))
            }
        }
    }
}
