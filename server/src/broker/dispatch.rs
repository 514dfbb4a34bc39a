//! The outbox worker: carries pushes from the store to the gateways and their
//! outcome back. One per gateway, so that a slow one slows nobody else.
//!
//! A push stands in the outbox before it is tried and until its outcome is
//! noted, and keeps its id for ever: what a crash interrupts is tried again as
//! the same push. A prompt is withdrawn only by the step that noted it as taken,
//! or later: a withdrawal never overtakes its prompt, nor goes without one.

mod alarms;
mod judge;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::Broker;
use crate::{
    delivery::{Content, CredentialAlarm, Outcome, Push, PushEnvironment, PushTarget},
    domain::{
        challenge::{Challenge, DeliveryState},
        device::{Device, PushGateway, PushRegistration},
        push::{PushJob, PushKind},
        time::Timestamp,
    },
    store::{PushResult, StoreError, TokenVerdict},
};

/// Pushes of one gateway that are being tried at once.
const IN_FLIGHT: usize = 512;
/// Taken from the outbox in one look.
const CLAIM: usize = 64;
/// Before the store is asked again that could not take an outcome.
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// Where pushes go: the gateways, or what stands in for them.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Tries one push.
    async fn send(&self, push: &Push) -> Outcome;
    /// The credentials that do not work at present.
    fn alarms(&self) -> Vec<CredentialAlarm>;
}

#[async_trait]
impl Courier for crate::delivery::Gateways {
    async fn send(&self, push: &Push) -> Outcome {
        crate::delivery::Gateways::send(self, push).await
    }

    fn alarms(&self) -> Vec<CredentialAlarm> {
        crate::delivery::Gateways::alarms(self)
    }
}

/// Why a registration can't be used.
pub(super) fn unusable(push: &PushRegistration) -> &'static str {
    if push.token.is_empty() {
        "push token is dead"
    } else {
        "push token is quarantined"
    }
}

fn target(registered: &PushRegistration) -> PushTarget {
    PushTarget {
        gateway: match registered.gateway {
            PushGateway::Apns => crate::delivery::PushGateway::Apns,
            PushGateway::Fcm => crate::delivery::PushGateway::Fcm,
        },
        app_id: registered.app_id.clone(),
        environment: if registered.sandbox {
            PushEnvironment::Sandbox
        } else {
            PushEnvironment::Production
        },
        token: registered.token.clone(),
    }
}

struct Worker {
    broker: Arc<Broker>,
    courier: Arc<dyn Courier>,
    gateway: PushGateway,
    /// What an earlier process may have tried without noting the outcome was
    /// made before this.
    started: Timestamp,
    alarmed: Mutex<alarms::Alarmed>,
}

impl Broker {
    /// Runs until the broker stops; what is being tried is finished first.
    pub async fn run_dispatch(self: Arc<Self>, gateway: PushGateway, courier: Arc<dyn Courier>) {
        let courier = self.courier.get_or_init(|| courier).clone();
        let worker = Arc::new(Worker {
            started: self.now(),
            broker: self,
            courier,
            gateway,
            alarmed: Mutex::default(),
        });
        worker.run().await;
    }
}

impl Worker {
    fn bell(&self) -> &Notify {
        match self.gateway {
            PushGateway::Apns => &self.broker.schedule.apns,
            PushGateway::Fcm => &self.broker.schedule.fcm,
        }
    }

    async fn run(self: Arc<Self>) {
        let places = Arc::new(Semaphore::new(IN_FLIGHT));
        let stopping = self.broker.hub.stopping.clone();
        while !stopping.is_cancelled() {
            let free = places.available_permits().min(CLAIM);
            if free == 0 {
                tokio::select! {
                    place = places.acquire() => drop(place),
                    () = stopping.cancelled() => break,
                }
                continue;
            }
            let now = self.broker.now();
            let jobs = match self
                .broker
                .store
                .claim_pushes(self.gateway, now, free)
                .await
            {
                Ok(jobs) => jobs,
                Err(error) => {
                    tracing::error!(%error, gateway = ?self.gateway, "the outbox can't be read");
                    Vec::new()
                }
            };
            if jobs.is_empty() {
                self.wait_for_work().await;
                continue;
            }
            for job in jobs {
                let Ok(place) = places.clone().acquire_owned().await else {
                    break;
                };
                let worker = self.clone();
                tokio::spawn(async move {
                    worker.carry(job).await;
                    drop(place);
                });
            }
        }
        // Every place free again: nothing is being tried any more.
        if places
            .acquire_many(u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX))
            .await
            .is_err()
        {
            tracing::error!("the dispatch semaphore was closed");
        }
    }

    async fn wait_for_work(&self) {
        let next = match self.broker.store.next_push(self.gateway).await {
            Ok(next) => next.map_or(u64::MAX, Timestamp::as_millis),
            Err(_) => self.broker.clock.now_ms().saturating_add(1000),
        };
        tokio::select! {
            () = self.bell().notified() => {}
            () = self.broker.clock.sleep_until(next) => {}
            () = self.broker.hub.stopping.cancelled() => {}
        }
    }

    async fn carry(&self, job: PushJob) {
        let (result, challenge) = match self.attempt(&job).await {
            Ok(attempted) => attempted,
            Err(error) => {
                tracing::error!(%error, push = %job.id, "a push could not be looked at");
                let due = self.broker.now().after(judge::RETRY_DELAY);
                let perhaps_sent = job.perhaps_sent;
                (PushResult::Again { due, perhaps_sent }, None)
            }
        };
        loop {
            let now = self.broker.now();
            let unheard = challenge
                .as_ref()
                .filter(|challenge| !self.broker.is_heard(challenge))
                .and_then(|_| self.broker.keyring.current_id(now).ok());
            let noted = self
                .broker
                .store
                .finish_push(job.clone(), result.clone(), unheard, now)
                .await;
            match noted {
                Ok(ended) => {
                    if let Some(ended) = ended {
                        self.broker.withdraw(&ended);
                    }
                    return;
                }
                Err(StoreError::Overloaded) => {
                    let broker = &self.broker;
                    tokio::select! {
                        () = broker.clock.sleep(STORE_PAUSE) => {}
                        // It stays in the outbox, and is tried again.
                        () = broker.hub.stopping.cancelled() => return,
                    }
                }
                Err(error) => {
                    // It stays in the outbox, claimed until the process ends.
                    tracing::error!(%error, "the outcome of a push could not be noted");
                    return;
                }
            }
        }
    }

    /// Tries a push, if it is still of use: what came of it, and the challenge
    /// it is about.
    async fn attempt(&self, job: &PushJob) -> Result<(PushResult, Option<Challenge>), StoreError> {
        if job.kind == PushKind::Notice {
            return Ok((self.attempt_notice(job).await?, None));
        }
        let store = &self.broker.store;
        let now = self.broker.now();
        let nothing = |taken| PushResult::Finished {
            delivery: None,
            token: TokenVerdict::Fine,
            taken,
        };
        let Some((challenge, signed)) = store.challenge(job.tenant, job.challenge).await? else {
            return Ok((nothing(false), None));
        };
        let mut job = job.clone();
        job.perhaps_sent |= challenge.create_time <= self.started;
        let of_use = match job.kind {
            PushKind::Prompt => {
                let fetched = challenge.deliveries.iter().any(|delivery| {
                    delivery.device == job.device && delivery.state >= DeliveryState::Fetched
                });
                challenge.is_open(now) && !fetched
            }
            PushKind::Withdraw | PushKind::Notice => now < job.expire_time,
        };
        if !of_use {
            return Ok((nothing(job.perhaps_sent), Some(challenge)));
        }
        let device = store
            .device(job.device)
            .await?
            .filter(|device| device.tenant == job.tenant);
        let result = match self.compose(&job, &challenge, device.as_ref()) {
            Err(reason) => PushResult::Finished {
                delivery: Some((DeliveryState::Failed, reason.to_owned())),
                token: TokenVerdict::Fine,
                taken: job.perhaps_sent,
            },
            Ok(push) => {
                let push = match job.kind {
                    PushKind::Prompt => self.broker.sealed(push, device.as_ref(), &signed).await?,
                    PushKind::Withdraw | PushKind::Notice => push,
                };
                let outcome = self.send(&job, &push).await;
                let now = self.broker.now();
                match job.kind {
                    PushKind::Prompt => judge::prompt(&job, &push, outcome, now),
                    PushKind::Withdraw | PushKind::Notice => {
                        judge::withdrawal(&job, &push, &outcome, now)
                    }
                }
            }
        };
        Ok((result, Some(challenge)))
    }

    /// Wakes a device for a notice, perhaps one that was just removed.
    async fn attempt_notice(&self, job: &PushJob) -> Result<PushResult, StoreError> {
        let done = PushResult::Finished {
            delivery: None,
            token: TokenVerdict::Fine,
            taken: false,
        };
        if self.broker.now() >= job.expire_time {
            return Ok(done);
        }
        let registered = match &job.farewell {
            Some(push) => Some(push.clone()),
            None => {
                let device = self.broker.store.device(job.device).await?;
                let device = device.filter(|device| device.tenant == job.tenant);
                device.and_then(|device| device.push)
            }
        };
        let Some(registered) =
            registered.filter(|push| push.gateway == job.gateway && !push.quarantined)
        else {
            return Ok(done);
        };
        let notice_id = job.challenge.to_string();
        let push = Push {
            push_id: uuid::Uuid::from_bytes(*job.id.as_bytes()),
            collapse_id: notice_id.clone(),
            target: target(&registered),
            expire_at_ms: job.expire_time.as_millis(),
            content: Content::Notice { notice_id },
        };
        let outcome = self.send(job, &push).await;
        let now = self.broker.now();
        Ok(judge::withdrawal(job, &push, &outcome, now))
    }

    async fn send(&self, job: &PushJob, push: &Push) -> Outcome {
        let started = self.broker.now();
        let outcome = self.courier.send(push).await;
        let kind = match job.kind {
            PushKind::Prompt => "prompt",
            PushKind::Withdraw => "withdraw",
            PushKind::Notice => "notice",
        };
        self.broker.metrics.pushed(
            push.target.gateway.name(),
            kind,
            outcome.name(),
            judge::reason_label(outcome.reason()),
            self.broker.now().since(started),
        );
        self.watch_alarms(push.target.gateway).await;
        outcome
    }

    /// The push, or why there can be none.
    fn compose(
        &self,
        job: &PushJob,
        challenge: &Challenge,
        device: Option<&Device>,
    ) -> Result<Push, &'static str> {
        let registered = device
            .and_then(|device| device.push.as_ref())
            .filter(|push| push.gateway == job.gateway)
            .ok_or("no push token")?;
        if registered.quarantined {
            return Err(unusable(registered));
        }
        let challenge_id = challenge.id.to_string();
        Ok(Push {
            push_id: uuid::Uuid::from_bytes(*job.id.as_bytes()),
            collapse_id: challenge.collapse_id.clone(),
            target: target(registered),
            expire_at_ms: job.expire_time.as_millis(),
            content: match job.kind {
                PushKind::Prompt => Content::WakeUp { challenge_id },
                PushKind::Withdraw => Content::Withdraw { challenge_id },
                PushKind::Notice => Content::Notice {
                    notice_id: challenge_id,
                },
            },
        })
    }
}
