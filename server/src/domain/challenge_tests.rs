#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use countersign_proto::signing::{PrivateKey, PublicKey};
use countersign_proto::v1::KeyAlgorithm;
use proptest::prelude::*;

use super::*;
use crate::domain::{
    account,
    code::{CodeHash, SentCode, TotpCandidate},
    ids::TextId,
    response::UserVerification,
    text::{TextJob, TextPurpose},
};

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
        remembering: Remembering::default(),
        origin: Origin::default(),
        risks: Vec::new(),
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

/// Whatever else can happen to a sign-in.
#[derive(Clone, Debug)]
enum Step {
    Event(Event),
    /// A code of this way is typed; right or wrong.
    Guess(Method, bool),
    /// Goes on by this way.
    GoOn(Method),
    Lock,
    Unlock,
}

fn any_step() -> impl Strategy<Value = Step> {
    let method = prop_oneof![
        Just(Method::Push),
        Just(Method::Sms),
        Just(Method::Totp),
        Just(Method::RecoveryCode),
    ];
    prop_oneof![
        2 => any_event().prop_map(Step::Event),
        4 => (method.clone(), any::<bool>()).prop_map(|(method, right)| Step::Guess(method, right)),
        4 => method.prop_map(Step::GoOn),
        1 => Just(Step::Lock),
        1 => Just(Step::Unlock),
    ]
}

fn phone_id() -> AuthenticatorId {
    AuthenticatorId::from_bytes([40; 16])
}

fn known() -> Account {
    let id = AuthenticatorId::from_bytes;
    let mut account = Account::new(
        TenantId::from_bytes([8; 16]),
        UserId::from_stored("tom".into()),
    );
    account.phones.push(account::Phone {
        id: phone_id(),
        sealed_number: vec![1],
        number: [1; 16],
        range: [1; 16],
        masked: "+XX XX40".into(),
        country: "BE".into(),
        language: "nl".into(),
        create_time: Timestamp::from_millis(0),
        last_used_time: None,
        confirming: None,
    });
    account.totps.push(account::Totp {
        id: id([41; 16]),
        sealed_secret: vec![1],
        create_time: Timestamp::from_millis(0),
        last_used_time: None,
        confirmed: true,
        wrong: 0,
        last_step: 0,
    });
    account.recovery = Some(account::RecoveryCodes {
        id: id([42; 16]),
        create_time: Timestamp::from_millis(0),
        last_used_time: None,
        unused: vec![CodeHash([7; 32])],
    });
    account
}

/// A text with the `n`th code.
fn order(n: u8, now: Timestamp) -> CodeOrder {
    let expire_time = now.after(Duration::from_secs(300));
    CodeOrder {
        code: SentCode {
            phone: phone_id(),
            hash: CodeHash([n; 32]),
            expire_time,
        },
        masked: "+XX XX40".into(),
        job: TextJob {
            id: TextId::from_bytes([n; 16]),
            due: now,
            tenant: TenantId::from_bytes([8; 16]),
            user: UserId::from_stored("tom".into()),
            phone: phone_id(),
            purpose: TextPurpose::SignInCode(ChallengeId::from_bytes([9; 16])),
            seed: [0; 16],
            digits: 6,
            sealed_number: Vec::new(),
            nth: 0,
            metered: Timestamp::default(),
            attempts: 0,
            expire_time,
        },
    }
}

fn typed(method: Method, right: bool, last_code: u8) -> Guess {
    let hash = |right_one: u8| CodeHash([if right { right_one } else { 99 }; 32]);
    match method {
        Method::Totp => Guess::Totp {
            typed: hash(50),
            valid: vec![TotpCandidate {
                authenticator: AuthenticatorId::from_bytes([41; 16]),
                step: 5,
                hash: CodeHash([50; 32]),
            }],
        },
        Method::RecoveryCode => Guess::RecoveryCode(hash(7)),
        _ => Guess::Sms(hash(last_code)),
    }
}

fn texting() -> Policy {
    let mut rules = Policy::default();
    rules.sms.countries = vec!["BE".into()];
    rules
}

proptest! {
    /// One decision for ever, whatever ways are tried; an approval only by a
    /// right answer in the prompt's time or a right code of the chosen way, of an
    /// account that is not locked; never when the time is up; and wrong codes
    /// are counted over all ways and sends.
    #[test]
    fn no_way_round_the_rules(
        steps in proptest::collection::vec((any_step(), 0_u64..40_000), 1..60),
        fallback in proptest::option::of(0_u64..60_000),
    ) {
        let rules = texting();
        let mut challenge = challenge("42");
        challenge.fallback_time = fallback.map(Timestamp::from_millis);
        let latest = challenge.create_time.after(MAX_CHALLENGE_TTL);
        let mut account = known();
        let (mut now, mut last_code, mut compared) = (Timestamp::from_millis(1), 100_u8, 0);
        for (step, later) in steps {
            now = now.after(Duration::from_millis(later));
            let before = challenge.clone();
            let locked = account.lock.is_some();
            let mut approvable = false;
            match step {
                Step::Event(event) => {
                    approvable = matches!(&event, Event::Answer(answer)
                        if answer.choice == Choice::Approve
                            && answer.number == "42"
                            && now < before.prompt_expire_time);
                    challenge.apply(event, now, "key");
                }
                Step::Guess(method, right) => {
                    let guess = typed(method, right, last_code);
                    let waited = now >= account.no_guess_before;
                    match challenge.guess(&guess, &mut account, &rules, now, "key") {
                        GuessVerdict::Wrong => {
                            compared += 1;
                            prop_assert!(waited && !locked);
                            prop_assert_eq!(before.method, guess.method());
                        }
                        GuessVerdict::Right => {
                            prop_assert!(right && waited);
                            prop_assert_eq!(before.method, guess.method());
                            approvable = !locked;
                        }
                        GuessVerdict::Wait(until) => prop_assert!(!waited && until > now),
                        GuessVerdict::AlreadyDecided => prop_assert!(before.outcome.is_some()),
                        GuessVerdict::Locked => prop_assert!(locked),
                        GuessVerdict::Expired => prop_assert!(now >= before.expire_time),
                        GuessVerdict::NothingToCheck => {}
                    }
                }
                // As the store does: only what is open goes on.
                Step::GoOn(method) if challenge.is_open(now) && !locked => {
                    let gone = match method {
                        Method::Push => challenge.go_back_to_push(now),
                        Method::Sms => {
                            let order = order(last_code.wrapping_add(1), now);
                            let gone = challenge.go_on_by(method, Some(&order), &account, &rules, now);
                            if gone.is_ok() { last_code = last_code.wrapping_add(1); }
                            gone
                        }
                        other => challenge.go_on_by(other, None, &account, &rules, now),
                    };
                    match gone {
                        Ok(()) => prop_assert_eq!(challenge.method, method),
                        Err(_) => prop_assert_eq!(&challenge, &before),
                    }
                }
                Step::GoOn(_) => {}
                Step::Lock => {
                    account.lock_for(account::LockReason::Operator, now);
                }
                Step::Unlock => { account.unlock(); }
            }
            if before.outcome.is_some() {
                prop_assert_eq!(&challenge.outcome, &before.outcome);
            } else if let Some(outcome) = &challenge.outcome {
                prop_assert_eq!(outcome.decide_time, now);
                if now >= before.expire_time {
                    prop_assert_eq!(outcome.state, Final::Expired);
                }
                if outcome.state == Final::Approved {
                    prop_assert!(approvable);
                    let by_code = outcome.reason == Reason::CodeVerified;
                    prop_assert_eq!(by_code, outcome.authenticator.is_some());
                    prop_assert_eq!(!by_code, outcome.proof.is_some());
                }
            }
            prop_assert_eq!(challenge.codes.wrong, compared);
            prop_assert!(compared <= rules.codes.max_wrong);
            prop_assert!(compared < rules.codes.max_wrong || challenge.outcome.is_some());
            prop_assert!(challenge.codes.sends <= rules.codes.max_sends);
            prop_assert!(challenge.expire_time >= before.expire_time);
            prop_assert!(challenge.expire_time <= latest);
            prop_assert_eq!(challenge.prompt_expire_time, before.prompt_expire_time);
        }
    }
}

#[test]
fn a_text_that_failed_late_is_noted() {
    let mut delivery = Delivery {
        device: device(1),
        road: Road::Sms,
        state: DeliveryState::Accepted,
        reason: String::new(),
        update_time: Timestamp::from_millis(0),
        pushed: false,
    };
    let now = Timestamp::from_millis(1);
    assert!(delivery.advance(DeliveryState::Failed, "30006", now));
    assert!(delivery.advance(DeliveryState::Fetched, "", now));
    assert!(!delivery.advance(DeliveryState::Failed, "30006", now));
    let mut push = Delivery {
        road: Road::Subscribe,
        state: DeliveryState::Accepted,
        ..delivery
    };
    assert!(!push.advance(DeliveryState::Failed, "", now));
}

#[test]
fn nobody_left_goes_on_by_text_where_that_is_planned() {
    let now = Timestamp::from_millis(5);
    let planned = Timestamp::from_millis(30_000);
    for event in [Event::NobodyListens, Event::DeviceGone(device(0))] {
        let mut challenge = challenge("42");
        challenge.deliveries.truncate(1);
        challenge.deliveries[0].state = DeliveryState::Failed;
        challenge.fallback_time = Some(planned);
        assert_eq!(challenge.apply(event.clone(), now, "k"), Verdict::Pending);
        assert_eq!(challenge.fallback_time, Some(now));
        challenge.fallback_time = None;
        assert_eq!(
            challenge.apply(Event::NobodyListens, now, "k"),
            Verdict::Recorded
        );
        assert_eq!(challenge.outcome.unwrap().reason, Reason::Unreachable);
    }
    let mut reset = challenge("42");
    reset.fallback_time = Some(planned);
    reset.method = Method::Totp;
    assert_eq!(reset.apply(Event::NothingLeft, now, "k"), Verdict::Recorded);
    assert_eq!((reset.fallback_time, reset.deliveries.len()), (None, 0));
}

#[test]
fn a_text_needs_an_order_and_nothing_else_has_one() {
    let (rules, account) = (texting(), known());
    let now = Timestamp::from_millis(5);
    let text = order(1, now);
    let none = Err(CodeRefusal::NoAuthenticator);
    let mut challenge = challenge("42");
    assert_eq!(
        challenge.go_on_by(Method::Sms, None, &account, &rules, now),
        none
    );
    assert_eq!(
        challenge.go_on_by(Method::Totp, Some(&text), &account, &rules, now),
        none
    );
    let mut forbidden = rules.clone();
    forbidden.methods.sms = false;
    assert_eq!(
        challenge.go_on_by(Method::Sms, Some(&text), &account, &forbidden, now),
        none
    );
    assert_eq!(challenge.codes.sends, 0);
    assert_eq!(
        challenge.go_on_by(Method::Sms, Some(&text), &account, &rules, now),
        Ok(())
    );
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
