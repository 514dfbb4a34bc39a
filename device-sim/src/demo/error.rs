//! Why the demo broke off.

use std::time::Duration;

use crate::command::phone::PhoneCommandError;
use crate::fetch::FetchError;
use crate::phone::{PhoneError, with_causes};
use crate::receipt::ReceiptError;

/// Why the demo broke off.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The broker or the gateways did not start, or did not stop well.
    #[error("{part}: {cause}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why, with causes.
        cause: String,
    },
    /// The broker refused a call of the sign-in page.
    #[error("{call}: {} ({:?})", status.message(), status.code())]
    Call {
        /// Which.
        call: &'static str,
        /// How.
        status: Box<tonic::Status>,
    },
    /// The phone.
    #[error("phone: {0}")]
    Phone(#[from] PhoneError),
    /// The phone in the terminal.
    #[error("phone: {0}")]
    PhoneInHand(#[from] PhoneCommandError),
    /// The JWKS or the control page.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A receipt proves nothing.
    #[error("receipt: {0}")]
    Receipt(#[from] ReceiptError),
    /// Something went otherwise than it should.
    #[error("{what}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        what: &'static str,
        /// What should have been.
        expected: String,
        /// What was.
        found: String,
    },
    /// Something did not happen.
    #[error("{what} did not happen within {} s", .within.as_secs())]
    TooLate {
        /// What.
        what: &'static str,
        /// In which time.
        within: Duration,
    },
    /// A file or the terminal.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl DemoError {
    pub(super) fn part(part: &'static str) -> impl Fn(&(dyn std::error::Error + 'static)) -> Self {
        move |error| Self::Part {
            part,
            cause: with_causes(error),
        }
    }

    pub(super) fn call(call: &'static str) -> impl Fn(tonic::Status) -> Self {
        move |status| Self::Call {
            call,
            status: Box::new(status),
        }
    }

    pub(super) fn missing(what: &'static str) -> Self {
        Self::Unexpected {
            what,
            expected: "a value".to_owned(),
            found: "none".to_owned(),
        }
    }
}

/// That `found` is what it should be.
pub(super) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), DemoError> {
    if found == expected {
        return Ok(());
    }
    Err(DemoError::Unexpected {
        what,
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    })
}
