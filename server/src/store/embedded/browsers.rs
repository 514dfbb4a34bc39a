//! Remembered browsers: one row each, with the challenge whose token counts.

use super::{accounts, audit::note_of, keys, rows};
use crate::{
    domain::{
        audit::By,
        browser::{Browser, Claim, Forgetting, MAX_BROWSERS_PER_USER, Standing},
        challenge::{Challenge, Final},
        ids::{BrowserId, TenantId, UserId},
        policy::Policy,
        time::Timestamp,
    },
    store::{StoreError, engine::Tx},
};

/// Takes a token in with which a challenge is about to be stored: used up, if it
/// approves. One that was used before ends its browser.
pub(super) fn take(
    tx: &mut Tx<'_>,
    challenge: &Challenge,
    claim: &Claim,
    rules: &Policy,
    by: &By,
) -> Result<Option<BrowserId>, StoreError> {
    let (now, whose) = (challenge.create_time, (challenge.tenant, &challenge.user));
    let key = keys::browser(whose.0, whose.1, claim.browser);
    let Some(mut browser) = rows::load::<Browser>(tx, &key)? else {
        return Ok(None);
    };
    let id = browser.id;
    match browser.standing(claim, rules, now) {
        Standing::Known => Ok(None),
        Standing::Replayed => {
            tx.delete(key);
            note_of(tx, now, whose, by, "browser.replayed", id, "")?;
            Ok(None)
        }
        Standing::Approves => {
            browser.issued_by = challenge.id;
            rows::save(tx, key, &browser);
            let approved = challenge.id.to_string();
            note_of(tx, now, whose, by, "browser.used", id, approved)?;
            Ok(Some(id))
        }
    }
}

/// Remembers the browser of a challenge that has just been approved, if it is
/// wanted and policy does. To be called before the challenge is saved.
pub(super) fn remember(
    tx: &mut Tx<'_>,
    challenge: &mut Challenge,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    let approved = challenge
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.state == Final::Approved);
    if !approved || !challenge.remembering.wanted {
        return Ok(());
    }
    let whose = (challenge.tenant, &challenge.user);
    let owner = (challenge.tenant, challenge.user.clone());
    let rules = accounts::rules(tx, challenge.tenant)?;
    let Some(browser) = Browser::new(owner, challenge.id, &rules, now) else {
        return Ok(());
    };
    let known = tx.scan_prefix(&keys::browsers_of(whose.0, whose.1), None, usize::MAX);
    let over = (known.len() + 1).saturating_sub(MAX_BROWSERS_PER_USER);
    for (key, _) in known.iter().take(over) {
        tx.delete(key.clone());
    }
    note_forgotten(tx, whose, over, Forgetting::TooMany, now, by)?;
    let key = keys::browser(whose.0, whose.1, browser.id);
    rows::save(tx, key, &browser);
    let approved = challenge.id.to_string();
    note_of(
        tx,
        now,
        whose,
        by,
        "browser.remembered",
        browser.id,
        approved,
    )?;
    challenge.remembering.browser = Some(browser.id);
    Ok(())
}

/// Forgets all browsers of a user; how many there were.
pub(super) fn forget(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    user: &UserId,
    why: Forgetting,
    now: Timestamp,
    by: &By,
) -> Result<usize, StoreError> {
    let known = tx.scan_prefix(&keys::browsers_of(tenant, user), None, usize::MAX);
    for (key, _) in &known {
        tx.delete(key.clone());
    }
    note_forgotten(tx, (tenant, user), known.len(), why, now, by)?;
    Ok(known.len())
}

fn note_forgotten(
    tx: &mut Tx<'_>,
    whose: (TenantId, &UserId),
    count: usize,
    why: Forgetting,
    now: Timestamp,
    by: &By,
) -> Result<(), StoreError> {
    if count == 0 {
        return Ok(());
    }
    note_of(tx, now, whose, by, "browser.forgotten", count, why.name())
}
