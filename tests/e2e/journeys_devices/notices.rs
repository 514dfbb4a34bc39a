//! What the user's other devices are told: by push, over an open stream, and by
//! the list.

use countersign_proto::v1::{self, NoticeKind as N};
use countersign_tests::push::{PushWorld, PushedPhone, Said, patiently};
use device_sim::{
    gateway::Vendor,
    phone::{PhoneEvent, PushMessage},
};

use super::{remove, reset, unlock};

/// What a list tells that is new.
async fn listed(phone: &PushedPhone) -> Vec<N> {
    let pending = phone.phone.list_pending().await.unwrap();
    pending.notices.iter().map(v1::Notice::kind).collect()
}

async fn lock(world: &PushWorld, user: &str) {
    let request = v1::LockUserRequest {
        tenant_id: world.tenant.id.clone(),
        user_id: user.into(),
    };
    world.broker.admin().lock_user(request).await.unwrap();
}

async fn told(phone: &mut PushedPhone) -> Said {
    let said = phone.told().await;
    assert_eq!(said.kind, "notice");
    said
}

#[tokio::test]
async fn the_other_devices_are_woken_and_read_what_happened() {
    for vendor in [Vendor::Apns, Vendor::Fcm] {
        let mut world = PushWorld::start().await;
        let mut first = world.phone(vendor, "tom").await;
        let neighbour = world.phone(vendor, "ann").await;
        let mut second = world.phone(vendor, "tom").await;
        let woken = told(&mut first).await;
        let notices = first.phone.list_pending().await.unwrap().notices;
        assert_eq!(notices.len(), 1);
        assert_eq!(notices[0].kind(), N::DeviceAdded);
        assert_eq!(notices[0].notice_id, woken.challenge_id);
        assert_eq!(notices[0].arguments.len(), 1);
        // Told once; the new one is not told of itself.
        assert_eq!(listed(&first).await, []);
        assert_eq!(listed(&second).await, []);
        assert_eq!(listed(&neighbour).await, []);

        lock(&world, "tom").await;
        world.broker.restart().await;
        unlock(&world.broker, &world.tenant, "tom").await;
        for phone in [&mut first, &mut second] {
            told(phone).await;
            told(phone).await;
            phone.phone = world.broker.moved(&phone.phone);
            assert_eq!(listed(phone).await, [N::AccountLocked, N::AccountUnlocked]);
            assert_eq!(listed(phone).await, []);
        }

        // The removed one is woken as well, and finds that it is gone.
        remove(&world.broker, &world.tenant, &second.phone).await;
        told(&mut first).await;
        told(&mut second).await;
        assert_eq!(listed(&first).await, [N::DeviceRemoved]);
        let gone = second.phone.list_pending().await.unwrap_err();
        assert_eq!(gone.reason().as_deref(), Some("BAD_CREDENTIALS"));
        // The service desk: whoever has only this phone learns of it.
        reset(&world.broker, &world.tenant, "tom").await;
        told(&mut first).await;
        assert!(first.phone.list_pending().await.is_err());

        // Nothing of it says whom, or what: the app's part is an id.
        for arrival in world.gateways.received() {
            let text = arrival.payload.to_string();
            for secret in [
                "tom",
                "DEVICE",
                "LOCKED",
                "RESET",
                "Eagle",
                &world.tenant.id,
            ] {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn an_open_app_is_told_at_once_and_after_a_break() {
    let mut world = PushWorld::start().await;
    let phone = world.broker.phone(&world.tenant, "tom").await;
    let mut open = phone.subscribe().await.unwrap();
    while !matches!(
        open.next().await.unwrap(),
        Some(PhoneEvent::CaughtUp { .. })
    ) {}
    let other = world.broker.phone(&world.tenant, "tom").await;
    let event = patiently("a notice", open.next()).await.unwrap();
    let Some(PhoneEvent::Notice(notice)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(notice.kind(), N::DeviceAdded);
    drop(open);
    remove(&world.broker, &world.tenant, &other).await;
    world.broker.restart().await;
    // What came while the app was closed, and nothing that it has.
    let phone = world.broker.moved(&phone);
    let mut open = phone.subscribe().await.unwrap();
    let event = open.next().await.unwrap();
    let Some(PhoneEvent::Notice(notice)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(notice.kind(), N::DeviceRemoved);
    let event = open.next().await.unwrap();
    assert!(
        matches!(event, Some(PhoneEvent::CaughtUp { .. })),
        "{event:?}"
    );
}

#[tokio::test]
async fn the_app_knows_what_kind_of_push_it_is() {
    let world = PushWorld::start().await;
    let first = world.phone(Vendor::Apns, "tom").await;
    let _second = world.phone(Vendor::Fcm, "tom").await;
    let mut pushes = first.pushes;
    let push = patiently("a push", pushes.recv()).await.unwrap();
    let device_sim::gateway::Push::Apns(push) = push else {
        panic!("not from APNs")
    };
    let read = PushMessage::read(&serde_json::json!({ "payload": push.payload }));
    assert!(matches!(read, Some(PushMessage::Notice { .. })), "{read:?}");
    assert_eq!(
        push.payload["aps"]["alert"]["loc-key"],
        "ACCOUNT_NOTICE_BODY"
    );
}
