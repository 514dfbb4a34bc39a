//! `[sms]`: the gateways that text messages go through, in the order they are
//! tried.

use std::path::PathBuf;

use http::Method;

use super::{
    address::{base_address, check_plaintext},
    push::{check_file, root_ca},
    section::{Section, quoted},
};
use crate::delivery::sms::{
    SmppConfig, SmsConfig, SmsGatewayConfig, SmsGatewayKind, StatusWords, TwilioConfig,
    WebhookConfig, check_secret,
};

/// Texts under way at a time, unless configured.
const MAX_IN_FLIGHT: usize = 50;
/// The same for SMPP, where it is the window: what SMSCs commonly allow.
const SMPP_WINDOW: usize = 10;

/// `plaintext_http`: whether the HTTP port may be spoken to unencrypted from
/// other machines.
pub(super) fn read(mut section: Section<'_>, plaintext_http: bool) -> SmsConfig {
    let flag = "http.allow_plaintext_beyond_loopback = true";
    let callback_url = section.parsed("callback_url", |text| {
        let url = base_address(text)?;
        check_plaintext(&url, plaintext_http, flag)?;
        Ok(url)
    });
    let mut sms = SmsConfig {
        callback_url: callback_url.map(|url| url.value),
        gateways: Vec::new(),
    };
    for table in section.list("gateways") {
        let (source, name) = (table.source(), table.name("name"));
        let Some(read) = gateway(table, sms.callback_url.is_some()) else {
            continue;
        };
        if sms.gateways.iter().any(|other| other.name == read.name) {
            let text = format!("{} is there twice", quoted(&read.name));
            section.fault_at(source, name, text);
        }
        sms.gateways.push(read);
    }
    section.finish();
    sms
}

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Twilio,
    Smpp,
}

fn gateway(mut section: Section<'_>, callbacks: bool) -> Option<SmsGatewayConfig> {
    let kinds = [
        ("webhook", Kind::Webhook),
        ("twilio", Kind::Twilio),
        ("smpp", Kind::Smpp),
    ];
    section.require("kind");
    let kind = section.parsed("kind", |text| {
        let found = kinds.iter().find(|(word, _)| *word == text);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let words = kinds.map(|(word, _)| quoted(word)).join(", ");
            format!("must be one of {words}, not {}", quoted(text))
        })
    });
    section.require("name");
    let name = section.text("name").map(|name| name.value);
    let Some(kind) = kind else {
        // Which other keys are known here, only the kind tells.
        return None;
    };
    let (kind, window) = match kind.value {
        Kind::Webhook => (
            SmsGatewayKind::Webhook(webhook(&mut section)),
            MAX_IN_FLIGHT,
        ),
        Kind::Twilio => (SmsGatewayKind::Twilio(twilio(&mut section)), MAX_IN_FLIGHT),
        Kind::Smpp => (SmsGatewayKind::Smpp(smpp(&mut section)), SMPP_WINDOW),
    };
    let config = SmsGatewayConfig {
        name: name.unwrap_or_default(),
        max_in_flight: section.number_or("max_in_flight", window, 1..=10_000),
        kind,
    };
    for (key, fault) in config.faults(callbacks) {
        // What is missing or malformed has been reported where it was read.
        if !section.is_reported(key) {
            section.fault(section.source_of(key), key, fault);
        }
    }
    section.finish();
    Some(config)
}

fn webhook(section: &mut Section<'_>) -> WebhookConfig {
    let methods = [
        ("GET", &Method::GET),
        ("POST", &Method::POST),
        ("PUT", &Method::PUT),
    ];
    let method = section.choice("method", "POST", &methods, &Method::POST);
    let words = StatusWords::default();
    WebhookConfig {
        method: method.value.clone(),
        url: required(section, "url"),
        headers: section.texts("headers"),
        body: section.text("body").map(|body| body.value),
        secret_file: secret(section, "secret_file"),
        callback_secret_file: secret(section, "callback_secret_file"),
        success_pattern: section.text("success_pattern").map(|text| text.value),
        status: StatusWords {
            field: section
                .parsed_or("status_field", (words.field, "status"), |text| {
                    Ok(text.to_owned())
                })
                .value,
            sent: word_list(section, "status_sent", "4,8"),
            delivered: word_list(section, "status_delivered", "1"),
            failed: word_list(section, "status_failed", "2,16"),
        },
        root_ca_file: root_ca(section),
        allow_plaintext: section.flag("allow_plaintext").value,
    }
}

fn twilio(section: &mut Section<'_>) -> TwilioConfig {
    section.require("auth_token_file");
    TwilioConfig {
        account_sid: required(section, "account_sid"),
        auth_token_file: secret(section, "auth_token_file").unwrap_or_default(),
        from: section.text("from").map(|from| from.value),
        messaging_service_sid: section.text("messaging_service_sid").map(|sid| sid.value),
        url: section.parsed("url", base_address).map(|url| url.value),
        root_ca_file: root_ca(section),
    }
}

fn smpp(section: &mut Section<'_>) -> SmppConfig {
    section.require("password_file");
    SmppConfig {
        address: required(section, "address"),
        system_id: required(section, "system_id"),
        password_file: secret(section, "password_file").unwrap_or_default(),
        system_type: section
            .text("system_type")
            .map_or_else(String::new, |text| text.value),
        source_addr: section
            .text("source_addr")
            .map_or_else(String::new, |text| text.value),
        source_ton: section.number("source_ton", 0..=u8::MAX),
        source_npi: section.number("source_npi", 0..=u8::MAX),
        tls: section.flag("tls").value,
        root_ca_file: root_ca(section),
        allow_plaintext: section.flag("allow_plaintext").value,
    }
}

fn required(section: &mut Section<'_>, key: &'static str) -> String {
    section.require(key);
    section
        .text(key)
        .map_or_else(String::new, |text| text.value)
}

/// A file with one line of text in it.
fn secret(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    let path = section.path(key)?;
    check_file(section, key, &path, |content| {
        check_secret(content).map_err(|_| "one line of text")
    });
    Some(path.value)
}

/// Words between commas.
fn word_list(section: &mut Section<'_>, key: &'static str, default: &'static str) -> Vec<String> {
    let words = |text: &str| text.split(',').map(|word| word.trim().to_owned()).collect();
    section
        .parsed_or(key, (words(default), default), |text| Ok(words(text)))
        .value
}
