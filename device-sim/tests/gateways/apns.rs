//! Each check of APNs, with the reason Apple gives.

use device_sim::gateway::{Environment, Registration, Vendor};

use crate::client::{ApnsClient, Push, TOPIC, gateways, good_token, iphone, registration};

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
