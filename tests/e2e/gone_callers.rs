//! Callers that go away while the broker stores what they asked for.

use countersign_proto::v1::CreateChallengeRequest;
use countersign_tests::{
    Tenant, TestBroker,
    disk::{Disk, Held},
    in_time, metric, reason, sign_in,
    wire::{Wire, bearer, frame, header},
};
use device_sim::phone::PhoneEvent;
use prost::Message as _;
use tokio::task::JoinHandle;
use tonic_health::pb::HealthCheckRequest;

const CREATE: &str = "/countersign.v1.ApprovalService/CreateChallenge";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Begins a call, and goes away when it is being stored.
async fn ask_and_go(
    wire: &Wire,
    tenant: &Tenant,
    request: &CreateChallengeRequest,
    disk: &Disk,
) -> Held {
    let held = disk.hold();
    let call: JoinHandle<_> = {
        let (wire, headers) = (wire.clone(), bearer(&tenant.api_key));
        let message = frame(&request.encode_to_vec());
        tokio::spawn(async move { wire.call(CREATE, &headers, message).await })
    };
    held.arrived().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // What comes on the same connection comes later: when it is answered, the
    // broker knows that the caller has gone.
    for _ in 0..2 {
        let health = HealthCheckRequest::default().encode_to_vec();
        wire.call(HEALTH, &Vec::new(), frame(&health))
            .await
            .message();
    }
    held
}

#[tokio::test]
async fn open_apps_are_told_and_a_repeat_finds_it() {
    let disk = Disk::default();
    let broker = TestBroker::start_on(&disk).await;
    let own = broker.tenant().await;
    let phone = broker.phone(&own, "tom").await;
    let mut events = phone.subscribe().await.unwrap();
    while !matches!(
        in_time(events.next()).await.unwrap().unwrap(),
        PhoneEvent::CaughtUp { .. }
    ) {}

    let request = sign_in("tom");
    let wire = Wire::connect(broker.grpc).await;
    drop(ask_and_go(&wire, &own, &request, &disk).await);
    let Some(PhoneEvent::Challenge(told)) = in_time(events.next()).await.unwrap() else {
        panic!("no prompt");
    };
    let again = broker.approvals(&own).create_challenge(request).await;
    let again = again.unwrap().into_inner().challenge.unwrap();
    assert_eq!(told.id(), again.challenge_id);
    let pending = phone.list_pending().await.unwrap();
    assert_eq!(pending.challenges.len(), 1);
}

/// One call is in flight, and no longer when the disk has it.
async fn counts_until_stored(broker: &TestBroker, held: Held) {
    let in_flight = || metric(broker, "countersign_new_calls_in_flight");
    assert_eq!(in_flight().await, 1.0);
    drop(held);
    in_time(async { while in_flight().await > 0.0 {} }).await;
}

/// Or whoever begins calls and takes them back at once would have as many stored
/// as the disk can hold.
#[tokio::test]
async fn what_goes_on_without_its_caller_still_counts() {
    let disk = Disk::default();
    let broker = TestBroker::start_on(&disk).await;
    let own = broker.tenant().await;
    let wire = Wire::connect(broker.grpc).await;
    let held = ask_and_go(&wire, &own, &sign_in("tom"), &disk).await;
    counts_until_stored(&broker, held).await;
}

/// Nor does it help to be told that it took too long.
#[tokio::test]
async fn what_goes_on_past_its_deadline_still_counts() {
    let disk = Disk::default();
    let broker = TestBroker::start_on(&disk).await;
    let own = broker.tenant().await;
    let wire = Wire::connect(broker.grpc).await;
    let held = disk.hold();
    let mut headers = bearer(&own.api_key);
    headers.push(header("grpc-timeout", "1S"));
    let message = frame(&sign_in("tom").encode_to_vec());
    let call = wire.call(CREATE, &headers, message);
    let (late, ()) = tokio::join!(call, held.arrived());
    assert_eq!(reason(&late.refused()), "TIMED_OUT");
    counts_until_stored(&broker, held).await;
}
