//! Ends challenges whose time is up.

use super::{
    Hints,
    challenges::{Times, settle},
    keys, rows,
};
use crate::{
    domain::{
        audit::By,
        challenge::{Challenge, Event, Verdict},
        time::Timestamp,
    },
    store::{StoreError, engine::Tx},
};

/// Challenges ended in one command. Each writes up to six rows of its own and
/// a withdrawal per device, about 6 KiB in all, and a command must stay below
/// [`MAX_COMMAND_WRITES`](crate::store::engine::MAX_COMMAND_WRITES) and
/// [`MAX_COMMAND_BYTES`](crate::store::engine::MAX_COMMAND_BYTES).
const EXPIRY_STEP: usize = 32;

/// One step of a sweep.
pub(super) struct Swept {
    /// Ended by it.
    pub(super) ended: Vec<Challenge>,
    /// Whether more may be due.
    pub(super) more: bool,
}

/// Ends the next few whose time is up: no more at once than [`EXPIRY_STEP`].
pub(super) fn expire_due(
    tx: &mut Tx<'_>,
    hints: &Hints,
    now: Timestamp,
    limit: usize,
    receipt_key_id: &str,
) -> Result<Swept, StoreError> {
    let mut ended = Vec::new();
    let step = limit.min(EXPIRY_STEP);
    let first = tx.scan_prefix(&keys::expiries(), None, step);
    let mut more = first.len() == step;
    for (key, _) in first {
        let Some((at, tenant, id)) = keys::parse_expiry(&key) else {
            return Err(StoreError::Corrupt("an expiry key".into()));
        };
        if at > now {
            more = false;
            break;
        }
        let challenge = match rows::load::<Challenge>(tx, &keys::challenge(tenant, id)) {
            Ok(challenge) => challenge,
            Err(error) => {
                // It can't be ended, and must not keep the others from ending.
                tracing::error!(%error, challenge = %id, "an expired challenge can't be read");
                None
            }
        };
        let now_ended = challenge.and_then(|mut challenge| {
            let was = Times::of(&challenge);
            let verdict = challenge.apply(Event::Tick, now, receipt_key_id);
            (verdict == Verdict::Recorded).then_some((was, challenge))
        });
        match now_ended {
            Some((was, challenge)) => {
                settle(tx, hints, was, &challenge, now, &By::broker())?;
                ended.push(challenge);
            }
            None => tx.delete(key),
        }
    }
    Ok(Swept { ended, more })
}

pub(super) fn next_expiry(rows: &mut impl rows::Rows) -> Option<Timestamp> {
    rows.raw_under(&keys::expiries(), None, 1)
        .first()
        .and_then(|(key, _)| keys::parse_expiry(key))
        .map(|(at, _, _)| at)
}
