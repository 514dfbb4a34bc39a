//! The token endpoint: a signed assertion against an access token.
//!
//! Source: RFC 7523; Google, "Using OAuth 2.0 for server to server applications".

use std::collections::{HashMap, HashSet};

use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::error::Refusal;
use crate::gateway::credentials::Credentials;
use crate::gateway::jws::{Encoding, Jws};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// "exp: maximum of 1 hour after the issued time."
const MAX_LIFETIME_S: u64 = 3600;
/// How far the two clocks may differ (Google allows "a reasonable timeframe").
const SKEW_S: u64 = 60;
/// Assertions remembered to count different ones.
const REMEMBERED: usize = 4096;

pub(super) struct AccessTokens {
    credentials: Credentials,
    audience: String,
    lifetime_s: u64,
    live: Mutex<HashMap<String, AccessToken>>,
    assertions: Mutex<HashSet<Vec<u8>>>,
}

#[derive(Clone)]
struct AccessToken {
    project_id: String,
    expires_s: u64,
}

pub(super) struct Minted {
    pub(super) answer: Value,
    pub(super) client_email: String,
    /// Whether the assertion was never seen before.
    pub(super) new_assertion: bool,
}

impl AccessTokens {
    pub(super) fn new(credentials: Credentials, audience: String, lifetime_s: u64) -> Self {
        let (live, assertions) = (Mutex::default(), Mutex::default());
        Self {
            credentials,
            audience,
            lifetime_s,
            live,
            assertions,
        }
    }

    /// Answers a form (`application/x-www-form-urlencoded`).
    pub(super) fn mint(&self, form: &[(String, String)], now_s: u64) -> Result<Minted, Refusal> {
        let field = |name: &str| {
            form.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        if field("grant_type") != Some(GRANT_TYPE) {
            let error = "unsupported_grant_type";
            return Err(Refusal::oauth(400, error, "Invalid grant_type"));
        }
        let assertion = field("assertion")
            .ok_or_else(|| Refusal::oauth(400, "invalid_request", "Missing assertion"))?;
        let grant = |description: &str| Refusal::oauth(400, "invalid_grant", description);
        let jws = Jws::parse(assertion, Encoding::Strict)
            .ok_or_else(|| grant("Invalid JWT: Failed to parse."))?;
        if jws.header("alg") != Some("RS256") {
            return Err(grant("Invalid JWT: Unsupported algorithm."));
        }
        let client_email = jws.text("iss").unwrap_or_default();
        let account = self
            .credentials
            .fcm_verifier(client_email)
            .ok_or_else(|| grant("Invalid grant: account not found"))?;
        let signed = match jws.header("kid") {
            Some(kid) => account
                .public_keys
                .get(kid)
                .is_some_and(|key| jws.verify(&RSA_PKCS1_2048_8192_SHA256, key)),
            None => account
                .public_keys
                .values()
                .any(|key| jws.verify(&RSA_PKCS1_2048_8192_SHA256, key)),
        };
        if !signed {
            return Err(grant("Invalid JWT Signature."));
        }
        if jws.text("aud") != Some(&self.audience) {
            return Err(grant("Invalid JWT: Failed audience check."));
        }
        let (iat, exp) = (jws.seconds("iat"), jws.seconds("exp"));
        let timely = iat.zip(exp).is_some_and(|(iat, exp)| {
            exp > iat
                && exp - iat <= MAX_LIFETIME_S
                && iat <= now_s.saturating_add(SKEW_S)
                && exp.saturating_add(SKEW_S) > now_s
        });
        if !timely {
            return Err(grant(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
                 timeframe. Check your iat and exp values in the JWT claim.",
            ));
        }
        if !jws
            .text("scope")
            .unwrap_or_default()
            .split(' ')
            .any(|scope| scope == SCOPE)
        {
            return Err(grant("Invalid OAuth scope."));
        }
        let token = format!("ya29.c.{}", BASE64URL.encode(rand::random::<[u8; 96]>()));
        let minted = AccessToken {
            project_id: account.project_id,
            expires_s: now_s.saturating_add(self.lifetime_s),
        };
        let mut live = self.live.lock();
        live.retain(|_, old| old.expires_s > now_s);
        live.insert(token.clone(), minted);
        let answer = json!({
            "access_token": token,
            "expires_in": self.lifetime_s,
            "token_type": "Bearer",
        });
        let new_assertion = self.remember(assertion);
        Ok(Minted {
            answer,
            client_email: client_email.to_owned(),
            new_assertion,
        })
    }

    /// The project an access token speaks for.
    pub(super) fn project(&self, token: &str, now_s: u64) -> Result<String, Refusal> {
        let live = self.live.lock();
        match live.get(token) {
            None => Err(Refusal::unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")),
            Some(token) if token.expires_s <= now_s => {
                Err(Refusal::unauthenticated("ACCESS_TOKEN_EXPIRED"))
            }
            Some(token) => Ok(token.project_id.clone()),
        }
    }

    /// Forgets all access tokens, as if they were revoked. Answers how many.
    pub(super) fn revoke_all(&self) -> usize {
        std::mem::take(&mut *self.live.lock()).len()
    }

    fn remember(&self, assertion: &str) -> bool {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, assertion.as_bytes());
        let mut assertions = self.assertions.lock();
        if assertions.len() >= REMEMBERED {
            assertions.clear();
        }
        assertions.insert(digest.as_ref().to_vec())
    }
}
