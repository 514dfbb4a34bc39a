//! A process killed in the middle of its work loses nothing it acknowledged,
//! and while it lives nobody else gets at its directory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use countersign_server::store::engine::{Engine, EngineOptions, OpenError};

const WRITERS: u64 = 64;
const DIRECTORY: &str = "ENGINE_KILL_DIRECTORY";

fn state_key(writer: u64) -> String {
    format!("state/{writer:03}")
}

fn audit_key(writer: u64, n: u64) -> String {
    format!("audit/{writer:03}/{n:08}")
}

fn value(writer: u64, n: u64) -> String {
    format!("{n:08} {}", "x".repeat(((writer + n) % 400) as usize))
}

/// The process that is killed: counts up per writer, printing what was
/// acknowledged.
#[test]
#[ignore = "run by the others as a process of its own"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let engine = Engine::open(Path::new(&directory), EngineOptions::default()).unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let engine = engine.clone();
            writers.spawn(async move {
                loop {
                    let write = engine.write(move |tx| {
                        let n = 1 + tx.get(state_key(writer).as_bytes()).map_or(0, count);
                        tx.put(state_key(writer), value(writer, n));
                        tx.put(audit_key(writer, n), value(writer, n));
                        tx.delete(audit_key(writer, n.saturating_sub(5)));
                        Ok::<_, Infallible>(n)
                    });
                    let n = write.await.unwrap().unwrap();
                    println!("ack {writer} {n}");
                }
            });
        }
        writers.join_next().await.unwrap().unwrap();
    });
}

fn count(value: Vec<u8>) -> u64 {
    str::from_utf8(&value[..8]).unwrap().parse().unwrap()
}

/// Kills and reaps a child that a failed assertion would leave behind.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(directory: &Path) -> Killed {
    Killed(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    )
}

#[test]
fn what_was_acknowledged_outlives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    drop(Engine::create(&store, EngineOptions::default()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut acked: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..20 {
        let mut child = start(&store);
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        // A different number of answers each time, so that it dies at
        // different points of a batch.
        let mut answers = 1000 + 37 * round;
        for line in lines {
            let line = line.unwrap();
            if let Some((_, ack)) = line.split_once("ack ") {
                // What was written of a last line does not count.
                let Some((writer, n)) = ack.split_once(' ') else {
                    continue;
                };
                let (Ok(writer), Ok(n)) = (writer.parse(), n.parse::<u64>()) else {
                    continue;
                };
                let last = acked.entry(writer).or_default();
                *last = n.max(*last);
                if answers == 0 {
                    // What it still answers until it dies counts too.
                    continue;
                }
                answers -= 1;
                if answers == 500 {
                    match Engine::open(&store, EngineOptions::default()) {
                        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, Some(child.0.id())),
                        other => panic!("opened twice: {other:?}"),
                    }
                }
                if answers == 0 {
                    child.0.kill().unwrap();
                }
            }
        }
        assert_eq!(answers, 0, "the child ended by itself");
        drop(child);

        let engine = Engine::open(&store, EngineOptions::default()).unwrap();
        for writer in 0..WRITERS {
            let acked = acked.get(&writer).copied().unwrap_or(0);
            let prefix = format!("audit/{writer:03}/");
            let (state, trail) = runtime
                .block_on(engine.read(|snapshot| {
                    (
                        snapshot.get(state_key(writer).as_bytes()),
                        snapshot.scan_prefix(prefix.as_bytes(), None, usize::MAX),
                    )
                }))
                .unwrap();
            let n = state.clone().map_or(0, count);
            assert!(
                n == acked || n == acked + 1,
                "round {round}, writer {writer}: {acked} acknowledged, {n} found"
            );
            let expected: Vec<_> = (n.saturating_sub(5) + 1..=n)
                .map(|n| {
                    (
                        audit_key(writer, n).into_bytes().into(),
                        value(writer, n).into_bytes(),
                    )
                })
                .collect();
            assert_eq!(trail, expected, "round {round}, writer {writer}");
        }
        // The next round counts on from what is there.
        drop(engine);
    }
}

#[test]
fn a_second_opener_in_the_same_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let engine = Engine::create(&store, EngineOptions::default()).unwrap();
    let refused = Engine::open(&store, EngineOptions::default()).unwrap_err();
    assert!(
        matches!(refused, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id())
    );
    assert!(
        refused
            .to_string()
            .contains(&format!("process {}", std::process::id()))
    );
    drop(engine);
    for _ in 0..20 {
        drop(Engine::open(&store, EngineOptions::default()).unwrap());
    }
}
