//! The rules of one organisation. Every number has its default and its limits
//! here; what may only be tightened says so.

mod change;
mod check;
mod country;
mod preset;

use std::time::Duration;

pub use change::PATHS;
pub use country::is_country;
pub use preset::Preset;

use super::{Invalid, challenge::Method, time::Timestamp};

/// When a number must be typed on the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberMatching {
    /// Approve and deny are enough.
    Off,
    /// Only where something about the sign-in is out of the ordinary.
    WhenRisky,
    /// Every approval needs the number.
    Always,
}

/// Which challenge gives way when a user with a pending one gets another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingLimit {
    /// The older one ends as cancelled.
    Supersede,
    /// The newer one is refused.
    Reject,
}

/// Whether people must have an authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Switched off: nothing is asked.
    Off,
    /// People are invited to register, and may put it off.
    Encouraged,
    /// Nobody signs in without.
    Required,
}

/// What "that wasn't me" does to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReport {
    /// Operators are told.
    Alarm,
    /// The account is locked as well.
    Lock,
}

/// From when, and for whom, an authenticator is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Whether people must have an authenticator.
    pub enforcement: Enforcement,
    /// Before this it is as if it were switched off; none: at once.
    pub start_time: Option<Timestamp>,
    /// Only users that are listed; others are as if it were switched off.
    pub listed_users_only: bool,
    /// With `Encouraged`: how often a user may put it off.
    pub max_snoozes: u32,
    /// With `Encouraged`: until when; after it, it is required.
    pub snooze_until: Option<Timestamp>,
}

/// Ways of answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods {
    /// A prompt on a registered phone.
    pub push: bool,
    /// A code by text message.
    pub sms: bool,
    /// A code from an authenticator app.
    pub totp: bool,
    /// A recovery code.
    pub recovery_code: bool,
    /// What sign-in pages offer first.
    pub recommended: Method,
}

/// Codes that people type on the sign-in page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// Digits of a code by text message, 4 to 10.
    pub digits: u8,
    /// Life of such a code, 1 to 10 min (NIST SP 800-63B-4: at most 10 min).
    pub ttl: Duration,
    /// Wrong codes that end a challenge, 1 to 5 (PSD2 RTS, article 4: at most 5).
    pub max_wrong: u32,
    /// Sends per challenge, 1 to 5.
    pub max_sends: u32,
    /// Silence after which a prompt turns into a text message; none: never by
    /// itself for silence.
    pub fallback_after: Option<Duration>,
}

/// Text messages: where to, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sms {
    /// Countries that may be texted, ISO 3166-1 alpha-2; empty: none.
    pub countries: Vec<String>,
    /// Per number and hour.
    pub per_number_hour: u32,
    /// Per number and day.
    pub per_number_day: u32,
    /// Different numbers of one range (all but the last three digits) per hour.
    pub per_range_hour: u32,
    /// Per organisation and day.
    pub per_tenant_day: u32,
    /// Different numbers of one range within an hour that raise the alarm for SMS
    /// pumping.
    pub range_alarm: u32,
    /// Host of the sign-in page, for the line by which browsers fill codes in;
    /// empty: no such line.
    pub origin_host: String,
}

/// Against prompts by the dozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatigue {
    /// Prompts without an approval within `window` before waits begin, 1 to 5.
    pub budget: u32,
    /// See `budget`.
    pub window: Duration,
    /// The first wait; doubled with each further prompt.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// After a denial no code is sent to the user for this long.
    pub denial_cool_off: Duration,
    /// What "that wasn't me" does to the account.
    pub on_report: OnReport,
}

/// Against guessing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Failures in a row before waits begin, 1 to 5.
    pub free_failures: u32,
    /// The first wait; doubled with each further failure.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// Failures in a row that lock the account, 10 to 100 (NIST SP 800-63B-4:
    /// at most 100).
    pub lock_after: u32,
}

/// The rules of one organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Counts changes, from 1.
    pub version: u64,
    /// When a number must be typed.
    pub number_matching: NumberMatching,
    /// How many digits, 2 to 6.
    pub number_digits: u8,
    /// Life of a challenge, 15 s to 10 min.
    pub challenge_ttl: Duration,
    /// Which of two challenges gives way.
    pub pending_limit: PendingLimit,
    /// Pushes carry the challenge, encrypted to the device.
    pub encrypted_prompts: bool,
    /// Ways of answering.
    pub methods: Methods,
    /// Who must have an authenticator.
    pub enrolment: Enrolment,
    /// Codes.
    pub codes: Codes,
    /// Text messages.
    pub sms: Sms,
    /// Prompts.
    pub fatigue: Fatigue,
    /// Guessing.
    pub lockout: Lockout,
    /// Days for which a browser may be remembered, 0 (never) to 90.
    pub browser_days: u32,
    /// Language of texts to users who have said nothing else: nl, fr, en or de.
    pub language: String,
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Default for Methods {
    fn default() -> Self {
        Self {
            push: true,
            sms: true,
            totp: true,
            recovery_code: true,
            recommended: Method::Push,
        }
    }
}

impl Default for Enrolment {
    fn default() -> Self {
        Self {
            enforcement: Enforcement::Required,
            start_time: None,
            listed_users_only: false,
            max_snoozes: 3,
            snooze_until: None,
        }
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            digits: 6,
            ttl: seconds(300),
            max_wrong: 5,
            max_sends: 5,
            fallback_after: Some(seconds(30)),
        }
    }
}

impl Default for Sms {
    fn default() -> Self {
        Self {
            countries: Vec::new(),
            per_number_hour: 6,
            per_number_day: 20,
            per_range_hour: 20,
            per_tenant_day: 2000,
            range_alarm: 5,
            origin_host: String::new(),
        }
    }
}

impl Default for Fatigue {
    fn default() -> Self {
        Self {
            budget: 5,
            window: seconds(600),
            first_wait: seconds(10),
            longest_wait: seconds(3600),
            denial_cool_off: seconds(60),
            on_report: OnReport::Alarm,
        }
    }
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            free_failures: 5,
            first_wait: seconds(30),
            longest_wait: seconds(3600),
            lock_after: 100,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            version: 1,
            number_matching: NumberMatching::Always,
            number_digits: 2,
            challenge_ttl: seconds(60),
            pending_limit: PendingLimit::Supersede,
            encrypted_prompts: false,
            methods: Methods::default(),
            enrolment: Enrolment::default(),
            codes: Codes::default(),
            sms: Sms::default(),
            fatigue: Fatigue::default(),
            lockout: Lockout::default(),
            browser_days: 30,
            language: "en".into(),
        }
    }
}

/// Shortest life of a challenge.
pub const MIN_CHALLENGE_TTL: Duration = seconds(15);
/// Longest life of a challenge (NIST SP 800-63B-4: at most 10 min).
pub const MAX_CHALLENGE_TTL: Duration = seconds(600);
/// Most devices of one user.
pub const MAX_DEVICES_PER_USER: usize = 10;

impl Policy {
    /// How many digits this challenge asks for; 0 for none.
    #[must_use]
    pub fn digits(&self, risky: bool) -> u8 {
        match self.number_matching {
            NumberMatching::Off => 0,
            NumberMatching::WhenRisky if !risky => 0,
            NumberMatching::WhenRisky | NumberMatching::Always => self.number_digits,
        }
    }
}

impl Methods {
    /// Whether people may answer this way.
    #[must_use]
    pub fn allow(&self, method: Method) -> bool {
        match method {
            Method::Push => self.push,
            Method::Sms => self.sms,
            Method::Totp => self.totp,
            Method::RecoveryCode => self.recovery_code,
            Method::RememberedBrowser => true,
        }
    }
}

/// Checks a challenge's life.
///
/// # Errors
/// [`Invalid`] outside 15 s to 10 min.
pub fn check_challenge_ttl(field: &str, ttl: Duration) -> Result<(), Invalid> {
    if (MIN_CHALLENGE_TTL..=MAX_CHALLENGE_TTL).contains(&ttl) {
        Ok(())
    } else {
        Err(Invalid::new(field, "must be 15 s to 10 min"))
    }
}
