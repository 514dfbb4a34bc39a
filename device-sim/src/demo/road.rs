//! The simulated phone's way to its push service.

use countersign_proto::v1::{Gateway, KeyAlgorithm, Platform, PushEnvironment, PushRegistration};

use super::DemoError;
use crate::gateway::{Environment, Gateways, GatewaysConfig, Registration, Vendor};
use crate::phone::{EnrollOptions, Ticket};

/// One of the two push services with the phone that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// Whose.
    pub(super) vendor: Vendor,
    /// What it is called.
    pub(super) name: &'static str,
    /// What its phones are called.
    pub(super) phone: &'static str,
    /// How its phones keep their keys.
    pub(super) algorithm: KeyAlgorithm,
    /// Whether its app knows encrypted prompts.
    pub(super) encrypted_prompts: bool,
    platform: Platform,
    gateway: Gateway,
}

/// Apple's: no Secure Enclave holds Ed25519.
pub(super) const APNS: Service = Service {
    vendor: Vendor::Apns,
    name: "APNs",
    phone: "iPhone",
    algorithm: KeyAlgorithm::P256,
    encrypted_prompts: true,
    platform: Platform::Ios,
    gateway: Gateway::Apns,
};

/// Google's, with an app that is only ever woken.
pub(super) const FCM: Service = Service {
    vendor: Vendor::Fcm,
    name: "FCM",
    phone: "Android phone",
    algorithm: KeyAlgorithm::Ed25519,
    encrypted_prompts: false,
    platform: Platform::Android,
    gateway: Gateway::Fcm,
};

impl Service {
    /// A phone that got its token from this service and is about to redeem
    /// `ticket`.
    pub(super) fn phone(
        self,
        gateways: &Gateways,
        ticket: Ticket,
        language: &str,
    ) -> Result<EnrollOptions, DemoError> {
        let app_id = self.app_id();
        let registration = Registration {
            gateway: self.vendor,
            app_id: app_id.clone(),
            environment: Environment::Production,
        };
        let token = gateways
            .issue_token(&registration)
            .map_err(|error| DemoError::part("push gateways")(&error))?;
        let mut options = EnrollOptions::new(ticket);
        options.algorithm = self.algorithm;
        options.platform = self.platform;
        options.language = language.to_owned();
        if !self.encrypted_prompts {
            options.encryption_key = None;
        }
        options.display_name = format!("Simulated {}", self.phone);
        options.push = Some(PushRegistration {
            gateway: self.gateway.into(),
            app_id,
            environment: PushEnvironment::Production.into(),
            token,
        });
        Ok(options)
    }

    /// The gateways' example app.
    fn app_id(self) -> String {
        let config = GatewaysConfig::default();
        let app = match self.vendor {
            Vendor::Apns => config.teams.first().and_then(|team| team.topics.first()),
            Vendor::Fcm => config.projects.first(),
        };
        app.cloned().unwrap_or_default()
    }
}
