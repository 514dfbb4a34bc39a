//! Going on by another way, and codes that are typed.

use super::{
    Hints,
    accounts::{self, Doing},
    audit::{note, note_of},
    browsers,
    challenges::{self, Times},
    keys,
    keys::Metered,
    outbox, rows, texts,
};
use crate::{
    domain::{
        account::{Account, Phone},
        audit::By,
        challenge::{Challenge, Event, GuessVerdict, Method, Verdict},
        code::{CodeOrder, CodeRefusal, Guess},
        ids::{ChallengeId, TenantId},
        policy::Policy,
        spending::{Counted, Meters},
        text::TextJob,
        time::Timestamp,
    },
    store::{
        GoOn, Guessed, StoreError, WentOn,
        engine::{Key, Tx},
    },
};

/// Counts a text to `phone`, if all limits hold; `true` raises the alarm.
pub(super) fn meter(
    tx: &mut Tx<'_>,
    account: &Account,
    phone: &Phone,
    counted: Counted,
    rules: &Policy,
    now: Timestamp,
) -> Result<Result<bool, CodeRefusal>, StoreError> {
    let mut meters = load_meters(tx, account, phone, counted)?;
    let before = meters.clone();
    let admitted = meters.admit(counted, phone.number, now, &rules.sms);
    if admitted.is_ok() {
        save_meters(tx, account, phone, counted, (&before, &meters));
    }
    Ok(admitted)
}

/// Takes a text back that certainly never went out.
pub(super) fn unmeter(
    tx: &mut Tx<'_>,
    account: &Account,
    phone: &Phone,
    counted: Counted,
    then: Timestamp,
) -> Result<(), StoreError> {
    let mut meters = load_meters(tx, account, phone, counted)?;
    let before = meters.clone();
    meters.give_back(counted, then);
    save_meters(tx, account, phone, counted, (&before, &meters));
    Ok(())
}

/// Where the meters are: of the number, the user, its range, all but sign-ins,
/// all.
fn meter_keys(account: &Account, phone: &Phone, counted: Counted) -> [Key; 5] {
    let number = match counted {
        Counted::SignIn(_) => Metered::Number(&phone.number),
        Counted::Confirmation => Metered::Confirmations(&phone.number),
        Counted::Notice => Metered::Notices(&phone.number),
    };
    let (user, range) = (Metered::Asking(&account.user), Metered::Range(&phone.range));
    [number, user, range, Metered::Others, Metered::Tenant]
        .map(|of| keys::meter(account.tenant, of))
}

fn load_meters(
    tx: &mut Tx<'_>,
    account: &Account,
    phone: &Phone,
    counted: Counted,
) -> Result<Meters, StoreError> {
    let [number, user, range, others, tenant] = meter_keys(account, phone, counted);
    Ok(Meters {
        number: rows::load(tx, &number)?.unwrap_or_default(),
        user: rows::load(tx, &user)?.unwrap_or_default(),
        range: rows::load(tx, &range)?.unwrap_or_default(),
        others: rows::load(tx, &others)?.unwrap_or_default(),
        tenant: rows::load(tx, &tenant)?.unwrap_or_default(),
    })
}

/// Stores the meters that have run.
fn save_meters(
    tx: &mut Tx<'_>,
    account: &Account,
    phone: &Phone,
    counted: Counted,
    (before, after): (&Meters, &Meters),
) {
    let [number, user, range, others, tenant] = meter_keys(account, phone, counted);
    if before.range != after.range {
        rows::save(tx, range, &after.range);
    }
    for (key, before, after) in [
        (number, &before.number, &after.number),
        (user, &before.user, &after.user),
        (others, &before.others, &after.others),
        (tenant, &before.tenant, &after.tenant),
    ] {
        if before != after {
            rows::save(tx, key, after);
        }
    }
}

/// Writes down that a range of numbers has become suspicious: of the range only
/// what tells it from others.
pub(super) fn sound_alarm(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    phone: &Phone,
    alarm: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    if !alarm {
        return Ok(());
    }
    let tag: String = phone
        .range
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (by, country) = (By::broker(), &phone.country);
    note(tx, now, Some(tenant), &by, "sms.range_alarm", tag, country)
}

/// Sends a code, if everything allows it: then `challenge` has changed, the
/// meters have run and the text is in the outbox. Writes nothing otherwise.
pub(super) fn send(
    tx: &mut Tx<'_>,
    hints: &Hints,
    challenge: &mut Challenge,
    order: &CodeOrder,
    account: &Account,
    rules: &Policy,
    now: Timestamp,
) -> Result<Result<bool, CodeRefusal>, StoreError> {
    let mut going_on = challenge.clone();
    if let Err(refusal) = going_on.go_on_by(Method::Sms, Some(order), account, rules, now) {
        return Ok(Err(refusal));
    }
    let Some(phone) = account.phone(order.code.phone) else {
        return Ok(Err(CodeRefusal::NoAuthenticator));
    };
    let counted = Counted::SignIn(phone.create_time);
    let admitted = meter(tx, account, phone, counted, rules, now)?;
    if let Ok(alarm) = admitted {
        *challenge = going_on;
        let job = TextJob {
            nth: challenge.codes.sends,
            metered: now,
            ..order.job.clone()
        };
        texts::add(tx, hints, &job);
        sound_alarm(tx, account.tenant, phone, alarm, now)?;
    }
    Ok(admitted)
}

/// Writes down that a code was sent.
pub(super) fn note_sent(
    tx: &mut Tx<'_>,
    challenge: &Challenge,
    order: &CodeOrder,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    let outcome = format!("{} {}", Method::Sms.name(), order.masked);
    let whose = (challenge.tenant, &challenge.user);
    note_of(tx, now, whose, by, "code.sent", challenge.id, outcome)
}

pub(super) fn go_on(tx: &mut Tx<'_>, hints: &Hints, wanted: &GoOn) -> Result<WentOn, StoreError> {
    let (tenant, id, now) = (wanted.tenant, wanted.challenge, wanted.now);
    let mut challenge = match rows::load::<Challenge>(tx, &keys::challenge(tenant, id)) {
        Ok(Some(challenge)) => challenge,
        Ok(None) => {
            forget_fallback(tx, wanted);
            return Ok(WentOn::NotFound);
        }
        Err(error) if wanted.by_itself => {
            // It can't go on, and must not keep the others from doing so.
            tracing::error!(%error, challenge = %id, "a challenge can't be read");
            forget_fallback(tx, wanted);
            return Ok(WentOn::NotFound);
        }
        Err(error) => return Err(error),
    };
    if challenge.outcome.is_some() {
        return Ok(WentOn::Already(Box::new(challenge)));
    }
    let was = Times::of(&challenge);
    if challenge.apply(Event::Tick, now, &wanted.receipt_key_id) == Verdict::Recorded {
        challenges::settle(tx, hints, was, &challenge, now, &By::broker())?;
        return Ok(WentOn::Ended(Box::new(challenge)));
    }
    let account = accounts::load(tx, tenant, &challenge.user)?;
    if account.lock.is_some() {
        challenge.apply(Event::LockOut, now, &wanted.receipt_key_id);
        challenges::settle(tx, hints, was, &challenge, now, &By::broker())?;
        return Ok(WentOn::Ended(Box::new(challenge)));
    }
    // Somebody was faster: it went on by a way of the user's choice.
    if wanted.by_itself && challenge.fallback_time.is_none_or(|at| now < at) {
        return Ok(WentOn::Already(Box::new(challenge)));
    }
    let rules = accounts::rules(tx, tenant)?;
    let (method, sends) = (challenge.method, challenge.codes.sends);
    let gone_on = match (wanted.method, &wanted.order) {
        (Method::Push, _) => prompt_again(tx, hints, &mut challenge, account, &rules, wanted)?,
        (Method::Sms, Some(order)) => {
            match send(tx, hints, &mut challenge, order, &account, &rules, now)? {
                // Back from another method within a moment: there is a code.
                Err(CodeRefusal::TooSoon(_) | CodeRefusal::TooManySends)
                    if challenge.go_back_to_code(&account, &rules, now) =>
                {
                    Ok(false)
                }
                sent => sent,
            }
        }
        (Method::Totp | Method::RecoveryCode, None) => challenge
            .go_on_by(wanted.method, None, &account, &rules, now)
            .map(|()| false),
        _ => Err(CodeRefusal::NoAuthenticator),
    };
    match gone_on {
        Ok(range_alarm) => {
            if challenge.method != method {
                note_method(tx, &challenge, now, &wanted.by)?;
            }
            if let Some(order) = &wanted.order
                && challenge.codes.sends > sends
            {
                note_sent(tx, &challenge, order, now, &wanted.by)?;
            }
            challenges::keep(tx, hints, was, &challenge);
            Ok(WentOn::Done {
                challenge: Box::new(challenge),
                range_alarm,
            })
        }
        Err(refusal) => {
            let (by, name) = (&wanted.by, refusal.name());
            let whose = (tenant, &challenge.user);
            note_of(tx, now, whose, by, "code.refused", id, name)?;
            if wanted.by_itself {
                challenge.fallback_time = None;
                challenges::keep(tx, hints, was, &challenge);
            }
            Ok(WentOn::Refused(refusal))
        }
    }
}

/// Where nobody is left to ask, goes on by an authenticator app that the user has:
/// better than to end. Whether it did; then it is to be kept.
pub(super) fn go_on_by_app(
    tx: &mut Tx<'_>,
    challenge: &mut Challenge,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if !challenge.has_nobody_left(now) {
        return Ok(false);
    }
    let account = accounts::load(tx, challenge.tenant, &challenge.user)?;
    let rules = accounts::rules(tx, challenge.tenant)?;
    let gone_on = challenge.go_on_by(Method::Totp, None, &account, &rules, now);
    if gone_on.is_ok() {
        note_method(tx, challenge, now, &By::broker())?;
    }
    Ok(gone_on.is_ok())
}

/// Writes down by which way a challenge goes on.
pub(super) fn note_method(
    tx: &mut Tx<'_>,
    challenge: &Challenge,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    let (name, action) = (challenge.method.name(), "challenge.method_changed");
    let whose = (challenge.tenant, &challenge.user);
    note_of(tx, now, whose, by, action, challenge.id, name)
}

/// The prompt once more. Writes nothing unless it may be shown.
fn prompt_again(
    tx: &mut Tx<'_>,
    hints: &Hints,
    challenge: &mut Challenge,
    mut account: Account,
    rules: &Policy,
    wanted: &GoOn,
) -> Result<Result<bool, CodeRefusal>, StoreError> {
    let admitted = challenge
        .go_back_to_push(wanted.now)
        .and_then(|()| account.admit_prompt(&rules.fatigue, wanted.now));
    if let Err(refusal) = admitted {
        return Ok(Err(refusal));
    }
    accounts::save(tx, &account);
    for job in &wanted.pushes {
        if let Some(delivery) = challenge.delivery_mut(job.device) {
            delivery.start_again(wanted.now);
            outbox::add(tx, hints, job);
        }
    }
    Ok(Ok(false))
}

/// Rows of the index that stand for a challenge which is not there, or can't be
/// read: only due ones are looked at.
fn forget_fallback(tx: &mut Tx<'_>, wanted: &GoOn) {
    const LOOKED_AT: usize = 256;
    if !wanted.by_itself {
        return;
    }
    for (key, _) in tx.scan_prefix(&keys::fallbacks(), None, LOOKED_AT) {
        let found = keys::parse_expiry(&key);
        if found.is_some_and(|(_, of, id)| (of, id) == (wanted.tenant, wanted.challenge)) {
            tx.delete(key);
        }
    }
}

pub(super) fn fallbacks_due(
    rows: &mut impl rows::Rows,
    now: Timestamp,
    limit: usize,
) -> Vec<(TenantId, ChallengeId)> {
    rows.raw_under(&keys::fallbacks(), None, limit)
        .iter()
        .filter_map(|(key, _)| keys::parse_expiry(key))
        .take_while(|(at, _, _)| *at <= now)
        .map(|(_, tenant, id)| (tenant, id))
        .collect()
}

pub(super) fn next_fallback(rows: &mut impl rows::Rows) -> Option<Timestamp> {
    rows.raw_under(&keys::fallbacks(), None, 1)
        .first()
        .and_then(|(key, _)| keys::parse_expiry(key))
        .map(|(at, _, _)| at)
}

pub(super) fn guess(
    tx: &mut Tx<'_>,
    hints: &Hints,
    tenant: TenantId,
    id: ChallengeId,
    guess: &Guess,
    doing: Doing<'_>,
) -> Result<Option<Guessed>, StoreError> {
    let Some(mut challenge) = rows::load::<Challenge>(tx, &keys::challenge(tenant, id))? else {
        return Ok(None);
    };
    let was = Times::of(&challenge);
    let rules = accounts::rules(tx, tenant)?;
    let mut account = accounts::load(tx, tenant, &challenge.user)?;
    let was_locked = account.lock.is_some();
    let (now, by) = (doing.now, doing.by);
    let verdict = challenge.guess(guess, &mut account, &rules, now, doing.receipt_key_id);
    let mut ended = Vec::new();
    match verdict {
        GuessVerdict::AlreadyDecided | GuessVerdict::NothingToCheck | GuessVerdict::Wait(_) => {}
        GuessVerdict::Expired | GuessVerdict::Locked => {
            challenges::settle(tx, hints, was, &challenge, now, &By::broker())?;
        }
        GuessVerdict::Right | GuessVerdict::Wrong => {
            if verdict == GuessVerdict::Right {
                account.note_origin(challenge.origin);
                browsers::remember(tx, &mut challenge, now, by)?;
            }
            accounts::save(tx, &account);
            let action = match verdict {
                GuessVerdict::Right => "code.verified",
                _ => "code.wrong",
            };
            let method = guess.method().name();
            let whose = (tenant, &challenge.user);
            note_of(tx, now, whose, by, action, id, method)?;
            if challenge.outcome.is_some() {
                challenges::settle(tx, hints, was, &challenge, now, by)?;
            } else {
                challenges::keep(tx, hints, was, &challenge);
            }
            if !was_locked && account.lock.is_some() {
                ended = accounts::was_locked(tx, hints, &account, &rules, doing)?;
            }
        }
    }
    Ok(Some(Guessed {
        verdict,
        challenge,
        ended,
    }))
}
