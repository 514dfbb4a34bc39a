//! The replayer: reads along, and sends again what was genuine once.

use std::sync::Arc;
use std::time::SystemTime;

use countersign_proto::v1::{
    ListPendingChallengesRequest, device_service_client::DeviceServiceClient,
};
use tonic::Request;

use super::{Model, Tally, at_a_rate, victim};
use crate::load::inbox::Who;
use crate::load::run::Run;
use crate::load::tenant::{CALL_TIMEOUT, timed};
use crate::phone::method;

pub(super) async fn run(run: Arc<Run>, rate: f64) {
    let victims: Arc<[Who]> = run.victims_of(Model::Replayer).into();
    at_a_rate(&run, rate, |number| {
        let (run, victims) = (Arc::clone(&run), Arc::clone(&victims));
        async move {
            match number % 3 {
                0 => replay_proof(&run, &victims, number, 0).await,
                // The proof of one message for another.
                1 => replay_proof(&run, &victims, number, 1).await,
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
