//! Entries and decisions that share a row, and rows from before they did.

use std::sync::Arc;

use super::{
    super::{
        EmbeddedStore,
        audit::Pack,
        keys,
        record::{Record as _, Stretch},
    },
    Directory,
};
use crate::store::engine::Key;
use crate::{
    domain::{
        audit::{ChainedEntry, next_link},
        ids::{ChallengeId, TenantId},
    },
    store::{
        Left, Store,
        engine::Tx,
        suite::{
            audit::{entries, only_chain, say, sign},
            fixture::*,
        },
    },
};

async fn count(store: &EmbeddedStore, prefix: Key) -> usize {
    let rows = store
        .engine
        .read(|rows| rows.scan_prefix(&prefix, None, usize::MAX));
    rows.await.unwrap().len()
}

/// The key of the pack that begins with this entry.
fn first(sequence: u64) -> Key {
    keys::audit(super::super::audit::WRITER, sequence)
}

async fn value(store: &EmbeddedStore, key: Key) -> Vec<u8> {
    let row = store.engine.read(move |rows| rows.get(&key)).await;
    row.unwrap().unwrap()
}

fn trail() -> Key {
    keys::audit_entries(super::super::audit::WRITER)
}

async fn change(store: &EmbeddedStore, step: impl FnOnce(&mut Tx<'_>) + Send + 'static) {
    let step = store.write(|tx, _| {
        step(tx);
        Ok(())
    });
    step.await.unwrap();
}

/// Each entry follows from the one before.
fn check_chain(entries: &[ChainedEntry]) {
    for pair in entries.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1);
        assert_eq!(pair[1].link, next_link(&pair[0].link, &pair[1].content));
    }
}

/// Each page of each length, from each entry on.
async fn check_pages(store: &Arc<dyn Store>, all: &[ChainedEntry]) {
    let writer = only_chain(store).await.writer;
    let first = all[0].sequence;
    for from in 0..=first + all.len() as u64 {
        let skipped = from.saturating_sub(first) as usize;
        for limit in [0, 1, 2, 15, 16, 17, 33, 500] {
            let page = store.audit_page(writer, from, limit).await.unwrap();
            let wanted: Vec<_> = all.iter().skip(skipped).take(limit).cloned().collect();
            assert_eq!(page, wanted, "from {from}, {limit}");
        }
    }
}

#[tokio::test]
async fn entries_share_rows_and_every_page_is_whole() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    for n in 1..=40 {
        say(&store, n, second(n)).await;
    }
    assert_eq!(count(&embedded, trail()).await, 3);
    let all = entries(&store).await;
    assert_eq!(all.len(), 40);
    check_pages(&store, &all).await;
    drop(embedded);
    store.close().await.unwrap();
    drop(store);
    // The last row goes on to be filled.
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    for n in 41..=48 {
        say(&store, n, second(n)).await;
    }
    assert_eq!(count(&embedded, trail()).await, 3);
    assert_eq!(entries(&store).await.len(), 48);
}

/// A row never grows beyond what a value may be.
#[tokio::test]
async fn long_entries_share_fewer_rows() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    let long = "x".repeat(1500);
    for n in 0..10 {
        let entry = crate::domain::audit::Entry {
            time: second(n),
            tenant: None,
            user: None,
            by: by(),
            action: "push.credential_refused",
            object: format!("{n}"),
            outcome: long.clone(),
        };
        store.note(entry).await.unwrap();
    }
    assert_eq!(count(&embedded, trail()).await, 5);
    let all = entries(&store).await;
    assert_eq!(all.len(), 10);
    check_pages(&store, &all).await;
}

/// What an earlier version wrote: an entry in each row, a head that knows of no
/// packs.
#[tokio::test]
async fn a_trail_of_an_earlier_version_goes_on() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    for n in 1..=20 {
        say(&store, n, second(n)).await;
    }
    let all = entries(&store).await;
    let old = all.clone();
    change(&embedded, move |tx| {
        for entry in old {
            let key = keys::audit(super::super::audit::WRITER, entry.sequence);
            tx.put(key, Pack(vec![entry]).to_value());
        }
        let key = keys::audit_head(super::super::audit::WRITER);
        let head = tx.get(&key).unwrap();
        tx.put(key, &head[..40]);
    })
    .await;
    assert_eq!(count(&embedded, trail()).await, 20);
    assert_eq!(entries(&store).await, all);
    for n in 21..=40 {
        say(&store, n, second(n)).await;
    }
    assert_eq!(count(&embedded, trail()).await, 22);
    let longer = entries(&store).await;
    assert_eq!(longer.len(), 40);
    assert_eq!(longer[..20], all);
    check_pages(&store, &longer).await;
    // The chain is unbroken.
    check_chain(&longer);
}

/// Of a row some entries may leave and others stay.
#[tokio::test]
async fn a_row_leaves_in_part() {
    for last in [5, 16, 20, 40] {
        let dir = Directory::new();
        let embedded = Arc::new(dir.store());
        let store: Arc<dyn Store> = embedded.clone();
        for n in 1..=40 {
            say(&store, n, second(n)).await;
            if n == last {
                sign(&store, second(n)).await;
            }
        }
        let before = entries(&store).await;
        let writer = only_chain(&store).await.writer;
        let remove = || store.remove_audit(writer, second(last + 1), second(99));
        while remove().await.unwrap().more {}
        let rest = entries(&store).await;
        assert_eq!(rest[..rest.len() - 1], before[last as usize..]);
        assert_eq!(rest.len() as u64, 40 - last + 1, "with that of the removal");
        check_pages(&store, &rest).await;
        let kept = embedded
            .engine
            .read(|rows| rows.scan_prefix(&trail(), None, 99));
        let kept = kept.await.unwrap();
        let first = keys::last_number(&kept[0].0).unwrap();
        assert_eq!(first, last + 1, "nothing older is left on disk");
        say(&store, 42, second(42)).await;
        let all = entries(&store).await;
        assert_eq!(all[..all.len() - 1], rest);
        check_chain(&all);
    }
}

/// A pack that is full takes half the bytes or less, also one that an earlier
/// version left open, and says the same.
#[tokio::test]
async fn full_rows_are_compressed() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    for n in 1..=16 {
        say(&store, n, second(n)).await;
    }
    let all = entries(&store).await;
    let open = Pack(all.clone()).to_value();
    let closed = value(&embedded, first(1)).await;
    assert!(
        closed.len() * 2 < open.len(),
        "{} of {}",
        closed.len(),
        open.len()
    );
    assert_eq!(Pack::from_value(&closed), Ok(Pack(all.clone())));
    // As version 2 left it: full, open, and named by the head.
    change(&embedded, move |tx| {
        tx.put(first(1), open);
        let key = keys::audit_head(super::super::audit::WRITER);
        let mut head = tx.get(&key).unwrap();
        assert_eq!(head.len(), 40);
        head.extend(1_u64.to_be_bytes());
        tx.put(key, head);
    })
    .await;
    assert_eq!(entries(&store).await, all);
    say(&store, 17, second(17)).await;
    assert_eq!(value(&embedded, first(1)).await, closed);
    let longer = entries(&store).await;
    assert_eq!(longer[..16], all);
    check_chain(&longer);
    assert_eq!(longer.len(), 17);
}

/// What was altered is not covered up: it stays as it is, for whoever verifies.
#[tokio::test]
async fn what_was_altered_stays_to_be_found() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    for n in 1..=15 {
        say(&store, n, second(n)).await;
    }
    let mut altered = entries(&store).await;
    altered[7].content[3] ^= 1;
    let value = Pack(altered.clone()).to_value();
    change(&embedded, move |tx| tx.put(first(1), value)).await;
    for n in 16..=18 {
        say(&store, n, second(n)).await;
    }
    let all = entries(&store).await;
    assert_eq!((all.len(), &all[..15]), (18, &altered[..]));
    check_chain(&all[8..]);
    assert_ne!(all[7].link, next_link(&all[6].link, &all[7].content));
}

/// What comes after a start does not join entries that can't be read.
#[tokio::test]
async fn entries_do_not_join_what_is_unreadable() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    for n in 1..=3 {
        say(&store, n, second(n)).await;
    }
    change(&embedded, |tx| tx.put(first(1), [9])).await;
    drop(embedded);
    store.close().await.unwrap();
    drop(store);
    let store: Arc<dyn Store> = Arc::new(dir.store());
    for n in 4..=6 {
        say(&store, n, second(n)).await;
    }
    let writer = only_chain(&store).await.writer;
    let page = store.audit_page(writer, 4, 99).await.unwrap();
    let found: Vec<_> = page.iter().map(|entry| entry.sequence).collect();
    assert_eq!(found, [4, 5, 6]);
    check_chain(&page);
}

/// What can't be compressed stays as it is, and what can't be read harms nothing
/// that comes after it.
#[tokio::test]
async fn what_does_not_shrink_stays_open() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    // Of characters that no two follow one another twice.
    let long: String = (0..1000)
        .filter_map(|n| char::from_u32(0x4e00 + n))
        .collect();
    let mut entry = crate::domain::audit::Entry {
        time: second(1),
        tenant: None,
        user: None,
        by: by(),
        action: "push.credential_refused",
        object: String::new(),
        outcome: long,
    };
    store.note(entry.clone()).await.unwrap();
    entry.outcome = "x".repeat(1500);
    store.note(entry.clone()).await.unwrap();
    let all = entries(&store).await;
    assert_eq!(all.len(), 2);
    let open = Pack(all[..1].to_vec()).to_value();
    assert_eq!(value(&embedded, first(1)).await, open);
    change(&embedded, |tx| tx.put(first(2), [9])).await;
    for _ in 0..20 {
        entry.outcome.truncate(1);
        store.note(entry.clone()).await.unwrap();
    }
    let writer = only_chain(&store).await.writer;
    let page = store.audit_page(writer, 18, 99).await.unwrap();
    check_chain(&page);
    assert_eq!(page.last().unwrap().sequence, 22);
}

/// Events of an organisation, from `after` on, in pages of `limit`.
async fn told(store: &Arc<dyn Store>, tenant: TenantId, after: u64, limit: usize) -> Vec<u64> {
    let writer = only_chain(store).await.writer;
    let (mut found, mut after) = (Vec::new(), after);
    loop {
        let happened = store
            .events_after(tenant, writer, after, limit)
            .await
            .unwrap();
        let Some(last) = happened.entries.last() else {
            return found;
        };
        after = last.sequence;
        found.extend(happened.entries.iter().map(|entry| entry.sequence));
    }
}

/// Events share rows, over the ends of stretches, whatever an earlier version has
/// left, and until they leave.
#[tokio::test]
async fn events_are_found_from_everywhere() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    let (one, other) = (tenant_id(), tenant_id());
    let mut wanted = Vec::new();
    for n in 1..=2100 {
        if n % 7 == 0 {
            end_at_once(&store, one, n).await;
            wanted.push(n);
        } else if n % 7 == 1 {
            end_at_once(&store, other, n).await;
        } else {
            say(&store, n, second(10 + n)).await;
        }
    }
    assert_eq!(count(&embedded, keys::all_events()).await, 6);
    let (middle, early) = (wanted.clone(), wanted[40]);
    change(&embedded, move |tx| {
        let writer = super::super::audit::WRITER;
        let key = keys::events(one, writer, 0);
        let Stretch(places) = Stretch::from_value(&tx.get(&key).unwrap()).unwrap();
        tx.put(key, Stretch(places[41..].to_vec()).to_value());
        for sequence in middle.iter().filter(|sequence| **sequence <= early) {
            tx.put(keys::event(one, writer, *sequence), []);
        }
    })
    .await;
    for after in [0, 6, 7, 286, 287, 288, 1022, 1023, 1024, 2098, 2099, 2100] {
        let rest: Vec<_> = wanted.iter().copied().filter(|n| *n > after).collect();
        for limit in [1, 3, 500] {
            assert_eq!(
                told(&store, one, after, limit).await,
                rest,
                "{after}, {limit}"
            );
        }
    }
    sign(&store, second(9999)).await;
    let writer = only_chain(&store).await.writer;
    while store
        .remove_audit(writer, second(99_999), second(99_999))
        .await
        .unwrap()
        .more
    {}
    assert_eq!(count(&embedded, keys::all_events()).await, 0);
    assert_eq!(
        count(&embedded, keys::single_events_of(one, writer)).await,
        0
    );
}

/// A challenge that ends as it is made, for there is nobody to ask.
async fn end_at_once(store: &Arc<dyn Store>, tenant: TenantId, n: u64) -> ChallengeId {
    let new = question(tenant, &user(&format!("user{n}")), &[], second(10 + n));
    created(store.create(new).await.unwrap()).id
}

/// Decisions share rows; each leaves when it is old, and not before.
#[tokio::test]
async fn decisions_leave_row_by_row_and_in_part() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    let tenant = tenant_id();
    let mut ids: Vec<ChallengeId> = Vec::new();
    for n in 0..100 {
        ids.push(end_at_once(&store, tenant, n).await);
    }
    assert_eq!(count(&embedded, keys::all_aging_decisions()).await, 2);
    assert_eq!(count(&embedded, keys::aging_challenges()).await, 0);
    let mut gone = 0;
    for before in [10, 11, 40, 75, 109, 110] {
        loop {
            let left = store.remove_challenges(second(before), second(500)).await;
            let Left { count, more } = left.unwrap();
            gone += count;
            if !more {
                break;
            }
        }
        assert_eq!(gone as u64, before - 10);
        for (n, id) in ids.iter().enumerate() {
            let there = store.challenge(tenant, *id).await.unwrap().is_some();
            assert_eq!(there, n >= gone, "{n} of those before {before}");
        }
    }
    assert_eq!(count(&embedded, keys::all_aging_decisions()).await, 0);
}

/// A decision in the future, by a clock that was wrong, holds up no other, and
/// leaves in its time.
#[tokio::test]
async fn a_decision_in_the_future_holds_up_nobody() {
    let dir = Directory::new();
    let store: Arc<dyn Store> = Arc::new(dir.store());
    let tenant = tenant_id();
    let mut ids = Vec::new();
    for n in 0..200 {
        let wrong = if n == 5 { 100_000 } else { 0 };
        ids.push(end_at_once(&store, tenant, n + wrong).await);
    }
    let remove = async |before, now| {
        let mut gone = 0;
        loop {
            let left = store.remove_challenges(second(before), second(now)).await;
            let Left { count, more } = left.unwrap();
            gone += count;
            if !more {
                return gone;
            }
        }
    };
    assert_eq!(remove(500, 1000).await, 199);
    assert!(store.challenge(tenant, ids[5]).await.unwrap().is_some());
    assert_eq!(remove(100_015, 100_500).await, 0);
    assert_eq!(remove(100_016, 100_500).await, 1);
}

/// A row that can't be read holds up no other.
#[tokio::test]
async fn unreadable_decisions_hold_up_nobody() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    let tenant = tenant_id();
    change(&embedded, |tx| {
        tx.put(keys::aging_decisions(0), [9]);
    })
    .await;
    for n in 0..100 {
        end_at_once(&store, tenant, n).await;
    }
    let mut gone = 0;
    loop {
        let left = store.remove_challenges(second(900), second(900)).await;
        let Left { count, more } = left.unwrap();
        gone += count;
        if !more {
            break;
        }
    }
    assert!((20..22).contains(&gone), "{gone}");
}
