//! Text in columns: what it takes up, how it is cut, filled and broken.

use unicode_width::UnicodeWidthChar as _;

use super::quantity::THIN;

/// Columns a text takes up in a terminal.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text, or its beginning and an ellipsis, in at most `most` columns.
pub(super) fn cut(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let (mut kept, _) = head(text, most.saturating_sub(1));
    if most > 0 {
        kept.push('…');
    }
    kept
}

/// As much of the beginning as fits into `most` columns, and the rest.
fn head(text: &str, most: usize) -> (String, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > most {
            let (head, rest) = text.split_at(at);
            return (head.to_owned(), rest);
        }
    }
    (text.to_owned(), "")
}

/// In exactly `width` columns, on the left.
pub(super) fn left(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let room = width.saturating_sub(columns(&text));
    text + &" ".repeat(room)
}

/// In at least `width` columns, on the right.
pub(super) fn right(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(columns(text))) + text
}

/// In lines of at most `width` columns, broken at spaces, or within a word that
/// is longer.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    // A character may take two columns.
    let width = width.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        if !line.is_empty() {
            if columns(&line) + 1 + columns(word) <= width {
                line.push(' ');
            } else {
                lines.push(std::mem::take(&mut line));
            }
        }
        while columns(&line) + columns(rest) > width {
            let (start, end) = head(rest, width);
            lines.push(start);
            rest = end;
        }
        line.push_str(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// For a terminal: on one line, nothing that steers it, simple spaces.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' | THIN => ' ',
            c if harmful(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Control characters, those that reorder what is around them (Unicode TR 36,
/// 2.4: bidirectional spoofing) and those that are none. Line feed and tab do no
/// harm.
pub(super) fn harmful(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    }
}

/// An argument as a POSIX shell takes it.
pub(super) fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// A command in lines of at most `width` columns that can be pasted as they
/// are; arguments stay whole, options with their values.
pub(super) fn command(arguments: &[String], width: usize) -> Vec<String> {
    let option = |argument: &String| argument.starts_with("--");
    let mut lines = Vec::new();
    let mut line = "device-sim".to_owned();
    for words in arguments.chunk_by(|a, b| option(a) && !a.contains('=') && !option(b)) {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let words = words.join(" ");
        // 2: what continues a line.
        if columns(&line) + 1 + columns(&words) + 2 > width {
            lines.push(line + " \\");
            line = format!("  {words}");
        } else {
            line.push(' ');
            line.push_str(&words);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_long_words_within() {
        assert_eq!(wrap("ab cde  f", 6), ["ab cde", "f"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("a 認証サーバ", 4), ["a", "認証", "サー", "バ"]);
        assert!(wrap(" ", 5).is_empty());
        for width in 0..9 {
            let lines = wrap("認証 abc サーバ-xyz", width);
            assert!(
                lines.iter().all(|line| columns(line) <= width.max(2)),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn cutting_counts_columns() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("認証", 3), "認…");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(left("認", 4), "認  ");
        assert_eq!(right("µs", 4), "  µs");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            clean("a\u{1b}[2J\u{7}b\n\u{202e}c\u{9b}"),
            "a\u{fffd}[2J\u{fffd}b \u{fffd}c\u{fffd}"
        );
    }

    #[test]
    fn a_command_can_be_pasted() {
        let arguments = [
            "load", "--note", "it's a", "", "$(x)", "--rate=5", "b", "--json",
        ];
        assert_eq!(
            command(&arguments.map(str::to_owned), 26),
            [
                r"device-sim load \",
                r"  --note 'it'\''s a' '' \",
                r"  '$(x)' --rate=5 b \",
                "  --json",
            ]
        );
    }
}
