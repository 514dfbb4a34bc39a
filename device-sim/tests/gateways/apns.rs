//! Each check of APNs, with the reason Apple gives.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use device_sim::gateway::{ApnsTeam, Encoding, Environment, Registration, Vendor};
use jsonwebtoken::EncodingKey;
use serde_json::json;

use crate::client::{
    ApnsClient, KEY, Push, TEAM, TOPIC, finish, gateways, good_token, hmac, iphone, provider_token,
    registration, sign, tls,
};

const OTHER_TOPIC: &str = "be.example.other";

/// Spoils a push with a good device token and a good JWT.
type Spoil = Box<dyn Fn(Push) -> Push>;

fn padding(length: usize) -> String {
    let frame = r#"{"aps":{"alert":"x"},"p":""}"#;
    format!(
        r#"{{"aps":{{"alert":"x"}},"p":"{}"}}"#,
        "x".repeat(length - frame.len())
    )
}

#[tokio::test]
async fn every_rule_of_a_request() {
    let voip = |push: Push| {
        push.header("apns-push-type", "voip")
            .header("apns-topic", "be.example.countersign.voip")
    };
    let background = |push: Push| {
        push.header("apns-push-type", "background")
            .header("apns-priority", "5")
            .body(r#"{"aps":{"content-available":1},"c":"1"}"#)
    };
    let table: Vec<(&str, Spoil, (u16, &str))> = vec![
        ("good", Box::new(|push| push), (200, "")),
        ("background", Box::new(background), (200, "")),
        ("voip", Box::new(voip), (200, "")),
        (
            "no priority",
            Box::new(|push| push.header("apns-priority", "")),
            (200, ""),
        ),
        (
            "priority 1",
            Box::new(|push| push.header("apns-priority", "1")),
            (200, ""),
        ),
        (
            "scheme in capitals",
            Box::new(|mut push| {
                push.headers[0].1 = push.headers[0].1.replace("bearer", "Bearer");
                push
            }),
            (200, ""),
        ),
        (
            "64 bytes of collapse id",
            Box::new(|push| push.header("apns-collapse-id", &"x".repeat(64))),
            (200, ""),
        ),
        (
            "4096 bytes",
            Box::new(|push| push.body(padding(4096))),
            (200, ""),
        ),
        (
            "4097 bytes",
            Box::new(|push| push.body(padding(4097))),
            (413, "PayloadTooLarge"),
        ),
        (
            "100 KB",
            Box::new(|push| push.body(padding(100_000))),
            (413, "PayloadTooLarge"),
        ),
        (
            "voip, 5120 bytes",
            Box::new(move |push| voip(push).body(padding(5120))),
            (200, ""),
        ),
        (
            "voip, 5121 bytes",
            Box::new(move |push| voip(push).body(padding(5121))),
            (413, "PayloadTooLarge"),
        ),
        (
            "GET",
            Box::new(|push| push.method("GET")),
            (405, "MethodNotAllowed"),
        ),
        (
            "other path",
            Box::new(|push| push.path("/2/device/00")),
            (404, "BadPath"),
        ),
        (
            "longer path",
            Box::new(|push| push.path("/3/device/00/1")),
            (404, "BadPath"),
        ),
        (
            "no token",
            Box::new(|push| push.path("/3/device/")),
            (400, "MissingDeviceToken"),
        ),
        (
            "not hex",
            Box::new(|push| push.path("/3/device/zz")),
            (400, "BadDeviceToken"),
        ),
        (
            "unknown token",
            Box::new(|push| push.path(&format!("/3/device/{}", "ab".repeat(32)))),
            (400, "BadDeviceToken"),
        ),
        (
            "two topics",
            Box::new(|push| push.doubled("apns-topic", TOPIC)),
            (400, "DuplicateHeaders"),
        ),
        (
            "two authorizations",
            Box::new(|push| {
                let first = push.headers[0].1.clone();
                push.doubled("authorization", &first)
            }),
            (400, "DuplicateHeaders"),
        ),
        (
            "no authorization",
            Box::new(|push| push.header("authorization", "")),
            (403, "MissingProviderToken"),
        ),
        (
            "basic",
            Box::new(|push| push.header("authorization", "basic eDp5")),
            (403, "InvalidProviderToken"),
        ),
        (
            "id not a uuid",
            Box::new(|push| push.header("apns-id", "1234")),
            (400, "BadMessageId"),
        ),
        (
            "id without hyphens",
            Box::new(|push| push.header("apns-id", "123e4567e89b12d3a4564266554400a0")),
            (400, "BadMessageId"),
        ),
        (
            "no topic",
            Box::new(|push| push.header("apns-topic", "")),
            (400, "MissingTopic"),
        ),
        (
            "topic with spaces",
            Box::new(|push| push.header("apns-topic", "be example")),
            (400, "BadTopic"),
        ),
        (
            "someone else's topic",
            Box::new(|push| push.header("apns-topic", "com.example.foreign")),
            (400, "TopicDisallowed"),
        ),
        (
            "another app of the team",
            Box::new(|push| push.header("apns-topic", OTHER_TOPIC)),
            (400, "DeviceTokenNotForTopic"),
        ),
        (
            "no push type",
            Box::new(|push| push.header("apns-push-type", "")),
            (400, "InvalidPushType"),
        ),
        (
            "unknown push type",
            Box::new(|push| push.header("apns-push-type", "loud")),
            (400, "InvalidPushType"),
        ),
        (
            "alert without alert",
            Box::new(|push| push.body(r#"{"aps":{"content-available":1}}"#)),
            (400, "InvalidPushType"),
        ),
        (
            "background with alert",
            Box::new(move |push| {
                background(push).body(r#"{"aps":{"content-available":1,"alert":"x"}}"#)
            }),
            (400, "InvalidPushType"),
        ),
        (
            "background with priority 10",
            Box::new(move |push| background(push).header("apns-priority", "10")),
            (400, "BadPriority"),
        ),
        (
            "background without priority",
            Box::new(move |push| background(push).header("apns-priority", "")),
            (400, "BadPriority"),
        ),
        (
            "priority 7",
            Box::new(|push| push.header("apns-priority", "7")),
            (400, "BadPriority"),
        ),
        (
            "priority in words",
            Box::new(|push| push.header("apns-priority", "high")),
            (400, "BadPriority"),
        ),
        (
            "fractional expiration",
            Box::new(|push| push.header("apns-expiration", "1800000000.5")),
            (400, "BadExpirationDate"),
        ),
        (
            "signed expiration",
            Box::new(|push| push.header("apns-expiration", "+1800000000")),
            (400, "BadExpirationDate"),
        ),
        (
            "long collapse id",
            Box::new(|push| push.header("apns-collapse-id", &"x".repeat(65))),
            (400, "BadCollapseId"),
        ),
        (
            "no body",
            Box::new(|push| push.body("")),
            (400, "PayloadEmpty"),
        ),
        (
            "not json",
            Box::new(|push| push.body("aps")),
            (400, "PayloadEmpty"),
        ),
        (
            "no aps",
            Box::new(|push| push.body(r#"{"c":"1"}"#)),
            (400, "PayloadEmpty"),
        ),
        (
            "aps no object",
            Box::new(|push| push.body(r#"{"aps":1}"#)),
            (400, "PayloadEmpty"),
        ),
    ];
    let (gateways, hand) = gateways(|config| {
        config.teams[0].topics.push(OTHER_TOPIC.to_owned());
    })
    .await;
    let client = ApnsClient::connect(&gateways).await;
    let (device, jwt) = (iphone(&gateways), good_token(&gateways, &hand));
    for (name, spoil, expected) in table {
        let answer = client
            .call(spoil(Push::good(&device, &jwt)).request())
            .await
            .unwrap();
        assert_eq!(answer.outcome(), expected, "{name}");
        assert_eq!(answer.headers["apns-id"].len(), 36, "{name}");
    }
}

#[tokio::test]
async fn every_rule_of_a_provider_token() {
    let (gateways, hand) = gateways(|config| {
        config.token_change_limit = None;
        config.teams.push(ApnsTeam {
            team_id: "EXAMPLETM2".to_owned(),
            key_id: "EXAMPLEKY2".to_owned(),
            topics: vec!["be.example.second".to_owned()],
        });
    })
    .await;
    let now = hand.now_s();
    let es256 = || json!({ "alg": "ES256", "kid": KEY });
    let signed = |header, claims| provider_token(&gateways, header, claims);
    let good = signed(es256(), json!({ "iss": TEAM, "iat": now }));
    let mut forged = good.clone();
    let tail = if forged.ends_with('A') { "Q" } else { "A" };
    forged.replace_range(forged.len() - 1.., tail);
    let invalid = (403, "InvalidProviderToken");
    let expired = (403, "ExpiredProviderToken");
    let table = [
        ("good", good.clone(), (200, "")),
        (
            "an hour old",
            signed(es256(), json!({ "iss": TEAM, "iat": now - 3600 })),
            (200, ""),
        ),
        (
            "older",
            signed(es256(), json!({ "iss": TEAM, "iat": now - 3601 })),
            expired,
        ),
        (
            "from the future",
            signed(es256(), json!({ "iss": TEAM, "iat": now + 120 })),
            invalid,
        ),
        (
            "iat in milliseconds",
            signed(es256(), json!({ "iss": TEAM, "iat": now * 1000 })),
            invalid,
        ),
        (
            "iat as text",
            signed(es256(), json!({ "iss": TEAM, "iat": now.to_string() })),
            invalid,
        ),
        ("no iat", signed(es256(), json!({ "iss": TEAM })), invalid),
        ("no iss", signed(es256(), json!({ "iat": now })), invalid),
        (
            "another team's iss",
            signed(es256(), json!({ "iss": "EXAMPLETM2", "iat": now })),
            invalid,
        ),
        (
            "no kid",
            signed(
                json!({ "alg": "ES256" }),
                json!({ "iss": TEAM, "iat": now }),
            ),
            invalid,
        ),
        (
            "unknown kid",
            signed(
                json!({ "alg": "ES256", "kid": "X" }),
                json!({ "iss": TEAM, "iat": now }),
            ),
            invalid,
        ),
        (
            "another team's kid",
            signed(
                json!({ "alg": "ES256", "kid": "EXAMPLEKY2" }),
                json!({ "iss": "EXAMPLETM2", "iat": now }),
            ),
            invalid,
        ),
        (
            "hs256",
            hmac(
                json!({ "alg": "HS256", "kid": KEY }),
                json!({ "iss": TEAM, "iat": now }),
            ),
            invalid,
        ),
        ("forged", forged, invalid),
        ("no jwt", "x".to_owned(), invalid),
        (
            "two parts",
            good.rsplit_once('.').unwrap().0.to_owned(),
            invalid,
        ),
        ("padded", padded(&good), invalid),
    ];
    let device = iphone(&gateways);
    for (name, jwt, expected) in table {
        // One connection each: what one token did to it must not help the next.
        let client = ApnsClient::connect(&gateways).await;
        let answer = client
            .call(Push::good(&device, &jwt).request())
            .await
            .unwrap();
        assert_eq!(answer.outcome(), expected, "{name}");
    }
    assert_eq!(
        gateways.apns().counters().jwts,
        2,
        "only good ones are counted"
    );

    // A connection belongs to the team that spoke first on it.
    let client = ApnsClient::connect(&gateways).await;
    assert_eq!(
        client
            .call(Push::good(&device, &good).request())
            .await
            .unwrap()
            .outcome(),
        (200, "")
    );
    let second = gateways.credentials().apns_keys()[1].clone();
    let key = EncodingKey::from_ec_pem(&std::fs::read(second.path).unwrap()).unwrap();
    let other = sign(
        &key,
        json!({ "alg": "ES256", "kid": "EXAMPLEKY2" }),
        json!({ "iss": "EXAMPLETM2", "iat": now }),
    );
    let second_app = gateways
        .issue_token(&registration(Vendor::Apns, "be.example.second"))
        .unwrap();
    let push = || Push::good(&second_app, &other).header("apns-topic", "be.example.second");
    assert_eq!(
        client.call(push().request()).await.unwrap().outcome(),
        invalid
    );
    let client = ApnsClient::connect(&gateways).await;
    assert_eq!(
        client.call(push().request()).await.unwrap().outcome(),
        (200, "")
    );

    // A revoked key speaks no more, nor does a token grown old.
    assert!(gateways.credentials().revoke_apns_key("EXAMPLEKY2"));
    assert_eq!(
        client.call(push().request()).await.unwrap().outcome(),
        invalid
    );
    hand.turn(3601);
    let client = ApnsClient::connect(&gateways).await;
    let answer = client
        .call(Push::good(&device, &good).request())
        .await
        .unwrap();
    assert_eq!(answer.outcome(), expired);
}

/// The same JWT as `a2` writes it. Its signature no longer fits, as it covers the text.
fn padded(jwt: &str) -> String {
    jwt.split('.').map(to_padded).collect::<Vec<_>>().join(".")
}

fn to_padded(part: &str) -> String {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    BASE64.encode(bytes)
}

#[tokio::test]
async fn padded_tokens_pass_in_lenient_mode_only() {
    for (encoding, expected) in [
        (Encoding::Strict, (403, "InvalidProviderToken")),
        (Encoding::Lenient, (200, "")),
    ] {
        let (gateways, hand) = gateways(|config| config.jwt_encoding = encoding).await;
        let pem = std::fs::read_to_string(&gateways.credentials().apns_keys()[0].path).unwrap();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        let header = BASE64.encode(format!(r#"{{"alg":"ES256","kid":"{KEY}"}}"#));
        let claims = BASE64.encode(format!(r#"{{"iss":"{TEAM}","iat":{}}}"#, hand.now_s()));
        let input = format!("{header}.{claims}");
        assert!(input.contains('='), "padding is what this is about");
        let algorithm = jsonwebtoken::Algorithm::ES256;
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, algorithm).unwrap();
        let jwt = format!("{input}.{}", to_padded(&signature));
        let client = ApnsClient::connect(&gateways).await;
        let push = Push::good(&iphone(&gateways), &jwt);
        assert_eq!(
            client.call(push.request()).await.unwrap().outcome(),
            expected
        );
    }
}

#[tokio::test]
async fn provider_tokens_change_once_in_twenty_minutes() {
    let (gateways, hand) = gateways(|_| {}).await;
    let device = iphone(&gateways);
    let client = ApnsClient::connect(&gateways).await;
    let send = async |jwt: &str| {
        let answer = client
            .call(Push::good(&device, jwt).request())
            .await
            .unwrap();
        let (status, reason) = answer.outcome();
        (status, reason.to_owned())
    };
    let good = (200, String::new());
    let first = good_token(&gateways, &hand);
    assert_eq!(send(&first).await, good);
    hand.turn(1);
    let second = good_token(&gateways, &hand);
    assert_eq!(send(&second).await, good, "the first change");
    assert_eq!(
        send(&first).await,
        good,
        "an older token still in use is no change"
    );
    hand.turn(1198);
    let third = good_token(&gateways, &hand);
    let refused = (429, "TooManyProviderTokenUpdates".to_owned());
    assert_eq!(send(&third).await, refused, "the second within 20 minutes");
    assert_eq!(send(&second).await, good);
    hand.turn(2);
    assert_eq!(send(&third).await, good, "20 minutes after the first");
    assert_eq!(gateways.apns().counters().jwts, 3);
}

#[tokio::test]
async fn apns_id_is_echoed_or_made() {
    let (gateways, hand) = gateways(|_| {}).await;
    let (device, jwt) = (iphone(&gateways), good_token(&gateways, &hand));
    let client = ApnsClient::connect(&gateways).await;
    let id = "123e4567-e89b-12d3-a456-4266554400a0";
    let push = || Push::good(&device, &jwt);
    let answer = client
        .call(push().header("apns-id", id).request())
        .await
        .unwrap();
    assert_eq!(answer.headers["apns-id"], id);
    assert!(!answer.headers.contains_key("apns-unique-id"), "production");
    let spoiled = push().header("apns-id", id).header("apns-priority", "7");
    assert_eq!(
        client.call(spoiled.request()).await.unwrap().headers["apns-id"],
        id
    );
    let made = client.call(push().request()).await.unwrap().headers["apns-id"].clone();
    assert_eq!(made.len(), 36);
    assert_ne!(
        made,
        client.call(push().request()).await.unwrap().headers["apns-id"]
    );
    let ids: Vec<_> = gateways
        .received()
        .iter()
        .map(|arrival| arrival.id.clone())
        .collect();
    assert_eq!(
        ids[..3],
        [
            id.to_owned(),
            id.to_owned(),
            made.to_str().unwrap().to_owned()
        ]
    );
}

#[tokio::test]
async fn environments_are_apart() {
    let (gateways, hand) = gateways(|_| {}).await;
    let jwt = good_token(&gateways, &hand);
    let sandbox = gateways
        .issue_token(&Registration {
            environment: Environment::Sandbox,
            ..registration(Vendor::Apns, TOPIC)
        })
        .unwrap();
    let production = iphone(&gateways);
    assert_ne!(
        sandbox.len(),
        production.len(),
        "nobody may count on 64 characters"
    );
    let addrs = [gateways.apns().addr(), gateways.apns_sandbox().addr()];
    for (index, addr) in addrs.into_iter().enumerate() {
        let client = ApnsClient::connect_to(&gateways, addr).await;
        for (other, device) in [&production, &sandbox].into_iter().enumerate() {
            let answer = client
                .call(Push::good(device, &jwt).request())
                .await
                .unwrap();
            let expected = if index == other {
                (200, "")
            } else {
                (400, "BadDeviceToken")
            };
            assert_eq!(answer.outcome(), expected);
        }
    }
}

#[tokio::test]
async fn dead_tokens() {
    let (gateways, hand) = gateways(|_| {}).await;
    let jwt = good_token(&gateways, &hand);
    let (removed, expired) = (iphone(&gateways), iphone(&gateways));
    let died = hand.now_s() * 1000;
    assert!(gateways.devices().uninstall(&removed));
    assert!(gateways.devices().expire(&expired));
    hand.turn(5);
    let client = ApnsClient::connect(&gateways).await;
    for (device, reason) in [(removed, "Unregistered"), (expired, "ExpiredToken")] {
        let upper = device.to_ascii_uppercase();
        let answer = client
            .call(Push::good(&upper, &jwt).request())
            .await
            .unwrap();
        assert_eq!(answer.outcome(), (410, reason));
        assert_eq!(answer.body["timestamp"], died);
    }
}

#[tokio::test]
async fn one_stream_until_the_first_authenticated_answer() {
    let (gateways, hand) = gateways(|_| {}).await;
    let (device, jwt) = (iphone(&gateways), good_token(&gateways, &hand));
    let push = |jwt: &str| Push::good(&device, jwt).request();
    // The body of the first stays open, so that its answer can't come before the others.
    let client = ApnsClient::connect(&gateways).await;
    let (parts, body) = push(&jwt).into_parts();
    let request = http::Request::from_parts(parts, ());
    let mut send = client.send.clone().ready().await.unwrap();
    let (first, mut stream) = send.send_request(request, false).unwrap();
    let second = client.start(push(&jwt)).await;
    let refused = match second {
        Err(refused) => refused,
        Ok(second) => finish(second).await.unwrap_err(),
    };
    assert_eq!(refused.reason(), Some(h2::Reason::REFUSED_STREAM));
    stream.send_data(body, true).unwrap();
    assert_eq!(finish(first).await.unwrap().outcome(), (200, ""));

    let many: Vec<_> =
        futures_util::future::try_join_all((0..50).map(|_| client.start(push(&jwt))))
            .await
            .unwrap();
    for answer in futures_util::future::try_join_all(many.into_iter().map(finish))
        .await
        .unwrap()
    {
        assert_eq!(answer.outcome(), (200, ""));
    }
    assert_eq!(gateways.apns().counters().refused_streams, 1);
    assert_eq!(
        client.send.current_max_send_streams(),
        1000,
        "announced by SETTINGS"
    );

    // An answer to an unauthenticated request doesn't count.
    let client = ApnsClient::connect(&gateways).await;
    let answer = client.call(push("x")).await.unwrap();
    assert_eq!(answer.outcome(), (403, "InvalidProviderToken"));
    assert_eq!(client.send.current_max_send_streams(), 1);
}

#[tokio::test]
async fn http_2_only() {
    let (gateways, _) = gateways(|_| {}).await;
    let root = gateways.credentials().root_ca_file();
    let connect = async |protocols: &[&str]| {
        let tcp = tokio::net::TcpStream::connect(gateways.apns().addr())
            .await
            .unwrap();
        let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
        tokio_rustls::TlsConnector::from(tls(&root, protocols))
            .connect(name, tcp)
            .await
    };
    assert!(connect(&["http/1.1"]).await.is_err());
    let mut silent = connect(&[]).await.unwrap();
    let mut bytes = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut bytes).await;
    assert!(
        read.is_err() || bytes.is_empty(),
        "no protocol agreed: the connection is closed"
    );
    assert!(connect(&["h2"]).await.is_ok());
}
