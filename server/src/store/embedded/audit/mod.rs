//! The audit trail: one hash chain per writer, in the same commit as the change
//! it tells of.
//!
//! `link(n) = SHA-256(link(n-1) ‖ SHA-256(entry(n)))`: who holds only some of
//! the entries can check the chain with the digests of the others.

mod heads;
mod record;

pub(super) use heads::{add_head, chains, heads, last, marks, page};
pub(super) use record::Marks;

use std::collections::BTreeSet;

use crate::{
    domain::{
        audit::{By, ChainedEntry, Entry, FIRST_LINK, next_link},
        ids::{TenantId, UserId},
        time::Timestamp,
    },
    store::{Hint, StoreError, engine::Tx},
};

use super::{Hints, events, keys, rows};

/// The embedded engine has one writer.
pub(super) const WRITER: u64 = 1;

/// The last sequence and its link, as stored.
fn read_head(head: Option<&[u8]>) -> Result<(u64, [u8; 32]), StoreError> {
    let Some(head) = head else {
        return Ok((0, FIRST_LINK));
    };
    head.split_first_chunk::<8>()
        .and_then(|(sequence, link)| {
            Some((
                u64::from_be_bytes(*sequence),
                <[u8; 32]>::try_from(link).ok()?,
            ))
        })
        .ok_or_else(|| StoreError::Corrupt("the head of the audit chain".into()))
}

/// Adds an entry to the chain.
pub(super) fn append(tx: &mut Tx<'_>, entry: &Entry) -> Result<(), StoreError> {
    append_all(tx, std::slice::from_ref(entry))
}

/// Adds entries to the chain, in this order.
pub(super) fn append_all(tx: &mut Tx<'_>, entries: &[Entry]) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let head = tx.get(&keys::audit_head(WRITER));
    let (mut sequence, mut link) = read_head(head.as_deref())?;
    for entry in entries {
        // Decides nothing; hides what it is added to from holders of its digest.
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt)
            .map_err(|_| StoreError::Unavailable("the system gives no randomness".into()))?;
        let content = entry.content(&salt);
        sequence = sequence.saturating_add(1);
        link = next_link(&link, &content);
        let chained = ChainedEntry {
            sequence,
            content,
            link,
        };
        rows::save(tx, keys::audit(WRITER, sequence), &chained);
        events::index(tx, entry, WRITER, sequence);
    }
    let mut head = sequence.to_be_bytes().to_vec();
    head.extend_from_slice(&link);
    tx.put(keys::audit_head(WRITER), head);
    Ok(())
}

/// Says after the commit that there is something new, if this command has added
/// to the chain.
pub(super) fn tell(tx: &mut Tx<'_>, hints: &Hints) {
    let key = keys::audit_head(WRITER);
    if !tx.has_written(&key) {
        return;
    }
    if let Ok((sequence, _)) = read_head(tx.get(&key).as_deref()) {
        hints.after_commit(tx, Hint::Audit(sequence));
    }
    let tenants: BTreeSet<TenantId> = tx
        .written_under(&keys::events())
        .filter_map(keys::tenant_of_event)
        .collect();
    for tenant in tenants {
        hints.after_commit(tx, Hint::Events(tenant));
    }
}

/// Shorthand for entries about no user.
pub(super) fn note(
    tx: &mut Tx<'_>,
    time: Timestamp,
    tenant: Option<TenantId>,
    by: &By,
    action: &'static str,
    object: impl ToString,
    outcome: impl ToString,
) -> Result<(), StoreError> {
    append(
        tx,
        &Entry {
            time,
            tenant,
            user: None,
            by: by.clone(),
            action,
            object: object.to_string(),
            outcome: outcome.to_string(),
        },
    )
}

/// Shorthand for entries about a user.
#[allow(clippy::too_many_arguments, reason = "what an entry has")]
pub(super) fn note_of(
    tx: &mut Tx<'_>,
    time: Timestamp,
    (tenant, user): (TenantId, &UserId),
    by: &By,
    action: &'static str,
    object: impl ToString,
    outcome: impl ToString,
) -> Result<(), StoreError> {
    append(
        tx,
        &Entry {
            time,
            tenant: Some(tenant),
            user: Some(user.clone()),
            by: by.clone(),
            action,
            object: object.to_string(),
            outcome: outcome.to_string(),
        },
    )
}
