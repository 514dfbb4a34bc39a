//! Reading the chain, and the links that are signed.

use super::{
    super::{keys, rows},
    Head, Marks, Pack, head,
};
use crate::{
    domain::audit::{Chain, ChainedEntry, SignedHead},
    store::{StoreError, engine::Tx},
};

pub(in crate::store::embedded) fn marks(
    rows: &mut impl rows::Rows,
    writer: u64,
) -> Result<Marks, StoreError> {
    Ok(rows::load(rows, &keys::audit_marks(writer))?.unwrap_or_default())
}

/// The last entry of a writer.
pub(in crate::store::embedded) fn last(
    rows: &mut impl rows::Rows,
    writer: u64,
) -> Result<u64, StoreError> {
    Ok(head(rows, writer)?.sequence)
}

/// Where each writer's chain stands.
pub(in crate::store::embedded) fn chains(
    rows: &mut impl rows::Rows,
) -> Result<Vec<Chain>, StoreError> {
    let mut found = Vec::new();
    for (key, head) in rows.raw_under(&keys::audit_chains(), None, usize::MAX) {
        let writer = keys::last_number(&key)
            .ok_or_else(|| StoreError::Corrupt("a writer of the audit chain".into()))?;
        let Head { sequence, link, .. } = Head::read(Some(&head))?;
        let marks = marks(rows, writer)?;
        found.push(Chain {
            writer,
            first_kept: marks.left.saturating_add(1),
            sequence,
            link,
            signed: rows::load(rows, &keys::signed_head(writer, marks.signed))?,
        });
    }
    Ok(found)
}

/// The pack in which the entry `sequence` is, if that has not left.
pub(in crate::store::embedded) fn pack_of(
    rows: &mut impl rows::Rows,
    writer: u64,
    sequence: u64,
) -> Result<Option<Pack>, StoreError> {
    let row = rows.raw_last(&keys::audit_entries(writer), &keys::audit(writer, sequence));
    row.map(|(_, value)| rows::read(&value)).transpose()
}

/// Up to `limit` entries from `from` on that have not left.
pub(in crate::store::embedded) fn page(
    rows: &mut impl rows::Rows,
    writer: u64,
    from: u64,
    limit: usize,
) -> Result<Vec<ChainedEntry>, StoreError> {
    let from = from.max(marks(rows, writer)?.left.saturating_add(1));
    let mut entries = match pack_of(rows, writer, from)? {
        Some(Pack(entries)) => entries,
        None => Vec::new(),
    };
    entries.retain(|entry| entry.sequence >= from);
    while entries.len() < limit {
        let next = entries
            .last()
            .map_or(from, |last| last.sequence.saturating_add(1));
        // As many rows as there must be at least.
        let wanted = limit
            .saturating_sub(entries.len())
            .div_ceil(usize::from(Pack::MOST));
        let found = rows.raw_under(
            &keys::audit_entries(writer),
            Some(&keys::audit(writer, next)),
            wanted,
        );
        for (_, value) in &found {
            let Pack(more) = rows::read(value)?;
            entries.extend(more);
        }
        if found.len() < wanted {
            break;
        }
    }
    entries.truncate(limit);
    Ok(entries)
}

/// Signed heads from that of `from` on, which may be that of the last entry that
/// has left, but none older.
pub(in crate::store::embedded) fn heads(
    rows: &mut impl rows::Rows,
    writer: u64,
    from: u64,
    limit: usize,
) -> Result<Vec<SignedHead>, StoreError> {
    let from = from.max(marks(rows, writer)?.left);
    rows.raw_under(
        &keys::signed_heads(writer),
        Some(&keys::signed_head(writer, from)),
        limit,
    )
    .iter()
    .map(|(_, value)| rows::read(value))
    .collect()
}

pub(in crate::store::embedded) fn add_head(
    tx: &mut Tx<'_>,
    head: &SignedHead,
) -> Result<(), StoreError> {
    let mut marks = marks(tx, head.writer)?;
    // What has left meanwhile needs no head but the one it left with.
    if head.sequence <= marks.left {
        return Ok(());
    }
    rows::save(tx, keys::signed_head(head.writer, head.sequence), head);
    marks.signed = marks.signed.max(head.sequence);
    rows::save(tx, keys::audit_marks(head.writer), &marks);
    Ok(())
}
