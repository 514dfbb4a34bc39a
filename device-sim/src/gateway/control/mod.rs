//! The control page: what phones in other processes, tests and people use to reach into the running
//! emulators. Plain HTTP and JSON.

mod sms;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::device::Registration;
use super::journal::Arrival;
use super::{Core, Counters};
use crate::fault::{FaultPlan, Faults};

/// A broker's HTTP port unless configured otherwise.
pub(crate) const BROKER_HTTP: &str = "http://127.0.0.1:7701";

const INDEX: &str = "\
GET    /state                   counters of every gateway
GET    /received[?gateway=G]    requests received, oldest first
DELETE /received                forget them
GET    /faults/G                what goes wrong (G: apns apns-sandbox fcm fcm-token twilio
                                webhook smpp)
PUT    /faults/G                change it, e.g. {\"seed\":1,\"shares\":[{\"share\":0.1,\"fault\":{\"kind\":\"drop\"}}],
                                \"schedule\":[{\"kind\":\"unavailable\",\"retry_after\":3}],\"down\":false}
POST   /devices                 a phone asks for a token: {\"gateway\":\"apns\"|\"fcm\",\"app_id\":...,
                                \"environment\":\"production\"|\"sandbox\"} -> {\"token\":...}
GET    /devices/T/pushes        its pushes, one JSON object a line, until the client hangs up
GET    /devices/T/screen        the notifications on its screen
GET    /fleets/P/pushes?gateway=G&app_id=A  pushes to all phones whose tokens begin with P, of at least
                                8 characters, as {\"token\":...,\"push\":...}; from the first such call on
                                all such tokens are alive
DELETE /devices/T[?how=expired] the app is removed (or the token runs out)
POST   /fcm/revoke              revoke all access tokens
GET    /sms                     the phones' text messages, for a browser
GET    /sms/inbox[?to=NUMBER]   text messages received, oldest first; with &after=SEQ&wait=SECONDS it
                                waits for one on the phone that is newer than SEQ
DELETE /sms/inbox               forget them
PUT    /sms/delivery[/NUMBER]   what becomes of messages, to all numbers or one: {\"outcome\":\"delivered\"|
                                \"unconfirmed\"|\"never\"} or {\"outcome\":\"undelivered\"|\"failed\",\"error_code\":30003}
DELETE /sms/delivery/NUMBER     as for any other number
GET    /broker.toml[?callback_url=URL]  configuration for a broker; URL: where its HTTP port is
";

pub(super) async fn start(
    listen: SocketAddr,
    core: Core,
    stop: CancellationToken,
) -> io::Result<SocketAddr> {
    let tcp = TcpListener::bind(listen).await?;
    let addr = tcp.local_addr()?;
    let router = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/state", get(state))
        .route("/received", get(received).delete(forget))
        .route("/faults/{gateway}", get(faults).put(set_faults))
        .route("/devices", post(register))
        .route("/devices/{token}", axum::routing::delete(end))
        .route("/devices/{token}/pushes", get(pushes))
        .route("/devices/{token}/screen", get(screen))
        .route("/fleets/{prefix}/pushes", get(fleet_pushes))
        .route("/fcm/revoke", post(revoke))
        .route("/broker.toml", get(broker_toml))
        .merge(sms::router())
        .with_state(core);
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            // Never ends by itself.
            _ = axum::serve(tcp, router).into_future() => {}
        }
    });
    Ok(addr)
}

#[derive(Deserialize)]
struct TomlQuery {
    callback_url: Option<String>,
}

async fn broker_toml(State(core): State<Core>, Query(query): Query<TomlQuery>) -> String {
    let callback_url = query.callback_url.as_deref().unwrap_or(BROKER_HTTP);
    core.broker_toml() + &core.sms_toml(callback_url)
}

/// An error in JSON.
fn refuse(status: StatusCode, message: impl ToString) -> Response {
    (status, Json(json!({ "error": message.to_string() }))).into_response()
}

async fn state(State(core): State<Core>) -> Json<Value> {
    let one = |counters: Counters, faults: &Faults| {
        let mut value = json!(counters);
        if let Some(map) = value.as_object_mut() {
            map.insert("faults".to_owned(), json!(faults.plan()));
        }
        value
    };
    Json(json!({
        "time_ms": core.clock.now_ms(),
        "devices": core.devices.len(),
        "apns": one(core.apns.counters(), core.apns.faults()),
        "apns-sandbox": one(core.apns_sandbox.counters(), core.apns_sandbox.faults()),
        "fcm": one(core.fcm.counters(), core.fcm.faults()),
        "fcm-token": one(core.fcm.token_counters(), core.fcm.token_faults()),
        "twilio": one(core.sms.twilio().counters(), core.sms.twilio().faults()),
        "webhook": one(core.sms.webhook().counters(), core.sms.webhook().faults()),
        "smpp": one(core.sms.smpp().counters(), core.sms.smpp().faults()),
    }))
}

#[derive(Deserialize)]
struct ReceivedQuery {
    gateway: Option<String>,
}

async fn received(
    State(core): State<Core>,
    Query(query): Query<ReceivedQuery>,
) -> Json<Vec<Arrival>> {
    let wanted = |arrival: &Arc<Arrival>| match &query.gateway {
        None => true,
        Some(gateway) => arrival.gateway == gateway,
    };
    Json(
        core.journal
            .list()
            .iter()
            .filter(|one| wanted(one))
            .map(|one| (**one).clone())
            .collect(),
    )
}

async fn forget(State(core): State<Core>) -> StatusCode {
    core.journal.clear();
    StatusCode::NO_CONTENT
}

async fn faults(State(core): State<Core>, Path(gateway): Path<String>) -> Response {
    match core.faults(&gateway) {
        Ok(faults) => Json(faults.plan()).into_response(),
        Err(unknown) => refuse(StatusCode::NOT_FOUND, unknown),
    }
}

async fn set_faults(
    State(core): State<Core>,
    Path(gateway): Path<String>,
    body: Bytes,
) -> Response {
    let faults = match core.faults(&gateway) {
        Ok(faults) => faults,
        Err(unknown) => return refuse(StatusCode::NOT_FOUND, unknown),
    };
    match serde_json::from_slice::<FaultPlan>(&body) {
        Err(wrong) => refuse(StatusCode::BAD_REQUEST, wrong),
        Ok(plan) => match faults.set(plan) {
            Err(wrong) => refuse(StatusCode::BAD_REQUEST, wrong),
            Ok(_) => Json(faults.plan()).into_response(),
        },
    }
}

async fn register(State(core): State<Core>, body: Bytes) -> Response {
    match serde_json::from_slice::<Registration>(&body) {
        Err(wrong) => refuse(StatusCode::BAD_REQUEST, wrong),
        Ok(registration) => match core.issue_token(&registration) {
            Err(unknown) => refuse(StatusCode::NOT_FOUND, unknown),
            Ok(token) => (StatusCode::CREATED, Json(json!({ "token": token }))).into_response(),
        },
    }
}

async fn pushes(State(core): State<Core>, Path(token): Path<String>) -> Response {
    let Some(pushes) = core.devices.connect(&token) else {
        return refuse(StatusCode::NOT_FOUND, "no such token");
    };
    let lines = pushes.map(|push| {
        // Pushes are made of text and numbers; an empty line is no push.
        let mut line = serde_json::to_string(&push).unwrap_or_default();
        line.push('\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let ndjson = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (ndjson, Body::from_stream(lines)).into_response()
}

/// Shorter beginnings would be those of other phones, too.
const SHORTEST_PREFIX: usize = 8;

async fn fleet_pushes(
    State(core): State<Core>,
    Path(prefix): Path<String>,
    Query(registration): Query<Registration>,
) -> Response {
    if prefix.len() < SHORTEST_PREFIX {
        return refuse(StatusCode::BAD_REQUEST, "the prefix is too short");
    }
    if let Err(unknown) = core.check_app(&registration) {
        return refuse(StatusCode::NOT_FOUND, unknown);
    }
    let pushes = core.devices.connect_fleet(&prefix, &registration);
    let pushes = tokio_stream::wrappers::UnboundedReceiverStream::new(pushes);
    let lines = pushes.map(|(token, push)| {
        let mut line = json!({ "token": token, "push": push }).to_string();
        line.push('\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let ndjson = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (ndjson, Body::from_stream(lines)).into_response()
}

async fn screen(State(core): State<Core>, Path(token): Path<String>) -> Json<Value> {
    Json(json!(core.devices.screen(&token)))
}

#[derive(Deserialize)]
struct EndQuery {
    how: Option<String>,
}

async fn end(
    State(core): State<Core>,
    Path(token): Path<String>,
    Query(query): Query<EndQuery>,
) -> Response {
    let found = match query.how.as_deref() {
        None | Some("uninstalled") => core.devices.uninstall(&token),
        Some("expired") => core.devices.expire(&token),
        Some(_) => return refuse(StatusCode::BAD_REQUEST, "how: uninstalled or expired"),
    };
    if found {
        StatusCode::NO_CONTENT.into_response()
    } else {
        refuse(StatusCode::NOT_FOUND, "no such token")
    }
}

async fn revoke(State(core): State<Core>) -> Json<Value> {
    Json(json!({ "revoked": core.fcm.revoke_access_tokens() }))
}
