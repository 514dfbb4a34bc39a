#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use std::collections::BTreeMap;

use super::super::model::Check;
use super::*;

fn too_long(text: &str) -> Vec<&str> {
    text.lines().filter(|line| columns(line) > WIDTH).collect()
}

#[test]
fn the_example_reads_like_this() {
    let text = to_string(&LoadReport::example());
    let golden = include_str!("example.txt");
    if text != golden {
        // To take it over: look at it, then copy it.
        std::fs::write(std::env::temp_dir().join("report-example.txt"), &text).unwrap();
    }
    assert_eq!(text, golden);
    assert_eq!(too_long(&text), Vec::<&str>::new());
}

#[test]
fn ugly_data_stay_within_80_columns() {
    let mut report = LoadReport::example();
    let long = "ein-sehr-langer-name-認証サーバ ".repeat(30);
    report.title = long.clone();
    report.target.address = long.clone();
    report.generator.why = long.clone();
    report.steps[0].name = long.clone();
    report.steps[0].meaning = long.clone();
    report.settings.insert(long.clone(), long.clone());
    report.outcomes.insert(long.clone(), u64::MAX);
    report.errors[0] = ErrorRow {
        call: long.clone(),
        reason: long.clone(),
        count: u64::MAX,
        first_at_seconds: u64::MAX,
        example: "\u{1b}[2J\u{1b}]0;owned\u{7}".repeat(50),
    };
    report.attackers[0].refused = BTreeMap::from([(long.clone(), u64::MAX)]);
    report.checks[0] = Check {
        name: long.clone(),
        passed: false,
        detail: long,
    };
    report.series = (0..3_600)
        .map(|at_seconds| Point {
            at_seconds,
            ..report.series[50]
        })
        .collect();
    let text = to_string(&report);
    assert_eq!(too_long(&text), Vec::<&str>::new());
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
}

#[test]
fn a_run_of_nothing_has_a_report() {
    let mut report = LoadReport::example();
    report
        .steps
        .iter_mut()
        .for_each(|step| step.latency = Latency::default());
    report.series = vec![Point::default()];
    report.measured_seconds = 0.0;
    report.outcomes.clear();
    report.errors.clear();
    report.attackers.clear();
    report.checks.clear();
    report.settings.clear();
    report.command.clear();
    report.broker = None;
    let text = to_string(&report);
    assert!(text.contains("-- Nothing was checked"));
    assert!(
        text.contains("  offered              0              0   –\n"),
        "{text}"
    );
    report.series.clear();
    report.steps.clear();
    assert!(!to_string(&report).contains("LATENCY"));
}

#[test]
fn what_went_wrong_stands_at_the_top() {
    let mut report = LoadReport::example();
    report.checks[1].passed = false;
    report.attackers[2].accepted = 1;
    report.generator.ran_out = true;
    let text = to_string(&report);
    let alarms: Vec<&str> = text
        .lines()
        .take(9)
        .filter(|line| line.starts_with("!! "))
        .collect();
    assert!(alarms[0].starts_with("!! The load generator ran out, not necessarily the broker: it"));
    assert_eq!(
        alarms[1],
        "!! Checks that failed: no flow with two outcomes"
    );
    assert_eq!(alarms[2], "!! replayer got through 1 times");
    assert!(!report.passed() && LoadReport::example().passed());
}
