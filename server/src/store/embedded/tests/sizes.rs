//! What one user can have fits in one stored value.

use super::super::record::Record as _;
use crate::{
    domain::{
        account::{Account, MAX_PHONES, MAX_TOTPS, Phone, RECOVERY_CODES, RecoveryCodes, Totp},
        challenge::{Delivery, DeliveryState, Event, Road},
        code::{CodeHash, Codes, SentCode},
        device::PushGateway,
        notice::Notices,
        policy::{MAX_DEVICES_PER_USER, Policy},
        response::Choice,
        revocation::Revocation,
        spending::RangeMeter,
        text::{Notice, TextPurpose},
        time::Timestamp,
    },
    store::{engine::MAX_VALUE, suite::fixture::*},
};

const LATEST: Timestamp = Timestamp::from_millis(u64::MAX);

fn codes() -> Codes {
    Codes {
        sent: Some(SentCode {
            phone: authenticator(),
            hash: CodeHash([9; 32]),
            expire_time: LATEST,
        }),
        masked: "X".repeat(40),
        sends: u32::MAX,
        resend_time: LATEST,
        wrong: u32::MAX,
        max_wrong: u32::MAX,
    }
}

#[test]
fn a_full_account_fits() {
    let phone = Phone {
        id: authenticator(),
        sealed_number: vec![0xff; 64],
        number: [0xff; 16],
        range: [0xff; 16],
        masked: "X".repeat(40),
        country: "BE".into(),
        language: "x".repeat(35),
        create_time: LATEST,
        last_used_time: Some(LATEST),
        confirming: Some(codes()),
    };
    let totp = Totp {
        id: authenticator(),
        sealed_secret: vec![0xff; 64],
        create_time: LATEST,
        last_used_time: Some(LATEST),
        confirmed: true,
        wrong: u32::MAX,
        last_step: u64::MAX,
    };
    let full = Account {
        phones: vec![phone; MAX_PHONES],
        totps: vec![totp; MAX_TOTPS],
        recovery: Some(RecoveryCodes {
            id: authenticator(),
            create_time: LATEST,
            last_used_time: Some(LATEST),
            unused: vec![CodeHash([0xff; 32]); RECOVERY_CODES],
        }),
        failures: u32::MAX,
        no_guess_before: LATEST,
        prompts: u32::MAX,
        last_prompt: LATEST,
        no_code_before: LATEST,
        ..Account::new(tenant_id(), user(&"u".repeat(256)))
    };
    let size = full.to_value().len();
    assert!(size <= MAX_VALUE, "{size}");
}

/// Ten phones with a long failure each, a number texted, and an answer.
#[test]
fn a_full_challenge_fits() {
    let device = stranger(Some(PushGateway::Fcm));
    let devices = vec![device.clone(); MAX_DEVICES_PER_USER];
    let asker = user(&"u".repeat(256));
    let mut full = question(tenant_id(), &asker, &devices, START).challenge;
    full.number = "123456".into();
    full.prompt_expire_time = LATEST;
    full.fallback_time = Some(LATEST);
    full.codes = codes();
    full.deliveries.push(Delivery {
        road: Road::Sms,
        ..full.deliveries[0].clone()
    });
    for delivery in &mut full.deliveries {
        delivery.advance(DeliveryState::Failed, &"r".repeat(999), LATEST);
        delivery.pushed = true;
    }
    let mut event = answer(&device, Choice::Deny);
    let Event::Answer(given) = &mut event else {
        panic!("{event:?}")
    };
    given.proof.body = vec![0xff; 600];
    full.apply(event, START, RECEIPT_KEY);
    assert!(full.outcome.is_some());
    let size = full.to_value().len();
    assert!(size <= MAX_VALUE, "{size}");
}

#[test]
fn full_notices_and_a_revocation_fit() {
    let mut full = Notices {
        last: u64::MAX - 100,
        ..Notices::default()
    };
    for _ in 0..100 {
        let notice = Notice::DeviceAdded("é".repeat(256));
        full.add([0xff; 16], &notice, Some(stranger(None).id), LATEST);
    }
    let size = full.to_value().len();
    assert!((2000..=MAX_VALUE).contains(&size), "{size}");
    let Event::Answer(mut given) = answer(&stranger(None), Choice::ReportFraud) else {
        panic!("an answer is an answer")
    };
    given.proof.body = vec![0xff; 1024];
    let revocation = Revocation {
        time: LATEST,
        proof: given.proof,
    };
    let size = revocation.to_value().len();
    assert!(size <= MAX_VALUE, "{size}");
}

#[test]
fn a_full_meter_and_a_long_text_fit() {
    let mut rules = Policy::default().sms;
    rules.per_range_hour = u32::MAX;
    let mut range = RangeMeter::default();
    let admitted = (0..1000_u16).filter(|n| {
        let mut tag = [0xff; 16];
        tag[..2].copy_from_slice(&n.to_be_bytes());
        range.admit(tag, START, &rules).is_ok()
    });
    assert_eq!(admitted.count(), 200);
    let size = range.to_value().len();
    assert!(size <= MAX_VALUE, "{size}");
    let purpose = TextPurpose::Notice(Notice::DeviceAdded("é".repeat(256)));
    let mut job = order(
        tenant_id(),
        &user(&"u".repeat(256)),
        authenticator(),
        purpose,
        START,
    )
    .job;
    job.sealed_number = vec![0xff; 64];
    let size = job.to_value().len();
    assert!(size <= MAX_VALUE, "{size}");
}
