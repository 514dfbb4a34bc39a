//! The broker's signing keys: rotation with overlap, as phones and identity
//! providers live through it.

use std::time::Duration;

use countersign_proto::{
    signing::{key_id, sha256},
    v1::{self, ChallengeState, Decision, SigningKeyState as K},
};
use countersign_tests::{START_MS, Tenant, TestBroker, end, field, in_time, reason};
use device_sim::{
    phone::{Phone, PhoneError, PhoneEvent, Ticket, TrustedKey, method},
    receipt::{Receipt, ReceiptCheck, ReceiptError},
};
use tonic::Code;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn rotate(broker: &TestBroker, lead: Option<Duration>) -> v1::SigningKey {
    let lead_time = lead.map(|lead| prost_types::Duration {
        seconds: lead.as_secs().try_into().unwrap(),
        nanos: 0,
    });
    let request = v1::RotateSigningKeyRequest { lead_time };
    let made = broker.admin().rotate_signing_key(request).await.unwrap();
    made.into_inner().key.unwrap()
}

/// The keys, oldest first, and where each stands.
async fn keys(broker: &TestBroker) -> Vec<(String, K)> {
    let request = v1::ListSigningKeysRequest {};
    let list = broker.admin().list_signing_keys(request).await.unwrap();
    let keys = list.into_inner().keys;
    keys.into_iter()
        .map(|key| (key.key_id.clone(), key.state()))
        .collect()
}

async fn jwks(broker: &TestBroker) -> String {
    let url = format!("http://{}/.well-known/jwks.json", broker.http);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

fn signed_by(challenge: &v1::Challenge) -> String {
    challenge.signed_challenge.clone().unwrap().key_id
}

/// Answers what is pending; the challenge as it ended.
async fn answer(
    broker: &TestBroker,
    tenant: &Tenant,
    phone: &Phone,
    decision: Decision,
) -> v1::Challenge {
    let shown = phone.list_pending().await.unwrap().challenges.remove(0);
    phone.respond(&shown, decision, "").await.unwrap();
    broker.decided(tenant, shown.id()).await
}

fn check(
    broker: &TestBroker,
    tenant: &Tenant,
    jwks: &str,
    challenge: &v1::Challenge,
) -> Result<Receipt, ReceiptError> {
    ReceiptCheck::new(jwks, &tenant.api_key_id, broker.phone_clock()())
        .unwrap()
        .check(&challenge.receipt)
}

/// The key with which the receipt is signed.
fn receipt_key(challenge: &v1::Challenge) -> String {
    let header = jsonwebtoken::decode_header(&challenge.receipt).unwrap();
    header.kid.unwrap()
}

#[tokio::test]
async fn the_next_key_is_announced_before_it_signs() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let a = keys(&broker).await.remove(0).0;

    let next = rotate(&broker, None).await;
    let b = next.key_id.clone();
    assert_eq!(next.state(), K::Next);
    assert_eq!(key_id(next.public_key.as_ref().try_into().unwrap()), b);
    let activate = i64::try_from(START_MS / 1000).unwrap() + 24 * 3600;
    assert_eq!(next.activate_time.unwrap().seconds, activate);
    assert_eq!(
        keys(&broker).await,
        [(a.clone(), K::Current), (b.clone(), K::Next)]
    );
    let set = jwks(&broker).await;
    assert!(set.contains(&a) && set.contains(&b), "{set}");

    // Until its time has come the present key goes on.
    broker.pass(DAY - Duration::from_millis(1));
    let before = broker.ask(&tenant, "tom").await;
    assert_eq!(signed_by(&before), a);
    let pending = phone.list_pending().await.unwrap().challenges;
    assert!(phone.trusted_keys().contains(&b), "announced with the list");
    broker.pass(Duration::from_millis(1));
    assert_eq!(
        keys(&broker).await,
        [(a.clone(), K::Retired), (b.clone(), K::Current)]
    );

    // What the old key signed can still be answered; its receipt is of today.
    phone
        .respond(&pending[0], Decision::Approve, "")
        .await
        .unwrap();
    let decided = broker.decided(&tenant, &before.challenge_id).await;
    assert_eq!(decided.state(), ChallengeState::Approved);
    assert_eq!((signed_by(&decided), receipt_key(&decided)), (a, b.clone()));
    let asked = broker.ask(&tenant, "tom").await;
    assert_eq!(signed_by(&asked), b);
    let denied = answer(&broker, &tenant, &phone, Decision::Deny).await;
    for ended in [&decided, &denied] {
        check(&broker, &tenant, &set, ended).unwrap();
    }
}

#[tokio::test]
async fn a_rotation_without_lead_time() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let away = broker.phone(&tenant, "ann").await;
    let a = keys(&broker).await.remove(0).0;
    let old_set = jwks(&broker).await;
    let first = broker.ask(&tenant, "tom").await;
    let approved = answer(&broker, &tenant, &phone, Decision::Approve).await;
    assert_eq!(
        (signed_by(&first), receipt_key(&approved)),
        (a.clone(), a.clone())
    );
    broker.ask(&tenant, "tom").await;

    let now = rotate(&broker, Some(Duration::ZERO)).await;
    let b = now.key_id.clone();
    assert_eq!(now.state(), K::Current);
    assert_eq!(
        keys(&broker).await,
        [(a.clone(), K::Retired), (b.clone(), K::Current)]
    );
    // A challenge that the old key signed before is answered after.
    let across = answer(&broker, &tenant, &phone, Decision::Approve).await;
    assert_eq!((signed_by(&across), receipt_key(&across)), (a, b.clone()));
    let set = jwks(&broker).await;
    for ended in [&approved, &across] {
        assert_eq!(
            check(&broker, &tenant, &set, ended)
                .unwrap()
                .claims
                .decision,
            "APPROVED"
        );
    }
    assert!(matches!(
        check(&broker, &tenant, &old_set, &across),
        Err(ReceiptError::UnknownKey(kid)) if kid == b
    ));

    // Everything is as it was after a restart; a phone that was away for two
    // more rotations learns the way from the key it pinned.
    let c = rotate(&broker, Some(Duration::ZERO)).await.key_id;
    let d = rotate(&broker, Some(Duration::ZERO)).await.key_id;
    let before = (keys(&broker).await, jwks(&broker).await);
    broker.restart().await;
    assert_eq!((keys(&broker).await, jwks(&broker).await), before);
    let away = broker.moved(&away);
    assert_eq!(away.trusted_keys().iter().count(), 1);
    let asked = broker.ask(&tenant, "ann").await;
    assert_eq!(signed_by(&asked), d);
    assert!(matches!(
        away.verify(asked.signed_challenge.unwrap()),
        Err(PhoneError::UnknownKey { key_id }) if key_id == d
    ));
    let ended = answer(&broker, &tenant, &away, Decision::Approve).await;
    assert_eq!(end(&ended).0, ChallengeState::Approved);
    for key in [&b, &c, &d] {
        assert!(away.trusted_keys().contains(key));
    }
    check(&broker, &tenant, &before.1, &ended).unwrap();
    // A phone registered now pins the newest and needs no other.
    let fresh = broker.phone(&tenant, "new").await;
    assert!(fresh.trusted_keys().contains(&d));
}

#[tokio::test]
async fn an_open_app_is_told_at_once() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let mut stream = phone.subscribe().await.unwrap();
    assert!(matches!(
        in_time(stream.next()).await.unwrap(),
        Some(PhoneEvent::CaughtUp { .. })
    ));
    for lead in [Some(Duration::ZERO), None] {
        let next = rotate(&broker, lead).await.key_id;
        assert!(matches!(
            in_time(stream.next()).await.unwrap(),
            Some(PhoneEvent::KeysLearned { new: 1 })
        ));
        assert!(phone.trusted_keys().contains(&next));
    }
    // The challenge that comes next is shown, not refused.
    broker.ask(&tenant, "tom").await;
    assert!(matches!(
        in_time(stream.next()).await.unwrap(),
        Some(PhoneEvent::Challenge(_))
    ));
    // A stream opened later starts with what it missed.
    let other = broker.phone(&tenant, "tom").await;
    let mut stream = other.subscribe().await.unwrap();
    assert!(matches!(
        in_time(stream.next()).await.unwrap(),
        Some(PhoneEvent::KeysLearned { .. })
    ));
}

/// A ticket pins the key of the moment it was made; that one may have had its
/// turn when the ticket is redeemed.
#[tokio::test]
async fn a_ticket_from_before_a_rotation_is_good_after_it() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let options = broker.options(&tenant, "tom").await;
    broker.pass(Duration::from_secs(1));
    for _ in 0..3 {
        rotate(&broker, Some(Duration::ZERO)).await;
    }
    broker.pass(Duration::from_secs(598));
    let phone = Phone::enroll(options).await.unwrap();
    broker.ask(&tenant, "tom").await;
    let ended = answer(&broker, &tenant, &phone, Decision::Approve).await;
    assert_eq!(ended.state(), ChallengeState::Approved);
}

#[tokio::test]
async fn a_phone_refuses_a_key_it_does_not_know() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    // Another broker than the QR code says: nothing is pinned, no phone made.
    let mut options = broker.options(&tenant, "tom").await;
    if let Ticket::Uri(uri) = &mut options.ticket {
        uri.key_digest = sha256(&[9; 32]);
    }
    let error = Phone::enroll(options).await.unwrap_err();
    assert!(matches!(error, PhoneError::KeyNotPinned), "{error:?}");

    // A phone that trusts another key shows nothing, whatever it is told.
    let phone = broker.phone(&tenant, "ann").await;
    let mut state = phone.state().unwrap();
    state.trusted_keys = vec![TrustedKey {
        public_key: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(), // RFC 8037, A.2
    }];
    let stranger = Phone::from_state(state, broker.phone_clock()).unwrap();
    rotate(&broker, Some(Duration::ZERO)).await;
    let asked = broker.ask(&tenant, "ann").await;
    let pending = stranger.list_pending().await.unwrap();
    assert!(pending.challenges.is_empty());
    assert!(matches!(
        &pending.refused[0].1,
        PhoneError::UnknownKey { .. }
    ));
    assert_eq!(stranger.trusted_keys().iter().count(), 1);
    let now = broker.get(&tenant, &asked.challenge_id).await;
    assert_eq!(now.state(), ChallengeState::Pending);
    // The real one learns the new key from the same answer.
    assert_eq!(phone.list_pending().await.unwrap().challenges.len(), 1);
}

#[tokio::test]
async fn lead_times() {
    let broker = TestBroker::start().await;
    for (seconds, nanos) in [
        (-1, 0),
        (0, -1),
        (i64::MAX, 0),
        (30 * 86_400 + 1, 0),
        (0, 2_000_000_000),
    ] {
        let lead_time = Some(prost_types::Duration { seconds, nanos });
        let request = v1::RotateSigningKeyRequest { lead_time };
        let refused = broker
            .admin()
            .rotate_signing_key(request)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(
            (field(&refused), reason(&refused)),
            ("lead_time".into(), "INVALID_FIELD".into())
        );
    }
    assert_eq!(keys(&broker).await.len(), 1);
    rotate(&broker, Some(30 * DAY)).await;
    // A later one without lead time takes its place for good: keys sign in the
    // order in which they follow from one another.
    rotate(&broker, Some(Duration::ZERO)).await;
    let states = async || -> Vec<K> { keys(&broker).await.into_iter().map(|key| key.1).collect() };
    assert_eq!(states().await, [K::Retired, K::Overtaken, K::Current]);
    broker.pass(30 * DAY);
    assert_eq!(states().await, [K::Retired, K::Overtaken, K::Current]);
}

/// However rotations overlap, a phone registered at any moment can follow all
/// that come later.
#[tokio::test(flavor = "multi_thread")]
async fn overlapping_rotations() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let mut phones = vec![broker.phone(&tenant, "first").await];
    for lead in [Some(30 * DAY), Some(Duration::ZERO), None] {
        rotate(&broker, lead).await;
        let user = format!("user {}", phones.len());
        phones.push(broker.phone(&tenant, &user).await);
    }
    broker.restart().await;
    // The next one is vouched for by the newest before it, also after a restart.
    rotate(&broker, Some(Duration::ZERO)).await;
    phones.push(broker.phone(&tenant, "last").await);
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut admin = broker.admin();
        let lead_time = Some(prost_types::Duration::default());
        at_once.spawn(async move {
            let request = v1::RotateSigningKeyRequest { lead_time };
            admin.rotate_signing_key(request).await.unwrap();
        });
    }
    at_once.join_all().await;
    let before = keys(&broker).await;
    broker.restart().await;
    assert_eq!(keys(&broker).await, before);
    rotate(&broker, Some(Duration::ZERO)).await;
    broker.pass(31 * DAY);
    let phone = broker.moved(&phones[0]);
    let message = v1::ListPendingChallengesRequest::default();
    let request = phone
        .proven(method::LIST_PENDING_CHALLENGES, message)
        .unwrap();
    let list = phone
        .client()
        .list_pending_challenges(request)
        .await
        .unwrap()
        .into_inner();
    let made: Vec<_> = keys(&broker).await.into_iter().map(|key| key.0).collect();
    let signers: Vec<_> = list
        .key_successions
        .into_iter()
        .map(|one| one.signer_key_id)
        .collect();
    assert_eq!(signers, made[..made.len() - 1]);
    for phone in phones {
        let phone = broker.moved(&phone);
        broker.ask(&tenant, phone.user_id()).await;
        let ended = answer(&broker, &tenant, &phone, Decision::Approve).await;
        assert_eq!(
            ended.state(),
            ChallengeState::Approved,
            "{}",
            phone.user_id()
        );
    }
}
