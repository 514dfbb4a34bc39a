//! Tickets, devices, push tokens.

use tokio::task::JoinSet;

use super::{Place, fixture::*};
use crate::{
    domain::{
        device::{Device, PushGateway as G},
        policy::MAX_DEVICES_PER_USER,
        push::PushJob,
        ticket::{TicketCode, TicketState},
        time::Timestamp,
    },
    store::{PushResult, Redeemed, Removed, Store, TokenVerdict},
};

pub(in crate::store) async fn a_ticket_is_redeemed_once(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    for n in 0..10 {
        let tom = user(&format!("tom{n}"));
        let code = code();
        let open = ticket(tenant, &tom, &code);
        let id = open.id;
        store.add_ticket(open, by()).await.unwrap();
        let mut tries = JoinSet::new();
        for _ in 0..16 {
            let (store, code) = (store.clone(), code.clone());
            tries.spawn(async move {
                store
                    .redeem(code, stranger(None), second(1), String::new())
                    .await
                    .unwrap()
            });
        }
        let mut registered = Vec::new();
        for done in tries.join_all().await {
            match done {
                Redeemed::Registered(device) => registered.push(*device),
                other => assert_eq!(other, Redeemed::Refused),
            }
        }
        assert_eq!(registered.len(), 1);
        assert_eq!((registered[0].tenant, &registered[0].user), (tenant, &tom));
        assert_eq!(store.devices_of(tenant, &tom).await.unwrap(), registered);
        let used = store.ticket(tenant, id).await.unwrap().unwrap();
        assert_eq!(used.state, TicketState::Redeemed(registered[0].id));
    }
}

/// The right locator with another secret.
fn wrong(code: &TicketCode) -> TicketCode {
    let mut text = code.plain().to_owned();
    let last = if text.ends_with('0') { '1' } else { '0' };
    text.pop();
    text.push(last);
    TicketCode::parse(&text).unwrap()
}

pub(in crate::store) async fn wrong_codes_lock_a_ticket(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let right = code();
    let open = ticket(tenant, &tom, &right);
    let id = open.id;
    store.add_ticket(open, by()).await.unwrap();
    let mut tries = JoinSet::new();
    for _ in 0..5 {
        let (store, code) = (store.clone(), wrong(&right));
        tries.spawn(async move {
            store
                .redeem(code, stranger(None), second(1), String::new())
                .await
                .unwrap()
        });
    }
    for done in tries.join_all().await {
        assert_eq!(done, Redeemed::Refused);
    }
    let locked = store.ticket(tenant, id).await.unwrap().unwrap();
    assert_eq!((locked.state, locked.wrong_tries), (TicketState::Locked, 5));
    let late = store.redeem(right, stranger(None), second(1), String::new());
    assert_eq!(late.await.unwrap(), Redeemed::Refused);
    let nobodys = store.redeem(code(), stranger(None), second(1), String::new());
    assert_eq!(nobodys.await.unwrap(), Redeemed::Refused);
    assert_eq!(store.devices_of(tenant, &tom).await.unwrap(), []);
    assert_eq!(store.ticket(tenant_id(), id).await.unwrap(), None);
}

pub(in crate::store) async fn a_new_ticket_replaces_the_open_one(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let (old_code, new_code) = (code(), code());
    let old = ticket(tenant, &tom, &old_code);
    let new = ticket(tenant, &tom, &new_code);
    store.add_ticket(old.clone(), by()).await.unwrap();
    store.add_ticket(new.clone(), by()).await.unwrap();
    let found = store.ticket(tenant, old.id).await.unwrap().unwrap();
    assert_eq!(found.state, TicketState::Replaced);
    let refused = store.redeem(old_code, stranger(None), second(1), String::new());
    assert_eq!(refused.await.unwrap(), Redeemed::Refused);
    // A dead one stays as it is, whatever comes.
    let used = store.redeem(new_code, stranger(None), second(1), String::new());
    assert!(matches!(used.await.unwrap(), Redeemed::Registered(_)));
    store
        .add_ticket(ticket(tenant, &tom, &code()), by())
        .await
        .unwrap();
    let found = store.ticket(tenant, new.id).await.unwrap().unwrap();
    assert!(matches!(found.state, TicketState::Redeemed(_)));
}

/// Forty random bits may come twice.
pub(in crate::store) async fn a_locator_finds_the_newest_ticket_and_the_other_dies(
    place: &dyn Place,
) {
    let store = place.open().await;
    let (one, other) = (tenant_id(), tenant_id());
    let first = code();
    let again = wrong(&first);
    assert_eq!(first.locator(), again.locator());
    let older = ticket(one, &user("tom"), &first);
    let newer = ticket(other, &user("ann"), &again);
    store.add_ticket(older.clone(), by()).await.unwrap();
    store.add_ticket(newer.clone(), by()).await.unwrap();
    let found = store.ticket(one, older.id).await.unwrap().unwrap();
    assert_eq!(found.state, TicketState::Replaced);
    let used = store.redeem(again, stranger(None), second(1), String::new());
    assert!(matches!(used.await.unwrap(), Redeemed::Registered(device) if device.tenant == other));
}

pub(in crate::store) async fn too_many_devices(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let mut held = Vec::new();
    for _ in 0..MAX_DEVICES_PER_USER {
        held.push(enrolled(&store, tenant, &tom, None).await);
    }
    assert_eq!(store.devices_of(tenant, &tom).await.unwrap(), held);
    let code = code();
    store
        .add_ticket(ticket(tenant, &tom, &code), by())
        .await
        .unwrap();
    let redeem = || store.redeem(code.clone(), stranger(None), second(1), String::new());
    assert_eq!(redeem().await.unwrap(), Redeemed::TooManyDevices);
    // The ticket is not spent: with one phone fewer it works.
    store
        .remove_device(
            tenant,
            tom.clone(),
            held[3].id,
            second(2),
            RECEIPT_KEY.into(),
            by(),
        )
        .await
        .unwrap();
    assert!(matches!(redeem().await.unwrap(), Redeemed::Registered(_)));
}

/// Makes a push to this device, claims it and says what the gateway said.
async fn judged(
    store: &std::sync::Arc<dyn Store>,
    device: &Device,
    token: TokenVerdict,
) -> Option<crate::domain::device::PushRegistration> {
    let asked = ask(
        store,
        device.tenant,
        &device.user,
        std::slice::from_ref(device),
        second(50),
    )
    .await;
    let job: PushJob = store
        .claim_pushes(G::Apns, second(50), 100)
        .await
        .unwrap()
        .into_iter()
        .find(|job| job.challenge == asked.id)
        .unwrap();
    let result = PushResult::Finished {
        delivery: None,
        token,
    };
    store.finish_push(job.id, job, result, second(51)).unwrap();
    catch_up(store).await;
    store.device(device.id).await.unwrap().unwrap().push
}

pub(in crate::store) async fn a_token_is_cleared_only_if_it_is_the_one_that_died(
    place: &dyn Place,
) {
    let store = place.open().await;
    let tenant = tenant_id();
    let registered = second(20);
    let dead = |token: &str, since: Option<Timestamp>| TokenVerdict::Dead {
        token: token.into(),
        since,
    };
    for (n, (verdict, cleared)) in [
        (dead("new", Some(second(21))), true),
        // FCM gives no date.
        (dead("new", None), true),
        // Replaced while the push with the old one was under way.
        (dead("old", Some(second(21))), false),
        (dead("old", None), false),
        // The phone has registered the same token again since it died.
        (dead("new", Some(second(19))), false),
        (dead("new", Some(second(20))), false),
        (TokenVerdict::Fine, false),
    ]
    .into_iter()
    .enumerate()
    {
        let tom = user(&format!("tom{n}"));
        let phone = enrolled(&store, tenant, &tom, Some(G::Apns)).await;
        let push = registration(G::Apns, "new", registered);
        let replaced = store
            .replace_push(phone.id, Some(push.clone()), registered, by())
            .await
            .unwrap();
        assert!(replaced);
        let left = judged(&store, &phone, verdict.clone()).await;
        // What is left tells that the phone once counted on being woken.
        let left = left.filter(|left| !left.token.is_empty());
        assert_eq!(left, (!cleared).then_some(push), "{verdict:?}");
    }
    let gone = store
        .replace_push(stranger(None).id, None, registered, by())
        .await;
    assert!(!gone.unwrap());
}

pub(in crate::store) async fn a_doubtful_token_is_kept_aside(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let phone = enrolled(&store, tenant, &user("tom"), Some(G::Apns)).await;
    let push = phone.push.clone().unwrap();
    let doubt = |token: &str| TokenVerdict::Doubtful {
        token: token.into(),
    };
    let kept = judged(&store, &phone, doubt("another")).await;
    assert_eq!(kept, Some(push.clone()));
    let aside = judged(&store, &phone, doubt(&push.token)).await.unwrap();
    assert!(aside.quarantined);
    assert_eq!(aside.token, push.token);
}

pub(in crate::store) async fn removal_needs_the_owner(place: &dyn Place) {
    let store = place.open().await;
    let (tenant, other) = (tenant_id(), tenant_id());
    let tom = user("tom");
    let phone = enrolled(&store, tenant, &tom, None).await;
    for (tenant, owner) in [(other, "tom"), (tenant, "ann")] {
        let refused = store
            .remove_device(
                tenant,
                user(owner),
                phone.id,
                second(2),
                RECEIPT_KEY.into(),
                by(),
            )
            .await
            .unwrap();
        assert_eq!(refused, Removed::NotFound);
    }
    assert_eq!(store.device(phone.id).await.unwrap(), Some(phone));
}
