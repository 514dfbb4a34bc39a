//! Pushes intended, given out and done with.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::task::JoinSet;

use super::{Place, fixture::*};
use crate::{
    domain::{
        challenge::{DeliveryState, Event, Final, Reason},
        device::PushGateway as G,
        ids::PushId,
        push::{PushJob, PushKind},
    },
    store::{PushResult, TokenVerdict},
};

pub(in crate::store) fn delivered() -> PushResult {
    PushResult::Finished {
        delivery: Some((DeliveryState::Accepted, String::new())),
        token: TokenVerdict::Fine,
        taken: true,
    }
}

/// Several look at the outbox while others finish what they took.
pub(in crate::store) async fn a_push_is_never_given_twice(place: &dyn Place) {
    const JOBS: usize = 2000;
    let store = place.open().await;
    let tenant = tenant_id();
    let mut asking = JoinSet::new();
    for n in 0..JOBS / 10 {
        let store = store.clone();
        asking.spawn(async move {
            let tom = user(&format!("tom{n}"));
            let phone = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
            let mut new = question(tenant, &tom, &phone, second(2));
            let push = new.pushes[0].clone();
            new.pushes.extend((1..10).map(|_| PushJob {
                id: PushId::new(START, &random()),
                ..push.clone()
            }));
            store.create(new).await.unwrap();
        });
    }
    asking.join_all().await;
    let done = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let (store, done) = (store.clone(), done.clone());
        workers.spawn(async move {
            let mut taken = Vec::new();
            while done.load(Ordering::SeqCst) < JOBS {
                let jobs = store.claim_pushes(G::Fcm, second(3), 7).await.unwrap();
                for job in jobs {
                    taken.push(job.id);
                    done.fetch_add(1, Ordering::SeqCst);
                    store
                        .finish_push(job, delivered(), None, second(3))
                        .await
                        .unwrap();
                }
                tokio::task::yield_now().await;
            }
            taken
        });
    }
    // Commits come as fast as they can, so that looks meet them.
    while done.load(Ordering::SeqCst) < JOBS {
        catch_up(&store).await;
    }
    let mut times = HashMap::new();
    for id in workers.join_all().await.into_iter().flatten() {
        *times.entry(id).or_insert(0) += 1;
    }
    assert_eq!(times.len(), JOBS);
    assert!(times.values().all(|n| *n == 1), "given twice");
    catch_up(&store).await;
    assert_eq!(store.claim_pushes(G::Fcm, second(9), 9).await.unwrap(), []);
    assert_eq!(store.next_push(G::Fcm).await.unwrap(), None);
}

pub(in crate::store) async fn a_push_comes_again_at_its_time(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phone = [enrolled(&store, tenant, &tom, Some(G::Apns)).await];
    let mut new = question(tenant, &tom, &phone, second(2));
    new.pushes[0].due = second(4);
    let push = new.pushes[0].clone();
    store.create(new).await.unwrap();
    assert_eq!(store.next_push(G::Apns).await.unwrap(), Some(second(4)));
    assert_eq!(store.claim_pushes(G::Apns, second(3), 9).await.unwrap(), []);
    let given = store.claim_pushes(G::Apns, second(4), 9).await.unwrap();
    assert_eq!(given, std::slice::from_ref(&push));
    assert_eq!(store.next_push(G::Apns).await.unwrap(), None);
    assert_eq!(store.claim_pushes(G::Apns, second(5), 9).await.unwrap(), []);
    let again = PushResult::Again {
        due: second(8),
        perhaps_sent: false,
    };
    store
        .finish_push(given[0].clone(), again, None, second(5))
        .await
        .unwrap();
    catch_up(&store).await;
    assert_eq!(store.next_push(G::Apns).await.unwrap(), Some(second(8)));
    assert_eq!(store.claim_pushes(G::Apns, second(7), 9).await.unwrap(), []);
    let given = store.claim_pushes(G::Apns, second(8), 9).await.unwrap();
    assert_eq!(given.len(), 1);
    assert_eq!((given[0].id, given[0].attempts), (push.id, 1));
    let asked = given[0].challenge;
    store
        .finish_push(given[0].clone(), delivered(), None, second(9))
        .await
        .unwrap();
    catch_up(&store).await;
    assert_eq!(store.next_push(G::Apns).await.unwrap(), None);
    let found = store.challenge(tenant, asked).await.unwrap().unwrap().0;
    assert_eq!(found.deliveries[0].state, DeliveryState::Accepted);
    assert_eq!(found.deliveries[0].update_time, second(9));
}

pub(in crate::store) async fn gateways_do_not_share(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phones = [
        enrolled(&store, tenant, &tom, Some(G::Apns)).await,
        enrolled(&store, tenant, &tom, Some(G::Fcm)).await,
        enrolled(&store, tenant, &tom, None).await,
    ];
    ask(&store, tenant, &tom, &phones, second(2)).await;
    for (gateway, device) in [(G::Apns, phones[0].id), (G::Fcm, phones[1].id)] {
        let jobs = store.claim_pushes(gateway, second(2), 9).await.unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!((jobs[0].device, jobs[0].gateway), (device, gateway));
    }
}

/// Phones that were pushed a prompt are told of its end, except the one that
/// answered and those that could not be reached.
pub(in crate::store) async fn an_ended_challenge_is_withdrawn(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let mut phones = Vec::new();
    for _ in 0..3 {
        phones.push(enrolled(&store, tenant, &tom, Some(G::Apns)).await);
    }
    phones.push(enrolled(&store, tenant, &tom, None).await);
    let asked = ask(&store, tenant, &tom, &phones, second(2)).await;
    for job in store.claim_pushes(G::Apns, second(2), 9).await.unwrap() {
        let result = if job.device == phones[2].id {
            PushResult::Finished {
                delivery: Some((DeliveryState::Failed, "BadTopic".into())),
                token: TokenVerdict::Fine,
                taken: false,
            }
        } else {
            delivered()
        };
        store
            .finish_push(job, result, None, second(3))
            .await
            .unwrap();
    }
    catch_up(&store).await;
    let approve = crate::domain::response::Choice::Approve;
    decide(&store, &asked, answer(&phones[0], approve), second(4)).await;
    decide(&store, &asked, Event::Cancel, second(5)).await;
    let jobs = store.claim_pushes(G::Apns, second(5), 9).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (jobs[0].kind, jobs[0].device, jobs[0].challenge),
        (PushKind::Withdraw, phones[1].id, asked.id)
    );
}

fn finished(delivery: Option<DeliveryState>, taken: bool) -> PushResult {
    PushResult::Finished {
        delivery: delivery.map(|state| (state, "BadTopic".to_owned())),
        token: TokenVerdict::Fine,
        taken,
    }
}

/// A prompt that the gateway took, or may have taken, only after the challenge
/// had ended is withdrawn then; one that it certainly did not take is not.
pub(in crate::store) async fn a_prompt_that_comes_too_late_is_withdrawn(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let mut phones = Vec::new();
    for _ in 0..4 {
        phones.push(enrolled(&store, tenant, &tom, Some(G::Apns)).await);
    }
    let asked = ask(&store, tenant, &tom, &phones, second(2)).await;
    let under_way = store.claim_pushes(G::Apns, second(2), 9).await.unwrap();
    assert_eq!(under_way.len(), 4);
    decide(&store, &asked, Event::Cancel, second(3)).await;
    assert_eq!(store.claim_pushes(G::Apns, second(3), 9).await.unwrap(), []);
    for job in under_way {
        let place = phones.iter().position(|phone| phone.id == job.device);
        let result = match place.unwrap() {
            0 => delivered(),
            1 => finished(Some(DeliveryState::Failed), false),
            // By a process that came to its end before it could tell.
            2 => finished(None, true),
            _ => finished(None, false),
        };
        let end = store.finish_push(job, result, None, second(4)).await;
        assert_eq!(end, Ok(None));
    }
    catch_up(&store).await;
    let jobs = store.claim_pushes(G::Apns, second(4), 9).await.unwrap();
    assert!(jobs.iter().all(|job| job.kind == PushKind::Withdraw));
    let mut told: Vec<_> = jobs.iter().map(|job| job.device).collect();
    let mut wanted = [phones[0].id, phones[2].id];
    told.sort();
    wanted.sort();
    assert_eq!(told, wanted);
}

/// The last prompt's failure ends a challenge in the same step, if nobody
/// listens; not while one prompt may have arrived.
pub(in crate::store) async fn the_last_failure_ends_it(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    for (heard, taken) in [(false, false), (false, true), (true, false)] {
        let tom = user(&format!("tom {heard} {taken}"));
        let phones = [
            enrolled(&store, tenant, &tom, Some(G::Apns)).await,
            enrolled(&store, tenant, &tom, Some(G::Apns)).await,
        ];
        let asked = ask(&store, tenant, &tom, &phones, second(2)).await;
        let mut ended = Vec::new();
        for (n, job) in store
            .claim_pushes(G::Apns, second(2), 9)
            .await
            .unwrap()
            .into_iter()
            .enumerate()
        {
            let result = finished(Some(DeliveryState::Failed), taken && n == 0);
            let key = (!heard).then(|| RECEIPT_KEY.to_owned());
            ended.push(
                store
                    .finish_push(job, result, key, second(3))
                    .await
                    .unwrap(),
            );
        }
        catch_up(&store).await;
        let found = stored(&store, &asked).await;
        let failed = |d: &crate::domain::challenge::Delivery| d.state == DeliveryState::Failed;
        assert!(found.deliveries.iter().all(failed));
        if heard || taken {
            assert_eq!((ended, &found.outcome), (vec![None, None], &None));
            continue;
        }
        assert_eq!(ended, [None, Some(found.clone())]);
        let outcome = found.outcome.unwrap();
        assert_eq!(
            (outcome.state, outcome.reason, outcome.decide_time),
            (Final::Denied, Reason::Unreachable, second(3))
        );
        assert_eq!(store.claim_pushes(G::Apns, second(9), 9).await.unwrap(), []);
    }
}
