//! Nothing secret of the push senders in any log, at any level. A binary of its
//! own, since it takes the whole process's log.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "tests, with a rig made for more"
)]

#[path = "delivery/rig.rs"]
mod rig;

use std::io::Write;
use std::sync::Arc;

use countersign_server::delivery::PushGateway;
use device_sim::fault::Fault;
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::rig::Rig;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_and_no_key_in_the_log_at_trace() {
    let log = Log::default();
    // With the records of the `log` crate, which some of the clients write.
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .init();
    let rig = Rig::start().await;
    let mut tokens = Vec::new();
    for (gateway, name) in [(PushGateway::Apns, "apns"), (PushGateway::Fcm, "fcm")] {
        let faults = [
            Fault::None,
            Fault::Unregistered,
            Fault::BadDeviceToken,
            Fault::InternalError,
            Fault::Disconnect,
            Fault::None,
            Fault::Reply {
                status: 403,
                reason: "Forbidden".into(),
                retry_after: None,
            },
        ];
        rig.gateways.faults(name).unwrap().schedule(faults);
        for _ in 0..6 {
            let target = rig.phone(gateway);
            tokens.push(target.token.clone());
            let push = rig.push(target);
            let outcome = rig.senders.send(&push).await;
            tracing::info!(?push, ?outcome, "sent");
        }
    }
    tracing::info!(senders = ?rig.senders, alarms = ?rig.senders.alarms(), "state");

    let log = String::from_utf8_lossy(&log.0.lock()).into_owned();
    assert!(
        log.contains("push_attempt{gateway=\"apns\""),
        "spans are there"
    );
    assert!(
        log.contains("push_attempt{gateway=\"fcm\""),
        "spans are there"
    );
    assert!(log.contains("TRACE"), "at trace");
    for token in tokens {
        assert!(!log.contains(&token[..12]), "device token");
    }
    // How every JWT and every access token of the emulator begins, and what
    // stands in every key file.
    for secret in ["eyJ", "ya29.", "PRIVATE KEY"] {
        let at = log.find(secret);
        let around = at.map(|at| &log[at.saturating_sub(200)..at + 20]);
        assert_eq!(around, None);
    }
}
