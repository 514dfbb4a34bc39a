//! What reached the emulators and what became of it: a bounded list, a subscription, counters.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// Arrivals that a subscriber may lag behind before it loses the oldest.
const SUBSCRIPTION_CAPACITY: usize = 4096;

/// One request that reached an emulator.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Arrival {
    /// Counts up from 1 over all gateways.
    pub seq: u64,
    /// Milliseconds since the UNIX epoch.
    pub time_ms: u64,
    /// `apns`, `apns-sandbox`, `fcm`, `fcm-token`, `twilio`, `webhook` or `smpp`.
    pub gateway: &'static str,
    /// HTTP status answered; 0 when the request was ended without one. SMPP: 200 for `ESME_ROK`, 400
    /// for any other `command_status`, which `reason` names.
    pub status: u16,
    /// The gateway's reason for a refusal, in its own words.
    pub reason: Option<String>,
    /// APNs: `apns-id`. FCM: the message name. SMS: the gateway's id of the message.
    pub id: String,
    /// APNs: topic. FCM: project id. SMS: sender.
    pub app_id: String,
    /// Device token or phone number.
    pub token: String,
    /// Request headers, without `authorization`.
    pub headers: BTreeMap<String, String>,
    /// The body: JSON if it was, a string otherwise.
    pub payload: Value,
    /// What became of an accepted push.
    pub fate: Option<Fate>,
    /// The faults that were committed on purpose.
    pub fault: Option<String>,
}

impl Arrival {
    /// Whether the gateway said yes.
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What became of an accepted push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A connected phone has it.
    Delivered,
    /// Kept for a phone that isn't connected.
    Stored,
    /// No phone connected, and not to be kept.
    Discarded,
    /// Lost by a fault.
    Dropped,
    /// Delivered twice by a fault.
    Duplicated,
    /// Only checked (FCM `validate_only`).
    Validated,
}

/// Counts of one gateway since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections that completed the TLS handshake (SMPP: any).
    pub connections: u64,
    /// Connections that did not (no TLS, no common version, protocol or trust).
    pub failed_handshakes: u64,
    /// Requests that arrived.
    pub requests: u64,
    /// Requests by what became of them: `200`, `400 BadDeviceToken`, `reset` …
    pub outcomes: BTreeMap<String, u64>,
    /// Accepted pushes by what became of them.
    pub fates: BTreeMap<&'static str, u64>,
    /// Different valid provider tokens (JWTs) seen. APNs: `authorization`; FCM: assertions.
    pub jwts: u64,
    /// Access tokens minted (FCM).
    pub access_tokens: u64,
    /// Streams refused because no request of the connection had been authenticated yet (APNs).
    pub refused_streams: u64,
    /// Connections closed by GOAWAY.
    pub goaways: u64,
}

/// The journal of one gateway, sharing list and subscription with the others'.
#[derive(Clone)]
pub(crate) struct Journal {
    gateway: &'static str,
    counters: Arc<Mutex<Counters>>,
    shared: Arc<Shared>,
}

struct Shared {
    seq: AtomicU64,
    keep: usize,
    list: Mutex<VecDeque<Arc<Arrival>>>,
    sender: broadcast::Sender<Arc<Arrival>>,
}

impl Journal {
    /// A journal whose list keeps the last `keep` arrivals.
    pub(crate) fn new(gateway: &'static str, keep: usize) -> Self {
        let shared = Shared {
            seq: AtomicU64::new(0),
            keep,
            list: Mutex::new(VecDeque::new()),
            sender: broadcast::Sender::new(SUBSCRIPTION_CAPACITY),
        };
        Self {
            gateway,
            counters: Arc::default(),
            shared: Arc::new(shared),
        }
    }

    /// The same list for another gateway, with counters of its own.
    pub(crate) fn of(&self, gateway: &'static str) -> Self {
        Self {
            gateway,
            counters: Arc::default(),
            shared: Arc::clone(&self.shared),
        }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.counters.lock());
    }

    pub(crate) fn record(&self, mut arrival: Arrival) {
        arrival.seq = self.shared.seq.fetch_add(1, Ordering::Relaxed) + 1;
        arrival.gateway = self.gateway;
        let outcome = match (arrival.status, arrival.reason.as_deref()) {
            (0, reason) => reason.unwrap_or("unanswered").to_owned(),
            (status, None) => status.to_string(),
            (status, Some(reason)) => format!("{status} {reason}"),
        };
        self.count(|counters| {
            counters.requests += 1;
            *counters.outcomes.entry(outcome).or_default() += 1;
            if let Some(fate) = arrival.fate {
                *counters.fates.entry(fate.name()).or_default() += 1;
            }
        });
        let arrival = Arc::new(arrival);
        if self.shared.keep > 0 {
            let mut list = self.shared.list.lock();
            if list.len() >= self.shared.keep {
                list.pop_front();
            }
            list.push_back(Arc::clone(&arrival));
        }
        // After the list, so that who is told finds it there. Nobody listening is
        // no error.
        drop(self.shared.sender.send(arrival));
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters.lock().clone()
    }

    /// Arrivals at all gateways.
    pub(crate) fn list(&self) -> Vec<Arc<Arrival>> {
        self.shared.list.lock().iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.shared.list.lock().clear();
    }

    /// Arrivals at all gateways, from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.shared.sender.subscribe()
    }
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Fate::Delivered => "delivered",
            Fate::Stored => "stored",
            Fate::Discarded => "discarded",
            Fate::Dropped => "dropped",
            Fate::Duplicated => "duplicated",
            Fate::Validated => "validated",
        }
    }
}
