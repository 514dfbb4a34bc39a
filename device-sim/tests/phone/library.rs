//! The phone library against a broker that follows the protos.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_proto::signing::{PrivateKey, Purpose, sha256};
use countersign_proto::v1::*;
use device_sim::phone::*;
use prost::Message as _;

use crate::broker::{DEVICE, FakeBroker, USER, broker_key};

async fn options(broker: &Arc<FakeBroker>) -> EnrollOptions {
    let mut options = EnrollOptions::new(Ticket::Uri(EnrollmentUri {
        broker: broker.serve().await,
        ticket: "TICKET".to_owned(),
        key_digest: broker.pin(),
    }));
    options.language = "nl-BE".to_owned();
    options
}

fn push(token: &str) -> PushRegistration {
    PushRegistration {
        gateway: Gateway::Apns.into(),
        app_id: "be.example.approve".to_owned(),
        environment: PushEnvironment::Sandbox.into(),
        token: token.to_owned(),
    }
}

#[tokio::test]
async fn every_call_is_proven_and_every_answer_covers_what_was_shown() {
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::P256] {
        let broker = FakeBroker::new();
        let mut options = options(&broker).await;
        options.algorithm = algorithm;
        options.push = Some(push("aa11"));
        let phone = Phone::enroll(options).await.unwrap();
        assert_eq!(
            (phone.device_id(), phone.user_id(), phone.organisation()),
            (DEVICE, USER, "Eagle IT BVBA")
        );
        assert_eq!(*broker.push.lock(), Some(push("aa11")));

        let signed = broker.sign(&FakeBroker::challenge_body(60));
        broker.challenges.lock().push(signed.clone());
        let pending = phone.list_pending().await.unwrap();
        let challenge = &pending.challenges[0];
        phone.acknowledge(challenge.id()).await.unwrap();
        let answer = phone
            .respond(challenge, Decision::Approve, "42")
            .await
            .unwrap();
        assert_eq!(answer.state(), ChallengeState::Approved);
        let response = broker.responses.lock()[0].clone();
        assert_eq!(response.challenge_digest, sha256(&signed.body).to_vec());
        assert_eq!(response.challenge_id, "c-1");
        assert_eq!(response.decision(), Decision::Approve);
        assert_eq!(
            (
                response.number.as_str(),
                response.locale.as_str(),
                response.device_id.as_str()
            ),
            ("42", "nl-BE", DEVICE)
        );

        phone.update_push_token(Some(push("bb22"))).await.unwrap();
        assert_eq!(*broker.push.lock(), Some(push("bb22")));
        phone.unenroll().await.unwrap();
        let error = phone.list_pending().await.unwrap_err();
        assert_eq!(error.code(), Some(tonic::Code::Unauthenticated));
    }
}

#[tokio::test]
async fn a_saved_phone_goes_on_after_a_restart() {
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::P256] {
        let broker = FakeBroker::new();
        let mut options = options(&broker).await;
        options.algorithm = algorithm;
        options.push = Some(push("aa11"));
        let phone = Phone::enroll(options).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("phone.json");
        phone.save(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let again = Phone::load(&path, system_clock()).unwrap();
        assert_eq!(again.state().unwrap(), phone.state().unwrap());
        assert_eq!(again.push(), Some(push("aa11")));
        let opens = |phone: &Phone| phone.encryption_key().map(|key| *key.public_bytes());
        assert!(opens(&again).is_some());
        assert_eq!(opens(&again), opens(&phone));
        broker
            .challenges
            .lock()
            .push(broker.sign(&FakeBroker::challenge_body(60)));
        assert_eq!(again.list_pending().await.unwrap().challenges.len(), 1);

        let secret = match phone.state().unwrap().key {
            StoredKey::Ed25519 { seed } => seed,
            StoredKey::P256 { pkcs8 } => pkcs8,
        };
        assert!(!format!("{phone:?}{:?}", phone.state().unwrap()).contains(&secret));
        let text = std::fs::read_to_string(&path).unwrap();
        // A file from before there were encrypted prompts.
        let mut earlier: serde_json::Value = serde_json::from_str(&text).unwrap();
        let key = earlier.as_object_mut().unwrap().remove("encryption_key");
        assert!(!format!("{:?}", phone.state().unwrap()).contains(key.unwrap().as_str().unwrap()));
        std::fs::write(&path, earlier.to_string()).unwrap();
        let earlier = Phone::load(&path, system_clock()).unwrap();
        assert!(opens(&earlier).is_none());
        std::fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert!(matches!(
            Phone::load(&path, system_clock()),
            Err(PhoneError::State(_))
        ));
    }
}

#[tokio::test]
async fn a_broker_without_the_pinned_key_gets_no_phone() {
    let broker = FakeBroker::new();
    let mut options = options(&broker).await;
    if let Ticket::Uri(uri) = &mut options.ticket {
        uri.key_digest[0] ^= 1;
    }
    assert!(matches!(
        Phone::enroll(options).await,
        Err(PhoneError::KeyNotPinned)
    ));
}

#[tokio::test]
async fn only_fit_challenges_are_shown() {
    let broker = FakeBroker::new();
    let phone = Phone::enroll(options(&broker).await).await.unwrap();
    let good = FakeBroker::challenge_body(60);
    let stranger = PrivateKey::from_ed25519_seed(&[9; 32]);
    let mut tampered = broker.sign(&good);
    tampered.body = ChallengeBody {
        number_digits: 0,
        ..good.clone()
    }
    .encode_to_vec()
    .into();
    *broker.challenges.lock() = vec![
        FakeBroker::sign_with(&stranger, &good),
        tampered,
        broker.sign(&ChallengeBody {
            user_id: "else@example.be".to_owned(),
            ..good.clone()
        }),
        broker.sign(&ChallengeBody {
            tenant_id: "t".to_owned(),
            ..good.clone()
        }),
        broker.sign(&FakeBroker::challenge_body(-1)),
        broker.sign(&ChallengeBody {
            expire_time: None,
            ..good.clone()
        }),
        broker.sign(&good),
    ];
    let pending = phone.list_pending().await.unwrap();
    assert_eq!(pending.challenges.len(), 1);
    assert_eq!(pending.challenges[0].body(), &good);
    let why: Vec<_> = pending.refused.iter().map(|(_, error)| error).collect();
    assert!(
        matches!(
            why.as_slice(),
            [
                PhoneError::UnknownKey { .. },
                PhoneError::BadSignature,
                PhoneError::WrongAccount,
                PhoneError::WrongAccount,
                PhoneError::Expired,
                PhoneError::Malformed(_),
            ]
        ),
        "{why:?}"
    );
}

#[tokio::test]
async fn an_expired_challenge_is_not_answered() {
    let broker = FakeBroker::new();
    let phone = Phone::enroll(options(&broker).await).await.unwrap();
    let challenge = phone
        .verify(broker.sign(&FakeBroker::challenge_body(60)))
        .unwrap();
    let late = phone.with_clock(fixed_offset(120)).unwrap();
    assert!(late.now().duration_since(phone.now()).unwrap() > Duration::from_secs(100));
    let result = late.respond(&challenge, Decision::Approve, "42").await;
    assert!(matches!(result, Err(PhoneError::Expired)));
    assert!(broker.responses.lock().is_empty());
    let error = late.list_pending().await.unwrap_err();
    assert_eq!(error.code(), Some(tonic::Code::Unauthenticated));
}

#[tokio::test]
async fn the_stream_brings_keys_challenges_and_withdrawals() {
    let broker = FakeBroker::new();
    let phone = Phone::enroll(options(&broker).await).await.unwrap();
    let next = PrivateKey::from_ed25519_seed(&[8; 32]);
    let body = Bytes::from(broker_key(&next).encode_to_vec());
    broker.successions.lock().push(SignedKeySuccession {
        signature: broker
            .signer
            .sign(Purpose::KeySuccession, &body)
            .unwrap()
            .into(),
        signer_key_id: broker_key(&broker.signer).key_id,
        body,
    });
    let good = FakeBroker::challenge_body(60);
    broker
        .challenges
        .lock()
        .push(FakeBroker::sign_with(&next, &good));
    broker.challenges.lock().push(FakeBroker::sign_with(
        &PrivateKey::from_ed25519_seed(&[9; 32]),
        &good,
    ));

    broker.withdrawals.lock().push(Withdrawal {
        challenge_id: "c-1".to_owned(),
        state: ChallengeState::Cancelled.into(),
        reason: DecisionReason::CancelledByCaller.into(),
    });
    let mut subscription = phone.subscribe().await.unwrap();
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::KeysLearned { new: 1 })
    ));
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::Challenge(challenge)) if challenge.body() == &good
    ));
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::Refused {
            error: PhoneError::UnknownKey { .. },
            ..
        })
    ));
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::CaughtUp { .. })
    ));
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::Withdrawn(withdrawal)) if withdrawal.challenge_id == "c-1"
    ));
}

#[tokio::test]
async fn refusals_and_dead_addresses_are_told_apart() {
    let broker = FakeBroker::new();
    let mut wrong = options(&broker).await;
    if let Ticket::Uri(uri) = &mut wrong.ticket {
        uri.ticket = "OTHER".to_owned();
    }
    let error = Phone::enroll(wrong).await.unwrap_err();
    assert_eq!(error.code(), Some(tonic::Code::PermissionDenied));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (broker, unreachable) in [(address.as_str(), true), ("ftp://x", false), ("", false)] {
        let ticket = Ticket::Code {
            broker: broker.to_owned(),
            code: "TICKET".to_owned(),
        };
        let error = Phone::enroll(EnrollOptions::new(ticket)).await.unwrap_err();
        assert_eq!(
            matches!(error, PhoneError::Unreachable { .. }),
            unreachable,
            "{error}"
        );
    }
}
