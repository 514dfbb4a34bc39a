//! The encrypted form of a prompt: the challenge itself, which only the device
//! can read.

use countersign_proto::{sealing, v1::SignedChallenge};
use prost::Message as _;

use super::Broker;
use crate::{
    delivery::{Content, Push},
    domain::{challenge::SignedBody, device::Device},
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
        let challenge = SignedChallenge {
            body: signed.body.clone().into(),
            key_id: signed.key_id.clone(),
            signature: signed.signature.clone().into(),
        };
        let device_id = device.id.to_string();
        match sealing::seal(&challenge, &encryption_key, &device_id, challenge_id) {
            Ok(sealed) => {
                let content = Content::Sealed {
                    challenge_id: challenge_id.clone(),
                    ciphertext: sealed.encode_to_vec(),
                };
                let with_challenge = Push {
                    content,
                    ..push.clone()
                };
                Ok(if with_challenge.fits() {
                    with_challenge
                } else {
                    push
                })
            }
            Err(error) => {
                tracing::warn!(%error, device = %device.id, "a prompt goes as a wake-up");
                Ok(push)
            }
        }
    }
}
