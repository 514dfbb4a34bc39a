//! Emulators and senders that belong together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use countersign_server::delivery::{
    Content, Gateways as Senders, NowMs, Outcome, Push, PushConfig, PushEnvironment, PushGateway,
    PushTarget,
};
use device_sim::gateway::{
    Environment, GatewayClock, Gateways, GatewaysConfig, Registration, Vendor,
};
use futures_util::future::join_all;
use uuid::Uuid;

pub(crate) const START_MS: u64 = 1_800_000_000_000;
pub(crate) const TOPIC: &str = "be.example.countersign";
pub(crate) const PROJECT: &str = "countersign-example";

/// Emulators, the senders configured for them, and one clock for both, turned
/// by hand.
pub(crate) struct Rig {
    pub(crate) clock: Arc<AtomicU64>,
    pub(crate) gateways: Gateways,
    pub(crate) senders: Arc<Senders>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(GatewaysConfig::default(), |_| {}).await
    }

    pub(crate) async fn with(config: GatewaysConfig, change: impl FnOnce(&mut PushConfig)) -> Self {
        let clock = Arc::new(AtomicU64::new(START_MS));
        let hand = Arc::clone(&clock);
        let gateways = Gateways::start(GatewaysConfig {
            clock: GatewayClock::from_fn(move || {
                UNIX_EPOCH + Duration::from_millis(hand.load(Ordering::SeqCst))
            }),
            ..config
        })
        .await
        .unwrap();
        let mut push = push_config(&gateways);
        change(&mut push);
        let hand = Arc::clone(&clock);
        let now: NowMs = Arc::new(move || hand.load(Ordering::SeqCst));
        Self {
            senders: Arc::new(Senders::new(&push, now).unwrap()),
            clock,
            gateways,
        }
    }

    pub(crate) fn advance_s(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    pub(crate) fn issue(
        &self,
        gateway: PushGateway,
        app_id: &str,
        environment: Environment,
    ) -> String {
        let registration = Registration {
            gateway: match gateway {
                PushGateway::Apns => Vendor::Apns,
                PushGateway::Fcm => Vendor::Fcm,
            },
            app_id: app_id.to_owned(),
            environment,
        };
        self.gateways.issue_token(&registration).unwrap()
    }

    /// A new phone's target.
    pub(crate) fn phone(&self, gateway: PushGateway) -> PushTarget {
        let app_id = app(gateway);
        PushTarget {
            gateway,
            app_id: app_id.to_owned(),
            environment: PushEnvironment::Production,
            token: self.issue(gateway, app_id, Environment::Production),
        }
    }

    /// A wake-up that expires in a minute.
    pub(crate) fn push(&self, target: PushTarget) -> Push {
        Push {
            push_id: Uuid::new_v4(),
            collapse_id: "opaque-1".into(),
            target,
            expire_at_ms: self.clock.load(Ordering::SeqCst) + 60_000,
            content: Content::WakeUp {
                challenge_id: "challenge-1".into(),
            },
        }
    }

    /// Wakes a new phone.
    pub(crate) async fn send(&self, gateway: PushGateway) -> Outcome {
        self.send_to(self.phone(gateway)).await
    }

    pub(crate) async fn send_to(&self, target: PushTarget) -> Outcome {
        self.senders.send(&self.push(target)).await
    }

    /// Wakes one phone `count` times at once.
    pub(crate) async fn send_many(&self, gateway: PushGateway, count: usize) -> Vec<Outcome> {
        let target = self.phone(gateway);
        let tasks = (0..count).map(|_| {
            let (senders, push) = (Arc::clone(&self.senders), self.push(target.clone()));
            tokio::spawn(async move { senders.send(&push).await })
        });
        let outcomes = join_all(tasks).await;
        outcomes.into_iter().map(Result::unwrap).collect()
    }
}

pub(crate) fn app(gateway: PushGateway) -> &'static str {
    match gateway {
        PushGateway::Apns => TOPIC,
        PushGateway::Fcm => PROJECT,
    }
}

/// The configuration as an operator would paste it.
pub(crate) fn push_config(gateways: &Gateways) -> PushConfig {
    let table: toml::Table = toml::from_str(&gateways.broker_toml()).unwrap();
    table["push"].clone().try_into().unwrap()
}

/// How many outcomes there are of each kind.
pub(crate) fn tally(outcomes: &[Outcome]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for outcome in outcomes {
        *tally.entry(format!("{outcome:?}")).or_default() += 1;
    }
    tally
}

/// Fails, telling the outcomes, unless all are [`Outcome::Accepted`].
#[track_caller]
pub(crate) fn assert_all_accepted(outcomes: &[Outcome]) {
    let expected = BTreeMap::from([("Accepted".to_owned(), outcomes.len())]);
    assert_eq!(tally(outcomes), expected);
}
