#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::super::model::{Check, ErrorRow};
use super::*;

fn compared(change: impl FnOnce(&mut LoadReport)) -> Comparison {
    let old = LoadReport::example();
    let mut new = old.clone();
    change(&mut new);
    Comparison::of(&old, &new)
}

fn found<'a>(comparison: &'a Comparison, name: &str) -> &'a Row {
    comparison.rows.iter().find(|row| row.name == name).unwrap()
}

#[test]
fn the_same_run_has_not_changed() {
    let comparison = compared(|_| {});
    assert!(comparison.comparable());
    assert!(comparison.warnings.is_empty() && comparison.errors.is_empty());
    for row in &comparison.rows {
        assert_eq!(row.change, Change::Same, "{row:?}");
        assert!(row.ratio.is_none_or(|ratio| (ratio - 1.0).abs() < 1e-9));
    }
}

#[test]
fn every_kind_of_change_is_found() {
    let comparison = compared(|new| {
        new.steps[0].latency.p50_us *= 2;
        new.steps[0].latency.p99_us /= 2;
        new.steps[1].latency.p50_us = new.steps[1].latency.p50_us * 105 / 100;
        let answer = new.steps.remove(3);
        assert_eq!(answer.name, "answer");
        for point in &mut new.series {
            point.completed /= 2;
            point.refused = 0;
            point.failed *= 3;
        }
        *new.outcomes.get_mut("DENIED").unwrap() *= 3;
        new.outcomes.remove("EXPIRED");
        new.outcomes.insert("WRONG_NUMBER".to_owned(), 7);
        let broker = new.broker.as_mut().unwrap();
        broker.cpu_us_per_flow *= 1.5;
        broker.disk_end_bytes = None;
        new.checks[0].passed = false;
        new.checks.push(Check {
            name: "further".to_owned(),
            passed: true,
            detail: String::new(),
        });
        new.attackers[0].accepted = 1;
        new.errors.remove(2);
        new.errors[1].count = 30;
        new.errors.push(ErrorRow {
            call: "Wait".to_owned(),
            reason: "INTERNAL".to_owned(),
            count: 2,
            first_at_seconds: 0,
            example: String::new(),
        });
    });
    assert!(comparison.comparable());
    for (name, change) in [
        ("create p50", Change::Worse),
        ("create p99", Change::Better),
        ("prompt p50", Change::Same),
        ("answer p99", Change::OneSided),
        ("offered per second", Change::Same),
        ("completed per second", Change::Worse),
        ("refused per second", Change::Better),
        ("failed per second", Change::Worse),
        ("DENIED", Change::Other),
        ("EXPIRED", Change::OneSided),
        ("WRONG_NUMBER", Change::OneSided),
        ("processor time per flow", Change::Worse),
        ("disk at the end", Change::OneSided),
        ("no wrong approval", Change::Worse),
        ("further", Change::OneSided),
        ("prompt-bomber gets nowhere", Change::Worse),
        ("replayer gets nowhere", Change::Same),
    ] {
        assert_eq!(found(&comparison, name).change, change, "{name}");
    }
    let ratio = found(&comparison, "create p50").ratio.unwrap();
    assert!((ratio - 2.0).abs() < 1e-9);
    assert_eq!(found(&comparison, "refused per second").ratio, None);
    let errors: Vec<(&str, &str)> = comparison
        .errors
        .iter()
        .map(|error| (error.call.as_str(), error.word()))
        .collect();
    assert_eq!(
        errors,
        [("Respond", "changed"), ("Wait", "new"), ("connect", "gone")]
    );
}

#[test]
fn checks_that_changed_are_told_in_full() {
    let name = "a check with a name that is longer than any column is wide enough for";
    let check = |name: &str, passed| Check {
        name: name.to_owned(),
        passed,
        detail: String::new(),
    };
    let mut old = LoadReport::example();
    old.checks = vec![check(name, true), check("gone", true)];
    let mut new = old.clone();
    new.checks = vec![check(name, false)];
    let text = Comparison::of(&old, &new).to_text();
    assert!(
        text.contains("  passed → FAILED  a check with a name"),
        "{text}"
    );
    assert!(text.contains("  passed → –       gone\n"), "{text}");
    assert!(text.contains("\n  as before: 3\n"), "{text}");
}

#[test]
fn runs_that_cannot_be_compared_are_told() {
    let comparison = compared(|new| {
        new.settings
            .insert("rate".to_owned(), "3000 per second".to_owned());
        new.settings.remove("channels");
        new.settings.insert("pushes".to_owned(), "FCM".to_owned());
        new.target.tls = false;
        new.target.connections = 1;
        new.machine.cores = 4;
        new.planned_seconds = 30.0;
    });
    let names: Vec<&str> = comparison
        .differences
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "TLS",
            "channels",
            "connections",
            "planned time",
            "processors",
            "pushes",
            "rate"
        ]
    );
    let text = comparison.to_text();
    assert!(text.contains("!! NOT COMPARABLE"), "{text}");
    assert!(
        text.contains("channels          Subscribe → (none)"),
        "{text}"
    );
    assert!(!compared(|_| {}).to_text().contains("NOT COMPARABLE"));
}

#[test]
fn doubts_are_told() {
    let comparison = compared(|new| {
        new.generator.ran_out = true;
        new.generator.why = "out of breath".to_owned();
        new.measured_seconds = 20.0;
        new.seed = 43;
        new.target.version = None;
    });
    assert!(comparison.comparable());
    assert_eq!(
        comparison.warnings,
        [
            "in the newer run the load generator ran out, not necessarily the broker: out of breath",
            "the newer run was cut short: 0:20 of 1:00",
            "the seeds differ: 42 and 43",
            "the broker's version was 0.1.0, now it is an unknown one",
        ]
    );
}

#[test]
fn its_text_fits_80_columns_and_steers_no_terminal() {
    let text = compared(|new| {
        let long = "\u{1b}[2Jlong-名 ".repeat(40);
        new.title.clone_from(&long);
        new.settings.insert(long.clone(), long.clone());
        new.outcomes.insert(long.clone(), 9);
        new.errors[0].reason.clone_from(&long);
        new.errors[0].count = u64::MAX;
        new.steps[0].name = long;
        new.steps[1].latency.p50_us = u64::MAX;
    })
    .to_text();
    let wide: Vec<&str> = text.lines().filter(|line| columns(line) > WIDTH).collect();
    assert_eq!(wide, Vec::<&str>::new());
    assert!(!text.contains('\u{1b}'));
}
