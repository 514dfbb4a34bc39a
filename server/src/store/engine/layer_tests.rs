//! Rows in memory, on their way, and in the tree are one store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::mpsc;

use super::*;

type Model = BTreeMap<Key, Vec<u8>>;

fn options(journal_bytes: u64) -> EngineOptions {
    EngineOptions {
        journal_bytes,
        ..EngineOptions::default()
    }
}

async fn all(engine: &Engine) -> Model {
    let pairs = engine.read(|snapshot| snapshot.scan_prefix(b"", Some(&[1]), usize::MAX));
    let pairs = pairs.await.unwrap().into_iter();
    pairs.collect()
}

/// SplitMix64 (Steele et al. 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Some puts and deletions among few keys, in the store and in the model.
async fn change(engine: &Engine, model: &mut Model, state: &mut u64) {
    let changes: Vec<_> = (0..1 + random(state) % 8)
        .map(|_| {
            let key = Key::from(format!("k{:02}", random(state) % 40).into_bytes());
            let value = (!random(state).is_multiple_of(3))
                .then(|| vec![random(state) as u8; (random(state) % 60) as usize]);
            (key, value)
        })
        .collect();
    // Some that have never been, and perhaps soon are no more.
    let new: Vec<_> = (0..random(state) % 3)
        .map(|_| Key::from(format!("k3n{:016x}", random(state)).into_bytes()))
        .collect();
    let gone: Vec<_> = model
        .keys()
        .filter(|key| key.starts_with(b"k3n") && random(state).is_multiple_of(3))
        .cloned()
        .collect();
    model.retain(|key, _| !gone.contains(key));
    model.extend(new.iter().map(|key| (key.clone(), vec![1])));
    for (key, value) in &changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
    let write = engine.write(move |tx| {
        for key in new {
            tx.put_new(key, [1]);
        }
        for key in gone {
            tx.delete(key);
        }
        for (key, value) in changes {
            match value {
                Some(value) => tx.put(key, value),
                None => tx.delete(key),
            }
        }
        Ok::<_, Infallible>(())
    });
    let Ok(()) = write.await.unwrap();
}

#[tokio::test]
async fn whatever_is_where_reads_are_the_same() {
    let mut state = 7;
    for journal_bytes in [1, 300, 3000, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = Engine::create(dir.path(), options(journal_bytes)).unwrap();
        let mut model = Model::new();
        for round in 0..300 {
            change(&engine, &mut model, &mut state).await;
            assert_eq!(all(&engine).await, model);
            let from = Key::from(format!("k{:02}", random(&mut state) % 40).into_bytes());
            let prefix = Key::from(format!("k{}", random(&mut state) % 4).into_bytes());
            let limit = (random(&mut state) % 5) as usize;
            let expected: Vec<_> = model
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix) && **key >= from)
                .take(limit)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let found = engine.read(|snapshot| snapshot.scan_prefix(&prefix, Some(&from), limit));
            assert_eq!(found.await.unwrap(), expected);
            let one = engine.read(|snapshot| snapshot.get(&from)).await.unwrap();
            assert_eq!(one, model.get(&from).cloned());
            let at = Key::from([&prefix[..], &from[2..]].concat());
            let before = model.range(prefix.clone()..=at.clone()).next_back();
            let last = engine.read(|snapshot| snapshot.last_under(&prefix, &at));
            assert_eq!(
                last.await.unwrap(),
                before.map(|(key, value)| (key.clone(), value.clone()))
            );
            if round % 100 == 99 {
                engine.close().await.unwrap();
                drop(engine);
                engine = Engine::open(dir.path(), options(journal_bytes)).unwrap();
                assert_eq!(all(&engine).await, model);
            }
        }
    }
}

#[test]
fn what_was_never_below_leaves_nothing_behind() {
    let some = |byte: u8| Some(sled::IVec::from(&[byte]));
    let layer =
        |value, fresh| Overlay::from([(Key::from(b"k".as_slice()), tx::Row { value, fresh })]);
    let removed = || layer(None, false);
    for (below, above, expected) in [
        // New, changed, removed: as if it had never been.
        (Overlay::new(), layer(some(1), true), layer(some(1), true)),
        (
            layer(some(1), true),
            layer(some(2), false),
            layer(some(2), true),
        ),
        (layer(some(2), true), removed(), Overlay::new()),
        (Overlay::new(), layer(None, true), Overlay::new()),
        // Where something may be below, it is covered.
        (Overlay::new(), removed(), removed()),
        (layer(some(1), false), removed(), removed()),
        (removed(), layer(some(1), true), layer(some(1), false)),
        (removed(), layer(None, true), removed()),
    ] {
        let mut laid = below.clone();
        tx::lay_over(&mut laid, above.clone());
        assert_eq!(laid, expected, "{above:?} over {below:?}");
    }
}

/// A copy as a crash would leave it: of a store nobody works on, but not closed.
fn copy(from: &Path) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = place.path().join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(to).unwrap();
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
    place
}

#[tokio::test]
async fn what_the_tree_lacks_comes_from_the_journal() {
    let mut state = 1;
    let mut model = Model::new();
    let mut dir = tempfile::tempdir().unwrap();
    drop(Engine::create(dir.path(), options(1 << 20)).unwrap());
    // One crash after another: the journals of the last are still needed.
    for _ in 0..4 {
        let engine = Engine::open(dir.path(), options(1 << 20)).unwrap();
        assert_eq!(all(&engine).await, model);
        for _ in 0..50 {
            change(&engine, &mut model, &mut state).await;
        }
        wait_for_tree(&engine).await;
        let crashed = copy(dir.path());
        drop(engine);
        dir = crashed;
    }
    let engine = Engine::open(dir.path(), options(1 << 20)).unwrap();
    assert_eq!(all(&engine).await, model);
    wait_for_tree(&engine).await;
    assert!(engine.shared.view.read().recent.is_empty());
    engine.close().await.unwrap();
    let tree = disk::open(dir.path(), &options(1)).unwrap();
    assert!(tree.recovered.rows.is_empty());
    let stored = tree.db.range::<&[u8], _>(&[1][..]..).map(|pair| {
        let (key, value) = pair.unwrap();
        (Key::from(key.as_ref()), value.to_vec())
    });
    assert_eq!(stored.collect::<Model>(), model);
}

/// Until nothing is on its way: what is being written to the log can't be copied.
async fn wait_for_tree(engine: &Engine) {
    while !engine.shared.view.read().sinking.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_version_that_only_the_journal_has_counts() {
    let dir = tempfile::tempdir().unwrap();
    let supported = |schema_version| EngineOptions {
        schema_version,
        ..options(1 << 20)
    };
    drop(Engine::create(dir.path(), supported(1)).unwrap());
    let engine = Engine::open(dir.path(), supported(3)).unwrap();
    let raised = engine.write(|tx| {
        tx.set_schema_version(3);
        Ok::<_, Infallible>(())
    });
    let Ok(()) = raised.await.unwrap();
    let crashed = copy(dir.path());
    let refused = Engine::open(crashed.path(), supported(2)).unwrap_err();
    assert!(
        matches!(refused, OpenError::NewerVersion { found: 3, .. }),
        "{refused:?}"
    );
    let found = Engine::open(crashed.path(), supported(3)).unwrap();
    assert_eq!(found.schema_version(), 3);
}

#[tokio::test]
async fn nothing_is_created_over_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::create(dir.path(), options(1 << 20)).unwrap();
    change(&engine, &mut Model::new(), &mut 5).await;
    let crashed = copy(dir.path());
    std::fs::remove_file(crashed.path().join("format")).unwrap();
    let refused = Engine::create(crashed.path(), options(1 << 20)).unwrap_err();
    assert!(
        matches!(refused, OpenError::AlreadyExists { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_lost_journal_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::create(dir.path(), options(1 << 20)).unwrap();
    let (mut model, mut state) = (Model::new(), 3);
    for _ in 0..10 {
        change(&engine, &mut model, &mut state).await;
    }
    let crashed = copy(dir.path());
    std::fs::remove_file(crashed.path().join("journal.0")).unwrap();
    let refused = Engine::open(crashed.path(), options(1 << 20)).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_decoded_row_is_as_the_durable_one() {
    async fn seen(engine: &Engine) -> Option<Arc<Vec<u8>>> {
        let decoded = engine
            .read(|snapshot| snapshot.decoded(b"k", |value| Ok::<_, Infallible>(value.to_vec())));
        decoded.await.unwrap().map(|Ok(value)| value)
    }
    let (arrive, arrived) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let dir = tempfile::tempdir().unwrap();
    drop(Engine::create(dir.path(), options(1)).unwrap());
    let hooks = Hooks {
        before_sync: Arc::new(move || {
            arrive.send(()).unwrap();
            // Once the other end is gone nothing is held up.
            wait.lock().recv().unwrap_or_default();
            Ok(())
        }),
        ..Hooks::default()
    };
    let disk = disk::open(dir.path(), &options(1)).unwrap();
    let engine = Engine::start(disk, options(1), hooks).unwrap();
    let mut before = None;
    for value in [Some("one"), Some("two"), None, Some("three")] {
        let writer = engine.clone();
        let written = tokio::spawn(async move {
            writer
                .write(move |tx| {
                    match value {
                        Some(value) => tx.put("k", value),
                        None => tx.delete("k"),
                    }
                    let own = tx.decoded(b"k", |value| Ok::<_, Infallible>(value.to_vec()));
                    assert_eq!(
                        own.map(|Ok(own)| Arc::unwrap_or_clone(own)),
                        value.map(|value| value.as_bytes().to_vec())
                    );
                    Ok::<_, Infallible>(())
                })
                .await
        });
        while arrived.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        // Written and not synced.
        for _ in 0..2 {
            assert_eq!(seen(&engine).await.as_deref().cloned(), before);
        }
        go.send(()).unwrap();
        let Ok(()) = written.await.unwrap().unwrap();
        before = value.map(|value| value.as_bytes().to_vec());
        for _ in 0..2 {
            assert_eq!(seen(&engine).await.as_deref().cloned(), before);
        }
    }
    drop(go);
}
