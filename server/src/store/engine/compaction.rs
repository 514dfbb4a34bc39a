//! A store written anew without what has left it, so that its room goes back to
//! the system: sled takes room again, but hardly ever gives it back.
//!
//! All rows go into a new store, `compacting/`, which is opened once more and
//! compared with the old one row by row. Only then a mark in there (`whole`) says
//! that it is the store: the next opening puts its log in the place of the old
//! one, whenever and however often that is interrupted. Without the mark an
//! opening throws it away.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sled::{Batch, Db};

use super::EngineOptions;
use super::disk::{self, LOG, io_error, snapshots, sync, write_whole};
use super::error::OpenError;
use super::tx::guarded;

/// The new store, within the old one's directory.
const COPY: &str = "compacting";
/// In there: all of it is there and durable.
const WHOLE: &str = "whole";

/// Rows that go into the copy at a time.
const STEP: usize = 256;
/// Rows after which the copy is flushed, so that what waits for it stays small.
const STRIDE: usize = 64;

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// What the store's log took on disk, bytes.
    pub before: u64,
    /// What it takes now: no less where there was nothing to be gained.
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

/// Compacts a store whose journals are empty.
pub(super) fn compact(
    dir: &Path,
    options: &EngineOptions,
    before: Before<'_>,
) -> Result<Compacted, OpenError> {
    let refused = |reason: &str| io_error("compact", dir)(io::Error::other(reason.to_owned()));
    let old = disk::open(dir, options)?;
    if !old.recovered.rows.is_empty() {
        return Err(refused("somebody else has used it meanwhile, try again"));
    }
    let copy = dir.join(COPY);
    let copied = write_copy(&old.db, &copy, options)
        .and_then(|()| check_copy(&old.db, &copy, options))
        .and_then(|()| Ok((log_bytes(dir)?, log_bytes(&copy)?)));
    let (was, is) = match copied {
        Ok(sizes) => sizes,
        Err(error) => {
            // The next opening would do it as well.
            drop(fs::remove_dir_all(&copy));
            return Err(error);
        }
    };
    if is < was {
        before().map_err(io_error("write", &copy))?;
        write_whole(&copy.join(WHOLE), b"")?;
        sync(&copy)?;
        sync(dir)?;
    }
    let disk::Disk { db, log, lock, .. } = old;
    drop(db);
    // sled's last handles go a moment later; until then it holds this lock.
    log.lock().map_err(io_error("lock", &dir.join(LOG)))?;
    finish(dir, before)?;
    drop(lock);
    Ok(Compacted {
        before: was,
        after: log_bytes(dir)?,
    })
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
            if n % (STEP * STRIDE) == 0 {
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
        let mut others = to.db.iter();
        for pair in from.iter() {
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
    log.lock().map_err(io_error("lock", &copy.join(LOG)))?;
    for path in snapshots(copy)?.into_iter().chain([copy.join(LOG)]) {
        sync(&path)?;
    }
    sync(copy)
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
    if there(&copy.join(WHOLE))? {
        let log = copy.join(LOG);
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
