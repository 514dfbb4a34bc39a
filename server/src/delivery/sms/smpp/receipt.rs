//! Delivery receipts: what a `deliver_sm` says of an earlier text (SMPP 3.4,
//! section 2.11 and appendix B), and whose it was.

use std::collections::{HashMap, VecDeque};

use rusmpp::pdus::DeliverSm;
use rusmpp::tlvs::TlvValue;
use rusmpp::values::{MessageState, MessageType};

use crate::delivery::sms::TextState;

/// Texts remembered, and receipts kept for texts not yet known.
const MOST: usize = 100_000;
/// How long after its expiry a text is remembered, and how long a receipt waits
/// for its text: a receipt can overtake the response to its `submit_sm`.
const REMEMBERED_MS: u64 = 3_600_000;

/// A receipt, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) message_id: String,
    /// None for states that say nothing new.
    pub(super) state: Option<TextState>,
}

impl Receipt {
    /// None if it is not a receipt, but a text from a phone.
    pub(super) fn read(pdu: &DeliverSm) -> Option<Self> {
        let mut message_id = None;
        let mut tlv_state = None;
        for tlv in pdu.tlvs() {
            match tlv.value() {
                Some(TlvValue::ReceiptedMessageId(id)) => message_id = Some(id.as_str().to_owned()),
                Some(TlvValue::MessageState(state)) => tlv_state = Some(*state),
                _ => {}
            }
        }
        let is_receipt = pdu.esm_class.message_type
            == MessageType::ShortMessageContainsMCDeliveryReceipt
            || message_id.is_some();
        if !is_receipt {
            return None;
        }
        let text = String::from_utf8_lossy(pdu.short_message().as_ref()).into_owned();
        let message_id = message_id.or_else(|| field(&text, "id"))?;
        let error = field(&text, "err");
        let state = match (tlv_state, field(&text, "stat")) {
            (Some(state), _) => state_of_tlv(state, error),
            (None, Some(word)) => state_of_word(&word, error),
            (None, None) => None,
        };
        Some(Self {
            message_id: normal(&message_id),
            state,
        })
    }
}

/// `name:value` in the text of a receipt; the names' case varies.
fn field(text: &str, name: &str) -> Option<String> {
    text.split_ascii_whitespace().find_map(|word| {
        let (key, value) = word.split_once(':')?;
        let fits = |c: char| c.is_ascii_graphic();
        let is_value = !value.is_empty() && value.len() <= 64 && value.chars().all(fits);
        (key.eq_ignore_ascii_case(name) && is_value).then(|| value.to_owned())
    })
}

fn failed(word: &str, error: Option<String>) -> TextState {
    // "000" is no error.
    let error = error.filter(|code| code.bytes().any(|byte| byte != b'0'));
    let is_code =
        |code: &String| code.len() <= 8 && code.chars().all(|c| c.is_ascii_alphanumeric());
    let reason = match error.filter(is_code) {
        Some(code) => format!("{word}: {code}"),
        None => word.to_owned(),
    };
    TextState::Failed { reason }
}

/// SMPP 3.4, section 5.2.28 and appendix B.
fn state_of_word(word: &str, error: Option<String>) -> Option<TextState> {
    match word.to_ascii_uppercase().as_str() {
        "ENROUTE" | "ACCEPTD" => Some(TextState::Sent),
        "DELIVRD" => Some(TextState::Delivered),
        word @ ("EXPIRED" | "DELETED" | "UNDELIV" | "REJECTD") => Some(failed(word, error)),
        _ => None,
    }
}

fn state_of_tlv(state: MessageState, error: Option<String>) -> Option<TextState> {
    match state {
        MessageState::Enroute | MessageState::Accepted => Some(TextState::Sent),
        MessageState::Delivered => Some(TextState::Delivered),
        MessageState::Expired => Some(failed("EXPIRED", error)),
        MessageState::Deleted => Some(failed("DELETED", error)),
        MessageState::Undeliverable => Some(failed("UNDELIV", error)),
        MessageState::Rejected => Some(failed("REJECTD", error)),
        _ => None,
    }
}

/// Message ids come back in another case, or padded with zeros.
pub(super) fn normal(message_id: &str) -> String {
    message_id.trim_start_matches('0').to_ascii_lowercase()
}

/// Which message id belongs to which reference.
#[derive(Default)]
pub(super) struct Book {
    texts: HashMap<String, (String, u64)>,
    early: HashMap<String, (Vec<TextState>, u64)>,
    /// In the order they were entered, for what must go first.
    order: VecDeque<String>,
    early_order: VecDeque<String>,
}

impl Book {
    /// Enters a text that was taken; gives the states already told of it.
    pub(super) fn enter(
        &mut self,
        message_id: &str,
        reference: &str,
        expire_at_ms: u64,
        now_ms: u64,
    ) -> Vec<TextState> {
        self.forget(now_ms);
        let id = normal(message_id);
        let until = expire_at_ms.saturating_add(REMEMBERED_MS);
        let entry = (reference.to_owned(), until);
        if self.texts.insert(id.clone(), entry).is_none() {
            self.order.push_back(id.clone());
        }
        self.early
            .remove(&id)
            .map_or_else(Vec::new, |(states, _)| states)
    }

    /// The reference of the text that `receipt` is about. If it is not known,
    /// the receipt is kept for a while.
    pub(super) fn look_up(&mut self, receipt: &Receipt, now_ms: u64) -> Option<String> {
        if let Some((reference, _)) = self.texts.get(&receipt.message_id) {
            return Some(reference.clone());
        }
        self.forget(now_ms);
        let state = receipt.state.clone()?;
        let id = receipt.message_id.clone();
        let early = self.early.entry(id.clone()).or_insert_with(|| {
            self.early_order.push_back(id);
            (Vec::new(), now_ms.saturating_add(REMEMBERED_MS))
        });
        if early.0.len() < 4 {
            early.0.push(state);
        }
        None
    }

    /// Drops what is over, and the oldest beyond the limit.
    fn forget(&mut self, now_ms: u64) {
        forget(&mut self.order, &mut self.texts, now_ms);
        forget(&mut self.early_order, &mut self.early, now_ms);
    }
}

fn forget<T>(order: &mut VecDeque<String>, map: &mut HashMap<String, (T, u64)>, now_ms: u64) {
    while let Some(id) = order.front() {
        let is_over = map.get(id).is_none_or(|(_, until)| *until < now_ms);
        if !is_over && order.len() < MOST {
            return;
        }
        map.remove(id);
        order.pop_front();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rusmpp::tlvs::MessageDeliveryRequestTlvValue;
    use rusmpp::types::{COctetString, OctetString};
    use rusmpp::values::EsmClass;

    use super::*;

    fn deliver(esm_class: u8, text: &str) -> DeliverSm {
        DeliverSm::builder()
            .esm_class(EsmClass::from(esm_class))
            .short_message(OctetString::from_slice(text.as_bytes()).unwrap())
            .build()
    }

    fn failed(reason: &str) -> Option<TextState> {
        Some(TextState::Failed {
            reason: reason.to_owned(),
        })
    }

    #[test]
    fn the_text_of_a_receipt() {
        let read = |stat: &str| {
            let text = format!(
                "id:00AB12 sub:001 dlvrd:001 submit date:2611230512 done date:2611230513 {stat} text:Your code"
            );
            let receipt = Receipt::read(&deliver(0x04, &text)).unwrap();
            assert_eq!(receipt.message_id, "ab12");
            receipt.state
        };
        assert_eq!(read("stat:DELIVRD err:000"), Some(TextState::Delivered));
        assert_eq!(read("Stat:delivrd Err:0"), Some(TextState::Delivered));
        assert_eq!(read("stat:ENROUTE err:000"), Some(TextState::Sent));
        assert_eq!(read("stat:UNDELIV err:069"), failed("UNDELIV: 069"));
        assert_eq!(read("stat:EXPIRED err:000"), failed("EXPIRED"));
        assert_eq!(read("stat:REJECTD"), failed("REJECTD"));
        assert_eq!(read("stat:UNKNOWN"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn tlvs_go_before_the_text() {
        let mut pdu = deliver(0x04, "id:1 stat:UNDELIV err:003");
        let id = COctetString::from_slice(b"9f\0").unwrap();
        pdu.push_tlv(MessageDeliveryRequestTlvValue::ReceiptedMessageId(id));
        pdu.push_tlv(MessageDeliveryRequestTlvValue::MessageState(
            MessageState::Delivered,
        ));
        let receipt = Receipt::read(&pdu).unwrap();
        assert_eq!(receipt.message_id, "9f");
        assert_eq!(receipt.state, Some(TextState::Delivered));
    }

    #[test]
    fn a_text_from_a_phone_is_no_receipt() {
        assert_eq!(Receipt::read(&deliver(0, "id:1 stat:DELIVRD")), None);
        assert_eq!(Receipt::read(&deliver(4, "what?")), None);
    }

    #[test]
    fn receipts_find_their_texts_even_when_they_come_first() {
        let mut book = Book::default();
        let receipt = |id: &str| Receipt {
            message_id: id.to_owned(),
            state: Some(TextState::Delivered),
        };
        assert_eq!(book.enter("00A", "ref-a", 1_000, 0), []);
        assert_eq!(book.look_up(&receipt("a"), 0).as_deref(), Some("ref-a"));
        assert_eq!(book.look_up(&receipt("b"), 0), None);
        assert_eq!(book.enter("B", "ref-b", 1_000, 0), [TextState::Delivered]);
        assert_eq!(book.look_up(&receipt("b"), 0).as_deref(), Some("ref-b"));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut book = Book::default();
        book.enter("1", "old", 1_000, 0);
        book.enter("2", "new", 1_000_000_000, 0);
        let later = 1_000 + REMEMBERED_MS + 1;
        book.enter("3", "newer", 1_000_000_000, later);
        assert_eq!(book.texts.len(), 2);
        assert!(!book.texts.contains_key("1"));
        for id in 0..(2 * MOST) {
            let receipt = Receipt {
                message_id: format!("x{id}"),
                state: Some(TextState::Sent),
            };
            assert_eq!(book.look_up(&receipt, later), None);
        }
        assert!(book.early.len() <= MOST && book.early_order.len() <= MOST);
    }
}
