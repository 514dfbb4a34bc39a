//! FCM: requests as sent, the exchange of tokens, breaker.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::fcm_server::{Server, accepted, error, granted};
use super::*;

async fn send_many(gateways: &Arc<Gateways>, clock: &Clock, count: usize) -> Vec<Outcome> {
    let tasks = (0..count).map(|_| {
        let gateways = Arc::clone(gateways);
        let push = clock.push(PushGateway::Fcm, "token-1");
        tokio::spawn(async move { gateways.send(&push).await })
    });
    join_all(tasks)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

async fn send(gateways: &Gateways, clock: &Clock) -> Outcome {
    gateways
        .send(&clock.push(PushGateway::Fcm, "token-1"))
        .await
}

#[tokio::test]
async fn the_exchange_and_the_message_say_what_google_asks_for() {
    let server = Server::start(granted, |_, _| accepted()).await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);

    let assertion = &server.assertions()[0];
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": "rsa-1"});
    assert_eq!(jwt_part(assertion, 0), header);
    let key = jsonwebtoken::DecodingKey::from_rsa_pem(server.public_key.as_bytes()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    rules.validate_exp = false;
    rules.set_audience(&[server.token_url()]);
    let claims = jsonwebtoken::decode::<Value>(assertion, &key, &rules)
        .unwrap()
        .claims;
    let expected = json!({
        "iss": "sender@be.example.app",
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": server.token_url(),
        "iat": START_MS / 1000,
        "exp": START_MS / 1000 + 3600,
    });
    assert_eq!(claims, expected);

    let (access, body) = &server.sent()[0];
    assert_eq!(access, "access-0");
    assert_eq!(body["message"]["token"], "token-1");
    assert_eq!(body["message"]["android"]["ttl"], "60s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cold_sends_exchange_once() {
    let server = Server::start(granted, |_, _| accepted()).await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let outcomes = send_many(&gateways, &clock, 1000).await;
    assert!(outcomes.iter().all(|o| *o == Outcome::Accepted));
    assert_eq!(server.assertions().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_waiting_callers_see_one_refused_exchange_with_its_detail() {
    let server = Server::start(
        |n| match n {
            0 => (
                400,
                json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
            ),
            n => granted(n),
        },
        |_, _| accepted(),
    )
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let expected = Outcome::CredentialRejected {
        reason: "invalid_grant: Invalid JWT Signature.".into(),
    };
    let outcomes = send_many(&gateways, &clock, 250).await;
    assert!(outcomes.iter().all(|o| *o == expected), "{outcomes:?}");
    assert_eq!(server.assertions().len(), 1);
    assert!(!gateways.alarms().is_empty());

    // A replaced file ends the pause.
    server.replace_account("rsa-2");
    clock.advance_s(3);
    assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);
    assert_eq!(jwt_part(&server.assertions()[1], 0)["kid"], "rsa-2");
    assert_eq!(gateways.alarms(), []);
}

#[tokio::test]
async fn a_token_endpoint_in_trouble_is_no_credential_trouble() {
    let server = Server::start(
        |n| match n {
            0 => (503, json!({})),
            n => granted(n),
        },
        |_, _| accepted(),
    )
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    for _ in 0..3 {
        let outcome = send(&gateways, &clock).await;
        assert_eq!(outcome.reason(), Some("token endpoint: status 503"));
        assert_eq!(outcome.name(), "server_error");
    }
    assert_eq!(server.assertions().len(), 1, "a pause after the failure");
    assert_eq!(gateways.alarms(), []);
    clock.advance_s(2);
    assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);
}

#[tokio::test]
async fn a_refused_access_token_is_replaced_once() {
    let server = Server::start(granted, |_, access| match access {
        "access-0" | "access-2" | "access-3" => error(401, "UNAUTHENTICATED", None),
        _ => accepted(),
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);
    assert_eq!(server.assertions().len(), 2);
    clock.advance_s(3600);
    let outcome = send(&gateways, &clock).await;
    assert_eq!(outcome.name(), "credential_rejected");
    assert_eq!(server.assertions().len(), 4);
    assert_eq!(gateways.alarms()[0].reason, "UNAUTHENTICATED");
    assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);
    assert_eq!(gateways.alarms(), []);
}

#[tokio::test]
async fn near_its_end_a_token_still_serves_while_the_next_is_fetched() {
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(
        move |n| {
            asked.send(n).unwrap();
            granted(n)
        },
        |_, _| accepted(),
    )
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    for advance in [0, 3299, 1] {
        clock.advance_s(advance);
        assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);
    }
    assert_eq!(was_asked.recv().await, Some(0));
    assert_eq!(was_asked.recv().await, Some(1), "fetched in the background");
    let used: Vec<_> = server.sent().into_iter().map(|(token, _)| token).collect();
    assert_eq!(used, ["access-0"; 3]);
    clock.advance_s(300);
    assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);
    assert_eq!(server.sent().last().unwrap().0, "access-1");
}

#[tokio::test]
async fn outcomes_reach_the_caller() {
    let table: [(u16, &str, Option<&str>, &str); 5] = [
        (404, "NOT_FOUND", Some("UNREGISTERED"), "token_dead"),
        (404, "NOT_FOUND", None, "rejected"),
        (
            403,
            "PERMISSION_DENIED",
            Some("SENDER_ID_MISMATCH"),
            "credential_rejected",
        ),
        (
            401,
            "UNAUTHENTICATED",
            Some("THIRD_PARTY_AUTH_ERROR"),
            "credential_rejected",
        ),
        (500, "INTERNAL", Some("INTERNAL"), "server_error"),
    ];
    let server = Server::start(granted, move |n, _| {
        let (status, general, code, _) = table[n];
        error(status, general, code)
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    for (.., expected) in table {
        assert_eq!(send(&gateways, &clock).await.name(), expected);
    }
    assert_eq!(server.assertions().len(), 1);
}

#[tokio::test]
async fn a_quota_is_held_for_retry_after() {
    let server = Server::start(granted, |n, _| match n {
        0 => error(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")),
        _ => accepted(),
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let after = Some(Duration::from_secs(20));
    let expected = Outcome::RetryAfter {
        reason: "QUOTA_EXCEEDED".into(),
        after,
    };
    assert_eq!(send(&gateways, &clock).await, expected);
    assert_eq!(send(&gateways, &clock).await.reason(), Some("breaker open"));
    clock.advance_s(20);
    assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);
    assert_eq!(server.sent().len(), 2);
}

#[tokio::test]
async fn a_run_of_failures_opens_the_breaker() {
    let server = Server::start(granted, |n, _| match n {
        0..5 => error(500, "INTERNAL", None),
        _ => accepted(),
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    for _ in 0..5 {
        assert_eq!(send(&gateways, &clock).await.name(), "server_error");
    }
    assert_eq!(send(&gateways, &clock).await.name(), "retry_after");
    clock.advance_s(2);
    assert_eq!(send(&gateways, &clock).await, Outcome::Accepted);
    assert_eq!(server.sent().len(), 6);
}
