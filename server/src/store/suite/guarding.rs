//! Locks, resets and rules that were just changed: nothing that was under way
//! gets past them.

use std::sync::Arc;

use super::{Place, fixture::*};
use crate::{
    domain::{
        account::{
            AccountChange, AccountRefusal, CONFIRM_LIFETIME, LockReason, RecoveryCodes, Totp,
        },
        challenge::{Challenge, DeliveryState, Event, Final, GuessVerdict, Method, Reason},
        code::{Cap, CodeRefusal, Guess},
        device::Device,
        ids::{AuthenticatorId, TenantId, UserId},
        policy::{Fatigue, Methods, OnReport, Policy, Sms},
        response::Choice,
        text::{Receipt, TextJob, TextPurpose},
        ticket::TicketState,
    },
    store::{
        AccountChanged, Created, Decided, Redeemed, Removed, Replaced, Store, TextResult, WentOn,
    },
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

/// Asks by text message from the first.
async fn asked_by_text(
    store: &Arc<dyn Store>,
    (tenant, whose): (TenantId, &UserId),
    phone: AuthenticatorId,
    at: u64,
) -> Result<Challenge, CodeRefusal> {
    let mut new = question(tenant, whose, &[], second(at));
    let purpose = TextPurpose::SignInCode(new.challenge.id);
    new.code = Some(order(tenant, whose, phone, purpose, second(at)));
    match store.create(new).await.unwrap() {
        Created::New { challenge, .. } => Ok(*challenge),
        Created::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

async fn only_text(store: &Arc<dyn Store>, at: u64) -> TextJob {
    let mut jobs = store.claim_texts(second(at), 9).await.unwrap();
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

async fn fails(store: &Arc<dyn Store>, job: TextJob, at: u64) -> Option<Challenge> {
    let failed = TextResult::Finished(Some((DeliveryState::Failed, "21610".into())));
    let unheard = Some(RECEIPT_KEY.to_owned());
    let ended = store.finish_text(job, failed, unheard, second(at)).await;
    ended.unwrap()
}

pub(in crate::store) async fn a_superseded_text_says_nothing_of_the_next(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let asked = asked_by_text(&store, (tenant, &tom), phone, 2)
        .await
        .unwrap();
    let first = only_text(&store, 2).await;
    texted(&store, &asked, phone, second(40)).await;
    let next = only_text(&store, 40).await;
    assert_eq!((first.nth, next.nth), (1, 2));
    assert_eq!(fails(&store, first, 41).await, None);
    let state = || async {
        let stored = stored(&store, &asked).await;
        assert_eq!(stored.outcome, None);
        stored.deliveries[0].state
    };
    assert_eq!(state().await, DeliveryState::Queued);
    for (nth, wanted) in [(1, DeliveryState::Queued), (2, DeliveryState::Fetched)] {
        let receipt = Receipt {
            tenant,
            challenge: asked.id,
            phone,
            nth,
            state: DeliveryState::Fetched,
            reason: String::new(),
        };
        store.note_text_receipt(receipt, second(42)).unwrap();
        catch_up(&store).await;
        assert_eq!(state().await, wanted, "{nth}");
    }
}

/// With codes of its own to confirm it, and none that certainly never went out.
pub(in crate::store) async fn only_texts_that_went_out_count(place: &dyn Place) {
    let store = place.open().await;
    let rules = Policy {
        sms: Sms {
            per_number_hour: 1,
            ..texting().sms
        },
        ..unwearied()
    };
    let tenant = organisation(&store, rules).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    for at in [2, 3] {
        let asked = asked_by_text(&store, (tenant, &tom), phone, at).await;
        asked.expect("room");
        let job = only_text(&store, at).await;
        assert!(fails(&store, job, at).await.is_some());
    }
    asked_by_text(&store, (tenant, &tom), phone, 4)
        .await
        .expect("room");
    let refused = asked_by_text(&store, (tenant, &tom), phone, 5).await;
    assert!(
        matches!(refused, Err(CodeRefusal::Capped(Cap::Number, _))),
        "{refused:?}"
    );
}

async fn has_app(store: &Arc<dyn Store>, tenant: TenantId, whose: &UserId) -> AuthenticatorId {
    let app = app();
    let id = app.id;
    change(store, tenant, whose, AccountChange::AddTotp(app), second(1)).await;
    let typed = hash("755224");
    let shown = crate::domain::code::TotpCandidate {
        authenticator: id,
        step: 7,
        hash: typed,
    };
    let confirm = AccountChange::ConfirmTotp {
        id,
        typed,
        valid: vec![shown],
    };
    let done = change(store, tenant, whose, confirm, second(1)).await;
    assert!(matches!(done, AccountChanged::Done { .. }), "{done:?}");
    id
}

pub(in crate::store) async fn an_app_is_asked_before_giving_up(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    for (name, with_app) in [("ann", true), ("bob", false)] {
        let whose = user(name);
        let phone = confirmed(&store, tenant, &whose, second(1)).await;
        let device = enrolled(&store, tenant, &whose, None).await;
        if with_app {
            has_app(&store, tenant, &whose).await;
        }
        texts(&store, second(1)).await;
        let check = |asked: Challenge| {
            let store = store.clone();
            async move {
                let now = stored(&store, &asked).await;
                let end = now.outcome.map(|end| end.reason);
                if with_app {
                    assert_eq!((now.method, end), (Method::Totp, None));
                } else {
                    assert_eq!(end, Some(Reason::Unreachable));
                }
            }
        };
        // The last text failed.
        let asked = asked_by_text(&store, (tenant, &whose), phone, 2)
            .await
            .unwrap();
        let job = only_text(&store, 2).await;
        let ended = fails(&store, job, 3).await;
        assert_eq!(ended.is_some(), !with_app);
        check(asked).await;
        // No phone that was asked is within reach.
        let mut new = question(tenant, &whose, std::slice::from_ref(&device), second(4));
        new.challenge.deliveries[0].state = DeliveryState::Failed;
        new.challenge.fallback_time = Some(second(9));
        let mut asked = created(store.create(new).await.unwrap());
        let mut itself = another_way(&asked, Method::Sms, None, second(9));
        itself.by_itself = true;
        let refused = store.go_on(itself).await.unwrap();
        assert!(matches!(refused, WentOn::Refused(_)), "{refused:?}");
        decide(&store, &asked, Event::NobodyListens, second(9)).await;
        check(asked).await;
        // The only one that was asked is gone.
        asked = ask(
            &store,
            tenant,
            &whose,
            std::slice::from_ref(&device),
            second(10),
        )
        .await;
        removed(&store, &device).await;
        check(asked).await;
    }
}

async fn removed(store: &Arc<dyn Store>, device: &Device) {
    let (tenant, whose) = (device.tenant, device.user.clone());
    let key = RECEIPT_KEY.into();
    let done = store.remove_device(tenant, whose, device.id, second(11), key, by());
    assert!(matches!(done.await.unwrap(), Removed::Done { .. }));
}

pub(in crate::store) async fn what_waits_for_a_removed_app_goes_back(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    for method in [Method::Totp, Method::RecoveryCode] {
        for (prompt_lasts, at) in [(true, 4), (false, 70)] {
            let whose = user(&format!("{} {prompt_lasts}", method.name()));
            let device = enrolled(&store, tenant, &whose, None).await;
            let id = if method == Method::Totp {
                has_app(&store, tenant, &whose).await
            } else {
                let sheet = sheet();
                let id = sheet.id;
                let set = AccountChange::SetRecoveryCodes(sheet);
                change(&store, tenant, &whose, set, second(1)).await;
                id
            };
            let asked = ask(&store, tenant, &whose, &[device], second(2)).await;
            let wanted = another_way(&asked, method, None, second(3));
            let went_on = store.go_on(wanted).await.unwrap();
            assert!(matches!(went_on, WentOn::Done { .. }), "{went_on:?}");
            let remove = AccountChange::Remove(id);
            let done = change(&store, tenant, &whose, remove, second(at)).await;
            let AccountChanged::Done { ended, dropped, .. } = done else {
                panic!("{done:?}")
            };
            let now = stored(&store, &asked).await;
            if prompt_lasts {
                assert_eq!((ended, dropped), (vec![], vec![asked.id]));
                assert_eq!((now.method, now.outcome), (Method::Push, None));
            } else {
                assert_eq!(ended, std::slice::from_ref(&now));
                let end = now.outcome.expect("ended");
                assert_eq!(
                    (end.state, end.reason),
                    (Final::Denied, Reason::Unreachable)
                );
            }
        }
    }
}
