//! The phones' inbox, and what people and other processes see of it.

use device_sim::gateway::Gateways;
use serde_json::{Value, json};

use crate::client::{gateways, https};

const TO: &str = "+32470123456";

async fn text(gateways: &Gateways, to: &str, text: &str) {
    let webhook = gateways.sms().webhook();
    let response = https(gateways)
        .post(webhook.url())
        .bearer_auth(webhook.secret())
        .json(&json!({ "to": to, "text": text, "from": "Countersign" }))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
}

async fn get(gateways: &Gateways, path: &str) -> String {
    let url = format!("http://{}{path}", gateways.control_addr());
    let response = https(gateways).get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

#[tokio::test]
async fn as_json_and_as_phones() {
    let (gateways, _) = gateways(|_| {}).await;
    text(&gateways, TO, "123456 is your code\n<b>€</b>").await;
    text(&gateways, "+31612345678", "ê").await;
    text(&gateways, "+15005550011", "lost").await;
    let all: Value = serde_json::from_str(&get(&gateways, "/sms/inbox").await).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
    let path = "/sms/inbox?to=%2B32470123456";
    let one: Value = serde_json::from_str(&get(&gateways, path).await).unwrap();
    let one = &one.as_array().unwrap()[0];
    assert_eq!(one["text"], "123456 is your code\n<b>€</b>");
    assert_eq!(one["gateway"], "webhook");
    assert_eq!(
        (&one["alphabet"], &one["segments"], &one["units"]),
        (&json!("gsm-7"), &json!(1), &json!(29))
    );
    assert_eq!(all[1]["alphabet"], "ucs-2");
    assert_eq!(all[2]["shown"], false);

    let page = get(&gateways, "/sms").await;
    assert!(page.contains("123456 is your code\n&lt;b&gt;€&lt;/b&gt;"));
    assert!(!page.contains("<b>€"), "texts are text");
    assert!(page.contains("<h2>+31612345678</h2>"));
    assert!(page.contains("article class=\"lost\""));
}

#[tokio::test]
async fn waiting_from_another_process() {
    let (gateways, _) = gateways(|_| {}).await;
    text(&gateways, TO, "first").await;
    let path = "/sms/inbox?to=%2B32470123456&wait=20&after=";
    let first: Value = serde_json::from_str(&get(&gateways, &format!("{path}0")).await).unwrap();
    assert_eq!(first[0]["text"], "first");
    let seq = first[0]["seq"].as_u64().unwrap();
    let after = format!("{path}{seq}");
    let (second, ()) = tokio::join!(get(&gateways, &after), text(&gateways, TO, "second"));
    let second: Value = serde_json::from_str(&second).unwrap();
    assert_eq!(second.as_array().unwrap().len(), 1);
    assert_eq!(second[0]["text"], "second");
}

#[tokio::test]
async fn outcomes_by_the_control_page() {
    let (gateways, _) = gateways(|_| {}).await;
    let base = format!("http://{}/sms", gateways.control_addr());
    let http = https(&gateways);
    let never = json!({ "outcome": "never" });
    let put = |path: &str, body: &Value| http.put(format!("{base}{path}")).json(body).send();
    for (path, body, status) in [
        ("/delivery/+32470123456", &never, 204),
        ("/delivery", &json!({ "outcome": "eaten" }), 400),
        (
            "/delivery/+32470123456",
            &json!({ "outcome": "failed" }),
            400,
        ),
    ] {
        assert_eq!(put(path, body).await.unwrap().status(), status);
    }
    text(&gateways, TO, "one").await;
    assert!(gateways.sms().inbox().shown(TO).is_empty());
    let delete = http.delete(format!("{base}/delivery/{TO}"));
    assert_eq!(delete.send().await.unwrap().status(), 204);
    text(&gateways, TO, "two").await;
    assert_eq!(gateways.sms().inbox().shown(TO).len(), 1);
    let unconfirmed = json!({ "outcome": "never" });
    put("/delivery", &unconfirmed).await.unwrap();
    text(&gateways, TO, "three").await;
    assert_eq!(gateways.sms().inbox().shown(TO).len(), 1);
    let delete = http.delete(format!("{base}/inbox"));
    assert_eq!(delete.send().await.unwrap().status(), 204);
    assert!(gateways.sms().inbox().messages().is_empty());
}

#[tokio::test]
async fn what_a_broker_needs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let start = async || gateways(|config| config.credentials = Some(path.clone())).await;
    let (first, _) = start().await;
    let secrets = |gateways: &Gateways| {
        let sms = gateways.sms();
        [
            sms.twilio().account_sid(),
            sms.twilio().auth_token(),
            sms.webhook().secret(),
            sms.smpp().password(),
        ]
        .map(str::to_owned)
    };
    let before = secrets(&first);
    assert_eq!(before[3].len(), 8, "SMPP takes no more");
    drop(first);
    let (second, _) = start().await;
    assert_eq!(secrets(&second), before);
    let toml = get(&second, "/broker.toml?callback_url=https%3A%2F%2Fbroker").await;
    for part in [
        "[sms]\ncallback_url = \"https://broker\"\n",
        "kind = \"smpp\"",
        "kind = \"webhook\"",
        "kind = \"twilio\"",
        second.sms().twilio().url(),
        second.sms().webhook().url(),
        &second.sms().smpp().addr().to_string(),
    ] {
        assert!(toml.contains(part), "{part}");
    }
    for secret in &before[1..] {
        assert!(!toml.contains(secret.as_str()), "secrets stay in files");
    }
    let file = std::fs::read_to_string(path.join("smpp-password")).unwrap();
    assert_eq!(file, before[3]);
}
