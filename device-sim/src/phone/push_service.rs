//! The phone's way to a device token: the emulators' control page stands in for the operating
//! system.

use countersign_proto::v1::{Gateway, PushEnvironment, PushRegistration};
use serde_json::json;

use crate::fetch::{FetchError, post_json};

/// Asks for a token for the app that `registration` names, and puts it there.
///
/// # Errors
/// [`FetchError`]: the control page can't be reached, or knows no such app.
pub(crate) async fn renew(
    control: &str,
    registration: &PushRegistration,
) -> Result<PushRegistration, FetchError> {
    let mut asked = json!({ "gateway": "fcm", "app_id": registration.app_id });
    if registration.gateway() == Gateway::Apns {
        let environment = match registration.environment() {
            PushEnvironment::Sandbox => "sandbox",
            PushEnvironment::Unspecified | PushEnvironment::Production => "production",
        };
        asked = json!({
            "gateway": "apns",
            "app_id": registration.app_id,
            "environment": environment,
        });
    }
    let address = format!("{}/devices", control.trim_end_matches('/'));
    let answer = post_json(&address, &asked).await?;
    let token = answer.get("token").and_then(serde_json::Value::as_str);
    let token = token.ok_or_else(|| FetchError::malformed(&address, "there is no token in it"))?;
    Ok(PushRegistration {
        token: token.to_owned(),
        ..registration.clone()
    })
}
