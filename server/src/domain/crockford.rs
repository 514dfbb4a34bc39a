//! Crockford's base32: codes that people copy by hand.
//! <https://www.crockford.com/base32.html>; without its check symbol.

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters between two hyphens.
const GROUP: usize = 4;
/// Longer texts are no codes.
const MAX_TEXT_BYTES: usize = 128;

/// The characters for the low five bits of each byte.
pub(super) fn encode(random: &[u8]) -> String {
    random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte & 31)))
        .map(|byte| char::from(*byte))
        .collect()
}

/// Reads what a person typed: case, spaces and dashes don't matter, O is 0, I and
/// L are 1. `None` unless it has `length` characters.
pub(super) fn normalise(text: &str, length: usize) -> Option<String> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let mut chars = String::with_capacity(length);
    for c in text.chars().filter(|c| !is_separator(*c)) {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let known = u8::try_from(c).is_ok_and(|byte| ALPHABET.contains(&byte));
        known.then_some(())?;
        chars.push(c);
    }
    (chars.len() == length).then_some(chars)
}

/// For people: groups of four, hyphens between them.
pub(super) fn grouped(chars: &str) -> String {
    let mut out = String::with_capacity(chars.len().saturating_add(chars.len() / GROUP));
    for (index, c) in chars.chars().enumerate() {
        if index > 0 && index % GROUP == 0 {
            out.push('-');
        }
        out.push(c);
    }
    out
}

/// What people and their keyboards put between the groups of a code.
pub(super) fn is_separator(c: char) -> bool {
    matches!(
        c,
        ' ' | '-' | '\u{a0}' | '\u{202f}' | '\u{2010}'..='\u{2014}'
    )
}
