//! The broker's SMS gateways by themselves, for a test in another language.
//!
//! Usage: `texts CONFIG.toml`. Serves the status callbacks on `sms.callback_url`
//! and speaks JSON lines: a text on standard input (`to`, `body`, `reference`,
//! `seconds`), its outcome and every receipt on standard output, a receipt under
//! the key `receipt`. Ends when the input does, sessions unbound.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test program"
)]

use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_server::api::http::status_router;
use countersign_server::config::{Config, ConfigFile};
use countersign_server::delivery::sms::{SmsGateways, Text, TextOutcome, TextState};
use countersign_server::startup::status_callbacks;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn print(line: &Value) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn outcome(outcome: &TextOutcome) -> Value {
    let (gateway, reason) = match outcome {
        TextOutcome::Accepted { gateway } => (gateway.as_str(), ""),
        TextOutcome::Unknown { gateway, reason } => (gateway.as_str(), reason.as_str()),
        TextOutcome::RetryAfter { reason, .. }
        | TextOutcome::Rejected { reason }
        | TextOutcome::CredentialRejected { reason } => ("", reason.as_str()),
        TextOutcome::NoGateway => ("", ""),
    };
    json!({"outcome": outcome.name(), "gateway": gateway, "reason": reason})
}

async fn serve(gateways: Arc<SmsGateways>, callback_url: &str) {
    let address = callback_url.split_once("://").unwrap().1;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let router = status_router(status_callbacks(gateways));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                drop(
                    builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::DEBUG)
        .init();
    let name = std::env::args().nth(1).expect("a configuration file");
    let text = std::fs::read_to_string(&name).unwrap();
    let file = ConfigFile {
        name: &name,
        text: &text,
    };
    let sms = Config::load(Some(file), []).unwrap().config.sms;
    let gateways = Arc::new(SmsGateways::new(&sms, Arc::new(now_ms)).unwrap());
    gateways.on_receipt(Arc::new(|receipt| {
        let (state, reason) = match &receipt.state {
            TextState::Sent => ("sent", ""),
            TextState::Delivered => ("delivered", ""),
            TextState::Failed { reason } => ("failed", reason.as_str()),
        };
        let (reference, gateway) = (receipt.reference, receipt.gateway);
        print(&json!({"receipt": {
            "reference": reference, "gateway": gateway, "state": state, "reason": reason,
        }}));
    }));
    if let Some(url) = &sms.callback_url {
        serve(Arc::clone(&gateways), url).await;
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&gateways).run(stop.clone()));
    print(&json!({"ready": true}));

    let (sender, mut lines) = mpsc::unbounded_channel::<Value>();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            sender
                .send(serde_json::from_str(&line.unwrap()).unwrap())
                .unwrap();
        }
    });
    while let Some(line) = lines.recv().await {
        let of = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let seconds = Duration::from_secs(line["seconds"].as_u64().unwrap_or(300));
        let text = Text {
            id: Uuid::new_v4(),
            to: of("to"),
            body: of("body"),
            reference: of("reference"),
            expire_at_ms: now_ms() + u64::try_from(seconds.as_millis()).unwrap(),
        };
        print(&outcome(&gateways.send(&text).await));
    }
    stop.cancel();
    running.await.unwrap();
}
