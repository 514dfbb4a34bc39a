//! What happens in an organisation, for its identity providers: read from the
//! audit trail, from any place in it. Whoever follows asks for the next when it
//! has taken the last: a slow one costs no memory.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Broker, IdpCaller, error::BrokerError, hub::Waiting};
use crate::domain::{Invalid, audit::Told, event::TenantEvent, ids::TenantId, time::Timestamp};

/// Events read from the store at a time.
const PAGE: usize = 64;
/// Without an event, a sign of life comes after this.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Chains that a place may name: one per writer of the trail.
const MAX_CHAINS: usize = 8;

/// A place in the trail: of each writer, the last entry that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(BTreeMap<u64, u64>);

impl Place {
    /// Reads what [`Place`] shows as; `field` names it in the error.
    ///
    /// # Errors
    /// [`Invalid`] when it is anything else.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let bad = || Invalid::new(field, "must come from an earlier answer");
        let number = |part: &str| {
            let canonical = part == "0" || !part.starts_with('0');
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let number = (canonical && digits).then(|| part.parse::<u64>().ok());
            number.flatten().ok_or_else(bad)
        };
        let mut place = BTreeMap::new();
        for chain in text.split('-') {
            let (writer, after) = chain.split_once('.').ok_or_else(bad)?;
            let writer = number(writer)?;
            let in_order = place.keys().next_back().is_none_or(|last| *last < writer);
            if !in_order || place.len() >= MAX_CHAINS {
                return Err(bad());
            }
            place.insert(writer, number(after)?);
        }
        Ok(Self(place))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut between = "";
        for (writer, after) in &self.0 {
            write!(f, "{between}{writer}.{after}")?;
            between = "-";
        }
        Ok(())
    }
}

/// What somebody who follows is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Something happened.
    Event(TenantEvent),
    /// There is no more for now.
    CaughtUp(Timestamp),
}

/// Somebody who follows the events of an organisation.
pub struct EventWatch {
    broker: Arc<Broker>,
    caller: IdpCaller,
    /// All up to here has been read, and is in `ready` or was told.
    place: Place,
    ready: VecDeque<(TenantEvent, Place)>,
    /// There may be more than was read.
    look: bool,
    /// That there is no more was not said yet.
    say: bool,
    waiting: Waiting<TenantId>,
}

impl Broker {
    /// Follows the events of the caller's organisation, from `place` or from now
    /// on.
    ///
    /// # Errors
    /// Those of the store. A place that is gone is noticed at the first look.
    pub async fn watch_events(
        self: &Arc<Self>,
        caller: IdpCaller,
        place: Option<Place>,
    ) -> Result<EventWatch, BrokerError> {
        // Before looking, so that nothing is missed in between.
        let waiting = self.hub.events.wait_on(caller.tenant);
        let place = match place {
            Some(place) => place,
            None => {
                let chains = self.store.audit_chains().await?;
                Place(
                    chains
                        .iter()
                        .map(|chain| (chain.writer, chain.sequence))
                        .collect(),
                )
            }
        };
        Ok(EventWatch {
            broker: self.clone(),
            caller,
            place,
            ready: VecDeque::new(),
            look: true,
            say: true,
            waiting,
        })
    }
}

impl EventWatch {
    /// What is next, and the place after it.
    ///
    /// # Errors
    /// [`BrokerError::EventsGone`], [`BrokerError::Unauthenticated`] when the key
    /// was revoked meanwhile, [`BrokerError::Unavailable`] when the broker stops.
    pub async fn next(&mut self) -> Result<(News, Place), BrokerError> {
        loop {
            if let Some((event, place)) = self.ready.pop_front() {
                return Ok((News::Event(event), place));
            }
            let broker = self.broker.clone();
            if broker.hub.stopping.is_cancelled() {
                return Err(BrokerError::Unavailable);
            }
            if self.look {
                broker.still_admits(&self.caller).await?;
                self.look = self.read().await?;
                continue;
            }
            if std::mem::take(&mut self.say) {
                return Ok((News::CaughtUp(broker.now()), self.place.clone()));
            }
            tokio::select! {
                () = self.waiting.changed() => {}
                () = broker.clock.sleep(HEARTBEAT) => self.say = true,
                () = broker.hub.stopping.cancelled() => {}
            }
            self.look = true;
        }
    }

    /// Reads what comes next; whether there may be more.
    async fn read(&mut self) -> Result<bool, BrokerError> {
        let store = &self.broker.store;
        let tenant = self.caller.tenant;
        let chains = store.audit_chains().await?;
        let known = |writer: &u64| chains.iter().any(|chain| chain.writer == *writer);
        if !self.place.0.keys().all(known) {
            return Err(BrokerError::EventsGone);
        }
        let mut more = false;
        for chain in &chains {
            let writer = chain.writer;
            let after = self.place.0.get(&writer).copied().unwrap_or_default();
            let found = store.events_after(tenant, writer, after, PAGE).await?;
            // What has left can't be told; what is not there yet was never told
            // by this store.
            if after < found.left || after > found.sequence {
                return Err(BrokerError::EventsGone);
            }
            let full = found.entries.len() >= PAGE;
            more |= full;
            for entry in &found.entries {
                self.place.0.insert(writer, entry.sequence);
                let told = Told::read(&entry.content).filter(|told| told.tenant == Some(tenant));
                match told.as_ref().and_then(TenantEvent::of) {
                    Some(event) => self.ready.push_back((event, self.place.clone())),
                    None => tracing::error!(sequence = entry.sequence, "an event can't be read"),
                }
            }
            if !full {
                let last = found.entries.last().map_or(0, |entry| entry.sequence);
                self.place.0.insert(writer, found.sequence.max(last));
            }
        }
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_place_is_read_as_it_shows() {
        for text in ["0.0", "1.7", "1.7-2.0-9.18446744073709551615"] {
            assert_eq!(Place::parse("p", text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "1",
            "1.",
            ".1",
            "1.2-",
            "-1.2",
            "01.2",
            "1.02",
            "1.2.3",
            "2.1-1.1",
            "1.1-1.2",
            "1.+1",
            "1.18446744073709551616",
            "a.b",
            "1.1-2.1-3.1-4.1-5.1-6.1-7.1-8.1-9.1",
        ] {
            assert_eq!(Place::parse("p", text).unwrap_err().field, "p", "{text}");
        }
    }
}
