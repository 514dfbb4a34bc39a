//! What identity providers are told of: entries of the audit trail, found by an
//! index of each organisation's own, so that following one organisation does not
//! cost a look at all the others. A row of it tells of a stretch of the trail.

use super::{
    audit, keys,
    record::{STRETCH, Stretch, next_place},
    rows,
};
use crate::{
    domain::{
        audit::{ChainedEntry, Entry, Told},
        event::is_event,
        ids::TenantId,
    },
    store::{Happened, StoreError, engine::Tx},
};

/// Rows of the index read at a time.
const ROWS: usize = 8;

/// The stretch with this entry, and its place in there.
fn place_of(sequence: u64) -> (u64, u16) {
    let place = u16::try_from(sequence % STRETCH).unwrap_or_default();
    (sequence / STRETCH, place)
}

/// Adds an entry, the newest, to the index, if it is an event.
pub(super) fn index(tx: &mut Tx<'_>, entry: &Entry, writer: u64, sequence: u64) {
    if let Some(tenant) = entry.tenant
        && is_event(entry.action, &entry.outcome)
    {
        let (stretch, place) = place_of(sequence);
        let key = keys::events(tenant, writer, stretch);
        if !tx.append(&key, &next_place(place)) {
            rows::save(tx, key, &Stretch(vec![place]));
        }
    }
}

/// Takes an entry that is about to leave out of the index, if it is an event.
pub(super) fn forget(tx: &mut Tx<'_>, told: &Told, writer: u64, sequence: u64) {
    let Some(tenant) = told
        .tenant
        .filter(|_| is_event(&told.action, &told.outcome))
    else {
        return;
    };
    let single = keys::event(tenant, writer, sequence);
    if tx.peek(&single, |_| ()).is_some() {
        tx.delete(single);
        return;
    }
    let (stretch, place) = place_of(sequence);
    let key = keys::events(tenant, writer, stretch);
    match rows::load(tx, &key) {
        Ok(Some(Stretch(mut places))) => {
            places.retain(|other| *other != place);
            if places.is_empty() {
                tx.delete(key);
            } else {
                rows::save(tx, key, &Stretch(places));
            }
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, sequence, "an old event stays in its index"),
    }
}

/// Up to `limit` events from `from` on, in order.
fn places(
    rows: &mut impl rows::Rows,
    tenant: TenantId,
    writer: u64,
    from: u64,
    limit: usize,
) -> Result<Vec<u64>, StoreError> {
    let corrupt = || StoreError::Corrupt("a key of an event".into());
    let mut found = Vec::new();
    // Those of an earlier version come before all others.
    let single = keys::event(tenant, writer, from);
    let under = keys::single_events_of(tenant, writer);
    for (key, _) in rows.raw_under(&under, Some(&single), limit) {
        found.push(keys::last_number(&key).ok_or_else(corrupt)?);
    }
    let (mut next, _) = place_of(from);
    while found.len() < limit {
        let key = keys::events(tenant, writer, next);
        let stretches = rows.raw_under(&keys::events_of(tenant, writer), Some(&key), ROWS);
        for (key, value) in &stretches {
            let stretch = keys::last_number(key).ok_or_else(corrupt)?;
            next = stretch.saturating_add(1);
            let Stretch(places) = rows::read(value)?;
            let first = stretch.saturating_mul(STRETCH);
            let sequences = places
                .into_iter()
                .map(|place| first.saturating_add(u64::from(place)))
                .filter(|sequence| *sequence >= from);
            found.extend(sequences);
        }
        if stretches.len() < ROWS {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
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
    let from = after.max(left).saturating_add(1);
    let mut entries: Vec<ChainedEntry> = Vec::new();
    let mut pack = None;
    for at in places(rows, tenant, writer, from, limit)? {
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
