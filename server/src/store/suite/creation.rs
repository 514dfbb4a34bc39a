//! Storing a challenge.

use tokio::task::JoinSet;

use super::{Place, fixture::*};
use crate::{
    domain::{
        challenge::{Event, Final, Reason},
        device::PushGateway,
        policy::PendingLimit,
        push::PushKind,
    },
    store::{Created, NewChallenge},
};

const CONTENT: [u8; 32] = [1; 32];

fn request(mut new: NewChallenge, id: u8) -> NewChallenge {
    new.idempotency = Some(([id; 16], CONTENT));
    new
}

pub(in crate::store) async fn the_same_request_makes_one_challenge(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phone = [enrolled(&store, tenant, &tom, Some(PushGateway::Apns)).await];
    let mut tries = JoinSet::new();
    for _ in 0..32 {
        let new = request(question(tenant, &tom, &phone, second(2)), 1);
        let store = store.clone();
        tries.spawn(async move { (new.challenge.id, store.create(new).await.unwrap()) });
    }
    let (mut made, mut lost, mut referred) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(done) = tries.join_next().await {
        match done.unwrap() {
            (id, Created::New { superseded, .. }) => {
                assert_eq!(superseded, []);
                made.push(id);
            }
            (id, Created::Existing(other)) => {
                lost.push(id);
                referred.push(other);
            }
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!((made.len(), lost.len()), (1, 31));
    assert!(referred.iter().all(|id| *id == made[0]));
    for id in lost {
        assert_eq!(store.challenge(tenant, id).await.unwrap(), None);
    }
    let jobs = store
        .claim_pushes(PushGateway::Apns, second(2), 100)
        .await
        .unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        open_ids(&store, tenant, &tom, second(2)).await,
        [made[0]].into()
    );
    // The same once it has ended, and in another process.
    let asked = store.challenge(tenant, made[0]).await.unwrap().unwrap().0;
    decide(&store, &asked, Event::Cancel, second(3)).await;
    store.close().await.unwrap();
    drop(store);
    let store = place.open().await;
    let again = request(question(tenant, &tom, &phone, second(400)), 1);
    assert_eq!(
        store.create(again).await.unwrap(),
        Created::Existing(made[0])
    );
}

pub(in crate::store) async fn other_content_is_a_conflict(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phone = [enrolled(&store, tenant, &tom, None).await];
    let first = request(question(tenant, &tom, &phone, second(2)), 1);
    let first = created(store.create(first).await.unwrap());
    let mut other = request(question(tenant, &tom, &phone, second(3)), 1);
    other.idempotency = Some(([1; 16], [2; 32]));
    assert_eq!(store.create(other).await.unwrap(), Created::Conflict);
    assert_eq!(
        open_ids(&store, tenant, &tom, second(3)).await,
        [first.id].into()
    );
    // Another caller's request, an organisation's or a key's, is another one.
    let mut by_other_key = request(question(tenant, &tom, &phone, second(4)), 1);
    by_other_key.challenge.api_key = api_key_id();
    created(store.create(by_other_key).await.unwrap());
    let elsewhere = tenant_id();
    let phone = [enrolled(&store, elsewhere, &tom, None).await];
    let by_other_tenant = request(question(elsewhere, &tom, &phone, second(4)), 1);
    created(store.create(by_other_tenant).await.unwrap());
}

/// A request refused because of a pending challenge can be repeated later.
pub(in crate::store) async fn a_refused_request_leaves_nothing_behind(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phone = [enrolled(&store, tenant, &tom, Some(PushGateway::Apns)).await];
    let first = ask(&store, tenant, &tom, &phone, second(2)).await;
    let repeat = |now| {
        let mut new = request(question(tenant, &tom, &phone, now), 1);
        new.pending_limit = PendingLimit::Reject;
        new
    };
    for n in 3..5 {
        let refused = store.create(repeat(second(n))).await.unwrap();
        assert_eq!(refused, Created::PendingExists(first.expire_time));
    }
    assert_eq!(stored(&store, &first).await, first);
    let jobs = store
        .claim_pushes(PushGateway::Apns, second(4), 100)
        .await
        .unwrap();
    assert_eq!(jobs.len(), 1);
    // The first one's time is up, though no sweep has come by.
    let now = first.expire_time;
    let Created::New {
        challenge,
        superseded,
        ..
    } = store.create(repeat(now)).await.unwrap()
    else {
        panic!("refused")
    };
    assert_eq!(superseded, [stored(&store, &first).await]);
    let end = outcome(&store, &first).await;
    assert_eq!((end.state, end.reason), (Final::Expired, Reason::TimedOut));
    let again = store.create(repeat(now)).await.unwrap();
    assert_eq!(again, Created::Existing(challenge.id));
}

pub(in crate::store) async fn one_pending_challenge_per_user(place: &dyn Place) {
    for limit in [PendingLimit::Supersede, PendingLimit::Reject] {
        let store = place.open().await;
        let tenant = organisation(&store, unwearied()).await;
        let tom = user("tom");
        let phone = [enrolled(&store, tenant, &tom, None).await];
        let mut tries = JoinSet::new();
        for _ in 0..24 {
            let mut new = question(tenant, &tom, &phone, second(2));
            new.pending_limit = limit;
            let store = store.clone();
            tries.spawn(async move { store.create(new).await.unwrap() });
        }
        let (mut made, mut refused, mut ended) = (0, 0, 0);
        while let Some(done) = tries.join_next().await {
            match done.unwrap() {
                Created::New { superseded, .. } => {
                    made += 1;
                    ended += superseded.len();
                }
                Created::PendingExists(until) => {
                    assert_eq!(until, second(2).after(TTL));
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        match limit {
            PendingLimit::Supersede => assert_eq!((made, ended, refused), (24, 23, 0)),
            PendingLimit::Reject => assert_eq!((made, ended, refused), (1, 0, 23)),
        }
        assert_eq!(open_ids(&store, tenant, &tom, second(2)).await.len(), 1);
        store.close().await.unwrap();
    }
}

/// Between the look at the user's devices and this step one may have gone.
pub(in crate::store) async fn a_device_removed_meanwhile_is_not_asked(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let gateway = PushGateway::Fcm;
    let both = [
        enrolled(&store, tenant, &tom, Some(gateway)).await,
        enrolled(&store, tenant, &tom, Some(gateway)).await,
    ];
    let looked = || question(tenant, &tom, &both, second(2));
    let (first, second_one) = (looked(), looked());
    let remove =
        |id| store.remove_device(tenant, tom.clone(), id, second(2), RECEIPT_KEY.into(), by());
    remove(both[0].id).await.unwrap();
    let made = created(store.create(first).await.unwrap());
    assert_eq!(made.outcome, None);
    assert_eq!(made.deliveries.len(), 1);
    assert_eq!(made.deliveries[0].device, both[1].id);
    assert_eq!(stored(&store, &made).await, made);
    let mut jobs = store.claim_pushes(gateway, second(2), 9).await.unwrap();
    jobs.retain(|job| job.kind == PushKind::Prompt);
    assert_eq!(
        jobs.iter().map(|job| job.device).collect::<Vec<_>>(),
        [both[1].id]
    );

    remove(both[1].id).await.unwrap();
    let made = created(store.create(second_one).await.unwrap());
    let end = outcome(&store, &made).await;
    assert_eq!(
        (end.state, end.reason),
        (Final::Denied, Reason::Unreachable)
    );
    assert_eq!(end.receipt_key_id, RECEIPT_KEY);
    assert_eq!(made.outcome, Some(end));
    assert!(open_ids(&store, tenant, &tom, second(2)).await.is_empty());
    assert_eq!(store.next_expiry().await.unwrap(), None);
}
