//! What the broker knows of a user beside registered phones: numbers, apps and
//! recovery codes to answer with, and what is counted against guessing and
//! against prompts by the dozen. One record per user, so that each rule is
//! evaluated in one step.

use std::time::Duration;

use subtle::{Choice, ConditionallySelectable as _};

use super::{
    challenge::{Final, Method, Outcome, Reason},
    code::{CodeHash, CodeOrder, CodeRefusal, Codes, Guess, TotpCandidate},
    ids::{AuthenticatorId, TenantId, UserId},
    policy::{self, Enforcement, Policy},
    risk::{MAX_ORIGINS, Origin},
    spending::Tag,
    time::Timestamp,
};

/// Most phone numbers of one user.
pub const MAX_PHONES: usize = 5;
/// Most authenticator apps of one user.
pub const MAX_TOTPS: usize = 5;
/// Recovery codes in a set.
pub const RECOVERY_CODES: usize = 10;
/// How long a number or an app may wait to be confirmed.
pub const CONFIRM_LIFETIME: Duration = Duration::from_secs(3600);

/// A number that can be texted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// Its id.
    pub id: AuthenticatorId,
    /// The number, sealed with the broker's key.
    pub sealed_number: Vec<u8>,
    /// Stands for the number, to count and to compare.
    pub number: Tag,
    /// Stands for its range.
    pub range: Tag,
    /// As shown, e.g. `+XX XXXXXXX40`.
    pub masked: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// BCP 47 tag of the texts.
    pub language: String,
    /// When it was added.
    pub create_time: Timestamp,
    /// When a code was last right.
    pub last_used_time: Option<Timestamp>,
    /// Codes sent to prove that it is the user's; none: proven.
    pub confirming: Option<Codes>,
}

/// An authenticator app (RFC 6238).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totp {
    /// Its id.
    pub id: AuthenticatorId,
    /// The secret, sealed with the broker's key.
    pub sealed_secret: Vec<u8>,
    /// When it was added.
    pub create_time: Timestamp,
    /// When a code was last right.
    pub last_used_time: Option<Timestamp>,
    /// Whether a first code was right.
    pub confirmed: bool,
    /// Wrong first codes.
    pub wrong: u32,
    /// The last step accepted: none is accepted twice, nor an earlier one.
    pub last_step: u64,
}

/// A set of recovery codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryCodes {
    /// Its id.
    pub id: AuthenticatorId,
    /// When it was made.
    pub create_time: Timestamp,
    /// When one was last used.
    pub last_used_time: Option<Timestamp>,
    /// Those not used yet.
    pub unused: Vec<CodeHash>,
}

/// Why an account is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockReason {
    /// Too many failures in a row.
    TooManyFailures,
    /// "That wasn't me".
    FraudReported,
    /// An operator.
    Operator,
}

impl LockReason {
    /// Its name, for the audit trail.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyFailures => "TOO_MANY_FAILURES",
            Self::FraudReported => "FRAUD_REPORTED",
            Self::Operator => "OPERATOR",
        }
    }
}

/// An account that nobody can sign in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: LockReason,
}

/// What the broker knows of a user beside registered phones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Of which organisation.
    pub tenant: TenantId,
    /// Who.
    pub user: UserId,
    /// Numbers.
    pub phones: Vec<Phone>,
    /// Apps.
    pub totps: Vec<Totp>,
    /// Recovery codes.
    pub recovery: Option<RecoveryCodes>,
    /// Wrong codes and numbers since the last success.
    pub failures: u32,
    /// No code is looked at before this.
    pub no_guess_before: Timestamp,
    /// Prompts since the last approval, without a long pause in between.
    pub prompts: u32,
    /// The last of them.
    pub last_prompt: Timestamp,
    /// After a denial no code is sent before this.
    pub no_code_before: Timestamp,
    /// Set: nobody signs in.
    pub lock: Option<Lock>,
    /// One of those for whom an authenticator is asked, where policy goes by a
    /// list.
    pub listed: bool,
    /// How often registering was put off.
    pub snoozes: u32,
    /// The last time that a sign-in was denied or reported.
    pub last_denial: Option<Timestamp>,
    /// Where the last approvals came from, the newest last.
    pub origins: Vec<Origin>,
}

/// What became of a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Right; which authenticator it was.
    Right(AuthenticatorId),
    /// Wrong, and counted.
    Wrong,
    /// Not looked at before this.
    Wait(Timestamp),
    /// There is nothing that it could be right for.
    NothingToCheck,
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first
        .saturating_mul(1_u32.checked_shl(times.min(31)).unwrap_or(u32::MAX))
        .min(longest)
}

impl Account {
    /// Nothing known yet.
    #[must_use]
    pub fn new(tenant: TenantId, user: UserId) -> Self {
        Self {
            tenant,
            user,
            phones: Vec::new(),
            totps: Vec::new(),
            recovery: None,
            failures: 0,
            no_guess_before: Timestamp::default(),
            prompts: 0,
            last_prompt: Timestamp::default(),
            no_code_before: Timestamp::default(),
            lock: None,
            listed: false,
            snoozes: 0,
            last_denial: None,
            origins: Vec::new(),
        }
    }

    /// Whether, at `now`, policy asks this user for an authenticator at all.
    #[must_use]
    pub fn is_enforced(&self, rules: &policy::Enrolment, now: Timestamp) -> bool {
        rules.enforcement != Enforcement::Off
            && rules.start_time.is_none_or(|start| start <= now)
            && (!rules.listed_users_only || self.listed)
    }

    /// Whether the user has anything but devices to answer with, allowed or not.
    #[must_use]
    pub fn has_registered(&self) -> bool {
        self.phones.iter().any(|phone| phone.confirming.is_none())
            || self.totps.iter().any(|totp| totp.confirmed)
            || self.recovery.is_some()
    }

    /// How often registering may still be put off; none: it may not.
    #[must_use]
    pub fn snoozes_left(&self, rules: &policy::Enrolment, now: Timestamp) -> Option<u32> {
        let may = rules.enforcement == Enforcement::Encouraged
            && self.is_enforced(rules, now)
            && rules.snooze_until.is_none_or(|until| now < until);
        let left = rules.max_snoozes.saturating_sub(self.snoozes);
        Some(left).filter(|left| may && *left > 0)
    }

    /// Remembers where an approval came from. Whether that changed anything.
    pub fn note_origin(&mut self, origin: Origin) -> bool {
        if origin == Origin::default() || self.origins.last() == Some(&origin) {
            return false;
        }
        self.origins.retain(|known| *known != origin);
        self.origins.push(origin);
        let over = self.origins.len().saturating_sub(MAX_ORIGINS);
        self.origins.drain(..over);
        true
    }

    /// The number that codes go to: the one added last, of those confirmed in a
    /// country that policy allows.
    #[must_use]
    pub fn phone_for_codes(&self, rules: &policy::Sms) -> Option<&Phone> {
        self.phones
            .iter()
            .filter(|phone| phone.confirming.is_none() && rules.countries.contains(&phone.country))
            .max_by_key(|phone| phone.create_time)
    }

    /// One of the numbers.
    #[must_use]
    pub fn phone(&self, id: AuthenticatorId) -> Option<&Phone> {
        self.phones.iter().find(|phone| phone.id == id)
    }

    /// Whether the user can answer this way.
    #[must_use]
    pub fn can_answer_by(&self, method: Method, rules: &Policy) -> bool {
        rules.methods.allow(method)
            && match method {
                Method::Sms => self.phone_for_codes(&rules.sms).is_some(),
                Method::Totp => self.totps.iter().any(|totp| totp.confirmed),
                Method::RecoveryCode => self
                    .recovery
                    .as_ref()
                    .is_some_and(|codes| !codes.unused.is_empty()),
                Method::Push | Method::RememberedBrowser => false,
            }
    }

    /// Counts a prompt, if the user may be asked once more.
    ///
    /// # Errors
    /// [`CodeRefusal::PromptBudget`] with the time from which they may.
    pub fn admit_prompt(
        &mut self,
        rules: &policy::Fatigue,
        now: Timestamp,
    ) -> Result<(), CodeRefusal> {
        let wait = match self.prompts.checked_sub(rules.budget) {
            None => Duration::ZERO,
            Some(over) => doubled(rules.first_wait, over, rules.longest_wait),
        };
        let free = self.last_prompt.after(wait);
        if now < free && !wait.is_zero() {
            return Err(CodeRefusal::PromptBudget(free));
        }
        if now >= free.after(rules.window) {
            self.prompts = 0;
        }
        self.prompts = self.prompts.saturating_add(1);
        self.last_prompt = now;
        Ok(())
    }

    /// Whether a code may be sent to the user at all.
    ///
    /// # Errors
    /// [`CodeRefusal::CoolOff`].
    pub fn admit_code(&self, now: Timestamp) -> Result<(), CodeRefusal> {
        if now < self.no_code_before {
            Err(CodeRefusal::CoolOff(self.no_code_before))
        } else {
            Ok(())
        }
    }

    /// Looks at what was typed for a sign-in. Nothing is compared while the user
    /// has to wait; everything that could match is compared, whatever does.
    pub fn check(
        &mut self,
        guess: &Guess,
        sent: Option<&mut Codes>,
        rules: &policy::Lockout,
        now: Timestamp,
    ) -> Checked {
        if self.lock.is_some() {
            return Checked::NothingToCheck;
        }
        if now < self.no_guess_before {
            return Checked::Wait(self.no_guess_before);
        }
        let found = match guess {
            Guess::Sms(typed) => self.check_sms(typed, sent, now),
            Guess::Totp { typed, valid } => self.check_totp(typed, valid, now),
            Guess::RecoveryCode(typed) => self.check_recovery(typed, now),
        };
        match found {
            None => Checked::NothingToCheck,
            Some(Some(authenticator)) => {
                self.note_success();
                Checked::Right(authenticator)
            }
            Some(None) => {
                self.note_failure(rules, now);
                Checked::Wrong
            }
        }
    }

    fn check_sms(
        &mut self,
        typed: &CodeHash,
        codes: Option<&mut Codes>,
        now: Timestamp,
    ) -> Option<Option<AuthenticatorId>> {
        let codes = codes?;
        let sent = codes.sent.as_ref().filter(|sent| now < sent.expire_time)?;
        let id = sent.phone;
        let phone = self.phones.iter_mut().find(|phone| phone.id == id)?;
        if !bool::from(sent.hash.matches(typed)) {
            return Some(None);
        }
        codes.sent = None;
        phone.last_used_time = Some(now);
        Some(Some(id))
    }

    fn check_totp(
        &mut self,
        typed: &CodeHash,
        valid: &[TotpCandidate],
        now: Timestamp,
    ) -> Option<Option<AuthenticatorId>> {
        if !self.totps.iter().any(|totp| totp.confirmed) {
            return None;
        }
        let mut hit = 0_u64;
        for (at, candidate) in (1_u64..).zip(valid) {
            hit.conditional_assign(&at, candidate.hash.matches(typed));
        }
        let hit = usize::try_from(hit.wrapping_sub(1)).ok();
        let hit = hit.and_then(|at| valid.get(at));
        let found = hit.and_then(|hit| {
            let totp = self
                .totps
                .iter_mut()
                .find(|totp| totp.id == hit.authenticator)?;
            (totp.confirmed && hit.step > totp.last_step).then(|| {
                totp.last_step = hit.step;
                totp.last_used_time = Some(now);
                totp.id
            })
        });
        Some(found)
    }

    fn check_recovery(
        &mut self,
        typed: &CodeHash,
        now: Timestamp,
    ) -> Option<Option<AuthenticatorId>> {
        let set = self
            .recovery
            .as_mut()
            .filter(|set| !set.unused.is_empty())?;
        let mut any = Choice::from(0);
        let mut hit = 0_u64;
        for (at, code) in (0_u64..).zip(&set.unused) {
            let matches = code.matches(typed);
            hit.conditional_assign(&at, matches);
            any |= matches;
        }
        if !bool::from(any) {
            return Some(None);
        }
        let hit = usize::try_from(hit).unwrap_or(usize::MAX);
        let mut at = 0_usize;
        set.unused.retain(|_| {
            let keep = at != hit;
            at = at.saturating_add(1);
            keep
        });
        set.last_used_time = Some(now);
        Some(Some(set.id))
    }

    fn note_success(&mut self) {
        self.failures = 0;
        self.no_guess_before = Timestamp::default();
        self.prompts = 0;
    }

    fn note_failure(&mut self, rules: &policy::Lockout, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        if let Some(over) = self.failures.checked_sub(rules.free_failures) {
            self.no_guess_before = now.after(doubled(rules.first_wait, over, rules.longest_wait));
        }
        if self.failures >= rules.lock_after {
            self.lock_for(LockReason::TooManyFailures, now);
        }
    }

    /// Locks it, unless it is locked.
    pub fn lock_for(&mut self, reason: LockReason, now: Timestamp) {
        self.lock.get_or_insert(Lock { since: now, reason });
    }

    /// Unlocks it, and forgets what was counted. `false`: it was not locked.
    pub fn unlock(&mut self) -> bool {
        self.note_success();
        self.lock.take().is_some()
    }

    /// "That wasn't me".
    pub fn note_report(&mut self, rules: &Policy, now: Timestamp) {
        self.no_code_before = now.after(rules.fatigue.denial_cool_off);
        self.last_denial = Some(now);
        if rules.fatigue.on_report == policy::OnReport::Lock {
            self.lock_for(LockReason::FraudReported, now);
        }
    }

    /// Takes note of "that wasn't me", said of a challenge that had been approved:
    /// where it came from is not known as the user's any more.
    pub fn note_revocation(&mut self, origin: Origin, rules: &Policy, now: Timestamp) {
        self.origins.retain(|known| *known != origin);
        self.note_report(rules, now);
    }

    /// Takes note of how a challenge of the user ended. Whether that changed
    /// anything.
    pub fn note_end(&mut self, outcome: &Outcome, rules: &Policy, now: Timestamp) -> bool {
        let counted = |it: &Self| {
            let denial = (it.no_code_before, it.last_denial);
            (it.failures, it.prompts, denial, it.lock)
        };
        let before = counted(self);
        match (outcome.state, outcome.reason) {
            (Final::Approved, Reason::UserApproved) => self.note_success(),
            (Final::Denied, Reason::WrongNumber) => self.note_failure(&rules.lockout, now),
            (Final::Denied, Reason::UserDenied) => {
                self.no_code_before = now.after(rules.fatigue.denial_cool_off);
                self.last_denial = Some(now);
            }
            (Final::Denied, Reason::FraudReported) => self.note_report(rules, now),
            (Final::Approved | Final::Denied | Final::Expired | Final::Cancelled, _) => {}
        }
        before != counted(self)
    }
}

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

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
