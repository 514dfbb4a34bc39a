//! Pushes intended: given out to be tried, and done with.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;

use super::{Hints, challenges, keys, registration, rows};
use crate::{
    domain::{
        challenge::Challenge,
        device::PushGateway,
        ids::PushId,
        push::{PushJob, PushKind},
        time::Timestamp,
    },
    store::{
        Hint, PushResult, StoreError,
        engine::{Pair, Snapshot, Tx},
    },
};

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

/// Ends a claim; gives the challenge that ended with it.
#[allow(clippy::too_many_arguments, reason = "one step, all of it needed")]
pub(super) fn finish(
    tx: &mut Tx<'_>,
    hints: &Hints,
    claims: Claims,
    id: PushId,
    job: &PushJob,
    result: PushResult,
    unheard: Option<&str>,
    now: Timestamp,
) -> Result<Option<Challenge>, StoreError> {
    // Before the hints: who is woken by them must find it free.
    tx.after_commit(Box::new(move || {
        claims.0.lock().remove(&id);
    }));
    tx.delete(keys::outbox(job));
    match result {
        PushResult::Again { due } => {
            let again = PushJob {
                due,
                attempts: job.attempts.saturating_add(1),
                ..job.clone()
            };
            add(tx, hints, &again);
            Ok(None)
        }
        PushResult::Finished { delivery, token } => {
            registration::judge_token(tx, job.device, &token, now)?;
            match job.kind {
                PushKind::Prompt => {
                    challenges::prompt_done(tx, hints, job, delivery.as_ref(), unheard, now)
                }
                PushKind::Withdraw => Ok(None),
            }
        }
    }
}
