//! `WatchEvents`: each event once, in order, from any place.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, EventType as T, LockReason, OnReport,
};
use countersign_server::clock::Clock;
use countersign_tests::{START_MS, TestBroker, field, in_time, reason};
use tonic::Code;

use super::{Follower, answered, remove, rules, unlock, watch};

#[tokio::test]
async fn what_happens_is_told_from_any_place_also_after_a_restart() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant_with(rules(OnReport::Lock)).await;
    let other = broker.tenant().await;
    let mut follower = Follower::now(&broker, &tenant).await;
    let mut foreign = Follower::now(&broker, &other).await;
    let start = follower.token.clone();
    let mut places = vec![start.clone()];

    let phone = broker.phone(&tenant, "tom").await;
    let approved = answered(&broker, &tenant, &phone, Decision::Approve).await;
    broker.phone(&other, "ann").await;
    let cancelled = broker.ask(&tenant, "tom").await;
    let request = v1::CancelChallengeRequest {
        challenge_id: cancelled.challenge_id.clone(),
    };
    broker
        .approvals(&tenant)
        .cancel_challenge(request)
        .await
        .unwrap();
    let reported = answered(&broker, &tenant, &phone, Decision::ReportFraud).await;
    unlock(&broker, &tenant, "tom").await;
    // Nothing to unlock: nothing happened.
    unlock(&broker, &tenant, "tom").await;
    remove(&broker, &tenant, &phone).await;

    let mut events = Vec::new();
    for _ in 0..7 {
        events.push(follower.event().await);
        places.push(follower.token.clone());
    }
    let time = events[0].time;
    assert!(time.is_some());
    let blank = v1::Event {
        time,
        user_id: "tom".into(),
        ..v1::Event::default()
    };
    let device = |kind: T| v1::Event {
        r#type: kind.into(),
        authenticator_id: phone.device_id().into(),
        authenticator_type: v1::AuthenticatorType::Device.into(),
        ..blank.clone()
    };
    let end = |kind: T, id: &str, state: S, reason: R, by: &str| v1::Event {
        r#type: kind.into(),
        challenge_id: id.into(),
        state: state.into(),
        reason: reason.into(),
        device_id: by.into(),
        ..blank.clone()
    };
    let by = phone.device_id();
    let ours = [
        device(T::Enrolled),
        end(T::Decided, approved.id(), S::Approved, R::UserApproved, by),
        end(
            T::Decided,
            &cancelled.challenge_id,
            S::Cancelled,
            R::CancelledByCaller,
            "",
        ),
        end(T::Reported, reported.id(), S::Denied, R::FraudReported, by),
        v1::Event {
            r#type: T::Locked.into(),
            lock_reason: LockReason::FraudReported.into(),
            ..blank.clone()
        },
        v1::Event {
            r#type: T::Unlocked.into(),
            ..blank.clone()
        },
        device(T::Removed),
    ];
    assert_eq!(events, ours);
    assert_eq!(foreign.types(1).await, [T::Enrolled]);

    for again in 0..2 {
        for (seen, place) in places.iter().enumerate() {
            let mut late = Follower::from(&broker, &tenant, place).await;
            assert_eq!(late.rest().await, events[seen..], "from {place}, {again}");
        }
        // A place of another organisation's leads to nothing of theirs.
        let mut foreign = Follower::from(&broker, &other, &start).await;
        assert_eq!(foreign.rest().await.len(), 1);
        broker.restart().await;
    }
    // Of some kinds only.
    let request = v1::WatchEventsRequest {
        resume_token: start,
        types: vec![T::Locked.into(), T::Removed.into()],
    };
    let stream = broker
        .approvals(&tenant)
        .watch_events(request)
        .await
        .unwrap();
    let mut some = Follower {
        stream: stream.into_inner(),
        token: String::new(),
    };
    assert_eq!(some.types(2).await, [T::Locked, T::Removed]);
    assert_eq!(some.next().await, None);
}

/// Many things happen at once, and who follows loses the connection all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_missed_or_told_twice() {
    const USERS: usize = 12;
    const EACH: usize = 6;
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let noise = broker.tenant().await;
    let start = Follower::now(&broker, &tenant).await.token;
    let shared = Arc::new(tokio::sync::Barrier::new(USERS));
    let mut busy = tokio::task::JoinSet::new();
    for user in 0..USERS {
        let (approvals, shared) = (broker.approvals(&tenant), shared.clone());
        let noisy = broker.approvals(&noise);
        busy.spawn(async move {
            shared.wait().await;
            for n in 0..EACH {
                // Nobody can be asked: decided at once.
                let ask = countersign_tests::sign_in(&format!("tom{user}-{n}"));
                approvals.clone().create_challenge(ask).await.unwrap();
                let ask = countersign_tests::sign_in("ann");
                noisy.clone().create_challenge(ask).await.unwrap();
            }
        });
    }
    let mut seen = Vec::new();
    let mut token = start.clone();
    while seen.len() < USERS * EACH {
        let mut follower = Follower::from(&broker, &tenant, &token).await;
        // Each connection lasts for a few events only.
        for _ in 0..5 {
            if seen.len() == USERS * EACH {
                break;
            }
            seen.push(follower.event().await);
            token = follower.token.clone();
        }
    }
    busy.join_all().await;
    let ids: BTreeSet<_> = seen
        .iter()
        .map(|event| event.challenge_id.clone())
        .collect();
    assert_eq!(ids.len(), USERS * EACH);
    broker.restart().await;
    let all = Follower::from(&broker, &tenant, &start).await.rest().await;
    assert_eq!(all, seen);
    let rest = Follower::from(&broker, &tenant, &token).await.rest().await;
    assert_eq!(rest, []);
}

#[tokio::test]
async fn a_place_that_is_gone_or_never_was_is_refused() {
    let (clock, hand) = Clock::manual(START_MS);
    let toml = "[retention]\naudit = '1d'\n";
    let mut broker = TestBroker::start_with(toml, clock, Some(hand)).await;
    let tenant = broker.tenant().await;
    let refused = |token: String| {
        let (broker, tenant) = (&broker, &tenant);
        async move {
            let mut stream = watch(broker, tenant, &token).await?;
            in_time(stream.message()).await.map(drop)
        }
    };
    for bad in [
        "x",
        "1",
        "1.x",
        "1.2.3",
        "1.2-",
        " 1.2",
        "1.02",
        &"1".repeat(300),
    ] {
        let status = refused(bad.into()).await.unwrap_err();
        assert_eq!(field(&status), "resume_token", "{bad}");
    }
    for unknown in ["1.99999999", "7.0", "1.1-7.0"] {
        let status = refused(unknown.into()).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{unknown}");
        assert_eq!(reason(&status), "EVENTS_GONE", "{unknown}");
    }
    let old = Follower::now(&broker, &tenant).await.token;
    broker.phone(&tenant, "tom").await;
    assert!(refused(old.clone()).await.is_ok());
    // Two days later what happened has left, and the place with it.
    let day = Duration::from_secs(86_400);
    broker.pass(2 * day);
    in_time(async {
        while refused(old.clone()).await.is_ok() {
            // Entries leave once a head after them is signed.
            broker.pass(Duration::from_secs(3600));
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        reason(&refused(old.clone()).await.unwrap_err()),
        "EVENTS_GONE"
    );
    broker.restart().await;
    let mut stream = watch(&broker, &tenant, &old).await.unwrap();
    let status = in_time(stream.message()).await.unwrap_err();
    assert_eq!(reason(&status), "EVENTS_GONE");
    // A new place is as good as ever.
    let mut follower = Follower::now(&broker, &tenant).await;
    broker.phone(&tenant, "tom").await;
    assert_eq!(follower.types(1).await, [T::Enrolled]);
}

#[tokio::test]
async fn a_sign_of_life_and_the_end_of_a_key() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let mut follower = Follower::now(&broker, &tenant).await;
    let before = follower.token.clone();
    // Something of others: the place moves on all the same.
    broker.tenant().await;
    {
        let life = follower.next();
        tokio::pin!(life);
        let told = in_time(async {
            loop {
                broker.pass(Duration::from_secs(31));
                tokio::select! {
                    told = &mut life => return told,
                    () = tokio::task::yield_now() => {}
                }
            }
        });
        assert_eq!(told.await, None);
    }
    assert_ne!(follower.token, before);

    let request = v1::RevokeApiKeyRequest {
        api_key_id: tenant.api_key_id.clone(),
    };
    broker.admin().revoke_api_key(request).await.unwrap();
    broker
        .admin()
        .reset_user(v1::ResetUserRequest {
            tenant_id: tenant.id.clone(),
            user_id: "tom".into(),
        })
        .await
        .unwrap();
    // The hand of the clock was turned far: more signs of life may come before.
    let status = loop {
        match in_time(follower.stream.message()).await {
            Ok(answer) => assert!(answer.is_some(), "ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&status), "BAD_CREDENTIALS");
}
