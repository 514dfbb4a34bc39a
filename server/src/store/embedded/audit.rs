//! The audit trail: one hash chain per writer, in the same commit as the change
//! it tells of.
//!
//! `link(n) = SHA-256(link(n-1) ‖ SHA-256(entry(n)))`: who holds only some of
//! the entries can check the chain with the digests of the others.

use countersign_proto::signing::sha256;
use prost::Message;

use super::{
    keys,
    record::{BadRecord, Record},
    rows,
};
use crate::{
    domain::{audit::Entry, ids::TenantId, time::Timestamp},
    store::{StoreError, engine::Tx},
};

/// The embedded engine has one writer.
pub(super) const WRITER: u64 = 1;

/// An entry in its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainedEntry {
    pub(super) sequence: u64,
    pub(super) content: Vec<u8>,
    pub(super) link: [u8; 32],
}

/// What is hashed: never re-serialized.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredContent {
    #[prost(uint64, tag = "1")]
    pub(super) time: u64,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) tenant: Option<Vec<u8>>,
    #[prost(string, tag = "3")]
    pub(super) actor: String,
    #[prost(string, tag = "4")]
    pub(super) address: String,
    #[prost(string, tag = "5")]
    pub(super) action: String,
    #[prost(string, tag = "6")]
    pub(super) object: String,
    #[prost(string, tag = "7")]
    pub(super) outcome: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredEntry {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    link: Vec<u8>,
}

impl Record for ChainedEntry {
    type Stored = StoredEntry;

    fn store(&self) -> StoredEntry {
        StoredEntry {
            sequence: self.sequence,
            content: self.content.clone(),
            link: self.link.to_vec(),
        }
    }

    fn load(stored: StoredEntry) -> Result<Self, BadRecord> {
        Ok(Self {
            sequence: stored.sequence,
            content: stored.content,
            link: stored
                .link
                .try_into()
                .map_err(|_| BadRecord("a chain link must have 32 bytes"))?,
        })
    }
}

/// Adds an entry to the chain.
pub(super) fn append(tx: &mut Tx<'_>, entry: &Entry) -> Result<(), StoreError> {
    let head = tx.get(&keys::audit_head(WRITER));
    let (sequence, link) = match head.as_deref() {
        None => (0, [0; 32]),
        Some(head) => head
            .split_first_chunk::<8>()
            .and_then(|(sequence, link)| {
                Some((
                    u64::from_be_bytes(*sequence),
                    <[u8; 32]>::try_from(link).ok()?,
                ))
            })
            .ok_or_else(|| StoreError::Corrupt("the head of the audit chain".into()))?,
    };
    let content = content(entry);
    let sequence = sequence.saturating_add(1);
    let link = next_link(&link, &content);
    let chained = ChainedEntry {
        sequence,
        content,
        link,
    };
    rows::save(tx, keys::audit(WRITER, sequence), &chained);
    let mut head = sequence.to_be_bytes().to_vec();
    head.extend_from_slice(&link);
    tx.put(keys::audit_head(WRITER), head);
    Ok(())
}

/// The chain's next link.
pub(super) fn next_link(link: &[u8; 32], content: &[u8]) -> [u8; 32] {
    let mut input = link.to_vec();
    input.extend_from_slice(&sha256(content));
    sha256(&input)
}

fn content(entry: &Entry) -> Vec<u8> {
    StoredContent {
        time: entry.time.as_millis(),
        tenant: entry.tenant.map(|id: TenantId| id.as_bytes().to_vec()),
        actor: entry.by.actor.to_string(),
        address: entry.by.address.clone(),
        action: entry.action.to_owned(),
        object: entry.object.clone(),
        outcome: entry.outcome.clone(),
    }
    .encode_to_vec()
}

/// Shorthand for the entries of this folder.
pub(super) fn note(
    tx: &mut Tx<'_>,
    time: Timestamp,
    tenant: Option<TenantId>,
    by: &crate::domain::audit::By,
    action: &'static str,
    object: impl ToString,
    outcome: impl ToString,
) -> Result<(), StoreError> {
    append(
        tx,
        &Entry {
            time,
            tenant,
            by: by.clone(),
            action,
            object: object.to_string(),
            outcome: outcome.to_string(),
        },
    )
}
