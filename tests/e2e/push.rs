//! The main job: a challenge reaches a phone through Apple or Google and comes
//! back as a decision.

use std::{collections::BTreeSet, time::Duration};

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, DeliveryState as D,
};
use countersign_tests::{
    START_MS, end,
    push::{PushWorld, Said, arrival, delivery},
    sign_in,
};
use device_sim::{
    fault::Fault,
    gateway::{Fate, Vendor},
};

const BOTH: [(Vendor, v1::Gateway, &str); 2] = [
    (Vendor::Apns, v1::Gateway::Apns, "apns"),
    (Vendor::Fcm, v1::Gateway::Fcm, "fcm"),
];

fn ms(time: Option<prost_types::Timestamp>) -> u64 {
    let time = time.unwrap();
    u64::try_from(time.seconds).unwrap() * 1000 + u64::try_from(time.nanos).unwrap() / 1_000_000
}

/// Asked, woken, fetched, shown, answered: each step is seen by who follows the
/// challenge, with its time.
#[tokio::test]
async fn each_step_of_a_prompt_is_seen_over_both_gateways() {
    for (vendor, gateway, name) in BOTH {
        let world = PushWorld::start().await;
        let second = || world.broker.pass(Duration::from_secs(1));
        let mut phone = world.phone(vendor, "tom").await;
        let mut arrivals = world.gateways.arrivals();
        let start = START_MS + 1000;

        let asked = world.ask("tom").await;
        let id = &asked.challenge_id;
        let queued = delivery(&asked, &phone.phone);
        assert_eq!(
            (queued.state(), queued.gateway(), ms(queued.update_time)),
            (D::Queued, gateway, start)
        );

        let arrived = arrival(&mut arrivals, "challenge", id).await;
        assert_eq!((arrived.gateway, arrived.status), (name, 200));
        assert_eq!(arrived.fate, Some(Fate::Delivered));
        let accepted = world.delivered(id, &phone.phone, D::Accepted).await;
        assert_eq!(ms(accepted.update_time), start);
        assert_eq!(&phone.woken().await.challenge_id, id);

        second();
        let challenge = phone.fetch(id).await;
        let fetched = world.delivered(id, &phone.phone, D::Fetched).await;
        assert_eq!(ms(fetched.update_time), start + 1000);

        second();
        phone.phone.acknowledge(id).await.unwrap();
        let shown = world.delivered(id, &phone.phone, D::Shown).await;
        assert_eq!(ms(shown.update_time), start + 2000);

        second();
        phone
            .phone
            .respond(&challenge, Decision::Approve, "")
            .await
            .unwrap();
        let decided = world.broker.decided(&world.tenant, id).await;
        assert_eq!(end(&decided), (S::Approved, R::UserApproved));
        let answered = delivery(&decided, &phone.phone);
        assert_eq!(
            (answered.state(), ms(answered.update_time)),
            (D::Answered, start + 3000)
        );
    }
}

/// Neither who nor what nor where passes through Apple or Google; nor does
/// the number that the page shows.
#[tokio::test]
async fn nothing_about_the_sign_in_reaches_a_gateway() {
    for (vendor, _, _) in BOTH {
        let world = PushWorld::start().await;
        let mut phone = world.phone(vendor, "tom.cool@example.be").await;
        let mut second = world.phone(Vendor::Apns, "tom.cool@example.be").await;
        let mut request = sign_in("tom.cool@example.be");
        let context = request.context.as_mut().unwrap();
        context.binding_message = "Kassa 7".into();
        context.details = vec![v1::Detail {
            label: "Bedrag".into(),
            value: "EUR 12.50".into(),
        }];
        let asked = world
            .broker
            .approvals(&world.tenant)
            .create_challenge(request)
            .await
            .unwrap()
            .into_inner()
            .challenge
            .unwrap();
        phone.woken().await;
        second.woken().await;
        phone.approve(&asked.challenge_id).await;
        assert_eq!(second.woken().await.kind, "withdraw");

        let seen: String = world
            .gateways
            .received()
            .iter()
            .map(|arrival| serde_json::to_string(arrival.as_ref()).unwrap())
            .collect();
        assert!(
            seen.contains(&asked.challenge_id),
            "nothing was seen: {seen}"
        );
        for secret in [
            "tom.cool",
            "Eagle",
            "Webmail",
            "198.51.100.7",
            "Gent",
            "Mozilla",
            "Kassa",
            "Bedrag",
            "12.50",
            world.tenant.id.as_str(),
            phone.phone.device_id(),
        ] {
            assert!(!seen.contains(secret), "{secret} in {seen}");
        }
    }
}

/// A gateway that keeps its answers back holds up neither the other nor any
/// call.
#[tokio::test]
async fn a_slow_gateway_slows_nobody_else() {
    for slow in [Vendor::Apns, Vendor::Fcm] {
        let world = PushWorld::start().await;
        let (quick, gate) = match slow {
            Vendor::Apns => (Vendor::Fcm, &world.apns_gate),
            Vendor::Fcm => (Vendor::Apns, &world.fcm_gate),
        };
        gate.hold();
        let mut waiting = Vec::new();
        for n in 0..40 {
            let user = format!("slow-{n}");
            let phone = world.phone(slow, &user).await;
            waiting.push((world.ask(&user).await.challenge_id, phone));
        }
        let mut phone = world.phone(quick, "quick").await;
        for _ in 0..5 {
            let asked = world.ask("quick").await;
            phone.woken().await;
            phone.approve(&asked.challenge_id).await;
            let decided = world
                .broker
                .decided(&world.tenant, &asked.challenge_id)
                .await;
            assert_eq!(end(&decided), (S::Approved, R::UserApproved));
        }
        // All that time not one answer had come.
        for (id, phone) in &waiting {
            let challenge = world.broker.get(&world.tenant, id).await;
            assert_eq!(delivery(&challenge, &phone.phone).state(), D::Queued);
        }
        gate.release();
        for (id, phone) in &waiting {
            world.delivered(id, &phone.phone, D::Accepted).await;
        }
    }
}

/// Stopping in good order while a gateway is silent: what was being tried is
/// finished or tried again after the start, as the same push.
#[tokio::test]
async fn what_a_stop_interrupts_is_tried_again_as_the_same_push() {
    let mut world = PushWorld::start_real().await;
    let mut phone = world.phone(Vendor::Apns, "tom").await;
    let mut arrivals = world.gateways.arrivals();
    // None of the tries made at once gets an answer.
    world.gateways.apns().faults().schedule([
        Fault::Reset { processed: true },
        Fault::Reset { processed: true },
        Fault::Reset { processed: true },
    ]);
    let asked = world.ask("tom").await;
    let id = asked.challenge_id.clone();
    for _ in 0..3 {
        arrival(&mut arrivals, "challenge", &id).await;
    }
    world.broker.restart().await;
    world.delivered(&id, &phone.phone, D::Accepted).await;
    let ids: BTreeSet<_> = world
        .arrived("challenge", &id)
        .iter()
        .map(|arrival| arrival.id.clone())
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(world.arrived("challenge", &id).len() >= 4);
    // One prompt, however often it was sent.
    assert_eq!(world.gateways.devices().screen(&phone.token).len(), 1);
    assert_eq!(phone.woken().await.challenge_id, id);
}

/// SIGKILL while the gateway's answer is awaited: after the start the same push
/// goes out again, or is taken back if the challenge has ended.
#[tokio::test]
async fn what_a_kill_interrupts_is_tried_again_as_the_same_push() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, mut process) = PushWorld::start_process(dir.path()).await;
    for (vendor, _, _) in BOTH {
        let user = format!("{vendor:?}");
        let mut phone = world.phone(vendor, &user).await;
        for cancelled in [false, true] {
            // A connection, so that a push can arrive and its answer not.
            let before = world.ask(&user).await.challenge_id;
            while phone.woken().await.challenge_id != before {}
            phone.approve(&before).await;
            let mut arrivals = world.gateways.arrivals();
            world.apns_gate.hold();
            world.fcm_gate.hold();
            let id = world.ask(&user).await.challenge_id;
            let first = arrival(&mut arrivals, "challenge", &id).await;
            if cancelled {
                world.cancel(&id).await;
            }
            process.kill();
            world.apns_gate.release();
            world.fcm_gate.release();
            process = world.start_again(dir.path());
            while phone.woken().await.challenge_id != id {}
            if cancelled {
                let withdrawn = arrival(&mut arrivals, "withdraw", &id).await;
                assert_ne!(withdrawn.id, first.id);
                assert_eq!(world.arrived("challenge", &id).len(), 1);
                while phone.woken().await.kind != "withdraw" {}
                continue;
            }
            let second = arrival(&mut arrivals, "challenge", &id).await;
            world.delivered(&id, &phone.phone, D::Accepted).await;
            assert_eq!(world.arrived("challenge", &id).len(), 2);
            if vendor == Vendor::Apns {
                assert_eq!(first.id, second.id, "another id is another prompt");
                let screen = world.gateways.devices().screen(&phone.token);
                let shown = screen
                    .iter()
                    .filter(|push| Said::of(push).challenge_id == id);
                assert_eq!(shown.count(), 1);
            }
            phone.approve(&id).await;
            let decided = world.broker.decided(&world.tenant, &id).await;
            assert_eq!(end(&decided), (S::Approved, R::UserApproved));
        }
    }
}
