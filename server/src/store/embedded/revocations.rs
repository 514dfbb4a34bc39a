//! "That wasn't me" after an approval: stored beside the decision, which stays as
//! it is. For the account it counts like any report: browsers are forgotten, and
//! policy may lock.

use super::{
    Hints,
    accounts::{self, Doing},
    audit::note_of,
    browsers, challenges, keys, rows,
};
use crate::{
    domain::{
        account::Account,
        browser::Forgetting,
        challenge::{Challenge, SignedBody},
        device::Device,
        policy::Policy,
        response::Answer,
        revocation::{RecentApprovals, Revocation, SHOWN, SHOWN_FOR},
        time::Timestamp,
    },
    store::{Decided, Hint, StoreError, engine::Tx},
};

/// Takes an approval back. The first counts; whoever comes later is told the
/// same.
pub(super) fn revoke(
    tx: &mut Tx<'_>,
    hints: &Hints,
    challenge: Challenge,
    answer: &Answer,
    doing: Doing<'_>,
) -> Result<Decided, StoreError> {
    let key = keys::revocation(challenge.tenant, challenge.id);
    let mut ended = Vec::new();
    if tx.get(&key).is_none() {
        let revocation = Revocation {
            time: doing.now,
            proof: answer.proof.clone(),
        };
        rows::save(tx, key, &revocation);
        note_of(
            tx,
            doing.now,
            (challenge.tenant, &challenge.user),
            doing.by,
            "challenge.revoked",
            challenge.id,
            answer.proof.device,
        )?;
        ended = heed(tx, hints, &challenge, doing, |account, rules| {
            account.note_revocation(challenge.origin, rules, doing.now);
        })?;
        hints.after_commit(tx, Hint::Challenge(challenge.id));
    }
    Ok(Decided::Revoked { challenge, ended })
}

/// Heeds a report of a challenge that ended otherwise than by an approval: what
/// it ended with stays. The first counts. Challenges that ended by it are told.
pub(super) fn report_late(
    tx: &mut Tx<'_>,
    hints: &Hints,
    challenge: &Challenge,
    answer: &Answer,
    doing: Doing<'_>,
) -> Result<Vec<Challenge>, StoreError> {
    let key = keys::reported_late(challenge.tenant, challenge.id);
    if tx.get(&key).is_some() {
        return Ok(Vec::new());
    }
    tx.put(key, []);
    note_of(
        tx,
        doing.now,
        (challenge.tenant, &challenge.user),
        doing.by,
        "challenge.reported_late",
        challenge.id,
        answer.proof.device,
    )?;
    heed(tx, hints, challenge, doing, |account, rules| {
        account.note_report(rules, doing.now);
    })
}

/// What "that wasn't me" does to the account, whenever it is said.
fn heed(
    tx: &mut Tx<'_>,
    hints: &Hints,
    challenge: &Challenge,
    doing: Doing<'_>,
    note: impl FnOnce(&mut Account, &Policy),
) -> Result<Vec<Challenge>, StoreError> {
    let (tenant, user) = (challenge.tenant, &challenge.user);
    let rules = accounts::rules(tx, tenant)?;
    let mut account = accounts::load(tx, tenant, user)?;
    let was_locked = account.lock.is_some();
    note(&mut account, &rules);
    accounts::save(tx, &account);
    let why = Forgetting::FraudReported;
    browsers::forget(tx, tenant, user, why, doing.now, doing.by)?;
    if !was_locked && account.lock.is_some() {
        return accounts::was_locked(tx, hints, &account, &rules, doing);
    }
    Ok(Vec::new())
}

/// Remembers an approval for the devices that were asked and did not give it.
pub(super) fn approved(
    tx: &mut Tx<'_>,
    challenge: &Challenge,
    now: Timestamp,
) -> Result<(), StoreError> {
    if !challenge.has_dissenters() {
        return Ok(());
    }
    let key = keys::approvals_of(challenge.tenant, &challenge.user);
    let mut recent: RecentApprovals = rows::load(tx, &key)?.unwrap_or_default();
    recent.add(challenge.id, now);
    rows::save(tx, key, &recent);
    Ok(())
}

/// Forgets an approval whose challenge has left.
pub(super) fn forget(tx: &mut Tx<'_>, challenge: &Challenge) -> Result<(), StoreError> {
    tx.delete(keys::revocation(challenge.tenant, challenge.id));
    tx.delete(keys::reported_late(challenge.tenant, challenge.id));
    let key = keys::approvals_of(challenge.tenant, &challenge.user);
    let Some(mut recent) = rows::load::<RecentApprovals>(tx, &key)? else {
        return Ok(());
    };
    let before = recent.0.len();
    recent.0.retain(|(id, _)| *id != challenge.id);
    if recent.0.is_empty() {
        tx.delete(key);
    } else if recent.0.len() < before {
        rows::save(tx, key, &recent);
    }
    Ok(())
}

/// What was approved of late by something else than `device`, which had been
/// asked too; newest first.
pub(super) fn recent(
    rows: &mut impl rows::Rows,
    device: &Device,
    now: Timestamp,
) -> Result<Vec<(SignedBody, Timestamp)>, StoreError> {
    let tenant = device.tenant;
    let key = keys::approvals_of(tenant, &device.user);
    let recent: RecentApprovals = rows::load(rows, &key)?.unwrap_or_default();
    let mut found = Vec::new();
    for (id, at) in recent.0.into_iter().rev() {
        if found.len() >= SHOWN || now.since(at) >= SHOWN_FOR {
            break;
        }
        let Some((challenge, signed)) = challenges::load(rows, tenant, id)? else {
            continue;
        };
        let asked = challenge
            .deliveries
            .iter()
            .any(|delivery| delivery.device == device.id);
        let by = challenge
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.proof.as_ref())
            .map(|proof| proof.device);
        if !asked || by == Some(device.id) || rows.raw(&keys::revocation(tenant, id)).is_some() {
            continue;
        }
        found.push((signed, at));
    }
    Ok(found)
}
