//! Text messages intended.

use prost::Message;

use super::{BadRecord, Record, at, id16};
use crate::domain::{
    ids::{AuthenticatorId, ChallengeId, TenantId, TextId, UserId},
    text::{Notice, TextJob, TextPurpose},
};

/// Number and detail. Never renumber.
pub(super) fn notice_to(notice: &Notice) -> (u32, String) {
    match notice {
        Notice::DeviceAdded(name) => (1, name.clone()),
        Notice::DeviceRemoved(name) => (2, name.clone()),
        Notice::PhoneAdded(masked) => (3, masked.clone()),
        Notice::PhoneRemoved(masked) => (4, masked.clone()),
        Notice::TotpAdded => (5, String::new()),
        Notice::TotpRemoved => (6, String::new()),
        Notice::RecoveryCodesCreated => (7, String::new()),
        Notice::RecoveryCodesRemoved => (8, String::new()),
        Notice::AccountLocked => (9, String::new()),
        Notice::AccountReset => (10, String::new()),
        Notice::AccountUnlocked => (11, String::new()),
    }
}

pub(super) fn notice_from(number: u32, detail: String) -> Result<Notice, BadRecord> {
    Ok(match number {
        1 => Notice::DeviceAdded(detail),
        2 => Notice::DeviceRemoved(detail),
        3 => Notice::PhoneAdded(detail),
        4 => Notice::PhoneRemoved(detail),
        5 => Notice::TotpAdded,
        6 => Notice::TotpRemoved,
        7 => Notice::RecoveryCodesCreated,
        8 => Notice::RecoveryCodesRemoved,
        9 => Notice::AccountLocked,
        10 => Notice::AccountReset,
        11 => Notice::AccountUnlocked,
        _ => return Err(BadRecord("unknown Notice")),
    })
}

const SIGN_IN_CODE: u32 = 1;
const CONFIRM_NUMBER: u32 = 2;
const NOTICE: u32 = 3;

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredTextJob {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    due: u64,
    #[prost(bytes = "vec", tag = "3")]
    tenant: Vec<u8>,
    #[prost(string, tag = "4")]
    user: String,
    #[prost(bytes = "vec", tag = "5")]
    phone: Vec<u8>,
    #[prost(uint32, tag = "6")]
    purpose: u32,
    /// Of a code for a sign-in.
    #[prost(bytes = "vec", tag = "7")]
    challenge: Vec<u8>,
    /// Of a notice.
    #[prost(uint32, tag = "8")]
    notice: u32,
    #[prost(bytes = "vec", tag = "9")]
    seed: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    sealed_number: Vec<u8>,
    #[prost(uint32, tag = "11")]
    attempts: u32,
    #[prost(uint64, tag = "12")]
    expire_time: u64,
    /// Of a code.
    #[prost(uint32, tag = "13")]
    digits: u32,
    /// Of a notice: a name, or a masked number.
    #[prost(string, tag = "14")]
    detail: String,
    /// Of a code: which send it is.
    #[prost(uint32, tag = "15")]
    nth: u32,
    #[prost(uint64, tag = "16")]
    metered: u64,
}

impl Record for TextJob {
    type Stored = StoredTextJob;

    fn store(&self) -> StoredTextJob {
        let none = (0, String::new());
        let (purpose, challenge, (notice, detail)) = match &self.purpose {
            TextPurpose::SignInCode(id) => (SIGN_IN_CODE, id.as_bytes().to_vec(), none),
            TextPurpose::ConfirmNumber => (CONFIRM_NUMBER, Vec::new(), none),
            TextPurpose::Notice(notice) => (NOTICE, Vec::new(), notice_to(notice)),
        };
        StoredTextJob {
            id: self.id.as_bytes().to_vec(),
            due: self.due.as_millis(),
            tenant: self.tenant.as_bytes().to_vec(),
            user: self.user.as_str().to_owned(),
            phone: self.phone.as_bytes().to_vec(),
            purpose,
            challenge,
            notice,
            detail,
            digits: u32::from(self.digits),
            seed: self.seed.to_vec(),
            sealed_number: self.sealed_number.clone(),
            attempts: self.attempts,
            nth: self.nth,
            metered: self.metered.as_millis(),
            expire_time: self.expire_time.as_millis(),
        }
    }

    fn load(stored: StoredTextJob) -> Result<Self, BadRecord> {
        let purpose = match stored.purpose {
            SIGN_IN_CODE => {
                TextPurpose::SignInCode(ChallengeId::from_bytes(id16(&stored.challenge)?))
            }
            CONFIRM_NUMBER => TextPurpose::ConfirmNumber,
            NOTICE => TextPurpose::Notice(notice_from(stored.notice, stored.detail)?),
            _ => return Err(BadRecord("unknown TextPurpose")),
        };
        Ok(Self {
            id: TextId::from_bytes(id16(&stored.id)?),
            due: at(stored.due),
            tenant: TenantId::from_bytes(id16(&stored.tenant)?),
            user: UserId::from_stored(stored.user),
            phone: AuthenticatorId::from_bytes(id16(&stored.phone)?),
            purpose,
            seed: id16(&stored.seed)?,
            digits: u8::try_from(stored.digits).map_err(|_| BadRecord("digits out of range"))?,
            sealed_number: stored.sealed_number,
            attempts: stored.attempts,
            nth: stored.nth,
            metered: at(stored.metered),
            expire_time: at(stored.expire_time),
        })
    }
}
