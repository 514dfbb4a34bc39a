//! The GSM 7-bit default alphabet (3GPP TS 23.038, section 6.2.1), one septet
//! to an octet, as SMPP carries it with `data_coding` 0.

/// The basic table; 0x1B leads to the extension.
const BASIC: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å', //
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', '\u{1b}', 'Æ', 'æ', 'ß', 'É', //
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/', //
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?', //
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', //
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§', //
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', //
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];
/// The extension table: what follows 0x1B (section 6.2.1.1).
const EXTENSION: [(char, u8); 10] = [
    ('\u{c}', 0x0a),
    ('^', 0x14),
    ('{', 0x28),
    ('}', 0x29),
    ('\\', 0x2f),
    ('[', 0x3c),
    ('~', 0x3d),
    (']', 0x3e),
    ('|', 0x40),
    ('€', 0x65),
];
const ESCAPE: u8 = 0x1b;

/// `text` in the default alphabet; none if a character is not in it.
pub(super) fn encode(text: &str) -> Option<Vec<u8>> {
    let mut septets = Vec::with_capacity(text.len());
    for c in text.chars() {
        let basic = BASIC.iter().position(|known| *known == c);
        match basic.and_then(|position| u8::try_from(position).ok()) {
            Some(ESCAPE) => return None,
            Some(septet) => septets.push(septet),
            None => {
                let (_, septet) = EXTENSION.iter().find(|(known, _)| *known == c)?;
                septets.extend([ESCAPE, *septet]);
            }
        }
    }
    Some(septets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_their_places() {
        let encoded = |text| encode(text).unwrap_or_default();
        assert_eq!(
            encoded("@Aa0 ~€"),
            [0, 0x41, 0x61, 0x30, 0x20, 0x1b, 0x3d, 0x1b, 0x65]
        );
        assert_eq!(encoded("£éàÜ§_Δ"), [1, 5, 0x7f, 0x5e, 0x5f, 0x11, 0x10]);
        assert_eq!(encode("ê"), None);
        assert_eq!(encode("\u{1b}"), None);
        assert_eq!(encode(""), Some(vec![]));
    }

    #[test]
    fn no_character_stands_twice() {
        let mut all: Vec<char> = BASIC.into_iter().chain(EXTENSION.map(|(c, _)| c)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), BASIC.len() + EXTENSION.len());
    }
}
