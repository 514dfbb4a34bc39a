//! Which entries of a stretch of the audit trail are events of an organisation.

use prost::Message;

use super::{BadRecord, Record};
use crate::store::engine::MAX_VALUE;

/// How many entries of the audit trail make a stretch: so many that even a row in
/// which each is an event fits into a value.
pub(in crate::store::embedded) const STRETCH: u64 = 1024;

// A place takes three bytes at most, the version one.
const _: () = assert!(3 * (STRETCH as usize) < MAX_VALUE);

/// Their places in the stretch, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store::embedded) struct Stretch(pub(in crate::store::embedded) Vec<u16>);

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredStretch {
    /// Not packed: so the next is put at the end of the value.
    #[prost(uint32, repeated, packed = "false", tag = "1")]
    places: Vec<u32>,
}

/// What adds a place to a stretch when it is put at the end of its value.
pub(in crate::store::embedded) fn next_place(place: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4);
    prost::encoding::uint32::encode(1, &u32::from(place), &mut bytes);
    bytes
}

impl Record for Stretch {
    type Stored = StoredStretch;

    fn store(&self) -> StoredStretch {
        StoredStretch {
            places: self.0.iter().copied().map(u32::from).collect(),
        }
    }

    fn load(stored: StoredStretch) -> Result<Self, BadRecord> {
        let mut places = Vec::with_capacity(stored.places.len());
        for place in stored.places {
            let place = u16::try_from(place)
                .ok()
                .filter(|place| u64::from(*place) < STRETCH)
                .ok_or(BadRecord("a place beyond its stretch"))?;
            if places.last().is_some_and(|last| *last >= place) {
                return Err(BadRecord("places in the wrong order"));
            }
            places.push(place);
        }
        Ok(Self(places))
    }
}
