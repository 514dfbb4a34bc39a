//! The audit trail: one hash chain per writer, in the same commit as the change
//! it tells of.
//!
//! `link(n) = SHA-256(link(n-1) ‖ SHA-256(entry(n)))`: who holds only some of
//! the entries can check the chain with the digests of the others.

mod heads;
mod record;

pub(super) use heads::{add_head, chains, heads, last, marks, pack_of, page};
pub(super) use record::{Marks, Pack, continuation};

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

/// The end of a chain, as stored.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// The last entry; 0: none.
    pub(super) sequence: u64,
    link: [u8; 32],
    /// The first entry of the pack that the next one may be added to, if that is
    /// still there.
    pack: Option<u64>,
}

impl Head {
    fn read(head: Option<&[u8]>) -> Result<Self, StoreError> {
        let Some(head) = head else {
            return Ok(Self {
                sequence: 0,
                link: FIRST_LINK,
                pack: None,
            });
        };
        head.split_first_chunk::<8>()
            .and_then(|(sequence, rest)| {
                let (link, pack) = rest.split_first_chunk::<32>()?;
                Some(Self {
                    sequence: u64::from_be_bytes(*sequence),
                    link: *link,
                    pack: match pack {
                        [] => None,
                        first => Some(u64::from_be_bytes(first.try_into().ok()?)),
                    },
                })
            })
            .ok_or_else(|| StoreError::Corrupt("the head of the audit chain".into()))
    }

    fn value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(48);
        value.extend_from_slice(&self.sequence.to_be_bytes());
        value.extend_from_slice(&self.link);
        if let Some(first) = self.pack {
            value.extend_from_slice(&first.to_be_bytes());
        }
        value
    }
}

/// Where `writer`'s chain ends.
pub(super) fn head(rows: &mut impl rows::Rows, writer: u64) -> Result<Head, StoreError> {
    let head = rows.raw(&keys::audit_head(writer));
    Head::read(head.as_deref())
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
    let mut head = head(tx, WRITER)?;
    for entry in entries {
        // Decides nothing; hides what it is added to from holders of its digest.
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt)
            .map_err(|_| StoreError::Unavailable("the system gives no randomness".into()))?;
        let content = entry.content(&salt);
        head.sequence = head.sequence.saturating_add(1);
        head.link = next_link(&head.link, &content);
        let chained = ChainedEntry {
            sequence: head.sequence,
            content,
            link: head.link,
        };
        head.pack = Some(add(tx, head.pack, chained)).filter(|first| {
            let full = Pack::is_full(*first, head.sequence);
            if full {
                close(tx, *first);
            }
            !full
        });
        events::index(tx, entry, WRITER, head.sequence);
    }
    tx.put(keys::audit_head(WRITER), head.value());
    Ok(())
}

/// Adds an entry to the open pack, or opens the next one with it. The first entry
/// of the pack that it is in.
fn add(tx: &mut Tx<'_>, open: Option<u64>, entry: ChainedEntry) -> u64 {
    if let Some(first) = open {
        if !Pack::is_full(first, entry.sequence.saturating_sub(1))
            && tx.append(keys::audit(WRITER, first), &continuation(&entry))
        {
            return first;
        }
        close(tx, first);
    }
    let first = entry.sequence;
    rows::save(tx, keys::audit(WRITER, first), &Pack(vec![entry]));
    first
}

/// Writes a pack in fewer bytes that will not get any more entries, if that says
/// the same: what was altered in between stays, to be found.
fn close(tx: &mut Tx<'_>, first: u64) {
    let key = keys::audit(WRITER, first);
    let closed = tx.peek(&key, |open| {
        let pack = rows::read::<Pack>(open)?;
        let closed = pack.to_closed_value();
        match closed.filter(|closed| closed.len() < open.len()) {
            Some(closed) if rows::read::<Pack>(&closed)? == pack => Ok(Some(closed)),
            Some(_) => Err(StoreError::Corrupt("their links do not follow".into())),
            None => Ok(None),
        }
    });
    match closed.transpose() {
        Ok(closed) => {
            if let Some(closed) = closed.flatten() {
                tx.put(key, closed);
            }
        }
        Err(error) => {
            tracing::error!(%error, first, "entries of the audit trail stay as they are");
        }
    }
}

/// Opens another pack for the entries to come where the open one can't be read:
/// with it they would be lost as well.
pub(super) fn leave_unreadable(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let mut head = head(tx, WRITER)?;
    if let Some(first) = head.pack
        && let Err(error) = rows::load::<Pack>(tx, &keys::audit(WRITER, first))
    {
        tracing::error!(%error, first, "entries of the audit trail can't be read");
        head.pack = None;
        tx.put(keys::audit_head(WRITER), head.value());
    }
    Ok(())
}

/// Says after the commit that there is something new, if this command has added
/// to the chain.
pub(super) fn tell(tx: &mut Tx<'_>, hints: &Hints) {
    let key = keys::audit_head(WRITER);
    if !tx.has_written(&key) {
        return;
    }
    if let Ok(head) = head(tx, WRITER) {
        hints.after_commit(tx, Hint::Audit(head.sequence));
    }
    let tenants: BTreeSet<TenantId> = tx
        .written_under(&keys::all_events())
        .filter_map(keys::tenant_of_events)
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
