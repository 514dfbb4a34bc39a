//! Numbers from a machine whose speed drifts: only neighbours are compared, and
//! of their ratios the median counts.

use std::time::Duration;

use serde::Serialize;

/// `a / b`, or 0 where there is nothing to divide by.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// A median with the extremes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the values are below.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `values`; zeros where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Self::default();
        };
        let upper = values.get(values.len() / 2).copied().unwrap_or(*max);
        let lower = values.get((values.len() - 1) / 2).copied().unwrap_or(*min);
        Self {
            median: f64::midpoint(lower, upper),
            min: *min,
            max: *max,
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2}-{:.2})", self.median, self.min, self.max)
    }
}

/// The ratio of each value to the mean of its neighbours on the yardstick:
/// `yardstick[i]` was measured just before `values[i]`, `yardstick[i + 1]` just
/// after, if it was measured.
pub(super) fn of_neighbours(values: &[f64], yardstick: &[f64]) -> Spread {
    Spread::of(values.iter().enumerate().filter_map(|(i, value)| {
        let before = yardstick.get(i)?;
        let after = yardstick.get(i + 1).unwrap_or(before);
        Some(ratio(*value, f64::midpoint(*before, *after)))
    }))
}

/// The value that `share` of all do not exceed; zero where there are none.
pub(super) fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    // Nearest rank.
    let rank = (share * values.len() as f64).ceil() as usize;
    let place = rank.saturating_sub(1).min(last);
    values.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_none() {
        assert_eq!(Spread::of([]), Spread::default());
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).median, 2.0);
        let four = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!((four.median, four.min, four.max), (2.5, 1.0, 4.0));
    }

    #[test]
    fn a_machine_that_slows_down_does_not_move_the_ratio() {
        // Always half as fast as the yardstick, while both lose a tenth per slice.
        let speed = |slice: i32| 0.9_f64.powi(slice);
        let yardstick: Vec<f64> = (0..6).map(|round| 1000.0 * speed(2 * round)).collect();
        let values: Vec<f64> = (0..5).map(|round| 500.0 * speed(2 * round + 1)).collect();
        let spread = of_neighbours(&values, &yardstick);
        assert!((spread.median - 0.5).abs() < 0.005, "{spread}");
        assert!(spread.max - spread.min < 0.001, "{spread}");
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut values: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut values, 0.5), Duration::from_millis(50));
        assert_eq!(percentile(&mut values, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&mut values, 1.0), Duration::from_millis(100));
        assert_eq!(percentile(&mut [], 0.5), Duration::ZERO);
    }
}
