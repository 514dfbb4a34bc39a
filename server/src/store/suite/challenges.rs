//! One question, one decision.

use tokio::task::JoinSet;

use super::{Place, fixture::*};
use crate::{
    domain::{
        challenge::{DeliveryState as D, Event, Final, Reason},
        device::PushGateway,
        response::Choice,
    },
    store::{Created, Decided, PushResult, Removed, TokenVerdict},
};

pub(in crate::store) async fn of_many_events_one_decides(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let mut events = JoinSet::new();
    let mut asked = Vec::new();
    for n in 0..40 {
        let tom = user(&format!("tom{n}"));
        let mut devices = Vec::new();
        for _ in 0..3 {
            devices.push(enrolled(&store, tenant, &tom, None).await);
        }
        asked.push((
            ask(&store, tenant, &tom, &devices, second(2)).await,
            devices,
        ));
    }
    for (challenge, devices) in &asked {
        let late = challenge.expire_time;
        let tries = [
            (answer(&devices[0], Choice::Approve), second(3)),
            (answer(&devices[1], Choice::Deny), second(3)),
            (answer(&devices[2], Choice::ReportFraud), second(4)),
            (answer(&devices[0], Choice::Deny), second(4)),
            (Event::Cancel, second(5)),
            (Event::Tick, late),
            (answer(&devices[1], Choice::Approve), late),
            (Event::Tick, second(6)),
        ];
        for (event, now) in tries {
            let (store, challenge) = (store.clone(), challenge.clone());
            events.spawn(async move {
                let is_tick = event == Event::Tick;
                (
                    decide(&store, &challenge, event, now).await,
                    is_tick && now < late,
                )
            });
        }
    }
    let mut recorded = std::collections::HashMap::new();
    let mut told = Vec::new();
    while let Some(done) = events.join_next().await {
        match done.unwrap() {
            (Decided::Recorded(challenge), _) => {
                let before = recorded.insert(challenge.id, challenge);
                assert_eq!(before, None, "decided twice");
            }
            (Decided::Already(challenge) | Decided::Lapsed(challenge), early_tick) => {
                // The tick that came before the time was up may have found it pending.
                if challenge.outcome.is_some() || !early_tick {
                    told.push(challenge);
                }
            }
            // Approved before, and so it stays.
            (Decided::Revoked { challenge, .. } | Decided::ReportedLate { challenge, .. }, _) => {
                told.push(challenge);
            }
            (Decided::NotFound | Decided::PromptExpired, _) => panic!("not found"),
        }
    }
    for challenge in told {
        // An answer after the end is told that time was up, though no event
        // asked for that: then nothing was `Recorded`.
        let decision = recorded.entry(challenge.id).or_insert(challenge.clone());
        assert_eq!(decision.outcome, challenge.outcome);
    }
    for (challenge, _) in &asked {
        let end = stored(&store, challenge).await;
        assert!(end.outcome.is_some());
        assert_eq!(Some(&end), recorded.get(&challenge.id));
        assert!(
            open_ids(&store, tenant, &challenge.user, second(3))
                .await
                .is_empty()
        );
    }
    assert_eq!(recorded.len(), asked.len());
    assert_eq!(store.next_expiry().await.unwrap(), None);
}

pub(in crate::store) async fn nothing_is_decided_for_another_organisation(place: &dyn Place) {
    let store = place.open().await;
    let (own, other) = (tenant_id(), tenant_id());
    let tom = user("tom");
    let phone = enrolled(&store, own, &tom, None).await;
    let asked = ask(&store, own, &tom, std::slice::from_ref(&phone), second(2)).await;
    assert_eq!(store.challenge(other, asked.id).await.unwrap(), None);
    let mut theirs = asked.clone();
    theirs.tenant = other;
    for event in [
        Event::Cancel,
        Event::Tick,
        answer(&phone, Choice::Approve),
        Event::Supersede,
    ] {
        let decided = decide(&store, &theirs, event, second(3)).await;
        assert_eq!(decided, Decided::NotFound);
    }
    assert!(open_ids(&store, other, &tom, second(3)).await.is_empty());
    assert_eq!(stored(&store, &asked).await, asked);
}

pub(in crate::store) async fn only_a_device_that_was_asked_decides(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let (tom, ann) = (user("tom"), user("ann"));
    let asked_phone = enrolled(&store, tenant, &tom, None).await;
    let other_phone = enrolled(&store, tenant, &tom, None).await;
    let anns = enrolled(&store, tenant, &ann, None).await;
    let asked = ask(
        &store,
        tenant,
        &tom,
        std::slice::from_ref(&asked_phone),
        second(2),
    )
    .await;
    let mut rekeyed = asked_phone.clone();
    rekeyed.public_key = other_phone.public_key.clone();
    for phone in [&other_phone, &anns, &stranger(None), &rekeyed] {
        let decided = decide(&store, &asked, answer(phone, Choice::Approve), second(3)).await;
        assert_eq!(decided, Decided::NotFound);
    }
    assert_eq!(stored(&store, &asked).await, asked);
    let decided = decide(
        &store,
        &asked,
        answer(&asked_phone, Choice::Approve),
        second(3),
    )
    .await;
    let Decided::Recorded(ended) = decided else {
        panic!("{decided:?}")
    };
    let end = ended.outcome.as_ref().unwrap();
    assert_eq!(
        (end.state, end.reason),
        (Final::Approved, Reason::UserApproved)
    );
    assert_eq!(stored(&store, &asked).await, ended);
    let device = store.device(asked_phone.id).await.unwrap().unwrap();
    assert_eq!(device.last_used_time, Some(second(3)));
}

pub(in crate::store) async fn a_superseded_challenge_or_an_answered_one(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    for n in 0..40 {
        let tom = user(&format!("tom{n}"));
        let phone = [enrolled(&store, tenant, &tom, None).await];
        let first = ask(&store, tenant, &tom, &phone, second(2)).await;
        let next = question(tenant, &tom, &phone, second(3));
        let next_id = next.challenge.id;
        let (made, decided) = tokio::join!(
            store.create(next),
            decide(
                &store,
                &first,
                answer(&phone[0], Choice::Approve),
                second(3)
            ),
        );
        let Created::New { superseded, .. } = made.unwrap() else {
            panic!("refused")
        };
        let end = outcome(&store, &first).await;
        match decided {
            Decided::Recorded(_) => {
                assert_eq!(superseded, []);
                assert_eq!(end.state, Final::Approved);
            }
            Decided::Already(told) | Decided::Lapsed(told) => {
                assert_eq!(superseded, [told]);
                assert_eq!(
                    (end.state, end.reason),
                    (Final::Cancelled, Reason::Superseded)
                );
            }
            Decided::NotFound
            | Decided::PromptExpired
            | Decided::ReportedLate { .. }
            | Decided::Revoked { .. } => {
                panic!("{decided:?}")
            }
        }
        assert_eq!(
            open_ids(&store, tenant, &tom, second(4)).await,
            [next_id].into()
        );
    }
}

pub(in crate::store) async fn a_removed_device_or_an_answer(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    for n in 0..40 {
        let tom = user(&format!("tom{n}"));
        let phone = enrolled(&store, tenant, &tom, Some(PushGateway::Fcm)).await;
        let asked = ask(
            &store,
            tenant,
            &tom,
            std::slice::from_ref(&phone),
            second(2),
        )
        .await;
        let (removed, decided) = tokio::join!(
            store.remove_device(
                tenant,
                tom.clone(),
                phone.id,
                second(3),
                RECEIPT_KEY.into(),
                by()
            ),
            decide(&store, &asked, answer(&phone, Choice::Approve), second(3)),
        );
        let Removed::Done { ended, dropped } = removed.unwrap() else {
            panic!("not found")
        };
        assert_eq!(dropped, []);
        let end = outcome(&store, &asked).await;
        match decided {
            Decided::Recorded(told) => {
                assert_eq!(ended, []);
                assert_eq!(told.outcome, Some(end.clone()));
                assert_eq!(end.state, Final::Approved);
            }
            Decided::NotFound => {
                assert_eq!(ended.len(), 1);
                assert_eq!(
                    (end.state, end.reason),
                    (Final::Denied, Reason::Unreachable)
                );
            }
            Decided::Already(_)
            | Decided::Lapsed(_)
            | Decided::PromptExpired
            | Decided::ReportedLate { .. }
            | Decided::Revoked { .. } => {
                panic!("a removed device was told of a challenge")
            }
        }
        let again = decide(&store, &asked, answer(&phone, Choice::Deny), second(4)).await;
        assert_eq!(again, Decided::NotFound);
        assert_eq!(outcome(&store, &asked).await, end);
        assert_eq!(store.device(phone.id).await.unwrap(), None);
    }
}

pub(in crate::store) async fn removal_leaves_what_others_can_answer(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let both = [
        enrolled(&store, tenant, &tom, None).await,
        enrolled(&store, tenant, &tom, None).await,
    ];
    let asked = ask(&store, tenant, &tom, &both, second(2)).await;
    let remove =
        |id| store.remove_device(tenant, tom.clone(), id, second(3), RECEIPT_KEY.into(), by());
    let removed = remove(both[0].id).await.unwrap();
    assert_eq!(
        removed,
        Removed::Done {
            ended: vec![],
            dropped: vec![asked.id]
        }
    );
    assert_eq!(remove(both[0].id).await.unwrap(), Removed::NotFound);
    let left = stored(&store, &asked).await;
    assert_eq!(left.outcome, None);
    assert_eq!(left.deliveries, asked.deliveries[1..]);
    let Removed::Done { ended, .. } = remove(both[1].id).await.unwrap() else {
        panic!("not found")
    };
    assert_eq!(ended, [stored(&store, &asked).await]);
    assert!(store.devices_of(tenant, &tom).await.unwrap().is_empty());
}

pub(in crate::store) async fn progress_never_goes_back_nor_changes_a_decision(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phone = [enrolled(&store, tenant, &tom, None).await];
    let asked = ask(&store, tenant, &tom, &phone, second(2)).await;
    let device = phone[0].id;
    for (state, now, wanted) in [
        (D::Fetched, second(3), (D::Fetched, second(3))),
        (D::Accepted, second(4), (D::Fetched, second(3))),
        (D::Failed, second(5), (D::Fetched, second(3))),
        (D::Shown, second(6), (D::Shown, second(6))),
        (D::Shown, second(7), (D::Shown, second(6))),
    ] {
        store
            .note_delivery(tenant, asked.id, device, state, now)
            .await
            .unwrap();
        let found = stored(&store, &asked).await.deliveries.remove(0);
        assert_eq!((found.state, found.update_time), wanted);
    }
    decide(&store, &asked, Event::Cancel, second(8)).await;
    let ended = stored(&store, &asked).await;
    store
        .note_delivery(tenant, asked.id, device, D::Answered, second(9))
        .await
        .unwrap();
    store
        .note_delivery_soon(tenant, asked.id, device, D::Answered, second(9))
        .unwrap();
    catch_up(&store).await;
    assert_eq!(stored(&store, &asked).await, ended);
}

/// What a gateway says is kept, but can't outgrow the challenge it is noted in.
pub(in crate::store) async fn a_gateways_long_reason_fits(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let mut phones = Vec::new();
    for _ in 0..10 {
        phones.push(enrolled(&store, tenant, &tom, Some(PushGateway::Apns)).await);
    }
    let asked = ask(&store, tenant, &tom, &phones, second(2)).await;
    let jobs = store
        .claim_pushes(PushGateway::Apns, second(2), 100)
        .await
        .unwrap();
    assert_eq!(jobs.len(), 10);
    for job in jobs {
        let result = PushResult::Finished {
            delivery: Some((D::Failed, "é".repeat(1500))),
            token: TokenVerdict::Fine,
            taken: true,
        };
        store
            .finish_push(job, result, None, second(3))
            .await
            .unwrap();
    }
    catch_up(&store).await;
    for delivery in stored(&store, &asked).await.deliveries {
        assert_eq!(delivery.state, D::Failed);
        assert!(delivery.reason.starts_with("éééé"));
    }
    assert_eq!(store.next_push(PushGateway::Apns).await.unwrap(), None);
    // And there is still room for the answer.
    let body = answer(&phones[9], Choice::Approve);
    assert!(matches!(
        decide(&store, &asked, body, second(4)).await,
        Decided::Recorded(_)
    ));
}
