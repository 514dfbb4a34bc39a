//! `countersign serve`, `init` and `check-config`: the broker on this machine.

use std::{fs, io, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    arguments::ConfigArgs,
    failure::{Failure, Kind, chain},
    output::Output,
};
use crate::{
    InitReport, Server, StartError,
    clock::Clock,
    config::{Config, ConfigFile, Loaded},
    store::engine::OpenError,
    telemetry,
};

/// How long background work may linger after everything else has ended.
const LINGER: Duration = Duration::from_secs(5);

fn load(args: &ConfigArgs) -> Result<Loaded, Failure> {
    let config_fault = |message: String| Failure::new(Kind::Config, message);
    let file = match &args.config {
        None => None,
        Some(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path)
                .map_err(|error| config_fault(format!("cannot read {name}: {error}")))?;
            Some((name, text))
        }
    };
    let file = file.as_ref().map(|(name, text)| ConfigFile { name, text });
    Config::load(file, std::env::vars_os()).map_err(|faults| config_fault(faults.to_string()))
}

pub(super) fn check_config(args: &ConfigArgs, out: &Output) -> Result<(), Failure> {
    let loaded = load(args)?;
    for setting in &loaded.settings {
        let value = json!({
            "key": setting.key,
            "value": json_of(&setting.value),
            "source": setting.source.to_string(),
        });
        out.show(&value, || {
            format!("{} = {}  # {}", setting.key, setting.value, setting.source)
        })?;
    }
    Ok(())
}

/// A value that is written as TOML.
fn json_of(value: &str) -> serde_json::Value {
    toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .and_then(|value| serde_json::to_value(value).ok())
        // Not TOML after all: as it is shown to people.
        .unwrap_or_else(|| value.into())
}

pub(super) fn init(args: &ConfigArgs, out: &Output) -> Result<(), Failure> {
    let config = load(args)?.config;
    let report = block_on(crate::init(&config, &Clock::system()))?;
    show_key(&config, &report, "Initialized", out)
}

pub(super) fn recover(args: &ConfigArgs, out: &Output) -> Result<(), Failure> {
    let config = load(args)?.config;
    let report = block_on(crate::recover(&config, &Clock::system()))?;
    show_key(&config, &report, "Opened", out)
}

fn block_on(
    work: impl Future<Output = Result<InitReport, StartError>>,
) -> Result<InitReport, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?
        .block_on(work)
        .map_err(|error| not_started(&error))
}

fn show_key(config: &Config, report: &InitReport, done: &str, out: &Output) -> Result<(), Failure> {
    let value = json!({
        "admin_key": report.admin_key,
        "data_dir": config.data_dir.to_string_lossy(),
    });
    out.show(&value, || {
        format!(
            "{done} {}.\nAdmin key of the installation (shown this once, keep it safe):\n{}",
            config.data_dir.display(),
            report.admin_key
        )
    })?;
    Ok(())
}

pub(super) fn compact(args: &ConfigArgs, out: &Output) -> Result<(), Failure> {
    let config = load(args)?.config;
    let done = crate::compact(&config).map_err(|error| not_started(&error))?;
    let value = json!({
        "data_dir": config.data_dir.to_string_lossy(),
        "bytes_before": done.before,
        "bytes_after": done.after,
    });
    out.show(&value, || {
        let dir = config.data_dir.display();
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        if done.after < done.before {
            let (before, after) = (mebibytes(done.before), mebibytes(done.after));
            format!("Compacted {dir}: {after}, was {before}")
        } else {
            let before = mebibytes(done.before);
            format!("{dir}: {before}, nothing to be gained; left as it was")
        }
    })?;
    Ok(())
}

pub(super) fn serve(args: &ConfigArgs) -> Result<(), Failure> {
    let config = load(args)?.config;
    telemetry::init(&config.log).map_err(|error| Failure::failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(run(config));
    runtime.shutdown_timeout(LINGER);
    outcome
}

async fn run(config: Config) -> Result<(), Failure> {
    // Before the ports are bound: whoever sees them open may stop the broker.
    let signals = Signals::listen()
        .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
    let max_connections = config.limits.max_connections;
    let configured = config.clone();
    let server = Server::bind(config, Clock::system())
        .await
        .map_err(|error| not_started(&error))?;
    allow_descriptors(max_connections);
    tracing::info!(
        grpc = %server.grpc_addr(),
        http = %server.http_addr(),
        data_dir = %configured.data_dir.display(),
        issuer = configured.issuer_at(server.grpc_addr()),
        gateways = gateways(&configured),
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    server
        .serve(signals.first_ends_gracefully())
        .await
        .map_err(|error| Failure::failed(chain(&error)))?;
    tracing::info!("stopped");
    Ok(())
}

/// The gateways that are configured, such as `apns:be.example.app`.
fn gateways(config: &Config) -> String {
    let apns = config
        .push
        .apns
        .iter()
        .map(|app| format!("apns:{}", app.app_id));
    let fcm = config
        .push
        .fcm
        .iter()
        .map(|app| format!("fcm:{}", app.project_id));
    let sms = config
        .sms
        .gateways
        .iter()
        .map(|gateway| format!("sms:{}", gateway.name));
    let all: Vec<_> = apns.chain(fcm).chain(sms).collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(" ")
    }
}

/// Why the broker did not start, and what helps where there is nothing yet.
fn not_started(error: &StartError) -> Failure {
    let mut message = chain(error);
    if matches!(error, StartError::Open(OpenError::NotInitialised { .. })) {
        message.push_str(": `countersign init` makes it, with the same configuration");
    }
    Failure::failed(message)
}

/// Descriptors beside the connections: the store, logs, push gateways.
const OTHER_DESCRIPTORS: u64 = 256;

/// Asks the system for as many open files as the configured connections need,
/// and says so when it gives fewer.
fn allow_descriptors(max_connections: usize) {
    let connections = u64::try_from(max_connections).unwrap_or(u64::MAX);
    let wanted = connections
        .saturating_mul(2)
        .saturating_add(OTHER_DESCRIPTORS);
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|soft| soft >= wanted) {
        return;
    }
    let granted = now.maximum.map_or(wanted, |hard| hard.min(wanted));
    let raised = Rlimit {
        current: Some(granted),
        maximum: now.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() || granted < wanted {
        tracing::warn!(
            wanted,
            granted,
            "the limit of open files is too low for limits.max_connections on both ports"
        );
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Returns at the first signal; the second ends the process there and
    /// then, which loses nothing that was acknowledged.
    async fn first_ends_gracefully(mut self) {
        let name = self.next().await;
        tracing::info!(
            signal = name,
            "draining: no new work, running calls may end"
        );
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::warn!(signal = name, "second signal, stopping at once");
            std::process::exit(1);
        });
    }
}
