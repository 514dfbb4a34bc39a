//! What a call holds for as long as anything is done for it: a place, and its
//! part of the new work in flight.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{AcqRel, Relaxed},
    },
};

use super::{
    Shared,
    account::{Account, Fingerprint},
};

/// Of [`Places`], so many are for callers that are not proven, besides the
/// others. Their calls end by themselves once their messages have come.
const UNPROVEN: usize = 8;
const FEWEST_UNPROVEN: usize = 64;

/// And so many of those may wait for the rest of their messages, of up to
/// `limits.max_message_bytes` each.
const UNFINISHED: usize = 4;

/// Calls and streams open at a time.
#[derive(Debug)]
pub(super) struct Places {
    /// Of callers whose credentials were found good.
    proven: Pot,
    /// Of all others: whatever they do, they don't keep the proven out.
    unproven: Pot,
}

#[derive(Debug)]
struct Pot {
    taken: AtomicUsize,
    most: usize,
}

impl Pot {
    fn take(&self) -> bool {
        let free = self.taken.fetch_add(1, Relaxed) < self.most;
        if !free {
            self.give_back();
        }
        free
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Relaxed);
    }
}

impl Places {
    pub(super) fn new(max_calls: usize) -> Self {
        let pot = |most| Pot {
            taken: AtomicUsize::new(0),
            most,
        };
        Self {
            proven: pot(max_calls),
            unproven: pot((max_calls / UNPROVEN).max(FEWEST_UNPROVEN)),
        }
    }

    /// Messages of callers not proven that may be waited for.
    pub(super) fn unfinished(&self) -> usize {
        self.unproven.most / UNFINISHED
    }

    fn of(&self, proven: bool) -> &Pot {
        if proven { &self.proven } else { &self.unproven }
    }
}

/// What a call holds. Goes with it in the request's extensions; what is held is
/// given back when the last clone is dropped, so that a step which goes on
/// without its caller still counts.
#[derive(Clone)]
pub(crate) struct Ticket(Arc<Held>);

struct Held {
    shared: Arc<Shared>,
    fingerprint: Option<Fingerprint>,
    /// Whom new work counts for.
    account: Account,
    proven: AtomicBool,
    /// Whether it is new work in flight.
    working: AtomicBool,
}

impl Ticket {
    /// A place for a call with this credential, found good for `known` before.
    pub(super) fn take(
        shared: &Arc<Shared>,
        fingerprint: Option<Fingerprint>,
        known: Option<Account>,
    ) -> Option<Self> {
        let proven = known.is_some();
        shared.places.of(proven).take().then(|| {
            Self(Arc::new(Held {
                shared: shared.clone(),
                fingerprint,
                account: known.unwrap_or(Account::Strangers),
                proven: AtomicBool::new(proven),
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

    /// Its credentials are good: of an organisation's or operator's key the
    /// account, so that it is known next time. False where there is no place
    /// for it.
    #[must_use]
    pub(in crate::api) fn prove(&self, account: Option<Account>) -> bool {
        let held = &*self.0;
        if held.proven.load(Relaxed) {
            return true;
        }
        if let (Some(account), Some(fingerprint)) = (account, held.fingerprint) {
            held.shared.known.learn(fingerprint, account);
        }
        let taken = held.shared.places.proven.take();
        if taken {
            held.proven.store(true, Relaxed);
            held.shared.places.unproven.give_back();
        }
        taken
    }

    /// Its key is not good, or no longer.
    pub(in crate::api) fn disprove(&self) {
        let held = &*self.0;
        if let (true, Some(fingerprint)) = (held.proven.load(Relaxed), held.fingerprint) {
            held.shared.known.forget(fingerprint);
        }
    }

    /// Waits for the rest of a message, where its caller is not proven for so
    /// long as there is room: none when it was given up.
    pub(in crate::api) async fn read<T>(&self, read: impl Future<Output = T>) -> Option<T> {
        if self.0.proven.load(Relaxed) {
            return Some(read.await);
        }
        self.0.shared.unfinished.read(read).await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.places.of(*self.proven.get_mut()).give_back();
        if *self.working.get_mut() {
            self.shared.leave(self.account);
        }
    }
}
