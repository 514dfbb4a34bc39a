//! What all sign-ins of a run share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::attackers::Siege;
use super::captures::Captures;
use super::codes::Codes;
use super::inbox::Inboxes;
use super::settings::RunArgs;
use super::tenant::Tenant;
use super::verified::Verified;
use crate::fleet::Connections;
use crate::report::{Recorder, StepId, Steps};

/// The steps of a sign-in.
pub(super) struct Measured {
    pub(super) create: StepId,
    pub(super) prompt: StepId,
    pub(super) respond: StepId,
    pub(super) answer: StepId,
    /// The whole, by organisation, where there are several.
    pub(super) tenants: Vec<StepId>,
}

/// Organisations that are told apart in the report.
const TOLD_APART: usize = 16;

/// What all sign-ins of a run share.
pub(super) struct Run {
    pub(super) args: RunArgs,
    pub(super) tenants: Vec<Tenant>,
    /// The phones' calls.
    pub(super) phones: Connections,
    /// Apps that are open.
    pub(super) apps: Connections,
    pub(super) inboxes: Arc<Inboxes>,
    pub(super) recorder: Recorder,
    pub(super) measured: Measured,
    pub(super) verified: Verified,
    /// What an eavesdropper would have.
    pub(super) captures: Captures,
    /// Makes request ids differ from those of other runs.
    pub(super) id: u64,
    /// When sign-ins began.
    pub(super) started: OnceLock<Instant>,
    /// With which receipts are verified.
    pub(super) jwks: Option<String>,
    pub(super) siege: Siege,
    /// What users type codes from.
    pub(super) codes: OnceLock<Codes>,
    pub(super) in_flight: AtomicU64,
    /// No more sign-ins.
    pub(super) stop: CancellationToken,
    /// What is still pending is given up.
    pub(super) give_up: CancellationToken,
}

/// A recorder for the steps of a sign-in.
pub(super) fn recorder(tenants: usize) -> (Recorder, Measured) {
    let mut steps = Steps::new();
    let measured = Measured {
        create: steps.add("create", "start due until CreateChallenge is answered"),
        prompt: steps.add(
            "prompt",
            "start due until the phone has the signed challenge",
        ),
        respond: steps.add("respond", "answer due until Respond is answered"),
        answer: steps.add("answer", "answer due until the identity provider knows"),
        tenants: match tenants {
            2..=TOLD_APART => (1..=tenants)
                .map(|number| {
                    let meaning = "as flow, of the organisation with that key";
                    steps.add(&format!("flow-{number}"), meaning)
                })
                .collect(),
            _ => Vec::new(),
        },
    };
    let meaning = "start due until the identity provider has the decision, without the user's time";
    (steps.recorder(meaning), measured)
}

impl Run {
    /// When sign-ins began; now, if they have not.
    pub(super) fn start(&self) -> Instant {
        self.started.get().copied().unwrap_or_else(Instant::now)
    }

    /// Time since sign-ins began.
    pub(super) fn now(&self) -> Duration {
        self.start().elapsed()
    }

    /// Takes down a call that failed.
    pub(super) fn failed_call(&self, call: &str, status: &Status) {
        let reason = reason(status);
        let example = format!("{:?}: {}", status.code(), status.message());
        self.recorder.error(self.now(), call, &reason, &example);
    }
}

/// The stable reason in a status, or else its code.
pub(super) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    match details.error_info() {
        Some(info) if !info.reason.is_empty() => info.reason.clone(),
        _ => code_name(status.code()).to_owned(),
    }
}

fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether the broker said "not now".
pub(super) fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::ResourceExhausted | tonic::Code::Unavailable
    )
}

/// Counts a sign-in as under way for as long as it is kept.
pub(super) struct UnderWay(Arc<Run>);

impl UnderWay {
    /// `None`: there are too many.
    pub(super) fn new(run: &Arc<Run>, most: u64) -> Option<Self> {
        let before = run.in_flight.fetch_add(1, Ordering::Relaxed);
        let one = Self(Arc::clone(run));
        (before < most).then_some(one)
    }

    pub(super) fn run(&self) -> &Arc<Run> {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
