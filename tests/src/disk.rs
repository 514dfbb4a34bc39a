//! A disk whose syncs can be held up.

use std::sync::Arc;

use countersign_server::store::engine::BeforeSync;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::in_time;

/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<State>);

#[derive(Default)]
struct State {
    held: Mutex<bool>,
    released: Condvar,
    arrived: Notify,
}

/// Holds up all syncs until it is dropped.
pub struct Held(Disk);

impl Disk {
    pub(crate) fn before_sync(&self) -> BeforeSync {
        let state = self.0.clone();
        Arc::new(move || {
            let mut held = state.held.lock();
            if *held {
                state.arrived.notify_one();
                state.released.wait_while(&mut held, |held| *held);
            }
            Ok(())
        })
    }

    /// From now on a sync waits. Nothing must be under way.
    pub fn hold(&self) -> Held {
        *self.0.held.lock() = true;
        Held(self.clone())
    }
}

impl Held {
    /// Until a sync waits.
    pub async fn arrived(&self) {
        in_time(self.0.0.arrived.notified()).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.0.held.lock() = false;
        self.0.0.released.notify_all();
    }
}
