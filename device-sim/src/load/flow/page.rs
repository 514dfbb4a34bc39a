//! The page's side: ask, wait, give up.

use std::time::{Duration, Instant};

use countersign_proto::v1::{
    CancelChallengeRequest, Challenge, ChallengeState, CreateChallengeRequest, GetChallengeRequest,
    SignInContext, WaitChallengeRequest, WatchChallengeRequest,
};
use tonic::Status;

use super::{Decided, End, Flow};
use crate::load::behaviour::Answer;
use crate::load::run::is_refusal;
use crate::load::settings::Waiting;
use crate::load::tenant::{CALL_TIMEOUT, Tenant, timed};

/// After how long a call over a bad network is lost.
const LOST_AFTER: Duration = Duration::from_millis(4);
/// How often the page goes on waiting when the broker has no place for it.
const TRIES: u32 = 4;
/// Before it does.
const PAUSE: Duration = Duration::from_millis(250);

impl Flow {
    pub(super) fn flaky(&self) -> bool {
        self.arrival.answer == Answer::Flaky
    }

    fn question(&self, tenant: &Tenant) -> CreateChallengeRequest {
        let arrival = &self.arrival;
        CreateChallengeRequest {
            request_id: arrival.request_id(self.run.id),
            user_id: tenant.population.user_id(arrival.user),
            context: Some(SignInContext {
                application_name: arrival.application().to_owned(),
                client_address: arrival.address(),
                location: arrival.place().to_owned(),
                user_agent: USER_AGENT.to_owned(),
                ..SignInContext::default()
            }),
            ttl: self.run.args.ttl.map(duration),
            ..CreateChallengeRequest::default()
        }
    }

    /// Asks. Over a bad network it asks twice; also how long the first call took
    /// to be lost.
    pub(super) async fn create(&self, tenant: &Tenant) -> Result<(Challenge, Duration), End> {
        let mut lost = Duration::ZERO;
        let mut first = None;
        if self.flaky() {
            let begun = Instant::now();
            let call = tenant.create(self.arrival.number, self.question(tenant));
            if let Ok(Ok(challenge)) = tokio::time::timeout(LOST_AFTER, call).await {
                first = Some(challenge.challenge_id);
            }
            lost = begun.elapsed();
        }
        let challenge = tenant
            .create(self.arrival.number, self.question(tenant))
            .await
            .map_err(|status| self.end("CreateChallenge", &status))?;
        if let Some(first) = first {
            let second = &challenge.challenge_id;
            let wrong = (first != *second).then(|| format!("{first}, then {second}"));
            self.run.verified.idempotent.look(wrong);
        }
        Ok((challenge, lost))
    }

    /// Waits for the decision, and gives up at the end of the run.
    pub(super) async fn decision(
        &self,
        tenant: &Tenant,
        challenge: &Challenge,
    ) -> Result<Decided, End> {
        let decided = tokio::select! {
            biased;
            () = self.run.give_up.cancelled() => return self.give_up(tenant, challenge).await,
            decided = self.wait(tenant, challenge) => decided?,
        };
        let at = Instant::now();
        let answered = self.given.due.get();
        if let Some(due) = answered
            && self.given.sent.load(std::sync::atomic::Ordering::Relaxed)
        {
            let latency = at.saturating_duration_since(*due);
            self.run.recorder.step(self.run.measured.answer, latency);
        }
        let waited = if decided.state() == ChallengeState::Expired {
            life(&decided)
        } else if answered.is_some() {
            self.arrival.think
        } else {
            Duration::ZERO
        };
        Ok(Decided {
            challenge: decided,
            waited,
            at,
        })
    }

    async fn wait(&self, tenant: &Tenant, challenge: &Challenge) -> Result<Challenge, End> {
        let mut tries = 0;
        if self.flaky() {
            // The answer to this one does not reach the page.
            let call = self.poll(tenant, &challenge.challenge_id);
            drop(tokio::time::timeout(LOST_AFTER, call).await);
        }
        loop {
            let (call, result) = match self.run.args.wait {
                Waiting::Poll => {
                    let result = self.poll(tenant, &challenge.challenge_id).await;
                    ("WaitChallenge", result)
                }
                Waiting::Watch => {
                    let result = self.watch(tenant, &challenge.challenge_id).await;
                    ("WatchChallenge", result)
                }
            };
            match result {
                Ok(challenge) if challenge.state() == ChallengeState::Pending => {}
                Ok(challenge) => return Ok(challenge),
                Err(status) if is_refusal(&status) && tries < TRIES => {
                    self.run.failed_call(call, &status);
                    tries += 1;
                    tokio::time::sleep(PAUSE * tries).await;
                }
                Err(status) => return Err(self.end(call, &status)),
            }
        }
    }

    async fn poll(&self, tenant: &Tenant, challenge_id: &str) -> Result<Challenge, Status> {
        let length = self.run.args.poll;
        let request = tenant.idp.authorized(WaitChallengeRequest {
            challenge_id: challenge_id.to_owned(),
            timeout: Some(duration(length)),
            ..WaitChallengeRequest::default()
        });
        let mut client = tenant.idp.client(self.arrival.number);
        let response = client
            .wait_challenge(timed(request, length + CALL_TIMEOUT))
            .await?;
        response.into_inner().challenge.ok_or_else(missing)
    }

    async fn watch(&self, tenant: &Tenant, challenge_id: &str) -> Result<Challenge, Status> {
        let request = tenant.idp.authorized(WatchChallengeRequest {
            challenge_id: challenge_id.to_owned(),
        });
        let mut client = tenant.idp.client(self.arrival.number);
        let mut changes = client.watch_challenge(request).await?.into_inner();
        let mut last = None;
        while let Some(change) = changes.message().await? {
            last = change.challenge;
            if last
                .as_ref()
                .is_some_and(|one| one.state() != ChallengeState::Pending)
            {
                break;
            }
        }
        last.ok_or_else(missing)
    }

    /// Nobody waits for the decision any more.
    pub(super) async fn call_off(&self, tenant: &Tenant, challenge_id: String) {
        let request = CancelChallengeRequest { challenge_id };
        let request = timed(tenant.idp.authorized(request), CALL_TIMEOUT);
        let mut client = tenant.idp.client(self.arrival.number);
        // It may have been decided, or end by itself.
        drop(client.cancel_challenge(request).await);
    }

    /// The run is over.
    pub(super) async fn give_up(
        &self,
        tenant: &Tenant,
        challenge: &Challenge,
    ) -> Result<Decided, End> {
        let waited = self.due.elapsed();
        if self.run.args.keep {
            let why = "left pending at the end of the run";
            self.run
                .recorder
                .error(self.run.now(), "decision", why, why);
            return Err(End::Failed);
        }
        let id = &challenge.challenge_id;
        let request = tenant.idp.authorized(CancelChallengeRequest {
            challenge_id: id.clone(),
        });
        let mut client = tenant.idp.client(self.arrival.number);
        let cancelled = client.cancel_challenge(timed(request, CALL_TIMEOUT)).await;
        let after = match cancelled {
            Ok(cancelled) => cancelled.into_inner().challenge.unwrap_or_default(),
            // Decided in the meantime?
            Err(_) => {
                let request = tenant.idp.authorized(GetChallengeRequest {
                    challenge_id: id.clone(),
                });
                let response = client.get_challenge(timed(request, CALL_TIMEOUT)).await;
                let response = response.map_err(|status| self.end("GetChallenge", &status));
                match response {
                    Ok(response) => response.into_inner().challenge.unwrap_or_default(),
                    Err(end) => {
                        let wrong = format!("{id} could be neither cancelled nor read");
                        self.run.verified.leftovers.look(Some(wrong));
                        return Err(end);
                    }
                }
            }
        };
        let pending = matches!(
            after.state(),
            ChallengeState::Pending | ChallengeState::Unspecified
        );
        let wrong = pending.then(|| format!("{id} is still pending"));
        self.run.verified.leftovers.look(wrong);
        if pending {
            return Err(End::Failed);
        }
        Ok(Decided {
            challenge: after,
            waited,
            at: Instant::now(),
        })
    }
}

fn missing() -> Status {
    Status::internal("an answer without a challenge")
}

/// How long a challenge lives.
pub(super) fn life(challenge: &Challenge) -> Duration {
    let millis = |time: &Option<prost_types::Timestamp>| {
        time.as_ref().map_or(0, |time| {
            time.seconds * 1000 + i64::from(time.nanos) / 1_000_000
        })
    };
    let life = millis(&challenge.expire_time) - millis(&challenge.create_time);
    Duration::from_millis(u64::try_from(life).unwrap_or_default())
}

fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
    }
}

const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:147.0) Gecko/20100101 Firefox/147.0";
