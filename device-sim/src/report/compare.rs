//! What has changed since an older run.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{clean, columns, left, right};
use super::model::LoadReport;
use super::quantity::{bytes, clock, count, micros, number, percent};
use super::text::{Page, WIDTH};

/// A figure counts as better or worse when it changed by at least this factor:
/// less is within what one run differs from the next on a quiet machine.
pub const NOTABLE: f64 = 1.1;
/// Outcomes, whose share nobody calls better or worse, are marked when it moved
/// by more than this.
const NOTABLE_SHARE: f64 = 0.01;

/// Two runs, held against each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Title and time of the older run.
    pub old: String,
    /// Title and time of the newer one.
    pub new: String,
    /// What shaped the two runs differently. Unless empty, the figures can't be
    /// compared.
    pub differences: Vec<Difference>,
    /// What else to know before believing the figures.
    pub warnings: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
    /// Errors that came, went, or changed in number.
    pub errors: Vec<ErrorChange>,
}

/// A setting that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// What it was; `None` when there was none.
    pub old: Option<String>,
    /// What it is now.
    pub new: Option<String>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it belongs to: flows, latency, outcomes, generator, broker, checks.
    pub group: &'static str,
    /// What it is.
    pub name: String,
    /// What it was, with its unit; `–` when there was none.
    pub old: String,
    /// What it is now.
    pub new: String,
    /// New over old, where both are above 0.
    pub ratio: Option<f64>,
    /// What that means.
    pub change: Change,
}

/// Which way a figure went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Hardly.
    Same,
    /// For the better.
    Better,
    /// For the worse.
    Worse,
    /// It is neither.
    Other,
    /// Only one of the runs has it.
    OneSided,
}

/// A kind of error that occurs differently often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorChange {
    /// The call.
    pub call: String,
    /// The reason.
    pub reason: String,
    /// How often it was; 0: it is new.
    pub old: u64,
    /// How often it is; 0: it is gone.
    pub new: u64,
}

impl Change {
    /// A word for it; empty when nothing is to be said.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Other => "changed",
            Self::OneSided => "only one",
        }
    }
}

impl ErrorChange {
    /// A word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (self.old, self.new) {
            (0, _) => "new",
            (_, 0) => "gone",
            _ => "changed",
        }
    }
}

/// Which way is better.
#[derive(Clone, Copy)]
enum Aim {
    Lower,
    Higher,
    Neither,
}

impl Comparison {
    /// Holds `new` against `old`.
    #[must_use]
    pub fn of(old: &LoadReport, new: &LoadReport) -> Self {
        let heading = |report: &LoadReport| format!("{}, {}", report.title, report.started);
        let mut rows = flows(old, new);
        rows.extend(latencies(old, new));
        rows.extend(outcomes(old, new));
        rows.extend(resources(old, new));
        rows.extend(checks(old, new));
        Self {
            old: heading(old),
            new: heading(new),
            differences: differences(old, new),
            warnings: warnings(old, new),
            rows,
            errors: errors(old, new),
        }
    }

    /// Whether the same was tried on the same kind of machine.
    #[must_use]
    pub fn comparable(&self) -> bool {
        self.differences.is_empty()
    }

    /// For a terminal, in lines of at most 80 columns.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = Page::default();
        page.paragraph("COMPARED WITH  ", &self.old);
        if !self.comparable() {
            page.paragraph("!! ", NOT_COMPARABLE);
            for difference in &self.differences {
                let none = || "(none)".to_owned();
                let (old, new) = (&difference.old, &difference.new);
                page.paragraph(
                    &format!("   {}  ", left(&clean(&difference.name), 16)),
                    &format!(
                        "{} → {}",
                        old.clone().unwrap_or_else(none),
                        new.clone().unwrap_or_else(none)
                    ),
                );
            }
        }
        for warning in &self.warnings {
            page.paragraph("!! ", warning);
        }
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                page.heading(&format!(
                    "{}{}{}{}",
                    left(&group.to_uppercase(), 26),
                    right("old", 15),
                    right("new", 15),
                    right("ratio", 11)
                ));
            }
            let ratio = row.ratio.map(ratio_text).unwrap_or_default();
            page.line(&format!(
                "  {}{}{}{}  {}",
                left(&clean(&row.name), 24),
                right(&clean(&row.old), 15),
                right(&clean(&row.new), 15),
                right(&clean(&ratio), 11),
                row.change.word(),
            ));
        }
        if !self.errors.is_empty() {
            page.heading("ERRORS");
            for error in &self.errors {
                let counts = format!("{} → {}", count(error.old), count(error.new));
                page.paragraph(
                    &format!(
                        "  {}{}  ",
                        left(error.word(), 8),
                        right(&clean(&counts), 17)
                    ),
                    &format!("{} {}", error.call, error.reason),
                );
            }
        }
        debug_assert!(page.text.lines().all(|line| columns(line) <= WIDTH));
        page.text
    }
}

/// What is said above the differences.
pub(super) const NOT_COMPARABLE: &str =
    "NOT COMPARABLE: the runs differ in what shapes the load, so the ratios say nothing";

/// 1.25, or 0.032 when it is that small.
pub(super) fn ratio_text(ratio: f64) -> String {
    if (0.1..99.95).contains(&ratio) {
        format!("{ratio:.2}")
    } else {
        number(ratio)
    }
}

fn differences(old: &LoadReport, new: &LoadReport) -> Vec<Difference> {
    let (old, new) = (shape(old), shape(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| Difference {
            name: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

/// Everything that shapes the figures but the broker itself.
fn shape(report: &LoadReport) -> BTreeMap<String, String> {
    let machine = &report.machine;
    let mut shape = report.settings.clone();
    // What the report itself knows wins over a setting of that name.
    shape.extend(
        [
            (
                "planned time",
                format!("{} s", number(report.planned_seconds)),
            ),
            ("connections", count(report.target.connections.into())),
            (
                "TLS",
                if report.target.tls { "on" } else { "off" }.to_owned(),
            ),
            ("processor", machine.cpu_model.clone()),
            ("processors", machine.cores.to_string()),
            // Rounded: the kernel keeps a bit more or less for itself.
            (
                "memory",
                format!("{:.0} GB", machine.memory_bytes as f64 / 1e9),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    shape
}

fn warnings(old: &LoadReport, new: &LoadReport) -> Vec<String> {
    let mut warnings = Vec::new();
    for (which, report) in [("older", old), ("newer", new)] {
        if report.generator.ran_out {
            warnings.push(format!(
                "in the {which} run the load generator ran out, not necessarily the broker: {}",
                report.generator.why
            ));
        }
        if report.measured_seconds < report.planned_seconds * 0.98 {
            warnings.push(format!(
                "the {which} run was cut short: {} of {}",
                clock(report.measured_seconds as u64),
                clock(report.planned_seconds as u64),
            ));
        }
    }
    if old.seed != new.seed {
        warnings.push(format!("the seeds differ: {} and {}", old.seed, new.seed));
    }
    if old.target.version != new.target.version {
        let version = |report: &LoadReport| {
            let version = report.target.version.clone();
            version.unwrap_or_else(|| "an unknown one".to_owned())
        };
        warnings.push(format!(
            "the broker's version was {}, now it is {}",
            version(old),
            version(new)
        ));
    }
    warnings
}

fn flows(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
    let (before, now) = (old.totals(), new.totals());
    [
        (
            "offered per second",
            before.offered,
            now.offered,
            Aim::Neither,
        ),
        (
            "completed per second",
            before.completed,
            now.completed,
            Aim::Higher,
        ),
        (
            "refused per second",
            before.refused,
            now.refused,
            Aim::Lower,
        ),
        ("failed per second", before.failed, now.failed, Aim::Lower),
    ]
    .into_iter()
    .map(|(name, before, now, aim)| {
        let (before, now) = (old.per_second(before), new.per_second(now));
        row("flows", name, Some(before), Some(now), number, aim)
    })
    .collect()
}

fn latencies(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
    let mut names: Vec<&str> = new.steps.iter().map(|step| step.name.as_str()).collect();
    let gone = old.steps.iter().map(|step| step.name.as_str());
    names.extend(gone.filter(|name| new.step(name).is_none()));
    let figures = |report: &LoadReport, name: &str| {
        let latency = report.step(name).map(|step| &step.latency);
        let latency = latency.filter(|latency| latency.count > 0);
        [
            latency.map(|latency| latency.p50_us as f64),
            latency.map(|latency| latency.p99_us as f64),
        ]
    };
    names
        .into_iter()
        .flat_map(|name| {
            let [old_p50, old_p99] = figures(old, name);
            let [new_p50, new_p99] = figures(new, name);
            [("p50", old_p50, new_p50), ("p99", old_p99, new_p99)].map(|(quantile, old, new)| {
                let name = format!("{name} {quantile}");
                row("latency", &name, old, new, micros, Aim::Lower)
            })
        })
        .collect()
}

fn outcomes(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
    let sum = |report: &LoadReport| {
        report
            .outcomes
            .values()
            .fold(0_u64, |a, b| a.saturating_add(*b))
    };
    let (all_old, all_new) = (sum(old), sum(new));
    let names: BTreeSet<&String> = old.outcomes.keys().chain(new.outcomes.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let of = |report: &LoadReport| report.outcomes.get(name).copied().unwrap_or(0);
            let (before, now) = (of(old), of(new));
            let share = |part: u64, all: u64| part as f64 / all.max(1) as f64;
            let moved = (share(before, all_old) - share(now, all_new)).abs();
            let change = match (before, now) {
                (0, 0) => Change::Same,
                (0, _) | (_, 0) => Change::OneSided,
                _ if moved > NOTABLE_SHARE => Change::Other,
                _ => Change::Same,
            };
            Row {
                group: "outcomes",
                name: name.clone(),
                old: percent(before, all_old),
                new: percent(now, all_new),
                ratio: ratio(share(before, all_old), share(now, all_new)),
                change,
            }
        })
        .collect()
}

fn resources(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
    let mut rows = vec![
        row(
            "generator",
            "processors used",
            Some(old.generator.cpu_cores_used),
            Some(new.generator.cpu_cores_used),
            number,
            Aim::Neither,
        ),
        row(
            "generator",
            "late starts, p99",
            Some(old.generator.lag_p99_us as f64),
            Some(new.generator.lag_p99_us as f64),
            micros,
            Aim::Neither,
        ),
    ];
    if old.broker.is_none() && new.broker.is_none() {
        return rows;
    }
    let (before, now) = (old.broker.as_ref(), new.broker.as_ref());
    rows.push(row(
        "broker",
        "processor time per flow",
        before.map(|broker| broker.cpu_us_per_flow),
        now.map(|broker| broker.cpu_us_per_flow),
        micros,
        Aim::Lower,
    ));
    rows.push(row(
        "broker",
        "memory at most",
        before.map(|broker| broker.rss_peak_bytes as f64),
        now.map(|broker| broker.rss_peak_bytes as f64),
        bytes,
        Aim::Lower,
    ));
    rows.push(row(
        "broker",
        "disk at the end",
        before.and_then(|broker| Some(broker.disk_end_bytes? as f64)),
        now.and_then(|broker| Some(broker.disk_end_bytes? as f64)),
        bytes,
        Aim::Lower,
    ));
    rows
}

fn checks(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
    let results = |report: &LoadReport| -> BTreeMap<String, bool> {
        let checks = report
            .checks
            .iter()
            .map(|check| (check.name.clone(), check.passed));
        let attackers = report.attackers.iter();
        let attackers = attackers.map(|a| (format!("{} gets nowhere", a.model), a.accepted == 0));
        checks.chain(attackers).collect()
    };
    let (old, new) = (results(old), results(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let (before, now) = (old.get(name), new.get(name));
            let word = |result: Option<&bool>| match result {
                Some(true) => "passed",
                Some(false) => "FAILED",
                None => "–",
            };
            Row {
                group: "checks",
                name: name.clone(),
                old: word(before).to_owned(),
                new: word(now).to_owned(),
                ratio: None,
                change: match (before, now) {
                    (Some(false), Some(true)) => Change::Better,
                    (_, Some(false)) => Change::Worse,
                    (Some(_), Some(_)) => Change::Same,
                    _ => Change::OneSided,
                },
            }
        })
        .collect()
}

fn errors(old: &LoadReport, new: &LoadReport) -> Vec<ErrorChange> {
    let kinds = |report: &LoadReport| -> BTreeMap<(String, String), u64> {
        let mut kinds = BTreeMap::new();
        for row in &report.errors {
            let kind = (row.call.clone(), row.reason.clone());
            let sum: &mut u64 = kinds.entry(kind).or_default();
            *sum = sum.saturating_add(row.count);
        }
        kinds
    };
    let (old, new) = (kinds(old), kinds(new));
    let all: BTreeSet<&(String, String)> = old.keys().chain(new.keys()).collect();
    all.into_iter()
        .map(|kind| ErrorChange {
            call: kind.0.clone(),
            reason: kind.1.clone(),
            old: old.get(kind).copied().unwrap_or(0),
            new: new.get(kind).copied().unwrap_or(0),
        })
        .filter(|change| change.old != change.new)
        .collect()
}

fn row(
    group: &'static str,
    name: &str,
    old: Option<f64>,
    new: Option<f64>,
    format: fn(f64) -> String,
    aim: Aim,
) -> Row {
    let text = |value: Option<f64>| value.map_or("–".to_owned(), format);
    let change = match (old, new) {
        (Some(old), Some(new)) => judged(old, new, aim),
        (None, None) => Change::Same,
        _ => Change::OneSided,
    };
    Row {
        group,
        name: name.to_owned(),
        old: text(old),
        new: text(new),
        ratio: old.zip(new).and_then(|(old, new)| ratio(old, new)),
        change,
    }
}

fn ratio(old: f64, new: f64) -> Option<f64> {
    (old > 0.0 && new > 0.0).then(|| new / old)
}

fn judged(old: f64, new: f64, aim: Aim) -> Change {
    // From or to nothing is always notable.
    let (low, high) = (old.min(new), old.max(new));
    if high < low * NOTABLE || high <= low {
        return Change::Same;
    }
    match aim {
        Aim::Neither => Change::Other,
        Aim::Lower if new < old => Change::Better,
        Aim::Higher if new > old => Change::Better,
        Aim::Lower | Aim::Higher => Change::Worse,
    }
}

#[cfg(test)]
mod tests;
