//! What can go wrong, named by meaning.

use std::io;
use std::path::PathBuf;

/// Why a data directory could not be created or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another opener in this one) holds the directory.
    #[error("data directory {} is in use by {}; stop it first, one process serves one directory", path.display(), holder(*pid))]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The holder's process id, where its lock file names one.
        pid: Option<u32>,
    },
    /// The contents cannot be read back; nothing was served from them.
    #[error("data directory {} is damaged ({detail}); keep a copy of it and restore a backup", path.display())]
    Damaged {
        /// The data directory.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Written by a later version of this program.
    #[error("data directory {} has schema version {found}, this program reads up to {supported}; use the newer program", path.display())]
    NewerVersion {
        /// The data directory.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
    },
    /// No store there, or its creation never ended.
    #[error("data directory {} holds no initialised store; create one first", path.display())]
    NotInitialised {
        /// The data directory.
        path: PathBuf,
    },
    /// A store is there already.
    #[error("data directory {} already holds a store; it was left as it is", path.display())]
    AlreadyExists {
        /// The data directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

/// Why a command or a read was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The queue is full: nothing was done, try again later.
    #[error("the store's queue is full")]
    Overloaded,
    /// The store is closed or has stopped: nothing was done.
    #[error("the store is not available")]
    Unavailable,
    /// The command may or may not have been applied; only reopening tells.
    #[error("the store failed; whether the change was applied is unknown")]
    Unknown,
    /// The command wrote a key or value over its limit, or too many of them;
    /// all its writes were rolled back.
    #[error("a change of size {size} exceeds the limit of {limit}")]
    TooLarge {
        /// The size of the offending key or value, or of all, bytes; or how
        /// many keys were written.
        size: usize,
        /// The limit it broke.
        limit: usize,
    },
}
