//! Lets what is old enough leave the store.

use std::{sync::Arc, time::Duration};

use super::{Broker, error::BrokerError};
use crate::{
    domain::{retention::Retention, time::Timestamp},
    store::{Left, StoreError},
};

/// How often what is old enough is looked for: often, so that it is never much at
/// a time.
const INTERVAL: Duration = Duration::from_secs(5);

/// The longest pause between two steps. It lasts as long as the step did: others
/// have at least half of the writer's time, and no step waits in front of theirs
/// for long.
const PAUSE: Duration = Duration::from_millis(50);

impl Broker {
    /// Runs until the broker stops. Each step is one small commit, so that
    /// other work is never held up; what a stop interrupts goes on after it.
    pub async fn run_retention(self: Arc<Self>, keep: Retention) {
        let stopping = self.hub.stopping.clone();
        while !stopping.is_cancelled() {
            // From beginning to beginning: a long removal, or time that passes in
            // the middle of it, is made up for.
            let next = self.now().after(INTERVAL);
            if let Err(error) = self.remove_old(&keep).await {
                tracing::error!(%error, "what is old could not be removed");
            }
            tokio::select! {
                () = self.clock.sleep_until(next.as_millis()) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    async fn remove_old(&self, keep: &Retention) -> Result<(), BrokerError> {
        while !self.store.index_for_removal().await? {
            if self.hub.stopping.is_cancelled() {
                return Ok(());
            }
        }
        let now = self.now();
        let before = |kept: Duration| now.before(kept);
        let challenges = before(keep.challenges);
        self.repeat("challenges", || {
            self.store.remove_challenges(challenges, now)
        })
        .await?;
        let tickets = before(keep.tickets);
        self.repeat("tickets", || self.store.remove_tickets(tickets, now))
            .await?;
        self.remove_old_audit(before(keep.audit), now).await
    }

    async fn remove_old_audit(&self, before: Timestamp, now: Timestamp) -> Result<(), BrokerError> {
        for chain in self.store.audit_chains().await? {
            self.repeat("audit entries", || {
                self.store.remove_audit(chain.writer, before, now)
            })
            .await?;
        }
        Ok(())
    }

    async fn repeat<F>(&self, what: &'static str, step: impl Fn() -> F) -> Result<(), BrokerError>
    where
        F: Future<Output = Result<Left, StoreError>>,
    {
        let mut count = 0_usize;
        loop {
            let began = self.monotonic_us();
            let left = step().await?;
            count = count.saturating_add(left.count);
            if !left.more || self.hub.stopping.is_cancelled() {
                break;
            }
            let took = Duration::from_micros(self.monotonic_us().saturating_sub(began));
            self.clock.sleep(took.min(PAUSE)).await;
        }
        if count > 0 {
            tracing::debug!(count, what, "removed by age");
        }
        Ok(())
    }
}
