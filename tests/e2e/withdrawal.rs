//! Prompts that need no answer any more disappear: by push, and from apps that
//! are open.

use std::time::Duration;

use countersign_proto::v1::{self, ChallengeState as S, DeliveryState as D};
use countersign_tests::push::{PushWorld, PushedPhone, Said, arrival, patiently};
use device_sim::{
    fault::Fault,
    gateway::Vendor,
    phone::{Phone, PhoneEvent, Subscription},
};

const BOTH: [Vendor; 2] = [Vendor::Apns, Vendor::Fcm];

/// An app that is open, caught up.
async fn open(phone: &Phone) -> Subscription {
    let mut open = phone.subscribe().await.unwrap();
    patiently("the beginning of a stream", async {
        while !matches!(
            open.next().await.unwrap(),
            Some(PhoneEvent::CaughtUp { .. })
        ) {}
    })
    .await;
    open
}

/// The next thing that an open app is told.
async fn told(open: &mut Subscription) -> PhoneEvent {
    patiently("an event on a stream", open.next())
        .await
        .unwrap()
        .unwrap()
}

async fn told_challenge(open: &mut Subscription, id: &str) {
    match told(open).await {
        PhoneEvent::Challenge(challenge) => assert_eq!(challenge.id(), id),
        other => panic!("{other:?}"),
    }
}

async fn told_withdrawn(open: &mut Subscription, id: &str, state: S) {
    match told(open).await {
        PhoneEvent::Withdrawn(withdrawn) => {
            assert_eq!(
                (withdrawn.challenge_id.as_str(), withdrawn.state()),
                (id, state)
            );
        }
        other => panic!("{other:?}"),
    }
}

fn prompt(id: &str) -> Said {
    Said {
        kind: "challenge".into(),
        challenge_id: id.into(),
    }
}

fn withdrawal(id: &str) -> Said {
    Said {
        kind: "withdraw".into(),
        challenge_id: id.into(),
    }
}

/// What a phone's screen shows.
fn screen(world: &PushWorld, phone: &PushedPhone) -> Vec<Said> {
    let shown = world.gateways.devices().screen(&phone.token);
    shown.iter().map(Said::of).collect()
}

/// Asks, and waits until each phone is woken and known to be.
async fn ask(world: &PushWorld, phones: &mut [PushedPhone]) -> String {
    let id = world.ask("tom").await.challenge_id;
    for phone in phones {
        assert_eq!(phone.woken().await, prompt(&id));
        world.delivered(&id, &phone.phone, D::Accepted).await;
    }
    id
}

/// Answered on one phone: gone from the others, and the one that answered needs
/// no telling by push.
#[tokio::test]
async fn an_answer_clears_the_other_phones() {
    let world = PushWorld::start().await;
    let mut phones = Vec::new();
    for vendor in [Vendor::Apns, Vendor::Fcm, Vendor::Apns, Vendor::Fcm] {
        phones.push(world.phone(vendor, "tom").await);
    }
    let reader = world.broker.phone(&world.tenant, "tom").await;
    let mut reader = open(&reader).await;
    for answering in 0..phones.len() {
        let id = ask(&world, &mut phones).await;
        told_challenge(&mut reader, &id).await;
        phones[answering].approve(&id).await;
        told_withdrawn(&mut reader, &id, S::Approved).await;
        for (n, phone) in phones.iter_mut().enumerate() {
            if n != answering {
                assert_eq!(phone.woken().await, withdrawal(&id));
            }
        }
        let told = world.arrived("withdraw", &id);
        assert_eq!(told.len(), phones.len() - 1);
        assert!(
            told.iter()
                .all(|push| push.token != phones[answering].token)
        );
        // On an iPhone the withdrawal took the prompt's place.
        for phone in [0, 2] {
            let shown = screen(&world, &phones[phone]);
            assert_eq!(shown.contains(&prompt(&id)), phone == answering);
        }
    }
}

/// However else it ends, it disappears from every phone.
#[tokio::test]
async fn cancelled_superseded_and_expired_prompts_disappear() {
    for vendor in BOTH {
        let world = PushWorld::start().await;
        let mut phones = [world.phone(vendor, "tom").await];
        let reader = world.broker.phone(&world.tenant, "tom").await;
        let mut reader = open(&reader).await;

        let id = ask(&world, &mut phones).await;
        told_challenge(&mut reader, &id).await;
        world.cancel(&id).await;
        assert_eq!(phones[0].woken().await, withdrawal(&id));
        told_withdrawn(&mut reader, &id, S::Cancelled).await;

        let older = ask(&world, &mut phones).await;
        told_challenge(&mut reader, &older).await;
        let newer = world.ask("tom").await.challenge_id;
        // The two travel at the same time.
        let mut woken = [phones[0].woken().await, phones[0].woken().await];
        woken.sort_by(|a, b| b.kind.cmp(&a.kind));
        assert_eq!(woken, [withdrawal(&older), prompt(&newer)]);
        told_withdrawn(&mut reader, &older, S::Cancelled).await;
        told_challenge(&mut reader, &newer).await;
        world.delivered(&newer, &phones[0].phone, D::Accepted).await;

        world.broker.pass(Duration::from_secs(60));
        assert_eq!(phones[0].woken().await, withdrawal(&newer));
        told_withdrawn(&mut reader, &newer, S::Expired).await;
        for id in [&id, &older, &newer] {
            assert_eq!(world.arrived("withdraw", id).len(), 1);
        }
    }
}

/// A prompt on its way is withdrawn when it has arrived, not before: while the
/// gateway keeps its answer back, nobody knows.
#[tokio::test]
async fn a_withdrawal_never_overtakes_its_prompt() {
    for vendor in BOTH {
        let world = PushWorld::start().await;
        let mut phone = [world.phone(vendor, "tom").await];
        // The connection is warm from here on.
        let before = ask(&world, &mut phone).await;
        world.cancel(&before).await;
        assert_eq!(phone[0].woken().await, withdrawal(&before));
        let gate = match vendor {
            Vendor::Apns => &world.apns_gate,
            Vendor::Fcm => &world.fcm_gate,
        };
        let mut arrivals = world.gateways.arrivals();
        gate.hold();
        let id = world.ask("tom").await.challenge_id;
        arrival(&mut arrivals, "challenge", &id).await;
        world.cancel(&id).await;
        // What was put into the outbox after the end has come to the gateway.
        let other = world.phone(vendor, "ann").await;
        let later = world.ask("ann").await.challenge_id;
        arrival(&mut arrivals, "challenge", &later).await;
        assert!(world.arrived("withdraw", &id).is_empty());
        gate.release();
        arrival(&mut arrivals, "withdraw", &id).await;
        world.delivered(&later, &other.phone, D::Accepted).await;
    }
}

/// Nothing is withdrawn that was never sent: the app was open, or the gateway
/// refused the prompt.
#[tokio::test]
async fn no_prompt_no_withdrawal() {
    for vendor in BOTH {
        let world = PushWorld::start().await;
        let phone = world.phone(vendor, "tom").await;
        let mut others = [world.phone(vendor, "tom").await];
        let mut arrivals = world.gateways.arrivals();

        // Shown by the open app before a push was due.
        let mut app = open(&phone.phone).await;
        let shown = world.ask("tom").await.challenge_id;
        told_challenge(&mut app, &shown).await;
        phone.phone.acknowledge(&shown).await.unwrap();
        assert_eq!(others[0].woken().await, prompt(&shown));
        world.delivered(&shown, &others[0].phone, D::Accepted).await;
        world.broker.pass(Duration::from_secs(3));
        world.cancel(&shown).await;
        told_withdrawn(&mut app, &shown, S::Cancelled).await;
        assert_eq!(others[0].woken().await, withdrawal(&shown));

        // Ended before a push was due.
        let quick = world.ask("tom").await.challenge_id;
        told_challenge(&mut app, &quick).await;
        assert_eq!(others[0].woken().await, prompt(&quick));
        world.delivered(&quick, &others[0].phone, D::Accepted).await;
        world.cancel(&quick).await;
        told_withdrawn(&mut app, &quick, S::Cancelled).await;
        assert_eq!(others[0].woken().await, withdrawal(&quick));
        world.broker.pass(Duration::from_secs(3));
        drop(app);

        // Refused: one of the two, whichever is tried first.
        let reply = Fault::Reply {
            status: 400,
            reason: "PayloadEmpty".into(),
            retry_after: None,
        };
        match vendor {
            Vendor::Apns => world.gateways.apns().faults().schedule([reply]),
            Vendor::Fcm => world.gateways.fcm().faults().schedule([reply]),
        }
        let refused = world.ask("tom").await.challenge_id;
        let ended = |d: &v1::Delivery| matches!(d.state(), D::Failed | D::Accepted);
        let both = world
            .until(&refused, "both tried", |challenge| {
                challenge.deliveries.iter().all(ended)
            })
            .await;
        let of = |state| both.deliveries.iter().filter(move |d| d.state() == state);
        assert_eq!(
            (of(D::Failed).count(), of(D::Accepted).count()),
            (1, 1),
            "{both:?}"
        );
        world.cancel(&refused).await;
        arrival(&mut arrivals, "withdraw", &refused).await;

        // All that was put into the outbox before has been tried.
        let last = world.ask("tom").await.challenge_id;
        for phone in [&phone.phone, &others[0].phone] {
            world.delivered(&last, phone, D::Accepted).await;
        }
        for (id, prompts, withdrawals) in [(&shown, 1, 1), (&quick, 1, 1), (&refused, 2, 1)] {
            assert_eq!(world.arrived("challenge", id).len(), prompts);
            assert_eq!(world.arrived("withdraw", id).len(), withdrawals);
        }
    }
}
