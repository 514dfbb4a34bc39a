#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use proptest::prelude::*;

use super::*;
use crate::domain::{
    code::{CodeOrder, SentCode},
    ids::TextId,
    text::{TextJob, TextPurpose},
};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + seconds * 1000)
}

fn id(n: u8) -> AuthenticatorId {
    AuthenticatorId::from_bytes([n; 16])
}

fn hash(n: u8) -> CodeHash {
    CodeHash([n; 32])
}

fn account() -> Account {
    Account::new(
        TenantId::from_bytes([8; 16]),
        UserId::from_stored("tom".into()),
    )
}

fn rules() -> Policy {
    let mut rules = Policy::default();
    rules.sms.countries = vec!["BE".into()];
    rules
}

fn phone(n: u8, now: Timestamp) -> Phone {
    Phone {
        id: id(n),
        sealed_number: vec![n],
        number: [n; 16],
        range: [0; 16],
        masked: "+XX XX40".into(),
        country: "BE".into(),
        language: "nl".into(),
        create_time: now,
        last_used_time: None,
        confirming: None,
    }
}

fn order(n: u8, now: Timestamp) -> CodeOrder {
    let expire_time = now.after(Duration::from_secs(300));
    CodeOrder {
        code: SentCode {
            phone: id(n),
            hash: hash(1),
            expire_time,
        },
        masked: "+XX XX40".into(),
        job: TextJob {
            id: TextId::from_bytes([n; 16]),
            due: now,
            tenant: TenantId::from_bytes([8; 16]),
            user: UserId::from_stored("tom".into()),
            phone: id(n),
            purpose: TextPurpose::ConfirmNumber,
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

fn totp(n: u8, confirmed: bool) -> Totp {
    Totp {
        id: id(n),
        sealed_secret: vec![n],
        create_time: at(0),
        last_used_time: None,
        confirmed,
        wrong: 0,
        last_step: 0,
    }
}

fn add(n: u8, now: Timestamp) -> AccountChange {
    AccountChange::AddPhone {
        phone: Box::new(phone(n, now)),
        order: Box::new(order(n, now)),
    }
}

/// What the rules let through in an hour of asking all the time: the budget,
/// then one per wait, the waits doubling up to the longest.
fn most_prompts(rules: &policy::Fatigue, hour: Duration) -> usize {
    let mut admitted = usize::try_from(rules.budget).unwrap();
    let (mut wait, mut spent) = (rules.first_wait, Duration::ZERO);
    while spent + wait <= hour {
        spent += wait;
        admitted += 1;
        wait = (wait * 2).min(rules.longest_wait);
    }
    admitted
}

#[test]
fn an_hour_of_asking_gives_few_prompts() {
    let rules = rules().fatigue;
    let mut account = account();
    let admitted = (0..3600)
        .filter(|second| account.admit_prompt(&rules, at(*second)).is_ok())
        .count();
    let most = most_prompts(&rules, Duration::from_secs(3600));
    assert_eq!((admitted, most), (13, 13));
}

proptest! {
    /// However an attacker spaces 1000 tries over an hour.
    #[test]
    fn no_pattern_of_asking_gives_more(
        mut tries in proptest::collection::vec(0_u64..3600, 1000),
        budget in 1_u32..=5,
        first_wait in 10_u64..60,
    ) {
        let rules = policy::Fatigue {
            budget,
            first_wait: Duration::from_secs(first_wait),
            // Pauses don't begin a new ration here.
            window: Duration::from_secs(3600),
            ..rules().fatigue
        };
        tries.sort_unstable();
        let mut account = account();
        let mut refused_until = at(0);
        let mut admitted = 0;
        for second in tries {
            match account.admit_prompt(&rules, at(second)) {
                Ok(()) => {
                    prop_assert!(at(second) >= refused_until);
                    admitted += 1;
                }
                Err(CodeRefusal::PromptBudget(until)) => {
                    prop_assert!(until > at(second));
                    refused_until = until;
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert!(admitted <= most_prompts(&rules, Duration::from_secs(3600)));
    }

    /// Each further prompt waits at least as long as the one before, until the
    /// user approves or nobody asks for long.
    #[test]
    fn waits_for_prompts_only_grow(prompts in 1_usize..40) {
        let rules = rules().fatigue;
        let mut account = account();
        let (mut now, mut before) = (at(0), Duration::ZERO);
        for _ in 0..prompts {
            if let Err(CodeRefusal::PromptBudget(until)) = account.clone().admit_prompt(&rules, now) {
                let wait = until.since(now);
                prop_assert!(wait >= before && wait <= rules.longest_wait);
                before = wait;
                now = until;
            }
            prop_assert_eq!(account.admit_prompt(&rules, now), Ok(()));
        }
    }

    /// Waits after wrong codes only grow, nothing is compared during them, and
    /// the account is locked at the last.
    #[test]
    fn waits_for_guesses_only_grow(steps in proptest::collection::vec(0_u64..4000, 1..300)) {
        let rules = policy::Lockout { lock_after: 40, ..rules().lockout };
        let mut account = account();
        account.recovery = Some(RecoveryCodes {
            id: id(9),
            create_time: at(0),
            last_used_time: None,
            unused: vec![hash(1)],
        });
        let wrong = Guess::RecoveryCode(hash(2));
        let (mut now, mut before, mut compared) = (at(0), Duration::ZERO, 0);
        for step in steps {
            now = now.after(Duration::from_secs(step));
            let untouched = account.clone();
            match account.check(&wrong, None, &rules, now) {
                Checked::Wrong => {
                    compared += 1;
                    prop_assert!(now >= untouched.no_guess_before);
                    let wait = account.no_guess_before.since(now);
                    prop_assert!(wait >= before && wait <= rules.longest_wait);
                    before = wait;
                }
                Checked::Wait(until) => {
                    prop_assert_eq!(until, untouched.no_guess_before);
                    prop_assert_eq!(&account, &untouched);
                }
                Checked::NothingToCheck => prop_assert!(untouched.lock.is_some()),
                Checked::Right(_) => prop_assert!(false, "right"),
            }
            prop_assert_eq!(account.failures, compared);
            prop_assert_eq!(account.lock.is_some(), compared >= rules.lock_after);
        }
        prop_assert!(compared <= rules.lock_after);
    }

    /// No step of an app is accepted twice, nor an earlier one after it.
    #[test]
    fn a_step_never_counts_twice(
        typed in proptest::collection::vec((2_u64..30, 0_u64..3, 1_u8..3), 1..60),
    ) {
        let rules = rules().lockout;
        let mut account = account();
        account.totps = vec![totp(1, true), totp(2, true)];
        // What each app shows: another code per app and step.
        let shown = |app: u8, step: u64| {
            let mut bytes = [app; 32];
            bytes[..8].copy_from_slice(&step.to_be_bytes());
            CodeHash(bytes)
        };
        let mut last = [0_u64; 3];
        for (now_step, offset, app) in typed {
            let valid: Vec<_> = [1, 2]
                .into_iter()
                .flat_map(|app| (now_step - 1..=now_step + 1).map(move |step| (app, step)))
                .map(|(app, step)| TotpCandidate {
                    authenticator: id(app),
                    step,
                    hash: shown(app, step),
                })
                .collect();
            let step = now_step - 1 + offset;
            account.failures = 0;
            account.no_guess_before = Timestamp::default();
            let guess = Guess::Totp { typed: shown(app, step), valid };
            let checked = account.check(&guess, None, &rules, at(now_step * 30));
            let newest = last.get_mut(usize::from(app)).unwrap();
            if step > *newest {
                prop_assert_eq!(checked, Checked::Right(id(app)));
                *newest = step;
            } else {
                prop_assert_eq!(checked, Checked::Wrong);
            }
        }
    }
}

#[test]
fn an_approval_or_a_long_pause_begins_a_new_ration() {
    let rules = rules();
    let mut account = account();
    for _ in 0..5 {
        assert_eq!(account.admit_prompt(&rules.fatigue, at(0)), Ok(()));
    }
    let over = Err(CodeRefusal::PromptBudget(at(10)));
    assert_eq!(account.admit_prompt(&rules.fatigue, at(9)), over);
    let mut approved = account.clone();
    let outcome = Outcome {
        state: Final::Approved,
        reason: Reason::UserApproved,
        decide_time: at(9),
        proof: None,
        authenticator: None,
        receipt_key_id: "k".into(),
    };
    assert!(approved.note_end(&outcome, &rules, at(9)));
    assert_eq!(approved.admit_prompt(&rules.fatigue, at(9)), Ok(()));
    // The wait and then the window.
    let fresh = at(10 + 600);
    for _ in 0..5 {
        assert_eq!(account.admit_prompt(&rules.fatigue, fresh), Ok(()));
    }
    assert!(account.admit_prompt(&rules.fatigue, fresh).is_err());
}

#[test]
fn a_locked_account_compares_nothing() {
    let rules = rules();
    let mut account = account();
    account.recovery = Some(RecoveryCodes {
        id: id(9),
        create_time: at(0),
        last_used_time: None,
        unused: vec![hash(1)],
    });
    account.lock_for(LockReason::Operator, at(1));
    account.lock_for(LockReason::FraudReported, at(2));
    assert_eq!(
        account.lock,
        Some(Lock {
            since: at(1),
            reason: LockReason::Operator
        })
    );
    let right = Guess::RecoveryCode(hash(1));
    assert_eq!(
        account.check(&right, None, &rules.lockout, at(3)),
        Checked::NothingToCheck
    );
    assert!(account.unlock());
    assert_eq!(
        account.check(&right, None, &rules.lockout, at(3)),
        Checked::Right(id(9))
    );
    assert!(!account.unlock());
}

#[test]
fn codes_go_to_the_last_number_confirmed_where_it_is_allowed() {
    let rules = rules();
    let mut account = account();
    let right = |n| AccountChange::ConfirmPhone {
        id: id(n),
        typed: hash(1),
    };
    for n in 1..=3 {
        account
            .apply(add(n, at(u64::from(n))), &rules, at(u64::from(n)))
            .unwrap();
    }
    let to = |account: &Account| account.phone_for_codes(&rules.sms).map(|phone| phone.id);
    assert_eq!(to(&account), None);
    for n in [2, 1] {
        account.apply(right(n), &rules, at(9)).unwrap();
    }
    assert_eq!(to(&account), Some(id(2)));
    account.phones[1].country = "FR".into();
    assert_eq!(to(&account), Some(id(1)));
    assert!(account.can_answer_by(Method::Sms, &rules));
    let mut without = rules.clone();
    without.methods.sms = false;
    assert!(!account.can_answer_by(Method::Sms, &without));
}

#[test]
fn what_is_never_confirmed_makes_room() {
    let rules = rules();
    let mut account = account();
    for n in 1..=5 {
        account.apply(add(n, at(0)), &rules, at(0)).unwrap();
        account
            .apply(AccountChange::AddTotp(totp(n, false)), &rules, at(0))
            .unwrap();
    }
    let many = Err(AccountRefusal::TooMany);
    let late = at(3599);
    assert_eq!(account.apply(add(6, late), &rules, late), many);
    assert_eq!(
        account.apply(AccountChange::AddTotp(totp(6, false)), &rules, late),
        many
    );
    let hour = at(3600);
    assert!(account.apply(add(6, hour), &rules, hour).is_ok());
    assert_eq!((account.phones.len(), account.totps.len()), (1, 0));
}

#[test]
fn an_old_code_confirms_nothing() {
    let rules = rules();
    let mut account = account();
    account.apply(add(1, at(0)), &rules, at(0)).unwrap();
    let typed = |n| AccountChange::ConfirmPhone {
        id: id(1),
        typed: hash(n),
    };
    let late = at(300);
    let expired = Err(AccountRefusal::CodeExpired);
    assert_eq!(account.apply(typed(1), &rules, late), expired);
    // Nor does one that another code has replaced.
    let mut second = order(1, at(301));
    second.code.hash = hash(2);
    let again = AccountChange::AddPhone {
        phone: Box::new(phone(1, at(301))),
        order: Box::new(second),
    };
    account.apply(again, &rules, at(301)).unwrap();
    let left = AccountRefusal::WrongCode { attempts_left: 4 };
    assert_eq!(account.apply(typed(1), &rules, at(302)), Err(left));
    assert!(account.apply(typed(2), &rules, at(302)).is_ok());
    // An order for a number that is not the one known.
    let mut other = order(7, at(303));
    other.code.phone = id(8);
    let mismatched = AccountChange::AddPhone {
        phone: Box::new(phone(7, at(303))),
        order: Box::new(other),
    };
    assert_eq!(
        account.apply(mismatched, &rules, at(303)),
        Err(AccountRefusal::NotSent(CodeRefusal::NoAuthenticator))
    );
}
