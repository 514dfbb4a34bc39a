//! What people do with a prompt, and which road it comes by.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::dice::Dice;
use super::mix::Named;

/// What the user does with the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Approves, with the right number where one is asked for.
    Approve,
    /// Denies.
    Deny,
    /// Does nothing, until the challenge ends by itself.
    Ignore,
    /// Approves with a number that is not the one on the page. Where none is
    /// asked for it does not matter, and the sign-in is approved.
    WrongNumber,
    /// Approves a second after the end of the challenge.
    Late,
    /// Says "that wasn't me".
    Report,
    /// Approves over a bad network: the page's call is lost and made again, the
    /// open app loses its stream, the answer is sent twice.
    Flaky,
    /// Has the phone not at hand, and types a code from a text message.
    Sms,
    /// The same with an authenticator app.
    Totp,
}

impl Named for Answer {
    const ALL: &'static [(&'static str, Self)] = &[
        ("approve", Self::Approve),
        ("deny", Self::Deny),
        ("ignore", Self::Ignore),
        ("wrong-number", Self::WrongNumber),
        ("late", Self::Late),
        ("report", Self::Report),
        ("flaky", Self::Flaky),
        ("sms", Self::Sms),
        ("totp", Self::Totp),
    ];
}

/// How the prompt comes to the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The app is open.
    Subscribe,
    /// The user opens the app, which asks what is pending.
    Fetch,
    /// Apple wakes the app.
    Apns,
    /// Google wakes the app.
    Fcm,
}

impl Named for Channel {
    const ALL: &'static [(&'static str, Self)] = &[
        ("subscribe", Self::Subscribe),
        ("fetch", Self::Fetch),
        ("apns", Self::Apns),
        ("fcm", Self::Fcm),
    ];
}

/// How long people look at a prompt before they answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Think {
    /// Not at all.
    Instant,
    /// Log-normally distributed around this median, as reaction times of people
    /// are.
    Human(Duration),
}

/// Deviation of the logarithm of people's times: two thirds of them take
/// between 0.6 and 1.65 times the median (an assumption).
const SIGMA: f64 = 0.5;
/// Nobody is waited for longer than a challenge can live.
const LONGEST: f64 = 600.0;

impl Think {
    pub(super) fn draw(self, dice: &mut Dice) -> Duration {
        match self {
            Self::Instant => Duration::ZERO,
            Self::Human(median) => {
                let seconds = dice.log_normal(median.as_secs_f64(), SIGMA).min(LONGEST);
                Duration::try_from_secs_f64(seconds).unwrap_or(median)
            }
        }
    }
}

impl FromStr for Think {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "instant" => Ok(Self::Instant),
            "human" => Ok(Self::Human(Duration::from_secs(6))),
            median => {
                Ok(Self::Human(span(median).map_err(|wrong| {
                    format!("{wrong}; or: instant, human (6s)")
                })?))
            }
        }
    }
}

impl fmt::Display for Think {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant => f.write_str("instant"),
            Self::Human(median) => write!(f, "{}ms", median.as_millis()),
        }
    }
}

/// A time span such as 500ms, 30s, 5m or 1h.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 500ms, 30s, 5m or 1h");
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(end).ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::dice::Purpose;
    use super::*;

    #[test]
    fn time_spans() {
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "5", "s", "5x", "-1s", "1..2s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn people_take_their_time() {
        let mut dice = Dice::new(1, Purpose::Answer, 0);
        assert_eq!(Think::Instant.draw(&mut dice), Duration::ZERO);
        let human: Think = "4s".parse().unwrap();
        let mut times: Vec<_> = (0..1001).map(|_| human.draw(&mut dice)).collect();
        times.sort_unstable();
        let median = times.get(500).unwrap().as_secs_f64();
        assert!((3.7..4.3).contains(&median), "{median}");
        assert!("soon".parse::<Think>().is_err());
    }

    #[test]
    fn every_name_leads_back() {
        for (name, answer) in Answer::ALL {
            assert_eq!(Answer::named(name), Ok(*answer));
            assert_eq!(answer.name(), *name);
        }
        for (name, channel) in Channel::ALL {
            assert_eq!(Channel::named(name), Ok(*channel));
        }
    }
}
