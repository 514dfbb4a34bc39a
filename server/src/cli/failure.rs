//! How a command ends when it didn't do what was asked.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::output::printable;

/// One sentence and an exit code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    kind: Kind,
    message: String,
}

/// Exit codes; those above 63 are of sysexits.h (BSD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It was tried and did not succeed.
    Failed = 1,
    /// The command line asks for nothing sensible.
    Usage = 2,
    /// EX_UNAVAILABLE: the broker can't be reached or can't answer now.
    Unavailable = 69,
    /// EX_NOPERM: the key may not do that.
    Permission = 77,
    /// EX_CONFIG: the configuration is at fault.
    Config = 78,
}

/// What `--help` and the man page say of exit codes.
pub(super) const EXIT_CODES: &str = "Exit codes:
  0   done
  1   failed: the message on standard error says why
  2   the command line was not understood
  69  the broker cannot be reached or cannot answer now; try again later
  77  the API key is missing, unknown or may not do this
  78  the configuration is faulty; every fault is listed, nothing was started";

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same, with what had been done before.
    pub(super) fn after(mut self, done: &str) -> Self {
        append(&mut self.message, format_args!("; {done}"));
        self
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// Says it on standard error.
    pub(super) fn report(&self) {
        // With standard error closed, the exit code still tells.
        drop(writeln!(io::stderr(), "countersign: {}", self.message));
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (Kind, &str) {
        (self.kind, &self.message)
    }

    /// What a call's status means to the person who typed the command: the
    /// broker's sentence, its stable reason, the field at fault and when to
    /// try again (`google.rpc` details).
    pub(super) fn from_status(status: &Status) -> Self {
        // Made on this side: the broker never answered.
        if let Some(cause) = status.source() {
            return Self::new(
                Kind::Unavailable,
                format!(
                    "the connection failed: {}; is it the gRPC port, and https:// if it speaks TLS?",
                    chain(cause)
                ),
            );
        }
        let kind = match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Kind::Unavailable,
            Code::PermissionDenied | Code::Unauthenticated => Kind::Permission,
            _ => Kind::Failed,
        };
        let mut message = match status.message() {
            "" => status.code().description().to_owned(),
            text => text.to_owned(),
        };
        let details = status.get_error_details();
        for violation in details
            .bad_request()
            .map(|details| details.field_violations.as_slice())
            .unwrap_or_default()
        {
            let fault = format!("{}: {}", violation.field, violation.description);
            if !message.contains(&fault) {
                append(&mut message, format_args!("; {fault}"));
            }
        }
        if let Some(delay) = details.retry_info().and_then(|details| details.retry_delay) {
            append(
                &mut message,
                format_args!("; try again in {} s", delay.as_secs_f64().ceil()),
            );
        }
        match details.error_info() {
            Some(info) => append(&mut message, format_args!(" [{}]", info.reason)),
            None => append(&mut message, format_args!(" [{:?}]", status.code())),
        }
        Self::new(kind, printable(&message))
    }
}

fn append(message: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    if message.write_fmt(text).is_err() {
        message.push('…');
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::from_status(&status)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(format!("cannot write the output: {error}"))
    }
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            append(&mut text, format_args!(": {cause_text}"));
        }
        next = cause.source();
    }
    printable(&text)
}
