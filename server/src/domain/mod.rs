//! The rules: pure, without I/O, async or a clock. `now` and randomness come in
//! as arguments.
#![warn(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod api_key;
pub mod audit;
pub mod body;
pub mod challenge;
pub mod context;
pub mod device;
pub mod ids;
pub mod policy;
pub mod push;
pub mod receipt;
pub mod response;
pub mod retention;
pub mod signing_key;
pub mod tenant;
pub mod ticket;
pub mod time;

/// A field of a request that can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field as in the request, e.g. `context.application_name`.
    pub field: String,
    /// What is wrong with it, for the caller's developer.
    pub problem: String,
}

impl Invalid {
    /// A fault of `field`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
