//! Lost, replaced and reset: what becomes of the old phone, and of what it was
//! asked.

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, EventType as T,
};
use countersign_tests::{TestBroker, end};
use device_sim::phone::{Phone, PhoneEvent, Subscription};

use super::{Follower, fetch, remove, reset};

async fn open(phone: &Phone) -> Subscription {
    let mut open = phone.subscribe().await.unwrap();
    while !matches!(
        open.next().await.unwrap(),
        Some(PhoneEvent::CaughtUp { .. })
    ) {}
    open
}

/// The stream ends, nothing is answered, nothing is shown.
async fn is_out(phone: &Phone, mut stream: Subscription) {
    // What was on its way before is all that comes.
    while let Some(event) = stream.next().await.unwrap() {
        assert!(
            matches!(event, PhoneEvent::Challenge(_) | PhoneEvent::Notice(_)),
            "{event:?}"
        );
    }
    let refused = phone.list_pending().await.unwrap_err();
    assert_eq!(refused.reason().as_deref(), Some("BAD_CREDENTIALS"));
}

/// Tom loses his phone. He signs in with the tablet, and removes the phone.
#[tokio::test]
async fn a_lost_phone_is_removed_with_another_device() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let lost = broker.phone(&tenant, "tom").await;
    let tablet = broker.phone(&tenant, "tom").await;
    let follower = Follower::now(&broker, &tenant).await;
    let stream = open(&lost).await;
    // Somebody with the phone in hand looks at a question.
    let asked = broker.ask(&tenant, "tom").await;
    let seen = fetch(&lost, &asked.challenge_id).await;

    remove(&broker, &tenant, &lost).await;
    is_out(&lost, stream).await;
    let refused = lost
        .respond(&seen, Decision::Approve, "")
        .await
        .unwrap_err();
    assert_eq!(refused.reason().as_deref(), Some("BAD_SIGNATURE"));
    // The question goes on with the tablet, also after a restart.
    broker.restart().await;
    let (lost, tablet) = (broker.moved(&lost), broker.moved(&tablet));
    let still = broker.get(&tenant, &asked.challenge_id).await;
    assert_eq!(still.state(), S::Pending);
    assert_eq!(still.deliveries.len(), 1);
    assert_eq!(still.deliveries[0].device_id, tablet.device_id());
    assert!(lost.respond(&seen, Decision::Approve, "").await.is_err());
    let seen = fetch(&tablet, &asked.challenge_id).await;
    tablet.respond(&seen, Decision::Approve, "").await.unwrap();
    let mut follower = Follower::from(&broker, &tenant, &follower.token).await;
    let removed = follower.event().await;
    assert_eq!(removed.r#type(), T::Removed);
    assert_eq!(removed.authenticator_id, lost.device_id());
    assert_eq!(follower.types(1).await, [T::Decided]);
}

/// The only phone: what it was asked ends at once.
#[tokio::test]
async fn what_only_the_lost_phone_was_asked_ends() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let lost = broker.phone(&tenant, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    remove(&broker, &tenant, &lost).await;
    let ended = broker.get(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&ended), (S::Denied, R::Unreachable));
}

/// Tom has a new phone, and the old one still in his hand.
#[tokio::test]
async fn a_new_phone_with_the_old_one() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let old = broker.phone(&tenant, "tom").await;
    let follower = Follower::now(&broker, &tenant).await;
    // Who he is he shows with the old one.
    super::answered(&broker, &tenant, &old, Decision::Approve).await;
    let old_stream = open(&old).await;
    let new = broker.phone(&tenant, "tom").await;
    broker.restart().await;
    drop(old_stream);
    let (old, new) = (broker.moved(&old), broker.moved(&new));
    let stream = open(&old).await;
    let asked = broker.ask(&tenant, "tom").await;
    assert_eq!(asked.deliveries.len(), 2);
    let seen = fetch(&old, &asked.challenge_id).await;
    remove(&broker, &tenant, &old).await;
    is_out(&old, stream).await;
    assert!(old.respond(&seen, Decision::Approve, "").await.is_err());
    let seen = fetch(&new, &asked.challenge_id).await;
    new.respond(&seen, Decision::Approve, "").await.unwrap();
    let mut follower = Follower::from(&broker, &tenant, &follower.token).await;
    let kinds = follower.types(4).await;
    assert_eq!(kinds, [T::Decided, T::Enrolled, T::Removed, T::Decided]);
    let left = broker.authenticators(&tenant, "tom").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].authenticator_id, new.device_id());
}

/// Tom has nothing left. The service desk knows him, and resets.
#[tokio::test]
async fn a_reset_by_the_service_desk() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phones = [
        broker.phone(&tenant, "tom").await,
        broker.phone(&tenant, "tom").await,
    ];
    let ann = broker.phone(&tenant, "ann").await;
    let recovery = broker
        .enrollments(&tenant)
        .create_recovery_codes(v1::CreateRecoveryCodesRequest {
            user_id: "tom".into(),
        })
        .await;
    recovery.unwrap();
    let follower = Follower::now(&broker, &tenant).await;
    let streams = [open(&phones[0]).await, open(&phones[1]).await];
    let asked = broker.ask(&tenant, "tom").await;
    let anns = broker.ask(&tenant, "ann").await;
    let seen = fetch(&phones[0], &asked.challenge_id).await;

    reset(&broker, &tenant, "tom").await;
    for (phone, stream) in phones.iter().zip(streams) {
        is_out(phone, stream).await;
    }
    broker.restart().await;
    let ended = broker.get(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&ended), (S::Denied, R::Unreachable));
    let old = broker.moved(&phones[0]);
    assert!(old.respond(&seen, Decision::Approve, "").await.is_err());
    assert!(broker.authenticators(&tenant, "tom").await.is_empty());
    let anns = broker.get(&tenant, &anns.challenge_id).await;
    assert_eq!(anns.state(), S::Pending);
    assert_eq!(
        broker
            .moved(&ann)
            .list_pending()
            .await
            .unwrap()
            .challenges
            .len(),
        1
    );

    let mut follower = Follower::from(&broker, &tenant, &follower.token).await;
    let mut kinds = follower.types(4).await;
    kinds.sort();
    assert_eq!(kinds, [T::Decided, T::Removed, T::Removed, T::Reset]);
    assert_eq!(follower.next().await, None);
    // He starts anew.
    let new = broker.phone(&tenant, "tom").await;
    super::answered(&broker, &tenant, &new, Decision::Approve).await;
    assert_eq!(follower.types(2).await, [T::Enrolled, T::Decided]);
    assert!(new.list_pending().await.unwrap().notices.is_empty());
}
