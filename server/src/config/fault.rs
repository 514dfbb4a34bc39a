//! What is wrong with a configuration, and where it says so.

use std::{fmt, sync::Arc};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A line of the configuration file, counted from 1.
    File {
        /// The file, as it was named.
        name: Arc<str>,
        /// Which line.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where the value comes from.
    pub source: Source,
    /// The key, such as `grpc.tls.key_file`; empty for a file that is not TOML.
    pub key: String,
    /// What is wrong with it. Never holds a secret.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source != Source::Default {
            write!(f, "{}: ", self.source)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, file first and by line, then the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults of one configuration; `None` when there are none.
    pub(crate) fn new(mut faults: Vec<Fault>) -> Option<Self> {
        // What follows from a line that is not TOML is no fault of its own.
        let torn: Vec<Source> = faults
            .iter()
            .filter(|fault| fault.key.is_empty())
            .map(|fault| fault.source.clone())
            .collect();
        faults.retain(|fault| fault.key.is_empty() || !torn.contains(&fault.source));
        faults.sort();
        faults.dedup();
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 fault in the configuration")?,
            n => write!(f, "{n} faults in the configuration")?,
        }
        for fault in &self.0 {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}
