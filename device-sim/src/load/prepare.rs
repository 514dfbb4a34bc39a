//! Registering the users of a run, once.

use std::fmt;

use futures_util::StreamExt as _;

use super::error::LoadError;
use super::settings::PrepareArgs;
use crate::fleet::{Connections, Idp, Population, enroll_by_ticket};

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Registered now.
    pub registered: u64,
    /// Registered before.
    pub already_present: u64,
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            registered,
            already_present,
        } = self;
        write!(f, "{registered} registered, {already_present} were there")
    }
}

/// Registers the users that a run needs, or what is missing of them.
///
/// # Errors
/// [`LoadError`]; what was registered until then stays.
pub async fn prepare(args: PrepareArgs) -> Result<Prepared, LoadError> {
    args.target.check()?;
    let target = args.target.target()?;
    let connections = Connections::open(&target, 4).await?;
    let population = Population {
        seed: args.target.population,
    };
    let mut prepared = Prepared::default();
    for key in args.target.api_keys()? {
        let idp = Idp::new(connections.clone(), &key)?;
        let mut calls = futures_util::stream::iter(0..args.target.devices)
            .map(|index| {
                let channel = connections.pick(index);
                enroll_by_ticket(&idp, channel, &population, index, None)
            })
            .buffer_unordered(args.in_flight.max(1));
        while let Some(enrolled) = calls.next().await {
            enrolled?;
            prepared.registered += 1;
        }
    }
    Ok(prepared)
}
