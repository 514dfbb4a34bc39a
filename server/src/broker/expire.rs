//! Ends challenges when their time is up.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::Broker;
use crate::domain::time::Timestamp;

/// Ended in one step at most, so that other work gets its turn.
const BATCH: usize = 256;

/// Wakes a worker when something is due earlier than it is waiting for.
pub(crate) struct Alarm {
    next: AtomicU64,
    earlier: Notify,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            earlier: Notify::new(),
        }
    }

    /// Until it is known better, anything new is earlier.
    pub(super) fn expect_any(&self) {
        self.next.store(u64::MAX, Ordering::Release);
    }

    /// From now on only what is earlier than `next` is.
    pub(super) fn expect_at(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }

    /// Something is.
    pub(super) async fn earlier(&self) {
        self.earlier.notified().await;
    }

    /// Something is due at `at`.
    pub(crate) fn at(&self, at: Timestamp) {
        if at.as_millis() < self.next.load(Ordering::Acquire) {
            self.earlier.notify_one();
        }
    }
}

impl Broker {
    /// Runs until the broker stops: each challenge ends when its time is up,
    /// whether anybody looks or not.
    pub async fn run_expiry(self: Arc<Self>) {
        let stopping = self.hub.stopping.clone();
        while !stopping.is_cancelled() {
            self.schedule.expiry.expect_any();
            let next = match self.store.next_expiry().await {
                Ok(next) => next.map_or(u64::MAX, Timestamp::as_millis),
                Err(error) => {
                    tracing::error!(%error, "the next expiry can't be read");
                    self.clock.now_ms().saturating_add(1000)
                }
            };
            self.schedule.expiry.expect_at(next);
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = self.schedule.expiry.earlier() => continue,
                () = stopping.cancelled() => return,
            }
            self.expire_due().await;
        }
    }

    async fn expire_due(&self) {
        loop {
            let now = self.now();
            let ended = match self.keyring.current_id(now) {
                Ok(key) => self
                    .store
                    .expire_due(now, BATCH, key)
                    .await
                    .map_err(Into::into),
                Err(error) => Err(error),
            };
            match ended {
                Ok(ended) => {
                    for challenge in &ended {
                        self.withdraw(challenge);
                    }
                    if ended.len() < BATCH {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "challenges whose time is up could not be ended");
                    tokio::select! {
                        () = self.clock.sleep(std::time::Duration::from_secs(1)) => {}
                        () = self.hub.stopping.cancelled() => {}
                    }
                    return;
                }
            }
        }
    }
}
