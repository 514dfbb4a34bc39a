//! Why a run can't be made.

use crate::fetch::FetchError;
use crate::fleet::FleetError;

/// Why `device-sim load` ended without a report, or with one that is bad news.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A flag can't be used as it is.
    #[error("{flag}: {why}")]
    Usage {
        /// Which flag.
        flag: String,
        /// Why not.
        why: String,
    },
    /// The broker can't be reached, or refused what a run needs.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The broker does not take an API key.
    #[error("the broker does not accept API key {key_id}: {why}")]
    Key {
        /// The id inside the key.
        key_id: String,
        /// What the broker said.
        why: String,
    },
    /// The users are not there.
    #[error(
        "user {user_id} has no phone at the broker: register the users with \
         `device-sim load prepare` and the same --devices, --population and --channels"
    )]
    NoPopulation {
        /// The first one found missing.
        user_id: String,
    },
    /// The gateways' control page, or the broker's HTTP port.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file, the terminal or a signal.
    #[error("{what}: {cause}")]
    Io {
        /// What was being done.
        what: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// An earlier report can't be read.
    #[error("--compare: {0}")]
    Earlier(String),
    /// What was verified does not hold. The report says more.
    #[error("{0}")]
    NotPassed(String),
}

impl LoadError {
    pub(super) fn usage(flag: &str, why: &str) -> Self {
        Self::Usage {
            flag: flag.to_owned(),
            why: why.to_owned(),
        }
    }
}
