#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{
    delivery::{Content, PushEnvironment, PushGateway, PushTarget},
    domain::{
        ids::{ChallengeId, DeviceId, PushId, TenantId},
        push::PushKind,
    },
};

const NOW: u64 = 1_000_000;

fn job(attempts: u32, perhaps_sent: bool) -> PushJob {
    PushJob {
        id: PushId::from_bytes([1; 16]),
        gateway: crate::domain::device::PushGateway::Apns,
        due: Timestamp::from_millis(NOW),
        kind: PushKind::Prompt,
        tenant: TenantId::from_bytes([2; 16]),
        challenge: ChallengeId::from_bytes([3; 16]),
        device: DeviceId::from_bytes([4; 16]),
        attempts,
        perhaps_sent,
        expire_time: Timestamp::from_millis(NOW + 60_000),
        farewell: None,
    }
}

fn push() -> Push {
    Push {
        push_id: uuid::Uuid::nil(),
        collapse_id: "c".into(),
        target: PushTarget {
            gateway: PushGateway::Apns,
            app_id: "a".into(),
            environment: PushEnvironment::Production,
            token: "tok".into(),
        },
        expire_at_ms: NOW + 60_000,
        content: Content::WakeUp {
            challenge_id: "c".into(),
        },
    }
}

fn judged(job: &PushJob, outcome: Outcome) -> PushResult {
    prompt(job, &push(), outcome, Timestamp::from_millis(NOW))
}

/// `again +ms perhaps`, or `state reason taken token`.
fn told(result: PushResult) -> String {
    match result {
        PushResult::Again { due, perhaps_sent } => {
            let wait = due.since(Timestamp::from_millis(NOW)).as_millis();
            format!("again +{wait} {perhaps_sent}")
        }
        PushResult::Finished {
            delivery,
            token,
            taken,
        } => {
            let delivery = delivery.map_or_else(
                || "-".to_owned(),
                |(state, reason)| format!("{state:?} {reason}"),
            );
            let token = match token {
                TokenVerdict::Fine => "fine".to_owned(),
                TokenVerdict::Dead { token, since } => {
                    format!("{token} dead {:?}", since.map(Timestamp::as_millis))
                }
                TokenVerdict::Doubtful { token } => format!("{token} doubtful"),
            };
            format!("{delivery} {taken} {token}")
        }
    }
}

fn server_error(after_s: Option<u64>) -> Outcome {
    Outcome::ServerError {
        reason: "r".into(),
        after: after_s.map(Duration::from_secs),
    }
}

fn unknown() -> Outcome {
    Outcome::Unknown { reason: "r".into() }
}

#[test]
fn every_outcome_of_a_prompt() {
    let reason = || "r".to_owned();
    let after = Some(Duration::from_secs(1));
    let table = [
        (Outcome::Accepted, "Accepted  true fine"),
        (
            Outcome::TokenDead {
                reason: reason(),
                since_ms: Some(5),
            },
            "Failed r false tok dead Some(5)",
        ),
        (
            Outcome::TokenDead {
                reason: reason(),
                since_ms: None,
            },
            "Failed r false tok dead None",
        ),
        (
            Outcome::TokenSuspect { reason: reason() },
            "Failed r false tok doubtful",
        ),
        // Never waited for, though the gateway names a time.
        (
            Outcome::RetryAfter {
                reason: reason(),
                after,
            },
            "Failed r false fine",
        ),
        (server_error(None), "again +1000 false"),
        (server_error(Some(7)), "again +7000 false"),
        // 5 s must be left to answer: 54 s of 60 fit, 55 do not.
        (server_error(Some(54)), "again +54000 false"),
        (server_error(Some(55)), "Failed r false fine"),
        (
            Outcome::CredentialRejected { reason: reason() },
            "Failed r false fine",
        ),
        (
            Outcome::Rejected { reason: reason() },
            "Failed r false fine",
        ),
        (unknown(), "again +1000 true"),
        (
            Outcome::NoGateway,
            "Failed no gateway for this app false fine",
        ),
    ];
    for (outcome, expected) in table {
        let shown = format!("{outcome:?}");
        assert_eq!(told(judged(&job(0, false), outcome)), expected, "{shown}");
    }
}

#[test]
fn one_retry_and_what_may_have_come_through_is_remembered() {
    assert_eq!(
        told(judged(&job(1, false), server_error(None))),
        "Failed r false fine"
    );
    assert_eq!(
        told(judged(&job(1, false), unknown())),
        "Failed r true fine"
    );
    assert_eq!(
        told(judged(&job(1, true), server_error(None))),
        "Failed r true fine"
    );
    assert_eq!(
        told(judged(&job(0, true), server_error(None))),
        "again +1000 true"
    );
}

#[test]
fn a_withdrawal_is_tried_twice_at_most() {
    let judged = |attempts, outcome: Outcome| {
        told(withdrawal(
            &job(attempts, false),
            &push(),
            &outcome,
            Timestamp::from_millis(NOW),
        ))
    };
    assert_eq!(judged(0, unknown()), "again +1000 false");
    assert_eq!(judged(1, unknown()), "- false fine");
    assert_eq!(judged(0, server_error(Some(3))), "again +3000 false");
    assert_eq!(judged(0, Outcome::Accepted), "- false fine");
    let dead = Outcome::TokenDead {
        reason: "r".into(),
        since_ms: None,
    };
    assert_eq!(judged(0, dead), "- false tok dead None");
}

#[test]
fn labels_are_few() {
    assert_eq!(reason_label(None), "");
    assert_eq!(reason_label(Some("Unregistered")), "Unregistered");
    assert_eq!(
        reason_label(Some("stream reset: INTERNAL_ERROR")),
        "stream reset"
    );
    for odd in ["", "TheReasonOfTomorrow", "status 599"] {
        assert_eq!(reason_label(Some(odd)), "other");
    }
}
