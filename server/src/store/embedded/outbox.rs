//! Pushes intended: given out to be tried, and done with.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{Hints, challenges, keys, registration, rows};
use crate::{
    domain::{
        audit::By,
        challenge::{Challenge, DeliveryState, Event, Outcome, Verdict},
        device::PushGateway,
        ids::{ChallengeId, DeviceId, PushId},
        push::{PushJob, PushKind},
        time::Timestamp,
    },
    store::{
        Hint, PushResult, StoreError,
        engine::{Pair, Snapshot, Tx},
    },
};

/// How long a withdrawal is worth sending.
const WITHDRAWAL_LIFETIME: Duration = Duration::from_secs(120);

/// Pushes being tried. One process owns the directory, so a claim need not be
/// written down: it ends with the process.
///
/// Looking and claiming happen inside one read. While that lasts no commit
/// becomes visible, and a claim is given up only after the commit that ends
/// its push is: so whatever a look still finds and nobody has claimed is free.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashSet<PushId>>>);

/// The first `count` unclaimed rows of a gateway's outbox.
fn unclaimed(
    rows: &mut Snapshot<'_>,
    claimed: &HashSet<PushId>,
    gateway: PushGateway,
    count: usize,
) -> Vec<(Timestamp, PushId, Pair)> {
    // What is claimed still stands in the outbox: look past it.
    let window = claimed.len().saturating_add(count);
    rows.scan_prefix(&keys::outbox_of(gateway), None, window)
        .into_iter()
        .filter_map(|pair| {
            let (due, id) = keys::parse_outbox(&pair.0)?;
            (!claimed.contains(&id)).then_some((due, id, pair))
        })
        .take(count)
        .collect()
}

pub(super) fn claim(
    rows: &mut Snapshot<'_>,
    claims: &Claims,
    gateway: PushGateway,
    now: Timestamp,
    limit: usize,
) -> Vec<PushJob> {
    let mut claimed = claims.0.lock();
    let mut given = Vec::new();
    for (due, id, (_, value)) in unclaimed(rows, &claimed, gateway, limit) {
        if due > now {
            break;
        }
        // One that can't be read stays claimed: it must not hold up the others.
        claimed.insert(id);
        match rows::read::<PushJob>(&value) {
            Ok(job) => given.push(job),
            Err(error) => tracing::error!(%error, push = %id, "a push can't be read"),
        }
    }
    given
}

pub(super) fn next(
    rows: &mut Snapshot<'_>,
    claims: &Claims,
    gateway: PushGateway,
) -> Option<Timestamp> {
    let claimed = claims.0.lock();
    unclaimed(rows, &claimed, gateway, 1)
        .first()
        .map(|(due, _, _)| *due)
}

pub(super) fn add(tx: &mut Tx<'_>, hints: &Hints, job: &PushJob) {
    rows::save(tx, keys::outbox(job), job);
    hints.after_commit(tx, Hint::Outbox(job.gateway));
}

/// Takes a prompt away, unless its own device answered: that one knows.
pub(super) fn withdraw(
    tx: &mut Tx<'_>,
    hints: &Hints,
    challenge: &Challenge,
    outcome: &Outcome,
    device: DeviceId,
    gateway: PushGateway,
    now: Timestamp,
) {
    if outcome
        .proof
        .as_ref()
        .is_some_and(|proof| proof.device == device)
    {
        return;
    }
    add(
        tx,
        hints,
        &PushJob {
            id: withdrawal_id(challenge.id, device),
            gateway,
            due: now,
            kind: PushKind::Withdraw,
            tenant: challenge.tenant,
            challenge: challenge.id,
            device,
            attempts: 0,
            perhaps_sent: false,
            expire_time: now.after(WITHDRAWAL_LIFETIME),
        },
    );
}

/// Takes note of how a try of a push went; see [`crate::store::Store::finish_push`].
pub(super) fn finish(
    tx: &mut Tx<'_>,
    hints: &Hints,
    claims: Claims,
    job: &PushJob,
    result: &PushResult,
    unheard: Option<&str>,
    now: Timestamp,
) -> Result<Option<Challenge>, StoreError> {
    let id = job.id;
    // First, so that it is free before anybody is told of what follows.
    tx.after_commit(Box::new(move || {
        claims.0.lock().remove(&id);
    }));
    let key = keys::outbox(job);
    if tx.get(&key).is_none() {
        return Ok(None);
    }
    tx.delete(key);
    match result {
        PushResult::Again { due, perhaps_sent } => {
            let again = PushJob {
                due: *due,
                attempts: job.attempts.saturating_add(1),
                perhaps_sent: *perhaps_sent,
                ..job.clone()
            };
            add(tx, hints, &again);
            Ok(None)
        }
        PushResult::Finished {
            delivery,
            token,
            taken,
        } => {
            registration::judge_token(tx, job.device, token, now)?;
            match job.kind {
                PushKind::Prompt => {
                    let state = delivery.as_ref();
                    finish_prompt(tx, hints, job, state, *taken, unheard, now)
                }
                PushKind::Withdraw => Ok(None),
            }
        }
    }
}

fn finish_prompt(
    tx: &mut Tx<'_>,
    hints: &Hints,
    job: &PushJob,
    state: Option<&(DeliveryState, String)>,
    taken: bool,
    unheard: Option<&str>,
    now: Timestamp,
) -> Result<Option<Challenge>, StoreError> {
    let key = keys::challenge(job.tenant, job.challenge);
    let Some(mut challenge) = rows::load::<Challenge>(tx, &key)? else {
        return Ok(None);
    };
    if let Some(outcome) = &challenge.outcome {
        // A decided challenge never changes, but this prompt came after its end.
        if taken {
            withdraw(tx, hints, &challenge, outcome, job.device, job.gateway, now);
        }
        return Ok(None);
    }
    let Some(delivery) = challenge.delivery_mut(job.device) else {
        return Ok(None);
    };
    let mut changed = taken && !std::mem::replace(&mut delivery.pushed, taken);
    if let Some((state, reason)) = state {
        changed |= delivery.advance(*state, reason, now);
    }
    if let Some(receipt_key_id) = unheard
        && challenge.is_out_of_reach()
    {
        match challenge.apply(Event::NobodyListens, now, receipt_key_id) {
            Verdict::Recorded | Verdict::Expired => {
                challenges::settle(tx, hints, &challenge, now, &By::broker())?;
                return Ok(Some(challenge));
            }
            Verdict::AlreadyDecided | Verdict::Pending | Verdict::NotAsked => {}
        }
    }
    if changed {
        rows::save(tx, key, &challenge);
        hints.after_commit(tx, Hint::Challenge(challenge.id));
    }
    Ok(None)
}

/// A withdrawal happens once per challenge and device: its id follows from
/// them (UUID version 8, RFC 9562).
fn withdrawal_id(challenge: ChallengeId, device: DeviceId) -> PushId {
    let mut input = b"countersign withdrawal".to_vec();
    input.extend_from_slice(challenge.as_bytes());
    input.extend_from_slice(device.as_bytes());
    let digest = countersign_proto::signing::sha256(&input);
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = from;
    }
    PushId::from_bytes(*uuid::Builder::from_custom_bytes(bytes).as_uuid().as_bytes())
}
