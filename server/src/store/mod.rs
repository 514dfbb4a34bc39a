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
    account::{Account, AccountChange, AccountEvent, AccountRefusal},
    api_key::{ApiKey, ApiKeyId},
    audit::{By, Chain, ChainedEntry, Entry, SignedHead},
    browser::{Browser, Claim},
    challenge::{Challenge, DeliveryState, Event, GuessVerdict, Method, SignedBody},
    code::{CodeOrder, CodeRefusal, Guess},
    device::{Device, PushGateway, PushRegistration},
    ids::{BrowserId, ChallengeId, DeviceId, EnrollmentId, TenantId, UserId},
    notice::Kept,
    policy::{PendingLimit, Policy},
    push::PushJob,
    revocation::Revocation,
    signing_key::SigningKey,
    tenant::{PolicyVersion, Tenant},
    text::{Receipt, TextJob},
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
    /// There is a notice for this device.
    Notices(DeviceId),
    /// The outbox of text messages has something new.
    Texts,
    /// A challenge ends by itself at this time.
    Expiry(Timestamp),
    /// A challenge turns into a text message at this time.
    Fallback(Timestamp),
    /// Something happened in an organisation that its identity providers are told of.
    Events(TenantId),
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
    /// Pushes intended. With any, the challenge counts as a prompt.
    pub pushes: Vec<PushJob>,
    /// The text with a code, where it begins with one.
    pub code: Option<CodeOrder>,
    /// The browser's token, authentic. If it still counts it is used up, and the
    /// challenge is stored approved: see [`Challenge::approve_remembered`].
    pub browser: Option<Claim>,
    /// Who asked.
    pub by: By,
}

/// Events of an organisation by one writer, and where its chain stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The last entry that has left by age; 0: none has.
    pub left: u64,
    /// The last entry.
    pub sequence: u64,
    /// The events asked for. With less than the limit, there is none after them
    /// up to `sequence`.
    pub entries: Vec<ChainedEntry>,
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
        /// The text goes to a range of numbers that has become suspicious.
        range_alarm: bool,
    },
    /// The same request came before: its challenge.
    Existing(ChallengeId),
    /// The same `request_id` came before with other content.
    Conflict,
    /// The user has one pending, and policy keeps it until this time.
    PendingExists(Timestamp),
    /// The user is not to be asked, or not this way, before a time; nothing is
    /// stored.
    Refused(CodeRefusal),
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
    /// Too late for an approval on a phone; a code may still decide.
    PromptExpired,
    /// Approved before, and that stays; the device's "that wasn't me" is recorded
    /// beside it, as it may have been before.
    Revoked {
        /// As it is.
        challenge: Challenge,
        /// The user's challenges that ended with this step, because the account
        /// was locked.
        ended: Vec<Challenge>,
    },
    /// Ended before, otherwise than by an approval, and that stays; the device's
    /// "that wasn't me" is heeded for the account.
    ReportedLate {
        /// As it is.
        challenge: Challenge,
        /// The user's challenges that ended with this step: because the account
        /// was locked, or this one, because its time was up.
        ended: Vec<Challenge>,
    },
}

/// A challenge to go on by another way.
#[derive(Clone, Debug)]
pub struct GoOn {
    /// Of which organisation.
    pub tenant: TenantId,
    /// Which challenge.
    pub challenge: ChallengeId,
    /// By which way.
    pub method: Method,
    /// The text to send, for [`Method::Sms`].
    pub order: Option<CodeOrder>,
    /// The prompts to send again, for [`Method::Push`]; they count as one.
    pub pushes: Vec<PushJob>,
    /// The broker goes on by itself. A refusal then is final: it is noted, and
    /// the challenge does not try to go on by itself again.
    pub by_itself: bool,
    /// When.
    pub now: Timestamp,
    /// The key of the receipt, should it end.
    pub receipt_key_id: String,
    /// Who asked.
    pub by: By,
}

/// What became of going on by another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WentOn {
    /// So it does.
    Done {
        /// As stored.
        challenge: Box<Challenge>,
        /// The text goes to a range of numbers that has become suspicious.
        range_alarm: bool,
    },
    /// It goes on as it was.
    Refused(CodeRefusal),
    /// Decided before: as it is.
    Already(Box<Challenge>),
    /// Its time was up, or the account is locked, which this call was the first
    /// to notice: as it ended.
    Ended(Box<Challenge>),
    /// There is no such challenge for this caller.
    NotFound,
}

/// What became of a typed code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guessed {
    /// What was found.
    pub verdict: GuessVerdict,
    /// The challenge after it.
    pub challenge: Challenge,
    /// The user's other challenges that ended with this step, because the
    /// account was locked.
    pub ended: Vec<Challenge>,
}

/// What became of a change to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChanged {
    /// Changed.
    Done {
        /// As stored.
        account: Box<Account>,
        /// What it amounts to.
        event: AccountEvent,
        /// Challenges that ended with it.
        ended: Vec<Challenge>,
        /// Challenges that go on, with something less to answer with.
        dropped: Vec<ChallengeId>,
        /// Devices that were removed with it (by a reset).
        devices: Vec<DeviceId>,
        /// The text goes to a range of numbers that has become suspicious.
        range_alarm: bool,
    },
    /// Not changed, but for a wrong code that was counted.
    Refused(AccountRefusal),
}

/// How a try of a text message went, for the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextResult {
    /// Done with; of a code for a sign-in: how far it came, with the reason.
    Finished(Option<(DeliveryState, String)>),
    /// To be tried again, not before this time.
    Again(Timestamp),
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

/// What became of devices to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// All are taken care of: what became of each, in the order given.
    Done(Vec<Newcomer>),
    /// Nothing was stored: the account of this one's user is locked.
    Locked(usize),
    /// Nothing was stored: with this one, its user would have more devices than
    /// one may have.
    TooManyDevices(usize),
    /// Nothing was stored: more than one step holds. One alone never is.
    TooMuch,
}

/// What became of a device to be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomer {
    /// It is registered.
    Registered,
    /// It was before, and stays as it is.
    Present,
    /// It was imported before and has been removed since, and stays so.
    Removed,
}

/// What became of a change of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// As stored, with its new version.
    Done(Box<Policy>),
    /// The present version is another one.
    VersionChanged(u64),
    /// There is no such organisation.
    NotFound,
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
    /// Replaces the rules of an organisation if `expected` is their version; that
    /// of `policy` is ignored. `why` follows the version in the audit entry.
    async fn replace_policy(
        &self,
        id: TenantId,
        expected: u64,
        policy: Policy,
        why: String,
        now: Timestamp,
        by: By,
    ) -> Result<Replaced, StoreError>;
    /// The rules as they were, before version `before` if there is one, newest
    /// first.
    async fn policy_versions(
        &self,
        id: TenantId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<PolicyVersion>, StoreError>;

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

    /// Adds a ticket; an open one of the same user is replaced. `false`: the
    /// account is locked, and nothing was done.
    async fn add_ticket(&self, ticket: Ticket, by: By) -> Result<bool, StoreError>;
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

    /// Registers devices that were registered elsewhere before, all or none, with
    /// what [`Store::redeem`] checks and tells of a device. Their ids are those
    /// of [`DeviceId::imported`].
    async fn import_devices(
        &self,
        devices: Vec<Device>,
        now: Timestamp,
        by: By,
    ) -> Result<Imported, StoreError>;

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
    /// What is known of a user beside devices; an empty account where nothing is.
    async fn account(&self, tenant: TenantId, user: &UserId) -> Result<Account, StoreError>;
    /// Changes an account; see [`Account::apply`]. Codes of a number that is gone
    /// die with it; locking ends what is pending, and so does a reset, which
    /// removes devices too. A text is counted, and stored with the change.
    async fn change_account(
        &self,
        tenant: TenantId,
        user: UserId,
        change: AccountChange,
        now: Timestamp,
        receipt_key_id: String,
        by: By,
    ) -> Result<AccountChanged, StoreError>;
    /// Goes on by another way; see [`Challenge::go_on_by`].
    async fn go_on(&self, go_on: GoOn) -> Result<WentOn, StoreError>;
    /// Takes a typed code in; see [`Challenge::guess`]. None: there is no such
    /// challenge for this caller.
    async fn guess(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        guess: Guess,
        now: Timestamp,
        receipt_key_id: String,
        by: By,
    ) -> Result<Option<Guessed>, StoreError>;
    /// Up to `limit` challenges that are due to go on by text message.
    async fn fallbacks_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(TenantId, ChallengeId)>, StoreError>;
    /// When the next one is.
    async fn next_fallback(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Up to `limit` texts due at `now` that nobody else has claimed; a claim
    /// ends with [`Store::finish_text`].
    async fn claim_texts(&self, now: Timestamp, limit: usize) -> Result<Vec<TextJob>, StoreError>;
    /// When the next unclaimed text is due.
    async fn next_text(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Takes note of how a try went, and lets go of the claim. With `unheard`
    /// as in [`Store::finish_push`].
    async fn finish_text(
        &self,
        job: TextJob,
        result: TextResult,
        unheard: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError>;
    /// Notes what the network said of a text with a code, not waited for.
    fn note_text_receipt(&self, receipt: Receipt, now: Timestamp) -> Result<(), StoreError>;
    /// A remembered browser of a user.
    async fn browser(
        &self,
        tenant: TenantId,
        user: &UserId,
        id: BrowserId,
    ) -> Result<Option<Browser>, StoreError>;
    /// Forgets all browsers of a user; how many there were.
    async fn forget_browsers(
        &self,
        tenant: TenantId,
        user: UserId,
        now: Timestamp,
        by: By,
    ) -> Result<usize, StoreError>;
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
    /// Up to `limit` entries of a writer after `after` that are events of this
    /// organisation (see [`crate::domain::event`]), in order.
    async fn events_after(
        &self,
        tenant: TenantId,
        writer: u64,
        after: u64,
        limit: usize,
    ) -> Result<Happened, StoreError>;
    /// "That wasn't me" of an approved challenge, if it was said.
    async fn revocation(
        &self,
        tenant: TenantId,
        id: ChallengeId,
    ) -> Result<Option<Revocation>, StoreError>;
    /// What was approved of late, though not by `device`, which had been asked
    /// too: newest first, with the time of the decision.
    async fn recent_approvals(
        &self,
        device: &Device,
        now: Timestamp,
    ) -> Result<Vec<(SignedBody, Timestamp)>, StoreError>;
    /// What `device` is to be told of the account, beyond number `after`, oldest
    /// first.
    async fn notices(
        &self,
        device: &Device,
        after: u64,
        now: Timestamp,
    ) -> Result<Vec<Kept>, StoreError>;
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
