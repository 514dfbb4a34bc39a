//! Trouble with our own credentials, for an operator to see.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{NowMs, PushGateway};

/// Whose credential it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayName {
    /// A push gateway's.
    Push(PushGateway),
    /// That of the SMS gateway configured under this name.
    Sms(Arc<str>),
}

impl GatewayName {
    /// `apns`, `fcm`, or the SMS gateway's configured name, as in logs and
    /// metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Push(gateway) => gateway.name(),
            Self::Sms(name) => name,
        }
    }
}

impl From<PushGateway> for GatewayName {
    fn from(gateway: PushGateway) -> Self {
        Self::Push(gateway)
    }
}

/// An alarm that keeps coming and going is logged once in this time.
const LOG_AGAIN_MS: u64 = 60_000;

/// A credential that does not work at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialAlarm {
    /// Whose credential.
    pub gateway: GatewayName,
    /// Which: `TEAMID/KEYID` (APNs), the Firebase project id, Twilio's account
    /// SID, SMPP's system id, or the key of the file that holds it.
    pub credential: String,
    /// What is wrong, in the gateway's words where it has any.
    pub reason: String,
    /// Since when, in Unix milliseconds.
    pub since_ms: u64,
    /// When it was last seen, in Unix milliseconds.
    pub last_ms: u64,
}

/// Where the trouble shows; each comes and goes on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The file can't be read or holds no usable key; the former one is kept.
    File,
    /// The gateway refuses pushes made with it.
    Refused,
    /// No access token is given for it.
    Exchange,
}

#[derive(Debug)]
struct Entry {
    alarm: Option<CredentialAlarm>,
    logged_ms: u64,
}

/// All alarms of one [`super::Gateways`] or [`super::sms::SmsGateways`].
#[derive(Debug, Default)]
pub(super) struct AlarmBoard {
    entries: Mutex<BTreeMap<(GatewayName, String, Trouble), Entry>>,
}

impl AlarmBoard {
    pub(super) fn active(&self) -> Vec<CredentialAlarm> {
        self.entries
            .lock()
            .values()
            .filter_map(|entry| entry.alarm.clone())
            .collect()
    }
}

/// One credential's access to the board.
#[derive(Clone)]
pub(super) struct Bell {
    pub(super) board: Arc<AlarmBoard>,
    pub(super) gateway: GatewayName,
    pub(super) credential: String,
    pub(super) now: NowMs,
}

impl Bell {
    pub(super) fn raise(&self, trouble: Trouble, reason: &str) {
        let now_ms = (self.now)();
        let key = (self.gateway.clone(), self.credential.clone(), trouble);
        let mut entries = self.board.entries.lock();
        let entry = entries.entry(key).or_insert(Entry {
            alarm: None,
            logged_ms: 0,
        });
        let was_active = entry.alarm.is_some();
        let alarm = entry.alarm.get_or_insert_with(|| CredentialAlarm {
            gateway: self.gateway.clone(),
            credential: self.credential.clone(),
            reason: String::new(),
            since_ms: now_ms,
            last_ms: now_ms,
        });
        reason.clone_into(&mut alarm.reason);
        alarm.last_ms = now_ms;
        if !was_active && now_ms.abs_diff(entry.logged_ms) >= LOG_AGAIN_MS {
            entry.logged_ms = now_ms;
            tracing::error!(
                gateway = self.gateway.name(),
                credential = self.credential,
                reason,
                "gateway credential does not work",
            );
        }
    }

    pub(super) fn clear(&self, trouble: Trouble) {
        let mut entries = self.board.entries.lock();
        // Called on every accepted push: no allocation while nothing is wrong.
        if entries.is_empty() {
            return;
        }
        let key = (self.gateway.clone(), self.credential.clone(), trouble);
        if let Some(entry) = entries.get_mut(&key)
            && entry.alarm.take().is_some()
        {
            tracing::info!(
                gateway = self.gateway.name(),
                credential = self.credential,
                "gateway credential works again",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn an_alarm_lasts_from_its_first_cause_until_it_works_again() {
        let clock = Arc::new(AtomicU64::new(100));
        let board = Arc::new(AlarmBoard::default());
        let bell = Bell {
            board: Arc::clone(&board),
            gateway: PushGateway::Fcm.into(),
            credential: "p".into(),
            now: {
                let clock = Arc::clone(&clock);
                Arc::new(move || clock.load(Ordering::Relaxed))
            },
        };
        bell.raise(Trouble::Refused, "a");
        clock.store(200, Ordering::Relaxed);
        bell.raise(Trouble::Refused, "b");
        bell.raise(Trouble::File, "c");
        bell.clear(Trouble::File);
        let expected = CredentialAlarm {
            gateway: PushGateway::Fcm.into(),
            credential: "p".into(),
            reason: "b".into(),
            since_ms: 100,
            last_ms: 200,
        };
        assert_eq!(board.active(), [expected]);
        bell.clear(Trouble::Refused);
        assert_eq!(board.active(), []);
    }
}
