//! Text messages by webhook.

use device_sim::fault::Fault;
use device_sim::gateway::{Delivery, Gateways};
use serde_json::{Value, json};

use crate::callback::Callbacks;
use crate::client::{gateways, https};

const TO: &str = "+32470123456";

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

    fn url(&self) -> String {
        format!("{}/any/path", self.gateways.sms().webhook().url())
    }

    fn secret(&self) -> &str {
        self.gateways.sms().webhook().secret()
    }

    async fn json(&self, body: Value) -> u16 {
        let request = self.http.post(self.url()).bearer_auth(self.secret());
        let response = request.json(&body).send().await.unwrap();
        response.status().as_u16()
    }
}

#[tokio::test]
async fn query_form_or_json() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let (http, url, secret) = (&client.http, client.url(), client.secret());
    // Kannel: credentials in the query, percent-encoded as UTF-8.
    let kannel = format!(
        "{url}?username=countersign&password={secret}&to=0032470123456&text=one%20%E2%82%AC"
    );
    let query = http.get(kannel);
    let form = http
        .post(&url)
        .basic_auth("countersign", Some(secret))
        .form(&[("recipient", TO), ("message", "two\n{é}")]);
    let json = http
        .put(&url)
        .header("x-api-key", secret)
        .json(&json!({ "recipients": [32470123456_u64], "body": "three" }));
    for request in [query, form, json] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 202);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["status"], "accepted");
        assert!(body["id"].is_string());
    }
    let shown = gateways.sms().inbox().shown(TO);
    let texts: Vec<_> = shown.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["one €", "two\n{é}", "three"]);
    let received = format!("{:?}", gateways.received());
    assert!(received.contains(TO) && !received.contains(secret));
}

#[tokio::test]
async fn refusals() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    for (body, status) in [
        (json!({ "text": "x" }), 400),
        (json!({ "to": TO }), 400),
        (json!({ "to": "", "text": "x" }), 400),
        (json!({ "to": "0470123456", "text": "x" }), 400),
        (json!({ "to": "+15005550003", "text": "x" }), 422),
        (json!({ "to": "+15005550009", "text": "x" }), 400),
        (json!({ "to": TO, "text": "x", "status_url": "here" }), 400),
        (json!({ "to": TO, "text": "x", "dlr-mask": "all" }), 400),
    ] {
        assert_eq!(client.json(body.clone()).await, status, "{body}");
    }
    let good = json!({ "to": TO, "text": "x" });
    let post = || client.http.post(client.url()).json(&good);
    for request in [
        post(),
        post().bearer_auth("wrong"),
        post().basic_auth(client.secret(), Some("wrong")),
        post().header("x-api-key", "wrong"),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    assert!(gateways.sms().inbox().messages().is_empty());
    let (open, _) = crate::client::gateways(|config| config.webhook_secret_demanded = false).await;
    let client = Client::new(&open);
    let response = client.http.post(client.url()).json(&good).send().await;
    assert_eq!(response.unwrap().status(), 202);
}

#[tokio::test]
async fn status_urls() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let inbox = gateways.sms().inbox();
    let mut callbacks = Callbacks::listen(200).await;
    let base = callbacks.url.clone();
    // Kannel's shape, with its mask: final reports only (1 and 2).
    for (delivery, kind) in [
        (Delivery::Delivered, "1"),
        (Delivery::Undelivered { error_code: 30003 }, "2"),
    ] {
        inbox.set_delivery(TO, Some(delivery));
        let url = format!("{base}/dlr?ref=a%2Fb&status=%d");
        let body = json!({ "to": TO, "text": "x", "dlr-url": url, "dlr-mask": 3 });
        assert_eq!(client.json(body).await, 202);
        let call = callbacks.next().await;
        assert_eq!(call.method, "GET");
        assert_eq!(call.uri, format!("/dlr?ref=a%2Fb&status={kind}").as_str());
    }
    // By name.
    inbox.set_delivery(TO, Some(Delivery::Failed { error_code: 30007 }));
    let url = format!("{base}/by/name?status={{status}}");
    let body = json!({ "to": TO, "text": "x", "status_url": url });
    assert_eq!(client.json(body).await, 202);
    assert_eq!(callbacks.next().await.uri, "/by/name?status=failed");
    // No placeholder: the status comes in the body.
    inbox.set_delivery(TO, None);
    let body = json!({ "to": TO, "text": "x", "status_url": format!("{base}/plain") });
    assert_eq!(client.json(body).await, 202);
    for status in ["sent", "delivered"] {
        let call = callbacks.next().await;
        assert_eq!(call.method, "POST");
        let body: Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!(body["status"], status);
        assert!(body["id"].is_string());
    }
    assert!(callbacks.none());
}

#[tokio::test]
async fn faults() {
    let (gateways, _) = gateways(|_| {}).await;
    let client = Client::new(&gateways);
    let body = json!({ "to": TO, "text": "x" });
    gateways.sms().webhook().faults().schedule([
        Fault::TooManyRequests { retry_after: None },
        Fault::InternalError,
        Fault::Unavailable { retry_after: None },
        Fault::Drop,
    ]);
    for status in [429, 500, 503, 202] {
        assert_eq!(client.json(body.clone()).await, status);
    }
    assert!(gateways.sms().inbox().messages().is_empty());
    gateways.sms().webhook().faults().set_down(true);
    let request = client.http.post(client.url()).json(&body);
    assert!(request.send().await.is_err());
    // The others go on.
    assert!(gateways.sms().twilio().faults().plan().schedule.is_empty());
    let twilio = gateways.sms().twilio().addr();
    assert!(tokio::net::TcpStream::connect(twilio).await.is_ok());
}
