//! A phone in its owner's hand.

use countersign_proto::v1;
use std::collections::VecDeque;

use device_sim::{
    gateway::{Environment, Pushes, Registration, Vendor},
    phone::{EnrollOptions, EnrollmentUri, Phone},
    prompt::{Handset, Paint, Text, Texts, Typed},
};
use jiff::tz::{TimeZone, offset};
use tonic::Code;

use super::{Line, Sheet, Ticket};
use crate::push::{Said, TOPIC, patiently};

/// Columns of its screen.
const COLUMNS: usize = 66;

/// A phone with the app, woken by pushes, in Dutch.
pub struct Toestel {
    line: Line,
    phone: Phone,
    pushes: Pushes,
    handset: Handset,
    /// The push token.
    pub token: String,
    /// The last sentence it showed.
    said: String,
    /// What it told of the account, not looked at yet.
    notices: VecDeque<String>,
}

impl Toestel {
    /// The app scans the QR code. The error is what the app says.
    pub async fn scant(sheet: &Sheet, name: &str, ticket: &Ticket) -> Result<Self, String> {
        let mut uri: EnrollmentUri = ticket.qr.parse().unwrap();
        // A broker keeps its address over a restart; this one does not.
        uri.broker = sheet.line.address();
        Self::enroll(sheet, name, device_sim::phone::Ticket::Uri(uri)).await
    }

    /// "Can't scan?": the code is typed into the app.
    pub async fn typt_code(sheet: &Sheet, name: &str, code: &str) -> Result<Self, String> {
        let ticket = device_sim::phone::Ticket::Code {
            broker: sheet.line.address(),
            code: code.into(),
        };
        Self::enroll(sheet, name, ticket).await
    }

    async fn enroll(
        sheet: &Sheet,
        name: &str,
        ticket: device_sim::phone::Ticket,
    ) -> Result<Self, String> {
        let registration = Registration {
            gateway: Vendor::Apns,
            app_id: TOPIC.into(),
            environment: Environment::Production,
        };
        let gateways = &sheet.world.gateways;
        let token = gateways.issue_token(&registration).unwrap();
        let pushes = gateways.devices().connect(&token).unwrap();
        let mut options = EnrollOptions::new(ticket);
        // No Secure Enclave holds Ed25519.
        options.algorithm = v1::KeyAlgorithm::P256;
        options.platform = v1::Platform::Ios;
        options.language = "nl-BE".into();
        options.display_name = name.into();
        options.now = sheet.line.now.clone();
        options.push = Some(v1::PushRegistration {
            gateway: v1::Gateway::Apns.into(),
            app_id: TOPIC.into(),
            environment: v1::PushEnvironment::Production.into(),
            token: token.clone(),
        });
        let phone = Phone::enroll(options).await.map_err(|error| {
            assert_eq!(error.code(), Some(Code::PermissionDenied), "{error:?}");
            error.reason().unwrap()
        })?;
        let account = [
            ("account", phone.user_id()),
            ("organisation", phone.organisation()),
        ];
        let said = Texts::for_language("nl-BE").with(Text::Enrolled, &account);
        Ok(Self {
            line: sheet.line.clone(),
            // Belgium, in winter.
            handset: Handset::new("nl-BE", TimeZone::fixed(offset(1))),
            phone,
            pushes,
            token,
            said,
            notices: VecDeque::new(),
        })
    }

    /// The phone, which finds the broker wherever it is.
    fn phone(&mut self) -> &Phone {
        if self.phone.broker() != self.line.address() {
            let mut state = self.phone.state().unwrap();
            state.broker = self.line.address();
            self.phone = Phone::from_state(state, self.line.now.clone()).unwrap();
        }
        &self.phone
    }

    async fn pushed(&mut self, kind: &str) {
        patiently(kind, async {
            loop {
                let push = self.pushes.recv().await.expect("the token is dead");
                if Said::of(&push).kind == kind {
                    return;
                }
            }
        })
        .await;
    }

    /// The app asks the broker: what is to be answered is on the screen, and what
    /// is not any more is gone.
    async fn fetch(&mut self) {
        let pending = self.phone().list_pending().await.unwrap();
        assert!(pending.refused.is_empty(), "{:?}", pending.refused);
        let ids: Vec<_> = pending.challenges.iter().map(|one| one.id()).collect();
        let gone = self.handset.keep_only(&ids);
        if !gone.is_empty() {
            self.said = gone.join(" ");
        }
        for notice in &pending.notices {
            self.notices.push_back(self.handset.notice(notice));
        }
        for approval in pending.approved_elsewhere {
            self.said = self.handset.approved_elsewhere(approval.challenge);
        }
        for challenge in pending.challenges {
            let id = challenge.id().to_owned();
            self.handset.offer(challenge);
            self.phone().acknowledge(&id).await.unwrap();
        }
    }

    /// A push wakes it: something is asked.
    pub async fn wordt_wakker(&mut self) {
        self.pushed("challenge").await;
        self.fetch().await;
        assert!(self.handset.current().is_some(), "nothing is asked");
    }

    /// A push takes the prompt away.
    pub async fn vraag_verdwijnt(&mut self) {
        assert!(self.handset.current().is_some(), "nothing is asked");
        self.pushed("withdraw").await;
        self.fetch().await;
        assert!(self.handset.current().is_none(), "still asked");
    }

    /// A push tells that something about the account has changed: this.
    pub async fn meldt(&mut self, expected: &str) {
        while self.notices.is_empty() {
            self.pushed("notice").await;
            self.fetch().await;
        }
        assert_eq!(self.notices.pop_front().unwrap(), expected);
    }

    /// The prompt on the screen is this, without its frame.
    #[track_caller]
    pub fn toont(&self, expected: &str) {
        assert_eq!(self.screen(), expected);
    }

    /// A line of the prompt is this.
    #[track_caller]
    pub fn toont_ook(&self, line: &str) {
        let screen = self.screen();
        assert!(screen.lines().any(|one| one == line), "{screen}");
    }

    fn screen(&self) -> String {
        let card = self.handset.card(COLUMNS, Paint { colour: false });
        let inner = card.iter().filter_map(|line| {
            let line = line.strip_prefix('│')?.strip_suffix('│')?;
            Some(line.trim())
        });
        inner.collect::<Vec<_>>().join("\n")
    }

    /// The last sentence that it showed is this.
    #[track_caller]
    pub fn zegt(&self, expected: &str) {
        assert_eq!(self.said, expected);
    }

    /// Its owner types the number from the sign-in page.
    pub fn typt(&mut self, number: &str) {
        for digit in number.chars() {
            assert_eq!(self.handset.press(digit), Typed::Redraw);
        }
    }

    /// Its owner presses a button. Where a number is wanted first nothing is sent.
    pub async fn drukt_op(&mut self, button: &str) {
        let key = {
            let texts = self.handset.texts();
            let keys = [
                (Text::Approve, Text::KeyApprove),
                (Text::Deny, Text::KeyDeny),
                (Text::NotMe, Text::KeyNotMe),
            ];
            let mut keys = keys.into_iter();
            let found = keys.find(|(label, _)| texts.get(*label) == button);
            texts.key(found.expect("no such button").1)
        };
        let (challenge, told) = match self.handset.press(key) {
            Typed::Answer { challenge, answer } => {
                let phone = self.phone();
                let told = phone.respond(&challenge, answer.decision, &answer.number);
                (challenge.clone(), told.await)
            }
            Typed::Report { challenge } => {
                let told = self.phone().report_later(&challenge).await;
                (challenge, told)
            }
            Typed::Ignored | Typed::Redraw => return,
        };
        self.said = self.handset.answered(challenge.id(), &told);
    }

    /// Wakes, types the number if one is wanted, and approves.
    pub async fn keurt_goed(&mut self, number: &str) {
        self.wordt_wakker().await;
        self.typt(number);
        self.drukt_op("GOEDKEUREN").await;
        self.zegt("Aanmelding goedgekeurd.");
    }

    /// The broker does not know it any more, and nothing can be asked of it.
    pub async fn is_uitgeschakeld(&mut self) {
        let refused = self.phone().list_pending().await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Unauthenticated), "{refused}");
        if let Some(challenge) = self.handset.current().cloned() {
            let phone = self.phone();
            let late = phone.respond(&challenge, v1::Decision::Approve, "").await;
            assert_eq!(late.unwrap_err().code(), Some(Code::Unauthenticated));
        }
    }

    /// Nothing is asked of it.
    pub async fn zwijgt(&mut self) {
        self.fetch().await;
        assert!(self.handset.current().is_none(), "{}", self.screen());
    }
}
