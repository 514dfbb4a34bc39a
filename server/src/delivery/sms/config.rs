//! The `[sms]` part of the configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;

use http::{Method, Uri};

use super::webhook;

/// Twilio's API (Twilio, "Messages resource").
const TWILIO: &str = "https://api.twilio.com";
/// Texts in flight at a gateway, at most.
const MAX_IN_FLIGHT: std::ops::RangeInclusive<usize> = 1..=10_000;

/// The gateways that texts can go through. None at all is allowed: then no
/// codes can be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmsConfig {
    /// `callback_url`: the external base URL of the HTTP port. Without it no
    /// receipts are asked for over HTTP.
    pub callback_url: Option<String>,
    /// `[[sms.gateways]]`, in the order they are tried.
    pub gateways: Vec<SmsGatewayConfig>,
}

/// `[[sms.gateways]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmsGatewayConfig {
    /// `name`: unique, `[a-z0-9-]`; in logs, and in callback addresses.
    pub name: String,
    /// `max_in_flight`: texts in flight at once, 1 to 10000. For SMPP this is
    /// the window. Default 50; 10 for SMPP.
    pub max_in_flight: usize,
    /// `kind`, and the keys of that kind.
    pub kind: SmsGatewayKind,
}

/// `kind`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmsGatewayKind {
    /// `webhook`
    Webhook(WebhookConfig),
    /// `twilio`
    Twilio(TwilioConfig),
    /// `smpp`
    Smpp(SmppConfig),
}

/// A request made from templates. `{to}`, `{to_digits}` (without the plus),
/// `{text}`, `{id}`, `{reference}`, `{status_url}` and `{secret}` are filled in,
/// each encoded for where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// `method`: `GET`, `POST` (default) or `PUT`.
    pub method: Method,
    /// `url`
    pub url: String,
    /// `headers`: names and values. `Content-Type` decides how `body` is encoded.
    pub headers: Vec<(String, String)>,
    /// `body`
    pub body: Option<String>,
    /// `secret_file`: what `{secret}` stands for. Read again when it changes.
    pub secret_file: Option<PathBuf>,
    /// `callback_secret_file`: authenticates status addresses. Left out: made
    /// from what is in `secret_file`.
    pub callback_secret_file: Option<PathBuf>,
    /// `success_pattern`: what the body of a 2xx answer must look like; `*`
    /// stands for anything.
    pub success_pattern: Option<String>,
    /// How its status callbacks are read.
    pub status: StatusWords,
    /// `root_ca_file`: the only certificates to trust, instead of the system's.
    pub root_ca_file: Option<PathBuf>,
    /// `allow_plaintext`: `http` beyond loopback.
    pub allow_plaintext: bool,
}

/// Which parameter of a status callback tells the state, and by which words.
/// The defaults are the bits of Kannel's `dlr-mask` (Kannel user guide, "DLR").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusWords {
    /// `status_field`: in the query, the form or the JSON object. Default `status`.
    pub field: String,
    /// `status_sent`: default 4 (queued), 8 (accepted by the SMSC).
    pub sent: Vec<String>,
    /// `status_delivered`: default 1.
    pub delivered: Vec<String>,
    /// `status_failed`: default 2 (not delivered), 16 (refused by the SMSC).
    pub failed: Vec<String>,
}

impl Default for StatusWords {
    fn default() -> Self {
        let words = |text: &str| text.split(',').map(str::to_owned).collect();
        Self {
            field: "status".to_owned(),
            sent: words("4,8"),
            delivered: words("1"),
            failed: words("2,16"),
        }
    }
}

/// A Twilio account (Twilio, "Messages resource", API version 2010-04-01).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwilioConfig {
    /// `account_sid`
    pub account_sid: String,
    /// `auth_token_file`: also checks the signature of status callbacks. Read
    /// again when it changes.
    pub auth_token_file: PathBuf,
    /// `from`: the sender. Either this or `messaging_service_sid`.
    pub from: Option<String>,
    /// `messaging_service_sid`
    pub messaging_service_sid: Option<String>,
    /// `url`: base URL instead of Twilio's; plain `http` on loopback only.
    pub url: Option<String>,
    /// `root_ca_file`: the only certificates to trust, instead of the system's.
    pub root_ca_file: Option<PathBuf>,
}

impl TwilioConfig {
    /// The base URL in force, without a slash at the end.
    pub(super) fn base_url(&self) -> &str {
        self.url.as_deref().unwrap_or(TWILIO).trim_end_matches('/')
    }
}

/// A bind to an SMSC (SMPP 3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmppConfig {
    /// `address`: `host:port`.
    pub address: String,
    /// `system_id`: at most 15 characters.
    pub system_id: String,
    /// `password_file`: at most 8 characters in it. Read again when it changes.
    pub password_file: PathBuf,
    /// `system_type`: at most 12 characters. Default empty.
    pub system_type: String,
    /// `source_addr`: the sender, at most 20 characters. Empty: the SMSC's choice.
    pub source_addr: String,
    /// `source_ton`: default by the look of `source_addr` (5 with letters, 1
    /// with a plus sign, otherwise 0).
    pub source_ton: Option<u8>,
    /// `source_npi`: default likewise (0, 1, 0).
    pub source_npi: Option<u8>,
    /// `tls`: TLS from the first byte.
    pub tls: bool,
    /// `root_ca_file`: the only certificates to trust, instead of the system's.
    pub root_ca_file: Option<PathBuf>,
    /// `allow_plaintext`: no TLS beyond loopback. Codes, numbers and the
    /// password can then be read on the way.
    pub allow_plaintext: bool,
}

impl SmppConfig {
    /// Host and port; none if `address` is not that.
    pub(super) fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let fits = |host: &str| {
            !host.is_empty() && (bracketed.is_some() || !host.contains([':', '[', ']', '/', '@']))
        };
        let host = bracketed.unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0)?;
        fits(host).then_some((host, port))
    }
}

/// What is wrong, and under which key.
pub(crate) type KeyFault = (&'static str, String);

impl SmsConfig {
    /// Everything wrong with it that shows without opening a file, each with
    /// the key it stands under, e.g. `gateways[0].name: is there twice`.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        for (i, gateway) in self.gateways.iter().enumerate() {
            let mut found = gateway.faults(self.callback_url.is_some());
            if !seen.insert(&gateway.name) {
                found.push(("name", "is there twice".to_owned()));
            }
            for (key, fault) in found {
                faults.push(format!("gateways[{i}].{key}: {fault}"));
            }
        }
        faults
    }
}

impl SmsGatewayConfig {
    /// Everything wrong with it that shows without opening a file. With
    /// `callbacks`, status callbacks can be asked for.
    pub(crate) fn faults(&self, callbacks: bool) -> Vec<KeyFault> {
        let mut faults = Vec::new();
        if !is_name(&self.name) {
            let text = "must be 1 to 32 small letters, digits and dashes";
            faults.push(("name", text.to_owned()));
        }
        if !MAX_IN_FLIGHT.contains(&self.max_in_flight) {
            faults.push(("max_in_flight", "must be 1 to 10000".to_owned()));
        }
        match &self.kind {
            SmsGatewayKind::Webhook(webhook) => webhook::faults(webhook, callbacks, &mut faults),
            SmsGatewayKind::Twilio(twilio) => twilio_faults(twilio, &mut faults),
            SmsGatewayKind::Smpp(smpp) => smpp_faults(smpp, &mut faults),
        }
        faults
    }
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

fn twilio_faults(twilio: &TwilioConfig, faults: &mut Vec<KeyFault>) {
    let mut fault = |key, text: &str| faults.push((key, text.to_owned()));
    let is_sid = |text: &str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if !is_sid(&twilio.account_sid) {
        fault(
            "account_sid",
            "must be a SID of Twilio's: AC and 32 characters",
        );
    }
    match (&twilio.from, &twilio.messaging_service_sid) {
        (None, None) => fault("from", "is missing, and so is messaging_service_sid"),
        (Some(_), Some(_)) => fault("from", "can't stand beside messaging_service_sid"),
        (None, Some(sid)) if !is_sid(sid) => fault(
            "messaging_service_sid",
            "must be a SID of Twilio's: MG and 32 characters",
        ),
        _ => {}
    }
    if let Some(url) = &twilio.url
        && (!url_is_protected(url, false) || url.contains('?'))
    {
        fault(
            "url",
            "must be https://host[:port], or http on a loopback address",
        );
    }
}

fn smpp_faults(smpp: &SmppConfig, faults: &mut Vec<KeyFault>) {
    // SMPP 3.4, section 4.1.1 and 4.4.1: C-octet strings, the zero byte included.
    let fields = [
        ("system_id", &smpp.system_id, 15),
        ("system_type", &smpp.system_type, 12),
        ("source_addr", &smpp.source_addr, 20),
    ];
    for (key, text, most) in fields {
        if text.len() > most || !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            faults.push((key, format!("must be at most {most} ASCII characters")));
        }
    }
    match smpp.host_and_port() {
        None => faults.push(("address", "must be host:port".to_owned())),
        Some((host, _)) if !smpp.tls && !smpp.allow_plaintext && !is_loopback(host) => {
            let text = "is beyond loopback: set tls = true, or allow_plaintext = true";
            faults.push(("address", text.to_owned()));
        }
        Some(_) => {}
    }
}

/// Whether what goes to `url` is encrypted, stays on this machine, or may be
/// read on the way (`plaintext`).
pub(super) fn url_is_protected(url: &str, plaintext: bool) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let Some(authority) = uri.authority() else {
        return false;
    };
    let host = authority.host().trim_matches(['[', ']']);
    !authority.as_str().contains('@')
        && match uri.scheme_str() {
            Some("https") => true,
            Some("http") => plaintext || is_loopback(host),
            _ => false,
        }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
