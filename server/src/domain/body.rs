//! Bodies that the broker signs, as messages of the contract.

use countersign_proto::{
    sealing::{self, SealingError},
    v1,
};
use prost::Message as _;

use super::{
    challenge::SignedBody,
    context::SignInContext,
    ids::{ChallengeId, DeviceId, UserId},
    tenant::Tenant,
    time::Timestamp,
};

/// A point in time as protobuf has it.
#[must_use]
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let millis = at.as_millis();
    prost_types::Timestamp {
        seconds: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from((millis % 1000).saturating_mul(1_000_000)).unwrap_or_default(),
    }
}

/// A signed challenge that only the device with this key can read: a serialized
/// `SealedChallenge`.
///
/// # Errors
/// [`SealingError::BadPublicKey`].
pub fn sealed_challenge(
    id: &str,
    signed: &SignedBody,
    device: DeviceId,
    encryption_key: &[u8; 32],
) -> Result<Vec<u8>, SealingError> {
    let challenge = v1::SignedChallenge {
        body: signed.body.clone().into(),
        key_id: signed.key_id.clone(),
        signature: signed.signature.clone().into(),
    };
    sealing::seal(&challenge, encryption_key, &device.to_string(), id)
        .map(|sealed| sealed.encode_to_vec())
}

/// What is asked, serialized: these bytes are signed and never re-made.
#[must_use]
pub fn challenge_body(
    id: ChallengeId,
    tenant: &Tenant,
    user: &UserId,
    context: &SignInContext,
    digits: u8,
    life: (Timestamp, Timestamp),
    nonce: &[u8; 32],
) -> Vec<u8> {
    v1::ChallengeBody {
        challenge_id: id.to_string(),
        tenant_id: tenant.id.to_string(),
        organisation: tenant.display_name.clone(),
        user_id: user.as_str().to_owned(),
        context: Some(v1::SignInContext {
            application_name: context.application_name.clone(),
            client_address: context.client_address.clone(),
            location: context.location.clone(),
            user_agent: context.user_agent.clone(),
            binding_message: context.binding_message.clone(),
            details: context
                .details
                .iter()
                .map(|(label, value)| v1::Detail {
                    label: label.clone(),
                    value: value.clone(),
                })
                .collect(),
        }),
        template_id: "sign-in".to_owned(),
        template_arguments: Vec::new(),
        number_digits: u32::from(digits),
        create_time: Some(timestamp(life.0)),
        expire_time: Some(timestamp(life.1)),
        nonce: nonce.to_vec().into(),
    }
    .encode_to_vec()
}

/// A public key of the broker, serialized for its predecessor to sign.
#[must_use]
pub fn broker_key_body(key_id: &str, public_key: &[u8; 32], activate_time: Timestamp) -> Vec<u8> {
    v1::BrokerKey {
        key_id: key_id.to_owned(),
        public_key: public_key.to_vec().into(),
        activate_time: Some(timestamp(activate_time)),
    }
    .encode_to_vec()
}
