//! Tickets and devices.

use super::{
    Hints,
    accounts::{self, Doing},
    audit::note_of,
    browsers, import, keys,
    notices::{self, About},
    retention, rows, texts,
};
use crate::{
    domain::{
        audit::{Actor, By},
        browser::Forgetting,
        challenge::Event,
        device::{Device, PushRegistration},
        ids::{DeviceId, EnrollmentId, TenantId, UserId},
        policy::MAX_DEVICES_PER_USER,
        text::Notice,
        ticket::{Ticket, TicketCode, TicketState, Try},
        time::Timestamp,
    },
    store::{Hint, Redeemed, Removed, StoreError, TokenVerdict, engine::Tx},
};

pub(super) fn add_ticket(
    tx: &mut Tx<'_>,
    hints: &Hints,
    ticket: &Ticket,
    by: &By,
) -> Result<bool, StoreError> {
    if is_locked(tx, ticket.tenant, &ticket.user)? {
        return Ok(false);
    }
    let whose = (ticket.tenant, &ticket.user);
    kill_ticket(tx, hints, whose, ticket.create_time, by)?;
    let of = keys::ticket_of(ticket.tenant, &ticket.user);
    // Two codes with the same locator: the newer would hide the older, so the
    // older is replaced like any other. 40 random bits make it a curiosity.
    if let Some(found) = tx.get(&keys::ticket_locator(&ticket.locator)) {
        let (tenant, id) = located(&found)?;
        replace_open(tx, hints, tenant, id, ticket.create_time, &By::broker())?;
    }
    rows::save(tx, keys::ticket(ticket.tenant, ticket.id), ticket);
    tx.put(of, ticket.id.as_bytes());
    let mut found = ticket.tenant.as_bytes().to_vec();
    found.extend_from_slice(ticket.id.as_bytes());
    tx.put(keys::ticket_locator(&ticket.locator), found);
    retention::ticket_made(tx, ticket);
    note_of(
        tx,
        ticket.create_time,
        (ticket.tenant, &ticket.user),
        by,
        "ticket.created",
        ticket.id,
        "",
    )?;
    Ok(true)
}

fn is_locked(tx: &mut Tx<'_>, tenant: TenantId, user: &UserId) -> Result<bool, StoreError> {
    Ok(accounts::load(tx, tenant, user)?.lock.is_some())
}

/// Ends the user's open ticket, if there is one.
pub(super) fn kill_ticket(
    tx: &mut Tx<'_>,
    hints: &Hints,
    (tenant, user): (TenantId, &UserId),
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    let of = keys::ticket_of(tenant, user);
    match tx.get(&of).as_deref().and_then(keys::last_id) {
        Some(id) => replace_open(tx, hints, tenant, EnrollmentId::from_bytes(id), now, by),
        None => Ok(()),
    }
}

fn replace_open(
    tx: &mut Tx<'_>,
    hints: &Hints,
    tenant: TenantId,
    id: EnrollmentId,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    let key = keys::ticket(tenant, id);
    let Some(mut old) = rows::load::<Ticket>(tx, &key)? else {
        return Ok(());
    };
    if old.state != TicketState::Open {
        return Ok(());
    }
    old.state = TicketState::Replaced;
    rows::save(tx, key, &old);
    let whose = (tenant, &old.user);
    note_of(tx, now, whose, by, "ticket.replaced", old.id, "")?;
    hints.after_commit(tx, Hint::Enrollment(old.id));
    Ok(())
}

/// Reads what a locator leads to.
fn located(found: &[u8]) -> Result<(TenantId, EnrollmentId), StoreError> {
    match (found.first_chunk::<16>(), keys::last_id(found)) {
        (Some(tenant), Some(id)) if found.len() == 32 => {
            Ok((TenantId::from_bytes(*tenant), EnrollmentId::from_bytes(id)))
        }
        _ => Err(StoreError::Corrupt("a ticket's locator".into())),
    }
}

pub(super) fn redeem(
    tx: &mut Tx<'_>,
    hints: &Hints,
    code: &TicketCode,
    mut device: Device,
    now: Timestamp,
    address: &str,
) -> Result<Redeemed, StoreError> {
    let Some(found) = tx.get(&keys::ticket_locator(code.locator())) else {
        return Ok(Redeemed::Refused);
    };
    let (tenant, id) = located(&found)?;
    let key = keys::ticket(tenant, id);
    let Some(mut ticket) = rows::load::<Ticket>(tx, &key)? else {
        return Ok(Redeemed::Refused);
    };
    // Before the code is looked at: it is no fault of whoever types it.
    if is_locked(tx, tenant, &ticket.user)? {
        return Ok(Redeemed::Refused);
    }
    let by = By {
        actor: Actor::Ticket,
        address: address.to_owned(),
    };
    let verdict = ticket.redeem(&code.secret_hash(), device.id, now);
    if verdict == Try::Redeemed {
        let held = tx.scan_prefix(
            &keys::devices_of(ticket.tenant, &ticket.user),
            None,
            MAX_DEVICES_PER_USER,
        );
        if held.len() >= MAX_DEVICES_PER_USER {
            return Ok(Redeemed::TooManyDevices);
        }
    }
    let outcome = match verdict {
        Try::Redeemed => "redeemed",
        Try::Wrong if ticket.state == TicketState::Locked => "locked",
        Try::Wrong => "wrong_code",
        Try::Dead => return Ok(Redeemed::Refused),
    };
    rows::save(tx, key, &ticket);
    note_of(
        tx,
        now,
        (ticket.tenant, &ticket.user),
        &by,
        "ticket.tried",
        ticket.id,
        outcome,
    )?;
    if ticket.state != TicketState::Open {
        hints.after_commit(tx, Hint::Enrollment(ticket.id));
    }
    if verdict != Try::Redeemed {
        return Ok(Redeemed::Refused);
    }
    device.tenant = ticket.tenant;
    device.user = ticket.user;
    rows::save(tx, keys::device(device.id), &device);
    tx.put(keys::device_of(device.tenant, &device.user, device.id), []);
    note_of(
        tx,
        now,
        (device.tenant, &device.user),
        &by,
        "device.registered",
        device.id,
        "",
    )?;
    notify(
        tx,
        hints,
        device.tenant,
        &device.user,
        &About {
            notice: &Notice::DeviceAdded(device.display_name.clone()),
            device: Some(device.id),
            gone: &[],
        },
        now,
    )?;
    Ok(Redeemed::Registered {
        device: Box::new(device),
        issued: ticket.create_time,
    })
}

pub(super) fn devices_of(
    rows: &mut impl rows::Rows,
    tenant: TenantId,
    user: &UserId,
) -> Result<Vec<Device>, StoreError> {
    let mut found: Vec<Device> = Vec::new();
    for (key, _) in rows.raw_under(&keys::devices_of(tenant, user), None, usize::MAX) {
        if let Some(id) = keys::last_id(&key) {
            let key = keys::device(DeviceId::from_bytes(id));
            found.extend(rows::load_often::<Device>(rows, &key)?);
        }
    }
    // Ids sort by time, but for those of imported devices.
    found.sort_by_key(|device| device.create_time);
    Ok(found)
}

#[allow(clippy::too_many_arguments, reason = "one step, all of it needed")]
pub(super) fn remove_device(
    tx: &mut Tx<'_>,
    hints: &Hints,
    tenant: TenantId,
    user: &UserId,
    id: DeviceId,
    now: Timestamp,
    receipt_key_id: &str,
    by: &By,
) -> Result<Removed, StoreError> {
    let device = match rows::load::<Device>(tx, &keys::device(id))? {
        Some(device) if device.tenant == tenant && &device.user == user => device,
        _ => return Ok(Removed::NotFound),
    };
    drop_device(tx, &device, now, by)?;
    let why = Forgetting::AuthenticatorRemoved;
    browsers::forget(tx, tenant, user, why, now, by)?;
    let doing = Doing {
        now,
        receipt_key_id,
        by,
    };
    let met = accounts::tell_pending(tx, hints, tenant, user, doing, |challenge| {
        challenge.depends_on(id).then_some(Event::DeviceGone(id))
    })?;
    notify(
        tx,
        hints,
        tenant,
        user,
        &About {
            notice: &Notice::DeviceRemoved(device.display_name.clone()),
            device: None,
            gone: std::slice::from_ref(&device),
        },
        now,
    )?;
    Ok(Removed::Done {
        ended: met.ended,
        dropped: met.dropped,
    })
}

/// Takes a device away.
pub(super) fn drop_device(
    tx: &mut Tx<'_>,
    device: &Device,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    tx.delete(keys::device(device.id));
    tx.delete(keys::device_of(device.tenant, &device.user, device.id));
    import::note_removal(tx, device);
    let whose = (device.tenant, &device.user);
    note_of(tx, now, whose, by, "device.removed", device.id, "")
}

/// Tells the user's numbers and devices of a device that came or went.
pub(super) fn notify(
    tx: &mut Tx<'_>,
    hints: &Hints,
    tenant: TenantId,
    user: &UserId,
    about: &About<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    notices::tell(tx, hints, (tenant, user), about, now)?;
    let account = accounts::load(tx, tenant, user)?;
    if !account.phones.is_empty() {
        let rules = accounts::rules(tx, tenant)?;
        texts::notify(tx, hints, &account, &rules, about.notice, None, &[], now)?;
    }
    Ok(())
}

pub(super) fn replace_push(
    tx: &mut Tx<'_>,
    id: DeviceId,
    push: Option<PushRegistration>,
    now: Timestamp,
    by: &By,
) -> Result<bool, StoreError> {
    let Some(mut device) = rows::load::<Device>(tx, &keys::device(id))? else {
        return Ok(false);
    };
    device.push = push;
    rows::save(tx, keys::device(id), &device);
    note_of(
        tx,
        now,
        (device.tenant, &device.user),
        by,
        "device.push_replaced",
        id,
        "",
    )?;
    Ok(true)
}

/// Acts on what a gateway said of a token, if it is still this device's token
/// and was not registered after the gateway's date.
pub(super) fn judge_token(
    tx: &mut Tx<'_>,
    id: DeviceId,
    verdict: &TokenVerdict,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (token, outcome) = match verdict {
        TokenVerdict::Fine => return Ok(()),
        TokenVerdict::Dead { token, .. } => (token, "dead"),
        TokenVerdict::Doubtful { token } => (token, "doubtful"),
    };
    let Some(mut device) = rows::load::<Device>(tx, &keys::device(id))? else {
        return Ok(());
    };
    let Some(push) = device.push.as_mut().filter(|push| &push.token == token) else {
        return Ok(());
    };
    match verdict {
        TokenVerdict::Dead {
            since: Some(since), ..
        } if *since <= push.register_time => {
            return Ok(());
        }
        TokenVerdict::Dead { .. } => {
            push.token.clear();
            push.quarantined = true;
        }
        TokenVerdict::Fine | TokenVerdict::Doubtful { .. } => push.quarantined = true,
    }
    rows::save(tx, keys::device(id), &device);
    note_of(
        tx,
        now,
        (device.tenant, &device.user),
        &By::broker(),
        "device.token_judged",
        id,
        outcome,
    )
}
