//! Remembered browsers, and what is known of where sign-ins come from.

use super::{
    super::super::{keys, record::Numbered},
    samples::{AT, CHALLENGE, LATER, Sample, TENANT, challenge, lower, outcome, record, tom},
};
use crate::domain::{
    account::Account,
    browser::{Browser, Remembering},
    challenge::{Challenge, Final, Method, Reason},
    ids::BrowserId,
    risk::{Origin, Risk},
};
use crate::store::engine::Key;

const BROWSER: BrowserId = BrowserId::from_bytes([0x21; 16]);

fn origin(place: bool) -> Origin {
    Origin {
        network: Some([0x22; 16]),
        place: place.then_some([0x23; 16]),
    }
}

pub(super) fn browser_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let browser = Browser {
        id: BROWSER,
        tenant: TENANT,
        user: tom(),
        issued_by: CHALLENGE,
        create_time: AT,
        expire_time: LATER,
        policy_version: 300,
    };
    all.push(record("browser", browser));
    for risk in Risk::ALL {
        let risky = Challenge {
            origin: origin(true),
            risks: vec![*risk],
            remembering: Remembering {
                wanted: true,
                browser: None,
            },
            ..challenge(None)
        };
        all.push(record(format!("challenge-risk-{}", lower(risk)), risky));
    }
    let end = outcome(Final::Approved, Reason::RememberedBrowser);
    let remembered = Challenge {
        method: Method::RememberedBrowser,
        origin: origin(false),
        remembering: Remembering {
            wanted: false,
            browser: Some(BROWSER),
        },
        ..challenge(Some(end))
    };
    all.push(record("challenge-remembered", remembered));
    let listed = Account {
        listed: true,
        snoozes: 2,
        last_denial: Some(AT),
        origins: vec![origin(true), origin(false)],
        ..Account::new(TENANT, tom())
    };
    all.push(record("account-listed", listed));
    all
}

pub(super) fn key_samples() -> Vec<(&'static str, Key)> {
    vec![("browser", keys::browser(TENANT, &tom(), BROWSER))]
}
