//! The rules: pure, without I/O, async or a clock. `now` and randomness come in
//! as arguments.
#![warn(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod account;
pub mod api_key;
pub mod audit;
pub mod body;
pub mod browser;
pub mod challenge;
pub mod code;
pub mod context;
mod crockford;
pub mod device;
pub mod event;
pub mod ids;
pub mod notice;
pub mod phone_number;
pub mod policy;
pub mod push;
pub mod receipt;
pub mod response;
pub mod retention;
pub mod revocation;
pub mod risk;
pub mod secret_code;
pub mod sign_in;
pub mod signing_key;
pub mod spending;
pub mod tenant;
pub mod text;
pub mod ticket;
pub mod time;
pub mod totp;

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

    /// The same fault, of a field of `outer`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            problem: self.problem,
        }
    }
}
