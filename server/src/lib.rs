//! The approval broker.

pub mod delivery;
