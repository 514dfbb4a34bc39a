//! The prompt bomber: knows passwords, and asks until somebody says yes by
//! mistake. These users never do.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_proto::v1::{CancelChallengeRequest, ChallengeState, GetChallengeRequest};
use parking_lot::Mutex;

use super::{Model, Tally, at_a_rate, victim};
use crate::fleet::Idp;
use crate::load::inbox::Who;
use crate::load::run::Run;
use crate::load::tenant::{CALL_TIMEOUT, timed};

/// The last challenge of each victim.
type Last = Arc<Mutex<HashMap<Who, String>>>;

pub(super) async fn run(run: Arc<Run>, rate: f64) {
    let victims: Arc<[Who]> = run.victims_of(Model::Bomber).into();
    let last: Last = Arc::default();
    at_a_rate(&run, rate, |number| {
        let (run, victims, last) = (Arc::clone(&run), Arc::clone(&victims), Arc::clone(&last));
        async move {
            if let Some(who) = victim(&run, &victims, number) {
                ask(&run, who, number, &last).await;
            }
        }
    })
    .await;
    let left: Vec<_> = last.lock().drain().collect();
    for (who, challenge_id) in left {
        look(&run, who, &challenge_id).await;
        if let Some(tenant) = run.tenants.get(who.0) {
            let request = tenant
                .idp
                .authorized(CancelChallengeRequest { challenge_id });
            let mut client = tenant.idp.client(who.1);
            // It may have ended by itself.
            drop(client.cancel_challenge(timed(request, CALL_TIMEOUT)).await);
        }
    }
}

fn tally(run: &Run) -> &Tally {
    &run.siege.bomber
}

async fn ask(run: &Run, who: Who, number: u64, last: &Last) {
    let Some(tenant) = run.tenants.get(who.0) else {
        return;
    };
    let before = last.lock().remove(&who);
    if let Some(before) = before {
        look(run, who, &before).await;
    }
    tally(run).attempt();
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = Idp::typical_request(request_id, tenant.population.user_id(who.1));
    match tenant.create(number, request).await {
        Ok(challenge) if challenge.state() == ChallengeState::Approved => tally(run).accepted(),
        Ok(challenge) if challenge.state() == ChallengeState::Pending => {
            last.lock().insert(who, challenge.challenge_id);
        }
        Ok(challenge) => {
            let reason = challenge.reason().as_str_name();
            let reason = reason.trim_start_matches("DECISION_REASON_");
            tally(run).refused_for(reason.to_owned());
        }
        Err(status) => tally(run).refused(&status),
    }
}

/// Whether it worked in the end.
async fn look(run: &Run, who: Who, challenge_id: &str) {
    let Some(tenant) = run.tenants.get(who.0) else {
        return;
    };
    let request = tenant.idp.authorized(GetChallengeRequest {
        challenge_id: challenge_id.to_owned(),
    });
    let mut client = tenant.idp.client(who.1);
    match client.get_challenge(timed(request, CALL_TIMEOUT)).await {
        Ok(response) => {
            let challenge = response.into_inner().challenge.unwrap_or_default();
            if challenge.state() == ChallengeState::Approved {
                tally(run).accepted();
            }
        }
        Err(status) => run.failed_call("GetChallenge", &status),
    }
}
