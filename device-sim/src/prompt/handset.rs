//! The phone in the user's hand: prompts come, are answered, withdrawn or
//! expire.

use std::collections::VecDeque;
use std::time::SystemTime;

use countersign_proto::v1::{
    ChallengeState, DecisionReason, Notice, NoticeKind, RespondResponse, Withdrawal,
};
use jiff::tz::TimeZone;

use super::{Answer, Dialog, Paint, Press, Text, Texts, card, plain_text};
use crate::phone::{PhoneError, VerifiedChallenge};

/// What a key did.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// Nothing.
    Ignored,
    /// The prompt looks different now.
    Redraw,
    /// An answer to be sent.
    Answer {
        /// To what.
        challenge: Box<VerifiedChallenge>,
        /// The choice.
        answer: Answer,
    },
    /// "That wasn't me", of something that was approved without this phone.
    Report {
        /// Of what.
        challenge: Box<VerifiedChallenge>,
    },
}

/// The prompts that wait for the user; the oldest is in front.
#[derive(Debug)]
pub struct Handset {
    texts: Texts,
    zone: TimeZone,
    shown: VecDeque<Shown>,
    /// What was last approved without this phone: while no prompt is in front,
    /// the user may say that it wasn't them.
    approved: Option<VerifiedChallenge>,
}

#[derive(Debug)]
struct Shown {
    challenge: VerifiedChallenge,
    dialog: Dialog,
    sending: bool,
}

impl Handset {
    /// A phone that speaks the language of a BCP 47 tag.
    #[must_use]
    pub fn new(language: &str, zone: TimeZone) -> Self {
        Self {
            texts: Texts::for_language(language),
            zone,
            shown: VecDeque::new(),
            approved: None,
        }
    }

    /// The phone's texts.
    #[must_use]
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// A challenge has come; `false` when it is shown already.
    pub fn offer(&mut self, challenge: VerifiedChallenge) -> bool {
        if self.position(challenge.id()).is_some() {
            return false;
        }
        let dialog = Dialog::new(challenge.body().number_digits, &self.texts);
        self.shown.push_back(Shown {
            challenge,
            dialog,
            sending: false,
        });
        true
    }

    /// The prompt in front.
    #[must_use]
    pub fn current(&self) -> Option<&VerifiedChallenge> {
        self.shown.front().map(|shown| &shown.challenge)
    }

    /// Whether there is a prompt for this challenge, in front or behind.
    #[must_use]
    pub fn holds(&self, challenge_id: &str) -> bool {
        self.position(challenge_id).is_some()
    }

    /// A key was pressed.
    pub fn press(&mut self, key: char) -> Typed {
        if self.shown.is_empty()
            && key.to_lowercase().eq([self.texts.key(Text::KeyNotMe)])
            && let Some(challenge) = self.approved.take()
        {
            let challenge = Box::new(challenge);
            return Typed::Report { challenge };
        }
        let Some(shown) = self.shown.front_mut().filter(|shown| !shown.sending) else {
            return Typed::Ignored;
        };
        match shown.dialog.press(key) {
            Press::Ignored => Typed::Ignored,
            Press::Redraw => Typed::Redraw,
            Press::Answer(answer) => {
                shown.sending = true;
                Typed::Answer {
                    challenge: Box::new(shown.challenge.clone()),
                    answer,
                }
            }
        }
    }

    /// The last digit is taken back.
    pub fn backspace(&mut self) -> Typed {
        let Some(shown) = self.shown.front_mut().filter(|shown| !shown.sending) else {
            return Typed::Ignored;
        };
        match shown.dialog.backspace() {
            Press::Redraw => Typed::Redraw,
            Press::Ignored | Press::Answer(_) => Typed::Ignored,
        }
    }

    /// What became of an answer that was sent, in words. A prompt whose answer
    /// did not arrive stays, to be answered again.
    pub fn answered(
        &mut self,
        challenge_id: &str,
        result: &Result<RespondResponse, PhoneError>,
    ) -> String {
        let (gone, words) = match result {
            Ok(response) => (true, self.texts.get(done(response))),
            Err(PhoneError::Expired) => (true, self.texts.get(Text::Expired)),
            Err(error) => match error.ended() {
                Some((state, reason)) => (true, self.texts.get(over(state, reason))),
                None => {
                    let cause = plain_text(&error.to_string());
                    let words = self.texts.with(Text::AnswerFailed, &[("cause", &cause)]);
                    (is_final(error), words)
                }
            },
        };
        if let Some(position) = self.position(challenge_id) {
            if gone {
                self.shown.remove(position);
            } else if let Some(shown) = self.shown.get_mut(position) {
                shown.sending = false;
            }
        }
        words
    }

    /// A prompt is taken away, in words; `None` when it was not shown, or the
    /// user's own answer took it away.
    pub fn withdraw(&mut self, withdrawal: &Withdrawal) -> Option<String> {
        let shown = self.take(&withdrawal.challenge_id)?;
        if shown.sending {
            return None;
        }
        let text = over(withdrawal.state(), withdrawal.reason());
        let words = self.texts.get(text);
        if withdrawal.state() != ChallengeState::Approved {
            return Some(words);
        }
        self.approved = Some(shown.challenge);
        let key = self.texts.get(Text::KeyNotMe);
        let or = self.texts.with(Text::OrNotMe, &[("key", &key)]);
        Some(format!("{words} {or}"))
    }

    /// Something else than this phone approved a challenge, in words.
    pub fn approved_elsewhere(&mut self, challenge: VerifiedChallenge) -> String {
        let context = challenge.body().context.as_ref();
        let application = context.map_or("", |context| &context.application_name);
        let application = plain_text(application);
        let key = self.texts.get(Text::KeyNotMe);
        let arguments = [("application", application.as_str()), ("key", &key)];
        let words = self.texts.with(Text::ApprovedElsewhere, &arguments);
        self.approved = Some(challenge);
        words
    }

    /// What happened to the account, in words.
    #[must_use]
    pub fn notice(&self, notice: &Notice) -> String {
        let text = match notice.kind() {
            NoticeKind::Unspecified => Text::NoticeUnknown,
            NoticeKind::DeviceAdded => Text::NoticeDeviceAdded,
            NoticeKind::DeviceRemoved => Text::NoticeDeviceRemoved,
            NoticeKind::PhoneAdded => Text::NoticePhoneAdded,
            NoticeKind::PhoneRemoved => Text::NoticePhoneRemoved,
            NoticeKind::TotpAdded => Text::NoticeTotpAdded,
            NoticeKind::TotpRemoved => Text::NoticeTotpRemoved,
            NoticeKind::RecoveryCodesCreated => Text::NoticeRecoveryCodesCreated,
            NoticeKind::RecoveryCodesRemoved => Text::NoticeRecoveryCodesRemoved,
            NoticeKind::AccountLocked => Text::NoticeAccountLocked,
            NoticeKind::AccountUnlocked => Text::NoticeAccountUnlocked,
            NoticeKind::AccountReset => Text::NoticeAccountReset,
        };
        let detail = notice.arguments.first().map_or("", String::as_str);
        self.texts.with(text, &[("detail", &plain_text(detail))])
    }

    /// Takes away all prompts that are not among `pending`, in words.
    pub fn keep_only(&mut self, pending: &[&str]) -> Vec<String> {
        let withdrawn = self.texts.get(Text::Withdrawn);
        let before = self.shown.len();
        // One whose answer is on its way may well be gone from the list.
        self.shown
            .retain(|shown| shown.sending || pending.contains(&shown.challenge.id()));
        vec![withdrawn; before - self.shown.len()]
    }

    /// Takes away what has expired, in words.
    pub fn expire(&mut self, now: SystemTime) -> Vec<String> {
        let expired = self.texts.get(Text::Expired);
        let before = self.shown.len();
        self.shown
            .retain(|shown| shown.sending || shown.challenge.expire_time() > now);
        vec![expired; before - self.shown.len()]
    }

    /// When the next prompt expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<SystemTime> {
        let waiting = self.shown.iter().filter(|shown| !shown.sending);
        waiting.map(|shown| shown.challenge.expire_time()).min()
    }

    /// The prompt in front, drawn.
    #[must_use]
    pub fn card(&self, columns: usize, paint: Paint) -> Vec<String> {
        let Some(shown) = self.shown.front() else {
            return Vec::new();
        };
        let sending = shown.sending.then(|| self.texts.get(Text::Sending));
        card(
            &shown.challenge,
            &shown.dialog,
            sending.as_deref(),
            &self.texts,
            &self.zone,
            columns,
            paint,
        )
    }

    fn position(&self, challenge_id: &str) -> Option<usize> {
        self.shown
            .iter()
            .position(|shown| shown.challenge.id() == challenge_id)
    }

    fn take(&mut self, challenge_id: &str) -> Option<Shown> {
        let position = self.position(challenge_id)?;
        self.shown.remove(position)
    }
}

fn done(response: &RespondResponse) -> Text {
    match (response.state(), response.reason()) {
        _ if response.revoked => Text::DoneRevoked,
        (ChallengeState::Approved, _) => Text::DoneApproved,
        (_, DecisionReason::FraudReported) => Text::DoneReported,
        (_, DecisionReason::WrongNumber) => Text::DoneWrongNumber,
        (ChallengeState::Denied, _) => Text::DoneDenied,
        (ChallengeState::Expired, _) => Text::Expired,
        _ => Text::Withdrawn,
    }
}

/// A prompt that ended without this phone.
fn over(state: ChallengeState, reason: DecisionReason) -> Text {
    match (state, reason) {
        (ChallengeState::Expired, _) => Text::Expired,
        (ChallengeState::Approved | ChallengeState::Denied, _) => Text::WithdrawnAnswered,
        (_, DecisionReason::Superseded) => Text::WithdrawnSuperseded,
        _ => Text::Withdrawn,
    }
}

/// Whether the same answer would be refused again. Otherwise it may simply not
/// have arrived, or the phone's clock can be set right.
fn is_final(error: &PhoneError) -> bool {
    use tonic::Code;
    matches!(
        error.code(),
        Some(
            Code::NotFound
                | Code::InvalidArgument
                | Code::Unauthenticated
                | Code::PermissionDenied
                | Code::Unimplemented
        )
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use countersign_proto::v1::Decision;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn handset() -> Handset {
        let mut handset = Handset::new("en", TimeZone::UTC);
        assert!(handset.offer(challenge("c-1", 60)));
        handset
    }

    fn challenge(id: &str, seconds: i64) -> VerifiedChallenge {
        VerifiedChallenge::sample(VerifiedChallenge::sample_body(id, seconds))
    }

    fn withdrawal(state: ChallengeState, reason: DecisionReason) -> Withdrawal {
        Withdrawal {
            challenge_id: "c-1".to_owned(),
            state: state.into(),
            reason: reason.into(),
        }
    }

    fn refused(code: tonic::Code) -> Result<RespondResponse, PhoneError> {
        Err(tonic::Status::new(code, "no").into())
    }

    #[test]
    fn the_oldest_prompt_is_in_front_and_none_comes_twice() {
        let mut handset = handset();
        assert!(!handset.offer(challenge("c-1", 60)));
        assert!(handset.offer(challenge("c-2", 60)));
        assert_eq!(handset.current().map(VerifiedChallenge::id), Some("c-1"));
        assert!(matches!(
            handset.press('a'),
            Typed::Answer { challenge, answer } if challenge.id() == "c-1" && answer.decision == Decision::Approve
        ));
        assert_eq!(handset.press('a'), Typed::Ignored, "one answer at a time");
        let approved = RespondResponse {
            state: ChallengeState::Approved.into(),
            reason: DecisionReason::UserApproved.into(),
            revoked: false,
        };
        assert_eq!(handset.answered("c-1", &Ok(approved)), "Sign-in approved.");
        assert_eq!(handset.current().map(VerifiedChallenge::id), Some("c-2"));
    }

    #[test]
    fn a_withdrawn_prompt_goes_while_the_user_is_typing() {
        let cases = [
            (
                ChallengeState::Approved,
                DecisionReason::UserApproved,
                "answered already",
            ),
            (
                ChallengeState::Cancelled,
                DecisionReason::Superseded,
                "newer one",
            ),
            (
                ChallengeState::Cancelled,
                DecisionReason::CancelledByCaller,
                "withdrawn",
            ),
            (ChallengeState::Expired, DecisionReason::TimedOut, "expired"),
        ];
        for (state, reason, words) in cases {
            let mut handset = handset();
            let said = handset.withdraw(&withdrawal(state, reason));
            assert!(said.is_some_and(|said| said.contains(words)), "{words}");
            assert_eq!(handset.press('a'), Typed::Ignored);
            assert!(handset.card(80, Paint { colour: false }).is_empty());
            assert_eq!(handset.withdraw(&withdrawal(state, reason)), None);
        }
    }

    #[test]
    fn what_was_approved_without_this_phone_can_be_reported_once() {
        let mut handset = handset();
        let approved = withdrawal(ChallengeState::Approved, DecisionReason::UserApproved);
        let said = handset.withdraw(&approved);
        assert!(said.is_some_and(|said| said.ends_with("n = that wasn’t me.")));
        // A prompt in front comes first.
        assert!(handset.offer(challenge("c-2", 60)));
        assert!(
            matches!(handset.press('n'), Typed::Answer { challenge, .. } if challenge.id() == "c-2")
        );
        handset.keep_only(&[]);
        let reported = RespondResponse {
            state: ChallengeState::Denied.into(),
            reason: DecisionReason::FraudReported.into(),
            revoked: false,
        };
        handset.answered("c-2", &Ok(reported));
        assert!(
            matches!(handset.press('N'), Typed::Report { challenge } if challenge.id() == "c-1")
        );
        assert_eq!(handset.press('n'), Typed::Ignored);
        let revoked = RespondResponse {
            state: ChallengeState::Approved.into(),
            reason: DecisionReason::UserApproved.into(),
            revoked: true,
        };
        let said = handset.answered("c-1", &Ok(revoked));
        assert!(said.starts_with("Reported: it wasn’t you."), "{said}");
        let said = handset.approved_elsewhere(challenge("c-3", -60));
        assert!(said.ends_with("n = that wasn’t me."), "{said}");
        assert!(
            matches!(handset.press('n'), Typed::Report { challenge } if challenge.id() == "c-3")
        );
    }

    #[test]
    fn notices_are_told_in_four_languages() {
        let cases = [
            ("en-GB", "The device Tom’s phone can now"),
            ("nl-BE", "Het toestel Tom’s phone kan nu"),
            ("fr-BE", "L’appareil Tom’s phone peut"),
            ("de-BE", "Das Gerät Tom’s phone kann nun"),
        ];
        for (language, words) in cases {
            let notice = Notice {
                kind: NoticeKind::DeviceAdded.into(),
                arguments: vec!["Tom’s\u{a0}phone".to_owned()],
                ..Default::default()
            };
            let said = Handset::new(language, TimeZone::UTC).notice(&notice);
            assert!(said.starts_with(words), "{said}");
        }
    }

    #[test]
    fn the_users_own_answer_is_not_told_as_a_withdrawal() {
        let mut handset = handset();
        assert!(matches!(handset.press('d'), Typed::Answer { .. }));
        let own = withdrawal(ChallengeState::Denied, DecisionReason::UserDenied);
        assert_eq!(handset.withdraw(&own), None);
        let denied = RespondResponse {
            state: ChallengeState::Denied.into(),
            reason: DecisionReason::UserDenied.into(),
            revoked: false,
        };
        assert_eq!(handset.answered("c-1", &Ok(denied)), "Sign-in denied.");
    }

    #[test]
    fn an_answer_that_did_not_arrive_can_be_given_again() {
        let mut handset = handset();
        assert!(matches!(handset.press('a'), Typed::Answer { .. }));
        let said = handset.answered("c-1", &refused(tonic::Code::Unavailable));
        assert!(said.contains("did not arrive"), "{said}");
        assert!(matches!(handset.press('d'), Typed::Answer { .. }));
        handset.answered("c-1", &refused(tonic::Code::PermissionDenied));
        assert!(handset.current().is_none());
    }

    #[test]
    fn an_answer_that_came_too_late_is_told_how_it_ended() {
        let cases = [
            ("EXPIRED", "TIMED_OUT", "expired"),
            ("APPROVED", "USER_APPROVED", "answered already"),
            ("CANCELLED", "SUPERSEDED", "newer one"),
        ];
        for (state, reason, words) in cases {
            let mut handset = handset();
            assert!(matches!(handset.press('a'), Typed::Answer { .. }));
            let metadata = [
                ("state".to_owned(), format!("CHALLENGE_STATE_{state}")),
                (
                    "decision_reason".to_owned(),
                    format!("DECISION_REASON_{reason}"),
                ),
            ];
            let details = ErrorDetails::with_error_info("ALREADY_DECIDED", "countersign", metadata);
            let status =
                tonic::Status::with_error_details(tonic::Code::FailedPrecondition, "no", details);
            let said = handset.answered("c-1", &Err(status.into()));
            assert!(said.contains(words), "{said}");
            assert!(handset.current().is_none());
        }
    }

    #[test]
    fn prompts_expire_by_the_clock_and_by_the_list() {
        let mut handset = handset();
        handset.offer(challenge("c-2", 30));
        let Some(first) = handset.next_expiry() else {
            return assert!(handset.next_expiry().is_some());
        };
        assert!(handset.expire(first - Duration::from_secs(1)).is_empty());
        assert_eq!(handset.expire(first).len(), 1);
        assert_eq!(handset.current().map(VerifiedChallenge::id), Some("c-1"));
        assert!(handset.keep_only(&["c-1"]).is_empty());
        assert_eq!(handset.keep_only(&[]).len(), 1);
        assert!(handset.next_expiry().is_none());
    }
}
