#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tempfile::TempDir;

use super::*;

/// Lets a test stop the writer between apply and sync, and fail the sync.
struct Gate {
    hooks: Hooks,
    /// One message each time the writer stands at the gate.
    arrived: mpsc::Receiver<()>,
    /// One message lets it go on; dropping it opens the gate for good.
    go: mpsc::Sender<io::Result<()>>,
}

fn gate() -> Gate {
    let (arrive, arrived) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    Gate {
        hooks: Hooks {
            before_sync: Arc::new(move || {
                if arrive.send(()).is_err() {
                    return Ok(());
                }
                wait.lock().recv().unwrap_or(Ok(()))
            }),
            ..Hooks::default()
        },
        arrived,
        go,
    }
}

fn options() -> EngineOptions {
    EngineOptions::default()
}

fn fresh() -> (TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::create(dir.path(), options()).unwrap();
    (dir, engine)
}

fn gated(options: EngineOptions) -> (TempDir, Engine, Gate) {
    let dir = tempfile::tempdir().unwrap();
    drop(Engine::create(dir.path(), options.clone()).unwrap());
    let gate = gate();
    let disk = disk::open(dir.path(), &options).unwrap();
    let engine = Engine::start(disk, options, gate.hooks.clone()).unwrap();
    (dir, engine, gate)
}

async fn put(engine: &Engine, key: &str, value: &str) -> Result<(), EngineError> {
    let (key, value) = (key.to_owned(), value.to_owned());
    engine
        .write(move |tx| {
            tx.put(key, value);
            Ok::<_, Infallible>(())
        })
        .await
        .map(|result| match result {
            Ok(()) => {}
        })
}

async fn get(engine: &Engine, key: &str) -> Option<String> {
    engine
        .read(|snapshot| snapshot.get(key.as_bytes()))
        .await
        .unwrap()
        .map(|value| String::from_utf8(value).unwrap())
}

async fn keys(engine: &Engine, prefix: &str, from: Option<&str>, limit: usize) -> Vec<String> {
    engine
        .read(|snapshot| snapshot.scan_prefix(prefix.as_bytes(), from.map(str::as_bytes), limit))
        .await
        .unwrap()
        .into_iter()
        .map(|(key, _)| String::from_utf8(key.to_vec()).unwrap())
        .collect()
}

/// Starts a write and polls it once, so that it is queued.
fn start<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let mut future = Box::pin(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    tokio::spawn(future)
}

fn write(
    engine: &Engine,
    f: impl FnOnce(&mut Tx<'_>) -> Result<u32, &'static str> + Send + 'static,
) -> tokio::task::JoinHandle<Result<Result<u32, &'static str>, EngineError>> {
    let engine = engine.clone();
    start(async move { engine.write(f).await })
}

#[tokio::test]
async fn a_write_is_read_back_and_survives_reopening() {
    let (dir, engine) = fresh();
    put(&engine, "a", "1").await.unwrap();
    assert_eq!(get(&engine, "a").await.as_deref(), Some("1"));
    assert_eq!(get(&engine, "b").await, None);
    engine.close().await.unwrap();
    assert_eq!(put(&engine, "a", "2").await, Err(EngineError::Unavailable));
    assert_eq!(engine.read(|_| ()).await, Err(EngineError::Unavailable));
    engine.close().await.unwrap();
    let again = Engine::open(dir.path(), options()).unwrap();
    assert_eq!(get(&again, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn dropping_the_last_clone_commits_and_releases() {
    let (dir, engine) = fresh();
    engine.write_lazy(|tx| tx.put("lazy", "1")).unwrap();
    drop(engine);
    let engine = Engine::open(dir.path(), options()).unwrap();
    assert_eq!(get(&engine, "lazy").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn commands_of_one_batch_see_each_other_and_share_one_sync() {
    let (_dir, engine, gate) = gated(options());
    let first = write(&engine, |tx| {
        tx.put("first", "");
        Ok(0)
    });
    gate.arrived.recv().unwrap();
    // These two wait behind the first and so form one batch.
    let decide = |name: &'static str| {
        move |tx: &mut Tx<'_>| match tx.get(b"decision") {
            Some(_) => Err("decided already"),
            None => {
                tx.put("decision", name);
                tx.put(format!("audit/{name}"), "");
                Ok(1)
            }
        }
    };
    let (winner, loser) = (
        write(&engine, decide("approve")),
        write(&engine, decide("deny")),
    );
    gate.go.send(Ok(())).unwrap();
    gate.arrived.recv().unwrap();
    assert!(!winner.is_finished() && !loser.is_finished());
    gate.go.send(Ok(())).unwrap();
    assert_eq!(first.await.unwrap(), Ok(Ok(0)));
    assert_eq!(winner.await.unwrap(), Ok(Ok(1)));
    assert_eq!(loser.await.unwrap(), Ok(Err("decided already")));
    assert_eq!(get(&engine, "decision").await.as_deref(), Some("approve"));
    assert_eq!(keys(&engine, "audit/", None, 10).await, ["audit/approve"]);
    let stats = engine.stats();
    assert_eq!((stats.batches, stats.syncs, stats.commands), (2, 2, 3));
    drop(gate.go);
}

#[tokio::test]
async fn a_failed_command_takes_back_only_its_own_writes() {
    let (_dir, engine, gate) = gated(options());
    let first = write(&engine, |tx| {
        tx.put("kept", "stored");
        tx.put("gone", "stored");
        Ok(0)
    });
    gate.arrived.recv().unwrap();
    let before = write(&engine, |tx| {
        tx.put("mine", "before");
        tx.delete("gone");
        Ok(0)
    });
    let called = Arc::new(AtomicBool::new(false));
    let call = Arc::clone(&called);
    let failed = write(&engine, move |tx| {
        tx.put("mine", "failed");
        tx.put("mine", "failed twice");
        tx.put("gone", "back");
        tx.delete("kept");
        tx.put("new", "failed");
        tx.after_commit(Box::new(move || call.store(true, SeqCst)));
        assert_eq!(tx.get(b"mine").as_deref(), Some(&b"failed twice"[..]));
        assert_eq!(tx.get(b"kept"), None);
        Err("no")
    });
    let after = write(&engine, |tx| {
        assert_eq!(tx.get(b"mine").as_deref(), Some(&b"before"[..]));
        assert_eq!(tx.get(b"gone"), None);
        assert_eq!(tx.get(b"new"), None);
        Ok(0)
    });
    drop(gate.go);
    assert_eq!(failed.await.unwrap(), Ok(Err("no")));
    for ok in [first, before, after] {
        assert_eq!(ok.await.unwrap(), Ok(Ok(0)));
    }
    assert!(!called.load(SeqCst));
    assert_eq!(keys(&engine, "", Some("a"), 10).await, ["kept", "mine"]);
    assert_eq!(get(&engine, "mine").await.as_deref(), Some("before"));
}

#[tokio::test]
async fn readers_see_only_what_is_synced() {
    let (_dir, engine, gate) = gated(options());
    let setup = write(&engine, |tx| {
        tx.put("p/changed", "old");
        tx.put("p/deleted", "old");
        Ok(0)
    });
    gate.arrived.recv().unwrap();
    assert_eq!(get(&engine, "p/changed").await, None);
    gate.go.send(Ok(())).unwrap();
    assert_eq!(setup.await.unwrap(), Ok(Ok(0)));

    let change = write(&engine, |tx| {
        tx.put("p/changed", "new");
        tx.put("p/added", "new");
        tx.delete("p/deleted");
        Ok(0)
    });
    gate.arrived.recv().unwrap();
    // Applied to the tree by now, but not synced.
    assert_eq!(get(&engine, "p/changed").await.as_deref(), Some("old"));
    assert_eq!(get(&engine, "p/added").await, None);
    assert_eq!(
        keys(&engine, "p/", None, 10).await,
        ["p/changed", "p/deleted"]
    );
    gate.go.send(Ok(())).unwrap();
    assert_eq!(change.await.unwrap(), Ok(Ok(0)));
    assert_eq!(get(&engine, "p/changed").await.as_deref(), Some("new"));
    assert_eq!(
        keys(&engine, "p/", None, 10).await,
        ["p/added", "p/changed"]
    );
    drop(gate.go);
}

#[tokio::test]
async fn callbacks_run_after_the_sync_and_before_the_answer() {
    let (_dir, engine, gate) = gated(options());
    let called = Arc::new(AtomicU64::new(0));
    let (call, seen) = (Arc::clone(&called), engine.clone());
    let answer = write(&engine, move |tx| {
        tx.put("k", "v");
        tx.after_commit(Box::new(move || {
            // A waiter woken by this reads what woke it.
            let view = seen.shared.view.read();
            assert!(view.recent.contains_key(b"k".as_slice()));
            call.fetch_add(1, SeqCst);
        }));
        Ok(0)
    });
    gate.arrived.recv().unwrap();
    assert_eq!(called.load(SeqCst), 0);
    drop(gate.go);
    assert_eq!(answer.await.unwrap(), Ok(Ok(0)));
    assert_eq!(called.load(SeqCst), 1);
}

#[tokio::test]
async fn a_failed_sync_is_unknown_and_final() {
    let (fatal, reasons) = mpsc::channel();
    let fatal = Mutex::new(fatal);
    let (_dir, engine, gate) = gated(EngineOptions {
        on_fatal: Some(Arc::new(move |reason| fatal.lock().send(reason).unwrap())),
        ..options()
    });
    put_through(&engine, &gate, "old").await;
    let called = Arc::new(AtomicBool::new(false));
    let call = Arc::clone(&called);
    let lost = write(&engine, move |tx| {
        tx.put("k", "new");
        tx.after_commit(Box::new(move || call.store(true, SeqCst)));
        Ok(0)
    });
    gate.arrived.recv().unwrap();
    let refused = write(&engine, |_| Err("must not run"));
    gate.go
        .send(Err(io::Error::from(io::ErrorKind::StorageFull)))
        .unwrap();
    assert_eq!(lost.await.unwrap(), Err(EngineError::Unknown));
    assert_eq!(refused.await.unwrap(), Err(EngineError::Unavailable));
    assert_eq!(
        put(&engine, "k", "newer").await,
        Err(EngineError::Unavailable)
    );
    assert_eq!(engine.write_lazy(|_| ()), Err(EngineError::Unavailable));
    assert_eq!(
        engine.read(|snapshot| snapshot.get(b"k")).await,
        Err(EngineError::Unavailable)
    );
    assert_eq!(engine.close().await, Err(EngineError::Unavailable));
    assert!(reasons.recv().unwrap().contains("sync"));
    assert!(reasons.try_recv().is_err());
    assert!(!called.load(SeqCst));
    assert!(gate.arrived.try_recv().is_err(), "a sync was tried again");
}

async fn put_through(engine: &Engine, gate: &Gate, value: &'static str) {
    let done = write(engine, move |tx| {
        tx.put("k", value);
        Ok(0)
    });
    gate.arrived.recv().unwrap();
    gate.go.send(Ok(())).unwrap();
    assert_eq!(done.await.unwrap(), Ok(Ok(0)));
}

#[tokio::test]
async fn a_panicking_command_stops_the_engine() {
    let (fatal, reasons) = mpsc::channel();
    let fatal = Mutex::new(fatal);
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::create(
        dir.path(),
        EngineOptions {
            on_fatal: Some(Arc::new(move |reason| fatal.lock().send(reason).unwrap())),
            ..options()
        },
    )
    .unwrap();
    let answer = engine
        .write(|_| -> Result<(), ()> { panic!("on purpose") })
        .await;
    assert_eq!(answer, Err(EngineError::Unknown));
    assert!(reasons.recv().unwrap().contains("panicked"));
    assert_eq!(put(&engine, "k", "v").await, Err(EngineError::Unavailable));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (_dir, engine, gate) = gated(EngineOptions {
        queue_capacity: 2,
        ..options()
    });
    let first = write(&engine, |tx| {
        tx.put("first", "");
        Ok(0)
    });
    gate.arrived.recv().unwrap();
    let waiting = [write(&engine, |_| Ok(1)), write(&engine, |_| Ok(2))];
    assert_eq!(engine.stats().queue_depth, 2);
    assert_eq!(put(&engine, "k", "v").await, Err(EngineError::Overloaded));
    assert_eq!(engine.write_lazy(|_| ()), Err(EngineError::Overloaded));
    assert_eq!(engine.stats().refused, 2);
    drop(gate.go);
    assert_eq!(first.await.unwrap(), Ok(Ok(0)));
    for (n, answer) in (1..).zip(waiting) {
        assert_eq!(answer.await.unwrap(), Ok(Ok(n)));
    }
    put(&engine, "k", "v").await.unwrap();
}

#[tokio::test]
async fn batches_end_at_their_limits() {
    // Commands per batch, keys per command, bytes per value, batches for four
    // commands that wait.
    for (commands, keys, size, batches) in [
        (512, 1, 1, 1),
        (2, 1, 1, 2),
        (512, MAX_COMMAND_WRITES / 2, 1, 2),
        (512, MAX_COMMAND_WRITES, 1, 4),
        (512, 32, MAX_VALUE, 2),
    ] {
        let (_dir, engine, gate) = gated(EngineOptions {
            batch_commands: commands,
            ..options()
        });
        let mut answers = vec![write(&engine, |tx| {
            tx.put("first", "");
            Ok(0)
        })];
        gate.arrived.recv().unwrap();
        for command in 0..4 {
            answers.push(write(&engine, move |tx| {
                for key in 0..keys {
                    tx.put(format!("{command}/{key}"), vec![0; size]);
                }
                Ok(0)
            }));
        }
        drop(gate.go);
        for answer in answers {
            assert_eq!(answer.await.unwrap(), Ok(Ok(0)));
        }
        assert_eq!(engine.stats().batches, 1 + batches);
    }
}

#[tokio::test]
async fn what_changes_nothing_is_not_synced() {
    let (_dir, engine) = fresh();
    put(&engine, "k", "v").await.unwrap();
    let syncs = engine.stats().syncs;
    let refused = engine
        .write(|tx| {
            tx.put("k", "w");
            Err::<(), _>("no")
        })
        .await;
    assert_eq!(refused, Ok(Err("no")));
    assert_eq!(engine.stats().syncs, syncs);
    assert_eq!(get(&engine, "k").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn lazy_commands_commit_without_company() {
    let (_dir, engine) = fresh();
    let (tell, told) = oneshot::channel();
    engine
        .write_lazy(move |tx| {
            tx.put("lazy", "1");
            tx.after_commit(Box::new(move || tell.send(()).unwrap()));
        })
        .unwrap();
    told.await.unwrap();
    assert_eq!(get(&engine, "lazy").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn lazy_commands_ride_along_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::create(
        dir.path(),
        EngineOptions {
            // Long enough that only the command behind it can bring it along.
            lazy_delay: Duration::from_secs(3600),
            ..options()
        },
    )
    .unwrap();
    engine.write_lazy(|tx| tx.put("lazy", "1")).unwrap();
    let seen = engine
        .write(|tx| Ok::<_, Infallible>(tx.get(b"lazy")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen.as_deref(), Some(&b"1"[..]));
    assert_eq!(engine.stats().batches, 1);
    engine.write_lazy(|tx| tx.put("lazy", "2")).unwrap();
    engine.close().await.unwrap();
    let engine = Engine::open(dir.path(), options()).unwrap();
    assert_eq!(get(&engine, "lazy").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn who_goes_along_is_answered_with_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let lazy_delay = Duration::from_secs(3600);
    let options = EngineOptions {
        lazy_delay,
        ..options()
    };
    let engine = Engine::create(dir.path(), options).unwrap();
    let mut along = std::pin::pin!(engine.write_along(|tx| {
        tx.put("along", "1");
        Ok::<_, Infallible>(7)
    }));
    assert!(along.as_mut().now_or_never().is_none());
    // Whoever were in a hurry would be gone by now: this only lets a broken one fail.
    for _ in 0..10_000 {
        std::thread::yield_now();
    }
    engine
        .write(|_| Ok::<_, Infallible>(()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(along.await.unwrap(), Ok(7));
    assert_eq!(engine.stats().batches, 1);
    // Alone it is brought along by nobody, but does not wait for ever.
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::create(dir.path(), self::options()).unwrap();
    let alone = engine.write_along(|_| Ok::<_, Infallible>(8));
    assert_eq!(alone.await.unwrap(), Ok(8));
}

#[tokio::test]
async fn oversized_records_are_refused_whole() {
    let (_dir, engine) = fresh();
    let answer = engine
        .write(|tx| {
            tx.put("small", "");
            tx.put("large", vec![0; MAX_VALUE + 1]);
            Ok::<_, Infallible>(())
        })
        .await;
    let (size, limit) = (MAX_VALUE + 1, MAX_VALUE);
    assert_eq!(answer, Err(EngineError::TooLarge { size, limit }));
    assert_eq!(get(&engine, "small").await, None);
    let (size, limit) = (MAX_KEY + 1, MAX_KEY);
    assert_eq!(
        put(&engine, &"k".repeat(size), "").await,
        Err(EngineError::TooLarge { size, limit })
    );
    put(&engine, &"k".repeat(MAX_KEY), &"v".repeat(MAX_VALUE))
        .await
        .unwrap();
    for (keys, size) in [(MAX_COMMAND_WRITES + 1, 0), (64, MAX_VALUE)] {
        let answer = engine
            .write(move |tx| {
                for key in 0..keys {
                    tx.put(format!("many/{key}"), vec![0; size]);
                }
                Ok::<_, Infallible>(())
            })
            .await;
        assert!(matches!(answer, Err(EngineError::TooLarge { .. })));
    }
    assert_eq!(keys(&engine, "many", None, 1).await.len(), 0);
}

#[tokio::test]
async fn scans_merge_overlay_and_tree() {
    let (_dir, engine) = fresh();
    for key in ["o", "p", "p/b", "p/d", "p/f", "p\u{7f}", "q"] {
        put(&engine, key, "tree").await.unwrap();
    }
    let seen = engine
        .write(|tx| {
            for key in ["p/a", "p/d", "p/g"] {
                tx.put(key, "tx");
            }
            tx.delete("p/b");
            let all = tx.scan_prefix(b"p/", None, 10);
            let page = tx.scan_prefix(b"p/", Some(b"p/d"), 2);
            let past = tx.scan_prefix(b"p/", Some(b"q"), 2);
            let none = tx.scan_prefix(b"p/", None, 0);
            Ok::<_, Infallible>([all, page, past, none])
        })
        .await
        .unwrap()
        .unwrap();
    let shown = seen.map(|pairs| {
        pairs
            .iter()
            .map(|(key, value)| {
                let (key, value) = (str::from_utf8(key).unwrap(), str::from_utf8(value).unwrap());
                format!("{key}={value}")
            })
            .collect::<Vec<_>>()
            .join(" ")
    });
    assert_eq!(
        shown,
        ["p/a=tx p/d=tx p/f=tree p/g=tx", "p/d=tx p/f=tree", "", ""]
    );
    assert_eq!(keys(&engine, "p/", None, 3).await, ["p/a", "p/d", "p/f"]);
}

#[tokio::test]
async fn a_prefix_of_the_highest_bytes_has_an_end() {
    let (_dir, engine) = fresh();
    engine
        .write(|tx| {
            tx.put([0xfe], "");
            tx.put([0xff, 0xff], "");
            tx.put([0xff, 0xff, 1], "");
            Ok::<_, Infallible>(())
        })
        .await
        .unwrap()
        .unwrap();
    let found = |prefix: Vec<u8>| {
        let engine = engine.clone();
        async move {
            let pairs = engine.read(|snapshot| snapshot.scan_prefix(&prefix, None, 9));
            pairs.await.unwrap().len()
        }
    };
    assert_eq!(found(vec![0xff, 0xff]).await, 2);
    assert_eq!(found(vec![0xfe]).await, 1);
    assert_eq!(found(vec![0xff, 0xff, 2]).await, 0);
}

#[tokio::test]
async fn the_schema_version_moves_forward_only() {
    let (dir, engine) = fresh();
    assert_eq!(engine.schema_version(), 1);
    engine.close().await.unwrap();
    let supported = |schema_version| EngineOptions {
        schema_version,
        ..options()
    };
    let engine = Engine::open(dir.path(), supported(3)).unwrap();
    assert_eq!(engine.schema_version(), 1);
    engine
        .write(|tx| {
            tx.set_schema_version(3);
            Ok::<_, Infallible>(())
        })
        .await
        .unwrap()
        .unwrap();
    engine.close().await.unwrap();
    assert!(matches!(
        Engine::open(dir.path(), supported(2)),
        Err(OpenError::NewerVersion {
            found: 3,
            supported: 2,
            ..
        })
    ));
    assert_eq!(
        Engine::open(dir.path(), supported(3))
            .unwrap()
            .schema_version(),
        3
    );
}
