//! The SMS emulators, the broker's gateways configured for them, and the port
//! that takes status callbacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use countersign_server::api::http::status_router;
use countersign_server::config::{Config, ConfigFile};
use countersign_server::delivery::sms::{
    SmsConfig, SmsGateways, Text, TextOutcome, TextReceipt, TextState,
};
use countersign_server::startup::status_callbacks;
use device_sim::gateway::sms::SmsGateway;
use device_sim::gateway::{GatewayClock, Gateways, GatewaysConfig};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::rig::START_MS;

pub(crate) const TO: &str = "+32470123456";
/// With characters that need two septets, and some that templates must encode.
pub(crate) const BODY: &str = "483920 is your code, Zoé & co: 5 € {ok}\n@host.example #483920";

pub(crate) struct SmsRig {
    pub(crate) clock: Arc<AtomicU64>,
    pub(crate) emulators: Gateways,
    pub(crate) gateways: Arc<SmsGateways>,
    pub(crate) receipts: UnboundedReceiver<TextReceipt>,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<()>,
}

impl SmsRig {
    /// With the emulators in this order.
    pub(crate) async fn start(order: &[SmsGateway]) -> Self {
        Self::with(order, |_| {}).await
    }

    pub(crate) async fn with(order: &[SmsGateway], change: impl FnOnce(&mut SmsConfig)) -> Self {
        let clock = Arc::new(AtomicU64::new(START_MS));
        let hand = Arc::clone(&clock);
        let emulators = Gateways::start(GatewaysConfig {
            clock: GatewayClock::from_fn(move || {
                UNIX_EPOCH + Duration::from_millis(hand.load(Ordering::SeqCst))
            }),
            ..GatewaysConfig::default()
        })
        .await
        .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callback_url = format!("http://{}", listener.local_addr().unwrap());
        let toml = emulators.sms().broker_toml(&callback_url, order);
        let file = ConfigFile {
            name: "sms.toml",
            text: &toml,
        };
        let mut config = Config::load(Some(file), []).unwrap().config.sms;
        change(&mut config);
        let hand = Arc::clone(&clock);
        let now = Arc::new(move || hand.load(Ordering::SeqCst));
        let gateways = Arc::new(SmsGateways::new(&config, now).unwrap());
        let (sender, receipts) = unbounded_channel();
        gateways.on_receipt(Arc::new(move |receipt| {
            sender.send(receipt).unwrap_or_default();
        }));
        let router = status_router(status_callbacks(Arc::clone(&gateways)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A connection that ends badly is the emulator's affair.
                    drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&gateways).run(stop.clone()));
        Self {
            clock,
            emulators,
            gateways,
            receipts,
            stop,
            running,
        }
    }

    pub(crate) fn advance_s(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    pub(crate) fn text(&self, to: &str) -> Text {
        Text {
            id: Uuid::new_v4(),
            to: to.to_owned(),
            body: BODY.to_owned(),
            reference: format!("ref-{}", to.trim_start_matches('+')),
            expire_at_ms: self.clock.load(Ordering::SeqCst) + 300_000,
        }
    }

    pub(crate) async fn send(&self, to: &str) -> TextOutcome {
        self.gateways.send(&self.text(to)).await
    }

    /// The next receipt that is not merely [`TextState::Sent`].
    pub(crate) async fn last_state(&mut self) -> TextReceipt {
        loop {
            let receipt = self.receipts.recv().await.unwrap();
            if receipt.state != TextState::Sent {
                return receipt;
            }
        }
    }

    /// How many messages the emulators took, by gateway.
    pub(crate) fn taken(&self, by: SmsGateway) -> usize {
        let messages = self.emulators.sms().inbox().messages();
        messages
            .iter()
            .filter(|message| message.gateway == by)
            .count()
    }
}

pub(crate) fn accepted_by(gateway: SmsGateway) -> TextOutcome {
    TextOutcome::Accepted {
        gateway: gateway.name().to_owned(),
    }
}
