//! What a call holds for as long as anything is done for it: a place, and its
//! part of the new work in flight.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tonic::Status;

use super::{
    Shared,
    account::{Account, Fingerprint, Holder},
    controller::Cause,
};
use crate::domain::ids::TenantId;

/// Of [`Places`], so many are for callers that are not proven, besides the
/// others. Their calls end by themselves once their messages have come.
const UNPROVEN: usize = 8;
const FEWEST_UNPROVEN: usize = 64;

/// And so many of those may wait for the rest of their messages, of up to
/// `limits.max_message_bytes` each.
const UNFINISHED: usize = 4;

/// Once no more than this part of the places for the proven is free, only those
/// who hold less than [`MODEST`] of all get one.
const LAST: usize = 4;
const MODEST: usize = 8;

/// The very last are for operators, who may have to put an end to it.
const OPERATORS: usize = 64;

/// Places of one device. An app has a stream and a call or two; streams that
/// were replaced stay until they are read.
const OF_A_DEVICE: usize = 16;

/// Calls and streams open at a time.
#[derive(Debug)]
pub(super) struct Places {
    /// Of callers whose credentials were found good.
    proven: Proven,
    /// Of all others: whatever they do, they don't keep the proven out.
    unproven: AtomicUsize,
    most_unproven: usize,
}

/// Places by who holds them: whatever one does, it doesn't keep the others out.
#[derive(Debug)]
struct Proven {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<Share, usize>,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Share {
    Of(Holder),
    /// All phones of an organisation.
    Phones(TenantId),
}

/// The share that has its part of all, and what else the place counts for.
fn shares(holder: Holder) -> (Share, Option<Share>) {
    match holder {
        Holder::Device(tenant, _) => (Share::Phones(tenant), Some(Share::Of(holder))),
        Holder::Idp(_) | Holder::Admin(_) => (Share::Of(holder), None),
    }
}

impl Taken {
    fn by(&self, share: Share) -> usize {
        self.of.get(&share).copied().unwrap_or_default()
    }
}

impl Proven {
    fn take(&self, holder: Holder) -> Result<(), Cause> {
        let mut taken = self.taken.lock();
        let reserved = match holder {
            Holder::Admin(_) => 0,
            Holder::Idp(_) | Holder::Device(..) => self.most / OPERATORS,
        };
        if taken.all >= self.most - reserved {
            return Err(Cause::Overloaded);
        }
        let (share, device) = shares(holder);
        let modest = taken.by(share) < (self.most / MODEST).max(1);
        let few = device.is_none_or(|device| taken.by(device) < OF_A_DEVICE);
        if !few || (!modest && taken.all >= self.most - self.most / LAST) {
            return Err(Cause::OverShare);
        }
        taken.all += 1;
        for share in [Some(share), device].into_iter().flatten() {
            *taken.of.entry(share).or_default() += 1;
        }
        Ok(())
    }

    fn give_back(&self, holder: Holder) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        let (share, device) = shares(holder);
        for share in [Some(share), device].into_iter().flatten() {
            if let Entry::Occupied(mut of) = taken.of.entry(share) {
                *of.get_mut() -= 1;
                if *of.get() == 0 {
                    of.remove();
                }
            }
        }
    }
}

impl Places {
    pub(super) fn new(max_calls: usize) -> Self {
        Self {
            proven: Proven {
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
    pub(super) fn take(&self, holder: Option<Holder>) -> Result<(), Cause> {
        if let Some(holder) = holder {
            return self.proven.take(holder);
        }
        if self.unproven.fetch_add(1, Relaxed) < self.most_unproven {
            return Ok(());
        }
        self.give_back(None);
        Err(Cause::Overloaded)
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
pub(crate) struct Ticket {
    call: Arc<Call>,
    /// Of new work that was let in.
    work: Option<Arc<Work>>,
}

/// The place of a call, without what it counts for as work: held while its
/// answer is being read.
pub(super) struct Place {
    _call: Arc<Call>,
}

struct Call {
    shared: Arc<Shared>,
    fingerprint: Option<Fingerprint>,
    /// Whom new work counts for.
    account: Account,
    /// Whose place it holds, once it is proven.
    holder: OnceLock<Holder>,
}

/// New work in flight.
struct Work {
    shared: Arc<Shared>,
    account: Account,
}

impl Ticket {
    /// A place for a call with this credential, found good for `known` before.
    pub(super) fn take(
        shared: &Arc<Shared>,
        fingerprint: Option<Fingerprint>,
        known: Option<Holder>,
    ) -> Result<Self, Cause> {
        shared.take_place(known)?;
        Ok(Self {
            call: Arc::new(Call {
                shared: shared.clone(),
                fingerprint,
                account: known.map_or(Account::Strangers, Holder::account),
                holder: known.map(OnceLock::from).unwrap_or_default(),
            }),
            work: None,
        })
    }

    pub(super) fn account(&self) -> Account {
        self.call.account
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.call.shared
    }

    /// It was let in among the new work.
    pub(super) fn works(&mut self) {
        self.work = Some(Arc::new(Work {
            shared: self.call.shared.clone(),
            account: self.call.account,
        }));
    }

    /// What is held while the answer is read: nothing of those who are not
    /// proven. They could keep out all of their kind by reading nothing, and
    /// their answers are small.
    pub(super) fn answered(self) -> Option<Place> {
        let proven = self.call.holder.get().is_some();
        proven.then_some(Place { _call: self.call })
    }

    /// Its credentials are good; a key is known next time.
    ///
    /// # Errors
    /// There is no place for it.
    pub(in crate::api) fn prove(&self, holder: Holder) -> Result<(), Status> {
        let call = &*self.call;
        if call.holder.get().is_some() {
            return Ok(());
        }
        if let Some(fingerprint) = call.fingerprint {
            call.shared.known.learn(fingerprint, holder);
        }
        if let Err(cause) = call.shared.take_place(Some(holder)) {
            return Err(call.shared.refusal(cause).status());
        }
        // Where somebody else was quicker, this place is one too many.
        let place = call.holder.set(holder).err();
        call.shared.places.give_back(place);
        Ok(())
    }

    /// Its key is not good, or no longer.
    pub(in crate::api) fn disprove(&self) {
        let call = &*self.call;
        if let (Some(_), Some(fingerprint)) = (call.holder.get(), call.fingerprint) {
            call.shared.known.forget(fingerprint);
        }
    }

    /// Waits for the rest of a message, where its caller is not proven for so
    /// long as there is room: none when it was given up.
    pub(in crate::api) async fn read<T>(&self, read: impl Future<Output = T>) -> Option<T> {
        if self.call.holder.get().is_some() {
            return Some(read.await);
        }
        self.call.shared.unfinished.read(read).await
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.places.give_back(self.holder.get().copied());
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.leave(self.account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::DeviceId;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const OTHER: TenantId = TenantId::from_bytes([2; 16]);

    fn proven(most: usize) -> Proven {
        Proven {
            most,
            taken: Mutex::default(),
        }
    }

    fn device(of: TenantId, number: usize) -> Holder {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Holder::Device(of, DeviceId::from_bytes(id))
    }

    /// Takes places until there are no more, and why.
    fn all_it_can(proven: &Proven, mut holder: impl FnMut(usize) -> Holder) -> (usize, Cause) {
        let mut taken = 0;
        loop {
            match proven.take(holder(taken)) {
                Ok(()) => taken += 1,
                Err(cause) => return (taken, cause),
            }
        }
    }

    #[test]
    fn who_waits_by_the_thousand_leaves_room_for_others() {
        let proven = proven(640);
        let mine = Holder::Idp(TENANT);
        assert_eq!(all_it_can(&proven, |_| mine), (480, Cause::OverShare));
        // By phones it gets no further than another.
        let phones = all_it_can(&proven, |number| device(TENANT, number));
        assert_eq!(phones, (80, Cause::OverShare));
        let others = Holder::Idp(OTHER);
        assert_eq!(all_it_can(&proven, |_| others), (70, Cause::Overloaded));
        // The last are for operators.
        let operators = Holder::Admin(None);
        assert_eq!(all_it_can(&proven, |_| operators), (10, Cause::Overloaded));

        for _ in 0..20 {
            proven.give_back(mine);
        }
        assert_eq!(proven.take(mine), Err(Cause::OverShare));
        assert_eq!(proven.take(others), Ok(()));
    }

    #[test]
    fn however_few_there_are_all_can_be_had() {
        for most in 1..80 {
            let proven = proven(most);
            let operators = (0..80).map(|n| Holder::Admin(Some(TenantId::from_bytes([n; 16]))));
            let taken: usize = operators
                .map(|holder| all_it_can(&proven, |_| holder).0)
                .sum();
            assert_eq!(taken, most);
        }
    }

    #[test]
    fn a_device_has_few_and_gives_them_back() {
        let proven = proven(640);
        let one = device(TENANT, 1);
        let taken = all_it_can(&proven, |_| one);
        assert_eq!(taken, (OF_A_DEVICE, Cause::OverShare));
        proven.give_back(one);
        assert_eq!(proven.take(one), Ok(()));
        for _ in 0..OF_A_DEVICE {
            proven.give_back(one);
        }
        let taken = proven.taken.lock();
        assert!(taken.of.is_empty());
        assert_eq!(taken.all, 0);
    }
}
