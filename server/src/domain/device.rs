//! Registered phones.

use countersign_proto::{signing::PublicKey, v1::KeyAlgorithm};

use super::{
    ids::{DeviceId, TenantId, UserId},
    time::Timestamp,
};

/// A phone's operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// iOS or iPadOS.
    Ios,
    /// Android.
    Android,
}

/// Where a device key lives, as the app says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProtection {
    /// In the app's own storage.
    Software,
    /// In hardware that never lets it out.
    Hardware,
}

/// A push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PushGateway {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
}

/// How a phone can be woken.
#[derive(Clone, PartialEq, Eq)]
pub struct PushRegistration {
    /// Through which service.
    pub gateway: PushGateway,
    /// APNs topic or Firebase project.
    pub app_id: String,
    /// APNs development build.
    pub sandbox: bool,
    /// The vendor's token; empty once the gateway called it dead. What is left
    /// of the registration then says that this phone counts on being woken,
    /// unlike one that never asked to be.
    pub token: String,
    /// When the phone told us of it.
    pub register_time: Timestamp,
    /// The gateway doubted it (`BadDeviceToken`) or called it dead: not used
    /// until replaced.
    pub quarantined: bool,
}

impl std::fmt::Debug for PushRegistration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: String = self.token.chars().take(6).collect();
        write!(
            f,
            "PushRegistration({:?} {} {shown}…)",
            self.gateway, self.app_id
        )
    }
}

/// A registered phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its organisation.
    pub tenant: TenantId,
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
    /// How it can be woken; none: over `Subscribe` only.
    pub push: Option<PushRegistration>,
    /// X25519 key to which prompts may be encrypted.
    pub encryption_key: Option<[u8; 32]>,
    /// When it was registered.
    pub create_time: Timestamp,
    /// When it last gave a valid answer, to the hour.
    pub last_used_time: Option<Timestamp>,
}

impl Device {
    /// Kind of its key.
    #[must_use]
    pub fn key_algorithm(&self) -> KeyAlgorithm {
        self.public_key.algorithm()
    }
}
