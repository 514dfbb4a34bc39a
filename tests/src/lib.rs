//! The harness that the end-to-end tests share: a broker in the process on port
//! 0, phones and gateways over real sockets, a clock turned by hand.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test harness: a fault here is a failed test"
)]

pub mod codes;
pub mod contract;
pub mod disk;
pub mod gate;
pub mod process;
pub mod push;
pub mod rpcs;
pub mod sheet;
pub mod two_tenants;
pub mod wire;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use countersign_proto::v1::{
    self, KeyAlgorithm, admin_service_client::AdminServiceClient,
    approval_service_client::ApprovalServiceClient, device_service_client::DeviceServiceClient,
    enrollment_service_client::EnrollmentServiceClient,
};
use countersign_server::{
    Server,
    clock::{Clock, ManualClock},
    config::{Config, ConfigFile},
    store::engine::EngineOptions,
};
use device_sim::phone::{EnrollOptions, EnrollmentUri, Phone, Ticket};
use tokio::sync::oneshot;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// Where the manual clock starts: 2026-01-01T00:00:00Z.
pub const START_MS: u64 = 1_767_225_600_000;

/// Adds an API key to every call.
#[derive(Clone)]
pub struct Bearer(pub String);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::try_from(format!("Bearer {}", self.0)).unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

pub type Authorized = InterceptedService<Channel, Bearer>;

/// A broker in this process.
pub struct TestBroker {
    dir: Arc<tempfile::TempDir>,
    toml: String,
    pub admin_key: String,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// Turn it to make time pass; none when it runs on the machine's clock.
    pub hand: Option<ManualClock>,
    clock: Clock,
    /// Leads to the HTTP port, wherever a start puts it.
    pub front: Option<gate::Gate>,
    disk: Option<disk::Disk>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<tokio::task::JoinHandle<Result<(), countersign_server::ServeError>>>,
}

/// Configuration of a broker in `dir`, with free ports and further TOML.
pub fn config(dir: &Path, toml: &str) -> Config {
    let set = |name: &str, value: String| (OsString::from(name), OsString::from(value));
    let environment = [
        set(
            "COUNTERSIGN_DATA_DIR",
            dir.join("data").display().to_string(),
        ),
        set("COUNTERSIGN_GRPC__LISTEN", "127.0.0.1:0".into()),
        set("COUNTERSIGN_HTTP__LISTEN", "127.0.0.1:0".into()),
        // However slow the machine is, nothing is refused for it.
        set("COUNTERSIGN_LIMITS__QUEUE_DELAY", "10s".into()),
    ];
    let file = ConfigFile {
        name: "test",
        text: toml,
    };
    Config::load(Some(file), environment)
        .map_err(|faults| faults.to_string())
        .unwrap()
        .config
}

impl TestBroker {
    /// A new broker on a clock that stands still until its hand is turned.
    pub async fn start() -> Self {
        let (clock, hand) = Clock::manual(START_MS);
        Self::start_with("", clock, Some(hand)).await
    }

    /// A new broker on the machine's clock, with further configuration.
    pub async fn start_real(toml: &str) -> Self {
        Self::start_with(toml, Clock::system(), None).await
    }

    pub async fn start_with(toml: &str, clock: Clock, hand: Option<ManualClock>) -> Self {
        Self::start_behind(None, toml, clock, hand).await
    }

    /// With something that leads to its HTTP port.
    pub async fn start_behind(
        front: Option<gate::Gate>,
        toml: &str,
        clock: Clock,
        hand: Option<ManualClock>,
    ) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let report = countersign_server::init(&config(dir.path(), toml), &clock)
            .await
            .unwrap();
        let mut broker = Self {
            dir,
            toml: toml.to_owned(),
            admin_key: report.admin_key,
            grpc: ([0, 0, 0, 0], 0).into(),
            http: ([0, 0, 0, 0], 0).into(),
            hand,
            clock,
            front,
            disk: None,
            stop: None,
            running: None,
        };
        broker.run().await;
        broker
    }

    /// With a disk whose syncs can be held up.
    pub async fn start_on(disk: &disk::Disk) -> Self {
        let mut broker = Self::start().await;
        broker.stop().await;
        broker.disk = Some(disk.clone());
        broker.run().await;
        broker
    }

    /// A broker that runs elsewhere on the machine's clock, its ports as a
    /// process tells them. Not to be started or stopped from here.
    pub fn elsewhere(admin_key: String, grpc: &str, http: &str) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            toml: String::new(),
            admin_key,
            grpc: grpc.parse().unwrap(),
            http: http.parse().unwrap(),
            hand: None,
            clock: Clock::system(),
            front: None,
            disk: None,
            stop: None,
            running: None,
        }
    }

    async fn run(&mut self) {
        let engine = EngineOptions {
            before_sync: self.disk.as_ref().map(disk::Disk::before_sync),
            ..EngineOptions::default()
        };
        let config = config(self.dir.path(), &self.toml);
        let server = Server::bind_with(config, self.clock.clone(), engine)
            .await
            .unwrap();
        (self.grpc, self.http) = (server.grpc_addr(), server.http_addr());
        if let Some(front) = &self.front {
            front.lead_to(self.http);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        self.running = Some(tokio::spawn(server.serve(async move {
            drop(stopped.await);
        })));
    }

    /// Stops in good order.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            running.await.unwrap().unwrap();
        }
    }

    /// Stops in good order and starts again on other ports.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.grpc)
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.address())
            .unwrap()
            .connect_lazy()
    }

    pub fn admin(&self) -> AdminServiceClient<Authorized> {
        AdminServiceClient::with_interceptor(self.channel(), Bearer(self.admin_key.clone()))
    }

    pub fn devices(&self) -> DeviceServiceClient<Channel> {
        DeviceServiceClient::new(self.channel())
    }

    /// A phone's clock that shows the broker's time.
    pub fn phone_clock(&self) -> Arc<dyn Fn() -> SystemTime + Send + Sync> {
        let clock = self.clock.clone();
        Arc::new(move || UNIX_EPOCH + Duration::from_millis(clock.now_ms()))
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.hand
            .as_ref()
            .expect("this broker runs on the machine's clock")
            .advance(time);
    }

    /// An organisation without number matching, and a key for its identity provider.
    pub async fn tenant(&self) -> Tenant {
        let matching = v1::NumberMatching::Off;
        self.tenant_with(v1::TenantPolicy {
            number_matching: matching.into(),
            ..v1::TenantPolicy::default()
        })
        .await
    }

    pub async fn tenant_with(&self, policy: v1::TenantPolicy) -> Tenant {
        let tenant = self
            .admin()
            .create_tenant(v1::CreateTenantRequest {
                display_name: "Eagle IT BVBA".into(),
                policy: Some(policy),
                country: "BE".into(),
                ..v1::CreateTenantRequest::default()
            })
            .await
            .unwrap()
            .into_inner()
            .tenant
            .unwrap();
        let (api_key, api_key_id) = self.api_key(&tenant.tenant_id, v1::Role::Idp).await;
        Tenant {
            id: tenant.tenant_id,
            api_key,
            api_key_id,
        }
    }

    /// An API key: the whole and its id.
    pub async fn api_key(&self, tenant_id: &str, role: v1::Role) -> (String, String) {
        let made = self
            .admin()
            .create_api_key(v1::CreateApiKeyRequest {
                tenant_id: tenant_id.into(),
                role: role.into(),
                display_name: "test".into(),
            })
            .await
            .unwrap()
            .into_inner();
        (made.api_key, made.key.unwrap().api_key_id)
    }

    pub fn approvals(&self, tenant: &Tenant) -> ApprovalServiceClient<Authorized> {
        ApprovalServiceClient::with_interceptor(self.channel(), Bearer(tenant.api_key.clone()))
    }

    pub fn enrollments(&self, tenant: &Tenant) -> EnrollmentServiceClient<Authorized> {
        EnrollmentServiceClient::with_interceptor(self.channel(), Bearer(tenant.api_key.clone()))
    }

    /// A ticket for `user`.
    pub async fn ticket(&self, tenant: &Tenant, user: &str) -> v1::CreateEnrollmentResponse {
        self.enrollments(tenant)
            .create_enrollment(v1::CreateEnrollmentRequest {
                user_id: user.into(),
                ttl: None,
            })
            .await
            .unwrap()
            .into_inner()
    }

    /// How a phone of this user would introduce itself.
    pub async fn options(&self, tenant: &Tenant, user: &str) -> EnrollOptions {
        let ticket = self.ticket(tenant, user).await;
        let uri: EnrollmentUri = ticket.enrollment_uri.parse().unwrap();
        let mut options = EnrollOptions::new(Ticket::Uri(uri));
        options.algorithm = KeyAlgorithm::Ed25519;
        options.language = "nl-BE".into();
        options.now = self.phone_clock();
        options
    }

    /// A phone of `user`, reached over `Subscribe` only.
    pub async fn phone(&self, tenant: &Tenant, user: &str) -> Phone {
        Phone::enroll(self.options(tenant, user).await)
            .await
            .unwrap()
    }

    /// The same phone, told where the broker is after a restart.
    pub fn moved(&self, phone: &Phone) -> Phone {
        let mut state = phone.state().unwrap();
        state.broker = self.address();
        Phone::from_state(state, self.phone_clock()).unwrap()
    }

    /// What `user` can answer with, oldest first.
    pub async fn authenticators(&self, tenant: &Tenant, user: &str) -> Vec<v1::Authenticator> {
        self.enrollments(tenant)
            .list_authenticators(v1::ListAuthenticatorsRequest {
                user_id: user.into(),
            })
            .await
            .unwrap()
            .into_inner()
            .authenticators
    }

    /// Asks `user` for an approval.
    pub async fn ask(&self, tenant: &Tenant, user: &str) -> v1::Challenge {
        self.approvals(tenant)
            .create_challenge(sign_in(user))
            .await
            .unwrap()
            .into_inner()
            .challenge
            .unwrap()
    }

    pub async fn get(&self, tenant: &Tenant, id: &str) -> v1::Challenge {
        self.approvals(tenant)
            .get_challenge(v1::GetChallengeRequest {
                challenge_id: id.into(),
            })
            .await
            .unwrap()
            .into_inner()
            .challenge
            .unwrap()
    }

    /// Waits for the decision, however long it takes.
    pub async fn decided(&self, tenant: &Tenant, id: &str) -> v1::Challenge {
        let mut changes = self
            .approvals(tenant)
            .watch_challenge(v1::WatchChallengeRequest {
                challenge_id: id.into(),
            })
            .await
            .unwrap()
            .into_inner();
        let mut last = None;
        while let Some(change) = changes.message().await.unwrap() {
            last = change.challenge;
        }
        let last = last.unwrap();
        assert_ne!(last.state(), v1::ChallengeState::Pending);
        last
    }
}

/// An organisation and its identity provider.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: String,
    pub api_key: String,
    pub api_key_id: String,
}

/// A sign-in as an identity provider would describe it.
pub fn sign_in(user: &str) -> v1::CreateChallengeRequest {
    v1::CreateChallengeRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        user_id: user.into(),
        context: Some(v1::SignInContext {
            application_name: "Webmail".into(),
            client_address: "198.51.100.7".into(),
            location: "Gent, België".into(),
            user_agent: "Mozilla/5.0".into(),
            ..v1::SignInContext::default()
        }),
        ..v1::CreateChallengeRequest::default()
    }
}

/// Fails a test that would otherwise hang. Nothing waits for the time to pass.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("nothing came")
}

/// A metric's value.
pub async fn metric(broker: &TestBroker, name: &str) -> f64 {
    let request = "GET /metrics HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n";
    let body = wire::http1(&wire::ask(broker.http, request.as_bytes()).await).2;
    let text = String::from_utf8(body).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// The stable reason in a status.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "countersign", "{status:?}");
    info.reason.clone()
}

/// The field that a status names.
pub fn field(status: &Status) -> String {
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let bad = details
        .bad_request()
        .unwrap_or_else(|| panic!("no BadRequest: {status:?}"));
    bad.field_violations[0].field.clone()
}

/// How a challenge ended.
pub fn end(challenge: &v1::Challenge) -> (v1::ChallengeState, v1::DecisionReason) {
    (challenge.state(), challenge.reason())
}
