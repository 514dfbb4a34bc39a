//! PERSISTENCE: what the broker needs kept, in its own words.
//!
//! The trait speaks in decisions, not in keys. Every method that changes
//! something is one atomic, durable step, audit entry and outbox entries
//! included; the rule "pending and not expired" is evaluated inside that step.
//! Reads see durable state only. Wake-ups ([`Hint`]) are hints: subscribe, read,
//! wait, and read again.

pub mod embedded;
pub mod engine;
#[cfg(test)]
mod suite;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{
    api_key::{ApiKey, ApiKeyId},
    audit::{By, Chain, ChainedEntry, Entry, SignedHead},
    challenge::{Challenge, DeliveryState, Event, SignedBody},
    device::{Device, PushGateway, PushRegistration},
    ids::{ChallengeId, DeviceId, EnrollmentId, TenantId, UserId},
    policy::PendingLimit,
    push::PushJob,
    signing_key::SigningKey,
    tenant::Tenant,
    ticket::{Ticket, TicketCode},
    time::Timestamp,
};

/// Why a step was not taken, or perhaps was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not applied: too much is waiting already.
    #[error("the store has too much work waiting")]
    Overloaded,
    /// Not applied.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Perhaps applied. Reading tells, once the store is back.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// A stored record can't be read.
    #[error("a stored record can't be read: {0}")]
    Corrupt(String),
}

/// Something may have changed: read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A challenge changed, or was decided.
    Challenge(ChallengeId),
    /// A ticket was redeemed or died.
    Enrollment(EnrollmentId),
    /// The outbox of a gateway has something new.
    Outbox(PushGateway),
    /// A challenge ends by itself at this time.
    Expiry(Timestamp),
    /// The audit trail has this entry, and perhaps more.
    Audit(u64),
    /// Hints may have been lost: read everything again.
    Resync,
}

/// Takes hints. Called on the store's own thread: must be quick.
pub type Listener = Arc<dyn Fn(Hint) + Send + Sync>;

/// A challenge to be stored.
pub struct NewChallenge {
    /// The challenge, with an outcome already where nobody can be asked.
    pub challenge: Challenge,
    /// What was signed.
    pub signed: SignedBody,
    /// The caller's `request_id` and the SHA-256 of the request's content.
    pub idempotency: Option<([u8; 16], [u8; 32])>,
    /// What gives way when the user has one pending.
    pub pending_limit: PendingLimit,
    /// Pushes intended.
    pub pushes: Vec<PushJob>,
    /// Who asked.
    pub by: By,
}

/// What became of a new challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// Stored.
    New {
        /// As stored: devices removed meanwhile are not asked, and where none
        /// is left it has ended as unreachable.
        challenge: Box<Challenge>,
        /// The user's earlier challenges that ended with this step.
        superseded: Vec<Challenge>,
    },
    /// The same request came before: its challenge.
    Existing(ChallengeId),
    /// The same `request_id` came before with other content.
    Conflict,
    /// The user has one pending, and policy keeps it until this time.
    PendingExists(Timestamp),
}

/// What became of an event for a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// This event decided.
    Recorded(Challenge),
    /// Decided before: as it is.
    Already(Challenge),
    /// Its time was up, which this call was the first to notice: as it ended.
    Lapsed(Challenge),
    /// There is no such challenge for this caller.
    NotFound,
}

/// What became of a try to redeem a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// The device is registered.
    Registered {
        /// As stored.
        device: Box<Device>,
        /// When the ticket was made.
        issued: Timestamp,
    },
    /// No ticket that this code opens, for whatever reason.
    Refused,
    /// The user has as many devices as one may have.
    TooManyDevices,
}

/// What became of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Gone. `ended` are challenges that ended with it, `dropped` those that go
    /// on with the user's other devices.
    Done {
        /// Ended.
        ended: Vec<Challenge>,
        /// Go on without it.
        dropped: Vec<ChallengeId>,
    },
    /// There is no such device for this caller.
    NotFound,
}

/// How a try of a push went, for the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushResult {
    /// Done with; `delivery` is the state to note with its reason.
    Finished {
        /// How far the prompt came; none: nothing to note.
        delivery: Option<(DeliveryState, String)>,
        /// What the gateway said of the token.
        token: TokenVerdict,
        /// Of a prompt: the gateway took it, or may have, in this try or an
        /// earlier one; so there may be something to withdraw.
        taken: bool,
    },
    /// To be tried again, under the same id.
    Again {
        /// Not before.
        due: Timestamp,
        /// See [`PushJob::perhaps_sent`].
        perhaps_sent: bool,
    },
}

/// What a gateway said of a push token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenVerdict {
    /// Nothing against it.
    Fine,
    /// Dead since then: cleared if it is still this token and was registered earlier.
    Dead {
        /// The token that was tried.
        token: String,
        /// The gateway's date, if it gave one.
        since: Option<Timestamp>,
    },
    /// Doubtful: not used until replaced.
    Doubtful {
        /// The token that was tried.
        token: String,
    },
}

/// What a step of removal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// How many have left with it.
    pub count: usize,
    /// There may be more to do, at once.
    pub more: bool,
}

/// Durable state of the broker.
#[async_trait]
pub trait Store: Send + Sync {
    /// Sets who is told of changes. Called once, before anything else.
    fn listen(&self, listener: Listener);

    /// Adds a signing key.
    async fn add_signing_key(&self, key: SigningKey, by: By) -> Result<(), StoreError>;
    /// All signing keys, oldest first.
    async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError>;

    /// Adds an organisation.
    async fn add_tenant(&self, tenant: Tenant, by: By) -> Result<(), StoreError>;
    /// One organisation.
    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError>;
    /// Organisations after `after`, by id.
    async fn tenants(
        &self,
        after: Option<TenantId>,
        limit: usize,
    ) -> Result<Vec<Tenant>, StoreError>;

    /// Adds an API key.
    async fn add_api_key(&self, key: ApiKey, by: By) -> Result<(), StoreError>;
    /// One API key, revoked ones included.
    async fn api_key(&self, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError>;
    /// The API keys of an organisation, or those of the installation.
    async fn api_keys(&self, tenant: Option<TenantId>) -> Result<Vec<ApiKey>, StoreError>;
    /// Revokes a key that `scope` may see (none: any key). A revoked one stays
    /// as it is.
    async fn revoke_api_key(
        &self,
        id: ApiKeyId,
        scope: Option<TenantId>,
        now: Timestamp,
        by: By,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// Adds a ticket; an open one of the same user is replaced.
    async fn add_ticket(&self, ticket: Ticket, by: By) -> Result<(), StoreError>;
    /// One ticket.
    async fn ticket(
        &self,
        tenant: TenantId,
        id: EnrollmentId,
    ) -> Result<Option<Ticket>, StoreError>;
    /// Redeems a ticket: its tenant and user become those of `device`, whose
    /// own are ignored.
    async fn redeem(
        &self,
        code: TicketCode,
        device: Device,
        now: Timestamp,
        address: String,
    ) -> Result<Redeemed, StoreError>;

    /// One device.
    async fn device(&self, id: DeviceId) -> Result<Option<Device>, StoreError>;
    /// A user's devices, oldest first.
    async fn devices_of(&self, tenant: TenantId, user: &UserId) -> Result<Vec<Device>, StoreError>;
    /// Removes a device and ends what only it could have answered.
    async fn remove_device(
        &self,
        tenant: TenantId,
        user: UserId,
        id: DeviceId,
        now: Timestamp,
        receipt_key_id: String,
        by: By,
    ) -> Result<Removed, StoreError>;
    /// Replaces a device's push registration. `false`: no such device.
    async fn replace_push(
        &self,
        id: DeviceId,
        push: Option<PushRegistration>,
        now: Timestamp,
        by: By,
    ) -> Result<bool, StoreError>;

    /// Stores a challenge with its pushes.
    async fn create(&self, new: NewChallenge) -> Result<Created, StoreError>;
    /// One challenge and what was signed.
    async fn challenge(
        &self,
        tenant: TenantId,
        id: ChallengeId,
    ) -> Result<Option<(Challenge, SignedBody)>, StoreError>;
    /// A user's challenges that are open at `now`, oldest first.
    async fn pending_of(
        &self,
        tenant: TenantId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<(Challenge, SignedBody)>, StoreError>;
    /// Takes an event in; see [`Challenge::apply`].
    async fn decide(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        event: Event,
        now: Timestamp,
        receipt_key_id: String,
        by: By,
    ) -> Result<Decided, StoreError>;
    /// Ends up to `limit` challenges whose time is up at `now`.
    async fn expire_due(
        &self,
        now: Timestamp,
        limit: usize,
        receipt_key_id: String,
    ) -> Result<Vec<Challenge>, StoreError>;
    /// When the next challenge ends by itself.
    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Notes how far a prompt has come.
    async fn note_delivery(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        device: DeviceId,
        state: DeliveryState,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// The same, not waited for: what is lost by a crash is progress, not a
    /// decision.
    fn note_delivery_soon(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        device: DeviceId,
        state: DeliveryState,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Up to `limit` pushes due at `now` that nobody else has claimed; a claim
    /// ends with [`Store::finish_push`].
    async fn claim_pushes(
        &self,
        gateway: PushGateway,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<PushJob>, StoreError>;
    /// When the next unclaimed push is due.
    async fn next_push(&self, gateway: PushGateway) -> Result<Option<Timestamp>, StoreError>;
    /// Takes note of how a try went, and lets go of the claim. A try that is
    /// forgotten is repeated under the same id. A prompt that the gateway took
    /// although the challenge had ended meanwhile is withdrawn in the same step.
    ///
    /// `unheard`: set when no device that was asked has a stream open; a
    /// challenge whose last prompt failed with this try then ends in the same
    /// step, as [`Event::NobodyListens`] says, its receipt under this key. Only
    /// then the result is the ended challenge.
    async fn finish_push(
        &self,
        job: PushJob,
        result: PushResult,
        unheard: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError>;
    /// Adds an entry to the audit trail for what changes nothing stored.
    async fn note(&self, entry: Entry) -> Result<(), StoreError>;

    /// Whether the store takes work.
    fn is_healthy(&self) -> bool;
    /// Ends all work and lets go of the files.
    async fn close(&self) -> Result<(), StoreError>;

    /// Where the chain of each writer of the audit trail stands.
    async fn audit_chains(&self) -> Result<Vec<Chain>, StoreError>;
    /// Up to `limit` entries of a writer from `from` on, in order. What has left
    /// by age is passed over.
    async fn audit_page(
        &self,
        writer: u64,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ChainedEntry>, StoreError>;
    /// Up to `limit` signed heads of a writer from that of `from` on, in order:
    /// those of entries that are there, and that of the last that has left.
    async fn audit_heads(
        &self,
        writer: u64,
        from: u64,
        limit: usize,
    ) -> Result<Vec<SignedHead>, StoreError>;
    /// Keeps a signed head; one of the same entry is replaced.
    async fn add_audit_head(&self, head: SignedHead) -> Result<(), StoreError>;

    /// Removes some of the challenges that were decided before `before`, with
    /// all that belongs to them: to be repeated while there is more.
    async fn remove_challenges(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Left, StoreError>;
    /// The same for tickets whose time ended before `before`.
    async fn remove_tickets(&self, before: Timestamp, now: Timestamp) -> Result<Left, StoreError>;
    /// The same for entries of a writer's audit trail that were written before
    /// `before`; only entries up to a signed head leave, and the last such head
    /// stays.
    async fn remove_audit(
        &self,
        writer: u64,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Left, StoreError>;
    /// Prepares some of what an earlier version stored for removal: to be
    /// repeated until it says `true`.
    async fn index_for_removal(&self) -> Result<bool, StoreError>;
}
