//! Accounts: what is added, confirmed, taken away, locked; prompts counted.

use tokio::task::JoinSet;

use super::{Place, fixture::*};
use crate::{
    domain::{
        account::{
            Account, AccountChange, AccountEvent, AccountRefusal, LockReason, RecoveryCodes, Totp,
        },
        challenge::{Challenge, Event, Final, Method, Reason},
        code::{Cap, CodeRefusal, TotpCandidate},
        device::PushGateway as G,
        ids::DeviceId,
        policy::{Fatigue, OnReport, Policy, Sms},
        response::Choice,
        text::{Notice, TextJob, TextPurpose},
        time::Timestamp,
    },
    store::{AccountChanged, Created, Decided, Removed},
};

fn refusal(changed: AccountChanged) -> AccountRefusal {
    match changed {
        AccountChanged::Refused(refusal) => refusal,
        done => panic!("{done:?}"),
    }
}

fn reason(challenge: &Challenge) -> (Final, Reason) {
    let outcome = challenge.outcome.as_ref().expect("decided");
    (outcome.state, outcome.reason)
}

fn notices(jobs: &[TextJob]) -> Vec<(Notice, bool)> {
    jobs.iter()
        .map(|job| match &job.purpose {
            TextPurpose::Notice(notice) => (notice.clone(), !job.sealed_number.is_empty()),
            other => panic!("{other:?}"),
        })
        .collect()
}

pub(in crate::store) async fn a_number_counts_once_it_is_confirmed(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let empty = Account::new(tenant, tom.clone());
    assert_eq!(account(&store, tenant, &tom).await, empty);
    let phone = new_phone(second(1));
    let id = phone.id;
    let add = |now| {
        change(
            &store,
            tenant,
            &tom,
            add_phone(tenant, &tom, phone.clone(), now),
            now,
        )
    };
    let confirm = |typed: &str| AccountChange::ConfirmPhone {
        id,
        typed: hash(typed),
    };
    match add(second(1)).await {
        AccountChanged::Done {
            event, range_alarm, ..
        } => {
            assert_eq!((event, range_alarm), (AccountEvent::PhoneAdded(id), false));
        }
        other => panic!("{other:?}"),
    }
    let rules = texting().sms;
    assert_eq!(
        account(&store, tenant, &tom).await.phone_for_codes(&rules),
        None
    );
    let jobs = texts(&store, second(1)).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (&jobs[0].purpose, jobs[0].phone),
        (&TextPurpose::ConfirmNumber, id)
    );
    // A further code comes after a while, and is the only one that counts.
    let too_soon = CodeRefusal::TooSoon(second(31));
    assert_eq!(
        refusal(add(second(2)).await),
        AccountRefusal::NotSent(too_soon)
    );
    assert_eq!(texts(&store, second(2)).await, []);
    let wrong = change(&store, tenant, &tom, confirm("000000"), second(3)).await;
    assert_eq!(
        refusal(wrong),
        AccountRefusal::WrongCode { attempts_left: 4 }
    );
    assert!(matches!(add(second(31)).await, AccountChanged::Done { .. }));
    let right = change(&store, tenant, &tom, confirm("123456"), second(32)).await;
    assert!(matches!(
        right,
        AccountChanged::Done { event: AccountEvent::PhoneConfirmed(of), .. } if of == id
    ));
    assert_eq!(
        refusal(add(second(99)).await),
        AccountRefusal::AlreadyThere(id)
    );
    let known = account(&store, tenant, &tom).await;
    assert_eq!(
        known.phone_for_codes(&rules).map(|phone| phone.id),
        Some(id)
    );
    store.close().await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(account(&store, tenant, &tom).await, known);
}

pub(in crate::store) async fn wrong_codes_take_an_unproven_number_away(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = new_phone(second(1));
    let id = phone.id;
    change(
        &store,
        tenant,
        &tom,
        add_phone(tenant, &tom, phone, second(1)),
        second(1),
    )
    .await;
    let mut tries = JoinSet::new();
    for _ in 0..24 {
        let (store, tom) = (store.clone(), tom.clone());
        let typed = AccountChange::ConfirmPhone {
            id,
            typed: hash("000000"),
        };
        tries.spawn(async move { change(&store, tenant, &tom, typed, second(2)).await });
    }
    let all = tries.join_all().await;
    let mut left: Vec<_> = all
        .into_iter()
        .filter_map(|changed| match refusal(changed) {
            AccountRefusal::WrongCode { attempts_left } => Some(attempts_left),
            AccountRefusal::NotFound => None,
            other => panic!("{other:?}"),
        })
        .collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2, 3, 4]);
    assert_eq!(account(&store, tenant, &tom).await.phones, []);
}

/// A text that is refused by one limit is counted by none.
pub(in crate::store) async fn texts_are_capped_and_a_row_of_neighbours_alarms(place: &dyn Place) {
    let store = place.open().await;
    let rules = Policy {
        sms: Sms {
            per_number_hour: 1,
            per_range_hour: 3,
            range_alarm: 2,
            // Half of them for sign-ins.
            per_tenant_day: 8,
            ..texting().sms
        },
        ..texting()
    };
    let tenant = organisation(&store, rules).await;
    let range = new_phone(second(1)).range;
    let send = |n: u8, in_range: bool, now: Timestamp| {
        let store = store.clone();
        async move {
            let someone = user(&format!("user{n}"));
            let mut phone = new_phone(now);
            phone.number = [n; 16];
            if in_range {
                phone.range = range;
            }
            let add = add_phone(tenant, &someone, phone, now);
            match change(&store, tenant, &someone, add, now).await {
                AccountChanged::Done { range_alarm, .. } => Ok(range_alarm),
                AccountChanged::Refused(AccountRefusal::NotSent(refusal)) => Err(refusal),
                other => panic!("{other:?}"),
            }
        }
    };
    let hour = second(3601);
    assert_eq!(send(1, true, second(1)).await, Ok(false));
    assert_eq!(send(2, true, second(2)).await, Ok(true));
    assert_eq!(send(3, true, second(3)).await, Ok(false));
    assert_eq!(
        send(4, true, second(4)).await,
        Err(CodeRefusal::Capped(Cap::Range, hour))
    );
    let four = account(&store, tenant, &user("user4")).await;
    assert_eq!(four, Account::new(tenant, user("user4")));
    // The same number for somebody else.
    let again = change(
        &store,
        tenant,
        &user("other"),
        {
            let mut phone = new_phone(second(5));
            phone.number = [1; 16];
            add_phone(tenant, &user("other"), phone, second(5))
        },
        second(5),
    )
    .await;
    assert_eq!(
        refusal(again),
        AccountRefusal::NotSent(CodeRefusal::Capped(Cap::Number, hour))
    );
    // Had the refused one been counted, this number would be at its limit.
    assert_eq!(send(4, false, second(6)).await, Ok(false));
    let day = second(1 + 86_400);
    assert_eq!(
        send(6, false, second(7)).await,
        Err(CodeRefusal::Capped(Cap::Tenant, day))
    );
    assert_eq!(texts(&store, second(9)).await.len(), 4);
    assert_eq!(send(6, false, day).await, Ok(false));
}

pub(in crate::store) async fn a_removed_number_takes_its_codes_along(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, unwearied()).await;
    let tom = user("tom");
    let device = enrolled(&store, tenant, &tom, None).await;
    for with_device in [false, true] {
        let kept = confirmed(&store, tenant, &tom, second(2)).await;
        let gone = confirmed(&store, tenant, &tom, second(3)).await;
        texts(&store, second(3)).await;
        let devices = if with_device {
            std::slice::from_ref(&device)
        } else {
            &[]
        };
        let mut new = question(tenant, &tom, devices, second(4));
        let id = new.challenge.id;
        let purpose = TextPurpose::SignInCode(id);
        new.code = Some(order(tenant, &tom, gone, purpose, second(4)));
        let asked = created(store.create(new).await.unwrap());
        assert_eq!((asked.method, asked.outcome.as_ref()), (Method::Sms, None));
        texts(&store, second(4)).await;
        let removed = change(&store, tenant, &tom, AccountChange::Remove(gone), second(5)).await;
        let AccountChanged::Done { ended, dropped, .. } = removed else {
            panic!("{removed:?}")
        };
        let now = stored(&store, &asked).await;
        if with_device {
            assert_eq!((ended, dropped), (vec![], vec![id]));
            assert_eq!(now.outcome, None);
            assert_eq!(now.codes.sent, None);
            assert_eq!(now.deliveries.len(), 1);
        } else {
            assert_eq!((ended, dropped), (vec![now.clone()], vec![]));
            assert_eq!(reason(&now), (Final::Denied, Reason::Unreachable));
        }
        // Both numbers are told; the one that is gone by what the entry holds.
        let told = Notice::PhoneRemoved("+XX XXXXXXX40".into());
        let mut jobs = texts(&store, second(5)).await;
        jobs.sort_by_key(|job| job.phone == gone);
        assert_eq!(notices(&jobs), [(told.clone(), false), (told, true)]);
        assert_eq!((jobs[0].phone, jobs[1].phone), (kept, gone));
        let again = change(&store, tenant, &tom, AccountChange::Remove(gone), second(6)).await;
        assert_eq!(refusal(again), AccountRefusal::NotFound);
        change(&store, tenant, &tom, AccountChange::Remove(kept), second(6)).await;
        texts(&store, second(6)).await;
    }
}

pub(in crate::store) async fn what_is_added_or_removed_is_told(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let first = confirmed(&store, tenant, &tom, second(1)).await;
    let told = |now| {
        let store = store.clone();
        async move { notices(&texts(&store, now).await) }
    };
    assert_eq!(told(second(1)).await, [], "nobody else to tell");
    let second_one = confirmed(&store, tenant, &tom, second(2)).await;
    assert_ne!(first, second_one);
    let device = enrolled(&store, tenant, &tom, None).await;
    let name = device.display_name.clone();
    let added = (Notice::DeviceAdded(name.clone()), false);
    assert_eq!(told(second(2)).await, [added.clone(), added]);
    let remove = store.remove_device(
        tenant,
        tom.clone(),
        device.id,
        second(3),
        RECEIPT_KEY.into(),
        by(),
    );
    assert!(matches!(remove.await.unwrap(), Removed::Done { .. }));
    let removed = (Notice::DeviceRemoved(name), false);
    assert_eq!(told(second(3)).await, [removed.clone(), removed]);
    // Within the hour a number gets only so many.
    let later = second(3700);
    let (id, typed) = (authenticator(), hash("755224"));
    let totp = Totp {
        id,
        sealed_secret: vec![1; 48],
        create_time: later,
        last_used_time: None,
        confirmed: false,
        wrong: 0,
        last_step: 0,
    };
    let valid = vec![TotpCandidate {
        authenticator: id,
        step: 7,
        hash: typed,
    }];
    let codes = RecoveryCodes {
        id: authenticator(),
        create_time: later,
        last_used_time: None,
        unused: vec![hash("a")],
    };
    for (step, notice) in [
        (AccountChange::AddTotp(totp), None),
        (
            AccountChange::ConfirmTotp { id, typed, valid },
            Some(Notice::TotpAdded),
        ),
        (AccountChange::Remove(id), Some(Notice::TotpRemoved)),
        (
            AccountChange::SetRecoveryCodes(codes),
            Some(Notice::RecoveryCodesCreated),
        ),
        (
            AccountChange::Lock(LockReason::Operator),
            Some(Notice::AccountLocked),
        ),
        (AccountChange::Lock(LockReason::Operator), None),
        (AccountChange::Unlock, Some(Notice::AccountUnlocked)),
        (AccountChange::Unlock, None),
    ] {
        let done = change(&store, tenant, &tom, step, later).await;
        assert!(matches!(done, AccountChanged::Done { .. }), "{done:?}");
        let wanted: Vec<_> = notice.into_iter().map(|notice| (notice, false)).collect();
        assert_eq!(told(later).await, [wanted.clone(), wanted].concat());
    }
}

pub(in crate::store) async fn nobody_signs_in_to_a_locked_account(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
    let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
    let lock = AccountChange::Lock(LockReason::Operator);
    let locked = change(&store, tenant, &tom, lock, second(3)).await;
    let AccountChanged::Done { ended, .. } = locked else {
        panic!("{locked:?}")
    };
    assert_eq!(ended, [stored(&store, &asked).await]);
    assert_eq!(reason(&ended[0]), (Final::Denied, Reason::LockedOut));
    let late = decide(
        &store,
        &asked,
        answer(&devices[0], Choice::Approve),
        second(4),
    )
    .await;
    assert!(matches!(late, Decided::Already(_)));
    store.claim_pushes(G::Fcm, second(4), 9).await.unwrap();
    texts(&store, second(4)).await;

    let mut new = question(tenant, &tom, &devices, second(5));
    new.challenge.fallback_time = Some(second(9));
    let purpose = TextPurpose::SignInCode(new.challenge.id);
    new.code = Some(order(tenant, &tom, phone, purpose, second(5)));
    let refused = created(store.create(new).await.unwrap());
    assert_eq!(reason(&refused), (Final::Denied, Reason::LockedOut));
    assert_eq!(store.claim_pushes(G::Fcm, second(6), 9).await.unwrap(), []);
    assert_eq!(texts(&store, second(6)).await, []);
    assert_eq!(store.next_fallback().await.unwrap(), None);

    change(&store, tenant, &tom, AccountChange::Unlock, second(7)).await;
    let asked = ask(&store, tenant, &tom, &devices, second(7)).await;
    assert_eq!(asked.outcome, None);
}

pub(in crate::store) async fn a_reset_takes_everything_away(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    for method in [Method::Push, Method::RecoveryCode] {
        let tom = user(method.name());
        let number = confirmed(&store, tenant, &tom, second(1)).await;
        let devices = [enrolled(&store, tenant, &tom, None).await];
        let codes = RecoveryCodes {
            id: authenticator(),
            create_time: second(1),
            last_used_time: None,
            unused: vec![hash("a")],
        };
        let set = AccountChange::SetRecoveryCodes(codes);
        change(&store, tenant, &tom, set, second(1)).await;
        let mut new = question(tenant, &tom, &devices, second(2));
        new.challenge.fallback_time = Some(second(32));
        let asked = created(store.create(new).await.unwrap());
        if method != Method::Push {
            let wanted = another_way(&asked, method, None, second(3));
            store.go_on(wanted).await.unwrap();
        }
        texts(&store, second(3)).await;
        let done = change(&store, tenant, &tom, AccountChange::Reset, second(4)).await;
        let AccountChanged::Done {
            ended,
            devices: gone,
            account: left,
            ..
        } = done
        else {
            panic!("{done:?}")
        };
        assert_eq!(*left, account(&store, tenant, &tom).await);
        assert_eq!((&left.phones, &left.recovery), (&vec![], &None));
        let wanted: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        assert_eq!(gone, wanted);
        assert_eq!(store.devices_of(tenant, &tom).await.unwrap(), []);
        assert_eq!(ended, [stored(&store, &asked).await]);
        assert_eq!(reason(&ended[0]), (Final::Denied, Reason::Unreachable));
        assert_eq!(store.next_fallback().await.unwrap(), None);
        assert_eq!(store.next_expiry().await.unwrap(), None);
        let jobs = texts(&store, second(4)).await;
        assert_eq!(notices(&jobs), [(Notice::AccountReset, true)]);
        assert_eq!(jobs[0].phone, number);
    }
}

pub(in crate::store) async fn prompts_are_rationed(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let devices = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
    let mut asking = JoinSet::new();
    for _ in 0..24 {
        let new = question(tenant, &tom, &devices, second(2));
        let store = store.clone();
        asking.spawn(async move { store.create(new).await.unwrap() });
    }
    let over = CodeRefusal::PromptBudget(second(12));
    let mut made = 0;
    for done in asking.join_all().await {
        match done {
            Created::New { .. } => made += 1,
            Created::Refused(refusal) => assert_eq!(refusal, over),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 5);
    let open = open_ids(&store, tenant, &tom, second(2)).await;
    let before = store.claim_pushes(G::Fcm, second(2), 99).await.unwrap();
    // What is refused leaves nothing: not even the request's id.
    let request = |now| {
        let mut new = question(tenant, &tom, &devices, now);
        new.idempotency = Some(([7; 16], [7; 32]));
        new
    };
    let refused = store.create(request(second(11))).await.unwrap();
    assert_eq!(refused, Created::Refused(over));
    assert_eq!(open_ids(&store, tenant, &tom, second(2)).await, open);
    assert_eq!(
        store.claim_pushes(G::Fcm, second(11), 99).await.unwrap(),
        []
    );
    assert_eq!(before.len(), 5);
    let sixth = created(store.create(request(second(12))).await.unwrap());
    let refused = store
        .create(question(tenant, &tom, &devices, second(31)))
        .await
        .unwrap();
    assert_eq!(
        refused,
        Created::Refused(CodeRefusal::PromptBudget(second(32)))
    );
    // An approval begins a new ration; what needs no phone was never counted.
    decide(
        &store,
        &sixth,
        answer(&devices[0], Choice::Approve),
        second(31),
    )
    .await;
    for n in 0..5 {
        ask(&store, tenant, &tom, &devices, second(31 + n)).await;
    }
    for _ in 0..9 {
        let nobody = ask(&store, tenant, &tom, &[], second(36)).await;
        assert_eq!(reason(&nobody), (Final::Denied, Reason::Unreachable));
    }
}

pub(in crate::store) async fn answers_count_for_the_account(place: &dyn Place) {
    let store = place.open().await;
    let rules = Policy {
        fatigue: Fatigue {
            on_report: OnReport::Lock,
            ..Fatigue::default()
        },
        ..texting()
    };
    let tenant = organisation(&store, rules).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, None).await];
    texts(&store, second(1)).await;
    let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
    let mut wrong = answer(&devices[0], Choice::Approve);
    if let Event::Answer(answer) = &mut wrong {
        answer.number = "41".into();
    }
    decide(&store, &asked, wrong, second(2)).await;
    assert_eq!(account(&store, tenant, &tom).await.failures, 1);
    let asked = ask(&store, tenant, &tom, &devices, second(3)).await;
    decide(
        &store,
        &asked,
        answer(&devices[0], Choice::Approve),
        second(3),
    )
    .await;
    let known = account(&store, tenant, &tom).await;
    assert_eq!((known.failures, known.prompts), (0, 0));

    // After a denial no code is sent for a while.
    let asked = ask(&store, tenant, &tom, &devices, second(4)).await;
    decide(&store, &asked, answer(&devices[0], Choice::Deny), second(5)).await;
    let cool = CodeRefusal::CoolOff(second(65));
    let mut new = question(tenant, &tom, &[], second(64));
    let purpose = TextPurpose::SignInCode(new.challenge.id);
    new.code = Some(order(tenant, &tom, phone, purpose, second(64)));
    let id = new.challenge.id;
    assert_eq!(store.create(new).await.unwrap(), Created::Refused(cool));
    assert_eq!(store.challenge(tenant, id).await.unwrap(), None);
    assert_eq!(texts(&store, second(64)).await, []);

    let asked = ask(&store, tenant, &tom, &devices, second(70)).await;
    let report = answer(&devices[0], Choice::ReportFraud);
    decide(&store, &asked, report, second(71)).await;
    let lock = account(&store, tenant, &tom).await.lock.expect("locked");
    assert_eq!(
        (lock.since, lock.reason),
        (second(71), LockReason::FraudReported)
    );
    let jobs = texts(&store, second(71)).await;
    assert_eq!(notices(&jobs), [(Notice::AccountLocked, false)]);
    let next = ask(&store, tenant, &tom, &devices, second(72)).await;
    assert_eq!(reason(&next), (Final::Denied, Reason::LockedOut));
}
