//! USE CASES: what the broker does for identity providers, phones and
//! operators. Carries data between store and gateways; knows neither gRPC nor
//! sled nor HTTP.

pub mod administer;
pub mod audit;
pub mod authenticators;
mod browsers;
pub mod challenge;
pub mod codes;
pub mod credentials;
pub mod decide;
pub mod dispatch;
pub mod enroll;
pub mod error;
pub mod events;
pub mod expire;
pub mod following;
pub mod hub;
pub mod import;
pub mod keyring;
pub(crate) mod random;
pub mod retention;
mod rules;
mod sealed_prompt;
mod sign_in;
pub mod texts;
mod users;
mod vault;

use std::{
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use crate::{
    clock::Clock,
    delivery::CredentialAlarm,
    domain::{
        audit::By,
        browser::BrowserToken,
        challenge::{Challenge, SignedBody},
        revocation::Revocation,
        time::Timestamp,
    },
    metrics::Metrics,
    store::{Hint, Store},
};
use credentials::Nonces;
use dispatch::Courier;
use error::BrokerError;
use hub::{DeviceEvent, Hub};
use keyring::Keyring;

/// How the outside world knows this broker.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The receipts' `iss`.
    pub issuer: String,
    /// What phones connect to, in the QR code.
    pub public_url: String,
}

/// The broker: one per process.
pub struct Broker {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) keyring: Keyring,
    pub(crate) hub: Arc<Hub>,
    pub(crate) identity: Identity,
    pub(crate) metrics: Arc<Metrics>,
    nonces: Nonces,
    schedule: Arc<Schedule>,
    courier: OnceLock<Arc<dyn Courier>>,
    text_courier: OnceLock<Arc<dyn texts::TextCourier>>,
    import_allowed: AtomicBool,
}

/// What the background workers wait for.
pub(crate) struct Schedule {
    pub(crate) expiry: expire::Alarm,
    pub(crate) apns: tokio::sync::Notify,
    pub(crate) fcm: tokio::sync::Notify,
    pub(crate) texts: tokio::sync::Notify,
    pub(crate) fallback: expire::Alarm,
    pub(crate) audit: audit::News,
}

impl Broker {
    /// Puts the parts together and listens to the store.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        keyring: Keyring,
        identity: Identity,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let hub = Hub::new();
        let schedule = Arc::new(Schedule {
            expiry: expire::Alarm::new(),
            apns: tokio::sync::Notify::new(),
            fcm: tokio::sync::Notify::new(),
            texts: tokio::sync::Notify::new(),
            fallback: expire::Alarm::new(),
            audit: audit::News::new(),
        });
        let (told, listening) = (hub.clone(), schedule.clone());
        store.listen(Arc::new(move |hint| match hint {
            Hint::Challenge(id) => told.challenges.tell(id),
            Hint::Enrollment(id) => told.enrollments.tell(id),
            Hint::Expiry(at) => listening.expiry.at(at),
            Hint::Outbox(crate::domain::device::PushGateway::Apns) => listening.apns.notify_one(),
            Hint::Outbox(crate::domain::device::PushGateway::Fcm) => listening.fcm.notify_one(),
            Hint::Notices(device) => told.send(device, &DeviceEvent::Notices),
            Hint::Texts => listening.texts.notify_one(),
            Hint::Fallback(at) => listening.fallback.at(at),
            Hint::Events(tenant) => told.events.tell(tenant),
            Hint::Audit(sequence) => listening.audit.tell(sequence),
            Hint::Resync => {
                listening.audit.resync();
                told.challenges.tell_all();
                told.enrollments.tell_all();
                told.events.tell_all();
                listening.expiry.at(Timestamp::default());
                listening.apns.notify_one();
                listening.fcm.notify_one();
                listening.texts.notify_one();
                listening.fallback.at(Timestamp::default());
            }
        }));
        Arc::new(Self {
            store,
            clock,
            keyring,
            hub,
            identity,
            metrics,
            nonces: Nonces::new(),
            schedule,
            courier: OnceLock::new(),
            text_courier: OnceLock::new(),
            import_allowed: AtomicBool::new(false),
        })
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now_ms())
    }

    /// For spans only: see [`Clock::monotonic_us`].
    pub(crate) fn monotonic_us(&self) -> u64 {
        self.clock.monotonic_us()
    }

    /// Waiting calls and streams end; nothing new is started.
    pub fn stop(&self) {
        self.hub.stopping.cancel();
    }

    /// Cancelled when the broker stops.
    pub(crate) fn stopping(&self) -> tokio_util::sync::CancellationToken {
        self.hub.stopping.clone()
    }

    /// Whether the broker takes work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.store.is_healthy() && !self.hub.stopping.is_cancelled()
    }

    /// The credentials that push gateways refuse at present. The broker goes on
    /// without them: by the other gateway, and by open streams.
    #[must_use]
    pub fn push_alarms(&self) -> Vec<CredentialAlarm> {
        let pushes = self.courier.get().map(|courier| courier.alarms());
        let texts = self.text_courier.get().map(|courier| courier.alarms());
        pushes.into_iter().chain(texts).flatten().collect()
    }

    /// All counters, in the text exposition format.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        let alarms = self.push_alarms();
        let labels = alarms
            .iter()
            .map(|alarm| (alarm.gateway.name(), alarm.credential.as_str()));
        self.metrics.alarmed(labels);
        self.metrics.render()
    }

    /// The key set against which receipts are checked.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.keyring.jwks()
    }

    /// Takes the prompt of an ended challenge away from phones whose app is open,
    /// the answering one included: its answer's answer may have been lost.
    pub(crate) fn withdraw(&self, challenge: &Challenge) {
        let Some(outcome) = &challenge.outcome else {
            return;
        };
        let event = DeviceEvent::Withdrawal {
            challenge: challenge.id,
            end: Some((outcome.state, outcome.reason)),
        };
        for delivery in &challenge.deliveries {
            self.hub.send(delivery.device, &event);
        }
        self.count_decision(challenge);
    }

    /// Counts a decision, and leaves a line to follow it by.
    pub(crate) fn count_decision(&self, challenge: &Challenge) {
        let Some(outcome) = &challenge.outcome else {
            return;
        };
        tracing::debug!(
            tenant = %challenge.tenant,
            challenge = %challenge.id,
            state = ?outcome.state,
            reason = ?outcome.reason,
            "challenge decided"
        );
        self.metrics.decided(outcome);
    }
}

/// Takes a step to its end even when its caller goes away in the middle of it:
/// what was stored is also told to those who are to hear of it. What is `held`
/// for the caller is held for as long as that takes.
///
/// # Errors
/// Those of the step.
pub(crate) async fn to_its_end<T: Send + 'static>(
    held: impl Send + 'static,
    step: impl Future<Output = Result<T, BrokerError>> + Send + 'static,
) -> Result<T, BrokerError> {
    let step = async move {
        let result = step.await;
        drop(held);
        result
    };
    match tokio::spawn(step).await {
        Ok(result) => result,
        Err(error) => Err(BrokerError::Internal(error.to_string())),
    }
}

/// A challenge with all that is shown of it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The challenge.
    pub challenge: Challenge,
    /// What was signed.
    pub signed: SignedBody,
    /// The proof of the decision; empty while pending.
    pub receipt: String,
    /// For the browser to be remembered by, in the first minutes.
    pub browser_token: Option<BrowserToken>,
    /// "That wasn't me", said after it was approved.
    pub revocation: Option<Revocation>,
}

/// Who calls on behalf of an organisation.
#[derive(Clone, Debug)]
pub struct IdpCaller {
    /// The organisation.
    pub tenant: crate::domain::ids::TenantId,
    /// The key used.
    pub api_key: crate::domain::api_key::ApiKeyId,
    /// For the audit trail.
    pub by: By,
}

/// Ends of long polls.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// The longest long poll.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(300);

/// Checks the timeout of a long poll.
pub(crate) fn wait_timeout(timeout: Option<Duration>) -> Result<Duration, BrokerError> {
    match timeout {
        None => Ok(DEFAULT_WAIT),
        Some(timeout) if timeout <= MAX_WAIT => Ok(timeout),
        Some(_) => Err(crate::domain::Invalid::new("timeout", "must be at most 5 min").into()),
    }
}
