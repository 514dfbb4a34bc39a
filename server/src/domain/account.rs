//! What the broker knows of a user beside registered phones: numbers, apps and
//! recovery codes to answer with, and what is counted against guessing and
//! against prompts by the dozen. One record per user, so that each rule is
//! evaluated in one step.

mod change;

pub use change::{AccountChange, AccountEvent, AccountRefusal};

use std::time::Duration;

use subtle::{Choice, ConditionallySelectable as _};

use super::{
    challenge::{Final, Method, Outcome, Reason},
    code::{CodeHash, CodeRefusal, Codes, Guess, TotpCandidate},
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

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
