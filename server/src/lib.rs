//! The approval broker.

pub mod clock;
