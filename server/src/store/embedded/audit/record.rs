//! Entries, signed heads and what is remembered of a chain, as written down.

use lz4_flex::block;
use prost::Message;

use crate::{
    domain::{
        audit::{ChainedEntry, SignedHead, next_link},
        time::Timestamp,
    },
    store::{
        embedded::record::{self, BadRecord, Record},
        engine::MAX_VALUE,
    },
};

/// Entries that follow one another, in one row under the number of the first: a
/// row costs the tree more than the bytes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct Pack(pub(in crate::store::embedded) Vec<ChainedEntry>);

impl Pack {
    /// The most entries in one.
    pub(super) const MOST: u8 = 16;

    /// Whether nothing is to be added to the pack that has these entries.
    pub(super) fn is_full(first: u64, last: u64) -> bool {
        last.saturating_sub(first).saturating_add(1) >= u64::from(Self::MOST)
    }

    /// The entry `sequence`, if it is in here.
    pub(in crate::store::embedded) fn entry(&self, sequence: u64) -> Option<&ChainedEntry> {
        self.0.iter().find(|entry| entry.sequence == sequence)
    }

    /// The value of a pack that no entry is added to any more, in half the bytes or
    /// less: its entries name the same things again and again, and links follow
    /// from the first.
    pub(in crate::store::embedded) fn to_closed_value(&self) -> Option<Vec<u8>> {
        let first = self.0.first()?;
        let contents = Contents {
            contents: self.0.iter().map(|entry| entry.content.clone()).collect(),
        }
        .encode_to_vec();
        let stored = StoredEntry {
            sequence: first.sequence,
            link: first.link.to_vec(),
            length: u32::try_from(contents.len()).ok()?,
            closed: block::compress(&contents),
            ..StoredEntry::default()
        };
        Some(record::to_value(&stored))
    }
}

/// The first entry of a pack, and those after it. What was written before there
/// were packs is a pack of one.
///
/// Of a closed pack only number and link of the first stand here, and all contents
/// in `closed`.
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
    /// A `Contents` as one block of LZ4.
    #[prost(bytes = "vec", tag = "5")]
    closed: Vec<u8>,
    /// How long that is without compression.
    #[prost(uint32, tag = "6")]
    length: u32,
}

/// What is hashed of each entry of a closed pack.
#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(bytes = "vec", repeated, tag = "1")]
    contents: Vec<Vec<u8>>,
}

fn store_entry(entry: &ChainedEntry) -> StoredEntry {
    StoredEntry {
        sequence: entry.sequence,
        content: entry.content.clone(),
        link: entry.link.to_vec(),
        ..StoredEntry::default()
    }
}

fn link_from(bytes: Vec<u8>) -> Result<[u8; 32], BadRecord> {
    bytes
        .try_into()
        .map_err(|_| BadRecord("a chain link must have 32 bytes"))
}

fn load_closed(stored: StoredEntry) -> Result<Pack, BadRecord> {
    if !stored.content.is_empty() || !stored.more.is_empty() {
        return Err(BadRecord("entries beside those of a closed pack"));
    }
    let length = usize::try_from(stored.length)
        .ok()
        // Each has stood in one value before it was closed.
        .filter(|length| *length <= MAX_VALUE)
        .ok_or(BadRecord("too long for a pack of audit entries"))?;
    let contents = block::decompress(&stored.closed, length)
        .ok()
        .and_then(|contents| Contents::decode(contents.as_slice()).ok())
        .ok_or(BadRecord("audit entries that can't be decompressed"))?;
    let (mut sequence, mut link) = (stored.sequence, link_from(stored.link)?);
    let mut entries: Vec<ChainedEntry> = Vec::with_capacity(contents.contents.len());
    for content in contents.contents {
        if !entries.is_empty() {
            sequence = sequence
                .checked_add(1)
                .ok_or(BadRecord("an audit entry beyond all numbers"))?;
            link = next_link(&link, &content);
        }
        entries.push(ChainedEntry {
            sequence,
            content,
            link,
        });
    }
    Ok(Pack(entries))
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
        if !stored.closed.is_empty() {
            return load_closed(stored);
        }
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
                link: link_from(stored.link)?,
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
