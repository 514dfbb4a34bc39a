//! The one thread that writes: group commit.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sled::{Batch, Db};

use super::Shared;
use super::disk::BATCH_KEY;
use super::error::EngineError;
use super::lock::DirectoryLock;
use super::queue::{Answer, Queued};
use super::tx::{Callback, MAX_COMMAND_BYTES, MAX_COMMAND_WRITES, Overlay, Tx, guarded};

/// A command that has run and waits for its batch.
pub(super) struct Settled {
    callbacks: Vec<Callback>,
    answer: Answer,
}

/// The batch that is being made durable, kept where a failure noticed on
/// another thread can answer it.
pub(super) enum InFlight {
    None,
    Batch(Vec<Settled>),
    /// The engine has failed; no batch may begin.
    Failed,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) db: Db,
    pub(super) log: File,
    pub(super) watermark: File,
    /// The number of the last batch.
    pub(super) batch: u64,
    pub(super) lock: DirectoryLock,
}

impl Writer {
    /// Runs until the queue is closed and drained, or the store fails.
    pub(super) fn run(mut self) {
        let mut taken = VecDeque::new();
        loop {
            // What a full batch left behind goes first.
            if taken.is_empty()
                && !self
                    .shared
                    .queue
                    .take(self.shared.batch_commands, &mut taken)
            {
                break;
            }
            // Nothing may end this thread unnoticed.
            let committed = catch_unwind(AssertUnwindSafe(|| self.commit(&mut taken)))
                .unwrap_or_else(|_| Err("the writer panicked".to_owned()));
            if let Err(reason) = committed {
                self.shared.fail(&reason);
            }
            if self.shared.has_failed() {
                for queued in taken {
                    queued.command.refuse(EngineError::Unavailable);
                }
                break;
            }
        }
        let Self {
            shared,
            db,
            log,
            watermark,
            lock,
            ..
        } = self;
        shared.queue.close();
        let tree = shared.view.write().tree.take();
        if shared.has_failed() {
            // Dropping sled flushes, and after a failed sync nothing more may
            // be written; after a panic in it the flush would never end. The
            // directory stays locked until the process ends.
            std::mem::forget((tree, db, lock));
        } else {
            drop((tree, db));
            if let Err(error) = watermark.sync_data() {
                // It only lags behind.
                tracing::warn!(%error, "the store's watermark could not be synced");
            }
            drop(log);
            drop(lock);
        }
        shared.ended.send_replace(true);
    }

    /// Evaluates what was taken, up to the limits of a batch, and makes it
    /// durable with one sync.
    fn commit(&mut self, taken: &mut VecDeque<Queued>) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let mut overlay = Overlay::new();
        let mut settled = Vec::with_capacity(taken.len());
        let mut bytes = 0_usize;
        let mut failed = None;
        while bytes < MAX_COMMAND_BYTES && overlay.len() < MAX_COMMAND_WRITES {
            let Some(Queued { command, .. }) = taken.pop_front() else {
                break;
            };
            let mut tx = Tx::new(&self.db, &mut overlay);
            let evaluated = catch_unwind(AssertUnwindSafe(|| {
                let (keep, answer) = command.evaluate(&mut tx);
                let rejected = tx.rejected();
                (tx.finish(keep && rejected.is_none()), rejected, answer)
            }));
            let Ok((evaluated, rejected, answer)) = evaluated else {
                // Its caller's channel closed on the way, which reads as
                // `Unknown`.
                failed = Some("a command panicked".to_owned());
                break;
            };
            bytes = bytes.saturating_add(evaluated.written);
            let answer: Answer = match rejected {
                Some(error) => Box::new(move |ended| answer(ended.and(Err(error)))),
                None => answer,
            };
            settled.push(Settled {
                callbacks: evaluated.callbacks,
                answer,
            });
            if evaluated.failed.is_some() {
                failed = evaluated.failed;
                break;
            }
        }
        let commands = settled.len() as u64;
        {
            let mut in_flight = shared.in_flight.lock();
            if matches!(*in_flight, InFlight::Failed) {
                drop(in_flight);
                for command in settled {
                    (command.answer)(Err(EngineError::Unknown));
                }
                return Ok(());
            }
            *in_flight = InFlight::Batch(settled);
        }
        if let Some(reason) = failed {
            return Err(reason);
        }
        if !overlay.is_empty() {
            self.make_durable(overlay)?;
        }
        shared.counters.batches.fetch_add(1, Relaxed);
        shared.counters.commands.fetch_add(commands, Relaxed);
        shared.counters.bytes.fetch_add(bytes as u64, Relaxed);
        let settled = {
            let mut in_flight = shared.in_flight.lock();
            match *in_flight {
                InFlight::Failed => return Ok(()),
                InFlight::None | InFlight::Batch(_) => {
                    std::mem::replace(&mut *in_flight, InFlight::None)
                }
            }
        };
        if let InFlight::Batch(settled) = settled {
            for Settled { callbacks, answer } in settled {
                for callback in callbacks {
                    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
                        // The change is durable and the wake-up only a hint.
                        tracing::error!("a callback after a commit panicked");
                    }
                }
                answer(Ok(()));
            }
        }
        Ok(())
    }

    /// Applies, flushes and syncs. Until that is done readers see what the
    /// batch replaces.
    fn make_durable(&mut self, mut overlay: Overlay) -> Result<(), String> {
        let shared = &self.shared;
        let number = self.batch.saturating_add(1).to_be_bytes();
        overlay.insert(BATCH_KEY.to_vec(), Some(number.as_slice().into()));
        let before = guarded(|| {
            overlay
                .keys()
                .map(|key| Ok((key.clone(), self.db.get(key)?)))
                .collect::<sled::Result<Overlay>>()
        })?;
        shared.view.write().before = before;

        let mut batch = Batch::default();
        let (mut puts, mut deletes) = (0_u64, 0_u64);
        for (key, value) in overlay {
            match value {
                Some(value) => {
                    puts = puts.saturating_add(1);
                    batch.insert(key, value);
                }
                None => {
                    deletes = deletes.saturating_add(1);
                    batch.remove(key);
                }
            }
        }
        shared.counters.puts.fetch_add(puts, Relaxed);
        shared.counters.deletes.fetch_add(deletes, Relaxed);
        guarded(|| self.db.apply_batch(batch))?;
        (shared.hooks.after_apply)();
        guarded(|| self.db.flush())?;
        (shared.hooks.before_sync)()
            .and_then(|()| self.log.sync_data())
            .map_err(|error| format!("cannot sync the log: {error}"))?;
        shared.counters.syncs.fetch_add(1, Relaxed);
        self.batch = self.batch.saturating_add(1);
        self.watermark
            .write_all_at(&number, 0)
            .map_err(|error| format!("cannot write the watermark: {error}"))?;

        // Not dropped under the lock: readers wait for it.
        let before = std::mem::take(&mut shared.view.write().before);
        drop(before);
        Ok(())
    }
}

/// Answers a batch whose fate is unknown.
pub(super) fn answer_unknown(batch: InFlight) {
    if let InFlight::Batch(settled) = batch {
        for command in settled {
            (command.answer)(Err(EngineError::Unknown));
        }
    }
}
