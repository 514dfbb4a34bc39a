//! What operators and the service desk do for people.

use super::{Broker, administer::AdminCaller, authenticators::Authenticators, error::BrokerError};
use crate::domain::{
    account::{AccountChange, LockReason},
    device::Device,
    ids::{DeviceId, TenantId, UserId},
};

impl Broker {
    /// All that is known of a user: nothing, for one that was never heard of.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] for the organisation, and those of the store.
    pub async fn get_user(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        user: &UserId,
    ) -> Result<Authenticators, BrokerError> {
        self.get_tenant(caller, tenant).await?;
        self.list_authenticators(tenant, user).await
    }

    /// Locks an account; what is pending ends.
    ///
    /// # Errors
    /// As [`Broker::get_user`].
    pub async fn lock_user(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        user: &UserId,
    ) -> Result<Authenticators, BrokerError> {
        let change = AccountChange::Lock(LockReason::Operator);
        self.change_user(caller, tenant, user, change).await
    }

    /// Unlocks an account.
    ///
    /// # Errors
    /// As [`Broker::get_user`].
    pub async fn unlock_user(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        user: &UserId,
    ) -> Result<Authenticators, BrokerError> {
        let change = AccountChange::Unlock;
        self.change_user(caller, tenant, user, change).await
    }

    /// Takes everything away that a user could answer with; what is pending ends.
    ///
    /// # Errors
    /// As [`Broker::get_user`].
    pub async fn reset_user(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        user: &UserId,
    ) -> Result<Authenticators, BrokerError> {
        let change = AccountChange::Reset;
        self.change_user(caller, tenant, user, change).await
    }

    pub(super) async fn change_user(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        user: &UserId,
        change: AccountChange,
    ) -> Result<Authenticators, BrokerError> {
        self.get_tenant(caller, tenant).await?;
        self.change(tenant, user.clone(), change, self.now(), &caller.by)
            .await?;
        self.list_authenticators(tenant, user).await
    }

    /// A user's devices, oldest first.
    ///
    /// # Errors
    /// As [`Broker::get_user`].
    pub async fn list_devices(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        user: &UserId,
    ) -> Result<Vec<Device>, BrokerError> {
        self.get_tenant(caller, tenant).await?;
        Ok(self.store.devices_of(tenant, user).await?)
    }

    /// Takes a device away; what only it could have answered ends. Tells whose
    /// it was.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] when the organisation has no such device.
    pub async fn remove_device_of_tenant(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        id: DeviceId,
    ) -> Result<UserId, BrokerError> {
        self.get_tenant(caller, tenant).await?;
        let device = self
            .store
            .device(id)
            .await?
            .filter(|device| device.tenant == tenant)
            .ok_or(BrokerError::NotFound("device"))?;
        let by = caller.by.clone();
        self.remove_device(tenant, device.user.clone(), id, by)
            .await?;
        Ok(device.user)
    }
}
