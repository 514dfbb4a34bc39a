//! One text as `submit_sm` (SMPP 3.4, section 4.4).

use std::time::Duration;

use rusmpp::pdus::SubmitSm;
use rusmpp::types::{COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, Npi, RegisteredDelivery, Ton};
use rusmppc::Client;
use rusmppc::error::Error;

use super::{Smpp, gsm7, status};
use crate::delivery::breaker::Verdict;
use crate::delivery::sms::reply::{Answer, Reply};
use crate::delivery::sms::{SmppConfig, Text};

/// `registered_delivery`: a receipt, whatever becomes of it (section 5.2.17).
const FINAL_RECEIPT: u8 = 1;
/// Octets in `short_message`, at most (section 5.2.22).
const LONGEST: usize = 254;

/// A C-octet string: `text` and a zero byte.
pub(super) fn c_octets<const MOST: usize>(text: &str) -> Option<COctetString<1, MOST>> {
    COctetString::from_string(text.to_owned()).ok()
}

/// Sender: what kind of number it is (sections 5.2.5 and 5.2.6), and itself.
fn source(config: &SmppConfig) -> (u8, u8, &str) {
    let text = config.source_addr.as_str();
    let (ton, npi, text) = match text.strip_prefix('+') {
        Some(digits) => (1, 1, digits),
        None if text.bytes().any(|byte| byte.is_ascii_alphabetic()) => (5, 0, text),
        None => (0, 0, text),
    };
    (
        config.source_ton.unwrap_or(ton),
        config.source_npi.unwrap_or(npi),
        text,
    )
}

/// Relative time (section 7.1.1.2): `YYMMDDhhmmss000R`.
fn validity_period(left_ms: u64) -> String {
    let seconds = left_ms.div_ceil(1000).clamp(1, 99 * 86_400);
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    // Without months: their length is not said.
    let days = days.min(30);
    format!("0000{days:02}{hours:02}{minutes:02}{seconds:02}000R")
}

/// In the default alphabet, or else in UCS-2.
fn coded(body: &str) -> (DataCoding, Vec<u8>) {
    match gsm7::encode(body) {
        Some(septets) => (DataCoding::McSpecific, septets),
        None => {
            let units = body.encode_utf16().flat_map(u16::to_be_bytes);
            (DataCoding::Ucs2, units.collect())
        }
    }
}

fn pdu(config: &SmppConfig, text: &Text, now_ms: u64) -> Result<SubmitSm, &'static str> {
    let (source_ton, source_npi, source_addr) = source(config);
    let source_addr = c_octets(source_addr).ok_or("the sender is not one")?;
    let to = text.to.trim_start_matches('+');
    let to = c_octets(to).ok_or("the number is too long")?;
    let (data_coding, octets) = coded(&text.body);
    if octets.len() > LONGEST {
        return Err("the text is too long");
    }
    let short_message = OctetString::from_vec(octets).map_err(|_| "the text is too long")?;
    let validity = validity_period(text.expire_at_ms.saturating_sub(now_ms));
    let validity = EmptyOrFullCOctetString::from_vec(format!("{validity}\0").into_bytes());
    let receipt = u8::from(!text.reference.is_empty()) * FINAL_RECEIPT;
    Ok(SubmitSm::builder()
        .source_addr_ton(Ton::from(source_ton))
        .source_addr_npi(Npi::from(source_npi))
        .source_addr(source_addr)
        .dest_addr_ton(Ton::International)
        .dest_addr_npi(Npi::Isdn)
        .destination_addr(to)
        // The library's default has a bit of a receipt's set (section 5.2.12).
        .esm_class(EsmClass::from(0))
        .validity_period(validity.map_err(|_| "no validity period")?)
        .registered_delivery(RegisteredDelivery::from(receipt))
        .data_coding(data_coding)
        .short_message(short_message)
        .build())
}

impl Smpp {
    pub(super) async fn submit_to(&self, client: &Client, text: &Text, limit: Duration) -> Answer {
        let now = &self.bell.now;
        let pdu = match pdu(&self.config, text, now()) {
            Ok(pdu) => pdu,
            Err(reason) => return Answer::new(Reply::not_taken(reason), Verdict::Neutral),
        };
        let submitted = tokio::time::timeout(limit, client.submit_sm(pdu)).await;
        match submitted {
            Ok(Ok(response)) => {
                let id = response.message_id().as_str();
                let early = if text.reference.is_empty() {
                    Vec::new()
                } else {
                    let mut book = self.book.lock();
                    book.enter(id, &text.reference, text.expire_at_ms, now())
                };
                for state in early {
                    self.receipts
                        .tell(&self.name, text.reference.clone(), state);
                }
                Answer::new(Reply::Accepted, Verdict::Healthy)
            }
            Ok(Err(Error::UnexpectedResponse { response })) => status::of_submit(response.status()),
            // Nothing tells whether it left before the session ended.
            Ok(Err(error)) => Answer::new(
                Reply::unknown(super::session::said(&error)),
                Verdict::Failure,
            ),
            Err(_elapsed) => Answer::new(Reply::unknown("no answer in time"), Verdict::Failure),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn time_left_is_relative_and_whole_seconds() {
        assert_eq!(validity_period(300_000), "000000000500000R");
        assert_eq!(validity_period(1), "000000000001000R");
        assert_eq!(validity_period(0), "000000000001000R");
        assert_eq!(validity_period(90_061_001), "000001010102000R");
    }

    #[test]
    fn the_default_alphabet_where_it_will_do() {
        assert_eq!(coded("é€"), (DataCoding::McSpecific, vec![5, 0x1b, 0x65]));
        assert_eq!(coded("ê"), (DataCoding::Ucs2, vec![0, 0xea]));
    }

    #[test]
    fn a_sender_tells_its_kind_by_its_look() {
        let mut config = SmppConfig {
            address: String::new(),
            system_id: String::new(),
            password_file: std::path::PathBuf::new(),
            system_type: String::new(),
            source_addr: "+3212345678".to_owned(),
            source_ton: None,
            source_npi: None,
            tls: false,
            root_ca_file: None,
            allow_plaintext: false,
        };
        assert_eq!(source(&config), (1, 1, "3212345678"));
        config.source_addr = "Eagle IT".to_owned();
        assert_eq!(source(&config), (5, 0, "Eagle IT"));
        config.source_addr = "8850".to_owned();
        assert_eq!(source(&config), (0, 0, "8850"));
        config.source_ton = Some(3);
        assert_eq!(source(&config), (3, 0, "8850"));
    }
}
