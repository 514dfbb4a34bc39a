//! The file with the installation's master key: 32 bytes in hexadecimal.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::broker::random;

/// Length of the key in bytes (AES-256).
const LENGTH: usize = 32;

/// Why the master key can't be had.
#[derive(Debug, Error)]
pub enum MasterKeyError {
    /// The file can't be read or written.
    #[error("the master key file {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("the master key file {} must hold 32 bytes in hexadecimal", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// It is not the one that the store was made with.
    #[error("the master key file {}: {detail}", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// No randomness for a new one.
    #[error("no randomness for the master key")]
    NoRandomness,
}

/// Checks that a key file can be made at `path`, before anything else is made.
/// The data directory itself need not be there yet.
pub(super) fn check_place(path: &Path, data_dir: &Path) -> Result<(), MasterKeyError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if folder != data_dir => {
            fs::metadata(folder)
                .map(drop)
                .map_err(|source| MasterKeyError::Io {
                    path: path.to_owned(),
                    source,
                })
        }
        _ => Ok(()),
    }
}

/// Makes a new key in a file that does not exist yet, readable by its owner
/// only.
pub(super) fn make(path: &Path) -> Result<(), MasterKeyError> {
    let failed = |source| MasterKeyError::Io {
        path: path.to_owned(),
        source,
    };
    let key: [u8; LENGTH] = random::bytes().map_err(|_| MasterKeyError::NoRandomness)?;
    let mut text = Zeroizing::new(String::with_capacity(2 * LENGTH + 1));
    for byte in key {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('\n');
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
    }
    Ok(())
}

/// Reads the key.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| MasterKeyError::Io {
            path: path.to_owned(),
            source,
        })?;
    let malformed = || MasterKeyError::Malformed {
        path: path.to_owned(),
    };
    let digits = text.trim();
    if digits.len() != 2 * LENGTH || !digits.is_ascii() {
        return Err(malformed());
    }
    let mut key = Zeroizing::new(Vec::with_capacity(LENGTH));
    for start in (0..2 * LENGTH).step_by(2) {
        let pair = digits.get(start..start + 2).ok_or_else(malformed)?;
        key.push(u8::from_str_radix(pair, 16).map_err(|_| malformed())?);
    }
    Ok(key)
}

/// Says so when others than the owner can read the file.
pub(super) fn warn_if_exposed(path: &Path) {
    if fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
        tracing::warn!(
            file = %path.display(),
            "the master key can be read by others than its owner"
        );
    }
}
