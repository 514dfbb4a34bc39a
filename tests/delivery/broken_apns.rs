//! What the APNs sender sends, broken in one way at a time: the emulator must
//! refuse each. So a sender that stopped doing one of these things right would
//! be found out by every test that pushes.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL};
use device_sim::gateway::ApnsTeam;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::interceptor::{Answered, Change, Interceptor, Passing, jwt, parts_of};
use crate::rig::push_config;

const TEAM: &str = "EXAMPLETM1";
const OTHER_TEAM: &str = "OTHERTEAM1";
const OTHER_KEY: &str = "OTHERKEY01";
const OTHER_TOPIC: &str = "be.example.other";
const SECOND_TOPIC: &str = "be.example.second";

/// The keys, to sign what is not as it should be.
struct Keys {
    own: Vec<u8>,
    other: Vec<u8>,
}

/// Takes the provider token apart, has it changed, signs it again.
fn token(passing: &mut Passing, pem: &[u8], change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let (mut header, mut claims) = parts_of(bearer(passing));
    change(&mut header, &mut claims);
    let key = EncodingKey::from_ec_pem(pem).unwrap();
    jwt(&header, &claims, Algorithm::ES256, &key)
}

fn bearer(passing: &Passing) -> &str {
    let value = passing.headers[AUTHORIZATION].to_str().unwrap();
    value.strip_prefix("bearer ").unwrap()
}

fn set_bearer(passing: &mut Passing, token: &str) {
    set(passing, "authorization", &format!("bearer {token}"));
}

fn set(passing: &mut Passing, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).unwrap();
    passing.headers.insert(name, value);
}

fn body(passing: &mut Passing, change: impl FnOnce(&mut Value)) {
    let mut body = serde_json::from_slice(&passing.body).unwrap();
    change(&mut body);
    passing.body = body.to_string().into_bytes();
}

type Case = (&'static str, u16, &'static str, Change);

fn case(
    name: &'static str,
    status: u16,
    reason: &'static str,
    change: impl Fn(&mut Passing) + Send + Sync + 'static,
) -> Case {
    (name, status, reason, Arc::new(change))
}

/// A case with one header set to something, or left out.
fn header(name: &'static str, value: Option<&str>, status: u16, reason: &'static str) -> Case {
    let value = value.map(str::to_owned);
    case(name, status, reason, move |passing| match &value {
        Some(value) => set(passing, name, value),
        None => drop(passing.headers.remove(name)),
    })
}

fn provider_tokens(keys: &Arc<Keys>) -> Vec<Case> {
    const INVALID: &str = "InvalidProviderToken";
    // A change of the token's header and claims, signed with the right key.
    let signed = |name, reason, change: fn(&mut Value, &mut Value)| {
        let keys = Arc::clone(keys);
        case(name, 403, reason, move |passing| {
            let token = token(passing, &keys.own, change);
            set_bearer(passing, &token);
        })
    };
    let by_other_key = Arc::clone(keys);
    let padded = Arc::clone(keys);
    let der = Arc::clone(keys);
    let other_team = Arc::clone(keys);
    vec![
        header("authorization", None, 403, "MissingProviderToken"),
        case("another scheme", 403, INVALID, |passing| {
            let value = format!("basic {}", bearer(passing));
            set(passing, "authorization", &value);
        }),
        case("HS256", 403, INVALID, |passing| {
            let (mut header, claims) = parts_of(bearer(passing));
            header["alg"] = json!("HS256");
            let key = EncodingKey::from_secret(b"secret");
            let token = jwt(&header, &claims, Algorithm::HS256, &key);
            set_bearer(passing, &token);
        }),
        signed("called RS256", INVALID, |header, _| {
            header["alg"] = json!("RS256")
        }),
        case("alg none", 403, INVALID, |passing| {
            let (mut header, claims) = parts_of(bearer(passing));
            header["alg"] = json!("none");
            let encode = |value: &Value| BASE64URL.encode(value.to_string());
            let token = format!("{}.{}.", encode(&header), encode(&claims));
            set_bearer(passing, &token);
        }),
        case("claims changed after signing", 403, INVALID, |passing| {
            let token = bearer(passing).to_owned();
            let (_, mut claims) = parts_of(&token);
            claims["more"] = json!(1);
            let mut parts: Vec<_> = token.split('.').collect();
            let claims = BASE64URL.encode(claims.to_string());
            parts[1] = &claims;
            set_bearer(passing, &parts.join("."));
        }),
        case("another key's signature", 403, INVALID, move |passing| {
            let token = token(passing, &by_other_key.other, |_, _| {});
            set_bearer(passing, &token);
        }),
        signed("unknown kid", INVALID, |header, _| {
            header["kid"] = json!("NOSUCHKEY0")
        }),
        signed("no kid", INVALID, |header, _| {
            drop(header.as_object_mut().unwrap().remove("kid"));
        }),
        signed("iss of another team", INVALID, |_, claims| {
            claims["iss"] = json!(OTHER_TEAM)
        }),
        signed("no iss", INVALID, |_, claims| {
            drop(claims.as_object_mut().unwrap().remove("iss"));
        }),
        signed(
            "iat over an hour old",
            "ExpiredProviderToken",
            |_, claims| {
                claims["iat"] = json!(claims["iat"].as_u64().unwrap() - 3601);
            },
        ),
        signed("iat in milliseconds", INVALID, |_, claims| {
            claims["iat"] = json!(claims["iat"].as_u64().unwrap() * 1000);
        }),
        signed("iat as text", INVALID, |_, claims| {
            claims["iat"] = json!(claims["iat"].to_string());
        }),
        signed("no iat", INVALID, |_, claims| {
            drop(claims.as_object_mut().unwrap().remove("iat"));
        }),
        case("padded base64", 403, INVALID, move |passing| {
            let (header, claims) = parts_of(bearer(passing));
            let encode = |value: &Value| STANDARD.encode(value.to_string());
            let input = format!("{}.{}", encode(&header), encode(&claims));
            let key = EncodingKey::from_ec_pem(&padded.own).unwrap();
            let signature =
                jsonwebtoken::crypto::sign(input.as_bytes(), &key, Algorithm::ES256).unwrap();
            let signature = STANDARD.encode(BASE64URL.decode(signature).unwrap());
            set_bearer(passing, &format!("{input}.{signature}"));
        }),
        case("signature in DER", 403, INVALID, move |passing| {
            let pem = std::str::from_utf8(&der.own).unwrap();
            let key = rcgen::KeyPair::from_pem_and_sign_algo(pem, &rcgen::PKCS_ECDSA_P256_SHA256)
                .unwrap();
            let token = bearer(passing).to_owned();
            let (input, _) = token.rsplit_once('.').unwrap();
            let signature = rcgen::SigningKey::sign(&key, input.as_bytes()).unwrap();
            let signature = BASE64URL.encode(signature);
            set_bearer(passing, &format!("{input}.{signature}"));
        }),
        // A good token of a team that exists, but the connection is the first's.
        case(
            "another team on the connection",
            403,
            INVALID,
            move |passing| {
                let token = token(passing, &other_team.other, |header, claims| {
                    header["kid"] = json!(OTHER_KEY);
                    claims["iss"] = json!(OTHER_TEAM);
                });
                set_bearer(passing, &token);
                set(passing, "apns-topic", OTHER_TOPIC);
            },
        ),
    ]
}

fn requests() -> Vec<Case> {
    vec![
        header("apns-topic", None, 400, "MissingTopic"),
        header("apns-topic", Some("no topic"), 400, "BadTopic"),
        header("apns-topic", Some(OTHER_TOPIC), 400, "TopicDisallowed"),
        header(
            "apns-topic",
            Some(SECOND_TOPIC),
            400,
            "DeviceTokenNotForTopic",
        ),
        header("apns-push-type", None, 400, "InvalidPushType"),
        header("apns-push-type", Some("prompt"), 400, "InvalidPushType"),
        header("apns-push-type", Some("background"), 400, "BadPriority"),
        header("apns-priority", Some("7"), 400, "BadPriority"),
        header("apns-priority", Some("high"), 400, "BadPriority"),
        header("apns-expiration", Some("60s"), 400, "BadExpirationDate"),
        header("apns-expiration", Some("-1"), 400, "BadExpirationDate"),
        header("apns-id", Some("1"), 400, "BadMessageId"),
        header(
            "apns-collapse-id",
            Some(&"c".repeat(65)),
            400,
            "BadCollapseId",
        ),
        case("apns-topic twice", 400, "DuplicateHeaders", |passing| {
            let topic = passing.headers["apns-topic"].clone();
            passing.headers.append("apns-topic", topic);
        }),
        case(
            "an alert called background",
            400,
            "InvalidPushType",
            |passing| {
                set(passing, "apns-push-type", "background");
                set(passing, "apns-priority", "5");
            },
        ),
        case(
            "silent, called an alert",
            400,
            "InvalidPushType",
            |passing| {
                body(passing, |body| {
                    body["aps"] = json!({"content-available": 1})
                });
            },
        ),
        case("4097 bytes", 413, "PayloadTooLarge", |passing| {
            let room = 4097 - passing.body.len() - r#","x":"""#.len();
            body(passing, |body| body["x"] = json!("x".repeat(room)));
            assert_eq!(passing.body.len(), 4097);
        }),
        case("no body", 400, "PayloadEmpty", |passing| {
            passing.body.clear()
        }),
        case("no JSON", 400, "PayloadEmpty", |passing| {
            passing.body = b"aps".to_vec()
        }),
        case("no aps", 400, "PayloadEmpty", |passing| {
            body(passing, |body| {
                drop(body.as_object_mut().unwrap().remove("aps"))
            });
        }),
        case("PUT", 405, "MethodNotAllowed", |passing| {
            passing.method = Method::PUT
        }),
        case("path of version 2", 404, "BadPath", |passing| {
            passing.path = passing.path.replace("/3/", "/2/");
        }),
        case("no device token", 400, "MissingDeviceToken", |passing| {
            passing.path = "/3/device/".to_owned();
        }),
        case("device token in base64", 400, "BadDeviceToken", |passing| {
            passing.path = "/3/device/q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k".to_owned();
        }),
        case(
            "device token nobody has",
            400,
            "BadDeviceToken",
            |passing| {
                passing.path = format!("/3/device/{}", "ab".repeat(32));
            },
        ),
    ]
}

async fn rig() -> Rig {
    let team = |team: &str, key: &str, topics: &[&str]| ApnsTeam {
        team_id: team.to_owned(),
        key_id: key.to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
    };
    let config = GatewaysConfig {
        teams: vec![
            team(TEAM, "EXAMPLEKY1", &[TOPIC, SECOND_TOPIC]),
            team(OTHER_TEAM, OTHER_KEY, &[OTHER_TOPIC]),
        ],
        // Each case has a sender of its own.
        token_change_limit: None,
        ..GatewaysConfig::default()
    };
    Rig::with(config, |_| {}).await
}

/// The broker's own sender, with the interceptor in Apple's place.
async fn intercepted(rig: &Rig, upstream: &str) -> (Interceptor, Senders) {
    let root = rig.gateways.credentials().root_ca_file();
    let interceptor = Interceptor::start(upstream, &root).await;
    let mut config = push_config(&rig.gateways);
    for app in &mut config.apns {
        app.url = Some(interceptor.url.clone());
        app.root_ca_file = Some(interceptor.root_ca_file.clone());
    }
    let clock = Arc::clone(&rig.clock);
    let now: NowMs = Arc::new(move || clock.load(Ordering::SeqCst));
    (interceptor, Senders::new(&config, now).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_broken_in_an_apns_request_is_refused() {
    let rig = rig().await;
    let pem = |id: &str| {
        let keys = rig.gateways.credentials().apns_keys();
        let key = keys.into_iter().find(|key| key.key_id == id).unwrap();
        std::fs::read(key.path).unwrap()
    };
    let keys = Arc::new(Keys {
        own: pem("EXAMPLEKY1"),
        other: pem(OTHER_KEY),
    });
    let mut wrong = Vec::new();
    for (name, status, reason, change) in provider_tokens(&keys).into_iter().chain(requests()) {
        let (interceptor, senders) = intercepted(&rig, rig.gateways.apns().url()).await;
        let phone = rig.phone(PushGateway::Apns);
        // Unaltered, over the same connection, it is accepted.
        let control = senders.send(&rig.push(phone.clone())).await;
        assert_eq!(control, Outcome::Accepted, "{name}: unaltered");
        assert_eq!(interceptor.answers().len(), 1, "{name}: unaltered");
        interceptor.change(change);
        let outcome = senders.send(&rig.push(phone)).await;
        let answers = interceptor.answers();
        let refused = |answer: &Answered| {
            (answer.status, answer.body["reason"].as_str()) == (status, Some(reason))
        };
        // The sender takes up the refusal, in APNs' word.
        let heard = outcome != Outcome::Accepted && outcome.reason() == Some(reason);
        if answers.is_empty() || !answers.iter().all(refused) || !heard {
            wrong.push(format!(
                "{name}: wanted {status} {reason}: {answers:?}, {outcome:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_token_of_the_other_environment_is_refused() {
    let rig = rig().await;
    let (interceptor, senders) = intercepted(&rig, rig.gateways.apns_sandbox().url()).await;
    let outcome = senders.send(&rig.push(rig.phone(PushGateway::Apns))).await;
    let reason = "BadDeviceToken".to_owned();
    assert_eq!(outcome, Outcome::TokenSuspect { reason });
    assert_eq!(interceptor.answers()[0].status, 400);
}
