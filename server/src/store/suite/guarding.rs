//! Locks, resets and rules that were just changed: nothing that was under way
//! gets past them.

use super::{Place, fixture::*};
use crate::{
    domain::{
        account::{
            AccountChange, AccountRefusal, CONFIRM_LIFETIME, LockReason, RecoveryCodes, Totp,
        },
        challenge::{Event, Final, GuessVerdict, Reason},
        code::{CodeRefusal, Guess},
        policy::{Fatigue, Methods, OnReport, Policy, Sms},
        response::Choice,
        ticket::TicketState,
    },
    store::{AccountChanged, Decided, Redeemed, Replaced},
};

fn app() -> Totp {
    Totp {
        id: authenticator(),
        sealed_secret: vec![1; 48],
        create_time: second(1),
        last_used_time: None,
        confirmed: false,
        wrong: 0,
        last_step: 0,
    }
}

fn sheet() -> RecoveryCodes {
    RecoveryCodes {
        id: authenticator(),
        create_time: second(1),
        last_used_time: None,
        unused: vec![hash("a")],
    }
}

pub(in crate::store) async fn a_lock_or_a_reset_ends_an_open_ticket(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    for (name, blow) in [
        ("tom", AccountChange::Lock(LockReason::Operator)),
        ("ann", AccountChange::Reset),
    ] {
        let whose = user(name);
        let typed = code();
        let open = ticket(tenant, &whose, &typed);
        assert!(store.add_ticket(open.clone(), by()).await.unwrap());
        change(&store, tenant, &whose, blow, second(2)).await;
        let found = store.ticket(tenant, open.id).await.unwrap().unwrap();
        assert_eq!(found.state, TicketState::Replaced, "{name}");
        for unlocked in [false, true] {
            if unlocked {
                change(&store, tenant, &whose, AccountChange::Unlock, second(3)).await;
            }
            let tried = store.redeem(typed.clone(), stranger(None), second(4), String::new());
            assert_eq!(tried.await.unwrap(), Redeemed::Refused, "{name} {unlocked}");
        }
        assert_eq!(store.devices_of(tenant, &whose).await.unwrap(), []);
    }
}

pub(in crate::store) async fn nothing_is_added_to_a_locked_account(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let to = |step, at| change(&store, tenant, &tom, step, second(at));
    let (phone, app_waiting) = (new_phone(second(1)), app());
    let (phone_id, app_id) = (phone.id, app_waiting.id);
    to(add_phone(tenant, &tom, phone, second(1)), 1).await;
    to(AccountChange::AddTotp(app_waiting), 1).await;
    to(AccountChange::Lock(LockReason::Operator), 2).await;
    let before = account(&store, tenant, &tom).await;
    let steps = || {
        [
            add_phone(tenant, &tom, new_phone(second(3)), second(3)),
            AccountChange::ConfirmPhone {
                id: phone_id,
                typed: hash("123456"),
            },
            AccountChange::ConfirmPhone {
                id: phone_id,
                typed: hash("000000"),
            },
            AccountChange::AddTotp(app()),
            AccountChange::ConfirmTotp {
                id: app_id,
                typed: hash("000000"),
                valid: Vec::new(),
            },
            AccountChange::SetRecoveryCodes(sheet()),
        ]
    };
    for step in steps() {
        let done = to(step.clone(), 3).await;
        assert_eq!(
            done,
            AccountChanged::Refused(AccountRefusal::Locked),
            "{step:?}"
        );
    }
    // Not even a wrong code is counted.
    assert_eq!(account(&store, tenant, &tom).await, before);
    let new = ticket(tenant, &tom, &code());
    assert!(!store.add_ticket(new.clone(), by()).await.unwrap());
    assert_eq!(store.ticket(tenant, new.id).await.unwrap(), None);
    to(AccountChange::Unlock, 4).await;
    assert!(store.add_ticket(new, by()).await.unwrap());
    let right = AccountChange::ConfirmPhone {
        id: phone_id,
        typed: hash("123456"),
    };
    assert!(matches!(to(right, 5).await, AccountChanged::Done { .. }));
}

pub(in crate::store) async fn an_operator_s_lock_stands(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let to = |reason, at| {
        change(
            &store,
            tenant,
            &tom,
            AccountChange::Lock(reason),
            second(at),
        )
    };
    to(LockReason::FraudReported, 1).await;
    to(LockReason::Operator, 2).await;
    let lock = account(&store, tenant, &tom).await.lock.expect("locked");
    assert_eq!((lock.reason, lock.since), (LockReason::Operator, second(1)));
}

/// A code was texted and a phone asked; then policy forbids the one or the other.
pub(in crate::store) async fn what_policy_forbids_no_longer_decides(place: &dyn Place) {
    let store = place.open().await;
    for (push, sms, country) in [
        (false, true, "BE"),
        (true, false, "BE"),
        (true, true, "FR"),
        (true, true, "BE"),
    ] {
        let tenant = organisation(&store, texting()).await;
        let tom = user("tom");
        let phone = confirmed(&store, tenant, &tom, second(1)).await;
        let devices = [enrolled(&store, tenant, &tom, None).await];
        let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
        texted(&store, &asked, phone, second(2)).await;
        let new = Policy {
            methods: Methods {
                push,
                sms,
                ..Methods::default()
            },
            sms: Sms {
                countries: vec![country.into()],
                ..Sms::default()
            },
            ..texting()
        };
        let replaced =
            store.replace_policy(tenant, new.version, new, String::new(), second(3), by());
        assert!(matches!(replaced.await.unwrap(), Replaced::Done(_)));
        if !sms || country != "BE" {
            let typed = Guess::Sms(hash("123456"));
            let done = guess(&store, &asked, typed, second(4)).await;
            assert_eq!(done.verdict, GuessVerdict::NothingToCheck);
            let typed = Guess::Sms(hash("000000"));
            let done = guess(&store, &asked, typed, second(4)).await;
            assert_eq!(done.verdict, GuessVerdict::NothingToCheck);
        }
        let yes = answer(&devices[0], Choice::Approve);
        let said = decide(&store, &asked, yes, second(4)).await;
        if push {
            assert!(matches!(said, Decided::Recorded(_)), "{said:?}");
            continue;
        }
        assert_eq!(said, Decided::PromptExpired);
        assert_eq!(stored(&store, &asked).await.outcome, None);
        let no = answer(&devices[0], Choice::Deny);
        let said = decide(&store, &asked, no, second(5)).await;
        assert!(matches!(said, Decided::Recorded(_)), "{said:?}");
    }
}

/// "That wasn't me" comes too late to decide: for the account it counts, once.
pub(in crate::store) async fn a_late_report_is_heeded(place: &dyn Place) {
    let store = place.open().await;
    let rules = Policy {
        fatigue: Fatigue {
            on_report: OnReport::Lock,
            budget: u32::MAX,
            ..Fatigue::default()
        },
        ..texting()
    };
    let tenant = organisation(&store, rules).await;
    for (name, end, at) in [
        ("cancelled", Some(Event::Cancel), 3),
        ("superseded", Some(Event::Supersede), 3),
        ("expired", Some(Event::Tick), 70),
        ("expired unnoticed", None, 70),
    ] {
        let tom = user(name);
        let devices = [
            enrolled(&store, tenant, &tom, None).await,
            enrolled(&store, tenant, &tom, None).await,
        ];
        let asked = ask(&store, tenant, &tom, &devices[..1], second(2)).await;
        if let Some(end) = end {
            decide(&store, &asked, end, second(at)).await;
        }
        let report = |device: usize| answer(&devices[device], Choice::ReportFraud);
        // Whoever was not asked has nothing to say.
        let other = decide(&store, &asked, report(1), second(at)).await;
        assert!(!matches!(other, Decided::ReportedLate { .. }), "{name}");
        assert_eq!(account(&store, tenant, &tom).await.last_denial, None);
        let said = decide(&store, &asked, report(0), second(at + 1)).await;
        let told = stored(&store, &asked).await;
        let Decided::ReportedLate { challenge, .. } = said else {
            panic!("{name}: {said:?}")
        };
        assert_eq!(challenge, told, "{name}");
        let end = told.outcome.expect("ended");
        assert_ne!(end.state, Final::Approved, "{name}");
        assert_ne!(end.reason, Reason::FraudReported, "{name}");
        let after = account(&store, tenant, &tom).await;
        assert_eq!(after.last_denial, Some(second(at + 1)), "{name}");
        let lock = after.lock.expect("locked");
        assert_eq!(lock.reason, LockReason::FraudReported);
        // The second time is nothing.
        change(&store, tenant, &tom, AccountChange::Unlock, second(at + 2)).await;
        decide(&store, &asked, report(0), second(at + 3)).await;
        let again = account(&store, tenant, &tom).await;
        assert_eq!((again.last_denial, again.lock), (after.last_denial, None));
    }
    let tom = user("too late");
    let devices = [enrolled(&store, tenant, &tom, None).await];
    let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
    decide(&store, &asked, Event::Cancel, second(3)).await;
    let report = answer(&devices[0], Choice::ReportFraud);
    let said = decide(&store, &asked, report, second(4 + 86_400)).await;
    assert!(matches!(said, Decided::Already(_)), "{said:?}");
    assert_eq!(account(&store, tenant, &tom).await.lock, None);
}

/// A number that was never confirmed begins anew after an hour, however many codes
/// it was sent, and whatever the caller read of it before.
pub(in crate::store) async fn an_unproven_number_begins_anew(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = new_phone(second(1));
    for n in 0..5 {
        let now = second(1 + n * 300);
        let add = add_phone(tenant, &tom, phone.clone(), now);
        let done = change(&store, tenant, &tom, add, now).await;
        assert!(matches!(done, AccountChanged::Done { .. }), "{n} {done:?}");
    }
    let now = second(1 + 5 * 300);
    let add = add_phone(tenant, &tom, phone.clone(), now);
    let done = change(&store, tenant, &tom, add, now).await;
    let spent = AccountRefusal::NotSent(CodeRefusal::TooManySends);
    assert_eq!(done, AccountChanged::Refused(spent));
    let read = account(&store, tenant, &tom).await.phones.remove(0);
    let now = phone.create_time.after(CONFIRM_LIFETIME);
    let add = add_phone(tenant, &tom, read, now);
    let done = change(&store, tenant, &tom, add, now).await;
    assert!(matches!(done, AccountChanged::Done { .. }), "{done:?}");
    let begun = account(&store, tenant, &tom).await.phones.remove(0);
    assert_eq!(begun.create_time, now);
    let codes = begun.confirming.expect("waits");
    assert_eq!((codes.sends, codes.wrong), (1, 0));
}
