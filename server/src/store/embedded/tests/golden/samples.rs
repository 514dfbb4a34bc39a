//! One of each kind and variant.

use std::{fmt::Debug, time::Duration};

use countersign_proto::{signing::PublicKey, v1::KeyAlgorithm};

use super::{
    super::super::{
        audit::{Marks, Pack, continuation},
        keys,
        record::{
            BadRecord, Decision, Decisions, Kept, Numbered, Record, RequestedBody, Stretch,
            next_place, with_body,
        },
    },
    unhex,
};
use crate::domain::{
    api_key::{ApiKey, ApiKeyId, Role},
    audit::{ChainedEntry, SignedHead, next_link},
    challenge::{
        Challenge, Delivery, DeliveryState, DeviceProof, Final, Method, Outcome, Reason, Road,
        SignedBody,
    },
    code,
    device::{Device, KeyProtection, Platform, PushGateway, PushRegistration},
    ids::{ChallengeId, DeviceId, EnrollmentId, PushId, TenantId, UserId},
    policy::{
        Codes, Enforcement, Enrolment, Fatigue, Lockout, Methods, NumberMatching, OnReport,
        PendingLimit, Policy, Sms,
    },
    push::{PushJob, PushKind},
    response::UserVerification,
    signing_key::{SigningKey, Succession},
    tenant::{PolicyVersion, Tenant},
    ticket::{Ticket, TicketState},
    time::Timestamp,
};

pub(super) const AT: Timestamp = Timestamp::from_millis(1_767_225_600_123);
pub(super) const LATER: Timestamp = Timestamp::from_millis(1_767_225_660_123);
pub(super) const TENANT: TenantId = TenantId::from_bytes([0x11; 16]);
pub(super) const CHALLENGE: ChallengeId = ChallengeId::from_bytes([0x22; 16]);
pub(super) const DEVICE: DeviceId = DeviceId::from_bytes([0x33; 16]);
const TICKET: EnrollmentId = EnrollmentId::from_bytes([0x44; 16]);
pub(super) const PUSH: PushId = PushId::from_bytes([0x55; 16]);

type Check = Box<dyn Fn(&[u8]) -> Result<bool, BadRecord>>;

/// Something written down, and whether bytes read back as the same.
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) is_read_from: Check,
}

pub(super) fn record<R: Record + PartialEq + Debug + 'static>(
    name: impl Into<String>,
    value: R,
) -> Sample {
    Sample {
        name: name.into(),
        bytes: value.to_value(),
        is_read_from: Box::new(move |bytes| R::from_value(bytes).map(|read| read == value)),
    }
}

pub(super) fn tom() -> UserId {
    UserId::from_stored("tom.cool@example.be".into())
}

fn api_key() -> ApiKeyId {
    ApiKeyId::parse("0123456789abcdef").unwrap()
}

/// RFC 8032, section 7.1, test 1.
pub(super) fn ed25519() -> PublicKey {
    let bytes = unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    PublicKey::from_bytes(KeyAlgorithm::Ed25519, &bytes).unwrap()
}

/// RFC 6979, appendix A.2.5.
fn p256() -> PublicKey {
    let bytes = unhex(concat!(
        "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    ));
    PublicKey::from_bytes(KeyAlgorithm::P256, &bytes).unwrap()
}

fn tenant(number_matching: NumberMatching, pending_limit: PendingLimit) -> Tenant {
    Tenant {
        id: TENANT,
        display_name: "Eagle IT BVBA".into(),
        policy: Policy {
            number_matching,
            number_digits: 3,
            challenge_ttl: Duration::from_millis(90_500),
            pending_limit,
            encrypted_prompts: number_matching == NumberMatching::Off,
            ..Policy::default()
        },
        create_time: AT,
    }
}

/// Nothing in it is as the defaults are.
fn policy() -> Policy {
    Policy {
        version: 300,
        methods: Methods {
            push: false,
            sms: true,
            totp: false,
            recovery_code: false,
            recommended: Method::Sms,
        },
        enrolment: Enrolment {
            enforcement: Enforcement::Encouraged,
            start_time: Some(AT),
            listed_users_only: true,
            max_snoozes: 7,
            snooze_until: Some(LATER),
        },
        codes: Codes {
            digits: 8,
            ttl: Duration::from_millis(90_500),
            max_wrong: 3,
            max_sends: 4,
            fallback_after: None,
        },
        sms: Sms {
            countries: vec!["BE".into(), "NL".into()],
            per_number_hour: 1,
            per_number_day: 2,
            per_range_hour: 3,
            per_tenant_day: 4,
            range_alarm: 6,
            origin_host: "login.example.be".into(),
        },
        fatigue: Fatigue {
            budget: 2,
            window: Duration::from_secs(1200),
            first_wait: Duration::from_secs(20),
            longest_wait: Duration::from_secs(7200),
            denial_cool_off: Duration::from_secs(120),
            on_report: OnReport::Lock,
        },
        lockout: Lockout {
            free_failures: 3,
            first_wait: Duration::from_secs(60),
            longest_wait: Duration::from_secs(1800),
            lock_after: 50,
        },
        browser_days: 7,
        language: "nl".into(),
        ..tenant(NumberMatching::Off, PendingLimit::Reject).policy
    }
}

fn policy_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let mut with = |name: String, policy: Policy| {
        let own = Tenant {
            policy,
            ..tenant(NumberMatching::Always, PendingLimit::Supersede)
        };
        all.push(record(format!("tenant-policy-{name}"), own));
    };
    with("all".into(), policy());
    // Changed and changed back: what counts is then the version.
    let back = Policy {
        version: 3,
        ..Policy::default()
    };
    with("back".into(), back);
    for method in Method::ALL {
        let mut it = policy();
        it.methods.recommended = *method;
        with(format!("recommended-{}", lower(method)), it);
    }
    for enforcement in Enforcement::ALL {
        let mut it = policy();
        it.enrolment.enforcement = *enforcement;
        with(format!("enforcement-{}", lower(enforcement)), it);
    }
    for report in OnReport::ALL {
        let mut it = policy();
        it.fatigue.on_report = *report;
        with(format!("report-{}", lower(report)), it);
    }
    let version = PolicyVersion {
        policy: policy(),
        change_time: LATER,
        changed_by: "api_key:0123456789abcdef".into(),
    };
    all.push(record("policy-version", version));
    all
}

fn device(push: Option<PushRegistration>) -> Device {
    Device {
        id: DEVICE,
        tenant: TENANT,
        user: tom(),
        public_key: ed25519(),
        key_protection: KeyProtection::Hardware,
        platform: Platform::Ios,
        display_name: "Toms iPhone".into(),
        language: "nl-BE".into(),
        app_version: "2.1.0".into(),
        push,
        encryption_key: Some([0x66; 32]),
        create_time: AT,
        last_used_time: Some(LATER),
    }
}

pub(super) fn registered(gateway: PushGateway) -> PushRegistration {
    PushRegistration {
        gateway,
        app_id: "be.example.app".into(),
        sandbox: false,
        token: "00ff".repeat(16),
        register_time: AT,
        quarantined: false,
    }
}

/// None sent yet.
pub(super) fn codes() -> code::Codes {
    code::Codes::new(&Policy::default().codes)
}

pub(super) fn challenge(outcome: Option<Outcome>) -> Challenge {
    Challenge {
        id: CHALLENGE,
        tenant: TENANT,
        user: tom(),
        api_key: api_key(),
        method: Method::Push,
        number: "042".into(),
        create_time: AT,
        expire_time: LATER,
        prompt_expire_time: LATER,
        fallback_time: None,
        codes: codes(),
        collapse_id: "AAECAwQFBgcICQoLDA0ODw".into(),
        deliveries: vec![],
        outcome,
        remembering: crate::domain::browser::Remembering::default(),
        origin: crate::domain::risk::Origin::default(),
        risks: vec![],
    }
}

pub(super) fn outcome(state: Final, reason: Reason) -> Outcome {
    Outcome {
        state,
        reason,
        decide_time: LATER,
        proof: None,
        authenticator: None,
        receipt_key_id: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into(),
    }
}

pub(super) fn proof(public_key: PublicKey) -> DeviceProof {
    DeviceProof {
        device: DEVICE,
        body: b"a response body".to_vec(),
        signature: vec![0x77; 64],
        public_key,
        key_protection: KeyProtection::Hardware,
        user_verification: UserVerification::Biometric,
    }
}

pub(super) fn lower(value: impl Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn installation_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    for matching in NumberMatching::ALL {
        for limit in PendingLimit::ALL {
            let name = format!("tenant-{}-{}", lower(matching), lower(limit));
            all.push(record(name, tenant(*matching, *limit)));
        }
    }
    for role in Role::ALL {
        let key = ApiKey {
            id: api_key(),
            secret_hash: [0x88; 32],
            tenant: (*role == Role::Idp).then_some(TENANT),
            role: *role,
            display_name: "webmail".into(),
            create_time: AT,
            revoke_time: None,
        };
        all.push(record(format!("api-key-{}", lower(role)), key.clone()));
        let revoked = ApiKey {
            revoke_time: Some(LATER),
            ..key
        };
        all.push(record(format!("api-key-{}-revoked", lower(role)), revoked));
    }
    let first = SigningKey {
        key_id: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into(),
        public_key: [0x99; 32],
        sealed_seed: vec![0xaa; 60],
        create_time: AT,
        activate_time: LATER,
        succession: None,
    };
    let next = SigningKey {
        succession: Some(Succession {
            body: b"a broker key".to_vec(),
            signer_key_id: "another-key".into(),
            signature: vec![0xbb; 64],
        }),
        ..first.clone()
    };
    all.push(record("signing-key-first", first));
    all.push(record("signing-key-successor", next));
    all
}

fn registration_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    for (name, state) in [
        ("open", TicketState::Open),
        ("redeemed", TicketState::Redeemed(DEVICE)),
        ("expired", TicketState::Expired),
        ("replaced", TicketState::Replaced),
        ("locked", TicketState::Locked),
    ] {
        let ticket = Ticket {
            id: TICKET,
            tenant: TENANT,
            user: tom(),
            locator: "0123ABCD".into(),
            secret_hash: [0xcc; 32],
            create_time: AT,
            expire_time: LATER,
            wrong_tries: 4,
            state,
        };
        all.push(record(format!("ticket-{name}"), ticket));
    }
    all.push(record("device-ed25519", device(None)));
    let p256 = Device {
        public_key: p256(),
        encryption_key: None,
        last_used_time: None,
        ..device(None)
    };
    all.push(record("device-p256", p256));
    for platform in Platform::ALL {
        let it = Device {
            platform: *platform,
            ..device(None)
        };
        all.push(record(format!("device-{}", lower(platform)), it));
    }
    for protection in KeyProtection::ALL {
        let it = Device {
            key_protection: *protection,
            ..device(None)
        };
        all.push(record(format!("device-key-{}", lower(protection)), it));
    }
    for gateway in PushGateway::ALL {
        let it = device(Some(registered(*gateway)));
        all.push(record(format!("device-{}", lower(gateway)), it));
    }
    let doubted = PushRegistration {
        sandbox: true,
        quarantined: true,
        ..registered(PushGateway::Apns)
    };
    all.push(record("device-sandbox-quarantined", device(Some(doubted))));
    all
}

fn challenge_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let signed = SignedBody {
        body: b"a challenge body".to_vec(),
        key_id: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into(),
        signature: vec![0xdd; 64],
    };
    all.push(record("signed-body", signed.clone()));
    let request = Some([0xff; 16]);
    all.push(record(
        "signed-body-requested",
        RequestedBody {
            signed: signed.clone(),
            request,
        },
    ));
    let body = RequestedBody { signed, request };
    let decided = Kept {
        challenge: challenge(Some(outcome(Final::Approved, Reason::UserApproved))),
        body: Some(body.clone()),
    };
    assert_eq!(
        with_body(&decided.challenge, &body.to_value()),
        Some(decided.to_value())
    );
    all.push(record("challenge-with-body", decided));
    for method in Method::ALL {
        let it = Challenge {
            method: *method,
            ..challenge(None)
        };
        all.push(record(format!("challenge-method-{}", lower(method)), it));
    }
    let roads = [
        Road::Push(PushGateway::Apns),
        Road::Push(PushGateway::Fcm),
        Road::Subscribe,
    ];
    for (n, state) in DeliveryState::ALL.iter().enumerate() {
        let delivery = Delivery {
            device: DEVICE,
            road: roads[n % 3],
            state: *state,
            reason: "BadDeviceToken".into(),
            update_time: LATER,
            pushed: n % 2 == 1,
        };
        let mut it = challenge(None);
        it.deliveries = vec![delivery.clone(), delivery];
        it.deliveries[1].reason.clear();
        all.push(record(format!("challenge-{}", lower(state)), it));
    }
    for state in Final::ALL {
        let it = challenge(Some(outcome(*state, Reason::TimedOut)));
        all.push(record(format!("challenge-final-{}", lower(state)), it));
    }
    for reason in Reason::ALL {
        let it = challenge(Some(outcome(Final::Denied, *reason)));
        all.push(record(format!("challenge-reason-{}", lower(reason)), it));
    }
    let mut answered = |name: String, proof: DeviceProof| {
        let mut end = outcome(Final::Approved, Reason::UserApproved);
        end.proof = Some(proof);
        all.push(record(
            format!("challenge-proof-{name}"),
            challenge(Some(end)),
        ));
    };
    answered("ed25519".into(), proof(ed25519()));
    answered("p256".into(), proof(p256()));
    for verification in UserVerification::ALL {
        let mut it = proof(ed25519());
        it.user_verification = *verification;
        answered(lower(verification), it);
    }
    for protection in KeyProtection::ALL {
        let mut it = proof(ed25519());
        it.key_protection = *protection;
        answered(lower(protection), it);
    }
    for gateway in PushGateway::ALL {
        for kind in PushKind::ALL {
            let job = PushJob {
                id: PUSH,
                gateway: *gateway,
                due: AT,
                kind: *kind,
                tenant: TENANT,
                challenge: CHALLENGE,
                device: DEVICE,
                attempts: 1,
                perhaps_sent: *kind == PushKind::Withdraw,
                expire_time: LATER,
                farewell: None,
            };
            all.push(record(
                format!("push-{}-{}", lower(gateway), lower(kind)),
                job,
            ));
        }
    }
    let content = unhex("08fbe2ac9eb733");
    let entry = ChainedEntry {
        sequence: 300,
        link: next_link(&[0xee; 32], &content),
        content,
    };
    let next = ChainedEntry {
        sequence: 301,
        link: next_link(&entry.link, b"next"),
        content: b"next".to_vec(),
    };
    all.push(record("audit-entry", Pack(vec![entry.clone()])));
    let pack = Pack(vec![entry.clone(), next.clone()]);
    let mut appended = Pack(vec![entry]).to_value();
    appended.extend(continuation(&next));
    assert_eq!(appended, pack.to_value());
    all.push(Sample {
        bytes: pack.to_closed_value().unwrap(),
        ..record("audit-entries-closed", pack.clone())
    });
    all.push(record("audit-entries", pack));
    let decision = Decision {
        time: LATER,
        tenant: TENANT,
        id: CHALLENGE,
    };
    let mut appended = Decisions::default().to_value();
    for _ in 0..2 {
        appended.extend(decision.continuation());
    }
    let decisions = Decisions(vec![decision; 2]);
    assert_eq!(appended, decisions.to_value());
    all.push(record("decisions", decisions));
    let mut appended = Stretch::default().to_value();
    for place in [0, 200, 1023] {
        appended.extend(next_place(place));
    }
    let stretch = Stretch(vec![0, 200, 1023]);
    assert_eq!(appended, stretch.to_value());
    all.push(record("stretch", stretch));
    let head = SignedHead {
        writer: 1,
        sequence: 300,
        body: b"an audit head".to_vec(),
        key_id: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into(),
        signature: vec![0xab; 64],
        sign_time: LATER,
        first_kept: 7,
    };
    all.push(record("audit-signed-head", head));
    let marks = Marks {
        left: 6,
        signed: 300,
    };
    all.push(record("audit-marks", marks));
    all
}

/// Keys are written down too.
fn key_samples() -> Vec<Sample> {
    let job = PushJob {
        id: PUSH,
        gateway: PushGateway::Fcm,
        due: AT,
        kind: PushKind::Prompt,
        tenant: TENANT,
        challenge: CHALLENGE,
        device: DEVICE,
        attempts: 0,
        perhaps_sent: false,
        expire_time: LATER,
        farewell: None,
    };
    let apns = PushJob {
        gateway: PushGateway::Apns,
        ..job.clone()
    };
    [
        ("signing-key", keys::signing_key(AT, "a-key")),
        ("tenant", keys::tenant(TENANT)),
        ("policy-version", keys::policy_version(TENANT, 300)),
        ("api-key", keys::api_key(&api_key())),
        (
            "api-key-of-tenant",
            keys::api_key_of(Some(TENANT), AT, &api_key()),
        ),
        (
            "api-key-of-installation",
            keys::api_key_of(None, AT, &api_key()),
        ),
        ("ticket", keys::ticket(TENANT, TICKET)),
        ("ticket-locator", keys::ticket_locator("0123ABCD")),
        ("ticket-of", keys::ticket_of(TENANT, &tom())),
        ("device", keys::device(DEVICE)),
        ("device-of", keys::device_of(TENANT, &tom(), DEVICE)),
        ("challenge", keys::challenge(TENANT, CHALLENGE)),
        ("signed-body", keys::signed_body(TENANT, CHALLENGE)),
        ("pending-of", keys::pending_of(TENANT, &tom(), CHALLENGE)),
        ("expiry", keys::expiry(LATER, TENANT, CHALLENGE)),
        (
            "idempotency",
            keys::idempotency(TENANT, &api_key(), &[0xff; 16]),
        ),
        ("outbox-apns", keys::outbox(&apns)),
        ("outbox-fcm", keys::outbox(&job)),
        ("audit", keys::audit(1, 300)),
        ("audit-head", keys::audit_head(1)),
        ("audit-signed-head", keys::signed_head(1, 300)),
        ("audit-marks", keys::audit_marks(1)),
        (
            "aging-challenge",
            keys::aging_challenge(LATER, TENANT, CHALLENGE),
        ),
        (
            "aging-request",
            keys::aging_request(AT, &keys::idempotency(TENANT, &api_key(), &[0xff; 16])),
        ),
        ("aging-ticket", keys::aging_ticket(LATER, TENANT, TICKET)),
        ("aging-decisions", keys::aging_decisions(300)),
        ("aging-progress", keys::aging_progress()),
    ]
    .into_iter()
    .chain(super::accounts::key_samples())
    .chain(super::browsers::key_samples())
    .chain(super::events::key_samples())
    .map(|(name, key)| Sample {
        name: format!("key-{name}"),
        bytes: key.to_vec(),
        is_read_from: Box::new(move |bytes| Ok(bytes == key.as_slice())),
    })
    .collect()
}

pub(super) fn samples() -> Vec<Sample> {
    let mut all = installation_samples();
    all.extend(policy_samples());
    all.extend(registration_samples());
    all.extend(challenge_samples());
    all.extend(super::accounts::code_samples());
    all.extend(super::accounts::account_samples());
    all.extend(super::browsers::browser_samples());
    all.extend(super::events::event_samples());
    all.extend(key_samples());
    all
}
