//! Firebase Cloud Messaging, HTTP v1 (Firebase REST reference,
//! `projects.messages.send`).

mod answer;
mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use rustls::ClientConfig;

pub(super) use self::token::TokenSource;
use super::alarm::Trouble;
use super::attempt::{Answer, Attempt, Client, retry_after, transport_failure};
use super::breaker::Verdict;
use super::{NowMs, Outcome, Push, PushGateway, payload};

/// Longest wait for a connection, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A ping on a connection that carries requests but no answers.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a ping.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// Largest answer read, in bytes. Real ones are about 1 KB.
const MAX_ANSWER: usize = 64 * 1024;

/// One Firebase project.
pub(super) struct Fcm {
    http: reqwest::Client,
    send_url: String,
    tokens: Arc<TokenSource>,
    now: NowMs,
}

impl Fcm {
    pub(super) fn new(
        base_url: &str,
        project_id: &str,
        http: reqwest::Client,
        tokens: Arc<TokenSource>,
        now: NowMs,
    ) -> Self {
        Self {
            http,
            send_url: format!("{base_url}/v1/projects/{project_id}/messages:send"),
            tokens,
            now,
        }
    }

    async fn exchange(&self, push: &Push, access: &token::Access) -> Attempt {
        let request = self
            .http
            .post(&self.send_url)
            .bearer_auth(access.token())
            .header(CONTENT_TYPE, "application/json")
            .body(payload::fcm(push, (self.now)()));
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let never_connected = error.is_connect();
                return transport_failure(&error.without_url(), never_connected);
            }
        };
        let status = response.status();
        let after = retry_after(response.headers(), (self.now)());
        let body = read(response, MAX_ANSWER).await;
        let said = answer::Said::parse(status, body.as_deref(), &push.target.token);
        let answer = said.classify(after);
        if said.token_refused() {
            Attempt::Renewed(answer)
        } else {
            Attempt::Answered(answer)
        }
    }
}

impl Client for Fcm {
    const GATEWAY: PushGateway = PushGateway::Fcm;

    async fn attempt(&self, push: &Push, limit: Duration) -> Attempt {
        let access = match tokio::time::timeout(limit, self.tokens.current()).await {
            Ok(Ok(access)) => access,
            Ok(Err(failure)) => {
                return Attempt::Answered(Answer::new(failure.outcome(), Verdict::Neutral));
            }
            Err(_elapsed) => {
                let outcome = Outcome::ServerError {
                    reason: "no access token in time".to_owned(),
                    after: None,
                };
                return Attempt::Answered(Answer::new(outcome, Verdict::Neutral));
            }
        };
        let Ok(attempt) = tokio::time::timeout(limit, self.exchange(push, &access)).await else {
            return Attempt::TimedOut;
        };
        if let Attempt::Renewed(_) = &attempt {
            self.tokens.refused(&access);
        }
        attempt
    }

    fn accepted(&self) {
        self.tokens.bell().clear(Trouble::Refused);
    }

    fn credential_rejected(&self, reason: &str) {
        self.tokens.bell().raise(Trouble::Refused, reason);
    }
}

/// A client that trusts as `tls` says, follows no redirect, uses no proxy and
/// retries nothing: retries are counted and traced in `attempt`.
pub(super) fn http_client(mut tls: ClientConfig) -> Result<reqwest::Client, String> {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_LIMIT)
        .build()
        .map_err(|e| e.to_string())
}

/// The whole body, or none if it breaks off or is larger than `max` bytes.
async fn read(mut response: reqwest::Response, max: usize) -> Option<Bytes> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len().saturating_add(chunk.len()) > max {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(Bytes::from(body))
}
