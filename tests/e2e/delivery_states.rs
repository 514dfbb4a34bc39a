//! What became of each prompt, as who follows the challenge sees it; and the end
//! at once when nobody can be asked.

use std::{collections::BTreeSet, time::Duration};

use countersign_proto::v1::{self, ChallengeState as S, DecisionReason as R, DeliveryState as D};
use countersign_tests::{
    Tenant, end,
    push::{PushWorld, PushedPhone, arrival, delivery},
    sign_in,
};
use device_sim::{
    fault::{Fault, Faults},
    gateway::Vendor,
    phone::{Phone, PhoneEvent},
};

const BOTH: [Vendor; 2] = [Vendor::Apns, Vendor::Fcm];

fn faults(world: &PushWorld, vendor: Vendor) -> &Faults {
    match vendor {
        Vendor::Apns => world.gateways.apns().faults(),
        Vendor::Fcm => world.gateways.fcm().faults(),
    }
}

fn reply(status: u16, reason: &str) -> Fault {
    Fault::Reply {
        status,
        reason: reason.into(),
        retry_after: None,
    }
}

/// Asks and waits for the end: how it ended, and why the only prompt failed.
async fn ask_in_vain(world: &PushWorld, user: &str) -> ((S, R), String) {
    let id = world.ask(user).await.challenge_id;
    let decided = world
        .until(&id, "the end", |c| c.state() != S::Pending)
        .await;
    assert_eq!(decided.deliveries.len(), 1);
    assert_eq!(decided.deliveries[0].state(), D::Failed);
    assert!(!decided.receipt.is_empty());
    (end(&decided), decided.deliveries[0].reason.clone())
}

/// Asks and lets the phone approve.
async fn ask_with_success(world: &PushWorld, phone: &mut PushedPhone) {
    let user = phone.phone.user_id().to_owned();
    let id = world.ask(&user).await.challenge_id;
    while phone.woken().await.challenge_id != id {}
    phone.approve(&id).await;
    let decided = world.broker.decided(&world.tenant, &id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));
}

/// The first phone is told that another was added: that push must not meet the
/// fault that is meant for the prompt.
async fn hears_of_the_other(phone: &mut PushedPhone) {
    assert_eq!(phone.told().await.kind, "notice");
}

/// One phone fails with the gateway's own reason, known or not; the other goes
/// on.
#[tokio::test]
async fn a_failure_has_the_gateways_reason_and_the_other_phone_goes_on() {
    let world = PushWorld::start().await;
    let mut failing = world.phone(Vendor::Apns, "tom").await;
    let mut working = world.phone(Vendor::Fcm, "tom").await;
    hears_of_the_other(&mut failing).await;
    for reason in ["DeviceTokenNotForTopic", "TheReasonOfTomorrow"] {
        faults(&world, Vendor::Apns).schedule([reply(400, reason)]);
        let id = world.ask("tom").await.challenge_id;
        let failed = world.delivered(&id, &failing.phone, D::Failed).await;
        assert_eq!(failed.reason, reason);
        assert_eq!(
            world.broker.get(&world.tenant, &id).await.state(),
            S::Pending
        );
        assert_eq!(working.woken().await.challenge_id, id);
        assert_eq!(world.arrived("challenge", &id).len(), 2, "not retried");
        working.approve(&id).await;
        let decided = world.broker.decided(&world.tenant, &id).await;
        assert_eq!(end(&decided), (S::Approved, R::UserApproved));
        let failed = delivery(&decided, &failing.phone);
        assert_eq!(
            (failed.state(), failed.reason.as_str()),
            (D::Failed, reason)
        );
    }
    assert!(world.has_token(&failing.phone).await);
    // Counted by name where the name is known.
    let metrics = world.page("/metrics").await;
    for label in ["DeviceTokenNotForTopic", "other"] {
        let line = format!(
            "countersign_pushes_total{{gateway=\"apns\",kind=\"prompt\",outcome=\"rejected\",\
             reason=\"{label}\"}} 1"
        );
        assert!(metrics.contains(&line), "{line} not in {metrics}");
    }
}

/// When the only phone can't be reached the page is told without any time
/// passing, with the reason; only what is said of a token touches the token.
#[tokio::test]
async fn unreachable_at_once() {
    let unreachable = (S::Denied, R::Unreachable);
    let table = [
        (
            Vendor::Apns,
            reply(429, "TooManyRequests"),
            "TooManyRequests",
            true,
        ),
        (Vendor::Apns, Fault::BadDeviceToken, "BadDeviceToken", false),
        (
            Vendor::Apns,
            reply(413, "PayloadTooLarge"),
            "PayloadTooLarge",
            true,
        ),
        (Vendor::Apns, Fault::Unregistered, "Unregistered", false),
        (Vendor::Fcm, reply(404, "NOT_FOUND"), "NOT_FOUND", true),
        (
            Vendor::Fcm,
            reply(403, "SENDER_ID_MISMATCH"),
            "SENDER_ID_MISMATCH",
            true,
        ),
        (Vendor::Fcm, Fault::Unregistered, "UNREGISTERED", false),
        (
            Vendor::Fcm,
            reply(429, "QUOTA_EXCEEDED"),
            "QUOTA_EXCEEDED",
            true,
        ),
    ];
    let world = PushWorld::start().await;
    for (n, (vendor, fault, reason, kept)) in table.into_iter().enumerate() {
        let user = format!("user-{n}");
        let mut phone = world.phone(vendor, &user).await;
        // A token dies after it was registered, or its death says nothing.
        world.broker.pass(Duration::from_secs(1));
        faults(&world, vendor).schedule([fault]);
        let told = ask_in_vain(&world, &user).await;
        assert_eq!(told, (unreachable, reason.to_owned()), "{reason}");
        assert_eq!(world.has_token(&phone.phone).await, kept, "{reason}");
        if kept {
            ask_with_success(&world, &mut phone).await;
            continue;
        }
        // From now on it is known before anything is sent.
        let asked = world.ask(&user).await;
        assert_eq!(end(&asked), unreachable);
        assert!(asked.deliveries[0].reason.starts_with("push token is"));
        assert!(world.arrived("challenge", &asked.challenge_id).is_empty());
        // Until the app tells of a new token.
        let renewed = world.registration(vendor);
        phone.pushes = world.gateways.devices().connect(&renewed.token).unwrap();
        phone.phone.update_push_token(Some(renewed)).await.unwrap();
        ask_with_success(&world, &mut phone).await;
    }
}

/// An app that nobody configured a gateway for.
#[tokio::test]
async fn no_gateway_for_the_app() {
    let world = PushWorld::start().await;
    let phone = world.phone(Vendor::Apns, "tom").await;
    let mut elsewhere = world.registration(Vendor::Apns);
    elsewhere.app_id = "be.example.other".into();
    phone
        .phone
        .update_push_token(Some(elsewhere))
        .await
        .unwrap();
    let told = ask_in_vain(&world, "tom").await;
    let reason = "no gateway for this app".to_owned();
    assert_eq!(told, ((S::Denied, R::Unreachable), reason));
    assert!(world.has_token(&phone.phone).await);
}

/// A phone that never asked to be woken may ask by itself: the challenge waits
/// for it, though the other phone's prompt has failed. Without it, nothing is
/// left to wait for.
#[tokio::test]
async fn a_phone_without_push_keeps_it_pending() {
    let world = PushWorld::start().await;
    let mut failing = world.phone(Vendor::Fcm, "tom").await;
    let quiet = world.broker.phone(&world.tenant, "tom").await;
    hears_of_the_other(&mut failing).await;
    for approve in [true, false] {
        faults(&world, Vendor::Fcm).schedule([reply(429, "QUOTA_EXCEEDED")]);
        let id = world.ask("tom").await.challenge_id;
        world.delivered(&id, &failing.phone, D::Failed).await;
        assert_eq!(
            world.broker.get(&world.tenant, &id).await.state(),
            S::Pending
        );
        if approve {
            let pending = quiet.list_pending().await.unwrap().challenges;
            quiet
                .respond(&pending[0], v1::Decision::Approve, "")
                .await
                .unwrap();
            let decided = world.broker.decided(&world.tenant, &id).await;
            assert_eq!(end(&decided), (S::Approved, R::UserApproved));
        } else {
            remove(&world, &world.tenant, &quiet).await;
            let decided = world.broker.decided(&world.tenant, &id).await;
            assert_eq!(end(&decided), (S::Denied, R::Unreachable));
        }
    }
}

async fn remove(world: &PushWorld, tenant: &Tenant, phone: &Phone) {
    world
        .broker
        .enrollments(tenant)
        .remove_authenticator(v1::RemoveAuthenticatorRequest {
            user_id: phone.user_id().into(),
            authenticator_id: phone.device_id().into(),
        })
        .await
        .unwrap();
}

/// An open app is reached without any push.
#[tokio::test]
async fn an_open_app_keeps_it_pending() {
    let world = PushWorld::start().await;
    let phone = world.phone(Vendor::Apns, "tom").await;
    let mut app = phone.phone.subscribe().await.unwrap();
    while !matches!(app.next().await.unwrap(), Some(PhoneEvent::CaughtUp { .. })) {}
    assert!(world.gateways.devices().uninstall(&phone.token));
    let id = world.ask("tom").await.challenge_id;
    let Some(PhoneEvent::Challenge(challenge)) = app.next().await.unwrap() else {
        panic!("not told");
    };
    // Not shown in time: the push is tried all the same.
    world.broker.pass(Duration::from_secs(2));
    let failed = world.delivered(&id, &phone.phone, D::Failed).await;
    assert_eq!(failed.reason, "Unregistered");
    assert_eq!(
        world.broker.get(&world.tenant, &id).await.state(),
        S::Pending
    );
    phone
        .phone
        .respond(&challenge, v1::Decision::Approve, "")
        .await
        .unwrap();
    let decided = world.broker.decided(&world.tenant, &id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));
}

/// A gateway that cuts every connection after taking the push: nobody knows
/// whether the prompt is on a screen, so it waits. Here it is.
#[tokio::test]
async fn what_may_have_arrived_is_waited_for() {
    for vendor in BOTH {
        let world = PushWorld::start_real().await;
        let mut phone = world.phone(vendor, "tom").await;
        faults(&world, vendor).schedule(vec![Fault::Reset { processed: true }; 6]);
        let id = world.ask("tom").await.challenge_id;
        world.delivered(&id, &phone.phone, D::Failed).await;
        let tries = world.arrived("challenge", &id);
        assert_eq!(tries.len(), 6);
        assert_eq!(phone.woken().await.challenge_id, id);
        phone.approve(&id).await;
        let decided = world.broker.decided(&world.tenant, &id).await;
        assert_eq!(end(&decided), (S::Approved, R::UserApproved));
        if vendor == Vendor::Apns {
            let ids: BTreeSet<_> = tries.iter().map(|one| &one.id).collect();
            assert_eq!(ids.len(), 1, "another id is another prompt");
            assert_eq!(world.gateways.devices().screen(&phone.token).len(), 1);
        }
    }
}

/// A server error is worth one more try, under the same id, if it fits; then
/// the page is told.
#[tokio::test]
async fn one_delayed_retry_after_a_server_error() {
    for vendor in BOTH {
        let world = PushWorld::start_real().await;
        let mut phone = world.phone(vendor, "tom").await;
        faults(&world, vendor).schedule([Fault::InternalError]);
        let id = world.ask("tom").await.challenge_id;
        world.delivered(&id, &phone.phone, D::Accepted).await;
        assert_eq!(phone.woken().await.challenge_id, id);
        let tries = world.arrived("challenge", &id);
        assert_eq!(tries.len(), 2);
        if vendor == Vendor::Apns {
            assert_eq!(tries[0].id, tries[1].id);
        }
        phone.approve(&id).await;

        faults(&world, vendor).schedule([Fault::InternalError, Fault::InternalError]);
        let (ended, reason) = ask_in_vain(&world, "tom").await;
        assert_eq!(ended, (S::Denied, R::Unreachable));
        assert!(reason.to_uppercase().starts_with("INTERNAL"), "{reason}");

        // The answer would come too late.
        let wait = Fault::Unavailable {
            retry_after: Some(58),
        };
        faults(&world, vendor).schedule([wait]);
        let (ended, _) = ask_in_vain(&world, "tom").await;
        assert_eq!(ended, (S::Denied, R::Unreachable));
        // It wants to be left alone, and is: nothing more arrives there.
        let before = world.gateways.received().len();
        let (ended, reason) = ask_in_vain(&world, "tom").await;
        assert_eq!(
            (ended, reason.as_str()),
            ((S::Denied, R::Unreachable), "breaker open")
        );
        assert_eq!(world.gateways.received().len(), before);
        assert!(world.has_token(&phone.phone).await);
        // The other gateway has a breaker of its own.
        let other = BOTH.into_iter().find(|other| *other != vendor).unwrap();
        let mut other = world.phone(other, "ann").await;
        ask_with_success(&world, &mut other).await;
    }
}

/// A gateway's word on a token counts for that token only, and not against a
/// later registration.
#[tokio::test]
async fn a_token_told_anew_is_not_cleared() {
    for vendor in BOTH {
        let world = PushWorld::start().await;
        let mut phone = world.phone(vendor, "tom").await;
        ask_with_success(&world, &mut phone).await;
        let gate = match vendor {
            Vendor::Apns => &world.apns_gate,
            Vendor::Fcm => &world.fcm_gate,
        };
        let mut arrivals = world.gateways.arrivals();
        assert!(world.gateways.devices().uninstall(&phone.token));
        gate.hold();
        let id = world.ask("tom").await.challenge_id;
        let refused = arrival(&mut arrivals, "challenge", &id).await;
        assert_ne!(refused.status, 200);
        // While that answer is on its way the app tells of a new token.
        let renewed = world.registration(vendor);
        phone.pushes = world.gateways.devices().connect(&renewed.token).unwrap();
        phone.phone.update_push_token(Some(renewed)).await.unwrap();
        gate.release();
        let decided = world.broker.decided(&world.tenant, &id).await;
        assert_eq!(end(&decided), (S::Denied, R::Unreachable));
        assert!(world.has_token(&phone.phone).await);
        ask_with_success(&world, &mut phone).await;
    }

    // Apple dates its word: a token told to us later than that is alive.
    let world = PushWorld::start().await;
    let phone = world.phone(Vendor::Apns, "tom").await;
    assert!(world.gateways.devices().uninstall(&phone.token));
    world.broker.pass(Duration::from_secs(10));
    phone
        .phone
        .update_push_token(phone.phone.push())
        .await
        .unwrap();
    let told = ask_in_vain(&world, "tom").await;
    assert_eq!(told.1, "Unregistered");
    assert!(world.has_token(&phone.phone).await);
}

/// Trouble with our own credential is shown to the operator, and touches no
/// device.
#[tokio::test]
async fn a_refused_credential_alarms_and_touches_no_device() {
    let world = PushWorld::start().await;
    let mut phone = world.phone(Vendor::Apns, "tom").await;
    assert!(!world.page("/readyz").await.contains("push_credentials"));
    faults(&world, Vendor::Apns).schedule([
        reply(403, "InvalidProviderToken"),
        reply(403, "InvalidProviderToken"),
    ]);
    let told = ask_in_vain(&world, "tom").await;
    let reason = "InvalidProviderToken".to_owned();
    assert_eq!(told, ((S::Denied, R::Unreachable), reason));
    assert!(world.has_token(&phone.phone).await);
    let ready: serde_json::Value = serde_json::from_str(&world.page("/readyz").await).unwrap();
    assert_eq!(ready["status"], "ready", "{ready}");
    let alarm = &ready["push_credentials"][0];
    assert_eq!(alarm["gateway"], "apns", "{ready}");
    assert_eq!(alarm["credential"], "EXAMPLETM1/EXAMPLEKY1", "{ready}");
    assert_eq!(alarm["reason"], "InvalidProviderToken", "{ready}");
    let gauge = "countersign_push_credential_refused{credential=\"EXAMPLETM1/EXAMPLEKY1\",\
                 gateway=\"apns\"} 1";
    let metrics = world.page("/metrics").await;
    assert!(metrics.contains(gauge), "{metrics}");

    faults(&world, Vendor::Apns).clear();
    ask_with_success(&world, &mut phone).await;
    assert!(!world.page("/readyz").await.contains("push_credentials"));
    assert!(!world.page("/metrics").await.contains(gauge));
}

/// The request of a sign-in for a single device that can't be reached.
#[tokio::test]
async fn only_the_device_asked_counts() {
    let world = PushWorld::start().await;
    let mut failing = world.phone(Vendor::Fcm, "tom").await;
    let _other = world.phone(Vendor::Apns, "tom").await;
    hears_of_the_other(&mut failing).await;
    assert!(world.gateways.devices().uninstall(&failing.token));
    let mut request = sign_in("tom");
    request.device_id = failing.phone.device_id().into();
    let asked = world
        .broker
        .approvals(&world.tenant)
        .create_challenge(request)
        .await
        .unwrap()
        .into_inner()
        .challenge
        .unwrap();
    let decided = world
        .broker
        .decided(&world.tenant, &asked.challenge_id)
        .await;
    assert_eq!(end(&decided), (S::Denied, R::Unreachable));
}
