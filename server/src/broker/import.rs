//! Registering phones in bulk, for organisations that come from another product.

use std::sync::atomic::Ordering;

use countersign_proto::{imported::MAX_IMPORTED_DEVICES, signing::PublicKey};

use super::{
    Broker,
    administer::AdminCaller,
    enroll::check_app,
    error::{BrokerError, ImportRefusal},
};
use crate::{
    domain::{
        Invalid,
        device::{Device, KeyProtection, Platform, PushRegistration},
        ids::{DeviceId, TenantId, UserId},
        time::Timestamp,
    },
    store::{Imported, Newcomer},
};

/// What is known of a phone from elsewhere, its fields checked one by one.
#[derive(Debug)]
pub struct Import {
    /// Its owner.
    pub user: UserId,
    /// Verifies its answers.
    pub public_key: PublicKey,
    /// Where the private half lives.
    pub key_protection: KeyProtection,
    /// Its operating system.
    pub platform: Platform,
    /// Shown in lists.
    pub display_name: String,
    /// BCP 47 tag.
    pub language: String,
    /// Version of the app.
    pub app_version: String,
    /// How it can be woken.
    pub push: Option<PushRegistration>,
    /// X25519 key.
    pub encryption_key: Option<[u8; 32]>,
}

impl Import {
    /// Checks what the fields' types leave open, by the fields' own names.
    ///
    /// # Errors
    /// [`Invalid`] naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        check_app(
            &self.display_name,
            &self.language,
            &self.app_version,
            self.push.as_ref(),
        )
    }

    fn device(self, tenant: TenantId, now: Timestamp) -> Device {
        Device {
            id: DeviceId::imported(tenant, &self.user, &self.public_key),
            tenant,
            user: self.user,
            public_key: self.public_key,
            key_protection: self.key_protection,
            platform: self.platform,
            display_name: self.display_name,
            language: self.language,
            app_version: self.app_version,
            push: self.push,
            encryption_key: self.encryption_key,
            create_time: now,
            last_used_time: None,
        }
    }
}

/// What became of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// How many were registered.
    pub registered: usize,
    /// How many had been before.
    pub present: usize,
    /// All, in the order given.
    pub ids: Vec<DeviceId>,
    /// Those that were imported before and removed since: they stay removed.
    pub removed: Vec<DeviceId>,
}

impl Broker {
    /// Lets operators import devices from now on.
    pub fn allow_import(&self) {
        tracing::warn!(
            "devices may be imported without a proof of possession: for a migration only, \
             see limits.allow_device_import"
        );
        self.import_allowed.store(true, Ordering::Relaxed);
    }

    /// Whether this caller may import this many devices: to be asked before they
    /// are looked at.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] for the organisation,
    /// [`BrokerError::ImportNotAllowed`], and [`BrokerError::Invalid`] for too many
    /// at a time.
    pub async fn may_import(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        count: usize,
    ) -> Result<(), BrokerError> {
        self.get_tenant(caller, tenant).await?;
        if !self.import_allowed.load(Ordering::Relaxed) {
            return Err(BrokerError::ImportNotAllowed);
        }
        if !(1..=MAX_IMPORTED_DEVICES).contains(&count) {
            let problem = format!("must be 1 to {MAX_IMPORTED_DEVICES}");
            return Err(Invalid::new("devices", problem).into());
        }
        Ok(())
    }

    /// Registers devices without tickets and proofs of possession, all or none.
    ///
    /// # Errors
    /// Those of [`Broker::may_import`]; [`BrokerError::ImportRefused`];
    /// [`BrokerError::Invalid`] when they are more than one commit holds.
    pub async fn import_devices(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        devices: Vec<Import>,
    ) -> Result<ImportReport, BrokerError> {
        self.may_import(caller, tenant, devices.len()).await?;
        let now = self.now();
        let devices: Vec<_> = devices
            .into_iter()
            .map(|device| device.device(tenant, now))
            .collect();
        let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
        let by = caller.by.clone();
        match self.store.import_devices(devices, now, by).await? {
            Imported::Done(became) => {
                let count = |what| became.iter().filter(|one| **one == what).count();
                let report = ImportReport {
                    registered: count(Newcomer::Registered),
                    present: count(Newcomer::Present),
                    removed: ids
                        .iter()
                        .zip(&became)
                        .filter(|(_, one)| **one == Newcomer::Removed)
                        .map(|(id, _)| *id)
                        .collect(),
                    ids,
                };
                tracing::debug!(%tenant, devices = report.registered, "devices imported");
                Ok(report)
            }
            Imported::Locked(at) => {
                let why = ImportRefusal::AccountLocked;
                Err(BrokerError::ImportRefused(at, why))
            }
            Imported::TooManyDevices(at) => {
                let why = ImportRefusal::TooManyDevices;
                Err(BrokerError::ImportRefused(at, why))
            }
            Imported::TooMuch => Err(Invalid::new(
                "devices",
                "are more than one commit holds, with what their users are told: send fewer",
            )
            .into()),
        }
    }
}
