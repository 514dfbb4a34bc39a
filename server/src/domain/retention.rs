//! How long things are kept once they are done with.

use std::time::Duration;

/// How long things are kept once they are done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Challenges, from their decision: with them go what was signed, the answer,
    /// and the protection against a request sent twice.
    pub challenges: Duration,
    /// Tickets, from the end of their time.
    pub tickets: Duration,
    /// Entries of the audit trail.
    pub audit: Duration,
}
