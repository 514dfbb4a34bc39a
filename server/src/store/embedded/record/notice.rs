//! What a user's devices are told of the account.

use prost::Message;

use super::{
    BadRecord, Record, at, id16,
    text::{notice_from, notice_to},
};
use crate::domain::{
    ids::DeviceId,
    notice::{Kept, Notices},
};

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredKept {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(uint32, tag = "3")]
    notice: u32,
    /// A name, or a masked number.
    #[prost(string, tag = "4")]
    detail: String,
    #[prost(uint64, tag = "5")]
    time: u64,
    #[prost(bytes = "vec", optional, tag = "6")]
    about: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredNotices {
    #[prost(uint64, tag = "1")]
    last: u64,
    #[prost(message, repeated, tag = "2")]
    kept: Vec<StoredKept>,
}

impl Record for Notices {
    type Stored = StoredNotices;

    fn store(&self) -> StoredNotices {
        let kept = self.kept.iter().map(|kept| {
            let (notice, detail) = notice_to(&kept.notice);
            StoredKept {
                number: kept.number,
                id: kept.id.to_vec(),
                notice,
                detail,
                time: kept.time.as_millis(),
                about: kept.about.map(|id| id.as_bytes().to_vec()),
            }
        });
        StoredNotices {
            last: self.last,
            kept: kept.collect(),
        }
    }

    fn load(stored: StoredNotices) -> Result<Self, BadRecord> {
        let kept = stored.kept.into_iter().map(|kept| {
            let about = kept.about.map(|id| id16(&id)).transpose()?;
            Ok(Kept {
                number: kept.number,
                id: id16(&kept.id)?,
                notice: notice_from(kept.notice, kept.detail)?,
                time: at(kept.time),
                about: about.map(DeviceId::from_bytes),
            })
        });
        Ok(Self {
            last: stored.last,
            kept: kept.collect::<Result<_, _>>()?,
        })
    }
}
