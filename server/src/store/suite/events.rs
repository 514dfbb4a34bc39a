//! Events of an organisation, approvals that are taken back, and notices to
//! devices.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Place, audit::sign, fixture::*};
use crate::{
    domain::{
        account::{AccountChange, LockReason},
        audit::Told,
        challenge::{Challenge, Event, Final, Reason},
        device::{Device, PushGateway as G},
        event::{TenantEvent, What},
        ids::{TenantId, UserId},
        notice::{KEPT_FOR, Kept},
        policy::{Fatigue, OnReport, Policy},
        push::{PushJob, PushKind},
        response::Choice,
        revocation::{SHOWN, SHOWN_FOR, WINDOW},
        text::Notice,
        time::Timestamp,
    },
    store::{Decided, Happened, Hint, Store},
};

async fn after(store: &Arc<dyn Store>, tenant: TenantId, place: u64, limit: usize) -> Happened {
    let chain = store.audit_chains().await.unwrap().remove(0);
    let found = store.events_after(tenant, chain.writer, place, limit).await;
    found.unwrap()
}

fn told(happened: &Happened) -> Vec<What> {
    let entries = happened.entries.iter();
    let told = entries.map(|entry| Told::read(&entry.content).unwrap());
    told.map(|told| TenantEvent::of(&told).unwrap().what)
        .collect()
}

/// Asks and lets `device` answer.
async fn answered(
    store: &Arc<dyn Store>,
    whose: (TenantId, &UserId),
    devices: &[Device],
    choice: Choice,
    now: Timestamp,
) -> Challenge {
    let asked = ask(store, whose.0, whose.1, devices, now).await;
    match decide(store, &asked, answer(&devices[0], choice), now).await {
        Decided::Recorded(challenge) => challenge,
        other => panic!("{other:?}"),
    }
}

pub(in crate::store) async fn each_organisation_has_its_own_events(place: &dyn Place) {
    let store = place.open().await;
    let (ours, theirs) = (tenant_id(), tenant_id());
    let tom = user("tom");
    let mut phones = Vec::new();
    for tenant in [ours, theirs, ours] {
        phones.push(enrolled(&store, tenant, &tom, None).await);
    }
    let approved = answered(
        &store,
        (ours, &tom),
        &phones[..1],
        Choice::Approve,
        second(2),
    )
    .await;
    answered(
        &store,
        (theirs, &tom),
        &phones[1..2],
        Choice::Deny,
        second(2),
    )
    .await;
    let all = after(&store, ours, 0, 99).await;
    let chain = store.audit_chains().await.unwrap().remove(0);
    assert_eq!((all.left, all.sequence), (0, chain.sequence));
    let seen = told(&all);
    assert_eq!(seen.len(), 3, "{seen:?}");
    let end = What::Decided {
        challenge: approved.id,
        state: Final::Approved,
        reason: Reason::UserApproved,
        device: None,
    };
    assert_eq!(seen[2], end, "the fixture's caller is an operator");
    // Page by page the same, also for somebody who reads again from the middle.
    let mut place_now = 0;
    for entry in &all.entries {
        let next = after(&store, ours, place_now, 1).await;
        assert_eq!(next.entries, std::slice::from_ref(entry));
        place_now = entry.sequence;
    }
    assert_eq!(after(&store, ours, place_now, 9).await.entries, []);
    assert_eq!(told(&after(&store, theirs, 0, 9).await).len(), 2);
    assert_eq!(after(&store, tenant_id(), 0, 9).await.entries, []);
    store.close().await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(after(&store, ours, 0, 99).await, all);
}

/// Many write; who follows by hints and places misses nothing.
pub(in crate::store) async fn no_event_is_missed_or_doubled(place: &dyn Place) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 25;
    let store = place.open().await;
    let tenant = organisation(&store, Policy::default()).await;
    let (tell, mut news) = tokio::sync::mpsc::unbounded_channel();
    store.listen(Arc::new(move |hint| {
        if matches!(hint, Hint::Events(of) if of == tenant) {
            tell.send(()).ok();
        }
    }));
    for n in 0..WRITERS {
        let store = store.clone();
        tokio::spawn(async move {
            let tom = user(&format!("tom{n}"));
            for at in 1..=EACH {
                for step in [
                    AccountChange::Lock(LockReason::Operator),
                    AccountChange::Unlock,
                ] {
                    change(&store, tenant, &tom, step, second(at)).await;
                }
            }
        });
    }
    let (mut seen, mut place_now) = (Vec::new(), 0);
    while seen.len() < usize::try_from(WRITERS * EACH * 2).unwrap() {
        news.recv().await.unwrap();
        loop {
            let found = after(&store, tenant, place_now, 3).await;
            seen.extend(found.entries.iter().map(|entry| entry.sequence));
            place_now = match found.entries.last() {
                Some(last) => last.sequence,
                None => found.sequence,
            };
            if found.entries.is_empty() {
                break;
            }
        }
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
    assert!(seen.is_sorted());
}

pub(in crate::store) async fn events_leave_with_their_entries(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, Policy::default()).await;
    let tom = user("tom");
    let switch = |lock, at| {
        let step = if lock {
            AccountChange::Lock(LockReason::Operator)
        } else {
            AccountChange::Unlock
        };
        change(&store, tenant, &tom, step, second(at))
    };
    switch(true, 1).await;
    let head = sign(&store, second(1)).await;
    switch(false, 100).await;
    let writer = head.writer;
    assert_eq!(told(&after(&store, tenant, 0, 9).await).len(), 2);
    while store
        .remove_audit(writer, second(50), second(101))
        .await
        .unwrap()
        .more
    {}
    let rest = after(&store, tenant, 0, 9).await;
    assert_eq!(
        (rest.left, told(&rest)),
        (head.sequence, vec![What::Unlocked])
    );
    // Unlocking what is not locked is no event.
    switch(false, 102).await;
    assert_eq!(after(&store, tenant, 0, 9).await.entries, rest.entries);
}

fn revoked(decided: Decided) -> Vec<Challenge> {
    match decided {
        Decided::Revoked { challenge, ended } => {
            let outcome = challenge.outcome.unwrap();
            assert_eq!(outcome.state, Final::Approved);
            ended
        }
        other => panic!("{other:?}"),
    }
}

pub(in crate::store) async fn an_approval_is_taken_back_once_and_stays(place: &dyn Place) {
    let store = place.open().await;
    let rules = Policy {
        fatigue: Fatigue {
            on_report: OnReport::Alarm,
            ..unwearied().fatigue
        },
        ..unwearied()
    };
    let tenant = organisation(&store, rules).await;
    let tom = user("tom");
    let mut phones = Vec::new();
    for _ in 0..3 {
        phones.push(enrolled(&store, tenant, &tom, None).await);
    }
    let asked = &phones[..2];
    let approved = answered(&store, (tenant, &tom), asked, Choice::Approve, second(10)).await;
    let report = |device: &Device, at| {
        let event = answer(device, Choice::ReportFraud);
        let (store, approved) = (store.clone(), approved.clone());
        async move { decide(&store, &approved, event, at).await }
    };
    let last = second(10).after(WINDOW);
    // Not by a device that was not asked, not with another answer, not too late.
    assert_eq!(
        report(&phones[2], second(11)).await,
        Decided::Already(approved.clone())
    );
    for choice in [Choice::Deny, Choice::Approve] {
        let event = answer(&phones[1], choice);
        let refused = decide(&store, &approved, event, second(11)).await;
        assert_eq!(refused, Decided::Already(approved.clone()));
    }
    let late = last.after(Duration::from_millis(1));
    assert_eq!(
        report(&phones[1], late).await,
        Decided::Already(approved.clone())
    );
    assert_eq!(store.revocation(tenant, approved.id).await.unwrap(), None);

    assert_eq!(revoked(report(&phones[1], last).await), []);
    let first = store
        .revocation(tenant, approved.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((first.proof.device, first.time), (phones[1].id, last));
    // Again, and by the one that approved: the first counts.
    for phone in asked {
        assert_eq!(revoked(report(phone, last).await), []);
    }
    let kept = store.revocation(tenant, approved.id).await.unwrap();
    assert_eq!(kept, Some(first));
    assert_eq!(stored(&store, &approved).await, approved);
    assert_eq!(account(&store, tenant, &tom).await.lock, None);
    let event = What::Revoked {
        challenge: approved.id,
        device: phones[1].id,
    };
    let seen = told(&after(&store, tenant, 0, 99).await);
    assert_eq!(seen.iter().filter(|what| **what == event).count(), 1);
    // A denial is not taken back, only heeded.
    let denied = answered(&store, (tenant, &tom), asked, Choice::Deny, last).await;
    let event = answer(&phones[1], Choice::ReportFraud);
    let refused = decide(&store, &denied, event, last).await;
    assert!(
        matches!(refused, Decided::ReportedLate { .. }),
        "{refused:?}"
    );
    // It leaves with its challenge.
    while store.remove_challenges(late, late).await.unwrap().more {}
    assert_eq!(store.revocation(tenant, approved.id).await.unwrap(), None);
}

pub(in crate::store) async fn taking_back_locks_where_policy_says_so(place: &dyn Place) {
    let store = place.open().await;
    let rules = Policy {
        fatigue: Fatigue {
            on_report: OnReport::Lock,
            ..unwearied().fatigue
        },
        ..unwearied()
    };
    let tenant = organisation(&store, rules).await;
    let tom = user("tom");
    let mut phones = Vec::new();
    for _ in 0..2 {
        phones.push(enrolled(&store, tenant, &tom, None).await);
    }
    let approved = answered(&store, (tenant, &tom), &phones, Choice::Approve, second(10)).await;
    let pending = ask(&store, tenant, &tom, &phones, second(11)).await;
    let event = answer(&phones[1], Choice::ReportFraud);
    let ended = revoked(decide(&store, &approved, event, second(12)).await);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].id, pending.id);
    assert_eq!(outcome(&store, &pending).await.reason, Reason::LockedOut);
    let lock = account(&store, tenant, &tom).await.lock.unwrap();
    assert_eq!(lock.reason, LockReason::FraudReported);
}

pub(in crate::store) async fn approvals_are_shown_to_the_others(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, unwearied()).await;
    let tom = user("tom");
    let mut phones = Vec::new();
    for _ in 0..3 {
        phones.push(enrolled(&store, tenant, &tom, None).await);
    }
    let shown = |phone: usize, at| {
        let (store, device) = (store.clone(), phones[phone].clone());
        async move {
            let recent = store.recent_approvals(&device, at).await.unwrap();
            let bodies = recent.into_iter();
            bodies
                .map(|(signed, at)| (signed.body, at))
                .collect::<Vec<_>>()
        }
    };
    let asked = &phones[..2];
    let mut all = Vec::new();
    for n in 0..4 {
        let at = second(10 + n);
        let one = answered(&store, (tenant, &tom), asked, Choice::Approve, at).await;
        all.insert(0, (format!("body of {}", one.id).into_bytes(), at));
    }
    answered(&store, (tenant, &tom), asked, Choice::Deny, second(20)).await;
    assert_eq!(shown(1, second(21)).await, all[..SHOWN]);
    assert_eq!(shown(0, second(21)).await, [], "its own");
    assert_eq!(shown(2, second(21)).await, [], "it was not asked");
    assert_eq!(shown(1, all[0].1.after(SHOWN_FOR)).await, []);
    // Approved by one that is alone: nobody to show that to.
    answered(
        &store,
        (tenant, &tom),
        &phones[2..],
        Choice::Approve,
        second(22),
    )
    .await;
    assert_eq!(shown(1, second(23)).await, all[..SHOWN]);
    // Taken back: done with.
    let last = answered(&store, (tenant, &tom), asked, Choice::Approve, second(24)).await;
    assert_eq!(shown(1, second(24)).await.len(), SHOWN);
    let event = answer(&phones[1], Choice::ReportFraud);
    decide(&store, &last, event, second(25)).await;
    assert_eq!(shown(1, second(25)).await, all[..SHOWN]);
    // What has left is not shown.
    while store
        .remove_challenges(second(12), second(26))
        .await
        .unwrap()
        .more
    {}
    assert_eq!(shown(1, second(26)).await, all[..2]);
}

async fn notices(store: &Arc<dyn Store>, device: &Device, after: u64, now: Timestamp) -> Vec<Kept> {
    store.notices(device, after, now).await.unwrap()
}

/// The wake-ups that are due.
async fn wakeups(store: &Arc<dyn Store>, now: Timestamp) -> Vec<PushJob> {
    let mut jobs = Vec::new();
    for gateway in [G::Apns, G::Fcm] {
        jobs.extend(store.claim_pushes(gateway, now, 99).await.unwrap());
    }
    jobs.retain(|job| job.kind == PushKind::Notice);
    jobs
}

pub(in crate::store) async fn the_other_devices_are_told(place: &dyn Place) {
    let store = place.open().await;
    let (hint, hints) = std::sync::mpsc::channel();
    store.listen(Arc::new(move |one| {
        if let Hint::Notices(device) = one {
            hint.send(device).unwrap();
        }
    }));
    let tenant = organisation(&store, Policy::default()).await;
    let tom = user("tom");
    let first = enrolled(&store, tenant, &tom, Some(G::Apns)).await;
    let neighbour = enrolled(&store, tenant, &user("ann"), Some(G::Apns)).await;
    assert_eq!(hints.try_iter().count(), 0, "nobody to tell");
    let code = code();
    store
        .add_ticket(ticket(tenant, &tom, &code), by())
        .await
        .unwrap();
    let second_phone = stranger(Some(G::Fcm));
    let address = String::new();
    store
        .redeem(code, second_phone.clone(), second(2), address)
        .await
        .unwrap();
    let second_phone = store.device(second_phone.id).await.unwrap().unwrap();
    assert_eq!(hints.try_iter().collect::<Vec<_>>(), [first.id]);
    let told = notices(&store, &first, 0, second(3)).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].notice, Notice::DeviceAdded("Tom's phone".into()));
    assert_eq!(
        notices(&store, &second_phone, 0, second(3)).await,
        [],
        "its own coming"
    );
    assert_eq!(notices(&store, &neighbour, 0, second(3)).await, []);
    assert_eq!(notices(&store, &first, told[0].number, second(3)).await, []);
    let woken = wakeups(&store, second(3)).await;
    assert_eq!(woken.len(), 1);
    assert_eq!((woken[0].device, woken[0].gateway), (first.id, G::Apns));
    assert_eq!(woken[0].challenge.as_bytes(), &told[0].id);
    assert_eq!(woken[0].farewell, None);

    for step in [
        AccountChange::Lock(LockReason::Operator),
        AccountChange::Unlock,
    ] {
        change(&store, tenant, &tom, step, second(4)).await;
    }
    let last = told[0].number;
    for device in [&first, &second_phone] {
        let told = notices(&store, device, last, second(4)).await;
        let told: Vec<_> = told.into_iter().map(|kept| kept.notice).collect();
        assert_eq!(told, [Notice::AccountLocked, Notice::AccountUnlocked]);
    }
    assert_eq!(wakeups(&store, second(4)).await.len(), 4);
    assert_eq!(hints.try_iter().count(), 4);

    // One that comes in the same moment as something before it is not told of that.
    let late = enrolled(&store, tenant, &tom, None).await;
    assert_eq!(notices(&store, &late, 0, second(4)).await, []);

    // One that is removed is told where it was reached, and so are the others.
    let (id, key) = (first.id, RECEIPT_KEY.to_owned());
    store
        .remove_device(tenant, tom.clone(), id, second(5), key, by())
        .await
        .unwrap();
    let woken = wakeups(&store, second(5)).await;
    assert_eq!(woken.len(), 2);
    let farewell = woken.iter().find(|job| job.device == first.id).unwrap();
    assert_eq!(farewell.farewell, first.push);
    change(&store, tenant, &tom, AccountChange::Reset, second(6)).await;
    let woken = wakeups(&store, second(6)).await;
    assert_eq!(woken.len(), 1);
    assert_eq!(woken[0].farewell, second_phone.push);
    // A device that comes later is told nothing of before.
    let mut later = stranger(None);
    later.create_time = second(7);
    later.tenant = tenant;
    later.user = tom.clone();
    assert_eq!(notices(&store, &later, 0, second(7)).await, []);
}

pub(in crate::store) async fn old_notices_go(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, Policy::default()).await;
    let tom = user("tom");
    let phone = enrolled(&store, tenant, &tom, None).await;
    for n in 0..15 {
        for step in [
            AccountChange::Lock(LockReason::Operator),
            AccountChange::Unlock,
        ] {
            change(&store, tenant, &tom, step, second(10 + n)).await;
        }
    }
    let kept = notices(&store, &phone, 0, second(30)).await;
    let numbers: Vec<_> = kept.iter().map(|kept| kept.number).collect();
    assert_eq!(numbers, (11..=30).collect::<Vec<_>>());
    let almost = second(24).after(KEPT_FOR.saturating_sub(Duration::from_millis(1)));
    assert_eq!(notices(&store, &phone, 0, almost).await.len(), 2);
    assert_eq!(
        notices(&store, &phone, 0, second(24).after(KEPT_FOR)).await,
        []
    );
    let ids: BTreeSet<_> = kept.iter().map(|kept| kept.id).collect();
    assert_eq!(ids.len(), kept.len());
    // The fixture's phone has no push registration: nothing to send.
    assert_eq!(wakeups(&store, second(30)).await, []);
    decide(
        &store,
        &ask(&store, tenant, &tom, &[phone], second(31)).await,
        Event::Cancel,
        second(31),
    )
    .await;
}
