//! What identity providers are told of: entries of the audit trail, found by an
//! index of each organisation's own, so that following one organisation does not
//! cost a look at all the others.

use super::{audit, keys, rows};
use crate::{
    domain::{
        audit::{Entry, Told},
        event::is_event,
        ids::TenantId,
    },
    store::{Happened, StoreError, engine::Tx},
};

/// Adds an entry to the index, if it is an event.
pub(super) fn index(tx: &mut Tx<'_>, entry: &Entry, writer: u64, sequence: u64) {
    if let Some(tenant) = entry.tenant
        && is_event(entry.action, &entry.outcome)
    {
        tx.put(keys::event(tenant, writer, sequence), []);
    }
}

/// The index row of an entry that is about to leave, if it has one.
pub(super) fn index_of(told: &Told, writer: u64, sequence: u64) -> Option<Vec<u8>> {
    let tenant = told.tenant?;
    is_event(&told.action, &told.outcome).then(|| keys::event(tenant, writer, sequence))
}

/// Up to `limit` events of one writer after `after`, with where its chain stands
/// in the same moment.
pub(super) fn after(
    rows: &mut impl rows::Rows,
    tenant: TenantId,
    writer: u64,
    after: u64,
    limit: usize,
) -> Result<Happened, StoreError> {
    let left = audit::marks(rows, writer)?.left;
    let sequence = audit::last(rows, writer)?;
    let from = keys::event(tenant, writer, after.max(left).saturating_add(1));
    let mut entries = Vec::new();
    let mut pack = None;
    for (key, _) in rows.raw_under(&keys::events_of(tenant, writer), Some(&from), limit) {
        let at = keys::last_number(&key)
            .ok_or_else(|| StoreError::Corrupt("a key of an event".into()))?;
        let entry = |pack: &Option<audit::Pack>| pack.as_ref()?.entry(at).cloned();
        let mut found = entry(&pack);
        if found.is_none() {
            pack = audit::pack_of(rows, writer, at)?;
            found = entry(&pack);
        }
        let missing = || StoreError::Corrupt(format!("event {at} has no audit entry"));
        entries.push(found.ok_or_else(missing)?);
    }
    Ok(Happened {
        left,
        sequence,
        entries,
    })
}
