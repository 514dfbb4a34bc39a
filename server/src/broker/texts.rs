//! The worker for text messages: carries them from the outbox to the gateways,
//! and what networks say of them back. Number and code come into the clear only
//! here, on their way out.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Broker, error::BrokerError};
use crate::{
    delivery::{
        CredentialAlarm,
        sms::{SmsGateways, Text, TextOutcome, TextReceipt, TextState},
    },
    domain::{
        challenge::DeliveryState,
        code::Codes,
        text::{Notice, Receipt, TextJob, TextPurpose},
        time::Timestamp,
    },
    store::{StoreError, TextResult},
    texts::{self, Language},
};

/// Texts that are being tried at once.
const IN_FLIGHT: usize = 128;
/// Taken from the outbox in one look.
const CLAIM: usize = 32;
/// Between tries that no gateway took, where none says how long to wait.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// Tries of one text.
const MAX_ATTEMPTS: u32 = 5;
/// Before the store is asked again that could not take an outcome.
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// Where texts go: the gateways, or what stands in for them.
#[async_trait]
pub trait TextCourier: Send + Sync {
    /// Whether there is any gateway.
    fn is_configured(&self) -> bool;
    /// Tries one text.
    async fn send(&self, text: &Text) -> TextOutcome;
    /// The credentials that do not work at present.
    fn alarms(&self) -> Vec<CredentialAlarm>;
}

#[async_trait]
impl TextCourier for SmsGateways {
    fn is_configured(&self) -> bool {
        Self::is_configured(self)
    }

    async fn send(&self, text: &Text) -> TextOutcome {
        Self::send(self, text).await
    }

    fn alarms(&self) -> Vec<CredentialAlarm> {
        Self::alarms(self)
    }
}

impl Broker {
    /// Sets the way out for texts. Called once, before anything is served.
    pub fn text_by(&self, courier: Arc<dyn TextCourier>) {
        if self.text_courier.set(courier).is_err() {
            tracing::error!("there is a way out for texts already");
        }
    }

    /// Whether texts can be sent at all.
    pub(super) fn can_text(&self) -> bool {
        self.text_courier
            .get()
            .is_some_and(|courier| courier.is_configured())
    }

    /// What a network says of a text.
    pub fn take_receipt(&self, receipt: &TextReceipt) {
        let Some((tenant, challenge, phone, nth)) = self.keyring.read_reference(&receipt.reference)
        else {
            tracing::warn!(gateway = %receipt.gateway, "a receipt for no text of ours");
            return;
        };
        let (state, reason) = match &receipt.state {
            TextState::Sent => return,
            TextState::Delivered => (DeliveryState::Fetched, String::new()),
            TextState::Failed { reason } => (DeliveryState::Failed, reason.clone()),
        };
        self.metrics
            .text_receipt(&receipt.gateway, state == DeliveryState::Fetched);
        let now = self.now();
        let receipt = Receipt {
            tenant,
            challenge,
            phone,
            nth,
            state,
            reason,
        };
        let noted = self.store.note_text_receipt(receipt, now);
        if let Err(error) = noted {
            tracing::warn!(%error, "a receipt could not be noted");
        }
    }

    /// Runs until the broker stops; what is being tried is finished first.
    pub async fn run_texts(self: Arc<Self>) {
        let Some(courier) = self.text_courier.get().cloned() else {
            return;
        };
        let places = Arc::new(Semaphore::new(IN_FLIGHT));
        let stopping = self.hub.stopping.clone();
        while !stopping.is_cancelled() {
            let free = places.available_permits().min(CLAIM);
            if free == 0 {
                tokio::select! {
                    place = places.acquire() => drop(place),
                    () = stopping.cancelled() => break,
                }
                continue;
            }
            let jobs = match self.store.claim_texts(self.now(), free).await {
                Ok(jobs) => jobs,
                Err(error) => {
                    tracing::error!(%error, "the outbox of texts can't be read");
                    Vec::new()
                }
            };
            if jobs.is_empty() {
                self.wait_for_texts().await;
                continue;
            }
            for job in jobs {
                let Ok(place) = places.clone().acquire_owned().await else {
                    break;
                };
                let (broker, courier) = (self.clone(), courier.clone());
                tokio::spawn(async move {
                    broker.carry_text(courier.as_ref(), job).await;
                    drop(place);
                });
            }
        }
        let all = u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX);
        if places.acquire_many(all).await.is_err() {
            tracing::error!("the semaphore of texts was closed");
        }
    }

    async fn wait_for_texts(&self) {
        let next = match self.store.next_text().await {
            Ok(next) => next.map_or(u64::MAX, Timestamp::as_millis),
            Err(_) => self.clock.now_ms().saturating_add(1000),
        };
        tokio::select! {
            () = self.schedule.texts.notified() => {}
            () = self.clock.sleep_until(next) => {}
            () = self.hub.stopping.cancelled() => {}
        }
    }

    async fn carry_text(&self, courier: &dyn TextCourier, job: TextJob) {
        let result = match self.try_text(courier, &job).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, text = %job.id, "a text could not be composed");
                failed("the broker could not compose it")
            }
        };
        loop {
            let now = self.now();
            let unheard = match &job.purpose {
                TextPurpose::SignInCode(challenge) => {
                    self.unheard(job.tenant, *challenge, now).await
                }
                TextPurpose::ConfirmNumber | TextPurpose::Notice(_) => None,
            };
            let noted = self
                .store
                .finish_text(job.clone(), result.clone(), unheard, now)
                .await;
            match noted {
                Ok(ended) => {
                    if let Some(ended) = ended {
                        self.withdraw(&ended);
                    }
                    return;
                }
                Err(StoreError::Overloaded) => {
                    tokio::select! {
                        () = self.clock.sleep(STORE_PAUSE) => {}
                        // It stays in the outbox, and is tried again.
                        () = self.hub.stopping.cancelled() => return,
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the outcome of a text could not be noted");
                    return;
                }
            }
        }
    }

    /// The key for the receipt, where no device that was asked has a stream open.
    async fn unheard(
        &self,
        tenant: crate::domain::ids::TenantId,
        id: crate::domain::ids::ChallengeId,
        now: Timestamp,
    ) -> Option<String> {
        let (challenge, _) = self.store.challenge(tenant, id).await.ok()??;
        if self.is_heard(&challenge) {
            return None;
        }
        self.keyring.current_id(now).ok()
    }

    async fn try_text(
        &self,
        courier: &dyn TextCourier,
        job: &TextJob,
    ) -> Result<TextResult, BrokerError> {
        let now = self.now();
        if now >= job.expire_time {
            return Ok(failed("expired before it was sent"));
        }
        let Some(text) = self.compose(job).await? else {
            return Ok(TextResult::Finished(None));
        };
        let started = self.clock.now_ms();
        let outcome = courier.send(&text).await;
        let took = Duration::from_millis(self.clock.now_ms().saturating_sub(started));
        self.metrics
            .texted(kind(&job.purpose), outcome.name(), took);
        tracing::debug!(text = %job.id, outcome = outcome.name(), "a text was tried");
        Ok(match outcome {
            TextOutcome::Accepted { .. } => {
                TextResult::Finished(Some((DeliveryState::Accepted, String::new())))
            }
            // Perhaps sent: the user may have it, so it is not sent twice.
            TextOutcome::Unknown { reason, .. } => {
                TextResult::Finished(Some((DeliveryState::Accepted, reason)))
            }
            TextOutcome::Rejected { reason } => failed(&reason),
            TextOutcome::NoGateway => failed("no gateway is configured"),
            TextOutcome::CredentialRejected { reason } => failed(&reason),
            TextOutcome::RetryAfter { reason, after } => {
                let due = self.now().after(after.unwrap_or(RETRY_DELAY));
                if due >= job.expire_time || job.attempts.saturating_add(1) >= MAX_ATTEMPTS {
                    failed(&reason)
                } else {
                    TextResult::Again(due)
                }
            }
        })
    }

    /// Whether `code` is the one that is waited for: another may have been ordered
    /// since.
    fn counts(&self, codes: Option<&Codes>, owner: &[u8; 16], code: &str) -> bool {
        let hash = self.keyring.code_hash(owner, code);
        let sent = codes.and_then(|codes| codes.sent.as_ref());
        sent.is_some_and(|sent| sent.hash == hash)
    }

    /// The text as it goes out; none when it is of no use any more.
    async fn compose(&self, job: &TextJob) -> Result<Option<Text>, BrokerError> {
        let account = self.store.account(job.tenant, &job.user).await?;
        let phone = account.phone(job.phone);
        let sealed = match phone {
            Some(phone) => &phone.sealed_number,
            None if !job.sealed_number.is_empty() => &job.sealed_number,
            None => return Ok(None),
        };
        let tenant = self.tenant_of(job.tenant).await?;
        let policy = &tenant.policy;
        let language = phone
            .and_then(|phone| Language::from_tag(&phone.language))
            .or_else(|| Language::from_tag(&policy.language))
            .unwrap_or(Language::En);
        let host = Some(policy.sms.origin_host.as_str()).filter(|host| !host.is_empty());
        let name = &tenant.display_name;
        let mut reference = String::new();
        let body = match &job.purpose {
            TextPurpose::SignInCode(challenge) => {
                let Some((open, _)) = self.store.challenge(job.tenant, *challenge).await? else {
                    return Ok(None);
                };
                if !open.is_open(self.now()) {
                    return Ok(None);
                }
                let code = self.keyring.digits(&job.seed, job.digits);
                if !self.counts(Some(&open.codes), challenge.as_bytes(), &code) {
                    return Ok(None);
                }
                let challenge = challenge.as_bytes();
                reference = self
                    .keyring
                    .receipt_reference(job.tenant, challenge, job.phone, job.nth);
                texts::sign_in_code(language, name, &code, host)
            }
            TextPurpose::ConfirmNumber => {
                let code = self.keyring.digits(&job.seed, job.digits);
                let waiting = phone.and_then(|phone| phone.confirming.as_ref());
                if !self.counts(waiting, job.phone.as_bytes(), &code) {
                    return Ok(None);
                }
                texts::confirm_number_code(language, name, &code, host)
            }
            TextPurpose::Notice(notice) => texts::notice(language, &spoken(notice), name),
        };
        Ok(Some(Text {
            id: Uuid::from_bytes(*job.id.as_bytes()),
            to: self.keyring.open_number(job.phone, sealed)?.to_string(),
            body,
            reference,
            expire_at_ms: job.expire_time.as_millis(),
        }))
    }
}

fn failed(reason: &str) -> TextResult {
    TextResult::Finished(Some((DeliveryState::Failed, reason.to_owned())))
}

fn kind(purpose: &TextPurpose) -> &'static str {
    match purpose {
        TextPurpose::SignInCode(_) => "sign_in_code",
        TextPurpose::ConfirmNumber => "confirm_number",
        TextPurpose::Notice(_) => "notice",
    }
}

fn spoken(notice: &Notice) -> texts::Notice {
    match notice {
        Notice::DeviceAdded(name) => texts::Notice::DeviceAdded { name: name.clone() },
        Notice::DeviceRemoved(name) => texts::Notice::DeviceRemoved { name: name.clone() },
        Notice::PhoneAdded(masked) => texts::Notice::PhoneAdded {
            masked: masked.clone(),
        },
        Notice::PhoneRemoved(masked) => texts::Notice::PhoneRemoved {
            masked: masked.clone(),
        },
        Notice::TotpAdded => texts::Notice::TotpAdded,
        Notice::TotpRemoved => texts::Notice::TotpRemoved,
        Notice::RecoveryCodesCreated => texts::Notice::RecoveryCodesMade,
        Notice::RecoveryCodesRemoved => texts::Notice::RecoveryCodesRemoved,
        Notice::AccountLocked => texts::Notice::AccountLocked,
        Notice::AccountReset => texts::Notice::AccountReset,
        Notice::AccountUnlocked => texts::Notice::AccountUnlocked,
    }
}
