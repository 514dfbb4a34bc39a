//! Signing keys, organisations, API keys.

use super::{audit::note, keys, rows};
use crate::{
    domain::{
        api_key::{ApiKey, ApiKeyId, Role},
        audit::By,
        ids::TenantId,
        policy::Policy,
        signing_key::SigningKey,
        tenant::{PolicyVersion, Tenant},
        time::Timestamp,
    },
    store::{Replaced, StoreError, engine::Tx},
};

pub(super) fn add_signing_key(
    tx: &mut Tx<'_>,
    key: &SigningKey,
    by: &By,
) -> Result<(), StoreError> {
    rows::save(tx, keys::signing_key(key.create_time, &key.key_id), key);
    note(
        tx,
        key.create_time,
        None,
        by,
        "signing_key.created",
        &key.key_id,
        "",
    )
}

pub(super) fn signing_keys(rows: &mut impl rows::Rows) -> Result<Vec<SigningKey>, StoreError> {
    rows.raw_under(&keys::signing_keys(), None, usize::MAX)
        .iter()
        .map(|(_, value)| rows::read(value))
        .collect()
}

pub(super) fn add_tenant(tx: &mut Tx<'_>, tenant: &Tenant, by: &By) -> Result<(), StoreError> {
    rows::save(tx, keys::tenant(tenant.id), tenant);
    let version = PolicyVersion {
        policy: tenant.policy.clone(),
        change_time: tenant.create_time,
        changed_by: by.actor.to_string(),
    };
    rows::save(
        tx,
        keys::policy_version(tenant.id, tenant.policy.version),
        &version,
    );
    note(
        tx,
        tenant.create_time,
        Some(tenant.id),
        by,
        "tenant.created",
        tenant.id,
        "",
    )
}

pub(super) fn tenants(
    rows: &mut impl rows::Rows,
    after: Option<TenantId>,
    limit: usize,
) -> Result<Vec<Tenant>, StoreError> {
    let from = after.map(|id| {
        let mut key = keys::tenant(id);
        key.push(0);
        key
    });
    rows.raw_under(&keys::tenants(), from.as_deref(), limit)
        .iter()
        .map(|(_, value)| rows::read(value))
        .collect()
}

pub(super) fn replace_policy(
    tx: &mut Tx<'_>,
    id: TenantId,
    expected: u64,
    policy: Policy,
    why: &str,
    now: Timestamp,
    by: &By,
) -> Result<Replaced, StoreError> {
    let Some(mut tenant) = rows::load::<Tenant>(tx, &keys::tenant(id))? else {
        return Ok(Replaced::NotFound);
    };
    let old = tenant.policy.clone();
    if old.version != expected {
        return Ok(Replaced::VersionChanged(old.version));
    }
    let changes = old.changes(&policy);
    tenant.policy = Policy {
        version: old.version.saturating_add(1),
        ..policy
    };
    let outcome = format!("version {}{why}: {changes}", tenant.policy.version);
    let before = keys::policy_version(id, expected);
    if tx.get(&before).is_none() {
        rows::save(tx, before, &first_version(&tenant, old));
    }
    let version = PolicyVersion {
        policy: tenant.policy.clone(),
        change_time: now,
        changed_by: by.actor.to_string(),
    };
    rows::save(
        tx,
        keys::policy_version(id, tenant.policy.version),
        &version,
    );
    rows::save(tx, keys::tenant(id), &tenant);
    note(tx, now, Some(id), by, "policy.changed", id, outcome)?;
    Ok(Replaced::Done(Box::new(tenant.policy)))
}

pub(super) fn policy_versions(
    rows: &mut impl rows::Rows,
    id: TenantId,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<PolicyVersion>, StoreError> {
    let from = before.map(|version| keys::policy_version(id, version.saturating_sub(1)));
    let found: Result<Vec<_>, _> = rows
        .raw_under(&keys::policy_versions(id), from.as_deref(), limit)
        .iter()
        .map(|(_, value)| rows::read(value))
        .collect();
    let found = found?;
    if found.is_empty()
        && before.is_none_or(|before| before > 1)
        && let Some(tenant) = rows::load::<Tenant>(rows, &keys::tenant(id))?
    {
        let policy = tenant.policy.clone();
        return Ok(vec![first_version(&tenant, policy)]);
    }
    Ok(found)
}

/// Of an organisation that is older than the keeping of versions: who made it is
/// in the audit trail only.
fn first_version(tenant: &Tenant, policy: Policy) -> PolicyVersion {
    PolicyVersion {
        policy,
        change_time: tenant.create_time,
        changed_by: String::new(),
    }
}

pub(super) fn add_api_key(tx: &mut Tx<'_>, key: &ApiKey, by: &By) -> Result<(), StoreError> {
    rows::save(tx, keys::api_key(&key.id), key);
    tx.put(
        keys::api_key_of(key.tenant, key.create_time, &key.id),
        key.id.as_str(),
    );
    note(
        tx,
        key.create_time,
        key.tenant,
        by,
        "api_key.created",
        &key.id,
        match key.role {
            Role::Idp => "IDP",
            Role::Admin => "ADMIN",
        },
    )
}

pub(super) fn api_keys(
    rows: &mut impl rows::Rows,
    tenant: Option<TenantId>,
) -> Result<Vec<ApiKey>, StoreError> {
    let mut found = Vec::new();
    for (_, id) in rows.raw_under(&keys::api_keys_of(tenant), None, usize::MAX) {
        let id = std::str::from_utf8(&id).ok().and_then(ApiKeyId::parse);
        if let Some(id) = id {
            found.extend(rows::load::<ApiKey>(rows, &keys::api_key(&id))?);
        }
    }
    Ok(found)
}

pub(super) fn revoke_api_key(
    tx: &mut Tx<'_>,
    id: &ApiKeyId,
    scope: Option<TenantId>,
    now: Timestamp,
    by: &By,
) -> Result<Option<ApiKey>, StoreError> {
    let Some(mut key) = rows::load::<ApiKey>(tx, &keys::api_key(id))? else {
        return Ok(None);
    };
    if scope.is_some() && key.tenant != scope {
        return Ok(None);
    }
    if key.revoke_time.is_none() {
        key.revoke_time = Some(now);
        rows::save(tx, keys::api_key(id), &key);
        note(tx, now, key.tenant, by, "api_key.revoked", id, "")?;
    }
    Ok(Some(key))
}
