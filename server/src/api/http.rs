//! The HTTP port: is it alive, is it ready, what does it count, which keys.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::broker::Broker;

/// `/healthz`, `/readyz`, `/metrics`, `/.well-known/jwks.json`.
pub fn router(broker: Arc<Broker>) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(|| async { Json(json!({ "status": "ok" })) }),
        )
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(jwks))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({ "error": "not found" }))) })
        .with_state(broker)
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
