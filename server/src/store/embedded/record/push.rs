//! Pushes intended.

use prost::Message;

use super::{
    BadRecord, Record, at,
    device::{StoredPush, load_push, store_push},
    gateway_from, gateway_to, id16,
};
use crate::domain::{
    ids::{ChallengeId, DeviceId, PushId, TenantId},
    push::{PushJob, PushKind},
};

numbered!(kind_to kind_from PushKind {
    PushKind::Prompt = 1,
    PushKind::Withdraw = 2,
    PushKind::Notice = 3,
});

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredPushJob {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    gateway: u32,
    #[prost(uint64, tag = "3")]
    due: u64,
    #[prost(uint32, tag = "4")]
    kind: u32,
    #[prost(bytes = "vec", tag = "5")]
    tenant: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    challenge: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    device: Vec<u8>,
    #[prost(uint32, tag = "8")]
    attempts: u32,
    #[prost(uint64, tag = "9")]
    expire_time: u64,
    #[prost(bool, tag = "10")]
    perhaps_sent: bool,
    #[prost(message, optional, tag = "11")]
    farewell: Option<StoredPush>,
}

impl Record for PushJob {
    type Stored = StoredPushJob;

    fn store(&self) -> StoredPushJob {
        StoredPushJob {
            id: self.id.as_bytes().to_vec(),
            gateway: gateway_to(self.gateway),
            due: self.due.as_millis(),
            kind: kind_to(self.kind),
            tenant: self.tenant.as_bytes().to_vec(),
            challenge: self.challenge.as_bytes().to_vec(),
            device: self.device.as_bytes().to_vec(),
            attempts: self.attempts,
            expire_time: self.expire_time.as_millis(),
            perhaps_sent: self.perhaps_sent,
            farewell: self.farewell.as_ref().map(store_push),
        }
    }

    fn load(stored: StoredPushJob) -> Result<Self, BadRecord> {
        Ok(Self {
            id: PushId::from_bytes(id16(&stored.id)?),
            gateway: gateway_from(stored.gateway)?,
            due: at(stored.due),
            kind: kind_from(stored.kind)?,
            tenant: TenantId::from_bytes(id16(&stored.tenant)?),
            challenge: ChallengeId::from_bytes(id16(&stored.challenge)?),
            device: DeviceId::from_bytes(id16(&stored.device)?),
            attempts: stored.attempts,
            expire_time: at(stored.expire_time),
            farewell: stored.farewell.map(load_push).transpose()?,
            perhaps_sent: stored.perhaps_sent,
        })
    }
}
