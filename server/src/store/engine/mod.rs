//! The embedded engine: bytes by key on sled 0.34.7, one durable group commit
//! at a time.
//!
//! One thread writes. It takes the commands that wait, evaluates each against
//! what is durable plus an overlay of the batch so far (so that two decisions in
//! one batch see each other), appends the overlay to the journal as one record,
//! syncs it, and only then lets readers see it, runs the commands' callbacks and
//! answers. Another thread takes what the journal holds into sled's tree, many
//! batches at a time; until then it is found in memory.
//!
//! sled's `flush` on Linux ends in `sync_file_range`, which promises nothing
//! across a power cut; hence a sync of our own there too, before the journal's
//! room is used again.
//!
//! Readers run on the caller's thread, and see a batch once it is synced: never
//! something that a power cut could take back.
//!
//! A failure of the store is final: what was being written is answered with
//! [`EngineError::Unknown`], everything after with
//! [`EngineError::Unavailable`], and [`EngineOptions::on_fatal`] is called so
//! that the process can stop and recover by reopening. A failed sync is never
//! repeated: the kernel may have dropped the pages it could not write.

mod compaction;
#[cfg(test)]
mod compaction_tests;
mod decoded;
mod disk;
mod error;
mod fault;
mod journal;
#[cfg(test)]
mod layer_tests;
mod lock;
mod options;
mod queue;
mod recovery;
mod sink;
#[cfg(test)]
mod tests;
mod tx;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

pub use compaction::Compacted;
pub use error::{EngineError, OpenError};
pub use options::{BeforeSync, EngineOptions, OnFatal};
pub use tx::{Key, MAX_COMMAND_BYTES, MAX_COMMAND_WRITES, MAX_KEY, MAX_VALUE, Pair, Snapshot, Tx};

use decoded::Decoded;
use disk::Disk;
use journal::Recovered;
use options::Hooks;
use queue::{Answer, Command, Queue, Queued};
use sink::{Load, Sinker};
use tx::{Below, Overlay};
use writer::{InFlight, Writer};

/// What an engine has done since it was opened, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Batches answered.
    pub batches: u64,
    /// Syncs of the journal: at most one per batch, none for a batch that
    /// changed nothing.
    pub syncs: u64,
    /// Syncs of the tree: one for hundreds of changes, waited for by nobody.
    pub tree_syncs: u64,
    /// Commands answered.
    pub commands: u64,
    /// Commands refused because the queue was full.
    pub refused: u64,
    /// Bytes of keys and values that commands have written.
    pub bytes: u64,
    /// Keys set, each once per batch.
    pub puts: u64,
    /// Keys removed, each once per batch.
    pub deletes: u64,
    /// Commands waiting now.
    pub queue_depth: usize,
}

#[derive(Default)]
struct Counters {
    batches: AtomicU64,
    syncs: AtomicU64,
    tree_syncs: AtomicU64,
    commands: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
}

/// What readers see.
struct View {
    /// Gone once the engine has ended.
    tree: Option<sled::Db>,
    decoded: Decoded,
    /// Durable by the journal alone.
    recent: Overlay,
    /// On its way into the tree.
    sinking: Arc<Overlay>,
}

impl View {
    fn below<'a>(&'a self, tree: &'a sled::Db) -> Below<'a> {
        Below {
            decoded: &self.decoded,
            recent: &self.recent,
            sinking: &self.sinking,
            tree,
        }
    }
}

struct Shared {
    queue: Queue,
    view: RwLock<View>,
    in_flight: Mutex<InFlight>,
    counters: Counters,
    ended: watch::Sender<bool>,
    on_fatal: Option<OnFatal>,
    hooks: Hooks,
    batch_commands: usize,
    journal_bytes: u64,
    dir: PathBuf,
    log_path: PathBuf,
    schema: u32,
}

impl Shared {
    fn has_failed(&self) -> bool {
        matches!(*self.in_flight.lock(), InFlight::Failed)
    }

    /// Stops the engine for good; only the first call counts.
    fn fail(&self, reason: &str) {
        let batch = std::mem::replace(&mut *self.in_flight.lock(), InFlight::Failed);
        if matches!(batch, InFlight::Failed) {
            return;
        }
        tracing::error!(reason, "the store has failed and accepts nothing more");
        writer::answer_unknown(batch);
        for queued in self.queue.abandon() {
            queued.command.refuse(EngineError::Unavailable);
        }
        self.ended.send_replace(true);
        if let Some(on_fatal) = &self.on_fatal {
            on_fatal(reason.to_owned());
        }
    }
}

/// An open store. Clones share it; when the last is dropped, what was accepted
/// is committed and the directory released.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    /// Last, so that it ends the writer when the last clone goes.
    _owner: Arc<Owner>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("log", &self.shared.log_path)
            .finish_non_exhaustive()
    }
}

struct Owner {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    _watch: fault::Watch,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.take() {
            // A callback may hold the last clone: the writer can't wait for
            // itself. A failed one may be stuck inside sled.
            let own = writer.thread().id() == std::thread::current().id();
            if !own && !self.shared.has_failed() && writer.join().is_err() {
                tracing::error!("the store's writer panicked");
            }
        }
    }
}

impl Engine {
    /// Opens the store in `dir`. Blocks for as long as sled needs to read its
    /// log (about a second for a million records).
    ///
    /// # Errors
    /// See [`OpenError`]; the directory's contents are never replaced.
    pub fn open(dir: &Path, options: EngineOptions) -> Result<Self, OpenError> {
        let hooks = Hooks::of(&options);
        Self::start(disk::open(dir, &options)?, options, hooks)
    }

    /// Creates an empty store in `dir` (mode 0700, files 0600; made if
    /// absent) and opens it. Every file and directory is synced first.
    ///
    /// # Errors
    /// [`OpenError::AlreadyExists`] if a store is there, and the others.
    pub fn create(dir: &Path, options: EngineOptions) -> Result<Self, OpenError> {
        let hooks = Hooks::of(&options);
        Self::start(disk::create(dir, &options)?, options, hooks)
    }

    /// Writes the store in `dir` anew, in the fewest bytes, where that gains
    /// anything. Nobody may have it open. Takes room for a second store meanwhile;
    /// interrupted or failed, it leaves the old store or the new one.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn compact(dir: &Path, options: EngineOptions) -> Result<Compacted, OpenError> {
        compaction::run(dir, &options)
    }

    fn start(disk: Disk, options: EngineOptions, hooks: Hooks) -> Result<Self, OpenError> {
        let Disk {
            db,
            log,
            log_path,
            watermark,
            recovered,
            dir,
            schema,
            lock,
        } = disk;
        let Recovered {
            rows,
            last,
            used,
            mut journals,
        } = recovered;
        let rows = Arc::new(rows);
        let cannot = |action| {
            let path = log_path.clone();
            move |source| OpenError::Io {
                action,
                path,
                source,
            }
        };
        let journal = journals.take().map_err(cannot("make a journal for"))?;
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_capacity, options.lazy_delay),
            view: RwLock::new(View {
                tree: Some(db.clone()),
                decoded: Decoded::default(),
                recent: Overlay::new(),
                sinking: Arc::clone(&rows),
            }),
            in_flight: Mutex::new(InFlight::None),
            counters: Counters::default(),
            ended: watch::Sender::new(false),
            on_fatal: options.on_fatal,
            hooks,
            batch_commands: options.batch_commands.max(1),
            journal_bytes: options.journal_bytes,
            dir,
            log_path: log_path.clone(),
            schema,
        });
        let watched = Arc::downgrade(&shared);
        let watch = fault::watch(move || {
            if let Some(shared) = watched.upgrade() {
                shared.fail("the storage library panicked on one of its threads");
            }
        });
        let start_thread = "start a thread to write to";
        let mut sinker =
            Sinker::start(Arc::clone(&shared), db.clone(), log).map_err(cannot(start_thread))?;
        if !used.is_empty() {
            let load = Load {
                rows,
                number: last,
                journals: used,
            };
            sinker
                .send(load)
                .map_err(io::Error::other)
                .map_err(cannot(start_thread))?;
        }
        let writer = Writer {
            shared: Arc::clone(&shared),
            db,
            watermark,
            batch: last,
            journal,
            journals,
            sinker,
            record: Vec::new(),
            lock,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(cannot(start_thread))?;
        Ok(Self {
            shared: Arc::clone(&shared),
            _owner: Arc::new(Owner {
                shared,
                writer: Some(thread),
                _watch: watch,
            }),
        })
    }

    /// Runs `f` on the writer's thread and answers once the batch that holds
    /// its changes is synced; an `Err` from `f` undoes only `f`'s own changes,
    /// and is also answered only once everything `f` has seen is durable.
    ///
    /// `f` should be quick, and must not panic (that stops the engine).
    /// Dropping the future does not take the command back.
    ///
    /// # Errors
    /// See [`EngineError`]; only after `Unknown` may the change have happened.
    pub async fn write<T, E>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, EngineError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.answered(f, false).await
    }

    /// As [`Engine::write`], for what nobody is in a hurry for: its changes go with
    /// the next batch that others wait for, or on their own after
    /// [`EngineOptions::lazy_delay`].
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub async fn write_along<T, E>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, EngineError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.answered(f, true).await
    }

    async fn answered<T, E>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        lazy: bool,
    ) -> Result<Result<T, E>, EngineError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.push(Queued {
            command: Box::new(Waited { f, answer }),
            lazy,
        })?;
        answered.await.unwrap_or(Err(EngineError::Unknown))
    }

    /// Runs `f` as [`Engine::write`] does, without an answer: its changes go
    /// with the next batch somebody waits for, or on their own after
    /// [`EngineOptions::lazy_delay`].
    ///
    /// # Errors
    /// `Overloaded` and `Unavailable`: `f` will not run.
    pub fn write_lazy(
        &self,
        f: impl FnOnce(&mut Tx<'_>) + Send + 'static,
    ) -> Result<(), EngineError> {
        self.push(Queued {
            command: Box::new(Unwaited { f }),
            lazy: true,
        })
    }

    fn push(&self, queued: Queued) -> Result<(), EngineError> {
        self.shared.queue.push(queued).map_err(|(_, error)| {
            if error == EngineError::Overloaded {
                self.shared.counters.refused.fetch_add(1, Relaxed);
            }
            error
        })
    }

    /// Runs `f`, on the calling thread, against one consistent state that is
    /// durable. Keep it short: the next commit waits for it to end.
    ///
    /// # Errors
    /// `Unavailable` if the engine is closed, has failed, or fails on this.
    #[expect(
        clippy::unused_async,
        reason = "an engine that has to wait for a read may come to sit here"
    )]
    pub async fn read<T>(&self, f: impl FnOnce(&mut Snapshot<'_>) -> T) -> Result<T, EngineError> {
        let view = self.shared.view.read();
        let tree = view.tree.as_ref().ok_or(EngineError::Unavailable)?;
        let mut snapshot = Snapshot::new(view.below(tree));
        let value = f(&mut snapshot);
        let failure = snapshot.failure();
        drop(view);
        if let Some(reason) = failure {
            self.shared.fail(&reason);
        }
        if self.shared.has_failed() {
            return Err(EngineError::Unavailable);
        }
        Ok(value)
    }

    /// Refuses further commands, commits what was accepted, and releases the
    /// directory. Closing twice is harmless.
    ///
    /// # Errors
    /// `Unavailable` if the engine has failed.
    pub async fn close(&self) -> Result<(), EngineError> {
        self.shared.queue.close();
        let mut ended = self.shared.ended.subscribe();
        while !self.shared.has_failed() {
            if *ended.borrow_and_update() {
                return Ok(());
            }
            if ended.changed().await.is_err() {
                break;
            }
        }
        Err(EngineError::Unavailable)
    }

    /// Whether commands are taken: neither closed nor failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.shared.has_failed() && !self.shared.queue.is_closed()
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let counters = &self.shared.counters;
        EngineStats {
            batches: counters.batches.load(Relaxed),
            syncs: counters.syncs.load(Relaxed),
            tree_syncs: counters.tree_syncs.load(Relaxed),
            commands: counters.commands.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            puts: counters.puts.load(Relaxed),
            deletes: counters.deletes.load(Relaxed),
            queue_depth: self.shared.queue.depth(),
        }
    }

    /// The size of the log and the journals on disk, bytes.
    ///
    /// # Errors
    /// The system's, if it cannot tell.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        let log = std::fs::metadata(&self.shared.log_path)?.len();
        Ok(log.saturating_add(journal::disk_bytes(&self.shared.dir)?))
    }

    /// The schema version found when opening; the caller migrates from there
    /// and records that with [`Tx::set_schema_version`].
    #[must_use]
    pub fn schema_version(&self) -> u32 {
        self.shared.schema
    }
}

/// A command whose caller waits.
struct Waited<F, T, E> {
    f: F,
    answer: oneshot::Sender<Result<Result<T, E>, EngineError>>,
}

impl<F, T, E> Command for Waited<F, T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send + 'static,
    E: Send + 'static,
{
    fn evaluate(self: Box<Self>, tx: &mut Tx<'_>) -> (bool, Answer) {
        let Self { f, answer } = *self;
        let result = f(tx);
        let keep = result.is_ok();
        let reply = move |ended: Result<(), EngineError>| {
            // A caller that went away has nothing to be told.
            drop(answer.send(ended.map(|()| result)));
        };
        (keep, Box::new(reply))
    }

    fn refuse(self: Box<Self>, error: EngineError) {
        drop(self.answer.send(Err(error)));
    }
}

/// A command nobody waits for.
struct Unwaited<F> {
    f: F,
}

impl<F: FnOnce(&mut Tx<'_>) + Send> Command for Unwaited<F> {
    fn evaluate(self: Box<Self>, tx: &mut Tx<'_>) -> (bool, Answer) {
        (self.f)(tx);
        let log = |ended: Result<(), EngineError>| {
            if let Err(error @ EngineError::TooLarge { .. }) = ended {
                tracing::error!(%error, "a command nobody waits for was rolled back");
            }
        };
        (true, Box::new(log))
    }

    fn refuse(self: Box<Self>, _: EngineError) {}
}
