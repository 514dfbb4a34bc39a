//! A broker that must not start says why, and leaves everything as it is.

use std::{collections::BTreeMap, fs, path::Path};

use countersign_server::store::engine::{Engine, EngineOptions};
use countersign_tests::process::refusal;

use super::Installation;

/// Every file's content, but of those that each opening writes anew: the lock,
/// which names the last to take it, and the page table.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.metadata().unwrap().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .filter(|(name, _)| name != "lock" && !name.starts_with("snap."))
        .collect()
}

fn check(found: (i32, String), wanted: &[&str]) {
    let (code, said) = found;
    assert_eq!(code, 1, "{said}");
    for part in wanted {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    for part in ["panicked", "internal fault", "RUST_BACKTRACE"] {
        assert!(!said.contains(part), "{said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_serves_one_directory() {
    let (installation, broker) = Installation::new().await;
    let data = installation.data();
    let holder = format!("in use by process {}", broker.id());
    check(refusal(&data, &[]), &[&holder, data.to_str().unwrap()]);
    // The first is not disturbed.
    let provider = installation.provider(&broker);
    provider.enroll("tom").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_served_is_refused_and_kept() {
    let (installation, mut broker) = Installation::new().await;
    let provider = installation.provider(&broker);
    provider.enroll("tom").await.unwrap();
    assert!(broker.terminate().success());
    let data = installation.data();
    let dir = installation.dir.path();
    let before = content(&data);

    // Another installation's master key, none, and something else.
    let key_file = dir.join("another.key");
    let with_key = || refusal(&data, &[("COUNTERSIGN_MASTER_KEY_FILE", &key_file)]);
    check(
        with_key(),
        &["master key file", "another.key", "No such file"],
    );
    fs::write(&key_file, "not a key\n").unwrap();
    check(with_key(), &["another.key", "32 bytes in hexadecimal"]);
    fs::write(&key_file, "0".repeat(64)).unwrap();
    check(with_key(), &["another.key", "does not open what is stored"]);

    // No store at all.
    check(
        refusal(&dir.join("nothing"), &[]),
        &["nothing", "no initialised store"],
    );

    // A copy that a later version has written to.
    let copy = |name: &str| {
        let to = dir.join(name);
        fs::create_dir_all(to.join("blobs")).unwrap();
        for (name, bytes) in content(&data) {
            fs::write(to.join(name), bytes).unwrap();
        }
        to
    };
    let newer = copy("newer");
    let options = EngineOptions {
        schema_version: 99,
        ..EngineOptions::default()
    };
    let engine = Engine::open(&newer, options).unwrap();
    let migrated = engine.write(|tx| {
        tx.set_schema_version(99);
        Ok::<_, std::convert::Infallible>(())
    });
    migrated.await.unwrap().unwrap();
    engine.close().await.unwrap();
    drop(engine);
    let left = content(&newer);
    check(
        refusal(&newer, &[]),
        &["schema version 99", "use the newer program"],
    );
    assert_eq!(
        content(&newer).keys().collect::<Vec<_>>(),
        left.keys().collect::<Vec<_>>()
    );

    // Damaged ones: a file gone, and the log not what it was.
    let damaged = copy("without-log");
    fs::remove_file(damaged.join("db")).unwrap();
    check(refusal(&damaged, &[]), &["is damaged", "restore a backup"]);
    assert!(!damaged.join("db").exists());
    let damaged = copy("cut-short");
    let log = fs::read(damaged.join("db")).unwrap();
    fs::write(damaged.join("db"), &log[..64]).unwrap();
    check(refusal(&damaged, &[]), &["is damaged", "restore a backup"]);

    // Refused without a trace: it is served as ever.
    let mut broker = installation.start();
    assert!(broker.terminate().success());
    assert_eq!(
        content(&data).keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
}
