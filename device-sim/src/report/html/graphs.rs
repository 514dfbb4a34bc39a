//! The plots on the page.

use super::super::model::{Latency, LoadReport, Point};
use super::super::plot::{Axis, Lines, Look, Scale, Series, clock, escape};
use super::super::quantity::{bytes, cores, micros, number};

/// Steps that are drawn: more can't be told apart.
const STEPS: usize = 8;

pub(super) fn throughput(report: &LoadReport) -> String {
    let count =
        |name: &str, value: fn(&Point) -> u64| line(report, name, move |p| Some(value(p) as f64));
    let mut plot = Lines::new("Throughput", time(), per_second())
        .describe("Flows per second: offered, completed, refused and failed.")
        .line(count("offered", |p| p.offered).look(Look::Area))
        .line(count("completed", |p| p.completed).colour(0));
    plot.height = 280.0;
    if report.series.iter().any(|point| point.refused > 0) {
        plot = plot.line(count("refused", |p| p.refused).colour(1));
    }
    if report.series.iter().any(|point| point.failed > 0) {
        plot = plot.line(count("failed", |p| p.failed).colour(6).look(Look::Dashed));
    }
    figure(&plot, "throughput", report.series.is_empty())
}

pub(super) fn latency_over_time(report: &LoadReport) -> String {
    let plot = Lines::new(
        "Latency",
        time(),
        Axis::new(
            "latency of completed flows (logarithmic)",
            Scale::Log,
            micros,
        ),
    )
    .describe("Median and 99th percentile of the flows completed in each second.")
    .line(line(report, "99th percentile", |p| at_least_one(p.p99_us)).colour(1))
    .line(line(report, "median", |p| at_least_one(p.p50_us)).colour(0));
    let flight = Lines::new(
        "Flows under way",
        time(),
        Axis::new("flows under way", Scale::Linear, number),
    )
    .describe("Flows that had started and not ended, at the end of each second.")
    .line(line(report, "", |p| Some(p.in_flight as f64)).colour(5));
    let empty = report.series.iter().all(|point| point.p99_us.is_none());
    figure(&plot, "latency", empty) + &figure(&flight, "flight", report.series.is_empty())
}

/// Latency by percentile, the tail stretched.
pub(super) fn distribution(report: &LoadReport) -> String {
    let steps = || report.steps.iter().filter(|step| step.latency.count > 0);
    let mut plot = Lines::new(
        "Latency by percentile",
        Axis::new(
            "percentile (the tail is stretched)",
            Scale::Percentile,
            nines,
        ),
        Axis::new("latency (logarithmic)", Scale::Log, micros),
    )
    .describe("For each step, the time that a given share of them took at most.");
    plot.height = 320.0;
    for (place, step) in steps().take(STEPS).enumerate() {
        plot = plot.line(Series::new(&step.name, percentiles(&step.latency)).colour(place));
    }
    figure(&plot, "distribution", steps().next().is_none())
}

pub(super) fn generator(report: &LoadReport) -> String {
    let lag = Lines::new(
        "Late starts",
        time(),
        Axis::new(
            "how late flows started, 99th percentile (logarithmic)",
            Scale::Log,
            micros,
        ),
    )
    .describe("How late the load generator started flows in each second.")
    .line(line(report, "", |p| at_least_one(Some(p.generator_lag_p99_us))).colour(3))
    .reference(
        super::super::generator::LATE_START.as_micros() as f64,
        "late from here on",
    );
    let mut busy = Lines::new(
        "Processors kept busy",
        time(),
        Axis::new("processors kept busy", Scale::Linear, cores),
    )
    .describe("Processors that the load generator and, where known, the broker kept busy.")
    .line(line(report, "load generator", |p| Some(p.generator_cpu_cores)).colour(3));
    if report
        .series
        .iter()
        .any(|point| point.broker_cpu_cores.is_some())
    {
        busy = busy.line(line(report, "broker", |p| p.broker_cpu_cores).colour(2));
    }
    if report.generator.cores > 0.0 {
        busy = busy.reference(report.generator.cores, "all the load generator may use");
    }
    let empty = report.series.is_empty();
    figure(&lag, "lag", empty) + &figure(&busy, "busy", empty)
}

pub(super) fn broker(report: &LoadReport) -> String {
    let plot = Lines::new(
        "Memory of the broker",
        time(),
        Axis::new("resident memory", Scale::Linear, bytes),
    )
    .describe("Resident memory of the broker.")
    .line(line(report, "", |p| Some(p.broker_rss_bytes? as f64)).colour(2));
    let known = report
        .series
        .iter()
        .any(|point| point.broker_rss_bytes.is_some());
    if known {
        figure(&plot, "memory", false)
    } else {
        String::new()
    }
}

fn time() -> Axis {
    Axis::new("time into the run", Scale::Time, clock)
}

fn per_second() -> Axis {
    Axis::new("flows per second", Scale::Linear, number)
}

fn line(report: &LoadReport, name: &str, value: impl Fn(&Point) -> Option<f64>) -> Series {
    Series::new(
        name,
        report
            .series
            .iter()
            .map(|point| (point.at_seconds as f64, value(point).unwrap_or(f64::NAN))),
    )
}

/// On a logarithmic axis there is no 0.
fn at_least_one(us: Option<u64>) -> Option<f64> {
    us.map(|us| us.max(1) as f64)
}

/// Share and time for each bucket; where the share is that of all, half a time
/// less, which has a place on the axis.
fn percentiles(latency: &Latency) -> Vec<(f64, f64)> {
    let all = latency
        .buckets
        .iter()
        .fold(0_u64, |sum, bucket| sum.saturating_add(bucket.1));
    let count = all.max(1) as f64;
    let mut below = 0_u64;
    let mut curve = vec![(0.0, latency.min_us.max(1) as f64)];
    for (upper, count_here) in &latency.buckets {
        below = below.saturating_add(*count_here);
        let share = (below as f64 / count).min(1.0 - 0.5 / count);
        let time = (*upper).clamp(
            latency.min_us.max(1),
            latency.max_us.max(1).max(latency.min_us),
        );
        curve.push((share, time as f64));
    }
    curve
}

/// 0.999 as "99.9 %".
fn nines(share: f64) -> String {
    let percent = format!("{:.6}", share * 100.0);
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    format!("{percent}\u{202f}%")
}

fn figure(plot: &Lines, id: &str, empty: bool) -> String {
    if empty {
        return format!(
            "<figure><figcaption>{}</figcaption><p class=\"none\">Nothing was recorded.</p></figure>\n",
            escape(&plot.title)
        );
    }
    format!(
        "<figure><figcaption>{}</figcaption><div class=\"wide\">\n{}</div></figure>\n",
        escape(&plot.title),
        plot.inline(id)
    )
}
