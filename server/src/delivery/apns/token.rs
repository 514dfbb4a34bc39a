//! APNs provider tokens (Apple, "Establishing a token-based connection to
//! APNs"): ES256, one per team and key, replaced "no more than once every 20
//! minutes and no less than once every 60 minutes".

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::answer::TokenRefusal;
use crate::delivery::NowMs;
use crate::delivery::alarm::Bell;
use crate::delivery::key_file::KeyFile;

/// Age at which a token is replaced: ten minutes before APNs refuses it.
const REPLACE_AT_MS: u64 = 50 * 60 * 1000;
/// A token younger than this is not replaced.
const KEEP_UNTIL_MS: u64 = 20 * 60 * 1000;

/// A `.p8` key, and the id that the file's name gives it.
struct SigningKey {
    key: EncodingKey,
    named_id: Option<String>,
}

/// A token in use.
pub(super) struct Minted {
    header: HeaderValue,
    minted_ms: u64,
    key: Arc<SigningKey>,
}

impl Minted {
    /// `bearer <token>`, marked sensitive: not indexed by HPACK, not printed.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted")
            .field("minted_ms", &self.minted_ms)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: u64,
}

/// Mints and keeps the token of one team and key, for all connections.
pub(in crate::delivery) struct TokenSource {
    team_id: String,
    /// As configured; empty: by the file's name.
    key_id: String,
    file: KeyFile<SigningKey>,
    bell: Bell,
    now: NowMs,
    current: ArcSwapOption<Minted>,
    minting: tokio::sync::Mutex<()>,
}

impl TokenSource {
    /// Reads the key; nothing is minted before the first push.
    pub(in crate::delivery) fn new(
        team_id: &str,
        key_id: &str,
        key_file: &Path,
        bell: Bell,
    ) -> Result<Self, String> {
        let now = Arc::clone(&bell.now);
        let file = KeyFile::open(key_file, parse, now())?;
        let source = Self {
            team_id: team_id.to_owned(),
            key_id: key_id.to_owned(),
            file,
            bell,
            now,
            current: ArcSwapOption::empty(),
            minting: tokio::sync::Mutex::new(()),
        };
        source.key_id(&source.file.key())?;
        Ok(source)
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The token to use now.
    pub(super) async fn current(&self) -> Result<Arc<Minted>, String> {
        let now_ms = (self.now)();
        if let Some(minted) = self.usable(now_ms)
            && !self.file.due(now_ms)
        {
            return Ok(minted);
        }
        let _one_at_a_time = self.minting.lock().await;
        if self.file.due(now_ms) {
            self.file.look(now_ms, &self.bell).await;
        }
        match self.usable(now_ms) {
            Some(minted) => Ok(minted),
            None => self.mint(now_ms),
        }
    }

    /// APNs refused `minted`: mints another if that can help. True if there is
    /// another to try.
    pub(super) async fn refused(&self, minted: &Arc<Minted>, refusal: TokenRefusal) -> bool {
        let _one_at_a_time = self.minting.lock().await;
        let now_ms = (self.now)();
        if let Some(current) = self.current.load_full()
            && !Arc::ptr_eq(&current, minted)
        {
            return true;
        }
        self.file.look(now_ms, &self.bell).await;
        let other_key = !Arc::ptr_eq(&self.file.key(), &minted.key);
        let old_enough = now_ms.abs_diff(minted.minted_ms) >= KEEP_UNTIL_MS;
        // A refused token is worth nothing, so with another key at hand its age
        // does not matter; with the same key APNs' limit does.
        if other_key || (refusal == TokenRefusal::Expired && old_enough) {
            return self.mint(now_ms).is_ok();
        }
        false
    }

    /// The present token, unless it is to be replaced by now.
    fn usable(&self, now_ms: u64) -> Option<Arc<Minted>> {
        let minted = self.current.load_full()?;
        // The difference, so that a clock set back can't keep one for ever.
        let age_ms = now_ms.abs_diff(minted.minted_ms);
        let other_key = !Arc::ptr_eq(&self.file.key(), &minted.key);
        let replace_at_ms = if other_key {
            KEEP_UNTIL_MS
        } else {
            REPLACE_AT_MS
        };
        (age_ms < replace_at_ms).then_some(minted)
    }

    fn mint(&self, now_ms: u64) -> Result<Arc<Minted>, String> {
        let key = self.file.key();
        let minted = Arc::new(Minted {
            header: sign(&self.team_id, self.key_id(&key)?, &key.key, now_ms)?,
            minted_ms: now_ms,
            key,
        });
        self.current.store(Some(Arc::clone(&minted)));
        tracing::info!(
            credential = self.bell.credential,
            "minted an APNs provider token"
        );
        Ok(minted)
    }

    fn key_id<'a>(&'a self, key: &'a SigningKey) -> Result<&'a str, String> {
        match &key.named_id {
            _ if !self.key_id.is_empty() => Ok(&self.key_id),
            Some(named) => Ok(named),
            None => {
                Err("key_id is not set and the key file is not named AuthKey_<id>.p8".to_owned())
            }
        }
    }
}

fn sign(
    team_id: &str,
    key_id: &str,
    key: &EncodingKey,
    now_ms: u64,
) -> Result<HeaderValue, String> {
    let mut header = Header::new(Algorithm::ES256);
    // APNs asks for `alg` and `kid` alone.
    header.typ = None;
    header.kid = Some(key_id.to_owned());
    let claims = Claims {
        iss: team_id,
        iat: now_ms / 1000,
    };
    let token = jsonwebtoken::encode(&header, &claims, key).map_err(|_| "can't sign".to_owned())?;
    let mut value =
        HeaderValue::try_from(format!("bearer {token}")).map_err(|_| "can't sign".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Accepts a key only if it signs.
fn parse(bytes: &[u8], real_path: &Path) -> Result<SigningKey, String> {
    let fault = || "holds no P-256 private key in PKCS#8 PEM".to_owned();
    let key = EncodingKey::from_ec_pem(bytes).map_err(|_| fault())?;
    sign("team", "key", &key, 0).map_err(|_| fault())?;
    let named_id = real_path
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix("AuthKey_")?.strip_suffix(".p8"))
        .map(str::to_owned);
    Ok(SigningKey { key, named_id })
}
