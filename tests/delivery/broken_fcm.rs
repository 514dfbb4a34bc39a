//! What the FCM sender sends, broken in one way at a time: the emulator must
//! refuse each.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::interceptor::{Change, Interceptor, Passing, jwt, parts_of};
use crate::rig::push_config;

const OTHER_PROJECT: &str = "other-example";
const MAIL: &str = "countersign@countersign-example.iam.gserviceaccount.com";
const OTHER_MAIL: &str = "countersign@other-example.iam.gserviceaccount.com";

/// Service accounts' keys, to sign what is not as it should be.
struct Keys {
    own: EncodingKey,
    other: EncodingKey,
}

fn message(passing: &mut Passing, change: impl FnOnce(&mut Value)) {
    let mut body: Value = serde_json::from_slice(&passing.body).unwrap();
    change(&mut body["message"]);
    passing.body = body.to_string().into_bytes();
}

/// Name, status, `status` or `error`, a piece of the message, what is changed.
type Case = (&'static str, u16, &'static str, &'static str, Change);

fn case(
    name: &'static str,
    status: u16,
    word: &'static str,
    piece: &'static str,
    change: impl Fn(&mut Passing) + Send + Sync + 'static,
) -> Case {
    (name, status, word, piece, Arc::new(change))
}

/// A case with something invalid in the message.
fn invalid(name: &'static str, piece: &'static str, change: fn(&mut Value)) -> Case {
    case(name, 400, "INVALID_ARGUMENT", piece, move |passing| {
        message(passing, change);
    })
}

fn messages() -> Vec<Case> {
    let credential = "authentication credential";
    vec![
        case("no bearer", 401, "UNAUTHENTICATED", credential, |passing| {
            passing.headers.remove(AUTHORIZATION);
        }),
        case(
            "an unknown bearer",
            401,
            "UNAUTHENTICATED",
            credential,
            |passing| {
                let value = HeaderValue::from_static("Bearer ya29.c.unknown");
                passing.headers.insert(AUTHORIZATION, value);
            },
        ),
        case(
            "a JWT as bearer",
            401,
            "UNAUTHENTICATED",
            credential,
            |passing| {
                let value = HeaderValue::from_static("Bearer eyJhbGciOiJub25lIn0.e30.");
                passing.headers.insert(AUTHORIZATION, value);
            },
        ),
        case(
            "another project",
            403,
            "PERMISSION_DENIED",
            "other-example",
            |passing| {
                passing.path = passing.path.replace(PROJECT, OTHER_PROJECT);
            },
        ),
        case("no such method", 404, "NOT_FOUND", "not found", |passing| {
            passing.path = passing.path.replace("messages:send", "messages:sent");
        }),
        case(
            "the legacy endpoint",
            404,
            "NOT_FOUND",
            "not found",
            |passing| {
                passing.path = "/fcm/send".to_owned();
            },
        ),
        case("GET", 404, "NOT_FOUND", "not found", |passing| {
            passing.method = Method::GET
        }),
        case(
            "no JSON",
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON",
            |passing| {
                passing.body = b"message".to_vec();
            },
        ),
        case(
            "no message",
            400,
            "INVALID_ARGUMENT",
            "not set",
            |passing| {
                passing.body = b"{}".to_vec();
            },
        ),
        invalid("a legacy message", "Unknown name \"to\"", |message| {
            message["to"] = message["token"].take();
        }),
        invalid(
            "no recipient",
            "Recipient of the message is not set",
            |message| {
                drop(message.as_object_mut().unwrap().remove("token"));
            },
        ),
        invalid("two recipients", "already set", |message| {
            message["topic"] = json!("all")
        }),
        invalid(
            "a token of APNs",
            "not a valid FCM registration token",
            |message| {
                message["token"] = json!("ab".repeat(32));
            },
        ),
        invalid("data that is no text", "TYPE_STRING", |message| {
            message["data"]["countersign"] = json!({"v": 1});
        }),
        invalid("a number in data", "TYPE_STRING", |message| {
            message["data"]["v"] = json!(1)
        }),
        invalid(
            "reserved: from",
            "Invalid data payload key: from",
            |message| {
                message["data"]["from"] = json!("us");
            },
        ),
        invalid("reserved: google", "Invalid data payload key", |message| {
            message["data"]["google.challenge"] = json!("c");
        }),
        invalid("reserved: gcm", "Invalid data payload key", |message| {
            message["data"]["gcm_challenge"] = json!("c");
        }),
        invalid("over 4096 bytes", "too big", |message| {
            message["data"]["x"] = json!("x".repeat(4096));
        }),
        invalid("ttl without unit", "message.android.ttl", |message| {
            message["android"]["ttl"] = json!("60");
        }),
        invalid("ttl as a number", "message.android.ttl", |message| {
            message["android"]["ttl"] = json!(60);
        }),
        invalid("ttl below zero", "message.android.ttl", |message| {
            message["android"]["ttl"] = json!("-1s");
        }),
        invalid("ttl over four weeks", "time to live", |message| {
            message["android"]["ttl"] = json!("2419201s");
        }),
        invalid(
            "a priority that is none",
            "message.android.priority",
            |message| {
                message["android"]["priority"] = json!("URGENT");
            },
        ),
        invalid(
            "priority beside android",
            "Unknown name \"priority\"",
            |message| {
                message["priority"] = json!("HIGH");
            },
        ),
    ]
}

/// The assertion in the form, changed and signed again.
fn assertion(passing: &mut Passing, sign: impl FnOnce(Value, Value) -> String) {
    let form = std::str::from_utf8(&passing.body).unwrap();
    let (before, assertion) = form.split_once("assertion=").unwrap();
    assert!(!assertion.contains('&'), "it is the last field");
    let (header, claims) = parts_of(assertion);
    passing.body = format!("{before}assertion={}", sign(header, claims)).into_bytes();
}

fn later(claims: &mut Value, name: &str, by: i64) {
    claims[name] = json!(claims[name].as_i64().unwrap() + by);
}

fn exchanges(keys: &Arc<Keys>, audience: &str) -> Vec<Case> {
    // A change of the assertion; all but the audience is as the sender made it.
    let grant = |name, piece, change: fn(&mut Value, &mut Value)| {
        let (keys, audience) = (Arc::clone(keys), audience.to_owned());
        case(name, 400, "invalid_grant", piece, move |passing| {
            assertion(passing, |mut header, mut claims| {
                claims["aud"] = json!(audience);
                change(&mut header, &mut claims);
                jwt(&header, &claims, Algorithm::RS256, &keys.own)
            });
        })
    };
    let (by_other, hs256) = (Arc::clone(keys), audience.to_owned());
    let other_audience = audience.to_owned();
    const SHORT_LIVED: &str = "short-lived token";
    const SIGNATURE: &str = "Invalid JWT Signature";
    vec![
        // The sender's own: it is for the interceptor.
        case("another audience", 400, "invalid_grant", "audience", |_| {}),
        grant("no audience", "audience", |_, claims| {
            drop(claims.as_object_mut().unwrap().remove("aud"));
        }),
        grant("over an hour of life", SHORT_LIVED, |_, claims| {
            later(claims, "exp", 1)
        }),
        grant("from the future", SHORT_LIVED, |_, claims| {
            later(claims, "iat", 61);
            later(claims, "exp", 61);
        }),
        grant("run out", SHORT_LIVED, |_, claims| {
            later(claims, "iat", -3660);
            later(claims, "exp", -3660);
        }),
        grant("no exp", SHORT_LIVED, |_, claims| {
            drop(claims.as_object_mut().unwrap().remove("exp"));
        }),
        grant("another scope", "scope", |_, claims| {
            claims["scope"] = json!("https://www.googleapis.com/auth/cloud-platform.read-only");
        }),
        grant("no scope", "scope", |_, claims| {
            drop(claims.as_object_mut().unwrap().remove("scope"));
        }),
        grant("another account", SIGNATURE, |_, claims| {
            claims["iss"] = json!(OTHER_MAIL)
        }),
        grant("no such account", "account not found", |_, claims| {
            claims["iss"] = json!("nobody@countersign-example.iam.gserviceaccount.com");
        }),
        grant("another kid", SIGNATURE, |header, _| {
            header["kid"] = json!("0".repeat(40))
        }),
        grant("called RS512", "algorithm", |header, _| {
            header["alg"] = json!("RS512")
        }),
        case(
            "another account's key",
            400,
            "invalid_grant",
            SIGNATURE,
            move |passing| {
                assertion(passing, |header, mut claims| {
                    claims["aud"] = json!(other_audience);
                    jwt(&header, &claims, Algorithm::RS256, &by_other.other)
                });
            },
        ),
        case("HS256", 400, "invalid_grant", "algorithm", move |passing| {
            assertion(passing, |mut header, mut claims| {
                claims["aud"] = json!(hs256);
                header["alg"] = json!("HS256");
                let key = EncodingKey::from_secret(b"secret");
                jwt(&header, &claims, Algorithm::HS256, &key)
            });
        }),
        case(
            "another grant type",
            400,
            "unsupported_grant_type",
            "grant_type",
            |passing| {
                let form = String::from_utf8(passing.body.clone()).unwrap();
                let other = form.replace("jwt-bearer", "saml2-bearer");
                assert_ne!(form, other);
                passing.body = other.into_bytes();
            },
        ),
        case(
            "no assertion",
            400,
            "invalid_request",
            "assertion",
            |passing| {
                let form = String::from_utf8(passing.body.clone()).unwrap();
                passing.body = form.replace("assertion=", "jwt=").into_bytes();
            },
        ),
    ]
}

struct Intercepted {
    rig: Rig,
    keys: Arc<Keys>,
    audience: String,
}

impl Intercepted {
    async fn start() -> Self {
        let config = GatewaysConfig {
            projects: vec![PROJECT.to_owned(), OTHER_PROJECT.to_owned()],
            ..GatewaysConfig::default()
        };
        let rig = Rig::with(config, |_| {}).await;
        let key = |mail: &str| {
            let accounts = rig.gateways.credentials().fcm_accounts();
            let account = accounts
                .iter()
                .find(|account| account.client_email == mail)
                .unwrap();
            let file: Value =
                serde_json::from_slice(&std::fs::read(&account.path).unwrap()).unwrap();
            EncodingKey::from_rsa_pem(file["private_key"].as_str().unwrap().as_bytes()).unwrap()
        };
        let keys = Arc::new(Keys {
            own: key(MAIL),
            other: key(OTHER_MAIL),
        });
        let audience = rig.gateways.fcm().token_uri();
        Self {
            rig,
            keys,
            audience,
        }
    }

    /// The broker's own sender, with the interceptor in Google's place. The
    /// assertion names its audience, so the interceptor has to put the
    /// emulator's there.
    async fn senders(&self) -> (Interceptor, Senders, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let root = self.rig.gateways.credentials().root_ca_file();
        let interceptor = Interceptor::start(self.rig.gateways.fcm().url(), &root).await;
        interceptor.change(self.unaltered());
        let mut config = push_config(&self.rig.gateways);
        for app in &mut config.fcm {
            let mut file: Value =
                serde_json::from_slice(&std::fs::read(&app.service_account_file).unwrap()).unwrap();
            file["token_uri"] = json!(format!("{}/token", interceptor.url));
            app.service_account_file = dir.path().join(&app.project_id);
            std::fs::write(&app.service_account_file, file.to_string()).unwrap();
            app.url = Some(interceptor.url.clone());
            app.root_ca_file = Some(interceptor.root_ca_file.clone());
        }
        let clock = Arc::clone(&self.rig.clock);
        let now: NowMs = Arc::new(move || clock.load(Ordering::SeqCst));
        (interceptor, Senders::new(&config, now).unwrap(), dir)
    }

    fn unaltered(&self) -> Change {
        let (keys, audience) = (Arc::clone(&self.keys), self.audience.clone());
        Arc::new(move |passing| {
            if passing.path == "/token" {
                assertion(passing, |header, mut claims| {
                    claims["aud"] = json!(audience);
                    jwt(&header, &claims, Algorithm::RS256, &keys.own)
                });
            }
        })
    }

    /// What is wrong, or nothing.
    async fn judge(&self, exchange: bool, case: Case) -> Option<String> {
        let (name, status, word, piece, change) = case;
        let (interceptor, senders, _dir) = self.senders().await;
        let phone = self.rig.phone(PushGateway::Fcm);
        if !exchange {
            let control = senders.send(&self.rig.push(phone.clone())).await;
            assert_eq!(control, Outcome::Accepted, "{name}: unaltered");
            interceptor.answers();
        }
        let unaltered = self.unaltered();
        interceptor.change(Arc::new(move |passing| {
            if (passing.path == "/token") == exchange {
                change(passing);
            } else {
                unaltered(passing);
            }
        }));
        let outcome = senders.send(&self.rig.push(phone)).await;
        let mut answers = interceptor.answers();
        // A refused bearer makes the sender ask for another.
        answers.retain(|answer| (answer.path == "/token") == exchange);
        let refused = answers.iter().all(|answer| {
            let (said, text) = match exchange {
                true => (&answer.body["error"], &answer.body["error_description"]),
                false => (
                    &answer.body["error"]["status"],
                    &answer.body["error"]["message"],
                ),
            };
            let text = text.as_str().unwrap_or_default();
            answer.status == status && said == word && text.contains(piece)
        });
        let good = refused && !answers.is_empty() && outcome != Outcome::Accepted;
        (!good).then(|| format!("{name}: wanted {status} {word}: {answers:?}, {outcome:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_broken_in_an_fcm_message_is_refused() {
    let intercepted = Intercepted::start().await;
    let mut wrong = Vec::new();
    for case in messages() {
        wrong.extend(intercepted.judge(false, case).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_broken_in_a_token_exchange_is_refused() {
    let intercepted = Intercepted::start().await;
    let (_interceptor, senders, _dir) = intercepted.senders().await;
    let phone = intercepted.rig.phone(PushGateway::Fcm);
    let control = senders.send(&intercepted.rig.push(phone)).await;
    assert_eq!(control, Outcome::Accepted, "unaltered");
    let mut wrong = Vec::new();
    for case in exchanges(&intercepted.keys, &intercepted.audience) {
        wrong.extend(intercepted.judge(true, case).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_token_of_another_project_is_refused() {
    let intercepted = Intercepted::start().await;
    let rig = &intercepted.rig;
    let token = rig.issue(PushGateway::Fcm, OTHER_PROJECT, Environment::Production);
    let phone = PushTarget {
        token,
        ..rig.phone(PushGateway::Fcm)
    };
    let outcome = rig.send_to(phone).await;
    assert_eq!(outcome.reason(), Some("SENDER_ID_MISMATCH"), "{outcome:?}");
}
