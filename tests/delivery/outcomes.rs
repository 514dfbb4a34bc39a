//! What arrives at the phone, and what the caller is told otherwise.

use device_sim::fault::Fault;
use device_sim::gateway::{ApnsTeam, Push as Received};
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn a_prompt_and_its_withdrawal_reach_an_iphone() {
    let rig = Rig::start().await;
    let target = rig.phone(PushGateway::Apns);
    let token = target.token.clone();
    let mut phone = rig.gateways.devices().connect(&token).unwrap();
    let mut push = rig.push(target);
    assert_eq!(rig.senders.send(&push).await, Outcome::Accepted);
    let Some(Received::Apns(prompt)) = phone.recv().await else {
        panic!("an APNs push");
    };
    assert_eq!(prompt.apns_id, push.push_id.to_string());
    assert_eq!((prompt.push_type.as_str(), prompt.priority), ("alert", 10));
    assert_eq!(prompt.expiration, Some(push.expire_at_ms / 1000));
    assert_eq!(prompt.payload["aps"]["category"], "APPROVAL_LOCKED");
    let wake_up = json!({"v": 1, "t": "challenge", "id": "challenge-1"});
    assert_eq!(prompt.payload["countersign"], wake_up);

    rig.advance_s(61);
    push.push_id = Uuid::new_v4();
    push.content = Content::Withdraw {
        challenge_id: "challenge-1".into(),
    };
    assert_eq!(rig.senders.send(&push).await, Outcome::Accepted);
    assert!(phone.recv().await.is_some());
    let screen = rig.gateways.devices().screen(&token);
    let [Received::Apns(left)] = screen.as_slice() else {
        panic!("the withdrawal replaces the prompt: {screen:?}");
    };
    assert_eq!(left.payload["countersign"]["t"], "withdraw");
    assert!(left.payload["aps"].get("sound").is_none());
}

#[tokio::test]
async fn a_prompt_reaches_an_android_phone_as_data() {
    let rig = Rig::start().await;
    let target = rig.phone(PushGateway::Fcm);
    let mut phone = rig.gateways.devices().connect(&target.token).unwrap();
    let mut push = rig.push(target);
    push.content = Content::Sealed {
        challenge_id: "challenge-1".into(),
        ciphertext: vec![0; 1500],
    };
    assert_eq!(rig.senders.send(&push).await, Outcome::Accepted);
    let Some(Received::Fcm(prompt)) = phone.recv().await else {
        panic!("an FCM message");
    };
    assert_eq!((prompt.priority.as_str(), prompt.ttl_ms), ("HIGH", 60_000));
    assert_eq!(prompt.collapse_key, None);
    let text = prompt.message["data"]["countersign"].as_str().unwrap();
    let inner: Value = serde_json::from_str(text).unwrap();
    assert_eq!(inner["t"], "sealed");
    assert_eq!(inner["c"], "A".repeat(2000));
}

/// The largest sealed prompt that `fits` is taken by both gateways, byte for byte.
#[tokio::test]
async fn what_fits_is_taken_by_the_gateways() {
    let rig = Rig::start().await;
    for gateway in [PushGateway::Apns, PushGateway::Fcm] {
        let mut push = rig.push(rig.phone(gateway));
        let sealed = |len| Content::Sealed {
            challenge_id: "challenge-1".into(),
            ciphertext: vec![0; len],
        };
        let largest = (1..4096)
            .rev()
            .find(|len| {
                push.content = sealed(*len);
                push.fits()
            })
            .unwrap();
        assert!(largest > 2500, "{largest}");
        assert_eq!(rig.senders.send(&push).await, Outcome::Accepted);
        push.content = sealed(largest + 3);
        let outcome = rig.senders.send(&push).await;
        assert_eq!(outcome.reason(), Some("PayloadTooLarge"));
    }
}

#[tokio::test]
async fn sandbox_and_production_run_side_by_side() {
    let rig = Rig::start().await;
    for (environment, registered) in [
        (PushEnvironment::Production, Environment::Production),
        (PushEnvironment::Sandbox, Environment::Sandbox),
    ] {
        let token = rig.issue(PushGateway::Apns, TOPIC, registered);
        let other = match environment {
            PushEnvironment::Production => PushEnvironment::Sandbox,
            PushEnvironment::Sandbox => PushEnvironment::Production,
        };
        let target = |environment| PushTarget {
            gateway: PushGateway::Apns,
            app_id: TOPIC.into(),
            environment,
            token: token.clone(),
        };
        assert_eq!(rig.send_to(target(environment)).await, Outcome::Accepted);
        // A token of the other world may be a misconfiguration: only suspect.
        let expected = Outcome::TokenSuspect {
            reason: "BadDeviceToken".into(),
        };
        assert_eq!(rig.send_to(target(other)).await, expected);
    }
}

#[tokio::test]
async fn dead_tokens_are_told_with_their_date() {
    let rig = Rig::start().await;
    let devices = rig.gateways.devices();
    for (reason, expired) in [("Unregistered", false), ("ExpiredToken", true)] {
        let target = rig.phone(PushGateway::Apns);
        if expired {
            devices.expire(&target.token);
        } else {
            devices.uninstall(&target.token);
        }
        let since_ms = Some(rig.clock.load(Ordering::SeqCst));
        rig.advance_s(5);
        let expected = Outcome::TokenDead {
            reason: reason.into(),
            since_ms,
        };
        assert_eq!(rig.send_to(target).await, expected);
    }
    let target = rig.phone(PushGateway::Fcm);
    devices.uninstall(&target.token);
    let expected = Outcome::TokenDead {
        reason: "UNREGISTERED".into(),
        since_ms: None,
    };
    assert_eq!(rig.send_to(target).await, expected);
}

#[tokio::test]
async fn targets_of_other_apps() {
    let config = GatewaysConfig {
        teams: vec![ApnsTeam {
            team_id: "EXAMPLETM1".into(),
            key_id: "EXAMPLEKY1".into(),
            topics: vec![TOPIC.into(), "be.example.other".into()],
        }],
        projects: vec![PROJECT.into(), "other-project".into()],
        ..GatewaysConfig::default()
    };
    let rig = Rig::with(config, |_| {}).await;
    for (gateway, other, expected) in [
        (
            PushGateway::Apns,
            "be.example.other",
            Outcome::Rejected {
                reason: "DeviceTokenNotForTopic".into(),
            },
        ),
        (
            PushGateway::Fcm,
            "other-project",
            Outcome::CredentialRejected {
                reason: "SENDER_ID_MISMATCH".into(),
            },
        ),
    ] {
        let mut target = rig.phone(gateway);
        target.app_id = other.into();
        assert_eq!(rig.send_to(target.clone()).await, expected);
        target.token = rig.issue(gateway, other, Environment::Production);
        assert_eq!(rig.send_to(target.clone()).await, Outcome::Accepted);
        target.app_id = "nobody".into();
        assert_eq!(rig.send_to(target).await, Outcome::NoGateway);
    }
}

fn reply(status: u16, reason: &str) -> Fault {
    Fault::Reply {
        status,
        reason: reason.into(),
        retry_after: None,
    }
}

#[tokio::test]
async fn every_refusal_has_its_outcome() {
    let table = [
        ("apns", reply(400, "BadTopic"), "rejected"),
        ("apns", reply(403, "Forbidden"), "rejected"),
        ("apns", reply(413, "PayloadTooLarge"), "rejected"),
        ("apns", reply(400, "SomethingNew"), "rejected"),
        ("apns", Fault::BadDeviceToken, "token_suspect"),
        ("apns", Fault::InternalError, "server_error"),
        (
            "apns",
            Fault::Unavailable { retry_after: None },
            "server_error",
        ),
        (
            "apns",
            Fault::TooManyRequests { retry_after: None },
            "retry_after",
        ),
        ("fcm", reply(400, "INVALID_ARGUMENT"), "rejected"),
        (
            "fcm",
            reply(401, "THIRD_PARTY_AUTH_ERROR"),
            "credential_rejected",
        ),
        (
            "fcm",
            reply(403, "SENDER_ID_MISMATCH"),
            "credential_rejected",
        ),
        ("fcm", reply(404, "NOT_THE_TOKEN"), "rejected"),
        ("fcm", reply(418, "SOMETHING_NEW"), "rejected"),
        ("fcm", Fault::InternalError, "server_error"),
        (
            "fcm",
            Fault::Unavailable { retry_after: None },
            "server_error",
        ),
        (
            "fcm",
            Fault::TooManyRequests { retry_after: None },
            "retry_after",
        ),
    ];
    let rig = Rig::start().await;
    for (name, fault, expected) in table {
        let gateway = if name == "apns" {
            PushGateway::Apns
        } else {
            PushGateway::Fcm
        };
        let text = match &fault {
            Fault::Reply { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        rig.gateways.faults(name).unwrap().schedule([fault.clone()]);
        let outcome = rig.send(gateway).await;
        assert_eq!(outcome.name(), expected, "{fault:?}: {outcome:?}");
        if let Some(text) = text {
            assert_eq!(outcome.reason(), Some(text.as_str()));
        }
        // A success in between, lest a run of failures open the breaker.
        assert_eq!(rig.send(gateway).await, Outcome::Accepted);
    }
}
