//! The provider token: the JWT by which a team speaks.
//!
//! Source: Apple, "Establishing a token-based connection to APNs".

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use parking_lot::Mutex;

use super::reason::{
    EXPIRED_PROVIDER_TOKEN, INVALID_PROVIDER_TOKEN, Reason, TOO_MANY_PROVIDER_TOKEN_UPDATES,
};
use crate::gateway::credentials::Credentials;
use crate::gateway::jws::{Encoding, Jws};

/// "Make sure the iat is no more than one hour old."
const MAX_AGE_S: u64 = 3600;
/// "Refresh your token no more than once every 20 minutes."
const CHANGE_INTERVAL_S: u64 = 20 * 60;
/// How far a provider's clock may be ahead (not documented by Apple).
const AHEAD_S: u64 = 60;
/// Verified tokens remembered; beyond it they are verified again.
const REMEMBERED: usize = 1024;

/// A verified token.
#[derive(Debug)]
pub(super) struct ProviderToken {
    pub(super) team_id: String,
    key_id: String,
    issued_at: u64,
}

/// The tokens of one APNs environment.
pub(super) struct ProviderTokens {
    credentials: Credentials,
    encoding: Encoding,
    /// Changes allowed per team in `CHANGE_INTERVAL_S`; unset: any number.
    change_limit: Option<usize>,
    verified: Mutex<HashMap<String, Arc<ProviderToken>>>,
    teams: Mutex<HashMap<String, Team>>,
}

#[derive(Default)]
struct Team {
    accepted: HashSet<String>,
    changes: VecDeque<u64>,
}

/// A good token, and whether it was never seen before.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) token: Arc<ProviderToken>,
    pub(super) new: bool,
}

impl ProviderTokens {
    pub(super) fn new(
        credentials: Credentials,
        encoding: Encoding,
        change_limit: Option<usize>,
    ) -> Self {
        let (verified, teams) = (Mutex::default(), Mutex::default());
        Self {
            credentials,
            encoding,
            change_limit,
            verified,
            teams,
        }
    }

    /// Checks the text behind `bearer`.
    pub(super) fn check(&self, text: &str, now_s: u64) -> Result<Checked, Reason> {
        let known = self.verified.lock().get(text).cloned();
        let token = match known {
            Some(token) => token,
            None => {
                let token = Arc::new(self.verify(text)?);
                let mut verified = self.verified.lock();
                if verified.len() >= REMEMBERED {
                    verified.clear();
                }
                verified.insert(text.to_owned(), Arc::clone(&token));
                token
            }
        };
        if self.credentials.apns_verifier(&token.key_id).is_none() {
            // Revoked since.
            return Err(INVALID_PROVIDER_TOKEN);
        }
        if token.issued_at > now_s.saturating_add(AHEAD_S) {
            return Err(INVALID_PROVIDER_TOKEN);
        }
        if now_s.saturating_sub(token.issued_at) > MAX_AGE_S {
            return Err(EXPIRED_PROVIDER_TOKEN);
        }
        let new = self.change(&token.team_id, text, now_s)?;
        Ok(Checked { token, new })
    }

    fn verify(&self, text: &str) -> Result<ProviderToken, Reason> {
        let jws = Jws::parse(text, self.encoding).ok_or(INVALID_PROVIDER_TOKEN)?;
        if jws.header("alg") != Some("ES256") {
            return Err(INVALID_PROVIDER_TOKEN);
        }
        let key_id = jws.header("kid").ok_or(INVALID_PROVIDER_TOKEN)?;
        let key = self
            .credentials
            .apns_verifier(key_id)
            .ok_or(INVALID_PROVIDER_TOKEN)?;
        if jws.text("iss") != Some(&key.team_id)
            || !jws.verify(&ECDSA_P256_SHA256_FIXED, &key.public_key)
        {
            return Err(INVALID_PROVIDER_TOKEN);
        }
        let issued_at = jws.seconds("iat").ok_or(INVALID_PROVIDER_TOKEN)?;
        Ok(ProviderToken {
            team_id: key.team_id,
            key_id: key_id.to_owned(),
            issued_at,
        })
    }

    /// Counts a team's changes of token. The first token is no change, nor is one seen before: it
    /// may still be in use on an older connection. A refused token is not a change made.
    fn change(&self, team_id: &str, text: &str, now_s: u64) -> Result<bool, Reason> {
        let mut teams = self.teams.lock();
        let team = teams.entry(team_id.to_owned()).or_default();
        if team.accepted.contains(text) {
            return Ok(false);
        }
        while team
            .changes
            .front()
            .is_some_and(|at| at.saturating_add(CHANGE_INTERVAL_S) <= now_s)
        {
            team.changes.pop_front();
        }
        if !team.accepted.is_empty() {
            if self
                .change_limit
                .is_some_and(|limit| team.changes.len() >= limit)
            {
                return Err(TOO_MANY_PROVIDER_TOKEN_UPDATES);
            }
            team.changes.push_back(now_s);
        }
        team.accepted.insert(text.to_owned());
        Ok(true)
    }
}
