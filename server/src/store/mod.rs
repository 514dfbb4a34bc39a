//! Persistence.

pub mod engine;
