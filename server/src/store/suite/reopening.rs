//! Another process opens what this one has left.

use super::{
    Place,
    fixture::*,
    installation::{api_key, signing_key, tenant},
    outbox::delivered,
};
use crate::{
    domain::{
        challenge::{DeliveryState, Event},
        device::PushGateway as G,
        response::Choice,
    },
    store::{Created, Decided, StoreError},
};

pub(in crate::store) async fn everything_is_given_back(place: &dyn Place) {
    let store = place.open().await;
    let organisation = tenant(tenant_id());
    let key = api_key(Some(organisation.id));
    let id = organisation.id;
    let (tom, ann) = (user("tom"), user("ann"));
    store.add_tenant(organisation.clone(), by()).await.unwrap();
    store.add_api_key(key.clone(), by()).await.unwrap();
    store.add_signing_key(signing_key(1), by()).await.unwrap();
    let phones = [
        enrolled(&store, id, &tom, Some(G::Apns)).await,
        enrolled(&store, id, &tom, None).await,
    ];
    let anns = [enrolled(&store, id, &ann, None).await];
    let open = ticket(id, &tom, &code());
    store.add_ticket(open.clone(), by()).await.unwrap();
    let mut new = question(id, &tom, &phones, second(2));
    new.idempotency = Some(([5; 16], [6; 32]));
    let signed = new.signed.clone();
    let pending = created(store.create(new).await.unwrap());
    let device = phones[1].id;
    let shown = DeliveryState::Shown;
    store
        .note_delivery(id, pending.id, device, shown, second(3))
        .await
        .unwrap();
    let pending = stored(&store, &pending).await;
    let decided = ask(&store, id, &ann, &anns, second(2)).await;
    let answered = decide(
        &store,
        &decided,
        answer(&anns[0], Choice::Approve),
        second(3),
    )
    .await;
    let Decided::Recorded(decided) = answered else {
        panic!("{answered:?}")
    };
    let anns = store.devices_of(id, &ann).await.unwrap();
    store.close().await.unwrap();
    drop(store);

    let store = place.open().await;
    assert_eq!(store.tenant(id).await.unwrap(), Some(organisation));
    assert_eq!(store.api_key(&key.id).await.unwrap(), Some(key.clone()));
    assert_eq!(store.api_keys(Some(id)).await.unwrap(), [key]);
    assert_eq!(store.signing_keys().await.unwrap(), [signing_key(1)]);
    assert_eq!(store.devices_of(id, &tom).await.unwrap(), phones);
    assert_eq!(store.devices_of(id, &ann).await.unwrap(), anns);
    assert_eq!(
        store.device(device).await.unwrap().as_ref(),
        Some(&phones[1])
    );
    assert_eq!(store.ticket(id, open.id).await.unwrap(), Some(open));
    assert_eq!(stored(&store, &decided).await, decided);
    assert_eq!(
        store.challenge(id, pending.id).await.unwrap(),
        Some((pending.clone(), signed))
    );
    assert_eq!(
        store.next_expiry().await.unwrap(),
        Some(pending.expire_time)
    );
    assert_eq!(store.next_push(G::Apns).await.unwrap(), Some(second(2)));
    let mut again = question(id, &tom, &phones, second(4));
    again.idempotency = Some(([5; 16], [6; 32]));
    let again = store.create(again).await.unwrap();
    assert_eq!(again, Created::Existing(pending.id));
    let late = decide(&store, &decided, Event::Cancel, second(5)).await;
    assert_eq!(late, Decided::Already(decided));
    let answered = decide(
        &store,
        &pending,
        answer(&phones[1], Choice::Deny),
        second(5),
    )
    .await;
    assert!(matches!(answered, Decided::Recorded(_)));
}

pub(in crate::store) async fn claims_are_forgotten_and_pushes_given_again(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phones = [
        enrolled(&store, tenant, &tom, Some(G::Apns)).await,
        enrolled(&store, tenant, &tom, Some(G::Apns)).await,
        enrolled(&store, tenant, &tom, Some(G::Apns)).await,
    ];
    ask(&store, tenant, &tom, &phones, second(2)).await;
    let given = store.claim_pushes(G::Apns, second(2), 9).await.unwrap();
    assert_eq!(given.len(), 3);
    let (done, again, open) = (&given[0], &given[1], &given[2]);
    store
        .finish_push(done.clone(), delivered(), None, second(3))
        .await
        .unwrap();
    let due = second(8);
    let repeat = crate::store::PushResult::Again {
        due,
        perhaps_sent: false,
    };
    store
        .finish_push(again.clone(), repeat, None, second(3))
        .await
        .unwrap();
    // Closing waits for what was handed in.
    store.close().await.unwrap();
    drop(store);

    let store = place.open().await;
    let now = store.claim_pushes(G::Apns, second(4), 9).await.unwrap();
    assert_eq!(now, std::slice::from_ref(open));
    let later = store.claim_pushes(G::Apns, due, 9).await.unwrap();
    assert_eq!(later.len(), 1);
    assert_eq!((later[0].id, later[0].attempts), (again.id, 1));
}

pub(in crate::store) async fn a_closed_store_takes_nothing(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phone = [enrolled(&store, tenant, &tom, None).await];
    let new = question(tenant, &tom, &phone, second(2));
    assert!(store.is_healthy());
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert!(!store.is_healthy());
    assert!(matches!(
        store.create(new).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        store.devices_of(tenant, &tom).await,
        Err(StoreError::Unavailable(_))
    ));
}
