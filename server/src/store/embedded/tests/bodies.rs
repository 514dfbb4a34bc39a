//! What was signed joins its challenge once that is decided.

use std::sync::Arc;

use super::{
    super::{
        EmbeddedStore, keys,
        record::{Kept, Record as _, RequestedBody},
    },
    Directory,
};
use crate::{
    domain::challenge::{Challenge, SignedBody},
    store::{NewChallenge, Store, suite::fixture::*},
};

/// How many rows there are of challenges, bodies and requests.
async fn counts(store: &EmbeddedStore) -> [usize; 3] {
    let rows = store
        .engine
        .read(|rows| [b"C", b"B", b"I"].map(|prefix| rows.scan_prefix(prefix, None, 99).len()));
    rows.await.unwrap()
}

/// A challenge that ends as it is made, with a body of `length` bytes.
async fn ended(store: &Arc<dyn Store>, length: usize) -> (Challenge, SignedBody) {
    let mut new: NewChallenge = question(tenant_id(), &user("tom"), &[], second(2));
    new.signed.body = vec![7; length];
    new.idempotency = Some(([1; 16], [1; 32]));
    let signed = new.signed.clone();
    (created(store.create(new).await.unwrap()), signed)
}

async fn leaves(store: &Arc<dyn Store>, embedded: &EmbeddedStore) {
    let left = store.remove_challenges(second(99), second(99)).await;
    assert_eq!(left.unwrap().count, 1);
    assert_eq!(counts(embedded).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_body_that_does_not_fit_stays_apart() {
    for (length, apart) in [(500, 0), (3900, 1)] {
        let dir = Directory::new();
        let embedded = Arc::new(dir.store());
        let store: Arc<dyn Store> = embedded.clone();
        let (challenge, signed) = ended(&store, length).await;
        assert_eq!(counts(&embedded).await, [1, apart, 1]);
        let found = store.challenge(challenge.tenant, challenge.id).await;
        assert_eq!(found.unwrap(), Some((challenge, signed)), "{length}");
        leaves(&store, &embedded).await;
    }
}

/// An earlier version left them apart.
#[tokio::test]
async fn a_body_of_its_own_is_read_and_leaves() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    let (challenge, signed) = ended(&store, 500).await;
    let body = RequestedBody {
        signed: signed.clone(),
        request: Some([1; 16]),
    };
    let decided = challenge.clone();
    let earlier = embedded.write(move |tx, _| {
        let key = keys::challenge(decided.tenant, decided.id);
        let kept = Kept::from_value(&tx.get(&key).unwrap()).unwrap();
        assert_eq!(kept.body.as_ref(), Some(&body));
        tx.put(key, decided.to_value());
        let key = keys::signed_body(decided.tenant, decided.id);
        tx.put(key, body.to_value());
        Ok(())
    });
    earlier.await.unwrap();
    let found = store.challenge(challenge.tenant, challenge.id).await;
    assert_eq!(found.unwrap(), Some((challenge, signed)));
    leaves(&store, &embedded).await;
}
