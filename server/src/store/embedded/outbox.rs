//! Pushes intended: given out to be tried, and done with.

use std::time::Duration;

use super::{
    Hints,
    challenges::{self, Times},
    claims::{Claims, Outbox},
    codes, keys, registration, rows,
};
use crate::{
    domain::{
        audit::By,
        challenge::{Challenge, DeliveryState, Event, Outcome, Verdict},
        device::PushGateway,
        ids::{ChallengeId, DeviceId, PushId},
        push::{PushJob, PushKind},
        time::Timestamp,
    },
    store::{Hint, PushResult, StoreError, engine::Tx},
};

/// How long a withdrawal is worth sending.
const WITHDRAWAL_LIFETIME: Duration = Duration::from_secs(120);

/// The outbox of a gateway.
pub(super) fn of(gateway: PushGateway) -> Outbox<PushId> {
    Outbox {
        prefix: keys::outbox_of(gateway),
        parse: keys::parse_outbox,
    }
}

pub(super) fn add(tx: &mut Tx<'_>, hints: &Hints, job: &PushJob) {
    rows::save(tx, keys::outbox(job), job);
    hints.after_commit(tx, Hint::Outbox(job.gateway));
}

/// Adds a job whose id has just been made.
pub(super) fn add_new(tx: &mut Tx<'_>, hints: &Hints, job: &PushJob) {
    rows::save_new(tx, keys::outbox(job), job);
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
            farewell: None,
        },
    );
}

/// Takes note of how a try of a push went; see [`crate::store::Store::finish_push`].
pub(super) fn finish(
    tx: &mut Tx<'_>,
    hints: &Hints,
    claims: &Claims<PushId>,
    job: &PushJob,
    result: &PushResult,
    unheard: Option<&str>,
    now: Timestamp,
) -> Result<Option<Challenge>, StoreError> {
    // First, so that it is free before anybody is told of what follows.
    claims.release(tx, job.id);
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
                PushKind::Withdraw | PushKind::Notice => Ok(None),
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
    let was = Times::of(&challenge);
    let Some(delivery) = challenge.delivery_mut(job.device) else {
        return Ok(None);
    };
    let mut changed = taken && !std::mem::replace(&mut delivery.pushed, taken);
    if let Some((state, reason)) = state {
        changed |= delivery.advance(*state, reason, now);
    }
    unheard_ends(tx, hints, challenge, was, changed, unheard, now)
}

/// Stores a challenge one of whose prompts or texts came further. With
/// `unheard` it ends, or goes on by text message at once, where this was the
/// last that could have reached anybody.
pub(super) fn unheard_ends(
    tx: &mut Tx<'_>,
    hints: &Hints,
    mut challenge: Challenge,
    was: Times,
    changed: bool,
    unheard: Option<&str>,
    now: Timestamp,
) -> Result<Option<Challenge>, StoreError> {
    if unheard.is_some() && codes::go_on_by_app(tx, &mut challenge, now)? {
        challenges::keep(tx, hints, was, &challenge);
        return Ok(None);
    }
    if let Some(receipt_key_id) = unheard
        && challenge.is_out_of_reach()
    {
        match challenge.apply(Event::NobodyListens, now, receipt_key_id) {
            Verdict::Recorded | Verdict::Expired => {
                challenges::settle(tx, hints, was, &challenge, now, &By::broker())?;
                return Ok(Some(challenge));
            }
            Verdict::AlreadyDecided
            | Verdict::Pending
            | Verdict::NotAsked
            | Verdict::PromptExpired => {}
        }
    }
    if changed || was != Times::of(&challenge) {
        challenges::keep(tx, hints, was, &challenge);
    }
    Ok(None)
}

/// A withdrawal happens once per challenge and device: its id follows from
/// them (UUID version 8, RFC 9562).
fn withdrawal_id(challenge: ChallengeId, device: DeviceId) -> PushId {
    let mut input = b"countersign withdrawal".to_vec();
    input.extend_from_slice(challenge.as_bytes());
    input.extend_from_slice(device.as_bytes());
    PushId::from_bytes(custom_id(&input))
}

/// An id that follows from `input`.
pub(super) fn custom_id(input: &[u8]) -> [u8; 16] {
    let digest = countersign_proto::signing::sha256(input);
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = from;
    }
    *uuid::Builder::from_custom_bytes(bytes).as_uuid().as_bytes()
}
