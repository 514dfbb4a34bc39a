//! The subcommands of `device-sim`.

pub mod gateways;
pub mod phone;
