//! Times as SMPP writes them: `YYMMDDhhmmsstnnp`.
//!
//! Source: SMPP v3.4, section 7.1.1.

use jiff::civil::DateTime;
use jiff::tz::Offset;

/// A time in a `submit_sm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// An instant, milliseconds since the UNIX epoch.
    At(i64),
    /// So long from now.
    In,
}

/// Reads a time; none if it isn't one.
pub(super) fn parse(text: &str) -> Option<Moment> {
    let (digits, kind) = text.split_at_checked(15)?;
    let pair = |at: usize| -> Option<i16> {
        let pair = digits.get(at..at + 2)?;
        pair.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(())?;
        pair.parse().ok()
    };
    let tenths: i64 = digits
        .get(12..13)
        .filter(|digit| digit.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()?;
    let (years, months, days) = (pair(0)?, pair(2)?, pair(4)?);
    let (hours, minutes, seconds) = (pair(6)?, pair(8)?, pair(10)?);
    let quarters = pair(13)?;
    let sign = match kind {
        "+" => 1,
        "-" => -1,
        "R" => return (tenths == 0 && quarters == 0).then_some(Moment::In),
        _ => return None,
    };
    if quarters > 48 {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    let local = DateTime::new(
        2000 + years,
        small(months)?,
        small(days)?,
        small(hours)?,
        small(minutes)?,
        small(seconds)?,
        0,
    )
    .ok()?;
    let offset = Offset::from_seconds(sign * i32::from(quarters) * 900).ok()?;
    let instant = offset.to_timestamp(local).ok()?;
    Some(Moment::At(instant.as_millisecond() + tenths * 100))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn times() {
        let at = |text: &str| match parse(text).unwrap() {
            Moment::At(ms) => ms,
            Moment::In => 0,
        };
        // 2026-11-23T13:03:00Z, said in Brussels and in Caracas.
        assert_eq!(at("261123140300004+"), 1_795_438_980_000);
        assert_eq!(at("261123083300018-"), 1_795_438_980_000);
        assert_eq!(at("261123130300500+"), 1_795_438_980_500);
        assert_eq!(parse("000000000100000R"), Some(Moment::In));
        for wrong in [
            "",
            "261123140300004",
            "261123140300004Z",
            "261323140300004+",
            "261123250300004+",
            "261123140300049+",
            "26112314030000x+",
            "000000000100100R",
            "+61123140300004+",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
