//! A secret that an operator keeps in a file: one line of text.

use std::path::Path;

use zeroize::Zeroizing;

use crate::delivery::NowMs;
use crate::delivery::alarm::Bell;
use crate::delivery::key_file::KeyFile;

/// A password or token. Has no `Debug`.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    fn parse(bytes: &[u8], _real_path: &Path) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err("must be a single line".to_owned());
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// A secret that may be replaced while the broker runs.
pub(super) struct SecretFile {
    file: KeyFile<Secret>,
    bell: Bell,
    now: NowMs,
}

impl SecretFile {
    pub(super) fn open(path: &Path, bell: Bell) -> Result<Self, String> {
        let now = bell.now.clone();
        let file = KeyFile::open(path, Secret::parse, now())
            .map_err(|fault| format!("{}: {fault}", path.display()))?;
        Ok(Self { file, bell, now })
    }

    /// The secret as it is in the file now, or was a moment ago.
    pub(super) async fn fresh(&self) -> std::sync::Arc<Secret> {
        let now_ms = (self.now)();
        if self.file.due(now_ms) {
            self.file.look(now_ms, &self.bell).await;
        }
        self.file.key()
    }

    /// The secret as last read.
    pub(super) fn last(&self) -> std::sync::Arc<Secret> {
        self.file.key()
    }
}

/// Whether `content` holds what [`SecretFile`] wants; says what is wrong.
pub(crate) fn check(content: &[u8]) -> Result<(), String> {
    Secret::parse(content, Path::new("")).map(|_| ())
}
