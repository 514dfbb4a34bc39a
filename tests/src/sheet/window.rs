//! The sentences of the sign-in page, as on the sheet.

use countersign_proto::v1::{
    self, ChallengeState as S, DecisionReason as R, Method, NextStep as N, authenticator::Kind,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::reason;

pub(super) const LOCKED: &str = "Uw account is vergrendeld. Neem contact op met uw helpdesk.";

/// What may be registered.
pub(super) fn more_information(options: &v1::GetSignInOptionsResponse) -> String {
    let mut lines = vec!["Meer informatie vereist.".to_owned()];
    for (place, choice) in options.enrollment_choices().enumerate() {
        let name = match choice {
            v1::EnrollmentChoice::MobileApp => "Mobiele app",
            v1::EnrollmentChoice::AuthenticationPhone => "Telefoon voor authenticatie",
            v1::EnrollmentChoice::TotpApp => "Authenticator-app",
            v1::EnrollmentChoice::Unspecified => panic!("{options:?}"),
        };
        let recommended = if place == 0 { " (aanbevolen)" } else { "" };
        lines.push(format!("- {name}{recommended}"));
    }
    if options.next_step() == N::EnrollOrSnooze {
        let left = options.snoozes_left;
        lines.push(format!("[Nu overslaan] kan nog {left} keer."));
    }
    lines.join("\n")
}

/// A code is on its way.
pub(super) fn texted(delivery: &v1::CodeDelivery) -> String {
    format!(
        "We hebben een sms gestuurd naar {}. Voer de code in.",
        delivery.masked_destination
    )
}

/// The window for a sign-in as it stands.
pub(super) fn window(challenge: &v1::Challenge) -> String {
    match (challenge.state(), challenge.reason()) {
        (S::Pending, _) => return question(challenge),
        (S::Approved, R::UserApproved) => "Melding goedgekeurd. U bent aangemeld.",
        (S::Approved, R::CodeVerified | R::RememberedBrowser) => "U bent aangemeld.",
        (S::Denied, R::UserDenied) => "De aanmelding is op uw toestel geweigerd.",
        (S::Denied, R::FraudReported) => {
            "Op uw toestel is gemeld dat u dit niet was. De aanmelding is geweigerd."
        }
        (S::Denied, R::WrongNumber) => {
            "Op uw toestel is een verkeerd nummer getypt. De aanmelding is geweigerd."
        }
        (S::Denied, R::TooManyAttempts) => "Te veel verkeerde codes. Meld u opnieuw aan.",
        (S::Denied, R::LockedOut) => LOCKED,
        (S::Denied, R::Unreachable) => {
            "We kunnen uw toestel niet bereiken. Meld u op een andere manier aan."
        }
        (S::Expired, R::TimedOut) => "We hebben geen antwoord gekregen.",
        (S::Cancelled, R::Superseded) => "U hebt zich intussen opnieuw aangemeld.",
        (S::Cancelled, R::CancelledByCaller) => "U hebt het aanmelden afgebroken.",
        other => panic!("no window for {other:?}"),
    }
    .to_owned()
}

fn question(challenge: &v1::Challenge) -> String {
    match challenge.method() {
        Method::Push => {
            let sent = "Aanmelding goedkeuren. We hebben een melding naar uw mobiele toestel \
                        gestuurd.";
            match challenge.number_to_match.as_str() {
                "" => sent.to_owned(),
                number => format!("{sent} Typ daar het nummer {number}."),
            }
        }
        Method::Sms => texted(challenge.code_delivery.as_ref().unwrap()),
        Method::Totp => "Voer de code van uw authenticator-app in.".to_owned(),
        Method::RecoveryCode => "Voer een van uw herstelcodes in.".to_owned(),
        other => panic!("no window for {other:?}"),
    }
}

/// What a refusal comes to on the page.
pub(super) fn not_yet(status: &Status) -> String {
    let details = status.get_error_details();
    let metadata = |name: &str| details.error_info().unwrap().metadata[name].clone();
    let seconds = || details.retry_info().unwrap().retry_delay.unwrap().as_secs();
    let why = reason(status);
    match (status.code(), why.as_str()) {
        (Code::InvalidArgument, "WRONG_CODE") => {
            let left = metadata("attempts_left");
            format!("De code klopt niet. Pogingen over: {left}.")
        }
        (Code::InvalidArgument, _) => {
            let bad = details.bad_request().unwrap();
            match bad.field_violations[0].field.as_str() {
                "phone_number" => "Dit is geen gsm-nummer waar we een sms naar kunnen sturen.",
                "code" => "Dit is geen code.",
                other => panic!("{other}: {status:?}"),
            }
            .to_owned()
        }
        (Code::AlreadyExists, "NUMBER_KNOWN") => "Dit nummer hebt u al.".to_owned(),
        (Code::ResourceExhausted, _) => {
            format!("Nu even niet. Probeer het over {} s opnieuw.", seconds())
        }
        (Code::FailedPrecondition, "ALREADY_DECIDED") => {
            "Deze aanmelding is voorbij. Meld u opnieuw aan.".to_owned()
        }
        (Code::FailedPrecondition, "NO_SNOOZE") => "Overslaan kan niet meer.".to_owned(),
        (Code::FailedPrecondition, "NOT_BY_POLICY" | "NO_AUTHENTICATOR") => {
            "Op die manier kunt u zich niet aanmelden.".to_owned()
        }
        (Code::NotFound, _) => "Begin opnieuw.".to_owned(),
        other => panic!("{other:?}: {status:?}"),
    }
}

/// A method as in "Mijn aanmeldmethoden".
pub(super) fn named(one: &v1::Authenticator) -> String {
    match one.kind.as_ref().unwrap() {
        Kind::Device(device) => device.display_name.clone(),
        Kind::PhoneNumber(number) if number.confirmed => number.masked_number.clone(),
        Kind::PhoneNumber(number) => format!("{} (niet bevestigd)", number.masked_number),
        Kind::TotpApp(_) => "Authenticator-app".to_owned(),
        Kind::RecoveryCodes(codes) => format!("{} herstelcodes", codes.remaining),
    }
}
