//! A store written anew without what has left it, so that its room goes back to
//! the system: sled takes room again, but hardly ever gives it back.
//!
//! All rows go into a new store, `compacting/`, which is opened once more and
//! compared with the old one row by row. Only then a mark in there (`whole`) says
//! that it is the store: the next opening puts its log in the place of the old
//! one, whenever and however often that is interrupted. Without the mark an
//! opening throws it away.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use sled::{Batch, Db};

use super::disk::{
    self, LINGERING, LOG, PANICKED, WATERMARK, io_error, number, snapshots, sync, write_whole,
};
use super::error::OpenError;
use super::fault;
use super::tx::guarded;
use super::{Engine, EngineOptions};

/// The new store, within the old one's directory.
const COPY: &str = "compacting";
/// In there: all of it is there and durable. Holds the number of the last batch in
/// it: a store that has gone on since is not to be put back.
const WHOLE: &str = "whole";

/// Rows that go into the copy at a time. They may be more than a store that counts
/// may log between two syncs: an unfinished copy is never trusted.
const STEP: usize = 256;
/// How many times that goes between two flushes, so that what waits stays small.
const STEPS: usize = 64;

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// What the store's log took on disk, bytes.
    pub before: u64,
    /// What it takes now: about as much where there was little to be gained.
    pub after: u64,
}

/// Before each step that changes the directory. An error is what a crash in that
/// moment would be; only tests have any.
pub(super) type Before<'a> = &'a mut dyn FnMut() -> io::Result<()>;

fn log_bytes(dir: &Path) -> Result<u64, OpenError> {
    let path = dir.join(LOG);
    let found = fs::metadata(&path).map_err(io_error("look at", &path))?;
    Ok(found.blocks().saturating_mul(512))
}

/// Compacts a store that nobody has open.
pub(super) fn run(dir: &Path, options: &EngineOptions) -> Result<Compacted, OpenError> {
    let failed = Arc::new(Mutex::new(None));
    let note = Arc::clone(&failed);
    let noting = EngineOptions {
        on_fatal: Some(Arc::new(move |reason| *note.lock() = Some(reason))),
        ..options.clone()
    };
    // Takes what the journals hold into the tree, and empties them.
    let engine = Engine::open(dir, noting)?;
    // So that no program which knows nothing of compactions takes the store until
    // this one has ended: it would put an old state back.
    let schema = options.schema_version;
    let raised = match engine.schema_version() < schema {
        true => engine.write_lazy(move |tx| tx.set_schema_version(schema)),
        false => Ok(()),
    };
    drop(engine);
    let reason = failed.lock().take();
    if let Some(reason) = reason.or_else(|| raised.err().map(|error| error.to_string())) {
        return Err(io_error("empty the journal of", dir)(io::Error::other(
            reason,
        )));
    }
    compact(dir, options, &mut || Ok(()))
}

/// Compacts a store whose journals are empty.
pub(super) fn compact(
    dir: &Path,
    options: &EngineOptions,
    before: Before<'_>,
) -> Result<Compacted, OpenError> {
    let refused = |reason: &str| io_error("compact", dir)(io::Error::other(reason.to_owned()));
    let log = dir.join(LOG);
    let kind = fs::symlink_metadata(&log).map_err(io_error("look at", &log))?;
    if !kind.is_file() {
        return Err(refused(
            "its `db` is no file but a link: what it takes room on would not be freed",
        ));
    }
    let old = disk::open(dir, options)?;
    if !old.recovered.rows.is_empty() {
        return Err(refused("it has been used meanwhile, try again"));
    }
    let copy = dir.join(COPY);
    let copied = guarded_copy(&old.db, &copy, options)
        .and_then(|()| Ok((log_bytes(dir)?, log_bytes(&copy)?)));
    let (was, is) = match copied {
        Ok(sizes) => sizes,
        Err(error) => {
            // The next opening would do it as well.
            drop(fs::remove_dir_all(&copy));
            return Err(error);
        }
    };
    // Not for a few blocks.
    if is < was.saturating_sub(was / 10) {
        let place = copy.join(LOG);
        fs::set_permissions(&place, kind.permissions())
            .map_err(io_error("restrict access to", &place))?;
        sync(&place)?;
        before().map_err(io_error("write", &copy))?;
        write_whole(&copy.join(WHOLE), &old.recovered.last.to_be_bytes())?;
        sync(&copy)?;
        sync(dir)?;
    }
    let disk::Disk { db, log, lock, .. } = old;
    drop(db);
    released(&log, dir)?;
    finish(dir, before)?;
    drop(lock);
    Ok(Compacted {
        before: was,
        after: log_bytes(dir)?,
    })
}

/// Waits until the last handles of a store closed a moment ago have gone: until
/// then sled locks its log.
fn released(log: &File, dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(LOG);
    let (tell, outcome) = mpsc::channel();
    let log = log.try_clone().map_err(io_error("open", &path))?;
    thread::Builder::new()
        .name("store-released".to_owned())
        .spawn(move || drop(tell.send(log.lock())))
        .map_err(io_error("start a thread to close", dir))?;
    match outcome.recv_timeout(LINGERING) {
        Ok(locked) => locked.map_err(io_error("lock", &path)),
        Err(_) => Err(OpenError::InUse {
            path: dir.to_owned(),
            pid: None,
        }),
    }
}

/// Makes the copy on a thread of its own: where one of sled's panics, a flush
/// never returns.
fn guarded_copy(from: &Db, copy: &Path, options: &EngineOptions) -> Result<(), OpenError> {
    let (tell, outcome) = mpsc::channel();
    let (alarm, path) = (tell.clone(), copy.to_owned());
    let watch = fault::watch(move || {
        let panicked = io_error("write", &path)(io::Error::other(PANICKED));
        // Nobody waits any more once the copy is made.
        drop(alarm.send(Err(panicked)));
    });
    let (from, to, options) = (from.clone(), copy.to_owned(), options.clone());
    let make = move || {
        let made = write_copy(&from, &to, &options).and_then(|()| check_copy(&from, &to, &options));
        drop(from);
        drop(tell.send(made));
    };
    thread::Builder::new()
        .name("store-compaction".to_owned())
        .spawn(make)
        .map_err(io_error("start a thread to compact", copy))?;
    let made = outcome.recv();
    drop(watch);
    made.unwrap_or_else(|_| Err(io_error("write", copy)(io::Error::other(PANICKED))))
}

fn write_copy(from: &Db, copy: &Path, options: &EngineOptions) -> Result<(), OpenError> {
    let to = disk::create(copy, options)?;
    let written = guarded(|| {
        let mut batch = Batch::default();
        for (n, pair) in from.iter().enumerate() {
            let (key, value) = pair?;
            batch.insert(key, value);
            if n % STEP == 0 {
                to.db.apply_batch(std::mem::take(&mut batch))?;
            }
            if n % (STEP * STEPS) == 0 {
                to.db.flush()?;
            }
        }
        to.db.apply_batch(batch)?;
        to.db.flush()?;
        Ok(())
    });
    if let Err(reason) = written {
        // Dropping sled flushes, which may never end now.
        std::mem::forget(to);
        return Err(io_error("write", copy)(io::Error::other(reason)));
    }
    Ok(())
}

/// Opens the copy, as the store will be opened, compares, and syncs it.
fn check_copy(from: &Db, copy: &Path, options: &EngineOptions) -> Result<(), OpenError> {
    let to = disk::open(copy, options)?;
    let same = guarded(|| {
        // The other way round: what one way of reading passes over, another finds.
        let mut others = to.db.iter().rev();
        for pair in from.iter().rev() {
            if others.next().transpose()? != Some(pair?) {
                return Ok(false);
            }
        }
        Ok(others.next().transpose()?.is_none())
    })
    .map_err(|reason| io_error("read", copy)(io::Error::other(reason)))?;
    if !same {
        let reason = io::Error::other("the copy differs from the store, which was left as it is");
        return Err(io_error("compact to", copy)(reason));
    }
    let disk::Disk { db, log, .. } = to;
    drop(db);
    released(&log, copy)?;
    for path in snapshots(copy)?.into_iter().chain([copy.join(LOG)]) {
        sync(&path)?;
    }
    sync(copy)
}

/// Whether the store has gone on since the copy was made: by an earlier program,
/// or a directory put together from two.
fn is_stale(dir: &Path, copy: &Path) -> Result<bool, OpenError> {
    let read = |path: &Path| {
        let found = fs::read(path).map_err(io_error("read", path))?;
        Ok::<_, OpenError>(number(&found))
    };
    let (copied, last) = (read(&copy.join(WHOLE))?, read(&dir.join(WATERMARK))?);
    Ok(match (copied, last) {
        (Some(copied), Some(last)) => last > copied,
        _ => true,
    })
}

/// Ends a compaction that was interrupted: what was whole takes the store's place,
/// anything else goes. The directory must be locked.
pub(super) fn finish(dir: &Path, before: Before<'_>) -> Result<(), OpenError> {
    let copy = dir.join(COPY);
    let there = |path: &Path| path.try_exists().map_err(io_error("look at", path));
    if !there(&copy)? {
        return Ok(());
    }
    let mut step = |path: &Path, change: &dyn Fn(&Path) -> io::Result<()>| {
        before()
            .and_then(|()| change(path))
            .map_err(io_error("finish the compaction of", path))
    };
    let log = copy.join(LOG);
    let stale = there(&log)? && there(&copy.join(WHOLE))? && is_stale(dir, &copy)?;
    if stale {
        tracing::warn!("the store has gone on since it was compacted: the compacted one goes");
    }
    if there(&copy.join(WHOLE))? && !stale {
        // By whom it was made may not have got so far.
        sync(&copy)?;
        // The mark stays until all is in its place: what has been moved is not
        // there to be moved again.
        if there(&log)? {
            // They tell where things are in the old log.
            for path in snapshots(dir)? {
                step(&path, &|path| fs::remove_file(path))?;
            }
            sync(dir)?;
            step(&log, &|log| fs::rename(log, dir.join(LOG)))?;
            sync(dir)?;
        }
        for path in snapshots(&copy)? {
            let name = path.file_name().unwrap_or_default();
            step(&path, &|path| fs::rename(path, dir.join(name)))?;
        }
        sync(dir)?;
    }
    step(&copy, &|copy| fs::remove_dir_all(copy))?;
    sync(dir)
}
