//! "Sign in another way": codes by text message, from an authenticator app, from
//! a sheet of paper.

mod another_way;
mod fallback;
mod guessing;
mod pumping;
mod receipts;
mod recovery;
mod removal;
mod texts;

mod totp;

use std::time::Duration;

use countersign_proto::v1::{self, Gateway, Method};
use countersign_tests::{push::PushWorld, reason};
use device_sim::gateway::TextMessage;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Tom's number.
const NUMBER: &str = "+32470123440";
/// As a page may show it.
const MASKED: &str = "+XX XXXXXXX40";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Code and reason of a refusal.
fn why(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

/// How long a refusal asks to wait.
fn wait(status: &Status) -> Duration {
    let details = status.get_error_details();
    let info = details.retry_info().expect("no RetryInfo");
    info.retry_delay.expect("no delay")
}

/// What a refusal of a wrong code leaves.
fn attempts_left(status: &Status) -> u32 {
    assert_eq!(why(status), (Code::InvalidArgument, "WRONG_CODE".into()));
    let details = status.get_error_details();
    details.error_info().unwrap().metadata["attempts_left"]
        .parse()
        .unwrap()
}

/// The text's way to the number.
fn texted(challenge: &v1::Challenge) -> Option<v1::Delivery> {
    let mut found = challenge.deliveries.iter();
    found
        .find(|delivery| delivery.gateway() == Gateway::Sms)
        .cloned()
}

/// Waits until a challenge goes on by a method.
async fn until_method(world: &PushWorld, id: &str, method: Method) -> v1::Challenge {
    let so = |challenge: &v1::Challenge| challenge.method() == method;
    world.until(id, method.as_str_name(), so).await
}

/// What the audit trail says of an action.
async fn outcomes(world: &PushWorld, action: &str) -> Vec<String> {
    let mut entries = world.broker.audited(&world.tenant).await;
    entries.retain(|entry| entry.action == action);
    entries.into_iter().map(|entry| entry.outcome).collect()
}

/// Rules of a tenant that may text one number as often as policy can allow.
fn generous() -> v1::TenantPolicy {
    v1::TenantPolicy {
        sms: Some(v1::SmsPolicy {
            per_number_hour: Some(60),
            per_number_day: Some(200),
            ..v1::SmsPolicy::default()
        }),
        ..v1::TenantPolicy::default()
    }
}

/// Rules of a tenant where silence turns into nothing.
fn never_by_itself() -> v1::TenantPolicy {
    v1::TenantPolicy {
        codes: Some(v1::CodesPolicy {
            fallback_after: Some(prost_types::Duration::default()),
            ..v1::CodesPolicy::default()
        }),
        ..v1::TenantPolicy::default()
    }
}

/// Texts with a code that Tom's phone shows: the others tell of changes.
fn codes_shown(world: &PushWorld) -> usize {
    let shown = world.inbox().shown(NUMBER);
    let is_code = |text: &&TextMessage| text.text.starts_with(|c: char| c.is_ascii_digit());
    shown.iter().filter(is_code).count()
}
