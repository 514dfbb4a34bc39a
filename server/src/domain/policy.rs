//! The rules of one organisation. Every number has its default and its limits
//! here; what may only be tightened says so.

use std::time::Duration;

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
/// Most countries in a policy: all of it must fit in one stored value.
pub const MAX_COUNTRIES: usize = 250;

impl Policy {
    /// Checks the whole.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field out of range.
    pub fn check(&self) -> Result<(), Invalid> {
        within("number_digits", u32::from(self.number_digits), 2, 6)?;
        check_challenge_ttl("policy.challenge_ttl", self.challenge_ttl)?;
        self.methods.check()?;
        let codes = &self.codes;
        within("codes.digits", u32::from(codes.digits), 4, 10)?;
        lasting("codes.ttl", codes.ttl, 60, 600)?;
        within("codes.max_wrong", codes.max_wrong, 1, 5)?;
        within("codes.max_sends", codes.max_sends, 1, 5)?;
        if let Some(after) = codes.fallback_after {
            lasting("codes.fallback_after", after, 5, 600)?;
        }
        self.sms.check()?;
        let fatigue = &self.fatigue;
        within("fatigue.budget", fatigue.budget, 1, 5)?;
        lasting("fatigue.window", fatigue.window, 600, 86_400)?;
        lasting("fatigue.first_wait", fatigue.first_wait, 10, 3600)?;
        lasting("fatigue.longest_wait", fatigue.longest_wait, 10, 86_400)?;
        lasting("fatigue.denial_cool_off", fatigue.denial_cool_off, 60, 3600)?;
        ordered("fatigue", fatigue.first_wait, fatigue.longest_wait)?;
        let lockout = &self.lockout;
        within("lockout.free_failures", lockout.free_failures, 1, 5)?;
        lasting("lockout.first_wait", lockout.first_wait, 30, 3600)?;
        lasting("lockout.longest_wait", lockout.longest_wait, 30, 86_400)?;
        ordered("lockout", lockout.first_wait, lockout.longest_wait)?;
        within("lockout.lock_after", lockout.lock_after, 10, 100)?;
        within("browser_days", self.browser_days, 0, 90)?;
        if !["nl", "fr", "en", "de"].contains(&self.language.as_str()) {
            return Err(Invalid::new("policy.language", "must be nl, fr, en or de"));
        }
        within("enrolment.max_snoozes", self.enrolment.max_snoozes, 0, 100)
    }

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

    fn check(&self) -> Result<(), Invalid> {
        if !(self.push || self.sms || self.totp) {
            return Err(Invalid::new(
                "policy.methods",
                "must allow at least one of push, sms and totp",
            ));
        }
        let offered = matches!(self.recommended, Method::Push | Method::Sms | Method::Totp);
        if offered && self.allow(self.recommended) {
            Ok(())
        } else {
            Err(Invalid::new(
                "policy.methods.recommended",
                "must be push, sms or totp, and allowed",
            ))
        }
    }
}

impl Sms {
    fn check(&self) -> Result<(), Invalid> {
        if self.countries.len() > MAX_COUNTRIES {
            return Err(Invalid::new("policy.sms.countries", "has too many entries"));
        }
        for (at, country) in self.countries.iter().enumerate() {
            let known = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
            if !known {
                return Err(Invalid::new(
                    format!("policy.sms.countries[{at}]"),
                    "must be an ISO 3166-1 alpha-2 code such as BE",
                ));
            }
        }
        within("sms.per_number_hour", self.per_number_hour, 1, 60)?;
        within("sms.per_number_day", self.per_number_day, 1, 200)?;
        within("sms.per_range_hour", self.per_range_hour, 1, 200)?;
        within("sms.per_tenant_day", self.per_tenant_day, 0, 10_000_000)?;
        within("sms.range_alarm", self.range_alarm, 2, 200)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let host = &self.origin_host;
        if host.len() > 64 || !host.bytes().all(plain) || host.starts_with(['.', '-']) {
            return Err(Invalid::new(
                "policy.sms.origin_host",
                "must be a host name in lower case of at most 64 bytes",
            ));
        }
        Ok(())
    }
}

fn within(field: &str, value: u32, least: u32, most: u32) -> Result<(), Invalid> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(Invalid::new(
            format!("policy.{field}"),
            format!("must be {least} to {most}"),
        ))
    }
}

fn lasting(field: &str, value: Duration, least: u64, most: u64) -> Result<(), Invalid> {
    if (seconds(least)..=seconds(most)).contains(&value) {
        Ok(())
    } else {
        Err(Invalid::new(
            format!("policy.{field}"),
            format!("must be {least} s to {most} s"),
        ))
    }
}

fn ordered(group: &str, first: Duration, longest: Duration) -> Result<(), Invalid> {
    if first <= longest {
        Ok(())
    } else {
        Err(Invalid::new(
            format!("policy.{group}.longest_wait"),
            "must not be shorter than first_wait",
        ))
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
