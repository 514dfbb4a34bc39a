//! The bounded queue between callers and the writer.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::error::EngineError;
use super::tx::Tx;

/// Tells one caller how its command ended.
pub(super) type Answer = Box<dyn FnOnce(Result<(), EngineError>) + Send>;

/// One caller's command.
pub(super) trait Command: Send {
    /// Runs it; says whether its writes stay, and how to answer once it is
    /// known whether they are durable.
    fn evaluate(self: Box<Self>, tx: &mut Tx<'_>) -> (bool, Answer);
    /// Answers without having run it.
    fn refuse(self: Box<Self>, error: EngineError);
}

/// A command and whether somebody waits for it.
pub(super) struct Queued {
    pub(super) command: Box<dyn Command>,
    pub(super) lazy: bool,
}

#[derive(Default)]
struct Waiting {
    commands: VecDeque<Queued>,
    /// How many of them somebody waits for.
    urgent: usize,
    /// How many were taken together the last time.
    last_taken: usize,
    closed: bool,
}

/// How often the writer gives way to callers who keep adding commands. It is no
/// waiting: with nobody else to run, or nothing added, it goes on at once.
const GATHERING: u32 = 4;

/// First in, first out; full means refused.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    capacity: usize,
    lazy_delay: Duration,
}

impl Queue {
    pub(super) fn new(capacity: usize, lazy_delay: Duration) -> Self {
        Self {
            waiting: Mutex::new(Waiting::default()),
            arrived: Condvar::new(),
            capacity,
            lazy_delay,
        }
    }

    /// Adds a command, or gives it back with the reason.
    pub(super) fn push(&self, queued: Queued) -> Result<(), (Queued, EngineError)> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err((queued, EngineError::Unavailable));
        }
        if waiting.commands.len() >= self.capacity {
            return Err((queued, EngineError::Overloaded));
        }
        // The writer sleeps without a limit only while nothing waits, and
        // with the lazy delay only while nobody does.
        let wake = waiting.commands.is_empty() || (!queued.lazy && waiting.urgent == 0);
        if !queued.lazy {
            waiting.urgent = waiting.urgent.saturating_add(1);
        }
        waiting.commands.push_back(queued);
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for commands and moves up to `limit` of them to `taken`; false
    /// once the queue is closed and empty.
    pub(super) fn take(&self, limit: usize, taken: &mut VecDeque<Queued>) -> bool {
        let mut waiting = self.waiting.lock();
        let mut lazy_is_due = false;
        loop {
            if waiting.urgent > 0 || waiting.closed {
                break;
            }
            if waiting.commands.is_empty() {
                self.arrived.wait(&mut waiting);
            } else if lazy_is_due {
                break;
            } else {
                lazy_is_due = self
                    .arrived
                    .wait_for(&mut waiting, self.lazy_delay)
                    .timed_out();
            }
        }
        // Where callers share the processor with this thread, they are about to
        // add more: one commit for all of them costs as much as for one.
        for _ in 0..GATHERING {
            let known = waiting.commands.len();
            let alone = known <= 1 && waiting.last_taken <= 1;
            if alone || known >= limit || waiting.closed {
                break;
            }
            drop(waiting);
            std::thread::yield_now();
            waiting = self.waiting.lock();
            if waiting.commands.len() == known {
                break;
            }
        }
        let count = waiting.commands.len().min(limit);
        waiting.last_taken = count;
        let before = taken.len();
        taken.extend(waiting.commands.drain(..count));
        let urgent = taken.iter().skip(before).filter(|queued| !queued.lazy);
        waiting.urgent = waiting.urgent.saturating_sub(urgent.count());
        count > 0 || !waiting.closed
    }

    /// Whether further commands are refused.
    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// Accepts nothing more; what waits is still taken.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Accepts nothing more and gives back what waited.
    pub(super) fn abandon(&self) -> VecDeque<Queued> {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.urgent = 0;
        let left = std::mem::take(&mut waiting.commands);
        drop(waiting);
        self.arrived.notify_one();
        left
    }

    pub(super) fn depth(&self) -> usize {
        self.waiting.lock().commands.len()
    }
}
