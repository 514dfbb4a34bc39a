//! Registered phones.

use prost::Message;

use super::{
    BadRecord, Record, algorithm_to, at, bytes32, gateway_from, gateway_to, id16, protection_from,
    protection_to, public_key,
};
use crate::domain::{
    device::{Device, Platform, PushRegistration},
    ids::{DeviceId, TenantId, UserId},
    time::Timestamp,
};

numbered!(platform_to platform_from Platform { Platform::Ios = 1, Platform::Android = 2 });

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredDevice {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    tenant: Vec<u8>,
    #[prost(string, tag = "3")]
    user: String,
    #[prost(uint32, tag = "4")]
    key_algorithm: u32,
    #[prost(bytes = "vec", tag = "5")]
    public_key: Vec<u8>,
    #[prost(uint32, tag = "6")]
    key_protection: u32,
    #[prost(uint32, tag = "7")]
    platform: u32,
    #[prost(string, tag = "8")]
    display_name: String,
    #[prost(string, tag = "9")]
    language: String,
    #[prost(string, tag = "10")]
    app_version: String,
    #[prost(message, optional, tag = "11")]
    push: Option<StoredPush>,
    #[prost(bytes = "vec", optional, tag = "12")]
    encryption_key: Option<Vec<u8>>,
    #[prost(uint64, tag = "13")]
    create_time: u64,
    #[prost(uint64, optional, tag = "14")]
    last_used_time: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredPush {
    #[prost(uint32, tag = "1")]
    gateway: u32,
    #[prost(string, tag = "2")]
    app_id: String,
    #[prost(bool, tag = "3")]
    sandbox: bool,
    #[prost(string, tag = "4")]
    token: String,
    #[prost(uint64, tag = "5")]
    register_time: u64,
    #[prost(bool, tag = "6")]
    quarantined: bool,
}

pub(super) fn store_push(push: &PushRegistration) -> StoredPush {
    StoredPush {
        gateway: gateway_to(push.gateway),
        app_id: push.app_id.clone(),
        sandbox: push.sandbox,
        token: push.token.clone(),
        register_time: push.register_time.as_millis(),
        quarantined: push.quarantined,
    }
}

pub(super) fn load_push(stored: StoredPush) -> Result<PushRegistration, BadRecord> {
    Ok(PushRegistration {
        gateway: gateway_from(stored.gateway)?,
        app_id: stored.app_id,
        sandbox: stored.sandbox,
        token: stored.token,
        register_time: at(stored.register_time),
        quarantined: stored.quarantined,
    })
}

impl Record for Device {
    type Stored = StoredDevice;

    fn store(&self) -> StoredDevice {
        StoredDevice {
            id: self.id.as_bytes().to_vec(),
            tenant: self.tenant.as_bytes().to_vec(),
            user: self.user.as_str().to_owned(),
            key_algorithm: algorithm_to(self.key_algorithm()),
            public_key: self.public_key.as_bytes().to_vec(),
            key_protection: protection_to(self.key_protection),
            platform: platform_to(self.platform),
            display_name: self.display_name.clone(),
            language: self.language.clone(),
            app_version: self.app_version.clone(),
            push: self.push.as_ref().map(store_push),
            encryption_key: self.encryption_key.map(|key| key.to_vec()),
            create_time: self.create_time.as_millis(),
            last_used_time: self.last_used_time.map(Timestamp::as_millis),
        }
    }

    fn load(stored: StoredDevice) -> Result<Self, BadRecord> {
        Ok(Self {
            id: DeviceId::from_bytes(id16(&stored.id)?),
            tenant: TenantId::from_bytes(id16(&stored.tenant)?),
            user: UserId::from_stored(stored.user),
            public_key: public_key(stored.key_algorithm, &stored.public_key)?,
            key_protection: protection_from(stored.key_protection)?,
            platform: platform_from(stored.platform)?,
            display_name: stored.display_name,
            language: stored.language,
            app_version: stored.app_version,
            push: stored.push.map(load_push).transpose()?,
            encryption_key: stored.encryption_key.map(|key| bytes32(&key)).transpose()?,
            create_time: at(stored.create_time),
            last_used_time: stored.last_used_time.map(at),
        })
    }
}
