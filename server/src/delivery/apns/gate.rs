//! One request alone on a cold connection.
//!
//! With token authentication APNs allows a single stream until it has answered
//! the first authenticated request, and refuses the others. So while no answer
//! has come on the present connection, requests go one at a time.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::MutexGuard;

/// Longest wait behind the first request. Then a refused stream is the lesser evil.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    warm: bool,
    /// Counts connections seen broken, so that the many requests that fail with
    /// one connection don't make its successor look cold.
    era: u64,
}

#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    alone: tokio::sync::Mutex<()>,
}

/// A connection's place in the order of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era(u64);

/// Leave to send one request, held until its answer begins. Dropped before, it
/// tells that the connection is no good.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    era: Era,
    answered: bool,
    _alone: Option<MutexGuard<'a, ()>>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                warm: false,
                era: 0,
            }),
            alone: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) async fn enter(&self) -> Pass<'_> {
        let before = *self.state.lock();
        if before.warm {
            return self.pass(before, None);
        }
        let alone = tokio::time::timeout(WAIT_LIMIT, self.alone.lock())
            .await
            .ok();
        let now = *self.state.lock();
        self.pass(now, alone.filter(|_| !now.warm))
    }

    fn pass<'a>(&'a self, state: State, alone: Option<MutexGuard<'a, ()>>) -> Pass<'a> {
        Pass {
            gate: self,
            era: Era(state.era),
            answered: false,
            _alone: alone,
        }
    }

    /// The connection of `era` is not to be used again: the next starts cold.
    pub(super) fn cool(&self, era: Era) {
        let mut state = self.state.lock();
        if state.era == era.0 {
            state.warm = false;
            state.era = state.era.wrapping_add(1);
        }
    }
}

impl Pass<'_> {
    /// An answer came: the connection takes many streams now.
    pub(super) fn answered(mut self) -> Era {
        self.answered = true;
        let mut state = self.gate.state.lock();
        if state.era == self.era.0 {
            state.warm = true;
        }
        self.era
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.gate.cool(self.era);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn cold_one_at_a_time_warm_all_at_once() {
        let gate = Gate::new();
        let first = gate.enter().await;
        assert!(gate.enter().now_or_never().is_none(), "second must wait");
        first.answered();
        let second = gate.enter().await;
        let third = gate.enter().await;

        drop(second);
        let fourth = gate.enter().await;
        assert!(gate.enter().now_or_never().is_none(), "cold again");
        let era = fourth.answered();
        drop(third);
        let _fifth = gate.enter().await;
        let sixth = gate.enter().now_or_never();
        assert!(sixth.is_some(), "a late failure is no news");

        gate.cool(era);
        let _seventh = gate.enter().await;
        assert!(gate.enter().now_or_never().is_none(), "cold on request");
    }
}
