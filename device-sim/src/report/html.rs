//! The report as one HTML page: no script, nothing from outside, readable in
//! light and dark, on paper and without eyes.

mod graphs;
mod tables;

use std::io;
use std::path::Path;

use super::compare::Comparison;
use super::json::write_file;
use super::layout::{command, cut};
use super::model::LoadReport;
use super::plot::{STYLE, escape};
use super::quantity::{bytes, micros, number, percent};

/// Columns of the command to repeat the run.
const COMMAND_WIDTH: usize = 80;
/// Whatever else might be smuggled in, the browser fetches and runs nothing.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole page.
#[must_use]
pub fn to_string(report: &LoadReport, comparison: Option<&Comparison>) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n",
        escape(&report.title),
        include_str!("html/page.css"),
    );
    for part in [
        header(report),
        verdicts(report),
        cards(report),
        comparison.map(tables::comparison).unwrap_or_default(),
        section(
            "Course of the run",
            &(graphs::throughput(report) + &graphs::latency_over_time(report)),
        ),
        section(
            "Latency by step",
            &(tables::latency(report) + &graphs::distribution(report)),
        ),
        tables::outcomes(report),
        tables::errors(report),
        tables::attackers(report),
        tables::checks(report),
        section(
            "Load generator",
            &(tables::generator(report) + &graphs::generator(report)),
        ),
        tables::broker(report).map_or_else(String::new, |table| {
            section("Broker", &(table + &graphs::broker(report)))
        }),
        tables::settings(report),
        repeat(report),
        tables::series(report),
    ] {
        page.push_str(&part);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Writes the page to a file, all or nothing.
///
/// # Errors
/// As the system gives them, naming the file.
pub fn write(report: &LoadReport, comparison: Option<&Comparison>, path: &Path) -> io::Result<()> {
    write_file(path, &to_string(report, comparison))
}

/// A part of the page. `content` is HTML; nothing comes of an empty one.
fn section(heading: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    format!(
        "<section>\n<h2>{}</h2>\n{content}</section>\n",
        escape(heading)
    )
}

fn header(report: &LoadReport) -> String {
    let target = &report.target;
    let version = target
        .version
        .as_deref()
        .map_or_else(String::new, |version| {
            format!(", version {}", escape(version))
        });
    format!(
        "<header>\n<p class=\"kind\">Countersign load report</p>\n<h1>{}</h1>\n\
         <p><time>{}</time> · {} of {} s measured · seed {}</p>\n\
         <p>{} ({}, {} connections{version})</p>\n</header>\n",
        escape(&report.title),
        escape(&report.started),
        number(report.measured_seconds),
        number(report.planned_seconds),
        report.seed,
        escape(&target.address),
        if target.tls { "TLS" } else { "no TLS" },
        target.connections,
    )
}

fn verdicts(report: &LoadReport) -> String {
    let generator = &report.generator;
    let mut html = banner(!generator.ran_out, generator.verdict(), &generator.why);
    let failed: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| !check.passed)
        .map(|check| check.name.as_str())
        .collect();
    if !failed.is_empty() {
        html.push_str(&banner(false, "Checks failed", &failed.join(", ")));
    } else if report.checks.is_empty() {
        html.push_str(&banner(
            false,
            "Nothing was checked",
            "no claim about correctness",
        ));
    } else {
        let names: Vec<&str> = report
            .checks
            .iter()
            .map(|check| check.name.as_str())
            .collect();
        html.push_str(&banner(true, "Every check holds", &names.join(", ")));
    }
    for attacker in report
        .attackers
        .iter()
        .filter(|attacker| attacker.accepted > 0)
    {
        let detail = format!("{} of {} attempts", attacker.accepted, attacker.attempts);
        let heading = format!("{} got through", attacker.model);
        html.push_str(&banner(false, &heading, &detail));
    }
    html
}

fn banner(good: bool, heading: &str, detail: &str) -> String {
    let (class, sign) = if good { ("good", "✓") } else { ("bad", "!") };
    format!(
        "<p class=\"banner {class}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span>\
         <span><strong>{}.</strong> {}</span></p>\n",
        escape(heading),
        escape(&sentence(detail)),
    )
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return String::new();
    };
    first.to_uppercase().chain(characters).collect::<String>() + "."
}

fn cards(report: &LoadReport) -> String {
    let totals = report.totals();
    let rate = |count| number(report.per_second(count));
    let mut cards = vec![
        ("offered per second", rate(totals.offered), String::new()),
        (
            "completed per second",
            rate(totals.completed),
            if totals.offered > 0 {
                let share = percent(totals.completed, totals.offered);
                format!("{share} of what was offered")
            } else {
                String::new()
            },
        ),
        (
            "refused",
            percent(totals.refused, totals.offered),
            format!("{} per second", rate(totals.refused)),
        ),
        (
            "failed",
            percent(totals.failed, totals.offered),
            format!("{} per second", rate(totals.failed)),
        ),
    ];
    let flow = report.step(super::recorder::FLOW).or(report.steps.last());
    if let Some(step) = flow.filter(|step| step.latency.count > 0) {
        let time = |us: u64| micros(us as f64);
        let whole = format!("step “{}”", cut(&step.name, 24));
        cards.push(("median", time(step.latency.p50_us), whole.clone()));
        cards.push(("99th percentile", time(step.latency.p99_us), whole));
    }
    if let Some(broker) = &report.broker {
        cards.push((
            "broker, per flow",
            micros(broker.cpu_us_per_flow),
            format!(
                "processor time; {} at most",
                bytes(broker.rss_peak_bytes as f64)
            ),
        ));
    }
    let cards: String = cards
        .iter()
        .map(|(name, value, note)| {
            format!(
                "<div><dt>{}</dt><dd><b>{}</b><small>{}</small></dd></div>\n",
                escape(name),
                escape(value),
                escape(note)
            )
        })
        .collect();
    format!("<dl class=\"cards\">\n{cards}</dl>\n")
}

fn repeat(report: &LoadReport) -> String {
    let lines = command(&report.command, COMMAND_WIDTH).join("\n");
    section(
        "To repeat it",
        &format!("<pre><code>{}</code></pre>\n", escape(&lines)),
    )
}

#[cfg(test)]
mod tests;
