//! Apple Push Notification service, provider API over HTTP/2, as Apple documents it.
//!
//! An emulator has one environment; production and sandbox run side by side. The order of the
//! checks is path and method, doubled headers, provider token, `apns-id`, topic, push type,
//! priority, expiration, collapse id, payload, topic against team, device token. Apple doesn't
//! document an order.

mod checks;
mod connection;
mod frames;
mod provider_token;
mod reason;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use rustls::ServerConfig;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::checks::Request;
use self::provider_token::ProviderTokens;
use self::reason::{
    BAD_DEVICE_TOKEN, DEVICE_TOKEN_NOT_FOR_TOPIC, EXPIRED_TOKEN, INTERNAL_SERVER_ERROR,
    INVALID_PROVIDER_TOKEN, Reason, SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS, TOPIC_DISALLOWED,
    UNREGISTERED,
};
use super::clock::GatewayClock;
use super::credentials::Credentials;
use super::device::{ApnsPush, Devices, Environment, Life, Push, Vendor};
use super::journal::{Counters, Fate, Journal};
use super::jws::Encoding;
use super::listener::Listener;
use crate::fault::{Fault, Faults};

/// A running APNs emulator.
#[derive(Clone)]
pub struct Apns {
    addr: SocketAddr,
    url: String,
    service: Arc<Service>,
}

impl Apns {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL for a sender. The certificate is for `127.0.0.1` and `localhost`, among others.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Production or sandbox.
    pub fn environment(&self) -> Environment {
        self.service.environment
    }

    /// The team that has an app.
    pub fn team_of(&self, topic: &str) -> Option<&str> {
        let mut teams = self.service.topics.iter();
        teams
            .find(|(_, topics)| topics.contains(topic))
            .map(|(team, _)| team.as_str())
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

/// What an emulator needs to start.
pub(super) struct Settings {
    pub(super) listen: SocketAddr,
    /// Name or address under which clients reach it.
    pub(super) host: String,
    pub(super) environment: Environment,
    /// Topics by team.
    pub(super) topics: BTreeMap<String, BTreeSet<String>>,
    pub(super) encoding: Encoding,
    pub(super) token_change_limit: Option<usize>,
    pub(super) credentials: Credentials,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) clock: GatewayClock,
    pub(super) devices: Devices,
    pub(super) journal: Journal,
    pub(super) faults: Faults,
    pub(super) stop: CancellationToken,
}

pub(super) async fn start(settings: Settings) -> io::Result<Apns> {
    let service = Arc::new(Service {
        environment: settings.environment,
        topics: settings.topics,
        strict: settings.encoding == Encoding::Strict,
        tokens: ProviderTokens::new(
            settings.credentials,
            settings.encoding,
            settings.token_change_limit,
        ),
        clock: settings.clock,
        devices: settings.devices,
        journal: settings.journal.clone(),
        faults: settings.faults.clone(),
    });
    let (listener, addr) = Listener::bind(
        settings.listen,
        settings.tls,
        settings.faults,
        settings.journal,
        settings.stop,
    )
    .await?;
    let serving = Arc::clone(&service);
    tokio::spawn(listener.run(move |tls| connection::serve(Arc::clone(&serving), tls)));
    Ok(Apns {
        addr,
        url: super::url("https", &settings.host, addr),
        service,
    })
}

struct Service {
    environment: Environment,
    topics: BTreeMap<String, BTreeSet<String>>,
    strict: bool,
    tokens: ProviderTokens,
    clock: GatewayClock,
    devices: Devices,
    journal: Journal,
    faults: Faults,
}

/// A refusal on its way out.
struct Refusal {
    status: u16,
    reason: String,
    /// 410 only: since when, in milliseconds since the UNIX epoch.
    timestamp: Option<u64>,
    retry_after: Option<u64>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let (status, reason) = (reason.status, reason.name.to_owned());
        Self {
            status,
            reason,
            timestamp: None,
            retry_after: None,
        }
    }
}

/// A request that may go to its device.
struct Accepted {
    token: String,
    push: ApnsPush,
}

impl Service {
    /// Who speaks. A connection keeps the team of its first token.
    fn authenticate(
        &self,
        headers: &HeaderMap,
        team_of_connection: &mut Option<String>,
    ) -> Result<String, Reason> {
        let bearer = checks::bearer(headers)?;
        let checked = self.tokens.check(bearer, self.clock.now_s())?;
        let team = checked.token.team_id.clone();
        if team_of_connection.get_or_insert_with(|| team.clone()) != &team {
            return Err(INVALID_PROVIDER_TOKEN);
        }
        if checked.new {
            self.journal.count(|counters| counters.jwts += 1);
        }
        Ok(team)
    }

    /// Everything after authentication.
    fn examine(
        &self,
        team: &str,
        token: String,
        apns_id: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Accepted, Refusal> {
        let Request {
            topic,
            bundle_id,
            push_type,
            priority,
            expiration,
            collapse_id,
            payload,
        } = checks::request(headers, body, self.strict)?;
        if !self
            .topics
            .get(team)
            .is_some_and(|topics| topics.contains(&bundle_id))
        {
            return Err(TOPIC_DISALLOWED.into());
        }
        let holder = self
            .devices
            .holder(Vendor::Apns, &token)
            .filter(|holder| holder.environment == self.environment)
            .ok_or(BAD_DEVICE_TOKEN)?;
        if holder.app_id != bundle_id {
            return Err(DEVICE_TOKEN_NOT_FOR_TOPIC.into());
        }
        match holder.life {
            Life::Active => {}
            Life::Unregistered(at) => {
                return Err(Refusal {
                    timestamp: Some(at),
                    ..UNREGISTERED.into()
                });
            }
            Life::Expired(at) => {
                return Err(Refusal {
                    timestamp: Some(at),
                    ..EXPIRED_TOKEN.into()
                });
            }
        }
        let mut headers = checks::recorded(headers);
        headers.retain(|name, _| name.starts_with("apns-"));
        let push = ApnsPush {
            apns_id: apns_id.to_owned(),
            topic,
            push_type: push_type.to_owned(),
            priority,
            expiration,
            collapse_id,
            headers,
            payload,
            time_ms: self.clock.now_ms(),
        };
        Ok(Accepted { token, push })
    }

    /// The refusal that a fault stands for, if it stands for one.
    fn faulty(&self, fault: &Fault) -> Option<Refusal> {
        let refusal = match fault {
            Fault::Unregistered => Refusal {
                timestamp: Some(self.clock.now_ms()),
                ..UNREGISTERED.into()
            },
            Fault::BadDeviceToken => BAD_DEVICE_TOKEN.into(),
            Fault::TooManyRequests { retry_after } => Refusal {
                retry_after: *retry_after,
                ..TOO_MANY_REQUESTS.into()
            },
            Fault::InternalError => INTERNAL_SERVER_ERROR.into(),
            Fault::Unavailable { retry_after } => Refusal {
                retry_after: *retry_after,
                ..SERVICE_UNAVAILABLE.into()
            },
            Fault::Reply {
                status,
                reason,
                retry_after,
            } => Refusal {
                status: *status,
                reason: reason.clone(),
                timestamp: (*status == 410).then(|| self.clock.now_ms()),
                retry_after: *retry_after,
            },
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

    fn deliver(&self, accepted: Accepted, fault: Option<&Fault>) -> Fate {
        let copies = match fault {
            Some(Fault::Drop) => return Fate::Dropped,
            Some(Fault::Duplicate) => 2,
            _ => 1,
        };
        self.devices
            .deliver(&accepted.token, Push::Apns(accepted.push), copies)
    }
}

/// What the record says of a request before it is judged.
fn arrival(parts: &Parts, time_ms: u64) -> super::journal::Arrival {
    let header = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    super::journal::Arrival {
        time_ms,
        id: header("apns-id").unwrap_or_default().to_owned(),
        app_id: header("apns-topic").unwrap_or_default().to_owned(),
        token: parts
            .uri
            .path()
            .strip_prefix("/3/device/")
            .unwrap_or_default()
            .to_owned(),
        headers: checks::recorded(&parts.headers),
        ..Default::default()
    }
}

/// A body for the record.
fn recorded_body(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
