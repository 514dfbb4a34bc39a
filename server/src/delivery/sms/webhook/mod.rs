//! A request made from templates: Kannel's `sendsms` and most aggregators.

mod template;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method};

use self::template::{Blank, Place, Template, matches};
use super::callback::{AddressKey, CallbackRefused, CallbackRequest, only};
use super::config::{KeyFault, url_is_protected};
use super::reply::{Answer, Gateway, Reply};
use super::secret::SecretFile;
use super::{StatusWords, Text, TextState, WebhookConfig, form};
use crate::delivery::NowMs;
use crate::delivery::attempt::{Attempt, retry_after, transport_failure};
use crate::delivery::breaker::Verdict;

/// Largest answer read, in bytes: those of gateways are a line or a small object.
const MAX_ANSWER: usize = 64 * 1024;

/// A template for the address, the headers and the body.
struct Request {
    method: Method,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Template>,
}

impl Request {
    fn read(config: &WebhookConfig) -> Result<Self, Vec<KeyFault>> {
        let mut faults = Vec::new();
        let url = Template::parse(&config.url, Place::Url).map_err(|fault| ("url", fault));
        let mut headers = Vec::new();
        let mut media_type = None;
        for (name, value) in &config.headers {
            match header(name, value) {
                Ok((name, template)) => {
                    if name == http::header::CONTENT_TYPE {
                        let essence = value.split(';').next().unwrap_or_default();
                        media_type = Some(essence.trim().to_ascii_lowercase());
                    }
                    headers.push((name, template));
                }
                Err(fault) => faults.push(("headers", fault)),
            }
        }
        let body = match (&config.body, media_type.as_deref()) {
            (None, _) => Ok(None),
            (Some(_), None) => Err((
                "headers",
                "must have Content-Type: it tells how the body is encoded".to_owned(),
            )),
            (Some(body), Some(media_type)) => match Place::of_body(media_type) {
                Some(place) => Template::parse(body, place)
                    .map(Some)
                    .map_err(|fault| ("body", fault)),
                None => Err((
                    "headers",
                    "must have a Content-Type of a form, of JSON, XML or plain text".to_owned(),
                )),
            },
        };
        match (url, body) {
            (Ok(url), Ok(body)) if faults.is_empty() => {
                let method = config.method.clone();
                Ok(Self {
                    method,
                    url,
                    headers,
                    body,
                })
            }
            (url, body) => {
                faults.extend(url.err());
                faults.extend(body.err());
                Err(faults)
            }
        }
    }

    fn has(&self, blank: Blank) -> bool {
        self.url.has(blank)
            || self.headers.iter().any(|(_, value)| value.has(blank))
            || self.body.as_ref().is_some_and(|body| body.has(blank))
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, Template), String> {
    let parsed =
        HeaderName::try_from(name).map_err(|_| format!("{name} is not a header's name"))?;
    let template = Template::parse(value, Place::Header)?;
    // What a line of a header can't hold must not come from outside.
    for blank in [Blank::To, Blank::ToDigits, Blank::Text] {
        if template.has(blank) {
            return Err(format!("{name}: number and text can't stand in a header"));
        }
    }
    if parsed == http::header::AUTHORIZATION && !template.has(Blank::Secret) {
        return Err(format!(
            "{name}: must hold {{secret}}: secrets come from files"
        ));
    }
    HeaderValue::from_str(&template.fill(|_| "x"))
        .map_err(|_| format!("{name}: is not a header's value"))?;
    Ok((parsed, template))
}

/// Everything wrong with `config` that shows without opening a file.
pub(super) fn faults(config: &WebhookConfig, callbacks: bool, faults: &mut Vec<KeyFault>) {
    let request = match Request::read(config) {
        Ok(request) => request,
        Err(found) => {
            faults.extend(found);
            return;
        }
    };
    let mut fault = |key, text: &str| faults.push((key, text.to_owned()));
    // Where it goes must not depend on what is sent.
    let host_is_fixed = request
        .url
        .head()
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains(['/', '?']) || rest == rest_of(&config.url));
    if !host_is_fixed || !url_is_protected(&request.url.fill(|_| "x"), config.allow_plaintext) {
        let text =
            "must be https://…, or http on a loopback address or with allow_plaintext = true";
        fault("url", text);
    }
    if !request.has(Blank::To) && !request.has(Blank::ToDigits) {
        fault(
            "url",
            "is nowhere told the number: {to} or {to_digits} is missing",
        );
    }
    if !request.has(Blank::Text) {
        fault("url", "is nowhere told what to send: {text} is missing");
    }
    if request.method == Method::GET && request.body.is_some() {
        fault("body", "has no place in a GET request");
    }
    if let Some(body) = &request.body
        && body.is_json()
        && serde_json::from_str::<serde_json::Value>(&body.fill(|_| "x")).is_err()
    {
        fault("body", "is not JSON with its placeholders inside strings");
    }
    if request.has(Blank::Secret) && config.secret_file.is_none() {
        fault("secret_file", "is missing: {secret} is used");
    }
    let no_key = config.secret_file.is_none() && config.callback_secret_file.is_none();
    if callbacks && request.has(Blank::StatusUrl) && no_key {
        let text = "is missing: {status_url} is used, and there is no secret_file";
        fault("callback_secret_file", text);
    }
}

fn rest_of(url: &str) -> &str {
    url.split_once("://").map_or("", |(_, rest)| rest)
}

/// One webhook.
pub(super) struct Webhook {
    name: String,
    request: Request,
    http: reqwest::Client,
    secret: Option<Arc<SecretFile>>,
    callback_secret: Option<Arc<SecretFile>>,
    callback_url: Option<String>,
    success_pattern: Option<String>,
    status: StatusWords,
    now: NowMs,
}

impl Webhook {
    pub(super) fn new(
        name: &str,
        config: &WebhookConfig,
        http: reqwest::Client,
        secret: Option<Arc<SecretFile>>,
        callback_secret: Option<Arc<SecretFile>>,
        callback_url: Option<&str>,
        now: NowMs,
    ) -> Result<Self, KeyFault> {
        let request = Request::read(config).map_err(|mut found| {
            let none = || ("url", "is faulty".to_owned());
            found.pop().unwrap_or_else(none)
        })?;
        Ok(Self {
            name: name.to_owned(),
            request,
            http,
            callback_secret: callback_secret.or_else(|| secret.clone()),
            secret,
            callback_url: callback_url.map(str::to_owned),
            success_pattern: config.success_pattern.clone(),
            status: config.status.clone(),
            now,
        })
    }

    async fn status_url(&self, text: &Text) -> String {
        match (&self.callback_url, &self.callback_secret) {
            (Some(url), Some(secret)) if !text.reference.is_empty() => {
                let key = AddressKey::derive(secret.fresh().await.text());
                key.address(url, &self.name, &text.reference)
            }
            _ => String::new(),
        }
    }

    async fn request(&self, text: &Text) -> Result<reqwest::Request, String> {
        let secret = match &self.secret {
            Some(secret) => Some(secret.fresh().await),
            None => None,
        };
        let (id, status_url) = (text.id.to_string(), self.status_url(text).await);
        let value = |blank| match blank {
            Blank::To => text.to.as_str(),
            Blank::ToDigits => text.to.trim_start_matches('+'),
            Blank::Text => text.body.as_str(),
            Blank::Id => id.as_str(),
            Blank::Reference => text.reference.as_str(),
            Blank::StatusUrl => status_url.as_str(),
            Blank::Secret => secret.as_ref().map_or("", |secret| secret.text()),
        };
        let url = self.request.url.fill(value);
        let mut request = self.http.request(self.request.method.clone(), url.as_str());
        for (name, template) in &self.request.headers {
            let mut filled = HeaderValue::from_str(&template.fill(value))
                .map_err(|_| format!("the header {name} can't hold what is filled in"))?;
            filled.set_sensitive(true);
            request = request.header(name, filled);
        }
        if let Some(body) = &self.request.body {
            request = request.body(body.fill(value).to_string());
        }
        request
            .build()
            .map_err(|_| "no address comes of the template".to_owned())
    }

    async fn exchange(&self, request: reqwest::Request) -> Answer {
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return undelivered(error),
        };
        let status = response.status();
        let after = retry_after(response.headers(), (self.now)());
        if status.is_success() {
            let Some(pattern) = &self.success_pattern else {
                return Answer::new(Reply::Accepted, Verdict::Healthy);
            };
            return match read(response, MAX_ANSWER).await {
                None => Answer::new(Reply::unknown("answer broken off"), Verdict::Failure),
                Some(body) if matches(pattern, String::from_utf8_lossy(&body).trim()) => {
                    Answer::new(Reply::Accepted, Verdict::Healthy)
                }
                Some(_) => {
                    let reason = format!("status {}, but not success_pattern", status.as_u16());
                    Answer::new(Reply::not_taken(reason), Verdict::Healthy)
                }
            };
        }
        refused(status, after)
    }
}

/// What a request that brought no answer means.
pub(super) fn undelivered(error: reqwest::Error) -> Answer {
    let never_connected = error.is_connect();
    match transport_failure(&error.without_url(), never_connected) {
        Attempt::NotSent(reason) => Answer::new(Reply::not_taken(reason), Verdict::Failure),
        Attempt::Lost(reason) => Answer::new(Reply::unknown(reason), Verdict::Failure),
        _ => Answer::new(Reply::unknown("no answer"), Verdict::Failure),
    }
}

/// What an answer other than 2xx means, by its status alone.
pub(super) fn refused(status: http::StatusCode, after: Option<Duration>) -> Answer {
    let reason = format!("status {}", status.as_u16());
    let hold_or_failure = after.map_or(Verdict::Failure, Verdict::Hold);
    match status.as_u16() {
        401 | 403 => Answer::new(Reply::CredentialRejected { reason }, Verdict::Healthy),
        // Something in front waited for the gateway, which may have done it.
        504 => Answer::new(Reply::unknown(reason), Verdict::Failure),
        429 | 500..=599 => Answer::new(Reply::NotTaken { reason, after }, hold_or_failure),
        _ => Answer::new(Reply::not_taken(reason), Verdict::Healthy),
    }
}

/// The whole body, or none if it breaks off or is larger than `max` bytes.
pub(super) async fn read(mut response: reqwest::Response, max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len().saturating_add(chunk.len()) > max {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

#[async_trait]
impl Gateway for Webhook {
    async fn submit(&self, text: &Text, limit: Duration) -> Answer {
        let request = match self.request(text).await {
            Ok(request) => request,
            Err(reason) => {
                let reply = Reply::CredentialRejected { reason };
                return Answer::new(reply, Verdict::Neutral);
            }
        };
        tokio::time::timeout(limit, self.exchange(request))
            .await
            .unwrap_or_else(|_| Answer::new(Reply::unknown("no answer in time"), Verdict::Failure))
    }

    fn callback(
        &self,
        request: &CallbackRequest<'_>,
    ) -> Result<Option<(String, TextState)>, CallbackRefused> {
        let (Some(_), Some(secret)) = (&self.callback_url, &self.callback_secret) else {
            return Err(CallbackRefused::UnknownGateway);
        };
        let query = request.query();
        let key = AddressKey::derive(secret.last().text());
        let reference = key.verify(&self.name, &query)?;
        let word = self.status_word(request, &query);
        let word = word.ok_or(CallbackRefused::Malformed)?;
        let is = |words: &[String]| words.iter().any(|known| known.eq_ignore_ascii_case(&word));
        let state = if is(&self.status.delivered) {
            Some(TextState::Delivered)
        } else if is(&self.status.failed) {
            // One of the configured words: safe to keep.
            let reason = format!("{} {word}", self.status.field);
            Some(TextState::Failed { reason })
        } else if is(&self.status.sent) {
            Some(TextState::Sent)
        } else {
            None
        };
        Ok(state.map(|state| (reference, state)))
    }
}

impl Webhook {
    fn status_word(
        &self,
        request: &CallbackRequest<'_>,
        query: &[(String, String)],
    ) -> Option<String> {
        let field = self.status.field.as_str();
        if let Some(word) = only(query, field) {
            return Some(word.to_owned());
        }
        match Place::of_body(&request.media_type())? {
            Place::Url => {
                let body = form::parse(std::str::from_utf8(request.body).ok()?);
                only(&body, field).map(str::to_owned)
            }
            Place::Json => {
                let body: serde_json::Value = serde_json::from_slice(request.body).ok()?;
                match body.get(field)? {
                    serde_json::Value::String(word) => Some(word.clone()),
                    serde_json::Value::Number(number) => Some(number.to_string()),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
