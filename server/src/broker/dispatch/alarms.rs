//! Trouble with a push credential, on record: who looks at the audit trail
//! later must see when prompts could not be sent, and why.

use std::{collections::BTreeMap, time::Duration};

use super::Worker;
use crate::{
    delivery::{CredentialAlarm, PushGateway},
    domain::{
        audit::{By, Entry},
        time::Timestamp,
    },
};

/// A credential that works for some pushes and not for others comes and goes:
/// recorded once in this time.
const RECORD_AGAIN: Duration = Duration::from_secs(60);

/// What stands in the audit trail of each credential.
#[derive(Default)]
pub(super) struct Alarmed(BTreeMap<String, Recorded>);

struct Recorded {
    active: bool,
    last: Timestamp,
}

impl Alarmed {
    /// Compares with what is so now; gives the entries to record: action,
    /// credential, reason.
    fn news(
        &mut self,
        alarms: &[CredentialAlarm],
        now: Timestamp,
    ) -> Vec<(&'static str, String, String)> {
        let mut news = Vec::new();
        for alarm in alarms {
            let recent = self
                .0
                .get(&alarm.credential)
                .is_some_and(|known| known.active || now.since(known.last) < RECORD_AGAIN);
            if !recent {
                let recorded = Recorded {
                    active: true,
                    last: now,
                };
                self.0.insert(alarm.credential.clone(), recorded);
                let (credential, reason) = (alarm.credential.clone(), alarm.reason.clone());
                news.push(("push.credential_refused", credential, reason));
            }
        }
        for (credential, known) in &mut self.0 {
            if known.active && !alarms.iter().any(|alarm| alarm.credential == *credential) {
                known.active = false;
                news.push(("push.credential_works", credential.clone(), String::new()));
            }
        }
        news
    }
}

impl Worker {
    /// Puts on record which credentials have stopped or begun to work.
    pub(super) async fn watch_alarms(&self, gateway: PushGateway) {
        let mut alarms = self.courier.alarms();
        alarms.retain(|alarm| alarm.gateway == gateway.into());
        let now = self.broker.now();
        let news = self.alarmed.lock().news(&alarms, now);
        for (action, credential, outcome) in news {
            let entry = Entry {
                time: now,
                tenant: None,
                user: None,
                by: By::broker(),
                action,
                object: format!("{}:{credential}", gateway.name()),
                outcome,
            };
            if let Err(error) = self.broker.store.note(entry).await {
                tracing::error!(%error, action, credential, "not on record");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coming_and_going_is_recorded_but_not_without_end() {
        let alarm = CredentialAlarm {
            gateway: PushGateway::Apns.into(),
            credential: "TEAM/KEY".into(),
            reason: "InvalidProviderToken".into(),
            since_ms: 0,
            last_ms: 0,
        };
        let mut alarmed = Alarmed::default();
        let mut actions = |active: bool, at_s: u64| -> Vec<&'static str> {
            let alarms: &[_] = if active {
                std::slice::from_ref(&alarm)
            } else {
                &[]
            };
            let news = alarmed.news(alarms, Timestamp::from_millis(at_s * 1000));
            news.into_iter().map(|(action, _, _)| action).collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(actions(false, 0), none);
        assert_eq!(actions(true, 100), ["push.credential_refused"]);
        assert_eq!(actions(true, 300), none);
        assert_eq!(actions(false, 301), ["push.credential_works"]);
        assert_eq!(actions(true, 320), ["push.credential_refused"]);
        assert_eq!(actions(false, 330), ["push.credential_works"]);
        assert_eq!(actions(true, 340), none);
        assert_eq!(actions(false, 350), none);
        assert_eq!(actions(true, 400), ["push.credential_refused"]);
    }
}
