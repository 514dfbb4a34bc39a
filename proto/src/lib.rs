//! The wire contract of Countersign.
//!
//! [`v1`] holds the generated gRPC messages, clients and servers of package
//! `countersign.v1`; [`signing`] the exact bytes that are signed and how they
//! are verified; [`sealing`] how a challenge is encrypted to one device;
//! [`imported`] the ids of devices that came from elsewhere; [`codec`] how messages
//! are put into buffers. Broker and phones use the same code for all of it.

pub mod codec;
pub mod imported;
pub mod sealing;
pub mod signing;

/// Messages, clients and servers of package `countersign.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("countersign.v1");
}

/// The serialized `FileDescriptorSet` of the package, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/countersign.bin"));
