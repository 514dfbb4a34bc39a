//! The report for a terminal of 80 columns.

use super::layout::{clean, columns, command, cut, left, right, wrap};
use super::model::{Attacker, BrokerSide, ErrorRow, Latency, LoadReport, Point};
use super::quantity::{bytes, clock, count, micros, number, percent};

/// Columns of the text.
pub const WIDTH: usize = 80;
/// Errors that are told one by one.
const ERRORS: usize = 12;
/// Columns of a course over time.
const SPARK: usize = 62;

/// The whole report, in lines of at most [`WIDTH`] columns (but for an argument
/// of the command that is longer).
#[must_use]
pub fn to_string(report: &LoadReport) -> String {
    let mut page = Page::default();
    header(&mut page, report);
    verdicts(&mut page, report);
    throughput(&mut page, report);
    latency(&mut page, report);
    outcomes(&mut page, report);
    errors(&mut page, &report.errors);
    attackers(&mut page, &report.attackers);
    checks(&mut page, report);
    if let Some(broker) = &report.broker {
        broker_side(&mut page, broker);
    }
    circumstances(&mut page, report);
    page.text
}

/// Lines that are put together.
#[derive(Default)]
pub(super) struct Page {
    pub(super) text: String,
}

impl Page {
    /// A line, whatever its length.
    pub(super) fn raw(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A line that is cut at the edge.
    pub(super) fn line(&mut self, line: &str) {
        self.raw(&cut(&clean(line), WIDTH));
    }

    /// A line about the next ones.
    pub(super) fn heading(&mut self, heading: &str) {
        self.raw("");
        self.line(heading);
    }

    /// `text` in as many lines as it takes, behind `head`.
    pub(super) fn paragraph(&mut self, head: &str, text: &str) {
        let indent = columns(head);
        let lines = wrap(&clean(text), WIDTH.saturating_sub(indent));
        if lines.is_empty() {
            self.line(head);
        }
        for (i, line) in lines.iter().enumerate() {
            let start = if i == 0 { head } else { &" ".repeat(indent) };
            self.line(&format!("{start}{line}"));
        }
    }
}

fn header(page: &mut Page, report: &LoadReport) {
    page.paragraph("", &report.title);
    let target = &report.target;
    let version = target.version.as_deref().map(|v| format!(", version {v}"));
    page.paragraph(
        "",
        &format!(
            "{} ({}, connections: {}{})",
            target.address,
            if target.tls { "TLS" } else { "no TLS" },
            target.connections,
            version.unwrap_or_default(),
        ),
    );
    page.paragraph(
        "",
        &format!(
            "{}, {} s of {} s, seed {}",
            report.started,
            number(report.measured_seconds),
            number(report.planned_seconds),
            report.seed,
        ),
    );
}

fn verdicts(page: &mut Page, report: &LoadReport) {
    page.raw("");
    let generator = &report.generator;
    let sign = if generator.ran_out { "!! " } else { "ok " };
    page.paragraph(sign, &format!("{}: {}", generator.verdict(), generator.why));
    let failed: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| !check.passed)
        .map(|check| check.name.as_str())
        .collect();
    if !failed.is_empty() {
        page.paragraph("!! ", &format!("Checks that failed: {}", failed.join(", ")));
    } else if report.checks.is_empty() {
        page.line("-- Nothing was checked");
    } else {
        page.line("ok Every check holds");
    }
    for attacker in report.attackers.iter().filter(|a| a.accepted > 0) {
        let text = format!(
            "{} got through {} times",
            attacker.model,
            count(attacker.accepted)
        );
        page.paragraph("!! ", &text);
    }
}

fn throughput(page: &mut Page, report: &LoadReport) {
    let totals = report.totals();
    page.heading("FLOWS              total     per second");
    for (name, total) in [
        ("offered", totals.offered),
        ("started", totals.started),
        ("completed", totals.completed),
        ("refused", totals.refused),
        ("failed", totals.failed),
    ] {
        page.line(&format!(
            "  {}{}{}   {}",
            left(name, 10),
            right(&clean(&count(total)), 12),
            right(&clean(&number(report.per_second(total))), 15),
            percent(total, totals.offered),
        ));
    }
    if report.series.len() < 2 {
        return;
    }
    page.raw("");
    for (name, value) in courses() {
        let rare = matches!(name, "refused" | "failed");
        if rare && report.series.iter().all(|point| value(point) <= 0.0) {
            continue;
        }
        page.line(&format!(
            "  {}{}",
            left(name, 12),
            spark(&report.series, value)
        ));
    }
    let last = report.series.last().map_or(0, |point| point.at_seconds);
    let end = clock(last.saturating_add(1));
    let width = SPARK.min(report.series.len());
    let end = right(&end, width.saturating_sub(1));
    page.line(&format!("  {}0{end}", left("", 12)));
}

type Value = fn(&Point) -> f64;

fn courses() -> [(&'static str, Value); 5] {
    [
        ("completed", |point| point.completed as f64),
        ("refused", |point| point.refused as f64),
        ("failed", |point| point.failed as f64),
        ("p99, log", |point| {
            point.p99_us.map_or(0.0, |us| (us as f64).max(1.0).log2())
        }),
        ("in flight", |point| point.in_flight as f64),
    ]
}

/// The highest of each piece of the course as a bar; nothing for 0.
fn spark(series: &[Point], value: Value) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = |points: &[Point]| points.iter().map(value).fold(0.0, f64::max);
    let top = highest(series);
    let width = SPARK.min(series.len());
    (0..width)
        .map(|n| {
            let (from, to) = (n * series.len() / width, (n + 1) * series.len() / width);
            let height = highest(series.get(from..to).unwrap_or_default());
            if height <= 0.0 || top <= 0.0 {
                return ' ';
            }
            let bar = (height / top * BARS.len() as f64).ceil() as usize;
            BARS.get(bar.saturating_sub(1)).copied().unwrap_or('█')
        })
        .collect()
}

fn latency(page: &mut Page, report: &LoadReport) {
    if report.steps.is_empty() {
        return;
    }
    let names = report.steps.iter().map(|step| columns(&clean(&step.name)));
    let name = names.max().unwrap_or(0).clamp(8, 18);
    page.heading(&format!(
        "{}{}{}{}{}{}{}",
        left("LATENCY", name + 2),
        right("count", 10),
        right("p50", 10),
        right("p90", 10),
        right("p99", 10),
        right("p99.9", 10),
        right("max", 10),
    ));
    for step in &report.steps {
        let Latency {
            count: n,
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            max_us,
            ..
        } = step.latency;
        let mut line = format!(
            "  {}{}",
            left(&clean(&step.name), name),
            right(&clean(&count(n)), 10)
        );
        for time in [p50_us, p90_us, p99_us, p999_us, max_us] {
            let time = if n == 0 {
                "–".to_owned()
            } else {
                micros(time as f64)
            };
            line.push_str(&right(&clean(&time), 10));
        }
        page.line(&line);
    }
    page.line("  counted from when each step was meant to start:");
    for step in &report.steps {
        page.paragraph(
            &format!("  {} ", left(&clean(&step.name), name)),
            &step.meaning,
        );
    }
}

fn outcomes(page: &mut Page, report: &LoadReport) {
    if report.outcomes.is_empty() {
        return;
    }
    page.heading("OUTCOMES");
    let all = report
        .outcomes
        .values()
        .fold(0_u64, |sum, n| sum.saturating_add(*n));
    for (outcome, n) in &report.outcomes {
        page.line(&format!(
            "  {}{}   {}",
            left(&clean(outcome), 28),
            right(&clean(&count(*n)), 12),
            percent(*n, all),
        ));
    }
}

fn errors(page: &mut Page, errors: &[ErrorRow]) {
    if errors.is_empty() {
        return;
    }
    page.heading("ERRORS");
    for row in errors.iter().take(ERRORS) {
        page.line(&format!(
            "{}  {} {} since {}",
            right(&clean(&count(row.count)), 10),
            cut(&clean(&row.call), 24),
            cut(&clean(&row.reason), 30),
            clock(row.first_at_seconds),
        ));
        page.paragraph(
            &" ".repeat(12),
            &cut(&clean(&row.example), 2 * (WIDTH - 12)),
        );
    }
    if let Some(more) = errors.len().checked_sub(ERRORS).filter(|more| *more > 0) {
        page.line(&format!(
            "            and {more} more kinds, see the JSON or HTML report"
        ));
    }
}

fn attackers(page: &mut Page, attackers: &[Attacker]) {
    if attackers.is_empty() {
        return;
    }
    page.heading("ATTACKERS              attempts    accepted  reached the user");
    for attacker in attackers {
        page.line(&format!(
            "  {}{}{}{}",
            left(&clean(&attacker.model), 19),
            right(&clean(&count(attacker.attempts)), 10),
            right(&clean(&count(attacker.accepted)), 12),
            right(&clean(&count(attacker.reached_the_user)), 18),
        ));
        let refused: Vec<String> = attacker
            .refused
            .iter()
            .map(|(reason, n)| format!("{reason} {}", count(*n)))
            .collect();
        if !refused.is_empty() {
            page.paragraph("    refused: ", &refused.join(", "));
        }
    }
}

fn checks(page: &mut Page, report: &LoadReport) {
    if report.checks.is_empty() {
        return;
    }
    page.heading("CHECKS");
    for check in &report.checks {
        let result = if check.passed {
            "  passed  "
        } else {
            "  FAILED  "
        };
        page.paragraph(result, &format!("{}: {}", check.name, check.detail));
    }
}

fn broker_side(page: &mut Page, broker: &BrokerSide) {
    page.heading("BROKER");
    for (name, value) in broker.rows() {
        page.paragraph(&format!("  {}  ", left(name, 16)), &value);
    }
}

impl BrokerSide {
    /// What is known, by name, in words.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let size = |size: u64| bytes(size as f64);
        let mut rows = vec![
            (
                "processor time",
                format!(
                    "{}, {} per completed flow",
                    micros(self.cpu_seconds * 1e6),
                    micros(self.cpu_us_per_flow)
                ),
            ),
            (
                "memory",
                format!(
                    "{} → {}, at most {}",
                    size(self.rss_start_bytes),
                    size(self.rss_end_bytes),
                    size(self.rss_peak_bytes)
                ),
            ),
        ];
        if let (Some(start), Some(end)) = (self.fds_start, self.fds_end) {
            rows.push(("descriptors", format!("{} → {}", count(start), count(end))));
        }
        if let (Some(start), Some(end)) = (self.disk_start_bytes, self.disk_end_bytes) {
            rows.push(("disk", format!("{} → {}", size(start), size(end))));
        }
        rows
    }
}

fn circumstances(page: &mut Page, report: &LoadReport) {
    page.heading("SETTINGS");
    let names = report.settings.keys().map(|name| columns(&clean(name)));
    let width = names.max().unwrap_or(0).min(24);
    for (name, value) in &report.settings {
        page.paragraph(&format!("  {}  ", left(&clean(name), width)), value);
    }
    let machine = &report.machine;
    page.paragraph(
        "  on ",
        &format!(
            "{}, processors: {}, memory {}, {}",
            machine.cpu_model,
            machine.cores,
            bytes(machine.memory_bytes as f64),
            machine.kernel
        ),
    );
    page.heading("TO REPEAT IT");
    for line in command(&report.command, WIDTH - 2) {
        page.raw(&format!("  {}", clean(&line)));
    }
}

#[cfg(test)]
mod tests;
