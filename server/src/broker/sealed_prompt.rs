//! The encrypted form of a prompt: the challenge itself, which only the device
//! can read.

use super::Broker;
use crate::{
    delivery::{Content, Push},
    domain::{body, challenge::SignedBody, device::Device},
    store::StoreError,
};

impl Broker {
    /// The wake-up `push` with the challenge sealed into it, where the tenant
    /// wants that, the device has a key for it and the gateway takes a body that
    /// long; any other as it is.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn sealed(
        &self,
        push: Push,
        device: Option<&Device>,
        signed: &SignedBody,
    ) -> Result<Push, StoreError> {
        let (Content::WakeUp { challenge_id }, Some(device)) = (&push.content, device) else {
            return Ok(push);
        };
        let Some(encryption_key) = device.encryption_key else {
            return Ok(push);
        };
        let tenant = self.store.tenant(device.tenant).await?;
        if !tenant.is_some_and(|tenant| tenant.policy.encrypted_prompts) {
            return Ok(push);
        }
        match body::sealed_challenge(challenge_id, signed, device.id, &encryption_key) {
            Ok(ciphertext) => {
                let content = Content::Sealed {
                    challenge_id: challenge_id.clone(),
                    ciphertext,
                };
                let sealed = Push {
                    content,
                    ..push.clone()
                };
                Ok(if sealed.fits() { sealed } else { push })
            }
            Err(error) => {
                tracing::warn!(%error, device = %device.id, "a prompt goes as a wake-up");
                Ok(push)
            }
        }
    }
}
