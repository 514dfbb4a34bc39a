//! The sign-in page in one browser.

use countersign_proto::v1::{self, EnrollmentState as E, Method, NextStep as N};

use super::{
    Line,
    events::Events,
    window::{LOCKED, more_information, named, not_yet, texted, window},
};
use crate::{codes::App, in_time, sign_in};

/// The longest wait that the broker allows.
const LONGEST: prost_types::Duration = prost_types::Duration {
    seconds: 300,
    nanos: 0,
};

/// What "mobile app" shows.
pub struct Ticket {
    /// What the QR code says.
    pub qr: String,
    /// Under "can't scan?".
    pub code: String,
    id: String,
}

/// The page of one user's browser.
pub struct Page {
    line: Line,
    user: String,
    text: String,
    challenge: Option<v1::Challenge>,
    cookie: String,
    /// What is being added.
    unproven: String,
}

impl Page {
    pub(super) fn open(line: Line, user: &str) -> Self {
        Self {
            line,
            user: user.into(),
            text: String::new(),
            challenge: None,
            cookie: String::new(),
            unproven: String::new(),
        }
    }

    /// The page shows this.
    #[track_caller]
    pub fn toont(&self, expected: &str) {
        assert_eq!(self.text, expected);
    }

    /// The number that it shows.
    #[must_use]
    pub fn nummer(&self) -> String {
        let challenge = self.challenge.as_ref().expect("no sign-in");
        challenge.number_to_match.clone()
    }

    /// A user name and the right password are typed.
    pub async fn meldt_aan(&mut self) {
        self.sign_in(false).await;
    }

    /// The same with the box "niet meer vragen op dit toestel" ticked.
    pub async fn meldt_aan_met_vinkje(&mut self) {
        self.sign_in(true).await;
    }

    /// Somebody carried the cookie off to another browser.
    #[must_use]
    pub fn kopie(&self) -> Self {
        Self {
            cookie: self.cookie.clone(),
            ..Self::open(self.line.clone(), &self.user)
        }
    }

    async fn sign_in(&mut self, remember_browser: bool) {
        self.challenge = None;
        let request = v1::GetSignInOptionsRequest {
            user_id: self.user.clone(),
            browser_token: self.cookie.clone(),
        };
        let mut approvals = self.line.approvals();
        let options = approvals.get_sign_in_options(request).await;
        let options = options.unwrap().into_inner();
        match options.next_step() {
            N::NothingToAsk => self.text = "U bent aangemeld.".into(),
            N::Locked => self.text = LOCKED.into(),
            N::AskServiceDesk => self.text = "Neem contact op met uw servicedesk.".into(),
            N::Enroll | N::EnrollOrSnooze => self.text = more_information(&options),
            N::Approve | N::EnterCode | N::Remembered => {
                let mut request = v1::CreateChallengeRequest {
                    browser_token: self.cookie.clone(),
                    remember_browser,
                    ..sign_in(&self.user)
                };
                // Recovery codes are asked for by name only.
                if options.methods[0].method() == Method::RecoveryCode {
                    request.method = Method::RecoveryCode.into();
                }
                match approvals.create_challenge(request).await {
                    Ok(made) => self.show(made.into_inner().challenge.unwrap()),
                    Err(status) => self.text = not_yet(&status),
                }
            }
            N::Unspecified => panic!("{options:?}"),
        }
    }

    fn show(&mut self, challenge: v1::Challenge) {
        self.text = window(&challenge);
        if !challenge.remembered_browser_token.is_empty() {
            self.cookie.clone_from(&challenge.remembered_browser_token);
        }
        self.challenge = Some(challenge);
    }

    fn id(&self) -> String {
        let challenge = self.challenge.as_ref().expect("no sign-in");
        challenge.challenge_id.clone()
    }

    /// The challenge as it is now.
    pub async fn challenge(&self) -> v1::Challenge {
        let request = v1::GetChallengeRequest {
            challenge_id: self.id(),
        };
        let got = self.line.approvals().get_challenge(request).await;
        got.unwrap().into_inner().challenge.unwrap()
    }

    /// Nobody touches it: it goes on by itself when something has changed.
    pub async fn gaat_verder(&mut self) {
        let request = v1::WaitChallengeRequest {
            challenge_id: self.id(),
            timeout: Some(LONGEST),
            known_method: self.challenge.as_ref().unwrap().method,
        };
        let mut approvals = self.line.approvals();
        let waited = in_time(approvals.wait_challenge(request)).await;
        self.show(waited.unwrap().into_inner().challenge.unwrap());
    }

    /// It was signed in already, and what happens in the organisation is followed:
    /// a device took the approval back.
    pub async fn wordt_afgemeld(&mut self, events: &mut Events) {
        let revoked = events.until(v1::EventType::Revoked, &self.id()).await;
        let challenge = self.challenge().await;
        let by = challenge.revocation.expect("not revoked");
        assert_eq!(by.device_id, revoked.device_id);
        self.text = "U bent afgemeld: op een toestel is gemeld dat u dit niet was.".into();
    }

    /// "Lukt het niet? Meld u op een andere manier aan."
    pub async fn kiest(&mut self, method: Method) {
        let request = v1::SendCodeRequest {
            challenge_id: self.id(),
            method: method.into(),
        };
        match self.line.approvals().send_code(request).await {
            Ok(sent) => self.show(sent.into_inner().challenge.unwrap()),
            Err(status) => self.text = not_yet(&status),
        }
    }

    /// A code is typed.
    pub async fn typt(&mut self, code: &str) {
        let request = v1::VerifyCodeRequest {
            challenge_id: self.id(),
            code: code.into(),
        };
        match self.line.approvals().verify_code(request).await {
            Ok(verified) => self.show(verified.into_inner().challenge.unwrap()),
            Err(status) => self.text = not_yet(&status),
        }
    }

    /// "Nu overslaan."
    pub async fn slaat_over(&mut self) {
        let request = v1::SnoozeEnrollmentRequest {
            user_id: self.user.clone(),
        };
        let mut enrollments = self.line.enrollments();
        self.text = match enrollments.snooze_enrollment(request).await {
            Ok(_) => "U bent aangemeld.".into(),
            Err(status) => not_yet(&status),
        };
    }

    /// "Mobiele app": a QR code and, under it, a code to type.
    pub async fn kiest_mobiele_app(&mut self) -> Ticket {
        let request = v1::CreateEnrollmentRequest {
            user_id: self.user.clone(),
            ttl: None,
        };
        let mut enrollments = self.line.enrollments();
        let made = enrollments.create_enrollment(request).await.unwrap();
        let made = made.into_inner();
        assert!(made.qr_svg.starts_with("<svg") || made.qr_svg.contains("<svg"));
        self.text = "Scan de QR-code met de app. Lukt dat niet? Typ de code over.".into();
        Ticket {
            qr: made.enrollment_uri,
            code: made.manual_code,
            id: made.enrollment_id,
        }
    }

    /// It goes on by itself when the app has scanned the code, or can't any more.
    pub async fn wacht_op_app(&mut self, ticket: &Ticket) {
        let request = v1::WaitEnrollmentRequest {
            enrollment_id: ticket.id.clone(),
            timeout: Some(LONGEST),
        };
        let mut enrollments = self.line.enrollments();
        let waited = in_time(enrollments.wait_enrollment(request)).await;
        let waited = waited.unwrap().into_inner();
        self.text = match waited.state() {
            E::Redeemed => format!(
                "De app is toegevoegd: {}.",
                named(&waited.authenticator.unwrap())
            ),
            E::Expired => "De QR-code is verlopen.".into(),
            E::Replaced => "De QR-code is vervangen door een nieuwere.".into(),
            E::Locked => "De code is te vaak verkeerd getypt.".into(),
            E::Open | E::Unspecified => panic!("{waited:?}"),
        };
    }

    /// "Telefoon voor authenticatie": a number is typed.
    pub async fn kiest_telefoon(&mut self, number: &str) {
        let request = v1::AddPhoneRequest {
            user_id: self.user.clone(),
            phone_number: number.into(),
            language: String::new(),
        };
        let mut enrollments = self.line.enrollments();
        self.text = match enrollments.add_phone(request).await {
            Ok(added) => {
                let added = added.into_inner();
                self.unproven = added.authenticator.unwrap().authenticator_id;
                texted(&added.code_delivery.unwrap())
            }
            Err(status) => not_yet(&status),
        };
    }

    /// The code that proves the number is typed.
    pub async fn bevestigt_telefoon(&mut self, code: &str) {
        let request = v1::ConfirmPhoneRequest {
            user_id: self.user.clone(),
            authenticator_id: self.unproven.clone(),
            code: code.into(),
        };
        let mut enrollments = self.line.enrollments();
        self.text = match enrollments.confirm_phone(request).await {
            Ok(done) => format!(
                "Het nummer {} is toegevoegd.",
                named(&done.into_inner().authenticator.unwrap())
            ),
            Err(status) => not_yet(&status),
        };
    }

    /// "Authenticator-app": its QR code is scanned and its first code typed.
    pub async fn kiest_authenticator_app(&mut self, code_at: impl Fn(&App) -> String) -> App {
        let request = v1::AddTotpRequest {
            user_id: self.user.clone(),
            account_name: String::new(),
        };
        let mut enrollments = self.line.enrollments();
        let added = enrollments.add_totp(request).await.unwrap().into_inner();
        let id = added.authenticator.unwrap().authenticator_id;
        let app = App::scan(&id, &added.otpauth_uri);
        let request = v1::ConfirmTotpRequest {
            user_id: self.user.clone(),
            authenticator_id: id,
            code: code_at(&app),
        };
        enrollments.confirm_totp(request).await.unwrap();
        self.text = "De authenticator-app is toegevoegd.".into();
        app
    }

    /// Ten codes to be printed.
    pub async fn drukt_herstelcodes_af(&mut self) -> Vec<String> {
        let request = v1::CreateRecoveryCodesRequest {
            user_id: self.user.clone(),
        };
        let mut enrollments = self.line.enrollments();
        let made = enrollments.create_recovery_codes(request).await.unwrap();
        made.into_inner().codes
    }

    /// "Mijn aanmeldmethoden".
    pub async fn methoden(&self) -> Vec<String> {
        self.authenticators().await.iter().map(named).collect()
    }

    async fn authenticators(&self) -> Vec<v1::Authenticator> {
        let request = v1::ListAuthenticatorsRequest {
            user_id: self.user.clone(),
        };
        let listed = self.line.enrollments().list_authenticators(request).await;
        listed.unwrap().into_inner().authenticators
    }

    /// "Verwijderen", beside a method.
    pub async fn verwijdert(&mut self, name: &str) {
        let listed = self.authenticators().await;
        let found = listed.iter().find(|one| named(one) == name);
        let request = v1::RemoveAuthenticatorRequest {
            user_id: self.user.clone(),
            authenticator_id: found.expect("no such method").authenticator_id.clone(),
        };
        let mut enrollments = self.line.enrollments();
        enrollments.remove_authenticator(request).await.unwrap();
    }

    /// "Vergeet mijn browsers."
    pub async fn vergeet_browsers(&mut self) {
        let request = v1::ForgetBrowsersRequest {
            user_id: self.user.clone(),
        };
        let forgotten = self.line.enrollments().forget_browsers(request).await;
        self.text = match forgotten.unwrap().into_inner().forgotten {
            0 => "Er waren geen browsers om te vergeten.".into(),
            n => format!("Browsers vergeten: {n}."),
        };
    }

    /// The browser is closed before there was an answer.
    pub async fn geeft_op(&mut self) {
        let request = v1::CancelChallengeRequest {
            challenge_id: self.id(),
        };
        let ended = self.line.approvals().cancel_challenge(request).await;
        self.show(ended.unwrap().into_inner().challenge.unwrap());
    }
}
