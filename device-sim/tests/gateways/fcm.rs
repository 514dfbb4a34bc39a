//! Each check of FCM and of the token endpoint, with Google's words.

use std::time::Duration;

use device_sim::fault::Fault;
use device_sim::gateway::{Fate, Gateways, Vendor};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use crate::client::{Hand, PROJECT, android, gateways, hmac, https, registration, sign};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const OTHER_PROJECT: &str = "other-example";

pub(crate) fn message(token: &str) -> Value {
    json!({ "message": {
        "token": token,
        "data": { "c": "1" },
        "android": { "priority": "HIGH", "ttl": "60s" },
    } })
}

/// A service account's file.
fn account(gateways: &Gateways, project: &str) -> Value {
    let accounts = gateways.credentials().fcm_accounts();
    let account = accounts
        .iter()
        .find(|account| account.project_id == project)
        .unwrap();
    serde_json::from_slice(&std::fs::read(&account.path).unwrap()).unwrap()
}

fn signing_key(account: &Value) -> EncodingKey {
    EncodingKey::from_rsa_pem(account["private_key"].as_str().unwrap().as_bytes()).unwrap()
}

fn claims(account: &Value, now_s: u64) -> Value {
    json!({
        "iss": account["client_email"],
        "scope": SCOPE,
        "aud": account["token_uri"],
        "iat": now_s,
        "exp": now_s + 3600,
    })
}

fn header(account: &Value) -> Value {
    json!({ "alg": "RS256", "typ": "JWT", "kid": account["private_key_id"] })
}

async fn exchange(gateways: &Gateways, assertion: &str) -> (u16, Value) {
    let form = [("grant_type", GRANT_TYPE), ("assertion", assertion)];
    let request = https(gateways).post(gateways.fcm().token_uri()).form(&form);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A client with an access token.
pub(crate) struct Google {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Google {
    pub(crate) async fn sign_in(gateways: &Gateways, hand: &Hand) -> Self {
        Self::sign_in_to(gateways, hand, PROJECT).await
    }

    async fn sign_in_to(gateways: &Gateways, hand: &Hand, project: &str) -> Self {
        let account = account(gateways, project);
        let claims = claims(&account, hand.now_s());
        let assertion = sign(&signing_key(&account), header(&account), claims);
        let (status, body) = exchange(gateways, &assertion).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["expires_in"], 3599);
        Self {
            http: https(gateways),
            base: gateways.fcm().url().to_owned(),
            token: body["access_token"].as_str().unwrap().to_owned(),
        }
    }

    fn request(&self, project: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/v1/projects/{project}/messages:send", self.base);
        self.http.post(url).bearer_auth(&self.token)
    }

    pub(crate) async fn send(&self, message: &Value) -> (u16, Value) {
        self.send_to(PROJECT, message).await
    }

    async fn send_to(&self, project: &str, message: &Value) -> (u16, Value) {
        let response = self.request(project).json(message).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

/// Status, Google's status, and FCM's error code where there is one.
fn words(answer: &(u16, Value)) -> (u16, &str, &str) {
    let error = &answer.1["error"];
    if answer.0 != 200 {
        assert_eq!(error["code"], answer.0);
        assert!(error["message"].is_string());
    }
    let fcm = error["details"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|detail| detail["@type"] == "type.googleapis.com/google.firebase.fcm.v1.FcmError");
    let code = fcm
        .and_then(|detail| detail["errorCode"].as_str())
        .unwrap_or("");
    (answer.0, error["status"].as_str().unwrap_or(""), code)
}

#[tokio::test]
async fn every_rule_of_an_assertion() {
    let (gateways, hand) = gateways(|config| config.projects.push(OTHER_PROJECT.to_owned())).await;
    let (account, other) = (
        account(&gateways, PROJECT),
        account(&gateways, OTHER_PROJECT),
    );
    let now = hand.now_s();
    let key = signing_key(&account);
    let with = |name: &str, value: Value| {
        let mut claims = claims(&account, now);
        claims[name] = value;
        sign(&key, header(&account), claims)
    };
    let good = || claims(&account, now);
    let grant = (400, "invalid_grant");
    let table = [
        ("good", sign(&key, header(&account), good()), (200, "")),
        (
            "no kid",
            sign(&key, json!({ "alg": "RS256" }), good()),
            (200, ""),
        ),
        ("other kid", sign(&key, header(&other), good()), grant),
        (
            "other key",
            sign(&signing_key(&other), header(&account), good()),
            grant,
        ),
        (
            "rs512",
            sign(
                &key,
                json!({ "alg": "RS512", "kid": account["private_key_id"] }),
                good(),
            ),
            grant,
        ),
        (
            "hs256",
            hmac(
                json!({ "alg": "HS256", "kid": account["private_key_id"] }),
                good(),
            ),
            grant,
        ),
        (
            "unknown account",
            with("iss", json!("x@example.com")),
            grant,
        ),
        (
            "aud",
            with("aud", json!("https://oauth2.googleapis.com/token")),
            grant,
        ),
        ("longer than an hour", with("exp", json!(now + 3601)), grant),
        (
            "from the future",
            {
                let mut claims = claims(&account, now + 120);
                claims["exp"] = json!(now + 180);
                sign(&key, header(&account), claims)
            },
            grant,
        ),
        (
            "past",
            {
                let claims = claims(&account, now - 3700);
                sign(&key, header(&account), claims)
            },
            grant,
        ),
        ("no exp", with("exp", Value::Null), grant),
        ("no scope", with("scope", Value::Null), grant),
        (
            "other scope",
            with("scope", json!("https://www.googleapis.com/auth/drive")),
            grant,
        ),
        ("not a jwt", "x".to_owned(), grant),
    ];
    for (name, assertion, (status, error)) in table {
        let (got, body) = exchange(&gateways, &assertion).await;
        assert_eq!(
            (got, body["error"].as_str().unwrap_or("")),
            (status, error),
            "{name}: {body}"
        );
        assert_eq!(body["access_token"].is_string(), status == 200, "{name}");
    }
    let counters = gateways.fcm().token_counters();
    assert_eq!((counters.access_tokens, counters.jwts), (2, 2));

    let assertion = sign(&key, header(&account), good());
    let post = async |form: &[(&str, &str)]| {
        let request = https(&gateways).post(gateways.fcm().token_uri()).form(form);
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap()["error"].clone(),
        )
    };
    let wrong = [
        ("grant_type", "refresh_token"),
        ("assertion", assertion.as_str()),
    ];
    assert_eq!(post(&wrong).await, (400, json!("unsupported_grant_type")));
    assert_eq!(
        post(&[("grant_type", GRANT_TYPE)]).await,
        (400, json!("invalid_request"))
    );
    let seen = format!("{:?}", gateways.received());
    assert!(!seen.contains(&assertion), "assertions are secrets");
}

#[tokio::test]
async fn every_rule_of_a_message() {
    let (gateways, hand) = gateways(|config| config.projects.push(OTHER_PROJECT.to_owned())).await;
    let google = Google::sign_in(&gateways, &hand).await;
    let device = android(&gateways);
    let with = |path: &str, value: Value| {
        let mut message = message(&device);
        let (parent, name) = path.rsplit_once('/').unwrap();
        message.pointer_mut(parent).unwrap()[name] = value;
        message
    };
    let stranger = gateways
        .issue_token(&registration(Vendor::Fcm, OTHER_PROJECT))
        .unwrap();
    let dead = android(&gateways);
    assert!(gateways.devices().uninstall(&dead));
    let mut unknown = device.clone();
    let last = unknown.pop();
    unknown.push(if last == Some('A') { 'B' } else { 'A' });
    let invalid = (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT");
    // Found by Google's front end, before FCM sees it.
    let malformed = (400, "INVALID_ARGUMENT", "");
    let good = (200, "", "");
    let table = [
        ("good", message(&device), good),
        (
            "camel case",
            json!({ "message": { "token": device, "fcmOptions": {} }, "validateOnly": false }),
            good,
        ),
        (
            "4096 bytes",
            with("/message/data", json!({ "c": "x".repeat(4095) })),
            good,
        ),
        (
            "4097 bytes",
            with("/message/data", json!({ "c": "x".repeat(4096) })),
            invalid,
        ),
        (
            "number in data",
            with("/message/data/c", json!(1)),
            malformed,
        ),
        ("data no map", with("/message/data", json!("x")), malformed),
        ("key from", with("/message/data/from", json!("x")), invalid),
        (
            "key message_type",
            with("/message/data/message_type", json!("x")),
            invalid,
        ),
        (
            "key google…",
            with("/message/data/google.x", json!("x")),
            invalid,
        ),
        ("key gcm…", with("/message/data/gcm.x", json!("x")), invalid),
        ("unknown field", with("/message/to", json!("x")), malformed),
        (
            "unknown field above",
            with("/registration_ids", json!([])),
            malformed,
        ),
        (
            "unknown android field",
            with("/message/android/time_to_live", json!(60)),
            malformed,
        ),
        ("no target", json!({ "message": { "data": {} } }), invalid),
        ("two targets", with("/message/topic", json!("x")), malformed),
        ("no message", json!({}), invalid),
        (
            "ttl as number",
            with("/message/android/ttl", json!(60)),
            malformed,
        ),
        (
            "ttl without s",
            with("/message/android/ttl", json!("60")),
            malformed,
        ),
        (
            "ttl negative",
            with("/message/android/ttl", json!("-1s")),
            malformed,
        ),
        ("ttl 0", with("/message/android/ttl", json!("0s")), good),
        (
            "ttl four weeks",
            with("/message/android/ttl", json!("2419200s")),
            good,
        ),
        (
            "ttl longer",
            with("/message/android/ttl", json!("2419201s")),
            invalid,
        ),
        (
            "priority",
            with("/message/android/priority", json!("URGENT")),
            malformed,
        ),
        ("not a token", message("x"), invalid),
        (
            "unknown token",
            message(&unknown),
            (404, "NOT_FOUND", "UNREGISTERED"),
        ),
        (
            "dead token",
            message(&dead),
            (404, "NOT_FOUND", "UNREGISTERED"),
        ),
        (
            "another project's token",
            message(&stranger),
            (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        ),
    ];
    for (name, message, expected) in table {
        let answer = google.send(&message).await;
        assert_eq!(words(&answer), expected, "{name}: {}", answer.1);
        if expected.0 == 200 {
            let prefix = format!("projects/{PROJECT}/messages/");
            assert!(answer.1["name"].as_str().unwrap().starts_with(&prefix));
        }
    }
    let answer = google.send_to("nowhere", &message(&device)).await;
    assert_eq!(
        words(&answer),
        (404, "NOT_FOUND", ""),
        "says nothing about the token"
    );
    let answer = google.send_to(OTHER_PROJECT, &message(&stranger)).await;
    assert_eq!(words(&answer), (403, "PERMISSION_DENIED", ""));
    let raw = google
        .request(PROJECT)
        .body(message(&device).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(raw.status(), 400, "no content type");
}

#[tokio::test]
async fn validate_only_delivers_nothing() {
    let (gateways, hand) = gateways(|_| {}).await;
    let google = Google::sign_in(&gateways, &hand).await;
    let device = android(&gateways);
    let mut only = message(&device);
    only["validate_only"] = json!(true);
    assert_eq!(google.send(&only).await.0, 200);
    assert!(
        gateways
            .devices()
            .connect(&device)
            .unwrap()
            .try_recv()
            .is_none()
    );
    assert_eq!(
        gateways.received().last().unwrap().fate,
        Some(Fate::Validated)
    );
}

#[tokio::test]
async fn access_tokens_end() {
    let (gateways, hand) = gateways(|_| {}).await;
    let device = android(&gateways);
    let refused = (401, "UNAUTHENTICATED", "");
    let google = Google::sign_in(&gateways, &hand).await;
    let bare = format!("{}/v1/projects/{PROJECT}/messages:send", google.base);
    let bare = google
        .http
        .post(bare)
        .json(&message(&device))
        .send()
        .await
        .unwrap();
    assert_eq!(bare.status(), 401, "no token at all");

    hand.turn(3598);
    assert_eq!(google.send(&message(&device)).await.0, 200);
    hand.turn(1);
    let answer = google.send(&message(&device)).await;
    assert_eq!(words(&answer), refused);
    assert_eq!(
        answer.1["error"]["details"][0]["reason"],
        "ACCESS_TOKEN_EXPIRED"
    );

    let google = Google::sign_in(&gateways, &hand).await;
    assert_eq!(google.send(&message(&device)).await.0, 200);
    assert_eq!(gateways.fcm().revoke_access_tokens(), 1);
    assert_eq!(words(&google.send(&message(&device)).await), refused);

    // A service account whose key was replaced.
    let (old, uri) = (account(&gateways, PROJECT), gateways.fcm().token_uri());
    gateways
        .credentials()
        .issue_fcm_account(PROJECT, &uri, true)
        .unwrap();
    let assertion = || sign(&signing_key(&old), header(&old), claims(&old, hand.now_s()));
    assert_eq!(
        exchange(&gateways, &assertion()).await.0,
        200,
        "both keys are good"
    );
    assert!(gateways.credentials().revoke_fcm_keys(PROJECT).unwrap());
    assert_eq!(
        exchange(&gateways, &assertion()).await.1["error"],
        "invalid_grant"
    );
    Google::sign_in(&gateways, &hand).await;
}

#[tokio::test]
async fn scripted_faults() {
    let (gateways, hand) = gateways(|_| {}).await;
    let google = Google::sign_in(&gateways, &hand).await;
    let device = android(&gateways);
    let mut pushes = gateways.devices().connect(&device).unwrap();
    let faults = gateways.fcm().faults();
    let third_party = Fault::Reply {
        status: 401,
        reason: "THIRD_PARTY_AUTH_ERROR".to_owned(),
        retry_after: None,
    };
    let table = [
        (
            Fault::Unregistered,
            (404, "NOT_FOUND", "UNREGISTERED"),
            None,
        ),
        (
            Fault::BadDeviceToken,
            (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
            None,
        ),
        (
            Fault::TooManyRequests {
                retry_after: Some(60),
            },
            (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
            Some("60"),
        ),
        (Fault::InternalError, (500, "INTERNAL", "INTERNAL"), None),
        (
            Fault::Unavailable {
                retry_after: Some(5),
            },
            (503, "UNAVAILABLE", "UNAVAILABLE"),
            Some("5"),
        ),
        (
            third_party,
            (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
            None,
        ),
    ];
    for (fault, expected, retry_after) in table {
        faults.schedule([fault]);
        let response = google
            .request(PROJECT)
            .json(&message(&device))
            .send()
            .await
            .unwrap();
        let header = response.headers().get("retry-after").cloned();
        assert_eq!(
            header.as_ref().map(|value| value.to_str().unwrap()),
            retry_after
        );
        let answer = (response.status().as_u16(), response.json().await.unwrap());
        assert_eq!(words(&answer), expected);
    }
    assert!(pushes.try_recv().is_none());

    for (fault, arrives) in [
        (Fault::Reset { processed: false }, 0),
        (Fault::Reset { processed: true }, 1),
        (Fault::Disconnect, 0),
    ] {
        faults.schedule([fault]);
        let failed = google.request(PROJECT).json(&message(&device)).send().await;
        assert!(failed.is_err());
        assert_eq!(std::iter::from_fn(|| pushes.try_recv()).count(), arrives);
    }
    faults.schedule([Fault::Drop, Fault::Duplicate]);
    assert_eq!(google.send(&message(&device)).await.0, 200);
    assert!(pushes.try_recv().is_none());
    assert_eq!(google.send(&message(&device)).await.0, 200);
    assert_eq!(std::iter::from_fn(|| pushes.try_recv()).count(), 2);

    faults.schedule([Fault::Stall]);
    let mut response = google
        .request(PROJECT)
        .json(&message(&device))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().is_some(), "the first half");
    let rest = tokio::time::timeout(Duration::from_millis(50), response.chunk()).await;
    assert!(rest.is_err(), "and nothing more");
}

#[tokio::test]
async fn token_endpoint_faults() {
    let (gateways, hand) = gateways(|_| {}).await;
    let account = account(&gateways, PROJECT);
    let assertion = sign(
        &signing_key(&account),
        header(&account),
        claims(&account, hand.now_s()),
    );
    let faults = gateways.fcm().token_faults();
    let reply = Fault::Reply {
        status: 401,
        reason: "invalid_client".to_owned(),
        retry_after: None,
    };
    for (fault, status, error) in [
        (Fault::Unregistered, 400, "invalid_grant"),
        (Fault::InternalError, 500, "internal_failure"),
        (
            Fault::Unavailable { retry_after: None },
            503,
            "temporarily_unavailable",
        ),
        (reply, 401, "invalid_client"),
    ] {
        faults.schedule([fault]);
        let (got, body) = exchange(&gateways, &assertion).await;
        assert_eq!((got, body["error"].as_str().unwrap()), (status, error));
    }
    assert_eq!(gateways.fcm().token_counters().access_tokens, 0);
    assert_eq!(exchange(&gateways, &assertion).await.0, 200);
}
