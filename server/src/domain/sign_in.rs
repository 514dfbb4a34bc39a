//! What a sign-in page has to show next, after the password.

use super::{
    account::{Account, LockReason},
    browser::Standing,
    challenge::Method,
    code::CodeRefusal,
    policy::Policy,
    time::Timestamp,
};

/// What the page has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing: nobody asks this user for a second factor.
    NothingToAsk,
    /// "More information required": the user has to register something.
    Enroll,
    /// The same, but it may be put off.
    EnrollOrSnooze {
        /// How often, this time included.
        left: u32,
        /// Not after this.
        until: Option<Timestamp>,
    },
    /// "Approve sign in request".
    Approve,
    /// "Please enter the code".
    EnterCode,
    /// Nothing: the browser is remembered, and a challenge with its token is
    /// approved at once.
    Remembered,
    /// Nobody signs in to this account.
    Locked(LockReason),
    /// What the user has registered is not allowed any more.
    AskServiceDesk,
}

/// A way of answering that the user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub method: Method,
    /// Of SMS: where the code goes, masked.
    pub masked: String,
    /// Of push: the phones' names.
    pub devices: Vec<String>,
    /// It can be had now. Otherwise, where time heals it, from `available_time`.
    pub available: bool,
    /// See `available`.
    pub available_time: Option<Timestamp>,
}

/// Something to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolmentChoice {
    /// The mobile app.
    MobileApp,
    /// A number for codes by text message.
    AuthenticationPhone,
    /// An authenticator app (RFC 6238).
    TotpApp,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInOptions {
    /// What the page has to show.
    pub next_step: NextStep,
    /// What the user can answer with. First what a challenge without a method
    /// asks by; recovery codes it asks for only when told to.
    pub offers: Vec<Offer>,
    /// What the user can register, the recommended one first.
    pub choices: Vec<EnrolmentChoice>,
}

/// What is known beside policy and account.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The user's phones: name, and whether a prompt can reach it.
    pub devices: Vec<(String, bool)>,
    /// A gateway for text messages is configured.
    pub can_text: bool,
    /// What the browser's token is worth; none without one.
    pub browser: Option<Standing>,
}

/// Methods in the order in which a challenge tries them, recovery codes last: it
/// asks for those only when told to.
#[must_use]
pub fn order(recommended: Method) -> Vec<Method> {
    let mut all = vec![recommended];
    for method in [
        Method::Push,
        Method::Sms,
        Method::Totp,
        Method::RecoveryCode,
    ] {
        if method != recommended {
            all.push(method);
        }
    }
    all
}

/// What a sign-in page has to show next. A user of whom nothing is known is one
/// who has registered nothing.
#[must_use]
pub fn options(
    account: &Account,
    around: &Surroundings,
    rules: &Policy,
    now: Timestamp,
) -> SignInOptions {
    let only = |next_step| SignInOptions {
        next_step,
        offers: Vec::new(),
        choices: Vec::new(),
    };
    if let Some(lock) = account.lock {
        return only(NextStep::Locked(lock.reason));
    }
    if !account.is_enforced(&rules.enrolment, now) {
        return only(NextStep::NothingToAsk);
    }
    let offers = offers(account, around, rules, now);
    let remembered = around.browser == Some(Standing::Approves);
    let next_step = match offers.first() {
        _ if remembered => NextStep::Remembered,
        Some(first) if first.method == Method::Push => NextStep::Approve,
        Some(_) => NextStep::EnterCode,
        // Whoever has registered something is never sent to register something
        // else for want of it: a thief of the password would be.
        None if !around.devices.is_empty() || account.has_registered() => {
            return only(NextStep::AskServiceDesk);
        }
        None => {
            return SignInOptions {
                next_step: enroll(account, rules, now),
                offers,
                choices: choices(around, rules),
            };
        }
    };
    SignInOptions {
        next_step,
        offers,
        choices: Vec::new(),
    }
}

fn enroll(account: &Account, rules: &Policy, now: Timestamp) -> NextStep {
    match account.snoozes_left(&rules.enrolment, now) {
        Some(left) => NextStep::EnrollOrSnooze {
            left,
            until: rules.enrolment.snooze_until,
        },
        None => NextStep::Enroll,
    }
}

/// What the user has and policy allows, what is out of order for a while
/// included.
fn offers(account: &Account, around: &Surroundings, rules: &Policy, now: Timestamp) -> Vec<Offer> {
    let mut found: Vec<(bool, Offer)> = order(rules.methods.recommended)
        .into_iter()
        .filter_map(|method| {
            let mut masked = String::new();
            let mut devices = Vec::new();
            let reached = match method {
                Method::Push if rules.methods.push && !around.devices.is_empty() => {
                    devices = around
                        .devices
                        .iter()
                        .map(|(name, _)| name.clone())
                        .collect();
                    around.devices.iter().any(|(_, reached)| *reached)
                }
                Method::Push => return None,
                Method::Sms | Method::Totp | Method::RecoveryCode | Method::RememberedBrowser => {
                    if !account.can_answer_by(method, rules) {
                        return None;
                    }
                    if method == Method::Sms {
                        masked = account.phone_for_codes(&rules.sms)?.masked.clone();
                    }
                    method != Method::Sms || around.can_text
                }
            };
            let available_time = if reached {
                wait(account, method, rules, now)
            } else {
                None
            };
            let offer = Offer {
                method,
                masked,
                devices,
                available: reached && available_time.is_none(),
                available_time,
            };
            Some((reached, offer))
        })
        .collect();
    // As a challenge without a method chooses.
    found.sort_by_key(|(reached, offer)| (!reached, offer.method == Method::RecoveryCode));
    found.into_iter().map(|(_, offer)| offer).collect()
}

/// Until when the user is not asked this way.
fn wait(account: &Account, method: Method, rules: &Policy, now: Timestamp) -> Option<Timestamp> {
    let refusal = match method {
        Method::Push => account.clone().admit_prompt(&rules.fatigue, now).err(),
        Method::Sms => account.admit_code(now).err(),
        Method::Totp | Method::RecoveryCode | Method::RememberedBrowser => None,
    };
    let asked = match refusal {
        Some(CodeRefusal::PromptBudget(until) | CodeRefusal::CoolOff(until)) => Some(until),
        _ => None,
    };
    let guesses = (method != Method::Push).then_some(account.no_guess_before);
    asked.max(guesses).filter(|until| now < *until)
}

fn choices(around: &Surroundings, rules: &Policy) -> Vec<EnrolmentChoice> {
    let methods = &rules.methods;
    let text = methods.sms && around.can_text && !rules.sms.countries.is_empty();
    order(methods.recommended)
        .into_iter()
        .filter_map(|method| match method {
            Method::Push if methods.push => Some(EnrolmentChoice::MobileApp),
            Method::Sms if text => Some(EnrolmentChoice::AuthenticationPhone),
            Method::Totp if methods.totp => Some(EnrolmentChoice::TotpApp),
            Method::Push
            | Method::Sms
            | Method::Totp
            | Method::RecoveryCode
            | Method::RememberedBrowser => None,
        })
        .collect()
}

#[cfg(test)]
#[path = "sign_in_tests.rs"]
mod tests;
