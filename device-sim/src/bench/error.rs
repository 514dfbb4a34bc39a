//! Why a measurement could not be made.

use crate::fleet::FleetError;

/// What went wrong while measuring.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file, a port, a process.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A server's process did not start, or ended.
    #[error("the {what} server: {cause}")]
    Child {
        /// Which.
        what: &'static str,
        /// Why, in words.
        cause: String,
    },
    /// The broker in a child, the emulators, an SVG.
    #[error("{part}: {cause}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why, in words.
        cause: String,
    },
    /// Connections, keys.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A call that should have gone well.
    #[error("{call}: {status}")]
    Call {
        /// Which.
        call: &'static str,
        /// What the server said.
        status: Box<tonic::Status>,
    },
    /// An answer is not what it must be.
    #[error("{0}")]
    Wrong(String),
    /// What can't be measured with these arguments, or on this machine.
    #[error("{0}")]
    Unfit(String),
    /// The report can't be written.
    #[error("report: {0}")]
    Json(#[from] serde_json::Error),
}

impl BenchError {
    /// For `map_err` on a call.
    pub(super) fn call(call: &'static str) -> impl FnOnce(tonic::Status) -> Self {
        move |status| Self::Call {
            call,
            status: Box::new(status),
        }
    }

    /// For `map_err` on a part.
    pub(super) fn part<E: std::fmt::Display>(part: &'static str) -> impl FnOnce(E) -> Self {
        move |cause| Self::Part {
            part,
            cause: cause.to_string(),
        }
    }
}
