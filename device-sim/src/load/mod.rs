//! `device-sim load`: many sign-ins at a chosen rate against any broker that can
//! be reached, with phones that answer them.
//!
//! It is an open loop: sign-ins start when the schedule says so, whatever became
//! of those before, and latency counts from when each was meant to start, so
//! that a stall shows in all that it delayed.

mod apps;
mod attackers;
mod behaviour;
mod broker_side;
mod captures;
mod codes;
mod conduct;
mod dice;
mod error;
mod flow;
mod inbox;
mod mix;
mod prepare;
mod push;
mod rate;
mod run;
mod schedule;
mod settings;
mod tenant;
mod verified;

pub use attackers::{Attacks, Model};
pub use behaviour::{Answer, Channel, Think};
pub use conduct::{Interrupt, measure, run};
pub use error::LoadError;
pub use mix::{Mix, Named};
pub use prepare::{Prepared, prepare};
pub use rate::Rate;
pub use schedule::{Arrival, Arrivals, Plan, Schedule};
pub use settings::{LoadArgs, PrepareArgs, RunArgs, TargetArgs, Waiting};
