//! The one place where the broker learns what time it is.
//!
//! Everything else takes the time as an argument or holds a [`Clock`], so that
//! tests turn the hands themselves and never wait.

use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

/// The longest the system clock sleeps without looking at the wall: a wall
/// clock set forward (NTP, resume from suspend) is noticed after at most this.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// What [`Clock::monotonic_us`] counts from.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the monotonic clock is read"
)]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Tells the time and waits for it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Hands);

#[derive(Clone, Debug)]
enum Hands {
    System,
    Manual(Arc<watch::Sender<u64>>),
}

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self(Hands::System)
    }

    /// A clock that shows `start` (unix milliseconds) until its hand is turned.
    pub fn manual(start: u64) -> (Self, ManualClock) {
        let hand = Arc::new(watch::Sender::new(start));
        (Self(Hands::Manual(Arc::clone(&hand))), ManualClock(hand))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z; 0 for a wall clock set before that.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the wall clock is read"
    )]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Hands::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, millis),
            Hands::Manual(hand) => *hand.borrow(),
        }
    }

    /// Microseconds since some moment in the past, on a clock that is never set:
    /// for spans only. With a manual clock, its hand.
    pub fn monotonic_us(&self) -> u64 {
        match &self.0 {
            Hands::System => u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX),
            Hands::Manual(hand) => hand.borrow().saturating_mul(1_000),
        }
    }

    /// Waits until the clock shows `at` (unix milliseconds) or later; returns
    /// at once when it already does.
    pub fn sleep_until(&self, at: u64) -> impl Future<Output = ()> + Send + use<> {
        let clock = self.clone();
        async move {
            match &clock.0 {
                Hands::System => loop {
                    let left = at.saturating_sub(clock.now_ms());
                    if left == 0 {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(left).min(LONGEST_NAP)).await;
                },
                Hands::Manual(hand) => {
                    // The sender lives in `clock`, so the channel can't close.
                    let reached = hand.subscribe().wait_for(|now| *now >= at).await.is_ok();
                    debug_assert!(reached, "the hand is held while waiting");
                }
            }
        }
    }

    /// Waits for `duration`, counted from this call (not from the first poll).
    /// With the system clock the wait is monotonic: setting the wall clock
    /// neither shortens nor lengthens it.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        let clock = self.clone();
        let at = self.now_ms().saturating_add(millis(duration));
        async move {
            match &clock.0 {
                Hands::System => tokio::time::sleep(duration).await,
                // For tests; on its own, for every waiting call has one of these.
                Hands::Manual(_) => Box::pin(clock.sleep_until(at)).await,
            }
        }
    }
}

/// The hand of a [`Clock::manual`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<u64>>);

impl ManualClock {
    /// Turns the hand forward and wakes whoever waited for a time now passed.
    pub fn advance(&self, by: Duration) {
        self.0
            .send_modify(|now| *now = now.saturating_add(millis(by)));
    }

    /// Puts the hand on `at` (unix milliseconds), forwards or backwards.
    pub fn set(&self, at: u64) {
        self.0.send_modify(|now| *now = at);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_only_those_whose_time_has_come() {
        let (clock, hand) = Clock::manual(1_000);
        let mut near = Box::pin(clock.sleep(Duration::from_millis(10)));
        let mut far = Box::pin(clock.sleep_until(2_000));
        assert!((&mut near).now_or_never().is_none());
        assert!((&mut far).now_or_never().is_none());

        hand.advance(Duration::from_millis(9));
        assert!((&mut near).now_or_never().is_none());
        hand.advance(Duration::from_millis(1));
        assert_eq!(clock.now_ms(), 1_010);
        assert!(near.now_or_never().is_some());
        assert!((&mut far).now_or_never().is_none());

        hand.set(5_000);
        assert!(far.now_or_never().is_some());
    }

    #[tokio::test]
    async fn turning_the_hand_wakes_a_sleeping_task() {
        let (clock, hand) = Clock::manual(0);
        let task = tokio::spawn(clock.sleep_until(1));
        tokio::task::yield_now().await;
        hand.advance(Duration::from_millis(1));
        assert!(task.await.is_ok());
    }

    #[tokio::test]
    async fn a_sleep_counts_from_the_call() {
        let (clock, hand) = Clock::manual(0);
        let sleep = clock.sleep(Duration::from_millis(5));
        hand.advance(Duration::from_millis(5));
        assert!(sleep.now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_system_clock_returns_at_once_for_a_time_passed() {
        let clock = Clock::system();
        assert!(clock.sleep_until(clock.now_ms()).now_or_never().is_some());
        assert!(clock.now_ms() > 1_700_000_000_000);
    }
}
