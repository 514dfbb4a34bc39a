//! The control page, and what a start leaves behind.

use serde_json::{Value, json};

use crate::client::{ApnsClient, PROJECT, Push, TOPIC, gateways, good_token};

/// Plain HTTP; the TLS setting is there because the client wants one.
fn http(gateways: &device_sim::gateway::Gateways) -> (reqwest::Client, String) {
    (
        crate::client::https(gateways),
        format!("http://{}", gateways.control_addr()),
    )
}

#[tokio::test]
async fn a_phone_in_another_process() {
    let (gateways, hand) = gateways(|_| {}).await;
    let (http, base) = http(&gateways);
    let ask = json!({ "gateway": "apns", "app_id": TOPIC, "environment": "production" });
    let answer = http
        .post(format!("{base}/devices"))
        .json(&ask)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let token = answer.json::<Value>().await.unwrap()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let foreign = json!({ "gateway": "apns", "app_id": "com.example.foreign" });
    let answer = http
        .post(format!("{base}/devices"))
        .json(&foreign)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
    let fcm = json!({ "gateway": "fcm", "app_id": PROJECT });
    let answer = http
        .post(format!("{base}/devices"))
        .json(&fcm)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let android = answer.json::<Value>().await.unwrap()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let pushes = http
        .get(format!("{base}/devices/{android}/pushes"))
        .send()
        .await
        .unwrap();
    assert_eq!(pushes.status(), 200, "FCM's tokens contain a colon");

    let mut pushes = http
        .get(format!("{base}/devices/{token}/pushes"))
        .send()
        .await
        .unwrap();
    assert_eq!(pushes.status(), 200);
    let jwt = good_token(&gateways, &hand);
    let client = ApnsClient::connect(&gateways).await;
    client
        .call(Push::good(&token, &jwt).request())
        .await
        .unwrap();
    let line = pushes.chunk().await.unwrap().unwrap();
    assert_eq!(line.last(), Some(&b'\n'));
    let push: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(push["gateway"], "apns");
    assert_eq!(push["headers"]["apns-push-type"], "alert");
    assert_eq!(push["payload"]["c"], "1");
    let screen = http
        .get(format!("{base}/devices/{token}/screen"))
        .send()
        .await
        .unwrap();
    assert_eq!(screen.json::<Value>().await.unwrap(), json!([push]));

    let removed = http
        .delete(format!("{base}/devices/{token}"))
        .send()
        .await
        .unwrap();
    assert_eq!(removed.status(), 204);
    assert!(pushes.chunk().await.unwrap().is_none(), "the stream ends");
    let answer = client
        .call(Push::good(&token, &jwt).request())
        .await
        .unwrap();
    assert_eq!(answer.outcome(), (410, "Unregistered"));
    let gone = http
        .get(format!("{base}/devices/{token}/pushes"))
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn faults_and_state() {
    let (gateways, hand) = gateways(|_| {}).await;
    let (http, base) = http(&gateways);
    let device = crate::client::iphone(&gateways);
    let plan = json!({ "seed": 5, "schedule": [{ "kind": "unavailable", "retry_after": 3 }] });
    let put = http
        .put(format!("{base}/faults/apns"))
        .json(&plan)
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 200);
    let got: Value = http
        .get(format!("{base}/faults/apns"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&got["seed"], &got["schedule"]),
        (&plan["seed"], &plan["schedule"])
    );
    for (path, plan, status) in [
        (
            "apns",
            json!({ "shares": [{ "share": 2.0, "fault": { "kind": "drop" } }] }),
            400,
        ),
        (
            "apns",
            json!({ "schedule": [{ "kind": "earthquake" }] }),
            400,
        ),
        ("apns", json!({ "shedule": [] }), 400),
        ("pigeon", json!({}), 404),
    ] {
        let put = http
            .put(format!("{base}/faults/{path}"))
            .json(&plan)
            .send()
            .await
            .unwrap();
        assert_eq!(put.status(), status);
    }

    let jwt = good_token(&gateways, &hand);
    let client = ApnsClient::connect(&gateways).await;
    let push = || Push::good(&device, &jwt).request();
    assert_eq!(
        client.call(push()).await.unwrap().outcome(),
        (503, "ServiceUnavailable")
    );
    assert_eq!(client.call(push()).await.unwrap().outcome(), (200, ""));
    let state: Value = http
        .get(format!("{base}/state"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let apns = &state["apns"];
    assert_eq!(
        apns["outcomes"],
        json!({ "200": 1, "503 ServiceUnavailable": 1 })
    );
    assert_eq!(
        (&apns["jwts"], &apns["connections"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(state["devices"], 1);

    let received = async |query: &str| -> Vec<Value> {
        let url = format!("{base}/received{query}");
        http.get(url).send().await.unwrap().json().await.unwrap()
    };
    let all = received("").await;
    assert_eq!(all.len(), 2);
    assert_eq!(
        (&all[0]["fault"], &all[1]["fate"]),
        (&json!("unavailable"), &json!("stored"))
    );
    assert!(
        !serde_json::to_string(&all).unwrap().contains(&jwt),
        "tokens are secrets"
    );
    assert_eq!(received("?gateway=fcm").await.len(), 0);
    http.delete(format!("{base}/received"))
        .send()
        .await
        .unwrap();
    assert_eq!(received("").await.len(), 0);
}

#[tokio::test]
async fn credentials_are_kept_for_the_next_start() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let read = |name: &str| std::fs::read(path.join(name)).unwrap();
    let account = format!("service-account-{PROJECT}.json");
    let start = async || gateways(|config| config.credentials = Some(path.clone())).await;
    let (first, _) = start().await;
    let names = ["AuthKey_EXAMPLEKY1.p8", "root-ca.pem", "root-ca.key"];
    let before = names.map(read);
    let key = |text: &[u8]| -> Value {
        let json: Value = serde_json::from_slice(text).unwrap();
        json!([
            json["private_key"],
            json["private_key_id"],
            json["client_email"]
        ])
    };
    let key_before = key(&read(&account));
    for secret in ["AuthKey_EXAMPLEKY1.p8", "root-ca.key", account.as_str()] {
        let mode = std::fs::metadata(path.join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{secret} is for its owner alone");
    }
    drop(first);
    let (second, hand) = start().await;
    assert_eq!(names.map(read), before);
    assert_eq!(key(&read(&account)), key_before);
    let json: Value = serde_json::from_slice(&read(&account)).unwrap();
    assert_eq!(json["token_uri"], second.fcm().token_uri(), "the new port");
    let client = ApnsClient::connect(&second).await;
    let push = Push::good(&crate::client::iphone(&second), &good_token(&second, &hand));
    assert_eq!(
        client.call(push.request()).await.unwrap().outcome(),
        (200, "")
    );

    let toml = second.broker_toml();
    assert_eq!(toml.matches("[[push.apns]]").count(), 2);
    assert_eq!(toml.matches("[[push.fcm]]").count(), 1);
    assert!(toml.contains(&format!("url = \"{}\"", second.apns_sandbox().url())));
    assert!(toml.contains("AuthKey_EXAMPLEKY1.p8"));
}

#[tokio::test]
async fn stopping_closes_the_ports() {
    let (gateways, _) = gateways(|_| {}).await;
    let addrs = [
        gateways.apns().addr(),
        gateways.apns_sandbox().addr(),
        gateways.fcm().addr(),
        gateways.sms().twilio().addr(),
        gateways.sms().webhook().addr(),
        gateways.sms().smpp().addr(),
        gateways.control_addr(),
    ];
    let client = ApnsClient::connect(&gateways).await;
    drop(gateways);
    drop(client.closed.await.unwrap());
    for addr in addrs {
        // The listening tasks end at their next turn, not within `drop`.
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
