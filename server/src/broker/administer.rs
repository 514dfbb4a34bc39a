//! What operators do: organisations, API keys, signing keys.

use std::{sync::Arc, time::Duration};

use super::{Broker, error::BrokerError, hub::DeviceEvent, random, rules};
use crate::domain::{
    Invalid,
    api_key::{ApiKey, ApiKeyId, PresentedKey, Role},
    audit::By,
    context::check_text,
    ids::TenantId,
    policy::Policy,
    signing_key::{SigningKey, Turn},
    tenant::Tenant,
};

/// How long phones and identity providers have to learn a new key.
const DEFAULT_LEAD: Duration = Duration::from_secs(24 * 3600);
const MAX_LEAD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Signing keys at most: a phone that was away learns all successions at once.
const MAX_SIGNING_KEYS: usize = 1000;

/// An operator.
#[derive(Clone, Debug)]
pub struct AdminCaller {
    /// One organisation only; none: the whole installation.
    pub scope: Option<TenantId>,
    /// For the audit trail.
    pub by: By,
}

impl AdminCaller {
    fn needs_installation(&self) -> Result<(), BrokerError> {
        if self.scope.is_some() {
            Err(BrokerError::NotAllowed)
        } else {
            Ok(())
        }
    }

    /// Another organisation's things don't exist for this caller.
    fn needs(&self, tenant: TenantId) -> Result<(), BrokerError> {
        if self.scope.is_some_and(|scope| scope != tenant) {
            Err(BrokerError::NotFound("tenant"))
        } else {
            Ok(())
        }
    }
}

impl Broker {
    /// Adds an organisation.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn create_tenant(
        &self,
        caller: &AdminCaller,
        display_name: String,
        policy: Policy,
    ) -> Result<Tenant, BrokerError> {
        caller.needs_installation()?;
        check_text("display_name", &display_name, 1, 128)?;
        rules::check(&policy)?;
        let now = self.now();
        let tenant = Tenant {
            id: TenantId::new(now, &random::id()?),
            display_name,
            policy,
            create_time: now,
        };
        self.store
            .add_tenant(tenant.clone(), caller.by.clone())
            .await?;
        Ok(tenant)
    }

    /// One organisation.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] and those of the store.
    pub async fn get_tenant(
        &self,
        caller: &AdminCaller,
        id: TenantId,
    ) -> Result<Tenant, BrokerError> {
        caller.needs(id)?;
        self.store
            .tenant(id)
            .await?
            .ok_or(BrokerError::NotFound("tenant"))
    }

    /// Organisations after `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list_tenants(
        &self,
        caller: &AdminCaller,
        after: Option<TenantId>,
        limit: usize,
    ) -> Result<Vec<Tenant>, BrokerError> {
        match caller.scope {
            None => Ok(self.store.tenants(after, limit).await?),
            Some(_) if after.is_some() => Ok(Vec::new()),
            Some(own) => Ok(self.store.tenant(own).await?.into_iter().collect()),
        }
    }

    /// Makes an API key.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn create_api_key(
        &self,
        caller: &AdminCaller,
        tenant: Option<TenantId>,
        role: Role,
        display_name: String,
    ) -> Result<(PresentedKey, ApiKey), BrokerError> {
        check_text("display_name", &display_name, 0, 128)?;
        match tenant {
            Some(tenant) => {
                self.get_tenant(caller, tenant).await?;
            }
            None => {
                caller.needs_installation()?;
                if role == Role::Idp {
                    return Err(
                        Invalid::new("tenant_id", "is required for a key of role IDP").into(),
                    );
                }
            }
        }
        let (presented, key) = self.make_api_key(tenant, role, display_name)?;
        self.store
            .add_api_key(key.clone(), caller.by.clone())
            .await?;
        Ok((presented, key))
    }

    fn make_api_key(
        &self,
        tenant: Option<TenantId>,
        role: Role,
        display_name: String,
    ) -> Result<(PresentedKey, ApiKey), BrokerError> {
        let presented = PresentedKey::new(random::bytes()?, &random::bytes()?);
        let key = ApiKey {
            id: presented.id.clone(),
            secret_hash: presented.secret_hash(),
            tenant,
            role,
            display_name,
            create_time: self.now(),
            revoke_time: None,
        };
        Ok((presented, key))
    }

    /// An admin key of the installation for whoever holds its files.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn create_operator_key(&self) -> Result<PresentedKey, BrokerError> {
        let (presented, key) =
            self.make_api_key(None, Role::Admin, "made on the broker's machine".into())?;
        let by = By {
            actor: crate::domain::audit::Actor::Operator,
            address: String::new(),
        };
        self.store.add_api_key(key, by).await?;
        Ok(presented)
    }

    /// The API keys of an organisation, or those of the installation.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn list_api_keys(
        &self,
        caller: &AdminCaller,
        tenant: Option<TenantId>,
    ) -> Result<Vec<ApiKey>, BrokerError> {
        match tenant {
            Some(tenant) => {
                self.get_tenant(caller, tenant).await?;
            }
            None => caller.needs_installation()?,
        }
        Ok(self.store.api_keys(tenant).await?)
    }

    /// Makes an API key useless at once.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] when the caller may see no such key.
    pub async fn revoke_api_key(
        &self,
        caller: &AdminCaller,
        id: ApiKeyId,
    ) -> Result<ApiKey, BrokerError> {
        self.store
            .revoke_api_key(id, caller.scope, self.now(), caller.by.clone())
            .await?
            .ok_or(BrokerError::NotFound("API key"))
    }

    /// Makes the next signing key and tells phones whose app is open.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn rotate_signing_key(
        &self,
        caller: &AdminCaller,
        lead: Option<Duration>,
    ) -> Result<(SigningKey, Turn), BrokerError> {
        caller.needs_installation()?;
        let lead = lead.unwrap_or(DEFAULT_LEAD);
        if lead > MAX_LEAD {
            return Err(Invalid::new("lead_time", "must be at most 30 days").into());
        }
        let one_at_a_time = self.keyring.make_one().await;
        if self.keyring.stored().len() >= MAX_SIGNING_KEYS {
            return Err(BrokerError::Internal("too many signing keys".into()));
        }
        let now = self.now();
        let key = self.keyring.make(now, now.after(lead))?;
        self.store
            .add_signing_key(key.clone(), caller.by.clone())
            .await?;
        self.keyring.add(key.clone())?;
        drop(one_at_a_time);
        self.hub
            .send_all(&DeviceEvent::KeySuccession(Arc::new(self.successions())));
        let turn = if lead.is_zero() {
            Turn::Current
        } else {
            Turn::Next
        };
        Ok((key, turn))
    }

    /// The signing keys, oldest first.
    ///
    /// # Errors
    /// [`BrokerError::NotAllowed`].
    pub fn list_signing_keys(
        &self,
        caller: &AdminCaller,
    ) -> Result<Vec<(SigningKey, Turn)>, BrokerError> {
        caller.needs_installation()?;
        Ok(self.keyring.turns(self.now()))
    }
}
