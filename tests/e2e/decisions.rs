//! The ways a challenge can end.

use std::time::Duration;

use countersign_proto::v1::{self, ChallengeState as S, Decision, DecisionReason as R};
use countersign_tests::{TestBroker, end, reason, sign_in};
use tonic::Code;

#[tokio::test]
async fn approved_denied_reported() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom.cool@example.be").await;
    for (decision, wanted) in [
        (Decision::Approve, (S::Approved, R::UserApproved)),
        (Decision::Deny, (S::Denied, R::UserDenied)),
        (Decision::ReportFraud, (S::Denied, R::FraudReported)),
    ] {
        let asked = broker.ask(&tenant, "tom.cool@example.be").await;
        assert_eq!(asked.state(), S::Pending);
        let pending = phone.list_pending().await.unwrap().challenges;
        assert_eq!(pending.len(), 1);
        phone.respond(&pending[0], decision, "").await.unwrap();
        let decided = broker.decided(&tenant, &asked.challenge_id).await;
        assert_eq!(end(&decided), wanted);
        assert_eq!(decided.decided_by_device_id, phone.device_id());
        assert!(!decided.receipt.is_empty());
        assert!(phone.list_pending().await.unwrap().challenges.is_empty());
    }
}

/// Journey: nobody answers. The sweep ends it on time, whoever looks, and it
/// also fires after a restart.
#[tokio::test]
async fn expires_on_time_and_across_a_restart() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let first = broker.ask(&tenant, "tom").await;
    broker.pass(Duration::from_millis(59_999));
    assert_eq!(
        broker.get(&tenant, &first.challenge_id).await.state(),
        S::Pending
    );
    broker.pass(Duration::from_millis(1));
    let ended = broker.decided(&tenant, &first.challenge_id).await;
    assert_eq!(end(&ended), (S::Expired, R::TimedOut));

    let second = broker.ask(&tenant, "tom").await;
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    broker.restart().await;
    assert_eq!(
        broker.get(&tenant, &second.challenge_id).await.state(),
        S::Pending
    );
    broker.pass(Duration::from_secs(60));
    let ended = broker.decided(&tenant, &second.challenge_id).await;
    assert_eq!(end(&ended), (S::Expired, R::TimedOut));
    assert_eq!(ended.decide_time, second.expire_time);

    // Too late is too late, even with a phone whose clock lags behind.
    let body = phone.response_body(&signed, Decision::Approve, "");
    let response = Some(phone.sign_response(&body).unwrap());
    let late = broker
        .devices()
        .respond(v1::RespondRequest { response })
        .await
        .unwrap_err();
    assert_eq!(
        (late.code(), reason(&late).as_str()),
        (Code::FailedPrecondition, "ALREADY_DECIDED")
    );
}

/// A challenge that is pending when the broker stops can be answered after it
/// has started again, and a caller can wait again.
#[tokio::test]
async fn pending_challenges_survive_a_restart() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    broker.restart().await;
    let body = phone.response_body(&signed, Decision::Approve, "");
    let response = Some(phone.sign_response(&body).unwrap());
    broker
        .devices()
        .respond(v1::RespondRequest { response })
        .await
        .unwrap();
    let decided = broker.decided(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));
    assert_eq!(decided.signed_challenge, asked.signed_challenge);
}

/// Of many answers at the same moment exactly one decides and is told so.
#[tokio::test(flavor = "multi_thread")]
async fn many_answers_one_decision() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phones = [
        broker.phone(&tenant, "tom").await,
        broker.phone(&tenant, "tom").await,
        broker.phone(&tenant, "tom").await,
    ];
    for _ in 0..20 {
        // Many denials in a row are a matter of chance here, not of fatigue.
        broker.pass(Duration::from_secs(7200));
        let asked = broker.ask(&tenant, "tom").await;
        let mut responses = Vec::new();
        for n in 0..12 {
            let phone = &phones[n % 3];
            let signed = phone.list_pending().await.unwrap().challenges.remove(0);
            let decision = [Decision::Approve, Decision::Deny][n % 2];
            let body = phone.response_body(&signed, decision, "");
            responses.push(phone.sign_response(&body).unwrap());
        }
        let mut answers = tokio::task::JoinSet::new();
        for response in responses {
            let mut client = broker.devices();
            answers.spawn(async move {
                client
                    .respond(v1::RespondRequest {
                        response: Some(response),
                    })
                    .await
                    .map(|told| {
                        let told = told.into_inner();
                        (told.state(), told.reason())
                    })
            });
        }
        let mut told = Vec::new();
        while let Some(answer) = answers.join_next().await {
            match answer.unwrap() {
                Ok(end) => told.push(end),
                Err(status) => assert_eq!(reason(&status), "ALREADY_DECIDED"),
            }
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            end(&broker.get(&tenant, &asked.challenge_id).await),
            told[0]
        );
    }
}

/// The same request gives the same challenge, other content an error; across a
/// restart too.
#[tokio::test]
async fn creating_is_idempotent() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    broker.phone(&tenant, "tom").await;
    let request = sign_in("tom");
    let mut ids = Vec::new();
    for round in 0..3 {
        if round == 2 {
            broker.restart().await;
        }
        let made = broker
            .approvals(&tenant)
            .create_challenge(request.clone())
            .await
            .unwrap();
        ids.push(made.into_inner().challenge.unwrap().challenge_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let mut other = request;
    other.user_id = "ann".into();
    let refused = broker
        .approvals(&tenant)
        .create_challenge(other)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    assert_eq!(countersign_tests::field(&refused), "request_id");
}

/// A retry comes soon. Whoever sends the same id for ever does not sign in by an
/// approval of long ago.
#[tokio::test]
async fn an_old_approval_is_not_given_again() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let request = sign_in("tom");
    let ask = async || {
        let mut approvals = broker.approvals(&tenant);
        approvals.create_challenge(request.clone()).await
    };
    let asked = ask().await.unwrap().into_inner().challenge.unwrap();
    let shown = phone.verify(asked.signed_challenge.unwrap()).unwrap();
    phone
        .respond(&shown, v1::Decision::Approve, "")
        .await
        .unwrap();
    broker.pass(Duration::from_secs(299));
    let again = ask().await.unwrap().into_inner().challenge.unwrap();
    assert_eq!(again.state(), S::Approved);
    broker.pass(Duration::from_secs(1));
    let refused = ask().await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
}

/// A device that is removed can answer no more, and what only it could have
/// answered ends.
#[tokio::test]
async fn a_removed_device_answers_no_more() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    broker
        .enrollments(&tenant)
        .remove_authenticator(v1::RemoveAuthenticatorRequest {
            user_id: "tom".into(),
            authenticator_id: phone.device_id().into(),
        })
        .await
        .unwrap();
    let ended = broker.get(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&ended), (S::Denied, R::Unreachable));
    let body = phone.response_body(&signed, Decision::Approve, "");
    let response = Some(phone.sign_response(&body).unwrap());
    let refused = broker
        .devices()
        .respond(v1::RespondRequest { response })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(phone.list_pending().await.is_err());
}
