//! Wake-ups come after the change, and for each change.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Place, fixture::*};
use crate::{
    domain::{
        challenge::{DeliveryState, Event},
        device::PushGateway,
        response::Choice,
    },
    store::{Hint, Store},
};

fn listening(store: &Arc<dyn Store>) -> mpsc::UnboundedReceiver<Hint> {
    let (tell, told) = mpsc::unbounded_channel();
    store.listen(Arc::new(move |hint| {
        // The test may have seen enough.
        tell.send(hint).ok();
    }));
    told
}

pub(in crate::store) async fn a_hint_comes_when_the_change_can_be_read(place: &dyn Place) {
    let store = place.open().await;
    let mut told = listening(&store);
    let tenant = tenant_id();
    for n in 0..30 {
        let tom = user(&format!("tom{n}"));
        let phone = [enrolled(&store, tenant, &tom, None).await];
        let asked = ask(&store, tenant, &tom, &phone, second(2)).await;
        let answered = {
            let (store, asked) = (store.clone(), asked.clone());
            let event = answer(&phone[0], Choice::Approve);
            tokio::spawn(async move { decide(&store, &asked, event, second(3)).await })
        };
        loop {
            match told.recv().await.unwrap() {
                Hint::Challenge(id) if id == asked.id => break,
                _ => {}
            }
        }
        // Read at once, perhaps before the answering call has returned.
        assert!(stored(&store, &asked).await.outcome.is_some());
        answered.await.unwrap();
    }
}

pub(in crate::store) async fn each_change_has_its_hint(place: &dyn Place) {
    let store = place.open().await;
    let mut told = listening(&store);
    let mut hints = || {
        let mut all = Vec::new();
        while let Ok(hint) = told.try_recv() {
            if !matches!(hint, Hint::Audit(_) | Hint::Events(_)) {
                all.push(hint);
            }
        }
        all
    };
    let tenant = tenant_id();
    let tom = user("tom");
    let code = code();
    let open = ticket(tenant, &tom, &code);
    let id = open.id;
    store.add_ticket(open, by()).await.unwrap();
    assert_eq!(hints(), []);
    let device = stranger(Some(PushGateway::Fcm));
    store
        .redeem(code, device.clone(), second(1), String::new())
        .await
        .unwrap();
    assert_eq!(hints(), [Hint::Enrollment(id)]);
    let phone = [store.device(device.id).await.unwrap().unwrap()];
    let first = ask(&store, tenant, &tom, &phone, second(2)).await;
    let made = hints();
    assert!(made.contains(&Hint::Expiry(first.expire_time)), "{made:?}");
    assert!(made.contains(&Hint::Outbox(PushGateway::Fcm)), "{made:?}");
    let shown = DeliveryState::Shown;
    store
        .note_delivery(tenant, first.id, phone[0].id, shown, second(3))
        .await
        .unwrap();
    assert_eq!(hints(), [Hint::Challenge(first.id)]);
    let next = ask(&store, tenant, &tom, &phone, second(4)).await;
    assert!(hints().contains(&Hint::Challenge(first.id)));
    decide(&store, &next, Event::Cancel, second(5)).await;
    let ended = hints();
    assert!(ended.contains(&Hint::Challenge(next.id)), "{ended:?}");
    decide(&store, &next, Event::Cancel, second(5)).await;
    assert_eq!(hints(), []);
    let last = ask(&store, tenant, &tom, &phone, second(6)).await;
    hints();
    store
        .expire_due(last.expire_time, 9, RECEIPT_KEY.into())
        .await
        .unwrap();
    assert!(hints().contains(&Hint::Challenge(last.id)));
}

pub(in crate::store) async fn going_on_has_its_hints(place: &dyn Place) {
    let store = place.open().await;
    let mut told = listening(&store);
    // Entries of the audit trail are told of too, where there are any.
    let mut hints = |wanted: &[Hint]| {
        let mut all = Vec::new();
        while let Ok(hint) = told.try_recv() {
            all.push(hint);
        }
        for hint in wanted {
            assert!(all.contains(hint), "{hint:?} of {all:?}");
        }
        all
    };
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    hints(&[Hint::Texts]);
    let devices = [enrolled(&store, tenant, &tom, None).await];
    let mut new = question(tenant, &tom, &devices, second(2));
    new.challenge.fallback_time = Some(second(32));
    let asked = created(store.create(new).await.unwrap());
    hints(&[Hint::Expiry(second(62)), Hint::Fallback(second(32))]);
    texted(&store, &asked, phone, second(3)).await;
    hints(&[
        Hint::Texts,
        Hint::Challenge(asked.id),
        Hint::Expiry(second(303)),
    ]);
    let typed = |code| crate::domain::code::Guess::Sms(hash(code));
    guess(&store, &asked, typed("000000"), second(4)).await;
    hints(&[Hint::Challenge(asked.id)]);
    guess(&store, &asked, typed("123456"), second(5)).await;
    hints(&[Hint::Challenge(asked.id)]);
    guess(&store, &asked, typed("123456"), second(6)).await;
    assert_eq!(hints(&[]), []);

    let mut new = question(tenant, &tom, &[], second(7));
    new.challenge.fallback_time = Some(second(32));
    created(store.create(new).await.unwrap());
    hints(&[Hint::Fallback(second(7))]);
}
