//! Phone numbers, and those that fail on purpose.

use super::inbox::Delivery;

/// Why no message can be sent to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberTrouble {
    /// No such number.
    Invalid,
    /// No route to it.
    Unroutable,
    /// A country that the account may not send to.
    Forbidden,
    /// The owner wants no messages.
    Unsubscribed,
    /// It can't receive text messages.
    NotMobile,
}

/// Twilio's magic recipients ("Test Credentials": number and error code) fail at every gateway.
pub(super) fn trouble(to: &str) -> Option<NumberTrouble> {
    match to {
        "+15005550001" => Some(NumberTrouble::Invalid),
        "+15005550002" => Some(NumberTrouble::Unroutable),
        "+15005550003" => Some(NumberTrouble::Forbidden),
        "+15005550004" => Some(NumberTrouble::Unsubscribed),
        "+15005550009" => Some(NumberTrouble::NotMobile),
        _ => None,
    }
}

/// Recipients of our own whose messages are accepted and don't arrive.
pub(super) fn fixed_delivery(to: &str) -> Option<Delivery> {
    match to {
        "+15005550011" => Some(Delivery::Undelivered { error_code: 30003 }),
        "+15005550012" => Some(Delivery::Failed { error_code: 30007 }),
        "+15005550013" => Some(Delivery::Never),
        "+15005550014" => Some(Delivery::Unconfirmed),
        _ => None,
    }
}

/// E.164: a plus sign and up to 15 digits, the first not 0. Seven digits is the shortest number in
/// use.
pub(super) fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(is_e164_digits)
}

/// As [`is_e164`], without the plus sign.
pub(super) fn is_e164_digits(digits: &str) -> bool {
    (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

/// A sender made of letters: up to 11 characters (3GPP TS 23.040, section 9.1.2.5), not all digits.
/// Which characters is Twilio's rule ("Alphanumeric Sender ID"), narrower than the alphabet.
pub(super) fn is_alphanumeric_sender(sender: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" &+-_".contains(&byte);
    (1..=11).contains(&sender.len())
        && sender.bytes().all(allowed)
        && sender.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// A short code: 3 to 8 digits.
pub(super) fn is_short_code(sender: &str) -> bool {
    (3..=8).contains(&sender.len()) && sender.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert!(is_e164("+32470123456"));
        for wrong in [
            "32470123456",
            "+0470123456",
            "+324",
            "+3247012345678901",
            "+32 470",
        ] {
            assert!(!is_e164(wrong), "{wrong}");
        }
        assert!(is_alphanumeric_sender("Countersign"));
        for wrong in ["", "CountersignX", "12345", "Önal", "a/b"] {
            assert!(!is_alphanumeric_sender(wrong), "{wrong}");
        }
    }
}
