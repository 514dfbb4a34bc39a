//! One sign-in, from the moment it is due to its decision: the page's side and
//! the phone's, as two people would do them.

mod other_way;
mod page;
mod phone;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use countersign_proto::v1::{
    Challenge, ChallengeState, DecisionReason, GetChallengeRequest, RespondResponse,
};
use tonic::Status;

use super::behaviour::Answer;
use super::dice::{Dice, Purpose};
use super::run::{Run, UnderWay, is_refusal};
use super::schedule::Arrival;
use super::tenant::{CALL_TIMEOUT, Tenant, timed};
use crate::receipt::ReceiptCheck;

/// A sign-in under way.
struct Flow {
    run: Arc<Run>,
    arrival: Arrival,
    /// When it was meant to start.
    due: Instant,
    given: Given,
}

/// What the user has done about it.
#[derive(Default)]
struct Given {
    /// When the answer was due: the prompt was there, and thought about.
    due: OnceLock<Instant>,
    /// The prompt was there.
    prompted: AtomicBool,
    /// The answer is on its way.
    sent: AtomicBool,
    /// A yes that has to count is on its way.
    approving: AtomicBool,
    /// What the phone was told.
    told: OnceLock<(ChallengeState, DecisionReason)>,
}

/// A sign-in that ended without a decision.
enum End {
    /// The broker said "not now".
    Refused,
    /// Something else, which was taken down.
    Failed,
}

/// A decision.
struct Decided {
    challenge: Challenge,
    /// Time in which it was not the broker's turn.
    waited: Duration,
    /// When the identity provider had it.
    at: Instant,
}

/// Carries a sign-in out.
pub(super) async fn sign_in(under_way: UnderWay, arrival: Arrival) {
    let run = Arc::clone(under_way.run());
    let due = run.start() + arrival.at;
    run.recorder.started(run.now(), due.elapsed());
    let flow = Flow {
        run: Arc::clone(&run),
        arrival,
        due,
        given: Given::default(),
    };
    match flow.take_its_course().await {
        Ok(decided) => {
            let latency = decided.at.saturating_duration_since(due);
            let state = name(decided.challenge.state());
            let latency = latency.saturating_sub(decided.waited);
            run.recorder.completed(run.now(), state, latency);
            if let Some(step) = run.measured.tenants.get(flow.arrival.tenant) {
                run.recorder.step(*step, latency);
            }
            flow.look_at(&decided.challenge).await;
        }
        Err(End::Refused) => run.recorder.refused(run.now()),
        Err(End::Failed) => run.recorder.failed(run.now()),
    }
}

impl Flow {
    fn tenant(&self) -> Result<&Tenant, End> {
        self.run.tenants.get(self.arrival.tenant).ok_or(End::Failed)
    }

    async fn take_its_course(&self) -> Result<Decided, End> {
        let tenant = self.tenant()?;
        let mut asked = None;
        let result = self.ask_and_answer(tenant, &mut asked).await;
        // What the broker had no time for is not left to the user.
        if let (Err(_), Some(challenge_id), false) = (&result, asked, self.run.args.keep) {
            self.call_off(tenant, challenge_id).await;
        }
        result
    }

    async fn ask_and_answer(
        &self,
        tenant: &Tenant,
        asked: &mut Option<String>,
    ) -> Result<Decided, End> {
        // Before the question, as an answer may be quicker than its caller.
        let inbox = self.inbox();
        let (challenge, lost) = self.create(tenant).await?;
        self.measure(self.run.measured.create, self.due + lost);
        tenant.learn_from(self.arrival.user, &challenge);
        *asked = Some(challenge.challenge_id.clone());
        if challenge.state() != ChallengeState::Pending {
            return Ok(Decided {
                challenge,
                waited: lost,
                at: Instant::now(),
            });
        }
        if matches!(self.arrival.answer, Answer::Sms | Answer::Totp) {
            return self.other_way(tenant, challenge).await;
        }
        let mut phone = std::pin::pin!(self.phone(tenant, &challenge, inbox));
        let mut page = std::pin::pin!(self.decision(tenant, &challenge));
        let mut put_down = false;
        let mut decided = loop {
            tokio::select! {
                decided = &mut page => break decided?,
                () = &mut phone, if !put_down => put_down = true,
            }
        };
        decided.waited += lost;
        if decided.challenge.state() == ChallengeState::Expired
            && !self.given.prompted.load(Ordering::Relaxed)
        {
            let why = "it never reached the phone";
            let example = format!(
                "{} by {:?}, to be answered by {:?}",
                decided.challenge.challenge_id, self.arrival.channel, self.arrival.answer
            );
            self.run
                .recorder
                .error(self.run.now(), "prompt", why, &example);
        }
        // The page may know before the phone; and some answer when all is over.
        let late = self.arrival.answer == Answer::Late;
        let expired = decided.challenge.state() == ChallengeState::Expired;
        if !put_down && (self.given.sent.load(Ordering::Relaxed) || late && expired) {
            phone.await;
        }
        Ok(decided)
    }

    fn measure(&self, step: crate::report::StepId, since: Instant) {
        self.run.recorder.step(step, since.elapsed());
    }

    /// Why a call brought nothing, taken down.
    fn end(&self, call: &str, status: &Status) -> End {
        self.run.failed_call(call, status);
        if is_refusal(status) {
            End::Refused
        } else {
            End::Failed
        }
    }

    /// Verifies what can be verified of the outcome.
    async fn look_at(&self, challenge: &Challenge) {
        let verified = &self.run.verified;
        let outcome = (challenge.state(), challenge.reason());
        let shown = || format!("{} is {outcome:?}", challenge.challenge_id);
        if challenge.state() == ChallengeState::Approved {
            let ours = self.given.approving.load(Ordering::Relaxed);
            let answer = self.arrival.answer;
            let wrong = (!ours).then(|| format!("{}, and was answered by {answer:?}", shown()));
            verified.approvals.look(wrong);
        }
        if let Some(told) = self.given.told.get() {
            let wrong = (*told != outcome).then(|| format!("{}, the phone has {told:?}", shown()));
            verified.outcomes.look(wrong);
        }
        if let DecisionReason::Unreachable
        | DecisionReason::LockedOut
        | DecisionReason::Superseded
        | DecisionReason::Policy = challenge.reason()
        {
            // Not what the user did: worth a word.
            let reason = challenge.reason().as_str_name();
            let reason = reason.trim_start_matches("DECISION_REASON_");
            let roads = challenge.deliveries.iter();
            let roads: Vec<_> = roads.map(|one| (one.gateway(), &one.reason)).collect();
            let example = format!("{}: {roads:?}", challenge.challenge_id);
            let recorder = &self.run.recorder;
            recorder.error(self.run.now(), "decision", reason, &example);
        }
        let (args, number) = (&self.run.args, self.arrival.number);
        let mut dice = Dice::new(args.seed, Purpose::Sample, number);
        if dice.unit() >= args.sample {
            return;
        }
        let Ok(tenant) = self.tenant() else { return };
        self.read_again(tenant, challenge, outcome).await;
        if let Some(jwks) = &self.run.jwks {
            verified
                .receipts
                .look(self.receipt_fault(tenant, challenge, jwks));
        }
    }

    async fn read_again(
        &self,
        tenant: &Tenant,
        challenge: &Challenge,
        outcome: (ChallengeState, DecisionReason),
    ) {
        let request = timed(
            tenant.idp.authorized(GetChallengeRequest {
                challenge_id: challenge.challenge_id.clone(),
            }),
            CALL_TIMEOUT,
        );
        let mut client = tenant.idp.client(self.arrival.number);
        match client.get_challenge(request).await {
            Ok(again) => {
                let again = again.into_inner().challenge.unwrap_or_default();
                let again = (again.state(), again.reason());
                let id = &challenge.challenge_id;
                let wrong =
                    (again != outcome).then(|| format!("{id}: {outcome:?}, then {again:?}"));
                self.run.verified.stable.look(wrong);
            }
            Err(status) => self.run.failed_call("GetChallenge", &status),
        }
    }

    fn receipt_fault(&self, tenant: &Tenant, challenge: &Challenge, jwks: &str) -> Option<String> {
        let checked = ReceiptCheck::new(jwks, &tenant.key_id, SystemTime::now())
            .and_then(|check| check.check(&challenge.receipt));
        match checked {
            Err(error) => Some(format!("{}: {error}", challenge.challenge_id)),
            Ok(receipt) if receipt.claims.jti != challenge.challenge_id => {
                Some(format!("{}: of another challenge", challenge.challenge_id))
            }
            Ok(receipt) if receipt.claims.decision != name(challenge.state()) => {
                Some(format!("{}: of another decision", challenge.challenge_id))
            }
            Ok(_) => None,
        }
    }
}

impl Given {
    fn told(&self, response: RespondResponse) {
        // The first word counts: what comes later is of a repeated answer.
        self.told
            .get_or_init(|| (response.state(), response.reason()));
    }
}

/// `APPROVED` and so on.
fn name(state: ChallengeState) -> &'static str {
    match state {
        ChallengeState::Unspecified => "UNSPECIFIED",
        ChallengeState::Pending => "PENDING",
        ChallengeState::Approved => "APPROVED",
        ChallengeState::Denied => "DENIED",
        ChallengeState::Expired => "EXPIRED",
        ChallengeState::Cancelled => "CANCELLED",
    }
}
