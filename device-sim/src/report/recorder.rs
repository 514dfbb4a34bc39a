//! Counting while the load runs: from any number of tasks at once, without one
//! waiting for the other, in memory that doesn't grow with the number of flows.
//!
//! All times are durations since the start of the measured time; nothing here
//! reads a clock.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::distribution::{Coarse, Distribution};
use super::generator::{Evidence, LATE_START, judge};
use super::model::{ErrorRow, Generator, Latency, Point, Step, Totals};

/// Parts of a recorder that are locked on their own; threads take turns.
const SHARDS: usize = 16;
/// Kinds of errors that are told apart. What comes after is counted together,
/// so that a reason with an id in it can't fill the memory.
const MOST_ERRORS: usize = 200;
/// Characters of an error's example that are kept.
const LONGEST_EXAMPLE: usize = 500;
/// The reason under which surplus kinds of errors are counted.
const OTHER_REASONS: &str = "(other reasons)";
/// The call under which surplus calls are counted.
const OTHER_CALLS: &str = "(other calls)";
/// Name of the step that spans the whole flow.
pub const FLOW: &str = "flow";

/// A step that was announced with [`Steps::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepId(usize);

/// The steps of a flow, announced before the run.
#[derive(Clone, Debug, Default)]
pub struct Steps(Vec<(String, String)>);

impl Steps {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A further step: its short name, and from what until what it counts.
    pub fn add(&mut self, name: &str, meaning: &str) -> StepId {
        self.0.push((name.to_owned(), meaning.to_owned()));
        StepId(self.0.len() - 1)
    }

    /// A recorder for these and, as the last, the whole [`FLOW`].
    #[must_use]
    pub fn recorder(mut self, meaning_of_flow: &str) -> Recorder {
        let flow = self.add(FLOW, meaning_of_flow);
        let shard = || {
            Mutex::new(Shard {
                steps: self.0.iter().map(|_| Distribution::new()).collect(),
                lag: Distribution::new(),
                late_starts: 0,
                seconds: BTreeMap::new(),
                outcomes: BTreeMap::new(),
            })
        };
        Recorder {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            errors: Mutex::new(Vec::new()),
            closed: Mutex::new(BTreeMap::new()),
            steps: self.0,
            flow,
        }
    }
}

/// Takes down what happens during a run. Share it by reference or `Arc`.
///
/// Each flow: [`offered`](Self::offered) when it is due,
/// [`started`](Self::started) when it does start, then exactly one of
/// [`completed`](Self::completed), [`refused`](Self::refused) and
/// [`failed`](Self::failed).
pub struct Recorder {
    steps: Vec<(String, String)>,
    flow: StepId,
    shards: Vec<Mutex<Shard>>,
    errors: Mutex<Vec<ErrorRow>>,
    closed: Mutex<BTreeMap<u64, Point>>,
}

struct Shard {
    steps: Vec<Distribution>,
    lag: Distribution,
    late_starts: u64,
    seconds: BTreeMap<u64, Second>,
    outcomes: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Second {
    sum: Point,
    latency: Coarse,
    lag: Coarse,
}

/// What the machine says about the second that has just ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Processors the load generator kept busy.
    pub generator_cpu_cores: f64,
    /// Resident memory of the broker, in bytes.
    pub broker_rss_bytes: Option<u64>,
    /// Processors the broker kept busy.
    pub broker_cpu_cores: Option<f64>,
}

/// Everything recorded, in the form the report needs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Latencies in the order in which the steps were announced.
    pub steps: Vec<Step>,
    /// Completed flows by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Most frequent first.
    pub errors: Vec<ErrorRow>,
    /// A point per second, without gaps.
    pub series: Vec<Point>,
    /// How late flows started.
    pub lag: Latency,
    /// Flows that started later than [`LATE_START`].
    pub late_starts: u64,
}

impl Recorded {
    /// Whether a load generator that may use `cores` processors kept up.
    #[must_use]
    pub fn generator(&self, cores: f64) -> Generator {
        let evidence = Evidence::of(&self.series, cores, self.lag.p99_us, self.late_starts);
        judge(&evidence)
    }
}

impl Recorder {
    /// A flow is due at `at`, whether or not it can be started.
    pub fn offered(&self, at: Duration) {
        self.second(at, |second| second.sum.offered += 1);
    }

    /// It started at `at`, `lag` after it was due.
    pub fn started(&self, at: Duration, lag: Duration) {
        let micros = micros(lag);
        self.shard(|shard| {
            shard.lag.record(micros);
            if lag > LATE_START {
                shard.late_starts += 1;
            }
            let second = shard.seconds.entry(at.as_secs()).or_default();
            second.sum.started += 1;
            second.lag.record(micros);
        });
    }

    /// A step took `latency`, counted from when it was meant to start.
    pub fn step(&self, step: StepId, latency: Duration) {
        self.shard(|shard| {
            if let Some(distribution) = shard.steps.get_mut(step.0) {
                distribution.record(micros(latency));
            }
        });
    }

    /// A flow came to a decision at `at`, `latency` after it was due.
    pub fn completed(&self, at: Duration, outcome: &str, latency: Duration) {
        let micros = micros(latency);
        self.shard(|shard| {
            if let Some(distribution) = shard.steps.get_mut(self.flow.0) {
                distribution.record(micros);
            }
            if let Some(count) = shard.outcomes.get_mut(outcome) {
                *count += 1;
            } else {
                shard.outcomes.insert(outcome.to_owned(), 1);
            }
            let second = shard.seconds.entry(at.as_secs()).or_default();
            second.sum.completed += 1;
            second.latency.record(micros);
        });
    }

    /// The broker refused a flow at `at`. Tell [`error`](Self::error) why.
    pub fn refused(&self, at: Duration) {
        self.second(at, |second| second.sum.refused += 1);
    }

    /// A flow ended at `at` without a decision. Tell [`error`](Self::error) why.
    pub fn failed(&self, at: Duration) {
        self.second(at, |second| second.sum.failed += 1);
    }

    /// A call failed. `reason` must be the same for all that fail alike;
    /// `example` is its message in full, kept of the first only.
    pub fn error(&self, at: Duration, call: &str, reason: &str, example: &str) {
        let mut errors = self.errors.lock();
        // Few kinds occur, and under overload often: looking for one takes no
        // memory.
        let known = |errors: &[ErrorRow], call: &str, reason: &str| {
            let same = |row: &ErrorRow| row.call == call && row.reason == reason;
            errors.iter().position(same)
        };
        let (mut call, mut reason) = (call, reason);
        let mut place = known(&errors, call, reason);
        if place.is_none() && errors.len() >= MOST_ERRORS {
            reason = OTHER_REASONS;
            place = known(&errors, call, reason);
        }
        if place.is_none() && errors.len() >= MOST_ERRORS * 2 {
            call = OTHER_CALLS;
            place = known(&errors, call, reason);
        }
        let place = place.unwrap_or_else(|| {
            errors.push(ErrorRow {
                call: call.to_owned(),
                reason: reason.to_owned(),
                count: 0,
                first_at_seconds: at.as_secs(),
                example: example.chars().take(LONGEST_EXAMPLE).collect(),
            });
            errors.len() - 1
        });
        let Some(row) = errors.get_mut(place) else {
            return;
        };
        row.count += 1;
        row.first_at_seconds = row.first_at_seconds.min(at.as_secs());
    }

    /// Once a second: closes the seconds before `at`, files `sample` under the
    /// last of them, and returns that one (for the progress line).
    pub fn tick(&self, at: Duration, sample: Sample) -> Point {
        let last = at.as_secs().saturating_sub(1);
        self.close(last);
        let mut closed = self.closed.lock();
        let point = closed.entry(last).or_default();
        point.at_seconds = last;
        point.generator_cpu_cores = sample.generator_cpu_cores;
        point.broker_rss_bytes = sample.broker_rss_bytes;
        point.broker_cpu_cores = sample.broker_cpu_cores;
        let mut point = *point;
        point.in_flight = Totals::of(closed.values()).in_flight();
        point
    }

    /// The sums so far, up to the last [`tick`](Self::tick).
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(self.closed.lock().values())
    }

    /// How many errors so far.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.lock().iter().map(|row| row.count).sum()
    }

    /// Everything recorded so far.
    #[must_use]
    pub fn finish(&self) -> Recorded {
        self.close(u64::MAX);
        let mut steps: Vec<Distribution> = self.steps.iter().map(|_| Distribution::new()).collect();
        let mut lag = Distribution::new();
        let mut late_starts = 0;
        let mut outcomes = BTreeMap::new();
        for shard in &self.shards {
            let shard = shard.lock();
            for (all, part) in steps.iter_mut().zip(&shard.steps) {
                all.merge(part);
            }
            lag.merge(&shard.lag);
            late_starts += shard.late_starts;
            for (outcome, count) in &shard.outcomes {
                *outcomes.entry(outcome.clone()).or_default() += count;
            }
        }
        let mut errors: Vec<ErrorRow> = self.errors.lock().clone();
        errors.sort_by(|a, b| {
            let names = |row: &ErrorRow| (row.call.clone(), row.reason.clone());
            b.count.cmp(&a.count).then_with(|| names(a).cmp(&names(b)))
        });
        Recorded {
            steps: self
                .steps
                .iter()
                .zip(&steps)
                .map(|((name, meaning), distribution)| Step {
                    name: name.clone(),
                    meaning: meaning.clone(),
                    latency: distribution.latency(),
                })
                .collect(),
            outcomes,
            errors,
            series: self.series(),
            lag: lag.latency(),
            late_starts,
        }
    }

    fn series(&self) -> Vec<Point> {
        let closed = self.closed.lock();
        let Some(last) = closed.keys().next_back() else {
            return Vec::new();
        };
        let mut sum = Totals::default();
        (0..=*last)
            .map(|second| {
                let mut point = closed.get(&second).copied().unwrap_or_default();
                point.at_seconds = second;
                sum.add(&point);
                point.in_flight = sum.in_flight();
                point
            })
            .collect()
    }

    /// Turns seconds up to `last` into points. What comes in for a closed
    /// second later still counts, but no longer for its percentiles.
    fn close(&self, last: u64) {
        let mut ready: BTreeMap<u64, Second> = BTreeMap::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            while let Some(entry) = shard.seconds.first_entry() {
                if *entry.key() > last {
                    break;
                }
                let (at, second) = entry.remove_entry();
                let merged = ready.entry(at).or_default();
                count(&mut merged.sum, &second.sum);
                merged.latency.merge(&second.latency);
                merged.lag.merge(&second.lag);
            }
        }
        let mut closed = self.closed.lock();
        for (at, second) in ready {
            let point = closed.entry(at).or_default();
            point.at_seconds = at;
            count(point, &second.sum);
            if point.p99_us.is_none() {
                point.p50_us = second.latency.quantile(0.5);
                point.p99_us = second.latency.quantile(0.99);
            }
            let lag = second.lag.quantile(0.99).unwrap_or_default();
            point.generator_lag_p99_us = point.generator_lag_p99_us.max(lag);
        }
    }

    fn second(&self, at: Duration, change: impl FnOnce(&mut Second)) {
        self.shard(|shard| change(shard.seconds.entry(at.as_secs()).or_default()));
    }

    fn shard(&self, change: impl FnOnce(&mut Shard)) {
        if let Some(shard) = self.shards.get(own_shard()) {
            change(&mut shard.lock());
        }
    }
}

/// Adds up what of a second is counted.
fn count(sum: &mut Point, part: &Point) {
    sum.offered += part.offered;
    sum.started += part.started;
    sum.completed += part.completed;
    sum.refused += part.refused;
    sum.failed += part.failed;
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The shard of this thread.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.with(|own| {
        let shard = own
            .get()
            .unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        own.set(Some(shard));
        shard
    })
}

#[cfg(test)]
mod tests;
