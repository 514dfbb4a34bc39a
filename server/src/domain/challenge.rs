//! One question and its one decision: the state machine.

use std::time::Duration;

use super::{
    api_key::ApiKeyId,
    device::{KeyProtection, PushGateway},
    ids::{ChallengeId, DeviceId, TenantId, UserId},
    response::{Answer, Choice},
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
    /// The app has the signed challenge.
    Fetched,
    /// The user sees it.
    Shown,
    /// The device answered.
    Answered,
}

/// A prompt on its way to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// To which device.
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
        if state <= self.state {
            return false;
        }
        self.state = state;
        let kept = reason.floor_char_boundary(MAX_REASON);
        self.reason = reason.get(..kept).unwrap_or_default().to_owned();
        self.update_time = now;
        true
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
    /// How the user is asked.
    pub method: Method,
    /// What the sign-in page shows and the user types; empty for none.
    pub number: String,
    /// When it was issued.
    pub create_time: Timestamp,
    /// When it ends by itself.
    pub expire_time: Timestamp,
    /// Opaque name of its prompt at the gateways.
    pub collapse_id: String,
    /// One per device asked.
    pub deliveries: Vec<Delivery>,
    /// How it ended; none while pending.
    pub outcome: Option<Outcome>,
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
    /// A device it was sent to is gone.
    DeviceGone(DeviceId),
    /// No device that was asked has a stream open.
    NobodyListens,
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

    /// Whether every prompt has failed, for certain.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        self.deliveries
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
        let out_of_reach = self.is_out_of_reach();
        let mut end = |state, reason, proof| {
            self.outcome = Some(Outcome {
                state,
                reason,
                decide_time: now,
                proof,
                receipt_key_id: receipt_key_id.to_owned(),
            });
        };
        if now >= self.expire_time {
            end(Final::Expired, Reason::TimedOut, None);
            return match event {
                Event::Tick => Verdict::Recorded,
                Event::Answer(_)
                | Event::Cancel
                | Event::Supersede
                | Event::DeviceGone(_)
                | Event::NobodyListens => Verdict::Expired,
            };
        }
        match event {
            Event::Tick => Verdict::Pending,
            Event::Cancel => {
                end(Final::Cancelled, Reason::CancelledByCaller, None);
                Verdict::Recorded
            }
            Event::Supersede => {
                end(Final::Cancelled, Reason::Superseded, None);
                Verdict::Recorded
            }
            Event::DeviceGone(device) => {
                if self
                    .deliveries
                    .iter()
                    .all(|delivery| delivery.device == device)
                {
                    end(Final::Denied, Reason::Unreachable, None);
                    return Verdict::Recorded;
                }
                self.deliveries.retain(|delivery| delivery.device != device);
                Verdict::Pending
            }
            // A page that is told at once can offer another way at once. The
            // price: a user who would have opened the app unasked, within the
            // challenge's time, must sign in again. So it ends only when every
            // prompt has certainly failed: not while one may be on a screen,
            // nor while a phone without push, whose app asks by itself, is among
            // those asked.
            Event::NobodyListens => {
                if out_of_reach {
                    end(Final::Denied, Reason::Unreachable, None);
                    return Verdict::Recorded;
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
                let (state, reason) = match answer.choice {
                    Choice::Deny => (Final::Denied, Reason::UserDenied),
                    Choice::ReportFraud => (Final::Denied, Reason::FraudReported),
                    // Only here can an approval arise.
                    Choice::Approve if answer.number == self.number => {
                        (Final::Approved, Reason::UserApproved)
                    }
                    Choice::Approve => (Final::Denied, Reason::WrongNumber),
                };
                let device = answer.proof.device;
                end(state, reason, Some(answer.proof));
                if let Some(delivery) = self.delivery_mut(device) {
                    delivery.advance(DeliveryState::Answered, "", now);
                }
                Verdict::Recorded
            }
        }
    }
}

#[cfg(test)]
#[path = "challenge_tests.rs"]
mod tests;
