//! What stands in a frame: the prompt and the notification.

use super::{width, wrap};

/// Widest and narrowest frame, borders included.
pub(super) const WIDEST: usize = 66;
pub(super) const NARROWEST: usize = 24;

/// Bold and coloured text, or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    /// Whether escape sequences (ECMA-48 SGR) are used at all.
    pub colour: bool,
}

impl Paint {
    /// Bold.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    /// Dim.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// Bold red.
    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    /// Bold green.
    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.sgr("1;32", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Lines in a frame.
pub(super) struct Frame {
    /// Columns inside.
    pub(super) inner: usize,
    pub(super) paint: Paint,
    pub(super) lines: Vec<String>,
}

/// One of [`Paint`]'s.
pub(super) type Colour = fn(Paint, &str) -> String;

impl Frame {
    pub(super) fn new(columns: usize, paint: Paint) -> Self {
        Self {
            inner: columns.clamp(NARROWEST, WIDEST) - 4,
            paint,
            lines: Vec::new(),
        }
    }

    pub(super) fn top(&mut self) {
        self.lines.push(format!("╭{}╮", "─".repeat(self.inner + 2)));
    }

    pub(super) fn bottom(&mut self) {
        self.lines.push(format!("╰{}╯", "─".repeat(self.inner + 2)));
    }

    pub(super) fn empty(&mut self) {
        self.row("", "");
    }

    /// `plain` says how wide `shown` is.
    pub(super) fn row(&mut self, plain: &str, shown: &str) {
        let padding = " ".repeat(self.inner.saturating_sub(width(plain)));
        self.lines.push(format!("│ {shown}{padding} │"));
    }

    pub(super) fn text(&mut self, text: &str, colour: Colour) {
        if !text.is_empty() {
            for line in wrap(text, self.inner) {
                self.row(&line, &colour(self.paint, &line));
            }
        }
    }
}
