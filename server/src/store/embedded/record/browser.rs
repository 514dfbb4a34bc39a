//! Remembered browsers, and where sign-ins come from.

use prost::Message;

use super::{BadRecord, Record, at, id16};
use crate::domain::{
    browser::Browser,
    ids::{BrowserId, ChallengeId, TenantId, UserId},
    risk::{Origin, Risk},
};

numbered!(risk_to risk_from Risk {
    Risk::UnknownBrowser = 1, Risk::NewNetwork = 2, Risk::NewPlace = 3,
    Risk::RecentDenial = 4, Risk::RecentFailures = 5,
});

pub(super) fn store_risks(risks: &[Risk]) -> Vec<u32> {
    risks.iter().map(|risk| risk_to(*risk)).collect()
}

pub(super) fn load_risks(numbers: Vec<u32>) -> Result<Vec<Risk>, BadRecord> {
    numbers.into_iter().map(risk_from).collect()
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredOrigin {
    #[prost(bytes = "vec", optional, tag = "1")]
    network: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    place: Option<Vec<u8>>,
}

pub(super) fn store_origin(origin: &Origin) -> StoredOrigin {
    StoredOrigin {
        network: origin.network.map(|tag| tag.to_vec()),
        place: origin.place.map(|tag| tag.to_vec()),
    }
}

pub(super) fn load_origin(stored: &StoredOrigin) -> Result<Origin, BadRecord> {
    Ok(Origin {
        network: stored.network.as_deref().map(id16).transpose()?,
        place: stored.place.as_deref().map(id16).transpose()?,
    })
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredBrowser {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    tenant: Vec<u8>,
    #[prost(string, tag = "3")]
    user: String,
    #[prost(bytes = "vec", tag = "4")]
    issued_by: Vec<u8>,
    #[prost(uint64, tag = "5")]
    create_time: u64,
    #[prost(uint64, tag = "6")]
    expire_time: u64,
    #[prost(uint64, tag = "7")]
    policy_version: u64,
}

impl Record for Browser {
    type Stored = StoredBrowser;

    fn store(&self) -> StoredBrowser {
        StoredBrowser {
            id: self.id.as_bytes().to_vec(),
            tenant: self.tenant.as_bytes().to_vec(),
            user: self.user.as_str().to_owned(),
            issued_by: self.issued_by.as_bytes().to_vec(),
            create_time: self.create_time.as_millis(),
            expire_time: self.expire_time.as_millis(),
            policy_version: self.policy_version,
        }
    }

    fn load(stored: StoredBrowser) -> Result<Self, BadRecord> {
        Ok(Self {
            id: BrowserId::from_bytes(id16(&stored.id)?),
            tenant: TenantId::from_bytes(id16(&stored.tenant)?),
            user: UserId::from_stored(stored.user),
            issued_by: ChallengeId::from_bytes(id16(&stored.issued_by)?),
            create_time: at(stored.create_time),
            expire_time: at(stored.expire_time),
            policy_version: stored.policy_version,
        })
    }
}
