//! Codes that were sent, inside challenges and accounts.

use prost::Message;

use super::{BadRecord, at, bytes32, id16};
use crate::domain::{
    code::{CodeHash, Codes, SentCode},
    ids::AuthenticatorId,
};

/// What an absent `max_wrong` means.
const MAX_WRONG: u32 = 5;

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredCodes {
    #[prost(message, optional, tag = "1")]
    sent: Option<StoredSentCode>,
    #[prost(string, tag = "2")]
    masked: String,
    #[prost(uint32, tag = "3")]
    sends: u32,
    #[prost(uint64, tag = "4")]
    resend_time: u64,
    #[prost(uint32, tag = "5")]
    wrong: u32,
    /// Absent: 5.
    #[prost(uint32, optional, tag = "6")]
    max_wrong: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredSentCode {
    #[prost(bytes = "vec", tag = "1")]
    phone: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    hash: Vec<u8>,
    #[prost(uint64, tag = "3")]
    expire_time: u64,
}

pub(super) fn store(codes: &Codes) -> StoredCodes {
    StoredCodes {
        sent: codes.sent.as_ref().map(|sent| StoredSentCode {
            phone: sent.phone.as_bytes().to_vec(),
            hash: sent.hash.0.to_vec(),
            expire_time: sent.expire_time.as_millis(),
        }),
        masked: codes.masked.clone(),
        sends: codes.sends,
        resend_time: codes.resend_time.as_millis(),
        wrong: codes.wrong,
        max_wrong: (codes.max_wrong != MAX_WRONG).then_some(codes.max_wrong),
    }
}

pub(super) fn load(stored: StoredCodes) -> Result<Codes, BadRecord> {
    let sent = match stored.sent {
        None => None,
        Some(sent) => Some(SentCode {
            phone: AuthenticatorId::from_bytes(id16(&sent.phone)?),
            hash: CodeHash(bytes32(&sent.hash)?),
            expire_time: at(sent.expire_time),
        }),
    };
    Ok(Codes {
        sent,
        masked: stored.masked,
        sends: stored.sends,
        resend_time: at(stored.resend_time),
        wrong: stored.wrong,
        max_wrong: stored.max_wrong.unwrap_or(MAX_WRONG),
    })
}
