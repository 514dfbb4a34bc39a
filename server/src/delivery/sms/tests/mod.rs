//! The gateways against small scripted servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod failover;
mod http_server;
mod secrecy;
mod smpp;
mod smsc;
mod twilio;
mod webhook;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Method};
use parking_lot::Mutex;
use tempfile::TempDir;

use self::http_server::{Server, Told};
use super::*;
use crate::delivery::NowMs;

const START_MS: u64 = 1_700_000_000_000;
const CALLBACK_URL: &str = "https://broker.example:7701";
/// What must never be logged.
const NUMBER: &str = "+32470123456";
const CODE: &str = "483920";
const SECRET: &str = "s3cr&t/=";

/// Gateways, their secrets and a clock turned by hand.
struct Rig {
    dir: TempDir,
    clock: Arc<AtomicU64>,
    gateways: Arc<SmsGateways>,
    receipts: Arc<Mutex<Vec<TextReceipt>>>,
}

/// A directory with the secret in it.
fn secrets() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    (dir, path)
}

impl Rig {
    fn new(kinds: impl FnOnce(PathBuf) -> Vec<(&'static str, SmsGatewayKind)>) -> Self {
        let (dir, secret) = secrets();
        let gateways = kinds(secret)
            .into_iter()
            .map(|(name, kind)| SmsGatewayConfig {
                name: name.to_owned(),
                max_in_flight: 4,
                kind,
            });
        let config = SmsConfig {
            callback_url: Some(CALLBACK_URL.to_owned()),
            gateways: gateways.collect(),
        };
        let clock = Arc::new(AtomicU64::new(START_MS));
        let told = Arc::clone(&clock);
        let now: NowMs = Arc::new(move || told.load(Ordering::SeqCst));
        let gateways = Arc::new(SmsGateways::new(&config, now).unwrap());
        let receipts: Arc<Mutex<Vec<TextReceipt>>> = Arc::default();
        let sink = Arc::clone(&receipts);
        gateways.on_receipt(Arc::new(move |receipt| sink.lock().push(receipt)));
        Self {
            dir,
            clock,
            gateways,
            receipts,
        }
    }

    fn advance_s(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn text(&self) -> Text {
        Text {
            id: Uuid::from_u128(7),
            to: NUMBER.to_owned(),
            body: format!("{CODE} is your code, Zoé & co"),
            reference: "ref-1".to_owned(),
            expire_at_ms: self.clock.load(Ordering::SeqCst) + 300_000,
        }
    }

    async fn send(&self) -> TextOutcome {
        self.gateways.send(&self.text()).await
    }

    fn callback(&self, gateway: &str, told: &Told) -> Result<(), CallbackRefused> {
        self.gateways.callback(
            gateway,
            CallbackRequest {
                method: &told.method,
                path_and_query: &told.path_and_query,
                headers: &told.headers,
                body: &told.body,
            },
        )
    }

    fn states(&self) -> Vec<TextState> {
        let receipts = self.receipts.lock();
        assert!(receipts.iter().all(|receipt| receipt.reference == "ref-1"));
        receipts
            .iter()
            .map(|receipt| receipt.state.clone())
            .collect()
    }
}

fn accepted_by(gateway: &str) -> TextOutcome {
    TextOutcome::Accepted {
        gateway: gateway.to_owned(),
    }
}

fn webhook_to(url: String, secret_file: PathBuf) -> WebhookConfig {
    WebhookConfig {
        method: Method::GET,
        url: format!(
            "{url}/send?to={{to}}&text={{text}}&pw={{secret}}&dlr={{status_url}}%26status%3D%25d"
        ),
        headers: Vec::new(),
        body: None,
        secret_file: Some(secret_file),
        callback_secret_file: None,
        success_pattern: None,
        status: StatusWords::default(),
        root_ca_file: None,
        allow_plaintext: false,
    }
}

#[test]
fn debug_shows_neither_number_nor_code() {
    let rig = Rig::new(|_| Vec::new());
    let text = format!("{:?}", rig.text());
    assert!(text.contains("+XXXXXXXXX56"), "{text}");
    assert!(!text.contains("470123") && !text.contains(CODE), "{text}");
    assert_eq!(masked("+3256"), "+XX56");
    assert_eq!(masked("+5"), "+5");
    assert_eq!(masked("drop"), "????");
}

#[tokio::test]
async fn without_gateways_and_with_bad_numbers() {
    let none = Rig::new(|_| Vec::new());
    assert!(!none.gateways.is_configured());
    assert_eq!(none.send().await, TextOutcome::NoGateway);

    let server = Server::start(|_, _| (202, String::new())).await;
    let rig = Rig::new(|secret| {
        let webhook = webhook_to(server.url.clone(), secret);
        vec![("hook", SmsGatewayKind::Webhook(webhook))]
    });
    assert!(rig.gateways.is_configured());
    for to in [
        "",
        "32470123456",
        "+0123",
        "+1234567890123456",
        "+32 470",
        "+3247012345é",
    ] {
        let text = Text {
            to: to.to_owned(),
            ..rig.text()
        };
        let outcome = rig.gateways.send(&text).await;
        assert_eq!(outcome.name(), "rejected", "{to}");
    }
    let expired = Text {
        expire_at_ms: START_MS,
        ..rig.text()
    };
    assert_eq!(rig.gateways.send(&expired).await.name(), "rejected");
    let forged = Text {
        reference: "a&b".to_owned(),
        ..rig.text()
    };
    assert_eq!(rig.gateways.send(&forged).await.name(), "rejected");
    assert_eq!(server.told().len(), 0);
}

#[test]
fn faults_are_told_together_with_their_keys() {
    let (_dir, secret) = secrets();
    let webhook = |url: &str| WebhookConfig {
        url: url.to_owned(),
        ..webhook_to(String::new(), secret.clone())
    };
    let faults_of = |kind| {
        let config = SmsGatewayConfig {
            name: "a".to_owned(),
            max_in_flight: 1,
            kind,
        };
        config.faults(true)
    };
    let faults = |webhook| -> Vec<String> {
        let faults = faults_of(SmsGatewayKind::Webhook(webhook));
        faults
            .into_iter()
            .map(|(key, fault)| format!("{key} {fault}"))
            .collect()
    };
    let full = "https://h/?{to}{text}";
    assert_eq!(faults(webhook(full)), [""; 0]);
    for url in [
        "http://10.0.0.1/?{to}{text}",
        "ftp://h/{to}{text}",
        "https://{to}/{text}",
        "https://h{to}/{text}",
        "https://u:p@h/{to}{text}",
        "{to}{text}",
    ] {
        let found = faults(webhook(url));
        assert!(
            found[0].starts_with("url must be https://"),
            "{url} {found:?}"
        );
    }
    let open = WebhookConfig {
        allow_plaintext: true,
        ..webhook("http://10.0.0.1/?{to}{text}")
    };
    assert_eq!(faults(open), [""; 0]);
    assert!(faults(webhook("https://h/{text}"))[0].contains("{to}"));
    assert!(faults(webhook("https://h/{to}"))[0].contains("{text}"));
    assert!(faults(webhook("https://h/{to}{text}{code}"))[0].starts_with("url {code} is none of"));

    let posting = |content_type: &str, body: &str| WebhookConfig {
        method: Method::POST,
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: Some(body.to_owned()),
        ..webhook("https://h/")
    };
    let body = r#"{"to":"{to}","text":"{text}"}"#;
    assert_eq!(
        faults(posting("application/json; charset=utf-8", body)),
        [""; 0]
    );
    assert!(faults(posting("image/png", body))[0].starts_with("headers must have"));
    assert!(
        faults(posting(
            "application/json",
            r#"{"to":{to},"text":"{text}"}"#
        ))[0]
            .starts_with("body is not JSON")
    );
    let headers = |name: &str, value: &str| WebhookConfig {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..webhook(full)
    };
    assert_eq!(faults(headers("Authorization", "Bearer {secret}")), [""; 0]);
    assert!(faults(headers("authorization", "Bearer abc"))[0].contains("secrets come from files"));
    assert!(faults(headers("x", "{text}"))[0].contains("can't stand in a header"));
    assert!(faults(headers("a b", "c"))[0].contains("is not a header's name"));
    let no_secret = WebhookConfig {
        secret_file: None,
        ..webhook("https://h/{to}{text}{secret}{status_url}")
    };
    let found = faults(no_secret);
    assert!(found[0].starts_with("secret_file is missing"), "{found:?}");
    assert!(
        found[1].starts_with("callback_secret_file is missing"),
        "{found:?}"
    );

    let smpp = |address: &str| SmppConfig {
        address: address.to_owned(),
        ..smpp::config(0, secret.clone())
    };
    for address in [
        "10.0.0.1:2775",
        "smsc.example:2775",
        "h",
        ":1",
        "h:0",
        "a:b:1",
        "u@h:1",
    ] {
        let found = faults_of(SmsGatewayKind::Smpp(smpp(address)));
        assert_eq!(found[0].0, "address", "{address}");
    }
    for address in ["127.0.0.1:2775", "[::1]:2775", "localhost:1"] {
        assert_eq!(
            faults_of(SmsGatewayKind::Smpp(smpp(address))),
            [],
            "{address}"
        );
    }

    let twice = SmsGatewayConfig {
        name: "A!".to_owned(),
        max_in_flight: 0,
        kind: SmsGatewayKind::Smpp(SmppConfig {
            password_file: "/nonexistent".into(),
            ..smpp("127.0.0.1:1")
        }),
    };
    let config = SmsConfig {
        callback_url: None,
        gateways: vec![twice.clone(), twice],
    };
    let fault = SmsGateways::new(&config, Arc::new(|| 0)).unwrap_err();
    let text = fault.to_string();
    assert_eq!(fault.faults.len(), 7, "{text}");
    assert!(
        text.starts_with("sms: gateways[0].name: must be 1 to 32"),
        "{text}"
    );
    assert!(text.contains("gateways[1].name: is there twice"), "{text}");
    assert!(
        text.contains("gateways[1].password_file: /nonexistent: entity not found"),
        "{text}"
    );
}

fn no_headers() -> HeaderMap {
    HeaderMap::new()
}
