//! Errors of use cases as gRPC statuses: the only place.
//!
//! Every status carries `google.rpc.ErrorInfo` (`reason`, domain
//! `countersign`); `INVALID_ARGUMENT` names the field in `BadRequest`;
//! `RESOURCE_EXHAUSTED` and `UNAVAILABLE` say when to come back in `RetryInfo`.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    broker::error::{BrokerError, ImportRefusal},
    domain::{
        code::CodeRefusal,
        receipt::{final_name, reason_name},
    },
};

/// The `domain` of every `ErrorInfo`.
pub(super) const DOMAIN: &str = "countersign";

const COME_BACK: Duration = Duration::from_secs(1);

/// The status of a use case's error. Faults of the broker's own are logged
/// here, once, and the caller gets a general sentence.
pub(super) fn status(error: BrokerError) -> Status {
    let message = error.to_string();
    match error {
        BrokerError::Invalid(invalid) => {
            let mut details = info("INVALID_FIELD", []);
            details.add_bad_request_violation(invalid.field, invalid.problem);
            build(Code::InvalidArgument, message, details)
        }
        BrokerError::InvalidFields(faults) => {
            let mut details = info("INVALID_FIELD", []);
            for fault in faults {
                details.add_bad_request_violation(fault.field, fault.problem);
            }
            build(Code::InvalidArgument, message, details)
        }
        BrokerError::VersionChanged { version } => build(
            Code::FailedPrecondition,
            message,
            info("VERSION_CHANGED", [("version", version.to_string())]),
        ),
        BrokerError::RequestIdReused => {
            let mut details = info("REQUEST_ID_REUSED", []);
            details.add_bad_request_violation("request_id", message.clone());
            build(Code::InvalidArgument, message, details)
        }
        BrokerError::NotFound(_) => build(Code::NotFound, message, info("NOT_FOUND", [])),
        BrokerError::Unauthenticated => unauthenticated(),
        BrokerError::NotAllowed => build(Code::PermissionDenied, message, info("NOT_ALLOWED", [])),
        BrokerError::BadSignature => {
            build(Code::Unauthenticated, message, info("BAD_SIGNATURE", []))
        }
        BrokerError::ClockSkew { server_time } => build(
            Code::FailedPrecondition,
            message,
            info(
                "CLOCK_SKEW",
                [("server_time_ms", server_time.as_millis().to_string())],
            ),
        ),
        BrokerError::ProofReplayed => {
            build(Code::Unauthenticated, message, info("PROOF_REPLAYED", []))
        }
        BrokerError::TicketRefused => {
            build(Code::PermissionDenied, message, info("TICKET_REFUSED", []))
        }
        BrokerError::TooManyDevices => build(
            Code::FailedPrecondition,
            message,
            info("TOO_MANY_DEVICES", []),
        ),
        BrokerError::ImportNotAllowed => build(
            Code::FailedPrecondition,
            message,
            info("IMPORT_NOT_ALLOWED", []),
        ),
        BrokerError::ImportRefused(at, refusal) => {
            let reason = match refusal {
                ImportRefusal::AccountLocked => "ACCOUNT_LOCKED",
                ImportRefusal::TooManyDevices => "TOO_MANY_DEVICES",
            };
            build(
                Code::FailedPrecondition,
                message,
                info(reason, [("field", format!("devices[{at}]"))]),
            )
        }
        BrokerError::AlreadyDecided {
            state,
            reason,
            device,
        } => build(
            Code::FailedPrecondition,
            message,
            info(
                "ALREADY_DECIDED",
                [
                    ("state", format!("CHALLENGE_STATE_{}", final_name(state))),
                    (
                        "decision_reason",
                        format!("DECISION_REASON_{}", reason_name(reason)),
                    ),
                    (
                        "device_id",
                        device.map(|id| id.to_string()).unwrap_or_default(),
                    ),
                ],
            ),
        ),
        BrokerError::PendingExists { retry_after } => {
            let mut details = info("PENDING_EXISTS", []);
            details.set_retry_info(Some(retry_after));
            build(Code::ResourceExhausted, message, details)
        }
        BrokerError::PromptExpired => build(
            Code::FailedPrecondition,
            message,
            info("PROMPT_EXPIRED", []),
        ),
        BrokerError::Refused(refusal, retry_after) => refused(refusal, retry_after, message),
        BrokerError::GuessTooSoon(retry_after) => {
            let mut details = info("GUESS_TOO_SOON", []);
            details.set_retry_info(Some(retry_after));
            build(Code::ResourceExhausted, message, details)
        }
        BrokerError::WrongCode { attempts_left } => {
            let mut details = info("WRONG_CODE", [("attempts_left", attempts_left.to_string())]);
            details.add_bad_request_violation("code", "is wrong");
            build(Code::InvalidArgument, message, details)
        }
        BrokerError::NoCodeExpected => build(
            Code::FailedPrecondition,
            message,
            info("NO_CODE_EXPECTED", []),
        ),
        BrokerError::TooManyAuthenticators => build(
            Code::FailedPrecondition,
            message,
            info("TOO_MANY_AUTHENTICATORS", []),
        ),
        BrokerError::NumberKnown(id) => build(
            Code::AlreadyExists,
            message,
            info("NUMBER_KNOWN", [("authenticator_id", id.to_string())]),
        ),
        BrokerError::NotByPolicy(_) => {
            build(Code::FailedPrecondition, message, info("NOT_BY_POLICY", []))
        }
        BrokerError::NoSnooze => build(Code::FailedPrecondition, message, info("NO_SNOOZE", [])),
        BrokerError::AccountLocked => build(
            Code::FailedPrecondition,
            message,
            info("ACCOUNT_LOCKED", []),
        ),
        BrokerError::NoTextGateway => build(
            Code::FailedPrecondition,
            message,
            info("NO_TEXT_GATEWAY", []),
        ),
        BrokerError::EventsGone => {
            build(Code::FailedPrecondition, message, info("EVENTS_GONE", []))
        }
        BrokerError::Overloaded => {
            let mut details = info("OVERLOADED", []);
            details.set_retry_info(Some(COME_BACK));
            build(Code::ResourceExhausted, message, details)
        }
        BrokerError::Unavailable => unavailable(message, "UNAVAILABLE"),
        BrokerError::Unknown => unavailable(message, "OUTCOME_UNKNOWN"),
        BrokerError::Internal(cause) => {
            tracing::error!(%cause, "a call failed by a fault of the broker");
            build(
                Code::Internal,
                "internal fault".into(),
                info("INTERNAL", []),
            )
        }
    }
}

/// No code is sent, or the user is not asked this way: what time heals is
/// `RESOURCE_EXHAUSTED`, the rest `FAILED_PRECONDITION`.
fn refused(refusal: CodeRefusal, retry_after: Duration, message: String) -> Status {
    let code = match refusal {
        CodeRefusal::TooSoon(_)
        | CodeRefusal::CoolOff(_)
        | CodeRefusal::Capped(..)
        | CodeRefusal::PromptBudget(_) => Code::ResourceExhausted,
        CodeRefusal::TooManySends | CodeRefusal::NoAuthenticator | CodeRefusal::PromptExpired => {
            Code::FailedPrecondition
        }
    };
    let mut details = info(refusal.name(), []);
    if code == Code::ResourceExhausted {
        details.set_retry_info(Some(retry_after));
    }
    build(code, message, details)
}

/// Credentials are missing, wrong, revoked or of the wrong kind: one answer.
pub(super) fn unauthenticated() -> Status {
    let message = "the credentials are not valid".to_owned();
    build(Code::Unauthenticated, message, info("BAD_CREDENTIALS", []))
}

fn unavailable(message: String, reason: &str) -> Status {
    let mut details = info(reason, []);
    details.set_retry_info(Some(COME_BACK));
    build(Code::Unavailable, message, details)
}

/// `ErrorInfo` with its metadata.
pub(super) fn info<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<_, _> = metadata
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, metadata);
    details
}

/// A status with details.
pub(super) fn build(code: Code, message: String, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message, details)
}
