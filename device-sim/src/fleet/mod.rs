//! Phones by the hundred thousand, and the identity provider that asks them:
//! what load and benchmarks share. Who they are follows from a seed, so that
//! nothing needs to be kept of them, and they do no more work than a load
//! generator has to.

mod connections;
mod enrolment;
mod idp;
mod population;

pub use connections::{Connections, Target};
pub use enrolment::{Enrolled, enroll_by_ticket};
pub use idp::Idp;
pub use population::{LightPhone, Population};

/// Why the fleet can't do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The address, or the certificates to trust, can't be used.
    #[error("the broker's address cannot be used: {0}")]
    BadAddress(String),
    /// No connection.
    #[error("no connection to {address}: {cause}")]
    Unreachable {
        /// The broker's address.
        address: String,
        /// Why, in words.
        cause: String,
    },
    /// The API key holds characters that no key has.
    #[error("the API key is malformed")]
    BadApiKey,
    /// A key could not be made or used.
    #[error("a device key cannot be used")]
    UnusableKey,
    /// The broker refused a call.
    #[error("{call} was refused: {status}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// What the broker said.
        status: Box<tonic::Status>,
    },
}
