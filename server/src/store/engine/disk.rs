//! The data directory: creating it durably, refusing what must not be opened.
//!
//! | Name | What |
//! |---|---|
//! | `lock` | our lock, with the holder's process id |
//! | `conf`, `db`, `blobs/` | sled's settings, log and (never used) large values |
//! | `journal.*` | batches that the log may lack; see `journal` |
//! | `snap.*` | sled's page table when it was last opened; see `recovery` |
//! | `compacting/` | there while the store is written anew; see `compaction` |
//! | `opening` | there while an opening is under way |
//! | `watermark` | the number of the last batch acknowledged, so that a log cut short is noticed |
//! | `format` | written last by creation: from then on the rest must be there |

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use sled::{Batch, Db};

use super::EngineOptions;
use super::compaction;
use super::error::OpenError;
use super::fault;
use super::journal::{self, Recovered};
use super::lock::DirectoryLock;
use super::recovery::{self, Plan};
use super::tx::guarded;

/// Where the schema version lives, as a big-endian `u32`.
pub(super) const SCHEMA_KEY: &[u8] = b"\x00schema";

/// The last batch whose changes, and those of all before it, the tree holds: a
/// big-endian `u64`.
pub(super) const BATCH_KEY: &[u8] = b"\x00batch";

const CONF: &str = "conf";
pub(super) const LOG: &str = "db";
const SNAPSHOT: &str = "snap.";
const BLOBS: &str = "blobs";
pub(super) const WATERMARK: &str = "watermark";
const FORMAT: &str = "format";
/// There while an opening is under way.
const OPENING: &str = "opening";
/// How sled calls a snapshot that is not in its place yet.
const GENERATING: &str = ".generating";
const FORMAT_TEXT: &[u8] = b"countersign store, sled 0.34\n";

/// sled's segment size, bytes; stored in `conf`, so it can never change for an
/// existing directory.
///
/// sled recovers from a torn end of its log, but takes a segment for whole
/// once a later segment's header says so, and writes that header before
/// anything is synced. What is logged between two syncs must therefore stay
/// well below a segment: with sled's own 512 KiB and batches of 1 MiB about
/// one power cut in 300 left a store that could not be opened. The limits on
/// batches and this size belong together.
const SEGMENT_SIZE: usize = 4 << 20;

/// How long the handles of a store closed a moment ago in this process may
/// take to go.
pub(super) const LINGERING: Duration = Duration::from_secs(5);

pub(super) const PANICKED: &str = "the storage library panicked on it";

/// An opened directory.
pub(super) struct Disk {
    pub(super) db: Db,
    /// Our own handle on the log, for the sync that sled leaves out.
    pub(super) log: File,
    pub(super) log_path: PathBuf,
    /// Receives the number of each batch once it is synced; itself synced
    /// only when closing, so it may lag behind but never runs ahead.
    pub(super) watermark: File,
    /// What the journals hold beyond the tree.
    pub(super) recovered: Recovered,
    pub(super) dir: PathBuf,
    pub(super) schema: u32,
    pub(super) lock: DirectoryLock,
}

/// Turns an I/O error into an [`OpenError`] that says what was tried.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        action,
        path,
        source,
    }
}

fn damaged(dir: &Path, detail: impl Into<String>) -> OpenError {
    OpenError::Damaged {
        path: dir.to_owned(),
        detail: detail.into(),
    }
}

/// Writes a store with no records to `dir`, every file and directory synced.
pub(super) fn create(dir: &Path, options: &EngineOptions) -> Result<Disk, OpenError> {
    let exists = || dir.join(FORMAT).exists();
    if exists() {
        return Err(OpenError::AlreadyExists {
            path: dir.to_owned(),
        });
    }
    let made: Vec<&Path> = dir
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error("create", dir))?;
    // One that holds other things is somebody else's to restrict.
    if fs::read_dir(dir)
        .map_err(io_error("list", dir))?
        .next()
        .is_none()
    {
        fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(io_error("restrict access to", dir))?;
    }
    let lock = DirectoryLock::take(dir)?;
    if exists() {
        return Err(OpenError::AlreadyExists {
            path: dir.to_owned(),
        });
    }
    for path in snapshots(dir)? {
        fs::remove_file(&path).map_err(io_error("remove", &path))?;
    }
    // Settings only, and perhaps half written when an earlier creation was
    // interrupted.
    let conf = dir.join(CONF);
    if conf.exists() && check_conf(dir).is_err() {
        fs::remove_file(&conf).map_err(io_error("remove", &conf))?;
    }
    // A creation makes no journal: this is a store that has lost its marker.
    if journal::disk_bytes(dir).map_err(io_error("look at the journal of", dir))? > 0 {
        return Err(OpenError::AlreadyExists {
            path: dir.to_owned(),
        });
    }
    let db = open_sled(dir, options)?;
    // What an interrupted creation left holds at most the version. Anything
    // more is somebody's store that has lost its marker.
    let strangers = guarded(|| {
        db.iter()
            .map(|pair| pair.map(|(key, _)| key))
            .find_map(|key| match key {
                Ok(key) if key == SCHEMA_KEY => None,
                other => Some(other),
            })
            .transpose()
    })
    .map_err(|detail| damaged(dir, detail))?;
    if strangers.is_some() {
        return Err(OpenError::AlreadyExists {
            path: dir.to_owned(),
        });
    }
    let mut batch = Batch::default();
    batch.insert(SCHEMA_KEY, &options.schema_version.to_be_bytes()[..]);
    guarded(|| db.apply_batch(batch))
        .and_then(|()| guarded(|| db.flush()))
        .map_err(|reason| io_error("write", dir)(io::Error::other(reason)))?;

    for (name, mode) in [(CONF, 0o600), (LOG, 0o600), (BLOBS, 0o700)] {
        let path = dir.join(name);
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(io_error("restrict access to", &path))?;
        sync(&path)?;
    }
    write_whole(&dir.join(WATERMARK), &0_u64.to_be_bytes())?;
    // Its name must not be durable before those of the others.
    sync(dir)?;
    write_whole(&dir.join(FORMAT), FORMAT_TEXT)?;
    sync(dir)?;
    // The names of new directories live in their parents.
    for path in made {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent)?,
            _ => sync(Path::new("."))?,
        }
    }
    finish(dir, db, lock, options)
}

/// Opens the store in `dir`, or refuses with the reason.
pub(super) fn open(dir: &Path, options: &EngineOptions) -> Result<Disk, OpenError> {
    let present = |name: &str| {
        let path = dir.join(name);
        path.try_exists().map_err(io_error("look at", &path))
    };
    if !present(FORMAT)? {
        return Err(OpenError::NotInitialised {
            path: dir.to_owned(),
        });
    }
    let lock = DirectoryLock::take(dir)?;
    for name in [CONF, LOG, WATERMARK] {
        // sled would quietly begin anew.
        if !present(name)? {
            return Err(damaged(dir, format!("the file `{name}` is missing")));
        }
    }
    compaction::finish(dir, &mut || Ok(()))?;
    check_conf(dir)?;
    prepare_recovery(dir)?;
    let db = open_sled(dir, options)?;
    finish(dir, db, lock, options)
}

fn finish(
    dir: &Path,
    db: Db,
    lock: DirectoryLock,
    options: &EngineOptions,
) -> Result<Disk, OpenError> {
    let log_path = dir.join(LOG);
    let log = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&log_path)
        .map_err(io_error("open", &log_path))?;
    // Opening repairs the end of the log; later commits build on the repair.
    log.sync_data().map_err(io_error("sync", &log_path))?;
    // The next opening may need the snapshot that this one has left.
    sync(dir)?;
    end_recovery(dir)?;
    let batch = guarded(|| db.get(BATCH_KEY))
        .map_err(|detail| damaged(dir, detail))?
        .map_or(Some(0), |bytes| number(&bytes))
        .ok_or_else(|| damaged(dir, "the batch number is garbled"))?;
    let recovered = journal::recover(dir, batch)
        .map_err(io_error("read the journal of", dir))?
        .map_err(|detail| damaged(dir, detail))?;
    let stored = match recovered.rows.get(SCHEMA_KEY) {
        Some(newer) => newer.value.clone(),
        None => guarded(|| db.get(SCHEMA_KEY)).map_err(|detail| damaged(dir, detail))?,
    };
    let schema = stored
        .and_then(|bytes| bytes.as_ref().try_into().ok().map(u32::from_be_bytes))
        .ok_or_else(|| damaged(dir, "the schema version is missing"))?;
    if schema > options.schema_version {
        return Err(OpenError::NewerVersion {
            path: dir.to_owned(),
            found: schema,
            supported: options.schema_version,
        });
    }
    let last = recovered.last;
    let watermark_path = dir.join(WATERMARK);
    let watermark = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&watermark_path)
        .map_err(io_error("open", &watermark_path))?;
    let mut acknowledged = [0; 8];
    watermark
        .read_exact_at(&mut acknowledged, 0)
        .map_err(|error| {
            damaged(
                dir,
                format!("the file `{WATERMARK}` is unreadable: {error}"),
            )
        })?;
    let acknowledged = u64::from_be_bytes(acknowledged);
    if last < acknowledged {
        return Err(damaged(
            dir,
            format!("the log ends at batch {last}, batch {acknowledged} was acknowledged"),
        ));
    }
    Ok(Disk {
        db,
        log,
        log_path,
        watermark,
        recovered,
        dir: dir.to_owned(),
        schema,
        lock,
    })
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// Writes a small file anew and syncs it.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), OpenError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .map_err(io_error("write", path))
}

/// sled only warns about most damage to its settings and writes them anew
/// when they are short.
fn check_conf(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(CONF);
    let found = fs::read(&path).map_err(io_error("read", &path))?;
    let expected = format!("segment_size: {SEGMENT_SIZE}\nuse_compression: false\nversion: 0.34\n");
    // Four bytes of checksum follow the text.
    let text = found.len().checked_sub(4).and_then(|end| found.get(..end));
    if text == Some(expected.as_bytes()) {
        Ok(())
    } else {
        Err(damaged(dir, "the file `conf` is not as it was written"))
    }
}

/// Leaves in place only what sled should recover from, and the mark that an
/// opening is under way.
fn prepare_recovery(dir: &Path) -> Result<(), OpenError> {
    let log_path = dir.join(LOG);
    let log = File::open(&log_path).map_err(io_error("open", &log_path))?;
    // What a killed process wrote is so far only in memory; what sled derives
    // from it must not become durable first.
    log.sync_data().map_err(io_error("sync", &log_path))?;
    let mark = dir.join(OPENING);
    let snapshots = snapshots(dir)?;
    let mut by_lsn = BTreeMap::new();
    let mut unfinished = None;
    for path in &snapshots {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.and_then(|name| name.strip_prefix(SNAPSHOT));
        let Some(name) = name else { continue };
        let finished = name.strip_suffix(GENERATING);
        let Ok(lsn) = i64::from_str_radix(finished.unwrap_or(name), 16) else {
            continue;
        };
        if finished.is_none() {
            by_lsn.insert(lsn, path.clone());
        }
        unfinished = unfinished.max(Some((lsn, path.clone())));
    }
    // After an opening that was cut short the log is as it was before, but for
    // what sled has overwritten as dead: only the snapshot it made first knows
    // what that was.
    let keep = match unfinished.filter(|_| mark.exists()) {
        Some((lsn, path)) if recovery::is_whole(&path).map_err(io_error("read", &path))? => {
            let place = dir.join(format!("{SNAPSHOT}{lsn:016X}"));
            fs::rename(&path, &place).map_err(io_error("rename", &path))?;
            Some(place)
        }
        _ => {
            let plan = recovery::plan(&log, SEGMENT_SIZE as i64, &by_lsn)
                .map_err(io_error("read", &log_path))?;
            match plan {
                Plan::WholeLog => None,
                Plan::Snapshot(path) => Some(path),
                Plan::Neither(detail) => return Err(damaged(dir, detail)),
            }
        }
    };
    for path in snapshots {
        if Some(&path) != keep.as_ref() && path.exists() {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    write_whole(&mark, b"")?;
    sync(dir)
}

/// The opening is over, and what it left is durable.
fn end_recovery(dir: &Path) -> Result<(), OpenError> {
    let mark = dir.join(OPENING);
    match fs::remove_file(&mark) {
        Ok(()) => sync(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("remove", &mark)(error)),
    }
}

pub(super) fn snapshots(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(SNAPSHOT.as_bytes())
        {
            found.push(entry.path());
        }
    }
    Ok(found)
}

pub(super) fn sync(path: &Path) -> Result<(), OpenError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io_error("sync", path))
}

/// Opens sled on a thread of its own: on damaged files it can panic, on this
/// thread or on one of its own, and in the latter case never returns.
fn open_sled(dir: &Path, options: &EngineOptions) -> Result<Db, OpenError> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_SIZE)
        .cache_capacity(options.cache_capacity)
        .flush_every_ms(None);
    let (tell, outcome) = mpsc::channel();
    let (alarm, alarm_dir) = (tell.clone(), dir.to_owned());
    let watch = fault::watch(move || {
        // The receiver is gone once the opening has ended.
        drop(alarm.send(Err(damaged(&alarm_dir, PANICKED))));
    });
    let opener = {
        let dir = dir.to_owned();
        move || {
            // We hold our own lock, so whoever holds sled's is a store closed
            // a moment ago in this process whose last handles are going.
            let log_path = dir.join(LOG);
            let waited = File::open(&log_path).and_then(|file| file.lock());
            drop(tell.send(Ok(None)));
            let opened = match waited {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(io_error("open", &log_path)(error))
                }
                _ => match catch_unwind(AssertUnwindSafe(|| config.open())) {
                    Ok(Ok(db)) => Ok(Some(db)),
                    Ok(Err(sled::Error::Io(error)))
                        if error.kind() != io::ErrorKind::UnexpectedEof =>
                    {
                        Err(io_error("open", &log_path)(error))
                    }
                    Ok(Err(error)) => Err(damaged(&dir, error.to_string())),
                    Err(panic) => Err(damaged(&dir, fault::message(panic.as_ref()))),
                },
            };
            drop(tell.send(opened));
        }
    };
    std::thread::Builder::new()
        .name(fault::OPENER.to_owned())
        .spawn(opener)
        .map_err(io_error("start a thread to open", dir))?;
    match outcome.recv_timeout(LINGERING) {
        Ok(waited) => waited?,
        Err(_) => {
            return Err(OpenError::InUse {
                path: dir.to_owned(),
                pid: None,
            });
        }
    };
    let opened = outcome.recv();
    drop(watch);
    match opened {
        Ok(Ok(Some(db))) => Ok(db),
        Ok(Ok(None)) | Err(_) => Err(damaged(dir, "the storage library gave no answer")),
        Ok(Err(error)) => Err(error),
    }
}
