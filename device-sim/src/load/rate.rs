//! How many sign-ins a second, and when that changes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The rate over the time of a run, as pieces of equal length, each a level or
/// a ramp: `500/s`, `100..2000/s`, `100,500,1000/s`, `100..1000,1000/s`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Sign-ins per second at the start and at the end of each piece.
    pieces: Vec<(f64, f64)>,
    text: String,
}

/// The fastest that is taken for meant: a thousand times one core's share of
/// the ideal flow.
const FASTEST: f64 = 5_000_000.0;

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (numbers, per) = match text.split_once('/') {
            None => (text, 1.0),
            Some((numbers, "s")) => (numbers, 1.0),
            Some((numbers, "m")) => (numbers, 60.0),
            Some((numbers, "h")) => (numbers, 3600.0),
            Some((_, unit)) => return Err(format!("/{unit} is not /s, /m or /h")),
        };
        let level = |text: &str| -> Result<f64, String> {
            let rate: f64 = text
                .trim()
                .parse()
                .map_err(|_| format!("{text:?} is not a number"))?;
            let rate = rate / per;
            if (0.0..=FASTEST).contains(&rate) {
                Ok(rate)
            } else {
                Err(format!("{text} is not between 0/s and {FASTEST}/s"))
            }
        };
        let mut pieces = Vec::new();
        for piece in numbers.split(',') {
            pieces.push(match piece.split_once("..") {
                Some((from, to)) => (level(from)?, level(to)?),
                None => {
                    let rate = level(piece)?;
                    (rate, rate)
                }
            });
        }
        if pieces.iter().all(|(from, to)| *from == 0.0 && *to == 0.0) {
            return Err("nobody would sign in".to_owned());
        }
        Ok(Self {
            pieces,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Rate {
    /// The pieces over `duration`.
    pub(super) fn over(&self, duration: Duration) -> Course {
        let seconds = duration.as_secs_f64() / self.pieces.len().max(1) as f64;
        let mut before = 0.0;
        let pieces = self
            .pieces
            .iter()
            .enumerate()
            .map(|(index, (from, to))| {
                let piece = Piece {
                    start: index as f64 * seconds,
                    seconds,
                    from: *from,
                    to: *to,
                    before,
                };
                before += piece.arrivals();
                piece
            })
            .collect();
        Course {
            pieces,
            total: before,
        }
    }
}

/// A rate laid over the time of a run. Times in seconds from its start.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pieces: Vec<Piece>,
    /// Sign-ins expected in all.
    pub(super) total: f64,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: f64,
    seconds: f64,
    from: f64,
    to: f64,
    /// Sign-ins expected before its start.
    before: f64,
}

impl Piece {
    fn arrivals(&self) -> f64 {
        self.seconds * (self.from + self.to) / 2.0
    }

    /// When, from its start, `count` sign-ins of its own are due:
    /// `from·t + (to-from)/(2·seconds)·t² = count` for t.
    fn when(&self, count: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        // In this form nothing is lost where the slope is (nearly) zero.
        let root = (self.from * self.from + 2.0 * slope * count)
            .max(0.0)
            .sqrt();
        let time = if self.from + root > 0.0 {
            2.0 * count / (self.from + root)
        } else {
            0.0
        };
        time.clamp(0.0, self.seconds)
    }
}

impl Course {
    /// When `count` sign-ins are due to have started; `None`: not within the
    /// run. The inverse of the expected number, so that equal steps give even
    /// arrivals, and a Poisson process of rate 1 one of this rate.
    pub(super) fn when(&self, count: f64) -> Option<Duration> {
        let piece = self
            .pieces
            .iter()
            .find(|piece| piece.arrivals() > 0.0 && count < piece.before + piece.arrivals())?;
        let seconds = piece.start + piece.when(count - piece.before);
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn course(rate: &str, seconds: u64) -> Course {
        let rate: Rate = rate.parse().unwrap();
        rate.over(Duration::from_secs(seconds))
    }

    #[test]
    fn a_level() {
        for text in ["10", "10/s", "600/m", "36000/h"] {
            let course = course(text, 3);
            assert_eq!(course.total, 30.0, "{text}");
            assert_eq!(course.when(0.0), Some(Duration::ZERO));
            assert_eq!(course.when(5.0), Some(Duration::from_millis(500)));
            assert_eq!(course.when(30.0), None);
        }
    }

    #[test]
    fn a_ramp_is_slow_where_the_rate_is_low() {
        for rate in ["0..100", "100..0"] {
            let course = course(rate, 2);
            assert_eq!(course.total, 100.0);
            let half = course.when(25.0).unwrap().as_secs_f64();
            let expected = if rate == "0..100" { 1.0 } else { 0.267_949 };
            assert!((half - expected).abs() < 1e-5, "{rate}: {half}");
            let mut last = Duration::ZERO;
            for count in 0..100 {
                let next = course.when(f64::from(count)).unwrap();
                assert!(next >= last && next < Duration::from_secs(2));
                last = next;
            }
        }
    }

    #[test]
    fn steps_share_the_time() {
        let course = course("10,0,20", 3);
        assert_eq!(course.total, 30.0);
        let at = |count| course.when(count).unwrap().as_secs_f64();
        assert!((at(9.0) - 0.9).abs() < 1e-9);
        // Nobody comes in the second second.
        assert!((at(10.0) - 2.0).abs() < 1e-9);
        assert!((at(20.0) - 2.5).abs() < 1e-9);
        let rate: Rate = "10..30,5".parse().unwrap();
        assert_eq!(rate.to_string(), "10..30,5");
    }

    #[test]
    fn what_is_no_rate() {
        for wrong in [
            "", "x", "-1", "0", "0,0", "1/d", "1..", "..1", "1,,2", "inf", "NaN", "1e9",
        ] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
