//! What has changed since an older run.

mod figures;

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{clean, columns, left, right};
use super::model::LoadReport;
use super::quantity::{clock, count, number};
use super::text::{Page, WIDTH};
pub use figures::NOTABLE;
use figures::{CHECKS, checks, errors, flows, latencies, outcomes, resources};

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
        for row in self.rows.iter().filter(|row| row.group != CHECKS) {
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
        self.checks_to_text(&mut page);
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

impl Comparison {
    /// Checks have long names: those that changed, in lines of their own.
    fn checks_to_text(&self, page: &mut Page) {
        let checks = || self.rows.iter().filter(|row| row.group == CHECKS);
        if checks().next().is_none() {
            return;
        }
        page.heading("CHECKS");
        for row in checks().filter(|row| row.change != Change::Same) {
            let results = format!("  {} → {}  ", left(&row.old, 6), left(&row.new, 6));
            page.paragraph(&results, &row.name);
        }
        let same = checks().filter(|row| row.change == Change::Same).count();
        if same > 0 {
            page.line(&format!("  as before: {same}"));
        }
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

#[cfg(test)]
mod tests;
