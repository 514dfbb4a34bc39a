//! The phones' side: who gets what, and when.

use device_sim::gateway::{Push as Received, Vendor};
use serde_json::json;

use crate::client::{ApnsClient, Push, TOPIC, android, gateways, good_token, iphone, registration};
use crate::fcm::{Google, message};

fn payload(push: &Received) -> String {
    match push {
        Received::Apns(push) => push.payload["c"].as_str().unwrap().to_owned(),
        Received::Fcm(push) => push.message["data"]["c"].as_str().unwrap().to_owned(),
    }
}

fn numbered(number: u8) -> String {
    format!(r#"{{"aps":{{"alert":"x"}},"c":"{number}"}}"#)
}

#[tokio::test]
async fn an_iphone_gets_headers_and_payload() {
    let (gateways, hand) = gateways(|_| {}).await;
    let (device, jwt) = (iphone(&gateways), good_token(&gateways, &hand));
    let mut pushes = gateways.devices().connect(&device).unwrap();
    let client = ApnsClient::connect(&gateways).await;
    let push = Push::good(&device, &jwt)
        .header("apns-collapse-id", "c1")
        .body(numbered(1));
    let answer = client.call(push.request()).await.unwrap();
    let Some(Received::Apns(push)) = pushes.recv().await else {
        panic!("not from Apple");
    };
    assert_eq!(push.apns_id, answer.headers["apns-id"]);
    assert_eq!(push.topic, TOPIC);
    assert_eq!((push.push_type.as_str(), push.priority), ("alert", 10));
    assert_eq!(push.headers["apns-collapse-id"], "c1");
    assert_eq!(push.payload["c"], "1");
    assert_eq!(push.time_ms, hand.now_s() * 1000);
    assert!(!push.headers.contains_key("authorization"));
}

#[tokio::test]
async fn apple_stores_one_and_honours_expiration() {
    let (gateways, hand) = gateways(|_| {}).await;
    let (device, jwt) = (iphone(&gateways), good_token(&gateways, &hand));
    let client = ApnsClient::connect(&gateways).await;
    let send = async |number, expiration: u64| {
        let push = Push::good(&device, &jwt)
            .header("apns-expiration", &expiration.to_string())
            .body(numbered(number));
        assert_eq!(
            client.call(push.request()).await.unwrap().outcome(),
            (200, "")
        );
    };
    let soon = hand.now_s() + 60;
    send(1, soon).await;
    send(2, soon).await;
    let mut pushes = gateways.devices().connect(&device).unwrap();
    assert_eq!(payload(&pushes.try_recv().unwrap()), "2", "the newest");
    assert!(pushes.try_recv().is_none(), "and no other");

    drop(pushes);
    send(3, soon).await;
    hand.turn(60);
    let mut pushes = gateways.devices().connect(&device).unwrap();
    assert!(pushes.try_recv().is_none(), "expired while it waited");

    drop(pushes);
    send(4, 0).await;
    let mut pushes = gateways.devices().connect(&device).unwrap();
    assert!(pushes.try_recv().is_none(), "0: now or never");
    send(5, 0).await;
    assert_eq!(payload(&pushes.try_recv().unwrap()), "5");
}

#[tokio::test]
async fn the_screen_shows_one_per_collapse_id() {
    let (gateways, hand) = gateways(|_| {}).await;
    let (device, jwt) = (iphone(&gateways), good_token(&gateways, &hand));
    let _pushes = gateways.devices().connect(&device).unwrap();
    let client = ApnsClient::connect(&gateways).await;
    for (number, id) in [(1, "a"), (2, "b"), (3, "a"), (4, "")] {
        let push = Push::good(&device, &jwt)
            .header("apns-collapse-id", id)
            .body(numbered(number));
        client.call(push.request()).await.unwrap();
    }
    let shown: Vec<_> = gateways
        .devices()
        .screen(&device)
        .iter()
        .map(payload)
        .collect();
    assert_eq!(shown, ["2", "3", "4"]);
}

#[tokio::test]
async fn google_stores_all_and_honours_ttl() {
    let (gateways, hand) = gateways(|_| {}).await;
    let device = android(&gateways);
    let google = Google::sign_in(&gateways, &hand).await;
    let send = async |number: u8, ttl: &str, key: Option<&str>| {
        let mut message = message(&device);
        message["message"]["data"] = json!({ "c": number.to_string() });
        message["message"]["android"] = json!({ "ttl": ttl, "collapse_key": key });
        assert_eq!(google.send(&message).await.0, 200);
    };
    send(1, "60s", None).await;
    send(2, "60s", Some("k")).await;
    send(3, "60s", Some("k")).await;
    send(4, "0s", None).await;
    send(5, "120s", None).await;
    hand.turn(59);
    let mut pushes = gateways.devices().connect(&device).unwrap();
    let waited: Vec<_> = std::iter::from_fn(|| pushes.try_recv())
        .map(|push| payload(&push))
        .collect();
    assert_eq!(waited, ["1", "3", "5"]);
    drop(pushes);
    send(6, "60s", None).await;
    hand.turn(60);
    assert!(
        gateways
            .devices()
            .connect(&device)
            .unwrap()
            .try_recv()
            .is_none()
    );
}

#[tokio::test]
async fn tokens_are_for_known_apps_and_die_with_the_app() {
    let (gateways, _) = gateways(|_| {}).await;
    assert!(
        gateways
            .issue_token(&registration(Vendor::Apns, "com.example.foreign"))
            .is_err()
    );
    assert!(
        gateways
            .issue_token(&registration(Vendor::Fcm, TOPIC))
            .is_err()
    );
    let device = iphone(&gateways);
    let mut pushes = gateways.devices().connect(&device).unwrap();
    assert!(gateways.devices().uninstall(&device));
    assert!(pushes.recv().await.is_none(), "the stream ends");
    assert!(gateways.devices().connect(&device).is_none());
    assert!(!gateways.devices().uninstall("00"));
}
