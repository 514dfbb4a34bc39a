//! Challenges, how they ended, and what was signed.

use prost::Message;

use super::{
    BadRecord, Record, VERSION, algorithm_to, at,
    browser::{StoredOrigin, load_origin, load_risks, store_origin, store_risks},
    code::{self, StoredCodes},
    id16, method_from, method_to, protection_from, protection_to, public_key,
};
use crate::domain::{
    api_key::ApiKeyId,
    browser::Remembering,
    challenge::{
        Challenge, Delivery, DeliveryState, DeviceProof, Final, Outcome, Reason, Road, SignedBody,
    },
    device::PushGateway,
    ids::{AuthenticatorId, BrowserId, ChallengeId, DeviceId, TenantId, UserId},
    response::UserVerification,
    risk::Origin,
    time::Timestamp,
};

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
    Reason::TimedOut = 9, Reason::CancelledByCaller = 10, Reason::CodeVerified = 5,
    Reason::TooManyAttempts = 6, Reason::LockedOut = 11, Reason::RememberedBrowser = 12,
    Reason::Policy = 13,
});

fn road_to(road: Road) -> u32 {
    match road {
        Road::Push(PushGateway::Apns) => 1,
        Road::Push(PushGateway::Fcm) => 2,
        Road::Subscribe => 3,
        Road::Sms => 4,
    }
}

fn road_from(number: u32) -> Result<Road, BadRecord> {
    match number {
        1 => Ok(Road::Push(PushGateway::Apns)),
        2 => Ok(Road::Push(PushGateway::Fcm)),
        3 => Ok(Road::Subscribe),
        4 => Ok(Road::Sms),
        _ => Err(BadRecord("unknown Road")),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredSignedBody {
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    /// The `request_id` it was asked for with. Absent too where an index row
    /// says when the idempotency key leaves.
    #[prost(bytes = "vec", optional, tag = "4")]
    request: Option<Vec<u8>>,
}

/// A signed body with the `request_id` it was asked for with, whose idempotency
/// key is to leave with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct RequestedBody {
    pub(in crate::store::embedded) signed: SignedBody,
    pub(in crate::store::embedded) request: Option<[u8; 16]>,
}

impl Record for RequestedBody {
    type Stored = StoredSignedBody;

    fn store(&self) -> StoredSignedBody {
        StoredSignedBody {
            request: self.request.map(|request| request.to_vec()),
            ..self.signed.store()
        }
    }

    fn load(mut stored: StoredSignedBody) -> Result<Self, BadRecord> {
        let request = stored.request.take();
        Ok(Self {
            request: request.map(|request| id16(&request)).transpose()?,
            signed: SignedBody::load(stored)?,
        })
    }
}

impl Record for SignedBody {
    type Stored = StoredSignedBody;

    fn store(&self) -> StoredSignedBody {
        StoredSignedBody {
            body: self.body.clone(),
            key_id: self.key_id.clone(),
            signature: self.signature.clone(),
            request: None,
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
pub(in crate::store::embedded) struct StoredChallenge {
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
    /// Absent: `expire_time`.
    #[prost(uint64, optional, tag = "12")]
    prompt_expire_time: Option<u64>,
    #[prost(uint64, optional, tag = "13")]
    fallback_time: Option<u64>,
    /// Absent: none was sent, none was wrong.
    #[prost(message, optional, tag = "14")]
    codes: Option<StoredCodes>,
    #[prost(bool, tag = "20")]
    remember_browser: bool,
    #[prost(bytes = "vec", optional, tag = "21")]
    browser: Option<Vec<u8>>,
    #[prost(message, optional, tag = "22")]
    origin: Option<StoredOrigin>,
    #[prost(uint32, repeated, tag = "23")]
    risks: Vec<u32>,
    /// Absent while it is pending, and where it would not fit: then it has a row
    /// of its own.
    #[prost(message, optional, tag = "24")]
    body: Option<StoredSignedBody>,
}

/// A challenge as it is kept: once it is decided, with what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct Kept {
    pub(in crate::store::embedded) challenge: Challenge,
    pub(in crate::store::embedded) body: Option<RequestedBody>,
}

impl Record for Kept {
    type Stored = StoredChallenge;

    fn store(&self) -> StoredChallenge {
        StoredChallenge {
            body: self.body.as_ref().map(RequestedBody::store),
            ..self.challenge.store()
        }
    }

    fn load(mut stored: StoredChallenge) -> Result<Self, BadRecord> {
        let body = stored.body.take();
        Ok(Self {
            challenge: Challenge::load(stored)?,
            body: body.map(RequestedBody::load).transpose()?,
        })
    }
}

/// The value of a [`Kept`] whose body is stored as `body`; none if that is of
/// another version.
pub(in crate::store::embedded) fn with_body(challenge: &Challenge, body: &[u8]) -> Option<Vec<u8>> {
    let (version, body) = body.split_first()?;
    let mut value = challenge.to_value();
    prost::encoding::encode_key(24, prost::encoding::WireType::LengthDelimited, &mut value);
    prost::encoding::encode_varint(body.len() as u64, &mut value);
    value.extend_from_slice(body);
    (*version == VERSION).then_some(value)
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredDelivery {
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
    #[prost(bool, tag = "6")]
    pushed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredOutcome {
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
    #[prost(bytes = "vec", optional, tag = "6")]
    authenticator: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredProof {
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
            prompt_expire_time: (self.prompt_expire_time != self.expire_time)
                .then_some(self.prompt_expire_time.as_millis()),
            fallback_time: self.fallback_time.map(Timestamp::as_millis),
            codes: Some(code::store(&self.codes)).filter(|codes| *codes != StoredCodes::default()),
            remember_browser: self.remembering.wanted,
            browser: self.remembering.browser.map(|id| id.as_bytes().to_vec()),
            origin: Some(store_origin(&self.origin))
                .filter(|origin| *origin != StoredOrigin::default()),
            risks: store_risks(&self.risks),
            body: None,
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
            prompt_expire_time: at(stored.prompt_expire_time.unwrap_or(stored.expire_time)),
            fallback_time: stored.fallback_time.map(at),
            codes: code::load(stored.codes.unwrap_or_default())?,
            collapse_id: stored.collapse_id,
            deliveries: stored
                .deliveries
                .into_iter()
                .map(load_delivery)
                .collect::<Result<_, _>>()?,
            outcome: stored.outcome.map(load_outcome).transpose()?,
            remembering: Remembering {
                wanted: stored.remember_browser,
                browser: match stored.browser {
                    None => None,
                    Some(id) => Some(BrowserId::from_bytes(id16(&id)?)),
                },
            },
            origin: match stored.origin {
                None => Origin::default(),
                Some(origin) => load_origin(&origin)?,
            },
            risks: load_risks(stored.risks)?,
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
        pushed: delivery.pushed,
    }
}

fn load_delivery(stored: StoredDelivery) -> Result<Delivery, BadRecord> {
    Ok(Delivery {
        device: DeviceId::from_bytes(id16(&stored.device)?),
        road: road_from(stored.road)?,
        state: delivery_from(stored.state)?,
        reason: stored.reason,
        update_time: at(stored.update_time),
        pushed: stored.pushed,
    })
}

pub(super) fn store_proof(proof: &DeviceProof) -> StoredProof {
    StoredProof {
        device: proof.device.as_bytes().to_vec(),
        body: proof.body.clone(),
        signature: proof.signature.clone(),
        key_algorithm: algorithm_to(proof.public_key.algorithm()),
        public_key: proof.public_key.as_bytes().to_vec(),
        key_protection: protection_to(proof.key_protection),
        user_verification: verification_to(proof.user_verification),
    }
}

pub(super) fn load_proof(stored: StoredProof) -> Result<DeviceProof, BadRecord> {
    Ok(DeviceProof {
        device: DeviceId::from_bytes(id16(&stored.device)?),
        body: stored.body,
        signature: stored.signature,
        public_key: public_key(stored.key_algorithm, &stored.public_key)?,
        key_protection: protection_from(stored.key_protection)?,
        user_verification: verification_from(stored.user_verification)?,
    })
}

fn store_outcome(outcome: &Outcome) -> StoredOutcome {
    StoredOutcome {
        state: final_to(outcome.state),
        reason: reason_to(outcome.reason),
        decide_time: outcome.decide_time.as_millis(),
        receipt_key_id: outcome.receipt_key_id.clone(),
        proof: outcome.proof.as_ref().map(store_proof),
        authenticator: outcome.authenticator.map(|id| id.as_bytes().to_vec()),
    }
}

fn load_outcome(stored: StoredOutcome) -> Result<Outcome, BadRecord> {
    Ok(Outcome {
        state: final_from(stored.state)?,
        reason: reason_from(stored.reason)?,
        decide_time: at(stored.decide_time),
        proof: stored.proof.map(load_proof).transpose()?,
        authenticator: stored
            .authenticator
            .map(|id| id16(&id))
            .transpose()?
            .map(AuthenticatorId::from_bytes),
        receipt_key_id: stored.receipt_key_id,
    })
}
