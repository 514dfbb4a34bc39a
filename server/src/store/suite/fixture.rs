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
        account::{Account, AccountChange, Phone},
        api_key::ApiKeyId,
        audit::{Actor, By},
        browser::Remembering,
        challenge::{
            Challenge, Delivery, DeliveryState, DeviceProof, Event, Method, Outcome, Road,
            SignedBody,
        },
        code::{CodeHash, CodeOrder, Codes, SentCode},
        device::{Device, KeyProtection, Platform, PushGateway, PushRegistration},
        ids::{
            AuthenticatorId, ChallengeId, DeviceId, EnrollmentId, IdRandom, PushId, TenantId,
            TextId, UserId,
        },
        policy::{self, PendingLimit, Policy},
        push::{PushJob, PushKind},
        response::{Answer, Choice, UserVerification},
        risk::Origin,
        tenant::Tenant,
        text::{TextJob, TextPurpose},
        ticket::{Ticket, TicketCode, TicketState},
        time::Timestamp,
    },
    store::{
        AccountChanged, Created, Decided, GoOn, Guessed, NewChallenge, PushResult, Redeemed, Store,
        TokenVerdict, WentOn,
    },
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

/// Registers a phone. Nothing is left to tell the user's other phones.
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
        Redeemed::Registered { device, .. } => {
            for gateway in [PushGateway::Apns, PushGateway::Fcm] {
                drop_notices(store, gateway).await;
            }
            *device
        }
        other => panic!("{other:?}"),
    }
}

async fn drop_notices(store: &Arc<dyn Store>, gateway: PushGateway) {
    if store.next_push(gateway).await.unwrap() != Some(second(1)) {
        return;
    }
    for job in store.claim_pushes(gateway, second(1), 99).await.unwrap() {
        let result = if job.kind == PushKind::Notice {
            PushResult::Finished {
                delivery: None,
                token: TokenVerdict::Fine,
                taken: false,
            }
        } else {
            PushResult::Again {
                due: job.due,
                perhaps_sent: job.perhaps_sent,
            }
        };
        store
            .finish_push(job, result, None, second(1))
            .await
            .unwrap();
    }
    catch_up(store).await;
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
            farewell: None,
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
            prompt_expire_time: expire_time,
            fallback_time: None,
            codes: Codes::new(&Policy::default().codes),
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
            remembering: Remembering::default(),
            origin: Origin::default(),
            risks: Vec::new(),
        },
        signed: SignedBody {
            body: format!("body of {id}").into_bytes(),
            key_id: RECEIPT_KEY.into(),
            signature: vec![7; 64],
        },
        idempotency: None,
        pending_limit: PendingLimit::Supersede,
        pushes,
        code: None,
        browser: None,
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

/// Rules by which numbers in Belgium may be texted.
pub(in crate::store) fn texting() -> Policy {
    Policy {
        sms: policy::Sms {
            countries: vec!["BE".into()],
            ..policy::Sms::default()
        },
        ..Policy::default()
    }
}

/// Rules that let a user be asked without end.
pub(in crate::store) fn unwearied() -> Policy {
    Policy {
        fatigue: policy::Fatigue {
            budget: u32::MAX,
            ..policy::Fatigue::default()
        },
        ..texting()
    }
}

/// Adds an organisation with these rules.
pub(in crate::store) async fn organisation(store: &Arc<dyn Store>, policy: Policy) -> TenantId {
    let id = tenant_id();
    let tenant = Tenant {
        id,
        display_name: "Eagle IT BVBA".into(),
        policy,
        create_time: START,
    };
    store.add_tenant(tenant, by()).await.unwrap();
    id
}

/// Stands for the keyed hash of what is typed.
pub(in crate::store) fn hash(typed: &str) -> CodeHash {
    CodeHash(countersign_proto::signing::sha256(typed.as_bytes()))
}

pub(in crate::store) fn authenticator() -> AuthenticatorId {
    AuthenticatorId::new(START, &random())
}

/// A number nobody has had before, in a range of its own.
pub(in crate::store) fn new_phone(now: Timestamp) -> Phone {
    let mut tag = [3; 16];
    tag[..8].copy_from_slice(&number().to_be_bytes());
    Phone {
        id: authenticator(),
        sealed_number: b"a sealed number".to_vec(),
        number: tag,
        range: tag,
        masked: "+XX XXXXXXX40".into(),
        country: "BE".into(),
        language: "nl".into(),
        create_time: now,
        last_used_time: None,
        confirming: None,
    }
}

/// A text with the code 123456 to a number.
pub(in crate::store) fn order(
    tenant: TenantId,
    user: &UserId,
    phone: AuthenticatorId,
    purpose: TextPurpose,
    now: Timestamp,
) -> CodeOrder {
    let expire_time = now.after(Duration::from_secs(300));
    CodeOrder {
        code: SentCode {
            phone,
            hash: hash("123456"),
            expire_time,
        },
        masked: "+XX XXXXXXX40".into(),
        job: TextJob {
            id: TextId::new(now, &random()),
            due: now,
            tenant,
            user: user.clone(),
            phone,
            purpose,
            seed: [5; 16],
            digits: 6,
            sealed_number: Vec::new(),
            nth: 0,
            metered: Timestamp::default(),
            attempts: 0,
            expire_time,
        },
    }
}

/// Adds a number, with a code sent to it.
pub(in crate::store) fn add_phone(
    tenant: TenantId,
    user: &UserId,
    phone: Phone,
    now: Timestamp,
) -> AccountChange {
    let order = order(tenant, user, phone.id, TextPurpose::ConfirmNumber, now);
    AccountChange::AddPhone {
        phone: Box::new(phone),
        order: Box::new(order),
    }
}

/// Changes an account.
pub(in crate::store) async fn change(
    store: &Arc<dyn Store>,
    tenant: TenantId,
    user: &UserId,
    change: AccountChange,
    now: Timestamp,
) -> AccountChanged {
    store
        .change_account(tenant, user.clone(), change, now, RECEIPT_KEY.into(), by())
        .await
        .unwrap()
}

/// A number of the user's, confirmed, with nothing left in the outbox.
pub(in crate::store) async fn confirmed(
    store: &Arc<dyn Store>,
    tenant: TenantId,
    user: &UserId,
    now: Timestamp,
) -> AuthenticatorId {
    let phone = new_phone(now);
    let id = phone.id;
    for step in [
        add_phone(tenant, user, phone, now),
        AccountChange::ConfirmPhone {
            id,
            typed: hash("123456"),
        },
    ] {
        let done = change(store, tenant, user, step, now).await;
        assert!(matches!(done, AccountChanged::Done { .. }), "{done:?}");
    }
    texts(store, now).await;
    id
}

/// Takes all texts that are due out of the outbox.
pub(in crate::store) async fn texts(store: &Arc<dyn Store>, now: Timestamp) -> Vec<TextJob> {
    let jobs = store.claim_texts(now, 99).await.unwrap();
    for job in &jobs {
        let done = crate::store::TextResult::Finished(None);
        store
            .finish_text(job.clone(), done, None, now)
            .await
            .unwrap();
    }
    catch_up(store).await;
    jobs
}

pub(in crate::store) async fn account(
    store: &Arc<dyn Store>,
    tenant: TenantId,
    user: &UserId,
) -> Account {
    store.account(tenant, user).await.unwrap()
}

/// Asks to go on by another way; of a text message to this number.
pub(in crate::store) fn another_way(
    challenge: &Challenge,
    method: Method,
    phone: Option<AuthenticatorId>,
    now: Timestamp,
) -> GoOn {
    let purpose = TextPurpose::SignInCode(challenge.id);
    GoOn {
        tenant: challenge.tenant,
        challenge: challenge.id,
        method,
        order: phone.map(|phone| order(challenge.tenant, &challenge.user, phone, purpose, now)),
        pushes: Vec::new(),
        by_itself: false,
        now,
        receipt_key_id: RECEIPT_KEY.into(),
        by: by(),
    }
}

/// Goes on by text message.
pub(in crate::store) async fn texted(
    store: &Arc<dyn Store>,
    challenge: &Challenge,
    phone: AuthenticatorId,
    now: Timestamp,
) -> Challenge {
    let wanted = another_way(challenge, Method::Sms, Some(phone), now);
    match store.go_on(wanted).await.unwrap() {
        WentOn::Done { challenge, .. } => *challenge,
        other => panic!("{other:?}"),
    }
}

/// Types a code.
pub(in crate::store) async fn guess(
    store: &Arc<dyn Store>,
    challenge: &Challenge,
    guess: crate::domain::code::Guess,
    now: Timestamp,
) -> Guessed {
    let (tenant, id) = (challenge.tenant, challenge.id);
    store
        .guess(tenant, id, guess, now, RECEIPT_KEY.into(), by())
        .await
        .unwrap()
        .expect("stored")
}
