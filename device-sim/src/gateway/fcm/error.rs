//! Errors as Google words them.
//!
//! Source: Firebase, "ErrorCode" and "FcmError" of the FCM v1 REST reference; Google APIs error
//! model (`google.rpc.Status`).

use http::StatusCode;
use serde_json::{Value, json};

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// A refusal on its way out.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) body: Value,
    /// For the record: the most telling word in the body.
    pub(super) reason: String,
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    fn new(code: u16, status: &str, message: &str, reason: &str, details: Value) -> Self {
        let mut error = json!({ "code": code, "message": message, "status": status });
        if let (Some(error), false) = (error.as_object_mut(), details.is_null()) {
            error.insert("details".to_owned(), json!([details]));
        }
        let body = json!({ "error": error });
        Self {
            code,
            body,
            reason: reason.to_owned(),
            retry_after: None,
        }
    }

    /// With an `FcmError` that carries `errorCode`.
    pub(super) fn fcm(code: u16, status: &str, message: &str, error_code: &str) -> Self {
        let details = json!({ "@type": FCM_ERROR, "errorCode": error_code });
        Self::new(code, status, message, error_code, details)
    }

    pub(super) fn after(self, retry_after: Option<u64>) -> Self {
        Self {
            retry_after,
            ..self
        }
    }

    /// The message breaks a rule of FCM.
    pub(super) fn invalid(message: &str) -> Self {
        Self::fcm(400, "INVALID_ARGUMENT", message, "INVALID_ARGUMENT")
    }

    /// The JSON is not that of the method's request; found before FCM sees it.
    pub(super) fn malformed(field: &str, description: &str) -> Self {
        let message = match field {
            "" => description.to_owned(),
            field => format!("Invalid value at '{field}': {description}"),
        };
        let violation = json!({ "field": field, "description": description });
        let details = json!({ "@type": BAD_REQUEST, "fieldViolations": [violation] });
        Self::new(
            400,
            "INVALID_ARGUMENT",
            &message,
            "INVALID_ARGUMENT",
            details,
        )
    }

    /// No bearer token at all, or one that is unknown, expired or revoked.
    pub(super) fn unauthenticated(reason: &str) -> Self {
        let message = match reason {
            "CREDENTIALS_MISSING" => {
                "Request is missing required authentication credential. Expected OAuth 2 access \
                 token, login cookie or other valid authentication credential."
            }
            _ => {
                "Request had invalid authentication credentials. Expected OAuth 2 access token, \
                 login cookie or other valid authentication credential."
            }
        };
        let details = json!({
            "@type": ERROR_INFO,
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": { "service": "fcm.googleapis.com" },
        });
        Self::new(401, "UNAUTHENTICATED", message, "UNAUTHENTICATED", details)
    }

    /// A good access token of an account without rights in the project.
    pub(super) fn permission_denied(project_id: &str) -> Self {
        let message = format!(
            "Permission 'cloudmessaging.messages.create' denied on resource \
             '//cloudresourcemanager.googleapis.com/projects/{project_id}' (or it may not exist)."
        );
        let details = json!({
            "@type": ERROR_INFO,
            "reason": "IAM_PERMISSION_DENIED",
            "domain": "cloudresourcemanager.googleapis.com",
        });
        Self::new(
            403,
            "PERMISSION_DENIED",
            &message,
            "PERMISSION_DENIED",
            details,
        )
    }

    /// The token belongs to another project's sender.
    pub(super) fn sender_id_mismatch() -> Self {
        Self::fcm(
            403,
            "PERMISSION_DENIED",
            "SenderId mismatch",
            "SENDER_ID_MISMATCH",
        )
    }

    /// The token is dead.
    pub(super) fn unregistered() -> Self {
        Self::fcm(
            404,
            "NOT_FOUND",
            "Requested entity was not found.",
            "UNREGISTERED",
        )
    }

    /// No such project or method: a 404 that says nothing about the token.
    pub(super) fn not_found() -> Self {
        Self::new(
            404,
            "NOT_FOUND",
            "Requested entity was not found.",
            "NOT_FOUND",
            Value::Null,
        )
    }

    pub(super) fn quota_exceeded() -> Self {
        let message = "Quota exceeded for quota metric 'Send requests' and limit 'Send requests \
                       per minute' of service 'fcm.googleapis.com'.";
        Self::fcm(429, "RESOURCE_EXHAUSTED", message, "QUOTA_EXCEEDED")
    }

    pub(super) fn internal() -> Self {
        Self::fcm(500, "INTERNAL", "Internal error encountered.", "INTERNAL")
    }

    pub(super) fn unavailable() -> Self {
        Self::fcm(
            503,
            "UNAVAILABLE",
            "The service is currently unavailable.",
            "UNAVAILABLE",
        )
    }

    /// Any status and `errorCode`, as a fault asks for.
    pub(super) fn scripted(code: u16, error_code: &str) -> Self {
        let status = match code {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            500 => "INTERNAL",
            503 => "UNAVAILABLE",
            _ => "UNKNOWN",
        };
        Self::fcm(code, status, "Scripted fault.", error_code)
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// An error of the token endpoint (RFC 6749, section 5.2).
    pub(super) fn oauth(code: u16, error: &str, description: &str) -> Self {
        let body = json!({ "error": error, "error_description": description });
        Self {
            code,
            body,
            reason: error.to_owned(),
            retry_after: None,
        }
    }
}
