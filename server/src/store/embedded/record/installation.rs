//! Organisations, API keys, signing keys.

use prost::Message;

use super::{
    BadRecord, Record, at, bytes32, id16,
    policy::{self, StoredRules},
};
use crate::domain::{
    api_key::{ApiKey, ApiKeyId, Role},
    ids::TenantId,
    policy::{NumberMatching, PendingLimit, Policy},
    signing_key::{SigningKey, Succession},
    tenant::Tenant,
    time::Timestamp,
};

numbered!(role_to role_from Role { Role::Idp = 1, Role::Admin = 2 });
numbered!(matching_to matching_from NumberMatching { NumberMatching::Off = 1, NumberMatching::Always = 2, NumberMatching::WhenRisky = 3 });
numbered!(limit_to limit_from PendingLimit { PendingLimit::Supersede = 1, PendingLimit::Reject = 2 });

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredTenant {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    display_name: String,
    #[prost(uint64, tag = "3")]
    create_time: u64,
    #[prost(uint32, tag = "4")]
    number_matching: u32,
    #[prost(uint32, tag = "5")]
    number_digits: u32,
    #[prost(uint64, tag = "6")]
    challenge_ttl_ms: u64,
    #[prost(uint32, tag = "7")]
    pending_limit: u32,
    #[prost(bool, tag = "8")]
    encrypted_prompts: bool,
    #[prost(message, optional, tag = "9")]
    rules: Option<StoredRules>,
}

impl StoredTenant {
    /// Of an organisation without id, name and time.
    pub(super) fn rules_only(policy: &Policy) -> Self {
        Self {
            number_matching: matching_to(policy.number_matching),
            number_digits: u32::from(policy.number_digits),
            challenge_ttl_ms: policy::millis(policy.challenge_ttl),
            pending_limit: limit_to(policy.pending_limit),
            encrypted_prompts: policy.encrypted_prompts,
            rules: policy::store(policy),
            ..Self::default()
        }
    }

    pub(super) fn rules(self) -> Result<Policy, BadRecord> {
        let first = Policy {
            number_matching: matching_from(self.number_matching)?,
            number_digits: u8::try_from(self.number_digits)
                .map_err(|_| BadRecord("number_digits out of range"))?,
            challenge_ttl: std::time::Duration::from_millis(self.challenge_ttl_ms),
            pending_limit: limit_from(self.pending_limit)?,
            encrypted_prompts: self.encrypted_prompts,
            ..Policy::default()
        };
        policy::load(self.rules, first)
    }
}

impl Record for Tenant {
    type Stored = StoredTenant;

    fn store(&self) -> StoredTenant {
        StoredTenant {
            id: self.id.as_bytes().to_vec(),
            display_name: self.display_name.clone(),
            create_time: self.create_time.as_millis(),
            ..StoredTenant::rules_only(&self.policy)
        }
    }

    fn load(stored: StoredTenant) -> Result<Self, BadRecord> {
        Ok(Self {
            id: TenantId::from_bytes(id16(&stored.id)?),
            display_name: stored.display_name.clone(),
            create_time: at(stored.create_time),
            policy: stored.rules()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredApiKey {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", tag = "2")]
    secret_hash: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "3")]
    tenant: Option<Vec<u8>>,
    #[prost(uint32, tag = "4")]
    role: u32,
    #[prost(string, tag = "5")]
    display_name: String,
    #[prost(uint64, tag = "6")]
    create_time: u64,
    #[prost(uint64, optional, tag = "7")]
    revoke_time: Option<u64>,
}

impl Record for ApiKey {
    type Stored = StoredApiKey;

    fn store(&self) -> StoredApiKey {
        StoredApiKey {
            id: self.id.as_str().to_owned(),
            secret_hash: self.secret_hash.to_vec(),
            tenant: self.tenant.map(|id| id.as_bytes().to_vec()),
            role: role_to(self.role),
            display_name: self.display_name.clone(),
            create_time: self.create_time.as_millis(),
            revoke_time: self.revoke_time.map(Timestamp::as_millis),
        }
    }

    fn load(stored: StoredApiKey) -> Result<Self, BadRecord> {
        Ok(Self {
            id: ApiKeyId::parse(&stored.id).ok_or(BadRecord("not an API key id"))?,
            secret_hash: bytes32(&stored.secret_hash)?,
            tenant: stored
                .tenant
                .map(|id| id16(&id))
                .transpose()?
                .map(TenantId::from_bytes),
            role: role_from(stored.role)?,
            display_name: stored.display_name,
            create_time: at(stored.create_time),
            revoke_time: stored.revoke_time.map(at),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredSigningKey {
    #[prost(string, tag = "1")]
    key_id: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    sealed_seed: Vec<u8>,
    #[prost(uint64, tag = "4")]
    create_time: u64,
    #[prost(uint64, tag = "5")]
    activate_time: u64,
    #[prost(message, optional, tag = "6")]
    succession: Option<StoredSuccession>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredSuccession {
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
    #[prost(string, tag = "2")]
    signer_key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
}

impl Record for SigningKey {
    type Stored = StoredSigningKey;

    fn store(&self) -> StoredSigningKey {
        StoredSigningKey {
            key_id: self.key_id.clone(),
            public_key: self.public_key.to_vec(),
            sealed_seed: self.sealed_seed.clone(),
            create_time: self.create_time.as_millis(),
            activate_time: self.activate_time.as_millis(),
            succession: self.succession.as_ref().map(|succession| StoredSuccession {
                body: succession.body.clone(),
                signer_key_id: succession.signer_key_id.clone(),
                signature: succession.signature.clone(),
            }),
        }
    }

    fn load(stored: StoredSigningKey) -> Result<Self, BadRecord> {
        Ok(Self {
            key_id: stored.key_id,
            public_key: bytes32(&stored.public_key)?,
            sealed_seed: stored.sealed_seed,
            create_time: at(stored.create_time),
            activate_time: at(stored.activate_time),
            succession: stored.succession.map(|succession| Succession {
                body: succession.body,
                signer_key_id: succession.signer_key_id,
                signature: succession.signature,
            }),
        })
    }
}
