//! Text messages on the control page: as JSON for tests, as phones for people.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;

use super::{Core, refuse};
use crate::gateway::sms::{Alphabet, Delivery, MessageStatus, TextMessage};

/// Longest that a request may wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) fn router() -> Router<Core> {
    Router::new()
        .route("/sms", get(page))
        .route("/sms/inbox", get(inbox).delete(forget))
        .route("/sms/delivery", put(set_default))
        .route("/sms/delivery/{number}", put(set).delete(unset))
}

#[derive(Deserialize)]
struct InboxQuery {
    to: Option<String>,
    after: Option<u64>,
    wait: Option<u64>,
}

async fn inbox(State(core): State<Core>, Query(query): Query<InboxQuery>) -> Response {
    let inbox = core.sms.inbox();
    let after = query.after.unwrap_or(0);
    if let Some(seconds) = query.wait {
        let Some(to) = &query.to else {
            return refuse(StatusCode::BAD_REQUEST, "wait needs to");
        };
        let newer = inbox.wait_for(to, |message| message.seq > after);
        let patience = Duration::from_secs(seconds).min(LONGEST_WAIT);
        // What is there by then is the answer either way.
        drop(tokio::time::timeout(patience, newer).await);
    }
    let mut messages = inbox.messages();
    messages.retain(|message| {
        message.seq > after && query.to.as_ref().is_none_or(|to| message.to == *to)
    });
    Json(messages).into_response()
}

async fn forget(State(core): State<Core>) -> StatusCode {
    core.sms.inbox().clear();
    StatusCode::NO_CONTENT
}

async fn set_default(State(core): State<Core>, body: Bytes) -> Response {
    match serde_json::from_slice::<Delivery>(&body) {
        Err(wrong) => refuse(StatusCode::BAD_REQUEST, wrong),
        Ok(delivery) => {
            core.sms.inbox().set_default_delivery(delivery);
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

async fn set(State(core): State<Core>, Path(number): Path<String>, body: Bytes) -> Response {
    match serde_json::from_slice::<Delivery>(&body) {
        Err(wrong) => refuse(StatusCode::BAD_REQUEST, wrong),
        Ok(delivery) => {
            core.sms.inbox().set_delivery(&number, Some(delivery));
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

async fn unset(State(core): State<Core>, Path(number): Path<String>) -> StatusCode {
    core.sms.inbox().set_delivery(&number, None);
    StatusCode::NO_CONTENT
}

/// Nothing from a message may run or load here.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = "\
body{font:15px system-ui,sans-serif;background:#e8e8ed;margin:1.5em;color:#1c1c1e}
main{display:flex;flex-wrap:wrap;gap:1.5em}
section{width:20em;min-height:26em;padding:1.2em .9em;border-radius:2em;border:.4em solid #1c1c1e;
background:linear-gradient(#35506e,#8a5f7c)}
h2{font-size:.95em;font-weight:500;color:#fff;text-align:center;margin:0 0 1em}
article{background:#f4f4f6e6;border-radius:1em;padding:.7em .9em;margin:.6em 0}
article.lost{opacity:.55}
header{display:flex;justify-content:space-between;font-size:.85em;margin-bottom:.3em}
p{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
footer{font-size:.72em;color:#6b6b70;margin-top:.5em}";

async fn page(State(core): State<Core>) -> Response {
    let mut phones: BTreeMap<String, Vec<TextMessage>> = BTreeMap::new();
    for message in core.sms.inbox().messages() {
        phones.entry(message.to.clone()).or_default().push(message);
    }
    let mut html = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta http-equiv=\"refresh\" content=\"2\"><title>Text messages</title>\
         <style>{STYLE}</style><h1>Text messages</h1><main>"
    );
    if phones.is_empty() {
        html.push_str("<p>None yet.");
    }
    for (number, messages) in phones {
        html.push_str(&format!("<section><h2>{}</h2>", escaped(&number)));
        for message in messages.iter().rev() {
            html.push_str(&article(message));
        }
        html.push_str("</section>");
    }
    html.push_str("</main></html>");
    let policy = (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    ([policy], Html(html)).into_response()
}

/// One message as on a lock screen. One that the phone does not have is faint.
fn article(message: &TextMessage) -> String {
    let class = if message.shown { "" } else { " class=\"lost\"" };
    let unit = match message.alphabet {
        Alphabet::Gsm7 => "septets, GSM-7",
        Alphabet::Ucs2 => "code units, UCS-2",
    };
    let parts = match message.segments {
        1 => "1 message".to_owned(),
        parts => format!("{parts} messages"),
    };
    let state = match (message.status, message.error_code) {
        (MessageStatus::Delivered, _) => String::new(),
        (status, None) => format!(", {}", status.name()),
        (status, Some(code)) => format!(", {} ({code})", status.name()),
    };
    format!(
        "<article{class}><header><b>{}</b><span>{}</span></header><p>{}</p>\
         <footer>{} {unit}, {parts}, by {}{state}</footer></article>",
        escaped(&message.from),
        clock(message.time_ms),
        escaped(&message.text),
        message.units,
        message.gateway.name(),
    )
}

fn clock(time_ms: u64) -> String {
    i64::try_from(time_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map(|time| {
            let time = time.to_zoned(jiff::tz::TimeZone::system());
            time.strftime("%H:%M").to_string()
        })
        .unwrap_or_default()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
