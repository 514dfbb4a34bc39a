//! The rules of an organisation, as far as they came after the first release.
//!
//! A policy that was never changed and is as the defaults are is stored without
//! any of this: whoever changes a default here writes the old one down first.

use std::time::Duration;

use prost::Message;

use super::{BadRecord, Record, at, installation::StoredTenant, method_from, method_to};
use crate::domain::{
    policy::{Codes, Enforcement, Enrolment, Fatigue, Lockout, Methods, OnReport, Policy, Sms},
    tenant::PolicyVersion,
    time::Timestamp,
};

numbered!(enforcement_to enforcement_from Enforcement { Enforcement::Off = 1, Enforcement::Encouraged = 2, Enforcement::Required = 3 });
numbered!(report_to report_from OnReport { OnReport::Alarm = 1, OnReport::Lock = 2 });

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredRules {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(message, optional, tag = "2")]
    methods: Option<StoredMethods>,
    #[prost(message, optional, tag = "3")]
    enrolment: Option<StoredEnrolment>,
    #[prost(message, optional, tag = "4")]
    codes: Option<StoredCodes>,
    #[prost(message, optional, tag = "5")]
    sms: Option<StoredSms>,
    #[prost(message, optional, tag = "6")]
    fatigue: Option<StoredFatigue>,
    #[prost(message, optional, tag = "7")]
    lockout: Option<StoredLockout>,
    #[prost(uint32, tag = "8")]
    browser_days: u32,
    #[prost(string, tag = "9")]
    language: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredMethods {
    #[prost(bool, tag = "1")]
    push: bool,
    #[prost(bool, tag = "2")]
    sms: bool,
    #[prost(bool, tag = "3")]
    totp: bool,
    #[prost(bool, tag = "4")]
    recovery_code: bool,
    #[prost(uint32, tag = "5")]
    recommended: u32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredEnrolment {
    #[prost(uint32, tag = "1")]
    enforcement: u32,
    #[prost(uint64, optional, tag = "2")]
    start_time: Option<u64>,
    #[prost(bool, tag = "3")]
    listed_users_only: bool,
    #[prost(uint32, tag = "4")]
    max_snoozes: u32,
    #[prost(uint64, optional, tag = "5")]
    snooze_until: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredCodes {
    #[prost(uint32, tag = "1")]
    digits: u32,
    #[prost(uint64, tag = "2")]
    ttl_ms: u64,
    #[prost(uint32, tag = "3")]
    max_wrong: u32,
    #[prost(uint32, tag = "4")]
    max_sends: u32,
    #[prost(uint64, optional, tag = "5")]
    fallback_after_ms: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredSms {
    #[prost(string, repeated, tag = "1")]
    countries: Vec<String>,
    #[prost(uint32, tag = "2")]
    per_number_hour: u32,
    #[prost(uint32, tag = "3")]
    per_number_day: u32,
    #[prost(uint32, tag = "4")]
    per_range_hour: u32,
    #[prost(uint32, tag = "5")]
    per_tenant_day: u32,
    #[prost(uint32, tag = "6")]
    range_alarm: u32,
    #[prost(string, tag = "7")]
    origin_host: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredFatigue {
    #[prost(uint32, tag = "1")]
    budget: u32,
    #[prost(uint64, tag = "2")]
    window_ms: u64,
    #[prost(uint64, tag = "3")]
    first_wait_ms: u64,
    #[prost(uint64, tag = "4")]
    longest_wait_ms: u64,
    #[prost(uint64, tag = "5")]
    denial_cool_off_ms: u64,
    #[prost(uint32, tag = "6")]
    on_report: u32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredLockout {
    #[prost(uint32, tag = "1")]
    free_failures: u32,
    #[prost(uint64, tag = "2")]
    first_wait_ms: u64,
    #[prost(uint64, tag = "3")]
    longest_wait_ms: u64,
    #[prost(uint32, tag = "4")]
    lock_after: u32,
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn span(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn digits(number: u32) -> Result<u8, BadRecord> {
    u8::try_from(number).map_err(|_| BadRecord("digits out of range"))
}

/// What there is to be written of these rules; none where they are as they
/// always were.
pub(super) fn store(policy: &Policy) -> Option<StoredRules> {
    let first = Policy {
        number_matching: policy.number_matching,
        number_digits: policy.number_digits,
        challenge_ttl: policy.challenge_ttl,
        pending_limit: policy.pending_limit,
        encrypted_prompts: policy.encrypted_prompts,
        ..Policy::default()
    };
    if *policy == first {
        return None;
    }
    let (methods, enrolment, codes) = (&policy.methods, &policy.enrolment, &policy.codes);
    let (sms, fatigue, lockout) = (&policy.sms, &policy.fatigue, &policy.lockout);
    Some(StoredRules {
        version: policy.version,
        methods: Some(StoredMethods {
            push: methods.push,
            sms: methods.sms,
            totp: methods.totp,
            recovery_code: methods.recovery_code,
            recommended: method_to(methods.recommended),
        }),
        enrolment: Some(StoredEnrolment {
            enforcement: enforcement_to(enrolment.enforcement),
            start_time: enrolment.start_time.map(Timestamp::as_millis),
            listed_users_only: enrolment.listed_users_only,
            max_snoozes: enrolment.max_snoozes,
            snooze_until: enrolment.snooze_until.map(Timestamp::as_millis),
        }),
        codes: Some(StoredCodes {
            digits: u32::from(codes.digits),
            ttl_ms: millis(codes.ttl),
            max_wrong: codes.max_wrong,
            max_sends: codes.max_sends,
            fallback_after_ms: codes.fallback_after.map(millis),
        }),
        sms: Some(StoredSms {
            countries: sms.countries.clone(),
            per_number_hour: sms.per_number_hour,
            per_number_day: sms.per_number_day,
            per_range_hour: sms.per_range_hour,
            per_tenant_day: sms.per_tenant_day,
            range_alarm: sms.range_alarm,
            origin_host: sms.origin_host.clone(),
        }),
        fatigue: Some(StoredFatigue {
            budget: fatigue.budget,
            window_ms: millis(fatigue.window),
            first_wait_ms: millis(fatigue.first_wait),
            longest_wait_ms: millis(fatigue.longest_wait),
            denial_cool_off_ms: millis(fatigue.denial_cool_off),
            on_report: report_to(fatigue.on_report),
        }),
        lockout: Some(StoredLockout {
            free_failures: lockout.free_failures,
            first_wait_ms: millis(lockout.first_wait),
            longest_wait_ms: millis(lockout.longest_wait),
            lock_after: lockout.lock_after,
        }),
        browser_days: policy.browser_days,
        language: policy.language.clone(),
    })
}

/// `first` with what was written of the rest.
pub(super) fn load(stored: Option<StoredRules>, first: Policy) -> Result<Policy, BadRecord> {
    let Some(stored) = stored else {
        return Ok(first);
    };
    let methods = stored.methods.unwrap_or_default();
    let enrolment = stored.enrolment.unwrap_or_default();
    let codes = stored.codes.unwrap_or_default();
    let sms = stored.sms.unwrap_or_default();
    let fatigue = stored.fatigue.unwrap_or_default();
    let lockout = stored.lockout.unwrap_or_default();
    Ok(Policy {
        version: stored.version,
        methods: Methods {
            push: methods.push,
            sms: methods.sms,
            totp: methods.totp,
            recovery_code: methods.recovery_code,
            recommended: method_from(methods.recommended)?,
        },
        enrolment: Enrolment {
            enforcement: enforcement_from(enrolment.enforcement)?,
            start_time: enrolment.start_time.map(at),
            listed_users_only: enrolment.listed_users_only,
            max_snoozes: enrolment.max_snoozes,
            snooze_until: enrolment.snooze_until.map(at),
        },
        codes: Codes {
            digits: digits(codes.digits)?,
            ttl: span(codes.ttl_ms),
            max_wrong: codes.max_wrong,
            max_sends: codes.max_sends,
            fallback_after: codes.fallback_after_ms.map(span),
        },
        sms: Sms {
            countries: sms.countries,
            per_number_hour: sms.per_number_hour,
            per_number_day: sms.per_number_day,
            per_range_hour: sms.per_range_hour,
            per_tenant_day: sms.per_tenant_day,
            range_alarm: sms.range_alarm,
            origin_host: sms.origin_host,
        },
        fatigue: Fatigue {
            budget: fatigue.budget,
            window: span(fatigue.window_ms),
            first_wait: span(fatigue.first_wait_ms),
            longest_wait: span(fatigue.longest_wait_ms),
            denial_cool_off: span(fatigue.denial_cool_off_ms),
            on_report: report_from(fatigue.on_report)?,
        },
        lockout: Lockout {
            free_failures: lockout.free_failures,
            first_wait: span(lockout.first_wait_ms),
            longest_wait: span(lockout.longest_wait_ms),
            lock_after: lockout.lock_after,
        },
        browser_days: stored.browser_days,
        language: stored.language,
        ..first
    })
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store::embedded) struct StoredPolicyVersion {
    /// Only for its rules.
    #[prost(message, optional, tag = "1")]
    tenant: Option<StoredTenant>,
    #[prost(uint64, tag = "2")]
    change_time: u64,
    #[prost(string, tag = "3")]
    changed_by: String,
}

impl Record for PolicyVersion {
    type Stored = StoredPolicyVersion;

    fn store(&self) -> StoredPolicyVersion {
        StoredPolicyVersion {
            tenant: Some(StoredTenant::rules_only(&self.policy)),
            change_time: self.change_time.as_millis(),
            changed_by: self.changed_by.clone(),
        }
    }

    fn load(stored: StoredPolicyVersion) -> Result<Self, BadRecord> {
        let tenant = stored.tenant.ok_or(BadRecord("a version without rules"))?;
        Ok(Self {
            policy: tenant.rules()?,
            change_time: at(stored.change_time),
            changed_by: stored.changed_by,
        })
    }
}
