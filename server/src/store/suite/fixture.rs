//! What the checks are made of.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign_proto::{
    signing::{PrivateKey, PublicKey},
    v1::KeyAlgorithm,
};

use crate::{
    domain::{
        api_key::ApiKeyId,
        audit::{Actor, By},
        challenge::{
            Challenge, Delivery, DeliveryState, DeviceProof, Event, Method, Outcome, Road,
            SignedBody,
        },
        device::{Device, KeyProtection, Platform, PushGateway, PushRegistration},
        ids::{ChallengeId, DeviceId, EnrollmentId, IdRandom, PushId, TenantId, UserId},
        policy::PendingLimit,
        push::{PushJob, PushKind},
        response::{Answer, Choice, UserVerification},
        ticket::{Ticket, TicketCode, TicketState},
        time::Timestamp,
    },
    store::{Created, Decided, NewChallenge, Redeemed, Store},
};

/// When everything here begins.
pub(in crate::store) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Life of a challenge.
pub(in crate::store) const TTL: Duration = Duration::from_secs(60);
/// The key that signs receipts.
pub(in crate::store) const RECEIPT_KEY: &str = "receipt-key";

/// Seconds after the start.
pub(in crate::store) fn second(n: u64) -> Timestamp {
    START.after(Duration::from_secs(n))
}

/// A number not given before in this process.
pub(in crate::store) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(in crate::store) fn random() -> IdRandom {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number().to_be_bytes());
    bytes
}

pub(in crate::store) fn tenant_id() -> TenantId {
    TenantId::new(START, &random())
}

pub(in crate::store) fn user(name: &str) -> UserId {
    UserId::parse("user", name).unwrap()
}

pub(in crate::store) fn api_key_id() -> ApiKeyId {
    ApiKeyId::new(number().to_be_bytes())
}

pub(in crate::store) fn by() -> By {
    By {
        actor: Actor::Operator,
        address: "192.0.2.1".into(),
    }
}

pub(in crate::store) fn public_key(seed: u64) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let public = PrivateKey::from_ed25519_seed(&bytes).public_bytes();
    PublicKey::from_bytes(KeyAlgorithm::Ed25519, &public).unwrap()
}

pub(in crate::store) fn code() -> TicketCode {
    let n = number();
    let digits: [u8; 20] = std::array::from_fn(|place| (n >> (place % 8 * 5)) as u8);
    TicketCode::new(&digits)
}

pub(in crate::store) fn ticket(tenant: TenantId, user: &UserId, code: &TicketCode) -> Ticket {
    Ticket {
        id: EnrollmentId::new(START, &random()),
        tenant,
        user: user.clone(),
        locator: code.locator().to_owned(),
        secret_hash: code.secret_hash(),
        create_time: START,
        expire_time: second(600),
        wrong_tries: 0,
        state: TicketState::Open,
    }
}

/// A phone that has not said yet whose it is.
pub(in crate::store) fn stranger(push: Option<PushGateway>) -> Device {
    let n = number();
    Device {
        id: DeviceId::new(START, &random()),
        tenant: TenantId::from_bytes([0; 16]),
        user: UserId::from_stored(String::new()),
        public_key: public_key(n),
        key_protection: KeyProtection::Hardware,
        platform: Platform::Ios,
        display_name: "Tom's phone".into(),
        language: "nl-BE".into(),
        app_version: "1.0".into(),
        push: push.map(|gateway| registration(gateway, &format!("token{n}"), START)),
        encryption_key: None,
        create_time: START,
        last_used_time: None,
    }
}

pub(in crate::store) fn registration(
    gateway: PushGateway,
    token: &str,
    register_time: Timestamp,
) -> PushRegistration {
    PushRegistration {
        gateway,
        app_id: "be.example.app".into(),
        sandbox: false,
        token: token.into(),
        register_time,
        quarantined: false,
    }
}

/// Registers a phone.
pub(in crate::store) async fn enrolled(
    store: &Arc<dyn Store>,
    tenant: TenantId,
    user: &UserId,
    push: Option<PushGateway>,
) -> Device {
    let code = code();
    let ticket = ticket(tenant, user, &code);
    store.add_ticket(ticket, by()).await.unwrap();
    let device = stranger(push);
    match store
        .redeem(code, device, second(1), "192.0.2.2".into())
        .await
        .unwrap()
    {
        Redeemed::Registered(device) => *device,
        other => panic!("{other:?}"),
    }
}

/// A challenge to these devices, with the pushes that go with it.
pub(in crate::store) fn question(
    tenant: TenantId,
    user: &UserId,
    devices: &[Device],
    now: Timestamp,
) -> NewChallenge {
    let id = ChallengeId::new(now, &random());
    let expire_time = now.after(TTL);
    let road = |device: &Device| match &device.push {
        Some(push) => Road::Push(push.gateway),
        None => Road::Subscribe,
    };
    let pushes = devices
        .iter()
        .filter_map(|device| Some((device.id, device.push.as_ref()?.gateway)))
        .map(|(device, gateway)| PushJob {
            id: PushId::new(now, &random()),
            gateway,
            due: now,
            kind: PushKind::Prompt,
            tenant,
            challenge: id,
            device,
            attempts: 0,
            perhaps_sent: false,
            expire_time,
        })
        .collect();
    NewChallenge {
        challenge: Challenge {
            id,
            tenant,
            user: user.clone(),
            api_key: ApiKeyId::new([0xa1; 8]),
            method: Method::Push,
            number: "42".into(),
            create_time: now,
            expire_time,
            collapse_id: format!("collapse-{id}"),
            deliveries: devices
                .iter()
                .map(|device| Delivery {
                    device: device.id,
                    road: road(device),
                    state: DeliveryState::Queued,
                    reason: String::new(),
                    update_time: now,
                    pushed: false,
                })
                .collect(),
            outcome: None,
        },
        signed: SignedBody {
            body: format!("body of {id}").into_bytes(),
            key_id: RECEIPT_KEY.into(),
            signature: vec![7; 64],
        },
        idempotency: None,
        pending_limit: PendingLimit::Supersede,
        pushes,
        by: by(),
    }
}

/// Stores a new challenge.
pub(in crate::store) async fn ask(
    store: &Arc<dyn Store>,
    tenant: TenantId,
    user: &UserId,
    devices: &[Device],
    now: Timestamp,
) -> Challenge {
    created(
        store
            .create(question(tenant, user, devices, now))
            .await
            .unwrap(),
    )
}

/// The challenge that was stored.
pub(in crate::store) fn created(created: Created) -> Challenge {
    match created {
        Created::New { challenge, .. } => *challenge,
        other => panic!("{other:?}"),
    }
}

/// A verified answer of this device.
pub(in crate::store) fn answer(device: &Device, choice: Choice) -> Event {
    Event::Answer(Box::new(Answer {
        choice,
        number: "42".into(),
        proof: DeviceProof {
            device: device.id,
            body: b"an answer".to_vec(),
            signature: vec![9; 64],
            public_key: device.public_key.clone(),
            key_protection: device.key_protection,
            user_verification: UserVerification::Pin,
        },
    }))
}

/// Takes an event in.
pub(in crate::store) async fn decide(
    store: &Arc<dyn Store>,
    challenge: &Challenge,
    event: Event,
    now: Timestamp,
) -> Decided {
    store
        .decide(
            challenge.tenant,
            challenge.id,
            event,
            now,
            RECEIPT_KEY.into(),
            by(),
        )
        .await
        .unwrap()
}

/// The challenge as stored.
pub(in crate::store) async fn stored(store: &Arc<dyn Store>, challenge: &Challenge) -> Challenge {
    store
        .challenge(challenge.tenant, challenge.id)
        .await
        .unwrap()
        .expect("stored")
        .0
}

/// Its outcome as stored.
pub(in crate::store) async fn outcome(store: &Arc<dyn Store>, challenge: &Challenge) -> Outcome {
    stored(store, challenge).await.outcome.expect("decided")
}

/// Waits until what was handed in before without waiting is done.
pub(in crate::store) async fn catch_up(store: &Arc<dyn Store>) {
    store
        .note_delivery(
            tenant_id(),
            ChallengeId::new(START, &random()),
            DeviceId::new(START, &random()),
            DeliveryState::Shown,
            START,
        )
        .await
        .unwrap();
}

/// Ids of a user's open challenges.
pub(in crate::store) async fn open_ids(
    store: &Arc<dyn Store>,
    tenant: TenantId,
    user: &UserId,
    now: Timestamp,
) -> BTreeSet<ChallengeId> {
    let open = store.pending_of(tenant, user, now).await.unwrap();
    open.iter().map(|(challenge, _)| challenge.id).collect()
}
