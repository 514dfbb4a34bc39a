//! "That wasn't me" after another device approved: the decision stays, and all
//! who should know are told.

use std::time::Duration;

use countersign_proto::{
    signing::{Purpose, sha256},
    v1::{self, ChallengeState as S, Decision, DecisionReason as R, EventType as T, OnReport},
};
use countersign_tests::{TestBroker, end, reason};
use device_sim::phone::PhoneEvent;
use prost::Message as _;
use tonic::Code;

use super::{Follower, answered, fetch, rules};

#[tokio::test]
async fn an_approval_is_taken_back_by_another_device() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant_with(rules(OnReport::Lock)).await;
    let first = broker.phone(&tenant, "tom").await;
    let second = broker.phone(&tenant, "tom").await;
    let follower = Follower::now(&broker, &tenant).await;
    let shown = answered(&broker, &tenant, &first, Decision::Approve).await;
    let before = broker.get(&tenant, shown.id()).await;
    assert_eq!(before.revocation, None);

    broker.pass(Duration::from_secs(300));
    broker.restart().await;
    let (first, second) = (broker.moved(&first), broker.moved(&second));
    // The second phone was off. Its list tells what was approved without it.
    let recent = second.list_pending().await.unwrap().approved_elsewhere;
    assert_eq!(recent.len(), 1);
    assert_eq!(recent[0].challenge.id(), shown.id());
    assert!(
        first
            .list_pending()
            .await
            .unwrap()
            .approved_elsewhere
            .is_empty()
    );
    let waiting = broker.ask(&tenant, "tom").await;
    let told = second.report_later(&recent[0].challenge).await.unwrap();
    assert!(told.revoked);
    assert_eq!(
        (told.state(), told.reason()),
        (S::Approved, R::UserApproved)
    );
    // Said again, the same answer.
    assert_eq!(
        second.report_later(&recent[0].challenge).await.unwrap(),
        told
    );
    assert!(
        second
            .list_pending()
            .await
            .unwrap()
            .approved_elsewhere
            .is_empty()
    );

    broker.restart().await;
    let after = broker.get(&tenant, shown.id()).await;
    let revocation = after.revocation.clone().unwrap();
    assert_eq!(revocation.device_id, second.device_id());
    // All but that is as it was. (Receipts name the broker's address, which is
    // another one after a restart.)
    let decision = |challenge: &v1::Challenge| v1::Challenge {
        revocation: None,
        receipt: String::new(),
        ..challenge.clone()
    };
    assert_eq!(decision(&after), decision(&before));
    assert!(!after.receipt.is_empty());
    let request = v1::WaitChallengeRequest {
        challenge_id: shown.id().into(),
        ..v1::WaitChallengeRequest::default()
    };
    let waited = broker.approvals(&tenant).wait_challenge(request).await;
    assert_eq!(waited.unwrap().into_inner().challenge, Some(after));
    // The answer is the phone's own, over what was shown.
    let signed = revocation.signed_response.unwrap();
    second
        .key()
        .public_key()
        .unwrap()
        .verify(Purpose::Response, &signed.body, &signed.signature)
        .unwrap();
    let body = v1::ResponseBody::decode(signed.body).unwrap();
    assert_eq!(body.decision(), Decision::ReportFraud);
    assert_eq!(body.challenge_digest, sha256(&shown.signed().body).to_vec());
    // Policy locks; what was pending has ended.
    let pending = broker.get(&tenant, &waiting.challenge_id).await;
    assert_eq!(end(&pending), (S::Denied, R::LockedOut));

    let mut follower = Follower::from(&broker, &tenant, &follower.token).await;
    assert_eq!(follower.types(1).await, [T::Decided]);
    let event = follower.event().await;
    assert_eq!(event.r#type(), T::Revoked);
    assert_eq!(event.challenge_id, shown.id());
    assert_eq!(event.device_id, second.device_id());
    assert_eq!(follower.types(2).await, [T::Locked, T::Decided]);
    assert_eq!(follower.next().await, None);
}

#[tokio::test]
async fn an_open_app_keeps_what_was_withdrawn_and_the_approver_may_repent() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant_with(rules(OnReport::Alarm)).await;
    let first = broker.phone(&tenant, "tom").await;
    let second = broker.phone(&tenant, "tom").await;
    let mut open = second.subscribe().await.unwrap();
    while !matches!(
        open.next().await.unwrap(),
        Some(PhoneEvent::CaughtUp { .. })
    ) {}
    let shown = answered(&broker, &tenant, &first, Decision::Approve).await;
    let Some(PhoneEvent::Challenge(seen)) = open.next().await.unwrap() else {
        panic!("no challenge")
    };
    let Some(PhoneEvent::Withdrawn(gone)) = open.next().await.unwrap() else {
        panic!("not withdrawn")
    };
    assert_eq!(
        (gone.challenge_id.as_str(), gone.state()),
        (shown.id(), S::Approved)
    );
    // A stream that is opened later tells it too.
    let mut later = second.subscribe().await.unwrap();
    match later.next().await.unwrap() {
        Some(PhoneEvent::ApprovedElsewhere(one)) => assert_eq!(one.challenge, *seen),
        other => panic!("{other:?}"),
    }
    assert!(first.report_later(&shown).await.unwrap().revoked);
    let now = broker.get(&tenant, shown.id()).await;
    assert_eq!(end(&now), (S::Approved, R::UserApproved));
    assert_eq!(now.revocation.unwrap().device_id, first.device_id());
    // Policy only alarms.
    let next = broker.ask(&tenant, "tom").await;
    assert_eq!(next.state(), S::Pending);
}

#[tokio::test]
async fn what_takes_nothing_back() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant_with(rules(OnReport::Alarm)).await;
    let first = broker.phone(&tenant, "tom").await;
    let second = broker.phone(&tenant, "tom").await;
    let shown = answered(&broker, &tenant, &first, Decision::Approve).await;
    let late = broker.phone(&tenant, "tom").await;
    let neighbour = broker.phone(&tenant, "ann").await;
    let decided = |status: device_sim::phone::PhoneError| status.reason().unwrap();

    // A denial, or an approval, after the end is no report.
    for decision in [Decision::Deny, Decision::Approve] {
        let body = second.response_body(&shown, decision, "");
        let signed = second.sign_response(&body).unwrap();
        let refused = second.send_response(signed).await.unwrap_err();
        assert_eq!(decided(refused), "ALREADY_DECIDED", "{decision:?}");
    }
    // A device that was not asked, or of somebody else.
    for stranger in [&late, &neighbour] {
        let refused = stranger.report_later(&shown).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::NotFound));
    }
    // Another signature, or another challenge.
    let body = v1::ResponseBody {
        device_id: second.device_id().into(),
        ..first.response_body(&shown, Decision::ReportFraud, "")
    };
    let refused = first
        .send_response(first.sign_response(&body).unwrap())
        .await;
    assert_eq!(decided(refused.unwrap_err()), "BAD_SIGNATURE");
    let body = v1::ResponseBody {
        challenge_digest: vec![7; 32].into(),
        ..second.response_body(&shown, Decision::ReportFraud, "")
    };
    let refused = second
        .send_response(second.sign_response(&body).unwrap())
        .await;
    assert_eq!(refused.unwrap_err().code(), Some(Code::InvalidArgument));
    // A clock that is off; a day later.
    let body = second.response_body(&shown, Decision::ReportFraud, "");
    let stale = second.sign_response(&body).unwrap();
    broker.pass(Duration::from_secs(86_400) + Duration::from_millis(1));
    let refused = second.send_response(stale).await;
    assert_eq!(decided(refused.unwrap_err()), "CLOCK_SKEW");
    let refused = second.report_later(&shown).await.unwrap_err();
    assert_eq!(decided(refused), "ALREADY_DECIDED");
    assert_eq!(broker.get(&tenant, shown.id()).await.revocation, None);

    // A device that was removed meanwhile; a denial.
    let shown = answered(&broker, &tenant, &first, Decision::Approve).await;
    super::remove(&broker, &tenant, &second).await;
    let refused = second.report_later(&shown).await.unwrap_err();
    assert_eq!(decided(refused), "BAD_SIGNATURE");
    let asked = broker.ask(&tenant, "tom").await;
    let denied = fetch(&first, &asked.challenge_id).await;
    first.respond(&denied, Decision::Deny, "").await.unwrap();
    let refused = late.report_later(&denied).await.unwrap_err();
    assert_eq!(decided(refused), "ALREADY_DECIDED");
    assert_eq!(broker.get(&tenant, shown.id()).await.revocation, None);
    let status = broker
        .approvals(&tenant)
        .cancel_challenge(v1::CancelChallengeRequest {
            challenge_id: shown.id().into(),
        })
        .await;
    assert_eq!(reason(&status.unwrap_err()), "ALREADY_DECIDED");
}
