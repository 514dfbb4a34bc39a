//! What can stand in the way of a use case, named by meaning.

use std::time::Duration;

use crate::{
    domain::{
        Invalid,
        challenge::{Final, Reason},
        ids::DeviceId,
        response::AnswerError,
        time::Timestamp,
    },
    store::StoreError,
};

/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// A field can't be accepted.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Several fields can't be accepted.
    #[error("{}", several(.0))]
    InvalidFields(Vec<Invalid>),
    /// The rules were changed since the caller read them.
    #[error("the policy has changed since: it is at version {version}")]
    VersionChanged {
        /// The present version.
        version: u64,
    },
    /// The `request_id` came before with other content.
    #[error("this request_id was used for another request")]
    RequestIdReused,
    /// There is no such thing for this caller.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The credentials are missing, wrong or revoked.
    #[error("the credentials are not valid")]
    Unauthenticated,
    /// The credentials are good, but not for this.
    #[error("the credentials do not allow this call")]
    NotAllowed,
    /// The device's signature does not match.
    #[error("the signature does not match")]
    BadSignature,
    /// The phone's clock is more than 60 s off.
    #[error("the phone's clock is off")]
    ClockSkew {
        /// What the broker's clock says.
        server_time: Timestamp,
    },
    /// The proof was used before.
    #[error("this device proof was used before")]
    ProofReplayed,
    /// No ticket that this code opens.
    #[error("no ticket is opened by this code")]
    TicketRefused,
    /// The user has as many devices as one may have.
    #[error("the user has too many devices")]
    TooManyDevices,
    /// The challenge has ended.
    #[error("the challenge has ended")]
    AlreadyDecided {
        /// How.
        state: Final,
        /// Why.
        reason: Reason,
        /// By which device's answer, if one decided.
        device: Option<DeviceId>,
    },
    /// The user has a pending challenge, and policy keeps it.
    #[error("the user has a pending challenge")]
    PendingExists {
        /// When it ends at the latest.
        retry_after: Duration,
    },
    /// Too much at once.
    #[error("the broker has too much to do")]
    Overloaded,
    /// The broker is stopping or its store is away; nothing was done.
    #[error("the broker is not available")]
    Unavailable,
    /// Perhaps done: read before trying again.
    #[error("the outcome is not known")]
    Unknown,
    /// A fault of the broker's own; the text is for its log.
    #[error("internal fault: {0}")]
    Internal(String),
}

fn several(faults: &[Invalid]) -> String {
    let faults: Vec<_> = faults.iter().map(Invalid::to_string).collect();
    faults.join("; ")
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::Overloaded,
            StoreError::Unavailable(cause) => {
                tracing::warn!(%cause, "the store is not available");
                Self::Unavailable
            }
            StoreError::Unknown(cause) => {
                tracing::error!(%cause, "the store failed in the middle of a change");
                Self::Unknown
            }
            StoreError::Corrupt(cause) => Self::Internal(cause),
        }
    }
}

impl BrokerError {
    /// An answer that can't be accepted, at this time.
    pub(crate) fn from_answer(error: AnswerError, now: Timestamp) -> Self {
        match error {
            AnswerError::Invalid(invalid) => Self::Invalid(invalid),
            AnswerError::BadSignature => Self::BadSignature,
            AnswerError::ClockSkew => Self::ClockSkew { server_time: now },
        }
    }
}
