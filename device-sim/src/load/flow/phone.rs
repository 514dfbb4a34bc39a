//! The phone's side: get the prompt, look at it, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use countersign_proto::v1::{
    Challenge, Decision, ListPendingChallengesRequest, RespondRequest, SignedChallenge,
    device_service_client::DeviceServiceClient,
};
use tonic::Status;

use super::Flow;
use super::page::life;
use crate::fleet::LightPhone;
use crate::load::apps;
use crate::load::behaviour::{Answer, Channel};
use crate::load::inbox::Inbox;
use crate::load::run::is_refusal;
use crate::load::tenant::{CALL_TIMEOUT, Tenant, timed};
use crate::phone::method;

/// After how long an answer over a bad network is lost.
const LOST_AFTER: Duration = Duration::from_millis(3);
/// How long after the end of a challenge a late answer comes.
const TOO_LATE: Duration = Duration::from_secs(1);
/// How often an app tries to get its answer through.
const TRIES: u32 = 4;
/// Before it tries again.
const PAUSE: Duration = Duration::from_millis(250);
/// How often an app that was woken looks for the challenge.
const LOOKS: u32 = 3;

impl Flow {
    /// Where the prompt will come to, unless the app asks for it.
    pub(super) fn inbox(&self) -> Option<Inbox> {
        let who = (self.arrival.tenant, self.arrival.user);
        let open = match self.arrival.channel {
            Channel::Fetch => false,
            Channel::Subscribe => self.run.is_open(who),
            Channel::Apns | Channel::Fcm => true,
        };
        open.then(|| self.run.inboxes.open(who))
    }

    /// What the user does with the phone.
    pub(super) async fn phone(&self, tenant: &Tenant, challenge: &Challenge, inbox: Option<Inbox>) {
        let phone = match tenant.phone(self.arrival.user).await {
            Ok(phone) => phone,
            Err(error) => {
                let example = error.to_string();
                let now = self.run.now();
                let recorder = &self.run.recorder;
                recorder.error(now, "phone", "its user has no device", &example);
                return;
            }
        };
        let issued = challenge.signed_challenge.clone().unwrap_or_default();
        let Some((prompt, at)) = self.prompt(&phone, &issued, inbox).await else {
            return;
        };
        let latency = at.saturating_duration_since(self.due);
        self.run.recorder.step(self.run.measured.prompt, latency);
        self.given.prompted.store(true, Ordering::Relaxed);
        match self.arrival.answer {
            Answer::Ignore | Answer::Sms | Answer::Totp => {}
            Answer::Late => {
                tokio::time::sleep(life(challenge) + TOO_LATE).await;
                self.answer_too_late(&phone, challenge, &prompt).await;
            }
            Answer::Approve
            | Answer::Deny
            | Answer::Report
            | Answer::WrongNumber
            | Answer::Flaky => {
                let due = at + self.arrival.think;
                if !self.arrival.think.is_zero() {
                    tokio::time::sleep_until(due.into()).await;
                }
                self.given.due.get_or_init(|| due);
                self.answer(&phone, challenge, &prompt, due).await;
            }
        }
    }

    /// The challenge as it reaches the phone, and when.
    async fn prompt(
        &self,
        phone: &Arc<LightPhone>,
        issued: &SignedChallenge,
        inbox: Option<Inbox>,
    ) -> Option<(SignedChallenge, Instant)> {
        let Some(mut inbox) = inbox else {
            return match self.arrival.channel {
                Channel::Subscribe => self.open_app(phone, issued).await,
                Channel::Fetch | Channel::Apns | Channel::Fcm => self.fetch(phone, issued).await,
            };
        };
        loop {
            let news = inbox.next().await?;
            match news.challenge {
                Some(challenge) if challenge.body == issued.body => {
                    if self.flaky() {
                        // What was open is cut off: the app opens anew, and finds
                        // the prompt again.
                        return self.open_app(phone, issued).await;
                    }
                    return Some((challenge, news.at));
                }
                Some(_) => {}
                None => return self.fetch(phone, issued).await,
            }
        }
    }

    /// The user opens the app. Over a bad network, twice.
    async fn open_app(
        &self,
        phone: &Arc<LightPhone>,
        issued: &SignedChallenge,
    ) -> Option<(SignedChallenge, Instant)> {
        let mut again = self.flaky();
        loop {
            let opened = apps::open(&self.run.apps.pick(self.arrival.number), phone).await;
            let found = match opened {
                Ok(mut app) => apps::find(&mut app, issued).await,
                Err(status) => Err(status),
            };
            match found {
                Ok(Some(_)) if again => again = false,
                Ok(Some(found)) => return Some((found, Instant::now())),
                Ok(None) => return None,
                Err(status) => {
                    self.run.failed_call("Subscribe", &status);
                    if !is_refusal(&status) {
                        return None;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// The app asks what is pending.
    async fn fetch(
        &self,
        phone: &Arc<LightPhone>,
        issued: &SignedChallenge,
    ) -> Option<(SignedChallenge, Instant)> {
        for look in 1..=LOOKS {
            match self.pending(phone).await {
                Ok(pending) => {
                    let found = pending.into_iter().find(|one| one.body == issued.body);
                    if let Some(found) = found {
                        return Some((found, Instant::now()));
                    }
                }
                Err(status) => self.run.failed_call("ListPendingChallenges", &status),
            }
            tokio::time::sleep(PAUSE * look).await;
        }
        None
    }

    async fn pending(&self, phone: &Arc<LightPhone>) -> Result<Vec<SignedChallenge>, Status> {
        let message = ListPendingChallengesRequest::default();
        let request = phone
            .proven(method::LIST_PENDING_CHALLENGES, message, SystemTime::now())
            .map_err(|error| Status::internal(error.to_string()))?;
        let response = self
            .devices()
            .list_pending_challenges(timed(request, CALL_TIMEOUT))
            .await?;
        Ok(response.into_inner().challenges)
    }

    fn devices(&self) -> DeviceServiceClient<tonic::transport::Channel> {
        DeviceServiceClient::new(self.run.phones.pick(self.arrival.number))
    }

    /// What the user types: the number on the page, or another one.
    fn number(&self, challenge: &Challenge) -> (String, bool) {
        let right = challenge.number_to_match.clone();
        if self.arrival.answer != Answer::WrongNumber || right.is_empty() {
            return (right, true);
        }
        // Another first digit.
        let other = |digit: char| if digit == '9' { '0' } else { '9' };
        let mut digits = right.chars();
        let wrong = digits.next().map(other).into_iter().chain(digits).collect();
        (wrong, false)
    }

    async fn answer(
        &self,
        phone: &LightPhone,
        challenge: &Challenge,
        prompt: &SignedChallenge,
        due: Instant,
    ) {
        let (number, right) = self.number(challenge);
        let (decision, number) = match self.arrival.answer {
            Answer::Deny => (Decision::Deny, String::new()),
            Answer::Report => (Decision::ReportFraud, String::new()),
            _ => (Decision::Approve, number),
        };
        let Some(message) = self.signed(phone, challenge, prompt, decision, &number) else {
            return;
        };
        if decision == Decision::Approve && right {
            self.given.approving.store(true, Ordering::Relaxed);
        }
        self.given.sent.store(true, Ordering::Relaxed);
        if self.flaky() {
            let call = self.send(message.clone());
            if let Ok(Ok(response)) = tokio::time::timeout(LOST_AFTER, call).await {
                self.given.told(response);
            }
        }
        for attempt in 1..=TRIES {
            match self.send(message.clone()).await {
                Ok(response) => {
                    self.measure(self.run.measured.respond, due);
                    self.given.told(response);
                    self.run.captures.answer(message);
                    return;
                }
                // The lost one has counted.
                Err(status) if self.flaky() && status.code() == tonic::Code::FailedPrecondition => {
                    self.measure(self.run.measured.respond, due);
                    return;
                }
                Err(status) => {
                    self.run.failed_call("Respond", &status);
                    if !is_refusal(&status) {
                        return;
                    }
                }
            }
            tokio::time::sleep(PAUSE * attempt).await;
        }
    }

    async fn answer_too_late(
        &self,
        phone: &LightPhone,
        challenge: &Challenge,
        prompt: &SignedChallenge,
    ) {
        let number = challenge.number_to_match.clone();
        let message = self.signed(phone, challenge, prompt, Decision::Approve, &number);
        let Some(message) = message else { return };
        let wrong = match self.send(message).await {
            Ok(response) if response.state() == countersign_proto::v1::ChallengeState::Approved => {
                Some(challenge.challenge_id.clone())
            }
            Ok(_) | Err(_) => None,
        };
        self.run.verified.late.look(wrong);
    }

    fn signed(
        &self,
        phone: &LightPhone,
        challenge: &Challenge,
        prompt: &SignedChallenge,
        decision: Decision,
        number: &str,
    ) -> Option<RespondRequest> {
        let id = &challenge.challenge_id;
        let response = phone.answer(id, prompt, decision, number, SystemTime::now());
        response.ok().map(|response| RespondRequest {
            response: Some(response),
        })
    }

    async fn send(
        &self,
        message: RespondRequest,
    ) -> Result<countersign_proto::v1::RespondResponse, Status> {
        let request = timed(tonic::Request::new(message), CALL_TIMEOUT);
        let response = self.devices().respond(request).await?;
        Ok(response.into_inner())
    }
}
