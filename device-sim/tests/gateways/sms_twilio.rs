//! Text messages by REST, as Twilio has it.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use device_sim::fault::Fault;
use device_sim::gateway::{Delivery, Gateways, MessageStatus};
use serde_json::{Value, json};

use crate::callback::{Call, Callbacks};
use crate::client::{gateways, https};

const TO: (&str, &str) = ("To", "+32470123456");
const FROM: (&str, &str) = ("From", "Countersign");
const BODY: (&str, &str) = ("Body", "123456");

struct Client<'a> {
    gateways: &'a Gateways,
    http: reqwest::Client,
}

impl<'a> Client<'a> {
    fn new(gateways: &'a Gateways) -> Self {
        Self {
            gateways,
            http: https(gateways),
        }
    }

    fn messages(&self) -> String {
        let twilio = self.gateways.sms().twilio();
        let path = format!(
            "/2010-04-01/Accounts/{}/Messages.json",
            twilio.account_sid()
        );
        format!("{}{path}", twilio.url())
    }

    fn request(&self, form: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let twilio = self.gateways.sms().twilio();
        self.http
            .post(self.messages())
            .basic_auth(twilio.account_sid(), Some(twilio.auth_token()))
            .form(form)
    }

    /// Status, error code (0: none) and body.
    async fn send(&self, form: &[(&str, &str)]) -> (u16, u64, Value) {
        answer(self.request(form)).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, u64, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["code"].as_u64().unwrap_or(0), body)
}

#[tokio::test]
async fn refusals() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let long = "é".repeat(1601);
    let far = format!("http://127.0.0.1/{}", "x".repeat(4000));
    for (form, code) in [
        (vec![FROM, BODY], 21604),
        (vec![("To", ""), FROM, BODY], 21604),
        (vec![("To", "0470123456"), FROM, BODY], 21211),
        (vec![("To", "+0470123456"), FROM, BODY], 21211),
        (vec![("To", "+3247"), FROM, BODY], 21211),
        (vec![("To", "+3247012345678901"), FROM, BODY], 21211),
        (vec![("To", "+32 470 12 34 56"), FROM, BODY], 21211),
        (vec![("To", "+15005550001"), FROM, BODY], 21211),
        (vec![("To", "+15005550002"), FROM, BODY], 21612),
        (vec![("To", "+15005550003"), FROM, BODY], 21408),
        (vec![("To", "+15005550004"), FROM, BODY], 21610),
        (vec![("To", "+15005550009"), FROM, BODY], 21614),
        (vec![TO, BODY], 21603),
        (vec![TO, ("From", "Countersigner"), BODY], 21212),
        (vec![TO, ("From", "Önal"), BODY], 21212),
        (vec![TO, ("From", "+15005550001"), BODY], 21212),
        (vec![TO, ("From", "+15005550007"), BODY], 21606),
        (vec![TO, ("From", "+15005550008"), BODY], 21611),
        (vec![TO, ("From", "+32470123456"), BODY], 21266),
        (vec![TO, ("MessagingServiceSid", "MG00"), BODY], 21701),
        (vec![TO, FROM], 21602),
        (vec![TO, FROM, ("Body", long.as_str())], 21617),
        (vec![TO, FROM, BODY, ("StatusCallback", "/status")], 21609),
        (vec![TO, FROM, BODY, ("StatusCallback", "ftp://h/")], 21609),
        (vec![TO, FROM, BODY, ("StatusCallback", &far)], 21609),
        (vec![TO, FROM, BODY, ("ValidityPeriod", "0")], 20001),
        (vec![TO, FROM, BODY, ("ValidityPeriod", "36001")], 20001),
    ] {
        let (status, got, body) = client.send(&form).await;
        assert_eq!((status, got), (400, code), "{form:?} {body}");
        assert_eq!(body["status"], 400);
        assert!(body["message"].is_string());
        let info = format!("https://www.twilio.com/docs/errors/{code}");
        assert_eq!(body["more_info"], json!(info));
    }
    assert!(gateways.sms().inbox().messages().is_empty());
}

#[tokio::test]
async fn credentials_paths_and_methods() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let twilio = gateways.sms().twilio();
    let (sid, token) = (twilio.account_sid(), twilio.auth_token());
    let form = [TO, FROM, BODY];
    let url = client.messages();
    let post = |url: &str| client.http.post(url).form(&form);
    let elsewhere = url.replace(sid, "AC00000000000000000000000000000000");
    for request in [
        post(&url),
        post(&url).basic_auth(sid, Some("wrong")),
        post(&url).basic_auth("wrong", Some(token)),
        post(&url).bearer_auth(token),
        post(&elsewhere).basic_auth(sid, Some(token)),
    ] {
        let (status, code, _) = answer(request).await;
        assert_eq!((status, code), (401, 20003));
    }
    let response = post(&url).send().await.unwrap();
    assert!(
        response.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic")
    );
    let missing = format!("{}/2010-04-01/Messages.json", twilio.url());
    let calls = url.replace("Messages.json", "Calls.json");
    for url in [missing, calls] {
        let (status, code, _) = answer(post(&url).basic_auth(sid, Some(token))).await;
        assert_eq!((status, code), (404, 20404), "{url}");
    }
    let get = client.http.get(&url).basic_auth(sid, Some(token));
    let (status, code, _) = answer(get).await;
    assert_eq!((status, code), (405, 20004));
    assert!(gateways.sms().inbox().messages().is_empty());
}

#[tokio::test]
async fn a_message_is_accepted() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let text = "€ {é}\n\"x\"";
    let (status, _, body) = client.send(&[TO, FROM, ("Body", text)]).await;
    assert_eq!(status, 201);
    assert_eq!(body["status"], "queued");
    assert_eq!(body["num_segments"], "1");
    assert_eq!(body["date_created"], "Fri, 15 Jan 2027 08:00:00 +0000");
    let message = gateways.sms().inbox().wait_for(TO.1, |_| true).await;
    assert_eq!(body["sid"], json!(message.id));
    assert_eq!((message.text.as_str(), message.units), (text, 12));
    let sid = gateways.sms().twilio().account_sid();
    let token = gateways.sms().twilio().auth_token();
    let one = client
        .messages()
        .replace(".json", &format!("/{}.json", message.id));
    gateways
        .sms()
        .inbox()
        .wait_until(|all| (all[0].status == MessageStatus::Delivered).then_some(()))
        .await;
    let (status, _, body) = answer(client.http.get(one).basic_auth(sid, Some(token))).await;
    assert_eq!((status, &body["status"]), (200, &json!("delivered")));

    let service = gateways.sms().twilio().messaging_service_sid();
    let form = [TO, ("MessagingServiceSid", service), BODY];
    let (status, _, body) = client.send(&form).await;
    assert_eq!((status, &body["status"]), (201, &json!("accepted")));
    assert_eq!(body["from"], Value::Null);
}

/// HMAC (RFC 2104) over SHA-1, by the book.
fn hmac_sha1(key: &[u8], data: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let pad = |octet: u8| -> Vec<u8> {
        let mut block = vec![octet; 64];
        for (block, key) in block.iter_mut().zip(key) {
            *block ^= key;
        }
        block
    };
    let sha1 = |parts: [&[u8]; 2]| {
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &parts.concat())
            .as_ref()
            .to_vec()
    };
    sha1([&pad(0x5C), &sha1([&pad(0x36), data])])
}

/// As "Validating Signatures from Twilio" says, from what came over the wire.
fn expected_signature(token: &str, url: &str, call: &Call) -> String {
    let mut form = call.form();
    form.sort();
    let mut data = url.to_owned();
    for (name, value) in form {
        data += &name;
        data += &value;
    }
    BASE64.encode(hmac_sha1(token.as_bytes(), data.as_bytes()))
}

#[tokio::test]
async fn signed_status_callbacks() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let mut callbacks = Callbacks::listen(204).await;
    let url = format!("{}/sms/twilio?message=a%2Fb", callbacks.url);
    let inbox = gateways.sms().inbox();
    let cases: [(Option<Delivery>, &[&str], Option<&str>); 5] = [
        (None, &["queued", "sent", "delivered"], None),
        (
            Some(Delivery::Undelivered { error_code: 30003 }),
            &["queued", "sent", "undelivered"],
            Some("30003"),
        ),
        (
            Some(Delivery::Failed { error_code: 30007 }),
            &["queued", "failed"],
            Some("30007"),
        ),
        (Some(Delivery::Never), &["queued", "sent"], None),
        (Some(Delivery::Unconfirmed), &["queued", "sent"], None),
    ];
    for (delivery, statuses, error) in cases {
        inbox.clear();
        inbox.set_delivery(TO.1, delivery);
        let form = [TO, FROM, BODY, ("StatusCallback", url.as_str())];
        let (status, _, body) = client.send(&form).await;
        assert_eq!(status, 201);
        for expected in statuses {
            let call = callbacks.next().await;
            assert_eq!(call.method, "POST");
            assert_eq!(call.uri, "/sms/twilio?message=a%2Fb");
            let field = |name| call.field(name);
            assert_eq!(field("MessageStatus").as_deref(), Some(*expected));
            assert_eq!(field("MessageSid"), body["sid"].as_str().map(str::to_owned));
            assert_eq!(field("To").as_deref(), Some(TO.1));
            assert_eq!(field("From").as_deref(), Some(FROM.1));
            assert_eq!(field("ApiVersion").as_deref(), Some("2010-04-01"));
            let twilio = gateways.sms().twilio();
            assert_eq!(field("AccountSid").as_deref(), Some(twilio.account_sid()));
            let last = matches!(*expected, "undelivered" | "failed");
            assert_eq!(field("ErrorCode").as_deref(), error.filter(|_| last));
            let signature = expected_signature(twilio.auth_token(), &url, &call);
            assert_eq!(call.headers["x-twilio-signature"], signature);
        }
        // Each is written down once its answer is there; with the last one no more can come.
        let count = statuses.len();
        let message = inbox
            .wait_until(|all| (all[0].receipts.len() == count).then(|| all[0].clone()))
            .await;
        assert!(
            message
                .receipts
                .iter()
                .all(|receipt| receipt.answer == "204")
        );
        assert!(callbacks.none());
        let reaches = matches!(delivery, None | Some(Delivery::Unconfirmed));
        assert_eq!(message.shown, reaches);
    }
}

#[tokio::test]
async fn a_callback_is_tried_once_more_if_there_is_no_connection() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let inbox = gateways.sms().inbox();
    // A listener that never accepts HTTP: it counts connections and closes them.
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", tcp.local_addr().unwrap());
    let (sender, mut connections) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = tcp.accept().await {
            drop(connection);
            sender.send(()).unwrap_or(());
        }
    });
    inbox.set_delivery(TO.1, Some(Delivery::Failed { error_code: 30007 }));
    let form = [TO, FROM, BODY, ("StatusCallback", url.as_str())];
    assert_eq!(client.send(&form).await.0, 201);
    let receipts = inbox
        .wait_until(|all| (all[0].receipts.len() == 2).then(|| all[0].receipts.clone()))
        .await;
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.answer == "no connection")
    );
    let mut count = 0;
    while connections.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 4, "two callbacks, each tried twice");
}

#[tokio::test]
async fn a_callback_is_not_repeated_for_an_answer() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let mut callbacks = Callbacks::listen(500).await;
    let form = [TO, FROM, BODY, ("StatusCallback", callbacks.url.as_str())];
    assert_eq!(client.send(&form).await.0, 201);
    let statuses = gateways
        .sms()
        .inbox()
        .wait_until(|all| (all[0].receipts.len() == 3).then(|| all[0].receipts.clone()))
        .await;
    assert!(statuses.iter().all(|receipt| receipt.answer == "500"));
    for _ in 0..3 {
        callbacks.next().await;
    }
    assert!(callbacks.none());
}

#[tokio::test]
async fn faults() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let inbox = gateways.sms().inbox();
    gateways.sms().twilio().faults().schedule([
        Fault::Drop,
        Fault::TooManyRequests {
            retry_after: Some(7),
        },
        Fault::InternalError,
        Fault::Unavailable { retry_after: None },
        Fault::Reply {
            status: 400,
            reason: "21617".to_owned(),
            retry_after: None,
        },
        Fault::Reset { processed: false },
        Fault::Disconnect,
    ]);
    let form = [TO, FROM, BODY];
    assert_eq!(client.send(&form).await.0, 201);
    let limited = client.request(&form).send().await.unwrap();
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["retry-after"], "7");
    assert_eq!(limited.json::<Value>().await.unwrap()["code"], 20429);
    for (status, code) in [(500, 20500), (503, 20503), (400, 21617)] {
        let (got, got_code, _) = client.send(&form).await;
        assert_eq!((got, got_code), (status, code));
    }
    for _ in 0..2 {
        assert!(client.request(&form).send().await.is_err());
    }
    assert!(inbox.messages().is_empty());

    gateways.sms().twilio().faults().schedule([
        Fault::Duplicate,
        Fault::Reset { processed: true },
        Fault::Stall,
    ]);
    assert_eq!(client.send(&form).await.0, 201);
    assert_eq!(inbox.shown(TO.1).len(), 2);
    assert!(client.request(&form).send().await.is_err());
    let mut stalled = client.request(&form).send().await.unwrap();
    assert_eq!(stalled.status(), 201);
    assert!(stalled.chunk().await.unwrap().is_some());
    assert_eq!(inbox.shown(TO.1).len(), 4);
}
