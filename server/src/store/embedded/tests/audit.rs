//! The audit chain, row by row.

use std::{collections::BTreeMap, sync::Arc};

use countersign_proto::signing::sha256;

use super::{
    super::{
        EmbeddedStore,
        audit::{Pack, WRITER},
        keys,
        record::{Kept, Record as _},
    },
    Directory,
};
use crate::{
    domain::{
        audit::Told,
        challenge::{DeliveryState, Event},
        device::PushGateway,
        ids::DeviceId,
        policy::PendingLimit,
        receipt::{final_name, reason_name},
        response::Choice,
    },
    store::{
        PushResult, Store, TokenVerdict,
        engine::Pair,
        suite::{fixture::*, installation},
    },
};

async fn rows(store: &EmbeddedStore, prefix: &[u8]) -> Vec<Pair> {
    store
        .engine
        .read(|rows| rows.scan_prefix(prefix, None, usize::MAX))
        .await
        .unwrap()
}

/// Every entry in order, its place in the chain checked.
async fn trail(store: &EmbeddedStore) -> Vec<Told> {
    let first = keys::audit(WRITER, 0);
    let mut link = [0; 32];
    let mut entries = Vec::new();
    let mut open = None;
    for (key, value) in rows(store, &first[..9]).await {
        let pack = entries.len() as u64 + 1;
        assert_eq!(key, keys::audit(WRITER, pack), "a gap in the chain");
        let Pack(packed) = Pack::from_value(&value).unwrap();
        assert!((1..=16).contains(&packed.len()));
        open = (packed.len() < 16).then(|| pack.to_be_bytes().to_vec());
        for entry in packed {
            assert_eq!(entry.sequence, entries.len() as u64 + 1);
            // As documented, not as implemented.
            link = sha256(&[link, sha256(&entry.content)].concat());
            assert_eq!(entry.link, link, "a broken link");
            entries.push(Told::read(&entry.content).unwrap());
        }
    }
    let head = rows(store, &keys::audit_head(WRITER)).await;
    let last = (entries.len() as u64).to_be_bytes();
    let wanted = [&last[..], &link, &open.unwrap_or_default()].concat();
    match entries.is_empty() {
        true => assert_eq!(head, []),
        false => assert_eq!(head, [(keys::audit_head(WRITER), wanted)]),
    }
    entries
}

/// Runs a step and tells what it added to the trail: in one commit, if
/// anything.
pub(super) async fn added<T>(
    store: &EmbeddedStore,
    step: impl Future<Output = T>,
) -> (T, Vec<String>) {
    let before = trail(store).await.len();
    let batches = store.engine.stats().syncs;
    let done = step.await;
    let synced = store.engine.stats().syncs - batches;
    let new: Vec<String> = trail(store)
        .await
        .drain(before..)
        .map(|entry| {
            let about = match entry.user.as_str() {
                "" => String::new(),
                user => format!("({user})"),
            };
            format!("{} {}{about} {}", entry.actor, entry.action, entry.outcome)
                .trim()
                .to_owned()
        })
        .collect();
    assert!(new.is_empty() || synced == 1, "{synced} commits: {new:?}");
    (done, new)
}

#[tokio::test]
async fn each_change_has_its_entry_in_the_same_commit_and_nothing_else_has() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    macro_rules! check {
        ($step:expr => [$($entry:literal),* $(,)?]) => {{
            let (done, new) = added(&embedded, $step).await;
            let wanted: &[&str] = &[$($entry),*];
            assert_eq!(new, wanted);
            done
        }};
    }
    let organisation = installation::tenant(tenant_id());
    let tenant = organisation.id;
    let (tom, gateway) = (user("tom"), PushGateway::Apns);
    let key = installation::api_key(Some(tenant));
    check!(store.add_signing_key(installation::signing_key(1), by()) => ["operator signing_key.created"]).unwrap();
    check!(store.add_tenant(organisation, by()) => ["operator tenant.created"]).unwrap();
    check!(store.add_api_key(key.clone(), by()) => ["operator api_key.created ADMIN"]).unwrap();
    let revoke = |scope| store.revoke_api_key(key.id.clone(), scope, second(1), by());
    check!(revoke(Some(tenant_id())) => []).unwrap();
    check!(revoke(Some(tenant)) => ["operator api_key.revoked"]).unwrap();
    check!(revoke(Some(tenant)) => []).unwrap();

    let (old, new) = (code(), code());
    let redeem = |code, device| store.redeem(code, device, second(1), "192.0.2.2".into());
    check!(store.add_ticket(ticket(tenant, &tom, &old), by()) => ["operator ticket.created(tom)"])
        .unwrap();
    check!(store.add_ticket(ticket(tenant, &tom, &new), by())
        => ["operator ticket.replaced(tom)", "operator ticket.created(tom)"])
    .unwrap();
    check!(redeem(old, stranger(None)) => []).unwrap();
    let first = stranger(Some(gateway));
    check!(redeem(new.clone(), first.clone())
        => ["ticket ticket.tried(tom) redeemed", "ticket device.registered(tom)"])
    .unwrap();
    check!(redeem(new, stranger(None)) => []).unwrap();
    let mut import = stranger(None);
    (import.tenant, import.user) = (tenant, user("ann"));
    import.id = DeviceId::imported(tenant, &import.user, &import.public_key);
    let again = || store.import_devices(vec![import.clone(), import.clone()], second(1), by());
    check!(again() => ["operator device.imported(ann)"]).unwrap();
    check!(again() => []).unwrap();
    let mut phones = vec![store.device(first.id).await.unwrap().unwrap()];
    phones.push(enrolled(&store, tenant, &tom, None).await);
    let push = registration(gateway, "token", second(1));
    check!(store.replace_push(phones[0].id, Some(push.clone()), second(1), by())
        => ["operator device.push_replaced(tom)"])
    .unwrap();
    phones[0].push = Some(push);

    let mut request = question(tenant, &tom, &phones, second(2));
    request.idempotency = Some(([1; 16], [1; 32]));
    let again = |content: [u8; 32], limit| {
        let mut new = question(tenant, &tom, &phones, second(3));
        new.idempotency = Some(([1; 16], content));
        new.pending_limit = limit;
        new
    };
    let asked =
        created(check!(store.create(request) => ["operator challenge.created(tom)"]).unwrap());
    check!(store.create(again([1; 32], PendingLimit::Supersede)) => []).unwrap();
    check!(store.create(again([2; 32], PendingLimit::Supersede)) => []).unwrap();
    let mut refused = again([1; 32], PendingLimit::Reject);
    refused.idempotency = Some(([2; 16], [1; 32]));
    check!(store.create(refused) => []).unwrap();
    // Progress is no decision.
    let shown = DeliveryState::Shown;
    check!(store.note_delivery(tenant, asked.id, phones[1].id, shown, second(3)) => []).unwrap();
    check!(decide(&store, &asked, Event::Tick, second(3)) => []);
    check!(decide(&store, &asked, answer(&stranger(None), Choice::Approve), second(3)) => []);
    check!(decide(&store, &asked, answer(&phones[1], Choice::Approve), second(3))
        => ["operator challenge.decided(tom) APPROVED USER_APPROVED"]);
    check!(decide(&store, &asked, answer(&phones[0], Choice::Deny), second(3)) => []);
    check!(decide(&store, &asked, Event::Cancel, second(3)) => []);

    let asked = ask(&store, tenant, &tom, &phones, second(4)).await;
    check!(store.create(question(tenant, &tom, &phones, second(5))) => [
        "operator challenge.decided(tom) CANCELLED SUPERSEDED", "operator challenge.created(tom)",
    ])
    .unwrap();
    assert!(stored(&store, &asked).await.outcome.is_some());
    check!(store.expire_due(second(5), 9, RECEIPT_KEY.into()) => []).unwrap();
    check!(store.expire_due(second(5).after(TTL), 9, RECEIPT_KEY.into())
        => ["broker challenge.decided(tom) EXPIRED TIMED_OUT"])
    .unwrap();
    let late = ask(&store, tenant, &tom, &phones, second(70)).await;
    check!(decide(&store, &late, Event::Cancel, late.expire_time)
        => ["broker challenge.decided(tom) EXPIRED TIMED_OUT"]);
    check!(store.create(question(tenant, &tom, &[], second(200)))
        => ["operator challenge.decided(tom) DENIED UNREACHABLE"])
    .unwrap();

    let job = store.claim_pushes(gateway, second(200), 1).await.unwrap();
    let verdict = PushResult::Finished {
        delivery: None,
        token: TokenVerdict::Dead {
            token: "token".into(),
            since: None,
        },
        taken: false,
    };
    let finish = async {
        store
            .finish_push(job[0].clone(), verdict, None, second(201))
            .await
            .unwrap();
        catch_up(&store).await;
    };
    check!(finish => ["broker device.token_judged(tom) dead"]);
    let remove =
        |user, id| store.remove_device(tenant, user, id, second(202), RECEIPT_KEY.into(), by());
    check!(remove(user("ann"), phones[0].id) => []).unwrap();
    check!(remove(tom.clone(), phones[0].id) => ["operator device.removed(tom)"]).unwrap();
    ask(&store, tenant, &tom, &phones[1..], second(202)).await;
    check!(remove(tom.clone(), phones[1].id) => [
        "operator device.removed(tom)", "operator challenge.decided(tom) DENIED UNREACHABLE",
    ])
    .unwrap();
    consistent(&embedded).await;
}

/// What the rows say of one another.
async fn consistent(store: &EmbeddedStore) {
    let mut decided = BTreeMap::new();
    for entry in trail(store).await {
        if entry.action == "challenge.decided" {
            let before = decided.insert(entry.object, entry.outcome);
            assert_eq!(before, None, "two entries for one decision");
        }
    }
    let (mut pending, mut expiries) = (Vec::new(), Vec::new());
    for (_, value) in rows(store, b"C").await {
        let Kept { challenge, body } = Kept::from_value(&value).unwrap();
        // What was signed joins the challenge with the decision.
        assert_eq!(body.is_some(), challenge.outcome.is_some());
        let signed = keys::signed_body(challenge.tenant, challenge.id);
        let apart = usize::from(challenge.outcome.is_none());
        assert_eq!(rows(store, &signed).await.len(), apart);
        let entry = decided.remove(&challenge.id.to_string());
        match challenge.outcome {
            Some(end) => {
                let wanted = format!("{} {}", final_name(end.state), reason_name(end.reason));
                assert_eq!(entry, Some(wanted));
            }
            None => {
                assert_eq!(entry, None);
                let (tenant, id) = (challenge.tenant, challenge.id);
                pending.push(keys::pending_of(tenant, &challenge.user, id));
                expiries.push(keys::expiry(challenge.expire_time, tenant, id));
            }
        }
    }
    assert!(
        decided.is_empty(),
        "entries without a decision: {decided:?}"
    );
    for (prefix, mut wanted) in [(b"p", pending), (b"E", expiries)] {
        wanted.sort();
        let found = rows(store, prefix).await.into_iter().map(|(key, _)| key);
        assert_eq!(found.collect::<Vec<_>>(), wanted);
    }
}

/// The same after many changes at once, in batches as they come, and after
/// reopening.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_chain_holds_under_load_and_goes_on_after_reopening() {
    let dir = Directory::new();
    for round in 0..2 {
        let embedded = Arc::new(dir.store());
        let store: Arc<dyn Store> = embedded.clone();
        let mut load = tokio::task::JoinSet::new();
        for n in 0..24 {
            let store = store.clone();
            load.spawn(async move {
                let tenant = tenant_id();
                let tom = user(&format!("tom{n}"));
                let phone = [enrolled(&store, tenant, &tom, Some(PushGateway::Fcm)).await];
                for m in 0..6 {
                    let asked = ask(&store, tenant, &tom, &phone, second(2 + m)).await;
                    let event = match m % 3 {
                        0 => answer(&phone[0], Choice::Approve),
                        1 => Event::Cancel,
                        _ => continue,
                    };
                    decide(&store, &asked, event, second(3 + m)).await;
                }
            });
        }
        load.join_all().await;
        consistent(&embedded).await;
        let entries = trail(&embedded).await.len();
        // 3 for the phone; 6 created; of those 5 ended.
        assert_eq!(entries, (round + 1) * 24 * (3 + 6 + 5));
        let stats = embedded.engine.stats();
        assert!(stats.syncs < entries as u64, "nothing was batched");
        store.close().await.unwrap();
    }
}
