//! The approval broker.

pub mod clock;
pub mod config;
pub mod telemetry;
pub mod tls;
