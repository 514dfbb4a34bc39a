//! Takes what the journal has made durable into the tree, many batches at a
//! time, on a thread of its own.
//!
//! Nothing waits for it but the journal's room: readers look at the rows on
//! their way first, and after a crash the journal still holds them all. So
//! they need not arrive at once or together; only the number of the last batch
//! must come last.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sled::Db;

use super::Shared;
use super::disk::BATCH_KEY;
use super::journal::Journal;
use super::tx::{MAX_COMMAND_BYTES, MAX_COMMAND_WRITES, Overlay, guarded};

/// How often somebody who waits looks whether the store has failed.
const LOOK: Duration = Duration::from_millis(100);
/// How often somebody who has to keep to the tree's pace looks where it is.
const STEP: Duration = Duration::from_millis(1);

/// Rows put into the tree before others who want the processor go first: nobody
/// waits for this thread, and callers wait for theirs.
const STRIDE: u64 = 8;

/// Rows on their way into the tree.
pub(super) struct Load {
    pub(super) rows: Arc<Overlay>,
    /// The last batch they are from.
    pub(super) number: u64,
    /// The journals that hold them.
    pub(super) journals: Vec<Journal>,
}

/// The thread, as the writer sees it.
pub(super) struct Sinker {
    work: Sender<Load>,
    done: Receiver<Vec<Journal>>,
    thread: JoinHandle<()>,
    /// A load is on its way.
    busy: bool,
    /// How much of it has arrived, in thousandths.
    progress: Arc<AtomicU64>,
}

/// A whole load, in thousandths.
const WHOLE: u64 = 1000;

impl Sinker {
    pub(super) fn start(shared: Arc<Shared>, db: Db, log: File) -> std::io::Result<Self> {
        let (work, loads) = channel::<Load>();
        let (tell, done) = channel();
        let progress = Arc::new(AtomicU64::new(0));
        let noted = Arc::clone(&progress);
        let run = move || {
            for load in loads {
                if let Err(reason) = sink(&shared, &db, &log, &load, &noted) {
                    shared.fail(&reason);
                    return;
                }
                // Not dropped under the lock: readers wait for it.
                let sunk = std::mem::take(&mut shared.view.write().sinking);
                drop(sunk);
                if tell.send(load.journals).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("store-sinker".to_owned())
            .spawn(run)?;
        Ok(Self {
            work,
            done,
            thread,
            busy: false,
            progress,
        })
    }

    /// Sends a load off. There must be none on its way.
    pub(super) fn send(&mut self, load: Load) -> Result<(), String> {
        self.busy = true;
        self.progress.store(0, Relaxed);
        self.work
            .send(load)
            .map_err(|SendError(_)| "the thread that fills the tree has ended".to_owned())
    }

    /// The journals of a load that has arrived since.
    pub(super) fn arrived(&mut self) -> Vec<Journal> {
        match self.done.try_recv() {
            Ok(journals) => {
                self.busy = false;
                journals
            }
            Err(_) => Vec::new(),
        }
    }

    /// Waits until `wanted` thousandths of the load on its way have arrived, if
    /// there is one.
    pub(super) fn keep_up(&mut self, wanted: u64, shared: &Shared) -> Result<Vec<Journal>, String> {
        while self.busy && self.progress.load(Relaxed) < wanted.min(WHOLE) {
            match self.done.recv_timeout(STEP) {
                Ok(journals) => {
                    self.busy = false;
                    return Ok(journals);
                }
                Err(RecvTimeoutError::Timeout) if !shared.has_failed() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err("the tree could not be filled".to_owned());
                }
            }
        }
        Ok(self.arrived())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Waits for the load on its way, if there is one.
    pub(super) fn wait(&mut self, shared: &Shared) -> Result<Vec<Journal>, String> {
        while self.busy {
            match self.done.recv_timeout(LOOK) {
                Ok(journals) => {
                    self.busy = false;
                    return Ok(journals);
                }
                Err(RecvTimeoutError::Timeout) if !shared.has_failed() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err("the tree could not be filled".to_owned());
                }
            }
        }
        Ok(Vec::new())
    }

    /// Ends the thread. There must be no load on its way.
    pub(super) fn end(self) -> Result<(), String> {
        let Self { work, thread, .. } = self;
        drop(work);
        thread
            .join()
            .map_err(|_| "the thread that fills the tree panicked".to_owned())
    }
}

/// Puts a load into the tree and syncs it, in slices that stay well below one
/// of sled's segments; see [`MAX_COMMAND_BYTES`].
fn sink(
    shared: &Shared,
    db: &Db,
    log: &File,
    load: &Load,
    progress: &AtomicU64,
) -> Result<(), String> {
    let total = u64::try_from(load.rows.len()).unwrap_or(u64::MAX).max(1);
    let mut sunk = 0_u64;
    let mut rows = load.rows.iter().peekable();
    while rows.peek().is_some() {
        if shared.has_failed() {
            return Err("the store has failed".to_owned());
        }
        guarded(|| {
            let (mut count, mut bytes) = (0_usize, 0_usize);
            while count < MAX_COMMAND_WRITES && bytes < MAX_COMMAND_BYTES {
                let Some((key, row)) = rows.next() else {
                    break;
                };
                count = count.saturating_add(1);
                sunk = sunk.saturating_add(1);
                if sunk.is_multiple_of(STRIDE) {
                    std::thread::yield_now();
                }
                if sunk.is_multiple_of(64) {
                    progress.store(sunk.saturating_mul(WHOLE) / total, Relaxed);
                }
                bytes = bytes.saturating_add(key.len());
                match &row.value {
                    Some(value) => {
                        bytes = bytes.saturating_add(value.len());
                        db.insert(key, value.clone())?;
                    }
                    None => {
                        db.remove(key)?;
                    }
                }
            }
            Ok(())
        })?;
        settle(shared, db, log)?;
    }
    let number = load.number.to_be_bytes();
    guarded(|| db.insert(BATCH_KEY, number.as_slice()))?;
    settle(shared, db, log)
}

fn settle(shared: &Shared, db: &Db, log: &File) -> Result<(), String> {
    guarded(|| db.flush())?;
    log.sync_data()
        .map_err(|error| format!("cannot sync the log: {error}"))?;
    shared.counters.tree_syncs.fetch_add(1, Relaxed);
    Ok(())
}
