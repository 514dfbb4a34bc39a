//! Tickets.

use prost::Message;

use super::{BadRecord, Record, at, bytes32, id16};
use crate::domain::{
    ids::{DeviceId, EnrollmentId, TenantId, UserId},
    ticket::{Ticket, TicketState},
};

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredTicket {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    tenant: Vec<u8>,
    #[prost(string, tag = "3")]
    user: String,
    #[prost(string, tag = "4")]
    locator: String,
    #[prost(bytes = "vec", tag = "5")]
    secret_hash: Vec<u8>,
    #[prost(uint64, tag = "6")]
    create_time: u64,
    #[prost(uint64, tag = "7")]
    expire_time: u64,
    #[prost(uint32, tag = "8")]
    wrong_tries: u32,
    /// 1 open, 2 redeemed, 3 expired, 4 replaced, 5 locked.
    #[prost(uint32, tag = "9")]
    state: u32,
    #[prost(bytes = "vec", optional, tag = "10")]
    device: Option<Vec<u8>>,
}

impl Record for Ticket {
    type Stored = StoredTicket;

    fn store(&self) -> StoredTicket {
        let (state, device) = match self.state {
            TicketState::Open => (1, None),
            TicketState::Redeemed(device) => (2, Some(device.as_bytes().to_vec())),
            TicketState::Expired => (3, None),
            TicketState::Replaced => (4, None),
            TicketState::Locked => (5, None),
        };
        StoredTicket {
            id: self.id.as_bytes().to_vec(),
            tenant: self.tenant.as_bytes().to_vec(),
            user: self.user.as_str().to_owned(),
            locator: self.locator.clone(),
            secret_hash: self.secret_hash.to_vec(),
            create_time: self.create_time.as_millis(),
            expire_time: self.expire_time.as_millis(),
            wrong_tries: self.wrong_tries,
            state,
            device,
        }
    }

    fn load(stored: StoredTicket) -> Result<Self, BadRecord> {
        let state = match (stored.state, stored.device) {
            (1, None) => TicketState::Open,
            (2, Some(device)) => TicketState::Redeemed(DeviceId::from_bytes(id16(&device)?)),
            (3, None) => TicketState::Expired,
            (4, None) => TicketState::Replaced,
            (5, None) => TicketState::Locked,
            _ => return Err(BadRecord("unknown ticket state")),
        };
        Ok(Self {
            id: EnrollmentId::from_bytes(id16(&stored.id)?),
            tenant: TenantId::from_bytes(id16(&stored.tenant)?),
            user: UserId::from_stored(stored.user),
            locator: stored.locator,
            secret_hash: bytes32(&stored.secret_hash)?,
            create_time: at(stored.create_time),
            expire_time: at(stored.expire_time),
            wrong_tries: stored.wrong_tries,
            state,
        })
    }
}
