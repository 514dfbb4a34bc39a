//! Between the rules of an organisation in the contract and in the domain.

use std::time::Duration;

use countersign_proto::v1;

use super::convert::{duration, duration_to};
use crate::domain::{
    Invalid,
    body::timestamp,
    challenge::Method,
    policy::{Enforcement, NumberMatching, OnReport, PendingLimit, Policy, Preset},
    tenant::{PolicyVersion, Tenant},
    time::Timestamp,
};

/// `base` with what is set in the message.
pub(super) fn overlay(base: Policy, message: Option<&v1::TenantPolicy>) -> Result<Policy, Invalid> {
    let mut out = base;
    let Some(message) = message else {
        return Ok(out);
    };
    if let Some(matching) = matching(message.number_matching)? {
        out.number_matching = matching;
    }
    if message.number_digits != 0 {
        out.number_digits = digits("policy.number_digits", message.number_digits, "2 to 6")?;
    }
    span(
        &mut out.challenge_ttl,
        "challenge_ttl",
        message.challenge_ttl,
    )?;
    if let Some(limit) = limit(message.pending_limit)? {
        out.pending_limit = limit;
    }
    set(&mut out.encrypted_prompts, message.encrypted_prompts);
    if let Some(message) = &message.methods {
        methods(&mut out, message)?;
    }
    if let Some(message) = &message.enrollment {
        enrollment(&mut out, message)?;
    }
    if let Some(message) = &message.codes {
        codes(&mut out, message)?;
    }
    if let Some(message) = &message.sms {
        sms(&mut out, message);
    }
    if let Some(message) = &message.fatigue {
        fatigue(&mut out, message)?;
    }
    if let Some(message) = &message.lockout {
        lockout(&mut out, message)?;
    }
    set(&mut out.browser_days, message.browser_days);
    set(&mut out.language, message.language.clone());
    Ok(out)
}

/// `base` with the fields that the mask names, as the message has them.
pub(super) fn masked(
    base: Policy,
    message: Option<&v1::TenantPolicy>,
    mask: Option<&prost_types::FieldMask>,
) -> Result<Policy, Invalid> {
    let Some(mask) = mask else {
        return overlay(base, message);
    };
    let given = overlay(Policy::default(), message)?;
    let mut out = base;
    for path in &mask.paths {
        if !out.take(path, &given) {
            return Err(Invalid::new(
                "update_mask",
                "names something that is not a field of the policy",
            ));
        }
    }
    Ok(out)
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn span(
    field: &mut Duration,
    name: &str,
    value: Option<prost_types::Duration>,
) -> Result<(), Invalid> {
    let value = duration(&format!("policy.{name}"), value)?;
    set(field, value.map(whole));
    Ok(())
}

/// Time is kept in whole milliseconds.
fn whole(span: Duration) -> Duration {
    Duration::new(span.as_secs(), span.subsec_millis() * 1_000_000)
}

fn digits(field: &str, value: u32, range: &str) -> Result<u8, Invalid> {
    u8::try_from(value).map_err(|_| Invalid::new(field, format!("must be {range}")))
}

fn time(
    field: &mut Option<Timestamp>,
    name: &str,
    value: Option<prost_types::Timestamp>,
) -> Result<(), Invalid> {
    let Some(value) = value else { return Ok(()) };
    let bad = || Invalid::new(format!("policy.{name}"), "must be a time from 1970 to 9999");
    let seconds = u64::try_from(value.seconds).map_err(|_| bad())?;
    let nanos = u64::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .ok_or_else(bad)?;
    let millis = seconds
        .checked_mul(1000)
        .and_then(|millis| millis.checked_add(nanos / 1_000_000))
        .ok_or_else(bad)?;
    *field = Some(Timestamp::from_millis(millis));
    Ok(())
}

fn known<T>(field: &str, value: Result<T, prost::UnknownEnumValue>) -> Result<T, Invalid> {
    value.map_err(|_| Invalid::new(format!("policy.{field}"), "is not known"))
}

fn matching(value: i32) -> Result<Option<NumberMatching>, Invalid> {
    Ok(match known("number_matching", value.try_into())? {
        v1::NumberMatching::Unspecified => None,
        v1::NumberMatching::Off => Some(NumberMatching::Off),
        v1::NumberMatching::WhenRisky => Some(NumberMatching::WhenRisky),
        v1::NumberMatching::Always => Some(NumberMatching::Always),
    })
}

fn limit(value: i32) -> Result<Option<PendingLimit>, Invalid> {
    Ok(match known("pending_limit", value.try_into())? {
        v1::PendingLimit::Unspecified => None,
        v1::PendingLimit::Supersede => Some(PendingLimit::Supersede),
        v1::PendingLimit::Reject => Some(PendingLimit::Reject),
    })
}

fn methods(out: &mut Policy, message: &v1::MethodsPolicy) -> Result<(), Invalid> {
    set(&mut out.methods.push, message.push);
    set(&mut out.methods.sms, message.sms);
    set(&mut out.methods.totp, message.totp);
    set(&mut out.methods.recovery_code, message.recovery_code);
    let recommended = match known("methods.recommended", message.recommended.try_into())? {
        v1::Method::Unspecified => None,
        v1::Method::Push => Some(Method::Push),
        v1::Method::Sms => Some(Method::Sms),
        v1::Method::Totp => Some(Method::Totp),
        v1::Method::RecoveryCode => Some(Method::RecoveryCode),
        v1::Method::RememberedBrowser => Some(Method::RememberedBrowser),
    };
    set(&mut out.methods.recommended, recommended);
    Ok(())
}

fn enrollment(out: &mut Policy, message: &v1::EnrollmentPolicy) -> Result<(), Invalid> {
    let enforcement = match known("enrollment.enforcement", message.enforcement.try_into())? {
        v1::Enforcement::Unspecified => None,
        v1::Enforcement::Off => Some(Enforcement::Off),
        v1::Enforcement::Encouraged => Some(Enforcement::Encouraged),
        v1::Enforcement::Required => Some(Enforcement::Required),
    };
    let own = &mut out.enrolment;
    set(&mut own.enforcement, enforcement);
    time(
        &mut own.start_time,
        "enrollment.start_time",
        message.start_time,
    )?;
    set(&mut own.listed_users_only, message.listed_users_only);
    set(&mut own.max_snoozes, message.max_snoozes);
    time(
        &mut own.snooze_until,
        "enrollment.snooze_until",
        message.snooze_until,
    )
}

fn codes(out: &mut Policy, message: &v1::CodesPolicy) -> Result<(), Invalid> {
    let own = &mut out.codes;
    if let Some(value) = message.digits {
        own.digits = digits("policy.codes.digits", value, "4 to 10")?;
    }
    span(&mut own.ttl, "codes.ttl", message.ttl)?;
    set(&mut own.max_wrong, message.max_wrong);
    set(&mut own.max_sends, message.max_sends);
    if let Some(after) = duration("policy.codes.fallback_after", message.fallback_after)? {
        own.fallback_after = (!after.is_zero()).then_some(whole(after));
    }
    Ok(())
}

fn sms(out: &mut Policy, message: &v1::SmsPolicy) {
    let own = &mut out.sms;
    if !message.countries.is_empty() {
        own.countries.clone_from(&message.countries);
    }
    set(&mut own.per_number_hour, message.per_number_hour);
    set(&mut own.per_number_day, message.per_number_day);
    set(&mut own.per_range_hour, message.per_range_hour);
    set(&mut own.per_tenant_day, message.per_tenant_day);
    set(&mut own.range_alarm, message.range_alarm);
    set(&mut own.origin_host, message.origin_host.clone());
}

fn fatigue(out: &mut Policy, message: &v1::FatiguePolicy) -> Result<(), Invalid> {
    let own = &mut out.fatigue;
    set(&mut own.budget, message.budget);
    span(&mut own.window, "fatigue.window", message.window)?;
    span(
        &mut own.first_wait,
        "fatigue.first_wait",
        message.first_wait,
    )?;
    span(
        &mut own.longest_wait,
        "fatigue.longest_wait",
        message.longest_wait,
    )?;
    span(
        &mut own.denial_cool_off,
        "fatigue.denial_cool_off",
        message.denial_cool_off,
    )?;
    let report = match known("fatigue.on_report", message.on_report.try_into())? {
        v1::OnReport::Unspecified => None,
        v1::OnReport::Alarm => Some(OnReport::Alarm),
        v1::OnReport::Lock => Some(OnReport::Lock),
    };
    set(&mut own.on_report, report);
    Ok(())
}

fn lockout(out: &mut Policy, message: &v1::LockoutPolicy) -> Result<(), Invalid> {
    let own = &mut out.lockout;
    set(&mut own.free_failures, message.free_failures);
    span(
        &mut own.first_wait,
        "lockout.first_wait",
        message.first_wait,
    )?;
    span(
        &mut own.longest_wait,
        "lockout.longest_wait",
        message.longest_wait,
    )?;
    set(&mut own.lock_after, message.lock_after);
    Ok(())
}

/// The preset of a request, if it names one.
pub(super) fn preset(value: i32) -> Result<Option<Preset>, Invalid> {
    match v1::PolicyPreset::try_from(value) {
        Ok(v1::PolicyPreset::Unspecified) => Ok(None),
        Ok(v1::PolicyPreset::Standard) => Ok(Some(Preset::Standard)),
        Ok(v1::PolicyPreset::Nist) => Ok(Some(Preset::Nist)),
        Ok(v1::PolicyPreset::PhishingHardened) => Ok(Some(Preset::PhishingHardened)),
        Ok(v1::PolicyPreset::LowFriction) => Ok(Some(Preset::LowFriction)),
        Err(_) => Err(Invalid::new("preset", "is not known")),
    }
}

/// All that there is to know of a preset.
pub(super) fn preset_description(preset: Preset) -> v1::PresetDescription {
    v1::PresetDescription {
        preset: match preset {
            Preset::Standard => v1::PolicyPreset::Standard,
            Preset::Nist => v1::PolicyPreset::Nist,
            Preset::PhishingHardened => v1::PolicyPreset::PhishingHardened,
            Preset::LowFriction => v1::PolicyPreset::LowFriction,
        }
        .into(),
        name: preset.name().into(),
        summary: preset.summary().into(),
        policy: Some(policy(&preset.apply(Policy::default()))),
    }
}

/// The rules, every field set.
pub(super) fn policy(policy: &Policy) -> v1::TenantPolicy {
    v1::TenantPolicy {
        number_matching: match policy.number_matching {
            NumberMatching::Off => v1::NumberMatching::Off,
            NumberMatching::WhenRisky => v1::NumberMatching::WhenRisky,
            NumberMatching::Always => v1::NumberMatching::Always,
        }
        .into(),
        number_digits: u32::from(policy.number_digits),
        challenge_ttl: Some(duration_to(policy.challenge_ttl)),
        pending_limit: match policy.pending_limit {
            PendingLimit::Supersede => v1::PendingLimit::Supersede,
            PendingLimit::Reject => v1::PendingLimit::Reject,
        }
        .into(),
        encrypted_prompts: Some(policy.encrypted_prompts),
        methods: Some(methods_to(policy)),
        enrollment: Some(enrollment_to(policy)),
        codes: Some(v1::CodesPolicy {
            digits: Some(u32::from(policy.codes.digits)),
            ttl: Some(duration_to(policy.codes.ttl)),
            max_wrong: Some(policy.codes.max_wrong),
            max_sends: Some(policy.codes.max_sends),
            fallback_after: Some(duration_to(policy.codes.fallback_after.unwrap_or_default())),
        }),
        sms: Some(v1::SmsPolicy {
            countries: policy.sms.countries.clone(),
            per_number_hour: Some(policy.sms.per_number_hour),
            per_number_day: Some(policy.sms.per_number_day),
            per_range_hour: Some(policy.sms.per_range_hour),
            per_tenant_day: Some(policy.sms.per_tenant_day),
            range_alarm: Some(policy.sms.range_alarm),
            origin_host: Some(policy.sms.origin_host.clone()),
        }),
        fatigue: Some(v1::FatiguePolicy {
            budget: Some(policy.fatigue.budget),
            window: Some(duration_to(policy.fatigue.window)),
            first_wait: Some(duration_to(policy.fatigue.first_wait)),
            longest_wait: Some(duration_to(policy.fatigue.longest_wait)),
            denial_cool_off: Some(duration_to(policy.fatigue.denial_cool_off)),
            on_report: match policy.fatigue.on_report {
                OnReport::Alarm => v1::OnReport::Alarm,
                OnReport::Lock => v1::OnReport::Lock,
            }
            .into(),
        }),
        lockout: Some(v1::LockoutPolicy {
            free_failures: Some(policy.lockout.free_failures),
            first_wait: Some(duration_to(policy.lockout.first_wait)),
            longest_wait: Some(duration_to(policy.lockout.longest_wait)),
            lock_after: Some(policy.lockout.lock_after),
        }),
        browser_days: Some(policy.browser_days),
        language: Some(policy.language.clone()),
        version: policy.version,
    }
}

fn methods_to(policy: &Policy) -> v1::MethodsPolicy {
    v1::MethodsPolicy {
        push: Some(policy.methods.push),
        sms: Some(policy.methods.sms),
        totp: Some(policy.methods.totp),
        recovery_code: Some(policy.methods.recovery_code),
        recommended: match policy.methods.recommended {
            Method::Push => v1::Method::Push,
            Method::Sms => v1::Method::Sms,
            Method::Totp => v1::Method::Totp,
            Method::RecoveryCode => v1::Method::RecoveryCode,
            Method::RememberedBrowser => v1::Method::RememberedBrowser,
        }
        .into(),
    }
}

fn enrollment_to(policy: &Policy) -> v1::EnrollmentPolicy {
    v1::EnrollmentPolicy {
        enforcement: match policy.enrolment.enforcement {
            Enforcement::Off => v1::Enforcement::Off,
            Enforcement::Encouraged => v1::Enforcement::Encouraged,
            Enforcement::Required => v1::Enforcement::Required,
        }
        .into(),
        start_time: policy.enrolment.start_time.map(timestamp),
        listed_users_only: Some(policy.enrolment.listed_users_only),
        max_snoozes: Some(policy.enrolment.max_snoozes),
        snooze_until: policy.enrolment.snooze_until.map(timestamp),
    }
}

pub(super) fn policy_version(version: &PolicyVersion) -> v1::PolicyVersion {
    v1::PolicyVersion {
        policy: Some(policy(&version.policy)),
        change_time: Some(timestamp(version.change_time)),
        changed_by: version.changed_by.clone(),
    }
}

pub(super) fn tenant(tenant: &Tenant) -> v1::Tenant {
    v1::Tenant {
        tenant_id: tenant.id.to_string(),
        display_name: tenant.display_name.clone(),
        policy: Some(policy(&tenant.policy)),
        create_time: Some(timestamp(tenant.create_time)),
    }
}
