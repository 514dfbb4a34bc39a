//! The approval broker: signed challenges to phones, one durable decision each.
//!
//! Arrows between the rooms: `main -> lib -> api -> broker -> {store, delivery,
//! texts} -> domain -> proto::signing`. See `ARCHITECTURE.md`.

pub mod api;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod metrics;
pub mod startup;
pub mod store;
pub mod telemetry;
pub mod texts;
pub mod tls;

pub use startup::{InitReport, ServeError, Server, StartError, compact, init, recover};
