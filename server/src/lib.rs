//! The approval broker.

pub mod cli;
pub mod clock;
pub mod config;
pub mod startup;
pub mod telemetry;
pub mod tls;

pub use startup::{InitError, InitReport, ServeError, Server, StartError, init};
