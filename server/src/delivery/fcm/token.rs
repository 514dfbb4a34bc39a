//! Access tokens for FCM: the jwt-bearer exchange (RFC 7523; Google, "Using
//! OAuth 2.0 for server to server applications").
//!
//! However many callers wait, one exchange runs; all of them get what came of
//! it, its failure included.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::delivery::alarm::{Bell, Trouble};
use crate::delivery::attempt::retry_after;
use crate::delivery::config::secure_url;
use crate::delivery::key_file::KeyFile;
use crate::delivery::{NowMs, Outcome, redact};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Longest life of an assertion (Google, as above: "maximum of 1 hour").
const ASSERTION_LIFE_S: u64 = 3600;
/// A token is replaced this long before its end.
const REPLACE_EARLY_MS: u64 = 5 * 60 * 1000;
/// Pause after a failed exchange that may work next time.
const PAUSE_AFTER_FAILURE_MS: u64 = 2_000;
/// Pause after an exchange that was refused: only an operator can help, or a
/// replaced file, which ends the pause.
const PAUSE_AFTER_REFUSAL_MS: u64 = 10_000;
/// Longest wait for the token endpoint.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer of the token endpoint, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What is used of Google's JSON file.
#[derive(Deserialize)]
struct AccountFile {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: String,
}

pub(super) struct Account {
    client_email: String,
    key: EncodingKey,
    key_id: Option<String>,
    token_uri: String,
}

/// An access token in use.
pub(super) struct Access {
    token: Zeroizing<String>,
    minted_ms: u64,
    expire_ms: u64,
    account: Arc<Account>,
}

impl Access {
    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("expire_ms", &self.expire_ms)
            .finish_non_exhaustive()
    }
}

/// Why there is no access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The endpoint refuses the account, e.g. `invalid_grant`.
    Refused(String),
    /// The endpoint can't be reached or has trouble.
    Trouble {
        reason: String,
        after: Option<Duration>,
    },
}

impl Failure {
    /// What it means for a push that waited for the token.
    pub(super) fn outcome(&self) -> Outcome {
        match self.clone() {
            Self::Refused(reason) => Outcome::CredentialRejected { reason },
            Self::Trouble { reason, after } => Outcome::ServerError { reason, after },
        }
    }
}

type Exchanged = Result<Arc<Access>, Failure>;

#[derive(Default)]
struct State {
    access: Option<Arc<Access>>,
    running: Option<Shared<BoxFuture<'static, Exchanged>>>,
    failed: Option<Failed>,
}

struct Failed {
    failure: Failure,
    since_ms: u64,
    pause_ms: u64,
    account: Arc<Account>,
}

/// Gets and keeps the access token of one service account.
pub(in crate::delivery) struct TokenSource {
    file: KeyFile<Account>,
    http: reqwest::Client,
    bell: Bell,
    now: NowMs,
    state: Mutex<State>,
}

impl TokenSource {
    /// Reads the file; nothing is exchanged before the first push.
    pub(in crate::delivery) fn new(
        service_account_file: &Path,
        http: reqwest::Client,
        bell: Bell,
    ) -> Result<Self, String> {
        let now = Arc::clone(&bell.now);
        Ok(Self {
            file: KeyFile::open(service_account_file, parse, now())?,
            http,
            bell,
            now,
            state: Mutex::new(State::default()),
        })
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The token to use now. Near its end a fresh one is fetched while the old
    /// is still handed out.
    pub(super) async fn current(self: &Arc<Self>) -> Exchanged {
        let now_ms = (self.now)();
        if self.file.due(now_ms) {
            self.file.look(now_ms, &self.bell).await;
        }
        let running = {
            let mut state = self.state.lock();
            let account = self.file.key();
            let usable = state
                .access
                .clone()
                .filter(|access| (access.minted_ms..access.expire_ms).contains(&now_ms));
            let fresh = usable.as_ref().is_some_and(|access| {
                now_ms < access.expire_ms.saturating_sub(REPLACE_EARLY_MS)
                    && Arc::ptr_eq(&access.account, &account)
            });
            if let (Some(access), true) = (&usable, fresh) {
                return Ok(Arc::clone(access));
            }
            let paused = state.failed.as_ref().filter(|failed| {
                now_ms.abs_diff(failed.since_ms) < failed.pause_ms
                    && Arc::ptr_eq(&failed.account, &account)
            });
            match (usable, paused, &state.running) {
                (Some(access), Some(_), _) | (Some(access), _, Some(_)) => return Ok(access),
                (None, _, Some(running)) => running.clone(),
                (None, Some(failed), None) => return Err(failed.failure.clone()),
                (usable, None, None) => {
                    let running = Arc::clone(self).start(account);
                    state.running = Some(running.clone());
                    if let Some(access) = usable {
                        return Ok(access);
                    }
                    running
                }
            }
        };
        running.await
    }

    /// FCM refused `access`: the next call of [`Self::current`] gets another.
    pub(super) fn refused(&self, access: &Arc<Access>) {
        let mut state = self.state.lock();
        if state
            .access
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, access))
        {
            state.access = None;
        }
    }

    /// Runs the exchange in a task of its own, so that no caller's going away
    /// stops it for the others.
    fn start(self: Arc<Self>, account: Arc<Account>) -> Shared<BoxFuture<'static, Exchanged>> {
        let source = Arc::clone(&self);
        let for_task = Arc::clone(&account);
        let task = tokio::spawn(async move {
            let exchanged = tokio::time::timeout(EXCHANGE_LIMIT, self.exchange(&for_task))
                .await
                .unwrap_or_else(|_elapsed| {
                    Err(Failure::Trouble {
                        reason: "token endpoint: no answer in time".to_owned(),
                        after: None,
                    })
                });
            self.finish(&exchanged, for_task);
            exchanged
        });
        async move {
            match task.await {
                Ok(exchanged) => exchanged,
                Err(_) => {
                    let interrupted = Err(Failure::Trouble {
                        reason: "token exchange was interrupted".to_owned(),
                        after: None,
                    });
                    source.finish(&interrupted, account);
                    interrupted
                }
            }
        }
        .boxed()
        .shared()
    }

    fn finish(&self, exchanged: &Exchanged, account: Arc<Account>) {
        let now_ms = (self.now)();
        let mut state = self.state.lock();
        state.running = None;
        match exchanged {
            Ok(access) => {
                state.access = Some(Arc::clone(access));
                state.failed = None;
                drop(state);
                self.bell.clear(Trouble::Exchange);
                tracing::info!(credential = self.bell.credential, "got an FCM access token");
            }
            Err(failure) => {
                let pause_ms = match failure {
                    Failure::Refused(_) => PAUSE_AFTER_REFUSAL_MS,
                    Failure::Trouble { after, .. } => after
                        .and_then(|after| u64::try_from(after.as_millis()).ok())
                        .unwrap_or(PAUSE_AFTER_FAILURE_MS)
                        .clamp(PAUSE_AFTER_FAILURE_MS, 60_000),
                };
                state.failed = Some(Failed {
                    failure: failure.clone(),
                    since_ms: now_ms,
                    pause_ms,
                    account,
                });
                drop(state);
                match failure {
                    Failure::Refused(reason) => self.bell.raise(Trouble::Exchange, reason),
                    Failure::Trouble { reason, .. } => tracing::warn!(
                        credential = self.bell.credential,
                        reason,
                        "no FCM access token for now",
                    ),
                }
            }
        }
    }

    async fn exchange(&self, account: &Arc<Account>) -> Exchanged {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
            expires_in: u64,
        }
        #[derive(Deserialize)]
        struct Denied {
            error: String,
            error_description: Option<String>,
        }

        let now_ms = (self.now)();
        let assertion = account.assertion(now_ms).map_err(Failure::Refused)?;
        let form = [
            ("grant_type", GRANT_TYPE),
            ("assertion", assertion.as_str()),
        ];
        let trouble = |reason: String| Failure::Trouble {
            reason: format!("token endpoint: {reason}"),
            after: None,
        };
        let response = self
            .http
            .post(&account.token_uri)
            .form(&form)
            .send()
            .await
            .map_err(|error| trouble(innermost(&error.without_url())))?;
        let status = response.status();
        let after = retry_after(response.headers(), (self.now)());
        let body = super::read(response, MAX_ANSWER)
            .await
            .map(|body| Zeroizing::new(body.to_vec()))
            .ok_or_else(|| trouble("unreadable answer".to_owned()))?;
        if status.is_success() {
            let granted: Granted = serde_json::from_slice(&body)
                .map_err(|_| trouble("unexpected answer".to_owned()))?;
            return Ok(Arc::new(Access {
                token: Zeroizing::new(granted.access_token),
                minted_ms: now_ms,
                expire_ms: now_ms.saturating_add(granted.expires_in.saturating_mul(1000)),
                account: Arc::clone(account),
            }));
        }
        let reason = match serde_json::from_slice::<Denied>(&body) {
            Ok(Denied {
                error,
                error_description: Some(description),
            }) => redact::reason(&format!("{error}: {description}"), &assertion),
            Ok(Denied { error, .. }) => redact::reason(&error, &assertion),
            Err(_) => format!("status {}", status.as_u16()),
        };
        if status.is_client_error() && status != http::StatusCode::TOO_MANY_REQUESTS {
            return Err(Failure::Refused(reason));
        }
        Err(Failure::Trouble {
            reason: format!("token endpoint: {reason}"),
            after,
        })
    }
}

impl Account {
    fn assertion(&self, now_ms: u64) -> Result<Zeroizing<String>, String> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            scope: &'a str,
            aud: &'a str,
            iat: u64,
            exp: u64,
        }
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.key_id);
        let iat = now_ms / 1000;
        let claims = Claims {
            iss: &self.client_email,
            scope: SCOPE,
            aud: &self.token_uri,
            iat,
            exp: iat.saturating_add(ASSERTION_LIFE_S),
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
            .map(Zeroizing::new)
            .map_err(|_| "can't sign".to_owned())
    }
}

/// The last cause, without the addresses that the outer ones may carry.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Accepts an account only if its key signs.
fn parse(bytes: &[u8], _real_path: &Path) -> Result<Account, String> {
    let file: AccountFile = serde_json::from_slice(bytes)
        .map_err(|_| "is not a service account's JSON file".to_owned())?;
    let private_key = Zeroizing::new(file.private_key);
    if !secure_url(&file.token_uri, true) {
        return Err("token_uri must be https, or http on a loopback address".to_owned());
    }
    let fault = || "private_key is not an RSA key in PEM".to_owned();
    let account = Account {
        client_email: file.client_email,
        key: EncodingKey::from_rsa_pem(private_key.as_bytes()).map_err(|_| fault())?,
        key_id: file.private_key_id,
        token_uri: file.token_uri,
    };
    account.assertion(0).map_err(|_| fault())?;
    Ok(account)
}
