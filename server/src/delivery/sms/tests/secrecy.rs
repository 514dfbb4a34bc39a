//! Neither number nor code nor secret is logged, by us or by the libraries.

use std::io::Write;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

use super::smsc::{Fate, Smsc};
use super::*;

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

#[test]
fn nothing_is_told_at_the_most_talkative_level() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // All on this thread, so that the subscriber hears everything; the small
    // servers trace too, but on a runtime and thread of their own.
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (web, smsc) = servers.block_on(async {
        let web = Server::start(|n, _| match n {
            0 => (503, NUMBER.to_owned()),
            _ => (202, CODE.to_owned()),
        });
        let smsc = Smsc::start(|n| match n {
            0 => Fate::Refuse(rusmpp::CommandStatus::EsmeRthrottled),
            _ => Fate::Take("77", vec![format!("id:77 stat:DELIVRD text:{CODE}")]),
        });
        (web.await, smsc.await)
    });
    let here = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tracing::subscriber::with_default(subscriber, || {
        here.block_on(async {
            let rig = Rig::new(|secret| {
                vec![
                    (
                        "smsc",
                        SmsGatewayKind::Smpp(smpp::config(smsc.port, secret.clone())),
                    ),
                    (
                        "hook",
                        SmsGatewayKind::Webhook(webhook_to(web.url.clone(), secret.clone())),
                    ),
                    (
                        "tw",
                        SmsGatewayKind::Twilio(twilio::config(web.url.clone(), secret)),
                    ),
                ]
            });
            let stop = CancellationToken::new();
            let running = tokio::spawn(Arc::clone(&rig.gateways).run(stop.clone()));
            for _ in 0..3 {
                rig.send().await;
            }
            while rig.receipts.lock().is_empty() {
                tokio::task::yield_now().await;
            }
            stop.cancel();
            running.await.unwrap();
        });
    });
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(
        log.contains("text_attempt") && log.contains("smpp session bound"),
        "{log}"
    );
    // As text, in hex, and as lists of bytes.
    for needle in ["470123456", CODE, SECRET, "s3cr%26t"] {
        let hex: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
        let list: Vec<String> = needle.bytes().map(|byte| byte.to_string()).collect();
        for guise in [needle.to_owned(), hex.to_uppercase(), hex, list.join(", ")] {
            let found = log.lines().find(|line| line.contains(&guise));
            assert_eq!(found, None, "{guise}");
        }
    }
}
