//! What is shown.

use std::io::{IsTerminal as _, Write};

use crate::prompt::{Paint, width};

/// Lines that stay, with one card below them that changes, and an entry field
/// below that. On a terminal both are redrawn in their place; elsewhere a changed
/// card is written again only when the caller says that it is a new one, and the
/// field never.
pub struct Screen {
    out: Box<dyn Write + Send>,
    in_place: bool,
    paint: Paint,
    card: Vec<String>,
    field: Option<String>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Screen(in_place: {})", self.in_place)
    }
}

impl Screen {
    /// Standard output. `in_place`: whether the card may be redrawn there;
    /// colours are used on a terminal unless `NO_COLOR` (no-color.org) or
    /// `TERM=dumb` is set.
    #[must_use]
    pub fn stdout(in_place: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb;
        Self::new(
            Box::new(std::io::stdout()),
            in_place && !dumb,
            Paint { colour },
        )
    }

    /// Any writer.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, in_place: bool, paint: Paint) -> Self {
        Self {
            out,
            in_place,
            paint,
            card: Vec::new(),
            field: None,
        }
    }

    /// How to colour.
    #[must_use]
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// Columns of the terminal; 80 where there is none.
    #[must_use]
    pub fn columns(&self) -> usize {
        if self.in_place {
            crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns))
        } else {
            80
        }
    }

    /// Writes a line that stays, above the card. On a terminal it is broken between words.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn say(&mut self, line: &str) -> std::io::Result<()> {
        if !self.in_place {
            return self.say_exactly(line);
        }
        let columns = self.columns();
        let lines: Vec<_> = line
            .split('\n')
            .flat_map(|line| broken(line, columns))
            .collect();
        self.say_exactly(&lines.join("\n"))
    }

    /// As [`Screen::say`], for what must stay as it is: a drawing, a command to be copied.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn say_exactly(&mut self, line: &str) -> std::io::Result<()> {
        self.erase()?;
        for line in line.split('\n') {
            self.line(line)?;
        }
        if self.in_place {
            self.draw()?;
        }
        self.out.flush()
    }

    /// Puts `card` (none: no lines) in place of the last one. `new`: it is not
    /// just the last one with another digit.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn card(&mut self, card: Vec<String>, new: bool) -> std::io::Result<()> {
        if card == self.card {
            return Ok(());
        }
        self.erase()?;
        self.card = card;
        if self.in_place || new {
            self.draw()?;
        }
        self.out.flush()
    }

    /// Puts `field` in place of the last one; it has to fit into one line.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn field(&mut self, field: Option<String>) -> std::io::Result<()> {
        if !self.in_place || field == self.field {
            return Ok(());
        }
        self.erase()?;
        self.field = field;
        self.draw()?;
        self.out.flush()
    }

    fn draw(&mut self) -> std::io::Result<()> {
        for line in self.card.clone().iter().chain(&self.field.clone()) {
            self.line(line)?;
        }
        Ok(())
    }

    /// Raw mode needs the carriage return.
    fn line(&mut self, line: &str) -> std::io::Result<()> {
        let end = if self.in_place { "\r\n" } else { "\n" };
        write!(self.out, "{line}{end}")
    }

    /// Cursor to the card's first line, then erase below (ECMA-48 CPL, ED).
    fn erase(&mut self) -> std::io::Result<()> {
        let lines = self.card.len() + usize::from(self.field.is_some());
        if self.in_place && lines > 0 {
            write!(self.out, "\u{1b}[{lines}F\u{1b}[J")?;
        }
        Ok(())
    }
}

/// `line` in lines of at most `columns`, broken between words. A word that is longer stays whole;
/// escape sequences take no room.
fn broken(line: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut used = 0;
    for (index, word) in line.split(' ').enumerate() {
        let room = visible_width(word);
        if index > 0 {
            if used + 1 + room > columns && used > 0 {
                lines.push(std::mem::take(&mut current));
                used = 0;
            } else {
                current.push(' ');
                used += 1;
            }
        }
        current.push_str(word);
        used += room;
    }
    lines.push(current);
    lines
}

/// Columns of text without its escape sequences (ECMA-48 CSI: up to a letter).
fn visible_width(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().map_or(0, width);
    let after = |part: &str| {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        let rest = end.and_then(|end| part.get(end + 1..));
        rest.map_or(0, width)
    };
    first + parts.map(after).sum::<usize>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn play(in_place: bool) -> String {
        let paper = Paper::default();
        let mut screen = Screen::new(Box::new(paper.clone()), in_place, Paint { colour: false });
        screen
            .card(vec!["a".to_owned(), "_".to_owned()], true)
            .unwrap();
        screen
            .card(vec!["a".to_owned(), "4".to_owned()], false)
            .unwrap();
        screen.say("gone").unwrap();
        screen.card(Vec::new(), true).unwrap();
        String::from_utf8(paper.0.lock().clone()).unwrap()
    }

    #[test]
    fn on_a_terminal_the_card_is_redrawn_in_its_place() {
        let up = "\u{1b}[2F\u{1b}[J";
        let expected = format!("a\r\n_\r\n{up}a\r\n4\r\n{up}gone\r\na\r\n4\r\n{up}");
        assert_eq!(play(true), expected);
    }

    #[test]
    fn the_field_stays_below_the_card() {
        let paper = Paper::default();
        let mut screen = Screen::new(Box::new(paper.clone()), true, Paint { colour: false });
        screen.field(Some("Code: _".to_owned())).unwrap();
        screen.card(vec!["a".to_owned()], true).unwrap();
        screen.field(None).unwrap();
        screen.card(Vec::new(), true).unwrap();
        let up = |lines| format!("\u{1b}[{lines}F\u{1b}[J");
        let expected = format!(
            "Code: _\r\n{}a\r\nCode: _\r\n{}a\r\n{}",
            up(1),
            up(2),
            up(1)
        );
        assert_eq!(String::from_utf8(paper.0.lock().clone()).unwrap(), expected);
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(broken("", 7), [""]);
        assert_eq!(broken("  indented words", 11), ["  indented", "words"]);
        assert_eq!(
            broken("a countersign://enroll b", 5),
            ["a", "countersign://enroll", "b"]
        );
        let bold = Paint { colour: true }.bold("two");
        let line = format!("one {bold} three");
        assert_eq!(
            broken(&line, 7),
            [format!("one {bold}"), "three".to_owned()]
        );
    }

    #[test]
    fn elsewhere_a_card_is_written_once_and_nothing_is_erased() {
        assert_eq!(play(false), "a\n_\ngone\n");
    }
}
