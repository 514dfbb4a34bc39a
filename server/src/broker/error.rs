//! What can stand in the way of a use case, named by meaning.

use std::time::Duration;

use crate::{
    domain::{
        Invalid,
        challenge::{Final, Reason},
        code::{Cap, CodeRefusal},
        ids::{AuthenticatorId, DeviceId},
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
    /// The configuration allows no import of devices.
    #[error("the broker's configuration does not allow devices to be imported")]
    ImportNotAllowed,
    /// A device can't be imported; none of the call was.
    #[error("devices[{0}]: {1}")]
    ImportRefused(usize, ImportRefusal),
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
    /// Too late for an approval on a phone; a code may still decide.
    #[error("the prompt has expired")]
    PromptExpired,
    /// No code is sent, or the user is not asked this way.
    #[error("{}", refusal_sentence(.0))]
    Refused(CodeRefusal, Duration),
    /// No code is looked at before a time.
    #[error("too many wrong codes: the user has to wait")]
    GuessTooSoon(Duration),
    /// The code typed is wrong.
    #[error("the code is wrong")]
    WrongCode {
        /// Wrong codes that may still be typed.
        attempts_left: u32,
    },
    /// No code of this kind is being waited for, or it is too old.
    #[error("no code is being waited for")]
    NoCodeExpected,
    /// The user has as many authenticators of this kind as one may have.
    #[error("the user has too many authenticators of this kind")]
    TooManyAuthenticators,
    /// The number is the user's already.
    #[error("the number is registered already")]
    NumberKnown(AuthenticatorId),
    /// Policy does not allow it.
    #[error("the organisation's policy does not allow {0}")]
    NotByPolicy(&'static str),
    /// Registering can't be put off, or there is nothing to put off.
    #[error("registering cannot be put off")]
    NoSnooze,
    /// Nothing to answer with is added while the account is locked.
    #[error("the account is locked")]
    AccountLocked,
    /// No gateway for text messages is configured.
    #[error("no gateway for text messages is configured")]
    NoTextGateway,
    /// The user has a pending challenge, and policy keeps it.
    #[error("the user has a pending challenge")]
    PendingExists {
        /// When it ends at the latest.
        retry_after: Duration,
    },
    /// The events from this place on are not all there, or the place is not known.
    #[error("the events after this place are gone")]
    EventsGone,
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

/// Why a device can't be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportRefusal {
    /// As [`BrokerError::AccountLocked`].
    #[error("the account is locked")]
    AccountLocked,
    /// As [`BrokerError::TooManyDevices`].
    #[error("the user has too many devices")]
    TooManyDevices,
}

fn refusal_sentence(refusal: &CodeRefusal) -> &'static str {
    match refusal {
        CodeRefusal::TooSoon(_) => "a code was sent a moment ago",
        CodeRefusal::TooManySends => "no further code can be sent for this sign-in",
        CodeRefusal::CoolOff(_) => "the user has just denied a sign-in",
        CodeRefusal::NoAuthenticator => "the user has no authenticator for this method",
        CodeRefusal::PromptExpired => "the prompt has expired",
        CodeRefusal::Capped(Cap::Number, _) => "too many texts to this number",
        CodeRefusal::Capped(Cap::User, _) => "too many numbers were tried for this user",
        CodeRefusal::Capped(Cap::Range, _) => "too many texts to this range of numbers",
        CodeRefusal::Capped(Cap::Tenant, _) => "too many texts today",
        CodeRefusal::PromptBudget(_) => "the user was asked too often",
    }
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
    /// A refusal, at this time.
    pub(crate) fn refused(refusal: CodeRefusal, now: Timestamp) -> Self {
        let until = match refusal {
            CodeRefusal::TooSoon(at)
            | CodeRefusal::CoolOff(at)
            | CodeRefusal::Capped(_, at)
            | CodeRefusal::PromptBudget(at) => at,
            CodeRefusal::TooManySends
            | CodeRefusal::NoAuthenticator
            | CodeRefusal::PromptExpired => now,
        };
        Self::Refused(refusal, until.since(now))
    }

    /// An answer that can't be accepted, at this time.
    pub(crate) fn from_answer(error: AnswerError, now: Timestamp) -> Self {
        match error {
            AnswerError::Invalid(invalid) => Self::Invalid(invalid),
            AnswerError::BadSignature => Self::BadSignature,
            AnswerError::ClockSkew => Self::ClockSkew { server_time: now },
        }
    }
}
