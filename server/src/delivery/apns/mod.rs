//! Apple Push Notification service, over HTTP/2 with provider tokens (Apple,
//! "Sending notification requests to APNs").

mod answer;
mod gate;
mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::{CaptureConnection, HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use self::gate::Gate;
pub(super) use self::token::TokenSource;
use super::alarm::Trouble;
use super::attempt::{Answer, Attempt, Client, retry_after, transport_failure};
use super::breaker::Verdict;
use super::{Content, NowMs, Outcome, Push, PushGateway, payload};

/// Longest wait for a TCP connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A ping on a quiet connection, so that one cut off by a firewall is found
/// before a push is: Apple, "Communicating with APNs", suggests an hour; NAT
/// tables forget within minutes.
const PING_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for the answer to a ping.
const PING_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer read, in bytes. Real ones are under 100.
const MAX_ANSWER: usize = 16 * 1024;

/// One team's connection to one APNs host. Topics share it.
pub(super) struct Apns {
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base_url: String,
    tokens: Arc<TokenSource>,
    gate: Gate,
    now: NowMs,
}

impl Apns {
    pub(super) fn new(
        base_url: &str,
        tls: ClientConfig,
        tokens: Arc<TokenSource>,
        now: NowMs,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http2()
            .wrap_connector(tcp);
        let http = HyperClient::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_only(true)
            // Until the server's SETTINGS are known, one stream: APNs allows no
            // more before the first authenticated answer.
            .http2_initial_max_send_streams(1)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_LIMIT)
            .http2_keep_alive_while_idle(true)
            .build(tls);
        Self {
            http,
            base_url: base_url.to_owned(),
            tokens,
            gate: Gate::new(),
            now,
        }
    }

    /// The request, or none when a part of it can't stand in one.
    fn request(&self, push: &Push, token: &token::Minted) -> Option<Request<Full<Bytes>>> {
        let priority = HeaderValue::from_static("10");
        let uri = format!("{}/3/device/{}", self.base_url, push.target.token);
        let expire_s = match push.content {
            // 0 tells APNs not to keep it: a withdrawal that comes late is moot.
            Content::Withdraw { .. } if push.expire_at_ms <= (self.now)() => 0,
            _ => push.expire_at_ms / 1000,
        };
        Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(AUTHORIZATION, token.header())
            .header(CONTENT_TYPE, "application/json")
            .header("apns-id", push.push_id.to_string())
            .header("apns-topic", &push.target.app_id)
            .header("apns-push-type", "alert")
            .header("apns-priority", priority)
            .header("apns-expiration", expire_s)
            .header("apns-collapse-id", &push.collapse_id)
            .body(Full::new(Bytes::from(payload::apns(&push.content))))
            .ok()
    }

    async fn exchange(&self, push: &Push, limit: Duration) -> Attempt {
        let minted = match self.tokens.current().await {
            Ok(minted) => minted,
            Err(reason) => {
                let outcome = Outcome::CredentialRejected { reason };
                return Attempt::Answered(Answer::new(outcome, Verdict::Neutral));
            }
        };
        let Some(mut request) = self.request(push, &minted) else {
            return refused_here("can't be written as a request");
        };
        let connection = capture_connection(&mut request);
        let exchange = tokio::time::timeout(limit, async {
            let pass = self.gate.enter().await;
            let response = self.http.request(request).await.map_err(|error| {
                let never_connected = error.is_connect();
                transport_failure(&error, never_connected)
            })?;
            let era = pass.answered();
            let (parts, body) = response.into_parts();
            if parts.status == StatusCode::OK {
                return Ok((era, parts, None));
            }
            // A reason that can't be read leaves the status to go by.
            let body = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .ok()
                .map(http_body_util::Collected::to_bytes);
            Ok((era, parts, body))
        });
        let (era, parts, body) = match exchange.await {
            Err(_elapsed) if was_sent(&connection) => {
                // What does not answer is not used again.
                poison(&connection);
                return Attempt::TimedOut;
            }
            Err(_elapsed) => return Attempt::NotSent("no connection in time".to_owned()),
            Ok(Err(attempt)) => return attempt,
            Ok(Ok(answer)) => answer,
        };
        let said = answer::Said::parse(parts.status, body.as_deref(), &push.target.token);
        let answer = said.classify(retry_after(&parts.headers, (self.now)()));
        if said.ends_connection() {
            poison(&connection);
            self.gate.cool(era);
        }
        let Some(refusal) = said.token_refusal() else {
            return Attempt::Answered(answer);
        };
        if self.tokens.refused(&minted, refusal).await {
            Attempt::Renewed(answer)
        } else {
            Attempt::Answered(answer)
        }
    }
}

impl Client for Apns {
    const GATEWAY: PushGateway = PushGateway::Apns;

    async fn attempt(&self, push: &Push, limit: Duration) -> Attempt {
        let token = &push.target.token;
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
            let reason = "BadDeviceToken".to_owned();
            return Attempt::Answered(Answer::new(
                Outcome::TokenSuspect { reason },
                Verdict::Neutral,
            ));
        }
        // "Must not exceed 64 bytes" (Apple, as above).
        if !(1..=64).contains(&push.collapse_id.len()) {
            return refused_here("BadCollapseId");
        }
        self.exchange(push, limit).await
    }

    fn accepted(&self) {
        self.tokens.bell().clear(Trouble::Refused);
    }

    fn credential_rejected(&self, reason: &str) {
        self.tokens.bell().raise(Trouble::Refused, reason);
    }
}

fn refused_here(reason: &str) -> Attempt {
    let reason = reason.to_owned();
    Attempt::Answered(Answer::new(Outcome::Rejected { reason }, Verdict::Neutral))
}

/// Whether the request ever got as far as a connection.
fn was_sent(connection: &CaptureConnection) -> bool {
    connection.connection_metadata().is_some()
}

fn poison(connection: &CaptureConnection) {
    if let Some(connected) = connection.connection_metadata().as_ref() {
        connected.poison();
    }
}
