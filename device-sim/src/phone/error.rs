//! What can go wrong on the phone's side.

use countersign_proto::v1::{ChallengeState, DecisionReason};
use tonic_types::StatusExt as _;

use super::failure::in_words;

/// Why the phone could not, or would not, do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// The text of the QR code is not an enrolment address.
    #[error("not an enrolment address: {0}")]
    BadEnrollmentUri(&'static str),
    /// The address of the broker, or its CA certificate, can't be used.
    #[error("the broker's address cannot be used: {0}")]
    BadBrokerAddress(String),
    /// No connection to the broker.
    #[error("no connection to {broker}: {cause}")]
    Unreachable {
        /// The broker's address.
        broker: String,
        /// Why, in words.
        cause: String,
    },
    /// None of the broker's keys is the one that the QR code named.
    #[error("the broker does not hold the key that the QR code names")]
    KeyNotPinned,
    /// A key of the broker does not follow from one that the phone trusts.
    #[error("key {key_id} does not follow from a trusted key")]
    KeyNotVouchedFor {
        /// RFC 7638 thumbprint of the key.
        key_id: String,
    },
    /// A challenge names a key that the phone does not trust.
    #[error("the challenge is signed with unknown key {key_id}")]
    UnknownKey {
        /// As named by the challenge.
        key_id: String,
    },
    /// A signature of the broker does not match.
    #[error("the broker's signature does not match")]
    BadSignature,
    /// A challenge is for another account or organisation than the phone's.
    #[error("the challenge is for another account")]
    WrongAccount,
    /// The challenge has expired by the phone's clock.
    #[error("the challenge has expired")]
    Expired,
    /// What came in a push was not sealed to this phone, or was altered.
    #[error("the sealed challenge cannot be opened")]
    NotOpened,
    /// What the broker sent can't be read.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The phone's own key can't be made, read or used.
    #[error("the device key cannot be used")]
    UnusableKey,
    /// The broker refused the call.
    #[error("{}", describe(.0))]
    Refused(Box<tonic::Status>),
    /// The saved state can't be read or written.
    #[error("state file: {0}")]
    State(String),
}

impl PhoneError {
    /// The status of a refused call.
    #[must_use]
    pub fn status(&self) -> Option<&tonic::Status> {
        match self {
            Self::Refused(status) => Some(status),
            _ => None,
        }
    }

    /// The gRPC code of a refused call.
    #[must_use]
    pub fn code(&self) -> Option<tonic::Code> {
        self.status().map(tonic::Status::code)
    }

    /// The cause alone, where the sentence around it says already that there is no connection.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Unreachable { cause, .. } => cause.clone(),
            Self::Refused(status) => lost(status).map_or_else(|| self.to_string(), str::to_owned),
            _ => self.to_string(),
        }
    }

    /// The stable reason (`google.rpc.ErrorInfo`) of a refused call.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        error_reason(self.status()?)
    }
}

impl PhoneError {
    /// How the challenge had ended when an answer came too late.
    #[must_use]
    pub fn ended(&self) -> Option<(ChallengeState, DecisionReason)> {
        let info = self.status()?.get_details_error_info()?;
        if info.reason != "ALREADY_DECIDED" {
            return None;
        }
        let named = |name| {
            info.metadata
                .get(name)
                .map(String::as_str)
                .unwrap_or_default()
        };
        Some((
            ChallengeState::from_str_name(named("state")).unwrap_or_default(),
            DecisionReason::from_str_name(named("decision_reason")).unwrap_or_default(),
        ))
    }
}

impl From<tonic::Status> for PhoneError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// The `reason` of a status' `google.rpc.ErrorInfo`.
fn error_reason(status: &tonic::Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

fn describe(status: &tonic::Status) -> String {
    if let Some(cause) = lost(status) {
        return format!("no connection to the broker: {cause}");
    }
    let reason = error_reason(status).unwrap_or_else(|| format!("{:?}", status.code()));
    format!("the broker refused: {} ({reason})", status.message())
}

/// Why a status came about on the way, if it is not the broker's own: those name a reason.
fn lost(status: &tonic::Status) -> Option<&'static str> {
    use tonic::Code;
    if error_reason(status).is_some() {
        return None;
    }
    if let Some(source) = std::error::Error::source(status) {
        return Some(in_words(source));
    }
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded => Some("no answer in time"),
        Code::Unavailable | Code::Unknown | Code::Internal => Some("the connection broke"),
        _ => None,
    }
}

/// An error with its causes, on one line.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn what_libraries_say_is_not_shown() {
        let raw = "h2 protocol error: error reading a body from connection";
        for code in [Code::Unknown, Code::Unavailable, Code::Internal] {
            let error = PhoneError::from(Status::new(code, raw));
            let words = "no connection to the broker: the connection broke";
            assert_eq!(error.to_string(), words);
            assert_eq!(error.cause(), "the connection broke");
        }
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = PhoneError::from(Status::from_error(Box::new(refused)));
        assert_eq!(error.cause(), "connection refused");
        let error = PhoneError::from(Status::cancelled("Timeout expired"));
        assert_eq!(error.cause(), "no answer in time");
    }

    #[test]
    fn what_the_broker_says_is_shown() {
        let details = ErrorDetails::with_error_info("STORE_BUSY", "countersign", []);
        let status = Status::with_error_details(Code::Unavailable, "try again", details);
        let words = "the broker refused: try again (STORE_BUSY)";
        assert_eq!(PhoneError::from(status).to_string(), words);
        let foreign = PhoneError::from(Status::permission_denied("no such ticket"));
        let words = "the broker refused: no such ticket (PermissionDenied)";
        assert_eq!(foreign.to_string(), words);
    }
}
