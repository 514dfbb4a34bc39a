//! Two organisations on one broker, each with everything an organisation has,
//! so that every call has something of its own and something foreign to name.

use std::time::Duration;

use countersign_proto::v1;
use countersign_server::clock::Clock;
use device_sim::gateway::{Gateways, GatewaysConfig, Inbox, SmsGateway};
use device_sim::phone::{DeviceKey, EnrollOptions, EnrollmentUri, Phone, Ticket};
use uuid::Uuid;

use crate::{START_MS, Tenant, TestBroker, codes::App, codes::code_in, push::patiently};

/// Kim's number.
const NUMBER: &str = "+32470990041";

/// An organisation with two users who have phones, one challenge each that is
/// pending, and one user with an open ticket.
pub struct Org {
    pub tenant: Tenant,
    /// An admin key for this organisation only, and its id.
    pub admin: (String, String),
    /// A key of role idp that was revoked.
    pub revoked_idp: String,
    /// An admin key that was revoked.
    pub revoked_admin: String,
    /// Tom's.
    pub phone: Phone,
    /// Tom's other one.
    pub second: Phone,
    /// Tom's third, removed since.
    pub removed: Phone,
    /// Ann's.
    pub neighbour: Phone,
    /// Asks Tom.
    pub challenge: v1::Challenge,
    /// Asks Ann.
    pub neighbours_challenge: v1::Challenge,
    /// For Bob.
    pub ticket: v1::CreateEnrollmentResponse,
    /// Asks Kim for a recovery code.
    pub typed: v1::Challenge,
    /// Kim's recovery codes.
    pub sheet: Vec<String>,
    /// Kim's number, to be confirmed by this code.
    pub number: (String, String),
    /// Kim's app, to be confirmed.
    pub app: App,
    /// The public key of a phone of Lea's that may be imported.
    pub imported: [u8; 32],
}

/// The broker and its two organisations.
pub struct TwoTenants {
    pub broker: TestBroker,
    /// Where texts go.
    pub gateways: Gateways,
    pub own: Org,
    pub foreign: Org,
}

impl Org {
    async fn new(broker: &TestBroker, inbox: &Inbox) -> Self {
        let tenant = broker
            .tenant_with(v1::TenantPolicy {
                number_matching: v1::NumberMatching::Off.into(),
                enrollment: Some(v1::EnrollmentPolicy {
                    enforcement: v1::Enforcement::Encouraged.into(),
                    max_snoozes: Some(100),
                    ..v1::EnrollmentPolicy::default()
                }),
                ..v1::TenantPolicy::default()
            })
            .await;
        let admin = broker.api_key(&tenant.id, v1::Role::Admin).await;
        let mut revoked = Vec::new();
        for role in [v1::Role::Idp, v1::Role::Admin] {
            let (key, api_key_id) = broker.api_key(&tenant.id, role).await;
            let request = v1::RevokeApiKeyRequest { api_key_id };
            broker.admin().revoke_api_key(request).await.unwrap();
            revoked.push(key);
        }
        // Ids made at the same moment are in no order.
        let moment = Duration::from_millis(1);
        let phone = broker.phone(&tenant, "tom").await;
        broker.pass(moment);
        let second = broker.phone(&tenant, "tom").await;
        let removed = broker.phone(&tenant, "tom").await;
        removed.unenroll().await.unwrap();
        let seq = inbox.last_seq();
        let added = broker.add_phone(&tenant, "kim", NUMBER).await.unwrap();
        let text = inbox.wait_for(NUMBER, |text| text.seq > seq);
        let code = code_in(&patiently("a text message", text).await.text);
        let sheet = broker.recovery_codes(&tenant, "kim").await;
        let key = DeviceKey::generate(v1::KeyAlgorithm::Ed25519).unwrap();
        Self {
            number: (added.authenticator.unwrap().authenticator_id, code),
            app: broker.add_totp(&tenant, "kim").await,
            sheet,
            imported: key.public_bytes().try_into().unwrap(),
            revoked_admin: revoked.pop().unwrap(),
            revoked_idp: revoked.pop().unwrap(),
            phone,
            second,
            removed,
            neighbour: broker.phone(&tenant, "ann").await,
            challenge: broker.ask(&tenant, "tom").await,
            neighbours_challenge: broker.ask(&tenant, "ann").await,
            typed: to_be_typed(broker, &tenant).await,
            ticket: broker.ticket(&tenant, "bob").await,
            admin,
            tenant,
        }
    }

    /// A fresh challenge for Tom and one for Kim, and a fresh ticket for Bob.
    pub async fn renew(&mut self, broker: &TestBroker) {
        // Who approves nothing is not asked without end. The phone may be gone.
        if let Ok(pending) = self.phone.list_pending().await {
            for asked in pending.challenges {
                drop(self.phone.respond(&asked, v1::Decision::Approve, "").await);
            }
        }
        self.challenge = broker.ask(&self.tenant, "tom").await;
        self.ticket = broker.ticket(&self.tenant, "bob").await;
        self.typed = to_be_typed(broker, &self.tenant).await;
    }

    /// How a phone of Bob's would introduce itself.
    pub fn options(&self, broker: &TestBroker) -> EnrollOptions {
        let uri: EnrollmentUri = self.ticket.enrollment_uri.parse().unwrap();
        let mut options = EnrollOptions::new(Ticket::Uri(uri));
        options.language = "nl-BE".into();
        options.now = broker.phone_clock();
        options.push = Some(push());
        options
    }

    /// A registration of Bob's phone, to be signed by the key.
    pub fn registration(&self, broker: &TestBroker) -> (v1::EnrollmentBody, DeviceKey) {
        let key = DeviceKey::generate(v1::KeyAlgorithm::Ed25519).unwrap();
        (self.options(broker).body(&key), key)
    }

    /// Tom's approval, to be signed.
    pub fn approval(&self) -> v1::ResponseBody {
        let signed = self.challenge.signed_challenge.clone().unwrap();
        let verified = self.phone.verify(signed).unwrap();
        self.phone
            .response_body(&verified, v1::Decision::Approve, "")
    }
}

async fn to_be_typed(broker: &TestBroker, tenant: &Tenant) -> v1::Challenge {
    let asked = broker.ask_by(tenant, "kim", v1::Method::RecoveryCode);
    asked.await.unwrap()
}

/// A push registration that is fit to be stored.
pub fn push() -> v1::PushRegistration {
    v1::PushRegistration {
        gateway: v1::Gateway::Fcm.into(),
        app_id: "example-project".into(),
        environment: v1::PushEnvironment::Production.into(),
        token: "fcm-token:APA91b".into(),
    }
}

/// An id that names nothing.
pub fn unknown_id() -> String {
    Uuid::now_v7().to_string()
}

impl TwoTenants {
    pub async fn start() -> Self {
        let gateways = Gateways::start(GatewaysConfig::default()).await.unwrap();
        let (clock, hand) = Clock::manual(START_MS);
        // Nothing here looks at receipts.
        let receipts = "http://127.0.0.1:9";
        let toml = gateways.sms().broker_toml(receipts, &[SmsGateway::Webhook]);
        let toml = format!("[limits]\nallow_device_import = true\n{toml}");
        let broker = TestBroker::start_with(&toml, clock, Some(hand)).await;
        let inbox = gateways.sms().inbox();
        Self {
            own: Org::new(&broker, inbox).await,
            foreign: Org::new(&broker, inbox).await,
            broker,
            gateways,
        }
    }

    /// Kimrything that can be seen from outside, to tell whether it changed.
    pub async fn everything(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let mut admin = self.broker.admin();
        let all = v1::ListTenantsRequest::default();
        let tenants = admin.list_tenants(all).await.unwrap();
        seen.push(format!("{:?}", tenants.into_inner()));
        let all = v1::ListSigningKeysRequest::default();
        let keys = admin.list_signing_keys(all).await.unwrap();
        seen.push(format!("{:?}", keys.into_inner()));
        let (own, foreign) = (&self.own.tenant.id, &self.foreign.tenant.id);
        for tenant_id in ["", own, foreign] {
            let tenant_id = tenant_id.to_owned();
            let request = v1::ListApiKeysRequest { tenant_id };
            let keys = admin.list_api_keys(request).await.unwrap();
            seen.push(format!("{:?}", keys.into_inner()));
        }
        for org in [&self.own, &self.foreign] {
            let mut enrollments = self.broker.enrollments(&org.tenant);
            for user_id in ["tom", "ann", "bob", "kim", "lea"] {
                let user_id = user_id.to_owned();
                let request = v1::ListAuthenticatorsRequest { user_id };
                let list = enrollments.list_authenticators(request).await.unwrap();
                seen.push(format!("{:?}", list.into_inner()));
            }
            let ticket = enrollments.wait_enrollment(v1::WaitEnrollmentRequest {
                enrollment_id: org.ticket.enrollment_id.clone(),
                timeout: Some(prost_types::Duration::default()),
            });
            seen.push(format!("{:?}", ticket.await.unwrap().into_inner()));
            for challenge in [&org.challenge, &org.neighbours_challenge, &org.typed] {
                let now = self.broker.get(&org.tenant, &challenge.challenge_id).await;
                seen.push(format!("{now:?}"));
            }
        }
        seen
    }
}
