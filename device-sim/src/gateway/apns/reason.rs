//! Apple's reasons, in Apple's spelling.
//!
//! Source: Apple, "Handling notification responses from APNs", tables 3–5.

/// A refusal as APNs words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) status: u16,
    pub(super) name: &'static str,
}

macro_rules! reasons {
    ($($constant:ident $status:literal $name:literal;)*) => {
        $(pub(super) const $constant: Reason = Reason { status: $status, name: $name };)*
    };
}

reasons! {
    BAD_COLLAPSE_ID 400 "BadCollapseId";
    BAD_DEVICE_TOKEN 400 "BadDeviceToken";
    BAD_EXPIRATION_DATE 400 "BadExpirationDate";
    BAD_MESSAGE_ID 400 "BadMessageId";
    BAD_PRIORITY 400 "BadPriority";
    BAD_TOPIC 400 "BadTopic";
    DEVICE_TOKEN_NOT_FOR_TOPIC 400 "DeviceTokenNotForTopic";
    DUPLICATE_HEADERS 400 "DuplicateHeaders";
    INVALID_PUSH_TYPE 400 "InvalidPushType";
    MISSING_DEVICE_TOKEN 400 "MissingDeviceToken";
    MISSING_TOPIC 400 "MissingTopic";
    PAYLOAD_EMPTY 400 "PayloadEmpty";
    TOPIC_DISALLOWED 400 "TopicDisallowed";
    EXPIRED_PROVIDER_TOKEN 403 "ExpiredProviderToken";
    INVALID_PROVIDER_TOKEN 403 "InvalidProviderToken";
    MISSING_PROVIDER_TOKEN 403 "MissingProviderToken";
    BAD_PATH 404 "BadPath";
    METHOD_NOT_ALLOWED 405 "MethodNotAllowed";
    UNREGISTERED 410 "Unregistered";
    EXPIRED_TOKEN 410 "ExpiredToken";
    PAYLOAD_TOO_LARGE 413 "PayloadTooLarge";
    TOO_MANY_REQUESTS 429 "TooManyRequests";
    TOO_MANY_PROVIDER_TOKEN_UPDATES 429 "TooManyProviderTokenUpdates";
    INTERNAL_SERVER_ERROR 500 "InternalServerError";
    SERVICE_UNAVAILABLE 503 "ServiceUnavailable";
}
