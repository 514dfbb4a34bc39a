//! Delivery receipts as `deliver_sm`.
//!
//! Source: SMPP v3.4, sections 4.6.1 (fields), 5.2.12 (`esm_class`), 5.2.28 (`message_state`) and
//! appendix B (the text, "typical" and in fact universal).

use super::pdu::{Body, tag};
use crate::gateway::sms::alphabet;
use crate::gateway::sms::inbox::MessageStatus;

/// `esm_class`: "Short Message contains SMSC Delivery Receipt".
const SMSC_RECEIPT: u8 = 0x04;
/// Octets of the message that a receipt repeats (appendix B).
const REPEATED: usize = 20;
/// Network of a `network_error_code`: GSM (section 5.3.2.31).
const GSM: u8 = 3;

/// What a message centre reports of a message.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) id: String,
    /// Sender of the message, with its type and plan.
    pub(super) from: String,
    pub(super) from_kind: (u8, u8),
    /// Recipient in E.164.
    pub(super) to: String,
    /// The beginning of the message, in GSM codes.
    pub(super) beginning: Vec<u8>,
    pub(super) status: MessageStatus,
    pub(super) error_code: Option<u32>,
    pub(super) submit_ms: u64,
    pub(super) done_ms: u64,
}

impl Report {
    pub(super) fn beginning(text: &str) -> Vec<u8> {
        let mut octets = alphabet::to_gsm_lossy(text);
        octets.truncate(REPEATED);
        octets
    }

    /// `message_state` and the word for it.
    fn state(&self) -> (u8, &'static str) {
        match self.status {
            MessageStatus::Queued | MessageStatus::Sent => (1, "ENROUTE"),
            MessageStatus::Delivered => (2, "DELIVRD"),
            MessageStatus::Undelivered => (5, "UNDELIV"),
            MessageStatus::Failed => (8, "REJECTD"),
        }
    }

    /// The body of the `deliver_sm`.
    pub(super) fn body(&self) -> bytes::Bytes {
        let (state, word) = self.state();
        let delivered = u8::from(self.status == MessageStatus::Delivered);
        // Three digits; which mean what is the centre's own affair.
        let error = self.error_code.unwrap_or(0) % 1000;
        let mut text = alphabet::to_gsm_lossy(&format!(
            "id:{} sub:001 dlvrd:{delivered:03} submit date:{} done date:{} stat:{word} \
             err:{error:03} text:",
            self.id,
            date(self.submit_ms),
            date(self.done_ms),
        ));
        text.extend_from_slice(&self.beginning);
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let (ton, npi) = self.from_kind;
        let mut id = self.id.clone().into_bytes();
        id.push(0);
        let mut body = Body::default()
            .string("")
            .octets(&[1, 1])
            .string(self.to.trim_start_matches('+'))
            .octets(&[ton, npi])
            .string(&self.from)
            .octets(&[SMSC_RECEIPT, 0, 0])
            .string("")
            .string("")
            .octets(&[0, 0, 0, 0, length])
            .octets(&text)
            .parameter(tag::RECEIPTED_MESSAGE_ID, &id)
            .parameter(tag::MESSAGE_STATE, &[state]);
        if self.error_code.is_some() {
            let [high, low] = u16::try_from(error).unwrap_or(0).to_be_bytes();
            body = body.parameter(tag::NETWORK_ERROR_CODE, &[GSM, high, low]);
        }
        body.finish()
    }
}

/// `YYMMDDhhmm`, in UTC.
fn date(time_ms: u64) -> String {
    i64::try_from(time_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map(|time| time.strftime("%y%m%d%H%M").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_appendix_b() {
        let report = Report {
            id: "0123456789".to_owned(),
            from: "Countersign".to_owned(),
            from_kind: (5, 0),
            to: "+32470123456".to_owned(),
            beginning: Report::beginning("123456 is uw code voor Webmail"),
            status: MessageStatus::Undelivered,
            error_code: Some(30003),
            submit_ms: 1_795_438_980_000,
            done_ms: 1_795_439_040_000,
        };
        let body = report.body();
        let text = String::from_utf8_lossy(&body);
        let expected = "id:0123456789 sub:001 dlvrd:000 submit date:2611231303 \
                        done date:2611231304 stat:UNDELIV err:003 text:123456 is uw code vo";
        assert!(text.contains(expected), "{text}");
        let state = [0x04, 0x27, 0x00, 0x01, 5];
        assert!(body.windows(state.len()).any(|window| window == state));
        let id = b"\x00\x1e\x00\x0b0123456789\x00";
        assert!(body.windows(id.len()).any(|window| window == id));
    }
}
