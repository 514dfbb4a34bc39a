//! What phones do: fetch, show, answer.

use std::sync::Arc;

use super::{Broker, Shown, error::BrokerError, following::already_decided, hub::Subscription};
use crate::{
    domain::{
        audit::{Actor, By},
        challenge::{Challenge, DeliveryState, Event, Final, Reason, SignedBody},
        device::{Device, PushRegistration},
        ids::{ChallengeId, DeviceId},
        notice::Kept,
        response::UnverifiedAnswer,
        signing_key::Succession,
        time::Timestamp,
    },
    store::{Decided, Removed},
};

/// What a phone is told of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responded {
    /// How the challenge ended.
    pub state: Final,
    /// Why.
    pub reason: Reason,
    /// It had been approved, and stays so; "that wasn't me" is recorded beside it.
    pub revoked: bool,
}

impl Responded {
    fn to(challenge: &Challenge, revoked: bool) -> Result<Self, BrokerError> {
        let outcome = challenge.outcome.as_ref();
        let outcome =
            outcome.ok_or_else(|| BrokerError::Internal("decided without an outcome".into()))?;
        Ok(Self {
            state: outcome.state,
            reason: outcome.reason,
            revoked,
        })
    }
}

impl Broker {
    /// Takes a signed answer: the only way to an approval.
    ///
    /// # Errors
    /// [`BrokerError`]; only with `Unknown` may something have been decided.
    pub async fn respond(
        &self,
        body: &[u8],
        signature: &[u8],
        address: String,
    ) -> Result<Responded, BrokerError> {
        let now = self.now();
        let answer = UnverifiedAnswer::parse(body, signature)?;
        let (challenge_id, device_id) = (answer.challenge, answer.device);
        // An unknown device and a wrong signature look the same from outside.
        let device = self
            .store
            .device(device_id)
            .await?
            .ok_or(BrokerError::BadSignature)?;
        answer
            .verify_signature(&device)
            .map_err(|error| BrokerError::from_answer(error, now))?;
        let (challenge, signed) = self
            .store
            .challenge(device.tenant, challenge_id)
            .await?
            .filter(|(challenge, _)| challenge.user == device.user)
            .filter(|(challenge, _)| challenge.deliveries.iter().any(|d| d.device == device_id))
            .ok_or(BrokerError::NotFound("challenge"))?;
        let answer = answer
            .into_answer(&device, &signed, challenge.number.len(), now)
            .map_err(|error| BrokerError::from_answer(error, now))?;
        let by = By {
            actor: Actor::Device(device_id),
            address,
        };
        let decided = self
            .store
            .decide(
                device.tenant,
                challenge_id,
                Event::Answer(Box::new(answer)),
                now,
                self.keyring.current_id(now)?,
                by,
            )
            .await?;
        match decided {
            Decided::Recorded(challenge) => {
                self.withdraw(&challenge);
                Responded::to(&challenge, false)
            }
            Decided::Revoked { challenge, ended } => {
                for other in &ended {
                    self.withdraw(other);
                }
                Responded::to(&challenge, true)
            }
            Decided::Already(challenge) => Err(already_decided(&challenge)),
            Decided::ReportedLate { challenge, ended } => {
                for other in &ended {
                    self.withdraw(other);
                }
                Err(already_decided(&challenge))
            }
            Decided::Lapsed(challenge) => {
                self.withdraw(&challenge);
                Err(already_decided(&challenge))
            }
            Decided::PromptExpired => Err(BrokerError::PromptExpired),
            Decided::NotFound => Err(BrokerError::NotFound("challenge")),
        }
    }

    /// What this device may answer now, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list_pending(&self, device: &Device) -> Result<Vec<SignedBody>, BrokerError> {
        let now = self.now();
        let mut found = Vec::new();
        for (challenge, signed) in self
            .store
            .pending_of(device.tenant, &device.user, now)
            .await?
        {
            let Some(delivery) = challenge.deliveries.iter().find(|d| d.device == device.id) else {
                continue;
            };
            if delivery.state < DeliveryState::Fetched {
                let state = DeliveryState::Fetched;
                self.store.note_delivery_soon(
                    device.tenant,
                    challenge.id,
                    device.id,
                    state,
                    now,
                )?;
            }
            found.push(signed);
        }
        Ok(found)
    }

    /// What was approved of late without this device, which had been asked too:
    /// newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn recent_approvals(
        &self,
        device: &Device,
    ) -> Result<Vec<(SignedBody, Timestamp)>, BrokerError> {
        Ok(self.store.recent_approvals(device, self.now()).await?)
    }

    /// What this device is to be told of the account, beyond number `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn notices(&self, device: &Device, after: u64) -> Result<Vec<Kept>, BrokerError> {
        Ok(self.store.notices(device, after, self.now()).await?)
    }

    /// The user sees the prompt.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] when it is not this device's to show.
    pub async fn acknowledge(&self, device: &Device, id: ChallengeId) -> Result<(), BrokerError> {
        let now = self.now();
        let (challenge, _) = self
            .store
            .challenge(device.tenant, id)
            .await?
            .filter(|(challenge, _)| challenge.user == device.user)
            .filter(|(challenge, _)| challenge.deliveries.iter().any(|d| d.device == device.id))
            .ok_or(BrokerError::NotFound("challenge"))?;
        if challenge.outcome.is_some() {
            return Err(already_decided(&challenge));
        }
        self.store
            .note_delivery(device.tenant, id, device.id, DeliveryState::Shown, now)
            .await?;
        Ok(())
    }

    /// Opens a stream to the device. Subscribe first, then list what is
    /// pending: nothing falls between.
    ///
    /// # Errors
    /// [`BrokerError::Unauthenticated`] when the device was removed meanwhile:
    /// nobody would close its stream.
    pub async fn subscribe(self: &Arc<Self>, device: &Device) -> Result<Subscription, BrokerError> {
        let subscription = self.hub.subscribe(device.id);
        match self.store.device(device.id).await? {
            Some(_) => Ok(subscription),
            None => Err(BrokerError::Unauthenticated),
        }
    }

    /// A registered device.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn device(&self, id: DeviceId) -> Result<Option<Device>, BrokerError> {
        Ok(self.store.device(id).await?)
    }

    /// How the broker's keys follow from one another, oldest first.
    #[must_use]
    pub fn successions(&self) -> Vec<Succession> {
        self.keyring
            .stored()
            .into_iter()
            .filter_map(|key| key.succession)
            .collect()
    }

    /// Replaces the device's push registration.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] when the device is gone.
    pub async fn update_push(
        &self,
        device: &Device,
        push: Option<PushRegistration>,
        address: String,
    ) -> Result<(), BrokerError> {
        let by = By {
            actor: Actor::Device(device.id),
            address,
        };
        if self
            .store
            .replace_push(device.id, push, self.now(), by)
            .await?
        {
            Ok(())
        } else {
            Err(BrokerError::NotFound("device"))
        }
    }

    /// The phone takes itself off the list.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] when it is gone already.
    pub async fn unenroll(&self, device: &Device, address: String) -> Result<(), BrokerError> {
        let by = By {
            actor: Actor::Device(device.id),
            address,
        };
        self.remove_device(device.tenant, device.user.clone(), device.id, by)
            .await
    }

    pub(super) async fn remove_device(
        &self,
        tenant: crate::domain::ids::TenantId,
        user: crate::domain::ids::UserId,
        device: crate::domain::ids::DeviceId,
        by: By,
    ) -> Result<(), BrokerError> {
        let now = self.now();
        let key = self.keyring.current_id(now)?;
        match self
            .store
            .remove_device(tenant, user, device, now, key, by)
            .await?
        {
            Removed::NotFound => Err(BrokerError::NotFound("authenticator")),
            Removed::Done { ended, dropped } => {
                self.hub.close(device);
                for challenge in &ended {
                    self.withdraw(challenge);
                }
                for id in dropped {
                    self.end_if_unheard(tenant, id).await?;
                }
                Ok(())
            }
        }
    }

    /// Ends a challenge that nobody can be asked any more.
    pub(super) async fn end_if_unheard(
        &self,
        tenant: crate::domain::ids::TenantId,
        id: ChallengeId,
    ) -> Result<(), BrokerError> {
        let now = self.now();
        let Some((challenge, _)) = self.store.challenge(tenant, id).await? else {
            return Ok(());
        };
        if !challenge.is_out_of_reach() || self.is_heard(&challenge) {
            return Ok(());
        }
        let key = self.keyring.current_id(now)?;
        let event = Event::NobodyListens;
        match self
            .store
            .decide(tenant, id, event, now, key, By::broker())
            .await?
        {
            Decided::Recorded(challenge) | Decided::Lapsed(challenge) => self.withdraw(&challenge),
            Decided::Already(_)
            | Decided::PromptExpired
            | Decided::NotFound
            | Decided::ReportedLate { .. }
            | Decided::Revoked { .. } => {}
        }
        Ok(())
    }

    /// Whether a device that was asked has a stream open.
    pub(super) fn is_heard(&self, challenge: &Challenge) -> bool {
        challenge
            .deliveries
            .iter()
            .any(|delivery| self.hub.is_subscribed(delivery.device))
    }
}

/// How a challenge ended, for phones.
impl Shown {
    /// State and reason, once decided.
    #[must_use]
    pub fn end(&self) -> Option<(Final, Reason)> {
        self.challenge
            .outcome
            .as_ref()
            .map(|outcome| (outcome.state, outcome.reason))
    }
}
