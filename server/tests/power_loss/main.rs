//! No acknowledged change is lost to a power cut.
//!
//! A child process works on a store while `recorder.c` writes down every write
//! and sync it asks of the disk. The recording is then cut at random points,
//! what was not synced is kept or lost at random, and the result opened: what
//! was acknowledged before the cut must be there, and no command may be half
//! there.
//!
//! `POWER_LOSS_SEED` repeats a run's cuts on a new recording,
//! `POWER_LOSS_IMAGES`, `POWER_LOSS_WRITERS` and `POWER_LOSS_ROUNDS` make it
//! larger; `POWER_LOSS_KEEP=DIRECTORY` keeps the images that failed.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod model;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use countersign_server::store::engine::{Engine, EngineOptions, OpenError, Snapshot};
use model::{Disk, Image, Random, Record};

/// How many audit entries a writer leaves behind its current one.
const TRAIL: u64 = 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn state_key(writer: u64) -> String {
    format!("state/{writer:04}")
}

fn audit_key(writer: u64, n: u64) -> String {
    format!("audit/{writer:04}/{n:08}")
}

fn state_value(writer: u64, n: u64) -> String {
    format!("{n:08}").repeat(12 + (writer + n) as usize % 50)
}

fn audit_value(writer: u64, n: u64) -> String {
    format!("{writer:04}.{n:08}|").repeat(8 + (n as usize % 30))
}

/// The process that is recorded: each writer moves its state on, adds an audit
/// entry and removes an old one, all in one command, and notes what was
/// acknowledged.
#[test]
#[ignore = "run by the others as a process of its own"]
fn child() {
    let Some(root) = std::env::var_os("RECORDER_ROOT").map(PathBuf::from) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let engine = Engine::create(&root.join("store"), EngineOptions::default()).unwrap();
        let path = root.join("acks");
        let acks = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        let acks = Arc::new(acks);
        let rounds = setting("POWER_LOSS_ROUNDS", 150);
        let mut running = tokio::task::JoinSet::new();
        for writer in 1..=setting("POWER_LOSS_WRITERS", 48) {
            let (engine, acks) = (engine.clone(), Arc::clone(&acks));
            running.spawn(async move {
                for n in 1..=rounds {
                    let command = move |tx: &mut countersign_server::store::engine::Tx<'_>| {
                        tx.put(state_key(writer), state_value(writer, n));
                        tx.put(audit_key(writer, n), audit_value(writer, n));
                        if n > TRAIL {
                            tx.delete(audit_key(writer, n - TRAIL));
                        }
                        Ok::<_, Infallible>(())
                    };
                    engine.write(command).await.unwrap().unwrap();
                    (&*acks)
                        .write_all(format!("{writer} {n}\n").as_bytes())
                        .unwrap();
                }
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
        let stats = engine.stats();
        println!("batches {} syncs {}", stats.batches, stats.syncs);
        fs::write(root.join("syncs"), stats.syncs.to_string()).unwrap();
        // Not closed: what closing adds must not be needed.
        std::process::exit(0);
    });
}

struct Recording {
    root: PathBuf,
    _dir: tempfile::TempDir,
    records: Vec<Record>,
    /// Syncs of the log that the engine counted.
    syncs: u64,
}

fn record(deaf: bool, rounds: u64) -> Recording {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("recorder.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_loss/recorder.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(compiled.success());
    let root = dir.path().join("disk");
    fs::create_dir(&root).unwrap();
    let log = dir.path().join("log");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("LD_PRELOAD", &library)
        .env("RECORDER_ROOT", &root)
        .env("RECORDER_LOG", &log);
    if std::env::var_os("POWER_LOSS_ROUNDS").is_none() {
        child.env("POWER_LOSS_ROUNDS", rounds.to_string());
    }
    if deaf {
        child.env("RECORDER_DEAF", "1");
    }
    assert!(child.status().unwrap().success());
    let syncs = fs::read_to_string(root.join("syncs"))
        .unwrap()
        .parse()
        .unwrap();
    let log = fs::read(log).unwrap();
    println!("{} bytes recorded, {syncs} syncs", log.len());
    Recording {
        records: model::parse(&log),
        root,
        _dir: dir,
        syncs,
    }
}

impl Recording {
    /// The handles that were opened on `name`, as they are opened.
    fn handles<'a>(&'a self, name: &str) -> impl Fn(&'a Record) -> Option<u32> + use<'a> {
        let wanted = self.root.join(name);
        move |record| match record {
            Record::Open { handle, path, .. } if *path == wanted => Some(*handle),
            _ => None,
        }
    }

    fn cut(&self, images: usize, mut random: Random) -> Vec<String> {
        let keep = std::env::var_os("POWER_LOSS_KEEP").map(PathBuf::from);
        let mut cuts: Vec<usize> = (0..images)
            .map(|_| random.below(self.records.len()))
            .collect();
        // The creation is a small part of the recording.
        cuts.extend((0..images / 10).map(|_| random.below(80)));
        cuts.sort_unstable();
        let opens_acks = self.handles("acks");
        let mut acks = None;
        let mut acked: BTreeMap<u64, u64> = BTreeMap::new();
        let mut disk = Disk::default();
        let mut position = 0;
        let mut failures = Vec::new();
        for cut in cuts {
            for record in &self.records[position..cut] {
                acks = opens_acks(record).or(acks);
                match record {
                    Record::Write { handle, data, .. } if Some(*handle) == acks => {
                        let (writer, n) = str::from_utf8(data)
                            .unwrap()
                            .trim()
                            .split_once(' ')
                            .unwrap();
                        acked.insert(writer.parse().unwrap(), n.parse().unwrap());
                    }
                    record => disk.replay(record),
                }
            }
            position = cut;
            let place = tempfile::tempdir().unwrap();
            let image = disk.cut(&mut random);
            let store = write_image(&self.root, &image, place.path());
            if let Err(problem) = check(&store, &acked) {
                failures.push(format!("cut at {cut}: {problem}"));
                if let Some(keep) = &keep {
                    let again = keep.join(format!("{}-{cut}", failures.len()));
                    fs::create_dir_all(&again).unwrap();
                    write_image(&self.root, &image, &again);
                }
            }
        }
        failures
    }
}

/// Puts the image of the store under `place`.
fn write_image(root: &Path, image: &Image, place: &Path) -> PathBuf {
    for (path, content) in image {
        let path = place.join(path.strip_prefix(root).unwrap());
        if !path.parent().unwrap().exists() {
            continue;
        }
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
    }
    place.join("store")
}

fn check(store: &Path, acked: &BTreeMap<u64, u64>) -> Result<(), String> {
    let engine = match Engine::open(store, EngineOptions::default()) {
        Ok(engine) => engine,
        // Cut during the creation, which must then work when repeated.
        Err(OpenError::NotInitialised { .. }) if acked.is_empty() => {
            return Engine::create(store, EngineOptions::default())
                .map(drop)
                .map_err(|error| format!("cannot create again: {error}"));
        }
        Err(error) => return Err(error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let looked = engine.read(|snapshot| {
            // One more may have been committed than was acknowledged.
            (1..=setting("POWER_LOSS_WRITERS", 48)).try_for_each(|writer| {
                let acked = acked.get(&writer).copied().unwrap_or(0);
                check_writer(snapshot, writer, acked)
            })
        });
        looked.await.map_err(|error| error.to_string())??;
        // And it still takes changes.
        let write = engine.write(|tx| {
            tx.put("after", "1");
            Ok::<_, Infallible>(())
        });
        write.await.map_err(|error| error.to_string()).map(|_| ())
    })
}

fn check_writer(snapshot: &mut Snapshot<'_>, writer: u64, acked: u64) -> Result<(), String> {
    let state = snapshot.get(state_key(writer).as_bytes());
    let n = match &state {
        None => 0,
        Some(state) => str::from_utf8(&state[..8]).unwrap().parse().unwrap(),
    };
    if n < acked || n > acked + 1 {
        return Err(format!("writer {writer}: {acked} acknowledged, {n} found"));
    }
    if n > 0 && state.as_deref() != Some(state_value(writer, n).as_bytes()) {
        return Err(format!("writer {writer}: state {n} is garbled"));
    }
    let trail = snapshot.scan_prefix(format!("audit/{writer:04}/").as_bytes(), None, usize::MAX);
    let expected: Vec<_> = (n.saturating_sub(TRAIL) + 1..=n)
        .map(|n| {
            (
                audit_key(writer, n).into_bytes(),
                audit_value(writer, n).into_bytes(),
            )
        })
        .collect();
    if trail != expected {
        let found: Vec<_> = trail
            .iter()
            .map(|(key, _)| String::from_utf8_lossy(key))
            .collect();
        return Err(format!("writer {writer}: state {n} with audit {found:?}"));
    }
    Ok(())
}

#[test]
fn acknowledged_changes_survive_a_power_cut() {
    let seed = setting("POWER_LOSS_SEED", u64::from(std::process::id()));
    println!("POWER_LOSS_SEED={seed}");
    let recording = record(false, 150);

    // One sync of the log per batch, by the engine's count and the system's.
    let opens_log = recording.handles("store/db");
    let opens_acks = recording.handles("acks");
    let mut logs = Vec::new();
    let mut syncs = None;
    for record in &recording.records {
        logs.extend(opens_log(record));
        if opens_acks(record).is_some() {
            // The store is there; count from here.
            syncs = Some(0);
        }
        if let (Record::SyncEnd { handle }, Some(syncs)) = (record, &mut syncs) {
            *syncs += u64::from(logs.last() == Some(handle));
        }
    }
    assert_eq!(syncs, Some(recording.syncs));

    let images = setting("POWER_LOSS_IMAGES", 100) as usize;
    let failures = recording.cut(images, Random(seed));
    assert!(
        failures.is_empty(),
        "{} images: {failures:#?}",
        failures.len()
    );
}

/// The same with the engine's own sync unheard: if this found nothing, the
/// test above would prove nothing.
#[test]
fn the_model_notices_a_missing_sync() {
    let failures = record(true, 20).cut(20, Random(1));
    assert!(failures.len() >= 10, "only {failures:#?}");
}
