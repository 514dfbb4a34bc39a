//! Twilio's REST (Twilio, "Messages resource", API version 2010-04-01).

mod signature;
mod verdict;

use std::time::Duration;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::callback::{self, CallbackRefused, CallbackRequest, only};
use super::reply::{Answer, Gateway, Reply};
use super::secret::SecretFile;
use super::webhook::{read, undelivered};
use super::{Text, TextState, TwilioConfig, form, is_reference};
use crate::delivery::NowMs;
use crate::delivery::attempt::retry_after;
use crate::delivery::breaker::Verdict;

/// Largest answer read, in bytes. Real ones are about 1 KB.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest `ValidityPeriod`, in seconds (Twilio, "Messages resource").
const LONGEST_VALIDITY_S: u64 = 36_000;
/// "The X-Twilio-Signature header" (Twilio, "Webhooks security").
const SIGNATURE: &str = "x-twilio-signature";

/// One account.
pub(super) struct Twilio {
    name: String,
    http: reqwest::Client,
    messages_url: String,
    account_sid: String,
    /// `From` or `MessagingServiceSid`, and its value.
    sender: (&'static str, String),
    auth_token: SecretFile,
    callback_url: Option<String>,
    now: NowMs,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    sid: Option<String>,
    code: Option<u32>,
    error_code: Option<u32>,
}

impl Twilio {
    pub(super) fn new(
        name: &str,
        config: &TwilioConfig,
        http: reqwest::Client,
        auth_token: SecretFile,
        callback_url: Option<&str>,
        now: NowMs,
    ) -> Self {
        let account = &config.account_sid;
        let sender = match (&config.from, &config.messaging_service_sid) {
            (Some(from), _) => ("From", from.clone()),
            (None, sid) => ("MessagingServiceSid", sid.clone().unwrap_or_default()),
        };
        Self {
            name: name.to_owned(),
            http,
            messages_url: format!(
                "{}/2010-04-01/Accounts/{account}/Messages.json",
                config.base_url()
            ),
            account_sid: account.clone(),
            sender,
            auth_token,
            callback_url: callback_url.map(str::to_owned),
            now,
        }
    }

    fn form(&self, text: &Text) -> String {
        let left_s = text
            .expire_at_ms
            .saturating_sub((self.now)())
            .div_ceil(1000);
        let validity = left_s.clamp(1, LONGEST_VALIDITY_S).to_string();
        let (sender, sender_value) = &self.sender;
        let mut parameters = vec![
            ("To", text.to.as_str()),
            (*sender, sender_value.as_str()),
            ("Body", text.body.as_str()),
            ("ValidityPeriod", validity.as_str()),
        ];
        let status_url = match &self.callback_url {
            Some(url) if !text.reference.is_empty() => {
                callback::address(url, &self.name, &text.reference)
            }
            _ => String::new(),
        };
        if !status_url.is_empty() {
            parameters.push(("StatusCallback", status_url.as_str()));
        }
        form::body(&parameters)
    }

    async fn exchange(&self, text: &Text) -> Answer {
        let token = self.auth_token.fresh().await;
        let request = self
            .http
            .post(&self.messages_url)
            .basic_auth(&self.account_sid, Some(token.text()))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.form(text));
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return undelivered(error),
        };
        let status = response.status();
        let after = retry_after(response.headers(), (self.now)());
        let body = read(response, MAX_ANSWER).await;
        let body: Body = body
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        match (status, body.code.or(body.error_code)) {
            (StatusCode::OK | StatusCode::CREATED, None) if body.sid.is_some() => {
                Answer::new(Reply::Accepted, Verdict::Healthy)
            }
            // Somebody answered, but not Twilio, or not to the end.
            (status, None) if status.is_success() => {
                Answer::new(Reply::unknown("unexpected answer"), Verdict::Failure)
            }
            (status, Some(code)) => verdict::of(status, code, after),
            (status, None) => super::webhook::refused(status, after),
        }
    }
}

#[async_trait]
impl Gateway for Twilio {
    async fn submit(&self, text: &Text, limit: Duration) -> Answer {
        tokio::time::timeout(limit, self.exchange(text))
            .await
            .unwrap_or_else(|_| Answer::new(Reply::unknown("no answer in time"), Verdict::Failure))
    }

    fn callback(
        &self,
        request: &CallbackRequest<'_>,
    ) -> Result<Option<(String, TextState)>, CallbackRefused> {
        let Some(base) = &self.callback_url else {
            return Err(CallbackRefused::UnknownGateway);
        };
        let signature = request.header(SIGNATURE).ok_or(CallbackRefused::Forged)?;
        let url = format!("{base}{}", request.path_and_query);
        // Nothing but a form is covered by the signature.
        let is_form = request.media_type() == "application/x-www-form-urlencoded";
        let body = match *request.method {
            Method::POST if is_form => {
                std::str::from_utf8(request.body).map_err(|_| CallbackRefused::Forged)?
            }
            _ if request.body.is_empty() => "",
            _ => return Err(CallbackRefused::Forged),
        };
        let body = form::parse(body);
        let token = self.auth_token.last();
        if !signature::verify(token.text(), &url, &body, signature) {
            return Err(CallbackRefused::Forged);
        }
        let query = request.query();
        let parameter = |name| only(&body, name).or_else(|| only(&query, name));
        let reference = only(&query, callback::REFERENCE)
            .filter(|text| is_reference(text))
            .ok_or(CallbackRefused::Malformed)?;
        let status = parameter("MessageStatus").or_else(|| parameter("SmsStatus"));
        let status = status.ok_or(CallbackRefused::Malformed)?;
        let code = parameter("ErrorCode").and_then(|code| code.parse().ok());
        Ok(verdict::state(status, code).map(|state| (reference.to_owned(), state)))
    }
}
