//! One question and its one decision: the state machine.

use std::time::Duration;

use super::{
    account::{Account, Checked},
    api_key::ApiKeyId,
    browser::Remembering,
    code::{CodeOrder, CodeRefusal, Codes, Guess, SentCode},
    device::{KeyProtection, PushGateway},
    ids::{AuthenticatorId, BrowserId, ChallengeId, DeviceId, TenantId, UserId},
    policy::{MAX_CHALLENGE_TTL, Policy},
    response::{Answer, Choice},
    risk::{Origin, Risk},
    time::Timestamp,
};

/// How the user is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A signed challenge on registered devices.
    Push,
    /// A code by text message.
    Sms,
    /// A code from an authenticator app.
    Totp,
    /// A recovery code.
    RecoveryCode,
    /// A browser remembered from an earlier approval.
    RememberedBrowser,
}

impl Method {
    /// Its name in the contract, without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Push => "PUSH",
            Self::Sms => "SMS",
            Self::Totp => "TOTP",
            Self::RecoveryCode => "RECOVERY_CODE",
            Self::RememberedBrowser => "REMEMBERED_BROWSER",
        }
    }
}

/// The road by which a prompt travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// A push service.
    Push(PushGateway),
    /// An open stream, or the app asking by itself.
    Subscribe,
    /// A text message.
    Sms,
}

/// How far a prompt has come, in this order; it never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryState {
    /// Stored, to be handed to the gateway.
    Queued,
    /// It can't be delivered by this road. A phone may still fetch by itself.
    Failed,
    /// The gateway took it.
    Accepted,
    /// The app has the signed challenge; the network delivered the text.
    Fetched,
    /// The user sees it.
    Shown,
    /// The device answered.
    Answered,
}

/// A prompt on its way to one device, or a code to one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// To which device; of a text message: the id of the number.
    pub device: DeviceId,
    /// By which road.
    pub road: Road,
    /// How far.
    pub state: DeliveryState,
    /// With `Failed`: why.
    pub reason: String,
    /// When the state was reached.
    pub update_time: Timestamp,
    /// A gateway took the prompt, or may have taken it: it can be on a screen.
    pub pushed: bool,
}

/// Bytes kept of what a gateway says: ten devices and an answer must fit in
/// one stored value.
const MAX_REASON: usize = 128;

impl Delivery {
    /// Takes note of progress. Returns whether anything changed: what comes
    /// late or twice changes nothing.
    pub fn advance(&mut self, state: DeliveryState, reason: &str, now: Timestamp) -> bool {
        // A network says late that it could not deliver a text.
        let undelivered = self.road == Road::Sms
            && state == DeliveryState::Failed
            && self.state == DeliveryState::Accepted;
        if state <= self.state && !undelivered {
            return false;
        }
        self.state = state;
        let kept = reason.floor_char_boundary(MAX_REASON);
        self.reason = reason.get(..kept).unwrap_or_default().to_owned();
        self.update_time = now;
        true
    }

    /// The prompt sets out once more: a phone that had it may have put it away,
    /// and what was fetched is not pushed.
    pub fn start_again(&mut self, now: Timestamp) {
        self.state = DeliveryState::Queued;
        self.reason.clear();
        self.update_time = now;
    }
}

/// The four ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Final {
    /// The sign-in may go on.
    Approved,
    /// It may not.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// Withdrawn before an answer came.
    Cancelled,
}

/// Why a challenge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Approved on a device.
    UserApproved,
    /// Denied on a device.
    UserDenied,
    /// "That wasn't me".
    FraudReported,
    /// The number typed was wrong.
    WrongNumber,
    /// A newer challenge took its place.
    Superseded,
    /// Nobody can be asked.
    Unreachable,
    /// Nobody answered in time.
    TimedOut,
    /// The identity provider gave up.
    CancelledByCaller,
    /// A code typed on the sign-in page was right.
    CodeVerified,
    /// Too many wrong codes.
    TooManyAttempts,
    /// The account is locked.
    LockedOut,
    /// The browser was remembered from an earlier approval.
    RememberedBrowser,
    /// Policy decided without asking.
    Policy,
}

/// How a challenge ended. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The end.
    pub state: Final,
    /// Why.
    pub reason: Reason,
    /// When.
    pub decide_time: Timestamp,
    /// The device's answer that decided, if one did.
    pub proof: Option<DeviceProof>,
    /// Of which authenticator a code decided, if one did.
    pub authenticator: Option<AuthenticatorId>,
    /// The broker's key that signs the receipt.
    pub receipt_key_id: String,
}

/// The deciding answer as received, and the key that verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProof {
    /// Which device.
    pub device: DeviceId,
    /// Its `ResponseBody` as received.
    pub body: Vec<u8>,
    /// Its signature.
    pub signature: Vec<u8>,
    /// Its key at that moment.
    pub public_key: countersign_proto::signing::PublicKey,
    /// Where that key lives.
    pub key_protection: KeyProtection,
    /// How the owner was verified.
    pub user_verification: super::response::UserVerification,
}

/// One question, "is this sign-in yours?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// Of which organisation.
    pub tenant: TenantId,
    /// Whose sign-in.
    pub user: UserId,
    /// Who asked: the receipt's audience.
    pub api_key: ApiKeyId,
    /// How the user is being asked, or gave the deciding answer.
    pub method: Method,
    /// What the sign-in page shows and the user types; empty for none.
    pub number: String,
    /// When it was issued.
    pub create_time: Timestamp,
    /// When it ends by itself.
    pub expire_time: Timestamp,
    /// Until when phones may approve: what they were told, in what was signed. A
    /// code that was asked for lets the challenge live longer.
    pub prompt_expire_time: Timestamp,
    /// When silence, or nobody within reach, turns into a text message; none:
    /// never, or it has.
    pub fallback_time: Option<Timestamp>,
    /// Codes by text message, and all wrong codes.
    pub codes: Codes,
    /// Opaque name of its prompt at the gateways.
    pub collapse_id: String,
    /// One per device and number asked.
    pub deliveries: Vec<Delivery>,
    /// How it ended; none while pending.
    pub outcome: Option<Outcome>,
    /// What it has to do with remembered browsers.
    pub remembering: Remembering,
    /// Where it comes from.
    pub origin: Origin,
    /// What was out of the ordinary about it.
    pub risks: Vec<Risk>,
}

/// What was signed, as sent to phones. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBody {
    /// A serialized `ChallengeBody`.
    pub body: Vec<u8>,
    /// The key that signed.
    pub key_id: String,
    /// 64 bytes.
    pub signature: Vec<u8>,
}

/// Something that may end a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device answered; its signature was verified.
    Answer(Box<Answer>),
    /// Its time may be up.
    Tick,
    /// The identity provider gives up.
    Cancel,
    /// A newer challenge takes its place.
    Supersede,
    /// A device or number it was sent to is gone.
    DeviceGone(DeviceId),
    /// The account was locked.
    LockOut,
    /// No device that was asked has a stream open.
    NobodyListens,
    /// Everything the user could answer with was taken away.
    NothingLeft,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This event decided.
    Recorded,
    /// The time was up before this event: that is now the decision.
    Expired,
    /// Decided earlier; nothing changed.
    AlreadyDecided,
    /// Still pending; the outcome is untouched.
    Pending,
    /// The answering device was not asked; nothing changed.
    NotAsked,
    /// Too late for an approval on a phone; nothing changed.
    PromptExpired,
}

impl Challenge {
    /// Whether nobody has decided yet and there is still time.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.outcome.is_none() && now < self.expire_time
    }

    /// Time left.
    #[must_use]
    pub fn time_left(&self, now: Timestamp) -> Duration {
        self.expire_time.since(now)
    }

    /// The prompt's way to `device`, if it was asked.
    pub fn delivery_mut(&mut self, device: DeviceId) -> Option<&mut Delivery> {
        self.deliveries
            .iter_mut()
            .find(|delivery| delivery.device == device)
    }

    /// Whether `device` (or, of a text message, the number) was asked or sent a
    /// code that still counts.
    #[must_use]
    pub fn depends_on(&self, device: DeviceId) -> bool {
        self.deliveries
            .iter()
            .any(|delivery| delivery.device == device)
            || self
                .codes
                .sent
                .as_ref()
                .is_some_and(|sent| sent.phone.as_bytes() == device.as_bytes())
    }

    /// Whether every prompt and text has failed, for certain, and no other way of
    /// answering was chosen.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self.method, Method::Push | Method::Sms)
            && self
                .deliveries
                .iter()
                .all(|delivery| delivery.state == DeliveryState::Failed && !delivery.pushed)
    }

    /// Takes an event in. The first that ends the challenge decides; whatever
    /// comes later, in whatever order and however often, changes nothing.
    /// `receipt_key_id` is the key that will sign the receipt.
    pub fn apply(&mut self, event: Event, now: Timestamp, receipt_key_id: &str) -> Verdict {
        if self.outcome.is_some() {
            return Verdict::AlreadyDecided;
        }
        if now >= self.expire_time {
            self.end(Final::Expired, Reason::TimedOut, now, receipt_key_id);
            return match event {
                Event::Tick => Verdict::Recorded,
                Event::Answer(_)
                | Event::Cancel
                | Event::Supersede
                | Event::DeviceGone(_)
                | Event::LockOut
                | Event::NobodyListens
                | Event::NothingLeft => Verdict::Expired,
            };
        }
        match event {
            Event::Tick => Verdict::Pending,
            Event::Cancel => {
                let reason = Reason::CancelledByCaller;
                self.end(Final::Cancelled, reason, now, receipt_key_id);
                Verdict::Recorded
            }
            Event::Supersede => {
                self.end(Final::Cancelled, Reason::Superseded, now, receipt_key_id);
                Verdict::Recorded
            }
            Event::LockOut => {
                self.end(Final::Denied, Reason::LockedOut, now, receipt_key_id);
                Verdict::Recorded
            }
            Event::DeviceGone(device) => {
                self.forget_device(device);
                if !self.deliveries.is_empty() || !matches!(self.method, Method::Push | Method::Sms)
                {
                    return Verdict::Pending;
                }
                self.nobody_left(now, receipt_key_id)
            }
            Event::NothingLeft => {
                self.deliveries.clear();
                self.codes.sent = None;
                self.fallback_time = None;
                self.end(Final::Denied, Reason::Unreachable, now, receipt_key_id);
                Verdict::Recorded
            }
            // A page that is told at once can offer another way at once. The
            // price: a user who would have opened the app unasked, within the
            // challenge's time, must sign in again. So it ends only when every
            // prompt has certainly failed: not while one may be on a screen,
            // nor while a phone without push, whose app asks by itself, is among
            // those asked.
            Event::NobodyListens => {
                if self.is_out_of_reach() {
                    return self.nobody_left(now, receipt_key_id);
                }
                Verdict::Pending
            }
            Event::Answer(answer) => {
                if !self
                    .deliveries
                    .iter()
                    .any(|d| d.device == answer.proof.device)
                {
                    return Verdict::NotAsked;
                }
                // A late "no" still counts; a late "yes" was given to a prompt
                // that said it was over.
                if answer.choice == Choice::Approve && now >= self.prompt_expire_time {
                    return Verdict::PromptExpired;
                }
                let (state, reason) = match answer.choice {
                    Choice::Deny => (Final::Denied, Reason::UserDenied),
                    Choice::ReportFraud => (Final::Denied, Reason::FraudReported),
                    // Only here, in `guess` and in `approve_remembered` can an
                    // approval arise.
                    Choice::Approve if answer.number == self.number => {
                        (Final::Approved, Reason::UserApproved)
                    }
                    Choice::Approve => (Final::Denied, Reason::WrongNumber),
                };
                let device = answer.proof.device;
                self.end(state, reason, now, receipt_key_id);
                self.method = Method::Push;
                if let Some(outcome) = &mut self.outcome {
                    outcome.proof = Some(answer.proof);
                }
                if let Some(delivery) = self.delivery_mut(device) {
                    delivery.advance(DeliveryState::Answered, "", now);
                }
                Verdict::Recorded
            }
        }
    }
}

/// What became of a typed code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuessVerdict {
    /// It was right: that is the decision.
    Right,
    /// It was wrong. The challenge may have ended with it.
    Wrong,
    /// Nothing was compared, and nothing will be before this time.
    Wait(Timestamp),
    /// The account is locked: that is now the decision.
    Locked,
    /// The time was up before: that is now the decision.
    Expired,
    /// Decided earlier; nothing changed.
    AlreadyDecided,
    /// No code of this kind is being waited for; nothing changed.
    NothingToCheck,
}

impl Challenge {
    fn end(&mut self, state: Final, reason: Reason, now: Timestamp, receipt_key_id: &str) {
        self.outcome = Some(Outcome {
            state,
            reason,
            decide_time: now,
            proof: None,
            authenticator: None,
            receipt_key_id: receipt_key_id.to_owned(),
        });
    }

    /// A device or number is gone: it was never asked, and its code is void.
    pub fn forget_device(&mut self, device: DeviceId) {
        self.deliveries.retain(|d| d.device != device);
        self.codes
            .sent
            .take_if(|sent| sent.phone.as_bytes() == device.as_bytes());
    }

    /// Whether nobody can be asked, and no text message is planned instead.
    #[must_use]
    pub fn has_nobody_left(&self, now: Timestamp) -> bool {
        self.is_open(now) && self.is_out_of_reach() && self.fallback_time.is_none()
    }

    /// Nobody can be asked: by text message at once where that is planned, or it
    /// ends.
    fn nobody_left(&mut self, now: Timestamp, receipt_key_id: &str) -> Verdict {
        match &mut self.fallback_time {
            Some(at) => {
                *at = now.min(*at);
                Verdict::Pending
            }
            None => {
                self.end(Final::Denied, Reason::Unreachable, now, receipt_key_id);
                Verdict::Recorded
            }
        }
    }

    /// Approves a challenge that is about to be stored, without asking: its
    /// browser is remembered. What it would have been is of no account.
    pub fn approve_remembered(&mut self, browser: BrowserId, now: Timestamp, receipt_key_id: &str) {
        self.method = Method::RememberedBrowser;
        self.number = String::new();
        self.deliveries.clear();
        self.fallback_time = None;
        self.risks.clear();
        self.remembering.browser = Some(browser);
        let reason = Reason::RememberedBrowser;
        self.end(Final::Approved, reason, now, receipt_key_id);
    }

    /// Ends a challenge that can't be asked the way that it should.
    pub fn end_unreachable(&mut self, now: Timestamp, receipt_key_id: &str) {
        self.end(Final::Denied, Reason::Unreachable, now, receipt_key_id);
    }

    /// Ends a challenge that can't be asked at all when it is stored.
    pub fn end_if_unreachable(&mut self, now: Timestamp, receipt_key_id: &str) {
        if self.outcome.is_none() && self.is_out_of_reach() {
            self.nobody_left(now, receipt_key_id);
        }
    }

    /// Goes on by a code: the user asked for it, or nobody could be reached. With
    /// `order` a text is sent. Phones may still answer as long as they were told.
    ///
    /// # Errors
    /// [`CodeRefusal`]; nothing has changed then.
    pub fn go_on_by(
        &mut self,
        method: Method,
        order: Option<&CodeOrder>,
        account: &Account,
        rules: &Policy,
        now: Timestamp,
    ) -> Result<(), CodeRefusal> {
        let with_text = method == Method::Sms;
        if with_text != order.is_some() || !account.can_answer_by(method, rules) {
            return Err(CodeRefusal::NoAuthenticator);
        }
        if let Some(order) = order {
            account.admit_code(now)?;
            let phone = account.phone_for_codes(&rules.sms);
            if phone.is_none_or(|phone| phone.id != order.code.phone) {
                return Err(CodeRefusal::NoAuthenticator);
            }
            self.codes.may_send(&rules.codes, now)?;
            self.codes.note_send(order, now);
            let device = DeviceId::from_bytes(*order.code.phone.as_bytes());
            self.deliveries.retain(|delivery| delivery.device != device);
            self.deliveries.push(Delivery {
                device,
                road: Road::Sms,
                state: DeliveryState::Queued,
                reason: String::new(),
                update_time: now,
                pushed: false,
            });
        }
        self.method = method;
        self.fallback_time = None;
        let latest = self.create_time.after(MAX_CHALLENGE_TTL);
        let wanted = now.after(rules.codes.ttl).min(latest);
        self.expire_time = self.expire_time.max(wanted);
        Ok(())
    }

    /// Goes back to the code that was texted last and still counts, without
    /// sending another. `false`: there is none.
    pub fn go_back_to_code(&mut self, account: &Account, rules: &Policy, now: Timestamp) -> bool {
        let counts = |sent: &SentCode| {
            now < sent.expire_time
                && account
                    .phone_for_codes(&rules.sms)
                    .is_some_and(|phone| phone.id == sent.phone)
        };
        if self.method == Method::Sms || !self.codes.sent.as_ref().is_some_and(counts) {
            return false;
        }
        self.method = Method::Sms;
        true
    }

    /// Goes back to the prompt on the phones.
    ///
    /// # Errors
    /// [`CodeRefusal::PromptExpired`] when they were told that it is over.
    pub fn go_back_to_push(&mut self, now: Timestamp) -> Result<(), CodeRefusal> {
        if now >= self.prompt_expire_time {
            return Err(CodeRefusal::PromptExpired);
        }
        if !self
            .deliveries
            .iter()
            .any(|delivery| delivery.road != Road::Sms)
        {
            return Err(CodeRefusal::NoAuthenticator);
        }
        self.method = Method::Push;
        Ok(())
    }

    /// Whether policy, as it is now, lets a code decide: it may have changed since
    /// the code was sent.
    fn may_be_guessed(&self, account: &Account, rules: &Policy) -> bool {
        let country_is_allowed = || {
            let sent = self.codes.sent.as_ref();
            let phone = sent.and_then(|sent| account.phone(sent.phone));
            phone.is_some_and(|phone| rules.sms.countries.contains(&phone.country))
        };
        rules.methods.allow(self.method) && (self.method != Method::Sms || country_is_allowed())
    }

    /// Takes note that what it waits for was taken away: back to the prompt, if
    /// that lasts, or it ends.
    pub fn lose_method(&mut self, now: Timestamp, receipt_key_id: &str) -> Verdict {
        if self.outcome.is_some() {
            return Verdict::AlreadyDecided;
        }
        if now >= self.expire_time {
            self.end(Final::Expired, Reason::TimedOut, now, receipt_key_id);
            return Verdict::Expired;
        }
        if self.go_back_to_push(now).is_ok() {
            return Verdict::Pending;
        }
        self.end_unreachable(now, receipt_key_id);
        Verdict::Recorded
    }

    /// Takes a typed code in: beside a device's answer the only way to an
    /// approval. The account is to be kept whatever the verdict.
    pub fn guess(
        &mut self,
        guess: &Guess,
        account: &mut Account,
        rules: &Policy,
        now: Timestamp,
        receipt_key_id: &str,
    ) -> GuessVerdict {
        if self.outcome.is_some() {
            return GuessVerdict::AlreadyDecided;
        }
        if now >= self.expire_time {
            self.end(Final::Expired, Reason::TimedOut, now, receipt_key_id);
            return GuessVerdict::Expired;
        }
        if account.lock.is_some() {
            self.end(Final::Denied, Reason::LockedOut, now, receipt_key_id);
            return GuessVerdict::Locked;
        }
        if guess.method() != self.method || !self.may_be_guessed(account, rules) {
            return GuessVerdict::NothingToCheck;
        }
        match account.check(guess, Some(&mut self.codes), &rules.lockout, now) {
            Checked::NothingToCheck => GuessVerdict::NothingToCheck,
            Checked::Wait(until) => GuessVerdict::Wait(until),
            Checked::Right(authenticator) => {
                self.end(Final::Approved, Reason::CodeVerified, now, receipt_key_id);
                if let Some(outcome) = &mut self.outcome {
                    outcome.authenticator = Some(authenticator);
                }
                GuessVerdict::Right
            }
            Checked::Wrong => {
                self.codes.wrong = self.codes.wrong.saturating_add(1);
                if account.lock.is_some() {
                    self.end(Final::Denied, Reason::LockedOut, now, receipt_key_id);
                } else if self.codes.attempts_left() == 0 {
                    let reason = Reason::TooManyAttempts;
                    self.end(Final::Denied, reason, now, receipt_key_id);
                }
                GuessVerdict::Wrong
            }
        }
    }
}

#[cfg(test)]
#[path = "challenge_tests.rs"]
mod tests;
