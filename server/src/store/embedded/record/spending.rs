//! Meters of text messages.

use prost::Message;

use super::{BadRecord, Record, at, id16};
use crate::domain::spending::{Meter, RangeMeter};

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredMeter {
    #[prost(uint64, tag = "1")]
    hour_start: u64,
    #[prost(uint32, tag = "2")]
    hour: u32,
    #[prost(uint64, tag = "3")]
    day_start: u64,
    #[prost(uint32, tag = "4")]
    day: u32,
}

impl Record for Meter {
    type Stored = StoredMeter;

    fn store(&self) -> StoredMeter {
        StoredMeter {
            hour_start: self.hour_start.as_millis(),
            hour: self.hour,
            day_start: self.day_start.as_millis(),
            day: self.day,
        }
    }

    fn load(stored: StoredMeter) -> Result<Self, BadRecord> {
        Ok(Self {
            hour_start: at(stored.hour_start),
            hour: stored.hour,
            day_start: at(stored.day_start),
            day: stored.day,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredRangeMeter {
    #[prost(uint64, tag = "1")]
    since: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    numbers: Vec<Vec<u8>>,
}

impl Record for RangeMeter {
    type Stored = StoredRangeMeter;

    fn store(&self) -> StoredRangeMeter {
        StoredRangeMeter {
            since: self.since.as_millis(),
            numbers: self.numbers.iter().map(|tag| tag.to_vec()).collect(),
        }
    }

    fn load(stored: StoredRangeMeter) -> Result<Self, BadRecord> {
        Ok(Self {
            since: at(stored.since),
            numbers: stored
                .numbers
                .iter()
                .map(|tag| id16(tag))
                .collect::<Result<_, _>>()?,
        })
    }
}
