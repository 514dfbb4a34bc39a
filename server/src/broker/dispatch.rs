//! The outbox worker: carries pushes from the store to the gateways and their
//! outcome back. One per gateway, so that a slow one slows nobody else.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::Broker;
use crate::{
    delivery::{Content, Outcome, Push, PushEnvironment, PushTarget},
    domain::{
        challenge::{Challenge, DeliveryState},
        device::{Device, PushGateway},
        ids::{ChallengeId, DeviceId},
        push::{PushJob, PushKind},
        time::Timestamp,
    },
    store::{PushResult, StoreError, TokenVerdict},
};

/// Pushes of one gateway that are being tried at once.
const IN_FLIGHT: usize = 512;
/// Taken from the outbox in one look.
const CLAIM: usize = 64;
/// How long after a server error its one retry comes, if the gateway names no
/// time.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// A retry must leave the user at least this long to answer.
const WORTH_ASKING: Duration = Duration::from_secs(5);
/// A withdrawal waits this long for a prompt that is still on its way.
const PROMPT_ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Where pushes go: the gateways, or what stands in for them.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Tries one push.
    async fn send(&self, push: &Push) -> Outcome;
}

#[async_trait]
impl Courier for crate::delivery::Gateways {
    async fn send(&self, push: &Push) -> Outcome {
        crate::delivery::Gateways::send(self, push).await
    }
}

struct Worker {
    broker: Arc<Broker>,
    courier: Arc<dyn Courier>,
    gateway: PushGateway,
    prompts_in_flight: Mutex<HashSet<(ChallengeId, DeviceId)>>,
}

impl Broker {
    /// Runs until the broker stops; what is being tried is finished first.
    pub async fn run_dispatch(self: Arc<Self>, gateway: PushGateway, courier: Arc<dyn Courier>) {
        let worker = Arc::new(Worker {
            broker: self,
            courier,
            gateway,
            prompts_in_flight: Mutex::default(),
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
        let result = match self.attempt(&job).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, push = %job.id, "a push could not be looked at");
                PushResult::Again {
                    due: self.broker.now().after(RETRY_DELAY),
                }
            }
        };
        let now = self.broker.now();
        if let Err(error) = self.broker.store.finish_push(job.id, job, result, now) {
            // It stays in the outbox, claimed until the process ends.
            tracing::error!(%error, "the outcome of a push could not be noted");
        }
    }

    async fn attempt(&self, job: &PushJob) -> Result<PushResult, StoreError> {
        let store = &self.broker.store;
        let now = self.broker.now();
        let nothing = PushResult::Finished {
            delivery: None,
            token: TokenVerdict::Fine,
        };
        if now >= job.expire_time {
            return Ok(nothing);
        }
        let Some((challenge, signed)) = store.challenge(job.tenant, job.challenge).await? else {
            return Ok(nothing);
        };
        let device = store
            .device(job.device)
            .await?
            .filter(|device| device.tenant == job.tenant);
        let Some(push) = device
            .as_ref()
            .and_then(|device| self.compose(job, &challenge, device))
        else {
            let failed = (DeliveryState::Failed, "no push token".to_owned());
            return Ok(PushResult::Finished {
                delivery: Some(failed),
                token: TokenVerdict::Fine,
            });
        };
        match job.kind {
            PushKind::Prompt => {
                let fetched = challenge.deliveries.iter().any(|delivery| {
                    delivery.device == job.device && delivery.state >= DeliveryState::Fetched
                });
                if !challenge.is_open(now) || fetched {
                    return Ok(nothing);
                }
                let push = self.broker.sealed(push, device.as_ref(), &signed).await?;
                let pair = (job.challenge, job.device);
                self.prompts_in_flight.lock().insert(pair);
                let outcome = self.send(job, &push).await;
                self.prompts_in_flight.lock().remove(&pair);
                Ok(judge_prompt(job, &push, outcome, self.broker.now()))
            }
            PushKind::Withdraw => {
                if self
                    .prompts_in_flight
                    .lock()
                    .contains(&(job.challenge, job.device))
                {
                    return Ok(PushResult::Again {
                        due: now.after(PROMPT_ON_ITS_WAY),
                    });
                }
                let outcome = self.send(job, &push).await;
                Ok(judge_withdrawal(job, &push, outcome, self.broker.now()))
            }
        }
    }

    async fn send(&self, job: &PushJob, push: &Push) -> Outcome {
        let started = self.broker.now();
        let outcome = self.courier.send(push).await;
        let kind = match job.kind {
            PushKind::Prompt => "prompt",
            PushKind::Withdraw => "withdraw",
        };
        let took = self.broker.now().since(started);
        self.broker.metrics.pushed(
            push.target.gateway.name(),
            kind,
            outcome_name(&outcome),
            took,
        );
        outcome
    }

    fn compose(&self, job: &PushJob, challenge: &Challenge, device: &Device) -> Option<Push> {
        let registered = device
            .push
            .as_ref()
            .filter(|push| push.gateway == job.gateway && !push.quarantined)?;
        let challenge_id = challenge.id.to_string();
        Some(Push {
            push_id: uuid::Uuid::from_bytes(*job.id.as_bytes()),
            collapse_id: challenge.collapse_id.clone(),
            target: PushTarget {
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
            },
            expire_at_ms: job.expire_time.as_millis(),
            content: match job.kind {
                PushKind::Prompt => Content::WakeUp { challenge_id },
                PushKind::Withdraw => Content::Withdraw { challenge_id },
            },
        })
    }
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "accepted",
        Outcome::TokenDead { .. } => "token_dead",
        Outcome::TokenSuspect { .. } => "token_suspect",
        Outcome::RetryAfter { .. } => "retry_after",
        Outcome::ServerError { .. } => "server_error",
        Outcome::CredentialRejected { .. } => "credential_rejected",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Unknown { .. } => "unknown",
        Outcome::NoGateway => "no_gateway",
    }
}

fn token_verdict(push: &Push, outcome: &Outcome) -> TokenVerdict {
    let token = push.target.token.clone();
    match outcome {
        Outcome::TokenDead { since_ms, .. } => TokenVerdict::Dead {
            token,
            since: since_ms.map(Timestamp::from_millis),
        },
        Outcome::TokenSuspect { .. } => TokenVerdict::Doubtful { token },
        _ => TokenVerdict::Fine,
    }
}

/// What a try of a prompt means: as tabled in the delivery rules.
fn judge_prompt(job: &PushJob, push: &Push, outcome: Outcome, now: Timestamp) -> PushResult {
    let token = token_verdict(push, &outcome);
    let failed = |reason: String| PushResult::Finished {
        delivery: Some((DeliveryState::Failed, reason)),
        token: token.clone(),
    };
    match outcome {
        Outcome::Accepted => PushResult::Finished {
            delivery: Some((DeliveryState::Accepted, String::new())),
            token,
        },
        Outcome::ServerError { reason, after } => {
            let due = now.after(after.unwrap_or(RETRY_DELAY));
            let fits = due.after(WORTH_ASKING) < job.expire_time;
            if job.attempts == 0 && fits {
                PushResult::Again { due }
            } else {
                failed(reason)
            }
        }
        // Perhaps it came through: the same id can't show it twice.
        Outcome::Unknown { reason } => {
            let due = now.after(RETRY_DELAY);
            let fits = due.after(WORTH_ASKING) < job.expire_time;
            if job.attempts == 0 && fits {
                PushResult::Again { due }
            } else {
                failed(reason)
            }
        }
        Outcome::TokenDead { reason, .. }
        | Outcome::TokenSuspect { reason }
        | Outcome::RetryAfter { reason, .. }
        | Outcome::CredentialRejected { reason }
        | Outcome::Rejected { reason } => failed(reason),
        Outcome::NoGateway => failed("no gateway is configured for this app".into()),
    }
}

/// A withdrawal that fails is tried once more; the prompt expires by itself.
fn judge_withdrawal(job: &PushJob, push: &Push, outcome: Outcome, now: Timestamp) -> PushResult {
    let token = token_verdict(push, &outcome);
    match outcome {
        Outcome::ServerError { .. } | Outcome::Unknown { .. } if job.attempts == 0 => {
            PushResult::Again {
                due: now.after(RETRY_DELAY),
            }
        }
        _ => PushResult::Finished {
            delivery: None,
            token,
        },
    }
}
