//! Logging: one line per event on standard error, as text or JSON.
//!
//! What the levels mean:
//! - `error`: somebody has to do something, or approvals are being lost: a
//!   credential a push gateway refuses, a store that can't be written.
//! - `warn`: the broker coped, but it is not as it should be: connections
//!   refused for want of room, a gateway answering 5xx.
//! - `info`: a few lines in the life of the process: what was configured, the
//!   ports bound, certificates reloaded, draining, stopped. Nothing per request.
//! - `debug`: one line per thing done for a caller, to follow one sign-in, by ids
//!   that mean nothing elsewhere. Of the broker only: the libraries stay at
//!   `info`, unless the filter names them.
//! - `trace`: the insides, of the libraries too; but never those of sled, the
//!   page store, which would print every record that is written.
//!
//! An error is logged once, where it is dealt with. No secret, code, token or
//! full phone number is logged at any level.

use std::io::{IsTerminal, stderr};

use thiserror::Error;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    layer::{Filter, SubscriberExt},
    util::SubscriberInitExt,
};

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `format`: `text` (default) or `json`.
    pub format: LogFormat,
    /// `level`: a level or, per module, `tracing-subscriber`'s `EnvFilter`
    /// syntax, such as `info,countersign_server::delivery=debug`. Default `info`.
    pub level: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is malformed.
    #[error("{0}")]
    Filter(String),
    /// Something else is already receiving log events in this process.
    #[error("logging is already set up")]
    AlreadySet,
}

/// Checks `level` without using it.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    const WANTED: &str =
        "must be off, error, warn, info, debug, trace or a filter such as info,h2=warn";
    // `EnvFilter` takes a mistyped level for the name of a module to trace.
    let is_level = |part: &str| part.trim().parse::<LevelFilter>().is_ok();
    if level
        .split(',')
        .any(|part| !part.contains(['=', '[']) && !is_level(part))
    {
        return Err(WANTED.to_owned());
    }
    EnvFilter::try_new(of_the_broker(level)).map_err(|error| format!("{WANTED}: {error}"))
}

/// `debug` on its own is meant for the broker: what the libraries say at that
/// level would bury it.
fn of_the_broker(level: &str) -> String {
    let parts = level.split(',').map(|part| {
        if part.trim().eq_ignore_ascii_case("debug") {
            "info,countersign_server=debug"
        } else {
            part
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Below `info`, sled prints the bytes of what it writes: push tokens, numbers
/// to match. Whatever the operator asked for, these are not logged.
fn may_be_logged(event: &Metadata<'_>) -> bool {
    let of_sled = event.target().split("::").next() == Some("sled");
    !of_sled || *event.level() <= Level::INFO
}

/// What is logged at all. It names its most verbose level, so that what lies
/// beyond costs a caller one comparison: sled alone asks a hundred times per
/// approval whether it may log.
fn logged<S>(level: &str) -> Result<impl Filter<S> + use<S>, String> {
    let of_sled = filter_fn(may_be_logged).with_max_level_hint(LevelFilter::TRACE);
    Ok(filter(level)?.and(of_sled))
}

/// Sends log events to standard error, for the rest of the process.
///
/// # Errors
/// When the filter is malformed or logging was already set up.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let filter = logged(&config.level).map_err(TelemetryError::Filter)?;
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_not_logged_is_known_by_its_level_alone() {
        for (given, most) in [
            ("info", LevelFilter::INFO),
            ("off", LevelFilter::OFF),
            ("debug", LevelFilter::DEBUG),
            ("warn,h2=trace", LevelFilter::TRACE),
        ] {
            let filter = logged::<Registry>(given).unwrap();
            assert_eq!(filter.max_level_hint(), Some(most), "{given}");
        }
    }

    #[test]
    fn a_bare_debug_is_for_the_broker() {
        for (given, used) in [
            ("debug", "info,countersign_server=debug"),
            (" DEBUG,h2=debug", "info,countersign_server=debug,h2=debug"),
            ("info", "info"),
            ("trace", "trace"),
            (
                "warn,countersign_server::delivery=debug",
                "warn,countersign_server::delivery=debug",
            ),
        ] {
            assert_eq!(of_the_broker(given), used);
            assert!(filter(given).is_ok(), "{given}");
        }
    }
}
