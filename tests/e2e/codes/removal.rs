//! Authenticators that are taken away, and the messages that tell of it.

use countersign_proto::v1::{
    self, ChallengeState as S, DecisionReason as R, Method, RemoveAuthenticatorRequest,
};
use countersign_tests::{codes::STEP, end, push::PushWorld};
use tonic::{Code, Status};

use super::{NUMBER, why};

const OTHER: &str = "+32470123441";

async fn remove(world: &PushWorld, id: &str) -> Result<(), Status> {
    let request = RemoveAuthenticatorRequest {
        user_id: "tom".into(),
        authenticator_id: id.into(),
    };
    let mut enrollments = world.broker.enrollments(&world.tenant);
    enrollments.remove_authenticator(request).await.map(drop)
}

/// Gone at that moment: the code that was sent opens nothing, and what nobody
/// else can answer ends.
#[tokio::test]
async fn each_kind_is_gone_at_once() {
    let world = PushWorld::start().await;
    let number = world.phone_number("tom", NUMBER).await;
    let seq = world.inbox().last_seq();
    let asked = world.ask("tom").await;
    let code = world.code_after(NUMBER, seq).await;
    remove(&world, &number).await.unwrap();
    let ended = world
        .broker
        .decided(&world.tenant, &asked.challenge_id)
        .await;
    assert_eq!(end(&ended), (S::Denied, R::Unreachable));
    let late = world.verify(&asked.challenge_id, &code).await.unwrap_err();
    assert_eq!(
        why(&late),
        (Code::FailedPrecondition, "ALREADY_DECIDED".into())
    );

    let app = world.totp("tom").await;
    let asked = world.ask_by("tom", Method::Totp).await.unwrap();
    let step = world.broker.now_ms() / 1000 / STEP;
    remove(&world, &app.id).await.unwrap();
    let refused = world
        .verify(&asked.challenge_id, &app.code_of(step))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");

    let sheet = world.broker.recovery_codes(&world.tenant, "tom").await;
    let asked = world.ask_by("tom", Method::RecoveryCode).await.unwrap();
    let listed = world.broker.authenticators(&world.tenant, "tom").await;
    let [set] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    remove(&world, &set.authenticator_id).await.unwrap();
    let refused = world
        .verify(&asked.challenge_id, &sheet[0])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(
        world
            .broker
            .authenticators(&world.tenant, "tom")
            .await
            .is_empty()
    );
    for id in [&number, &app.id, &set.authenticator_id] {
        let gone = remove(&world, id).await.unwrap_err();
        assert_eq!(why(&gone), (Code::NotFound, "NOT_FOUND".into()));
    }
}

/// Every number of the user's hears of what was added and removed, also the one
/// that was removed, except the one that was just added.
#[tokio::test]
async fn every_number_is_told() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let first = world.inbox().last_seq();
    let other = world.phone_number("tom", OTHER).await;
    let added = world.text_after(NUMBER, first).await.text;
    assert!(added.contains("+XX XXXXXXX41"), "{added}");
    assert_eq!(world.inbox().shown(OTHER).len(), 1, "its code");
    let seq = world.inbox().last_seq();
    let app = world.totp("tom").await;
    let told = [
        world.text_after(NUMBER, seq).await,
        world.text_after(OTHER, seq).await,
    ];
    assert_eq!(told[0].text, told[1].text);
    // The one that is removed is told too, who owns it now or then.
    let seq = world.inbox().last_seq();
    remove(&world, &other).await.unwrap();
    let told = [
        world.text_after(NUMBER, seq).await,
        world.text_after(OTHER, seq).await,
    ];
    assert!(told[0].text.contains("+XX XXXXXXX41"), "{told:?}");
    let seq = world.inbox().last_seq();
    remove(&world, &app.id).await.unwrap();
    world.text_after(NUMBER, seq).await;
    for text in world.inbox().messages() {
        assert_eq!(text.segments, 1, "{}", text.text);
        assert!(!text.text.contains("470123"), "{}", text.text);
    }
}

/// A number of five digits wrong is no number; one that is the user's already is
/// not added twice; a code that is wrong five times takes the number with it.
#[tokio::test]
async fn numbers_are_checked_and_proven() {
    let world = PushWorld::start().await;
    let (broker, tenant) = (&world.broker, &world.tenant);
    for number in ["0470123440", "+3247012", "+32", "tom", "+3247012344000000"] {
        let refused = broker.add_phone(tenant, "tom", number).await.unwrap_err();
        assert_eq!(
            countersign_tests::field(&refused),
            "phone_number",
            "{number}"
        );
    }
    let id = world.phone_number("tom", NUMBER).await;
    let again = broker.add_phone(tenant, "tom", NUMBER).await.unwrap_err();
    assert_eq!(why(&again), (Code::AlreadyExists, "NUMBER_KNOWN".into()));

    let seq = world.inbox().last_seq();
    let added = broker.add_phone(tenant, "tom", OTHER).await.unwrap();
    let unproven = added.authenticator.unwrap().authenticator_id;
    assert_ne!(unproven, id);
    let code = world.code_after(OTHER, seq).await;
    // Not proven yet: codes go to the other.
    let asked = world.ask("tom").await;
    let to = asked.code_delivery.unwrap().masked_destination;
    assert_eq!(to, super::MASKED);
    for left in (0..5).rev() {
        let wrong = countersign_tests::codes::wrong(&code);
        let refused = broker.confirm_phone(tenant, "tom", &unproven, &wrong).await;
        assert_eq!(super::attempts_left(&refused.unwrap_err()), left);
    }
    let gone = broker.confirm_phone(tenant, "tom", &unproven, &code).await;
    assert_eq!(
        why(&gone.unwrap_err()),
        (Code::NotFound, "NOT_FOUND".into())
    );
    let listed: Vec<v1::Authenticator> = broker.authenticators(tenant, "tom").await;
    assert_eq!(listed.len(), 1);
}
