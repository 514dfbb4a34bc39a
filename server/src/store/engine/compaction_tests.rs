//! Compaction, and every moment in which it can be interrupted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Engine, EngineOptions, OpenError, Pair, compaction};

const ROWS: u32 = 20_000;

/// As many rows as there are, of which nearly all have left again.
async fn emptied(dir: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let engine = Engine::create(dir, EngineOptions::default()).unwrap();
    let key = |n: u32| [b"row".as_slice(), &n.to_be_bytes()].concat();
    for first in (0..ROWS).step_by(500) {
        let write = engine.write(move |tx| {
            for n in first..first + 500 {
                tx.put(key(n), [n as u8; 400]);
            }
            Ok::<_, Infallible>(())
        });
        write.await.unwrap().unwrap();
    }
    for first in (0..ROWS).step_by(500) {
        let write = engine.write(move |tx| {
            for n in first..first + 499 {
                tx.delete(key(n));
            }
            Ok::<_, Infallible>(())
        });
        write.await.unwrap().unwrap();
    }
    rows(&engine).await
}

async fn rows(engine: &Engine) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let found = engine.read(|rows| rows.scan_prefix(b"", None, usize::MAX));
    let found: Vec<Pair> = found.await.unwrap();
    found
        .into_iter()
        .filter(|(key, _)| key.starts_with(b"row"))
        .map(|(key, value)| (key.to_vec(), value))
        .collect()
}

/// What is there is `wanted`, can be added to, and is still there afterwards.
async fn check(dir: &Path, wanted: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut wanted = wanted.clone();
    for n in 0..2 {
        let engine = Engine::open(dir, EngineOptions::default()).unwrap();
        assert!(!dir.join("compacting").exists());
        assert_eq!(rows(&engine).await, wanted);
        let key = format!("row-{n}");
        wanted.insert(key.clone().into_bytes(), b"new".to_vec());
        let write = engine.write(move |tx| {
            tx.put(key, b"new");
            Ok::<_, Infallible>(())
        });
        write.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn room_comes_back_and_nothing_else_changes() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = emptied(dir.path()).await;
    assert_eq!(wanted.len(), 40);
    let done = Engine::compact(dir.path(), EngineOptions::default()).unwrap();
    assert!(done.after * 2 < done.before, "{done:?}");
    check(dir.path(), &wanted).await;
}

/// A store as full as ever is left as it is.
#[tokio::test]
async fn what_gains_nothing_is_not_swapped() {
    let dir = tempfile::tempdir().unwrap();
    drop(Engine::create(dir.path(), EngineOptions::default()).unwrap());
    let file = || std::fs::metadata(dir.path().join("db")).unwrap().ino();
    let before = file();
    let done = Engine::compact(dir.path(), EngineOptions::default()).unwrap();
    assert_eq!((done.after, file()), (done.before, before));
    check(dir.path(), &BTreeMap::new()).await;
}

#[tokio::test]
async fn who_may_read_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    emptied(dir.path()).await;
    let log = dir.path().join("db");
    std::fs::set_permissions(&log, Permissions::from_mode(0o640)).unwrap();
    let before = std::fs::metadata(&log).unwrap().ino();
    Engine::compact(dir.path(), EngineOptions::default()).unwrap();
    let after = std::fs::metadata(&log).unwrap();
    assert_ne!(after.ino(), before);
    assert_eq!(after.permissions().mode() & 0o777, 0o640);
}

/// By a program that knows nothing of compactions: what was interrupted is not put
/// in the place of what came later.
#[tokio::test]
async fn a_store_that_has_gone_on_is_not_put_back() {
    let dir = tempfile::tempdir().unwrap();
    emptied(dir.path()).await;
    let mut steps = 0;
    let interrupted = compaction::compact(dir.path(), &EngineOptions::default(), &mut || {
        steps += 1;
        match steps {
            1 => Ok(()),
            _ => Err(io::Error::other("interrupted")),
        }
    });
    assert!(interrupted.is_err());
    let (copy, aside) = (dir.path().join("compacting"), dir.path().join("aside"));
    assert!(copy.join("whole").exists() && copy.join("db").exists());
    std::fs::rename(&copy, &aside).unwrap();
    let engine = Engine::open(dir.path(), EngineOptions::default()).unwrap();
    let write = engine.write(|tx| {
        tx.put(b"row later", b"later");
        Ok::<_, Infallible>(())
    });
    write.await.unwrap().unwrap();
    let wanted = rows(&engine).await;
    drop(engine);
    std::fs::rename(&aside, &copy).unwrap();
    check(dir.path(), &wanted).await;
}

#[tokio::test]
async fn a_log_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = emptied(dir.path()).await;
    let (log, elsewhere) = (dir.path().join("db"), dir.path().join("elsewhere"));
    std::fs::rename(&log, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &log).unwrap();
    let refused = Engine::compact(dir.path(), EngineOptions::default());
    assert!(refused.unwrap_err().to_string().contains("a link"));
    check(dir.path(), &wanted).await;
}

#[tokio::test]
async fn interrupted_anywhere_it_loses_nothing() {
    let mut interrupted = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let wanted = emptied(dir.path()).await;
        let (mut steps, mut more) = (interrupted, 0);
        let compacted = compaction::compact(dir.path(), &EngineOptions::default(), &mut || {
            if steps == 0 {
                return Err(io::Error::other("interrupted"));
            }
            steps -= 1;
            Ok(())
        });
        if interrupted > 0 && compacted.is_err() {
            // What is finished at the next opening is interrupted as well.
            let finished = compaction::finish(dir.path(), &mut || {
                more += 1;
                if more == 2 {
                    return Err(io::Error::other("interrupted again"));
                }
                Ok(())
            });
            assert!(finished.is_err() || more < 2);
        }
        check(dir.path(), &wanted).await;
        if compacted.is_ok() {
            break;
        }
        interrupted += 1;
    }
    // The mark, a snapshot's removal, two moves at least, the end.
    assert!(interrupted >= 5, "{interrupted}");
}

#[tokio::test]
async fn an_unfinished_copy_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = emptied(dir.path()).await;
    let copy = dir.path().join("compacting");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("db"), b"half of it").unwrap();
    check(dir.path(), &wanted).await;
}

#[tokio::test]
async fn a_store_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::create(dir.path(), EngineOptions::default()).unwrap();
    let refused = Engine::compact(dir.path(), EngineOptions::default());
    assert!(
        matches!(refused, Err(OpenError::InUse { .. })),
        "{refused:?}"
    );
    drop(engine);
}
