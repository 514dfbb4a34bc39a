#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests"
)]

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<PhoneNumber, String> {
    PhoneNumber::parse("number", text).map_err(|invalid| invalid.to_string())
}

/// Many are the tables' own examples: numbers that regulators keep for fiction
/// (Ofcom's 07700 900xxx) are in no range that was handed out, hence not valid.
#[test]
fn mobile_numbers_of_many_plans() {
    for (text, e164, country, masked) in [
        ("+32470123456", "+32470123456", "BE", "+XX XXXXXXX56"),
        ("+32 (0)470/12.34.56", "+32470123456", "BE", "+XX XXXXXXX56"),
        ("+31 6 12345678", "+31612345678", "NL", "+XX XXXXXXX78"),
        (
            "+33 (0) 6.12.34.56.40",
            "+33612345640",
            "FR",
            "+XX XXXXXXX40",
        ),
        (
            "+49 1512 3456789",
            "+4915123456789",
            "DE",
            "+XX XXXXXXXXX89",
        ),
        ("+44 7400 123456", "+447400123456", "GB", "+XX XXXXXXXX56"),
        // Guernsey, in Britain's plan.
        ("+44 7781 123456", "+447781123456", "GG", "+XX XXXXXXXX56"),
        ("+1 202-555-0173", "+12025550173", "US", "+X XXXXXXXX73"),
        ("+1 (506) 234-5678", "+15062345678", "CA", "+X XXXXXXXX78"),
        ("+1 876 210 1234", "+18762101234", "JM", "+X XXXXXXXX34"),
        ("+352 628 123 456", "+352628123456", "LU", "+XXX XXXXXXX56"),
        ("+39 312 345 6789", "+393123456789", "IT", "+XX XXXXXXXX89"),
        // A leading zero that stays.
        (
            "+225 01 23 45 6789",
            "+2250123456789",
            "CI",
            "+XXX XXXXXXXX89",
        ),
        ("+7 912 345-67-89", "+79123456789", "RU", "+X XXXXXXXX89"),
        ("+7 771 000 9998", "+77710009998", "KZ", "+X XXXXXXXX98"),
        ("+881 612 345 678", "+881612345678", "001", "+XXX XXXXXXX78"),
    ] {
        let number = parse(text)
            .map_err(|fault| format!("{text}: {fault}"))
            .unwrap();
        assert_eq!(
            (number.e164(), number.country(), number.masked().as_str()),
            (e164, country, masked),
            "{text}"
        );
        assert_eq!(parse(e164).unwrap(), number, "{text}");
        let stored = PhoneNumber::from_stored(e164.into(), country.into());
        assert_eq!(stored, number, "{text}");
        assert_eq!(format!("{number:?}"), format!("PhoneNumber({masked})"));
    }
}

#[test]
fn what_receives_no_texts_is_refused_by_name() {
    for (text, word) in [
        ("+32 2 555 12 12", "fixed line"),
        ("+39 06 6988 1234", "fixed line"),
        ("+32 903 12 345", "premium-rate"),
        ("+1 900 234 5678", "premium-rate"),
        ("+32 800 12 345", "toll-free"),
        ("+800 1234 5678", "toll-free"),
        ("+49 180 12345", "shared-cost"),
        ("+33 9 12 34 56 78", "internet telephony"),
        ("+44 70 1234 5678", "personal"),
        ("+44 7640 123456", "pager"),
        ("+49 18 500123456", "company's access"),
        ("+49 177 99 1234567", "voicemail"),
        ("+44 7700 900123", "valid phone number"),
        // In no range of the plan, too short, too long, no such country.
        ("+32 100 000 000", "valid phone number"),
        ("+32 470 12 34", "valid phone number"),
        ("+32 470 12 34 56 78", "valid phone number"),
        ("+999 470 12 34 56", "valid phone number"),
        ("+", "valid phone number"),
        ("+()", "valid phone number"),
        ("0470123456", "begin with '+'"),
        ("0032470123456", "begin with '+'"),
        ("", "is required"),
        (" \t", "is required"),
        ("+32 47O 12 34 56", "digits, spaces"),
        ("+32470123456;ext=1", "digits, spaces"),
        ("+32 ٤٧٠ 12 34 56", "digits, spaces"),
        ("++32470123456", "digits, spaces"),
    ] {
        let problem = parse(text).unwrap_err();
        assert!(problem.starts_with("number: "), "{text}: {problem}");
        assert!(problem.contains(word), "{text}: {problem}");
        assert!(
            !problem.bytes().any(|b| b.is_ascii_digit()),
            "{text}: {problem}"
        );
    }
}

#[test]
fn neighbours_share_a_range() {
    let range = |text: &str| parse(text).unwrap().range();
    assert_eq!(range("+32470123456"), "+32470123");
    assert_eq!(range("+32470123000"), range("+32470123999"));
    assert_ne!(range("+32470124000"), range("+32470123000"));
}

#[test]
fn countries() {
    for code in ["BE", "NL", "US", "GG", "XK"] {
        check_country("c", code).unwrap();
    }
    for code in ["", "be", "Be", "B", "BEL", "ZZ", "001", "32", "é"] {
        assert!(check_country("c", code).is_err(), "{code}");
    }
}

/// Every calling code of the tables followed by any digits.
fn plausible() -> impl Strategy<Value = String> {
    let codes: Vec<u16> = (1..1000)
        .filter(|code: &u16| DATABASE.by_code(code).is_some())
        .collect();
    (prop::sample::select(codes), "[0-9]{1,14}").prop_map(|(code, rest)| format!("+{code}{rest}"))
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,70}") {
        let _checked = parse(&text).is_ok();
    }

    #[test]
    fn masks_hide_all_but_two_digits(text in plausible()) {
        let number = PhoneNumber::from_stored(text.clone(), "BE".into());
        let masked = number.masked();
        prop_assert_eq!(masked.chars().filter(char::is_ascii_digit).count(), 2);
        prop_assert_eq!(&masked.replace(' ', "")[text.len() - 2..], &text[text.len() - 2..]);
        if let Ok(number) = parse(&text) {
            prop_assert_eq!(number.masked().chars().filter(|c| *c == ' ').count(), 1);
            prop_assert!(number.e164().len() <= 16);
            prop_assert_eq!(&parse(number.e164()).unwrap(), &number);
        }
    }

    #[test]
    fn a_broken_record_masks_too(text in "\\PC{0,20}") {
        let masked = PhoneNumber::from_stored(text, String::new()).masked();
        prop_assert!(masked.starts_with('+'));
    }
}
