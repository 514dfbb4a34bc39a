//! What is old leaves, and only that; a restart in the middle changes nothing.

use std::time::Duration;

use countersign_proto::v1;
use countersign_server::clock::Clock;
use countersign_tests::{START_MS, Tenant, TestBroker, in_time, reason, sign_in};

use super::audit::{admin_with, export, list, verify};

const HOUR: Duration = Duration::from_secs(3600);

async fn start(toml: &str) -> TestBroker {
    let (clock, hand) = Clock::manual(START_MS);
    TestBroker::start_with(toml, clock, Some(hand)).await
}

async fn is_there(broker: &TestBroker, tenant: &Tenant, id: &str) -> bool {
    let request = v1::GetChallengeRequest {
        challenge_id: id.into(),
    };
    match broker.approvals(tenant).get_challenge(request).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(reason(&status), "NOT_FOUND");
            false
        }
    }
}

/// Asks again and again until it has left.
async fn gone(broker: &TestBroker, tenant: &Tenant, id: &str) {
    in_time(async {
        while is_there(broker, tenant, id).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_decided_challenge_leaves_after_its_time() {
    let broker = start("[retention]\nchallenges = '2h'\n").await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let request = sign_in("tom");
    let mut approvals = broker.approvals(&tenant);
    let asked = approvals.create_challenge(request.clone()).await.unwrap();
    let asked = asked.into_inner().challenge.unwrap().challenge_id;
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Approve, "")
        .await
        .unwrap();
    broker.pass(HOUR);
    let young = broker.ask(&tenant, "nobody").await.challenge_id;
    // As long as it is there the same request gets no other.
    let again = approvals.create_challenge(request.clone()).await;
    let refused = again.unwrap_err();
    assert_eq!(countersign_tests::reason(&refused), "REQUEST_ID_REUSED");
    broker.pass(HOUR + Duration::from_millis(1));
    gone(&broker, &tenant, &asked).await;
    assert!(is_there(&broker, &tenant, &young).await);
    let again = approvals.create_challenge(request).await.unwrap();
    assert_ne!(again.into_inner().challenge.unwrap().challenge_id, asked);
    // What happened stays on record.
    let request = v1::ListAuditEntriesRequest {
        object: asked,
        ..v1::ListAuditEntriesRequest::default()
    };
    let (entries, _) = list(&mut broker.admin(), request).await;
    assert_eq!(entries.len(), 2);
    // And the phone is as it was.
    assert_eq!(broker.authenticators(&tenant, "tom").await.len(), 1);
}

#[tokio::test]
async fn a_ticket_leaves_after_its_time() {
    let broker = start("[retention]\ntickets = '1h'\n").await;
    let tenant = broker.tenant().await;
    let ticket = broker.ticket(&tenant, "tom").await;
    let wait = || {
        let mut enrollments = broker.enrollments(&tenant);
        let request = v1::WaitEnrollmentRequest {
            enrollment_id: ticket.enrollment_id.clone(),
            timeout: Some(prost_types::Duration::default()),
        };
        async move { enrollments.wait_enrollment(request).await }
    };
    wait().await.unwrap();
    // Ten minutes of life, one hour after it.
    broker.pass(HOUR + Duration::from_secs(601));
    in_time(async {
        loop {
            if let Err(status) = wait().await {
                assert_eq!(reason(&status), "NOT_FOUND");
                return;
            }
        }
    })
    .await;
    broker.phone(&tenant, "tom").await;
}

/// Stopped in the middle, it goes on where it was.
#[tokio::test]
async fn a_restart_in_the_middle() {
    let mut broker = start("[retention]\nchallenges = '1h'\n").await;
    let tenant = broker.tenant().await;
    let mut ids = Vec::new();
    for _ in 0..400 {
        // Nobody to ask: decided at once.
        ids.push(broker.ask(&tenant, "nobody").await.challenge_id);
    }
    broker.pass(HOUR * 2);
    broker.restart().await;
    broker.restart().await;
    for id in &ids {
        gone(&broker, &tenant, id).await;
    }
    let request = v1::ListAuditEntriesRequest {
        action: "challenges.removed".into(),
        ..v1::ListAuditEntriesRequest::default()
    };
    let (entries, _) = list(&mut broker.admin(), request).await;
    let removed = entries
        .iter()
        .map(|entry| entry.object.parse::<usize>().unwrap());
    assert_eq!(removed.sum::<usize>(), 400, "none twice");
}

/// Old entries of the audit trail leave; what stays is still verified, from the
/// head that was signed for what left.
#[tokio::test]
async fn the_audit_trail_gets_shorter_and_stays_whole() {
    let mut broker = start("[retention]\naudit = '2h'\n").await;
    let tenant = broker.tenant().await;
    let (key, _) = broker.api_key(&tenant.id, v1::Role::Admin).await;
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        broker.ticket(&tenant, "tom").await;
    }
    // An export has a head signed for its end.
    let before = export(&broker, &key, dir.path(), "before").await;
    broker.pass(HOUR);
    broker.ticket(&tenant, "ann").await;
    broker.pass(HOUR * 3 / 2);
    broker.restart().await;
    let first = || async {
        let request = v1::ListAuditEntriesRequest::default();
        let (entries, _) = list(&mut broker.admin(), request).await;
        entries[0].sequence
    };
    in_time(async {
        while first().await == 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (mine, _) = list(
        &mut admin_with(&broker, &key),
        v1::ListAuditEntriesRequest::default(),
    )
    .await;
    let about: Vec<_> = mine.iter().map(|entry| entry.user_id.as_str()).collect();
    assert_eq!(about, ["ann"]);
    let after = export(&broker, &key, dir.path(), "after").await;
    let (code, said, error) = verify(&broker, &after).await;
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
    assert!(
        said.contains("had left by age; a signed head vouches for them"),
        "{said}"
    );
    // The older export is as good as ever.
    assert_eq!(verify(&broker, &before).await.0, 0);
    // Nobody can say of more that it has left: the start of the older one cut off.
    let text = std::fs::read_to_string(&after).unwrap();
    let without_head: Vec<&str> = text
        .lines()
        .enumerate()
        .filter(|(n, _)| *n != 1)
        .map(|(_, line)| line)
        .collect();
    std::fs::write(dir.path().join("cut"), without_head.join("\n")).unwrap();
    let (code, said, _) = verify(&broker, &dir.path().join("cut")).await;
    assert_eq!(code, 1);
    assert!(said.contains("are missing before this"), "{said}");
}
