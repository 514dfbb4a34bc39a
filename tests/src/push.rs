//! A broker, the emulated push gateways, and phones that pushes wake.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use countersign_proto::v1;
use countersign_server::clock::{Clock, ManualClock};
use device_sim::{
    gateway::{
        Arrival, Environment, GatewayClock, Gateways, GatewaysConfig, Push, Pushes, Registration,
        SmsGateway, Vendor,
    },
    phone::{Phone, VerifiedChallenge},
};
use tokio::sync::broadcast;

use crate::{
    START_MS, Tenant, TestBroker,
    gate::Gate,
    process::{self, BrokerProcess},
};

/// The emulators' example app for iPhones.
pub const TOPIC: &str = "be.example.countersign";
/// The emulators' example app for Android.
pub const PROJECT: &str = "countersign-example";
/// Gateways for texts, unless a test says otherwise: without the one that has
/// to be bound before it takes any.
const TEXTS: [SmsGateway; 2] = [SmsGateway::Webhook, SmsGateway::Twilio];
/// Only for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails a test that would otherwise hang.
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: in vain"))
}

/// A broker with its gateways, on one clock, and an organisation in it.
pub struct PushWorld {
    pub broker: TestBroker,
    pub gateways: Gateways,
    pub tenant: Tenant,
    /// Between the broker and APNs.
    pub apns_gate: Gate,
    /// Between the broker and FCM.
    pub fcm_gate: Gate,
}

impl PushWorld {
    /// On a clock turned by hand, which has been turned since the start.
    pub async fn start() -> Self {
        Self::start_texting(&TEXTS).await
    }

    /// The same; texts are tried at these gateways in this order.
    pub async fn start_texting(order: &[SmsGateway]) -> Self {
        let (clock, hand) = Clock::manual(START_MS);
        let config = GatewaysConfig::default();
        let world = Self::start_all(config, order, clock, Some(hand)).await;
        // What an earlier process may have sent is older than this one.
        world.broker.pass(Duration::from_secs(1));
        world
    }

    /// On the machine's clock.
    pub async fn start_real() -> Self {
        Self::start_with(GatewaysConfig::default(), Clock::system(), None).await
    }

    pub async fn start_with(
        config: GatewaysConfig,
        clock: Clock,
        hand: Option<ManualClock>,
    ) -> Self {
        Self::start_all(config, &TEXTS, clock, hand).await
    }

    async fn start_all(
        config: GatewaysConfig,
        order: &[SmsGateway],
        clock: Clock,
        hand: Option<ManualClock>,
    ) -> Self {
        let front = Gate::new().await;
        let (gateways, apns_gate, fcm_gate, toml) = gateways(config, order, &front, &clock).await;
        let broker = TestBroker::start_behind(Some(front), &toml, clock, hand).await;
        let tenant = broker.tenant().await;
        Self {
            broker,
            gateways,
            tenant,
            apns_gate,
            fcm_gate,
        }
    }

    /// With a broker that is a process of its own, in `dir`, to be killed.
    pub async fn start_process(dir: &Path) -> (Self, BrokerProcess) {
        let config = GatewaysConfig {
            // A broker that starts anew has a new provider token.
            token_change_limit: None,
            ..GatewaysConfig::default()
        };
        let front = Gate::new().await;
        let clock = Clock::system();
        let (gateways, apns_gate, fcm_gate, toml) = gateways(config, &TEXTS, &front, &clock).await;
        std::fs::write(dir.join("broker.toml"), toml).unwrap();
        let admin_key = process::init(&dir.join("data"));
        let process = serve(dir, "127.0.0.1:0");
        let mut broker = TestBroker::elsewhere(admin_key, &process.grpc, &process.http);
        front.lead_to(broker.http);
        broker.front = Some(front);
        let tenant = broker.tenant().await;
        let world = Self {
            broker,
            gateways,
            tenant,
            apns_gate,
            fcm_gate,
        };
        (world, process)
    }

    /// Starts the broker of [`PushWorld::start_process`] again, where it was.
    pub fn start_again(&mut self, dir: &Path) -> BrokerProcess {
        let process = serve(dir, &self.broker.grpc.to_string());
        self.broker.http = process.http.parse().unwrap();
        if let Some(front) = &self.broker.front {
            front.lead_to(self.broker.http);
        }
        process
    }

    /// A new phone of `user`, with a token.
    pub async fn phone(&self, vendor: Vendor, user: &str) -> PushedPhone {
        let registration = self.registration(vendor);
        let mut options = self.broker.options(&self.tenant, user).await;
        if vendor == Vendor::Apns {
            // No Secure Enclave holds Ed25519.
            options.algorithm = v1::KeyAlgorithm::P256;
            options.platform = v1::Platform::Ios;
        }
        options.push = Some(registration.clone());
        PushedPhone {
            vendor,
            pushes: self
                .gateways
                .devices()
                .connect(&registration.token)
                .unwrap(),
            token: registration.token,
            phone: Phone::enroll(options).await.unwrap(),
        }
    }

    /// A new token from the vendor, as the phone would tell the broker.
    pub fn registration(&self, vendor: Vendor) -> v1::PushRegistration {
        let (gateway, app_id) = match vendor {
            Vendor::Apns => (v1::Gateway::Apns, TOPIC),
            Vendor::Fcm => (v1::Gateway::Fcm, PROJECT),
        };
        let token = self
            .gateways
            .issue_token(&Registration {
                gateway: vendor,
                app_id: app_id.into(),
                environment: Environment::Production,
            })
            .unwrap();
        v1::PushRegistration {
            gateway: gateway.into(),
            app_id: app_id.into(),
            environment: v1::PushEnvironment::Production.into(),
            token,
        }
    }

    /// Follows a challenge until it is as wanted.
    pub async fn until(
        &self,
        id: &str,
        what: &str,
        wanted: impl Fn(&v1::Challenge) -> bool,
    ) -> v1::Challenge {
        let mut changes = self
            .broker
            .approvals(&self.tenant)
            .watch_challenge(v1::WatchChallengeRequest {
                challenge_id: id.into(),
            })
            .await
            .unwrap()
            .into_inner();
        let mut seen = Vec::new();
        patiently(what, async {
            while let Some(change) = changes.message().await.unwrap() {
                let challenge = change.challenge.unwrap();
                if wanted(&challenge) {
                    return challenge;
                }
                seen.push((challenge.state(), challenge.reason(), challenge.deliveries));
            }
            panic!("{what}: never so: {seen:#?}");
        })
        .await
    }

    /// Follows the prompt to `phone` until it has come so far.
    pub async fn delivered(
        &self,
        id: &str,
        phone: &Phone,
        state: v1::DeliveryState,
    ) -> v1::Delivery {
        let so = |challenge: &v1::Challenge| delivery(challenge, phone).state() == state;
        let challenge = self.until(id, state.as_str_name(), so).await;
        delivery(&challenge, phone)
    }

    pub async fn ask(&self, user: &str) -> v1::Challenge {
        self.broker.ask(&self.tenant, user).await
    }

    /// What reached the gateways about a challenge, as `kind`: `challenge` or
    /// `withdraw`.
    pub fn arrived(&self, kind: &str, challenge_id: &str) -> Vec<Arc<Arrival>> {
        let mut arrived = self.gateways.received();
        arrived.retain(|arrival| {
            Said::read(&arrival.payload)
                .is_some_and(|said| said.kind == kind && said.challenge_id == challenge_id)
        });
        arrived
    }

    /// Whether the broker thinks that it can wake this phone.
    pub async fn has_token(&self, phone: &Phone) -> bool {
        let known = self
            .broker
            .enrollments(&self.tenant)
            .list_authenticators(v1::ListAuthenticatorsRequest {
                user_id: phone.user_id().into(),
            })
            .await
            .unwrap()
            .into_inner()
            .authenticators;
        let found = known
            .into_iter()
            .find(|one| one.authenticator_id == phone.device_id());
        match found.and_then(|one| one.kind) {
            Some(v1::authenticator::Kind::Device(device)) => device.has_push_token,
            other => panic!("no such device: {other:?}"),
        }
    }

    pub async fn cancel(&self, id: &str) -> v1::Challenge {
        self.broker
            .approvals(&self.tenant)
            .cancel_challenge(v1::CancelChallengeRequest {
                challenge_id: id.into(),
            })
            .await
            .unwrap()
            .into_inner()
            .challenge
            .unwrap()
    }

    /// A page of the HTTP port.
    pub async fn page(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.broker.http);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }
}

/// The emulators on a broker's clock, what stands before them, and the broker's
/// configuration.
async fn gateways(
    config: GatewaysConfig,
    order: &[SmsGateway],
    front: &Gate,
    clock: &Clock,
) -> (Gateways, Gate, Gate, String) {
    let told = clock.clone();
    let gateways = Gateways::start(GatewaysConfig {
        clock: GatewayClock::from_fn(move || UNIX_EPOCH + Duration::from_millis(told.now_ms())),
        ..config
    })
    .await
    .unwrap();
    let apns_gate = gate(gateways.apns().url()).await;
    let fcm_gate = gate(gateways.fcm().url()).await;
    let mut toml = gateways
        .broker_toml()
        .replace(gateways.apns().url(), &at(&apns_gate))
        .replace(gateways.fcm().url(), &at(&fcm_gate));
    let callback_url = format!("http://{}", front.addr());
    toml += &gateways.sms().broker_toml(&callback_url, order);
    (gateways, apns_gate, fcm_gate, toml)
}

fn serve(dir: &Path, grpc: &str) -> BrokerProcess {
    let file = dir.join("broker.toml").display().to_string();
    let environment = [
        ("COUNTERSIGN_CONFIG", file.as_str()),
        ("COUNTERSIGN_GRPC__LISTEN", grpc),
    ];
    BrokerProcess::start_with(&dir.join("data"), &environment)
}

async fn gate(url: &str) -> Gate {
    let addr = url.trim_start_matches("https://").parse().unwrap();
    Gate::before(addr).await
}

fn at(gate: &Gate) -> String {
    format!("https://{}", gate.addr())
}

/// Waits for what reaches the gateways.
pub async fn arrival(
    arrivals: &mut broadcast::Receiver<Arc<Arrival>>,
    kind: &str,
    challenge_id: &str,
) -> Arc<Arrival> {
    patiently("an arrival at a gateway", async {
        loop {
            let arrival = arrivals.recv().await.unwrap();
            if Said::read(&arrival.payload)
                .is_some_and(|said| said.kind == kind && said.challenge_id == challenge_id)
            {
                return arrival;
            }
        }
    })
    .await
}

/// The prompt's way to `phone`.
pub fn delivery(challenge: &v1::Challenge, phone: &Phone) -> v1::Delivery {
    let found = challenge
        .deliveries
        .iter()
        .find(|delivery| delivery.device_id == phone.device_id());
    found.expect("this phone was not asked").clone()
}

/// The app's part of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `challenge`, `sealed`, `withdraw` or `notice`.
    pub kind: String,
    pub challenge_id: String,
}

impl Said {
    /// From an APNs payload or an FCM request or message.
    pub fn read(payload: &serde_json::Value) -> Option<Self> {
        let own = match &payload["countersign"] {
            serde_json::Value::Null => {
                let message = match &payload["message"] {
                    serde_json::Value::Null => payload,
                    message => message,
                };
                serde_json::from_str(message["data"]["countersign"].as_str()?).ok()?
            }
            own => own.clone(),
        };
        Some(Self {
            kind: own["t"].as_str()?.to_owned(),
            challenge_id: own["id"].as_str()?.to_owned(),
        })
    }

    pub fn of(push: &Push) -> Self {
        match push {
            Push::Apns(push) => Self::read(&push.payload),
            Push::Fcm(push) => Self::read(&push.message),
        }
        .unwrap_or_else(|| panic!("not a push of ours: {push:?}"))
    }
}

/// A phone that is woken by pushes.
pub struct PushedPhone {
    pub phone: Phone,
    pub vendor: Vendor,
    pub token: String,
    pub pushes: Pushes,
}

impl PushedPhone {
    /// The next push that is about a challenge.
    pub async fn woken(&mut self) -> Said {
        loop {
            let said = self.told().await;
            if said.kind != "notice" {
                return said;
            }
        }
    }

    /// The next push of any kind.
    pub async fn told(&mut self) -> Said {
        let push = patiently("a push", self.pushes.recv()).await;
        Said::of(&push.expect("the token is dead"))
    }

    /// Fetches a challenge and checks it.
    pub async fn fetch(&self, challenge_id: &str) -> VerifiedChallenge {
        let pending = self.phone.list_pending().await.unwrap();
        assert!(pending.refused.is_empty(), "{:?}", pending.refused);
        let mut challenges = pending.challenges.into_iter();
        challenges
            .find(|one| one.id() == challenge_id)
            .expect("not pending")
    }

    /// Fetches and approves.
    pub async fn approve(&self, challenge_id: &str) {
        let challenge = self.fetch(challenge_id).await;
        self.phone
            .respond(&challenge, v1::Decision::Approve, "")
            .await
            .unwrap();
    }
}
