//! Directories that must be refused, with the reason, and never with a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use countersign_server::store::engine::{Engine, EngineOptions, OpenError};
use tempfile::TempDir;

const RECORDS: usize = 3000;

/// A closed store with something in it.
fn filled() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let engine = Engine::create(&store, EngineOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for first in (0..RECORDS).step_by(100) {
            let write = engine.write(move |tx| {
                for n in first..first + 100 {
                    tx.put(format!("key/{n:06}"), format!("{n:06}").repeat(60));
                }
                Ok::<_, Infallible>(())
            });
            write.await.unwrap().unwrap();
        }
        engine.close().await.unwrap();
    });
    dir
}

/// The number of intact records.
fn intact(store: &Path) -> Result<usize, OpenError> {
    let engine = Engine::open(store, EngineOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let pairs =
        runtime.block_on(engine.read(|snapshot| snapshot.scan_prefix(b"key/", None, usize::MAX)));
    // The engine may also stop on what it finds.
    Ok(pairs.map_or(0, |pairs| pairs.len()))
}

fn copy(from: &Path) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("store")).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = place.path().join("store").join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
    place
}

type Damage = (&'static str, fn(&Path));

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Bytes that look like nothing (a linear congruence, Numerical Recipes).
fn garbage(bytes: &mut [u8]) {
    let mut state = 1_u32;
    for byte in bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
}

#[test]
fn damage_is_refused_with_a_reason() {
    let whole = filled();
    let whole = whole.path().join("store");
    assert_eq!(intact(&whole).unwrap(), RECORDS);

    let damages: [Damage; 16] = [
        ("no log", |store| fs::remove_file(store.join("db")).unwrap()),
        ("empty log", |store| edit(&store.join("db"), Vec::clear)),
        ("log of 10 bytes", |store| {
            edit(&store.join("db"), |log| log.truncate(10))
        }),
        ("log of 100 KB", |store| {
            edit(&store.join("db"), |log| log.truncate(100_000))
        }),
        ("half a log", |store| {
            edit(&store.join("db"), |log| log.truncate(log.len() / 2))
        }),
        ("log of garbage", |store| {
            edit(&store.join("db"), |log| garbage(log))
        }),
        ("log of zeros", |store| {
            edit(&store.join("db"), |log| log.fill(0))
        }),
        ("log with a garbled head", |store| {
            edit(&store.join("db"), |log| garbage(&mut log[..4096]))
        }),
        ("log with garbled middle", |store| {
            edit(&store.join("db"), |log| {
                let middle = log.len() / 2;
                garbage(&mut log[middle..middle + 4096]);
            });
        }),
        ("no settings", |store| {
            fs::remove_file(store.join("conf")).unwrap()
        }),
        ("empty settings", |store| {
            edit(&store.join("conf"), Vec::clear)
        }),
        ("short settings", |store| {
            edit(&store.join("conf"), |conf| conf.truncate(30))
        }),
        ("garbled settings", |store| {
            edit(&store.join("conf"), |conf| garbage(conf))
        }),
        ("other settings", |store| {
            edit(&store.join("conf"), |conf| conf[14] = b'7')
        }),
        ("no watermark", |store| {
            fs::remove_file(store.join("watermark")).unwrap()
        }),
        ("empty watermark", |store| {
            edit(&store.join("watermark"), Vec::clear)
        }),
    ];
    for (name, damage) in damages {
        let place = copy(&whole);
        let store = place.path().join("store");
        damage(&store);
        match intact(&store) {
            Err(error @ OpenError::Damaged { .. }) => println!("{name}: {error}"),
            other => panic!("{name}: {other:?}"),
        }
        // Refused again, and never taken for a place to begin anew.
        assert!(
            matches!(intact(&store), Err(OpenError::Damaged { .. })),
            "{name}"
        );
        assert!(matches!(
            Engine::create(&store, EngineOptions::default()),
            Err(OpenError::AlreadyExists { .. })
        ));
    }
}

#[test]
fn an_older_log_put_back_is_noticed() {
    let dir = filled();
    let store = dir.path().join("store");
    let older = fs::read(store.join("db")).unwrap();
    let engine = Engine::open(&store, EngineOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let write = engine.write(|tx| {
            tx.put("one", "more");
            Ok::<_, Infallible>(())
        });
        write.await.unwrap().unwrap();
        engine.close().await.unwrap();
    });
    assert_eq!(intact(&store).unwrap(), RECORDS);
    fs::write(store.join("db"), older).unwrap();
    let refused = intact(&store).unwrap_err().to_string();
    assert!(refused.contains("batch 31 was acknowledged"), "{refused}");
}

#[test]
fn what_is_not_needed_may_be_lost_or_damaged() {
    let whole = filled();
    let whole = whole.path().join("store");
    let harmless: [Damage; 3] = [
        ("garbled snapshot", |store| {
            fs::write(store.join("snap.00000000000FFFFF"), [7; 4000]).unwrap();
        }),
        ("no large values", |store| {
            fs::remove_dir(store.join("blobs")).unwrap()
        }),
        ("no lock file", |store| {
            fs::remove_file(store.join("lock")).unwrap()
        }),
    ];
    for (name, damage) in harmless {
        let place = copy(&whole);
        let store = place.path().join("store");
        damage(&store);
        assert_eq!(intact(&store).unwrap(), RECORDS, "{name}");
    }
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("absent")] {
        assert!(matches!(
            Engine::open(&path, EngineOptions::default()),
            Err(OpenError::NotInitialised { .. })
        ));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // A file in its place.
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        Engine::open(&file, EngineOptions::default()),
        Err(OpenError::NotInitialised { .. } | OpenError::Io { .. })
    ));
    assert!(matches!(
        Engine::create(&file, EngineOptions::default()),
        Err(OpenError::Io { .. })
    ));
}

#[test]
fn a_new_store_is_private_and_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("some/where/store");
    drop(Engine::create(&store, EngineOptions::default()).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&store), 0o700);
    for name in ["db", "conf", "lock", "format", "watermark"] {
        assert_eq!(mode(&store.join(name)), 0o600, "{name}");
    }
    assert!(matches!(
        Engine::create(&store, EngineOptions::default()),
        Err(OpenError::AlreadyExists { .. })
    ));
    // A store that has lost its marker is not taken for an empty place.
    fs::remove_file(store.join("format")).unwrap();
    assert!(matches!(
        Engine::open(&store, EngineOptions::default()),
        Err(OpenError::NotInitialised { .. })
    ));
    drop(Engine::create(&store, EngineOptions::default()).unwrap());

    let filled = filled();
    let store = filled.path().join("store");
    fs::remove_file(store.join("format")).unwrap();
    assert!(matches!(
        Engine::create(&store, EngineOptions::default()),
        Err(OpenError::AlreadyExists { .. })
    ));
}
