//! Codes that a person types on the sign-in page: digits out of a text message,
//! and recovery codes.

use super::crockford;

/// Random bytes for one code.
pub type CodeRandom = [u8; 16];

/// Characters of a recovery code, 5 bits each: 80 bits, where NIST SP 800-63B-4,
/// section 3.1.2.1, asks for 64 at least.
pub const RECOVERY_CHARS: usize = 16;
/// Most digits of a code.
pub const MAX_DIGITS: u32 = 10;
/// Longer texts are no codes.
const MAX_TEXT_BYTES: usize = 64;

/// A code of `count` decimal digits (at most 10), zeros in front included. The
/// 128 random bits are reduced modulo 10^`count`: no code is likelier than
/// another by more than 10^10 / 2^128 < 2^-94.
#[must_use]
pub fn digits(random: &CodeRandom, count: u32) -> String {
    let count = count.min(MAX_DIGITS);
    let codes = 10_u128.saturating_pow(count);
    let code = u128::from_be_bytes(*random)
        .checked_rem(codes)
        .unwrap_or_default();
    let width = usize::try_from(count).unwrap_or_default();
    format!("{code:0width$}")
}

/// What was typed as a code of `count` digits: spaces and dashes don't matter,
/// digits of other scripts are none. `None` unless `count` digits are left.
#[must_use]
pub fn normalise_digits(text: &str, count: u32) -> Option<String> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let typed: String = text
        .trim()
        .chars()
        .filter(|c| !crockford::is_separator(*c))
        .collect();
    let wanted = usize::try_from(count).ok()?;
    (typed.len() == wanted && typed.bytes().all(|byte| byte.is_ascii_digit())).then_some(typed)
}

/// A recovery code as it is shown: `XXXX-XXXX-XXXX-XXXX`, Crockford's base32.
#[must_use]
pub fn recovery_code(random: &CodeRandom) -> String {
    crockford::grouped(&crockford::encode(random))
}

/// What was typed as a recovery code, as 16 characters without hyphens: case,
/// spaces and dashes don't matter, O is 0, I and L are 1. `None` when it is no
/// recovery code. Hash this form, both when codes are made and when one is used.
#[must_use]
pub fn normalise_recovery(text: &str) -> Option<String> {
    crockford::normalise(text.trim(), RECOVERY_CHARS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_are_the_end_of_a_large_number() {
        let number = |value: u128| value.to_be_bytes();
        assert_eq!(digits(&number(7), 6), "000007");
        assert_eq!(digits(&number(1_234_567), 6), "234567");
        assert_eq!(digits(&number(u128::MAX), 10), "1768211455");
        assert_eq!(digits(&number(u128::MAX), 6), "211455");
        assert_eq!(digits(&number(12), 0), "0");
        assert_eq!(digits(&number(1), 11), "0000000001");
    }

    #[test]
    fn every_bit_of_the_randomness_counts() {
        for bit in 0..128 {
            let code = digits(&(1_u128 << bit).to_be_bytes(), 10);
            assert_ne!(code, "0000000000", "{bit}");
        }
    }

    #[test]
    fn typed_digits() {
        for typed in ["123456", " 123 456\n", "123-456", "1\u{a0}2\u{2011}3456"] {
            assert_eq!(normalise_digits(typed, 6).as_deref(), Some("123456"));
        }
        for typed in [
            "",
            "12345",
            "1234567",
            "12345a",
            "+123456",
            "١٢٣٤٥٦",
            "１２３４５６",
            "12345²",
            "1234.56",
        ] {
            assert_eq!(normalise_digits(typed, 6), None, "{typed}");
        }
        assert_eq!(normalise_digits(&" ".repeat(65), 0), None);
    }

    #[test]
    fn recovery_codes_forgive_typing_errors() {
        let random = [0, 1, 2, 3, 10, 17, 18, 19, 30, 31, 32, 33, 0, 1, 255, 8];
        let code = recovery_code(&random);
        assert_eq!(code, "0123-AHJK-YZ01-01Z8");
        for typed in [
            "0123-AHJK-YZ01-01Z8",
            " o12 3ahjkyzO1ol-z8 ",
            "OI23 AHJK YZ0L 0iZ8\t",
        ] {
            assert_eq!(
                normalise_recovery(typed).as_deref(),
                Some("0123AHJKYZ0101Z8"),
                "{typed}"
            );
        }
        for typed in ["", "0123", "0123-AHJK-YZ01-01ZU", "0123-AHJK-YZ01-01Z8-0"] {
            assert_eq!(normalise_recovery(typed), None, "{typed}");
        }
    }

    proptest! {
        #[test]
        fn what_was_made_is_read_back(random: CodeRandom, count in 1_u32..=10) {
            let code = digits(&random, count);
            prop_assert_eq!(code.len(), usize::try_from(count).unwrap());
            prop_assert_eq!(normalise_digits(&code, count), Some(code));
            let code = recovery_code(&random);
            prop_assert_eq!(normalise_recovery(&code), Some(code.replace('-', "")));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,70}") {
            for typed in [normalise_digits(&text, 6), normalise_recovery(&text)].into_iter().flatten() {
                prop_assert!(typed.is_ascii());
            }
        }
    }
}
