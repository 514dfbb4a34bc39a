//! Which challenges were decided when: some in one row, for when they leave.

use prost::Message;

use super::{BadRecord, Record, at, id16};
use crate::domain::{
    ids::{ChallengeId, TenantId},
    time::Timestamp,
};

/// A challenge that has been decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct Decision {
    pub(in crate::store::embedded) time: Timestamp,
    pub(in crate::store::embedded) tenant: TenantId,
    pub(in crate::store::embedded) id: ChallengeId,
}

/// Those of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store::embedded) struct Decisions(pub(in crate::store::embedded) Vec<Decision>);

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredDecision {
    #[prost(uint64, tag = "1")]
    time: u64,
    #[prost(bytes = "vec", tag = "2")]
    tenant: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredDecisions {
    #[prost(message, repeated, tag = "1")]
    decisions: Vec<StoredDecision>,
}

fn store_decision(decision: &Decision) -> StoredDecision {
    StoredDecision {
        time: decision.time.as_millis(),
        tenant: decision.tenant.as_bytes().to_vec(),
        id: decision.id.as_bytes().to_vec(),
    }
}

impl Decision {
    /// What adds it to a row when it is put at the end of the value.
    pub(in crate::store::embedded) fn continuation(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48);
        prost::encoding::message::encode(1, &store_decision(self), &mut bytes);
        bytes
    }
}

impl Record for Decisions {
    type Stored = StoredDecisions;

    fn store(&self) -> StoredDecisions {
        StoredDecisions {
            decisions: self.0.iter().map(store_decision).collect(),
        }
    }

    fn load(stored: StoredDecisions) -> Result<Self, BadRecord> {
        let load = |stored: StoredDecision| {
            Ok(Decision {
                time: at(stored.time),
                tenant: TenantId::from_bytes(id16(&stored.tenant)?),
                id: ChallengeId::from_bytes(id16(&stored.id)?),
            })
        };
        let decisions: Result<_, BadRecord> = stored.decisions.into_iter().map(load).collect();
        decisions.map(Self)
    }
}
