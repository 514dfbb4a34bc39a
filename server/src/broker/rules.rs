//! What operators do with the rules of an organisation.

use super::{Broker, administer::AdminCaller, error::BrokerError};
use crate::{
    domain::{
        Invalid,
        ids::TenantId,
        policy::{Policy, Preset},
        tenant::PolicyVersion,
    },
    store::Replaced,
};

/// How often a change that insists on no version is tried again when others
/// come in between.
const TRIES: u32 = 16;

/// Checks rules as a whole, and names all that is wrong.
pub(super) fn check(policy: &Policy) -> Result<(), BrokerError> {
    let mut faults = policy.faults();
    match faults.len() {
        0 => Ok(()),
        1 => Err(faults.remove(0).into()),
        _ => Err(BrokerError::InvalidFields(faults)),
    }
}

impl Broker {
    /// The rules of an organisation.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] and those of the store.
    pub async fn get_policy(
        &self,
        caller: &AdminCaller,
        id: TenantId,
    ) -> Result<Policy, BrokerError> {
        Ok(self.get_tenant(caller, id).await?.policy)
    }

    /// Changes the rules: first to those of `preset`, then as `change` says. It
    /// is in force from the next call on. What changes nothing makes no version.
    ///
    /// # Errors
    /// [`BrokerError::VersionChanged`] where `expected` is not the version;
    /// [`BrokerError::InvalidFields`] naming all that is wrong.
    pub async fn update_policy(
        &self,
        caller: &AdminCaller,
        id: TenantId,
        expected: Option<u64>,
        preset: Option<Preset>,
        change: impl Fn(Policy) -> Result<Policy, Invalid>,
    ) -> Result<Policy, BrokerError> {
        for _ in 0..TRIES {
            let old = self.get_policy(caller, id).await?;
            if expected.is_some_and(|expected| expected != old.version) {
                return Err(BrokerError::VersionChanged {
                    version: old.version,
                });
            }
            let base = match preset {
                Some(preset) => preset.apply(old.clone()),
                None => old.clone(),
            };
            let new = Policy {
                version: old.version,
                ..change(base)?
            };
            check(&new)?;
            if new == old {
                return Ok(old);
            }
            let why = preset.map(|preset| format!(" from preset {}", preset.name()));
            let replaced = self.store.replace_policy(
                id,
                old.version,
                new,
                why.unwrap_or_default(),
                self.now(),
                caller.by.clone(),
            );
            match replaced.await? {
                Replaced::Done(policy) => {
                    tracing::debug!(tenant = %id, version = policy.version, "policy changed");
                    return Ok(*policy);
                }
                Replaced::NotFound => return Err(BrokerError::NotFound("tenant")),
                Replaced::VersionChanged(version) if expected.is_some() => {
                    return Err(BrokerError::VersionChanged { version });
                }
                Replaced::VersionChanged(_) => {}
            }
        }
        Err(BrokerError::Overloaded)
    }

    /// The rules as they were, newest first.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] and those of the store.
    pub async fn policy_versions(
        &self,
        caller: &AdminCaller,
        id: TenantId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<PolicyVersion>, BrokerError> {
        self.get_tenant(caller, id).await?;
        Ok(self.store.policy_versions(id, before, limit).await?)
    }
}
