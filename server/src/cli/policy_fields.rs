//! The fields of a policy by name: read from the command line, and shown.

use countersign_proto::v1::{
    Enforcement, Method, NumberMatching, OnReport, PendingLimit, TenantPolicy,
};
use prost_types::{Duration, Timestamp};
use serde_json::{Map, Value, json};

/// A field's value as text.
trait Field {
    /// From the command line; the error says what it must be.
    fn set(&mut self, text: &str) -> Result<(), &'static str>;
    /// For programs.
    fn json(&self) -> Value;
}

/// Every field with its path as in the contract.
macro_rules! fields {
    ($($path:literal => $([$group:ident])? $name:ident $(, $type:ident $prefix:literal)?;)*) => {
        /// Paths of all fields but the version.
        pub(super) const PATHS: &[&str] = &[$($path),*];

        /// Sets a field to what `text` says. `None`: there is no such field.
        fn set(policy: &mut TenantPolicy, path: &str, text: &str) -> Option<Result<(), &'static str>> {
            match path {
                $($path => {
                    let field = &mut policy$(.$group.get_or_insert_default())?.$name;
                    Some(fields!(@field field $(, $type $prefix)?).set(text))
                })*
                _ => None,
            }
        }

        /// A field's value for programs.
        fn json_of(policy: &mut TenantPolicy, path: &str) -> Value {
            match path {
                $($path => {
                    let field = &mut policy$(.$group.get_or_insert_default())?.$name;
                    fields!(@field field $(, $type $prefix)?).json()
                })*
                _ => Value::Null,
            }
        }
    };
    (@field $field:ident) => { $field };
    (@field $field:ident, $type:ident $prefix:literal) => {
        Named {
            number: $field,
            prefix: $prefix,
            by_name: |name| $type::from_str_name(name).map(i32::from),
            by_number: |number| $type::try_from(number).map_or("", |value| value.as_str_name()),
        }
    };
}

fields! {
    "number_matching" => number_matching, NumberMatching "NUMBER_MATCHING_";
    "number_digits" => number_digits;
    "challenge_ttl" => challenge_ttl;
    "pending_limit" => pending_limit, PendingLimit "PENDING_LIMIT_";
    "encrypted_prompts" => encrypted_prompts;
    "methods.push" => [methods] push;
    "methods.sms" => [methods] sms;
    "methods.totp" => [methods] totp;
    "methods.recovery_code" => [methods] recovery_code;
    "methods.recommended" => [methods] recommended, Method "METHOD_";
    "enrollment.enforcement" => [enrollment] enforcement, Enforcement "ENFORCEMENT_";
    "enrollment.start_time" => [enrollment] start_time;
    "enrollment.listed_users_only" => [enrollment] listed_users_only;
    "enrollment.max_snoozes" => [enrollment] max_snoozes;
    "enrollment.snooze_until" => [enrollment] snooze_until;
    "codes.digits" => [codes] digits;
    "codes.ttl" => [codes] ttl;
    "codes.max_wrong" => [codes] max_wrong;
    "codes.max_sends" => [codes] max_sends;
    "codes.fallback_after" => [codes] fallback_after;
    "sms.countries" => [sms] countries;
    "sms.per_number_hour" => [sms] per_number_hour;
    "sms.per_number_day" => [sms] per_number_day;
    "sms.per_range_hour" => [sms] per_range_hour;
    "sms.per_tenant_day" => [sms] per_tenant_day;
    "sms.range_alarm" => [sms] range_alarm;
    "sms.origin_host" => [sms] origin_host;
    "fatigue.budget" => [fatigue] budget;
    "fatigue.window" => [fatigue] window;
    "fatigue.first_wait" => [fatigue] first_wait;
    "fatigue.longest_wait" => [fatigue] longest_wait;
    "fatigue.denial_cool_off" => [fatigue] denial_cool_off;
    "fatigue.on_report" => [fatigue] on_report, OnReport "ON_REPORT_";
    "lockout.free_failures" => [lockout] free_failures;
    "lockout.first_wait" => [lockout] first_wait;
    "lockout.longest_wait" => [lockout] longest_wait;
    "lockout.lock_after" => [lockout] lock_after;
    "browser_days" => browser_days;
    "language" => language;
}

impl Field for Option<bool> {
    fn set(&mut self, text: &str) -> Result<(), &'static str> {
        *self = Some(match text {
            "yes" | "true" | "on" => true,
            "no" | "false" | "off" => false,
            _ => return Err("must be yes or no"),
        });
        Ok(())
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

impl Field for u32 {
    fn set(&mut self, text: &str) -> Result<(), &'static str> {
        *self = text.parse().map_err(|_| "must be a number")?;
        Ok(())
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

impl Field for Option<u32> {
    fn set(&mut self, text: &str) -> Result<(), &'static str> {
        self.get_or_insert_default().set(text)
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

impl Field for Option<Duration> {
    fn set(&mut self, text: &str) -> Result<(), &'static str> {
        let span = match text {
            "never" => std::time::Duration::ZERO,
            text => crate::config::time_span(text)
                .ok_or("must be a number with ms, s, m or h, such as 90s")?,
        };
        *self = Some(span.try_into().map_err(|_| "is too long")?);
        Ok(())
    }

    fn json(&self) -> Value {
        json!(self.map(|span| span.to_string()))
    }
}

impl Field for Option<Timestamp> {
    fn set(&mut self, text: &str) -> Result<(), &'static str> {
        let time = text
            .parse()
            .map_err(|_| "must be a time such as 2026-01-31T08:00:00Z")?;
        *self = Some(time);
        Ok(())
    }

    fn json(&self) -> Value {
        json!(self.map(|time| time.to_string()))
    }
}

impl Field for Option<String> {
    fn set(&mut self, text: &str) -> Result<(), &'static str> {
        *self = Some(text.to_owned());
        Ok(())
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

impl Field for Vec<String> {
    fn set(&mut self, text: &str) -> Result<(), &'static str> {
        *self = text.split([',', ' ']).map(str::to_owned).collect();
        Ok(())
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

/// An enum of the contract, as its name in lower case with hyphens.
struct Named<'p> {
    number: &'p mut i32,
    prefix: &'static str,
    by_name: fn(&str) -> Option<i32>,
    by_number: fn(i32) -> &'static str,
}

impl Field for Named<'_> {
    fn set(&mut self, text: &str) -> Result<(), &'static str> {
        let name = text.to_uppercase().replace('-', "_");
        let number = (self.by_name)(&format!("{}{name}", self.prefix));
        *self.number = number
            .filter(|number| *number != 0)
            .ok_or("is no value of this field (`countersign help policy set` names them)")?;
        Ok(())
    }

    fn json(&self) -> Value {
        let name = (self.by_number)(*self.number);
        let name = name.strip_prefix(self.prefix).unwrap_or_default();
        json!(name.to_lowercase().replace('_', "-"))
    }
}

/// What stands behind an equals sign, empty for the default, and the paths that
/// are meant.
pub(super) fn parse(assignments: &[String]) -> Result<(TenantPolicy, Vec<String>), String> {
    let mut policy = TenantPolicy::default();
    let mut paths = Vec::new();
    for assignment in assignments {
        let (path, text) = assignment
            .split_once('=')
            .ok_or_else(|| format!("{assignment}: must be FIELD=VALUE"))?;
        if !PATHS.contains(&path) {
            return Err(unknown(path));
        }
        if !text.is_empty()
            && let Some(Err(problem)) = set(&mut policy, path, text)
        {
            return Err(format!("{path}: {problem}"));
        }
        paths.push(path.to_owned());
    }
    Ok((policy, paths))
}

/// The paths that a field or a group of them stands for.
pub(super) fn paths_of(name: &str) -> Result<Vec<&'static str>, String> {
    let found: Vec<_> = PATHS
        .iter()
        .copied()
        .filter(|path| {
            path.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .collect();
    if found.is_empty() {
        Err(unknown(name))
    } else {
        Ok(found)
    }
}

fn unknown(name: &str) -> String {
    let near = PATHS
        .iter()
        .map(|path| (strsim::jaro_winkler(name, path), *path))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match near {
        Some((_, path)) => format!("{name}: no such field; did you mean {path}?"),
        None => format!("{name}: no such field"),
    }
}

/// One field, for people.
pub(super) fn text(policy: &TenantPolicy, path: &str) -> String {
    match json_of(&mut policy.clone(), path) {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text == "0s" && path == "codes.fallback_after" => "never".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text,
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => {
            let words: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            words.join(",")
        }
        other => other.to_string(),
    }
}

/// All of it, for programs.
pub(super) fn to_json(policy: &TenantPolicy) -> Value {
    let mut policy = policy.clone();
    let mut all = Map::new();
    all.insert("version".to_owned(), json!(policy.version));
    for path in PATHS {
        let value = json_of(&mut policy, path);
        match path.split_once('.') {
            None => {
                all.insert((*path).to_owned(), value);
            }
            Some((group, name)) => {
                let group = all
                    .entry(group)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Some(group) = group.as_object_mut() {
                    group.insert(name.to_owned(), value);
                }
            }
        }
    }
    Value::Object(all)
}

/// What is different, as `path old -> new`.
pub(super) fn changes(old: &TenantPolicy, new: &TenantPolicy) -> Vec<String> {
    PATHS
        .iter()
        .filter_map(|path| {
            let (old, new) = (text(old, path), text(new, path));
            (old != new).then(|| format!("{path} {old} -> {new}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn assignments(list: &[&str]) -> Vec<String> {
        list.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn they_are_those_of_the_broker() {
        assert_eq!(PATHS, crate::domain::policy::PATHS);
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        let given = assignments(&[
            "number_matching=when-risky",
            "number_digits=4",
            "challenge_ttl=90s",
            "encrypted_prompts=no",
            "methods.recommended=SMS",
            "enrollment.start_time=2026-01-31T08:00:00Z",
            "codes.fallback_after=never",
            "sms.countries=BE,NL",
            "sms.origin_host=login.example.be",
            "browser_days=0",
        ]);
        let (policy, paths) = parse(&given).unwrap();
        for (path, given) in paths.iter().zip(&given) {
            let shown = format!("{path}={}", text(&policy, path));
            assert_eq!(shown.to_lowercase(), given.to_lowercase());
        }
        // Empty: the default, which is for the broker to know.
        let (policy, paths) = parse(&assignments(&["sms.countries=", "codes.ttl="])).unwrap();
        assert_eq!(policy, TenantPolicy::default());
        assert_eq!(paths, ["sms.countries", "codes.ttl"]);
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        for (given, told) in [
            ("browser_days", "browser_days: must be FIELD=VALUE"),
            ("browser_days=many", "browser_days: must be a number"),
            ("methods.push=perhaps", "methods.push: must be yes or no"),
            ("codes.ttl=300", "codes.ttl: must be a number with"),
            (
                "number_matching=unspecified",
                "number_matching: is no value",
            ),
            (
                "enrollment.start_time=soon",
                "enrollment.start_time: must be a time",
            ),
            (
                "browser_day=3",
                "browser_day: no such field; did you mean browser_days?",
            ),
            ("codes=3", "codes: no such field"),
            ("version=3", "version: no such field"),
        ] {
            let error = parse(&assignments(&[given])).unwrap_err();
            assert!(error.starts_with(told), "{error}");
        }
        assert_eq!(paths_of("codes").unwrap().len(), 5);
        assert_eq!(paths_of("language").unwrap(), ["language"]);
        assert!(paths_of("code").is_err() && paths_of("").is_err());
    }
}
