//! The SMS gateway.

use device_sim::fault::Fault;
use serde_json::{Value, json};

use crate::client::{gateways, https};

#[tokio::test]
async fn twilio_shaped() {
    let (gateways, _) = gateways(|_| {}).await;
    let sms = gateways.sms();
    let http = https(&gateways);
    let send = async |password: &str, form: &[(&str, &str)]| {
        let path = format!("/2010-04-01/Accounts/{}/Messages.json", sms.account_sid());
        let request = http.post(format!("{}{path}", sms.url()));
        let response = request
            .basic_auth(sms.account_sid(), Some(password))
            .form(form)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        (status, body["code"].as_u64().unwrap_or(0), body)
    };
    let (to, from, body) = (
        ("To", "+32470123456"),
        ("From", "Countersign"),
        ("Body", "123456"),
    );
    let long = "x".repeat(1601);
    let secret = sms.auth_token().to_owned();
    for (form, expected) in [
        (vec![from, body], (400, 21604)),
        (vec![("To", "0470123456"), from, body], (400, 21211)),
        (vec![to, body], (400, 21603)),
        (vec![to, from], (400, 21602)),
        (vec![to, from, ("Body", long.as_str())], (400, 21617)),
    ] {
        let (status, code, answer) = send(&secret, &form).await;
        assert_eq!((status, code), expected, "{answer}");
    }
    assert_eq!(send("wrong", &[to, from, body]).await.0, 401);
    assert!(sms.inbox().is_empty());
    let (status, _, answer) = send(&secret, &[to, from, body]).await;
    assert_eq!((status, &answer["status"]), (201, &json!("queued")));
    let inbox = sms.inbox();
    assert_eq!(inbox.len(), 1);
    assert_eq!(
        (inbox[0].to.as_str(), inbox[0].body.as_str()),
        ("+32470123456", "123456")
    );
    assert_eq!(answer["sid"], json!(inbox[0].sid));

    sms.faults().schedule([
        Fault::Drop,
        Fault::TooManyRequests {
            retry_after: Some(1),
        },
    ]);
    assert_eq!(send(&secret, &[to, from, body]).await.0, 201);
    let (status, code, _) = send(&secret, &[to, from, body]).await;
    assert_eq!((status, code), (429, 20429));
    assert_eq!(sms.inbox().len(), 1);
}

#[tokio::test]
async fn webhook_by_query_form_or_json() {
    let (gateways, _) = gateways(|_| {}).await;
    let url = format!("{}/webhook", gateways.sms().url());
    let http = https(&gateways);
    let query = http
        .get(format!("{url}?to=%2B3247&text=one"))
        .send()
        .await
        .unwrap();
    let form = http
        .post(&url)
        .form(&[("recipient", "+3247"), ("message", "two")])
        .send()
        .await
        .unwrap();
    let json = http
        .put(&url)
        .json(&json!({ "to": "+3247", "body": "three" }))
        .send()
        .await
        .unwrap();
    let none = http
        .post(&url)
        .json(&json!({ "body": "four" }))
        .send()
        .await
        .unwrap();
    let statuses = [query, form, json, none].map(|response| response.status().as_u16());
    assert_eq!(statuses, [201, 201, 201, 400]);
    let texts: Vec<_> = gateways
        .sms()
        .inbox()
        .into_iter()
        .map(|message| message.body)
        .collect();
    assert_eq!(texts, ["one", "two", "three"]);
}
