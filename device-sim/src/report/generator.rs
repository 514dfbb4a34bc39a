//! The verdict on the load generator: did it keep up, or do the figures speak of
//! it more than of the broker?

use std::time::Duration;

use super::model::{Generator, Point, Totals};
use super::quantity::{THIN, cores, count, micros};

/// A flow that starts later than this after it was due is late: ten times the
/// granularity of the runtime's timer (1 ms).
pub const LATE_START: Duration = Duration::from_millis(10);
/// It has run out when it keeps at least this share of its processors busy: what
/// is left goes to the kernel.
pub const BUSY_SHARE: f64 = 0.9;
/// More than this share of seconds so busy is a run that was held up, even if
/// the average says otherwise.
pub const BUSY_SECONDS_SHARE: f64 = 0.1;
/// More than this share of late starts distorts the 99th percentile.
pub const LATE_SHARE: f64 = 0.01;
/// Fewer late starts than this are chance, whatever their share.
pub const LATE_STARTS: u64 = 10;
/// More than this share of flows never started means that less was offered than
/// the report says.
pub const NEVER_STARTED_SHARE: f64 = 0.001;

/// A generator that was late although it used less than this share of its
/// processors was kept from running by something else.
const IDLE_SHARE: f64 = 0.5;

/// What the verdict rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Processors the generator kept busy, on average.
    pub cpu_cores_used: f64,
    /// Processors it may use.
    pub cores: f64,
    /// Seconds of the run.
    pub seconds: u64,
    /// Seconds in which it kept at least [`BUSY_SHARE`] of them busy.
    pub busy_seconds: u64,
    /// 99th percentile of how late flows started, in microseconds.
    pub lag_p99_us: u64,
    /// Flows that started later than [`LATE_START`].
    pub late_starts: u64,
    /// Flows that were due.
    pub offered: u64,
    /// Flows that did start.
    pub started: u64,
}

impl Evidence {
    /// From the course of the run; `late_starts` and `lag_p99_us` as recorded.
    #[must_use]
    pub fn of(series: &[Point], cores: f64, lag_p99_us: u64, late_starts: u64) -> Self {
        // Seconds after the last arrival only wait for answers: no evidence.
        let loaded = || series.iter().filter(|point| point.offered > 0);
        let seconds = loaded().count();
        let used: f64 = loaded().map(|point| point.generator_cpu_cores).sum();
        let totals = Totals::of(series);
        Self {
            cpu_cores_used: used / (seconds.max(1) as f64),
            cores,
            seconds: seconds as u64,
            busy_seconds: loaded()
                .filter(|point| busy(point.generator_cpu_cores, cores))
                .count() as u64,
            lag_p99_us,
            late_starts,
            offered: totals.offered,
            started: totals.started,
        }
    }
}

/// Whether the generator ran out. It did when one of these holds, in the order
/// in which they are named:
/// 1. at least [`BUSY_SHARE`] of its processors were busy on average, or in more
///    than [`BUSY_SECONDS_SHARE`] of the seconds;
/// 2. more than [`LATE_SHARE`] of the flows, and at least [`LATE_STARTS`], started
///    later than [`LATE_START`];
/// 3. more than [`NEVER_STARTED_SHARE`] of the flows never started.
#[must_use]
pub fn judge(evidence: &Evidence) -> Generator {
    let mut reasons = Vec::new();
    if busy(evidence.cpu_cores_used, evidence.cores) {
        reasons.push(format!(
            "it kept {} of its {} processors busy",
            cores(evidence.cpu_cores_used),
            cores(evidence.cores),
        ));
    } else if more_than(evidence.busy_seconds, evidence.seconds, BUSY_SECONDS_SHARE) {
        reasons.push(format!(
            "in {} of {} seconds it kept nearly all of its {} processors busy",
            count(evidence.busy_seconds),
            count(evidence.seconds),
            cores(evidence.cores),
        ));
    }
    if evidence.late_starts >= LATE_STARTS
        && more_than(evidence.late_starts, evidence.started, LATE_SHARE)
    {
        // Idle and late: it was not given the processors it could have used.
        let idle = if evidence.cpu_cores_used < evidence.cores * IDLE_SHARE {
            format!(
                ", although it used only {} of its {} processors: something else kept it from \
                 running",
                cores(evidence.cpu_cores_used),
                cores(evidence.cores),
            )
        } else {
            String::new()
        };
        reasons.push(format!(
            "{} of {} flows started more than {} late (99th percentile {}){idle}",
            count(evidence.late_starts),
            count(evidence.started),
            micros(LATE_START.as_micros() as f64),
            micros(evidence.lag_p99_us as f64),
        ));
    }
    let never = evidence.offered.saturating_sub(evidence.started);
    if more_than(never, evidence.offered, NEVER_STARTED_SHARE) {
        reasons.push(format!(
            "{} of {} flows that were due never started",
            count(never),
            count(evidence.offered),
        ));
    }
    let ran_out = !reasons.is_empty();
    let why = if ran_out {
        reasons.join("; ")
    } else if evidence.started == 0 {
        "no flow was due".to_owned()
    } else {
        format!(
            "it used {} of its {} processors, and 99 % of the flows started at most {} late",
            cores(evidence.cpu_cores_used),
            cores(evidence.cores),
            micros(evidence.lag_p99_us as f64),
        )
    };
    Generator {
        cpu_cores_used: evidence.cpu_cores_used,
        cores: evidence.cores,
        lag_p99_us: evidence.lag_p99_us,
        late_starts: evidence.late_starts,
        ran_out,
        // It also goes to files and terminals.
        why: why.replace(THIN, " "),
    }
}

impl Generator {
    /// The verdict in one line, without the reasons.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        if self.ran_out {
            "The load generator ran out, not necessarily the broker"
        } else {
            "The load generator kept up"
        }
    }
}

fn busy(used: f64, cores: f64) -> bool {
    cores > 0.0 && used >= cores * BUSY_SHARE
}

fn more_than(part: u64, whole: u64, share: f64) -> bool {
    part > 0 && part as f64 > whole as f64 * share
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT_UP: Evidence = Evidence {
        cpu_cores_used: 0.7,
        cores: 2.0,
        seconds: 100,
        busy_seconds: 0,
        lag_p99_us: 1_200,
        late_starts: 3,
        offered: 10_000,
        started: 10_000,
    };

    #[test]
    fn the_rule() {
        let k = KEPT_UP;
        #[rustfmt::skip]
        let table = [
            (k, None),
            (Evidence { cpu_cores_used: 1.79, ..k }, None),
            (Evidence { cpu_cores_used: 1.8, ..k }, Some("1.8 of its 2 processors")),
            (Evidence { cpu_cores_used: 0.0, cores: 0.0, ..k }, None),
            (Evidence { busy_seconds: 10, ..k }, None),
            (Evidence { busy_seconds: 11, ..k }, Some("in 11 of 100 seconds")),
            (Evidence { late_starts: 100, ..k }, None),
            (Evidence { late_starts: 101, ..k }, Some("101 of 10 000 flows started more than 10 ms late")),
            (Evidence { late_starts: 9, started: 100, offered: 100, ..k }, None),
            (Evidence { late_starts: 10, started: 100, offered: 100, ..k }, Some("10 of 100 flows started")),
            (Evidence { late_starts: 101, ..k }, Some("although it used only 0.7 of its 2 processors: something")),
            (Evidence { late_starts: 101, cpu_cores_used: 1.0, ..k }, Some("(99th percentile 1.2 ms)")),
            (Evidence { started: 9_990, ..k }, None),
            (Evidence { started: 9_989, ..k }, Some("11 of 10 000 flows that were due never started")),
            (Evidence { started: 0, late_starts: 0, ..k }, Some("10 000 of 10 000 flows")),
            (Evidence::default(), None),
        ];
        for (evidence, reason) in table {
            let verdict = judge(&evidence);
            assert_eq!(
                verdict.ran_out,
                reason.is_some(),
                "{evidence:?}: {verdict:?}"
            );
            let why = &verdict.why;
            assert!(why.contains(reason.unwrap_or("")), "{why}");
            assert!(!why.is_empty());
        }
    }

    #[test]
    fn every_reason_is_named() {
        let verdict = judge(&Evidence {
            cpu_cores_used: 2.0,
            late_starts: 5_000,
            started: 5_000,
            ..KEPT_UP
        });
        assert_eq!(verdict.why.split("; ").count(), 3, "{}", verdict.why);
    }

    #[test]
    fn seconds_that_only_wait_for_answers_are_no_evidence() {
        let point = |offered, generator_cpu_cores| Point {
            offered,
            started: offered,
            generator_cpu_cores,
            ..Point::default()
        };
        let series = [point(5, 1.9), point(5, 1.9), point(0, 0.0), point(0, 0.0)];
        let evidence = Evidence::of(&series, 2.0, 0, 0);
        assert_eq!((evidence.seconds, evidence.busy_seconds), (2, 2));
        assert!(judge(&evidence).ran_out);
    }
}
