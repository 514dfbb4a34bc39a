//! Challenges, their expiry and their pushes.

use std::time::Duration;

use super::{Hints, audit::note, keys, registration, rows};
use crate::{
    domain::{
        audit::By,
        challenge::{Challenge, DeliveryState, Event, Outcome, Road, SignedBody, Verdict},
        device::{Device, PushGateway},
        ids::{ChallengeId, DeviceId, PushId, TenantId, UserId},
        policy::PendingLimit,
        push::{PushJob, PushKind},
        receipt::{final_name, reason_name},
        time::Timestamp,
    },
    store::{Created, Decided, Hint, NewChallenge, PushResult, StoreError, engine::Tx},
};

/// How long a withdrawal is worth sending.
const WITHDRAWAL_LIFETIME: Duration = Duration::from_secs(120);

/// A device's last use is kept to the hour: one write per answer is enough.
const LAST_USED_GRAIN: Duration = Duration::from_secs(3600);

pub(super) fn create(
    tx: &mut Tx<'_>,
    hints: &Hints,
    new: &NewChallenge,
) -> Result<Created, StoreError> {
    let challenge = &new.challenge;
    let now = challenge.create_time;
    if let Some((request, digest)) = &new.idempotency {
        let key = keys::idempotency(challenge.tenant, &challenge.api_key, request);
        if let Some(before) = tx.get(&key) {
            let (known, id) = before
                .split_first_chunk::<32>()
                .and_then(|(known, id)| Some((known, <[u8; 16]>::try_from(id).ok()?)))
                .ok_or_else(|| StoreError::Corrupt("an idempotency key".into()))?;
            return Ok(if known == digest {
                Created::Existing(ChallengeId::from_bytes(id))
            } else {
                Created::Conflict
            });
        }
        let mut value = digest.to_vec();
        value.extend_from_slice(challenge.id.as_bytes());
        tx.put(key, value);
    }
    let mut superseded = Vec::new();
    for mut old in pending_of(tx, challenge.tenant, &challenge.user)? {
        if old.is_open(now) && new.pending_limit == PendingLimit::Reject {
            return Ok(Created::PendingExists(old.expire_time));
        }
        let receipt_key_id = &new.signed.key_id;
        match old.apply(Event::Supersede, now, receipt_key_id) {
            Verdict::Recorded | Verdict::Expired => {
                settle(tx, hints, &old, now, &new.by)?;
                superseded.push(old);
            }
            Verdict::AlreadyDecided | Verdict::Pending | Verdict::NotAsked => {}
        }
    }
    rows::save(
        tx,
        keys::signed_body(challenge.tenant, challenge.id),
        &new.signed,
    );
    rows::save(
        tx,
        keys::challenge(challenge.tenant, challenge.id),
        challenge,
    );
    match &challenge.outcome {
        None => {
            tx.put(
                keys::pending_of(challenge.tenant, &challenge.user, challenge.id),
                [],
            );
            tx.put(
                keys::expiry(challenge.expire_time, challenge.tenant, challenge.id),
                [],
            );
            hints.after_commit(tx, Hint::Expiry(challenge.expire_time));
            note(
                tx,
                now,
                Some(challenge.tenant),
                &new.by,
                "challenge.created",
                challenge.id,
                "",
            )?;
        }
        Some(outcome) => note_decision(tx, challenge, outcome, now, &new.by)?,
    }
    for job in &new.pushes {
        add_push(tx, hints, job);
    }
    Ok(Created::New { superseded })
}

fn add_push(tx: &mut Tx<'_>, hints: &Hints, job: &PushJob) {
    rows::save(tx, keys::outbox(job), job);
    hints.after_commit(tx, Hint::Outbox(job.gateway));
}

fn note_decision(
    tx: &mut Tx<'_>,
    challenge: &Challenge,
    outcome: &Outcome,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    let outcome = format!(
        "{} {}",
        final_name(outcome.state),
        reason_name(outcome.reason)
    );
    note(
        tx,
        now,
        Some(challenge.tenant),
        by,
        "challenge.decided",
        challenge.id,
        outcome,
    )
}

/// Stores a challenge that has just been decided: it leaves what is pending,
/// and phones that were pushed a prompt are to be told. A prompt still on its
/// way is withdrawn when it has arrived: see [`finish_push`].
pub(super) fn settle(
    tx: &mut Tx<'_>,
    hints: &Hints,
    challenge: &Challenge,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    let Some(outcome) = &challenge.outcome else {
        return Ok(());
    };
    rows::save(
        tx,
        keys::challenge(challenge.tenant, challenge.id),
        challenge,
    );
    tx.delete(keys::pending_of(
        challenge.tenant,
        &challenge.user,
        challenge.id,
    ));
    tx.delete(keys::expiry(
        challenge.expire_time,
        challenge.tenant,
        challenge.id,
    ));
    note_decision(tx, challenge, outcome, now, by)?;
    for delivery in &challenge.deliveries {
        if let Road::Push(gateway) = delivery.road
            && delivery.pushed
        {
            add_withdrawal(tx, hints, challenge, outcome, delivery.device, gateway, now);
        }
    }
    hints.after_commit(tx, Hint::Challenge(challenge.id));
    Ok(())
}

/// Takes a prompt away, unless its own device answered: that one knows.
fn add_withdrawal(
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
    add_push(
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
pub(super) fn finish_push(
    tx: &mut Tx<'_>,
    hints: &Hints,
    job: &PushJob,
    result: &PushResult,
    unheard: Option<&str>,
    now: Timestamp,
) -> Result<Option<Challenge>, StoreError> {
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
            add_push(tx, hints, &again);
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
            add_withdrawal(tx, hints, &challenge, outcome, job.device, job.gateway, now);
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
                settle(tx, hints, &challenge, now, &By::broker())?;
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

pub(super) fn load(
    rows: &mut impl rows::Rows,
    tenant: TenantId,
    id: ChallengeId,
) -> Result<Option<(Challenge, SignedBody)>, StoreError> {
    let Some(challenge) = rows::load::<Challenge>(rows, &keys::challenge(tenant, id))? else {
        return Ok(None);
    };
    let signed = rows::load::<SignedBody>(rows, &keys::signed_body(tenant, id))?
        .ok_or_else(|| StoreError::Corrupt(format!("challenge {id} has no signed body")))?;
    Ok(Some((challenge, signed)))
}

/// A user's undecided challenges, oldest first, those whose time is up included.
pub(super) fn pending_of(
    rows: &mut impl rows::Rows,
    tenant: TenantId,
    user: &UserId,
) -> Result<Vec<Challenge>, StoreError> {
    let mut found = Vec::new();
    for (key, _) in rows.raw_under(&keys::pending_of_user(tenant, user), None, usize::MAX) {
        if let Some(id) = keys::last_id(&key) {
            let key = keys::challenge(tenant, ChallengeId::from_bytes(id));
            found.extend(rows::load::<Challenge>(rows, &key)?);
        }
    }
    Ok(found)
}

#[allow(clippy::too_many_arguments, reason = "one step, all of it needed")]
pub(super) fn decide(
    tx: &mut Tx<'_>,
    hints: &Hints,
    tenant: TenantId,
    id: ChallengeId,
    event: Event,
    now: Timestamp,
    receipt_key_id: &str,
    by: &By,
) -> Result<Decided, StoreError> {
    let Some(mut challenge) = rows::load::<Challenge>(tx, &keys::challenge(tenant, id))? else {
        return Ok(Decided::NotFound);
    };
    let mut answering = None;
    if let Event::Answer(answer) = &event {
        // Between the check of the signature and this step the device may have
        // been removed: then its answer counts no more.
        let device = rows::load::<Device>(tx, &keys::device(answer.proof.device))?;
        match device {
            Some(device)
                if device.tenant == tenant
                    && device.user == challenge.user
                    && device.public_key == answer.proof.public_key =>
            {
                answering = Some(device);
            }
            _ => return Ok(Decided::NotFound),
        }
    }
    match challenge.apply(event, now, receipt_key_id) {
        Verdict::NotAsked => Ok(Decided::NotFound),
        Verdict::AlreadyDecided | Verdict::Pending => Ok(Decided::Already(challenge)),
        Verdict::Expired => {
            settle(tx, hints, &challenge, now, &By::broker())?;
            Ok(Decided::Lapsed(challenge))
        }
        Verdict::Recorded => {
            settle(tx, hints, &challenge, now, by)?;
            if let Some(mut device) = answering
                && device
                    .last_used_time
                    .is_none_or(|at| now.since(at) >= LAST_USED_GRAIN)
            {
                device.last_used_time = Some(now);
                rows::save(tx, keys::device(device.id), &device);
            }
            Ok(Decided::Recorded(challenge))
        }
    }
}

pub(super) fn expire_due(
    tx: &mut Tx<'_>,
    hints: &Hints,
    now: Timestamp,
    limit: usize,
    receipt_key_id: &str,
) -> Result<Vec<Challenge>, StoreError> {
    let mut ended = Vec::new();
    for (key, _) in tx.scan_prefix(&keys::expiries(), None, limit) {
        let Some((at, tenant, id)) = keys::parse_expiry(&key) else {
            return Err(StoreError::Corrupt("an expiry key".into()));
        };
        if at > now {
            break;
        }
        let Some(mut challenge) = rows::load::<Challenge>(tx, &keys::challenge(tenant, id))? else {
            tx.delete(key);
            continue;
        };
        if challenge.apply(Event::Tick, now, receipt_key_id) == Verdict::Recorded {
            settle(tx, hints, &challenge, now, &By::broker())?;
            ended.push(challenge);
        } else {
            tx.delete(key);
        }
    }
    Ok(ended)
}

pub(super) fn next_expiry(rows: &mut impl rows::Rows) -> Option<Timestamp> {
    rows.raw_under(&keys::expiries(), None, 1)
        .first()
        .and_then(|(key, _)| keys::parse_expiry(key))
        .map(|(at, _, _)| at)
}

#[allow(clippy::too_many_arguments, reason = "one step, all of it needed")]
pub(super) fn note_delivery(
    tx: &mut Tx<'_>,
    hints: &Hints,
    tenant: TenantId,
    id: ChallengeId,
    device: DeviceId,
    state: DeliveryState,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = keys::challenge(tenant, id);
    let Some(mut challenge) = rows::load::<Challenge>(tx, &key)? else {
        return Ok(());
    };
    // A decided challenge never changes.
    if challenge.outcome.is_some() {
        return Ok(());
    }
    let advanced = challenge
        .delivery_mut(device)
        .is_some_and(|delivery| delivery.advance(state, reason, now));
    if advanced {
        rows::save(tx, key, &challenge);
        hints.after_commit(tx, Hint::Challenge(id));
    }
    Ok(())
}
