//! What a call holds for as long as anything is done for it: a place, and its
//! part of the new work in flight.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Relaxed},
        },
    },
};

use parking_lot::Mutex;

use super::{
    Shared,
    account::{Account, Fingerprint, Holder},
};

/// Of [`Places`], so many are for callers that are not proven, besides the
/// others. Their calls end by themselves once their messages have come.
const UNPROVEN: usize = 8;
const FEWEST_UNPROVEN: usize = 64;

/// And so many of those may wait for the rest of their messages, of up to
/// `limits.max_message_bytes` each.
const UNFINISHED: usize = 4;

/// Once no more than this part of the places for the proven is free, only
/// holders of less than [`MODEST`] of all get one.
const LAST: usize = 4;
const MODEST: usize = 8;

/// Places of one device. An app has a stream and a call or two; streams that
/// were replaced stay until they are read.
const OF_A_DEVICE: usize = 16;

/// Calls and streams open at a time.
#[derive(Debug)]
pub(super) struct Places {
    /// Of callers whose credentials were found good.
    proven: Held,
    /// Of all others: whatever they do, they don't keep the proven out.
    unproven: AtomicUsize,
    most_unproven: usize,
}

/// Places by holder: whatever one does, it doesn't keep the others out.
#[derive(Debug)]
struct Held {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<Holder, usize>,
}

impl Held {
    fn take(&self, holder: Holder) -> bool {
        let mut taken = self.taken.lock();
        let all = taken.all;
        let own = taken.of.get(&holder).copied().unwrap_or_default();
        let free = all < self.most
            && match holder {
                Holder::Device(_) => own < OF_A_DEVICE,
                Holder::Idp(_) | Holder::Admin(_) => {
                    all < self.most - self.most / LAST || own < self.most / MODEST
                }
            };
        if free {
            taken.all += 1;
            taken.of.insert(holder, own + 1);
        }
        free
    }

    fn give_back(&self, holder: Holder) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        if let Entry::Occupied(mut own) = taken.of.entry(holder) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

impl Places {
    pub(super) fn new(max_calls: usize) -> Self {
        Self {
            proven: Held {
                most: max_calls,
                taken: Mutex::default(),
            },
            unproven: AtomicUsize::new(0),
            most_unproven: (max_calls / UNPROVEN).max(FEWEST_UNPROVEN),
        }
    }

    /// Messages of callers not proven that may be waited for.
    pub(super) fn unfinished(&self) -> usize {
        self.most_unproven / UNFINISHED
    }

    /// A place for one who is proven, or nobody knows who.
    fn take(&self, holder: Option<Holder>) -> bool {
        if let Some(holder) = holder {
            return self.proven.take(holder);
        }
        let free = self.unproven.fetch_add(1, Relaxed) < self.most_unproven;
        if !free {
            self.give_back(None);
        }
        free
    }

    fn give_back(&self, holder: Option<Holder>) {
        match holder {
            Some(holder) => self.proven.give_back(holder),
            None => {
                self.unproven.fetch_sub(1, Relaxed);
            }
        }
    }
}

/// What a call holds. Goes with it in the request's extensions; what is held is
/// given back when the last clone is dropped, so that a step which goes on
/// without its caller still counts.
#[derive(Clone)]
pub(crate) struct Ticket(Arc<Call>);

struct Call {
    shared: Arc<Shared>,
    fingerprint: Option<Fingerprint>,
    /// Whom new work counts for.
    account: Account,
    /// Whose place it holds, once it is proven.
    holder: OnceLock<Holder>,
    /// Whether it is new work in flight.
    working: AtomicBool,
}

impl Ticket {
    /// A place for a call with this credential, found good for `known` before.
    pub(super) fn take(
        shared: &Arc<Shared>,
        fingerprint: Option<Fingerprint>,
        known: Option<Holder>,
    ) -> Option<Self> {
        shared.places.take(known).then(|| {
            Self(Arc::new(Call {
                shared: shared.clone(),
                fingerprint,
                account: known.map_or(Account::Strangers, Holder::account),
                holder: known.map(OnceLock::from).unwrap_or_default(),
                working: AtomicBool::new(false),
            }))
        })
    }

    pub(super) fn account(&self) -> Account {
        self.0.account
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// It was let in among the new work.
    pub(super) fn works(&self) {
        self.0.working.store(true, Relaxed);
    }

    /// What goes on is no new work.
    pub(super) fn has_worked(&self) {
        if self.0.working.swap(false, AcqRel) {
            self.0.shared.leave(self.0.account);
        }
    }

    /// Its credentials are good; a key is known next time. False where there is
    /// no place for it.
    #[must_use]
    pub(in crate::api) fn prove(&self, holder: Holder) -> bool {
        let call = &*self.0;
        if call.holder.get().is_some() {
            return true;
        }
        if let Some(fingerprint) = call.fingerprint {
            call.shared.known.learn(fingerprint, holder);
        }
        let taken = call.shared.places.take(Some(holder));
        if taken {
            let place = match call.holder.set(holder) {
                Ok(()) => None,
                // Somebody else was quicker.
                Err(holder) => Some(holder),
            };
            call.shared.places.give_back(place);
        }
        taken
    }

    /// Its key is not good, or no longer.
    pub(in crate::api) fn disprove(&self) {
        let call = &*self.0;
        if let (Some(_), Some(fingerprint)) = (call.holder.get(), call.fingerprint) {
            call.shared.known.forget(fingerprint);
        }
    }

    /// Waits for the rest of a message, where its caller is not proven for so
    /// long as there is room: none when it was given up.
    pub(in crate::api) async fn read<T>(&self, read: impl Future<Output = T>) -> Option<T> {
        if self.0.holder.get().is_some() {
            return Some(read.await);
        }
        self.0.shared.unfinished.read(read).await
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.places.give_back(self.holder.get().copied());
        if *self.working.get_mut() {
            self.shared.leave(self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{DeviceId, TenantId};

    const MOST: usize = 160;

    fn held() -> (Held, Vec<Holder>) {
        let held = Held {
            most: MOST,
            taken: Mutex::default(),
        };
        let tenants = [1, 2].map(|n| TenantId::from_bytes([n; 16]));
        let holders = vec![
            Holder::Idp(tenants[0]),
            Holder::Admin(Some(tenants[0])),
            Holder::Admin(None),
            Holder::Idp(tenants[1]),
            Holder::Device(DeviceId::from_bytes([3; 16])),
        ];
        (held, holders)
    }

    fn as_many_as_it_can(held: &Held, holder: Holder) -> usize {
        std::iter::repeat_with(|| held.take(holder))
            .take_while(|taken| *taken)
            .count()
    }

    #[test]
    fn who_waits_by_the_thousand_leaves_room_for_others() {
        let (held, holders) = held();
        let taken: Vec<_> = holders
            .iter()
            .map(|holder| as_many_as_it_can(&held, *holder))
            .collect();
        // Its own operators come after a flood of the organisation's too.
        assert_eq!(taken, [120, 20, 20, 0, 0]);
        held.give_back(holders[0]);
        assert!(!held.take(holders[0]));
        assert!(held.take(holders[3]));
        assert!(!held.take(holders[4]), "there are no more than there are");
    }

    #[test]
    fn a_device_has_few_and_gives_them_back() {
        let (held, holders) = held();
        let device = holders[4];
        assert_eq!(as_many_as_it_can(&held, device), OF_A_DEVICE);
        held.give_back(device);
        assert!(held.take(device));
        for _ in 0..OF_A_DEVICE {
            held.give_back(device);
        }
        let taken = held.taken.lock();
        assert!(taken.of.is_empty());
        assert_eq!(taken.all, 0);
    }
}
