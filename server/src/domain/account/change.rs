//! Changes to what a user can answer with, and to the account as such: what each
//! amounts to, and why it may be refused.

use subtle::ConditionallySelectable as _;

use super::{
    Account, CONFIRM_LIFETIME, LockReason, MAX_PHONES, MAX_TOTPS, Phone, RecoveryCodes, Totp,
};
use crate::domain::{
    code::{CodeHash, CodeOrder, CodeRefusal, Codes, TotpCandidate},
    ids::AuthenticatorId,
    policy::Policy,
    time::Timestamp,
};

/// Something that changes what a user can answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// Adds a number and sends it a code; one that is known and not proven yet
    /// is sent another.
    AddPhone {
        /// The number, with no code sent yet.
        phone: Box<Phone>,
        /// The text; its number is `phone`, or the known one.
        order: Box<CodeOrder>,
    },
    /// A code for a number to be confirmed was typed.
    ConfirmPhone {
        /// Which number.
        id: AuthenticatorId,
        /// What was typed.
        typed: CodeHash,
    },
    /// Adds an app.
    AddTotp(Totp),
    /// An app's first code was typed.
    ConfirmTotp {
        /// Which app.
        id: AuthenticatorId,
        /// What was typed.
        typed: CodeHash,
        /// What that app shows at about this time.
        valid: Vec<TotpCandidate>,
    },
    /// Replaces the recovery codes.
    SetRecoveryCodes(RecoveryCodes),
    /// Takes a number, an app or the recovery codes away.
    Remove(AuthenticatorId),
    /// Locks the account.
    Lock(LockReason),
    /// Unlocks it.
    Unlock,
    /// Takes everything away that the user could answer with.
    Reset,
    /// Puts registering off once more.
    Snooze,
    /// Puts the user on the list of those for whom an authenticator is asked, or
    /// takes them off.
    List(bool),
}

impl AccountChange {
    /// Whether it adds, or confirms, something to answer with.
    fn adds(&self) -> bool {
        match self {
            Self::AddPhone { .. }
            | Self::ConfirmPhone { .. }
            | Self::AddTotp(_)
            | Self::ConfirmTotp { .. }
            | Self::SetRecoveryCodes(_) => true,
            Self::Remove(_)
            | Self::Lock(_)
            | Self::Unlock
            | Self::Reset
            | Self::Snooze
            | Self::List(_) => false,
        }
    }
}

/// Why an account was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountRefusal {
    /// There is no such authenticator, or it is confirmed already.
    NotFound,
    /// The number is the user's already.
    AlreadyThere(AuthenticatorId),
    /// As many as one user may have.
    TooMany,
    /// The code is wrong. With none left the authenticator is gone.
    WrongCode {
        /// Wrong codes that may still be typed.
        attempts_left: u32,
    },
    /// The code is too old.
    CodeExpired,
    /// No text is sent.
    NotSent(CodeRefusal),
    /// There is nothing to put off, or it was put off too often.
    NoSnooze,
    /// Nothing to answer with is added while the account is locked.
    Locked,
}

/// What an account's change amounts to, for the audit trail and for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountEvent {
    /// A number waits to be confirmed.
    PhoneAdded(AuthenticatorId),
    /// It is confirmed.
    PhoneConfirmed(AuthenticatorId),
    /// An app waits to be confirmed.
    TotpAdded(AuthenticatorId),
    /// It is confirmed.
    TotpConfirmed(AuthenticatorId),
    /// There are new recovery codes.
    RecoveryCodesCreated(AuthenticatorId),
    /// A number is gone.
    PhoneRemoved(AuthenticatorId),
    /// An app is gone.
    TotpRemoved(AuthenticatorId),
    /// The recovery codes are gone.
    RecoveryCodesRemoved(AuthenticatorId),
    /// Locked.
    Locked(LockReason),
    /// Unlocked.
    Unlocked,
    /// Everything is gone.
    Reset,
    /// Registering was put off; how often it still may be.
    Snoozed(u32),
    /// The user is on the list now, or off it.
    Listed(bool),
}

impl Account {
    /// Takes a change in. A refusal may have counted a wrong code: the account is
    /// to be kept in any case.
    ///
    /// # Errors
    /// [`AccountRefusal`].
    pub fn apply(
        &mut self,
        change: AccountChange,
        rules: &Policy,
        now: Timestamp,
    ) -> Result<AccountEvent, AccountRefusal> {
        self.drop_unconfirmed(now);
        if self.lock.is_some() && change.adds() {
            return Err(AccountRefusal::Locked);
        }
        match change {
            AccountChange::AddPhone { phone, order } => self.add_phone(*phone, &order, rules, now),
            AccountChange::ConfirmPhone { id, typed } => self.confirm_phone(id, &typed, now),
            AccountChange::AddTotp(totp) => {
                if self.totps.len() >= MAX_TOTPS {
                    return Err(AccountRefusal::TooMany);
                }
                let id = totp.id;
                self.totps.push(totp);
                Ok(AccountEvent::TotpAdded(id))
            }
            AccountChange::ConfirmTotp { id, typed, valid } => {
                self.confirm_totp(id, &typed, &valid, rules, now)
            }
            AccountChange::SetRecoveryCodes(codes) => {
                let id = codes.id;
                self.recovery = Some(codes);
                Ok(AccountEvent::RecoveryCodesCreated(id))
            }
            AccountChange::Remove(id) => self.remove(id),
            AccountChange::Lock(reason) => {
                self.lock_for(reason, now);
                // What an operator says stands, whatever locked it before.
                if let Some(lock) = &mut self.lock {
                    lock.reason = reason;
                }
                Ok(AccountEvent::Locked(reason))
            }
            AccountChange::Unlock => {
                self.unlock();
                Ok(AccountEvent::Unlocked)
            }
            AccountChange::Reset => {
                self.phones.clear();
                self.totps.clear();
                self.recovery = None;
                Ok(AccountEvent::Reset)
            }
            AccountChange::Snooze => {
                let left = self.snoozes_left(&rules.enrolment, now);
                let left = left.ok_or(AccountRefusal::NoSnooze)?;
                self.snoozes = self.snoozes.saturating_add(1);
                Ok(AccountEvent::Snoozed(left.saturating_sub(1)))
            }
            AccountChange::List(listed) => {
                self.listed = listed;
                Ok(AccountEvent::Listed(listed))
            }
        }
    }

    /// What was never confirmed does not stay for ever.
    pub fn drop_unconfirmed(&mut self, now: Timestamp) {
        self.phones.retain(|phone| {
            phone.confirming.is_none() || now.since(phone.create_time) < CONFIRM_LIFETIME
        });
        self.totps
            .retain(|totp| totp.confirmed || now.since(totp.create_time) < CONFIRM_LIFETIME);
    }

    fn add_phone(
        &mut self,
        phone: Phone,
        order: &CodeOrder,
        rules: &Policy,
        now: Timestamp,
    ) -> Result<AccountEvent, AccountRefusal> {
        let full = self.phones.len() >= MAX_PHONES;
        let known = self
            .phones
            .iter_mut()
            .find(|known| known.number == phone.number);
        let phone = match known {
            Some(known) if known.confirming.is_none() => {
                return Err(AccountRefusal::AlreadyThere(known.id));
            }
            Some(known) => known,
            None if full => return Err(AccountRefusal::TooMany),
            None => {
                // Whatever was known of it when the text was ordered is gone.
                self.phones.push(Phone {
                    create_time: now,
                    confirming: None,
                    ..phone
                });
                match self.phones.last_mut() {
                    Some(added) => added,
                    None => return Err(AccountRefusal::NotFound),
                }
            }
        };
        let id = phone.id;
        // Another one is known by now: the code was made for a number that
        // will not be there.
        if order.code.phone != id {
            return Err(AccountRefusal::NotSent(CodeRefusal::NoAuthenticator));
        }
        let codes = phone
            .confirming
            .get_or_insert_with(|| Codes::new(&rules.codes));
        codes
            .may_send(&rules.codes, now)
            .map_err(AccountRefusal::NotSent)?;
        codes.note_send(order, now);
        Ok(AccountEvent::PhoneAdded(id))
    }

    fn confirm_phone(
        &mut self,
        id: AuthenticatorId,
        typed: &CodeHash,
        now: Timestamp,
    ) -> Result<AccountEvent, AccountRefusal> {
        let phone = self.phones.iter_mut().find(|phone| phone.id == id);
        let phone = phone.ok_or(AccountRefusal::NotFound)?;
        let codes = phone.confirming.as_mut().ok_or(AccountRefusal::NotFound)?;
        let sent = codes.sent.as_ref().filter(|sent| now < sent.expire_time);
        let sent = sent.ok_or(AccountRefusal::CodeExpired)?;
        if bool::from(sent.hash.matches(typed)) {
            phone.confirming = None;
            return Ok(AccountEvent::PhoneConfirmed(id));
        }
        codes.wrong = codes.wrong.saturating_add(1);
        let attempts_left = codes.attempts_left();
        if attempts_left == 0 {
            self.phones.retain(|phone| phone.id != id);
        }
        Err(AccountRefusal::WrongCode { attempts_left })
    }

    fn confirm_totp(
        &mut self,
        id: AuthenticatorId,
        typed: &CodeHash,
        valid: &[TotpCandidate],
        rules: &Policy,
        now: Timestamp,
    ) -> Result<AccountEvent, AccountRefusal> {
        let totp = self
            .totps
            .iter_mut()
            .find(|totp| totp.id == id && !totp.confirmed);
        let totp = totp.ok_or(AccountRefusal::NotFound)?;
        let mut step = 0;
        for candidate in valid
            .iter()
            .filter(|candidate| candidate.authenticator == id)
        {
            step.conditional_assign(&candidate.step, candidate.hash.matches(typed));
        }
        if step > totp.last_step {
            totp.confirmed = true;
            totp.last_step = step;
            totp.last_used_time = Some(now);
            return Ok(AccountEvent::TotpConfirmed(id));
        }
        totp.wrong = totp.wrong.saturating_add(1);
        let attempts_left = rules.codes.max_wrong.saturating_sub(totp.wrong);
        if attempts_left == 0 {
            self.totps.retain(|totp| totp.id != id);
        }
        Err(AccountRefusal::WrongCode { attempts_left })
    }

    fn remove(&mut self, id: AuthenticatorId) -> Result<AccountEvent, AccountRefusal> {
        let (phones, totps) = (self.phones.len(), self.totps.len());
        self.phones.retain(|phone| phone.id != id);
        self.totps.retain(|totp| totp.id != id);
        if self.phones.len() < phones {
            return Ok(AccountEvent::PhoneRemoved(id));
        }
        if self.totps.len() < totps {
            return Ok(AccountEvent::TotpRemoved(id));
        }
        if self.recovery.take_if(|codes| codes.id == id).is_some() {
            return Ok(AccountEvent::RecoveryCodesRemoved(id));
        }
        Err(AccountRefusal::NotFound)
    }
}
