//! What only this engine can be asked.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::FutureExt as _;

use super::{
    super::{EmbeddedStore, SCHEMA, keys},
    Directory,
};
use crate::store::engine::{Engine, EngineOptions, Key};
use crate::{
    domain::{challenge::Method, device::PushGateway as G, push::PushJob},
    store::{Hint, PushResult, Store, StoreError, WentOn, suite::fixture::*},
};

async fn put(store: &EmbeddedStore, key: Key, value: &'static [u8]) {
    store
        .write(move |tx, _| {
            tx.put(key, value);
            Ok(())
        })
        .await
        .unwrap();
}

/// Whoever is woken for a push must be able to take it there and then: no
/// other hint will come. A read of this engine never waits, so the listener
/// itself can look.
#[tokio::test(flavor = "multi_thread")]
async fn a_hint_of_a_push_comes_when_it_is_free() {
    let dir = Directory::new();
    let store: Arc<dyn Store> = Arc::new(dir.store());
    let (seen, missed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    {
        let (store, seen, missed) = (Arc::downgrade(&store), seen.clone(), missed.clone());
        let looking = store.upgrade().unwrap();
        looking.listen(Arc::new(move |hint| {
            let (Hint::Outbox(gateway), Some(store)) = (hint, store.upgrade()) else {
                return;
            };
            seen.fetch_add(1, Ordering::SeqCst);
            if let Some(Ok(None)) = store.next_push(gateway).now_or_never() {
                missed.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    let (tenant, tom) = (tenant_id(), user("tom"));
    let phone = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
    ask(&store, tenant, &tom, &phone, second(2)).await;
    let job = store.claim_pushes(G::Fcm, second(2), 1).await.unwrap();
    let again = PushResult::Again {
        due: second(4),
        perhaps_sent: false,
    };
    store
        .finish_push(job[0].clone(), again, None, second(3))
        .await
        .unwrap();
    catch_up(&store).await;
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    assert_eq!(missed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_can_not_be_read_is_said_to_be_corrupt() {
    let dir = Directory::new();
    let store = dir.store();
    let tenant = tenant_id();
    for (value, said) in [
        (&[2_u8, 0][..], "unknown record version"),
        (&[], "empty value"),
        (&[1, 0xff], "not a protobuf message"),
    ] {
        put(&store, keys::tenant(tenant), value).await;
        let Err(StoreError::Corrupt(error)) = store.tenant(tenant).await else {
            panic!("read")
        };
        assert!(error.contains("Tenant") && error.contains(said), "{error}");
    }
    assert!(store.is_healthy());
}

/// One record that can't be read must not hold up the others.
#[tokio::test]
async fn an_unreadable_record_holds_up_nobody() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    let tenant = tenant_id();
    let mut asked = Vec::new();
    for n in 0..2 {
        let tom = user(&format!("tom{n}"));
        let phone = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
        asked.push(ask(&store, tenant, &tom, &phone, second(2 + n)).await);
    }
    let outbox = embedded
        .engine
        .read(|rows| rows.scan_prefix(&keys::outbox_of(G::Fcm), None, 9))
        .await
        .unwrap();
    put(&embedded, outbox[0].0.clone(), &[9]).await;
    let jobs = store.claim_pushes(G::Fcm, second(9), 9).await.unwrap();
    assert_eq!(
        jobs.iter().map(|job| job.challenge).collect::<Vec<_>>(),
        [asked[1].id]
    );
    assert_eq!(store.next_push(G::Fcm).await.unwrap(), None);

    let key = keys::challenge(tenant, asked[0].id);
    put(&embedded, key, &[9]).await;
    let end = asked[1].expire_time;
    let ended = store.expire_due(end, 9, RECEIPT_KEY.into()).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(store.next_expiry().await.unwrap(), None);
}

/// Nor must one that is due to go on by text message, again and again.
#[tokio::test]
async fn an_unreadable_fallback_is_given_up() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    let tenant = tenant_id();
    let mut asked = Vec::new();
    for n in 0..2 {
        let tom = user(&format!("tom{n}"));
        let phone = [enrolled(&store, tenant, &tom, None).await];
        let mut new = question(tenant, &tom, &phone, second(2));
        new.challenge.fallback_time = Some(second(3 + n));
        asked.push(created(store.create(new).await.unwrap()));
    }
    put(&embedded, keys::challenge(tenant, asked[0].id), &[9]).await;
    let due = store.fallbacks_due(second(9), 9).await.unwrap();
    assert_eq!(due, [(tenant, asked[0].id), (tenant, asked[1].id)]);
    let mut itself = another_way(&asked[0], Method::Sms, Some(authenticator()), second(9));
    assert!(matches!(
        store.go_on(itself.clone()).await,
        Err(StoreError::Corrupt(_))
    ));
    itself.by_itself = true;
    assert_eq!(store.go_on(itself).await, Ok(WentOn::NotFound));
    let due = store.fallbacks_due(second(9), 9).await.unwrap();
    assert_eq!(due, [(tenant, asked[1].id)]);
}

/// What nobody waits for is all or nothing too.
#[tokio::test]
async fn an_outcome_that_can_not_be_noted_is_not_noted_by_half() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    let (tenant, tom) = (tenant_id(), user("tom"));
    let phone = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
    let asked = ask(&store, tenant, &tom, &phone, second(2)).await;
    put(&embedded, keys::challenge(tenant, asked.id), &[9]).await;
    let job: PushJob = store
        .claim_pushes(G::Fcm, second(2), 1)
        .await
        .unwrap()
        .remove(0);
    let done = crate::store::suite::outbox::delivered();
    store
        .finish_push(job.clone(), done, None, second(3))
        .await
        .unwrap();
    catch_up(&store).await;
    let left = embedded
        .engine
        .read(|rows| rows.get(&keys::outbox(&job)))
        .await
        .unwrap();
    assert!(left.is_some());
}

/// What an earlier version stored has no index row: it gets one, in steps, and
/// leaves like the rest.
#[tokio::test]
async fn what_was_stored_before_leaves_as_well() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let mut store: Arc<dyn Store> = embedded.clone();
    let (tenant, tom) = (tenant_id(), user("tom"));
    let phone = [enrolled(&store, tenant, &tom, None).await];
    ask(&store, tenant, &tom, &phone, second(3)).await;
    for n in 0..600_u16 {
        // Ends at once: there is nobody to ask.
        let mut new = question(tenant, &user(&format!("{n}")), &phone, second(2));
        let mut request = [0; 16];
        request[..2].copy_from_slice(&n.to_be_bytes());
        new.idempotency = Some((request, [1; 32]));
        created(store.create(new).await.unwrap());
    }
    // As the earlier version left it.
    loop {
        let step = embedded.write(|tx, _| {
            let rows = tx.scan_prefix(b"R", None, 500);
            for (key, _) in &rows {
                tx.delete(key.clone());
            }
            Ok(rows.len())
        });
        if step.await.unwrap() == 0 {
            break;
        }
    }
    drop(embedded);
    let none = store.remove_challenges(second(99), second(99)).await;
    assert_eq!(none.unwrap(), crate::store::Left::default());
    let mut steps = 0;
    while !store.index_for_removal().await.unwrap() {
        steps += 1;
        store.close().await.unwrap();
        drop(store);
        store = Arc::new(dir.store());
    }
    assert!(steps >= 4, "{steps}");
    let mut count = 0;
    loop {
        let left = store.remove_challenges(second(99), second(99)).await;
        let left = left.unwrap();
        count += left.count;
        if !left.more {
            break;
        }
    }
    // The first one is pending, and can still be asked for.
    assert_eq!(count, 600);
    assert_eq!(open_ids(&store, tenant, &tom, second(4)).await.len(), 1);
    let tickets = store.remove_tickets(second(9999), second(99)).await;
    assert_eq!(tickets.unwrap().count, 1);
    let embedded = {
        store.close().await.unwrap();
        drop(store);
        dir.store()
    };
    let left = embedded.engine.read(|rows| {
        [b"I", b"C", b"B", b"Q", b"q", b"o"].map(|prefix| rows.scan_prefix(prefix, None, 999).len())
    });
    // An idempotency key leaves by the time of its request.
    assert_eq!(left.await.unwrap(), [0, 1, 1, 0, 0, 0]);
    // Once is enough.
    assert!(embedded.index_for_removal().await.unwrap());
}

/// From the first step of a compaction on, only programs that can end it take the
/// store.
#[tokio::test]
async fn a_compaction_raises_the_schema_first() {
    let dir = Directory::new();
    let store = dir.store();
    store
        .write(|tx, _| {
            tx.set_schema_version(2);
            Ok(())
        })
        .await
        .unwrap();
    drop(store);
    EmbeddedStore::compact(dir.0.path(), EngineOptions::default()).unwrap();
    let options = EngineOptions {
        schema_version: SCHEMA,
        ..EngineOptions::default()
    };
    let engine = Engine::open(dir.0.path(), options).unwrap();
    assert_eq!(engine.schema_version(), SCHEMA);
}
