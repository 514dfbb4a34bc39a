//! Text messages by REST, as Twilio has it.
//!
//! Source: Twilio's documentation: "Messages resource" (API version 2010-04-01), "Error and Warning
//! Dictionary", "Track the Message Status of Outbound Messages", "Security" (request signatures).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::alphabet::measure;
use super::callback::{Callbacks, is_callback_url};
use super::endpoint::{Accepted, Answer, Desk, Endpoint};
use super::inbox::{MessageStatus, TextMessage};
use super::number::{self, NumberTrouble};
use crate::fault::{Fault, Faults};
use crate::gateway::device::hex;
use crate::gateway::http::form;
use crate::gateway::journal::{Arrival, Counters};

/// "The text of the message can be up to 1,600 characters long."
const BODY_LIMIT: usize = 1600;
/// "Maximum length of the StatusCallback URL" (error 21609).
const STATUS_CALLBACK_LIMIT: usize = 4000;
/// Range of `ValidityPeriod` in seconds.
const VALIDITY: std::ops::RangeInclusive<u64> = 1..=36_000;
const API_VERSION: &str = "2010-04-01";

/// The running endpoint.
#[derive(Clone)]
pub struct Twilio(pub(super) Arc<Service>);

impl Twilio {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Base URL; `/2010-04-01/…` is below it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The account, also the user name.
    #[must_use]
    pub fn account_sid(&self) -> &str {
        &self.0.account_sid
    }

    /// The password, also the key of the callbacks' signatures.
    #[must_use]
    pub fn auth_token(&self) -> &str {
        &self.0.auth_token
    }

    /// The account's one messaging service.
    #[must_use]
    pub fn messaging_service_sid(&self) -> &str {
        &self.0.messaging_service_sid
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
    pub(super) account_sid: String,
    pub(super) auth_token: String,
    pub(super) messaging_service_sid: String,
    pub(super) desk: Desk,
    pub(super) callbacks: Callbacks,
}

/// A refusal as Twilio words it.
struct Refusal {
    status: u16,
    code: u32,
    message: String,
    retry_after: Option<u64>,
}

fn refusal(status: u16, code: u32, message: impl Into<String>) -> Refusal {
    Refusal {
        status,
        code,
        message: message.into(),
        retry_after: None,
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let info = format!("https://www.twilio.com/docs/errors/{}", refusal.code);
        Self {
            status: refusal.status,
            body: json!({
                "code": refusal.code,
                "message": refusal.message,
                "more_info": info,
                "status": refusal.status,
            }),
            reason: Some(refusal.code.to_string()),
            retry_after: refusal.retry_after,
        }
    }
}

/// A message to be sent.
struct Outgoing {
    to: String,
    from: String,
    body: String,
    messaging_service: bool,
    status_callback: Option<String>,
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
        let messages = format!("/{API_VERSION}/Accounts/");
        let Some((account, resource)) = parts
            .uri
            .path()
            .strip_prefix(&messages)
            .and_then(|rest| rest.split_once('/'))
        else {
            return not_found(parts.uri.path()).into();
        };
        if account != self.account_sid || !self.authorized(&parts.headers) {
            return refusal(401, 20003, "Authenticate").into();
        }
        if let Some(sid) = resource
            .strip_prefix("Messages/")
            .and_then(|rest| rest.strip_suffix(".json"))
        {
            if parts.method != Method::GET {
                return refusal(405, 20004, "Method not allowed").into();
            }
            return match self.desk.inbox.find(sid) {
                Some(message) => Answer {
                    status: 200,
                    body: self.resource(&message),
                    reason: None,
                    retry_after: None,
                },
                None => not_found(parts.uri.path()).into(),
            };
        }
        if resource != "Messages.json" {
            return not_found(parts.uri.path()).into();
        }
        if parts.method != Method::POST {
            return refusal(405, 20004, "Method not allowed").into();
        }
        let fields: BTreeMap<String, String> = form(&parts, body)
            .await
            .unwrap_or_default()
            .into_iter()
            .collect();
        arrival.payload = json!(fields);
        let outgoing = match (self.examine(&fields), fault.and_then(faulty)) {
            (Err(refusal), _) | (Ok(_), Some(refusal)) => return refusal.into(),
            (Ok(outgoing), None) => outgoing,
        };
        let sid = format!("SM{}", hex(&rand::random::<[u8; 16]>()));
        arrival.id.clone_from(&sid);
        arrival.app_id.clone_from(&outgoing.from);
        arrival.token.clone_from(&outgoing.to);
        let parties = (
            outgoing.from.as_str(),
            outgoing.to.as_str(),
            outgoing.body.as_str(),
        );
        let accepted = self
            .desk
            .accept(sid, parties, measure(&outgoing.body), fault);
        arrival.fate = Some(accepted.fate);
        let body = self.created(&accepted.id, &outgoing);
        tokio::spawn(Arc::clone(&self).report(accepted, outgoing));
        Answer {
            status: 201,
            body,
            reason: None,
            retry_after: None,
        }
    }
}

impl Service {
    fn authorized(&self, headers: &HeaderMap) -> bool {
        let expected = BASE64.encode(format!("{}:{}", self.account_sid, self.auth_token));
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.split_once(' '))
            .is_some_and(|(scheme, credentials)| {
                scheme.eq_ignore_ascii_case("basic") && credentials == expected
            })
    }

    fn examine(&self, fields: &BTreeMap<String, String>) -> Result<Outgoing, Refusal> {
        let field = |name: &str| {
            fields
                .get(name)
                .map(String::as_str)
                .filter(|text| !text.is_empty())
        };
        let to =
            field("To").ok_or_else(|| refusal(400, 21604, "A 'To' phone number is required."))?;
        if !number::is_e164(to) {
            let message = format!("Invalid 'To' Phone Number: {to}");
            return Err(refusal(400, 21211, message));
        }
        let (from, messaging_service) = match (field("From"), field("MessagingServiceSid")) {
            (Some(from), _) => (self.sender(from, to)?, false),
            (None, Some(sid)) if sid == self.messaging_service_sid => {
                ("Countersign".to_owned(), true)
            }
            (None, Some(_)) => {
                let message = "The Messaging Service does not exist";
                return Err(refusal(400, 21701, message));
            }
            (None, None) => {
                return Err(refusal(400, 21603, "A 'From' phone number is required."));
            }
        };
        let body = field("Body").ok_or_else(|| refusal(400, 21602, "Message body is required."))?;
        if body.chars().count() > BODY_LIMIT {
            let message = "The concatenated message body exceeds the 1600 character limit";
            return Err(refusal(400, 21617, message));
        }
        let status_callback = field("StatusCallback").map(str::to_owned);
        if let Some(url) = &status_callback
            && (url.len() > STATUS_CALLBACK_LIMIT || !is_callback_url(url))
        {
            return Err(refusal(
                400,
                21609,
                "The StatusCallback URL is not a valid URL",
            ));
        }
        if let Some(period) = field("ValidityPeriod")
            && !period
                .parse()
                .is_ok_and(|seconds| VALIDITY.contains(&seconds))
        {
            return Err(refusal(400, 20001, "ValidityPeriod is out of range"));
        }
        if let Some(trouble) = self.desk.inbox.trouble(to) {
            return Err(troubled(trouble, to));
        }
        Ok(Outgoing {
            to: to.to_owned(),
            from,
            body: body.to_owned(),
            messaging_service,
            status_callback,
        })
    }

    fn sender(&self, from: &str, to: &str) -> Result<String, Refusal> {
        // Twilio's magic senders ("Test Credentials").
        let (code, message) = match from {
            "+15005550007" => (21606, "The 'From' phone number is not yours to send from."),
            "+15005550008" => (21611, "This 'From' number has exceeded its message queue."),
            _ if from == to => (21266, "'To' and 'From' number cannot be the same"),
            "+15005550001" => (21212, "Invalid 'From' Number"),
            _ if number::is_e164(from)
                || number::is_short_code(from)
                || number::is_alphanumeric_sender(from) =>
            {
                return Ok(from.to_owned());
            }
            _ => (21212, "Invalid 'From' Number"),
        };
        Err(refusal(400, code, format!("{message}: {from}")))
    }

    fn created(&self, sid: &str, outgoing: &Outgoing) -> Value {
        let status = if outgoing.messaging_service {
            "accepted"
        } else {
            "queued"
        };
        let service = outgoing
            .messaging_service
            .then_some(&self.messaging_service_sid);
        let from = (!outgoing.messaging_service).then_some(&outgoing.from);
        let segments = if outgoing.messaging_service {
            0
        } else {
            measure(&outgoing.body).segments
        };
        self.json(Resource {
            sid,
            to: &outgoing.to,
            from: from.map(String::as_str),
            body: &outgoing.body,
            segments,
            status,
            error_code: None,
            service: service.map(String::as_str),
            time_ms: self.desk.clock.now_ms(),
        })
    }

    /// A message as `GET /Messages/{Sid}.json` shows it.
    fn resource(&self, message: &TextMessage) -> Value {
        self.json(Resource {
            sid: &message.id,
            to: &message.to,
            from: Some(&message.from),
            body: &message.text,
            segments: message.segments,
            status: message.status.name(),
            error_code: message.error_code,
            service: None,
            time_ms: message.time_ms,
        })
    }

    fn json(&self, resource: Resource<'_>) -> Value {
        let uri = format!(
            "/{API_VERSION}/Accounts/{}/Messages/{}",
            self.account_sid, resource.sid
        );
        let date = rfc2822(resource.time_ms);
        json!({
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "body": resource.body,
            "date_created": date,
            "date_sent": null,
            "date_updated": date,
            "direction": "outbound-api",
            "error_code": resource.error_code,
            "error_message": null,
            "from": resource.from,
            "messaging_service_sid": resource.service,
            "num_media": "0",
            "num_segments": resource.segments.to_string(),
            "price": null,
            "price_unit": "USD",
            "sid": resource.sid,
            "status": resource.status,
            "subresource_uris": { "media": format!("{uri}/Media.json") },
            "to": resource.to,
            "uri": format!("{uri}.json"),
        })
    }

    /// Takes the message through its states, with a callback for each.
    async fn report(self: Arc<Self>, accepted: Accepted, outgoing: Outgoing) {
        let inbox = &self.desk.inbox;
        for (status, error_code) in accepted.course {
            inbox.set_status(&accepted.id, status, error_code);
            let Some(url) = &outgoing.status_callback else {
                continue;
            };
            let fields = self.status_fields(&accepted.id, &outgoing, status, error_code);
            let Some(request) = self.status_request(url, &fields) else {
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

    fn status_fields(
        &self,
        sid: &str,
        outgoing: &Outgoing,
        status: MessageStatus,
        error_code: Option<u32>,
    ) -> BTreeMap<&'static str, String> {
        let mut fields = BTreeMap::from([
            ("AccountSid", self.account_sid.clone()),
            ("ApiVersion", API_VERSION.to_owned()),
            ("From", outgoing.from.clone()),
            ("MessageSid", sid.to_owned()),
            ("MessageStatus", status.name().to_owned()),
            ("SmsSid", sid.to_owned()),
            ("SmsStatus", status.name().to_owned()),
            ("To", outgoing.to.clone()),
        ]);
        if let Some(code) = error_code {
            fields.insert("ErrorCode", code.to_string());
        }
        if outgoing.messaging_service {
            let sid = self.messaging_service_sid.clone();
            fields.insert("MessagingServiceSid", sid);
        }
        fields
    }

    fn status_request(
        &self,
        url: &str,
        fields: &BTreeMap<&'static str, String>,
    ) -> Option<Request<Full<Bytes>>> {
        Request::post(url)
            .header(
                CONTENT_TYPE,
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .header(USER_AGENT, "TwilioProxy/1.1")
            .header(
                "i-twilio-idempotency-token",
                uuid::Uuid::new_v4().to_string(),
            )
            .header(
                "x-twilio-signature",
                signature(&self.auth_token, url, fields),
            )
            .body(Full::new(Bytes::from(encoded(fields))))
            .ok()
    }
}

/// What stands in a message resource.
struct Resource<'a> {
    sid: &'a str,
    to: &'a str,
    from: Option<&'a str>,
    body: &'a str,
    segments: usize,
    status: &'a str,
    error_code: Option<u32>,
    service: Option<&'a str>,
    time_ms: u64,
}

/// "Validating Signatures from Twilio": HMAC-SHA1 under the auth token over the URL as it was given
/// and, sorted by name, each field's name and value, nothing between them; base64.
fn signature(auth_token: &str, url: &str, fields: &BTreeMap<&'static str, String>) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(url.as_bytes());
    for (name, value) in fields {
        context.update(name.as_bytes());
        context.update(value.as_bytes());
    }
    BASE64.encode(context.sign())
}

/// `application/x-www-form-urlencoded`.
fn encoded(fields: &BTreeMap<&'static str, String>) -> String {
    let encode = |text: &str| super::percent_encoded(text);
    let pairs: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

fn not_found(path: &str) -> Refusal {
    let message = format!("The requested resource {path} was not found");
    refusal(404, 20404, message)
}

fn troubled(trouble: NumberTrouble, to: &str) -> Refusal {
    let (code, message) = match trouble {
        NumberTrouble::Invalid => (21211, format!("Invalid 'To' Phone Number: {to}")),
        NumberTrouble::Unroutable => (
            21612,
            format!(
                "Message cannot be sent with the current combination of 'To' ({to}) and 'From'"
            ),
        ),
        NumberTrouble::Forbidden => (
            21408,
            format!("Permission to send an SMS has not been enabled for the region of {to}"),
        ),
        NumberTrouble::Unsubscribed => (21610, "Attempt to send to unsubscribed recipient".into()),
        NumberTrouble::NotMobile => (
            21614,
            format!("'To' number is not a valid mobile number: {to}"),
        ),
    };
    refusal(400, code, message)
}

/// The refusal that a fault stands for, if it stands for one.
fn faulty(fault: &Fault) -> Option<Refusal> {
    let (mut refusal, after) = match fault {
        Fault::Unregistered | Fault::BadDeviceToken => {
            (refusal(400, 21211, "Invalid 'To' Phone Number"), None)
        }
        Fault::TooManyRequests { retry_after } => {
            (refusal(429, 20429, "Too Many Requests"), *retry_after)
        }
        Fault::InternalError => (refusal(500, 20500, "Internal Server Error"), None),
        Fault::Unavailable { retry_after } => {
            (refusal(503, 20503, "Service Unavailable"), *retry_after)
        }
        Fault::Reply {
            status,
            reason,
            retry_after,
        } => (
            refusal(*status, reason.parse().unwrap_or(0), reason),
            *retry_after,
        ),
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

/// `Mon, 23 Nov 2026 14:03:00 +0000`.
fn rfc2822(time_ms: u64) -> String {
    i64::try_from(time_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map(|time| time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that Twilio's own libraries are tested with ("Security", request validation).
    #[test]
    fn signature_of_twilios_example() {
        let fields = BTreeMap::from(
            [
                ("CallSid", "CA1234567890ABCDE"),
                ("Caller", "+12349013030"),
                ("Digits", "1234"),
                ("From", "+12349013030"),
                ("To", "+18005551212"),
            ]
            .map(|(name, value)| (name, value.to_owned())),
        );
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(
            signature("12345", url, &fields),
            "0/KCTR6DLpKmkAf8muzZqo1nDgQ="
        );
    }
}
