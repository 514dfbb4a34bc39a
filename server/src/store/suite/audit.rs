//! The audit trail: pages, chains, signed heads.

use super::{Place, fixture::*};
use crate::{
    domain::{
        audit::{By, Chain, ChainedEntry, Entry, FIRST_LINK, SignedHead, Told, next_link},
        time::Timestamp,
    },
    store::{Hint, Store},
};
use std::sync::Arc;

/// Adds an entry that says `n`.
pub(in crate::store) async fn say(store: &Arc<dyn Store>, n: u64, time: Timestamp) {
    let entry = Entry {
        time,
        tenant: None,
        user: Some(user("tom")),
        by: By::broker(),
        action: "push.credential_works",
        object: format!("{n}"),
        outcome: String::new(),
    };
    store.note(entry).await.unwrap();
}

pub(in crate::store) async fn only_chain(store: &Arc<dyn Store>) -> Chain {
    let mut chains = store.audit_chains().await.unwrap();
    assert_eq!(chains.len(), 1);
    chains.remove(0)
}

/// A head for the end of the chain, its signature aside.
pub(in crate::store) async fn sign(store: &Arc<dyn Store>, at: Timestamp) -> SignedHead {
    let chain = only_chain(store).await;
    let head = SignedHead {
        writer: chain.writer,
        sequence: chain.sequence,
        body: chain.link.to_vec(),
        key_id: RECEIPT_KEY.into(),
        signature: vec![5; 64],
        sign_time: at,
        first_kept: chain.first_kept,
    };
    store.add_audit_head(head.clone()).await.unwrap();
    head
}

/// All entries that are there.
pub(in crate::store) async fn entries(store: &Arc<dyn Store>) -> Vec<ChainedEntry> {
    let chain = only_chain(store).await;
    let mut all: Vec<ChainedEntry> = Vec::new();
    loop {
        let from = all.last().map_or(0, |last| last.sequence + 1);
        let page = store.audit_page(chain.writer, from, 7).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

pub(in crate::store) async fn pages_follow_one_another_in_a_chain(place: &dyn Place) {
    let store = place.open().await;
    assert_eq!(store.audit_chains().await.unwrap(), []);
    for n in 1..=20 {
        say(&store, n, second(n)).await;
    }
    let (mut link, mut n) = (FIRST_LINK, 0);
    let all = entries(&store).await;
    let mut contents = std::collections::BTreeSet::new();
    for entry in &all {
        n += 1;
        link = next_link(&link, &entry.content);
        assert_eq!((entry.sequence, entry.link), (n, link));
        let told = Told::read(&entry.content).unwrap();
        assert_eq!((told.object, told.time), (n.to_string(), second(n)));
        assert_eq!((told.actor.as_str(), told.user.as_str()), ("broker", "tom"));
        contents.insert(entry.content.clone());
    }
    let chain = only_chain(&store).await;
    assert_eq!((chain.first_kept, chain.sequence), (1, 20));
    assert_eq!(chain.link, link);
    assert_eq!(chain.signed, None);
    let middle = store.audit_page(chain.writer, 5, 3).await.unwrap();
    assert_eq!(middle, all[4..7]);
    assert_eq!(store.audit_page(chain.writer, 21, 3).await.unwrap(), []);
    assert_eq!(store.audit_page(chain.writer + 1, 1, 3).await.unwrap(), []);
}

/// The same thing said twice has two digests: nobody can tell by guessing.
pub(in crate::store) async fn a_digest_tells_nothing(place: &dyn Place) {
    let store = place.open().await;
    say(&store, 1, second(1)).await;
    say(&store, 1, second(1)).await;
    let all = entries(&store).await;
    assert_eq!(Told::read(&all[0].content), Told::read(&all[1].content));
    assert_ne!(all[0].content, all[1].content);
}

pub(in crate::store) async fn heads_are_kept(place: &dyn Place) {
    let store = place.open().await;
    let mut signed = Vec::new();
    for n in 1..=5 {
        say(&store, n, second(n)).await;
        signed.push(sign(&store, second(n)).await);
    }
    let chain = only_chain(&store).await;
    assert_eq!(chain.signed.as_ref(), signed.last());
    let heads = |from, limit| store.audit_heads(chain.writer, from, limit);
    assert_eq!(heads(0, 9).await.unwrap(), signed);
    assert_eq!(heads(2, 2).await.unwrap(), signed[1..3]);
    assert_eq!(heads(6, 2).await.unwrap(), []);
    // Signed again, later: takes the place of the one before.
    let again = sign(&store, second(9)).await;
    assert_eq!(heads(5, 9).await.unwrap(), [again]);
    store.close().await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(
        store.audit_heads(chain.writer, 0, 9).await.unwrap().len(),
        5
    );
}

pub(in crate::store) async fn each_entry_has_its_hint(place: &dyn Place) {
    let store = place.open().await;
    let (told, hints) = std::sync::mpsc::channel();
    store.listen(Arc::new(move |hint| {
        if let Hint::Audit(sequence) = hint {
            told.send(sequence).unwrap();
        }
    }));
    say(&store, 1, second(1)).await;
    say(&store, 2, second(1)).await;
    let tenant = tenant_id();
    let phone = [enrolled(&store, tenant, &user("tom"), None).await];
    ask(&store, tenant, &user("tom"), &phone, second(2)).await;
    // A ticket; its redemption and the phone in one step; a challenge.
    assert_eq!(hints.try_iter().collect::<Vec<_>>(), [1, 2, 3, 5, 6]);
    sign(&store, second(3)).await;
    assert_eq!(hints.try_iter().count(), 0);
}
