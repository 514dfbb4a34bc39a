//! The senders against small scripted servers, for faults that must hit one
//! exact spot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod apns;
mod apns_server;
mod fcm;
mod fcm_server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use uuid::Uuid;

use super::*;

const START_MS: u64 = 1_700_000_000_000;

/// A clock turned by hand.
#[derive(Clone)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START_MS)))
    }

    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn advance_s(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn source(&self) -> NowMs {
        let clock = self.clone();
        Arc::new(move || clock.now_ms())
    }

    /// A push that expires in a minute.
    fn push(&self, gateway: PushGateway, token: &str) -> Push {
        Push {
            push_id: Uuid::new_v4(),
            collapse_id: "collapse-1".into(),
            target: PushTarget {
                gateway,
                app_id: "be.example.app".into(),
                environment: PushEnvironment::Production,
                token: token.into(),
            },
            expire_at_ms: self.now_ms() + 60_000,
            content: Content::WakeUp {
                challenge_id: "challenge-1".into(),
            },
        }
    }
}

/// Writes a new P-256 key in PKCS#8 PEM.
fn write_ec_key(path: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(path, key.serialize_pem()).unwrap();
}

/// Writes a service account with a new RSA key; returns the public key in PEM.
fn write_service_account(path: &Path, token_uri: &str, key_id: &str) -> String {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;

    let pem = |label: &str, der: &[u8]| {
        let lines: Vec<String> = STANDARD
            .encode(der)
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    };
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let account = serde_json::json!({
        "type": "service_account",
        "project_id": "be.example.app",
        "private_key_id": key_id,
        "private_key": pem("PRIVATE KEY", private.as_ref()),
        "client_email": "sender@be.example.app",
        "token_uri": token_uri,
    });
    std::fs::write(path, account.to_string()).unwrap();
    pem("PUBLIC KEY", public.as_ref())
}

/// Part `n` of a JWT, unverified.
fn jwt_part(jwt: &str, n: usize) -> Value {
    let part = jwt.split('.').nth(n).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_target_without_an_app_has_no_gateway() {
    let clock = Clock::new();
    let gateways = Gateways::new(&PushConfig::default(), clock.source()).unwrap();
    for gateway in [PushGateway::Apns, PushGateway::Fcm] {
        let outcome = gateways.send(&clock.push(gateway, "abc")).await;
        assert_eq!(outcome, Outcome::NoGateway);
    }
}

#[test]
fn all_bad_files_are_named_together() {
    let missing = PathBuf::from("/nonexistent/file");
    let config = PushConfig {
        apns: vec![ApnsApp {
            app_id: "app".into(),
            environment: PushEnvironment::Sandbox,
            team_id: "TEAM".into(),
            key_id: "KEY".into(),
            key_file: missing.clone(),
            url: None,
            root_ca_file: None,
            max_in_flight: 1,
        }],
        fcm: vec![FcmApp {
            project_id: "p".into(),
            service_account_file: missing,
            url: None,
            root_ca_file: Some("/nonexistent/ca".into()),
            max_in_flight: 1,
        }],
    };
    let fault = Gateways::new(&config, Clock::new().source()).unwrap_err();
    assert_eq!(fault.faults.len(), 2);
    assert!(fault.to_string().contains("apns[0].key_file: /nonexistent"));
    assert!(fault.to_string().contains("fcm[0].root_ca_file"));
}

#[test]
fn debug_shows_no_token_and_no_ciphertext() {
    let mut push = Clock::new().push(PushGateway::Fcm, "0123456789abcdef");
    push.content = Content::Sealed {
        challenge_id: "c".into(),
        ciphertext: vec![77; 9], // "MMM" to whoever prints bytes as text
    };
    let text = format!("{push:?}");
    assert!(text.contains("012345…") && !text.contains("0123456"));
    assert!(!text.contains("77, 77") && !text.contains("MMM"), "{text}");
}
