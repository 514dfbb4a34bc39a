//! Organisations, API keys, signing keys.

use super::{Place, fixture::*};
use crate::domain::{
    api_key::{ApiKey, Role},
    ids::TenantId,
    policy::Policy,
    signing_key::SigningKey,
    tenant::Tenant,
};

pub(in crate::store) fn tenant(id: TenantId) -> Tenant {
    Tenant {
        id,
        display_name: "Eagle IT BVBA".into(),
        policy: Policy::default(),
        create_time: START,
    }
}

pub(in crate::store) fn api_key(tenant: Option<TenantId>) -> ApiKey {
    ApiKey {
        id: api_key_id(),
        secret_hash: [3; 32],
        tenant,
        role: Role::Admin,
        display_name: "webmail".into(),
        create_time: START,
        revoke_time: None,
    }
}

pub(in crate::store) fn signing_key(n: u64) -> SigningKey {
    SigningKey {
        key_id: format!("key{n}"),
        public_key: [4; 32],
        sealed_seed: vec![5; 60],
        create_time: second(n),
        activate_time: second(n + 10),
        succession: None,
    }
}

pub(in crate::store) async fn pages_of_organisations(place: &dyn Place) {
    let store = place.open().await;
    let mut ids: Vec<_> = (0..5).map(|_| tenant_id()).collect();
    for id in ids.iter().rev() {
        store.add_tenant(tenant(*id), by()).await.unwrap();
    }
    ids.sort();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.tenants(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        assert!(page.len() <= 2);
        seen.extend(page.iter().map(|tenant| tenant.id));
    }
    assert_eq!(seen, ids);
    assert_eq!(store.tenant(ids[0]).await.unwrap(), Some(tenant(ids[0])));
    assert_eq!(store.tenant(tenant_id()).await.unwrap(), None);
}

pub(in crate::store) async fn a_key_is_revoked_once_and_within_scope(place: &dyn Place) {
    let store = place.open().await;
    let (own, other) = (tenant_id(), tenant_id());
    let (first, second_one) = (api_key(Some(own)), api_key(Some(own)));
    let (theirs, installation) = (api_key(Some(other)), api_key(None));
    for key in [&first, &second_one, &theirs, &installation] {
        store.add_api_key(key.clone(), by()).await.unwrap();
    }
    assert_eq!(
        store.api_keys(Some(own)).await.unwrap(),
        [first.clone(), second_one]
    );
    assert_eq!(
        store.api_keys(None).await.unwrap(),
        std::slice::from_ref(&installation)
    );
    let revoke = |id: &_, scope, now| store.revoke_api_key(Clone::clone(id), scope, now, by());
    for key in [&theirs, &installation] {
        let refused = revoke(&key.id, Some(own), second(1)).await.unwrap();
        assert_eq!(refused, None);
        let kept = store.api_key(&key.id).await.unwrap().unwrap();
        assert_eq!(kept.revoke_time, None);
    }
    for now in [second(2), second(3)] {
        let revoked = revoke(&first.id, Some(own), now).await.unwrap().unwrap();
        assert_eq!(revoked.revoke_time, Some(second(2)));
        assert_eq!(store.api_key(&first.id).await.unwrap(), Some(revoked));
    }
    let revoked = revoke(&theirs.id, None, second(4)).await.unwrap().unwrap();
    assert_eq!(revoked.revoke_time, Some(second(4)));
    assert_eq!(revoke(&api_key_id(), None, second(4)).await.unwrap(), None);
}

pub(in crate::store) async fn signing_keys_oldest_first(place: &dyn Place) {
    let store = place.open().await;
    for n in [2, 1, 3] {
        store.add_signing_key(signing_key(n), by()).await.unwrap();
    }
    assert_eq!(
        store.signing_keys().await.unwrap(),
        [signing_key(1), signing_key(2), signing_key(3)]
    );
}
