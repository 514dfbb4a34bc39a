//! `device-sim load`: many sign-ins at a chosen rate against any broker that can
//! be reached, with phones that answer them.
//!
//! It is an open loop: sign-ins start when the schedule says so, whatever became
//! of those before, and latency counts from when each was meant to start, so
//! that a stall shows in all that it delayed.

mod behaviour;
mod dice;
mod mix;
mod rate;
mod schedule;

pub use behaviour::{Answer, Channel, Think};
pub use mix::{Mix, Named};
pub use rate::Rate;
pub use schedule::{Arrival, Arrivals, Plan, Schedule};
