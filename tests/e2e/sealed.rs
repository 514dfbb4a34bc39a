//! Encrypted prompts: the challenge itself goes through Apple and Google, and
//! only the phone can read it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_proto::{
    sealing::{EncryptionKey, seal},
    signing::{PrivateKey, Purpose},
    v1::{self, Decision, DeliveryState as D, SealedChallenge, SignedChallenge},
};
use countersign_server::delivery::{
    Content, Gateways as Senders, Outcome, Push, PushEnvironment, PushGateway, PushTarget,
};
use countersign_tests::{Tenant, TestBroker, sign_in};
use device_sim::{
    gateway::{Environment, Gateways, GatewaysConfig, Registration, Vendor},
    phone::{DeviceKey, Feed, Phone, PushMessage, Road, VerifiedChallenge, enroll_request, feed},
};
use prost::Message as _;
use serde_json::Value;
use tokio::sync::mpsc;

/// Only for a test that hangs; nothing depends on it.
const PATIENCE: Duration = Duration::from_secs(60);

const APNS: (Vendor, v1::Gateway, &str) =
    (Vendor::Apns, v1::Gateway::Apns, "be.example.countersign");
const FCM: (Vendor, v1::Gateway, &str) = (Vendor::Fcm, v1::Gateway::Fcm, "countersign-example");

/// A broker and the emulators that it pushes through.
struct Rig {
    gateways: Gateways,
    broker: TestBroker,
}

impl Rig {
    async fn start() -> Self {
        let gateways = Gateways::start(GatewaysConfig {
            token_change_limit: None,
            ..GatewaysConfig::default()
        })
        .await
        .unwrap();
        let broker = TestBroker::start_real(&gateways.broker_toml()).await;
        Self { gateways, broker }
    }

    async fn tenant(&self, encrypted_prompts: bool) -> Tenant {
        self.tenant_named("Eagle IT BVBA", encrypted_prompts).await
    }

    async fn tenant_named(&self, display_name: &str, encrypted_prompts: bool) -> Tenant {
        let request = v1::CreateTenantRequest {
            display_name: display_name.into(),
            policy: Some(v1::TenantPolicy {
                number_matching: v1::NumberMatching::Off.into(),
                encrypted_prompts: Some(encrypted_prompts),
                ..v1::TenantPolicy::default()
            }),
            ..v1::CreateTenantRequest::default()
        };
        let made = self.broker.admin().create_tenant(request).await.unwrap();
        let tenant = made.into_inner().tenant.unwrap();
        let policy = tenant.policy.unwrap();
        assert_eq!(policy.encrypted_prompts(), encrypted_prompts);
        let (api_key, api_key_id) = self.broker.api_key(&tenant.tenant_id, v1::Role::Idp).await;
        Tenant {
            id: tenant.tenant_id,
            api_key,
            api_key_id,
        }
    }

    fn token(&self, (gateway, _, app_id): (Vendor, v1::Gateway, &str)) -> String {
        let registration = Registration {
            gateway,
            app_id: app_id.into(),
            environment: Environment::Production,
        };
        self.gateways.issue_token(&registration).unwrap()
    }

    /// A phone that is woken by pushes.
    async fn phone(
        &self,
        tenant: &Tenant,
        user: &str,
        service: (Vendor, v1::Gateway, &str),
        encryption_key: Option<EncryptionKey>,
    ) -> Phone {
        let mut options = self.broker.options(tenant, user).await;
        options.encryption_key = encryption_key;
        options.push = Some(v1::PushRegistration {
            gateway: service.1.into(),
            app_id: service.2.into(),
            environment: v1::PushEnvironment::Production.into(),
            token: self.token(service),
        });
        Phone::enroll(options).await.unwrap()
    }

    /// The phone with its app open, having seen that nothing is pending.
    async fn open_app(&self, phone: &Phone, token: String) -> App {
        let control = format!("http://{}", self.gateways.control_addr());
        let mut app = App(feed(phone.clone(), Road::Pushes { control, token }));
        app.lists_nothing("the start").await;
        assert!(matches!(app.next().await, Feed::Connected));
        app
    }

    /// The app's part of each push that reached the emulators for `challenge`,
    /// once there are `count`. A gateway notes a push when it has answered, which
    /// can be after the phone has it.
    async fn pushed(&self, challenge: &v1::Challenge, count: usize) -> Vec<PushMessage> {
        let mut arrivals = self.gateways.arrivals();
        loop {
            let found = self.pushed_until_now(challenge);
            if found.len() >= count {
                return found;
            }
            let arrival = tokio::time::timeout(PATIENCE, arrivals.recv()).await;
            arrival
                .unwrap_or_else(|_| panic!("{count} pushes were to come, not {found:?}"))
                .unwrap();
        }
    }

    fn pushed_until_now(&self, challenge: &v1::Challenge) -> Vec<PushMessage> {
        let mut found = Vec::new();
        for arrival in self.gateways.received() {
            assert!(arrival.accepted(), "{arrival:?}");
            let body = match arrival.gateway {
                "apns" => serde_json::json!({"payload": arrival.payload}),
                "fcm" => arrival.payload.clone(),
                _ => continue,
            };
            let message = PushMessage::read(&body).unwrap();
            let (PushMessage::Challenge { id }
            | PushMessage::Sealed { id, .. }
            | PushMessage::Notice { id }
            | PushMessage::Withdraw { id }) = &message;
            if *id == challenge.challenge_id {
                found.push(message);
            }
        }
        found
    }
}

/// What the app hears.
struct App(mpsc::Receiver<Feed>);

impl App {
    async fn next(&mut self) -> Feed {
        tokio::time::timeout(PATIENCE, self.0.recv())
            .await
            .expect("nothing came")
            .unwrap()
    }

    #[track_caller]
    fn challenge(news: Feed) -> VerifiedChallenge {
        match news {
            Feed::Challenge(challenge) => *challenge,
            other => panic!("no challenge but {other:?}"),
        }
    }

    /// The app asks the broker and hears of nothing.
    async fn lists_nothing(&mut self, after: &str) {
        let news = self.next().await;
        assert!(
            matches!(&news, Feed::Pending(ids) if ids.is_empty()),
            "after {after}: {news:?}"
        );
    }
}

fn key() -> Option<EncryptionKey> {
    Some(EncryptionKey::generate().unwrap())
}

fn state_of(challenge: &v1::Challenge) -> D {
    assert_eq!(challenge.deliveries.len(), 1, "{challenge:?}");
    challenge.deliveries[0].state()
}

/// The next change in which the delivery has come at least as far as `wanted`,
/// never having been fetched.
async fn delivered(changes: &mut tonic::Streaming<v1::WatchChallengeResponse>, wanted: D) {
    loop {
        let change = tokio::time::timeout(PATIENCE, changes.message())
            .await
            .expect("no change came")
            .unwrap()
            .expect("decided before the delivery came so far");
        let state = state_of(&change.challenge.unwrap());
        assert_ne!(state, D::Fetched);
        if state >= wanted {
            assert_eq!(state, wanted);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phone_shows_and_answers_without_a_fetch() {
    let rig = Rig::start().await;
    let tenant = rig.tenant(true).await;
    for (service, user) in [
        (APNS, "tom.cool@example.be"),
        (FCM, "an.peeters@example.be"),
    ] {
        let phone = rig.phone(&tenant, user, service, key()).await;
        let token = phone.push().unwrap().token;
        let mut app = rig.open_app(&phone, token).await;
        for decision in [Decision::Approve, Decision::Deny] {
            let asked = rig.broker.ask(&tenant, user).await;
            // Had the app listed anything since the challenge before, that would
            // come first.
            let shown = App::challenge(app.next().await);
            assert_eq!(Some(shown.signed()), asked.signed_challenge.as_ref());
            let mut changes = rig
                .broker
                .approvals(&tenant)
                .watch_challenge(v1::WatchChallengeRequest {
                    challenge_id: asked.challenge_id.clone(),
                })
                .await
                .unwrap()
                .into_inner();
            delivered(&mut changes, D::Accepted).await;
            phone.acknowledge(shown.id()).await.unwrap();
            delivered(&mut changes, D::Shown).await;
            phone.respond(&shown, decision, "").await.unwrap();
            let decided = rig.broker.decided(&tenant, &asked.challenge_id).await;
            assert_eq!(decided.decided_by_device_id, phone.device_id());
            assert_eq!(state_of(&decided), D::Answered);
            assert!(matches!(
                rig.pushed(&asked, 1).await[..],
                [PushMessage::Sealed { .. }]
            ));
        }
        drop(app);
    }
}

/// All texts of a JSON value, and what is inside those that are base64.
fn texts(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => {
            found.push(text.clone().into());
            found.extend(STANDARD.decode(text));
            found.extend(URL_SAFE_NO_PAD.decode(text));
            if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
                texts(&inner, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            found.push(name.clone().into());
            texts(value, found);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn contains(bytes: &[u8], secret: &str) -> bool {
    let lower = bytes.to_ascii_lowercase();
    let secret = secret.to_ascii_lowercase();
    lower
        .windows(secret.len())
        .any(|window| window == secret.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_about_the_sign_in_reaches_the_gateways() {
    let rig = Rig::start().await;
    let user = "tom.cool@example.be";
    let mut request = sign_in(user);
    let context = request.context.as_mut().unwrap();
    context.binding_message = "kiwi-42".into();
    context.details.push(v1::Detail {
        label: "Rekening".into(),
        value: "BE71 0961 2345 6769".into(),
    });
    let secrets = [
        "tom.cool",
        "example.be",
        "Eagle IT",
        "Webmail",
        "198.51.100.7",
        "Gent, Belg",
        "België",
        "Mozilla",
        "kiwi-42",
        "Rekening",
        "BE71 0961",
    ];
    let mut kinds = Vec::new();
    for encrypted in [true, false] {
        let tenant = rig.tenant(encrypted).await;
        // Two phones, so that one of them sees a withdrawal.
        let apple = rig.phone(&tenant, user, APNS, key()).await;
        let google = rig.phone(&tenant, user, FCM, key()).await;
        let mut pushes = [&apple, &google].map(|phone| {
            let token = phone.push().unwrap().token;
            rig.gateways.devices().connect(&token).unwrap()
        });
        request.request_id = uuid::Uuid::new_v4().to_string();
        let asked = rig
            .broker
            .approvals(&tenant)
            .create_challenge(request.clone())
            .await
            .unwrap();
        let asked = asked.into_inner().challenge.unwrap();
        for pushes in &mut pushes {
            let push = tokio::time::timeout(PATIENCE, pushes.recv()).await;
            push.expect("no prompt").unwrap();
        }
        let signed = asked.signed_challenge.clone().unwrap();
        let shown = apple.verify(signed.clone()).unwrap();
        for secret in &secrets {
            assert!(contains(&signed.encode_to_vec(), secret), "{secret}");
        }
        apple.respond(&shown, Decision::Approve, "").await.unwrap();
        let withdrawal = tokio::time::timeout(PATIENCE, pushes[1].recv()).await;
        withdrawal.expect("no withdrawal").unwrap();
        for message in rig.pushed(&asked, 3).await {
            kinds.push(match message {
                PushMessage::Challenge { .. } => "challenge",
                PushMessage::Sealed { .. } => "sealed",
                PushMessage::Withdraw { .. } => "withdraw",
                PushMessage::Notice { .. } => "notice",
            });
        }
    }
    let count = |kind| kinds.iter().filter(|other| **other == kind).count();
    let counted = ["sealed", "challenge", "withdraw"].map(count);
    assert_eq!(counted, [2, 2, 2], "{kinds:?}");

    for arrival in rig.gateways.received() {
        let mut found = Vec::new();
        texts(&serde_json::to_value(&*arrival).unwrap(), &mut found);
        found.push(serde_json::to_vec(&*arrival).unwrap());
        for secret in &secrets {
            for bytes in &found {
                assert!(!contains(bytes, secret), "{secret} in {arrival:?}");
            }
        }
    }
}

/// Somebody who can push to the phone but is not its broker, or is one with a
/// fault.
struct Stranger {
    senders: Senders,
    target: PushTarget,
}

impl Stranger {
    async fn push(&self, content: Content) {
        let push = Push {
            push_id: uuid::Uuid::new_v4(),
            collapse_id: uuid::Uuid::new_v4().to_string(),
            target: self.target.clone(),
            expire_at_ms: now_ms() + 60_000,
            content,
        };
        assert_eq!(self.senders.send(&push).await, Outcome::Accepted);
    }

    async fn sealed(&self, challenge_id: &str, sealed: SealedChallenge) {
        self.push(Content::Sealed {
            challenge_id: challenge_id.into(),
            ciphertext: sealed.encode_to_vec(),
        })
        .await;
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

/// A challenge that is given up at once: a phone that lists hears of nothing.
async fn given_up(rig: &Rig, tenant: &Tenant, user: &str) -> (String, SignedChallenge) {
    let asked = rig.broker.ask(tenant, user).await;
    rig.broker
        .approvals(tenant)
        .cancel_challenge(v1::CancelChallengeRequest {
            challenge_id: asked.challenge_id.clone(),
        })
        .await
        .unwrap();
    (asked.challenge_id, asked.signed_challenge.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_by_the_broker_for_this_phone_is_not_shown_but_asked_about() {
    let rig = Rig::start().await;
    let tenant = rig.tenant(true).await;
    // The broker knows no token and pushes nothing: every push is the stranger's.
    let phone = rig.broker.phone(&tenant, "tom").await;
    rig.broker.phone(&tenant, "ann").await;
    let token = rig.token(APNS);
    let toml: toml::Table = toml::from_str(&rig.gateways.broker_toml()).unwrap();
    let config = toml["push"].clone().try_into().unwrap();
    let stranger = Stranger {
        senders: Senders::new(&config, Arc::new(now_ms)).unwrap(),
        target: PushTarget {
            gateway: PushGateway::Apns,
            app_id: APNS.2.into(),
            environment: PushEnvironment::Production,
            token: token.clone(),
        },
    };
    let mut app = rig.open_app(&phone, token).await;
    let (id, signed) = given_up(&rig, &tenant, "tom").await;
    let (anns_id, anns) = given_up(&rig, &tenant, "ann").await;
    let device = phone.device_id().to_owned();
    let public = *phone.encryption_key().unwrap().public_bytes();
    let good = || seal(&signed, &public, &device, &id).unwrap();

    let mut altered = good();
    let mut bytes = altered.ciphertext.to_vec();
    bytes[40] ^= 1;
    altered.ciphertext = bytes.into();
    let other_key = EncryptionKey::generate().unwrap();
    let unsigned = SignedChallenge {
        signature: vec![0; 64].into(),
        ..signed.clone()
    };
    let self_signed = SignedChallenge {
        signature: PrivateKey::from_ed25519_seed(&[9; 32])
            .sign(Purpose::Challenge, &signed.body)
            .unwrap()
            .into(),
        ..signed.clone()
    };
    let unknown_key = SignedChallenge {
        key_id: "unknown".into(),
        ..signed.clone()
    };
    let to_phone =
        |challenge: &SignedChallenge, id: &str| seal(challenge, &public, &device, id).unwrap();
    let nonsense = SealedChallenge {
        encapsulated_key: vec![9; 32].into(),
        ciphertext: vec![9; 99].into(),
    };
    for (what, id, sealed) in [
        ("altered", &id, altered),
        (
            "sealed to another phone's key",
            &id,
            seal(&signed, other_key.public_bytes(), &device, &id).unwrap(),
        ),
        (
            "sealed for another phone",
            &id,
            seal(&signed, &public, &anns_id, &id).unwrap(),
        ),
        ("sealed for another challenge", &anns_id, good()),
        (
            "another challenge inside",
            &anns_id,
            to_phone(&signed, &anns_id),
        ),
        ("another user's", &anns_id, to_phone(&anns, &anns_id)),
        ("unsigned", &id, to_phone(&unsigned, &id)),
        ("signed by a stranger", &id, to_phone(&self_signed, &id)),
        ("signed by an unknown key", &id, to_phone(&unknown_key, &id)),
        ("nonsense", &id, nonsense),
    ] {
        stranger.sealed(id, sealed).await;
        app.lists_nothing(what).await;
    }

    // The right one is shown, once.
    stranger.sealed(&id, good()).await;
    assert_eq!(App::challenge(app.next().await).signed(), &signed);
    stranger.sealed(&id, good()).await;
    // A withdrawal is a reason to ask, and so is what comes after it.
    let withdraw = Content::Withdraw {
        challenge_id: id.clone(),
    };
    stranger.push(withdraw).await;
    app.lists_nothing("a withdrawal").await;
    stranger.sealed(&id, good()).await;
    app.lists_nothing("a prompt after its withdrawal").await;
}

/// A sign-in with that many bytes of details. With 1960 it has the 2048 bytes
/// of text that a sign-in may have at most.
fn long_sign_in(user: &str, bytes: usize) -> v1::CreateChallengeRequest {
    let mut request = sign_in(user);
    let context = request.context.as_mut().unwrap();
    context.client_address = "2001:db8:1111:2222:3333:4444:5555:6666".into();
    context.binding_message = "x".into();
    context.details = (0..8)
        .map(|number| v1::Detail {
            label: format!("Label {number}"),
            value: "x".repeat(bytes / 8),
        })
        .collect();
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_or_is_not_wanted_goes_as_a_wake_up() {
    let rig = Rig::start().await;
    let on = rig.tenant_named(&"O".repeat(128), true).await;
    let off = rig.tenant(false).await;
    let user = format!("{}@example.be", "u".repeat(245));
    for service in [APNS, FCM] {
        for (what, tenant, key, bytes, sealed) in [
            ("short", &on, key(), 8, true),
            ("long", &on, key(), 1600, true),
            ("as long as can be", &on, key(), 1960, false),
            ("no key", &on, None, 8, false),
            ("policy off", &off, key(), 8, false),
        ] {
            let phone = rig.phone(tenant, &user, service, key).await;
            let mut app = rig.open_app(&phone, phone.push().unwrap().token).await;
            let asked = rig
                .broker
                .approvals(tenant)
                .create_challenge(long_sign_in(&user, bytes))
                .await
                .unwrap();
            let asked = asked.into_inner().challenge.unwrap();
            let shown = App::challenge(app.next().await);
            assert_eq!(shown.id(), asked.challenge_id, "{what}");
            let pushed = rig.pushed(&asked, 1).await;
            let as_wanted = match pushed[..] {
                [PushMessage::Sealed { .. }] => sealed,
                [PushMessage::Challenge { .. }] => !sealed,
                _ => false,
            };
            assert!(as_wanted, "{what}, {service:?}: {pushed:?}");
            phone.respond(&shown, Decision::Deny, "").await.unwrap();
            phone.unenroll().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_with_a_useless_key_is_woken() {
    let rig = Rig::start().await;
    let tenant = rig.tenant(true).await;
    let mut options = rig.broker.options(&tenant, "tom").await;
    let token = rig.token(FCM);
    options.push = Some(v1::PushRegistration {
        gateway: FCM.1.into(),
        app_id: FCM.2.into(),
        environment: v1::PushEnvironment::Production.into(),
        token: token.clone(),
    });
    let key = DeviceKey::generate(v1::KeyAlgorithm::Ed25519).unwrap();
    let mut body = options.body(&key);
    // A point of small order (RFC 7748, section 6.1).
    body.encryption_key = vec![0; 32].into();
    let request = enroll_request(&body, &key).unwrap();
    rig.broker.devices().enroll(request).await.unwrap();
    let mut pushes = rig.gateways.devices().connect(&token).unwrap();
    let asked = rig.broker.ask(&tenant, "tom").await;
    let push = tokio::time::timeout(PATIENCE, pushes.recv()).await;
    push.expect("no push").unwrap();
    assert!(matches!(
        rig.pushed(&asked, 1).await[..],
        [PushMessage::Challenge { .. }]
    ));
}
