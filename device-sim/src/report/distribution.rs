//! Distributions of times in microseconds, as HDR histograms.

use hdrhistogram::Histogram;

use super::model::Latency;

/// The longest time told apart, in microseconds: an hour. Longer ones count as
/// that long (but for the maximum).
const LONGEST_US: u64 = 3_600_000_000;
/// Digits of the percentiles: they are off by 0.1 % at most.
const DIGITS: u8 = 3;
/// Digits of the buckets in the report and of the percentiles of one second:
/// off by 1 % at most, in an eighth of the space.
const COARSE_DIGITS: u8 = 2;

/// Times over the whole run. About 100 KB once something was recorded.
pub(super) struct Distribution {
    histogram: Option<Histogram<u64>>,
    min: u64,
    max: u64,
    sum: u128,
    count: u64,
}

impl Distribution {
    pub(super) fn new() -> Self {
        Self {
            histogram: None,
            min: u64::MAX,
            max: 0,
            sum: 0,
            count: 0,
        }
    }

    pub(super) fn record(&mut self, micros: u64) {
        if self.histogram.is_none() {
            self.histogram = histogram(DIGITS);
        }
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(micros.clamp(1, LONGEST_US));
        }
        self.min = self.min.min(micros);
        self.max = self.max.max(micros);
        self.sum += u128::from(micros);
        self.count += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if let Some(part) = &other.histogram {
            match &mut self.histogram {
                // The same bounds and digits: they always fit.
                Some(all) => drop(all.add(part)),
                none => *none = Some(part.clone()),
            }
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
    }

    pub(super) fn latency(&self) -> Latency {
        let Some(all) = &self.histogram else {
            return Latency::default();
        };
        let at = |quantile| all.value_at_quantile(quantile).clamp(self.min, self.max);
        Latency {
            count: self.count,
            min_us: self.min,
            mean_us: self.sum as f64 / self.count as f64,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.max,
            buckets: buckets(all),
        }
    }
}

/// Times within one second. About 12 KB once something was recorded.
#[derive(Default)]
pub(super) struct Coarse(Option<Histogram<u64>>);

impl Coarse {
    pub(super) fn record(&mut self, micros: u64) {
        if self.0.is_none() {
            self.0 = histogram(COARSE_DIGITS);
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros.clamp(1, LONGEST_US));
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if let Some(part) = &other.0 {
            match &mut self.0 {
                Some(all) => drop(all.add(part)),
                none => *none = Some(part.clone()),
            }
        }
    }

    pub(super) fn quantile(&self, quantile: f64) -> Option<u64> {
        self.0.as_ref().map(|all| all.value_at_quantile(quantile))
    }
}

/// `None` never happens: the bounds are constants that fit.
fn histogram(digits: u8) -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_US, digits).ok()
}

fn buckets(all: &Histogram<u64>) -> Vec<(u64, u64)> {
    let Some(mut coarse) = histogram(COARSE_DIGITS) else {
        return Vec::new();
    };
    for value in all.iter_recorded() {
        coarse.saturating_record_n(
            value.value_iterated_to().min(LONGEST_US),
            value.count_at_value(),
        );
    }
    coarse
        .iter_recorded()
        .map(|value| (value.value_iterated_to(), value.count_at_value()))
        .collect()
}

impl Latency {
    /// The distribution of these times, in microseconds.
    #[must_use]
    pub fn of(micros: impl IntoIterator<Item = u64>) -> Self {
        let mut all = Distribution::new();
        for time in micros {
            all.record(time);
        }
        all.latency()
    }

    /// The time at most `quantile` (0 to 1) of them took, in microseconds, to
    /// the width of a bucket. `None` when there are none.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let wanted = (quantile.clamp(0.0, 1.0) * self.count as f64)
            .ceil()
            .max(1.0);
        let mut below = 0_u64;
        for (upper, count) in &self.buckets {
            below = below.saturating_add(*count);
            if below as f64 >= wanted {
                return Some((*upper).clamp(self.min_us, self.max_us.max(self.min_us)));
            }
        }
        (self.count > 0).then_some(self.max_us)
    }
}
