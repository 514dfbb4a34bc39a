//! What removal does to the size on disk.

use std::sync::Arc;

use super::{super::EmbeddedStore, Directory};
use crate::store::{Store, suite::fixture::*};

/// So many challenges, each decided at once, asked by many callers at a time.
async fn fill(store: &Arc<dyn Store>, count: usize, at: u64) {
    let tenant = tenant_id();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64 {
        let store = store.clone();
        callers.spawn(async move {
            let tom = user(&format!("tom{caller}"));
            for _ in 0..count / 64 {
                let mut new = question(tenant, &tom, &[], second(at));
                new.signed.body = vec![7; 500];
                let mut request = [0; 16];
                request[..8].copy_from_slice(&number().to_be_bytes());
                new.idempotency = Some((request, [1; 32]));
                let asked = created(store.create(new).await.unwrap());
                let event = crate::domain::challenge::Event::Cancel;
                decide(&store, &asked, event, second(at)).await;
            }
        });
    }
    callers.join_all().await;
}

async fn remove_all(store: &Arc<dyn Store>, before: u64) -> usize {
    let mut count = 0;
    loop {
        let (before, now) = (second(before), second(before));
        let left = store.remove_challenges(before, now).await.unwrap();
        count += left.count;
        if !left.more {
            return count;
        }
    }
}

async fn remove_audit(store: &Arc<dyn Store>, before: u64) {
    crate::store::suite::audit::sign(store, second(before)).await;
    let writer = crate::store::suite::audit::only_chain(store).await.writer;
    loop {
        let before = second(before + 1);
        if !store
            .remove_audit(writer, before, before)
            .await
            .unwrap()
            .more
        {
            return;
        }
    }
}

/// What lives, and what it takes on disk, in bytes.
async fn sizes(store: &EmbeddedStore) -> (usize, u64) {
    let rows = store
        .engine
        .read(|rows| rows.scan_prefix(b"", None, usize::MAX))
        .await
        .unwrap();
    let live = rows
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    (live, store.engine.disk_bytes().unwrap())
}

/// Rounds of so many challenges that come and go.
async fn rounds(count: usize, rounds: u64) -> Vec<(usize, u64)> {
    let dir = Directory::new();
    let mut measured = Vec::new();
    for round in 0..rounds {
        let embedded = Arc::new(dir.store());
        let store: Arc<dyn Store> = embedded.clone();
        while !store.index_for_removal().await.unwrap() {}
        let at = 10 + round * 10;
        fill(&store, count, at).await;
        let full = sizes(&embedded).await;
        let removed = remove_all(&store, at + 1).await;
        assert_eq!(removed, count / 64 * 64);
        let emptier = sizes(&embedded).await;
        remove_audit(&store, at + 1).await;
        let empty = sizes(&embedded).await;
        println!(
            "round {round}: {removed} challenges; bytes of rows and on disk: full {full:?}, \
             without challenges {emptier:?}, without their audit entries {empty:?}"
        );
        measured.push(full);
        measured.push(empty);
        store.close().await.unwrap();
        drop((store, embedded));
        let reopened = dir.store();
        println!(
            "round {round}: on disk after reopening: {}",
            sizes(&reopened).await.1
        );
        Store::close(&reopened).await.unwrap();
    }
    measured
}

/// What leaves gives its room to what comes: rows are gone, and the file does not
/// grow with what has come and gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_some() {
    let measured = rounds(1280, 12).await;
    let (full, empty) = (measured[0].0, measured[1].0);
    assert!(empty * 20 < full, "{measured:?}");
    for round in measured.chunks(2) {
        assert!(round[1].0 < empty * 2, "{measured:?}");
        // One round writes a segment (4 MiB) or more: twelve that reuse nothing
        // would not fit.
        assert!(round[1].1 <= 8 << 22, "{measured:?}");
    }
}

/// `cargo test -p countersign-server --release space:: -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a measurement: prints what 50,000 challenges that come and go take"]
async fn of_many() {
    rounds(50_000, 6).await;
}
