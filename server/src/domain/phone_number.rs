//! Phone numbers that can receive a text.
//!
//! The numbering plans are those of Google's libphonenumber, in the crate
//! `phonenumber`. From it come the tables and the removal of national prefixes;
//! which type a number has is decided here, for the crate lets a pattern match
//! the beginning of a number only, and forgets the leading zeros that numbers
//! have in Italy or Ivory Coast.
//!
//! Accepted are mobile numbers, and numbers of plans that don't tell mobile from
//! fixed (North America). Refused is what receives no texts or costs more to
//! reach, and what proves no particular phone: NIST SP 800-63B-4, section
//! 3.1.3.1, excludes internet telephony; personal numbers may be routed
//! anywhere. A number outside every range that the plan has handed out is
//! refused too: such numbers are what those who earn from texts invent.

use std::fmt;

use phonenumber::metadata::{DATABASE, Descriptor, Metadata};

use super::Invalid;

/// The most characters that are looked at; longer texts are no numbers.
const MAX_TEXT_BYTES: usize = 64;
/// Most digits of a number (ITU-T E.164, section 6.2.1).
const MAX_DIGITS: usize = 15;
/// Digits of a number that its neighbours don't share.
const RANGE_DIGITS: usize = 3;
/// Digits that the mask leaves.
const SHOWN_DIGITS: usize = 2;

/// A valid number in E.164 form. Neither `Debug` nor anything else but
/// [`e164`](Self::e164) and [`range`](Self::range) gives its digits away.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber {
    e164: String,
    country: String,
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneNumber({})", self.masked())
    }
}

impl PhoneNumber {
    /// Reads an international number: `+`, then digits; spaces, dots, hyphens,
    /// slashes and brackets don't matter, nor a national prefix in brackets
    /// (`+32 (0)470 …`).
    ///
    /// # Errors
    /// [`Invalid`] naming `field` when it is no number, or one that is not for
    /// texts.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Invalid::new(field, "is required"));
        }
        let invalid = || Invalid::new(field, "must be a valid phone number");
        if text.len() > MAX_TEXT_BYTES {
            return Err(invalid());
        }
        let Some(rest) = text.strip_prefix('+') else {
            return Err(Invalid::new(
                field,
                "must begin with '+' and the country's calling code",
            ));
        };
        // The library sees a plus sign and digits, whatever was sent.
        let mut dialled = String::from("+");
        for c in rest.chars() {
            match c {
                '0'..='9' => dialled.push(c),
                ' '
                | '\u{a0}'
                | '\u{2009}'
                | '\u{202f}'
                | '.'
                | '/'
                | '('
                | ')'
                | '['
                | ']'
                | '-'
                | '\u{2010}'..='\u{2013}' => {}
                _ => {
                    return Err(Invalid::new(
                        field,
                        "must have digits, spaces, dots, hyphens, slashes and brackets only",
                    ));
                }
            }
        }
        let parsed = phonenumber::parse(None, &dialled).map_err(|_| invalid())?;
        let code = parsed.code().value();
        let national = parsed.national().to_string();
        let e164 = format!("+{code}{national}");
        if e164.len() > MAX_DIGITS.saturating_add(1) {
            return Err(invalid());
        }
        let (plan, kind) = plan_of(code, &national).ok_or_else(invalid)?;
        match kind.fault() {
            Some(problem) => Err(Invalid::new(field, problem)),
            None => Ok(Self {
                e164,
                country: plan.id().to_owned(),
            }),
        }
    }

    /// From a stored record, already checked.
    #[must_use]
    pub fn from_stored(e164: String, country: String) -> Self {
        Self { e164, country }
    }

    /// The number: `+` and at most 15 digits.
    #[must_use]
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// Whose numbering plan it is in: ISO 3166-1 alpha-2, or `001` for the
    /// world's own (satellite phones and the like).
    #[must_use]
    pub fn country(&self) -> &str {
        &self.country
    }

    /// For people: `+XX XXXXXXX40`. An X for each digit of the calling code and
    /// for each national digit but the last two.
    #[must_use]
    pub fn masked(&self) -> String {
        let digits = self.e164.strip_prefix('+').unwrap_or_default();
        let code = calling_code_digits(digits);
        let hidden = digits.len().saturating_sub(SHOWN_DIGITS);
        let mut out = String::with_capacity(digits.len().saturating_add(2));
        out.push('+');
        for (index, digit) in digits.chars().enumerate() {
            if index == code {
                out.push(' ');
            }
            out.push(if index < hidden { 'X' } else { digit });
        }
        out
    }

    /// The number without its last three digits. Neighbours share it: many of
    /// them in a row are how text messages are pumped.
    #[must_use]
    pub fn range(&self) -> String {
        let end = self.e164.len().saturating_sub(RANGE_DIGITS);
        self.e164.get(..end).unwrap_or_default().to_owned()
    }
}

/// Checks that `code` is a country with phones: ISO 3166-1 alpha-2, in capitals.
///
/// # Errors
/// [`Invalid`] naming `field` when no calling code is known for it.
pub fn check_country(field: &str, code: &str) -> Result<(), Invalid> {
    if code.is_empty() {
        return Err(Invalid::new(field, "is required"));
    }
    let formed = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if formed && DATABASE.by_id(code).is_some() {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            "must be a country as ISO 3166-1 has it: two capital letters",
        ))
    }
}

/// What a number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mobile,
    FixedOrMobile,
    Fixed,
    Premium,
    TollFree,
    SharedCost,
    Voip,
    Personal,
    Pager,
    CompanyAccess,
    Voicemail,
}

impl Kind {
    /// Why it is not for texts, if so.
    fn fault(self) -> Option<&'static str> {
        Some(match self {
            Self::Mobile | Self::FixedOrMobile => return None,
            Self::Fixed => "must be a mobile number, not a fixed line",
            Self::Premium => "must be a mobile number, not a premium-rate one",
            Self::TollFree => "must be a mobile number, not a toll-free one",
            Self::SharedCost => "must be a mobile number, not a shared-cost one",
            Self::Voip => "must be a mobile number, not one of internet telephony",
            Self::Personal => "must be a mobile number, not a personal one that is forwarded",
            Self::Pager => "must be a mobile number, not a pager",
            Self::CompanyAccess => "must be a mobile number, not a company's access number",
            Self::Voicemail => "must be a mobile number, not a voicemail box",
        })
    }
}

/// In which country's plan a national number is, and as what. None: in none.
fn plan_of(code: u16, national: &str) -> Option<(&'static Metadata, Kind)> {
    let plans = DATABASE.by_code(&code)?;
    let shared = plans.len() > 1;
    for plan in plans {
        // Countries that share a calling code either have area codes of their
        // own, or are tried in turn, the biggest first.
        let own_areas = plan.leading_digits().filter(|_| shared);
        match own_areas.map(|areas| areas.find(national)) {
            Some(Some(found)) if found.start() == 0 => {
                return kind_of(plan, national).map(|kind| (plan, kind));
            }
            Some(_) => {}
            None => {
                if let Some(kind) = kind_of(plan, national) {
                    return Some((plan, kind));
                }
            }
        }
    }
    None
}

/// What a number of a plan is for; special kinds go first, as in libphonenumber.
fn kind_of(plan: &Metadata, national: &str) -> Option<Kind> {
    let kinds = plan.descriptors();
    let is = |kind: Option<&Descriptor>| kind.is_some_and(|kind| fits(kind, national));
    if !fits(kinds.general(), national) {
        return None;
    }
    let special = [
        (kinds.premium_rate(), Kind::Premium),
        (kinds.toll_free(), Kind::TollFree),
        (kinds.shared_cost(), Kind::SharedCost),
        (kinds.voip(), Kind::Voip),
        (kinds.personal_number(), Kind::Personal),
        (kinds.pager(), Kind::Pager),
        (kinds.uan(), Kind::CompanyAccess),
        (kinds.voicemail(), Kind::Voicemail),
    ];
    if let Some((_, kind)) = special.into_iter().find(|(kind, _)| is(*kind)) {
        return Some(kind);
    }
    match (is(kinds.fixed_line()), is(kinds.mobile())) {
        (true, true) => Some(Kind::FixedOrMobile),
        (true, false) => Some(Kind::Fixed),
        (false, true) => Some(Kind::Mobile),
        (false, false) => None,
    }
}

/// Whether the whole of `national` fits.
fn fits(kind: &Descriptor, national: &str) -> bool {
    let lengths = kind.possible_length();
    if !lengths.is_empty() && !lengths.iter().any(|l| usize::from(*l) == national.len()) {
        return false;
    }
    regex::RegexBuilder::new(&format!("^(?:{})$", kind.national_number()))
        .ignore_whitespace(true)
        .unicode(false)
        .build()
        .is_ok_and(|pattern| pattern.is_match(national))
}

/// How many digits the calling code has at the beginning of `digits`: 1 to 3, no
/// code being the beginning of another (ITU-T E.164, annex to list of codes).
fn calling_code_digits(digits: &str) -> usize {
    (1..=3)
        .find(|length| {
            let code = digits.get(..*length).and_then(|code| code.parse().ok());
            code.is_some_and(|code: u16| DATABASE.by_code(&code).is_some())
        })
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "phone_number_tests.rs"]
mod tests;
