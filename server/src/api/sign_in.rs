//! What a sign-in page has to show next: that part of `ApprovalService`.

use countersign_proto::v1;

use super::convert;
use crate::domain::{
    body::timestamp,
    sign_in::{EnrolmentChoice, NextStep, Offer, SignInOptions},
};

pub(super) fn options(options: &SignInOptions) -> v1::GetSignInOptionsResponse {
    let (snoozes_left, snooze_until) = match options.next_step {
        NextStep::EnrollOrSnooze { left, until } => (left, until),
        _ => (0, None),
    };
    v1::GetSignInOptionsResponse {
        next_step: match options.next_step {
            NextStep::NothingToAsk => v1::NextStep::NothingToAsk,
            NextStep::Enroll => v1::NextStep::Enroll,
            NextStep::EnrollOrSnooze { .. } => v1::NextStep::EnrollOrSnooze,
            NextStep::Approve => v1::NextStep::Approve,
            NextStep::EnterCode => v1::NextStep::EnterCode,
            NextStep::Remembered => v1::NextStep::Remembered,
            NextStep::Locked(_) => v1::NextStep::Locked,
            NextStep::AskServiceDesk => v1::NextStep::AskServiceDesk,
        }
        .into(),
        methods: options.offers.iter().map(offer).collect(),
        enrollment_choices: options
            .choices
            .iter()
            .map(|choice| choose(*choice).into())
            .collect(),
        snoozes_left,
        snooze_until: snooze_until.map(timestamp),
    }
}

fn offer(offer: &Offer) -> v1::SignInMethod {
    v1::SignInMethod {
        method: convert::method(offer.method).into(),
        masked_destination: offer.masked.clone(),
        device_names: offer.devices.clone(),
        available: offer.available,
        available_time: offer.available_time.map(timestamp),
    }
}

fn choose(choice: EnrolmentChoice) -> v1::EnrollmentChoice {
    match choice {
        EnrolmentChoice::MobileApp => v1::EnrollmentChoice::MobileApp,
        EnrolmentChoice::AuthenticationPhone => v1::EnrollmentChoice::AuthenticationPhone,
        EnrolmentChoice::TotpApp => v1::EnrollmentChoice::TotpApp,
    }
}
