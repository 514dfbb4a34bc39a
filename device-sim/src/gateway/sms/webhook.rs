//! Text messages by webhook, in whatever shape a template gives the request: aggregators' APIs and
//! Kannel's `sendsms`.
//!
//! Source: Kannel User's Guide, "Using the HTTP interface to smsbox" and "Delivery reports".

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::alphabet::measure;
use super::callback::{Callbacks, is_callback_url};
use super::endpoint::{Accepted, Answer, Desk, Endpoint};
use super::inbox::MessageStatus;
use super::number::{self, NumberTrouble};
use super::percent_encoded;
use crate::fault::{Fault, Faults};
use crate::gateway::device::hex;
use crate::gateway::http::form;
use crate::gateway::journal::{Arrival, Counters};

/// Names under which the fields are found, in lower case.
const TO: [&str; 7] = [
    "to",
    "recipient",
    "recipients",
    "msisdn",
    "number",
    "phone",
    "destination",
];
const TEXT: [&str; 4] = ["text", "body", "message", "content"];
const FROM: [&str; 4] = ["from", "sender", "originator", "source"];
const STATUS_URL: [&str; 6] = [
    "status_url",
    "dlr-url",
    "dlr_url",
    "callback",
    "callback_url",
    "report_url",
];
const SECRET: [&str; 6] = ["password", "pass", "secret", "token", "api_key", "apikey"];
const SECRET_HEADERS: [&str; 3] = ["x-api-key", "api-key", "apikey"];
/// Kannel's `dlr-mask`: which reports are wanted; all of them if it isn't given.
const DLR_MASK: [&str; 2] = ["dlr-mask", "dlr_mask"];

/// The running endpoint.
#[derive(Clone)]
pub struct Webhook(pub(super) Arc<Service>);

impl Webhook {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Base URL. Any path below it will do.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// What a request must show, in any of the usual places: a bearer token, the password of basic
    /// authentication, an `x-api-key` header, or a field `password`, `token`, `api_key`.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0.secret
    }

    /// What goes wrong here.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.0.desk.faults
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.desk.journal.counters()
    }
}

pub(super) struct Service {
    pub(super) addr: SocketAddr,
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) secret_demanded: bool,
    pub(super) desk: Desk,
    pub(super) callbacks: Callbacks,
}

struct Refusal {
    status: u16,
    reason: String,
    retry_after: Option<u64>,
}

fn refusal(status: u16, reason: impl Into<String>) -> Refusal {
    Refusal {
        status,
        reason: reason.into(),
        retry_after: None,
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.status,
            body: json!({ "status": "rejected", "error": refusal.reason }),
            reason: Some(refusal.reason),
            retry_after: refusal.retry_after,
        }
    }
}

/// A request's fields from query, form and JSON; the names in lower case.
struct Fields(BTreeMap<String, String>);

impl Fields {
    async fn of(parts: &Parts, body: Bytes) -> Self {
        let mut fields = BTreeMap::new();
        let mut add = |pairs: Vec<(String, String)>| {
            for (name, value) in pairs {
                fields.insert(name.to_ascii_lowercase(), value);
            }
        };
        if let Ok(json) = serde_json::from_slice::<BTreeMap<String, Value>>(&body) {
            add(json
                .into_iter()
                .filter_map(|(name, value)| Some((name, scalar(value)?)))
                .collect());
        } else {
            add(form(parts, body).await.unwrap_or_default());
        }
        if let Ok(axum::extract::Query(query)) =
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
        {
            add(query);
        }
        Self(fields)
    }

    fn get(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .find_map(|name| self.0.get(*name))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn without_secrets(&self) -> Value {
        let shown: BTreeMap<_, _> = self
            .0
            .iter()
            .filter(|(name, _)| !SECRET.contains(&name.as_str()))
            .collect();
        json!(shown)
    }
}

/// Text and numbers; of a list with one entry, that one (aggregators take `"recipients": [31612…]`).
fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(mut list) if list.len() == 1 => list.pop().and_then(scalar),
        _ => None,
    }
}

/// A message to be sent.
struct Outgoing {
    to: String,
    from: String,
    text: String,
    status_url: Option<String>,
    mask: u32,
}

impl Endpoint for Service {
    fn desk(&self) -> &Desk {
        &self.desk
    }

    async fn handle(
        self: Arc<Self>,
        parts: Parts,
        body: Bytes,
        fault: Option<&Fault>,
        arrival: &mut Arrival,
    ) -> Answer {
        let fields = Fields::of(&parts, body).await;
        arrival.payload = fields.without_secrets();
        if self.secret_demanded && !self.authorized(&parts.headers, &fields) {
            return refusal(401, "no credentials, or wrong ones").into();
        }
        let outgoing = match (self.examine(&fields), fault.and_then(faulty)) {
            (Err(refusal), _) | (Ok(_), Some(refusal)) => return refusal.into(),
            (Ok(outgoing), None) => outgoing,
        };
        let id = hex(&rand::random::<[u8; 16]>());
        arrival.id.clone_from(&id);
        arrival.app_id.clone_from(&outgoing.from);
        arrival.token.clone_from(&outgoing.to);
        let parties = (
            outgoing.from.as_str(),
            outgoing.to.as_str(),
            outgoing.text.as_str(),
        );
        let accepted = self
            .desk
            .accept(id, parties, measure(&outgoing.text), fault);
        arrival.fate = Some(accepted.fate);
        let body = json!({ "id": accepted.id, "status": "accepted" });
        tokio::spawn(Arc::clone(&self).report(accepted, outgoing));
        Answer {
            // Kannel answers 202 "0: Accepted for delivery".
            status: 202,
            body,
            reason: None,
            retry_after: None,
        }
    }
}

impl Service {
    fn authorized(&self, headers: &HeaderMap, fields: &Fields) -> bool {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = header(AUTHORIZATION.as_str())
            .and_then(|text| text.split_once(' '))
            .is_some_and(|(scheme, credentials)| {
                if scheme.eq_ignore_ascii_case("basic") {
                    let decoded = BASE64.decode(credentials).unwrap_or_default();
                    let decoded = String::from_utf8(decoded).unwrap_or_default();
                    decoded
                        .split_once(':')
                        .is_some_and(|(_, password)| password == self.secret)
                } else {
                    // Bearer, or a scheme of the aggregator's own such as `AccessKey`.
                    credentials == self.secret
                }
            });
        authorization
            || SECRET_HEADERS
                .iter()
                .any(|name| header(name) == Some(&self.secret))
            || fields.get(&SECRET) == Some(&self.secret)
    }

    fn examine(&self, fields: &Fields) -> Result<Outgoing, Refusal> {
        let to = fields
            .get(&TO)
            .ok_or_else(|| refusal(400, "no recipient"))?;
        let text = fields.get(&TEXT).ok_or_else(|| refusal(400, "no text"))?;
        let to = recipient(to).ok_or_else(|| refusal(400, "not a phone number"))?;
        match self.desk.inbox.trouble(&to) {
            None => {}
            Some(NumberTrouble::Invalid) => return Err(refusal(400, "not a phone number")),
            Some(NumberTrouble::Unroutable) => return Err(refusal(400, "no route to this number")),
            Some(NumberTrouble::Forbidden) => return Err(refusal(422, "country not allowed")),
            Some(NumberTrouble::Unsubscribed) => {
                return Err(refusal(422, "recipient wants no messages"));
            }
            Some(NumberTrouble::NotMobile) => return Err(refusal(400, "not a mobile number")),
        }
        let status_url = fields.get(&STATUS_URL).map(str::to_owned);
        if let Some(url) = &status_url
            && !is_callback_url(&filled(url, "x", MessageStatus::Sent))
        {
            return Err(refusal(400, "not a status url"));
        }
        let mask = match fields.get(&DLR_MASK) {
            None => u32::MAX,
            Some(mask) => mask.parse().map_err(|_| refusal(400, "not a dlr-mask"))?,
        };
        Ok(Outgoing {
            to,
            from: fields.get(&FROM).unwrap_or_default().to_owned(),
            text: text.to_owned(),
            status_url,
            mask,
        })
    }

    /// Takes the message through its states, with a call to the status URL for each.
    async fn report(self: Arc<Self>, accepted: Accepted, outgoing: Outgoing) {
        let inbox = &self.desk.inbox;
        for (status, error_code) in accepted.course {
            inbox.set_status(&accepted.id, status, error_code);
            let wanted = dlr(status).is_some_and(|bit| outgoing.mask & bit != 0);
            let request = match &outgoing.status_url {
                Some(url) if wanted => status_request(url, &accepted.id, &outgoing, status),
                _ => None,
            };
            let Some(request) = request else {
                continue;
            };
            tokio::select! {
                () = self.desk.stop.cancelled() => return,
                answer = self.callbacks.call(request) => {
                    inbox.receipt(&accepted.id, status, &answer);
                }
            }
        }
    }
}

/// The recipient in E.164: with a plus sign, with `00`, or the digits alone.
fn recipient(to: &str) -> Option<String> {
    let digits = to.strip_prefix('+').or_else(|| to.strip_prefix("00"));
    let digits = digits.unwrap_or(to);
    number::is_e164_digits(digits).then(|| format!("+{digits}"))
}

/// Kannel's type of a delivery report, also its bit in `dlr-mask`: 1 delivered to the phone, 2 not
/// delivered, 8 delivered to the SMSC, 16 rejected by it. "Queued" is reported by none.
fn dlr(status: MessageStatus) -> Option<u32> {
    match status {
        MessageStatus::Queued => None,
        MessageStatus::Delivered => Some(1),
        MessageStatus::Undelivered => Some(2),
        MessageStatus::Sent => Some(8),
        MessageStatus::Failed => Some(16),
    }
}

/// The status URL with its placeholders filled in: Kannel's `%d` (type of report) and `%F` (the
/// gateway's id), and by name `{status}` and `{id}`, in braces as they are or percent-encoded.
fn filled(url: &str, id: &str, status: MessageStatus) -> String {
    let kind = dlr(status).unwrap_or(4).to_string();
    let mut filled = url.to_owned();
    for (placeholder, value) in [
        ("{status}", status.name()),
        ("%7Bstatus%7D", status.name()),
        ("{id}", id),
        ("%7Bid%7D", id),
        ("%d", &kind),
        ("%F", id),
    ] {
        filled = replaced(&filled, placeholder, value);
    }
    filled
}

/// Replaces a placeholder. One of Kannel's is none where two hexadecimal digits follow the percent
/// sign.
fn replaced(url: &str, placeholder: &str, value: &str) -> String {
    if placeholder.len() != 2 {
        return url.replace(placeholder, &percent_encoded(value));
    }
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some((before, after)) = rest.split_once(placeholder) {
        out.push_str(before);
        if after.starts_with(|next: char| next.is_ascii_hexdigit()) {
            out.push_str(placeholder);
        } else {
            out.push_str(&percent_encoded(value));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A GET of the URL if it has placeholders, else a POST of JSON to it.
fn status_request(
    url: &str,
    id: &str,
    outgoing: &Outgoing,
    status: MessageStatus,
) -> Option<Request<Full<Bytes>>> {
    let target = filled(url, id, status);
    if target != url {
        return Request::get(target).body(Full::default()).ok();
    }
    let body = json!({ "id": id, "status": status.name(), "to": outgoing.to });
    Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .ok()
}

/// The refusal that a fault stands for, if it stands for one.
fn faulty(fault: &Fault) -> Option<Refusal> {
    let (mut refusal, after) = match fault {
        Fault::Unregistered | Fault::BadDeviceToken => (refusal(400, "not a phone number"), None),
        Fault::TooManyRequests { retry_after } => (refusal(429, "too many requests"), *retry_after),
        Fault::InternalError => (refusal(500, "internal error"), None),
        Fault::Unavailable { retry_after } => (refusal(503, "unavailable"), *retry_after),
        Fault::Reply {
            status,
            reason,
            retry_after,
        } => (refusal(*status, reason), *retry_after),
        Fault::None
        | Fault::Latency { .. }
        | Fault::Drop
        | Fault::Duplicate
        | Fault::Stall
        | Fault::Reset { .. }
        | Fault::RefuseStream
        | Fault::Goaway { .. }
        | Fault::Disconnect => return None,
    };
    refusal.retry_after = after;
    Some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients() {
        for to in ["+32470123456", "0032470123456", "32470123456"] {
            assert_eq!(recipient(to).as_deref(), Some("+32470123456"));
        }
        for wrong in ["0470123456", "abc", "+324", "++32470123456"] {
            assert_eq!(recipient(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn status_urls() {
        let fill = |url: &str| filled(url, "a/b", MessageStatus::Delivered);
        assert_eq!(fill("http://h/x?s=%d&i=%F"), "http://h/x?s=1&i=a%2Fb");
        assert_eq!(
            fill("http://h/x?s={status}&i=%7Bid%7D"),
            "http://h/x?s=delivered&i=a%2Fb"
        );
        // Percent-encoding that looks alike.
        assert_eq!(fill("http://h/%d0%b0?s=%d"), "http://h/%d0%b0?s=1");
    }
}
