//! What the ideal flow keeps: everything in memory.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use countersign_proto::signing::{PrivateKey, PublicKey, Purpose, key_id, sha256};
use countersign_proto::v1::{
    Challenge, ChallengeBody, ChallengeState, CreateChallengeRequest, Decision, DecisionReason,
    Delivery, DeliveryState, DeviceProof, Gateway, Method, ResponseBody, SignedChallenge,
    SignedDeviceProof, SignedResponse,
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Notify;
use tonic::Status;
use uuid::Uuid;

use super::super::ORGANISATION;
use super::{TENANT_ID, receipt};
use crate::phone::timestamp;

/// Locks that a map is spread over.
const SHARDS: usize = 64;
/// As the broker's default.
const LIFE: Duration = Duration::from_secs(60);
/// How far a phone's clock may be off: as the broker has it.
const SKEW: Duration = Duration::from_secs(60);

/// A map under many locks.
pub(super) struct Sharded<K, V> {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<K, V>>>,
}

impl<K: std::hash::Hash + Eq, V: Clone> Sharded<K, V> {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    fn shard<Q>(&self, key: &Q) -> Option<&Mutex<HashMap<K, V>>>
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + ?Sized,
    {
        let hash = usize::try_from(self.hasher.hash_one(key)).unwrap_or(usize::MAX);
        self.shards.get(hash % SHARDS)
    }

    fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        self.shard(key)?.lock().get(key).cloned()
    }

    fn insert(&self, key: K, value: V) {
        if let Some(shard) = self.shard(&key) {
            shard.lock().insert(key, value);
        }
    }

    pub(super) fn remove<Q>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        self.remove_if(key, |_| true);
    }

    fn remove_if<Q>(&self, key: &Q, condition: impl FnOnce(&V) -> bool)
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let Some(shard) = self.shard(key) else { return };
        let mut map = shard.lock();
        if map.get(key).is_some_and(condition) {
            map.remove(key);
        }
    }
}

/// How to run it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdealOptions {
    /// Whether signatures are made and verified.
    pub(crate) signatures: bool,
}

/// A registered phone.
pub(super) struct IdealDevice {
    pub(super) device_id: String,
    pub(super) user_id: String,
    pub(super) public_key: PublicKey,
}

/// One question.
pub(super) struct Entry {
    /// As answered to the caller that created it.
    pub(super) pending: Challenge,
    pub(super) device: Arc<IdealDevice>,
    pub(super) decided: OnceLock<Challenge>,
    pub(super) news: Notify,
}

impl Entry {
    pub(super) fn signed(&self) -> SignedChallenge {
        self.pending.signed_challenge.clone().unwrap_or_default()
    }

    /// The decided challenge, once it is.
    pub(super) async fn outcome(&self) -> Challenge {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(challenge) = self.decided.get() {
                return challenge.clone();
            }
            news.await;
        }
    }
}

/// The ideal flow's server.
pub(crate) struct Ideal {
    options: IdealOptions,
    key: PrivateKey,
    pub(super) key_id: String,
    devices: HashMap<String, Arc<IdealDevice>>,
    users: HashMap<String, Arc<IdealDevice>>,
    pub(super) challenges: Arc<Sharded<String, Arc<Entry>>>,
    pending: Sharded<String, Arc<Entry>>,
}

impl Ideal {
    /// With these phones: device id, user id, public key.
    pub(crate) fn new(
        options: IdealOptions,
        phones: impl IntoIterator<Item = (String, String, PublicKey)>,
    ) -> Self {
        let seed: [u8; 32] = rand::random();
        let key = PrivateKey::from_ed25519_seed(&seed);
        let public = <[u8; 32]>::try_from(key.public_bytes()).unwrap_or_default();
        let mut devices = HashMap::new();
        let mut users = HashMap::new();
        for (device_id, user_id, public_key) in phones {
            let device = Arc::new(IdealDevice {
                device_id: device_id.clone(),
                user_id: user_id.clone(),
                public_key,
            });
            devices.insert(device_id, device.clone());
            users.insert(user_id, device);
        }
        Self {
            options,
            key_id: key_id(&public),
            key,
            devices,
            users,
            challenges: Arc::new(Sharded::new()),
            pending: Sharded::new(),
        }
    }

    /// The key set that its receipts are checked against.
    pub(crate) fn jwks(&self) -> String {
        receipt::jwks(&self.key_id, &self.key.public_bytes())
    }

    fn sign(&self, purpose: Purpose, body: &[u8]) -> Result<Bytes, Status> {
        if !self.options.signatures {
            return Ok(Bytes::from_static(&[0; 64]));
        }
        let signature = self.key.sign(purpose, body);
        signature.map(Into::into).map_err(internal)
    }

    fn verify(
        &self,
        key: &PublicKey,
        purpose: Purpose,
        body: &[u8],
        signature: &[u8],
    ) -> Result<(), Status> {
        if !self.options.signatures {
            return Ok(());
        }
        key.verify(purpose, body, signature)
            .map_err(|_| Status::unauthenticated("the signature does not match"))
    }

    pub(super) fn create(&self, request: CreateChallengeRequest) -> Result<Challenge, Status> {
        let device = self
            .users
            .get(&request.user_id)
            .ok_or_else(|| Status::not_found("no such user"))?
            .clone();
        let now = SystemTime::now();
        let id = Uuid::now_v7().hyphenated().to_string();
        let number = format!("{:02}", rand::random_range(0..100));
        let body = ChallengeBody {
            challenge_id: id.clone(),
            tenant_id: TENANT_ID.to_owned(),
            organisation: ORGANISATION.to_owned(),
            user_id: request.user_id.clone(),
            context: request.context,
            template_id: "sign-in".to_owned(),
            template_arguments: Vec::new(),
            number_digits: 2,
            create_time: Some(timestamp(now)),
            expire_time: Some(timestamp(now + LIFE)),
            nonce: rand::random::<[u8; 32]>().to_vec().into(),
        };
        let body = Bytes::from(body.encode_to_vec());
        let signed = SignedChallenge {
            signature: self.sign(Purpose::Challenge, &body)?,
            key_id: self.key_id.clone(),
            body,
        };
        let pending = Challenge {
            challenge_id: id.clone(),
            user_id: request.user_id.clone(),
            state: ChallengeState::Pending.into(),
            method: Method::Push.into(),
            number_to_match: number,
            deliveries: vec![Delivery {
                device_id: device.device_id.clone(),
                gateway: Gateway::Subscribe.into(),
                state: DeliveryState::Queued.into(),
                reason: String::new(),
                update_time: Some(timestamp(now)),
            }],
            create_time: Some(timestamp(now)),
            expire_time: Some(timestamp(now + LIFE)),
            signed_challenge: Some(signed),
            ..Challenge::default()
        };
        let entry = Arc::new(Entry {
            pending: pending.clone(),
            device,
            decided: OnceLock::new(),
            news: Notify::new(),
        });
        self.challenges.insert(id, entry.clone());
        self.pending.insert(request.user_id, entry);
        Ok(pending)
    }

    pub(super) fn entry(&self, challenge_id: &str) -> Result<Arc<Entry>, Status> {
        self.challenges
            .get(challenge_id)
            .ok_or_else(|| Status::not_found("no such challenge"))
    }

    /// The device that a proof proves to call `method` with `message`.
    pub(super) fn proven(
        &self,
        proof: &[u8],
        method: &str,
        message: &[u8],
    ) -> Result<Arc<IdealDevice>, Status> {
        let refused = || Status::unauthenticated("the device is not proven");
        let signed = SignedDeviceProof::decode(proof).map_err(|_| refused())?;
        let claims = DeviceProof::decode(signed.body.clone()).map_err(|_| refused())?;
        let device = self.devices.get(&claims.device_id).ok_or_else(refused)?;
        let digest = claims.request_digest.as_ref() == sha256(message);
        if claims.method != method || !digest || claims.nonce.len() < 16 {
            return Err(refused());
        }
        check_time(claims.issue_time.as_ref())?;
        self.verify(
            &device.public_key,
            Purpose::DeviceProof,
            &signed.body,
            &signed.signature,
        )?;
        Ok(device.clone())
    }

    /// What `device` may answer.
    pub(super) fn pending_of(&self, device: &IdealDevice) -> Vec<SignedChallenge> {
        let entry = self.pending.get(&device.user_id);
        entry.map(|entry| entry.signed()).into_iter().collect()
    }

    /// Takes a signed answer.
    pub(super) fn respond(
        &self,
        response: &SignedResponse,
    ) -> Result<(ChallengeState, DecisionReason), Status> {
        let refused = |what: &'static str| Status::invalid_argument(what);
        let body = ResponseBody::decode(response.body.clone())
            .map_err(|_| refused("the response can't be read"))?;
        let entry = self.entry(&body.challenge_id)?;
        if entry.device.device_id != body.device_id {
            return Err(Status::unauthenticated("the signature does not match"));
        }
        self.verify(
            &entry.device.public_key,
            Purpose::Response,
            &response.body,
            &response.signature,
        )?;
        let signed = entry.signed();
        if body.challenge_digest.as_ref() != sha256(&signed.body) {
            return Err(refused("the answer is to another challenge"));
        }
        check_time(body.respond_time.as_ref())?;
        let (state, reason) = match body.decision() {
            Decision::Approve if body.number == entry.pending.number_to_match => {
                (ChallengeState::Approved, DecisionReason::UserApproved)
            }
            Decision::Approve => (ChallengeState::Denied, DecisionReason::WrongNumber),
            Decision::Deny => (ChallengeState::Denied, DecisionReason::UserDenied),
            Decision::ReportFraud => (ChallengeState::Denied, DecisionReason::FraudReported),
            Decision::Unspecified => return Err(refused("the decision is required")),
        };
        let now = SystemTime::now();
        let input = receipt::signing_input(&self.key_id, &entry, response, (state, reason), now)
            .map_err(internal)?;
        let signature = if self.options.signatures {
            self.key.sign_raw(input.as_bytes()).map_err(internal)?
        } else {
            vec![0; 64]
        };
        let mut decided = entry.pending.clone();
        decided.set_state(state);
        decided.set_reason(reason);
        decided.decide_time = Some(timestamp(now));
        decided.decided_by_device_id = entry.device.device_id.clone();
        if let Some(delivery) = decided.deliveries.first_mut() {
            delivery.set_state(DeliveryState::Answered);
            delivery.update_time = Some(timestamp(now));
        }
        decided.receipt = receipt::compact(input, &signature);
        // Exactly one decision: whoever comes second finds it taken.
        entry
            .decided
            .set(decided)
            .map_err(|_| Status::failed_precondition("decided already"))?;
        self.pending
            .remove_if(&entry.device.user_id, |other| Arc::ptr_eq(other, &entry));
        entry.news.notify_waiters();
        Ok((state, reason))
    }
}

fn check_time(time: Option<&prost_types::Timestamp>) -> Result<(), Status> {
    let off = || Status::unauthenticated("the phone's clock is off");
    let time = time.ok_or_else(off)?;
    let time = SystemTime::try_from(*time).map_err(|_| off())?;
    let now = SystemTime::now();
    let distance = now
        .duration_since(time)
        .unwrap_or_else(|ahead| ahead.duration());
    if distance > SKEW { Err(off()) } else { Ok(()) }
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}
