//! What is written down of every change: who, what, to what, with what outcome.
//! No code, secret, token or full phone number ever stands in it.

use super::{
    api_key::ApiKeyId,
    ids::{DeviceId, TenantId},
    time::Timestamp,
};

/// Who caused a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The holder of an API key.
    ApiKey(ApiKeyId),
    /// A registered phone.
    Device(DeviceId),
    /// Somebody with a ticket.
    Ticket,
    /// The broker itself: time ran out, a newer challenge came.
    Broker,
    /// Whoever ran `countersign init`.
    Operator,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ApiKey(id) => write!(f, "api_key:{id}"),
            Self::Device(id) => write!(f, "device:{id}"),
            Self::Ticket => f.write_str("ticket"),
            Self::Broker => f.write_str("broker"),
            Self::Operator => f.write_str("operator"),
        }
    }
}

/// Who caused a change, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// Network address of the caller, or empty.
    pub address: String,
}

impl By {
    /// The broker itself.
    #[must_use]
    pub fn broker() -> Self {
        Self {
            actor: Actor::Broker,
            address: String::new(),
        }
    }
}

/// One entry before it is chained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub time: Timestamp,
    /// In which organisation; none: in the installation.
    pub tenant: Option<TenantId>,
    /// Who.
    pub by: By,
    /// What, e.g. `challenge.decided`.
    pub action: &'static str,
    /// To what, e.g. a challenge id.
    pub object: String,
    /// With what outcome, e.g. `APPROVED USER_APPROVED`.
    pub outcome: String,
}
