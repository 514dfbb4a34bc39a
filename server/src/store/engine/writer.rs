//! The one thread that writes: group commit.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sled::Db;

use super::Shared;
use super::error::EngineError;
use super::journal::{self, Journal, Journals};
use super::lock::DirectoryLock;
use super::queue::{Answer, Queued};
use super::sink::{Load, Sinker};
use super::tx::{Callback, MAX_COMMAND_BYTES, MAX_COMMAND_WRITES, Overlay, Tx, lay_over};

/// How many times its size the journal may reach while the tree is still taking
/// the last one in. Commands are held up evenly until then, so that none waits
/// for a whole journal.
const JOURNAL_SLACK: u64 = 4;

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
    pub(super) watermark: File,
    /// The number of the last batch.
    pub(super) batch: u64,
    /// The journal being written.
    pub(super) journal: Journal,
    pub(super) journals: Journals,
    pub(super) sinker: Sinker,
    /// The last record, for its room.
    pub(super) record: Vec<u8>,
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
        self.shared.queue.close();
        if !self.shared.has_failed()
            && let Err(reason) = self.empty_journal()
        {
            self.shared.fail(&reason);
        }
        let Self {
            shared,
            db,
            watermark,
            journal,
            mut journals,
            sinker,
            lock,
            ..
        } = self;
        let tree = {
            let mut view = shared.view.write();
            (
                view.tree.take(),
                std::mem::take(&mut view.recent),
                std::mem::take(&mut view.sinking),
            )
        };
        if shared.has_failed() {
            // Dropping sled flushes, and after a failed sync nothing more may
            // be written; after a panic in it the flush would never end. The
            // directory stays locked until the process ends.
            std::mem::forget((tree, db, sinker, lock));
        } else {
            if let Err(reason) = sinker.end() {
                tracing::error!(reason);
            }
            drop((tree, db));
            journals.release(vec![journal]);
            if let Err(error) = journals.clear() {
                // They only take room.
                tracing::warn!(%error, "the store's journals could not be cut");
            }
            if let Err(error) = watermark.sync_data() {
                // It only lags behind.
                tracing::warn!(%error, "the store's watermark could not be synced");
            }
            drop(lock);
        }
        shared.ended.send_replace(true);
    }

    /// Sends the journal's rows off to the tree once there are enough of them.
    fn relieve_journal(&mut self) -> Result<(), String> {
        let (length, enough) = (self.journal.length(), self.shared.journal_bytes.max(1));
        let over = length.saturating_sub(enough).saturating_mul(1000);
        let wanted = over / enough / (JOURNAL_SLACK - 1);
        let arrived = self.sinker.keep_up(wanted, &self.shared)?;
        self.journals.release(arrived);
        if length < enough || self.sinker.is_busy() {
            return Ok(());
        }
        self.sink()
    }

    /// Waits until the tree holds everything.
    fn empty_journal(&mut self) -> Result<(), String> {
        if self.journal.length() > 0 {
            self.sink()?;
        }
        let arrived = self.sinker.wait(&self.shared)?;
        self.journals.release(arrived);
        Ok(())
    }

    fn sink(&mut self) -> Result<(), String> {
        let arrived = self.sinker.wait(&self.shared)?;
        self.journals.release(arrived);
        let next = self
            .journals
            .take()
            .map_err(|error| format!("cannot begin a journal: {error}"))?;
        let rows = {
            let mut view = self.shared.view.write();
            let rows = Arc::new(std::mem::take(&mut view.recent));
            view.sinking = Arc::clone(&rows);
            rows
        };
        let full = std::mem::replace(&mut self.journal, next);
        self.sinker.send(Load {
            rows,
            number: self.batch,
            journals: vec![full],
        })
    }

    /// Evaluates what was taken, up to the limits of a batch, and makes it
    /// durable with one sync.
    fn commit(&mut self, taken: &mut VecDeque<Queued>) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let mut overlay = Overlay::new();
        let mut settled = Vec::with_capacity(taken.len());
        let mut bytes = 0_usize;
        let mut failed = None;
        let view = shared.view.read();
        let below = view.below(&self.db);
        while bytes < MAX_COMMAND_BYTES && overlay.len() < MAX_COMMAND_WRITES {
            let Some(Queued { command, .. }) = taken.pop_front() else {
                break;
            };
            let mut tx = Tx::new(below, &mut overlay);
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
        drop(view);
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
        self.relieve_journal()
    }

    /// Writes the batch to the journal, syncs it, and lets readers see it.
    fn make_durable(&mut self, overlay: Overlay) -> Result<(), String> {
        let shared = &self.shared;
        let number = self.batch.saturating_add(1);
        journal::encode(number, &overlay, &mut self.record)?;
        self.journal
            .append(&self.record)
            .map_err(|error| format!("cannot write to the journal: {error}"))?;
        (shared.hooks.after_apply)();
        (shared.hooks.before_sync)()
            .and_then(|()| self.journal.sync())
            .map_err(|error| format!("cannot sync the journal: {error}"))?;
        shared.counters.syncs.fetch_add(1, Relaxed);
        self.batch = number;
        self.watermark
            .write_all_at(&number.to_be_bytes(), 0)
            .map_err(|error| format!("cannot write the watermark: {error}"))?;
        let rows = overlay.len() as u64;
        let puts = overlay.values().filter(|row| row.value.is_some()).count() as u64;
        shared.counters.puts.fetch_add(puts, Relaxed);
        let deletes = rows.saturating_sub(puts);
        shared.counters.deletes.fetch_add(deletes, Relaxed);
        let mut view = shared.view.write();
        view.decoded.forget(overlay.keys());
        lay_over(&mut view.recent, overlay);
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
