//! Stops sending to a gateway that wants to be left alone or keeps failing.

use std::time::Duration;

use parking_lot::Mutex;

/// Failures in a row that open the breaker. A single one is noise; in-flight
/// pushes to a dead gateway reach this within one time-out.
const FAILURES_TO_OPEN: u32 = 5;
/// First pause after a run of failures, doubled at every failed probe: a
/// challenge lives for about a minute, so that a gateway that recovers must be
/// found within seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause after a run of failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest Retry-After that is believed, lest one answer silence us for days.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

/// What an answer says of the gateway's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works, whatever it said of this push.
    Healthy,
    /// It failed or did not answer.
    Failure,
    /// It asked to be left alone.
    Hold(Duration),
    /// Says nothing.
    Neutral,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open { since_ms: u64, until_ms: u64 },
    Probing,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    failures: u32,
    pause: Duration,
    /// Counts changes of phase, so that a late answer of an earlier phase is
    /// not taken for news.
    era: u64,
}

/// One per gateway and credential.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Closed,
                failures: 0,
                pause: FIRST_PAUSE,
                era: 0,
            }),
        }
    }

    /// Leave to send now, or how long to wait. After the pause one caller gets
    /// leave, as the probe, and the rest wait for what comes of it.
    pub(super) fn admit(&self, now_ms: u64) -> Result<Permit<'_>, Duration> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Closed => Ok(self.permit(&state, false)),
            Phase::Probing => Err(Duration::from_secs(1)),
            // A clock that was set back must not prolong the pause.
            Phase::Open { since_ms, until_ms } if now_ms >= since_ms && now_ms < until_ms => {
                Err(Duration::from_millis(until_ms.saturating_sub(now_ms)))
            }
            Phase::Open { .. } => {
                state.phase = Phase::Probing;
                Ok(self.permit(&state, true))
            }
        }
    }

    fn permit(&self, state: &State, probe: bool) -> Permit<'_> {
        Permit {
            breaker: self,
            era: state.era,
            probe,
            settled: false,
        }
    }
}

impl State {
    fn open(&mut self, now_ms: u64, pause: Duration) {
        if matches!(self.phase, Phase::Closed) {
            tracing::warn!(?pause, "a gateway does not answer as it should: pausing");
        }
        self.phase = Phase::Open {
            since_ms: now_ms,
            until_ms: now_ms.saturating_add(millis(pause)),
        };
        self.failures = 0;
        self.era = self.era.wrapping_add(1);
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.failures = 0;
        self.pause = FIRST_PAUSE;
        self.era = self.era.wrapping_add(1);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Leave to send one push. Dropped unsettled (the caller went away), it leaves
/// the breaker as it was.
#[derive(Debug)]
#[must_use]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    era: u64,
    probe: bool,
    settled: bool,
}

impl Permit<'_> {
    /// Tells what came of it.
    pub(super) fn settle(mut self, verdict: Verdict, now_ms: u64) {
        self.settled = true;
        let mut state = self.breaker.state.lock();
        if state.era != self.era {
            // Sent before the breaker opened; only a longer hold is news.
            if let (Verdict::Hold(hold), Phase::Open { until_ms, .. }) = (verdict, &mut state.phase)
            {
                let asked = now_ms.saturating_add(millis(hold.min(LONGEST_HOLD)));
                *until_ms = asked.max(*until_ms);
            }
            return;
        }
        match verdict {
            Verdict::Healthy if self.probe => state.close(),
            Verdict::Healthy => state.failures = 0,
            Verdict::Hold(hold) => state.open(now_ms, hold.min(LONGEST_HOLD)),
            Verdict::Failure if self.probe => {
                state.pause = state.pause.saturating_mul(2).min(LONGEST_PAUSE);
                let pause = state.pause;
                state.open(now_ms, pause);
            }
            Verdict::Failure => {
                state.failures = state.failures.saturating_add(1);
                if state.failures >= FAILURES_TO_OPEN {
                    let pause = state.pause;
                    state.open(now_ms, pause);
                }
            }
            Verdict::Neutral if self.probe => state.open(now_ms, Duration::ZERO),
            Verdict::Neutral => {}
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            // Nothing learnt: the next caller probes.
            self.breaker.state.lock().open(0, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const T: u64 = 1_000_000;

    fn fail(breaker: &Breaker, times: u32, now: u64) {
        for _ in 0..times {
            breaker.admit(now).unwrap().settle(Verdict::Failure, now);
        }
    }

    #[test]
    fn a_run_of_failures_opens_and_a_success_breaks_the_run() {
        let breaker = Breaker::new();
        fail(&breaker, FAILURES_TO_OPEN - 1, T);
        breaker.admit(T).unwrap().settle(Verdict::Healthy, T);
        fail(&breaker, FAILURES_TO_OPEN - 1, T);
        assert!(breaker.admit(T).is_ok());
        breaker.admit(T).unwrap().settle(Verdict::Failure, T);
        assert_eq!(breaker.admit(T).unwrap_err(), FIRST_PAUSE);
    }

    #[test]
    fn one_probe_then_closed() {
        let breaker = Breaker::new();
        fail(&breaker, FAILURES_TO_OPEN, T);
        let later = T + 2_000;
        assert!(breaker.admit(later - 1).is_err());
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_err(), "only one probe");
        probe.settle(Verdict::Healthy, later);
        let a = breaker.admit(later).unwrap();
        let b = breaker.admit(later).unwrap();
        a.settle(Verdict::Healthy, later);
        b.settle(Verdict::Healthy, later);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_the_longest() {
        let breaker = Breaker::new();
        fail(&breaker, FAILURES_TO_OPEN, T);
        let mut now = T;
        let mut pauses = Vec::new();
        for _ in 0..5 {
            now += millis(breaker.admit(now).unwrap_err());
            breaker.admit(now).unwrap().settle(Verdict::Failure, now);
            pauses.push(breaker.admit(now).unwrap_err().as_secs());
        }
        assert_eq!(pauses, [4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_probe_whose_caller_went_away_frees_the_next() {
        let breaker = Breaker::new();
        fail(&breaker, FAILURES_TO_OPEN, T);
        drop(breaker.admit(T + 2_000).unwrap());
        assert!(breaker.admit(T + 2_000).is_ok());
    }

    #[test]
    fn retry_after_is_held_and_the_longest_counts() {
        let breaker = Breaker::new();
        let (a, b) = (breaker.admit(T).unwrap(), breaker.admit(T).unwrap());
        a.settle(Verdict::Hold(Duration::from_secs(7)), T);
        b.settle(Verdict::Hold(Duration::from_secs(9)), T);
        assert_eq!(breaker.admit(T).unwrap_err(), Duration::from_secs(9));
        assert!(breaker.admit(T + 9_000).is_ok());
    }

    #[test]
    fn a_late_answer_neither_opens_nor_closes() {
        let breaker = Breaker::new();
        let late = breaker.admit(T).unwrap();
        fail(&breaker, FAILURES_TO_OPEN, T);
        late.settle(Verdict::Healthy, T);
        assert!(breaker.admit(T).is_err());
    }

    #[test]
    fn a_clock_set_back_does_not_prolong_the_pause() {
        let breaker = Breaker::new();
        fail(&breaker, FAILURES_TO_OPEN, T);
        assert!(breaker.admit(T - 500_000).is_ok());
    }
}
