//! No acknowledged change is lost to a power cut.
//!
//! A child process works on a store while `recorder.c` writes down every write
//! and sync it asks of the disk. The recording is then cut at random points,
//! what was not synced is kept or lost at random, and the result opened: what
//! was acknowledged before the cut must be there, and no command may be half
//! there.
//!
//! `POWER_LOSS_SEED` repeats a run's cuts on a new recording;
//! `POWER_LOSS_IMAGES`, `POWER_LOSS_WRITERS` and `POWER_LOSS_ROUNDS` make it
//! larger; `POWER_LOSS_KEEP=DIRECTORY` keeps the images that failed;
//! `POWER_LOSS_STRICT=1` lets nothing but its directory's sync keep a name.
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

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use countersign_server::store::engine::{Engine, EngineOptions, OpenError, Snapshot, Tx};
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

/// With journals so small that they go into the tree all the time.
fn recorded() -> EngineOptions {
    EngineOptions {
        journal_bytes: setting("CHILD_JOURNAL", 16 << 20),
        ..EngineOptions::default()
    }
}

/// The process that is recorded: each writer moves its state on, adds an audit
/// entry and removes an old one, all in one command, and notes what was
/// acknowledged. All generations but the last end in the middle of that.
#[test]
#[ignore = "run by the others as a process of its own"]
fn child() {
    let Some(root) = std::env::var_os("RECORDER_ROOT").map(PathBuf::from) else {
        return;
    };
    let (writers, rounds) = (setting("CHILD_WRITERS", 0), setting("CHILD_ROUNDS", 0));
    let last = std::env::var_os("CHILD_LAST").is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = root.join("store");
        let engine = if store.exists() {
            Engine::open(&store, recorded()).unwrap()
        } else {
            Engine::create(&store, recorded()).unwrap()
        };
        let path = root.join("acks");
        let acks = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        let acks = Arc::new(acks);
        let (enough, mut ended) = tokio::sync::mpsc::unbounded_channel();
        for writer in 1..=writers {
            let (engine, acks, enough) = (engine.clone(), Arc::clone(&acks), enough.clone());
            tokio::spawn(async move {
                for round in 1.. {
                    let command = move |tx: &mut Tx<'_>| {
                        let n = 1 + tx.get(state_key(writer).as_bytes()).map_or(0, count);
                        tx.put(state_key(writer), state_value(writer, n));
                        tx.put(audit_key(writer, n), audit_value(writer, n));
                        if n > TRAIL {
                            tx.delete(audit_key(writer, n - TRAIL));
                        }
                        Ok::<_, Infallible>(n)
                    };
                    let n = engine.write(command).await.unwrap().unwrap();
                    (&*acks)
                        .write_all(format!("{writer} {n}\n").as_bytes())
                        .unwrap();
                    if round == rounds {
                        enough.send(()).unwrap();
                        if last {
                            break;
                        }
                    }
                }
            });
        }
        drop(enough);
        for _ in 0..writers {
            ended.recv().await.unwrap();
        }
        if last {
            fs::write(root.join("syncs"), engine.stats().syncs.to_string()).unwrap();
        }
        // Neither closed nor dropped: what that adds must not be needed.
        std::process::exit(0);
    });
}

fn count(state: Vec<u8>) -> u64 {
    str::from_utf8(&state[..8]).unwrap().parse().unwrap()
}

/// How much a recorded process does.
#[derive(Clone, Copy)]
struct Work {
    /// How often the process is started on the same store.
    generations: u64,
    writers: u64,
    /// Commands of each writer per generation, at least.
    rounds: u64,
    /// How large a journal becomes before it is taken into the tree.
    journal: u64,
}

struct Recording {
    root: PathBuf,
    _dir: tempfile::TempDir,
    records: Vec<Record>,
    work: Work,
    /// Syncs of the log that the engine counted in the last generation.
    syncs: u64,
}

fn record(work: Work, deaf: bool) -> Recording {
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
    for generation in 1..=work.generations {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env("LD_PRELOAD", &library)
            .env("RECORDER_ROOT", &root)
            .env("RECORDER_LOG", &log)
            .env("CHILD_WRITERS", work.writers.to_string())
            .env("CHILD_ROUNDS", work.rounds.to_string())
            .env("CHILD_JOURNAL", work.journal.to_string());
        if generation == work.generations {
            child.env("CHILD_LAST", "1");
        }
        if deaf {
            child.env("RECORDER_DEAF", "1");
        }
        let ended = child.output().unwrap();
        assert!(
            ended.status.success(),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }
    let syncs = fs::read_to_string(root.join("syncs"))
        .unwrap()
        .parse()
        .unwrap();
    let log = fs::read(log).unwrap();
    println!(
        "{} bytes recorded, {syncs} syncs in the last generation",
        log.len()
    );
    Recording {
        records: model::parse(&log),
        root,
        _dir: dir,
        work,
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

    /// From where to where each generation created or opened its store.
    fn starts(&self) -> Vec<Range<usize>> {
        let opens_lock = self.handles("store/lock");
        let opens_acks = self.handles("acks");
        let mut starts = Vec::new();
        let mut start = 0;
        for (at, record) in self.records.iter().enumerate() {
            if opens_lock(record).is_some() {
                start = at;
            } else if opens_acks(record).is_some() {
                starts.push(start..at);
            }
        }
        starts
    }

    fn cut(&self, images: usize, mut random: Random) -> Vec<String> {
        let keep = std::env::var_os("POWER_LOSS_KEEP").map(PathBuf::from);
        let mut cuts: Vec<usize> = (0..images)
            .map(|_| random.below(self.records.len()))
            .collect();
        // Creating and opening are small parts of the recording.
        let starts = self.starts();
        cuts.extend((0..images / 2).map(|_| {
            let start = &starts[random.below(starts.len())];
            start.start + random.below(start.len())
        }));
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
            let place = scratch();
            let image = disk.cut(&mut random);
            let store = write_image(&self.root, &image, place.path());
            if let Err(problem) = check(&store, self.work, &acked) {
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

fn check(store: &Path, work: Work, acked: &BTreeMap<u64, u64>) -> Result<(), String> {
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
        check_all(&engine, work, acked).await?;
        // It still takes changes, and a later start finds them and the rest.
        let write = engine.write(|tx| {
            tx.put("after", "1");
            Ok::<_, Infallible>(())
        });
        let Ok(()) = write.await.map_err(|error| error.to_string())?;
        engine.close().await.map_err(|error| error.to_string())?;
        let engine = Engine::open(store, EngineOptions::default())
            .map_err(|error| format!("the second time: {error}"))?;
        check_all(&engine, work, acked)
            .await
            .map_err(|error| format!("the second time: {error}"))?;
        let after = engine.read(|snapshot| snapshot.get(b"after")).await;
        match after {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("the change after the cut: {other:?}")),
        }
    })
}

async fn check_all(engine: &Engine, work: Work, acked: &BTreeMap<u64, u64>) -> Result<(), String> {
    let looked = engine.read(|snapshot| {
        (1..=work.writers).try_for_each(|writer| {
            let acked = acked.get(&writer).copied().unwrap_or(0);
            check_writer(snapshot, writer, acked, work.generations)
        })
    });
    looked.await.map_err(|error| error.to_string())?
}

/// A directory in memory where there is one: the images need no syncing.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn check_writer(
    snapshot: &mut Snapshot<'_>,
    writer: u64,
    acked: u64,
    generations: u64,
) -> Result<(), String> {
    let state = snapshot.get(state_key(writer).as_bytes());
    let n = state.clone().map_or(0, count);
    // Each generation may have committed one more than it acknowledged.
    if n < acked || n > acked + generations {
        return Err(format!("writer {writer}: {acked} acknowledged, {n} found"));
    }
    if n > 0 && state.as_deref() != Some(state_value(writer, n).as_bytes()) {
        return Err(format!("writer {writer}: state {n} is garbled"));
    }
    let trail = snapshot.scan_prefix(format!("audit/{writer:04}/").as_bytes(), None, usize::MAX);
    let expected: Vec<_> = (n.saturating_sub(TRAIL) + 1..=n)
        .map(|n| {
            (
                audit_key(writer, n).into_bytes().into(),
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
    let images = setting("POWER_LOSS_IMAGES", 30) as usize;
    // Many small batches over several starts, taken into the tree all the time,
    // then now and then; then batches as large as they get.
    for (generations, writers, rounds, journal) in [
        (4, 48, 60, 32 << 10),
        (4, 48, 60, 512 << 10),
        (2, 600, 12, 4 << 20),
    ] {
        let work = Work {
            generations,
            writers: setting("POWER_LOSS_WRITERS", writers),
            rounds: setting("POWER_LOSS_ROUNDS", rounds),
            journal,
        };
        let recording = record(work, false);
        one_sync_per_batch(&recording);
        let failures = recording.cut(images, Random(seed));
        let count = failures.len();
        assert!(failures.is_empty(), "{count} of {images}: {failures:#?}");
    }
}

/// By the engine's own count and by what the system was asked.
fn one_sync_per_batch(recording: &Recording) {
    let journal = recording.root.join("store/journal.");
    let journal = journal.to_str().unwrap();
    let opens_acks = recording.handles("acks");
    let mut journals = BTreeSet::new();
    let mut syncs = 0;
    for record in &recording.records {
        if let Record::Open { handle, path, .. } = record
            && path.to_str().unwrap().starts_with(journal)
        {
            journals.insert(*handle);
        }
        if opens_acks(record).is_some() {
            // A generation begins its work.
            syncs = 0;
        }
        // One that is made is synced with its name.
        if let Record::SyncBegin {
            handle,
            names: false,
        } = record
        {
            syncs += u64::from(journals.contains(handle));
        }
    }
    assert_eq!(syncs, recording.syncs);
}

/// The same with the engine's own sync unheard: if this found nothing, the
/// test above would prove nothing.
#[test]
fn the_model_notices_a_missing_sync() {
    let work = Work {
        generations: 1,
        writers: 48,
        rounds: 20,
        journal: 64 << 10,
    };
    let failures = record(work, true).cut(12, Random(1));
    assert!(failures.len() >= 6, "only {failures:#?}");
}
