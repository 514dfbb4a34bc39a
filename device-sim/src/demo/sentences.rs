//! What a sign-in page says to people, for what the broker says to it.

use std::time::Duration;

use countersign_proto::v1::{Challenge, ChallengeState, DecisionReason, Method};
use tonic_types::StatusExt as _;

/// The broker's reason for a refusal, from `ErrorInfo`.
pub(super) fn reason(status: &tonic::Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// A refused call in a sentence.
pub(super) fn refusal(status: &tonic::Status) -> String {
    let wait = status.get_details_retry_info();
    let wait = wait.and_then(|info| info.retry_delay);
    let wait = || in_words(wait.unwrap_or_default());
    match reason(status).as_str() {
        "WRONG_CODE" => wrong_code(status),
        "INVALID_FIELD" => "That does not look like such a code. Please enter it again.".to_owned(),
        "RESEND_TOO_SOON" => format!(
            "We texted you a moment ago. You can ask for another text in {}.",
            wait()
        ),
        "GUESS_TOO_SOON" => format!("Too many wrong codes. Please wait {}.", wait()),
        "DENIED_A_MOMENT_AGO" => format!(
            "You have just denied a sign-in. We can text you in {}.",
            wait()
        ),
        "NUMBER_CAP" | "USER_CAP" | "RANGE_CAP" | "TENANT_CAP" => {
            "We can't send more texts for now. Please choose another way.".to_owned()
        }
        "TOO_MANY_SENDS" => {
            "We can't send more texts for this sign-in. Please choose another way.".to_owned()
        }
        "PROMPT_BUDGET" => format!("Too many sign-in requests. Please wait {}.", wait()),
        "PENDING_EXISTS" => "A sign-in is waiting for your approval already.".to_owned(),
        "NO_CODE_EXPECTED" => "That code is no longer valid. Please ask for a new one.".to_owned(),
        "NO_AUTHENTICATOR" => "You have not set this up. Please choose another way.".to_owned(),
        "NOT_BY_POLICY" => "Your organisation does not allow this way.".to_owned(),
        "NO_TEXT_GATEWAY" => "We can't send texts. Please choose another way.".to_owned(),
        "PROMPT_EXPIRED" => "The notification has expired. Please choose another way.".to_owned(),
        "ALREADY_DECIDED" => "This sign-in has ended already.".to_owned(),
        _ => format!("Something went wrong: {}.", status.message()),
    }
}

fn wrong_code(status: &tonic::Status) -> String {
    let info = status.get_details_error_info();
    let left = info.and_then(|info| info.metadata.get("attempts_left").cloned());
    let tries = match left.as_deref() {
        Some("1") => " 1 try left.".to_owned(),
        Some(left) => format!(" {left} tries left."),
        None => String::new(),
    };
    format!("That code is not right. Please try again.{tries}")
}

/// Whole seconds, or minutes where there are many.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_millis().div_ceil(1000).max(1);
    match seconds {
        1 => "1 second".to_owned(),
        2..=120 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

/// What a page shows while a sign-in waits.
pub(super) fn waiting(challenge: &Challenge) -> String {
    let masked = challenge.code_delivery.as_ref();
    let masked = masked.map_or("", |delivery| delivery.masked_destination.as_str());
    match challenge.method() {
        Method::Sms => format!("We texted your phone {masked}. Please enter the code."),
        Method::Totp => "Please enter the code shown in your authenticator app.".to_owned(),
        Method::RecoveryCode => "Please enter one of your recovery codes.".to_owned(),
        _ => "Approve sign in request. We've sent a notification to your mobile device.".to_owned(),
    }
}

/// How a sign-in ended; `true`: the person is signed in.
pub(super) fn ended(challenge: &Challenge) -> (bool, &'static str) {
    let words = match (challenge.state(), challenge.reason()) {
        (ChallengeState::Approved, DecisionReason::CodeVerified) => {
            return (true, "That code is right. You are signed in.");
        }
        (ChallengeState::Approved, _) => {
            return (true, "Notification approved. You are signed in.");
        }
        (_, DecisionReason::TooManyAttempts) => "Too many wrong codes. The sign-in was denied.",
        (_, DecisionReason::LockedOut) => {
            "Your account is locked. Please contact your service desk."
        }
        (_, DecisionReason::WrongNumber) => {
            "The number typed on the phone was another one. The sign-in was denied."
        }
        (_, DecisionReason::FraudReported) => "You reported this sign-in. It was denied.",
        (_, DecisionReason::Unreachable) => {
            "We can't reach any of your devices. The sign-in was denied."
        }
        (ChallengeState::Denied, _) => "The sign-in was denied.",
        (ChallengeState::Expired, _) => "Nobody answered in time: not signed in.",
        _ => "The sign-in was given up.",
    };
    (false, words)
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};
    use tonic_types::ErrorDetails;

    use super::*;

    fn refused(reason: &str, left: &str, wait: u64) -> String {
        let metadata = [("attempts_left".to_owned(), left.to_owned())];
        let mut details = ErrorDetails::with_error_info(reason, "countersign", metadata);
        details.set_retry_info(Some(Duration::from_millis(wait)));
        refusal(&Status::with_error_details(
            Code::ResourceExhausted,
            "no",
            details,
        ))
    }

    #[test]
    fn refusals_are_plain_sentences() {
        let cases = [
            (
                refused("WRONG_CODE", "4", 0),
                "That code is not right. Please try again. 4 tries left.",
            ),
            (
                refused("WRONG_CODE", "1", 0),
                "That code is not right. Please try again. 1 try left.",
            ),
            (
                refused("RESEND_TOO_SOON", "", 29_001),
                "We texted you a moment ago. You can ask for another text in 30 seconds.",
            ),
            (
                refused("GUESS_TOO_SOON", "", 121_000),
                "Too many wrong codes. Please wait 3 minutes.",
            ),
            (refused("ELSE", "", 0), "Something went wrong: no."),
            (
                refusal(&Status::unavailable("gone")),
                "Something went wrong: gone.",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn only_an_approval_signs_in() {
        for state in [
            ChallengeState::Unspecified,
            ChallengeState::Pending,
            ChallengeState::Denied,
            ChallengeState::Expired,
            ChallengeState::Cancelled,
        ] {
            let challenge = Challenge {
                state: state.into(),
                reason: DecisionReason::CodeVerified.into(),
                ..Challenge::default()
            };
            assert!(!ended(&challenge).0, "{state:?}");
        }
    }
}
