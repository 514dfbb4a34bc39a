//! Organisations, API keys, signing keys.

use super::{Place, fixture::*};
use crate::{
    domain::{
        api_key::{ApiKey, Role},
        ids::TenantId,
        policy::{Policy, Preset},
        signing_key::SigningKey,
        tenant::Tenant,
    },
    store::Replaced,
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

pub(in crate::store) async fn of_two_changes_of_rules_one_counts(place: &dyn Place) {
    let store = place.open().await;
    let (id, other) = (tenant_id(), tenant_id());
    for id in [id, other] {
        store.add_tenant(tenant(id), by()).await.unwrap();
    }
    let change = |expected, days| {
        let policy = Policy {
            browser_days: days,
            ..Preset::Nist.apply(Policy::default())
        };
        store.replace_policy(id, expected, policy, String::new(), second(9), by())
    };
    let (one, two) = tokio::join!(change(1, 7), change(1, 8));
    let done: Vec<_> = [one.unwrap(), two.unwrap()]
        .into_iter()
        .filter_map(|outcome| match outcome {
            Replaced::Done(policy) => Some(policy),
            outcome => {
                assert_eq!(outcome, Replaced::VersionChanged(2));
                None
            }
        })
        .collect();
    let [done] = done.as_slice() else {
        panic!("{done:?}");
    };
    assert_eq!(done.version, 2);
    let now = store.tenant(id).await.unwrap().unwrap();
    assert_eq!(now.policy, **done);
    assert_eq!(store.tenant(other).await.unwrap(), Some(tenant(other)));
    change(2, 9).await.unwrap();
    let days = |before, limit| {
        let versions = store.policy_versions(id, before, limit);
        async move {
            let versions = versions.await.unwrap();
            let one = |it: crate::domain::tenant::PolicyVersion| {
                (it.policy.version, it.policy.browser_days, it.change_time)
            };
            versions.into_iter().map(one).collect::<Vec<_>>()
        }
    };
    let all = [
        (3, 9, second(9)),
        (2, done.browser_days, second(9)),
        (1, 30, START),
    ];
    assert_eq!(days(None, 10).await, all);
    assert_eq!(days(None, 1).await, all[..1]);
    assert_eq!(days(Some(3), 1).await, all[1..2]);
    assert_eq!(days(Some(1), 10).await, []);
    let nobody = store.replace_policy(
        tenant_id(),
        1,
        Policy::default(),
        String::new(),
        second(9),
        by(),
    );
    assert_eq!(nobody.await.unwrap(), Replaced::NotFound);
}
