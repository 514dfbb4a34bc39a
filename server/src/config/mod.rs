//! The broker's configuration: a TOML file, environment variables over it,
//! defaults under it.
//!
//! Every key can be set by an environment variable: `COUNTERSIGN_`, the key in
//! capitals, two underscores between levels, numbers for array elements:
//! `grpc.listen` is `COUNTERSIGN_GRPC__LISTEN`, the first APNs app's key file
//! `COUNTERSIGN_PUSH__APNS__0__KEY_FILE`. Unknown keys are faults, in the file
//! and in the environment; all faults are reported together, each naming its
//! key and where it was set. Secrets are named by file, so that no key holds one.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

mod address;
mod fault;
mod memory;
mod port;
mod push;
mod section;
mod sms;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use address::check_plaintext;
pub use fault::{Fault, Faults, Source};
pub use port::PortConfig;
pub use section::Setting;
pub(crate) use section::time_span;
pub use tree::{COMMAND_LINE_VARIABLES, ConfigFile};

use address::base_address;
use section::{Findings, Section, quoted};

use crate::{
    delivery::{PushConfig, sms::SmsConfig},
    domain::retention::Retention,
    telemetry::{LogConfig, LogFormat, check_filter},
    tls::Protocols,
};

/// Everything the broker can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `data_dir`: where everything durable lives. Default `countersign-data`
    /// in the working directory.
    pub data_dir: PathBuf,
    /// `public_url`: the address that goes into QR codes, without a trailing
    /// slash. `None`: [`Config::public_url_at`] makes it from `grpc.listen`.
    pub public_url: Option<String>,
    /// `issuer`: the `iss` of receipts. `None`: as `public_url`.
    pub issuer: Option<String>,
    /// `master_key_file`: the key under which secrets in the store are sealed.
    /// Default `master.key` in `data_dir`.
    pub master_key_file: PathBuf,
    /// `[grpc]`: the port of the four services. Default `127.0.0.1:7700`.
    pub grpc: PortConfig,
    /// `[http]`: the port of health, metrics and JWKS. Default `127.0.0.1:7701`.
    pub http: PortConfig,
    /// `[public_http]`: a second HTTP port, for JWKS and the callbacks of SMS
    /// gateways alone. Default: none.
    pub public_http: Option<PortConfig>,
    /// `[log]`
    pub log: LogConfig,
    /// `[limits]`
    pub limits: Limits,
    /// `[push]`
    pub push: PushConfig,
    /// `[sms]`
    pub sms: SmsConfig,
    /// `[retention]`: how long things are kept once they are done with.
    /// Defaults: challenges 30 d, tickets 1 d, audit 400 d.
    pub retention: Retention,
}

/// `[limits]`: what a caller can make the broker hold or wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `max_message_bytes`: the largest request message. Default 65536.
    pub max_message_bytes: usize,
    /// `max_connections`: open connections per port. Default 8000.
    pub max_connections: usize,
    /// `max_concurrent_streams`: calls in flight per HTTP/2 connection
    /// (RFC 9113, section 6.5.2). Default 1024.
    pub max_concurrent_streams: u32,
    /// `max_calls`: calls and streams open at a time, those that wait for a
    /// person included; a waiting caller takes about 7 KB. The identity providers
    /// of one organisation get three quarters of them at most, and so do its phones;
    /// once less than a quarter is free, those who have an eighth already get no
    /// more. A device has 16. An eighth as many besides are for callers who are
    /// not proven yet. Default 150000.
    pub max_calls: usize,
    /// `max_new_calls`: calls that begin something, in flight at a time. The
    /// limit in force is found by measuring; this is the most it can be.
    /// Default 1024.
    pub max_new_calls: u32,
    /// `max_store_cache_bytes`: pages of the store kept in memory, where they take
    /// about twice as much. Default: an eighth of the memory the process may have,
    /// 64 MiB to 512 MiB.
    pub max_store_cache_bytes: u64,
    /// `queue_delay`: how long a call may wait for its turn before new ones are
    /// refused; 50 µs while one organisation asks for more than can be done and
    /// another for little. Default 25 ms.
    pub queue_delay: Duration,
    /// `request_timeout`: how long a call may take that doesn't wait for a
    /// person. Default 10 s.
    pub request_timeout: Duration,
    /// `handshake_timeout`: how long a TLS handshake may take. Default 10 s.
    pub handshake_timeout: Duration,
    /// `keepalive_interval`: HTTP/2 pings on an idle connection. Default 60 s.
    pub keepalive_interval: Duration,
    /// `keepalive_timeout`: how long a ping may stay unanswered. Default 20 s.
    pub keepalive_timeout: Duration,
    /// `drain_timeout`: how long running calls get to end after SIGTERM.
    /// Default 30 s.
    pub drain_timeout: Duration,
    /// `allow_device_import`: `AdminService.ImportDevices`, which makes keys able
    /// to approve that were never proven. Default false.
    pub allow_device_import: bool,
}

/// A configuration and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every key in force and where it was set.
    pub settings: Vec<Setting>,
}

impl Config {
    /// Puts a configuration together and checks all that can be checked
    /// without binding a port, the files it names included.
    ///
    /// Variables in `environment` that don't begin with `COUNTERSIGN_` are
    /// ignored.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(
        file: Option<ConfigFile<'_>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, Faults> {
        let findings = Findings::default();
        let mut root = tree::Node {
            source: Source::Default,
            value: tree::Value::Table(Default::default()),
        };
        {
            let mut faults = findings.faults.borrow_mut();
            if let Some(file) = file {
                root = tree::from_file(file, &mut faults);
            }
            tree::lay_environment_over(&mut root, environment, &mut faults);
        }
        let config = read(Section::root(root, &findings), &findings);
        match Faults::new(findings.faults.into_inner()) {
            Some(faults) => Err(faults),
            None => Ok(Loaded {
                config,
                settings: findings.settings.into_inner(),
            }),
        }
    }

    /// The address that goes into QR codes, `bound` being where the gRPC port
    /// was bound.
    pub fn public_url_at(&self, bound: SocketAddr) -> String {
        self.public_url.clone().unwrap_or_else(|| {
            let scheme = if self.grpc.tls.is_some() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{bound}")
        })
    }

    /// The `iss` of receipts, `bound` being where the gRPC port was bound.
    pub fn issuer_at(&self, bound: SocketAddr) -> String {
        self.issuer
            .clone()
            .unwrap_or_else(|| self.public_url_at(bound))
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn read(mut root: Section<'_>, findings: &Findings) -> Config {
    let data_dir = root.path_or("data_dir", "countersign-data");
    let master_key_file = root.path_or(
        "master_key_file",
        data_dir.join("master.key").to_string_lossy().as_ref(),
    );
    let public_url = root.parsed("public_url", base_address);
    let issuer = root.text("issuer");
    let (grpc, grpc_listen) = port::read(
        root.section("grpc"),
        loopback(7700),
        Protocols::Grpc,
        findings,
    );
    let (http, _) = port::read(
        root.section("http"),
        loopback(7701),
        Protocols::Http,
        findings,
    );
    let public_http = port::read_optional(root.section("public_http"), Protocols::Http, findings);
    match &public_url {
        Some(url) => {
            if let Err(message) = check_plaintext(
                &url.value,
                grpc.allow_plaintext_beyond_loopback,
                "grpc.allow_plaintext_beyond_loopback = true",
            ) {
                root.fault(url.source.clone(), "public_url", message);
            }
        }
        None if grpc.listen.ip().is_unspecified() => root.fault(
            grpc_listen,
            "public_url",
            format!(
                "is missing: grpc.listen = {} is not an address that phones can reach",
                quoted(&grpc.listen.to_string())
            ),
        ),
        None => {}
    }
    let log = log(root.section("log"));
    let limits = limits(root.section("limits"));
    let push = push::read(root.section("push"));
    let plaintext_http = public_http
        .as_ref()
        .unwrap_or(&http)
        .allow_plaintext_beyond_loopback;
    let sms = sms::read(root.section("sms"), plaintext_http);
    let retention = retention(root.section("retention"));
    root.finish();
    let config = Config {
        data_dir,
        public_url: public_url.map(|url| url.value),
        issuer: issuer.map(|issuer| issuer.value),
        master_key_file,
        grpc,
        http,
        public_http,
        log,
        limits,
        push,
        sms,
        retention,
    };
    let listen = config.grpc.listen;
    for (key, set, value) in [
        (
            "public_url",
            &config.public_url,
            config.public_url_at(listen),
        ),
        ("issuer", &config.issuer, config.issuer_at(listen)),
    ] {
        // With port 0 it is known only once bound.
        if set.is_none() && listen.port() != 0 {
            findings.setting(key.to_owned(), quoted(&value), Source::Default);
        }
    }
    config
}

fn log(mut section: Section<'_>) -> LogConfig {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log = LogConfig {
        format: section
            .choice("format", "text", &formats, LogFormat::Text)
            .value,
        level: section
            .parsed_or("level", ("info".to_owned(), "info"), |text| {
                check_filter(text).map(|()| text.to_owned())
            })
            .value,
    };
    section.finish();
    log
}

fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        max_message_bytes: section.number_or("max_message_bytes", 65_536, 4_096..=4_194_304),
        max_connections: section.number_or("max_connections", 8_000, 1..=1_000_000),
        max_concurrent_streams: section.number_or("max_concurrent_streams", 1_024, 1..=1_000_000),
        max_calls: section.number_or("max_calls", 150_000, 1..=10_000_000),
        max_new_calls: section.number_or("max_new_calls", 1_024, 1..=1_000_000),
        max_store_cache_bytes: section.number_or(
            "max_store_cache_bytes",
            memory::store_cache(),
            1 << 24..=1 << 40,
        ),
        queue_delay: section.span_or("queue_delay", "25ms", ["1ms", "10s"]),
        request_timeout: section.span_or("request_timeout", "10s", ["1s", "5m"]),
        handshake_timeout: section.span_or("handshake_timeout", "10s", ["100ms", "2m"]),
        keepalive_interval: section.span_or("keepalive_interval", "60s", ["1s", "1h"]),
        keepalive_timeout: section.span_or("keepalive_timeout", "20s", ["1s", "10m"]),
        drain_timeout: section.span_or("drain_timeout", "30s", ["0s", "10m"]),
        allow_device_import: section.flag("allow_device_import").value,
    };
    section.finish();
    limits
}

fn retention(mut section: Section<'_>) -> Retention {
    // No shorter than the longest life of a challenge.
    let within = ["10m", "36500d"];
    let kept = Retention {
        challenges: section.span_or("challenges", "30d", within),
        tickets: section.span_or("tickets", "1d", within),
        audit: section.span_or("audit", "400d", within),
    };
    section.finish();
    kept
}
