//! Text from a challenge, made harmless for a terminal.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Marks that stack on one character in real languages; more are a trick.
const MAX_MARKS: usize = 3;

/// `text` without anything that could move the cursor, hide, reorder or fake
/// what stands around it. White space becomes a space; control characters
/// (C0, C1, escape sequences' beginnings), bidirectional overrides, invisible
/// characters and tags become U+FFFD, so that the user sees that something was
/// there.
#[must_use]
pub fn plain_text(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars() {
        if matches!(c, '\u{200C}' | '\u{200D}') || c.width() == Some(0) && !is_hidden(c) {
            marks += 1;
            if marks <= MAX_MARKS && !plain.is_empty() {
                plain.push(c);
            }
            continue;
        }
        marks = 0;
        if c.is_whitespace() {
            plain.push(' ');
        } else if c.is_control() || is_hidden(c) {
            plain.push(char::REPLACEMENT_CHARACTER);
        } else {
            plain.push(c);
        }
    }
    plain.trim().to_owned()
}

/// Default-ignorable format characters (Unicode 16, 4.23, general category Cf
/// and kin) other than the joiners that Indic and Arabic scripts need.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFFB}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Columns that `text` takes in a terminal.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` in lines of at most `columns`, broken at spaces where there are any.
/// At least one line.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if width(&line) + c.width().unwrap_or(0) > columns {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_challenge_reaches_the_terminal_as_a_command() {
        let hostile = "Web\u{1b}[2J\u{1b}]0;title\u{7}mail\u{9b}31m\r\n\u{8}\u{7f}\u{0}";
        assert_eq!(
            plain_text(hostile),
            "Web\u{FFFD}[2J\u{FFFD}]0;title\u{FFFD}mail\u{FFFD}31m  \u{FFFD}\u{FFFD}\u{FFFD}"
        );
        for c in (0..=0x10FFFF).filter_map(char::from_u32) {
            let plain = plain_text(&format!("a{c}b"));
            assert!(!plain.chars().any(char::is_control), "{c:?}");
            assert_eq!(plain.lines().count(), 1, "{c:?}");
        }
    }

    #[test]
    fn nothing_is_reordered_or_hidden() {
        assert_eq!(plain_text("a\u{202E}b\u{2066}c"), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(plain_text("a\u{200B}b\u{FEFF}"), "a\u{FFFD}b\u{FFFD}");
        assert_eq!(plain_text("x\u{E0041}"), "x\u{FFFD}");
        assert_eq!(plain_text("a\u{2028}b\u{85}c"), "a b c");
        let stacked = format!("a{}", "\u{0301}".repeat(50));
        assert_eq!(plain_text(&stacked).chars().count(), 1 + MAX_MARKS);
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in [
            "Gent, België",
            "Ωμέγα",
            "サインイン",
            "e\u{0301}te",
            "🦅 Eagle IT",
        ] {
            assert_eq!(plain_text(text), text);
        }
    }

    #[test]
    fn lines_are_never_wider_than_asked_for() {
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        for line in wrap("サインインしますか yes 0123456789", 5) {
            assert!(width(&line) <= 5, "{line}");
        }
    }
}
