//! The GSM 7 bit default alphabet (3GPP TS 23.038, section 6.2.1), in which 160
//! characters go into one message instead of 70.

use crate::domain::context::is_disguising;

/// Septets of one message (3GPP TS 23.040: 140 bytes of user data).
pub const SEGMENT: usize = 160;
/// What stands for the rest of a text that was cut.
const CUT: &str = "...";

/// One septet each, in order of their codes. The gap is the escape code 0x1B.
const BASIC: [&str; 2] = [
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ",
    "ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà",
];
/// Two septets each: escape and a code (section 6.2.1.1).
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

fn septets_of(c: char) -> Option<usize> {
    if BASIC.iter().any(|half| half.contains(c)) {
        Some(1)
    } else {
        EXTENSION.contains(c).then_some(2)
    }
}

/// How many septets a text takes; `None` when it has a character that the
/// alphabet does not.
#[must_use]
pub fn septets(text: &str) -> Option<usize> {
    text.chars()
        .try_fold(0_usize, |sum, c| Some(sum.saturating_add(septets_of(c)?)))
}

/// A name in letters of the alphabet, on one line: é stays, ç becomes c, other
/// scripts are transliterated, what shows nothing goes. So does the at sign,
/// for a browser takes what follows one for the host of a sign-in page.
#[must_use]
pub fn transliterate(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_whitespace() || c == '@' {
            out.push(' ');
        } else if septets_of(c).is_some() {
            out.push(c);
        } else if !is_disguising(c) {
            let ascii = deunicode::deunicode_char(c).unwrap_or_default();
            out.extend(ascii.chars().map(|c| match c {
                '`' => '\'',
                '@' => ' ',
                c if septets_of(c).is_some() => c,
                _ => ' ',
            }));
        }
    }
    let words: Vec<&str> = out.split_whitespace().collect();
    words.join(" ")
}

/// The text if it takes no more than `room` septets, else as much of its
/// beginning as fits, and three dots. Characters outside the alphabet are left
/// out.
#[must_use]
pub fn fit(text: &str, room: usize) -> String {
    let known = |c: &char| septets_of(*c).is_some();
    if septets(text).is_some_and(|taken| taken <= room) {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = room.saturating_sub(CUT.len());
    for c in text.chars().filter(known) {
        match left.checked_sub(septets_of(c).unwrap_or(2)) {
            Some(rest) => left = rest,
            None => break,
        }
        kept.push(c);
    }
    let kept = kept.trim_end_matches([' ', '.', ',', '-']);
    let dots = CUT.get(..room.min(CUT.len())).unwrap_or_default();
    format!("{kept}{dots}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_alphabet_is_whole() {
        let [low, high] = BASIC.map(|half| half.chars().count());
        assert_eq!((low, high), (27, 100));
        assert_eq!(EXTENSION.chars().count(), 10);
        let mut all: Vec<char> = BASIC.concat().chars().chain(EXTENSION.chars()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 137);
        // The only printable ASCII character without a place.
        let missing: String = (' '..='~').filter(|c| septets_of(*c).is_none()).collect();
        assert_eq!(missing, "`");
    }

    #[test]
    fn extension_characters_count_twice() {
        for (text, taken) in [
            ("", Some(0)),
            ("Één? Nee!", Some(9)),
            ("€ 5", Some(4)),
            ("{[^~|\\]}", Some(16)),
            ("ça", None),
            ("’", None),
            ("я", None),
            ("\t", None),
        ] {
            assert_eq!(septets(text), taken, "{text}");
        }
    }

    #[test]
    fn names_keep_what_they_can() {
        for (name, wanted) in [
            ("Eagle IT BVBA", "Eagle IT BVBA"),
            ("Café Zürich & Ñandú", "Café Zürich & Ñandu"),
            ("Français Garçon", "Francais Garcon"),
            ("“L’Hôpital” – Liège…", "\"L'Hopital\" - Liège..."),
            ("Пример ООО", "Primer OOO"),
            ("北京", "Bei Jing"),
            ("a\u{202e}b\u{200b}c\nd\te", "abc d e"),
            ("Bank @evil.example #123456", "Bank evil.example #123456"),
            ("＠evil `x`", "evil 'x'"),
            ("\u{200b}\u{2060}", ""),
        ] {
            assert_eq!(transliterate(name), wanted, "{name}");
        }
        // Greek capitals are in the alphabet, small letters are not.
        assert_eq!(transliterate("ΔΣδσ"), "ΔΣds");
    }

    #[test]
    fn cut_where_room_ends() {
        for (text, room, wanted) in [
            ("Eagle IT", 8, "Eagle IT"),
            ("Eagle IT", 7, "Eagl..."),
            ("Eagle IT BVBA", 11, "Eagle IT..."),
            ("Eagle IT BVBA", 12, "Eagle IT..."),
            ("€€€€", 8, "€€€€"),
            ("€€€€", 7, "€€..."),
            ("€€€€", 6, "€..."),
            ("Eagle", 3, "..."),
            ("Eagle", 2, ".."),
            ("Eagle", 0, ""),
        ] {
            assert_eq!(fit(text, room), wanted, "{text} {room}");
        }
    }

    proptest! {
        #[test]
        fn any_name_becomes_gsm_and_fits(name in "\\PC{0,60}|.{0,60}", room in 0_usize..40) {
            let spelled = transliterate(&name);
            prop_assert!(septets(&spelled).is_some(), "{spelled:?}");
            prop_assert!(!spelled.contains(['@', '\n', '\r']));
            prop_assert!(septets(&fit(&spelled, room)).unwrap() <= room);
            prop_assert!(septets(&fit(&name, room)).unwrap() <= room);
        }
    }
}
