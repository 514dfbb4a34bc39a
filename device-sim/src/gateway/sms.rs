//! Text messages: an endpoint shaped like Twilio's and a plain webhook, with one inbox.
//!
//! Source: Twilio, "Messages resource" (API version 2010-04-01) and its error dictionary.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustls::ServerConfig;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::clock::GatewayClock;
use super::device::hex;
use super::journal::{Arrival, Counters, Fate, Journal};
use super::listener::Listener;
use crate::fault::{Fault, Faults};

/// "The text of the message can be up to 1,600 characters long."
const BODY_LIMIT: usize = 1600;
/// Messages the inbox keeps.
const INBOX_LIMIT: usize = 10_000;

/// A text message as it arrived at a phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextMessage {
    /// Twilio's message SID, or one made the same way.
    pub sid: String,
    /// Sender.
    pub from: String,
    /// Recipient, as given.
    pub to: String,
    /// The text.
    pub body: String,
    /// Milliseconds since the UNIX epoch.
    pub time_ms: u64,
}

/// A running SMS gateway.
#[derive(Clone)]
pub struct Sms {
    addr: SocketAddr,
    url: String,
    service: Arc<Service>,
}

impl Sms {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL: Twilio's paths below it, and `/webhook`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// User name of the Twilio-shaped endpoint.
    pub fn account_sid(&self) -> &str {
        &self.service.account_sid
    }

    /// Password of the Twilio-shaped endpoint.
    pub fn auth_token(&self) -> &str {
        &self.service.auth_token
    }

    /// Every message that arrived, oldest first.
    pub fn inbox(&self) -> Vec<TextMessage> {
        self.service.inbox.lock().clone()
    }

    /// What goes wrong here.
    pub fn faults(&self) -> &Faults {
        &self.service.faults
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.service.journal.counters()
    }
}

struct Service {
    account_sid: String,
    auth_token: String,
    clock: GatewayClock,
    inbox: Mutex<Vec<TextMessage>>,
    journal: Journal,
    faults: Faults,
}

pub(super) async fn start(
    listen: SocketAddr,
    host: &str,
    tls: Arc<ServerConfig>,
    clock: GatewayClock,
    journal: Journal,
    faults: Faults,
    stop: CancellationToken,
) -> io::Result<Sms> {
    let service = Arc::new(Service {
        account_sid: format!("AC{}", hex(&rand::random::<[u8; 16]>())),
        auth_token: hex(&rand::random::<[u8; 16]>()),
        clock,
        inbox: Mutex::default(),
        journal: journal.clone(),
        faults: faults.clone(),
    });
    let (listener, addr) = Listener::bind(listen, tls, faults, journal, stop).await?;
    let router = Router::new()
        .route("/2010-04-01/Accounts/{account}/Messages.json", post(twilio))
        .route("/webhook", any(webhook))
        .with_state(Arc::clone(&service));
    tokio::spawn(listener.run(move |tls| {
        let handler = TowerToHyperService::new(router.clone());
        async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // A connection that ends badly is the client's affair.
            drop(builder.serve_connection(TokioIo::new(tls), handler).await);
        }
    }));
    Ok(Sms {
        addr,
        url: super::url("https", host, addr),
        service,
    })
}

/// A refusal as Twilio words it.
struct Refusal {
    status: u16,
    code: u32,
    message: String,
    retry_after: Option<u64>,
}

fn refusal(status: u16, code: u32, message: &str) -> Refusal {
    Refusal {
        status,
        code,
        message: message.to_owned(),
        retry_after: None,
    }
}

async fn twilio(
    State(service): State<Arc<Service>>,
    Path(account): Path<String>,
    request: Request,
) -> Response {
    let allowed = service.authorized(&account, request.headers());
    let form = axum::Form::<Vec<(String, String)>>::from_request(request, &()).await;
    let form: BTreeMap<String, String> = form
        .map(|axum::Form(pairs)| pairs.into_iter().collect())
        .unwrap_or_default();
    let field = |name: &str| {
        form.get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    };
    let (to, body) = (field("To"), field("Body"));
    let from = field("From").or_else(|| field("MessagingServiceSid"));
    let checked = match (allowed, to, from, body) {
        (false, ..) => Err(refusal(401, 20003, "Authenticate")),
        (_, None, ..) => Err(refusal(400, 21604, "A 'To' phone number is required.")),
        (_, Some(to), ..) if !is_e164(to) => Err(refusal(
            400,
            21211,
            &format!("Invalid 'To' Phone Number: {to}"),
        )),
        (_, _, None, _) => Err(refusal(400, 21603, "A 'From' phone number is required.")),
        (.., None) => Err(refusal(400, 21602, "Message body is required.")),
        (.., Some(body)) if body.chars().count() > BODY_LIMIT => {
            let message = "The concatenated message body exceeds the 1600 character limit.";
            Err(refusal(400, 21617, message))
        }
        (_, Some(to), Some(from), Some(body)) => Ok((to, from, body)),
    };
    service.answer(checked, json!(form)).await
}

async fn webhook(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    uri: axum::http::Uri,
    body: Bytes,
) -> Response {
    // Where the fields stand is the template's choice: query, form or JSON, by the usual names.
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let json: Option<BTreeMap<String, Value>> = serde_json::from_slice(&body).ok();
    if let Some(json) = json {
        fields.extend(json.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            _ => None,
        }));
    } else {
        let mut request = Request::new(axum::body::Body::from(body));
        *request.method_mut() = axum::http::Method::POST;
        *request.headers_mut() = headers;
        if let Ok(axum::Form(form)) =
            axum::Form::<Vec<(String, String)>>::from_request(request, &()).await
        {
            fields.extend(form);
        }
    }
    if let Ok(axum::extract::Query(query)) =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
    {
        fields.extend(query);
    }
    let field = |names: &[&str]| {
        let mut entries = fields.iter();
        entries
            .find(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str()))
            .map(|(_, value)| value.as_str())
    };
    let to = field(&["to", "recipient", "msisdn", "number", "phone"]);
    let text = field(&["text", "body", "message", "content"]);
    let from = field(&["from", "sender", "originator"]).unwrap_or_default();
    let checked = match (to, text) {
        (Some(to), Some(text)) => Ok((to, from, text)),
        (None, _) => Err(refusal(400, 21604, "no recipient")),
        (_, None) => Err(refusal(400, 21602, "no text")),
    };
    service.answer(checked, json!(fields)).await
}

impl Service {
    fn authorized(&self, account: &str, headers: &HeaderMap) -> bool {
        let expected = BASE64.encode(format!("{}:{}", self.account_sid, self.auth_token));
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        account == self.account_sid
            && given
                .and_then(|text| text.split_once(' '))
                .is_some_and(|(scheme, credentials)| {
                    scheme.eq_ignore_ascii_case("basic") && credentials == expected
                })
    }

    async fn answer(
        &self,
        checked: Result<(&str, &str, &str), Refusal>,
        payload: Value,
    ) -> Response {
        let draw = self.faults.draw();
        if !draw.delay.is_zero() {
            tokio::time::sleep(draw.delay).await;
        }
        let mut arrival = Arrival {
            time_ms: self.clock.now_ms(),
            payload,
            fault: draw.label(),
            ..Arrival::default()
        };
        let judged = match (checked, draw.fault.as_ref().and_then(faulty)) {
            (Ok(_), Some(refusal)) | (Err(refusal), _) => Err(refusal),
            (Ok(message), None) => Ok(message),
        };
        let (status, body, retry_after) = match judged {
            Err(refusal) => {
                let info = format!("https://www.twilio.com/docs/errors/{}", refusal.code);
                let body = json!({
                    "code": refusal.code,
                    "message": refusal.message,
                    "more_info": info,
                    "status": refusal.status,
                });
                arrival.reason = Some(refusal.code.to_string());
                (refusal.status, body, refusal.retry_after)
            }
            Ok((to, from, text)) => {
                let message = TextMessage {
                    sid: format!("SM{}", hex(&rand::random::<[u8; 16]>())),
                    from: from.to_owned(),
                    to: to.to_owned(),
                    body: text.to_owned(),
                    time_ms: self.clock.now_ms(),
                };
                let body = json!({
                    "sid": message.sid,
                    "account_sid": self.account_sid,
                    "api_version": "2010-04-01",
                    "to": to,
                    "from": from,
                    "body": text,
                    "status": "queued",
                    "direction": "outbound-api",
                    "num_segments": "1",
                    "error_code": null,
                    "error_message": null,
                });
                arrival.id.clone_from(&message.sid);
                from.clone_into(&mut arrival.app_id);
                to.clone_into(&mut arrival.token);
                arrival.fate = Some(self.deliver(message, draw.fault.as_ref()));
                (201, body, None)
            }
        };
        arrival.status = status;
        self.journal.record(arrival);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(body)).into_response();
        if let Some(seconds) = retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn deliver(&self, message: TextMessage, fault: Option<&Fault>) -> Fate {
        let (copies, fate) = match fault {
            Some(Fault::Drop) => return Fate::Dropped,
            Some(Fault::Duplicate) => (2, Fate::Duplicated),
            _ => (1, Fate::Delivered),
        };
        let mut inbox = self.inbox.lock();
        for _ in 0..copies {
            if inbox.len() >= INBOX_LIMIT {
                inbox.remove(0);
            }
            inbox.push(message.clone());
        }
        fate
    }
}

/// The refusal that a fault stands for. Faults of the connection are not told apart here.
fn faulty(fault: &Fault) -> Option<Refusal> {
    let refusal = match fault {
        Fault::None | Fault::Latency { .. } | Fault::Drop | Fault::Duplicate => return None,
        Fault::Unregistered | Fault::BadDeviceToken => {
            refusal(400, 21211, "Invalid 'To' Phone Number")
        }
        Fault::TooManyRequests { retry_after } => Refusal {
            retry_after: *retry_after,
            ..refusal(429, 20429, "Too Many Requests")
        },
        Fault::Unavailable { retry_after } => Refusal {
            retry_after: *retry_after,
            ..refusal(503, 20503, "Service Unavailable")
        },
        Fault::Reply {
            status,
            reason,
            retry_after,
        } => Refusal {
            retry_after: *retry_after,
            ..refusal(*status, 0, reason)
        },
        Fault::InternalError
        | Fault::Stall
        | Fault::Reset { .. }
        | Fault::RefuseStream
        | Fault::Goaway { .. }
        | Fault::Disconnect => refusal(500, 20500, "Internal Server Error"),
    };
    Some(refusal)
}

/// E.164: a plus sign and up to 15 digits, the first not 0.
fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}
