//! What is known of a user beside devices.

use prost::Message;

use super::{
    BadRecord, Record, at,
    browser::{StoredOrigin, load_origin, store_origin},
    bytes32,
    code::{self, StoredCodes},
    id16,
};
use crate::domain::{
    account::{Account, Lock, LockReason, Phone, RecoveryCodes, Totp},
    code::CodeHash,
    ids::{AuthenticatorId, TenantId, UserId},
    time::Timestamp,
};

numbered!(lock_to lock_from LockReason {
    LockReason::TooManyFailures = 1, LockReason::FraudReported = 2, LockReason::Operator = 3,
});

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredAccount {
    #[prost(bytes = "vec", tag = "1")]
    tenant: Vec<u8>,
    #[prost(string, tag = "2")]
    user: String,
    #[prost(message, repeated, tag = "3")]
    phones: Vec<StoredPhone>,
    #[prost(message, repeated, tag = "4")]
    totps: Vec<StoredTotp>,
    #[prost(message, optional, tag = "5")]
    recovery: Option<StoredRecoveryCodes>,
    #[prost(uint32, tag = "6")]
    failures: u32,
    #[prost(uint64, tag = "7")]
    no_guess_before: u64,
    #[prost(uint32, tag = "8")]
    prompts: u32,
    #[prost(uint64, tag = "9")]
    last_prompt: u64,
    #[prost(uint64, tag = "10")]
    no_code_before: u64,
    #[prost(message, optional, tag = "11")]
    lock: Option<StoredLock>,
    #[prost(bool, tag = "20")]
    listed: bool,
    #[prost(uint32, tag = "21")]
    snoozes: u32,
    #[prost(uint64, optional, tag = "22")]
    last_denial: Option<u64>,
    #[prost(message, repeated, tag = "23")]
    origins: Vec<StoredOrigin>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredPhone {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    sealed_number: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    number: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    range: Vec<u8>,
    #[prost(string, tag = "5")]
    masked: String,
    #[prost(string, tag = "6")]
    country: String,
    #[prost(string, tag = "7")]
    language: String,
    #[prost(uint64, tag = "8")]
    create_time: u64,
    #[prost(uint64, optional, tag = "9")]
    last_used_time: Option<u64>,
    #[prost(message, optional, tag = "10")]
    confirming: Option<StoredCodes>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredTotp {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    sealed_secret: Vec<u8>,
    #[prost(uint64, tag = "3")]
    create_time: u64,
    #[prost(uint64, optional, tag = "4")]
    last_used_time: Option<u64>,
    #[prost(bool, tag = "5")]
    confirmed: bool,
    #[prost(uint32, tag = "6")]
    wrong: u32,
    #[prost(uint64, tag = "7")]
    last_step: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRecoveryCodes {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    create_time: u64,
    #[prost(uint64, optional, tag = "3")]
    last_used_time: Option<u64>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    unused: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredLock {
    #[prost(uint64, tag = "1")]
    since: u64,
    #[prost(uint32, tag = "2")]
    reason: u32,
}

impl Record for Account {
    type Stored = StoredAccount;

    fn store(&self) -> StoredAccount {
        StoredAccount {
            tenant: self.tenant.as_bytes().to_vec(),
            user: self.user.as_str().to_owned(),
            phones: self.phones.iter().map(store_phone).collect(),
            totps: self.totps.iter().map(store_totp).collect(),
            recovery: self.recovery.as_ref().map(|codes| StoredRecoveryCodes {
                id: codes.id.as_bytes().to_vec(),
                create_time: codes.create_time.as_millis(),
                last_used_time: codes.last_used_time.map(Timestamp::as_millis),
                unused: codes.unused.iter().map(|code| code.0.to_vec()).collect(),
            }),
            failures: self.failures,
            no_guess_before: self.no_guess_before.as_millis(),
            prompts: self.prompts,
            last_prompt: self.last_prompt.as_millis(),
            no_code_before: self.no_code_before.as_millis(),
            lock: self.lock.map(|lock| StoredLock {
                since: lock.since.as_millis(),
                reason: lock_to(lock.reason),
            }),
            listed: self.listed,
            snoozes: self.snoozes,
            last_denial: self.last_denial.map(Timestamp::as_millis),
            origins: self.origins.iter().map(store_origin).collect(),
        }
    }

    fn load(stored: StoredAccount) -> Result<Self, BadRecord> {
        let lock = match stored.lock {
            None => None,
            Some(lock) => Some(Lock {
                since: at(lock.since),
                reason: lock_from(lock.reason)?,
            }),
        };
        Ok(Self {
            tenant: TenantId::from_bytes(id16(&stored.tenant)?),
            user: UserId::from_stored(stored.user),
            phones: stored
                .phones
                .into_iter()
                .map(load_phone)
                .collect::<Result<_, _>>()?,
            totps: stored
                .totps
                .into_iter()
                .map(load_totp)
                .collect::<Result<_, _>>()?,
            recovery: stored.recovery.map(load_recovery).transpose()?,
            failures: stored.failures,
            no_guess_before: at(stored.no_guess_before),
            prompts: stored.prompts,
            last_prompt: at(stored.last_prompt),
            no_code_before: at(stored.no_code_before),
            lock,
            listed: stored.listed,
            snoozes: stored.snoozes,
            last_denial: stored.last_denial.map(at),
            origins: stored
                .origins
                .iter()
                .map(load_origin)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn authenticator(bytes: &[u8]) -> Result<AuthenticatorId, BadRecord> {
    id16(bytes).map(AuthenticatorId::from_bytes)
}

fn store_phone(phone: &Phone) -> StoredPhone {
    StoredPhone {
        id: phone.id.as_bytes().to_vec(),
        sealed_number: phone.sealed_number.clone(),
        number: phone.number.to_vec(),
        range: phone.range.to_vec(),
        masked: phone.masked.clone(),
        country: phone.country.clone(),
        language: phone.language.clone(),
        create_time: phone.create_time.as_millis(),
        last_used_time: phone.last_used_time.map(Timestamp::as_millis),
        confirming: phone.confirming.as_ref().map(code::store),
    }
}

fn load_phone(stored: StoredPhone) -> Result<Phone, BadRecord> {
    Ok(Phone {
        id: authenticator(&stored.id)?,
        sealed_number: stored.sealed_number,
        number: id16(&stored.number)?,
        range: id16(&stored.range)?,
        masked: stored.masked,
        country: stored.country,
        language: stored.language,
        create_time: at(stored.create_time),
        last_used_time: stored.last_used_time.map(at),
        confirming: stored.confirming.map(code::load).transpose()?,
    })
}

fn store_totp(totp: &Totp) -> StoredTotp {
    StoredTotp {
        id: totp.id.as_bytes().to_vec(),
        sealed_secret: totp.sealed_secret.clone(),
        create_time: totp.create_time.as_millis(),
        last_used_time: totp.last_used_time.map(Timestamp::as_millis),
        confirmed: totp.confirmed,
        wrong: totp.wrong,
        last_step: totp.last_step,
    }
}

fn load_totp(stored: StoredTotp) -> Result<Totp, BadRecord> {
    Ok(Totp {
        id: authenticator(&stored.id)?,
        sealed_secret: stored.sealed_secret,
        create_time: at(stored.create_time),
        last_used_time: stored.last_used_time.map(at),
        confirmed: stored.confirmed,
        wrong: stored.wrong,
        last_step: stored.last_step,
    })
}

fn load_recovery(stored: StoredRecoveryCodes) -> Result<RecoveryCodes, BadRecord> {
    Ok(RecoveryCodes {
        id: authenticator(&stored.id)?,
        create_time: at(stored.create_time),
        last_used_time: stored.last_used_time.map(at),
        unused: stored
            .unused
            .iter()
            .map(|hash| bytes32(hash).map(CodeHash))
            .collect::<Result<_, _>>()?,
    })
}
