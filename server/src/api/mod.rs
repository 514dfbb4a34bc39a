//! TRANSPORT: gRPC and HTTP in, use cases out. One file per service.

mod admin;
mod admin_audit;
mod admin_import;
mod admin_users;
mod admission;
mod approval;
mod auth;
mod convert;
mod convert_policy;
mod device;
mod enrollment;
mod events;
pub mod http;
mod kept;
mod phone_stream;
mod repair;
mod sign_in;
mod status;

use std::sync::Arc;

use countersign_proto::{FILE_DESCRIPTOR_SET, v1};
use tonic::service::Routes;

use crate::broker::Broker;

/// What the gRPC port allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest request message in bytes.
    pub max_message_bytes: usize,
    /// The longest a call may take that does not wait for anybody.
    pub request_timeout: std::time::Duration,
    /// Calls and streams open at a time.
    pub max_calls: usize,
    /// Calls that begin something, in flight at a time.
    pub max_new_calls: u32,
    /// How long a call may wait for its turn before new ones are refused.
    pub queue_delay: std::time::Duration,
}

/// The layers around every service of the gRPC port: what is let in at all,
/// statuses made complete, and authentication.
pub(crate) type Gate = (admission::Admission, repair::Repair, auth::Authenticate);

/// What stands in front of [`services`]: outermost first.
pub(crate) fn gate(broker: &Arc<Broker>, limits: Limits) -> Gate {
    let repair = repair::Repair::new(broker.metrics.clone());
    let admission = admission::Admission::new(broker, limits);
    let authenticate = auth::Authenticate::new(broker.clone(), limits);
    (admission, repair, authenticate)
}

/// Everything on the gRPC port.
///
/// # Errors
/// When the reflection service does not accept the descriptors.
pub fn services(
    broker: &Arc<Broker>,
    health: tonic_health::server::HealthReporter,
    limits: Limits,
) -> Result<Routes, tonic_reflection::server::Error> {
    use v1::{
        admin_service_server::AdminServiceServer, approval_service_server::ApprovalServiceServer,
        device_service_server::DeviceServiceServer,
        enrollment_service_server::EnrollmentServiceServer,
    };
    let max = limits.max_message_bytes;
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = tonic_health::server::HealthService::from_health_reporter(health);
    let approval = ApprovalServiceServer::new(approval::Approval::new(broker.clone()));
    let enrollment = EnrollmentServiceServer::new(enrollment::Enrollment::new(broker.clone()));
    let phones = DeviceServiceServer::new(device::Phones::new(broker.clone()));
    let admin = AdminServiceServer::new(admin::Administration::new(broker.clone()));
    Ok(
        Routes::new(tonic_health::pb::health_server::HealthServer::new(health))
            .add_service(descriptors().build_v1()?)
            .add_service(descriptors().build_v1alpha()?)
            .add_service(approval.max_decoding_message_size(max))
            .add_service(enrollment.max_decoding_message_size(max))
            .add_service(phones.max_decoding_message_size(max))
            .add_service(admin.max_decoding_message_size(max)),
    )
}
