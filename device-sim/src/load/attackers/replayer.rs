//! The replayer: reads along, and sends again what was genuine once.

use std::sync::Arc;
use std::time::SystemTime;

use countersign_proto::v1::{
    CancelChallengeRequest, Challenge, ChallengeState, CreateChallengeRequest, Decision,
    GetChallengeRequest, ListPendingChallengesRequest, RespondRequest,
    device_service_client::DeviceServiceClient,
};
use tonic::{Request, Status};

use super::{Model, Tally, at_a_rate, victim};
use crate::fleet::Idp;
use crate::load::inbox::Who;
use crate::load::run::Run;
use crate::load::tenant::{CALL_TIMEOUT, Tenant, timed};
use crate::phone::method;

pub(super) async fn run(run: Arc<Run>, rate: f64) {
    let victims: Arc<[Who]> = run.victims_of(Model::Replayer).into();
    at_a_rate(&run, rate, |number| {
        let (run, victims) = (Arc::clone(&run), Arc::clone(&victims));
        async move {
            match number % 4 {
                0 => replay_proof(&run, &victims, number, 0).await,
                // The proof of one message for another.
                1 => replay_proof(&run, &victims, number, 1).await,
                2 => replay_browser(&run, &victims, number).await,
                _ => replay_answer(&run, number).await,
            }
        }
    })
    .await;
}

fn tally(run: &Run) -> &Tally {
    &run.siege.replayer
}

/// An answer that has decided, once more.
async fn replay_answer(run: &Run, number: u64) {
    let Some(answer) = run.captures.some_answer(number) else {
        return;
    };
    tally(run).attempt();
    let mut client = DeviceServiceClient::new(run.phones.pick(number));
    let request = timed(Request::new(answer), CALL_TIMEOUT);
    match client.respond(request).await {
        Ok(_) => tally(run).accepted(),
        Err(status) => tally(run).refused(&status),
    }
}

/// A proof that was used for a genuine call.
async fn replay_proof(run: &Run, victims: &[Who], number: u64, last_notice: u64) {
    let Some((tenant, user)) = victim(run, victims, number) else {
        return;
    };
    let Some(tenant) = run.tenants.get(tenant) else {
        return;
    };
    let Ok(phone) = tenant.phone(user).await else {
        return;
    };
    let message = ListPendingChallengesRequest::default();
    let name = method::LIST_PENDING_CHALLENGES;
    let Ok(genuine) = phone.proven(name, message, SystemTime::now()) else {
        return;
    };
    let proof = genuine.metadata().clone();
    let mut client = DeviceServiceClient::new(run.phones.pick(number));
    let genuine = timed(genuine, CALL_TIMEOUT);
    if let Err(status) = client.list_pending_challenges(genuine).await {
        return run.failed_call("ListPendingChallenges", &status);
    }
    tally(run).attempt();
    let mut replay = Request::new(ListPendingChallengesRequest { last_notice });
    *replay.metadata_mut() = proof;
    match client
        .list_pending_challenges(timed(replay, CALL_TIMEOUT))
        .await
    {
        Ok(_) => tally(run).accepted(),
        Err(status) => tally(run).refused(&status),
    }
}

/// The token of a remembered browser, after it was used.
async fn replay_browser(run: &Run, victims: &[Who], number: u64) {
    let Some((tenant, user)) = victim(run, victims, number) else {
        return;
    };
    let Some(tenant) = run.tenants.get(tenant) else {
        return;
    };
    // Where policy remembers no browsers, or two of these meet at one user,
    // there is nothing to replay.
    let Ok(Some(token)) = used_token(run, tenant, user, number).await else {
        return;
    };
    tally(run).attempt();
    match sign_in(tenant, user, number, &token).await {
        Ok(challenge) if challenge.state() == ChallengeState::Approved => tally(run).accepted(),
        Ok(challenge) => {
            tally(run).refused_for("NOT_REMEMBERED".to_owned());
            let request = tenant.idp.authorized(CancelChallengeRequest {
                challenge_id: challenge.challenge_id,
            });
            let mut client = tenant.idp.client(number);
            // It may have been superseded.
            drop(client.cancel_challenge(timed(request, CALL_TIMEOUT)).await);
        }
        Err(status) => tally(run).refused(&status),
    }
}

/// Has the user approve and tick "don't ask again", and signs in with the token
/// once.
async fn used_token(
    run: &Run,
    tenant: &Tenant,
    user: u64,
    number: u64,
) -> Result<Option<String>, Status> {
    let challenge = sign_in(tenant, user, number, "").await?;
    let Ok(phone) = tenant.phone(user).await else {
        return Ok(None);
    };
    let id = challenge.challenge_id.clone();
    let issued = challenge.signed_challenge.unwrap_or_default();
    let digits = &challenge.number_to_match;
    let answer = phone.answer(&id, &issued, Decision::Approve, digits, SystemTime::now());
    let response = answer.map_err(|error| Status::internal(error.to_string()))?;
    let mut devices = DeviceServiceClient::new(run.phones.pick(number));
    let request = RespondRequest {
        response: Some(response),
    };
    devices
        .respond(timed(Request::new(request), CALL_TIMEOUT))
        .await?;
    let request = tenant
        .idp
        .authorized(GetChallengeRequest { challenge_id: id });
    let mut client = tenant.idp.client(number);
    let decided = client.get_challenge(timed(request, CALL_TIMEOUT)).await?;
    let decided = decided.into_inner().challenge.unwrap_or_default();
    let token = decided.remembered_browser_token;
    if token.is_empty() {
        return Ok(None);
    }
    let used = sign_in(tenant, user, number, &token).await?;
    Ok((used.state() == ChallengeState::Approved).then_some(token))
}

async fn sign_in(
    tenant: &Tenant,
    user: u64,
    number: u64,
    browser_token: &str,
) -> Result<Challenge, Status> {
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = CreateChallengeRequest {
        browser_token: browser_token.to_owned(),
        remember_browser: true,
        ..Idp::typical_request(request_id, tenant.population.user_id(user))
    };
    tenant.create(number, request).await
}
