//! Time is up.

use std::time::Duration;

use super::{Place, fixture::*};
use crate::{
    domain::{
        challenge::{Challenge, Event, Final, Reason},
        device::PushGateway,
        response::Choice,
        time::Timestamp,
    },
    store::Decided,
};

fn is_expired(challenge: &Challenge) -> bool {
    challenge
        .outcome
        .as_ref()
        .is_some_and(|end| (end.state, end.reason) == (Final::Expired, Reason::TimedOut))
}

pub(in crate::store) async fn an_answer_or_the_end_of_time(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let mut approved = 0;
    for n in 0..60 {
        let tom = user(&format!("tom{n}"));
        let phone = [enrolled(&store, tenant, &tom, None).await];
        let asked = ask(&store, tenant, &tom, &phone, second(2)).await;
        let last_moment = asked.expire_time.before(Duration::from_millis(1));
        let in_time = decide(
            &store,
            &asked,
            answer(&phone[0], Choice::Approve),
            last_moment,
        );
        let sweep = store.expire_due(asked.expire_time, 10, RECEIPT_KEY.into());
        let (decided, swept) = if n % 2 == 0 {
            tokio::join!(in_time, sweep)
        } else {
            let (swept, decided) = tokio::join!(sweep, in_time);
            (decided, swept)
        };
        let swept = swept.unwrap();
        let end = stored(&store, &asked).await;
        match decided {
            Decided::Recorded(told) => {
                assert_eq!(swept, []);
                assert_eq!(told, end);
                approved += 1;
            }
            Decided::Already(told) | Decided::Lapsed(told) => {
                assert_eq!(swept, std::slice::from_ref(&end));
                assert_eq!(told, end);
                assert!(is_expired(&end));
            }
            Decided::NotFound
            | Decided::PromptExpired
            | Decided::ReportedLate { .. }
            | Decided::Revoked { .. } => {
                panic!("{decided:?}")
            }
        }
    }
    // Either can come first.
    assert!((1..60).contains(&approved), "{approved}");

    let tom = user("late");
    let phone = [enrolled(&store, tenant, &tom, None).await];
    let asked = ask(&store, tenant, &tom, &phone, second(2)).await;
    let late = decide(
        &store,
        &asked,
        answer(&phone[0], Choice::Approve),
        asked.expire_time,
    )
    .await;
    let Decided::Lapsed(told) = late else {
        panic!("{late:?}")
    };
    assert!(is_expired(&told));
    assert_eq!(stored(&store, &asked).await, told);
    let cancelled = decide(&store, &asked, Event::Cancel, second(3)).await;
    assert_eq!(cancelled, Decided::Already(told));
}

pub(in crate::store) async fn the_sweep_takes_the_earliest_first_and_no_more(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    assert_eq!(store.next_expiry().await.unwrap(), None);
    let mut asked = Vec::new();
    for n in [5, 3, 8, 1, 9, 2, 7] {
        let tom = user(&format!("tom{n}"));
        let phone = [enrolled(&store, tenant, &tom, None).await];
        asked.push(ask(&store, tenant, &tom, &phone, second(n)).await);
    }
    let end_of = |n: u64| second(n).after(TTL);
    let sweep = |now: Timestamp, limit| store.expire_due(now, limit, RECEIPT_KEY.into());
    let times = |ended: Vec<Challenge>| {
        assert!(ended.iter().all(is_expired));
        ended.iter().map(|c| c.expire_time).collect::<Vec<_>>()
    };
    assert_eq!(store.next_expiry().await.unwrap(), Some(end_of(1)));
    let early = end_of(1).before(Duration::from_millis(1));
    assert_eq!(sweep(early, 10).await.unwrap(), []);
    assert_eq!(sweep(end_of(7), 0).await.unwrap(), []);
    let ended = sweep(end_of(7), 3).await.unwrap();
    assert_eq!(times(ended), [end_of(1), end_of(2), end_of(3)]);
    assert_eq!(store.next_expiry().await.unwrap(), Some(end_of(5)));
    let ended = sweep(end_of(7), 3).await.unwrap();
    assert_eq!(times(ended), [end_of(5), end_of(7)]);
    assert_eq!(sweep(end_of(7), 3).await.unwrap(), []);
    assert_eq!(store.next_expiry().await.unwrap(), Some(end_of(8)));
    // One that was decided otherwise is no longer due.
    decide(&store, &asked[2], Event::Cancel, second(20)).await;
    assert_eq!(store.next_expiry().await.unwrap(), Some(end_of(9)));
    let ended = sweep(end_of(100), 9).await.unwrap();
    assert_eq!(times(ended), [end_of(9)]);
    assert_eq!(store.next_expiry().await.unwrap(), None);
}

/// A burst of sign-ins ends as a burst, withdrawals included.
pub(in crate::store) async fn many_may_end_at_once(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let crowd = 300;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..crowd {
        let store = store.clone();
        asking.spawn(async move {
            let tom = user(&format!("tom{n}"));
            let phones = [
                enrolled(&store, tenant, &tom, Some(PushGateway::Fcm)).await,
                enrolled(&store, tenant, &tom, Some(PushGateway::Fcm)).await,
            ];
            ask(&store, tenant, &tom, &phones, second(2)).await
        });
    }
    let asked = asking.join_all().await;
    let now = second(2).after(TTL);
    let mut left = crowd;
    while left > 0 {
        let ended = store
            .expire_due(now, 256, RECEIPT_KEY.into())
            .await
            .unwrap();
        assert!(ended.len() == left.min(256), "{} of {left}", ended.len());
        left -= ended.len();
    }
    for challenge in &asked {
        assert!(is_expired(&stored(&store, challenge).await));
    }
    assert_eq!(store.next_expiry().await.unwrap(), None);
}

/// Who comes upon an expired challenge has not decided it.
pub(in crate::store) async fn time_up_is_nobodys_doing(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let tom = user("tom");
    let phones = [
        enrolled(&store, tenant, &tom, None).await,
        enrolled(&store, tenant, &tom, None).await,
    ];
    let asked = ask(&store, tenant, &tom, &phones, second(2)).await;
    let now = asked.expire_time;
    assert!(open_ids(&store, tenant, &tom, now).await.is_empty());
    let removed = store
        .remove_device(
            tenant,
            tom.clone(),
            phones[0].id,
            now,
            RECEIPT_KEY.into(),
            by(),
        )
        .await
        .unwrap();
    let end = stored(&store, &asked).await;
    assert!(is_expired(&end));
    assert_eq!(end.deliveries, asked.deliveries);
    let crate::store::Removed::Done { ended, dropped } = removed else {
        panic!("not found")
    };
    assert_eq!((ended, dropped), (vec![end], vec![]));
}
