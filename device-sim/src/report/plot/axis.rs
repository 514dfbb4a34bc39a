//! From values to places, and where the ticks stand.

use super::Format;

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from 0 (or the least, if that is below).
    Linear,
    /// Evenly from the least to the greatest.
    Fitted,
    /// By powers of ten.
    Log,
    /// Seconds, with ticks at what clocks show.
    Time,
    /// Shares from 0 to 1 with the same room for 90 %, 99 % and 99.9 %.
    Percentile,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, with the unit.
    pub label: String,
    /// How values are spread.
    pub scale: Scale,
    /// How ticks are written.
    pub format: Format,
}

impl Axis {
    /// An axis with that label, scale and ticks.
    #[must_use]
    pub fn new(label: &str, scale: Scale, format: Format) -> Self {
        Self {
            label: label.to_owned(),
            scale,
            format,
        }
    }
}

/// An axis with its ends.
pub(super) struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    /// Values that have a tick.
    pub(super) ticks: Vec<f64>,
}

impl Range {
    /// Wide enough for `values`, with about `wanted` ticks.
    pub(super) fn new(scale: Scale, values: impl Iterator<Item = f64>, wanted: usize) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| usable(scale, *value)) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = if scale == Scale::Log {
                (1.0, 10.0)
            } else {
                (0.0, 1.0)
            };
        }
        match scale {
            Scale::Linear => Self::linear(scale, low.min(0.0), high.max(0.0), wanted),
            Scale::Fitted => Self::linear(scale, low, high, wanted),
            Scale::Time => Self::time(low.min(0.0), high, wanted),
            Scale::Log => Self::log(low, high),
            Scale::Percentile => Self::percentile(high),
        }
    }

    fn linear(scale: Scale, low: f64, high: f64, wanted: usize) -> Self {
        let (low, high) = apart(low, high);
        let raw = (high - low) / wanted.max(1) as f64;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| *step >= raw * 0.999)
            .unwrap_or(raw);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Self::stepped(scale, low, high, step)
    }

    fn time(low: f64, high: f64, wanted: usize) -> Self {
        let (low, high) = (low, high.max(low + 1.0));
        let raw = (high - low) / wanted.max(1) as f64;
        let step = [
            1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0,
        ]
        .into_iter()
        .find(|step| *step >= raw)
        .unwrap_or_else(|| (raw / 3_600.0).ceil() * 3_600.0);
        Self::stepped(Scale::Time, low, high, step)
    }

    fn stepped(scale: Scale, low: f64, high: f64, step: f64) -> Self {
        let first = (low / step).ceil();
        // 50: whatever goes wrong with the step, it ends.
        let ticks = (0..50)
            .map(|n| (first + f64::from(n)) * step)
            .take_while(|tick| *tick <= high + step * 1e-6)
            .collect();
        Self {
            scale,
            low,
            high,
            ticks,
        }
    }

    fn log(low: f64, high: f64) -> Self {
        let decade = |value: f64| value.log10().floor() as i32;
        let marks: Vec<f64> = (decade(low) - 1..=decade(high) + 1)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(power)))
            .collect();
        let end = marks
            .iter()
            .copied()
            .find(|mark| *mark >= high * 0.999)
            .unwrap_or(high);
        // Something has to lie between the ends.
        let start = marks
            .iter()
            .rev()
            .copied()
            .find(|mark| *mark <= low * 1.001 && *mark < end)
            .unwrap_or(end / 10.0);
        let decades = (end / start).log10();
        let ticks = marks
            .into_iter()
            .filter(|mark| (start * 0.999..=end * 1.001).contains(mark))
            .filter(|mark| decades <= 3.2 || (mark.log10() - mark.log10().round()).abs() < 1e-6)
            .collect();
        Self {
            scale: Scale::Log,
            low: start,
            high: end,
            ticks,
        }
    }

    fn percentile(high: f64) -> Self {
        let high = high.clamp(0.9, 1.0 - 1e-9);
        let mut ticks = vec![0.0, 0.5, 0.9];
        ticks.extend(
            (2..9)
                .map(|nines| 1.0 - 10_f64.powi(-nines))
                .filter(|tick| *tick <= high + 1e-12),
        );
        Self {
            scale: Scale::Percentile,
            low: 0.0,
            high,
            ticks,
        }
    }

    /// Where on the axis a value stands, 0 to 1; `None` if it has no place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !usable(self.scale, value) {
            return None;
        }
        let along = |value: f64| match self.scale {
            Scale::Log => value.log10(),
            Scale::Percentile => -(1.0 - value.min(1.0 - 1e-9)).log10(),
            Scale::Linear | Scale::Fitted | Scale::Time => value,
        };
        let (low, high) = (along(self.low), along(self.high));
        let share = (along(value) - low) / (high - low);
        share.is_finite().then(|| share.clamp(0.0, 1.0))
    }
}

fn usable(scale: Scale, value: f64) -> bool {
    value.is_finite() && (scale != Scale::Log || value > 0.0)
}

/// Both, or an interval around them when they are one.
fn apart(low: f64, high: f64) -> (f64, f64) {
    if high - low > high.abs().max(low.abs()) * 1e-9 {
        (low, high)
    } else if low.abs() < f64::MIN_POSITIVE {
        (0.0, 1.0)
    } else {
        (low - low.abs() * 0.1, high + high.abs() * 0.1)
    }
}
