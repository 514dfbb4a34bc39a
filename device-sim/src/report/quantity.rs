//! Numbers as people read them.

/// A narrow space that doesn't break (U+202F), between groups of digits and
/// before units; ISO 80000-1 has no comma there.
pub(super) const THIN: char = '\u{202f}';

/// A count with its digits in groups of three, from 10 000 on.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(THIN);
        }
        grouped.push(digit);
    }
    grouped
}

/// A number to about three digits, without an exponent: 0.012, 1.25, 48.3, 5120.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    if size >= 99.95 {
        let rounded = count(size.round().min(9e18) as u64);
        return if value < 0.0 {
            format!("-{rounded}")
        } else {
            rounded
        };
    }
    let decimals = match size {
        s if s >= 9.995 => 1,
        s if s >= 0.9995 => 2,
        s if s >= 0.0995 => 3,
        s if s >= 0.000_5 => 4,
        _ => 6,
    };
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_owned()
}

/// A time given in microseconds, in the unit that fits it.
#[must_use]
pub fn micros(micros: f64) -> String {
    let (value, unit) = match micros.abs() {
        m if m < 999.5 => (micros, "µs"),
        m if m < 999_500.0 => (micros / 1e3, "ms"),
        m if m < 120e6 => (micros / 1e6, "s"),
        m if m < 7_200e6 => (micros / 60e6, "min"),
        _ => (micros / 3_600e6, "h"),
    };
    unit_of(value, unit)
}

/// A size given in bytes, in powers of 1,000.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    let (value, unit) = match bytes.abs() {
        b if b < 999.5 => (bytes, "B"),
        b if b < 999_500.0 => (bytes / 1e3, "kB"),
        b if b < 999.5e6 => (bytes / 1e6, "MB"),
        b if b < 999.5e9 => (bytes / 1e9, "GB"),
        _ => (bytes / 1e12, "TB"),
    };
    unit_of(value, unit)
}

/// Processors kept busy.
#[must_use]
pub fn cores(cores: f64) -> String {
    if cores.is_finite() {
        let text = format!("{cores:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        "–".to_owned()
    }
}

/// A part of a whole in percent. Never rounded to none or all of it.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    let text = if part == 0 {
        "0".to_owned()
    } else if share < 0.01 {
        "< 0.01".to_owned()
    } else if part < whole && share > 99.99 {
        "> 99.99".to_owned()
    } else if share > 99.9 && part < whole {
        format!("{share:.2}")
    } else {
        number(share)
    };
    format!("{text}{THIN}%")
}

/// Seconds as `1:02:03`, `2:03`.
#[must_use]
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{rest:02}")
    } else {
        format!("{minutes}:{rest:02}")
    }
}

fn unit_of(value: f64, unit: &str) -> String {
    if value.is_finite() {
        format!("{}{THIN}{unit}", number(value))
    } else {
        "–".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(THIN, " ")
    }

    #[test]
    fn numbers() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.01234, "0.0123"),
            (1.0, "1"),
            (1.256, "1.26"),
            (9.996, "10"),
            (48.34, "48.3"),
            (99.96, "100"),
            (5_119.6, "5120"),
            (12_345.0, "12 345"),
            (-12_345.0, "-12 345"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(plain(&number(value)), text, "{value}");
        }
    }

    #[test]
    fn units() {
        for (value, text) in [
            (0.0, "0 µs"),
            (999.0, "999 µs"),
            (999.7, "1 ms"),
            (1_234.0, "1.23 ms"),
            (999_600.0, "1 s"),
            (61e6, "61 s"),
            (180e6, "3 min"),
            (7_200e6, "2 h"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(plain(&micros(value)), text, "{value}");
        }
        assert_eq!(plain(&bytes(12_345_678.0)), "12.3 MB");
        assert_eq!(plain(&bytes(0.0)), "0 B");
    }

    #[test]
    fn a_share_is_never_rounded_to_none_or_all() {
        for (part, whole, text) in [
            (0, 0, "–"),
            (0, 5, "0 %"),
            (5, 5, "100 %"),
            (1, 1_000_000, "< 0.01 %"),
            (999_999, 1_000_000, "> 99.99 %"),
            (9_995, 10_000, "99.95 %"),
            (1, 3, "33.3 %"),
        ] {
            assert_eq!(plain(&percent(part, whole)), text);
        }
    }

    #[test]
    fn the_clock() {
        assert_eq!(clock(59), "0:59");
        assert_eq!(clock(3_723), "1:02:03");
    }
}
