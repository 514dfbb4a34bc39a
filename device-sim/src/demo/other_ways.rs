//! What a person has beside the phone's app: a number that is texted, an
//! authenticator app, a sheet of recovery codes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_proto::v1::{Authenticator, authenticator};
use jiff::tz::TimeZone;

use super::authenticator_app::{AuthenticatorApp, step_at};
use super::error::DemoError;
use super::identity_provider::IdentityProvider;
use super::sentences::reason;
use crate::gateway::{Inbox, TextMessage};
use crate::phone::system_clock;
use crate::prompt::{Paint, notification};

/// Only for a demo that hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// A code that was on the screen a moment ago may have become too old on its way.
const ATTEMPTS: u32 = 3;

/// What was registered.
pub(super) struct OtherWays {
    /// E.164.
    pub(super) number: String,
    /// As the page shows it.
    pub(super) masked: String,
    /// The number's authenticator.
    pub(super) phone_id: String,
    pub(super) app: AuthenticatorApp,
    /// The app's authenticator.
    pub(super) app_id: String,
    /// The last step whose code was used: it is not taken twice.
    pub(super) used_step: u64,
    /// The sheet, without what was crossed out.
    pub(super) sheet: Vec<String>,
    /// The sheet's authenticator.
    pub(super) sheet_id: String,
}

impl OtherWays {
    /// Registers all three, each proven as the rpcs demand.
    pub(super) async fn register(
        idp: &IdentityProvider,
        inbox: &Inbox,
        user: &str,
        number: &str,
        language: &str,
    ) -> Result<Self, DemoError> {
        // The number comes last: it would be told of the others.
        let (app_id, uri) = idp.add_totp(user).await?;
        let app = AuthenticatorApp::scan(&uri).ok_or_else(|| DemoError::missing("otpauth URI"))?;
        let used_step = confirm_app(idp, user, &app_id, &app).await?;
        let (sheet_id, sheet) = idp.create_recovery_codes(user).await?;

        let before = inbox.last_seq();
        let added = idp.add_phone(user, number, language).await?;
        let text = text_with_code(inbox, number, before).await?;
        let code = code_in(&text.text).unwrap_or_default();
        let phone_id = added.authenticator_id;
        let confirmed = idp.confirm_phone(user, &phone_id, code).await?;
        Ok(Self {
            number: number.to_owned(),
            masked: masked(confirmed)?,
            phone_id,
            app,
            app_id,
            used_step,
            sheet,
            sheet_id,
        })
    }
}

/// With the code that was on the screen until now, so that the one that is there
/// now can be used to sign in.
async fn confirm_app(
    idp: &IdentityProvider,
    user: &str,
    id: &str,
    app: &AuthenticatorApp,
) -> Result<u64, DemoError> {
    let mut attempts = ATTEMPTS;
    loop {
        let step = step_at(system_clock()()).saturating_sub(1);
        match idp.confirm_totp(user, id, &app.code(step)).await {
            Ok(()) => return Ok(step),
            Err(DemoError::Call { status, .. })
                if attempts > 1 && reason(&status) == "WRONG_CODE" =>
            {
                attempts -= 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn masked(authenticator: Authenticator) -> Result<String, DemoError> {
    match authenticator.kind {
        Some(authenticator::Kind::PhoneNumber(number)) => Ok(number.masked_number),
        _ => Err(DemoError::missing("phone number")),
    }
}

/// The first text with a code that came to `number` after message `before`.
pub(super) async fn text_with_code(
    inbox: &Inbox,
    number: &str,
    before: u64,
) -> Result<TextMessage, DemoError> {
    let wanted = |text: &TextMessage| text.seq > before && code_in(&text.text).is_some();
    let text = tokio::time::timeout(PATIENCE, inbox.wait_for(number, wanted)).await;
    text.map_err(|_| DemoError::TooLate {
        what: "a text message",
        within: PATIENCE,
    })
}

/// The code that a text begins with.
pub(super) fn code_in(text: &str) -> Option<&str> {
    let code = text.split(' ').next()?;
    let digits = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some(code)
}

/// A text as the phone shows it.
pub(super) fn shown(text: &TextMessage, columns: usize, paint: Paint) -> Vec<String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(text.time_ms));
    let time = time.unwrap_or(SystemTime::UNIX_EPOCH);
    let zone = TimeZone::system();
    notification(&text.from, &text.text, time, &zone, columns, paint)
}

#[cfg(test)]
mod tests {
    use super::code_in;

    #[test]
    fn only_texts_that_begin_with_a_code_have_one() {
        assert_eq!(code_in("042137 is uw aanmeldcode."), Some("042137"));
        for text in [
            "",
            " 123456",
            "Eagle IT BVBA: een app is toegevoegd",
            "12a456 is",
        ] {
            assert_eq!(code_in(text), None, "{text}");
        }
    }
}
