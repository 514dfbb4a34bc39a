//! The figures of two runs, one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::super::model::LoadReport;
use super::super::quantity::{bytes, micros, number, percent};
use super::{Change, ErrorChange, Row};

/// A figure counts as better or worse when it changed by at least this factor:
/// less is within what one run differs from the next on a quiet machine.
pub const NOTABLE: f64 = 1.1;
/// Outcomes, whose share nobody calls better or worse, are marked when it moved
/// by more than this.
const NOTABLE_SHARE: f64 = 0.01;

/// The group of results that are no figures.
pub(super) const CHECKS: &str = "checks";

/// Which way is better.
#[derive(Clone, Copy)]
enum Aim {
    Lower,
    Higher,
    Neither,
}

pub(super) fn flows(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
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

pub(super) fn latencies(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
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

pub(super) fn outcomes(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
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

pub(super) fn resources(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
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

pub(super) fn checks(old: &LoadReport, new: &LoadReport) -> Vec<Row> {
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
                group: CHECKS,
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

pub(super) fn errors(old: &LoadReport, new: &LoadReport) -> Vec<ErrorChange> {
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
