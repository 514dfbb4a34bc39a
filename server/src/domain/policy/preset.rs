//! Rules to start from.

use super::{
    Codes, Fatigue, Lockout, Methods, NumberMatching, OnReport, PendingLimit, Policy, Sms, seconds,
};
use crate::domain::challenge::Method;

/// Rules to start from, named for what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The defaults.
    Standard,
    /// NIST SP 800-63B-4, AAL2.
    Nist,
    /// Against people who are talked or worn into an approval.
    PhishingHardened,
    /// As few questions as may be.
    LowFriction,
}

impl Preset {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::Standard,
        Self::Nist,
        Self::PhishingHardened,
        Self::LowFriction,
    ];

    /// As on the command line and in the audit trail.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Nist => "nist",
            Self::PhishingHardened => "phishing-hardened",
            Self::LowFriction => "low-friction",
        }
    }

    /// What it is for.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Self::Standard => {
                "two digits to type with every push, codes by text message or app as other ways, \
                 browsers remembered for 30 days"
            }
            Self::Nist => {
                "SP 800-63B-4 at AAL2: six digits to type with every push, codes of six digits, \
                 no text messages, no remembered browsers"
            }
            Self::PhishingHardened => {
                "pushes only, six digits to type, nothing that can be read out over the \
                 telephone, no fallback, a report locks the account"
            }
            Self::LowFriction => {
                "a number only for sign-ins out of the ordinary, browsers remembered for 90 days, \
                 a text message after 15 s of silence"
            }
        }
    }

    /// The rules with this preset: all but what is an organisation's own
    /// (enrolment, countries, host, language, encrypted prompts) and the version.
    #[must_use]
    pub fn apply(self, own: Policy) -> Policy {
        let standard = Policy {
            version: own.version,
            encrypted_prompts: own.encrypted_prompts,
            enrolment: own.enrolment,
            language: own.language,
            sms: Sms {
                countries: own.sms.countries,
                origin_host: own.sms.origin_host,
                ..Sms::default()
            },
            ..Policy::default()
        };
        match self {
            Self::Standard => standard,
            Self::Nist => Policy {
                number_matching: NumberMatching::Always,
                // "Out-of-Band Verifiers": a secret of at least 20 bits is six
                // digits, and is transferred, not only compared.
                number_digits: 6,
                methods: Methods {
                    // "Restricted Authenticators": the telephone network.
                    sms: false,
                    ..Methods::default()
                },
                codes: Codes {
                    digits: 6,
                    fallback_after: None,
                    ..Codes::default()
                },
                // "Rate Limiting": at most 100 failures in a row.
                lockout: Lockout {
                    lock_after: 100,
                    ..Lockout::default()
                },
                // AAL2 is two factors at each sign-in.
                browser_days: 0,
                ..standard
            },
            Self::PhishingHardened => Policy {
                number_matching: NumberMatching::Always,
                number_digits: 6,
                pending_limit: PendingLimit::Supersede,
                methods: Methods {
                    push: true,
                    sms: false,
                    totp: false,
                    recovery_code: false,
                    recommended: Method::Push,
                },
                codes: Codes {
                    fallback_after: None,
                    ..Codes::default()
                },
                fatigue: Fatigue {
                    budget: 3,
                    denial_cool_off: seconds(300),
                    on_report: OnReport::Lock,
                    ..Fatigue::default()
                },
                lockout: Lockout {
                    lock_after: 20,
                    ..Lockout::default()
                },
                browser_days: 0,
                ..standard
            },
            Self::LowFriction => Policy {
                number_matching: NumberMatching::WhenRisky,
                challenge_ttl: seconds(120),
                codes: Codes {
                    fallback_after: Some(seconds(15)),
                    ..Codes::default()
                },
                browser_days: 90,
                ..standard
            },
        }
    }
}
