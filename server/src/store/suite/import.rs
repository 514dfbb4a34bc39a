//! Devices in bulk.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Place, fixture::*};
use crate::{
    domain::{
        account::{AccountChange, LockReason},
        audit::Told,
        device::{Device, PushGateway as G},
        event::{Authenticator, TenantEvent, What},
        ids::{DeviceId, TenantId, UserId},
        policy::{MAX_DEVICES_PER_USER, Policy},
        response::Choice,
        text::Notice,
    },
    store::{
        Decided,
        Imported::{self, Done, Locked, TooManyDevices, TooMuch},
        Newcomer::{Present, Registered, Removed},
        Store,
    },
};

/// A phone that comes from elsewhere.
fn newcomer(tenant: TenantId, user: &UserId, push: Option<G>) -> Device {
    let device = stranger(push);
    Device {
        id: DeviceId::imported(tenant, user, &device.public_key),
        tenant,
        user: user.clone(),
        create_time: second(1),
        ..device
    }
}

async fn import(store: &Arc<dyn Store>, devices: &[Device]) -> Imported {
    let done = store.import_devices(devices.to_vec(), second(1), by());
    done.await.unwrap()
}

async fn of(store: &Arc<dyn Store>, tenant: TenantId, user: &UserId) -> Vec<Device> {
    store.devices_of(tenant, user).await.unwrap()
}

/// How long the audit trail is.
async fn entries(store: &Arc<dyn Store>) -> u64 {
    let chains = store.audit_chains().await.unwrap();
    chains.iter().map(|chain| chain.sequence).sum()
}

fn sorted(mut devices: Vec<Device>) -> Vec<Device> {
    devices.sort_by_key(|device| device.id);
    devices
}

pub(in crate::store) async fn an_import_may_be_repeated(place: &dyn Place) {
    let store = place.open().await;
    let (tenant, other) = (tenant_id(), tenant_id());
    let (tom, ann) = (user("tom"), user("ann"));
    let devices = [
        newcomer(tenant, &tom, Some(G::Apns)),
        newcomer(tenant, &ann, None),
        newcomer(tenant, &tom, None),
    ];
    assert_eq!(
        import(&store, &devices).await,
        Done(vec![Registered; 3]),
        "{devices:?}"
    );
    let [toms, anns, toms_other] = devices.clone();
    let both = sorted(vec![toms.clone(), toms_other]);
    assert_eq!(sorted(of(&store, tenant, &tom).await), both);
    assert_eq!(of(&store, tenant, &ann).await, [anns]);
    assert_eq!(of(&store, other, &tom).await, []);

    // What is stored stays as it is, and nothing is told again.
    let before = entries(&store).await;
    let renamed = devices.clone().map(|device| Device {
        display_name: "another".into(),
        push: None,
        ..device
    });
    assert_eq!(import(&store, &renamed).await, Done(vec![Present; 3]));
    assert_eq!(store.device(toms.id).await.unwrap(), Some(toms.clone()));
    assert_eq!(entries(&store).await, before);
    // The same key is another device for another user, as with tickets.
    let mut shared = toms.clone();
    shared.user = ann.clone();
    shared.id = DeviceId::imported(tenant, &ann, &toms.public_key);
    let new = newcomer(tenant, &tom, None);
    let twice = [toms, shared, new.clone(), new];
    assert_eq!(
        import(&store, &twice).await,
        Done(vec![Present, Registered, Registered, Present])
    );
    // They answer like any other.
    let devices = of(&store, tenant, &tom).await;
    let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
    let event = answer(&devices[1], Choice::Approve);
    let decided = decide(&store, &asked, event, second(3)).await;
    assert!(matches!(decided, Decided::Recorded(_)), "{decided:?}");
}

pub(in crate::store) async fn of_many_equal_imports_one_counts(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let devices: Vec<_> = (0..20)
        .map(|n| newcomer(tenant, &user(&format!("tom{n}")), None))
        .collect();
    let mut tries = JoinSet::new();
    for _ in 0..8 {
        let (store, devices) = (store.clone(), devices.clone());
        tries.spawn(async move { import(&store, &devices).await });
    }
    let mut done = tries.join_all().await;
    done.sort_by_key(|one| *one == Done(vec![Present; 20]));
    assert_eq!(done.remove(0), Done(vec![Registered; 20]));
    assert!(done.iter().all(|one| *one == Done(vec![Present; 20])));
    assert_eq!(entries(&store).await, 20);
}

pub(in crate::store) async fn all_are_imported_or_none(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, Policy::default()).await;
    let (tom, ann) = (user("tom"), user("ann"));
    let phone = enrolled(&store, tenant, &ann, Some(G::Fcm)).await;
    let toms = newcomer(tenant, &tom, None);
    let anns = newcomer(tenant, &ann, None);
    let lock = AccountChange::Lock(LockReason::Operator);
    change(&store, tenant, &tom, lock, second(1)).await;
    let before = entries(&store).await;
    let refused = import(&store, &[anns.clone(), toms.clone()]).await;
    assert_eq!(refused, Locked(1));

    let full = user("full");
    let crowd: Vec<_> = (0..=MAX_DEVICES_PER_USER)
        .map(|_| newcomer(tenant, &full, None))
        .collect();
    assert_eq!(
        import(&store, &crowd).await,
        TooManyDevices(MAX_DEVICES_PER_USER)
    );
    // Nothing is left of either, neither rows nor entries nor things to tell.
    assert_eq!(entries(&store).await, before);
    assert_eq!(of(&store, tenant, &ann).await, std::slice::from_ref(&phone));
    assert_eq!(of(&store, tenant, &full).await, []);
    assert_eq!(store.next_push(G::Fcm).await.unwrap(), None);
    assert_eq!(store.notices(&phone, 0, second(2)).await.unwrap(), []);

    change(&store, tenant, &tom, AccountChange::Unlock, second(1)).await;
    let both = [anns, toms.clone()];
    assert_eq!(import(&store, &both).await, Done(vec![Registered; 2]));
    let allowed = &crowd[..MAX_DEVICES_PER_USER];
    assert_eq!(
        import(&store, allowed).await,
        Done(vec![Registered; MAX_DEVICES_PER_USER])
    );
    // What is there needs no room, and no open account.
    let lock = AccountChange::Lock(LockReason::Operator);
    change(&store, tenant, &tom, lock, second(2)).await;
    let again = [toms, crowd[3].clone()];
    assert_eq!(import(&store, &again).await, Done(vec![Present; 2]));
    let one_more = &crowd[MAX_DEVICES_PER_USER..];
    assert_eq!(import(&store, one_more).await, TooManyDevices(0));
}

pub(in crate::store) async fn a_removed_device_stays_removed(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, Policy::default()).await;
    let (tom, ann) = (user("tom"), user("ann"));
    let devices = [newcomer(tenant, &tom, None), newcomer(tenant, &ann, None)];
    assert_eq!(
        import(&store, &devices).await,
        Done(vec![Registered; devices.len()])
    );
    let key = || RECEIPT_KEY.to_owned();
    let gone = store.remove_device(tenant, tom.clone(), devices[0].id, second(2), key(), by());
    gone.await.unwrap();
    change(&store, tenant, &ann, AccountChange::Reset, second(2)).await;
    let both = Done(vec![Removed; 2]);
    assert_eq!(import(&store, &devices).await, both);
    store.close().await.unwrap();
    drop(store);

    let store = place.open().await;
    assert_eq!(import(&store, &devices).await, both);
    for device in &devices {
        assert_eq!(store.device(device.id).await.unwrap(), None);
        assert_eq!(of(&store, tenant, &device.user).await, []);
    }
    // The phone may have another key, or a ticket.
    let new = [newcomer(tenant, &tom, None)];
    assert_eq!(import(&store, &new).await, Done(vec![Registered]));
    enrolled(&store, tenant, &ann, None).await;
}

pub(in crate::store) async fn imports_are_told_like_enrolments(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, Policy::default()).await;
    let tom = user("tom");
    let phone = enrolled(&store, tenant, &tom, Some(G::Apns)).await;
    let chain = store.audit_chains().await.unwrap().remove(0);
    let new = newcomer(tenant, &tom, Some(G::Fcm));
    let stranger = newcomer(tenant, &user("ann"), Some(G::Fcm));
    import(&store, &[stranger.clone(), new.clone()]).await;

    let happened = store
        .events_after(tenant, chain.writer, chain.sequence, 9)
        .await
        .unwrap();
    let told: Vec<_> = happened
        .entries
        .iter()
        .map(|entry| Told::read(&entry.content).unwrap())
        .collect();
    assert!(told.iter().all(|one| one.action == "device.imported"));
    let told: Vec<_> = told.iter().filter_map(TenantEvent::of).collect();
    let wanted = [("ann", &stranger), ("tom", &new)];
    assert_eq!(told.len(), wanted.len());
    for (event, (user, device)) in told.iter().zip(wanted) {
        let what = What::Enrolled(Authenticator::Device(device.id));
        assert_eq!((event.user.as_str(), event.what), (user, what));
    }
    // The user's other phone is told and woken, the new ones are not.
    let told = store.notices(&phone, 0, second(2)).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].notice, Notice::DeviceAdded("Tom's phone".into()));
    assert_eq!(store.notices(&new, 0, second(2)).await.unwrap(), []);
    let woken = store.claim_pushes(G::Apns, second(2), 9).await.unwrap();
    assert_eq!(woken.len(), 1);
    assert_eq!(woken[0].device, phone.id);
    assert_eq!(store.next_push(G::Fcm).await.unwrap(), None);
}

/// As many as a call may have fit, and where they don't, none is stored and half
/// of them will do.
pub(in crate::store) async fn many_at_once(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, Policy::default()).await;
    let most = countersign_proto::imported::MAX_IMPORTED_DEVICES;
    let alone: Vec<_> = (0..most)
        .map(|n| newcomer(tenant, &user(&format!("tom{n}")), Some(G::Fcm)))
        .collect();
    assert_eq!(import(&store, &alone).await, Done(vec![Registered; most]));

    // Each is told of those that come after it.
    let crowds: Vec<_> = (0..most)
        .map(|n| {
            let user = user(&format!("ann{}", n / MAX_DEVICES_PER_USER));
            newcomer(tenant, &user, Some(G::Fcm))
        })
        .collect();
    let mut waiting = vec![crowds.as_slice()];
    let mut registered = 0;
    while let Some(some) = waiting.pop() {
        let before = entries(&store).await;
        match import(&store, some).await {
            Done(became) => {
                assert_eq!(became, vec![Registered; some.len()]);
                registered += some.len();
            }
            TooMuch => {
                assert!(some.len() > 1, "one alone is too much");
                assert_eq!(entries(&store).await, before);
                assert_eq!(store.device(some[0].id).await.unwrap(), None);
                let (first, second) = some.split_at(some.len() / 2);
                waiting.extend([second, first]);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(registered, most);
}
