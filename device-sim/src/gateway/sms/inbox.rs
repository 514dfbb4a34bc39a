//! The phones' side of text messages: one inbox for all gateways, and what becomes of a message.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::alphabet::{Alphabet, Measure};
use super::number::{self, NumberTrouble};

/// Messages the inbox keeps.
const INBOX_LIMIT: usize = 10_000;

/// Through which gateway a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmsGateway {
    /// The REST endpoint shaped like Twilio's.
    Twilio,
    /// The webhook.
    Webhook,
    /// The SMPP message centre.
    Smpp,
}

impl SmsGateway {
    /// Its name on the control page and in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Webhook => "webhook",
            Self::Smpp => "smpp",
        }
    }
}

/// How far a message came, by Twilio's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// Accepted.
    Queued,
    /// Given to the network.
    Sent,
    /// On the phone.
    Delivered,
    /// The network could not deliver it.
    Undelivered,
    /// Never given to the network.
    Failed,
}

impl MessageStatus {
    /// As in Twilio's `MessageStatus`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
        }
    }
}

/// A delivery receipt that was sent back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// What it says.
    pub status: MessageStatus,
    /// The answer to it: an HTTP status, the name or number of an SMPP status, or why there was
    /// none.
    pub answer: String,
}

/// A text message as it arrived at a phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextMessage {
    /// Counts up from 1 over all gateways.
    pub seq: u64,
    /// The gateway's id of the message: Twilio's message SID, or the like.
    pub id: String,
    /// Through which gateway.
    pub gateway: SmsGateway,
    /// Sender, as given.
    pub from: String,
    /// Recipient in E.164, plus sign included.
    pub to: String,
    /// The text, as the phone shows it.
    pub text: String,
    /// How it travelled.
    pub alphabet: Alphabet,
    /// Its length in septets or UTF-16 code units.
    pub units: usize,
    /// Messages on the air that it took.
    pub segments: usize,
    /// Arrival at the gateway, milliseconds since the UNIX epoch.
    pub time_ms: u64,
    /// How far it came.
    pub status: MessageStatus,
    /// Why it got no further, by Twilio's error codes.
    pub error_code: Option<u32>,
    /// Whether the phone shows it.
    pub shown: bool,
    /// The receipts sent back, oldest first.
    pub receipts: Vec<Receipt>,
}

/// What becomes of an accepted message.
///
/// As JSON: `{"outcome":"undelivered","error_code":30003}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub enum Delivery {
    /// It reaches the phone, and a receipt says so.
    #[default]
    Delivered,
    /// The network gives up, and a receipt says so.
    Undelivered {
        /// Twilio's error code; 30003 is "unreachable destination handset".
        error_code: u32,
    },
    /// The gateway gives up before the network, and a receipt says so.
    Failed {
        /// Twilio's error code; 30007 is "message filtered".
        error_code: u32,
    },
    /// It reaches the phone, and no receipt says so.
    Unconfirmed,
    /// The phone is off: nothing reaches it, and there is no last receipt.
    Never,
}

impl Delivery {
    fn reaches(self) -> bool {
        matches!(self, Self::Delivered | Self::Unconfirmed)
    }

    /// The states a message goes through.
    pub(super) fn course(self) -> Vec<(MessageStatus, Option<u32>)> {
        use MessageStatus::{Delivered, Failed, Queued, Sent, Undelivered};
        let plain = |statuses: &[MessageStatus]| -> Vec<_> {
            statuses.iter().map(|status| (*status, None)).collect()
        };
        match self {
            Self::Delivered => plain(&[Queued, Sent, Delivered]),
            Self::Unconfirmed | Self::Never => plain(&[Queued, Sent]),
            Self::Undelivered { error_code } => {
                let mut course = plain(&[Queued, Sent]);
                course.push((Undelivered, Some(error_code)));
                course
            }
            Self::Failed { error_code } => vec![(Queued, None), (Failed, Some(error_code))],
        }
    }
}

/// A message that a gateway has accepted.
pub(super) struct Submission {
    pub(super) id: String,
    pub(super) gateway: SmsGateway,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) text: String,
    pub(super) measure: Measure,
    pub(super) time_ms: u64,
    /// How often it reaches the phone.
    pub(super) copies: usize,
}

/// The inbox of all phones. Clones share it.
#[derive(Clone)]
pub struct Inbox {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct State {
    seq: u64,
    messages: Vec<TextMessage>,
    default: Delivery,
    by_number: BTreeMap<String, Delivery>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Every message that was accepted, oldest first, shown on a phone or not.
    #[must_use]
    pub fn messages(&self) -> Vec<TextMessage> {
        self.state.lock().messages.clone()
    }

    /// What the phone with this number (E.164) shows, oldest first.
    #[must_use]
    pub fn shown(&self, to: &str) -> Vec<TextMessage> {
        let mut messages = self.messages();
        messages.retain(|message| message.shown && message.to == to);
        messages
    }

    /// Forgets the messages. Their numbers go on counting.
    pub fn clear(&self) {
        self.change(|state| state.messages.clear());
    }

    /// What becomes of messages to this number (E.164) from now on; `None`: as for any other.
    pub fn set_delivery(&self, to: &str, delivery: Option<Delivery>) {
        let mut state = self.state.lock();
        match delivery {
            Some(delivery) => state.by_number.insert(to.to_owned(), delivery),
            None => state.by_number.remove(to),
        };
    }

    /// What becomes of messages to numbers without an entry of their own.
    pub fn set_default_delivery(&self, delivery: Delivery) {
        self.state.lock().default = delivery;
    }

    /// Waits until `look` finds in the messages (all of them, oldest first) what it looks for. It
    /// is asked at once, and again after every change.
    pub async fn wait_until<T>(&self, mut look: impl FnMut(&[TextMessage]) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look(&self.state.lock().messages) {
                return found;
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The oldest message on the phone with this number (E.164) that is `wanted`; waits for it if
    /// need be. Messages that came before the call count: [`TextMessage::seq`] tells them apart.
    pub async fn wait_for(
        &self,
        to: &str,
        mut wanted: impl FnMut(&TextMessage) -> bool,
    ) -> TextMessage {
        self.wait_until(|messages| {
            let mut messages = messages.iter();
            messages
                .find(|message| message.shown && message.to == to && wanted(message))
                .cloned()
        })
        .await
    }

    /// The `seq` of the last message, 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.state.lock().seq
    }

    /// A number that no message can be sent to.
    pub(super) fn trouble(&self, to: &str) -> Option<NumberTrouble> {
        number::trouble(to)
    }

    /// Enters a message. Answers the states it will go through.
    pub(super) fn accept(&self, submission: &Submission) -> Vec<(MessageStatus, Option<u32>)> {
        let mut course = Vec::new();
        self.change(|state| {
            let delivery = state
                .by_number
                .get(&submission.to)
                .copied()
                .or_else(|| number::fixed_delivery(&submission.to))
                .unwrap_or(state.default);
            course = delivery.course();
            let copies = if delivery.reaches() {
                submission.copies
            } else {
                1
            };
            for _ in 0..copies {
                if state.messages.len() >= INBOX_LIMIT {
                    state.messages.remove(0);
                }
                state.seq += 1;
                state.messages.push(TextMessage {
                    seq: state.seq,
                    id: submission.id.clone(),
                    gateway: submission.gateway,
                    from: submission.from.clone(),
                    to: submission.to.clone(),
                    text: submission.text.clone(),
                    alphabet: submission.measure.alphabet,
                    units: submission.measure.units,
                    segments: submission.measure.segments,
                    time_ms: submission.time_ms,
                    status: MessageStatus::Queued,
                    error_code: None,
                    shown: delivery.reaches(),
                    receipts: Vec::new(),
                });
            }
        });
        course
    }

    pub(super) fn set_status(&self, id: &str, status: MessageStatus, error_code: Option<u32>) {
        self.change(|state| {
            for message in state.messages.iter_mut().filter(|one| one.id == id) {
                message.status = status;
                message.error_code = error_code;
            }
        });
    }

    pub(super) fn receipt(&self, id: &str, status: MessageStatus, answer: &str) {
        self.change(|state| {
            for message in state.messages.iter_mut().filter(|one| one.id == id) {
                message.receipts.push(Receipt {
                    status,
                    answer: answer.to_owned(),
                });
            }
        });
    }

    pub(super) fn find(&self, id: &str) -> Option<TextMessage> {
        let state = self.state.lock();
        state.messages.iter().find(|one| one.id == id).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.send_modify(|version| *version += 1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::gateway::sms::alphabet::measure;

    fn submission(to: &str, text: &str) -> Submission {
        Submission {
            id: format!("id-{text}"),
            gateway: SmsGateway::Smpp,
            from: "Countersign".to_owned(),
            to: to.to_owned(),
            text: text.to_owned(),
            measure: measure(text),
            time_ms: 1,
            copies: 1,
        }
    }

    #[tokio::test]
    async fn waiting_sees_what_was_there_and_what_comes() {
        let inbox = Inbox::new();
        inbox.accept(&submission("+32470", "one"));
        assert_eq!(inbox.wait_for("+32470", |_| true).await.text, "one");
        let after = inbox.last_seq();
        let next = inbox.wait_for("+32470", |message| message.seq > after);
        let later = async {
            inbox.accept(&submission("+31", "other phone"));
            inbox.set_delivery("+32470", Some(Delivery::Never));
            inbox.accept(&submission("+32470", "lost"));
            inbox.set_delivery("+32470", None);
            inbox.accept(&submission("+32470", "two"));
        };
        let (next, ()) = tokio::join!(next, later);
        assert_eq!(next.text, "two");
        assert_eq!(inbox.messages().len(), 4);
        assert_eq!(inbox.shown("+32470").len(), 2);
    }

    #[test]
    fn outcomes_by_number() {
        let inbox = Inbox::new();
        let undelivered = Delivery::Undelivered { error_code: 30003 };
        inbox.set_delivery("+32470", Some(undelivered));
        let course = inbox.accept(&submission("+32470", "one"));
        assert_eq!(
            course.last().unwrap(),
            &(MessageStatus::Undelivered, Some(30003))
        );
        assert!(inbox.shown("+32470").is_empty());
        inbox.set_default_delivery(Delivery::Unconfirmed);
        let course = inbox.accept(&submission("+32471", "two"));
        assert_eq!(course.last().unwrap().0, MessageStatus::Sent);
        assert_eq!(inbox.shown("+32471").len(), 1);
        let json = serde_json::to_string(&undelivered).unwrap();
        assert_eq!(json, r#"{"outcome":"undelivered","error_code":30003}"#);
        assert_eq!(
            serde_json::from_str::<Delivery>(&json).unwrap(),
            undelivered
        );
    }
}
