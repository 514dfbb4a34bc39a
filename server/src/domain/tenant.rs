//! An organisation.

use super::{ids::TenantId, policy::Policy, time::Timestamp};

/// An organisation: everything belongs to exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Shown in prompts.
    pub display_name: String,
    /// Its rules.
    pub policy: Policy,
    /// When it was added.
    pub create_time: Timestamp,
}
