//! How an engine is run, and where tests take hold of it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Called once, with the reason, when the store has failed.
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

/// What is done before a sync; an error is the sync's.
pub type BeforeSync = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// How to run an [`Engine`](super::Engine).
#[derive(Clone)]
pub struct EngineOptions {
    /// Memory for cached pages, bytes.
    pub cache_capacity: u64,
    /// How many commands may wait before further ones are refused.
    pub queue_capacity: usize,
    /// The most commands in one batch. It also ends with the command that
    /// brings it to [`MAX_COMMAND_BYTES`](super::MAX_COMMAND_BYTES) or [`MAX_COMMAND_WRITES`](super::MAX_COMMAND_WRITES).
    pub batch_commands: usize,
    /// How much the journal may hold before it is taken into the tree, bytes.
    /// Rows take up to twice that in memory, four times as much where changes
    /// come faster than the tree takes them, and a start after a crash reads as
    /// much.
    pub journal_bytes: u64,
    /// How long a lazy command waits for a batch to ride along with.
    pub lazy_delay: Duration,
    /// The newest schema version the caller reads; a new store gets it.
    pub schema_version: u32,
    /// Called once when the store has failed; the process should stop.
    pub on_fatal: Option<OnFatal>,
    /// Called before each sync of the journal, for tests that hold it up.
    pub before_sync: Option<BeforeSync>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            cache_capacity: 64 << 20,
            queue_capacity: 8192,
            batch_commands: 512,
            journal_bytes: 8 << 20,
            lazy_delay: Duration::from_millis(50),
            schema_version: 1,
            on_fatal: None,
            before_sync: None,
        }
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("cache_capacity", &self.cache_capacity)
            .field("queue_capacity", &self.queue_capacity)
            .field("batch_commands", &self.batch_commands)
            .field("journal_bytes", &self.journal_bytes)
            .field("lazy_delay", &self.lazy_delay)
            .field("schema_version", &self.schema_version)
            .finish_non_exhaustive()
    }
}

/// Where the tests can hold the writer up or make it fail.
#[derive(Clone)]
pub(super) struct Hooks {
    pub(super) after_apply: Arc<dyn Fn() + Send + Sync>,
    pub(super) before_sync: BeforeSync,
}

impl Hooks {
    pub(super) fn of(options: &EngineOptions) -> Self {
        let mut hooks = Self::default();
        if let Some(before_sync) = &options.before_sync {
            hooks.before_sync = before_sync.clone();
        }
        hooks
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            after_apply: Arc::new(|| {}),
            before_sync: Arc::new(|| Ok(())),
        }
    }
}
