#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    reason = "tests"
)]

use countersign_proto::signing::{PrivateKey, PublicKey};
use countersign_proto::v1::KeyAlgorithm;
use proptest::prelude::*;

use super::*;
use crate::domain::response::UserVerification;

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

fn challenge(number: &str) -> Challenge {
    Challenge {
        id: ChallengeId::from_bytes([9; 16]),
        tenant: TenantId::from_bytes([8; 16]),
        user: UserId::from_stored("tom".into()),
        api_key: ApiKeyId::new([1; 8]),
        method: Method::Push,
        number: number.into(),
        create_time: Timestamp::from_millis(0),
        expire_time: Timestamp::from_millis(60_000),
        prompt_expire_time: Timestamp::from_millis(60_000),
        fallback_time: None,
        codes: Codes::new(&crate::domain::policy::Policy::default().codes),
        collapse_id: "c".into(),
        deliveries: (0..3)
            .map(|n| Delivery {
                device: device(n),
                road: Road::Subscribe,
                state: DeliveryState::Queued,
                reason: String::new(),
                update_time: Timestamp::from_millis(0),
                pushed: false,
            })
            .collect(),
        outcome: None,
    }
}

fn answer(n: u8, choice: Choice, number: &str) -> Event {
    let public = PrivateKey::from_ed25519_seed(&[n; 32]).public_bytes();
    Event::Answer(Box::new(Answer {
        choice,
        number: number.into(),
        proof: DeviceProof {
            device: device(n),
            body: vec![n],
            signature: vec![n; 64],
            public_key: PublicKey::from_bytes(KeyAlgorithm::Ed25519, &public).unwrap(),
            key_protection: KeyProtection::Software,
            user_verification: UserVerification::None,
        },
    }))
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_u8..5, 0_u8..3, prop_oneof!["42", "41", ""]).prop_map(|(n, choice, number)| {
            let choice = match choice {
                0 => Choice::Approve,
                1 => Choice::Deny,
                _ => Choice::ReportFraud,
            };
            answer(n, choice, &number)
        }),
        Just(Event::Tick),
        Just(Event::Cancel),
        Just(Event::Supersede),
        (0_u8..5).prop_map(|n| Event::DeviceGone(device(n))),
        Just(Event::NobodyListens),
        Just(Event::LockOut),
        Just(Event::NothingLeft),
    ]
}

proptest! {
    /// Exactly one event decides, and what it decided never changes, whatever
    /// the order, duplication and timing of events.
    #[test]
    fn one_decision_for_ever(
        events in proptest::collection::vec((any_event(), 0_u64..90_000), 1..40),
        sorted in any::<bool>(),
        prompts in any::<[(bool, bool); 3]>(),
    ) {
        let mut events = events;
        if sorted { events.sort_by_key(|(_, at)| *at); }
        let mut challenge = challenge("42");
        for (delivery, (failed, pushed)) in challenge.deliveries.iter_mut().zip(prompts) {
            if failed { delivery.state = DeliveryState::Failed; }
            delivery.pushed = pushed;
        }
        let mut deciding = 0;
        for (event, at) in events {
            let before = challenge.outcome.clone();
            let now = Timestamp::from_millis(at);
            let verdict = challenge.apply(event.clone(), now, "key");
            match (&before, &challenge.outcome) {
                (Some(before), after) => {
                    prop_assert_eq!(Some(before), after.as_ref());
                    prop_assert_eq!(verdict, Verdict::AlreadyDecided);
                }
                (None, Some(outcome)) => {
                    deciding += 1;
                    prop_assert!(matches!(verdict, Verdict::Recorded | Verdict::Expired));
                    // No expired challenge is approved, nor one by a wrong
                    // number, nor by anything but an approval of an asked device.
                    if outcome.state == Final::Approved {
                        prop_assert!(now < challenge.expire_time);
                        match &event {
                            Event::Answer(answer) => {
                                prop_assert_eq!(answer.choice, Choice::Approve);
                                prop_assert_eq!(&answer.number, "42");
                                prop_assert!(answer.proof.device < device(3));
                            }
                            other => prop_assert!(false, "approved by {:?}", other),
                        }
                    }
                    if now >= challenge.expire_time {
                        prop_assert_eq!(outcome.state, Final::Expired);
                    } else if event == Event::NobodyListens {
                        // Never while a prompt may be seen, or be on its way.
                        prop_assert_eq!(outcome.reason, Reason::Unreachable);
                        for delivery in &challenge.deliveries {
                            prop_assert_eq!(delivery.state, DeliveryState::Failed);
                            prop_assert!(!delivery.pushed);
                        }
                    }
                }
                (None, None) => {
                    prop_assert!(now < challenge.expire_time);
                    prop_assert!(matches!(verdict, Verdict::Pending | Verdict::NotAsked));
                }
            }
        }
        prop_assert!(deciding <= 1);
    }

    /// A prompt's progress never goes back.
    #[test]
    fn deliveries_only_advance(steps in proptest::collection::vec(0_usize..6, 1..20)) {
        use DeliveryState::{Accepted, Answered, Failed, Fetched, Queued, Shown};
        let all = [Queued, Failed, Accepted, Fetched, Shown, Answered];
        let mut challenge = challenge("");
        let delivery = challenge.delivery_mut(device(0)).unwrap();
        for (at, step) in steps.into_iter().enumerate() {
            let before = delivery.state;
            let state = *all.get(step).unwrap();
            let changed = delivery.advance(state, "", Timestamp::from_millis(at as u64));
            prop_assert_eq!(changed, state > before);
            prop_assert!(delivery.state >= before);
        }
    }
}

#[test]
fn a_wrong_number_ends_it() {
    let mut challenge = challenge("42");
    let now = Timestamp::from_millis(1);
    assert_eq!(
        challenge.apply(answer(0, Choice::Approve, "41"), now, "k"),
        Verdict::Recorded
    );
    assert_eq!(
        challenge.apply(answer(0, Choice::Approve, "42"), now, "k"),
        Verdict::AlreadyDecided
    );
    let outcome = challenge.outcome.unwrap();
    assert_eq!(
        (outcome.state, outcome.reason),
        (Final::Denied, Reason::WrongNumber)
    );
}

#[test]
fn the_last_device_to_go_ends_it() {
    let mut challenge = challenge("");
    let now = Timestamp::from_millis(1);
    assert_eq!(
        challenge.apply(Event::DeviceGone(device(0)), now, "k"),
        Verdict::Pending
    );
    assert_eq!(
        challenge.apply(Event::DeviceGone(device(1)), now, "k"),
        Verdict::Pending
    );
    assert_eq!(
        challenge.apply(answer(0, Choice::Approve, ""), now, "k"),
        Verdict::NotAsked
    );
    assert_eq!(
        challenge.apply(Event::DeviceGone(device(2)), now, "k"),
        Verdict::Recorded
    );
    let outcome = challenge.outcome.unwrap();
    assert_eq!(
        (outcome.state, outcome.reason),
        (Final::Denied, Reason::Unreachable)
    );
}
