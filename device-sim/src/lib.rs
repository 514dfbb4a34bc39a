//! Phones, push gateways and load for Countersign, without Apple or Google.

pub mod bench;
pub mod command;
pub mod demo;
pub mod fault;
pub mod fetch;
pub mod fleet;
pub mod gateway;
pub mod load;
pub mod phone;
pub mod prompt;
pub mod receipt;
pub mod report;
pub mod terminal;
