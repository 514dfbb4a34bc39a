//! APNs: requests as sent, connection faults, provider tokens, breaker.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::apns_server::{Act, Server, ok};
use super::*;

const TOKEN: &str = "00aaff";

async fn send_many(gateways: &Arc<Gateways>, clock: &Clock, count: usize) -> Vec<Outcome> {
    let tasks = (0..count).map(|_| {
        let gateways = Arc::clone(gateways);
        let push = clock.push(PushGateway::Apns, TOKEN);
        tokio::spawn(async move { gateways.send(&push).await })
    });
    join_all(tasks)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test]
async fn the_request_says_what_apns_asks_for() {
    let server = Server::start(|_| ok()).await;
    let clock = Clock::new();
    let push = clock.push(PushGateway::Apns, TOKEN);
    let gateways = server.gateways(&clock);
    assert_eq!(gateways.send(&push).await, Outcome::Accepted);

    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/3/device/00aaff");
    let expected = [
        ("apns-id", push.push_id.to_string()),
        ("apns-topic", "be.example.app".to_owned()),
        ("apns-push-type", "alert".to_owned()),
        ("apns-priority", "10".to_owned()),
        ("apns-expiration", "1700000060".to_owned()),
        ("apns-collapse-id", "collapse-1".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert_eq!(seen.body["countersign"]["id"], "challenge-1");
    let header = json!({"alg": "ES256", "kid": "KEY1234567"});
    assert_eq!(jwt_part(seen.jwt(), 0), header);
    let claims = json!({"iss": "TEAM123456", "iat": START_MS / 1000});
    assert_eq!(jwt_part(seen.jwt(), 1), claims);
}

#[tokio::test]
async fn a_withdrawal_goes_out_after_the_end_and_a_prompt_does_not() {
    let server = Server::start(|_| ok()).await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let mut push = clock.push(PushGateway::Apns, TOKEN);
    clock.advance_s(60);
    assert_eq!(gateways.send(&push).await.name(), "rejected");
    assert_eq!(server.seen().len(), 0);
    push.content = Content::Withdraw {
        challenge_id: "c".into(),
    };
    assert_eq!(gateways.send(&push).await, Outcome::Accepted);
    assert_eq!(server.seen()[0].header("apns-expiration"), "0");
}

#[tokio::test]
async fn what_cannot_be_right_is_not_sent() {
    let server = Server::start(|_| ok()).await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    for token in ["", "../../x", "00 ff", "é"] {
        let outcome = gateways.send(&clock.push(PushGateway::Apns, token)).await;
        assert_eq!(outcome.reason(), Some("BadDeviceToken"), "{token}");
    }
    let mut push = clock.push(PushGateway::Apns, TOKEN);
    push.collapse_id = "x".repeat(65);
    assert_eq!(gateways.send(&push).await.reason(), Some("BadCollapseId"));
    push.collapse_id = "a\nb".into();
    assert_eq!(gateways.send(&push).await.name(), "rejected");
    push.collapse_id = "x".into();
    push.content = Content::Sealed {
        challenge_id: "c".into(),
        ciphertext: vec![0; 4000],
    };
    assert_eq!(gateways.send(&push).await.reason(), Some("PayloadTooLarge"));
    assert_eq!(server.seen().len(), 0);
}

/// One stream until the first answer, as APNs does it: 200 cold callers must
/// not run into refusals, and one token serves them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_concurrent_sends_open_one_stream_until_the_first_answer() {
    let cold_streams = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&cold_streams);
    let server = Server::start(move |seen| {
        if seen.answered == 0 && counter.fetch_add(1, Ordering::SeqCst) > 0 {
            return Act::Reset(h2::Reason::REFUSED_STREAM);
        }
        ok()
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let outcomes = send_many(&gateways, &clock, 200).await;
    assert!(outcomes.iter().all(|o| *o == Outcome::Accepted));
    let seen = server.seen();
    assert_eq!(seen.len(), 200, "nothing had to be sent twice");
    let tokens: BTreeSet<_> = seen.iter().map(|s| s.jwt().to_owned()).collect();
    assert_eq!(tokens.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cold_sends_mint_one_token() {
    let server = Server::start(|_| ok()).await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let outcomes = send_many(&gateways, &clock, 1000).await;
    assert!(outcomes.iter().all(|o| *o == Outcome::Accepted));
    let seen = server.seen();
    // ES256 signatures are random: equal tokens are one token.
    let tokens: BTreeSet<_> = seen.iter().map(|s| s.jwt().to_owned()).collect();
    assert_eq!((seen.len(), tokens.len()), (1000, 1));
}

#[tokio::test]
async fn connection_trouble_is_retried_at_once_under_the_same_id() {
    let faults: [fn() -> Act; 4] = [
        || Act::Reset(h2::Reason::REFUSED_STREAM),
        // Code 7, as real APNs was seen to send.
        || Act::GoAway(h2::Reason::REFUSED_STREAM),
        || Act::GoAway(h2::Reason::NO_ERROR),
        || Act::Close,
    ];
    for fault in faults {
        let server = Server::start(move |seen| if seen.index < 2 { fault() } else { ok() }).await;
        let clock = Clock::new();
        let gateways = server.gateways(&clock);
        let push = clock.push(PushGateway::Apns, TOKEN);
        assert_eq!(gateways.send(&push).await, Outcome::Accepted);
        let id = push.push_id.to_string();
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|s| s.header("apns-id") == id));
    }
}

#[tokio::test]
async fn after_three_tries_it_is_unknown_or_a_server_error() {
    let clock = Clock::new();
    let cases = [
        (None, "unknown"),
        (Some(h2::Reason::INTERNAL_ERROR), "unknown"),
        (Some(h2::Reason::REFUSED_STREAM), "server_error"),
    ];
    for (reset, expected) in cases {
        let server = Server::start(move |_| reset.map_or(Act::Close, Act::Reset)).await;
        let gateways = server.gateways(&clock);
        let outcome = gateways.send(&clock.push(PushGateway::Apns, TOKEN)).await;
        assert_eq!(outcome.name(), expected, "{outcome:?}");
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn nobody_there_or_nobody_trusted_is_a_server_error() {
    let server = Server::start(|_| ok()).await;
    let clock = Clock::new();
    let other = Server::start(|_| ok()).await;
    for (url, ca) in [
        ("https://localhost:1".to_owned(), server.app().root_ca_file),
        (server.url.clone(), other.app().root_ca_file),
    ] {
        let app = ApnsApp {
            url: Some(url),
            root_ca_file: ca,
            ..server.app()
        };
        let config = PushConfig {
            apns: vec![app],
            fcm: Vec::new(),
        };
        let gateways = Gateways::new(&config, clock.source()).unwrap();
        let outcome = gateways.send(&clock.push(PushGateway::Apns, TOKEN)).await;
        assert_eq!(outcome.name(), "server_error", "{outcome:?}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn no_answer_in_time_is_unknown_and_the_connection_is_left() {
    let server = Server::start(|seen| match seen.index {
        1 => Act::Stall,
        _ => ok(),
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let mut push = clock.push(PushGateway::Apns, TOKEN);
    assert_eq!(gateways.send(&push).await, Outcome::Accepted);
    push.expire_at_ms = clock.now_ms() + 200;
    assert_eq!(gateways.send(&push).await.name(), "unknown");
    push.expire_at_ms = clock.now_ms() + 60_000;
    assert_eq!(gateways.send(&push).await, Outcome::Accepted);
    let connections: Vec<_> = server.seen().iter().map(|s| s.connection).collect();
    assert_eq!(connections, [0, 0, 1]);
}

#[tokio::test]
async fn a_dead_token_comes_back_with_its_date_and_a_huge_answer_without() {
    let server = Server::start(|seen| match seen.index {
        0 => Act::Reply(410, "Unregistered"),
        _ => Act::ReplyWith(410, vec![b'['; 1 << 20], "x", "y".into()),
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let push = clock.push(PushGateway::Apns, TOKEN);
    let expected = Outcome::TokenDead {
        reason: "Unregistered".into(),
        since_ms: Some(1_700_000_000_123),
    };
    assert_eq!(gateways.send(&push).await, expected);
    assert_eq!(gateways.send(&push).await.reason(), Some("status 410"));
}

#[tokio::test]
async fn a_token_is_replaced_at_fifty_minutes_and_not_before() {
    let server = Server::start(|_| ok()).await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    for advance in [0, 49 * 60, 60, 20 * 60] {
        clock.advance_s(advance);
        let outcome = gateways.send(&clock.push(PushGateway::Apns, TOKEN)).await;
        assert_eq!(outcome, Outcome::Accepted);
    }
    let jwts: Vec<_> = server.seen().iter().map(|s| s.jwt().to_owned()).collect();
    assert_eq!(jwts[0], jwts[1]);
    assert_ne!(jwts[1], jwts[2]);
    assert_eq!(jwts[2], jwts[3]);
}

#[tokio::test]
async fn an_expired_token_is_renewed_on_a_new_connection_but_never_when_young() {
    let server = Server::start(|seen| match seen.index {
        1 | 3 => Act::Reply(403, "ExpiredProviderToken"),
        _ => ok(),
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let push = |clock: &Clock| clock.push(PushGateway::Apns, TOKEN);
    assert_eq!(gateways.send(&push(&clock)).await, Outcome::Accepted);
    clock.advance_s(20 * 60);
    assert_eq!(gateways.send(&push(&clock)).await, Outcome::Accepted);
    let seen = server.seen();
    assert_ne!(seen[1].jwt(), seen[2].jwt());
    assert_eq!(seen[1].header("apns-id"), seen[2].header("apns-id"));
    assert_eq!((seen[1].connection, seen[2].connection), (0, 1));
    assert_eq!(gateways.alarms(), []);

    clock.advance_s(20 * 60 - 1);
    let outcome = gateways.send(&push(&clock)).await;
    assert_eq!(outcome.name(), "credential_rejected");
    assert_eq!(server.seen().len(), 4, "not tried again");
    let alarms = gateways.alarms();
    assert_eq!(alarms[0].credential, "TEAM123456/KEY1234567");
    assert_eq!(alarms[0].reason, "ExpiredProviderToken");
    assert_eq!(gateways.send(&push(&clock)).await, Outcome::Accepted);
    assert_eq!(gateways.alarms(), []);
}

#[tokio::test]
async fn a_replaced_key_is_used_at_once_when_the_old_one_is_refused() {
    let refused = Arc::new(parking_lot::Mutex::new(String::new()));
    let revoked = Arc::clone(&refused);
    let server = Server::start(move |seen| {
        if *revoked.lock() == seen.jwt() {
            Act::Reply(403, "InvalidProviderToken")
        } else {
            ok()
        }
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let push = clock.push(PushGateway::Apns, TOKEN);
    assert_eq!(gateways.send(&push).await, Outcome::Accepted);
    server.seen()[0].jwt().clone_into(&mut refused.lock());
    assert_eq!(gateways.send(&push).await.name(), "credential_rejected");
    write_ec_key(&server.key_file());
    let outcomes = send_many(&gateways, &clock, 50).await;
    assert!(outcomes.iter().all(|o| *o == Outcome::Accepted));
    let tokens: BTreeSet<_> = server.seen().iter().map(|s| s.jwt().to_owned()).collect();
    assert_eq!(tokens.len(), 2);
}

#[tokio::test]
async fn a_replaced_key_waits_while_the_old_one_is_young_and_accepted() {
    let server = Server::start(|_| ok()).await;
    let dir = server.dir.path();
    let link = dir.join("current");
    let app = ApnsApp {
        key_id: String::new(),
        key_file: link.clone(),
        ..server.app()
    };
    let config = PushConfig {
        apns: vec![app],
        fcm: Vec::new(),
    };
    for id in ["AAAAAAAAAA", "BBBBBBBBBB"] {
        write_ec_key(&dir.join(format!("AuthKey_{id}.p8")));
    }
    std::os::unix::fs::symlink(dir.join("AuthKey_AAAAAAAAAA.p8"), &link).unwrap();
    let clock = Clock::new();
    let gateways = Gateways::new(&config, clock.source()).unwrap();
    let mut key_ids = Vec::new();
    for advance in [0, 10 * 60, 10 * 60] {
        clock.advance_s(advance);
        let outcome = gateways.send(&clock.push(PushGateway::Apns, TOKEN)).await;
        assert_eq!(outcome, Outcome::Accepted);
        key_ids.push(jwt_part(server.seen().last().unwrap().jwt(), 0)["kid"].clone());
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(dir.join("AuthKey_BBBBBBBBBB.p8"), &link).unwrap();
    }
    assert_eq!(key_ids, ["AAAAAAAAAA", "AAAAAAAAAA", "BBBBBBBBBB"]);
}

#[tokio::test]
async fn retry_after_opens_the_breaker_and_one_probe_closes_it() {
    let server = Server::start(|seen| match seen.index {
        0 => Act::ReplyWith(
            503,
            br#"{"reason":"ServiceUnavailable"}"#.to_vec(),
            "retry-after",
            "30".into(),
        ),
        _ => ok(),
    })
    .await;
    let clock = Clock::new();
    let gateways = server.gateways(&clock);
    let push = |clock: &Clock| clock.push(PushGateway::Apns, TOKEN);
    let after = Some(Duration::from_secs(30));
    let expected = Outcome::ServerError {
        reason: "ServiceUnavailable".into(),
        after,
    };
    assert_eq!(gateways.send(&push(&clock)).await, expected);
    let expected = Outcome::RetryAfter {
        reason: "breaker open".into(),
        after,
    };
    assert_eq!(gateways.send(&push(&clock)).await, expected);
    assert_eq!(server.seen().len(), 1);
    clock.advance_s(30);
    assert_eq!(gateways.send(&push(&clock)).await, Outcome::Accepted);
    assert_eq!(gateways.send(&push(&clock)).await, Outcome::Accepted);
}

#[tokio::test]
async fn no_more_in_flight_than_configured() {
    let in_flight = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&in_flight);
    let server = Server::start(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Act::Stall
    })
    .await;
    let clock = Clock::new();
    let config = PushConfig {
        apns: vec![ApnsApp {
            max_in_flight: 1,
            ..server.app()
        }],
        fcm: Vec::new(),
    };
    let gateways = Gateways::new(&config, clock.source()).unwrap();
    let mut first = clock.push(PushGateway::Apns, TOKEN);
    first.expire_at_ms = clock.now_ms() + 400;
    let mut second = first.clone();
    second.expire_at_ms = clock.now_ms() + 100;
    let (first, second) = tokio::join!(gateways.send(&first), gateways.send(&second));
    assert_eq!((first.name(), second.name()), ("unknown", "retry_after"));
    assert_eq!(in_flight.load(Ordering::SeqCst), 1);
}
