//! What a policy may say.

use std::time::Duration;

use super::{
    Policy, check_challenge_ttl,
    country::{MAX_COUNTRIES, is_country},
    seconds,
};
use crate::domain::{Invalid, challenge::Method, time::Timestamp};

/// 9999-12-31T23:59:59.999Z: later times have no text form (RFC 3339).
const END_OF_TIME: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// Languages that texts are written in.
const LANGUAGES: [&str; 4] = ["nl", "fr", "en", "de"];

impl Policy {
    /// Checks the whole.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field at fault.
    pub fn check(&self) -> Result<(), Invalid> {
        self.faults().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that is wrong with it, each field named once at most.
    #[must_use]
    pub fn faults(&self) -> Vec<Invalid> {
        let mut found = Faults(Vec::new());
        found.number("number_digits", self.number_digits, 2, 6);
        if let Err(fault) = check_challenge_ttl("policy.challenge_ttl", self.challenge_ttl) {
            found.0.push(fault);
        }
        found.methods(self);
        found.enrolment(self);
        found.codes(self);
        found.sms(self);
        found.fatigue(self);
        found.lockout(self);
        found.number("browser_days", self.browser_days, 0, 90);
        if !LANGUAGES.contains(&self.language.as_str()) {
            found.add("language", "must be nl, fr, en or de");
        }
        found.0
    }
}

struct Faults(Vec<Invalid>);

impl Faults {
    fn add(&mut self, field: &str, problem: impl Into<String>) {
        self.0
            .push(Invalid::new(format!("policy.{field}"), problem));
    }

    fn number(&mut self, field: &str, value: impl Into<u32>, least: u32, most: u32) {
        if !(least..=most).contains(&value.into()) {
            self.add(field, format!("must be {least} to {most}"));
        }
    }

    fn span(&mut self, field: &str, value: Duration, least: u64, most: u64) -> bool {
        let good = (seconds(least)..=seconds(most)).contains(&value);
        if !good {
            self.add(field, format!("must be {least} s to {most} s"));
        }
        good
    }

    fn methods(&mut self, policy: &Policy) {
        let methods = &policy.methods;
        if !(methods.push || methods.sms || methods.totp) {
            self.add("methods", "must allow at least one of push, sms and totp");
            return;
        }
        let first = matches!(
            methods.recommended,
            Method::Push | Method::Sms | Method::Totp
        );
        if !first || !methods.allow(methods.recommended) {
            self.add(
                "methods.recommended",
                "must be push, sms or totp, and allowed",
            );
        }
    }

    fn enrolment(&mut self, policy: &Policy) {
        let enrolment = &policy.enrolment;
        self.number("enrollment.max_snoozes", enrolment.max_snoozes, 0, 100);
        for (field, time) in [
            ("enrollment.start_time", enrolment.start_time),
            ("enrollment.snooze_until", enrolment.snooze_until),
        ] {
            if time.is_some_and(|time| time > END_OF_TIME) {
                self.add(field, "must be before the year 10000");
            }
        }
    }

    fn codes(&mut self, policy: &Policy) {
        let codes = &policy.codes;
        self.number("codes.digits", codes.digits, 4, 10);
        self.span("codes.ttl", codes.ttl, 60, 600);
        self.number("codes.max_wrong", codes.max_wrong, 1, 5);
        self.number("codes.max_sends", codes.max_sends, 1, 5);
        if let Some(after) = codes.fallback_after {
            self.span("codes.fallback_after", after, 5, 600);
        }
    }

    fn sms(&mut self, policy: &Policy) {
        let sms = &policy.sms;
        if sms.countries.len() > MAX_COUNTRIES {
            self.add("sms.countries", "has too many entries");
        } else if let Some((at, _)) = sms
            .countries
            .iter()
            .enumerate()
            .find(|(_, country)| !is_country(country))
        {
            self.add(
                &format!("sms.countries[{at}]"),
                "must be an ISO 3166-1 alpha-2 code in capitals, such as BE",
            );
        }
        self.number("sms.per_number_hour", sms.per_number_hour, 1, 60);
        self.number("sms.per_number_day", sms.per_number_day, 1, 200);
        self.number("sms.per_range_hour", sms.per_range_hour, 1, 200);
        self.number("sms.per_tenant_day", sms.per_tenant_day, 0, 10_000_000);
        self.number("sms.range_alarm", sms.range_alarm, 2, 200);
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let host = &sms.origin_host;
        let ends = ['.', '-'];
        if host.len() > 64
            || !host.bytes().all(plain)
            || host.starts_with(ends)
            || host.ends_with(ends)
        {
            self.add(
                "sms.origin_host",
                "must be a host name in lower case of at most 64 bytes",
            );
        }
    }

    fn fatigue(&mut self, policy: &Policy) {
        let fatigue = &policy.fatigue;
        self.number("fatigue.budget", fatigue.budget, 1, 5);
        self.span("fatigue.window", fatigue.window, 600, 86_400);
        let first = self.span("fatigue.first_wait", fatigue.first_wait, 10, 3600);
        let longest = self.span("fatigue.longest_wait", fatigue.longest_wait, 10, 86_400);
        if first && longest && fatigue.first_wait > fatigue.longest_wait {
            self.add(
                "fatigue.longest_wait",
                "must not be shorter than first_wait",
            );
        }
        self.span("fatigue.denial_cool_off", fatigue.denial_cool_off, 60, 3600);
    }

    fn lockout(&mut self, policy: &Policy) {
        let lockout = &policy.lockout;
        self.number("lockout.free_failures", lockout.free_failures, 1, 5);
        let first = self.span("lockout.first_wait", lockout.first_wait, 30, 3600);
        let longest = self.span("lockout.longest_wait", lockout.longest_wait, 30, 86_400);
        if first && longest && lockout.first_wait > lockout.longest_wait {
            self.add(
                "lockout.longest_wait",
                "must not be shorter than first_wait",
            );
        }
        self.number("lockout.lock_after", lockout.lock_after, 10, 100);
    }
}
