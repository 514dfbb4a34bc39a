//! What leaves by age.

use std::{sync::Arc, time::Duration};

use super::{
    Place,
    audit::{entries, only_chain, say, sign},
    fixture::*,
};
use crate::{
    domain::{
        audit::{Told, next_link},
        challenge::{Challenge, Event},
        policy::PendingLimit,
        ticket::TicketState,
        time::Timestamp,
    },
    store::{Created, Redeemed, Store},
};

async fn remove_challenges(store: &Arc<dyn Store>, before: Timestamp) -> usize {
    let mut count = 0;
    loop {
        let left = store.remove_challenges(before, second(9999)).await.unwrap();
        count += left.count;
        if !left.more {
            return count;
        }
    }
}

async fn remove_tickets(store: &Arc<dyn Store>, before: Timestamp) -> usize {
    let mut count = 0;
    loop {
        let left = store.remove_tickets(before, second(9999)).await.unwrap();
        count += left.count;
        if !left.more {
            return count;
        }
    }
}

async fn is_there(store: &Arc<dyn Store>, challenge: &Challenge) -> bool {
    let found = store.challenge(challenge.tenant, challenge.id).await;
    found.unwrap().is_some()
}

/// However it ended, its age counts from the decision.
pub(in crate::store) async fn decided_challenges_leave_and_pending_ones_stay(place: &dyn Place) {
    let store = place.open().await;
    let tenant = tenant_id();
    let (tom, ann, bob) = (user("tom"), user("ann"), user("bob"));
    let phone = [enrolled(&store, tenant, &tom, None).await];
    let anns = [enrolled(&store, tenant, &ann, None).await];
    let cancelled = ask(&store, tenant, &tom, &phone, second(2)).await;
    decide(&store, &cancelled, Event::Cancel, second(10)).await;
    let superseded = ask(&store, tenant, &tom, &phone, second(11)).await;
    let expired = ask(&store, tenant, &tom, &phone, second(12)).await;
    let late = second(12).after(TTL);
    store.expire_due(late, 9, RECEIPT_KEY.into()).await.unwrap();
    // Ended at once: nobody to ask.
    let mut unreachable = question(tenant, &bob, &phone, second(20));
    unreachable.challenge.user = bob.clone();
    let unreachable = created(store.create(unreachable).await.unwrap());
    assert!(unreachable.outcome.is_some());
    let pending = ask(&store, tenant, &ann, &anns, second(13)).await;
    let all = [&cancelled, &superseded, &unreachable, &expired];

    assert_eq!(remove_challenges(&store, second(10)).await, 0);
    for (n, before) in [second(11), second(13), second(21), late]
        .into_iter()
        .enumerate()
    {
        let wanted = usize::from(n != 3);
        assert_eq!(remove_challenges(&store, before).await, wanted, "{n}");
        for (m, challenge) in all.iter().enumerate() {
            assert_eq!(
                is_there(&store, challenge).await,
                m > n || m == 3,
                "{n} {m}"
            );
        }
    }
    let just_after = late.after(Duration::from_millis(1));
    assert_eq!(remove_challenges(&store, just_after).await, 1);
    assert!(!is_there(&store, &expired).await);
    assert!(is_there(&store, &pending).await);
    assert_eq!(open_ids(&store, tenant, &ann, second(14)).await.len(), 1);
    // What has left is as if it had never been.
    let again = store
        .decide(
            tenant,
            cancelled.id,
            Event::Cancel,
            second(99),
            RECEIPT_KEY.into(),
            by(),
        )
        .await;
    assert_eq!(again, Ok(crate::store::Decided::NotFound));
}

pub(in crate::store) async fn a_request_is_forgotten_with_its_challenge(place: &dyn Place) {
    let store = place.open().await;
    let (tenant, tom) = (tenant_id(), user("tom"));
    let phone = [enrolled(&store, tenant, &tom, None).await];
    let request = |at, content| {
        let mut new = question(tenant, &tom, &phone, at);
        new.idempotency = Some(([1; 16], [content; 32]));
        new.pending_limit = PendingLimit::Supersede;
        new
    };
    let first = created(store.create(request(second(2), 1)).await.unwrap());
    decide(&store, &first, Event::Cancel, second(5)).await;
    let kept = store.create(request(second(6), 1)).await.unwrap();
    assert_eq!(kept, Created::Existing(first.id));
    assert_eq!(remove_challenges(&store, second(6)).await, 1);
    let next = created(store.create(request(second(7), 2)).await.unwrap());
    assert_ne!(next.id, first.id);
}

pub(in crate::store) async fn tickets_leave_after_their_end(place: &dyn Place) {
    let store = place.open().await;
    let (tenant, tom, ann) = (tenant_id(), user("tom"), user("ann"));
    let (spent, old, new) = (code(), code(), code());
    let spent_ticket = ticket(tenant, &ann, &spent);
    store.add_ticket(spent_ticket.clone(), by()).await.unwrap();
    let redeem = |code, at| store.redeem(code, stranger(None), at, "192.0.2.2".into());
    redeem(spent, second(1)).await.unwrap();
    let old_ticket = ticket(tenant, &tom, &old);
    store.add_ticket(old_ticket.clone(), by()).await.unwrap();
    let mut new_ticket = ticket(tenant, &tom, &new);
    new_ticket.expire_time = second(1000);
    store.add_ticket(new_ticket.clone(), by()).await.unwrap();

    assert_eq!(remove_tickets(&store, second(600)).await, 0);
    assert_eq!(remove_tickets(&store, second(601)).await, 2);
    for gone in [&spent_ticket, &old_ticket] {
        assert_eq!(store.ticket(tenant, gone.id).await.unwrap(), None);
    }
    let there = store.ticket(tenant, new_ticket.id).await.unwrap().unwrap();
    assert_eq!(there.state, TicketState::Open);
    assert_eq!(redeem(old, second(700)).await.unwrap(), Redeemed::Refused);
    // The newer ticket of the same user still opens, and is still replaced.
    let done = redeem(new, second(700)).await.unwrap();
    assert!(matches!(done, Redeemed::Registered { .. }), "{done:?}");
    assert_eq!(store.devices_of(tenant, &ann).await.unwrap().len(), 1);
}

pub(in crate::store) async fn many_leave_in_steps_and_a_restart_goes_on(place: &dyn Place) {
    let mut store = place.open().await;
    let (tenant, tom) = (organisation(&store, unwearied()).await, user("tom"));
    let phone = [enrolled(&store, tenant, &tom, None).await];
    let mut all = Vec::new();
    for n in 0..300_u16 {
        let mut new = question(tenant, &tom, &phone, second(2));
        let mut request = [0; 16];
        request[..2].copy_from_slice(&n.to_be_bytes());
        new.idempotency = Some((request, [1; 32]));
        all.push(created(store.create(new).await.unwrap()));
    }
    let mut count = 0;
    loop {
        let left = store
            .remove_challenges(second(3), second(99))
            .await
            .unwrap();
        count += left.count;
        assert!(left.count <= 100, "a step must be small: {left:?}");
        store.close().await.unwrap();
        drop(store);
        store = place.open().await;
        if !left.more {
            break;
        }
    }
    // The last one is pending.
    assert_eq!(count, 299);
    for challenge in &all[..299] {
        assert!(!is_there(&store, challenge).await);
    }
    assert!(is_there(&store, &all[299]).await);
    let removed: Vec<_> = entries(&store)
        .await
        .iter()
        .filter_map(|entry| Told::read(&entry.content))
        .filter(|told| told.action == "challenges.removed")
        .map(|told| told.object.parse::<usize>().unwrap())
        .collect();
    assert_eq!(removed.iter().sum::<usize>(), 299);
}

/// Entries leave up to a signed head, which stays; what is left follows from it.
pub(in crate::store) async fn audit_entries_leave_up_to_a_signed_head(place: &dyn Place) {
    let mut store = place.open().await;
    let mut heads = Vec::new();
    for n in 1..=1000 {
        say(&store, n, second(n)).await;
        if n % 250 == 0 {
            heads.push(sign(&store, second(n)).await);
        }
    }
    let writer = only_chain(&store).await.writer;
    // Entry 250 is no older than that.
    let none = store.remove_audit(writer, second(250), second(2000)).await;
    assert_eq!(none.unwrap(), crate::store::Left::default());
    assert_eq!(entries(&store).await.len(), 1000);
    // 600 are older, but only up to 500 is there a head.
    let mut steps = 0;
    loop {
        let left = store
            .remove_audit(writer, second(601), second(2000))
            .await
            .unwrap();
        steps += 1;
        // At each moment the trail starts after a head.
        let rest = entries(&store).await;
        assert_eq!(rest[0].sequence, 501);
        let chain = only_chain(&store).await;
        assert_eq!(chain.first_kept, 501);
        let anchor = store.audit_heads(writer, 0, 1).await.unwrap().remove(0);
        assert_eq!(anchor, heads[1]);
        // The fixture's heads have the link for a body.
        let link: [u8; 32] = anchor.body.try_into().unwrap();
        assert_eq!(next_link(&link, &rest[0].content), rest[0].link);
        assert_eq!(rest.last().unwrap().sequence, chain.sequence);
        store.close().await.unwrap();
        drop(store);
        store = place.open().await;
        if !left.more {
            break;
        }
    }
    assert!(steps >= 3, "{steps}");
    let all = entries(&store).await;
    let last = Told::read(&all.last().unwrap().content).unwrap();
    assert_eq!((all.len(), last.action.as_str()), (501, "audit.removed"));
    let kept = store.audit_heads(writer, 0, 9).await.unwrap();
    assert_eq!(kept, heads[1..]);
    // Where nothing is signed, nothing leaves.
    let mut left = store
        .remove_audit(writer, second(5000), second(2001))
        .await
        .unwrap();
    while left.more {
        left = store
            .remove_audit(writer, second(5000), second(2001))
            .await
            .unwrap();
    }
    assert_eq!(entries(&store).await[0].sequence, 1001);
}
