//! What is known of users beside devices: read, changed, and what follows for
//! challenges that are pending.

use std::{ops::Deref, sync::Arc};

use super::{
    Hints,
    audit::note_of,
    browsers,
    challenges::{self, Times},
    codes, keys,
    notices::{self, About},
    registration, rows, texts,
};
use crate::{
    domain::{
        account::{Account, AccountChange, AccountEvent, AccountRefusal, Phone},
        audit::By,
        browser::Forgetting,
        challenge::{Challenge, Event, Method, Verdict},
        code::CodeOrder,
        event,
        ids::{AuthenticatorId, ChallengeId, TenantId, UserId},
        policy::Policy,
        spending::Counted,
        tenant::Tenant,
        text::{Notice, TextJob},
        time::Timestamp,
    },
    store::{AccountChanged, StoreError, engine::Tx},
};

/// The account, empty where nothing is stored.
pub(super) fn load(
    rows: &mut impl rows::Rows,
    tenant: TenantId,
    user: &UserId,
) -> Result<Account, StoreError> {
    let found = rows::load(rows, &keys::account(tenant, user))?;
    Ok(found.unwrap_or_else(|| Account::new(tenant, user.clone())))
}

pub(super) fn save(tx: &mut Tx<'_>, account: &Account) {
    rows::save(tx, keys::account(account.tenant, &account.user), account);
}

/// The rules of an organisation, shared by all who read them.
pub(super) struct Rules(Arc<Tenant>);

impl Deref for Rules {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.0.policy
    }
}

/// The organisation's rules as they are in this step.
pub(super) fn rules(rows: &mut impl rows::Rows, tenant: TenantId) -> Result<Rules, StoreError> {
    let found = rows::load_shared::<Tenant>(rows, &keys::tenant(tenant))?;
    let found = found.unwrap_or_else(|| {
        Arc::new(Tenant {
            id: tenant,
            display_name: String::new(),
            policy: Policy::default(),
            create_time: Timestamp::default(),
        })
    });
    Ok(Rules(found))
}

/// What a step does on behalf of: when, by whom, and under which key it signs.
#[derive(Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) now: Timestamp,
    pub(super) receipt_key_id: &'a str,
    pub(super) by: &'a By,
}

/// Challenges that an event met.
#[derive(Default)]
pub(super) struct Met {
    pub(super) ended: Vec<Challenge>,
    pub(super) dropped: Vec<ChallengeId>,
}

/// Lets the user's pending challenges take events in.
pub(super) fn tell_pending(
    tx: &mut Tx<'_>,
    hints: &Hints,
    tenant: TenantId,
    user: &UserId,
    doing: Doing<'_>,
    event: impl Fn(&Challenge) -> Option<Event>,
) -> Result<Met, StoreError> {
    let mut met = Met::default();
    for mut challenge in challenges::pending_of(tx, tenant, user)? {
        let Some(event) = event(&challenge) else {
            continue;
        };
        let was = Times::of(&challenge);
        if let Event::DeviceGone(device) = event {
            let mut left = challenge.clone();
            left.forget_device(device);
            if codes::go_on_by_app(tx, &mut left, doing.now)? {
                challenges::keep(tx, hints, was, &left);
                continue;
            }
        }
        match challenge.apply(event, doing.now, doing.receipt_key_id) {
            Verdict::Recorded => {
                challenges::settle(tx, hints, was, &challenge, doing.now, doing.by)?;
                met.ended.push(challenge);
            }
            Verdict::Expired => {
                challenges::settle(tx, hints, was, &challenge, doing.now, &By::broker())?;
                met.ended.push(challenge);
            }
            Verdict::Pending => {
                challenges::keep(tx, hints, was, &challenge);
                met.dropped.push(challenge.id);
            }
            Verdict::AlreadyDecided | Verdict::NotAsked | Verdict::PromptExpired => {}
        }
    }
    Ok(met)
}

/// Challenges that wait for what was just taken away go back to the prompt, or end.
fn lose_methods(
    tx: &mut Tx<'_>,
    hints: &Hints,
    (before, after): (&Account, &Account),
    rules: &Policy,
    doing: Doing<'_>,
) -> Result<Met, StoreError> {
    let lost = |method| before.can_answer_by(method, rules) && !after.can_answer_by(method, rules);
    let mut met = Met::default();
    for mut challenge in challenges::pending_of(tx, after.tenant, &after.user)? {
        let by_code = matches!(challenge.method, Method::Totp | Method::RecoveryCode);
        if !by_code || !lost(challenge.method) {
            continue;
        }
        let was = Times::of(&challenge);
        match challenge.lose_method(doing.now, doing.receipt_key_id) {
            Verdict::Recorded => {
                challenges::settle(tx, hints, was, &challenge, doing.now, doing.by)?;
                met.ended.push(challenge);
            }
            Verdict::Expired => {
                challenges::settle(tx, hints, was, &challenge, doing.now, &By::broker())?;
                met.ended.push(challenge);
            }
            Verdict::Pending => {
                codes::note_method(tx, &challenge, doing.now, doing.by)?;
                challenges::keep(tx, hints, was, &challenge);
                met.dropped.push(challenge.id);
            }
            Verdict::AlreadyDecided | Verdict::NotAsked | Verdict::PromptExpired => {}
        }
    }
    Ok(met)
}

/// What follows when an account has just been locked. It is to be saved by the
/// caller.
pub(super) fn was_locked(
    tx: &mut Tx<'_>,
    hints: &Hints,
    account: &Account,
    rules: &Policy,
    doing: Doing<'_>,
) -> Result<Vec<Challenge>, StoreError> {
    let reason = account.lock.map_or("", |lock| lock.reason.name());
    let user = &account.user;
    let whose = (account.tenant, &account.user);
    note_of(
        tx,
        doing.now,
        whose,
        doing.by,
        "account.locked",
        user,
        reason,
    )?;
    let why = Forgetting::Locked;
    browsers::forget(tx, account.tenant, user, why, doing.now, doing.by)?;
    registration::kill_ticket(tx, hints, whose, doing.now, doing.by)?;
    let notice = Notice::AccountLocked;
    texts::notify(tx, hints, account, rules, &notice, None, &[], doing.now)?;
    let whose = (account.tenant, user);
    notices::tell(tx, hints, whose, &About::account(&notice), doing.now)?;
    let met = tell_pending(tx, hints, account.tenant, user, doing, |_| {
        Some(Event::LockOut)
    })?;
    Ok(met.ended)
}

pub(super) fn change(
    tx: &mut Tx<'_>,
    hints: &Hints,
    tenant: TenantId,
    user: &UserId,
    change: AccountChange,
    doing: Doing<'_>,
) -> Result<AccountChanged, StoreError> {
    let rules = rules(tx, tenant)?;
    let before = load(tx, tenant, user)?;
    let mut account = before.clone();
    let now = doing.now;
    let order = match &change {
        AccountChange::AddPhone { order, .. } => Some(order.clone()),
        _ => None,
    };
    let typed = match &change {
        AccountChange::ConfirmPhone { id, .. } | AccountChange::ConfirmTotp { id, .. } => Some(*id),
        _ => None,
    };
    let event = match account.apply(change, &rules, now) {
        Ok(event) => event,
        Err(refusal) => {
            refused(tx, &before, &account, refusal, typed, doing)?;
            return Ok(AccountChanged::Refused(refusal));
        }
    };
    let mut range_alarm = false;
    if let (AccountEvent::PhoneAdded(id), Some(order)) = (event, &order) {
        match text_number(tx, hints, &account, id, order, &rules, doing)? {
            Ok(alarm) => range_alarm = alarm,
            Err(refusal) => return Ok(AccountChanged::Refused(refusal)),
        }
    }
    save(tx, &account);
    let mut gone = Vec::new();
    let mut met = Met::default();
    let newly_locked = before.lock.is_none() && account.lock.is_some();
    if newly_locked {
        met.ended = was_locked(tx, hints, &account, &rules, doing)?;
    }
    note_event(tx, &before, &account, event, doing)?;
    let forgetting = match event {
        AccountEvent::PhoneRemoved(_) | AccountEvent::TotpRemoved(_) => {
            Some(Forgetting::AuthenticatorRemoved)
        }
        AccountEvent::Reset => Some(Forgetting::Reset),
        _ => None,
    };
    if let Some(why) = forgetting {
        browsers::forget(tx, tenant, user, why, now, doing.by)?;
    }
    match event {
        AccountEvent::PhoneRemoved(id) => {
            let id = texts::of_phone(id);
            met = tell_pending(tx, hints, tenant, user, doing, |challenge| {
                challenge.depends_on(id).then_some(Event::DeviceGone(id))
            })?;
        }
        AccountEvent::TotpRemoved(_) | AccountEvent::RecoveryCodesRemoved(_) => {
            met = lose_methods(tx, hints, (&before, &account), &rules, doing)?;
        }
        AccountEvent::Reset => {
            registration::kill_ticket(tx, hints, (tenant, user), now, doing.by)?;
            for device in registration::devices_of(tx, tenant, user)? {
                registration::drop_device(tx, &device, now, doing.by)?;
                gone.push(device);
            }
            met = tell_pending(tx, hints, tenant, user, doing, |_| Some(Event::NothingLeft))?;
        }
        _ => {}
    }
    if let Some((notice, except)) = notice(event, &before) {
        let removed: Vec<Phone> = before
            .phones
            .into_iter()
            .filter(|phone| account.phone(phone.id).is_none())
            .collect();
        texts::notify(tx, hints, &account, &rules, &notice, except, &removed, now)?;
        let about = About {
            notice: &notice,
            device: None,
            gone: &gone,
        };
        notices::tell(tx, hints, (tenant, user), &about, now)?;
    }
    Ok(AccountChanged::Done {
        account: Box::new(account),
        event,
        ended: met.ended,
        dropped: met.dropped,
        devices: gone.iter().map(|device| device.id).collect(),
        range_alarm,
    })
}

/// Runs the text that confirms a number through the meters, and stores it.
fn text_number(
    tx: &mut Tx<'_>,
    hints: &Hints,
    account: &Account,
    id: AuthenticatorId,
    order: &CodeOrder,
    rules: &Policy,
    doing: Doing<'_>,
) -> Result<Result<bool, AccountRefusal>, StoreError> {
    let Some(phone) = account.phone(id) else {
        return Ok(Err(AccountRefusal::NotFound));
    };
    let whose = (account.tenant, &account.user);
    let (now, by) = (doing.now, doing.by);
    match codes::meter(tx, account, phone, Counted::Confirmation, rules, now)? {
        Ok(alarm) => {
            let outcome = format!("CONFIRM {}", order.masked);
            note_of(tx, now, whose, by, "code.sent", id, outcome)?;
            codes::sound_alarm(tx, account.tenant, phone, alarm, now)?;
            let sends = phone.confirming.as_ref().map_or(0, |codes| codes.sends);
            let job = TextJob {
                nth: sends,
                metered: now,
                ..order.job.clone()
            };
            texts::add(tx, hints, &job);
            Ok(Ok(alarm))
        }
        Err(refusal) => {
            note_of(tx, now, whose, by, "code.refused", id, refusal.name())?;
            Ok(Err(AccountRefusal::NotSent(refusal)))
        }
    }
}

/// A wrong code was counted, or something was never confirmed and is gone.
fn refused(
    tx: &mut Tx<'_>,
    before: &Account,
    after: &Account,
    refusal: AccountRefusal,
    typed: Option<AuthenticatorId>,
    doing: Doing<'_>,
) -> Result<(), StoreError> {
    if before != after {
        save(tx, after);
    }
    let whose = (after.tenant, &after.user);
    let (now, by) = (doing.now, doing.by);
    match (refusal, typed) {
        (AccountRefusal::WrongCode { .. }, Some(id)) => {
            note_of(tx, now, whose, by, "code.wrong", id, "CONFIRM")
        }
        (AccountRefusal::NotSent(refusal), _) => note_of(
            tx,
            now,
            whose,
            by,
            "code.refused",
            &after.user,
            refusal.name(),
        ),
        _ => Ok(()),
    }
}

fn note_event(
    tx: &mut Tx<'_>,
    before: &Account,
    account: &Account,
    event: AccountEvent,
    doing: Doing<'_>,
) -> Result<(), StoreError> {
    let user = account.user.as_str();
    let removed = |id| {
        if proven(before, id) {
            ""
        } else {
            event::UNCONFIRMED
        }
    };
    let masked = |id| account.phone(id).map_or("", |phone| phone.masked.as_str());
    let snoozes;
    let (action, object, outcome) = match event {
        AccountEvent::PhoneAdded(id) => ("phone.added", id.to_string(), masked(id)),
        AccountEvent::PhoneConfirmed(id) => ("phone.confirmed", id.to_string(), masked(id)),
        AccountEvent::PhoneRemoved(id) => ("phone.removed", id.to_string(), removed(id)),
        AccountEvent::TotpAdded(id) => ("totp.added", id.to_string(), ""),
        AccountEvent::TotpConfirmed(id) => ("totp.confirmed", id.to_string(), ""),
        AccountEvent::TotpRemoved(id) => ("totp.removed", id.to_string(), removed(id)),
        AccountEvent::RecoveryCodesCreated(id) => ("recovery_codes.created", id.to_string(), ""),
        AccountEvent::RecoveryCodesRemoved(id) => ("recovery_codes.removed", id.to_string(), ""),
        // Written where it happens, whoever locks; a lock on a lock is written here.
        AccountEvent::Locked(_) if before.lock.is_none() => return Ok(()),
        AccountEvent::Locked(reason) => ("account.locked", user.to_owned(), reason.name()),
        AccountEvent::Unlocked if before.lock.is_none() => {
            ("account.unlocked", user.to_owned(), event::WAS_NOT_LOCKED)
        }
        AccountEvent::Unlocked => ("account.unlocked", user.to_owned(), ""),
        AccountEvent::Reset => ("account.reset", user.to_owned(), ""),
        AccountEvent::Snoozed(left) => {
            snoozes = left.to_string();
            ("account.snoozed", user.to_owned(), snoozes.as_str())
        }
        AccountEvent::Listed(true) => ("account.listed", user.to_owned(), ""),
        AccountEvent::Listed(false) => ("account.unlisted", user.to_owned(), ""),
    };
    let whose = (account.tenant, &account.user);
    note_of(tx, doing.now, whose, doing.by, action, object, outcome)
}

/// Whether a number or an app was ever confirmed.
fn proven(account: &Account, id: AuthenticatorId) -> bool {
    let phone = account.phone(id);
    phone.is_some_and(|phone| phone.confirming.is_none())
        || account
            .totps
            .iter()
            .any(|totp| totp.id == id && totp.confirmed)
}

/// What the user is told of it, and which number need not be told. What was
/// never confirmed comes and goes unnoticed.
fn notice(event: AccountEvent, before: &Account) -> Option<(Notice, Option<AuthenticatorId>)> {
    let proven = |id| proven(before, id);
    let masked = |id| {
        before
            .phone(id)
            .map_or_else(String::new, |phone| phone.masked.clone())
    };
    match event {
        AccountEvent::PhoneRemoved(id) | AccountEvent::TotpRemoved(id) if !proven(id) => None,
        AccountEvent::PhoneConfirmed(id) => Some((Notice::PhoneAdded(masked(id)), Some(id))),
        AccountEvent::PhoneRemoved(id) => Some((Notice::PhoneRemoved(masked(id)), None)),
        AccountEvent::TotpConfirmed(_) => Some((Notice::TotpAdded, None)),
        AccountEvent::TotpRemoved(_) => Some((Notice::TotpRemoved, None)),
        AccountEvent::RecoveryCodesCreated(_) => Some((Notice::RecoveryCodesCreated, None)),
        AccountEvent::RecoveryCodesRemoved(_) => Some((Notice::RecoveryCodesRemoved, None)),
        AccountEvent::Reset => Some((Notice::AccountReset, None)),
        AccountEvent::Unlocked => before
            .lock
            .is_some()
            .then_some((Notice::AccountUnlocked, None)),
        AccountEvent::PhoneAdded(_)
        | AccountEvent::TotpAdded(_)
        | AccountEvent::Locked(_)
        | AccountEvent::Snoozed(_)
        | AccountEvent::Listed(_) => None,
    }
}
