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

/// An organisation's rules at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion {
    /// The rules.
    pub policy: Policy,
    /// From when.
    pub change_time: Timestamp,
    /// Who made them so, as in the audit trail.
    pub changed_by: String,
}
