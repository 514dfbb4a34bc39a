//! Registering phones one by one, as users do: two commits each. It needs no
//! more than the key of an identity provider.

use std::time::SystemTime;

use bytes::Bytes;
use countersign_proto::signing::Purpose;
use countersign_proto::v1::{
    CreateEnrollmentRequest, EnrollRequest, EnrollmentBody, KeyAlgorithm, KeyProtection, Platform,
    PushRegistration, device_service_client::DeviceServiceClient,
    enrollment_service_client::EnrollmentServiceClient,
};
use prost::Message as _;
use tonic::transport::Channel;

use super::{FleetError, Idp, Population};

/// A registered phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// UUID.
    pub device_id: String,
    /// UUID.
    pub tenant_id: String,
}

/// Makes a ticket for number `index` of `population` and redeems it.
///
/// # Errors
/// [`FleetError::Refused`], [`FleetError::UnusableKey`].
pub async fn enroll_by_ticket(
    idp: &Idp,
    channel: Channel,
    population: &Population,
    index: u64,
    push: Option<PushRegistration>,
) -> Result<Enrolled, FleetError> {
    let refused = |call| {
        move |status| FleetError::Refused {
            call,
            status: Box::new(status),
        }
    };
    let ticket = EnrollmentServiceClient::new(channel.clone())
        .create_enrollment(idp.authorized(CreateEnrollmentRequest {
            user_id: population.user_id(index),
            ttl: None,
        }))
        .await
        .map_err(refused("CreateEnrollment"))?
        .into_inner();
    let key = population.key(index);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let body = EnrollmentBody {
        ticket: ticket.manual_code,
        key_algorithm: KeyAlgorithm::Ed25519.into(),
        public_key: key.public_bytes().into(),
        key_protection: KeyProtection::Software.into(),
        platform: Platform::Android.into(),
        display_name: "Load phone".to_owned(),
        language: "en".to_owned(),
        app_version: env!("CARGO_PKG_VERSION").to_owned(),
        push,
        encryption_key: Bytes::new(),
        enroll_time: Some(prost_types::Timestamp {
            seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            nanos: 0,
        }),
    };
    let body = Bytes::from(body.encode_to_vec());
    let signature = key
        .sign(Purpose::Enroll, &body)
        .map_err(|_| FleetError::UnusableKey)?;
    let enrolled = DeviceServiceClient::new(channel)
        .enroll(EnrollRequest {
            body,
            signature: signature.into(),
        })
        .await
        .map_err(refused("Enroll"))?
        .into_inner();
    Ok(Enrolled {
        device_id: enrolled.device_id,
        tenant_id: enrolled.tenant_id,
    })
}
