//! "That wasn't me" after an approval, and the approvals that it may be said of.

use prost::Message;

use super::{
    BadRecord, Record, at,
    challenge::{StoredProof, load_proof, store_proof},
    id16,
};
use crate::domain::{
    ids::ChallengeId,
    revocation::{RecentApprovals, Revocation},
};

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredRevocation {
    #[prost(uint64, tag = "1")]
    time: u64,
    #[prost(message, optional, tag = "2")]
    proof: Option<StoredProof>,
}

impl Record for Revocation {
    type Stored = StoredRevocation;

    fn store(&self) -> StoredRevocation {
        StoredRevocation {
            time: self.time.as_millis(),
            proof: Some(store_proof(&self.proof)),
        }
    }

    fn load(stored: StoredRevocation) -> Result<Self, BadRecord> {
        let proof = stored
            .proof
            .ok_or(BadRecord("a revocation has an answer"))?;
        Ok(Self {
            time: at(stored.time),
            proof: load_proof(proof)?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredApproval {
    #[prost(bytes = "vec", tag = "1")]
    challenge: Vec<u8>,
    #[prost(uint64, tag = "2")]
    time: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredApprovals {
    #[prost(message, repeated, tag = "1")]
    approvals: Vec<StoredApproval>,
}

impl Record for RecentApprovals {
    type Stored = StoredApprovals;

    fn store(&self) -> StoredApprovals {
        let approvals = self.0.iter().map(|(id, time)| StoredApproval {
            challenge: id.as_bytes().to_vec(),
            time: time.as_millis(),
        });
        StoredApprovals {
            approvals: approvals.collect(),
        }
    }

    fn load(stored: StoredApprovals) -> Result<Self, BadRecord> {
        let approvals = stored.approvals.into_iter().map(|approval| {
            let id = ChallengeId::from_bytes(id16(&approval.challenge)?);
            Ok((id, at(approval.time)))
        });
        approvals.collect::<Result<_, _>>().map(Self)
    }
}
