//! Challenges, their expiry and their pushes.

use std::time::Duration;

use super::{
    Hints,
    accounts::{self, Doing},
    audit::note_of,
    browsers, codes, keys, outbox,
    record::{self, Kept, RequestedBody},
    retention, revocations, rows,
};
use crate::{
    domain::{
        account::Account,
        audit::By,
        browser::Forgetting,
        challenge::{
            Challenge, DeliveryState, Event, Final, Method, Outcome, Reason, Road, SignedBody,
            Verdict,
        },
        code::CodeRefusal,
        device::Device,
        ids::{ChallengeId, DeviceId, TenantId, UserId},
        policy::{PendingLimit, Policy},
        receipt::{final_name, reason_name},
        response::Choice,
        time::Timestamp,
    },
    store::{
        Created, Decided, Hint, NewChallenge, StoreError,
        engine::{MAX_VALUE, Tx},
    },
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
    let key_id = new.signed.key_id.as_str();
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
    let rules = accounts::rules(tx, challenge.tenant)?;
    let account = accounts::load(tx, challenge.tenant, &challenge.user)?;
    // Nobody is asked: so what is pending goes on, and no budget is touched. Who
    // is pestered with prompts can still sign in like this.
    if let Some(claim) = &new.browser
        && account.lock.is_none()
        && let Some(browser) = browsers::take(tx, &challenge, claim, &rules, &new.by)?
    {
        challenge.approve_remembered(browser, now, key_id);
        persist(tx, hints, new, &challenge)?;
        return Ok(Created::New {
            challenge: Box::new(challenge),
            superseded: Vec::new(),
            range_alarm: false,
        });
    }
    // A refusal keeps what was written before it: so it comes first.
    let pending = pending_of(tx, challenge.tenant, &challenge.user)?;
    if new.pending_limit == PendingLimit::Reject
        && let Some(open) = pending.iter().find(|old| old.is_open(now))
    {
        return Ok(Created::PendingExists(open.expire_time));
    }
    ask_only_present(tx, &mut challenge);
    let range_alarm = match admit(tx, hints, new, &mut challenge, account, &rules)? {
        Ok(range_alarm) => range_alarm,
        Err(refusal) => {
            let whose = (challenge.tenant, &challenge.user);
            let (by, name) = (&new.by, refusal.name());
            note_of(tx, now, whose, by, "code.refused", &challenge.user, name)?;
            return Ok(Created::Refused(refusal));
        }
    };
    let mut superseded = Vec::new();
    for mut old in pending {
        let was = Times::of(&old);
        match old.apply(Event::Supersede, now, key_id) {
            Verdict::Recorded => settle(tx, hints, was, &old, now, &new.by)?,
            Verdict::Expired => settle(tx, hints, was, &old, now, &By::broker())?,
            Verdict::AlreadyDecided
            | Verdict::Pending
            | Verdict::NotAsked
            | Verdict::PromptExpired => continue,
        }
        superseded.push(old);
    }
    challenge.end_if_unreachable(now, key_id);
    persist(tx, hints, new, &challenge)?;
    if challenge.outcome.is_none() {
        for job in &new.pushes {
            if challenge.delivery_mut(job.device).is_some() {
                outbox::add_new(tx, hints, job);
            }
        }
    }
    Ok(Created::New {
        challenge: Box::new(challenge),
        superseded,
        range_alarm,
    })
}

/// Writes a new challenge down, with its idempotency key and its audit entry.
fn persist(
    tx: &mut Tx<'_>,
    hints: &Hints,
    new: &NewChallenge,
    challenge: &Challenge,
) -> Result<(), StoreError> {
    let now = challenge.create_time;
    if let Some((request, digest)) = &new.idempotency {
        let mut value = digest.to_vec();
        value.extend_from_slice(challenge.id.as_bytes());
        let key = keys::idempotency(challenge.tenant, &challenge.api_key, request);
        tx.put(key, value);
    }
    let body = RequestedBody {
        signed: new.signed.clone(),
        request: new.idempotency.map(|(request, _)| request),
    };
    rows::save_new(tx, keys::signed_body(challenge.tenant, challenge.id), &body);
    match &challenge.outcome {
        None => {
            let key = keys::challenge(challenge.tenant, challenge.id);
            rows::save_new(tx, key, challenge);
            tx.put_new(
                keys::pending_of(challenge.tenant, &challenge.user, challenge.id),
                [],
            );
            index(tx, hints, None, challenge);
            let risks: Vec<_> = challenge.risks.iter().map(|risk| risk.name()).collect();
            note_of(
                tx,
                now,
                (challenge.tenant, &challenge.user),
                &new.by,
                "challenge.created",
                challenge.id,
                risks.join(" "),
            )?;
            if let Some(order) = &new.code {
                codes::note_sent(tx, challenge, order, now, &new.by)?;
            }
        }
        Some(outcome) => {
            save_decided(tx, challenge);
            note_decision(tx, challenge, outcome, now, &new.by)?;
        }
    }
    Ok(())
}

/// A challenge that has been decided never changes, and neither does what was
/// signed: from now on they share a row, where they fit.
fn save_decided(tx: &mut Tx<'_>, challenge: &Challenge) {
    let (tenant, id) = (challenge.tenant, challenge.id);
    let body = keys::signed_body(tenant, id);
    let value = tx.peek(&body, |body| record::with_body(challenge, body));
    match value.flatten() {
        Some(value) if value.len() <= MAX_VALUE => {
            tx.put(keys::challenge(tenant, id), value);
            tx.delete(body);
        }
        _ => rows::save(tx, keys::challenge(tenant, id), challenge),
    }
}

/// Whether the user may be asked like this: counts the prompt, sends the code.
/// Nothing is written when not. A locked account is not asked anything.
fn admit(
    tx: &mut Tx<'_>,
    hints: &Hints,
    new: &NewChallenge,
    challenge: &mut Challenge,
    mut account: Account,
    rules: &Policy,
) -> Result<Result<bool, CodeRefusal>, StoreError> {
    let now = challenge.create_time;
    if challenge.outcome.is_some() {
        return Ok(Ok(false));
    }
    if account.lock.is_some() {
        challenge.apply(Event::LockOut, now, &new.signed.key_id);
        return Ok(Ok(false));
    }
    let is_prompt = challenge.method == Method::Push
        && challenge
            .deliveries
            .iter()
            .any(|delivery| delivery.state != DeliveryState::Failed);
    if is_prompt && let Err(refusal) = account.admit_prompt(&rules.fatigue, now) {
        return Ok(Err(refusal));
    }
    let mut range_alarm = false;
    if let Some(order) = &new.code {
        match codes::send(tx, hints, challenge, order, &account, rules, now)? {
            Ok(alarm) => range_alarm = alarm,
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    if is_prompt {
        accounts::save(tx, &account);
    }
    Ok(Ok(range_alarm))
}

/// Between the look at the user's devices and this step some may have gone:
/// they are not asked.
fn ask_only_present(tx: &mut Tx<'_>, challenge: &mut Challenge) {
    let (tenant, user) = (challenge.tenant, &challenge.user);
    challenge.deliveries.retain(|delivery| {
        delivery.road == Road::Sms
            || tx
                .get(&keys::device_of(tenant, user, delivery.device))
                .is_some()
    });
}

/// Under which times a pending challenge stands in the indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    expiry: Option<Timestamp>,
    fallback: Option<Timestamp>,
}

impl Times {
    /// Those of a challenge as it is stored.
    pub(super) fn of(challenge: &Challenge) -> Self {
        if challenge.outcome.is_some() {
            return Self::default();
        }
        Self {
            expiry: Some(challenge.expire_time),
            fallback: challenge.fallback_time,
        }
    }
}

/// Moves a challenge in the indexes from where it was, unless it is new, to where
/// it belongs: the only place that writes them.
fn index(tx: &mut Tx<'_>, hints: &Hints, was: Option<Times>, challenge: &Challenge) {
    let is = Times::of(challenge);
    let add = |tx: &mut Tx<'_>, key| match was {
        None => tx.put_new(key, []),
        Some(_) => tx.put(key, []),
    };
    let was = was.unwrap_or_default();
    let (tenant, id) = (challenge.tenant, challenge.id);
    if was.expiry != is.expiry {
        if let Some(at) = was.expiry {
            tx.delete(keys::expiry(at, tenant, id));
        }
        if let Some(at) = is.expiry {
            add(tx, keys::expiry(at, tenant, id));
            hints.after_commit(tx, Hint::Expiry(at));
        }
    }
    if was.fallback != is.fallback {
        if let Some(at) = was.fallback {
            tx.delete(keys::fallback(at, tenant, id));
        }
        if let Some(at) = is.fallback {
            add(tx, keys::fallback(at, tenant, id));
            hints.after_commit(tx, Hint::Fallback(at));
        }
    }
}

/// Stores a challenge that has changed and is still pending.
pub(super) fn keep(tx: &mut Tx<'_>, hints: &Hints, was: Times, challenge: &Challenge) {
    let key = keys::challenge(challenge.tenant, challenge.id);
    rows::save(tx, key, challenge);
    index(tx, hints, Some(was), challenge);
    hints.after_commit(tx, Hint::Challenge(challenge.id));
}

fn note_decision(
    tx: &mut Tx<'_>,
    challenge: &Challenge,
    outcome: &Outcome,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    retention::challenge_decided(tx, challenge, outcome)?;
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
    was: Times,
    challenge: &Challenge,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    let Some(outcome) = &challenge.outcome else {
        return Ok(());
    };
    save_decided(tx, challenge);
    tx.delete(keys::pending_of(
        challenge.tenant,
        &challenge.user,
        challenge.id,
    ));
    index(tx, hints, Some(was), challenge);
    note_decision(tx, challenge, outcome, now, by)?;
    revocations::approved(tx, challenge, now)?;
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
    let kept = rows::load_often::<Kept>(rows, &keys::challenge(tenant, id))?;
    let Some(Kept { challenge, body }) = kept else {
        return Ok(None);
    };
    let signed = match body {
        Some(body) => body.signed,
        None => rows::load_often::<SignedBody>(rows, &keys::signed_body(tenant, id))?
            .ok_or_else(|| StoreError::Corrupt(format!("challenge {id} has no signed body")))?,
    };
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
    let kept = rows::load_often::<Kept>(tx, &keys::challenge(tenant, id))?;
    let Some(Kept { mut challenge, .. }) = kept else {
        return Ok(Decided::NotFound);
    };
    let mut answering = None;
    if let Event::Answer(answer) = &event {
        // Between the check of the signature and this step the device may have
        // been removed: then its answer counts no more.
        let device = rows::load_often::<Device>(tx, &keys::device(answer.proof.device))?;
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
    if let Event::Answer(answer) = &event
        && challenge.is_revoked_by(answer, now)
    {
        let doing = Doing {
            now,
            receipt_key_id,
            by,
        };
        return revocations::revoke(tx, hints, challenge, answer, doing);
    }
    // Policy may have changed since phones were asked; a "no" counts all the same.
    if let Event::Answer(answer) = &event
        && answer.choice == Choice::Approve
        && challenge.is_open(now)
        && challenge.depends_on(answer.proof.device)
        && !accounts::rules(tx, tenant)?.methods.push
    {
        return Ok(Decided::PromptExpired);
    }
    let was = Times::of(&challenge);
    if event == Event::NobodyListens && codes::go_on_by_app(tx, &mut challenge, now)? {
        keep(tx, hints, was, &challenge);
        return Ok(Decided::Already(challenge));
    }
    let changes = matches!(event, Event::DeviceGone(_));
    let report = match &event {
        Event::Answer(answer) if answer.choice == Choice::ReportFraud => Some(answer.clone()),
        _ => None,
    };
    let doing = Doing {
        now,
        receipt_key_id,
        by,
    };
    let verdict = challenge.apply(event, now, receipt_key_id);
    if verdict == Verdict::Expired {
        settle(tx, hints, was, &challenge, now, &By::broker())?;
    }
    // Too late to decide; for the account it is a report all the same.
    if matches!(verdict, Verdict::AlreadyDecided | Verdict::Expired)
        && let Some(answer) = report
        && challenge.is_reported_late_by(&answer, now)
    {
        let mut ended = revocations::report_late(tx, hints, &challenge, &answer, doing)?;
        if verdict == Verdict::Expired {
            ended.push(challenge.clone());
        }
        return Ok(Decided::ReportedLate { challenge, ended });
    }
    match verdict {
        Verdict::NotAsked => Ok(Decided::NotFound),
        Verdict::PromptExpired => Ok(Decided::PromptExpired),
        Verdict::AlreadyDecided => Ok(Decided::Already(challenge)),
        Verdict::Pending => {
            if changes || was != Times::of(&challenge) {
                keep(tx, hints, was, &challenge);
            }
            Ok(Decided::Already(challenge))
        }
        Verdict::Expired => Ok(Decided::Lapsed(challenge)),
        Verdict::Recorded => {
            browsers::remember(tx, &mut challenge, now, by)?;
            settle(tx, hints, was, &challenge, now, by)?;
            if let Some(mut device) = answering {
                if device
                    .last_used_time
                    .is_none_or(|at| now.since(at) >= LAST_USED_GRAIN)
                {
                    device.last_used_time = Some(now);
                    rows::save(tx, keys::device(device.id), &device);
                }
                note_answer(tx, hints, &challenge, doing)?;
            }
            Ok(Decided::Recorded(challenge))
        }
    }
}

/// What an answer on a device means for the account.
fn note_answer(
    tx: &mut Tx<'_>,
    hints: &Hints,
    challenge: &Challenge,
    doing: Doing<'_>,
) -> Result<(), StoreError> {
    let Some(outcome) = &challenge.outcome else {
        return Ok(());
    };
    let mut account = accounts::load(tx, challenge.tenant, &challenge.user)?;
    let was_locked = account.lock.is_some();
    let rules = accounts::rules(tx, challenge.tenant)?;
    let mut changed = account.note_end(outcome, &rules, doing.now);
    if outcome.state == Final::Approved {
        changed |= account.note_origin(challenge.origin);
    }
    if changed {
        accounts::save(tx, &account);
    }
    if outcome.reason == Reason::FraudReported {
        let (tenant, user) = (challenge.tenant, &challenge.user);
        let why = Forgetting::FraudReported;
        browsers::forget(tx, tenant, user, why, doing.now, doing.by)?;
    }
    if !was_locked && account.lock.is_some() {
        accounts::was_locked(tx, hints, &account, &rules, doing)?;
    }
    Ok(())
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
