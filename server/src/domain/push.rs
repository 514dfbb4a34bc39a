//! Pushes intended: entries of the durable outbox.

use super::{
    device::{PushGateway, PushRegistration},
    ids::{ChallengeId, DeviceId, PushId, TenantId},
    time::Timestamp,
};

/// What a push is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushKind {
    /// Show the prompt.
    Prompt,
    /// Take it away.
    Withdraw,
    /// Come and look: something happened to the account.
    Notice,
}

/// A push intended: stored before it is tried, and tried under one id for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushJob {
    /// The `apns-id` of every try.
    pub id: PushId,
    /// Through which service.
    pub gateway: PushGateway,
    /// Not to be tried before.
    pub due: Timestamp,
    /// What for.
    pub kind: PushKind,
    /// Of which organisation.
    pub tenant: TenantId,
    /// About which challenge; of a notice: its id.
    pub challenge: ChallengeId,
    /// To which device.
    pub device: DeviceId,
    /// Tries so far.
    pub attempts: u32,
    /// An earlier try got no clear answer: the gateway may have taken it.
    pub perhaps_sent: bool,
    /// Of no use after this.
    pub expire_time: Timestamp,
    /// Of a device that is gone: where it was reached.
    pub farewell: Option<PushRegistration>,
}
