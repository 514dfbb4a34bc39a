//! A secret in a file that an operator may replace while the broker runs.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::alarm::{Bell, Trouble};

/// How often the file is looked at.
const LOOK_EVERY_MS: u64 = 3_000;
/// Largest file read, in bytes: far above any key or service account.
const MAX_BYTES: u64 = 64 * 1024;

/// Turns the file's bytes (and the path it really has, links followed) into a key.
pub(super) type Parse<K> = fn(bytes: &[u8], real_path: &Path) -> Result<K, String>;

/// A key, the file it comes from, and how to read it.
pub(super) struct KeyFile<K> {
    path: PathBuf,
    parse: Parse<K>,
    state: Mutex<State<K>>,
}

struct State<K> {
    key: Arc<K>,
    digest: aws_lc_rs::digest::Digest,
    real_path: PathBuf,
    looked_ms: u64,
}

impl<K: Send + Sync + 'static> KeyFile<K> {
    /// Reads it for the first time; at start a bad file is an error.
    pub(super) fn open(path: &Path, parse: Parse<K>, now_ms: u64) -> Result<Self, String> {
        let (bytes, real_path) = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            parse,
            state: Mutex::new(State {
                key: Arc::new(parse(&bytes, &real_path)?),
                digest: digest(&bytes),
                real_path,
                looked_ms: now_ms,
            }),
        })
    }

    /// The key as last read.
    pub(super) fn key(&self) -> Arc<K> {
        Arc::clone(&self.state.lock().key)
    }

    /// Whether it is time to look at the file again.
    pub(super) fn due(&self, now_ms: u64) -> bool {
        now_ms.abs_diff(self.state.lock().looked_ms) >= LOOK_EVERY_MS
    }

    /// Looks at the file and takes over a changed key. A file that can't be
    /// read, or holds no usable key, raises an alarm and changes nothing.
    pub(super) async fn look(&self, now_ms: u64, bell: &Bell) {
        self.state.lock().looked_ms = now_ms;
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let result = match read {
            Ok(Ok((bytes, real_path))) => self.take_over(&bytes, real_path),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err("reading was interrupted".to_owned()),
        };
        match result {
            Ok(()) => bell.clear(Trouble::File),
            Err(fault) => bell.raise(Trouble::File, &format!("{}: {fault}", self.path.display())),
        }
    }

    fn take_over(&self, bytes: &[u8], real_path: PathBuf) -> Result<(), String> {
        let digest = digest(bytes);
        let mut state = self.state.lock();
        if state.digest.as_ref() == digest.as_ref() && state.real_path == real_path {
            return Ok(());
        }
        state.key = Arc::new((self.parse)(bytes, &real_path)?);
        state.digest = digest;
        state.real_path = real_path;
        drop(state);
        tracing::info!(path = %self.path.display(), "gateway credential file was replaced");
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> aws_lc_rs::digest::Digest {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)
}

/// The whole file: a key is a few kilobytes, and reading it is surer than
/// trusting its date.
fn read(path: &Path) -> Result<(zeroize::Zeroizing<Vec<u8>>, PathBuf), String> {
    let text = |e: std::io::Error| e.kind().to_string();
    let real_path = std::fs::canonicalize(path).map_err(text)?;
    let file = std::fs::File::open(&real_path).map_err(text)?;
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(text)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is too large to be a key".to_owned());
    }
    Ok((bytes, real_path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::delivery::PushGateway;
    use crate::delivery::alarm::AlarmBoard;

    fn parse(bytes: &[u8], _: &Path) -> Result<String, String> {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.starts_with("key") => Ok(text.to_owned()),
            _ => Err("no key".to_owned()),
        }
    }

    #[tokio::test]
    async fn a_new_key_is_taken_over_and_a_bad_one_alarms_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let board = Arc::new(AlarmBoard::default());
        let bell = Bell {
            board: Arc::clone(&board),
            gateway: PushGateway::Apns.into(),
            credential: "c".into(),
            now: Arc::new(|| 1),
        };
        assert!(KeyFile::open(&path, parse, 0).is_err());
        std::fs::write(&path, "key 1").unwrap();
        let file = KeyFile::open(&path, parse, 0).unwrap();
        assert!(!file.due(LOOK_EVERY_MS - 1));
        assert!(file.due(LOOK_EVERY_MS));

        std::fs::write(&path, "key 2").unwrap();
        file.look(5_000, &bell).await;
        assert_eq!(*file.key(), "key 2");
        assert!(!file.due(5_001));

        std::fs::write(&path, "rubbish").unwrap();
        file.look(9_000, &bell).await;
        assert_eq!(*file.key(), "key 2");
        std::fs::remove_file(&path).unwrap();
        file.look(13_000, &bell).await;
        assert_eq!(*file.key(), "key 2");
        assert_eq!(board.active().len(), 1);

        std::fs::write(&path, "key 3").unwrap();
        file.look(17_000, &bell).await;
        assert_eq!(*file.key(), "key 3");
        assert_eq!(board.active(), []);
    }
}
