//! Codes that people type on the sign-in page: what was sent, how often, and
//! how many wrong ones came back.

use std::time::Duration;

use subtle::{Choice, ConstantTimeEq as _};

use super::{challenge::Method, ids::AuthenticatorId, policy, text::TextJob, time::Timestamp};

/// A keyed hash of a code and of what it belongs to. Without the broker's key
/// it says nothing of the code.
#[derive(Clone, Copy)]
pub struct CodeHash(pub [u8; 32]);

impl CodeHash {
    /// Compares in a time that says nothing of where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for CodeHash {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other).into()
    }
}

impl Eq for CodeHash {}

impl std::fmt::Debug for CodeHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CodeHash(…)")
    }
}

/// A code that was sent, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCode {
    /// To which phone number.
    pub phone: AuthenticatorId,
    /// What a typed code must give.
    pub hash: CodeHash,
    /// No use after this.
    pub expire_time: Timestamp,
}

/// Waits before the second, third and every further send.
const RESEND_WAITS: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
];

/// Sends and wrong codes, counted over all of one challenge, or of one number
/// that is being confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// The code that counts: the last one sent.
    pub sent: Option<SentCode>,
    /// Where it went, masked.
    pub masked: String,
    /// Texts so far.
    pub sends: u32,
    /// The earliest time of a further one.
    pub resend_time: Timestamp,
    /// Wrong codes so far: a further send keeps the count.
    pub wrong: u32,
    /// Wrong codes that end it.
    pub max_wrong: u32,
}

/// A text with a code, ready to be stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeOrder {
    /// What a typed code must give.
    pub code: SentCode,
    /// Where it goes, masked.
    pub masked: String,
    /// The entry of the outbox.
    pub job: TextJob,
}

/// Why no code is sent, or no way of answering is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeRefusal {
    /// The last one was sent a moment ago.
    TooSoon(Timestamp),
    /// As many as one sign-in may have were sent.
    TooManySends,
    /// The user has just denied a sign-in.
    CoolOff(Timestamp),
    /// The user has no such authenticator.
    NoAuthenticator,
    /// The prompt can't be answered any more.
    PromptExpired,
    /// Too many texts: see [`Cap`].
    Capped(Cap, Timestamp),
    /// Too many prompts.
    PromptBudget(Timestamp),
}

impl CodeRefusal {
    /// Its name, in errors, metrics and the audit trail.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooSoon(_) => "RESEND_TOO_SOON",
            Self::TooManySends => "TOO_MANY_SENDS",
            Self::CoolOff(_) => "DENIED_A_MOMENT_AGO",
            Self::NoAuthenticator => "NO_AUTHENTICATOR",
            Self::PromptExpired => "PROMPT_EXPIRED",
            Self::Capped(Cap::Number, _) => "NUMBER_CAP",
            Self::Capped(Cap::User, _) => "USER_CAP",
            Self::Capped(Cap::Range, _) => "RANGE_CAP",
            Self::Capped(Cap::Tenant, _) => "TENANT_CAP",
            Self::PromptBudget(_) => "PROMPT_BUDGET",
        }
    }
}

/// Which limit on text messages was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// Of the number.
    Number,
    /// Of the user who asks for codes that prove numbers.
    User,
    /// Of the number's range.
    Range,
    /// Of the organisation.
    Tenant,
}

impl Codes {
    /// None sent yet.
    #[must_use]
    pub fn new(rules: &policy::Codes) -> Self {
        Self {
            sent: None,
            masked: String::new(),
            sends: 0,
            resend_time: Timestamp::default(),
            wrong: 0,
            max_wrong: rules.max_wrong,
        }
    }

    /// Wrong codes that may still be typed.
    #[must_use]
    pub fn attempts_left(&self) -> u32 {
        self.max_wrong.saturating_sub(self.wrong)
    }

    /// Whether another one may be sent now.
    ///
    /// # Errors
    /// [`CodeRefusal::TooManySends`], [`CodeRefusal::TooSoon`].
    pub fn may_send(&self, rules: &policy::Codes, now: Timestamp) -> Result<(), CodeRefusal> {
        if self.sends >= rules.max_sends {
            return Err(CodeRefusal::TooManySends);
        }
        if now < self.resend_time {
            return Err(CodeRefusal::TooSoon(self.resend_time));
        }
        Ok(())
    }

    /// Notes a send: from now on only this code counts.
    pub fn note_send(&mut self, order: &CodeOrder, now: Timestamp) {
        let nth = usize::try_from(self.sends).unwrap_or(usize::MAX);
        let [.., longest] = RESEND_WAITS;
        let wait = RESEND_WAITS.get(nth).copied().unwrap_or(longest);
        self.sends = self.sends.saturating_add(1);
        self.resend_time = now.after(wait);
        self.masked.clone_from(&order.masked);
        self.sent = Some(order.code.clone());
    }
}

/// What was typed, hashed by the broker: nothing has been compared yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guess {
    /// The code of the last text message.
    Sms(CodeHash),
    /// A code of an authenticator app.
    Totp {
        /// What was typed.
        typed: CodeHash,
        /// What the user's apps show at about this time.
        valid: Vec<TotpCandidate>,
    },
    /// A recovery code.
    RecoveryCode(CodeHash),
}

/// What an authenticator app shows in one time step (RFC 6238).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotpCandidate {
    /// Which app.
    pub authenticator: AuthenticatorId,
    /// Which step.
    pub step: u64,
    /// Its code, hashed like what was typed.
    pub hash: CodeHash,
}

impl Guess {
    /// The way of answering.
    #[must_use]
    pub fn method(&self) -> Method {
        match self {
            Self::Sms(_) => Method::Sms,
            Self::Totp { .. } => Method::Totp,
            Self::RecoveryCode(_) => Method::RecoveryCode,
        }
    }
}
