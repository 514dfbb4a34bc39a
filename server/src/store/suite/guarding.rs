//! Locks, resets and rules that were just changed: nothing that was under way
//! gets past them.

use super::{Place, fixture::*};
use crate::{
    domain::{
        account::{AccountChange, AccountRefusal, LockReason, RecoveryCodes, Totp},
        ticket::TicketState,
    },
    store::{AccountChanged, Redeemed},
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
