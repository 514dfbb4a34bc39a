//! End to end: one file per scenario.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod chaos;
mod decisions;
mod delivery_states;
mod push;
mod withdrawal;
