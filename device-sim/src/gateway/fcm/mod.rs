//! Firebase Cloud Messaging, HTTP v1, with Google's token endpoint beside it.
//!
//! The order of the checks is path, access token, project, message, device token. Google doesn't
//! document an order.

mod access_token;
mod connection;
mod error;
mod message;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::access_token::AccessTokens;
use self::error::Refusal;
use super::clock::GatewayClock;
use super::credentials::Credentials;
use super::device::{Devices, FcmPush, Life, Push, Vendor};
use super::journal::{Arrival, Counters, Fate, Journal};
use super::listener::Listener;
use crate::fault::{Fault, Faults};

/// A running FCM emulator.
#[derive(Clone)]
pub struct Fcm {
    addr: SocketAddr,
    url: String,
    service: Arc<Service>,
}

impl Fcm {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL for a sender. The certificate is for `127.0.0.1` and `localhost`, among others.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The service accounts' `token_uri`.
    pub fn token_uri(&self) -> String {
        format!("{}/token", self.url())
    }

    /// What goes wrong with messages.
    pub fn faults(&self) -> &Faults {
        &self.service.faults
    }

    /// What goes wrong at the token endpoint.
    pub fn token_faults(&self) -> &Faults {
        &self.service.token_faults
    }

    /// Counts of messages since the start.
    pub fn counters(&self) -> Counters {
        self.service.journal.counters()
    }

    /// Counts of the token endpoint since the start.
    pub fn token_counters(&self) -> Counters {
        self.service.token_journal.counters()
    }

    /// Revokes every access token minted so far. Answers how many there were.
    pub fn revoke_access_tokens(&self) -> usize {
        self.service.tokens.revoke_all()
    }
}

/// What an emulator needs to start.
pub(super) struct Settings {
    pub(super) listen: SocketAddr,
    /// Name or address under which clients reach it.
    pub(super) host: String,
    pub(super) projects: BTreeSet<String>,
    pub(super) access_token_lifetime_s: u64,
    pub(super) credentials: Credentials,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) clock: GatewayClock,
    pub(super) devices: Devices,
    pub(super) journal: Journal,
    pub(super) token_journal: Journal,
    pub(super) faults: Faults,
    pub(super) token_faults: Faults,
    pub(super) stop: CancellationToken,
}

pub(super) async fn start(settings: Settings) -> io::Result<Fcm> {
    let (listener, addr) = Listener::bind(
        settings.listen,
        settings.tls,
        settings.faults.clone(),
        settings.journal.clone(),
        settings.stop,
    )
    .await?;
    let url = super::url("https", &settings.host, addr);
    let service = Arc::new(Service {
        projects: settings.projects,
        tokens: AccessTokens::new(
            settings.credentials,
            format!("{url}/token"),
            settings.access_token_lifetime_s,
        ),
        clock: settings.clock,
        devices: settings.devices,
        journal: settings.journal,
        token_journal: settings.token_journal,
        faults: settings.faults,
        token_faults: settings.token_faults,
    });
    let serving = Arc::clone(&service);
    tokio::spawn(listener.run(move |tls| connection::serve(Arc::clone(&serving), tls)));
    Ok(Fcm { addr, url, service })
}

struct Service {
    projects: BTreeSet<String>,
    tokens: AccessTokens,
    clock: GatewayClock,
    devices: Devices,
    journal: Journal,
    token_journal: Journal,
    faults: Faults,
    token_faults: Faults,
}

/// A message that may go to its device.
struct Accepted {
    token: String,
    validate_only: bool,
    push: FcmPush,
}

impl Service {
    fn journal(&self, token_endpoint: bool) -> &Journal {
        if token_endpoint {
            &self.token_journal
        } else {
            &self.journal
        }
    }

    fn faults(&self, token_endpoint: bool) -> &Faults {
        if token_endpoint {
            &self.token_faults
        } else {
            &self.faults
        }
    }

    /// `POST /token`.
    fn mint(
        &self,
        parts: &Parts,
        form: Result<Vec<(String, String)>, ()>,
        arrival: &mut Arrival,
    ) -> Result<Value, Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::oauth(405, "invalid_request", "Use POST"));
        }
        let form = form.map_err(|()| Refusal::oauth(400, "invalid_request", "Not a form"))?;
        let minted = self.tokens.mint(&form, self.clock.now_s())?;
        arrival.id = minted.client_email;
        self.token_journal.count(|counters| {
            counters.access_tokens += 1;
            counters.jwts += u64::from(minted.new_assertion);
        });
        Ok(minted.answer)
    }

    /// `POST /v1/projects/{project}/messages:send`.
    fn examine(
        &self,
        parts: &Parts,
        body: &[u8],
        arrival: &mut Arrival,
    ) -> Result<Accepted, Refusal> {
        let project_id = project(parts.uri.path()).ok_or_else(Refusal::not_found)?;
        if parts.method != Method::POST {
            return Err(Refusal::not_found());
        }
        project_id.clone_into(&mut arrival.app_id);
        let access_token = bearer(&parts.headers)?;
        let speaks_for = self.tokens.project(access_token, self.clock.now_s())?;
        if !self.projects.contains(project_id) {
            return Err(Refusal::not_found());
        }
        if speaks_for != project_id {
            return Err(Refusal::permission_denied(project_id));
        }
        let content_type = parts.headers.get(http::header::CONTENT_TYPE);
        let json = content_type
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        if !json {
            return Err(Refusal::malformed(
                "",
                "Request content type is not application/json.",
            ));
        }
        let message = message::parse(body)?;
        arrival.token.clone_from(&message.token);
        let holder = self
            .devices
            .holder(Vendor::Fcm, &message.token)
            .ok_or_else(Refusal::unregistered)?;
        if holder.app_id != project_id {
            return Err(Refusal::sender_id_mismatch());
        }
        if holder.life != Life::Active {
            return Err(Refusal::unregistered());
        }
        let id = if message.validate_only {
            "fake_message_id".to_owned()
        } else {
            format!("0:{}%{:016x}", self.clock.now_ms(), rand::random::<u64>())
        };
        let push = FcmPush {
            name: format!("projects/{project_id}/messages/{id}"),
            project_id: project_id.to_owned(),
            priority: if message.high_priority {
                "HIGH"
            } else {
                "NORMAL"
            }
            .to_owned(),
            ttl_ms: message.ttl_ms,
            collapse_key: message.collapse_key,
            message: message.message,
            time_ms: self.clock.now_ms(),
        };
        Ok(Accepted {
            token: message.token,
            validate_only: message.validate_only,
            push,
        })
    }

    fn deliver(&self, accepted: Accepted, fault: Option<&Fault>) -> Fate {
        let copies = match fault {
            _ if accepted.validate_only => return Fate::Validated,
            Some(Fault::Drop) => return Fate::Dropped,
            Some(Fault::Duplicate) => 2,
            _ => 1,
        };
        self.devices
            .deliver(&accepted.token, Push::Fcm(accepted.push), copies)
    }
}

/// The refusal that a fault stands for, if it stands for one.
fn faulty(fault: &Fault, token_endpoint: bool) -> Option<Refusal> {
    let refusal = match fault {
        Fault::Unregistered | Fault::BadDeviceToken if token_endpoint => {
            Refusal::oauth(400, "invalid_grant", "Scripted fault.")
        }
        Fault::TooManyRequests { retry_after } if token_endpoint => {
            Refusal::oauth(429, "rate_limit_exceeded", "Scripted fault.").after(*retry_after)
        }
        Fault::InternalError if token_endpoint => {
            Refusal::oauth(500, "internal_failure", "Scripted fault.")
        }
        Fault::Unavailable { retry_after } if token_endpoint => {
            Refusal::oauth(503, "temporarily_unavailable", "Scripted fault.").after(*retry_after)
        }
        Fault::Reply {
            status,
            reason,
            retry_after,
        } if token_endpoint => {
            Refusal::oauth(*status, reason, "Scripted fault.").after(*retry_after)
        }
        Fault::Unregistered => Refusal::unregistered(),
        Fault::BadDeviceToken => message::bad_token(),
        Fault::TooManyRequests { retry_after } => Refusal::quota_exceeded().after(*retry_after),
        Fault::InternalError => Refusal::internal(),
        Fault::Unavailable { retry_after } => Refusal::unavailable().after(*retry_after),
        Fault::Reply {
            status,
            reason,
            retry_after,
        } => Refusal::scripted(*status, reason).after(*retry_after),
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
    Some(refusal)
}

fn project(path: &str) -> Option<&str> {
    let project = path
        .strip_prefix("/v1/projects/")?
        .strip_suffix("/messages:send")?;
    (!project.is_empty() && !project.contains('/')).then_some(project)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers
        .get(AUTHORIZATION)
        .ok_or_else(|| Refusal::unauthenticated("CREDENTIALS_MISSING"))?;
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token)
        .ok_or_else(|| Refusal::unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED"))
}

/// A body for the record. Assertions are secrets and stay out of it.
fn recorded_body(body: &[u8], token_endpoint: bool) -> Value {
    if token_endpoint {
        return json!({ "bytes": body.len() });
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
