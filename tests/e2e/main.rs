//! End to end: one file per scenario.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod audit;
mod bad_input;
mod browsers;
mod chaos;
mod clock_skew;
mod codes;
mod credentials;
mod decisions;
mod delivery_states;
mod enrolment;
mod gone_callers;
mod import;
mod journeys_devices;
mod keys;
mod layering;
mod load;
mod operations;
mod overload;
mod policy;
mod push;
mod restart;
mod retention;
mod risk;
mod sealed;
mod secrets;
mod sheet;
mod sign_in_options;
mod users;
mod withdrawal;
