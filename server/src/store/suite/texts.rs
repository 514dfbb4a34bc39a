//! Text messages intended, given out and done with.

use super::{Place, fixture::*};
use crate::{
    domain::{
        account::AccountChange,
        challenge::{DeliveryState, Final, Reason},
        text::{Receipt, TextJob, TextPurpose},
    },
    store::TextResult,
};

fn finished(state: DeliveryState, reason: &str) -> TextResult {
    TextResult::Finished(Some((state, reason.into())))
}

pub(in crate::store) async fn a_text_is_given_once_and_again_at_its_time(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let add = add_phone(tenant, &tom, new_phone(second(1)), second(1));
    let AccountChange::AddPhone { order, .. } = &add else {
        panic!("{add:?}")
    };
    let job = TextJob {
        nth: 1,
        metered: second(1),
        ..order.job.clone()
    };
    change(&store, tenant, &tom, add, second(1)).await;
    assert_eq!(store.next_text().await.unwrap(), Some(second(1)));
    assert_eq!(store.claim_texts(START, 9).await.unwrap(), []);
    let given = store.claim_texts(second(1), 9).await.unwrap();
    assert_eq!(given, std::slice::from_ref(&job));
    assert_eq!(store.claim_texts(second(1), 9).await.unwrap(), []);
    assert_eq!(store.next_text().await.unwrap(), None);
    let again = TextResult::Again(second(5));
    store
        .finish_text(job.clone(), again, None, second(2))
        .await
        .unwrap();
    catch_up(&store).await;
    assert_eq!(store.next_text().await.unwrap(), Some(second(5)));
    assert_eq!(store.claim_texts(second(4), 9).await.unwrap(), []);
    let given = store.claim_texts(second(5), 9).await.unwrap();
    let wanted = TextJob {
        due: second(5),
        attempts: 1,
        ..job
    };
    assert_eq!(given, std::slice::from_ref(&wanted));
    // A claim ends with the process.
    store.close().await.unwrap();
    drop(store);
    let store = place.open().await;
    let given = store.claim_texts(second(5), 9).await.unwrap();
    assert_eq!(given, std::slice::from_ref(&wanted));
    let done = TextResult::Finished(None);
    store
        .finish_text(wanted, done, None, second(6))
        .await
        .unwrap();
    catch_up(&store).await;
    assert_eq!(store.claim_texts(second(99), 9).await.unwrap(), []);
    assert_eq!(store.next_text().await.unwrap(), None);
}

pub(in crate::store) async fn a_code_s_progress_is_noted(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, None).await];
    texts(&store, second(1)).await;
    let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
    texted(&store, &asked, phone, second(3)).await;
    let job = store.claim_texts(second(3), 1).await.unwrap().remove(0);
    let accepted = finished(DeliveryState::Accepted, "");
    store
        .finish_text(job, accepted, None, second(4))
        .await
        .unwrap();
    catch_up(&store).await;
    let state = || async {
        let stored = stored(&store, &asked).await;
        let delivery = stored
            .deliveries
            .iter()
            .find(|delivery| delivery.device.as_bytes() == phone.as_bytes())
            .expect("texted");
        (delivery.state, delivery.reason.clone())
    };
    assert_eq!(state().await, (DeliveryState::Accepted, String::new()));
    let receipt = |state, reason: &str, at| {
        store
            .note_text_receipt(
                Receipt {
                    tenant,
                    challenge: asked.id,
                    phone,
                    nth: 1,
                    state,
                    reason: reason.into(),
                },
                second(at),
            )
            .unwrap();
    };
    // The network says late that it could not, and later still that it could.
    receipt(DeliveryState::Failed, "30006", 5);
    catch_up(&store).await;
    assert_eq!(state().await, (DeliveryState::Failed, "30006".into()));
    receipt(DeliveryState::Fetched, "", 6);
    receipt(DeliveryState::Failed, "30006", 7);
    catch_up(&store).await;
    assert_eq!(state().await, (DeliveryState::Fetched, String::new()));
}

pub(in crate::store) async fn the_last_text_to_fail_ends_it(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let device = enrolled(&store, tenant, &tom, None).await;
    texts(&store, second(1)).await;
    for with_device in [true, false] {
        let devices = if with_device {
            std::slice::from_ref(&device)
        } else {
            &[]
        };
        let mut new = question(tenant, &tom, devices, second(2));
        let purpose = TextPurpose::SignInCode(new.challenge.id);
        new.code = Some(order(tenant, &tom, phone, purpose, second(2)));
        let asked = created(store.create(new).await.unwrap());
        let job = store.claim_texts(second(2), 1).await.unwrap().remove(0);
        let failed = finished(DeliveryState::Failed, "21610");
        let unheard = Some(RECEIPT_KEY.to_owned());
        let ended = store
            .finish_text(job, failed, unheard, second(3))
            .await
            .unwrap();
        let left = stored(&store, &asked).await;
        if with_device {
            assert_eq!((ended, left.outcome), (None, None));
        } else {
            assert_eq!(ended.as_ref(), Some(&left));
            let end = left.outcome.expect("ended");
            assert_eq!(
                (end.state, end.reason),
                (Final::Denied, Reason::Unreachable)
            );
            assert_eq!(store.next_expiry().await.unwrap(), None);
        }
    }
}
