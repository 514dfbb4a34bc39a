//! Text messages intended: given out to be tried, and done with.

use std::time::Duration;

use super::{
    Hints, accounts,
    audit::note_of,
    challenges,
    claims::{Claims, Outbox},
    codes, keys,
    outbox::unheard_ends,
    rows,
};
use crate::{
    domain::{
        account::{Account, Phone},
        audit::By,
        challenge::{Challenge, DeliveryState},
        ids::{AuthenticatorId, DeviceId, TextId},
        policy::Policy,
        spending::Counted,
        text::{Notice, Receipt, TextJob, TextPurpose},
        time::Timestamp,
    },
    store::{Hint, StoreError, TextResult, engine::Tx},
};

/// How long a notice is worth sending: its reader may be the only one to know
/// that the change was not theirs.
const NOTICE_LIFETIME: Duration = Duration::from_secs(86_400);

pub(super) fn outbox() -> Outbox<TextId> {
    Outbox {
        prefix: keys::texts(),
        parse: keys::parse_text,
    }
}

pub(super) fn add(tx: &mut Tx<'_>, hints: &Hints, job: &TextJob) {
    rows::save(tx, keys::text(job), job);
    hints.after_commit(tx, Hint::Texts);
}

/// Takes note of how a try of a text went; see [`crate::store::Store::finish_text`].
pub(super) fn finish(
    tx: &mut Tx<'_>,
    hints: &Hints,
    claims: &Claims<TextId>,
    job: &TextJob,
    result: &TextResult,
    unheard: Option<&str>,
    now: Timestamp,
) -> Result<Option<Challenge>, StoreError> {
    // First, so that it is free before anybody is told of what follows.
    claims.release(tx, job.id);
    let key = keys::text(job);
    if tx.get(&key).is_none() {
        return Ok(None);
    }
    tx.delete(key);
    match result {
        TextResult::Again(due) => {
            let again = TextJob {
                due: *due,
                attempts: job.attempts.saturating_add(1),
                ..job.clone()
            };
            add(tx, hints, &again);
            Ok(None)
        }
        TextResult::Finished(None) => Ok(None),
        TextResult::Finished(Some((state, reason))) => {
            if *state == DeliveryState::Failed {
                give_back(tx, job)?;
            }
            finish_code(tx, hints, job, *state, reason, unheard, now)
        }
    }
}

/// A text that certainly never went out counts no more.
fn give_back(tx: &mut Tx<'_>, job: &TextJob) -> Result<(), StoreError> {
    let account = accounts::load(tx, job.tenant, &job.user)?;
    let Some(phone) = account.phone(job.phone) else {
        return Ok(());
    };
    let counted = match &job.purpose {
        TextPurpose::SignInCode(_) => Counted::SignIn(phone.create_time),
        TextPurpose::ConfirmNumber => Counted::Confirmation,
        TextPurpose::Notice(_) => Counted::Notice,
    };
    codes::unmeter(tx, &account, phone, counted, job.metered)
}

fn finish_code(
    tx: &mut Tx<'_>,
    hints: &Hints,
    job: &TextJob,
    state: DeliveryState,
    reason: &str,
    unheard: Option<&str>,
    now: Timestamp,
) -> Result<Option<Challenge>, StoreError> {
    let TextPurpose::SignInCode(id) = job.purpose else {
        return Ok(None);
    };
    let key = keys::challenge(job.tenant, id);
    let Some(mut challenge) = rows::load::<Challenge>(tx, &key)? else {
        return Ok(None);
    };
    // A decided challenge never changes; a code sent later has a text of its own.
    if challenge.outcome.is_some() {
        return Ok(None);
    }
    // The one sent before: how it fared says nothing of the one that counts.
    if is_superseded(&challenge, job.nth) {
        return Ok(None);
    }
    let was = challenges::Times::of(&challenge);
    let Some(delivery) = challenge.delivery_mut(of_phone(job.phone)) else {
        return Ok(None);
    };
    let changed = delivery.advance(state, reason, now);
    unheard_ends(tx, hints, challenge, was, changed, unheard, now)
}

/// Whether a later code than send number `nth` counts. 0: not known.
fn is_superseded(challenge: &Challenge, nth: u32) -> bool {
    nth != 0 && nth != challenge.codes.sends
}

/// Takes note of what a network says of a challenge's text; see
/// [`crate::store::Store::note_text_receipt`].
pub(super) fn note_receipt(
    tx: &mut Tx<'_>,
    hints: &Hints,
    receipt: &Receipt,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (tenant, id) = (receipt.tenant, receipt.challenge);
    let Some(challenge) = rows::load::<Challenge>(tx, &keys::challenge(tenant, id))? else {
        return Ok(());
    };
    if is_superseded(&challenge, receipt.nth) {
        return Ok(());
    }
    let (phone, state) = (of_phone(receipt.phone), receipt.state);
    challenges::note_delivery(tx, hints, tenant, id, phone, state, &receipt.reason, now)
}

/// A number's place among a challenge's deliveries.
pub(super) fn of_phone(id: AuthenticatorId) -> DeviceId {
    DeviceId::from_bytes(*id.as_bytes())
}

/// Tells the user's numbers what happened to the account, except one that it
/// happened to; `removed` are numbers that the account holds no more. A number
/// gets as many notices per hour and day as it may get codes.
#[allow(clippy::too_many_arguments, reason = "one step, all of it needed")]
pub(super) fn notify(
    tx: &mut Tx<'_>,
    hints: &Hints,
    account: &Account,
    rules: &Policy,
    notice: &Notice,
    except: Option<AuthenticatorId>,
    removed: &[Phone],
    now: Timestamp,
) -> Result<(), StoreError> {
    if !rules.methods.sms {
        return Ok(());
    }
    let kept = account.phones.iter().map(|phone| (phone, false));
    let gone = removed.iter().map(|phone| (phone, true));
    for (phone, gone) in kept.chain(gone) {
        if phone.confirming.is_some()
            || !rules.sms.countries.contains(&phone.country)
            || (!gone && except == Some(phone.id))
        {
            continue;
        }
        // Whoever is signed in can cause notices at will, and may earn by them.
        if let Err(refusal) = codes::meter(tx, account, phone, Counted::Notice, rules, now)? {
            let whose = (account.tenant, &account.user);
            let (by, action) = (By::broker(), "notice.refused");
            note_of(tx, now, whose, &by, action, phone.id, refusal.name())?;
            continue;
        }
        let job = TextJob {
            id: notice_id(account, notice, phone.id, now),
            due: now,
            tenant: account.tenant,
            user: account.user.clone(),
            phone: phone.id,
            purpose: TextPurpose::Notice(notice.clone()),
            digits: 0,
            seed: [0; 16],
            sealed_number: if gone {
                phone.sealed_number.clone()
            } else {
                Vec::new()
            },
            nth: 0,
            metered: now,
            attempts: 0,
            expire_time: now.after(NOTICE_LIFETIME),
        };
        add(tx, hints, &job);
    }
    Ok(())
}

/// One notice of a kind per number and moment: its id follows from them (UUID
/// version 8, RFC 9562).
fn notice_id(account: &Account, notice: &Notice, phone: AuthenticatorId, now: Timestamp) -> TextId {
    let mut input = b"countersign notice".to_vec();
    input.extend_from_slice(account.tenant.as_bytes());
    input.extend_from_slice(&account.user.digest());
    input.extend_from_slice(phone.as_bytes());
    input.extend_from_slice(&now.as_millis().to_be_bytes());
    input.extend_from_slice(format!("{notice:?}").as_bytes());
    TextId::from_bytes(super::outbox::custom_id(&input))
}
