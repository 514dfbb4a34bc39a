//! What a `submit_sm` says, and what is wrong with it.
//!
//! Source: SMPP v3.4, section 4.4.1 (fields), 5.2 (their values).

use super::moment::{self, Moment};
use super::pdu::{Fields, Status, tag};
use crate::gateway::sms::alphabet::{self, Alphabet, USER_DATA_OCTETS};
use crate::gateway::sms::number;

/// Type of number (section 5.2.5): unknown, international, alphanumeric.
const TON_UNKNOWN: u8 = 0;
const TON_INTERNATIONAL: u8 = 1;
const TON_ALPHANUMERIC: u8 = 5;
const TON_LAST: u8 = 6;
/// Numbering plan indicators (section 5.2.6).
const NPIS: [u8; 10] = [0, 1, 3, 4, 6, 8, 9, 10, 14, 18];
/// `esm_class`: the bit of a user data header, and the bits of a message type (section 5.2.12).
const UDHI: u8 = 0x40;
const MESSAGE_TYPE: u8 = 0x3C;
/// Longest `short_message` (section 4.4.1).
const SHORT_MESSAGE: usize = 254;

/// A message handed in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submit {
    pub(super) from: String,
    /// Type and plan of the sender, for the receipt.
    pub(super) from_kind: (u8, u8),
    /// E.164, plus sign included.
    pub(super) to: String,
    pub(super) alphabet: Alphabet,
    /// Text as it travels, without a header.
    pub(super) data: Vec<u8>,
    /// Of a message in several parts: this one's place.
    pub(super) part: Option<Part>,
    pub(super) registered: Registered,
}

/// The place of one part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) reference: u16,
    pub(super) total: u8,
    /// From 1.
    pub(super) number: u8,
}

/// Which receipts are wanted (section 5.2.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registered {
    None,
    All,
    FailureOnly,
}

/// Reads and checks a body.
pub(super) fn parse(body: &[u8], now_ms: u64) -> Result<Submit, Status> {
    let mut fields = Fields::new(body);
    fields.string(6, Status::ESME_RINVSERTYP)?;
    let (from, from_kind) = sender(&mut fields)?;
    let to = recipient(&mut fields)?;
    let esm_class = fields.octet()?;
    let _protocol_id = fields.octet()?;
    let priority = fields.octet()?;
    let schedule = fields.string(17, Status::ESME_RINVSCHED)?;
    let validity = fields.string(17, Status::ESME_RINVEXPIRY)?;
    let registered = fields.octet()?;
    let replace = fields.octet()?;
    let data_coding = fields.octet()?;
    let default_message = fields.octet()?;
    let length = usize::from(fields.octet()?);
    if length > SHORT_MESSAGE {
        return Err(Status::ESME_RINVMSGLEN);
    }
    let short_message = fields.octets(length).map_err(|_| Status::ESME_RINVMSGLEN)?;
    // An acknowledgement (0x08, 0x10) may be submitted, but never to a phone that sent nothing.
    if esm_class & MESSAGE_TYPE != 0 {
        return Err(Status::ESME_RINVESMCLASS);
    }
    if priority > 3 {
        return Err(Status::ESME_RINVPRTFLG);
    }
    if !schedule.is_empty() {
        moment::parse(schedule).ok_or(Status::ESME_RINVSCHED)?;
    }
    let past = |at: i64| i64::try_from(now_ms).is_ok_and(|now| at <= now);
    match (validity, moment::parse(validity)) {
        ("", _) | (_, Some(Moment::In)) => {}
        (_, Some(Moment::At(at))) if !past(at) => {}
        _ => return Err(Status::ESME_RINVEXPIRY),
    }
    let registered = match registered & 3 {
        0 => Registered::None,
        1 => Registered::All,
        2 => Registered::FailureOnly,
        _ => return Err(Status::ESME_RINVREGDLVFLG),
    };
    if replace > 1 {
        return Err(Status::ESME_RINVREPFLAG);
    }
    if default_message != 0 {
        return Err(Status::ESME_RINVDFTMSGID);
    }
    let alphabet = match data_coding {
        0 => Alphabet::Gsm7,
        8 => Alphabet::Ucs2,
        // The centre knows no other; v3.4 has no status of its own for it.
        _ => return Err(Status::ESME_RSUBMITFAIL),
    };
    let optional = Optional::read(&mut fields)?;
    let (mut data, whole) = match (short_message, optional.payload) {
        (short, None) => (short, true),
        ([], Some(payload)) => (payload, false),
        // "The short_message field shouldn't be used simultaneously" (section 5.3.2.32).
        (_, Some(_)) => return Err(Status::ESME_RINVMSGLEN),
    };
    let mut part = optional.part()?;
    let mut room = USER_DATA_OCTETS;
    if esm_class & UDHI != 0 {
        let (header, rest) = user_data_header(data)?;
        room = room.saturating_sub(data.len() - rest.len());
        part = header.or(part);
        data = rest;
    }
    let fits = match alphabet {
        Alphabet::Gsm7 => data.len() <= room * 8 / 7,
        Alphabet::Ucs2 => data.len() <= room && data.len() % 2 == 0,
    };
    if whole && !fits || alphabet == Alphabet::Ucs2 && data.len() % 2 != 0 {
        return Err(Status::ESME_RINVMSGLEN);
    }
    Ok(Submit {
        from,
        from_kind,
        to,
        alphabet,
        data: data.to_vec(),
        part,
        registered,
    })
}

fn sender(fields: &mut Fields<'_>) -> Result<(String, (u8, u8)), Status> {
    let (ton, npi) = (fields.octet()?, fields.octet()?);
    let address = fields.string(21, Status::ESME_RINVSRCADR)?;
    if ton > TON_LAST {
        return Err(Status::ESME_RINVSRCTON);
    }
    if !NPIS.contains(&npi) {
        return Err(Status::ESME_RINVSRCNPI);
    }
    let good = match ton {
        // "If not known, set to NULL": the centre puts its own.
        _ if address.is_empty() => true,
        TON_INTERNATIONAL => number::is_e164_digits(address),
        // Any characters of the alphabet; the length is 3GPP TS 23.040's (section 9.1.2.5).
        TON_ALPHANUMERIC => address.len() <= 11,
        _ => address.bytes().all(|byte| byte.is_ascii_digit()),
    };
    if !good {
        return Err(Status::ESME_RINVSRCADR);
    }
    Ok((address.to_owned(), (ton, npi)))
}

fn recipient(fields: &mut Fields<'_>) -> Result<String, Status> {
    let (ton, npi) = (fields.octet()?, fields.octet()?);
    let address = fields.string(21, Status::ESME_RINVDSTADR)?;
    if ton > TON_LAST {
        return Err(Status::ESME_RINVDSTTON);
    }
    if !NPIS.contains(&npi) {
        return Err(Status::ESME_RINVDSTNPI);
    }
    let digits = match ton {
        TON_UNKNOWN => address.strip_prefix('+').unwrap_or(address),
        TON_INTERNATIONAL => address,
        _ => return Err(Status::ESME_RINVDSTADR),
    };
    if !number::is_e164_digits(digits) {
        return Err(Status::ESME_RINVDSTADR);
    }
    Ok(format!("+{digits}"))
}

/// The optional parameters that mean something here.
#[derive(Default)]
struct Optional<'a> {
    payload: Option<&'a [u8]>,
    reference: Option<u16>,
    total: Option<u8>,
    number: Option<u8>,
}

impl<'a> Optional<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Status> {
        let mut optional = Self::default();
        while let Some((tag, value)) = fields.parameter()? {
            let octet = || match value {
                [octet] => Ok(Some(*octet)),
                _ => Err(Status::ESME_RINVPARLEN),
            };
            match tag {
                tag::MESSAGE_PAYLOAD => optional.payload = Some(value),
                tag::SAR_MSG_REF_NUM => {
                    let [high, low] = value else {
                        return Err(Status::ESME_RINVPARLEN);
                    };
                    optional.reference = Some(u16::from_be_bytes([*high, *low]));
                }
                tag::SAR_TOTAL_SEGMENTS => optional.total = octet()?,
                tag::SAR_SEGMENT_SEQNUM => optional.number = octet()?,
                // "…an unrecognised optional parameter is ignored" (section 3.3).
                _ => {}
            }
        }
        Ok(optional)
    }

    /// The three `sar_` parameters come together or not at all (section 5.3.2.22).
    fn part(&self) -> Result<Option<Part>, Status> {
        match (self.reference, self.total, self.number) {
            (None, None, None) => Ok(None),
            (Some(reference), Some(total), Some(number)) if (1..=total).contains(&number) => {
                Ok(Some(Part {
                    reference,
                    total,
                    number,
                }))
            }
            _ => Err(Status::ESME_RINVOPTPARAMVAL),
        }
    }
}

/// Takes the user data header off (3GPP TS 23.040, section 9.2.3.24) and reads a concatenation from
/// it (sections 9.2.3.24.1 and 9.2.3.24.8).
fn user_data_header(data: &[u8]) -> Result<(Option<Part>, &[u8]), Status> {
    let wrong = Status::ESME_RINVESMCLASS;
    let (length, rest) = data.split_first().ok_or(wrong)?;
    let (mut header, text) = rest.split_at_checked(usize::from(*length)).ok_or(wrong)?;
    let mut part = None;
    while let [element, length, rest @ ..] = header {
        let (value, rest) = rest.split_at_checked(usize::from(*length)).ok_or(wrong)?;
        let found = match (element, value) {
            (0x00, [reference, total, number]) => Some((u16::from(*reference), *total, *number)),
            (0x08, [high, low, total, number]) => {
                Some((u16::from_be_bytes([*high, *low]), *total, *number))
            }
            _ => None,
        };
        if let Some((reference, total, number)) = found
            && (1..=total).contains(&number)
        {
            part = Some(Part {
                reference,
                total,
                number,
            });
        }
        header = rest;
    }
    if header.is_empty() {
        Ok((part, text))
    } else {
        Err(wrong)
    }
}

/// What the phone shows.
pub(super) fn text(alphabet: Alphabet, data: &[u8]) -> String {
    match alphabet {
        Alphabet::Gsm7 => alphabet::from_gsm(data),
        Alphabet::Ucs2 => alphabet::from_ucs2(data),
    }
}
