//! The report itself. Times are microseconds where the name ends in `_us`,
//! seconds where it ends in `_seconds`; sizes are bytes. Fractions are finite.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the JSON form. Fields may be added under the same number; it
/// grows when one changes its meaning.
pub const FORMAT: u32 = 1;

/// What one load run has measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// One line: what was tried.
    pub title: String,
    /// Arguments (without the program's name) that repeat the run.
    pub command: Vec<String>,
    /// Seed of everything that was drawn at random.
    pub seed: u64,
    /// When the measured time began, RFC 3339.
    pub started: String,
    /// How long it was to be measured, in seconds.
    pub planned_seconds: f64,
    /// How long it was measured, in seconds.
    pub measured_seconds: f64,
    /// Where the load was generated.
    pub machine: Machine,
    /// What the load was put on.
    pub target: Target,
    /// Every setting that shapes the load, by name: arrivals per second, answer
    /// models, channels. Two runs whose settings differ can't be compared.
    pub settings: BTreeMap<String, String>,
    /// Latency by step, in the order in which a flow takes them.
    pub steps: Vec<Step>,
    /// Finished flows by outcome: `APPROVED`, `DENIED` and so on.
    pub outcomes: BTreeMap<String, u64>,
    /// Calls that failed, by call and reason.
    pub errors: Vec<ErrorRow>,
    /// The course of the run, a point per second.
    pub series: Vec<Point>,
    /// Whether the load generator kept up.
    pub generator: Generator,
    /// What attackers achieved, a row per model.
    pub attackers: Vec<Attacker>,
    /// What was verified along with the measuring.
    pub checks: Vec<Check>,
    /// What the run cost the broker, where it runs on the same machine.
    #[serde(default)]
    pub broker: Option<BrokerSide>,
}

/// Where the load was generated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name as the system gives it.
    pub cpu_model: String,
    /// Logical processors.
    pub cores: u32,
    /// Main memory, in bytes.
    pub memory_bytes: u64,
    /// The kernel's name and release.
    pub kernel: String,
}

/// What the load was put on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Address of the broker, as it was given.
    pub address: String,
    /// Whether the connections were encrypted.
    pub tls: bool,
    /// The broker's version, if it told.
    #[serde(default)]
    pub version: Option<String>,
    /// Connections of the identity provider.
    pub connections: u32,
}

/// The latency of one step of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Short name: `create`, `prompt`, `respond`, `answer`, `flow`.
    pub name: String,
    /// From what until what.
    pub meaning: String,
    /// Counted from when the step was meant to start (open loop), so that a
    /// stall isn't hidden.
    pub latency: Latency,
}

/// A distribution of times. All zero when `count` is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many times were recorded.
    pub count: u64,
    /// The shortest, in microseconds.
    pub min_us: u64,
    /// The arithmetic mean, in microseconds.
    pub mean_us: f64,
    /// The median, in microseconds.
    pub p50_us: u64,
    /// 90 % took at most this many microseconds.
    pub p90_us: u64,
    /// 99 % took at most this many microseconds.
    pub p99_us: u64,
    /// 99.9 % took at most this many microseconds.
    pub p999_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
    /// The histogram: highest value of the bucket in microseconds, and how many
    /// fell into it; ascending, empty ones left out.
    pub buckets: Vec<(u64, u64)>,
}

/// Calls that failed for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRow {
    /// The call: `CreateChallenge`, `Respond`, `connect` and so on.
    pub call: String,
    /// The status code, or what else went wrong, without what differs from
    /// call to call.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// The second of the run in which it was first seen.
    pub first_at_seconds: u64,
    /// The first one's message in full.
    pub example: String,
}

/// One second of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds from the start of the measured time to the start of this one.
    pub at_seconds: u64,
    /// Flows meant to start in this second.
    pub offered: u64,
    /// Flows that did start in it.
    pub started: u64,
    /// Flows that came to a decision in it.
    pub completed: u64,
    /// Flows the broker refused in it: `RESOURCE_EXHAUSTED`, `UNAVAILABLE`.
    pub refused: u64,
    /// Flows that ended in it without a decision, for any other reason.
    pub failed: u64,
    /// Median latency of the flows completed in it, in microseconds. `None`
    /// when there were none.
    #[serde(default)]
    pub p50_us: Option<u64>,
    /// Their 99th percentile, in microseconds.
    #[serde(default)]
    pub p99_us: Option<u64>,
    /// Flows under way at its end.
    pub in_flight: u64,
    /// 99th percentile of how late flows started in it, in microseconds.
    pub generator_lag_p99_us: u64,
    /// Processors the load generator kept busy.
    pub generator_cpu_cores: f64,
    /// Resident memory of the broker, in bytes.
    #[serde(default)]
    pub broker_rss_bytes: Option<u64>,
    /// Processors the broker kept busy.
    #[serde(default)]
    pub broker_cpu_cores: Option<f64>,
}

/// Whether the load generator, not the broker, was what ran out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Processors it kept busy, on average.
    pub cpu_cores_used: f64,
    /// Processors it may use.
    pub cores: f64,
    /// 99th percentile of how late flows started, in microseconds.
    pub lag_p99_us: u64,
    /// Flows that started late enough to distort what is measured.
    pub late_starts: u64,
    /// It ran out: the figures say more about it than about the broker.
    pub ran_out: bool,
    /// Why that is the verdict, in a sentence.
    pub why: String,
}

/// What the attackers of one model achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attacker {
    /// What they do: `prompt-bomber`, `code-guesser`, `replayer`.
    pub model: String,
    /// What they tried.
    pub attempts: u64,
    /// What the broker took for genuine. Anything but 0 is a hole.
    pub accepted: u64,
    /// Prompts that reached the user.
    pub reached_the_user: u64,
    /// What was refused, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// Something verified along with the measuring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What has to hold: "no wrong approval".
    pub name: String,
    /// Whether it does.
    pub passed: bool,
    /// Of how many, or the first that broke it.
    pub detail: String,
}

/// What the run cost the broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerSide {
    /// Processor time, user and system, in seconds.
    pub cpu_seconds: f64,
    /// The same per completed flow, in microseconds.
    pub cpu_us_per_flow: f64,
    /// Resident memory at the start, in bytes.
    pub rss_start_bytes: u64,
    /// The most it was, in bytes.
    pub rss_peak_bytes: u64,
    /// Resident memory at the end, in bytes.
    pub rss_end_bytes: u64,
    /// Open descriptors at the start.
    #[serde(default)]
    pub fds_start: Option<u64>,
    /// Open descriptors at the end.
    #[serde(default)]
    pub fds_end: Option<u64>,
    /// Size of its data directory at the start, in bytes.
    #[serde(default)]
    pub disk_start_bytes: Option<u64>,
    /// Size of its data directory at the end, in bytes.
    #[serde(default)]
    pub disk_end_bytes: Option<u64>,
}

/// Sums over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Flows meant to start.
    pub offered: u64,
    /// Flows that did.
    pub started: u64,
    /// Flows that came to a decision.
    pub completed: u64,
    /// Flows the broker refused.
    pub refused: u64,
    /// Flows that ended without a decision for another reason.
    pub failed: u64,
}

impl Totals {
    /// The sums of these seconds.
    #[must_use]
    pub fn of<'a>(points: impl IntoIterator<Item = &'a Point>) -> Self {
        let mut sum = Self::default();
        for point in points {
            sum.add(point);
        }
        sum
    }

    /// One more second.
    pub fn add(&mut self, point: &Point) {
        // Saturating: a report is read from a file that may hold anything.
        self.offered = self.offered.saturating_add(point.offered);
        self.started = self.started.saturating_add(point.started);
        self.completed = self.completed.saturating_add(point.completed);
        self.refused = self.refused.saturating_add(point.refused);
        self.failed = self.failed.saturating_add(point.failed);
    }

    /// Flows that were started and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.started
            .saturating_sub(self.completed)
            .saturating_sub(self.refused)
            .saturating_sub(self.failed)
    }
}

impl LoadReport {
    /// The sums of the series.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(&self.series)
    }

    /// `count` per second of the measured time; 0 when nothing was measured.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.measured_seconds > 0.0 {
            count as f64 / self.measured_seconds
        } else {
            0.0
        }
    }

    /// The step of that name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Whether every check holds and no attacker got through.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
            && self.attackers.iter().all(|attacker| attacker.accepted == 0)
    }
}
