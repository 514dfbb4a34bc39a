//! Challenges, their expiry and their pushes.

use std::time::Duration;

use super::{Hints, audit::note_of, keys, outbox, retention, rows};
use crate::{
    domain::{
        audit::By,
        challenge::{
            Challenge, DeliveryState, Event, Final, Outcome, Reason, Road, SignedBody, Verdict,
        },
        device::Device,
        ids::{ChallengeId, DeviceId, TenantId, UserId},
        policy::PendingLimit,
        receipt::{final_name, reason_name},
        time::Timestamp,
    },
    store::{Created, Decided, Hint, NewChallenge, StoreError, engine::Tx},
};

/// A device's last use is kept to the hour: one write per answer is enough.
const LAST_USED_GRAIN: Duration = Duration::from_secs(3600);

pub(super) fn create(
    tx: &mut Tx<'_>,
    hints: &Hints,
    new: &NewChallenge,
) -> Result<Created, StoreError> {
    let mut challenge = new.challenge.clone();
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
    }
    // A refusal keeps what was written before it: so it comes first.
    let pending = pending_of(tx, challenge.tenant, &challenge.user)?;
    if new.pending_limit == PendingLimit::Reject
        && let Some(open) = pending.iter().find(|old| old.is_open(now))
    {
        return Ok(Created::PendingExists(open.expire_time));
    }
    if let Some((request, digest)) = &new.idempotency {
        let mut value = digest.to_vec();
        value.extend_from_slice(challenge.id.as_bytes());
        let key = keys::idempotency(challenge.tenant, &challenge.api_key, request);
        retention::request_seen(tx, now, &key);
        tx.put(key, value);
    }
    let mut superseded = Vec::new();
    for mut old in pending {
        match old.apply(Event::Supersede, now, &new.signed.key_id) {
            Verdict::Recorded => settle(tx, hints, &old, now, &new.by)?,
            Verdict::Expired => settle(tx, hints, &old, now, &By::broker())?,
            Verdict::AlreadyDecided | Verdict::Pending | Verdict::NotAsked => continue,
        }
        superseded.push(old);
    }
    ask_only_present(tx, &mut challenge, now, &new.signed.key_id);
    rows::save(
        tx,
        keys::signed_body(challenge.tenant, challenge.id),
        &new.signed,
    );
    rows::save(
        tx,
        keys::challenge(challenge.tenant, challenge.id),
        &challenge,
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
            note_of(
                tx,
                now,
                (challenge.tenant, &challenge.user),
                &new.by,
                "challenge.created",
                challenge.id,
                "",
            )?;
        }
        Some(outcome) => note_decision(tx, &challenge, outcome, now, &new.by)?,
    }
    for job in &new.pushes {
        if challenge.delivery_mut(job.device).is_some() {
            outbox::add(tx, hints, job);
        }
    }
    Ok(Created::New {
        challenge: Box::new(challenge),
        superseded,
    })
}

/// Between the look at the user's devices and this step some may have gone:
/// they are not asked, and with nobody left to ask the challenge ends here.
fn ask_only_present(
    tx: &mut Tx<'_>,
    challenge: &mut Challenge,
    now: Timestamp,
    receipt_key_id: &str,
) {
    let gone: Vec<DeviceId> = challenge
        .deliveries
        .iter()
        .map(|delivery| delivery.device)
        .filter(|device| {
            let key = keys::device_of(challenge.tenant, &challenge.user, *device);
            tx.get(&key).is_none()
        })
        .collect();
    if gone.is_empty() {
        return;
    }
    challenge
        .deliveries
        .retain(|delivery| !gone.contains(&delivery.device));
    if challenge.is_out_of_reach() && challenge.outcome.is_none() {
        challenge.outcome = Some(Outcome {
            state: Final::Denied,
            reason: Reason::Unreachable,
            decide_time: now,
            proof: None,
            receipt_key_id: receipt_key_id.to_owned(),
        });
    }
}

fn note_decision(
    tx: &mut Tx<'_>,
    challenge: &Challenge,
    outcome: &Outcome,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    retention::challenge_decided(tx, challenge, outcome);
    let outcome = format!(
        "{} {}",
        final_name(outcome.state),
        reason_name(outcome.reason)
    );
    note_of(
        tx,
        now,
        (challenge.tenant, &challenge.user),
        by,
        "challenge.decided",
        challenge.id,
        outcome,
    )
}

/// Stores a challenge that has just been decided: it leaves what is pending,
/// and phones that were pushed a prompt are to be told. A prompt still on its
/// way is withdrawn when it has arrived: see [`outbox::finish`].
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
            outbox::withdraw(tx, hints, challenge, outcome, delivery.device, gateway, now);
        }
    }
    hints.after_commit(tx, Hint::Challenge(challenge.id));
    Ok(())
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
