//! A text message as a phone shows it on its lock screen.

use std::time::SystemTime;

use jiff::tz::TimeZone;

use super::frame::{Frame, Paint};
use super::{plain_text, width, wrap};

/// Widest notification, borders included: about what a phone shows.
const WIDEST: usize = 46;
/// Lines of one text: more than the longest of codes, less than a screen.
const LINES: usize = 12;

/// The notification as lines of text for a terminal of `columns` columns: sender and time, then
/// the text broken at words. The text's own lines stay lines; what could command the terminal does
/// not reach it.
#[must_use]
pub fn notification(
    sender: &str,
    text: &str,
    time: SystemTime,
    zone: &TimeZone,
    columns: usize,
    paint: Paint,
) -> Vec<String> {
    let mut frame = Frame::new(columns.min(WIDEST), paint);
    frame.top();
    heading(&mut frame, sender, &clock(time, zone));
    let mut lines: Vec<String> = text
        .trim_end()
        .split('\n')
        .flat_map(|line| wrap(&plain_text(line), frame.inner))
        .collect();
    if lines.len() > LINES {
        lines.truncate(LINES - 1);
        lines.push("…".to_owned());
    }
    for line in &lines {
        frame.row(line, line);
    }
    frame.bottom();
    frame.lines
}

/// The sender to the left, the time to the right.
fn heading(frame: &mut Frame, sender: &str, clock: &str) {
    let room = frame.inner.saturating_sub(width(clock) + 1);
    let mut sender = wrap(&plain_text(sender), room);
    sender.truncate(1);
    let sender = sender.pop().unwrap_or_default();
    let gap = frame.inner.saturating_sub(width(&sender) + width(clock));
    let gap = " ".repeat(gap);
    let shown = format!(
        "{}{gap}{}",
        frame.paint.bold(&sender),
        frame.paint.dim(clock)
    );
    frame.row(&format!("{sender}{gap}{clock}"), &shown);
}

/// `14:03`.
fn clock(time: SystemTime, zone: &TimeZone) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_zoned(zone.clone()).strftime("%H:%M").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn draw(sender: &str, text: &str, columns: usize) -> String {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_442_580);
        let plain = Paint { colour: false };
        notification(sender, text, time, &TimeZone::UTC, columns, plain).join("\n")
    }

    #[test]
    fn as_on_a_lock_screen() {
        let text = "123456 is uw code voor Webmail. Geef hem aan niemand.\n\n@example.be #123456\n";
        let expected = "\
╭────────────────────────────────────────────╮
│ Countersign                          14:03 │
│ 123456 is uw code voor Webmail. Geef hem   │
│ aan niemand.                               │
│                                            │
│ @example.be #123456                        │
╰────────────────────────────────────────────╯";
        assert_eq!(draw("Countersign", text, 80), expected);
    }

    #[test]
    fn hostile_content_stays_inside_the_frame() {
        let hostile = "\u{1b}[2J\r\n│ 漢字 \u{202E}".repeat(40);
        for columns in [0, 24, 30, 200] {
            let drawn = draw(&hostile, &hostile, columns);
            assert!(!drawn.contains(|c: char| c.is_control() && c != '\n'));
            assert!(!drawn.contains('\u{202E}'));
            assert_eq!(drawn.lines().count(), 3 + LINES);
            for line in drawn.lines() {
                assert_eq!(width(line), columns.clamp(24, WIDEST), "{line}");
            }
        }
    }
}
