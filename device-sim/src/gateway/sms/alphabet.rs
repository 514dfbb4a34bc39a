//! How a text travels in text messages: the GSM 7-bit default alphabet or UCS-2.
//!
//! Source: 3GPP TS 23.038, sections 6.2.1 (default alphabet), 6.2.1.1 (extension table) and 6.2.3
//! (UCS-2); TS 23.040, sections 9.2.3.16 and 9.2.3.24.1 (room left by a concatenation header).

use serde::Serialize;

/// The default alphabet, by code. U+001B is the escape to the extension table.
const DEFAULT: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table: code and character.
const EXTENSION: [(u8, char); 10] = [
    (0x0A, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2F, '\\'),
    (0x3C, '['),
    (0x3D, '~'),
    (0x3E, ']'),
    (0x40, '|'),
    (0x65, '€'),
];
const ESCAPE: u8 = 0x1B;
/// Octets of user data in one message.
pub(super) const USER_DATA_OCTETS: usize = 140;
/// Septets in a message that stands alone, and in one of several.
const GSM_ALONE: usize = 160;
const GSM_PART: usize = 153;
/// UTF-16 code units in a message that stands alone, and in one of several.
const UCS2_ALONE: usize = 70;
const UCS2_PART: usize = 67;

/// How a text is written on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Alphabet {
    /// GSM 7-bit default alphabet with its extension table.
    #[serde(rename = "gsm-7")]
    Gsm7,
    /// UCS-2, in fact UTF-16.
    #[serde(rename = "ucs-2")]
    Ucs2,
}

/// What a text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measure {
    pub(super) alphabet: Alphabet,
    /// Septets or UTF-16 code units.
    pub(super) units: usize,
    pub(super) segments: usize,
}

/// The GSM codes of a character, one or two; none if the alphabet lacks it.
fn codes(c: char) -> Option<(Option<u8>, u8)> {
    if let Some((code, _)) = EXTENSION.iter().find(|(_, extended)| *extended == c) {
        return Some((Some(ESCAPE), *code));
    }
    let position = DEFAULT.chars().position(|one| one == c)?;
    let code = u8::try_from(position).ok()?;
    (code != ESCAPE).then_some((None, code))
}

/// A text in GSM codes, one to an octet; none if a character is not in the alphabet.
pub(super) fn to_gsm(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    for c in text.chars() {
        let (escape, code) = codes(c)?;
        octets.extend(escape);
        octets.push(code);
    }
    Some(octets)
}

/// As [`to_gsm`], with a question mark for what the alphabet lacks.
pub(super) fn to_gsm_lossy(text: &str) -> Vec<u8> {
    text.chars()
        .flat_map(|c| to_gsm(c.encode_utf8(&mut [0; 4])).unwrap_or_else(|| vec![b'?']))
        .collect()
}

/// What a phone shows for GSM codes, one to an octet. The eighth bit is lost when octets are packed
/// into septets. An unknown code of the extension table shows as in the default alphabet (TS
/// 23.038, section 6.2.1.1, note 1 on the table).
pub(super) fn from_gsm(octets: &[u8]) -> String {
    let default = |code: u8| DEFAULT.chars().nth(usize::from(code & 0x7F)).unwrap_or(' ');
    let mut text = String::with_capacity(octets.len());
    let mut escaped = false;
    for octet in octets {
        let code = octet & 0x7F;
        if !escaped && code == ESCAPE {
            escaped = true;
            continue;
        }
        let extended = EXTENSION
            .iter()
            .find(|(extended, _)| escaped && *extended == code)
            .map(|(_, c)| *c);
        text.push(match extended {
            Some(c) => c,
            None if code == ESCAPE => ' ',
            None => default(code),
        });
        escaped = false;
    }
    text
}

/// What a phone shows for UCS-2, big-endian.
pub(super) fn from_ucs2(octets: &[u8]) -> String {
    let (pairs, _) = octets.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    String::from_utf16_lossy(&units)
}

/// Messages on the air for so many septets or code units, where no pair has to stay together.
pub(super) fn segments(alphabet: Alphabet, units: usize) -> usize {
    let (alone, part) = match alphabet {
        Alphabet::Gsm7 => (GSM_ALONE, GSM_PART),
        Alphabet::Ucs2 => (UCS2_ALONE, UCS2_PART),
    };
    if units <= alone {
        1
    } else {
        units.div_ceil(part)
    }
}

/// What a text takes when a provider chooses the alphabet: GSM 7-bit if every character is in it.
/// Neither an escape and its code nor a surrogate pair is torn apart between two segments.
pub(super) fn measure(text: &str) -> Measure {
    let gsm: Option<Vec<usize>> = text
        .chars()
        .map(|c| codes(c).map(|(escape, _)| if escape.is_some() { 2 } else { 1 }))
        .collect();
    let (alphabet, sizes, alone, part) = match gsm {
        Some(sizes) => (Alphabet::Gsm7, sizes, GSM_ALONE, GSM_PART),
        None => {
            let sizes = text.chars().map(char::len_utf16).collect();
            (Alphabet::Ucs2, sizes, UCS2_ALONE, UCS2_PART)
        }
    };
    let units: usize = sizes.iter().sum();
    let mut segments = 1;
    if units > alone {
        let mut used = 0;
        for size in sizes {
            if used + size > part {
                segments += 1;
                used = 0;
            }
            used += size;
        }
    }
    Measure {
        alphabet,
        units,
        segments,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(DEFAULT.chars().count(), 128);
        // Spot checks against TS 23.038: rows and columns of the printed table.
        for (code, c) in [
            (0x00, '@'),
            (0x01, '£'),
            (0x05, 'é'),
            (0x10, 'Δ'),
            (0x1A, 'Ξ'),
            (0x1C, 'Æ'),
            (0x1F, 'É'),
            (0x20, ' '),
            (0x24, '¤'),
            (0x3F, '?'),
            (0x40, '¡'),
            (0x41, 'A'),
            (0x5B, 'Ä'),
            (0x5F, '§'),
            (0x60, '¿'),
            (0x7A, 'z'),
            (0x7B, 'ä'),
            (0x7F, 'à'),
        ] {
            assert_eq!(from_gsm(&[code]), c.to_string());
            assert_eq!(to_gsm(&c.to_string()).unwrap(), [code]);
        }
    }

    #[test]
    fn every_character_there_and_back() {
        let mut all: String = DEFAULT.chars().filter(|c| *c != '\u{1b}').collect();
        all.extend(EXTENSION.iter().map(|(_, c)| c));
        assert_eq!(from_gsm(&to_gsm(&all).unwrap()), all);
        assert_eq!(to_gsm("€").unwrap(), [0x1B, 0x65]);
        for foreign in ["ê", "ç", "`", "\t", "😀", "\u{1b}"] {
            assert_eq!(to_gsm(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn what_was_not_meant_shows_as_on_a_phone() {
        // UTF-8 sent as if it were GSM codes.
        assert_eq!(from_gsm("é".as_bytes()), "C)");
        assert_eq!(from_gsm(&[0x1B, b'a', 0x1B, 0x1B, b'b', 0x1B]), "a b");
    }

    #[test]
    fn sizes() {
        let of = |text: &str| {
            let measure = measure(text);
            (measure.alphabet, measure.units, measure.segments)
        };
        assert_eq!(of("é{€"), (Alphabet::Gsm7, 5, 1));
        assert_eq!(of(&"a".repeat(160)), (Alphabet::Gsm7, 160, 1));
        assert_eq!(of(&"a".repeat(161)), (Alphabet::Gsm7, 161, 2));
        assert_eq!(of(&"a".repeat(306)), (Alphabet::Gsm7, 306, 2));
        // 153 is odd: the pair at the seam moves on.
        assert_eq!(of(&"€".repeat(153)), (Alphabet::Gsm7, 306, 3));
        assert_eq!(of(&"ê".repeat(70)), (Alphabet::Ucs2, 70, 1));
        assert_eq!(of(&"ê".repeat(71)), (Alphabet::Ucs2, 71, 2));
        assert_eq!(of("😀"), (Alphabet::Ucs2, 2, 1));
        assert_eq!(of(""), (Alphabet::Gsm7, 0, 1));
        assert_eq!(from_ucs2(&[0x20, 0xAC, 0xD8, 0x3D, 0xDE, 0x00]), "€😀");
    }
}
