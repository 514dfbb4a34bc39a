#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use std::collections::BTreeMap;

use super::super::model::{Attacker, Check, ErrorRow, Latency, Point};
use super::super::plot::{Axis, Lines, Look, Scale, Series};
use super::super::quantity;
use super::*;

/// Everything that comes from outside breaks out of whatever it can.
const HOSTILE: &str =
    "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u{202e}\u{0}";

fn hostile() -> LoadReport {
    let text = || HOSTILE.to_owned();
    let mut report = LoadReport::example();
    report.title = text();
    report.command = vec![text()];
    report.started = text();
    report.machine.cpu_model = text();
    report.machine.kernel = text();
    report.target.address = text();
    report.target.version = Some(text());
    report.settings = BTreeMap::from([(text(), text())]);
    report.steps[0].name = text();
    report.steps[0].meaning = text();
    report.steps.truncate(1);
    report.outcomes = BTreeMap::from([(text(), 5)]);
    report.errors = vec![ErrorRow {
        call: text(),
        reason: text(),
        count: 1,
        first_at_seconds: 0,
        example: text(),
    }];
    report.generator.why = text();
    report.attackers = vec![Attacker {
        model: text(),
        accepted: 1,
        refused: BTreeMap::from([(text(), 1)]),
        ..Attacker::default()
    }];
    report.checks = vec![Check {
        name: text(),
        passed: false,
        detail: text(),
    }];
    report
}

fn page(report: &LoadReport) -> String {
    to_string(
        report,
        Some(&Comparison::of(&LoadReport::example(), report)),
    )
}

/// Element names, of opening and closing tags.
fn tags(html: &str) -> Vec<&str> {
    html.split('<')
        .skip(1)
        .filter_map(|tag| tag.split([' ', '>', '\n']).next())
        .collect()
}

#[test]
fn nothing_from_outside_breaks_out() {
    let report = hostile();
    let html = to_string(
        &report,
        Some(&Comparison::of(&report, &LoadReport::example())),
    );
    for html in [html, page(&report)] {
        for tag in [
            "script", "/script", "img", "link", "iframe", "a", "use", "image",
        ] {
            assert!(!tags(&html).contains(&tag), "<{tag}>");
        }
        assert_eq!(
            tags(&html).iter().filter(|tag| **tag == "/style").count(),
            1
        );
        assert!(!html.contains('\u{202e}') && !html.contains('\0'));
        assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;&quot;"));
    }
}

#[test]
fn nothing_is_fetched() {
    let mut report = LoadReport::example();
    report.target.address = String::new();
    report.command.clear();
    let html = page(&report);
    for reference in ["http:", "https:", "url(", "@import", "src=", "href=", "//"] {
        assert!(!html.contains(reference), "{reference}");
    }
    assert!(html.contains(POLICY));
}

#[test]
fn every_element_is_closed() {
    const VOID: [&str; 2] = ["meta", "!DOCTYPE"];
    for report in [LoadReport::example(), hostile(), bare()] {
        let html = page(&report);
        let mut open = Vec::new();
        for tag in html.split('<').skip(1) {
            let name = tag
                .split([' ', '>', '\n', '/'])
                .find(|name| !name.is_empty())
                .unwrap();
            let end = tag.split('>').next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !VOID.contains(&name) && !end.ends_with('/') {
                open.push(name);
            }
        }
        assert_eq!(open, Vec::<&str>::new());
    }
}

#[test]
fn identifiers_are_unique() {
    let html = page(&LoadReport::example());
    let mut ids: Vec<&str> = html
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
    assert!(all >= 12, "title and description of each plot");
}

/// A run of nothing.
fn bare() -> LoadReport {
    let mut report = LoadReport::example();
    report.series.clear();
    report
        .steps
        .iter_mut()
        .for_each(|step| step.latency = Latency::default());
    report.outcomes.clear();
    report.errors.clear();
    report.attackers.clear();
    report.checks.clear();
    report.settings.clear();
    report.broker = None;
    report.measured_seconds = 0.0;
    report
}

#[test]
fn a_run_of_nothing_says_so() {
    let html = page(&bare());
    assert!(html.contains("Nothing was recorded.") && html.contains("Nothing was checked"));
    assert!(!html.contains("NaN") && !html.contains("inf%"));
}

#[test]
fn the_verdict_on_the_generator_comes_first() {
    let mut report = LoadReport::example();
    report.generator.ran_out = true;
    report.generator.why = "it was out of breath".to_owned();
    let html = page(&report);
    let verdict = "<strong>The load generator ran out, not necessarily the broker.</strong> \
                   It was out of breath.";
    let at = html.find(verdict).unwrap();
    assert!(at < html.find("<dl class=\"cards\"").unwrap());
    assert!(!page(&LoadReport::example()).contains("ran out"));
}

/// A file may say anything.
fn extreme(float: f64, time: u64) -> LoadReport {
    let mut report = LoadReport::example();
    report.planned_seconds = float;
    report.measured_seconds = float;
    report.machine.memory_bytes = time;
    for step in &mut report.steps {
        step.latency = Latency {
            count: u64::MAX,
            min_us: time,
            mean_us: float,
            p50_us: time,
            p90_us: 0,
            p99_us: time,
            p999_us: 0,
            max_us: time / 2,
            buckets: vec![(time, u64::MAX), (0, u64::MAX), (time, 0)],
        };
    }
    for point in &mut report.series {
        *point = Point {
            at_seconds: time,
            offered: time,
            started: 0,
            completed: time,
            refused: time,
            failed: time,
            p50_us: Some(time),
            p99_us: None,
            in_flight: time,
            generator_lag_p99_us: time,
            generator_cpu_cores: float,
            broker_rss_bytes: Some(time),
            broker_cpu_cores: Some(float),
        };
    }
    report
        .outcomes
        .values_mut()
        .for_each(|count| *count = u64::MAX);
    report.errors[0].count = u64::MAX;
    report.errors[0].first_at_seconds = u64::MAX;
    report.generator.cores = float;
    report.generator.cpu_cores_used = -float;
    report.generator.lag_p99_us = time;
    let broker = report.broker.as_mut().unwrap();
    broker.cpu_seconds = float;
    broker.cpu_us_per_flow = -float;
    broker.rss_peak_bytes = time;
    report
}

#[test]
fn extreme_numbers_do_no_harm() {
    for float in [
        f64::MAX,
        f64::MIN_POSITIVE,
        -1.0,
        0.0,
        f64::NAN,
        f64::INFINITY,
    ] {
        for time in [0, 1, u64::MAX] {
            let report = extreme(float, time);
            let html = page(&report);
            assert!(
                !html.contains("NaN") && !html.contains(">inf"),
                "{float} {time}"
            );
            let comparison = Comparison::of(&report, &LoadReport::example());
            let text = super::super::text::to_string(&report) + &comparison.to_text();
            assert!(!text.contains("NaN"), "{text}");
            let wide = |line: &&str| super::super::layout::columns(line) > 80;
            assert_eq!(text.lines().find(wide), None);
        }
    }
}

#[test]
fn a_long_run_stays_small() {
    let mut report = LoadReport::example();
    report.series = (0..3_600)
        .map(|at_seconds| Point {
            at_seconds,
            ..report.series[at_seconds as usize % 60]
        })
        .collect();
    let html = page(&report);
    assert!(html.len() < 2_000_000, "{}", html.len());
    assert!(html.contains("Flows in 60 seconds each"));
}

/// Writes the pages of `LoadReport::example` and of ugly data, to look at them.
#[test]
#[ignore = "for looking at the pages: set REPORT_PAGES to a folder"]
fn pages_to_look_at() {
    let folder = std::path::PathBuf::from(std::env::var_os("REPORT_PAGES").unwrap());
    let example = LoadReport::example();
    let mut faster = example.clone();
    faster
        .settings
        .insert("rate".to_owned(), "3000 per second".to_owned());
    faster.steps[0].latency.p50_us /= 2;
    faster.steps[4].latency.p99_us *= 2;
    faster.errors.remove(1);
    let mut long = hostile();
    long.title = "a-very-long-name-without-a-space".repeat(12);
    long.steps[0].name = "認証サーバ-step-".repeat(12);
    long.errors[0].example = "no-space-at-all/".repeat(40);
    long.generator.ran_out = true;
    long.series = (0..3_600)
        .map(|at_seconds| Point {
            at_seconds,
            ..example.series[at_seconds as usize * 7 % 60]
        })
        .collect();
    let mut point = example.clone();
    point.series.truncate(1);
    let mut zeros = bare();
    zeros.series = (0..20)
        .map(|at_seconds| Point {
            at_seconds,
            ..Point::default()
        })
        .collect();
    let growth = Lines::new(
        "Processor time per flow against registered devices",
        Axis::new("registered devices", Scale::Log, quantity::number),
        Axis::new(
            "processor time of the broker per flow",
            Scale::Linear,
            quantity::micros,
        ),
    )
    .describe("It hardly grows from ten thousand to a million devices.")
    .line(Series::new("broker", [(1e4, 240.0), (1e5, 251.0), (1e6, 262.0)]).look(Look::Marked))
    .line(Series::new("ideal flow", [(1e4, 185.0), (1e5, 183.0), (1e6, 186.0)]).look(Look::Marked))
    .line(
        Series::new("single rounds", [(1e4, 236.0), (1e4, 247.0), (1e6, 270.0)]).look(Look::Marks),
    )
    .reference(288.0, "goal: 1.2 times that with 10 k");
    std::fs::write(folder.join("growth.svg"), growth.standalone()).unwrap();
    for (name, report, old) in [
        ("example", &example, None),
        ("compared", &faster, Some(&example)),
        ("long", &long, Some(&example)),
        ("point", &point, None),
        ("zeros", &zeros, None),
        ("nothing", &bare(), None),
    ] {
        let comparison = old.map(|old| Comparison::of(old, report));
        write(
            report,
            comparison.as_ref(),
            &folder.join(format!("{name}.html")),
        )
        .unwrap();
    }
}
