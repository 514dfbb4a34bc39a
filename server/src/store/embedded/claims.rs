//! Entries of an outbox that are being tried.

use std::{
    collections::HashSet,
    fmt::{Debug, Display},
    hash::Hash,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{record::Record, rows};
use crate::{
    domain::time::Timestamp,
    store::engine::{Key, Pair, Snapshot, Tx},
};

/// Ids of entries being tried. One process owns the directory, so a claim need
/// not be written down: it ends with the process.
///
/// Looking and claiming happen inside one read. While that lasts no commit
/// becomes visible, and a claim is given up only after the commit that ends
/// its entry is: so whatever a look still finds and nobody has claimed is free.
pub(super) struct Claims<Id>(Arc<Mutex<HashSet<Id>>>);

impl<Id> Clone for Claims<Id> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Id> Default for Claims<Id> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// One outbox: the rows under a prefix, with the due time and id in their keys.
pub(super) struct Outbox<Id> {
    pub(super) prefix: Key,
    pub(super) parse: fn(&[u8]) -> Option<(Timestamp, Id)>,
}

impl<Id: Copy + Eq + Hash + Debug + Display + Send + 'static> Claims<Id> {
    /// The first `count` unclaimed rows of an outbox.
    fn unclaimed(
        rows: &mut Snapshot<'_>,
        claimed: &HashSet<Id>,
        outbox: &Outbox<Id>,
        count: usize,
    ) -> Vec<(Timestamp, Id, Pair)> {
        // What is claimed still stands in the outbox: look past it.
        let window = claimed.len().saturating_add(count);
        rows.scan_prefix(&outbox.prefix, None, window)
            .into_iter()
            .filter_map(|pair| {
                let (due, id) = (outbox.parse)(&pair.0)?;
                (!claimed.contains(&id)).then_some((due, id, pair))
            })
            .take(count)
            .collect()
    }

    /// Gives out up to `limit` entries that are due.
    pub(super) fn claim<R: Record>(
        &self,
        rows: &mut Snapshot<'_>,
        outbox: &Outbox<Id>,
        now: Timestamp,
        limit: usize,
    ) -> Vec<R> {
        let mut claimed = self.0.lock();
        let mut given = Vec::new();
        for (due, id, (_, value)) in Self::unclaimed(rows, &claimed, outbox, limit) {
            if due > now {
                break;
            }
            // One that can't be read stays claimed: it must not hold up the others.
            claimed.insert(id);
            match rows::read::<R>(&value) {
                Ok(job) => given.push(job),
                Err(error) => tracing::error!(%error, %id, "an entry of an outbox can't be read"),
            }
        }
        given
    }

    /// When the next unclaimed entry is due.
    pub(super) fn next(&self, rows: &mut Snapshot<'_>, outbox: &Outbox<Id>) -> Option<Timestamp> {
        let claimed = self.0.lock();
        Self::unclaimed(rows, &claimed, outbox, 1)
            .first()
            .map(|(due, _, _)| *due)
    }

    /// Lets go of a claim once this command is durable.
    pub(super) fn release(&self, tx: &mut Tx<'_>, id: Id) {
        let claims = self.clone();
        tx.after_commit(Box::new(move || {
            claims.0.lock().remove(&id);
        }));
    }
}
