//! What APNs demands of a request.
//!
//! Source: Apple, "Sending notification requests to APNs" and "Generating a remote notification".

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::reason::{
    BAD_COLLAPSE_ID, BAD_DEVICE_TOKEN, BAD_EXPIRATION_DATE, BAD_MESSAGE_ID, BAD_PATH, BAD_PRIORITY,
    BAD_TOPIC, DUPLICATE_HEADERS, INVALID_PROVIDER_TOKEN, INVALID_PUSH_TYPE, METHOD_NOT_ALLOWED,
    MISSING_DEVICE_TOKEN, MISSING_PROVIDER_TOKEN, MISSING_TOPIC, PAYLOAD_EMPTY, PAYLOAD_TOO_LARGE,
    Reason,
};

/// "For regular remote notifications, the maximum size is 4KB (4096 bytes)."
const BODY_LIMIT: usize = 4096;
/// "For VoIP notifications, the maximum size is 5KB (5120 bytes)."
pub(super) const VOIP_BODY_LIMIT: usize = 5120;
/// "The value of this key must not exceed 64 bytes."
const COLLAPSE_ID_LIMIT: usize = 64;
/// Longest device token taken: 100 bytes, in hex (not documented by Apple; today's are 32).
const TOKEN_LIMIT: usize = 200;
/// Headers that may stand only once.
const SINGLE: [&str; 7] = [
    "authorization",
    "apns-collapse-id",
    "apns-expiration",
    "apns-id",
    "apns-priority",
    "apns-push-type",
    "apns-topic",
];
/// `apns-push-type` values, each with what it adds to the bundle id in `apns-topic`.
const PUSH_TYPES: [(&str, &str); 11] = [
    ("alert", ""),
    ("background", ""),
    ("complication", ".complication"),
    ("controls", ".push-type.controls"),
    ("fileprovider", ".pushkit.fileprovider"),
    ("liveactivity", ".push-type.liveactivity"),
    ("location", ".location-query"),
    ("mdm", ""),
    ("pushtotalk", ".voip-ptt"),
    ("voip", ".voip"),
    ("widgets", ".push-type.widgets"),
];

/// A request that keeps all rules which don't depend on who sends it or to whom.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) topic: String,
    /// The bundle id within the topic.
    pub(super) bundle_id: String,
    pub(super) push_type: &'static str,
    pub(super) priority: u8,
    pub(super) expiration: Option<u64>,
    pub(super) collapse_id: Option<String>,
    pub(super) payload: Value,
}

/// The token in `POST /3/device/<token>`, in lower case.
pub(super) fn device_token(method: &Method, path: &str) -> Result<String, Reason> {
    let token = path.strip_prefix("/3/device").ok_or(BAD_PATH)?;
    let token = match token.strip_prefix('/') {
        Some(token) => token,
        None if token.is_empty() => "",
        None => return Err(BAD_PATH),
    };
    if method != Method::POST {
        return Err(METHOD_NOT_ALLOWED);
    }
    if token.is_empty() {
        return Err(MISSING_DEVICE_TOKEN);
    }
    if token.contains('/') {
        return Err(BAD_PATH);
    }
    let hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || token.len() % 2 != 0 || token.len() > TOKEN_LIMIT {
        return Err(BAD_DEVICE_TOKEN);
    }
    Ok(token.to_ascii_lowercase())
}

/// No header that counts stands twice.
pub(super) fn single_headers(headers: &HeaderMap) -> Result<(), Reason> {
    for name in SINGLE {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(DUPLICATE_HEADERS);
        }
    }
    Ok(())
}

/// The JWT in `authorization: bearer <jwt>`.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Reason> {
    let value = headers.get(AUTHORIZATION).ok_or(MISSING_PROVIDER_TOKEN)?;
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(INVALID_PROVIDER_TOKEN)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(INVALID_PROVIDER_TOKEN);
    }
    Ok(token)
}

/// `apns-id`: canonical UUID; made up if missing.
pub(super) fn apns_id(headers: &HeaderMap) -> Result<String, Reason> {
    match headers.get("apns-id") {
        None => Ok(new_apns_id()),
        Some(value) => {
            let text = value.to_str().map_err(|_| BAD_MESSAGE_ID)?;
            // Uuid reads other forms as well; canonical is the one of 36 characters.
            match Uuid::try_parse(text) {
                Ok(_) if text.len() == 36 => Ok(text.to_owned()),
                Ok(_) | Err(_) => Err(BAD_MESSAGE_ID),
            }
        }
    }
}

/// An id as Apple makes them, in capitals.
pub(super) fn new_apns_id() -> String {
    Uuid::new_v4().hyphenated().to_string().to_ascii_uppercase()
}

/// Headers and payload.
pub(super) fn request(headers: &HeaderMap, body: &[u8], strict: bool) -> Result<Request, Reason> {
    let topic = text(headers, "apns-topic", BAD_TOPIC)?.ok_or(MISSING_TOPIC)?;
    let (push_type, suffix) = match text(headers, "apns-push-type", INVALID_PUSH_TYPE)? {
        Some(given) => PUSH_TYPES
            .into_iter()
            .find(|(name, _)| *name == given)
            .ok_or(INVALID_PUSH_TYPE)?,
        // "If the header is missing on required systems, APNs may return an error".
        None if strict => return Err(INVALID_PUSH_TYPE),
        None => ("alert", ""),
    };
    let bundle_id = topic.strip_suffix(suffix).ok_or(BAD_TOPIC)?;
    let charset = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if bundle_id.is_empty() || !bundle_id.bytes().all(charset) {
        return Err(BAD_TOPIC);
    }
    // "If you omit this header, APNs sets the notification priority to 10."
    let priority = match text(headers, "apns-priority", BAD_PRIORITY)? {
        None | Some("10") => 10,
        Some("5") => 5,
        Some("1") => 1,
        Some(_) => return Err(BAD_PRIORITY),
    };
    // "Always use priority 5. Using priority 10 is an error."
    if push_type == "background" && priority != 5 {
        return Err(BAD_PRIORITY);
    }
    let expiration = match text(headers, "apns-expiration", BAD_EXPIRATION_DATE)? {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| BAD_EXPIRATION_DATE)?)
        }
        Some(_) => return Err(BAD_EXPIRATION_DATE),
    };
    let collapse_id = text(headers, "apns-collapse-id", BAD_COLLAPSE_ID)?;
    if collapse_id.is_some_and(|id| id.is_empty() || id.len() > COLLAPSE_ID_LIMIT) {
        return Err(BAD_COLLAPSE_ID);
    }
    Ok(Request {
        payload: payload(body, push_type, strict)?,
        topic: topic.to_owned(),
        bundle_id: bundle_id.to_owned(),
        push_type,
        priority,
        expiration,
        collapse_id: collapse_id.map(str::to_owned),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str, bad: Reason) -> Result<Option<&'a str>, Reason> {
    headers
        .get(name)
        .map(|value| value.to_str().map_err(|_| bad))
        .transpose()
}

fn payload(body: &[u8], push_type: &str, strict: bool) -> Result<Value, Reason> {
    let limit = if push_type == "voip" {
        VOIP_BODY_LIMIT
    } else {
        BODY_LIMIT
    };
    if body.len() > limit {
        return Err(PAYLOAD_TOO_LARGE);
    }
    let payload: Map<String, Value> = serde_json::from_slice(body).map_err(|_| PAYLOAD_EMPTY)?;
    if push_type == "mdm" {
        return Ok(Value::Object(payload));
    }
    let aps = payload
        .get("aps")
        .and_then(Value::as_object)
        .ok_or(PAYLOAD_EMPTY)?;
    let interacts = ["alert", "badge", "sound"]
        .iter()
        .any(|key| aps.contains_key(*key));
    let consistent = match push_type {
        // "The push type for notifications that trigger a user interaction — for example, an
        // alert, badge, or sound."
        "alert" => interacts,
        // "The push type for notifications that deliver content in the background, and don't
        // trigger any user interactions." Strictly, then, nothing beside `content-available`; the
        // crates a2 and apns-h2 always add `mutable-content`, off.
        "background" => {
            let alone = aps.len() == 1 || !(strict || interacts);
            alone && aps.get("content-available").and_then(Value::as_u64) == Some(1)
        }
        _ => true,
    };
    if consistent {
        Ok(Value::Object(payload))
    } else {
        Err(INVALID_PUSH_TYPE)
    }
}

/// Headers for the record: no secret among them.
pub(super) fn recorded(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .filter(|(name, _)| *name != AUTHORIZATION)
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}
