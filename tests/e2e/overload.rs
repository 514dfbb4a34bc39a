//! More comes than the broker lets in. The pressure is calls whose messages do
//! not end: they are in flight for as long as a test likes.

use std::time::Duration;

use countersign_proto::v1::{self, ChallengeState as S, DecisionReason as R};
use countersign_server::clock::Clock;
use countersign_tests::{
    START_MS, Tenant, TestBroker, end, in_time, metric, reason, sign_in,
    wire::{Answer, Headers, Wire, bearer, frame, header},
};
use device_sim::phone::Phone;
use prost::Message as _;
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

/// However few there are for the proven.
const PLACES_OF_THE_UNPROVEN: usize = 64;

const CREATE: &str = "/countersign.v1.ApprovalService/CreateChallenge";

/// Calls let in that go on with what was begun.
const FINISHING: &str = "countersign_calls_admitted_total{class=\"finishing\"}";

async fn limited(limits: &str) -> TestBroker {
    let (clock, hand) = Clock::manual(START_MS);
    TestBroker::start_with(&format!("[limits]\n{limits}\n"), clock, Some(hand)).await
}

async fn narrow() -> TestBroker {
    limited("max_new_calls = 2").await
}

/// A call whose message has begun.
struct Begun {
    rest: mpsc::UnboundedSender<Vec<u8>>,
    message: Vec<u8>,
    answer: JoinHandle<Answer>,
}

impl Begun {
    fn new(wire: &Wire, headers: &Headers, request: &v1::CreateChallengeRequest) -> Self {
        let (rest, parts) = mpsc::unbounded_channel();
        let mut message = frame(&request.encode_to_vec());
        let tail = message.split_off(10);
        rest.send(message).unwrap();
        let (wire, headers) = (wire.clone(), headers.clone());
        let answer = tokio::spawn(async move { wire.in_parts(CREATE, &headers, parts).await });
        Self {
            rest,
            message: tail,
            answer,
        }
    }

    async fn finish(self) -> Answer {
        self.rest.send(self.message).unwrap();
        drop(self.rest);
        self.answer.await.unwrap()
    }
}

/// As much of this organisation's new work as is let in: more than the limit,
/// for nobody knows yet that it asks for much.
async fn flood(broker: &TestBroker, tenant: &Tenant) -> Vec<Begun> {
    let wire = Wire::connect(broker.grpc).await;
    let mut begun = Vec::new();
    for n in 0..8 {
        let request = sign_in(&format!("flood-{n}"));
        begun.push(Begun::new(&wire, &bearer(&tenant.api_key), &request));
        in_time(async {
            while metric(broker, "countersign_new_calls_in_flight").await < f64::from(n + 1) {}
        })
        .await;
    }
    begun
}

#[track_caller]
fn retry(status: &Status) -> Duration {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    details.retry_info().unwrap().retry_delay.unwrap()
}

#[tokio::test]
async fn what_was_begun_is_finished_and_what_is_new_is_refused() {
    let broker = narrow().await;
    let (own, other) = (broker.tenant().await, broker.tenant().await);
    let phone = broker.phone(&own, "tom").await;
    let asked = broker.ask(&own, "tom").await;
    // Whose key it is becomes known by its first use.
    broker.ask(&other, "ann").await;
    let begun = flood(&broker, &own).await;

    let mut approvals = broker.approvals(&own);
    let mut delays = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let refused = approvals
            .create_challenge(sign_in("tom"))
            .await
            .unwrap_err();
        assert_eq!(reason(&refused), "TENANT_OVER_SHARE");
        delays.insert(retry(&refused));
    }
    assert!(delays.first().unwrap() >= &Duration::from_secs(1));
    assert!(delays.len() > 4, "they would all come back at once");
    let options = v1::GetSignInOptionsRequest {
        user_id: "tom".into(),
        ..v1::GetSignInOptionsRequest::default()
    };
    let refused = approvals.get_sign_in_options(options).await.unwrap_err();
    assert_eq!(reason(&refused), "TENANT_OVER_SHARE");
    assert_eq!(
        metric(
            &broker,
            "countersign_calls_refused_total{reason=\"TENANT_OVER_SHARE\"}"
        )
        .await,
        21.0
    );

    // Health, what takes trust away, and the sign-in that was begun.
    HealthClient::new(broker.channel())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    broker
        .admin()
        .lock_user(v1::LockUserRequest {
            tenant_id: own.id.clone(),
            user_id: "eve".into(),
        })
        .await
        .unwrap();
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Approve, "")
        .await
        .unwrap();
    let decided = approvals
        .wait_challenge(v1::WaitChallengeRequest {
            challenge_id: asked.challenge_id.clone(),
            ..v1::WaitChallengeRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .challenge
        .unwrap();
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));
    // Another organisation feels nothing of it.
    broker.ask(&other, "bob").await;

    for call in begun {
        call.finish().await.message();
    }
    broker.ask(&own, "tom").await;
}

/// Who knows no more of a key than its id cannot use up its owner's share, and
/// a key that is revoked counts for its owner no longer.
#[tokio::test]
async fn a_share_is_used_by_good_credentials_only() {
    let broker = narrow().await;
    let (own, other) = (broker.tenant().await, broker.tenant().await);
    broker.ask(&own, "tom").await;
    broker.ask(&other, "ann").await;
    let begun = flood(&broker, &own).await;
    let forged = Tenant {
        api_key: format!("csk_{}_{}", other.api_key_id, "0".repeat(64)),
        ..other.clone()
    };
    // Not in the share of the strangers, of whom there is none: let in, and
    // found to be forged.
    let refused = broker
        .approvals(&forged)
        .create_challenge(sign_in("x"))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    broker.ask(&other, "ann").await;
    for call in begun {
        call.finish().await.message();
    }
}

/// Refusals that come before the end of large messages leave the connection
/// whole, its window included.
#[tokio::test]
async fn early_answers_leave_the_connection_whole() {
    let broker = narrow().await;
    let own = broker.tenant().await;
    broker.ask(&own, "tom").await;
    let begun = flood(&broker, &own).await;
    let wire = Wire::connect(broker.grpc).await;
    let headers = bearer(&own.api_key);
    // Some 90 MB in all: every window would be used up many times.
    for _ in 0..15 {
        let calls = (0..100).map(|n| {
            let (wire, headers) = (wire.clone(), headers.clone());
            let (rest, parts) = mpsc::unbounded_channel();
            // Some end, and some send more than any message may have.
            let length = if n % 10 == 0 { 100_000 } else { 60_000 };
            let body = frame(&vec![0; length]);
            for part in body.chunks(16_000) {
                rest.send(part.to_vec()).unwrap();
            }
            tokio::spawn(async move { wire.in_parts(CREATE, &headers, parts).await })
        });
        for call in calls.collect::<Vec<_>>() {
            let refused = call.await.unwrap().refused();
            assert_eq!(reason(&refused), "TENANT_OVER_SHARE");
        }
    }
    for call in begun {
        call.finish().await.message();
    }
    let request = frame(&sign_in("tom").encode_to_vec());
    wire.call(CREATE, &headers, request).await.message();
}

/// What nobody waits for any more is not begun.
#[tokio::test]
async fn a_challenge_is_not_created_past_its_deadline() {
    let broker = narrow().await;
    let own = broker.tenant().await;
    let phone = broker.phone(&own, "tom").await;
    broker.ask(&own, "ann").await;
    let wire = Wire::connect(broker.grpc).await;
    let mut headers = bearer(&own.api_key);
    headers.push(header("grpc-timeout", "50S"));
    let call = Begun::new(&wire, &headers, &sign_in("tom"));
    in_time(async { while metric(&broker, "countersign_new_calls_in_flight").await < 1.0 {} })
        .await;
    broker.pass(Duration::from_secs(60));
    let late = call.finish().await.refused();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&late), "TIMED_OUT");
    assert!(phone.list_pending().await.unwrap().challenges.is_empty());
    broker.ask(&own, "tom").await;
}

/// Calls that wait take their places too, and give them back.
#[tokio::test]
async fn calls_have_places_and_give_them_back() {
    let broker = limited("max_calls = 2").await;
    let tenant = broker.tenant().await;
    let asked = broker.ask(&tenant, "ann").await;
    let request = v1::WatchEventsRequest::default();
    let mut watching = Vec::new();
    for _ in 0..2 {
        let stream = broker
            .approvals(&tenant)
            .watch_events(request.clone())
            .await;
        watching.push(stream.unwrap());
    }
    let look = v1::GetChallengeRequest {
        challenge_id: asked.challenge_id,
    };
    let mut approvals = broker.approvals(&tenant);
    let refused = approvals.get_challenge(look.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "OVERLOADED");
    retry(&refused);
    watching.clear();
    in_time(async { while approvals.get_challenge(look.clone()).await.is_err() {} }).await;
}

/// What a caller leaves unread is held for it: it keeps its place.
#[tokio::test]
async fn answers_that_nobody_reads_keep_their_places() {
    let broker = limited("max_calls = 2").await;
    let tenant = broker.tenant().await;
    let asked = broker.ask(&tenant, "ann").await;
    let look = v1::GetChallengeRequest {
        challenge_id: asked.challenge_id,
    };
    let before = metric(&broker, FINISHING).await;
    let wire = Wire::connect_deaf(broker.grpc).await;
    let mut unread = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (wire, headers) = (wire.clone(), bearer(&tenant.api_key));
        let message = frame(&look.encode_to_vec());
        let path = "/countersign.v1.ApprovalService/GetChallenge";
        unread.spawn(async move { wire.call(path, &headers, message).await });
    }
    in_time(async { while metric(&broker, FINISHING).await < before + 2.0 {} }).await;
    let mut approvals = broker.approvals(&tenant);
    let refused = approvals.get_challenge(look.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "OVERLOADED");
    unread.shutdown().await;
    in_time(async { while approvals.get_challenge(look.clone()).await.is_err() {} }).await;
}

/// But who has proven nothing could keep all the others of its kind out like that.
#[tokio::test]
async fn answers_to_the_unproven_keep_nothing() {
    let broker = limited("max_calls = 64").await;
    let tenant = broker.tenant().await;
    let (first, second) = (
        broker.phone(&tenant, "tom").await,
        broker.phone(&tenant, "tom").await,
    );
    broker.ask(&tenant, "tom").await;
    let shown = first.list_pending().await.unwrap().challenges.remove(0);
    second
        .respond(
            &second.list_pending().await.unwrap().challenges.remove(0),
            v1::Decision::Approve,
            "",
        )
        .await
        .unwrap();
    first.report_later(&shown).await.unwrap();
    // Said again it is answered like the first time.
    let body = first.response_body(&shown, v1::Decision::ReportFraud, "");
    let response = Some(first.sign_response(&body).unwrap());
    let message = frame(&v1::RespondRequest { response }.encode_to_vec());
    let before = metric(&broker, FINISHING).await;
    let wire = Wire::connect_deaf(broker.grpc).await;
    let mut unread = tokio::task::JoinSet::new();
    for _ in 0..PLACES_OF_THE_UNPROVEN {
        let (wire, message) = (wire.clone(), message.clone());
        let path = "/countersign.v1.DeviceService/Respond";
        unread.spawn(async move { wire.call(path, &Vec::new(), message).await });
    }
    let all = before + PLACES_OF_THE_UNPROVEN as f64;
    in_time(async { while metric(&broker, FINISHING).await < all {} }).await;
    in_time(async { while second.list_pending().await.is_err() {} }).await;
    assert!(unread.try_join_next().is_none(), "somebody was answered");
}

/// Whoever likes can begin calls whose messages never end. They keep out neither
/// phones, whose messages come, nor whoever has a good key.
#[tokio::test]
async fn messages_that_do_not_end_keep_nobody_out() {
    const HELD: usize = 16;
    let broker = limited("max_calls = 64\nmax_new_calls = 2").await;
    let own = broker.tenant().await;
    let phone = broker.phone(&own, "tom").await;
    let asked = broker.ask(&own, "tom").await;
    let options = broker.options(&own, "ann").await;

    let wire = Wire::connect(broker.grpc).await;
    let mut calls = tokio::task::JoinSet::new();
    let proof = header("countersign-device-proof-bin", "AAAA");
    for n in 0..HELD * 10 {
        let method = ["Respond", "ListPendingChallenges", "Subscribe"]
            .get(n % 9)
            .unwrap_or(&"Enroll");
        let (wire, mut headers) = (wire.clone(), vec![proof.clone()]);
        if n % 2 == 1 {
            // Looked at by nobody here, so worth nothing here.
            headers.extend(bearer(&own.api_key));
        }
        calls.spawn(async move {
            let path = format!("/countersign.v1.DeviceService/{method}");
            wire.stall(&path, &headers, vec![0]).await
        });
    }
    for _ in 0..HELD * 9 {
        let given_up = in_time(calls.join_next()).await.unwrap().unwrap();
        let given_up = given_up.refused();
        assert_eq!(reason(&given_up), "OVERLOADED");
        retry(&given_up);
    }
    assert_eq!(
        metric(&broker, "countersign_new_calls_in_flight").await,
        0.0
    );

    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Approve, "")
        .await
        .unwrap();
    let decided = broker.decided(&own, &asked.challenge_id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));
    // Somebody new is a stranger too.
    Phone::enroll(options).await.unwrap();
    broker.ask(&own, "ann").await;
    assert!(calls.try_join_next().is_none(), "they were no longer there");
}
