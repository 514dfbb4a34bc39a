//! A phone's clock may be a minute off, no more, and is told by how much.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use countersign_proto::v1::{ChallengeState, Decision};
use countersign_tests::{START_MS, TestBroker, reason};
use device_sim::phone::{Now, Phone, PhoneError};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A phone's clock that is this much ahead of the broker's.
fn off_by(broker: &TestBroker, milliseconds: i64) -> Now {
    let clock = broker.phone_clock();
    let by = Duration::from_millis(milliseconds.unsigned_abs());
    Arc::new(move || -> SystemTime {
        if milliseconds < 0 {
            clock() - by
        } else {
            clock() + by
        }
    })
}

const FINE: [i64; 7] = [0, 59_000, -59_000, 60_000, -60_000, 1, -1];
const TOO_FAR: [i64; 6] = [61_000, -61_000, 60_001, -60_001, 86_400_000, -86_400_000];

/// Refused, with what the broker's clock says.
#[track_caller]
fn skewed(broker_ms: u64, status: &Status) {
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(status), "CLOCK_SKEW");
    let details = status.get_error_details();
    let told = &details.error_info().unwrap().metadata["server_time_ms"];
    assert_eq!(told, &broker_ms.to_string());
}

fn status(error: PhoneError) -> Status {
    error
        .status()
        .unwrap_or_else(|| panic!("{error:?}"))
        .clone()
}

#[tokio::test]
async fn enrolling() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    for ahead in FINE {
        let user = format!("fine {ahead}");
        let mut options = broker.options(&tenant, &user).await;
        options.now = off_by(&broker, ahead);
        Phone::enroll(options).await.unwrap();
        assert_eq!(broker.authenticators(&tenant, &user).await.len(), 1);
    }
    for ahead in TOO_FAR {
        let mut options = broker.options(&tenant, "tom").await;
        options.now = off_by(&broker, ahead);
        let refused = Phone::enroll(options.clone()).await.unwrap_err();
        skewed(START_MS, &status(refused));
        assert!(broker.authenticators(&tenant, "tom").await.is_empty());
        // The ticket is none the worse for it.
        options.now = broker.phone_clock();
        let phone = Phone::enroll(options).await.unwrap();
        phone.unenroll().await.unwrap();
    }
}

#[tokio::test]
async fn proving_a_call() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    broker.ask(&tenant, "tom").await;
    for ahead in TOO_FAR {
        let phone = phone.with_clock(off_by(&broker, ahead)).unwrap();
        let before = broker.authenticators(&tenant, "tom").await;
        skewed(START_MS, &status(phone.list_pending().await.unwrap_err()));
        skewed(START_MS, &status(phone.subscribe().await.unwrap_err()));
        skewed(START_MS, &status(phone.unenroll().await.unwrap_err()));
        let push = Some(countersign_tests::two_tenants::push());
        skewed(
            START_MS,
            &status(phone.update_push_token(push).await.unwrap_err()),
        );
        assert_eq!(broker.authenticators(&tenant, "tom").await, before);
    }
    for ahead in FINE {
        let phone = phone.with_clock(off_by(&broker, ahead)).unwrap();
        let pending = phone.list_pending().await.unwrap();
        // By a clock that is a minute ahead the prompt is over.
        let shown = usize::from(ahead < 60_000);
        assert_eq!(pending.challenges.len(), shown, "{ahead}");
        assert_eq!(pending.server_time, Some(broker.phone_clock()()));
    }
}

#[tokio::test]
async fn responding() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    for ahead in FINE {
        broker.ask(&tenant, "tom").await;
        let shown = phone.list_pending().await.unwrap().challenges.remove(0);
        let phone = phone.with_clock(off_by(&broker, ahead)).unwrap();
        let body = phone.response_body(&shown, Decision::Approve, "");
        let told = phone
            .send_response(phone.sign_response(&body).unwrap())
            .await
            .unwrap();
        assert_eq!(told.state(), ChallengeState::Approved, "{ahead}");
    }
    // Who approves nothing is not asked without end.
    let asked = broker.ask(&tenant, "tom").await;
    let shown = phone.list_pending().await.unwrap().challenges.remove(0);
    phone.acknowledge(&asked.challenge_id).await.unwrap();
    let before = broker.get(&tenant, &asked.challenge_id).await;
    for ahead in TOO_FAR {
        let late = phone.with_clock(off_by(&broker, ahead)).unwrap();
        let body = late.response_body(&shown, Decision::Approve, "");
        let response = late.sign_response(&body).unwrap();
        let refused = late.send_response(response).await.unwrap_err();
        skewed(START_MS, &status(refused));
        let after = broker.get(&tenant, &asked.challenge_id).await;
        assert_eq!(after, before);
        assert_eq!(after.state(), ChallengeState::Pending);
    }
}
