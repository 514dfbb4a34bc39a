//! A policy as a list of named fields: to change some of them, and to say what
//! has changed.

use std::time::Duration;

use super::{Enforcement, NumberMatching, OnReport, PendingLimit, Policy};
use crate::domain::{challenge::Method, time::Timestamp};

/// Each field with its path as in the contract.
macro_rules! fields {
    ($($path:literal => $($name:ident).+,)*) => {
        /// Paths of all fields but the version, as in the contract.
        pub const PATHS: &[&str] = &[$($path),*];

        impl Policy {
            /// Takes over one field, a group of them, or all (`*`). `false`: there
            /// is no such field.
            pub fn take(&mut self, path: &str, from: &Self) -> bool {
                let mut known = false;
                $(if covers(path, $path) {
                    self.$($name).+.clone_from(&from.$($name).+);
                    known = true;
                })*
                known
            }

            /// What is different in `new`, as `path old→new`, in the order of
            /// [`PATHS`]; empty when nothing is.
            #[must_use]
            pub fn changes(&self, new: &Self) -> String {
                let mut found = Vec::new();
                $(if self.$($name).+ != new.$($name).+ {
                    let (old, new) = (self.$($name).+.shown(), new.$($name).+.shown());
                    found.push(format!("{} {old}→{new}", $path));
                })*
                found.join(", ")
            }
        }
    };
}

fields! {
    "number_matching" => number_matching,
    "number_digits" => number_digits,
    "challenge_ttl" => challenge_ttl,
    "pending_limit" => pending_limit,
    "encrypted_prompts" => encrypted_prompts,
    "methods.push" => methods.push,
    "methods.sms" => methods.sms,
    "methods.totp" => methods.totp,
    "methods.recovery_code" => methods.recovery_code,
    "methods.recommended" => methods.recommended,
    "enrollment.enforcement" => enrolment.enforcement,
    "enrollment.start_time" => enrolment.start_time,
    "enrollment.listed_users_only" => enrolment.listed_users_only,
    "enrollment.max_snoozes" => enrolment.max_snoozes,
    "enrollment.snooze_until" => enrolment.snooze_until,
    "codes.digits" => codes.digits,
    "codes.ttl" => codes.ttl,
    "codes.max_wrong" => codes.max_wrong,
    "codes.max_sends" => codes.max_sends,
    "codes.fallback_after" => codes.fallback_after,
    "sms.countries" => sms.countries,
    "sms.per_number_hour" => sms.per_number_hour,
    "sms.per_number_day" => sms.per_number_day,
    "sms.per_range_hour" => sms.per_range_hour,
    "sms.per_tenant_day" => sms.per_tenant_day,
    "sms.range_alarm" => sms.range_alarm,
    "sms.origin_host" => sms.origin_host,
    "fatigue.budget" => fatigue.budget,
    "fatigue.window" => fatigue.window,
    "fatigue.first_wait" => fatigue.first_wait,
    "fatigue.longest_wait" => fatigue.longest_wait,
    "fatigue.denial_cool_off" => fatigue.denial_cool_off,
    "fatigue.on_report" => fatigue.on_report,
    "lockout.free_failures" => lockout.free_failures,
    "lockout.first_wait" => lockout.first_wait,
    "lockout.longest_wait" => lockout.longest_wait,
    "lockout.lock_after" => lockout.lock_after,
    "browser_days" => browser_days,
    "language" => language,
}

/// Whether `path` names the field or the group it is in.
fn covers(path: &str, field: &str) -> bool {
    path == "*"
        || field
            .strip_prefix(path)
            .is_some_and(|rest| !path.is_empty() && (rest.is_empty() || rest.starts_with('.')))
}

/// A value as the audit trail shows it.
trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown_as_it_is {
    ($($type:ty)*) => {
        $(impl Shown for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}

shown_as_it_is!(bool u8 u32);

macro_rules! shown_by_name {
    ($($type:ident { $($variant:ident $name:literal)* })*) => {
        $(impl Shown for $type {
            fn shown(&self) -> String {
                match self { $(Self::$variant => $name),* }.to_owned()
            }
        })*
    };
}

shown_by_name! {
    NumberMatching { Off "OFF" WhenRisky "WHEN_RISKY" Always "ALWAYS" }
    PendingLimit { Supersede "SUPERSEDE" Reject "REJECT" }
    Enforcement { Off "OFF" Encouraged "ENCOURAGED" Required "REQUIRED" }
    OnReport { Alarm "ALARM" Lock "LOCK" }
    Method {
        Push "PUSH"
        Sms "SMS"
        Totp "TOTP"
        RecoveryCode "RECOVERY_CODE"
        RememberedBrowser "REMEMBERED_BROWSER"
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        format!("{}s", self.as_secs_f64())
    }
}

impl Shown for Timestamp {
    fn shown(&self) -> String {
        crate::domain::body::timestamp(*self).to_string()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::shown)
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Shown for Vec<String> {
    fn shown(&self) -> String {
        if self.is_empty() {
            "none".to_owned()
        } else {
            self.join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::domain::policy::Preset;

    fn changed() -> Policy {
        let mut policy = Preset::PhishingHardened.apply(Policy::default());
        policy.sms.countries = vec!["BE".into(), "NL".into()];
        policy.enrolment.start_time = Some(Timestamp::from_millis(1_767_225_600_000));
        policy
    }

    #[test]
    fn what_has_changed_is_said() {
        assert_eq!(Policy::default().changes(&Policy::default()), "");
        assert_eq!(
            Policy::default().changes(&changed()),
            "number_digits 2→6, methods.sms true→false, methods.totp true→false, \
             methods.recovery_code true→false, \
             enrollment.start_time none→2026-01-01T00:00:00Z, \
             codes.fallback_after 30s→none, sms.countries none→BE NL, fatigue.budget 5→3, \
             fatigue.denial_cool_off 60s→300s, fatigue.on_report ALARM→LOCK, \
             lockout.lock_after 100→20, browser_days 30→0"
        );
    }

    #[test]
    fn a_field_a_group_or_all_is_taken() {
        let changed = changed();
        let mut policy = Policy::default();
        assert!(policy.take("methods", &changed));
        assert!(policy.take("browser_days", &changed));
        assert_eq!(policy.methods, changed.methods);
        assert_eq!(policy.browser_days, 0);
        assert_eq!(policy.number_digits, 2);
        for unknown in ["", "method", "methods.", "methods.push.x", "version", "**"] {
            assert!(!policy.take(unknown, &Policy::default()), "{unknown}");
        }
        assert_eq!(policy.methods, changed.methods);
        assert!(policy.take("*", &changed));
        assert_eq!(policy, changed);
    }

    #[test]
    fn every_preset_is_fit_to_be_used() {
        for preset in Preset::ALL {
            let policy = preset.apply(changed());
            assert_eq!(policy.faults(), [], "{}", preset.name());
            // What is the organisation's own.
            assert_eq!(policy.sms.countries, changed().sms.countries);
            assert_eq!(policy.enrolment, changed().enrolment);
            // Nothing of what was before shows through.
            let afresh = preset.apply(Policy::default());
            let own = ["enrollment", "sms.countries"];
            let mut same = policy.clone();
            assert!(own.iter().all(|path| same.take(path, &afresh)));
            assert_eq!(same, afresh);
        }
        assert_eq!(Preset::Standard.apply(Policy::default()), Policy::default());
    }
}
