//! What leaves by age, in small steps: decided challenges, tickets that have
//! ended, entries of the audit trail.
//!
//! Indexes tell what is oldest, so that a step looks at next to nothing that is to
//! stay: decisions stand in the order in which they were made, some to a row,
//! tickets under the time from which their age counts. What was written before
//! there were such indexes gets its rows by [`index_step`], once.

use super::{
    Hints,
    audit::{self, Pack},
    events, keys,
    record::{Decision, Decisions, Kept, Record as _, RequestedBody},
    revocations, rows,
};
use crate::{
    domain::{
        audit::{By, SignedHead, Told},
        challenge::{Challenge, Outcome},
        ids::{ChallengeId, EnrollmentId, TenantId},
        ticket::Ticket,
        time::Timestamp,
    },
    store::{
        Left, StoreError,
        engine::{Key, MAX_VALUE, Pair, Tx},
    },
};

/// Entries of the audit trail whose decisions stand in one row: so many as must fit
/// into a value.
const DECISIONS: u64 = 80;
/// Challenges of such a row that leave in one command: others wait for it, and it
/// reads two rows for each that have long left memory.
const DECISION_STEP: usize = 32;
/// Challenges or tickets that leave in one command. Each is up to seven rows, and
/// a command must stay below
/// [`MAX_COMMAND_WRITES`](crate::store::engine::MAX_COMMAND_WRITES).
const STEP: usize = 96;
/// Idempotency keys of an earlier version that leave in the same command.
const REQUEST_STEP: usize = 128;
/// Rows that are only looked at in one command.
const ROW_STEP: usize = 256;
/// Packs of audit entries that leave in one command: each up to sixteen entries.
const PACK_STEP: usize = 8;
/// Signed heads looked at for one that may be the next to leave with.
const HEAD_STEP: usize = 64;

/// The age of a decided challenge counts from its decision. Those of some entries
/// of the audit trail stand in one row, so that each costs the tree little.
pub(super) fn challenge_decided(
    tx: &mut Tx<'_>,
    challenge: &Challenge,
    outcome: &Outcome,
) -> Result<(), StoreError> {
    let decision = Decision {
        time: outcome.decide_time,
        tenant: challenge.tenant,
        id: challenge.id,
    };
    let row = audit::last(tx, audit::WRITER)? / DECISIONS;
    let key = keys::aging_decisions(row);
    let mut value = tx
        .get(&key)
        .unwrap_or_else(|| Decisions::default().to_value());
    value.extend(decision.continuation());
    if value.len() > MAX_VALUE {
        // More decisions than entries: none of ours, but a row each will do.
        let key = keys::aging_challenge(decision.time, decision.tenant, decision.id);
        tx.put(key, []);
    } else {
        tx.put(key, value);
    }
    Ok(())
}

/// An idempotency key leaves with its challenge, which knows it. Of those written
/// before it did, the age counts from the request.
fn request_seen(tx: &mut Tx<'_>, at: Timestamp, idempotency_key: &[u8]) {
    tx.put(keys::aging_request(at, idempotency_key), []);
}

/// The age of a ticket counts from its end, redeemed or not.
pub(super) fn ticket_made(tx: &mut Tx<'_>, ticket: &Ticket) {
    let key = keys::aging_ticket(ticket.expire_time, ticket.tenant, ticket.id);
    tx.put(key, []);
}

/// The index rows of one kind that are older than `before`, and whether there
/// may be more.
fn aged(
    tx: &mut Tx<'_>,
    prefix: &[u8],
    before: Timestamp,
    step: usize,
) -> Result<(Vec<Pair>, bool), StoreError> {
    let mut found = tx.scan_prefix(prefix, None, step);
    let full = found.len() == step;
    let mut old = 0_usize;
    for (key, _) in &found {
        let at = keys::aging_time(key)
            .ok_or_else(|| StoreError::Corrupt("a key of what ages".into()))?;
        if at >= before {
            break;
        }
        old = old.saturating_add(1);
    }
    let more = full && old == found.len();
    found.truncate(old);
    Ok((found, more))
}

/// Removes challenges that were decided before `before`, with what was signed.
pub(super) fn remove_challenges(
    tx: &mut Tx<'_>,
    before: Timestamp,
    now: Timestamp,
) -> Result<Left, StoreError> {
    let (requests, more_requests) = aged(tx, &keys::aging_requests(), before, REQUEST_STEP)?;
    for (key, _) in requests {
        tx.delete(keys::idempotency_of_aging(&key));
        tx.delete(key);
    }
    let (challenges, more) = aged(tx, &keys::aging_challenges(), before, STEP)?;
    let single = !challenges.is_empty();
    let mut count = 0_usize;
    for (key, _) in challenges {
        let (tenant, id) = aging_ids(&key)?;
        let id = ChallengeId::from_bytes(id);
        if remove_challenge(tx, tenant, id) {
            count = count.saturating_add(1);
        }
        tx.delete(key);
    }
    let more = if single || more {
        true
    } else {
        let left = remove_decided(tx, before, now)?;
        count = left.count;
        left.more
    };
    note_removed(tx, "challenges.removed", count, before, now)?;
    Ok(Left {
        count,
        more: more || more_requests,
    })
}

/// Removes the challenges of the oldest row of decisions.
///
/// What was decided in the future, by a clock that was wrong, goes to the index by
/// time: it holds up what comes after it no longer.
fn remove_decided(tx: &mut Tx<'_>, before: Timestamp, now: Timestamp) -> Result<Left, StoreError> {
    let Some((key, value)) = tx.scan_prefix(&keys::all_aging_decisions(), None, 1).pop() else {
        return Ok(Left::default());
    };
    let Decisions(decisions) = match rows::read(&value) {
        Ok(decisions) => decisions,
        Err(error) => {
            tracing::error!(%error, "old decisions can't be read: their challenges stay");
            tx.delete(key);
            return Ok(Left {
                count: 0,
                more: true,
            });
        }
    };
    let (future, past): (Vec<_>, Vec<_>) = decisions
        .into_iter()
        .partition(|decision| decision.time > now);
    for Decision { time, tenant, id } in &future {
        tx.put(keys::aging_challenge(*time, *tenant, *id), []);
    }
    let (mut old, mut stay): (Vec<_>, Vec<_>) = past
        .into_iter()
        .partition(|decision| decision.time < before);
    if old.is_empty() && future.is_empty() {
        return Ok(Left::default());
    }
    let more = stay.is_empty() || old.len() > DECISION_STEP;
    stay.extend(old.split_off(old.len().min(DECISION_STEP)));
    let mut count = 0_usize;
    for Decision { tenant, id, .. } in old {
        if remove_challenge(tx, tenant, id) {
            count = count.saturating_add(1);
        }
    }
    if stay.is_empty() {
        tx.delete(key);
    } else {
        rows::save(tx, key, &Decisions(stay));
    }
    Ok(Left { count, more })
}

/// Deletes all rows of one challenge that has been decided. Whoever stores more
/// for a challenge deletes it here.
fn remove_challenge(tx: &mut Tx<'_>, tenant: TenantId, id: ChallengeId) -> bool {
    let key = keys::challenge(tenant, id);
    let Kept { challenge, body } = match rows::load::<Kept>(tx, &key) {
        Ok(Some(kept)) if kept.challenge.outcome.is_some() => kept,
        Ok(Some(_)) => {
            tracing::error!(challenge = %id, "a pending challenge is indexed as decided: it stays");
            return false;
        }
        Ok(None) => return false,
        Err(error) => {
            tracing::error!(%error, challenge = %id, "an old challenge can't be read: it stays");
            return false;
        }
    };
    if let Err(error) = revocations::forget(tx, &challenge) {
        tracing::error!(%error, challenge = %id, "approvals of a user can't be read");
    }
    tx.delete(key);
    let own = keys::signed_body(tenant, id);
    let body = match body {
        Some(body) => Some(body),
        None => rows::load(tx, &own).unwrap_or_else(|error| {
            tracing::error!(%error, challenge = %id, "an old challenge's body can't be read");
            None
        }),
    };
    tx.delete(own);
    if let Some(RequestedBody {
        request: Some(request),
        ..
    }) = body
    {
        let request = keys::idempotency(tenant, &challenge.api_key, &request);
        let leads_here = |value: &[u8]| keys::last_id(value) == Some(*id.as_bytes());
        if tx.peek(&request, leads_here) == Some(true) {
            tx.delete(request);
        }
    }
    true
}

/// Removes tickets whose time ended before `before`.
pub(super) fn remove_tickets(
    tx: &mut Tx<'_>,
    before: Timestamp,
    now: Timestamp,
) -> Result<Left, StoreError> {
    let (tickets, more) = aged(tx, &keys::aging_tickets(), before, STEP)?;
    let mut count = 0_usize;
    for (key, _) in tickets {
        let (tenant, id) = aging_ids(&key)?;
        if remove_ticket(tx, tenant, EnrollmentId::from_bytes(id)) {
            count = count.saturating_add(1);
        }
        tx.delete(key);
    }
    note_removed(tx, "tickets.removed", count, before, now)?;
    Ok(Left { count, more })
}

fn remove_ticket(tx: &mut Tx<'_>, tenant: TenantId, id: EnrollmentId) -> bool {
    let key = keys::ticket(tenant, id);
    let ticket = match rows::load::<Ticket>(tx, &key) {
        Ok(Some(ticket)) => ticket,
        Ok(None) => return false,
        Err(error) => {
            tracing::error!(%error, ticket = %id, "an old ticket can't be read: it stays");
            return false;
        }
    };
    tx.delete(key);
    // A newer ticket may have taken these over.
    for pointer in [
        keys::ticket_locator(&ticket.locator),
        keys::ticket_of(tenant, &ticket.user),
    ] {
        let leads_here = tx
            .get(&pointer)
            .is_some_and(|value| keys::last_id(&value) == Some(*id.as_bytes()));
        if leads_here {
            tx.delete(pointer);
        }
    }
    true
}

/// Removes entries of `writer`'s chain that were written before `before`, up to
/// a signed head, which stays and vouches for them.
///
/// First what is to leave is marked as gone, in one commit, so that nobody ever
/// sees a chain that starts without a head; then it is deleted bit by bit.
pub(super) fn remove_audit(
    tx: &mut Tx<'_>,
    writer: u64,
    before: Timestamp,
    now: Timestamp,
) -> Result<Left, StoreError> {
    let mut marks = audit::marks(tx, writer)?;
    let count = delete_left(tx, writer, marks.left)?;
    for (key, _) in tx.scan_prefix(&keys::signed_heads(writer), None, HEAD_STEP) {
        if keys::last_number(&key).is_none_or(|sequence| sequence >= marks.left) {
            break;
        }
        tx.delete(key);
    }
    if count > 0 {
        return Ok(Left { count, more: true });
    }
    let mut last = None;
    let from = keys::signed_head(writer, marks.left.saturating_add(1));
    let heads = tx.scan_prefix(&keys::signed_heads(writer), Some(&from), HEAD_STEP);
    for (_, value) in heads {
        let head: SignedHead = rows::read(&value)?;
        let old = audit::pack_of(tx, writer, head.sequence)?
            .and_then(|pack| Told::read(&pack.entry(head.sequence)?.content))
            .is_some_and(|told| told.time < before);
        if !old {
            break;
        }
        last = Some(head.sequence);
    }
    let Some(last) = last else {
        return Ok(Left::default());
    };
    marks.left = last;
    rows::save(tx, keys::audit_marks(writer), &marks);
    let through = format!("through {last}");
    audit::note(
        tx,
        now,
        None,
        &By::broker(),
        "audit.removed",
        format!("writer {writer}"),
        through,
    )?;
    Ok(Left {
        count: 0,
        more: true,
    })
}

/// Deletes the next entries that are marked as gone. A pack of which some are to
/// stay begins anew with those.
fn delete_left(tx: &mut Tx<'_>, writer: u64, left: u64) -> Result<usize, StoreError> {
    let mut count = 0_usize;
    for (key, value) in tx.scan_prefix(&keys::audit_entries(writer), None, PACK_STEP) {
        let Some(first) = keys::last_number(&key).filter(|first| *first <= left) else {
            break;
        };
        let Pack(mut entries) = match rows::read(&value) {
            Ok(pack) => pack,
            Err(error) => {
                tracing::error!(%error, first, "entries of the audit trail can't be read: they leave");
                Pack(Vec::new())
            }
        };
        let stay = entries.split_off(entries.partition_point(|entry| entry.sequence <= left));
        for entry in &entries {
            if let Some(told) = Told::read(&entry.content) {
                events::forget(tx, &told, writer, entry.sequence);
            }
        }
        tx.delete(key);
        count = count.saturating_add(entries.len().max(1));
        if let Some(next) = stay.first() {
            let key = keys::audit(writer, next.sequence);
            rows::save(tx, key, &Pack(stay));
        }
    }
    Ok(count)
}

fn note_removed(
    tx: &mut Tx<'_>,
    action: &'static str,
    count: usize,
    before: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    if count == 0 {
        return Ok(());
    }
    let before = format!("before {}", before.as_millis());
    audit::note(tx, now, None, &By::broker(), action, count, before)
}

fn aging_ids(key: &[u8]) -> Result<(TenantId, [u8; 16]), StoreError> {
    keys::aging_ids(key).ok_or_else(|| StoreError::Corrupt("a key of what ages".into()))
}

/// What was stored before there was an index, kind after kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Challenges,
    Requests,
    Tickets,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Challenges, Self::Requests, Self::Tickets];

    fn rows(self) -> Key {
        match self {
            Self::Challenges => keys::challenges(),
            Self::Requests => keys::idempotencies(),
            Self::Tickets => keys::tickets(),
        }
    }
}

/// Stands where the place to go on was, once there is no more to index.
const INDEXED: &[u8] = b"done";

/// Looks at the next few things that may lack an index row. `true` once there
/// are no more.
pub(super) fn index_step(tx: &mut Tx<'_>, _: &Hints) -> Result<bool, StoreError> {
    let place = tx.get(&keys::aging_progress()).unwrap_or_default();
    if place == INDEXED {
        return Ok(true);
    }
    for kind in Kind::ALL {
        let prefix = kind.rows();
        // The place is a key; kinds follow one another in the order of the list.
        let from = place.starts_with(&prefix).then_some(place.as_slice());
        let passed = Kind::ALL
            .iter()
            .skip_while(|other| **other != kind)
            .skip(1)
            .any(|later| place.starts_with(&later.rows()));
        if passed {
            continue;
        }
        let found = tx.scan_prefix(&prefix, from, ROW_STEP);
        for (key, value) in &found {
            index_row(tx, kind, key, value);
        }
        if let Some((last, _)) = found.last()
            && found.len() == ROW_STEP
        {
            let mut next = last.clone();
            next.push(0);
            tx.put(keys::aging_progress(), next);
            return Ok(false);
        }
    }
    tx.put(keys::aging_progress(), INDEXED);
    Ok(true)
}

fn index_row(tx: &mut Tx<'_>, kind: Kind, key: &[u8], value: &[u8]) {
    match kind {
        Kind::Challenges => match rows::read::<Challenge>(value) {
            Ok(challenge) => {
                if let Some(outcome) = challenge.outcome.clone() {
                    tx.put(
                        keys::aging_challenge(outcome.decide_time, challenge.tenant, challenge.id),
                        [],
                    );
                }
            }
            Err(error) => tracing::error!(%error, "a challenge can't be read: it will not leave"),
        },
        // The challenge's id, at the end of the value, starts with its time
        // (UUID version 7, RFC 9562, section 5.7).
        Kind::Requests => {
            if let Some(id) = keys::last_id(value) {
                let [a, b, c, d, e, f, ..] = id;
                let at = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
                request_seen(tx, Timestamp::from_millis(at), key);
            }
        }
        Kind::Tickets => match rows::read::<Ticket>(value) {
            Ok(ticket) => ticket_made(tx, &ticket),
            Err(error) => tracing::error!(%error, "a ticket can't be read: it will not leave"),
        },
    }
}
