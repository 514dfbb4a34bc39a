//! The how-to sheet as a stage: an organisation ("Eagle IT BVBA"), its sign-in
//! page, phones and text messages, so that a journey can be told as a story. The
//! words are Dutch, as on the sheet. All goes through the public rpcs.

mod events;
mod page;
mod toestel;
mod window;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use countersign_proto::v1::{
    self, approval_service_client::ApprovalServiceClient,
    enrollment_service_client::EnrollmentServiceClient,
};
use countersign_server::clock::Clock;
use device_sim::{
    gateway::{GatewaysConfig, Inbox, TextMessage},
    phone::Now,
};
use parking_lot::Mutex;
use tonic::transport::Endpoint;

pub use self::{
    events::Events,
    page::{Page, Ticket},
    toestel::Toestel,
};
use crate::{
    Authorized, Bearer, START_MS, Tenant,
    codes::code_in,
    push::{PushWorld, patiently},
};

/// Who reads the sheet.
pub const TOM: &str = "tom.cool@example.be";
/// A colleague.
pub const ANN: &str = "ann.wijs@example.be";
/// Tom's number.
pub const NUMMER: &str = "+32470123440";
/// The name of Tom's phone.
pub const TOESTEL: &str = "Telefoon van Tom";
/// Tom's number as a page may show it.
pub const NUMMER_GEMASKEERD: &str = "+XX XXXXXXX40";

#[must_use]
pub fn seconden(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[must_use]
pub fn dagen(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

/// A time after the clock's start, as policies have it.
#[must_use]
pub fn op(na: Duration) -> Option<prost_types::Timestamp> {
    let seconds = START_MS / 1000 + na.as_secs();
    let seconds = i64::try_from(seconds).unwrap();
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// Where the broker is at present and how it is called: a restart puts it on
/// another port.
#[derive(Clone)]
struct Line {
    address: Arc<Mutex<String>>,
    api_key: String,
    now: Now,
}

impl Line {
    fn address(&self) -> String {
        self.address.lock().clone()
    }

    fn channel(&self) -> tonic::transport::Channel {
        let endpoint = Endpoint::from_shared(self.address()).unwrap();
        endpoint.connect_lazy()
    }

    fn approvals(&self) -> ApprovalServiceClient<Authorized> {
        ApprovalServiceClient::with_interceptor(self.channel(), Bearer(self.api_key.clone()))
    }

    fn enrollments(&self) -> EnrollmentServiceClient<Authorized> {
        EnrollmentServiceClient::with_interceptor(self.channel(), Bearer(self.api_key.clone()))
    }
}

/// The stage.
pub struct Sheet {
    pub world: PushWorld,
    line: Line,
}

impl Sheet {
    /// An operator takes the organisation in, from the standard rules.
    pub async fn begint(policy: v1::TenantPolicy) -> Self {
        Self::begint_met(v1::PolicyPreset::Standard, policy).await
    }

    /// The same from other rules.
    pub async fn begint_met(preset: v1::PolicyPreset, policy: v1::TenantPolicy) -> Self {
        let (clock, hand) = Clock::manual(START_MS);
        let config = GatewaysConfig {
            // A broker that starts anew has a new provider token.
            token_change_limit: None,
            ..GatewaysConfig::default()
        };
        let mut world = PushWorld::start_with(config, clock, Some(hand)).await;
        // What an earlier process may have sent is older than this one.
        world.broker.pass(seconden(1));
        let request = v1::CreateTenantRequest {
            display_name: "Eagle IT BVBA".into(),
            policy: Some(v1::TenantPolicy {
                language: Some("nl".into()),
                ..policy
            }),
            preset: preset.into(),
            country: "BE".into(),
        };
        let made = world.broker.admin().create_tenant(request).await.unwrap();
        let id = made.into_inner().tenant.unwrap().tenant_id;
        let (api_key, api_key_id) = world.broker.api_key(&id, v1::Role::Idp).await;
        let line = Line {
            address: Arc::new(Mutex::new(world.broker.address())),
            api_key: api_key.clone(),
            now: world.broker.phone_clock(),
        };
        world.tenant = Tenant {
            id,
            api_key,
            api_key_id,
        };
        Self { world, line }
    }

    /// The broker stops and starts again.
    pub async fn herstart(&mut self) {
        self.world.broker.restart().await;
        *self.line.address.lock() = self.world.broker.address();
    }

    /// Time passes.
    pub fn verstrijkt(&self, time: Duration) {
        self.world.broker.pass(time);
    }

    /// A browser at the sign-in page, that of `user`.
    #[must_use]
    pub fn pagina(&self, user: &str) -> Page {
        Page::open(self.line.clone(), user)
    }

    /// What happens in the organisation from now on.
    pub async fn gebeurtenissen(&self) -> Events {
        Events::follow(self.line.clone()).await
    }

    /// What a phone with this number shows from now on.
    #[must_use]
    pub fn sms(&self, number: &str) -> Sms {
        Sms {
            inbox: self.world.inbox().clone(),
            number: number.into(),
            from: self.world.inbox().last_seq(),
            read: BTreeSet::new(),
        }
    }

    /// The operator changes rules: what is set.
    pub async fn beleid(&self, policy: v1::TenantPolicy) {
        self.world.rules(policy).await;
    }

    /// The operator puts a user on the list of those who take part.
    pub async fn op_de_lijst(&self, user: &str, listed: bool) {
        let request = v1::SetUserEnrollmentRequest {
            tenant_id: self.world.tenant.id.clone(),
            user_id: user.into(),
            listed,
        };
        let mut admin = self.world.broker.admin();
        admin.set_user_enrollment(request).await.unwrap();
    }

    /// All that the service desk and the auditors see of a user.
    pub async fn helpdesk_ziet(&self, user: &str) -> String {
        let request = v1::GetUserRequest {
            tenant_id: self.world.tenant.id.clone(),
            user_id: user.into(),
        };
        let user = self.world.broker.admin().get_user(request).await.unwrap();
        let audit = self.world.broker.audited(&self.world.tenant).await;
        format!("{:?}\n{audit:?}", user.into_inner())
    }

    /// The service desk locks an account.
    pub async fn helpdesk_vergrendelt(&self, user: &str) {
        let request = v1::LockUserRequest {
            tenant_id: self.world.tenant.id.clone(),
            user_id: user.into(),
        };
        self.world.broker.admin().lock_user(request).await.unwrap();
    }

    /// The service desk unlocks an account.
    pub async fn helpdesk_ontgrendelt(&self, user: &str) {
        let request = v1::UnlockUserRequest {
            tenant_id: self.world.tenant.id.clone(),
            user_id: user.into(),
        };
        let mut admin = self.world.broker.admin();
        admin.unlock_user(request).await.unwrap();
    }

    /// The service desk takes away all that the user could answer with.
    pub async fn helpdesk_wist(&self, user: &str) {
        let request = v1::ResetUserRequest {
            tenant_id: self.world.tenant.id.clone(),
            user_id: user.into(),
        };
        self.world.broker.admin().reset_user(request).await.unwrap();
    }

    /// Tom's page and phone as they are after journey 3.
    pub async fn met_app(&self) -> (Page, Toestel) {
        // Lists are by age, to the millisecond.
        self.verstrijkt(seconden(1));
        let mut pagina = self.pagina(TOM);
        let ticket = pagina.kiest_mobiele_app().await;
        let toestel = Toestel::scant(self, TOESTEL, &ticket).await;
        (pagina, toestel.unwrap())
    }

    /// Tom's page and messages as they are after journey 4.
    pub async fn met_nummer(&self) -> (Page, Sms) {
        self.verstrijkt(seconden(1));
        let mut pagina = self.pagina(TOM);
        let mut sms = self.sms(NUMMER);
        pagina.kiest_telefoon(NUMMER).await;
        let code = sms.code().await;
        pagina.bevestigt_telefoon(&code).await;
        (pagina, sms)
    }
}

/// The text messages of one number.
pub struct Sms {
    inbox: Inbox,
    number: String,
    from: u64,
    read: BTreeSet<u64>,
}

impl Sms {
    async fn next(&mut self, wanted: impl Fn(&TextMessage) -> bool) -> String {
        let next = self.inbox.wait_for(&self.number, |text| {
            text.seq > self.from && !self.read.contains(&text.seq) && wanted(text)
        });
        let text = patiently("a text message", next).await;
        self.read.insert(text.seq);
        assert_eq!(text.segments, 1, "{}", text.text);
        text.text
    }

    /// The next text, whatever it is.
    pub async fn leest(&mut self) -> String {
        self.next(|_| true).await
    }

    /// The next code.
    pub async fn code(&mut self) -> String {
        let coded = |text: &TextMessage| text.text.starts_with(|c: char| c.is_ascii_digit());
        code_in(&self.next(coded).await)
    }

    /// The next text that is no code.
    #[track_caller]
    pub fn meldt(&mut self, expected: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let told = |text: &TextMessage| !text.text.starts_with(|c: char| c.is_ascii_digit());
            let text = self.next(told).await;
            assert_eq!(text, expected, "{place}");
        }
    }

    /// Nothing has come that was not read.
    #[track_caller]
    pub fn zwijgt(&self) {
        let mut shown = self.inbox.shown(&self.number);
        shown.retain(|text| text.seq > self.from && !self.read.contains(&text.seq));
        assert!(shown.is_empty(), "{shown:?}");
    }
}
