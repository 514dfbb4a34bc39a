//! What FCM demands of a message.
//!
//! Source: Firebase, REST resource `projects.messages` (v1); "About FCM messages" for sizes and
//! reserved keys; the protobuf JSON mapping for unknown fields, enums and durations.

use serde_json::{Map, Value};

use super::error::Refusal;
use crate::gateway::device::looks_like_fcm_token;

/// "Maximum payload for both message types is 4096 bytes."
const SIZE_LIMIT: usize = 4096;
/// "The maximum time to live supported is 4 weeks", which is also the default.
const MAX_TTL_MS: u64 = 2_419_200_000;

const REQUEST: [&str; 2] = ["message", "validate_only"];
const MESSAGE: [&str; 11] = [
    "name",
    "data",
    "notification",
    "android",
    "webpush",
    "apns",
    "fcm_options",
    "token",
    "topic",
    "condition",
    "fid",
];
const ANDROID: [&str; 10] = [
    "collapse_key",
    "priority",
    "ttl",
    "restricted_package_name",
    "data",
    "notification",
    "fcm_options",
    "direct_boot_ok",
    "bandwidth_constrained_ok",
    "restricted_satellite_ok",
];
const NOTIFICATION: [&str; 3] = ["title", "body", "image"];

/// A message that keeps all rules which don't depend on its target.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) token: String,
    pub(super) validate_only: bool,
    pub(super) high_priority: bool,
    pub(super) ttl_ms: u64,
    pub(super) collapse_key: Option<String>,
    pub(super) message: Value,
}

pub(super) fn parse(body: &[u8]) -> Result<Message, Refusal> {
    let request: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::malformed("", "Invalid JSON payload received. Parser error."))?;
    let request = object(&request, "")?;
    known(request, &REQUEST, "")?;
    let validate_only = match member(request, "validate_only") {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => return Err(Refusal::malformed("validate_only", "not a boolean")),
    };
    let value =
        member(request, "message").ok_or_else(|| Refusal::invalid("The message is not set."))?;
    let message = object(value, "message")?;
    known(message, &MESSAGE, "message")?;

    let targets = ["token", "topic", "condition", "fid"];
    let given: Vec<_> = targets
        .iter()
        .filter_map(|name| member(message, name))
        .collect();
    let token = match given.as_slice() {
        [] => return Err(Refusal::invalid("Recipient of the message is not set.")),
        [one] => one
            .as_str()
            .ok_or_else(|| Refusal::malformed("message.token", "not a string"))?,
        _ => {
            return Err(Refusal::malformed(
                "message",
                "oneof field 'target' is already set",
            ));
        }
    };
    if member(message, "token").is_none() {
        // Fan-out is not emulated: the broker has no use for it.
        return Err(Refusal::invalid(
            "Only messages to a token are supported here.",
        ));
    }
    if !looks_like_fcm_token(token) {
        return Err(bad_token());
    }

    let mut size = data(member(message, "data"), "message.data")?;
    size += notification(member(message, "notification"))?;
    let empty = Map::new();
    let android = match member(message, "android") {
        None => &empty,
        Some(value) => object(value, "message.android")?,
    };
    known(android, &ANDROID, "message.android")?;
    // Android's own data takes the place of the common one.
    if let Some(own) = member(android, "data") {
        size = size.max(data(Some(own), "message.android.data")?);
    }
    if size > SIZE_LIMIT {
        return Err(Refusal::invalid("Android message is too big"));
    }
    let high_priority = match member(android, "priority").map(Value::as_str) {
        None => false,
        Some(Some("NORMAL" | "normal")) => false,
        Some(Some("HIGH" | "high")) => true,
        Some(_) => {
            let kind = "type.googleapis.com/google.firebase.fcm.v1.AndroidMessagePriority";
            return Err(Refusal::malformed("message.android.priority", kind));
        }
    };
    let ttl_ms = match member(android, "ttl") {
        None => MAX_TTL_MS,
        Some(value) => value.as_str().and_then(duration_ms).ok_or_else(|| {
            Refusal::malformed("message.android.ttl", "not a duration such as \"60s\"")
        })?,
    };
    if ttl_ms > MAX_TTL_MS {
        return Err(Refusal::invalid(
            "Invalid time to live: must be between 0 and 2419200 seconds",
        ));
    }
    let collapse_key = match member(android, "collapse_key") {
        None => None,
        Some(Value::String(key)) => Some(key.clone()),
        Some(_) => {
            return Err(Refusal::malformed(
                "message.android.collapse_key",
                "not a string",
            ));
        }
    };
    Ok(Message {
        token: token.to_owned(),
        validate_only,
        high_priority,
        ttl_ms,
        collapse_key,
        message: value.clone(),
    })
}

pub(super) fn bad_token() -> Refusal {
    Refusal::invalid("The registration token is not a valid FCM registration token")
}

fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>, Refusal> {
    value
        .as_object()
        .ok_or_else(|| Refusal::malformed(path, "not an object"))
}

/// A member by its name in the proto file or in lowerCamelCase (protobuf's JSON mapping takes both).
fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object
        .get(name)
        .or_else(|| object.get(&camel(name)))
        .filter(|value| !value.is_null())
}

fn camel(name: &str) -> String {
    let mut upper = false;
    name.chars()
        .filter_map(|letter| match (letter, std::mem::take(&mut upper)) {
            ('_', _) => {
                upper = true;
                None
            }
            (letter, true) => Some(letter.to_ascii_uppercase()),
            (letter, false) => Some(letter),
        })
        .collect()
}

/// Refuses fields the message type doesn't have.
fn known(object: &Map<String, Value>, names: &[&str], path: &str) -> Result<(), Refusal> {
    for key in object.keys() {
        if !names.iter().any(|name| key == name || *key == camel(name)) {
            let place = if path.is_empty() {
                String::new()
            } else {
                format!(" at '{path}'")
            };
            let description = format!(
                "Invalid JSON payload received. Unknown name \"{key}\"{place}: Cannot find field."
            );
            return Err(Refusal::malformed("", &description));
        }
    }
    Ok(())
}

/// Checks a map of data and answers its size in bytes.
fn data(value: Option<&Value>, path: &str) -> Result<usize, Refusal> {
    let Some(value) = value else {
        return Ok(0);
    };
    let mut size = 0;
    for (index, (key, value)) in object(value, path)?.iter().enumerate() {
        let Some(text) = value.as_str() else {
            let field = format!("{path}[{index}].value");
            return Err(Refusal::malformed(&field, "(TYPE_STRING)"));
        };
        // "The key should not be a reserved word ("from", "message_type", or any word starting
        // with "google" or "gcm")."
        let reserved = matches!(key.as_str(), "from" | "message_type")
            || key.starts_with("google")
            || key.starts_with("gcm");
        if reserved || key.is_empty() {
            return Err(Refusal::invalid(&format!(
                "Invalid data payload key: {key}"
            )));
        }
        size += key.len() + text.len();
    }
    Ok(size)
}

fn notification(value: Option<&Value>) -> Result<usize, Refusal> {
    let Some(value) = value else {
        return Ok(0);
    };
    let path = "message.notification";
    let notification = object(value, path)?;
    known(notification, &NOTIFICATION, path)?;
    let mut size = 0;
    for (key, value) in notification {
        let text = value
            .as_str()
            .ok_or_else(|| Refusal::malformed(path, "(TYPE_STRING)"))?;
        size += key.len() + text.len();
    }
    Ok(size)
}

/// `google.protobuf.Duration` in JSON: seconds with up to nine fractional digits and an "s".
fn duration_ms(text: &str) -> Option<u64> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(millis)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests"
    )]
    use super::duration_ms;

    #[test]
    fn durations() {
        assert_eq!(duration_ms("60s"), Some(60_000));
        assert_eq!(duration_ms("0s"), Some(0));
        assert_eq!(duration_ms("3.5s"), Some(3_500));
        assert_eq!(duration_ms("0.000000001s"), Some(0));
        for wrong in [
            "60",
            "s",
            "-1s",
            "+1s",
            "1.s",
            ".5s",
            "1e3s",
            "0.0000000001s",
            " 1s",
        ] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
    }
}
