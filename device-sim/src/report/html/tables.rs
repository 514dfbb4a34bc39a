//! The tables on the page.

use super::super::compare::{Change, Comparison, NOT_COMPARABLE, ratio_text};
use super::super::model::{LoadReport, Point, Totals};
use super::super::plot::escape;
use super::super::quantity::{bytes, clock, cores, count, micros, percent};
use super::{banner, section};

/// Rows of the course of the run; seconds are put together beyond.
const ROWS: usize = 60;

/// A table in the making.
struct Table(String);

impl Table {
    /// Columns whose name begins with `>` hold numbers.
    fn new(class: &str, columns: &[&str]) -> Self {
        let heads: String = columns
            .iter()
            .map(|name| match name.strip_prefix('>') {
                Some(name) => format!("<th scope=\"col\" class=\"n\">{}</th>", escape(name)),
                None => format!("<th scope=\"col\">{}</th>", escape(name)),
            })
            .collect();
        Self(format!(
            "<div class=\"wide\"><table class=\"{class}\">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        ))
    }

    /// The first cell names the row.
    fn row(&mut self, class: &str, name: &str, cells: &[Cell]) {
        let cells: String = cells.iter().map(Cell::html).collect();
        self.0.push_str(&format!(
            "<tr class=\"{class}\"><th scope=\"row\">{}</th>{cells}</tr>\n",
            escape(name)
        ));
    }

    fn end(self) -> String {
        self.0 + "</tbody>\n</table></div>\n"
    }
}

enum Cell {
    Text(String),
    Number(String),
    /// Finished HTML.
    Html(String),
}

impl Cell {
    fn html(&self) -> String {
        match self {
            Self::Text(text) => format!("<td>{}</td>", escape(text)),
            Self::Number(number) => format!("<td class=\"n\">{}</td>", escape(number)),
            Self::Html(html) => format!("<td>{html}</td>"),
        }
    }
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn figure(number: impl Into<String>) -> Cell {
    Cell::Number(number.into())
}

fn total(number: u64) -> Cell {
    Cell::Number(count(number))
}

pub(super) fn latency(report: &LoadReport) -> String {
    if report.steps.is_empty() {
        return String::new();
    }
    let mut table = Table::new(
        "",
        &[
            "step", ">count", ">least", ">mean", ">50 %", ">90 %", ">99 %", ">99.9 %", ">most",
        ],
    );
    for step in &report.steps {
        let l = &step.latency;
        let mut cells = vec![total(l.count)];
        let times = [
            l.min_us as f64,
            l.mean_us,
            l.p50_us as f64,
            l.p90_us as f64,
            l.p99_us as f64,
            l.p999_us as f64,
            l.max_us as f64,
        ];
        cells.extend(times.map(|time| {
            figure(if l.count == 0 {
                "–".to_owned()
            } else {
                micros(time)
            })
        }));
        table.row("", &step.name, &cells);
    }
    let meanings: String = report
        .steps
        .iter()
        .map(|step| {
            format!(
                "<dt>{}</dt><dd>{}</dd>\n",
                escape(&step.name),
                escape(&step.meaning)
            )
        })
        .collect();
    format!(
        "{}<p>Counted from when each step was meant to start, so that a stall isn’t hidden.</p>\n\
         <dl class=\"pairs\">\n{meanings}</dl>\n",
        table.end()
    )
}

pub(super) fn outcomes(report: &LoadReport) -> String {
    if report.outcomes.is_empty() {
        return String::new();
    }
    let all = report
        .outcomes
        .values()
        .fold(0_u64, |sum, n| sum.saturating_add(*n));
    let mut table = Table::new("", &["outcome", ">flows", ">share", ""]);
    for (name, flows) in &report.outcomes {
        let width = *flows as f64 * 100.0 / all.max(1) as f64;
        let bar = format!("<span class=\"bar\" style=\"width:{width:.2}%\"></span>");
        table.row(
            "",
            name,
            &[total(*flows), figure(percent(*flows, all)), Cell::Html(bar)],
        );
    }
    section("Outcomes", &table.end())
}

pub(super) fn errors(report: &LoadReport) -> String {
    if report.errors.is_empty() {
        return section("Errors", "<p class=\"none\">None.</p>\n");
    }
    let mut table = Table::new("", &["call", "reason", ">count", ">first at", "example"]);
    for error in &report.errors {
        let cells = [
            text(&error.reason),
            total(error.count),
            figure(clock(error.first_at_seconds)),
            Cell::Html(format!("<code>{}</code>", escape(&error.example))),
        ];
        table.row("", &error.call, &cells);
    }
    section("Errors", &table.end())
}

pub(super) fn attackers(report: &LoadReport) -> String {
    if report.attackers.is_empty() {
        return String::new();
    }
    let columns = [
        "attacker",
        ">attempts",
        ">accepted",
        ">reached the user",
        "refused",
    ];
    let mut table = Table::new("", &columns);
    for attacker in &report.attackers {
        let refused: Vec<String> = attacker
            .refused
            .iter()
            .map(|(reason, n)| format!("{reason} {}", count(*n)))
            .collect();
        let cells = [
            total(attacker.attempts),
            total(attacker.accepted),
            total(attacker.reached_the_user),
            text(refused.join(", ")),
        ];
        table.row(
            if attacker.accepted > 0 { "bad" } else { "" },
            &attacker.model,
            &cells,
        );
    }
    section("Attackers", &table.end())
}

pub(super) fn checks(report: &LoadReport) -> String {
    if report.checks.is_empty() {
        return String::new();
    }
    let mut table = Table::new("", &["check", "detail", "result"]);
    for check in &report.checks {
        let (class, result) = if check.passed {
            ("good", "passed")
        } else {
            ("bad", "FAILED")
        };
        table.row(class, &check.name, &[text(&check.detail), text(result)]);
    }
    section("Checks", &table.end())
}

pub(super) fn generator(report: &LoadReport) -> String {
    let generator = &report.generator;
    let machine = &report.machine;
    pairs(&[
        (
            "verdict",
            format!("{}: {}", generator.verdict(), generator.why),
        ),
        (
            "processors",
            format!(
                "{} of {} used",
                cores(generator.cpu_cores_used),
                cores(generator.cores)
            ),
        ),
        (
            "late starts",
            format!(
                "{} flows; 99 % started at most {} late",
                count(generator.late_starts),
                micros(generator.lag_p99_us as f64)
            ),
        ),
        (
            "machine",
            format!(
                "{}, {} processors, {} memory, {}",
                machine.cpu_model,
                machine.cores,
                bytes(machine.memory_bytes as f64),
                machine.kernel
            ),
        ),
    ])
}

pub(super) fn broker(report: &LoadReport) -> Option<String> {
    Some(pairs(&report.broker.as_ref()?.rows()))
}

pub(super) fn settings(report: &LoadReport) -> String {
    if report.settings.is_empty() {
        return String::new();
    }
    let rows: Vec<(&str, String)> = report
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    section("Settings", &pairs(&rows))
}

fn pairs(rows: &[(&str, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value)))
        .collect();
    format!("<dl class=\"pairs\">\n{rows}</dl>\n")
}

/// The numbers behind the plots, folded away.
pub(super) fn series(report: &LoadReport) -> String {
    if report.series.is_empty() {
        return String::new();
    }
    let step = report.series.len().div_ceil(ROWS);
    let columns = [
        ">from",
        ">offered",
        ">started",
        ">completed",
        ">refused",
        ">failed",
        ">under way",
        ">50 %",
        ">99 %",
        ">late by",
    ];
    let mut table = Table::new("numbers", &columns);
    for points in report.series.chunks(step) {
        let sum = Totals::of(points);
        let highest = |value: fn(&Point) -> Option<u64>| {
            let highest = points.iter().filter_map(value).max();
            figure(highest.map_or("–".to_owned(), |us| micros(us as f64)))
        };
        let cells = [
            total(sum.offered),
            total(sum.started),
            total(sum.completed),
            total(sum.refused),
            total(sum.failed),
            total(points.last().map_or(0, |point| point.in_flight)),
            highest(|point| point.p50_us),
            highest(|point| point.p99_us),
            highest(|point| Some(point.generator_lag_p99_us)),
        ];
        let from = points.first().map_or(0, |point| point.at_seconds);
        table.row("", &clock(from), &cells);
    }
    let note = if step > 1 {
        format!("Flows in {step} seconds each, times the highest of them.")
    } else {
        "Second by second.".to_owned()
    };
    section(
        "The numbers behind the plots",
        &format!(
            "<details><summary>{note}</summary>\n{}</details>\n",
            table.end()
        ),
    )
}

pub(super) fn comparison(comparison: &Comparison) -> String {
    let mut html = format!("<p>Compared with: {}</p>\n", escape(&comparison.old));
    if !comparison.comparable() {
        let (heading, why) = NOT_COMPARABLE
            .split_once(": ")
            .unwrap_or((NOT_COMPARABLE, ""));
        html.push_str(&banner(false, heading, why));
        let mut table = Table::new("", &["setting", "old", "new"]);
        for difference in &comparison.differences {
            let value = |value: &Option<String>| text(value.as_deref().unwrap_or("(none)"));
            let cells = [value(&difference.old), value(&difference.new)];
            table.row("", &difference.name, &cells);
        }
        html.push_str(&table.end());
    }
    for warning in &comparison.warnings {
        html.push_str(&banner(false, "Mind", warning));
    }
    let mut table = Table::new("changes", &["figure", ">old", ">new", ">ratio", "change"]);
    let mut group = "";
    for row in &comparison.rows {
        if row.group != group {
            group = row.group;
            table.0.push_str(&format!(
                "<tr class=\"group\"><th colspan=\"5\" scope=\"rowgroup\">{}</th></tr>\n",
                escape(group)
            ));
        }
        let class = match row.change {
            Change::Better => "good",
            Change::Worse => "bad",
            Change::Same | Change::Other | Change::OneSided => "",
        };
        let cells = [
            figure(&row.old),
            figure(&row.new),
            figure(row.ratio.map(ratio_text).unwrap_or_default()),
            text(row.change.word()),
        ];
        table.row(class, &row.name, &cells);
    }
    html.push_str(&table.end());
    if !comparison.errors.is_empty() {
        let mut table = Table::new("", &["call", "reason", ">old", ">new", "change"]);
        for error in &comparison.errors {
            let class = if error.old == 0 { "bad" } else { "" };
            let cells = [
                text(&error.reason),
                total(error.old),
                total(error.new),
                text(error.word()),
            ];
            table.row(class, &error.call, &cells);
        }
        html.push_str("<h3>Errors</h3>\n");
        html.push_str(&table.end());
    }
    section("What has changed", &html)
}
