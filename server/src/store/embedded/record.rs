//! How things are written down: protobuf, each value behind a version byte.
//!
//! Tags are for ever: a field is added, never reused. `golden` holds a sample of
//! every version ever written.

use countersign_proto::{signing::PublicKey, v1::KeyAlgorithm};
use prost::Message;

use crate::domain::{
    api_key::{ApiKey, ApiKeyId, Role},
    challenge::{
        Challenge, Delivery, DeliveryState, DeviceProof, Final, Method, Outcome, Reason, Road,
        SignedBody,
    },
    device::{Device, KeyProtection, Platform, PushGateway, PushRegistration},
    ids::{ChallengeId, DeviceId, EnrollmentId, PushId, TenantId, UserId},
    policy::{NumberMatching, PendingLimit, Policy},
    push::{PushJob, PushKind},
    response::UserVerification,
    signing_key::{SigningKey, Succession},
    tenant::Tenant,
    ticket::{Ticket, TicketState},
    time::Timestamp,
};

/// Version of every value written today.
pub(super) const VERSION: u8 = 1;

/// A value that is not what its key promises.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadRecord(pub(super) &'static str);

/// Something that can be written down and read back.
pub(super) trait Record: Sized {
    /// Its stored form, without the version byte.
    type Stored: Message + Default;
    /// To its stored form.
    fn store(&self) -> Self::Stored;
    /// From its stored form.
    fn load(stored: Self::Stored) -> Result<Self, BadRecord>;

    /// Version byte and message.
    fn to_value(&self) -> Vec<u8> {
        let stored = self.store();
        let mut value = Vec::with_capacity(stored.encoded_len() + 1);
        value.push(VERSION);
        // A Vec grows as needed: encoding into it can't fail.
        if stored.encode(&mut value).is_err() {
            value.clear();
        }
        value
    }

    /// Reads version byte and message.
    fn from_value(value: &[u8]) -> Result<Self, BadRecord> {
        match value.split_first() {
            Some((&VERSION, rest)) => Self::load(
                Self::Stored::decode(rest).map_err(|_| BadRecord("not a protobuf message"))?,
            ),
            Some(_) => Err(BadRecord("unknown record version")),
            None => Err(BadRecord("empty value")),
        }
    }
}

fn id16(bytes: &[u8]) -> Result<[u8; 16], BadRecord> {
    bytes
        .try_into()
        .map_err(|_| BadRecord("an id must have 16 bytes"))
}

fn bytes32(bytes: &[u8]) -> Result<[u8; 32], BadRecord> {
    bytes
        .try_into()
        .map_err(|_| BadRecord("a key or hash must have 32 bytes"))
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Numbers of an enum in stored form. Never renumber.
macro_rules! numbered {
    ($to:ident $from:ident $type:ty { $($variant:path = $number:literal),* $(,)? }) => {
        fn $to(value: $type) -> u32 {
            match value { $($variant => $number),* }
        }
        fn $from(number: u32) -> Result<$type, BadRecord> {
            match number {
                $($number => Ok($variant),)*
                _ => Err(BadRecord(concat!("unknown ", stringify!($type)))),
            }
        }
    };
}

numbered!(role_to role_from Role { Role::Idp = 1, Role::Admin = 2 });
numbered!(matching_to matching_from NumberMatching { NumberMatching::Off = 1, NumberMatching::Always = 2 });
numbered!(limit_to limit_from PendingLimit { PendingLimit::Supersede = 1, PendingLimit::Reject = 2 });
numbered!(platform_to platform_from Platform { Platform::Ios = 1, Platform::Android = 2 });
numbered!(protection_to protection_from KeyProtection { KeyProtection::Software = 1, KeyProtection::Hardware = 2 });
numbered!(gateway_to gateway_from PushGateway { PushGateway::Apns = 1, PushGateway::Fcm = 2 });
numbered!(kind_to kind_from PushKind { PushKind::Prompt = 1, PushKind::Withdraw = 2 });
numbered!(method_to method_from Method { Method::Push = 1 });
numbered!(verification_to verification_from UserVerification {
    UserVerification::None = 1, UserVerification::Pin = 2, UserVerification::Biometric = 3,
});
numbered!(delivery_to delivery_from DeliveryState {
    DeliveryState::Queued = 1, DeliveryState::Accepted = 2, DeliveryState::Fetched = 3,
    DeliveryState::Shown = 4, DeliveryState::Answered = 5, DeliveryState::Failed = 6,
});
numbered!(final_to final_from Final {
    Final::Approved = 2, Final::Denied = 3, Final::Expired = 4, Final::Cancelled = 5,
});
numbered!(reason_to reason_from Reason {
    Reason::UserApproved = 1, Reason::UserDenied = 2, Reason::FraudReported = 3,
    Reason::WrongNumber = 4, Reason::Superseded = 7, Reason::Unreachable = 8,
    Reason::TimedOut = 9, Reason::CancelledByCaller = 10,
});
fn road_to(road: Road) -> u32 {
    match road {
        Road::Push(PushGateway::Apns) => 1,
        Road::Push(PushGateway::Fcm) => 2,
        Road::Subscribe => 3,
    }
}

fn road_from(number: u32) -> Result<Road, BadRecord> {
    match number {
        1 => Ok(Road::Push(PushGateway::Apns)),
        2 => Ok(Road::Push(PushGateway::Fcm)),
        3 => Ok(Road::Subscribe),
        _ => Err(BadRecord("unknown Road")),
    }
}

fn algorithm_to(algorithm: KeyAlgorithm) -> u32 {
    u32::try_from(i32::from(algorithm)).unwrap_or_default()
}

fn public_key(algorithm: u32, bytes: &[u8]) -> Result<PublicKey, BadRecord> {
    let algorithm = i32::try_from(algorithm)
        .ok()
        .and_then(|number| KeyAlgorithm::try_from(number).ok())
        .ok_or(BadRecord("unknown key algorithm"))?;
    PublicKey::from_bytes(algorithm, bytes).map_err(|_| BadRecord("not a public key"))
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredTenant {
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
}

impl Record for Tenant {
    type Stored = StoredTenant;

    fn store(&self) -> StoredTenant {
        StoredTenant {
            id: self.id.as_bytes().to_vec(),
            display_name: self.display_name.clone(),
            create_time: self.create_time.as_millis(),
            number_matching: matching_to(self.policy.number_matching),
            number_digits: u32::from(self.policy.number_digits),
            challenge_ttl_ms: u64::try_from(self.policy.challenge_ttl.as_millis())
                .unwrap_or(u64::MAX),
            pending_limit: limit_to(self.policy.pending_limit),
            encrypted_prompts: self.policy.encrypted_prompts,
        }
    }

    fn load(stored: StoredTenant) -> Result<Self, BadRecord> {
        Ok(Self {
            id: TenantId::from_bytes(id16(&stored.id)?),
            display_name: stored.display_name,
            create_time: at(stored.create_time),
            policy: Policy {
                number_matching: matching_from(stored.number_matching)?,
                number_digits: u8::try_from(stored.number_digits)
                    .map_err(|_| BadRecord("number_digits out of range"))?,
                challenge_ttl: std::time::Duration::from_millis(stored.challenge_ttl_ms),
                pending_limit: limit_from(stored.pending_limit)?,
                encrypted_prompts: stored.encrypted_prompts,
            },
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredApiKey {
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
pub(super) struct StoredSigningKey {
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
pub(super) struct StoredSuccession {
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

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredTicket {
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

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredDevice {
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
pub(super) struct StoredPush {
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
            push: self.push.as_ref().map(|push| StoredPush {
                gateway: gateway_to(push.gateway),
                app_id: push.app_id.clone(),
                sandbox: push.sandbox,
                token: push.token.clone(),
                register_time: push.register_time.as_millis(),
                quarantined: push.quarantined,
            }),
            encryption_key: self.encryption_key.map(|key| key.to_vec()),
            create_time: self.create_time.as_millis(),
            last_used_time: self.last_used_time.map(Timestamp::as_millis),
        }
    }

    fn load(stored: StoredDevice) -> Result<Self, BadRecord> {
        let push = match stored.push {
            None => None,
            Some(push) => Some(PushRegistration {
                gateway: gateway_from(push.gateway)?,
                app_id: push.app_id,
                sandbox: push.sandbox,
                token: push.token,
                register_time: at(push.register_time),
                quarantined: push.quarantined,
            }),
        };
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
            push,
            encryption_key: stored.encryption_key.map(|key| bytes32(&key)).transpose()?,
            create_time: at(stored.create_time),
            last_used_time: stored.last_used_time.map(at),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredSignedBody {
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
}

impl Record for SignedBody {
    type Stored = StoredSignedBody;

    fn store(&self) -> StoredSignedBody {
        StoredSignedBody {
            body: self.body.clone(),
            key_id: self.key_id.clone(),
            signature: self.signature.clone(),
        }
    }

    fn load(stored: StoredSignedBody) -> Result<Self, BadRecord> {
        Ok(Self {
            body: stored.body,
            key_id: stored.key_id,
            signature: stored.signature,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredChallenge {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    tenant: Vec<u8>,
    #[prost(string, tag = "3")]
    user: String,
    #[prost(string, tag = "4")]
    api_key: String,
    #[prost(uint32, tag = "5")]
    method: u32,
    #[prost(string, tag = "6")]
    number: String,
    #[prost(uint64, tag = "7")]
    create_time: u64,
    #[prost(uint64, tag = "8")]
    expire_time: u64,
    #[prost(string, tag = "9")]
    collapse_id: String,
    #[prost(message, repeated, tag = "10")]
    deliveries: Vec<StoredDelivery>,
    #[prost(message, optional, tag = "11")]
    outcome: Option<StoredOutcome>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredDelivery {
    #[prost(bytes = "vec", tag = "1")]
    device: Vec<u8>,
    #[prost(uint32, tag = "2")]
    road: u32,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(uint64, tag = "5")]
    update_time: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredOutcome {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(uint32, tag = "2")]
    reason: u32,
    #[prost(uint64, tag = "3")]
    decide_time: u64,
    #[prost(string, tag = "4")]
    receipt_key_id: String,
    #[prost(message, optional, tag = "5")]
    proof: Option<StoredProof>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredProof {
    #[prost(bytes = "vec", tag = "1")]
    device: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(uint32, tag = "4")]
    key_algorithm: u32,
    #[prost(bytes = "vec", tag = "5")]
    public_key: Vec<u8>,
    #[prost(uint32, tag = "6")]
    key_protection: u32,
    #[prost(uint32, tag = "7")]
    user_verification: u32,
}

impl Record for Challenge {
    type Stored = StoredChallenge;

    fn store(&self) -> StoredChallenge {
        StoredChallenge {
            id: self.id.as_bytes().to_vec(),
            tenant: self.tenant.as_bytes().to_vec(),
            user: self.user.as_str().to_owned(),
            api_key: self.api_key.as_str().to_owned(),
            method: method_to(self.method),
            number: self.number.clone(),
            create_time: self.create_time.as_millis(),
            expire_time: self.expire_time.as_millis(),
            collapse_id: self.collapse_id.clone(),
            deliveries: self.deliveries.iter().map(store_delivery).collect(),
            outcome: self.outcome.as_ref().map(store_outcome),
        }
    }

    fn load(stored: StoredChallenge) -> Result<Self, BadRecord> {
        Ok(Self {
            id: ChallengeId::from_bytes(id16(&stored.id)?),
            tenant: TenantId::from_bytes(id16(&stored.tenant)?),
            user: UserId::from_stored(stored.user),
            api_key: ApiKeyId::parse(&stored.api_key).ok_or(BadRecord("not an API key id"))?,
            method: method_from(stored.method)?,
            number: stored.number,
            create_time: at(stored.create_time),
            expire_time: at(stored.expire_time),
            collapse_id: stored.collapse_id,
            deliveries: stored
                .deliveries
                .into_iter()
                .map(load_delivery)
                .collect::<Result<_, _>>()?,
            outcome: stored.outcome.map(load_outcome).transpose()?,
        })
    }
}

fn store_delivery(delivery: &Delivery) -> StoredDelivery {
    StoredDelivery {
        device: delivery.device.as_bytes().to_vec(),
        road: road_to(delivery.road),
        state: delivery_to(delivery.state),
        reason: delivery.reason.clone(),
        update_time: delivery.update_time.as_millis(),
    }
}

fn load_delivery(stored: StoredDelivery) -> Result<Delivery, BadRecord> {
    Ok(Delivery {
        device: DeviceId::from_bytes(id16(&stored.device)?),
        road: road_from(stored.road)?,
        state: delivery_from(stored.state)?,
        reason: stored.reason,
        update_time: at(stored.update_time),
    })
}

fn store_outcome(outcome: &Outcome) -> StoredOutcome {
    StoredOutcome {
        state: final_to(outcome.state),
        reason: reason_to(outcome.reason),
        decide_time: outcome.decide_time.as_millis(),
        receipt_key_id: outcome.receipt_key_id.clone(),
        proof: outcome.proof.as_ref().map(|proof| StoredProof {
            device: proof.device.as_bytes().to_vec(),
            body: proof.body.clone(),
            signature: proof.signature.clone(),
            key_algorithm: algorithm_to(proof.public_key.algorithm()),
            public_key: proof.public_key.as_bytes().to_vec(),
            key_protection: protection_to(proof.key_protection),
            user_verification: verification_to(proof.user_verification),
        }),
    }
}

fn load_outcome(stored: StoredOutcome) -> Result<Outcome, BadRecord> {
    let proof = match stored.proof {
        None => None,
        Some(proof) => Some(DeviceProof {
            device: DeviceId::from_bytes(id16(&proof.device)?),
            body: proof.body,
            signature: proof.signature,
            public_key: public_key(proof.key_algorithm, &proof.public_key)?,
            key_protection: protection_from(proof.key_protection)?,
            user_verification: verification_from(proof.user_verification)?,
        }),
    };
    Ok(Outcome {
        state: final_from(stored.state)?,
        reason: reason_from(stored.reason)?,
        decide_time: at(stored.decide_time),
        proof,
        receipt_key_id: stored.receipt_key_id,
    })
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredPushJob {
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
        })
    }
}
