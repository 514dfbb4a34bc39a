//! The HTTP ports. One for operators: is it alive, is it ready, what does it
//! count; it also has all that the public one has: which keys, and where SMS
//! gateways report.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::broker::Broker;

/// Largest status callback, in bytes.
const MAX_CALLBACK: usize = 16 * 1024;

/// What an SMS gateway sends about a text it took.
#[derive(Clone, Copy)]
pub struct StatusCallback<'a> {
    /// The gateway's configured name, from the path.
    pub gateway: &'a str,
    /// `GET` or `POST`.
    pub method: &'a Method,
    /// Path and query, byte for byte.
    pub path_and_query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// At most 16 KiB.
    pub body: &'a [u8],
}

/// What became of a status callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusAnswer {
    /// Taken: 204.
    Taken,
    /// Not proven to come from the gateway: 403.
    Forged,
    /// No such gateway: 404.
    UnknownGateway,
    /// Proven, but not understood: 400.
    Malformed,
}

/// Takes status callbacks.
pub type StatusCallbacks = Arc<dyn Fn(StatusCallback<'_>) -> StatusAnswer + Send + Sync>;

/// `/healthz`, `/readyz`, `/metrics`, `/.well-known/jwks.json`,
/// `/sms/{gateway}/status`.
pub fn router(broker: Arc<Broker>, callbacks: StatusCallbacks) -> Router {
    let operators = Router::new()
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(broker.clone());
    public_router(broker, callbacks).merge(operators)
}

/// `/healthz`, `/.well-known/jwks.json`, `/sms/{gateway}/status`: nothing that
/// tells of the broker's inside.
pub fn public_router(broker: Arc<Broker>, callbacks: StatusCallbacks) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(|| async { Json(json!({ "status": "ok" })) }),
        )
        .route("/.well-known/jwks.json", get(jwks))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({ "error": "not found" }))) })
        .with_state(broker)
        .merge(status_router(callbacks))
}

/// `/sms/{gateway}/status` alone: GET or POST.
pub fn status_router(callbacks: StatusCallbacks) -> Router {
    Router::new()
        .route("/sms/{gateway}/status", get(text_status).post(text_status))
        .layer(DefaultBodyLimit::max(MAX_CALLBACK))
        .with_state(callbacks)
}

async fn text_status(
    State(callbacks): State<StatusCallbacks>,
    Path(gateway): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let callback = StatusCallback {
        gateway: &gateway,
        method: &method,
        path_and_query: uri.path_and_query().map_or("/", |path| path.as_str()),
        headers: &headers,
        body: &body,
    };
    match callbacks(callback) {
        StatusAnswer::Taken => StatusCode::NO_CONTENT,
        StatusAnswer::Forged => StatusCode::FORBIDDEN,
        StatusAnswer::UnknownGateway => StatusCode::NOT_FOUND,
        StatusAnswer::Malformed => StatusCode::BAD_REQUEST,
    }
}

async fn ready(State(broker): State<Arc<Broker>>) -> Response {
    if broker.is_ready() {
        let mut body = json!({ "status": "ready" });
        // Trouble for the operator, no reason to take the broker out of service.
        let alarms: Vec<_> = broker
            .push_alarms()
            .iter()
            .map(|alarm| {
                json!({
                    "gateway": alarm.gateway.name(),
                    "credential": alarm.credential,
                    "reason": alarm.reason,
                    "since_unix_ms": alarm.since_ms,
                })
            })
            .collect();
        if !alarms.is_empty() {
            body = json!({ "status": "ready", "push_credentials": alarms });
        }
        Json(body).into_response()
    } else {
        let body = Json(json!({ "status": "not ready" }));
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

async fn metrics(State(broker): State<Arc<Broker>>) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, broker.render_metrics()).into_response()
}

async fn jwks(State(broker): State<Arc<Broker>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, broker.jwks().to_string()).into_response()
}
