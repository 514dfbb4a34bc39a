//! Keys of the one tree: a prefix byte says what follows. Times are big-endian
//! so that they sort.

use std::cell::RefCell;

use crate::{
    domain::{
        api_key::ApiKeyId,
        device::PushGateway,
        ids::{BrowserId, ChallengeId, DeviceId, EnrollmentId, PushId, TenantId, TextId, UserId},
        push::PushJob,
        spending::Tag,
        text::TextJob,
        time::Timestamp,
    },
    store::engine::Key,
};

// 0x00 belongs to the engine.
const SIGNING_KEY: u8 = b'S';
const TENANT: u8 = b'T';
const POLICY_VERSION: u8 = b'V';
const API_KEY: u8 = b'K';
const API_KEY_OF: u8 = b'k';
const TICKET: u8 = b'Q';
const TICKET_LOCATOR: u8 = b'q';
const TICKET_OF: u8 = b'o';
const DEVICE: u8 = b'D';
const DEVICE_OF: u8 = b'd';
const REMOVED_IMPORT: u8 = b'G';
const CHALLENGE: u8 = b'C';
const SIGNED_BODY: u8 = b'B';
const PENDING_OF: u8 = b'p';
const EXPIRY: u8 = b'E';
const IDEMPOTENCY: u8 = b'I';
const OUTBOX: u8 = b'O';
const ACCOUNT: u8 = b'U';
const FALLBACK: u8 = b'F';
const TEXTS: u8 = b'X';
const METER: u8 = b'M';
const BROWSER: u8 = b'W';
const EVENT: u8 = b'N';
const EVENTS: u8 = b'Y';
const REVOCATION: u8 = b'r';
const REPORTED_LATE: u8 = b'l';
const APPROVALS_OF: u8 = b'L';
const NOTICES_OF: u8 = b'n';
const AUDIT: u8 = b'A';
const AUDIT_HEAD: u8 = b'a';
const SIGNED_HEAD: u8 = b'H';
const AUDIT_MARKS: u8 = b'h';
/// What leaves by age; a second byte says of which kind.
const AGING: u8 = b'R';
const AGING_CHALLENGE: u8 = b'c';
const AGING_DECISIONS: u8 = b'd';
const AGING_REQUEST: u8 = b'i';
const AGING_TICKET: u8 = b'q';
const AGING_PROGRESS: u8 = b'p';

fn key(prefix: u8, parts: &[&[u8]]) -> Key {
    let mut key = Key::new();
    key.push(prefix);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// The user's digest. A step makes half a dozen keys of one user: that of the
/// last one is at hand.
fn digest(user: &UserId) -> [u8; 32] {
    thread_local! {
        static LAST: RefCell<Option<(UserId, [u8; 32])>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, digest)) if known == user => *digest,
        _ => {
            let digest = user.digest();
            *last = Some((user.clone(), digest));
            digest
        }
    })
}

fn time(at: Timestamp) -> [u8; 8] {
    at.as_millis().to_be_bytes()
}

pub(super) fn signing_key(create_time: Timestamp, key_id: &str) -> Key {
    key(SIGNING_KEY, &[&time(create_time), key_id.as_bytes()])
}

pub(super) fn signing_keys() -> Key {
    key(SIGNING_KEY, &[])
}

pub(super) fn tenant(id: TenantId) -> Key {
    key(TENANT, &[id.as_bytes()])
}

pub(super) fn tenants() -> Key {
    key(TENANT, &[])
}

pub(super) fn policy_versions(of: TenantId) -> Key {
    key(POLICY_VERSION, &[of.as_bytes()])
}

/// Newest first: the version is complemented.
pub(super) fn policy_version(of: TenantId, version: u64) -> Key {
    key(POLICY_VERSION, &[of.as_bytes(), &(!version).to_be_bytes()])
}

pub(super) fn api_key(id: &ApiKeyId) -> Key {
    key(API_KEY, &[id.as_str().as_bytes()])
}

/// The installation's keys are listed under sixteen zero bytes, which no
/// UUID version 7 can be.
pub(super) fn api_keys_of(tenant: Option<TenantId>) -> Key {
    key(API_KEY_OF, &[&tenant.map_or([0; 16], |id| *id.as_bytes())])
}

pub(super) fn api_key_of(tenant: Option<TenantId>, create_time: Timestamp, id: &ApiKeyId) -> Key {
    let mut list = api_keys_of(tenant);
    list.extend_from_slice(&time(create_time));
    list.extend_from_slice(id.as_str().as_bytes());
    list
}

pub(super) fn ticket(tenant: TenantId, id: EnrollmentId) -> Key {
    key(TICKET, &[tenant.as_bytes(), id.as_bytes()])
}

pub(super) fn ticket_locator(locator: &str) -> Key {
    key(TICKET_LOCATOR, &[locator.as_bytes()])
}

pub(super) fn ticket_of(tenant: TenantId, user: &UserId) -> Key {
    key(TICKET_OF, &[tenant.as_bytes(), &digest(user)])
}

pub(super) fn device(id: DeviceId) -> Key {
    key(DEVICE, &[id.as_bytes()])
}

pub(super) fn devices_of(tenant: TenantId, user: &UserId) -> Key {
    key(DEVICE_OF, &[tenant.as_bytes(), &digest(user)])
}

pub(super) fn device_of(tenant: TenantId, user: &UserId, id: DeviceId) -> Key {
    key(
        DEVICE_OF,
        &[tenant.as_bytes(), &digest(user), id.as_bytes()],
    )
}

/// Says that an imported device was removed, and stays so.
pub(super) fn removed_import(id: DeviceId) -> Key {
    key(REMOVED_IMPORT, &[id.as_bytes()])
}

pub(super) fn challenge(tenant: TenantId, id: ChallengeId) -> Key {
    key(CHALLENGE, &[tenant.as_bytes(), id.as_bytes()])
}

pub(super) fn signed_body(tenant: TenantId, id: ChallengeId) -> Key {
    key(SIGNED_BODY, &[tenant.as_bytes(), id.as_bytes()])
}

pub(super) fn pending_of_user(tenant: TenantId, user: &UserId) -> Key {
    key(PENDING_OF, &[tenant.as_bytes(), &digest(user)])
}

pub(super) fn pending_of(tenant: TenantId, user: &UserId, id: ChallengeId) -> Key {
    key(
        PENDING_OF,
        &[tenant.as_bytes(), &digest(user), id.as_bytes()],
    )
}

/// The id at the end of a [`device_of`] or [`pending_of`] key.
pub(super) fn last_id(key: &[u8]) -> Option<[u8; 16]> {
    key.last_chunk::<16>().copied()
}

pub(super) fn expiry(at: Timestamp, tenant: TenantId, id: ChallengeId) -> Key {
    key(EXPIRY, &[&time(at), tenant.as_bytes(), id.as_bytes()])
}

pub(super) fn expiries() -> Key {
    key(EXPIRY, &[])
}

/// Reads an [`expiry`] or [`fallback`] key back.
pub(super) fn parse_expiry(key: &[u8]) -> Option<(Timestamp, TenantId, ChallengeId)> {
    let (at, rest) = key.get(1..)?.split_first_chunk::<8>()?;
    let (tenant, rest) = rest.split_first_chunk::<16>()?;
    let (id, _) = rest.split_first_chunk::<16>()?;
    Some((
        Timestamp::from_millis(u64::from_be_bytes(*at)),
        TenantId::from_bytes(*tenant),
        ChallengeId::from_bytes(*id),
    ))
}

/// Where a challenge turns into a text message; otherwise like [`expiry`].
pub(super) fn fallback(at: Timestamp, tenant: TenantId, id: ChallengeId) -> Key {
    key(FALLBACK, &[&time(at), tenant.as_bytes(), id.as_bytes()])
}

pub(super) fn fallbacks() -> Key {
    key(FALLBACK, &[])
}

pub(super) fn account(tenant: TenantId, user: &UserId) -> Key {
    key(ACCOUNT, &[tenant.as_bytes(), &digest(user)])
}

pub(super) fn browsers_of(tenant: TenantId, user: &UserId) -> Key {
    key(BROWSER, &[tenant.as_bytes(), &digest(user)])
}

/// Oldest first: the id is a challenge's.
pub(super) fn browser(tenant: TenantId, user: &UserId, id: BrowserId) -> Key {
    key(BROWSER, &[tenant.as_bytes(), &digest(user), id.as_bytes()])
}

/// What a meter of text messages stands for.
#[derive(Clone, Copy)]
pub(super) enum Metered<'a> {
    Number(&'a Tag),
    Range(&'a Tag),
    Tenant,
    /// Notices to a number: apart from its codes, so that nobody can use up by
    /// codes what would warn the user.
    Notices(&'a Tag),
    /// Codes that prove a number.
    Confirmations(&'a Tag),
    /// The same, of the user who asks.
    Asking(&'a UserId),
    /// All texts of an organisation but codes for sign-ins.
    Others,
}

pub(super) fn meter(tenant: TenantId, of: Metered<'_>) -> Key {
    let user;
    let (kind, tag): (u8, &[u8]) = match of {
        Metered::Number(tag) => (1, tag),
        Metered::Range(tag) => (2, tag),
        Metered::Tenant => (3, &[]),
        Metered::Notices(tag) => (4, tag),
        Metered::Confirmations(tag) => (5, tag),
        Metered::Asking(id) => {
            user = digest(id);
            (6, &user)
        }
        Metered::Others => (7, &[]),
    };
    key(METER, &[tenant.as_bytes(), &[kind], tag])
}

pub(super) fn texts() -> Key {
    key(TEXTS, &[])
}

pub(super) fn text(job: &TextJob) -> Key {
    key(TEXTS, &[&time(job.due), job.id.as_bytes()])
}

/// Reads the due time and id of a [`text`] key.
pub(super) fn parse_text(key: &[u8]) -> Option<(Timestamp, TextId)> {
    let (due, rest) = key.get(1..)?.split_first_chunk::<8>()?;
    let (id, _) = rest.split_first_chunk::<16>()?;
    Some((
        Timestamp::from_millis(u64::from_be_bytes(*due)),
        TextId::from_bytes(*id),
    ))
}

pub(super) fn idempotency(tenant: TenantId, api_key: &ApiKeyId, request: &[u8; 16]) -> Key {
    key(
        IDEMPOTENCY,
        &[tenant.as_bytes(), api_key.as_str().as_bytes(), request],
    )
}

fn gateway(gateway: PushGateway) -> u8 {
    match gateway {
        PushGateway::Apns => 1,
        PushGateway::Fcm => 2,
    }
}

pub(super) fn outbox_of(of: PushGateway) -> Key {
    key(OUTBOX, &[&[gateway(of)]])
}

pub(super) fn outbox(job: &PushJob) -> Key {
    key(
        OUTBOX,
        &[&[gateway(job.gateway)], &time(job.due), job.id.as_bytes()],
    )
}

/// Reads the due time and id of an [`outbox`] key.
pub(super) fn parse_outbox(key: &[u8]) -> Option<(Timestamp, PushId)> {
    let (due, rest) = key.get(2..)?.split_first_chunk::<8>()?;
    let (id, _) = rest.split_first_chunk::<16>()?;
    Some((
        Timestamp::from_millis(u64::from_be_bytes(*due)),
        PushId::from_bytes(*id),
    ))
}

/// Says that an entry of the audit trail is an event of this organisation: a row
/// each, as an earlier version wrote them.
pub(super) fn event(tenant: TenantId, writer: u64, sequence: u64) -> Key {
    key(
        EVENT,
        &[
            tenant.as_bytes(),
            &writer.to_be_bytes(),
            &sequence.to_be_bytes(),
        ],
    )
}

pub(super) fn single_events_of(tenant: TenantId, writer: u64) -> Key {
    key(EVENT, &[tenant.as_bytes(), &writer.to_be_bytes()])
}

/// Which entries of a stretch of the audit trail are events of this organisation.
pub(super) fn events(tenant: TenantId, writer: u64, stretch: u64) -> Key {
    key(
        EVENTS,
        &[
            tenant.as_bytes(),
            &writer.to_be_bytes(),
            &stretch.to_be_bytes(),
        ],
    )
}

pub(super) fn events_of(tenant: TenantId, writer: u64) -> Key {
    key(EVENTS, &[tenant.as_bytes(), &writer.to_be_bytes()])
}

pub(super) fn all_events() -> Key {
    key(EVENTS, &[])
}

/// The organisation in an [`events`] key.
pub(super) fn tenant_of_events(key: &[u8]) -> Option<TenantId> {
    let (id, _) = key.get(1..)?.split_first_chunk::<16>()?;
    Some(TenantId::from_bytes(*id))
}

pub(super) fn revocation(tenant: TenantId, id: ChallengeId) -> Key {
    key(REVOCATION, &[tenant.as_bytes(), id.as_bytes()])
}

pub(super) fn reported_late(tenant: TenantId, id: ChallengeId) -> Key {
    key(REPORTED_LATE, &[tenant.as_bytes(), id.as_bytes()])
}

pub(super) fn approvals_of(tenant: TenantId, user: &UserId) -> Key {
    key(APPROVALS_OF, &[tenant.as_bytes(), &digest(user)])
}

pub(super) fn notices_of(tenant: TenantId, user: &UserId) -> Key {
    key(NOTICES_OF, &[tenant.as_bytes(), &digest(user)])
}

pub(super) fn audit(writer: u64, sequence: u64) -> Key {
    key(AUDIT, &[&writer.to_be_bytes(), &sequence.to_be_bytes()])
}

pub(super) fn audit_head(writer: u64) -> Key {
    key(AUDIT_HEAD, &[&writer.to_be_bytes()])
}

pub(super) fn audit_entries(writer: u64) -> Key {
    key(AUDIT, &[&writer.to_be_bytes()])
}

/// One [`audit_head`] per writer.
pub(super) fn audit_chains() -> Key {
    key(AUDIT_HEAD, &[])
}

pub(super) fn signed_heads(writer: u64) -> Key {
    key(SIGNED_HEAD, &[&writer.to_be_bytes()])
}

pub(super) fn signed_head(writer: u64, sequence: u64) -> Key {
    key(
        SIGNED_HEAD,
        &[&writer.to_be_bytes(), &sequence.to_be_bytes()],
    )
}

pub(super) fn audit_marks(writer: u64) -> Key {
    key(AUDIT_MARKS, &[&writer.to_be_bytes()])
}

/// The writer at the end of an [`audit_head`] key, the sequence at that of an
/// [`audit`], [`signed_head`] or [`event`] key, the stretch at that of an
/// [`events`] key.
pub(super) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>()
        .map(|bytes| u64::from_be_bytes(*bytes))
}

pub(super) fn challenges() -> Key {
    key(CHALLENGE, &[])
}

pub(super) fn tickets() -> Key {
    key(TICKET, &[])
}

pub(super) fn idempotencies() -> Key {
    key(IDEMPOTENCY, &[])
}

pub(super) fn aging_challenge(decided: Timestamp, tenant: TenantId, id: ChallengeId) -> Key {
    key(
        AGING,
        &[
            &[AGING_CHALLENGE],
            &time(decided),
            tenant.as_bytes(),
            id.as_bytes(),
        ],
    )
}

pub(super) fn aging_challenges() -> Key {
    key(AGING, &[&[AGING_CHALLENGE]])
}

/// Some decisions in one row; rows are numbered as time goes on.
pub(super) fn aging_decisions(number: u64) -> Key {
    key(AGING, &[&[AGING_DECISIONS], &number.to_be_bytes()])
}

pub(super) fn all_aging_decisions() -> Key {
    key(AGING, &[&[AGING_DECISIONS]])
}

pub(super) fn aging_ticket(expired: Timestamp, tenant: TenantId, id: EnrollmentId) -> Key {
    key(
        AGING,
        &[
            &[AGING_TICKET],
            &time(expired),
            tenant.as_bytes(),
            id.as_bytes(),
        ],
    )
}

pub(super) fn aging_tickets() -> Key {
    key(AGING, &[&[AGING_TICKET]])
}

/// `of` is an [`idempotency`] key.
pub(super) fn aging_request(created: Timestamp, of: &[u8]) -> Key {
    key(AGING, &[&[AGING_REQUEST], &time(created), of])
}

pub(super) fn aging_requests() -> Key {
    key(AGING, &[&[AGING_REQUEST]])
}

/// The [`idempotency`] key in an [`aging_request`] key.
pub(super) fn idempotency_of_aging(key: &[u8]) -> Key {
    key.get(10..).unwrap_or_default().into()
}

/// How far what was stored before there was an index has been indexed.
pub(super) fn aging_progress() -> Key {
    key(AGING, &[&[AGING_PROGRESS]])
}

/// From when the age of a row under [`AGING`] counts.
pub(super) fn aging_time(key: &[u8]) -> Option<Timestamp> {
    let (at, _) = key.get(2..)?.split_first_chunk::<8>()?;
    Some(Timestamp::from_millis(u64::from_be_bytes(*at)))
}

/// The ids of an [`aging_challenge`] or [`aging_ticket`] key.
pub(super) fn aging_ids(key: &[u8]) -> Option<(TenantId, [u8; 16])> {
    let (tenant, rest) = key.get(10..)?.split_first_chunk::<16>()?;
    Some((TenantId::from_bytes(*tenant), rest.try_into().ok()?))
}
