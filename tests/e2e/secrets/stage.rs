//! The broker as a process, its gateways, and the secrets they deal with.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use countersign_proto::{
    signing::PrivateKey,
    v1::{
        self, DeliveryState, PushRegistration, admin_service_client::AdminServiceClient,
        approval_service_client::ApprovalServiceClient,
        enrollment_service_client::EnrollmentServiceClient,
    },
};
use countersign_server::store::{Store as _, embedded::EmbeddedStore, engine::EngineOptions};
use countersign_tests::{
    Authorized, Bearer,
    gate::Gate,
    process::{self, BrokerProcess},
    sign_in,
};
use device_sim::{
    gateway::{Environment, Gateways, GatewaysConfig, Registration, SmsGateway, Vendor},
    phone::{EnrollOptions, EnrollmentUri, Phone, Ticket},
};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use super::needles::Needles;

const TOPIC: &str = "be.example.countersign";
const PROJECT: &str = "countersign-example";

/// A broker, its gateways, and all the secrets that came up so far.
pub(super) struct Stage {
    dir: tempfile::TempDir,
    pub(super) gateways: Gateways,
    pub(super) broker: BrokerProcess,
    pub(super) admin_key: String,
    pub(super) needles: Needles,
    /// Of codes and what belongs to them: these stand in no file either.
    pub(super) never_stored: Needles,
    pub(super) tenant_id: String,
    front: Gate,
}

impl Stage {
    pub(super) async fn start() -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let gateways = Gateways::start(GatewaysConfig::default()).await.unwrap();
        let config = dir.path().join("countersign.toml");
        let front = Gate::new().await;
        let order = [SmsGateway::Smpp, SmsGateway::Webhook, SmsGateway::Twilio];
        let receipts = format!("http://{}", front.addr());
        let texts = gateways.sms().broker_toml(&receipts, &order);
        std::fs::write(&config, gateways.broker_toml() + &texts).unwrap();
        let data = dir.path().join("data");
        let admin_key = process::init(&data);
        let settings = [
            ("COUNTERSIGN_CONFIG", config.to_str().unwrap()),
            ("COUNTERSIGN_LOG__LEVEL", "trace"),
        ];
        let broker = BrokerProcess::start_with(&data, &settings);
        let mut stage = Self {
            dir,
            gateways,
            broker,
            admin_key,
            needles: Needles::default(),
            never_stored: Needles::default(),
            tenant_id: String::new(),
            front,
        };
        stage.front.lead_to(stage.broker.http.parse().unwrap());
        let admin_key = stage.admin_key.clone();
        stage.api_key(&admin_key);
        stage
    }

    /// `csk_<id>_<secret>`: the id may be shown.
    pub(super) fn api_key(&mut self, key: &str) {
        let secret = key.splitn(3, '_').nth(2).unwrap();
        self.needles.text("API key", secret);
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.broker.grpc))
            .unwrap()
            .connect_lazy()
    }

    pub(super) fn admin(&self, key: &str) -> AdminServiceClient<Authorized> {
        AdminServiceClient::with_interceptor(self.channel(), Bearer(key.to_owned()))
    }

    pub(super) fn approvals(&self, key: &str) -> ApprovalServiceClient<Authorized> {
        ApprovalServiceClient::with_interceptor(self.channel(), Bearer(key.to_owned()))
    }

    pub(super) fn enrollments(&self, key: &str) -> EnrollmentServiceClient<Authorized> {
        EnrollmentServiceClient::with_interceptor(self.channel(), Bearer(key.to_owned()))
    }

    pub(super) fn token(&mut self, gateway: v1::Gateway) -> PushRegistration {
        let (vendor, app_id) = match gateway {
            v1::Gateway::Apns => (Vendor::Apns, TOPIC),
            _ => (Vendor::Fcm, PROJECT),
        };
        let registration = Registration {
            gateway: vendor,
            app_id: app_id.to_owned(),
            environment: Environment::Production,
        };
        let token = self.gateways.issue_token(&registration).unwrap();
        self.needles.device_token(&token);
        PushRegistration {
            gateway: gateway.into(),
            app_id: app_id.to_owned(),
            environment: v1::PushEnvironment::Production.into(),
            token,
        }
    }

    pub(super) async fn ticket(&mut self, key: &str, user: &str) -> v1::CreateEnrollmentResponse {
        let request = v1::CreateEnrollmentRequest {
            user_id: user.into(),
            ttl: None,
        };
        let made = self.enrollments(key).create_enrollment(request).await;
        let made = made.unwrap().into_inner();
        let uri: EnrollmentUri = made.enrollment_uri.parse().unwrap();
        self.needles.text("ticket", &uri.ticket);
        self.needles.text("ticket as typed", &made.manual_code);
        // The last twelve open it.
        let typed = made.manual_code.replace('-', "");
        self.needles
            .text("secret half of a ticket", &typed[typed.len() - 12..]);
        made
    }

    pub(super) async fn phone(&mut self, key: &str, user: &str, gateway: v1::Gateway) -> Phone {
        let ticket = self.ticket(key, user).await;
        let uri: EnrollmentUri = ticket.enrollment_uri.parse().unwrap();
        let mut options = EnrollOptions::new(Ticket::Uri(uri));
        options.push = Some(self.token(gateway));
        Phone::enroll(options).await.unwrap()
    }

    pub(super) async fn ask(&mut self, key: &str, user: &str) -> v1::Challenge {
        let asked = self.approvals(key).create_challenge(sign_in(user)).await;
        let asked = asked.unwrap().into_inner().challenge.unwrap();
        self.needles.text("number to match", &asked.number_to_match);
        asked
    }

    /// Waits until the gateways have had their say.
    pub(super) async fn pushed(&self, key: &str, asked: &v1::Challenge) -> v1::Challenge {
        let request = v1::WatchChallengeRequest {
            challenge_id: asked.challenge_id.clone(),
        };
        let changes = self.approvals(key).watch_challenge(request).await;
        let mut changes = changes.unwrap().into_inner();
        loop {
            let change = changes.message().await.unwrap().expect("no end before");
            let challenge = change.challenge.unwrap();
            let queued = |delivery: &v1::Delivery| delivery.state() == DeliveryState::Queued;
            if !challenge.deliveries.iter().any(queued) {
                return challenge;
            }
        }
    }

    /// Every file of the store, the master key's aside, as text.
    pub(super) fn stored(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let mut folders = vec![self.dir.path().join("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("master.key") {
                    let content = std::fs::read(&path).unwrap();
                    let content = String::from_utf8_lossy(&content).into_owned();
                    files.push((path.display().to_string(), content));
                }
            }
        }
        files
    }

    /// What lies in files: keys, and what the store keeps sealed.
    pub(super) async fn files(&mut self) {
        let data = self.dir.path().join("data");
        let hex = std::fs::read_to_string(data.join("master.key")).unwrap();
        let master: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        self.needles.bytes("master key", &master);
        let store = EmbeddedStore::open(&data, EngineOptions::default()).unwrap();
        let keys = store.signing_keys().await.unwrap();
        assert_eq!(keys.len(), 2, "the first and the rotated");
        let master = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &master).unwrap());
        for key in keys {
            let (nonce, sealed) = key.sealed_seed.split_at(12);
            let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
            let mut seed = sealed.to_vec();
            let label = Aad::from(key.key_id.as_bytes());
            let seed: &[u8] = master.open_in_place(nonce, label, &mut seed).unwrap();
            let private = PrivateKey::from_ed25519_seed(seed.try_into().unwrap());
            assert_eq!(private.public_bytes(), key.public_key);
            self.needles.bytes("signing seed", seed);
        }
        let credentials = self.gateways.credentials().dir().to_owned();
        let p8 = std::fs::read_to_string(credentials.join("AuthKey_EXAMPLEKY1.p8")).unwrap();
        self.needles.pem("APNs key", &p8);
        for account in self.gateways.credentials().fcm_accounts() {
            let file = std::fs::read(account.path).unwrap();
            let file: Value = serde_json::from_slice(&file).unwrap();
            let pem = file["private_key"].as_str().unwrap();
            self.needles.pem("service account's key", pem);
        }
        // How every JWT begins, every access token of the emulator, every key
        // in PEM.
        for beginning in ["eyJhbGci", "eyJ0eXAi", "ya29.c.", "PRIVATE KEY"] {
            self.needles.text(beginning, beginning);
        }
    }
}
