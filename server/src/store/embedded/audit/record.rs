//! Entries, signed heads and what is remembered of a chain, as written down.

use prost::Message;

use crate::{
    domain::{
        audit::{ChainedEntry, SignedHead},
        time::Timestamp,
    },
    store::embedded::record::{BadRecord, Record},
};

/// Entries that follow one another, in one row under the number of the first: a
/// row costs the tree more than the bytes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct Pack(pub(in crate::store::embedded) Vec<ChainedEntry>);

impl Pack {
    /// The most entries in one.
    pub(super) const MOST: u8 = 16;

    /// The entry `sequence`, if it is in here.
    pub(in crate::store::embedded) fn entry(&self, sequence: u64) -> Option<&ChainedEntry> {
        self.0.iter().find(|entry| entry.sequence == sequence)
    }
}

/// The first entry of a pack, and those after it. What was written before there
/// were packs is a pack of one.
#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredEntry {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    link: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    more: Vec<StoredEntry>,
}

fn store_entry(entry: &ChainedEntry) -> StoredEntry {
    StoredEntry {
        sequence: entry.sequence,
        content: entry.content.clone(),
        link: entry.link.to_vec(),
        more: Vec::new(),
    }
}

/// What makes a pack longer by an entry when it is put at the end of its value.
pub(in crate::store::embedded) fn continuation(entry: &ChainedEntry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entry.content.len() + 64);
    prost::encoding::message::encode(4, &store_entry(entry), &mut bytes);
    bytes
}

impl Record for Pack {
    type Stored = StoredEntry;

    fn store(&self) -> StoredEntry {
        let mut entries = self.0.iter().map(store_entry);
        let mut first = entries.next().unwrap_or_default();
        first.more.extend(entries);
        first
    }

    fn load(mut stored: StoredEntry) -> Result<Self, BadRecord> {
        let more = std::mem::take(&mut stored.more);
        let mut entries: Vec<ChainedEntry> = Vec::with_capacity(more.len() + 1);
        for stored in std::iter::once(stored).chain(more) {
            if let Some(last) = entries.last()
                && last.sequence.checked_add(1) != Some(stored.sequence)
            {
                return Err(BadRecord("entries of the audit trail in the wrong order"));
            }
            entries.push(ChainedEntry {
                sequence: stored.sequence,
                content: stored.content,
                link: stored
                    .link
                    .try_into()
                    .map_err(|_| BadRecord("a chain link must have 32 bytes"))?,
            });
        }
        Ok(Self(entries))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredHead {
    #[prost(uint64, tag = "1")]
    writer: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(bytes = "vec", tag = "3")]
    body: Vec<u8>,
    #[prost(string, tag = "4")]
    key_id: String,
    #[prost(bytes = "vec", tag = "5")]
    signature: Vec<u8>,
    #[prost(uint64, tag = "6")]
    sign_time: u64,
    #[prost(uint64, tag = "7")]
    first_kept: u64,
}

impl Record for SignedHead {
    type Stored = StoredHead;

    fn store(&self) -> StoredHead {
        StoredHead {
            writer: self.writer,
            sequence: self.sequence,
            body: self.body.clone(),
            key_id: self.key_id.clone(),
            signature: self.signature.clone(),
            sign_time: self.sign_time.as_millis(),
            first_kept: self.first_kept,
        }
    }

    fn load(stored: StoredHead) -> Result<Self, BadRecord> {
        Ok(Self {
            writer: stored.writer,
            sequence: stored.sequence,
            body: stored.body,
            key_id: stored.key_id,
            signature: stored.signature,
            sign_time: Timestamp::from_millis(stored.sign_time),
            first_kept: stored.first_kept,
        })
    }
}

/// What is remembered of a chain beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store::embedded) struct Marks {
    /// The last entry that has left by age; 0: none has. Its head is kept. What
    /// lies before it may not yet have been deleted, but counts as gone.
    pub(in crate::store::embedded) left: u64,
    /// The newest signed head; 0: none.
    pub(in crate::store::embedded) signed: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredMarks {
    #[prost(uint64, tag = "1")]
    left: u64,
    #[prost(uint64, tag = "2")]
    signed: u64,
}

impl Record for Marks {
    type Stored = StoredMarks;

    fn store(&self) -> StoredMarks {
        StoredMarks {
            left: self.left,
            signed: self.signed,
        }
    }

    fn load(stored: StoredMarks) -> Result<Self, BadRecord> {
        Ok(Self {
            left: stored.left,
            signed: stored.signed,
        })
    }
}
