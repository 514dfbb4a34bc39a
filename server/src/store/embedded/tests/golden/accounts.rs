//! Accounts, codes, text messages and meters.

use super::{
    super::super::{keys, record::Numbered},
    samples::{
        AT, CHALLENGE, LATER, Sample, TENANT, challenge, codes, lower, outcome, record, tom,
    },
};
use crate::domain::{
    account::{Account, Lock, LockReason, Phone, RecoveryCodes, Totp},
    challenge::{Challenge, Delivery, DeliveryState, Final, Method, Reason, Road},
    code::{CodeHash, Codes, SentCode},
    ids::{AuthenticatorId, DeviceId, TextId},
    spending::{Meter, RangeMeter},
    text::{Notice, TextJob, TextPurpose},
    time::Timestamp,
};
use crate::store::engine::Key;

const PHONE: AuthenticatorId = AuthenticatorId::from_bytes([0x12; 16]);
const TEXT: TextId = TextId::from_bytes([0x13; 16]);

fn sent() -> Codes {
    Codes {
        sent: Some(SentCode {
            phone: PHONE,
            hash: CodeHash([0x14; 32]),
            expire_time: LATER,
        }),
        masked: "+XX XXXXXXX40".into(),
        sends: 2,
        resend_time: LATER,
        wrong: 3,
        max_wrong: 4,
    }
}

pub(super) fn code_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let texted = Challenge {
        method: Method::Sms,
        prompt_expire_time: AT,
        fallback_time: Some(LATER),
        codes: sent(),
        deliveries: vec![Delivery {
            device: DeviceId::from_bytes(*PHONE.as_bytes()),
            road: Road::Sms,
            state: DeliveryState::Accepted,
            reason: String::new(),
            update_time: LATER,
            pushed: false,
        }],
        ..challenge(None)
    };
    all.push(record("challenge-texted", texted));
    let mut end = outcome(Final::Approved, Reason::CodeVerified);
    end.authenticator = Some(PHONE);
    let by_code = Challenge {
        codes: Codes {
            sent: None,
            ..sent()
        },
        ..challenge(Some(end))
    };
    all.push(record("challenge-code-verified", by_code));
    for (name, purpose) in [
        ("sign-in", TextPurpose::SignInCode(CHALLENGE)),
        ("confirm", TextPurpose::ConfirmNumber),
    ] {
        all.push(record(format!("text-{name}"), text(purpose)));
    }
    let second = TextJob {
        nth: 2,
        metered: AT,
        ..text(TextPurpose::SignInCode(CHALLENGE))
    };
    all.push(record("text-second-send", second));
    let of = || String::from("Toms iPhone");
    for (name, notice) in [
        ("device-added", Notice::DeviceAdded(of())),
        ("device-removed", Notice::DeviceRemoved(of())),
        ("phone-added", Notice::PhoneAdded(of())),
        ("phone-removed", Notice::PhoneRemoved(of())),
        ("totp-added", Notice::TotpAdded),
        ("totp-removed", Notice::TotpRemoved),
        ("recovery-codes-created", Notice::RecoveryCodesCreated),
        ("recovery-codes-removed", Notice::RecoveryCodesRemoved),
        ("account-locked", Notice::AccountLocked),
        ("account-reset", Notice::AccountReset),
    ] {
        let job = TextJob {
            sealed_number: vec![0x15; 40],
            digits: 0,
            ..text(TextPurpose::Notice(notice))
        };
        all.push(record(format!("text-notice-{name}"), job));
    }
    let meter = Meter {
        hour_start: AT,
        hour: 3,
        day_start: LATER,
        day: 14,
    };
    all.push(record("meter", meter));
    let range = RangeMeter {
        since: AT,
        numbers: vec![[0x16; 16], [0x17; 16]],
    };
    all.push(record("meter-range", range));
    all
}

fn text(purpose: TextPurpose) -> TextJob {
    TextJob {
        id: TEXT,
        due: AT,
        tenant: TENANT,
        user: tom(),
        phone: PHONE,
        purpose,
        seed: [0x18; 16],
        digits: 6,
        sealed_number: Vec::new(),
        nth: 0,
        metered: Timestamp::default(),
        attempts: 1,
        expire_time: LATER,
    }
}

pub(super) fn account_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let empty = Account::new(TENANT, tom());
    all.push(record("account-empty", empty.clone()));
    for reason in LockReason::ALL {
        let locked = Account {
            lock: Some(Lock {
                since: AT,
                reason: *reason,
            }),
            ..empty.clone()
        };
        all.push(record(format!("account-locked-{}", lower(reason)), locked));
    }
    let phone = Phone {
        id: PHONE,
        sealed_number: vec![0x19; 45],
        number: [0x1a; 16],
        range: [0x1b; 16],
        masked: "+XX XXXXXXX40".into(),
        country: "BE".into(),
        language: "nl".into(),
        create_time: AT,
        last_used_time: Some(LATER),
        confirming: None,
    };
    let confirming = |codes| Phone {
        last_used_time: None,
        confirming: Some(codes),
        ..phone.clone()
    };
    let totp = Totp {
        id: PHONE,
        sealed_secret: vec![0x1c; 48],
        create_time: AT,
        last_used_time: Some(LATER),
        confirmed: true,
        wrong: 2,
        last_step: 58_907_520,
    };
    let unconfirmed = Totp {
        last_used_time: None,
        confirmed: false,
        last_step: 0,
        ..totp.clone()
    };
    let full = Account {
        phones: vec![phone.clone(), confirming(sent()), confirming(codes())],
        totps: vec![totp, unconfirmed],
        recovery: Some(RecoveryCodes {
            id: PHONE,
            create_time: AT,
            last_used_time: Some(LATER),
            unused: vec![CodeHash([0x1d; 32]), CodeHash([0x1e; 32])],
        }),
        failures: 7,
        no_guess_before: LATER,
        prompts: 6,
        last_prompt: AT,
        no_code_before: LATER,
        ..empty
    };
    all.push(record("account-full", full));
    all
}

pub(super) fn key_samples() -> Vec<(&'static str, Key)> {
    vec![
        ("account", keys::account(TENANT, &tom())),
        ("fallback", keys::fallback(LATER, TENANT, CHALLENGE)),
        ("text", keys::text(&text(TextPurpose::ConfirmNumber))),
        (
            "meter-number",
            keys::meter(TENANT, keys::Metered::Number(&[0x1f; 16])),
        ),
        (
            "meter-range",
            keys::meter(TENANT, keys::Metered::Range(&[0x1f; 16])),
        ),
        ("meter-tenant", keys::meter(TENANT, keys::Metered::Tenant)),
        (
            "meter-notices",
            keys::meter(TENANT, keys::Metered::Notices(&[0x1f; 16])),
        ),
        (
            "meter-confirmations",
            keys::meter(TENANT, keys::Metered::Confirmations(&[0x1f; 16])),
        ),
        (
            "meter-asking",
            keys::meter(TENANT, keys::Metered::Asking(&tom())),
        ),
        ("meter-others", keys::meter(TENANT, keys::Metered::Others)),
    ]
}
