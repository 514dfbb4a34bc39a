//! The progress of a run on standard error: one line that is redrawn on a
//! terminal, else a line every ten seconds.

use std::io::{IsTerminal as _, Write as _};

use crossterm::QueueableCommand as _;
use crossterm::cursor::MoveToColumn;
use crossterm::style::Print;
use crossterm::terminal::{self, Clear, ClearType};

use super::layout::{clean, columns, cut};
use super::model::Point;
use super::quantity::{clock, count, micros};

/// Seconds between two lines where nothing can be redrawn.
const PLAIN_EVERY: u64 = 10;
/// Columns where the terminal doesn't tell.
const WIDTH: usize = 80;
/// The bar is as wide as this, twice or three times it: it shall not jump with
/// every digit beside it.
const BAR: usize = 8;
/// How often at most.
const BARS: usize = 3;

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// What it does at the moment: "preparing", "warming up", "" while it
    /// measures.
    pub phase: String,
    /// Seconds since it began.
    pub elapsed_seconds: u64,
    /// Seconds it will take; 0 when that isn't known.
    pub total_seconds: u64,
    /// The last second.
    pub last: Point,
    /// Calls that failed so far.
    pub errors: u64,
}

impl Line {
    /// The line in at most `width` columns. What matters least is left out
    /// first: the bar, the phase, then from the right.
    #[must_use]
    pub fn render(&self, width: usize) -> String {
        let time = if self.total_seconds > 0 {
            format!(
                "{}/{}",
                clock(self.elapsed_seconds),
                clock(self.total_seconds)
            )
        } else {
            clock(self.elapsed_seconds)
        };
        let mut parts = vec![time];
        if self.errors > 0 {
            let s = if self.errors == 1 { "" } else { "s" };
            parts.push(format!("{} error{s}", count(self.errors)));
        }
        let last = &self.last;
        parts.push(format!(
            "{}/{} done/s",
            count(last.completed),
            count(last.offered)
        ));
        if let Some(p99) = last.p99_us {
            parts.push(format!("p99 {}", micros(p99 as f64)));
        }
        parts.push(format!("{} in flight", count(last.in_flight)));
        let mut line = String::new();
        for part in parts {
            let part = clean(&part);
            let gap = if line.is_empty() { "" } else { "  " };
            if columns(&line) + gap.len() + columns(&part) > width {
                break;
            }
            line.push_str(gap);
            line.push_str(&part);
        }
        let phase = clean(&self.phase);
        if !phase.is_empty() && columns(&line) + columns(&phase) + 2 <= width {
            line = format!("{phase}  {line}");
        }
        let bars = (width.saturating_sub(columns(&line) + 1) / BAR).min(BARS);
        if self.total_seconds > 0 && bars > 0 {
            line = format!("{} {line}", self.bar(bars * BAR));
        }
        cut(&line, width)
    }

    fn bar(&self, width: usize) -> String {
        let elapsed = self.elapsed_seconds.min(self.total_seconds) as f64;
        let eighths = (elapsed / self.total_seconds.max(1) as f64 * width as f64 * 8.0) as usize;
        let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let mut bar = "█".repeat(eighths / 8);
        bar.push_str(part.get(eighths % 8).copied().unwrap_or_default());
        let rest = width.saturating_sub(columns(&bar));
        bar + &"░".repeat(rest)
    }
}

/// Where progress is shown. Dropping it removes the line.
pub struct Progress {
    terminal: bool,
    drawn: bool,
    told: Option<u64>,
}

impl Progress {
    /// On standard error.
    #[must_use]
    pub fn on_stderr() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            drawn: false,
            told: None,
        }
    }

    /// Shows it. To be called about once a second. What can't be written is
    /// left out: the run matters more.
    pub fn show(&mut self, line: &Line) {
        let result = if self.terminal {
            let width = terminal::size().map_or(WIDTH, |(columns, _)| usize::from(columns));
            self.drawn = true;
            // The last column is left free: some terminals wrap there.
            redraw(&line.render(width.saturating_sub(1)))
        } else if due(self.told, line.elapsed_seconds) {
            self.told = Some(line.elapsed_seconds);
            writeln!(std::io::stderr(), "{}", plain(line))
        } else {
            Ok(())
        };
        drop(result);
    }

    /// Removes the line, so that something else can be printed.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            drop(redraw(""));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn redraw(line: &str) -> std::io::Result<()> {
    let mut stderr = std::io::stderr().lock();
    stderr
        .queue(MoveToColumn(0))?
        .queue(Print(line))?
        .queue(Clear(ClearType::UntilNewLine))?;
    if line.is_empty() {
        stderr.queue(MoveToColumn(0))?;
    }
    stderr.flush()
}

/// Whether another plain line is due.
fn due(told: Option<u64>, elapsed: u64) -> bool {
    told.is_none_or(|told| elapsed / PLAIN_EVERY != told / PLAIN_EVERY)
}

/// Everything, for a log; no bar.
fn plain(line: &Line) -> String {
    let text = Line {
        total_seconds: 0,
        ..line.clone()
    }
    .render(usize::MAX);
    if line.total_seconds > 0 {
        format!("{text}  of {}", clock(line.total_seconds))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            phase: String::new(),
            elapsed_seconds: 45,
            total_seconds: 120,
            last: Point {
                offered: 2_000,
                completed: 1_987,
                p99_us: Some(8_430),
                in_flight: 12_345,
                ..Point::default()
            },
            errors: 17,
        }
    }

    #[test]
    fn it_fits_and_drops_what_matters_least() {
        let line = line();
        assert_eq!(line.render(40), "0:45/2:00  17 errors  1987/2000 done/s");
        assert_eq!(
            line.render(80),
            "███░░░░░ 0:45/2:00  17 errors  1987/2000 done/s  p99 8.43 ms  12 345 in flight"
        );
        assert_eq!(
            line.render(120),
            "█████████░░░░░░░░░░░░░░░ 0:45/2:00  17 errors  1987/2000 done/s  p99 8.43 ms  12 345 in flight"
        );
        for width in 0..200 {
            let text = line.render(width);
            assert!(columns(&text) <= width, "{width}");
            assert!(width < 9 || !text.contains('…'), "{text}");
        }
    }

    #[test]
    fn no_errors_no_mention() {
        let mut line = line();
        line.errors = 0;
        line.last.in_flight = 3;
        assert_eq!(
            line.render(80),
            "█████████░░░░░░░░░░░░░░░ 0:45/2:00  1987/2000 done/s  p99 8.43 ms  3 in flight"
        );
        line.errors = 1;
        assert!(line.render(80).contains("0:45/2:00  1 error  "));
        line.errors = 0;
        line.phase = "warming up".to_owned();
        assert!(line.render(80).contains(" warming up  0:45/2:00"));
        line.total_seconds = 0;
        line.last.p99_us = None;
        assert_eq!(
            line.render(80),
            "warming up  0:45  1987/2000 done/s  3 in flight"
        );
    }

    #[test]
    fn the_bar_ends_full() {
        let mut line = line();
        for (elapsed, bar) in [
            (0, "░░░░░░░░"),
            (60, "████░░░░"),
            (120, "████████"),
            (999, "████████"),
        ] {
            line.elapsed_seconds = elapsed;
            assert_eq!(line.bar(8), bar);
        }
    }

    #[test]
    fn a_log_gets_a_line_every_ten_seconds() {
        let mut told = None;
        let mut lines = Vec::new();
        for elapsed in [0, 1, 2, 9, 11, 12, 20, 29, 45] {
            if due(told, elapsed) {
                told = Some(elapsed);
                lines.push(elapsed);
            }
        }
        assert_eq!(lines, [0, 11, 20, 45]);
        assert_eq!(
            plain(&line()),
            "0:45  17 errors  1987/2000 done/s  p99 8.43 ms  12 345 in flight  of 2:00"
        );
    }
}
