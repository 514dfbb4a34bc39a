#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::axis::Range;
use super::*;

fn plot(y: Scale, points: &[(f64, f64)]) -> Lines {
    Lines::new(
        "cost",
        Axis::new("devices", Scale::Log, quantity::number),
        Axis::new("µs", y, quantity::number),
    )
    .line(Series::new("broker", points.iter().copied()))
}

#[test]
fn ticks_are_round_and_span_the_values() {
    #[rustfmt::skip]
    let table: [(Scale, &[f64], &[f64]); 13] = [
        (Scale::Linear, &[3.0, 97.0], &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0]),
        (Scale::Linear, &[0.0], &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Scale::Linear, &[], &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Scale::Linear, &[-4.0, 4.0], &[-4.0, -2.0, 0.0, 2.0, 4.0]),
        (Scale::Linear, &[f64::NAN, 5.0], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (Scale::Fitted, &[100.0, 104.0], &[100.0, 101.0, 102.0, 103.0, 104.0]),
        (Scale::Log, &[0.0, -1.0, 3.0, 40.0], &[2.0, 5.0, 10.0, 20.0, 50.0]),
        (Scale::Log, &[1_000.0, 1e6], &[1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6]),
        (Scale::Log, &[1_000.0, 1e7], &[1e3, 1e4, 1e5, 1e6, 1e7]),
        (Scale::Log, &[10.0], &[5.0, 10.0]),
        (Scale::Time, &[0.0, 59.0], &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]),
        (Scale::Time, &[7.0], &[0.0, 5.0]),
        (Scale::Percentile, &[0.9995], &[0.0, 0.5, 0.9, 0.99, 0.999]),
    ];
    for (scale, values, ticks) in table {
        let wanted = if scale == Scale::Time { 6 } else { 5 };
        let found = Range::new(scale, values.iter().copied(), wanted).ticks;
        let same = found.len() == ticks.len()
            && found
                .iter()
                .zip(ticks)
                .all(|(a, b)| (a - b).abs() <= b.abs() * 1e-6 + 1e-9);
        if scale == Scale::Time && values.len() == 1 {
            assert!(found.len() >= 2, "{found:?}");
        } else {
            assert!(same, "{scale:?} {values:?}: {found:?}");
        }
        let range = Range::new(scale, values.iter().copied(), wanted);
        for value in values.iter().filter(|value| **value > 0.0) {
            let place = range.place(*value).unwrap();
            assert!((0.0..=1.0).contains(&place), "{scale:?} {value}: {place}");
        }
    }
}

#[test]
fn percentiles_get_more_room_the_nearer_they_are_to_all() {
    let range = Range::new(Scale::Percentile, [0.999].into_iter(), 5);
    for (value, place) in [
        (0.0, 0.0),
        (0.9, 1.0 / 3.0),
        (0.99, 2.0 / 3.0),
        (0.999, 1.0),
    ] {
        assert!((range.place(value).unwrap() - place).abs() < 1e-9);
    }
}

#[test]
fn whatever_the_data_no_coordinate_is_broken() {
    let many: Vec<(f64, f64)> = (0..4_000)
        .map(|n| (f64::from(n), f64::from(n % 97)))
        .collect();
    let sets: [&[(f64, f64)]; 8] = [
        &[],
        &[(0.0, 0.0)],
        &[(5.0, 7.0)],
        &[(f64::NAN, 1.0), (1.0, f64::NAN), (2.0, f64::INFINITY)],
        &[(1.0, 5.0), (2.0, f64::NAN), (3.0, 5.0)],
        &[(1.0, 1e-300), (2.0, 1e300)],
        &[(-1.0, -5.0), (1e18, 0.0)],
        &many,
    ];
    let scales = [
        Scale::Linear,
        Scale::Fitted,
        Scale::Log,
        Scale::Time,
        Scale::Percentile,
    ];
    for points in sets {
        for (scale, look) in scales.into_iter().zip([
            Look::Line,
            Look::Marked,
            Look::Marks,
            Look::Area,
            Look::Dashed,
        ]) {
            for (x, y) in [(Scale::Linear, scale), (scale, Scale::Linear)] {
                let mut plot = plot(y, points);
                plot.x.scale = x;
                plot.series[0].look = look;
                let svg = plot.inline("p");
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }
}

fn first_line(svg: &str) -> &str {
    svg.lines()
        .find(|line| line.starts_with("<path class=\"line k0"))
        .unwrap()
}

#[test]
fn a_gap_splits_the_line() {
    let points = [1.0, 2.0, f64::NAN, 4.0, 5.0].map(|x| (x.max(1.0), x + 1.0));
    let svg = plot(Scale::Linear, &points).inline("p");
    assert_eq!(first_line(&svg).matches('M').count(), 2, "{svg}");
}

#[test]
fn a_condensed_line_keeps_the_peak() {
    let mut points: Vec<(f64, f64)> = (1..50_000).map(|n| (f64::from(n), 1.0)).collect();
    points[31_111].1 = 1_000.0;
    let mut plot = plot(Scale::Linear, &points);
    plot.x.scale = Scale::Linear;
    let svg = plot.inline("p");
    assert!(first_line(&svg).len() < 10_000);
    let band = svg
        .lines()
        .find(|line| line.starts_with("<path class=\"band m0"));
    // The top of the drawing area: head, one row of the legend, the label.
    assert!(band.unwrap().contains(" 54.0L"), "the peak");
}

#[test]
fn a_file_of_its_own_brings_its_style_and_names_what_it_shows() {
    let svg = plot(Scale::Log, &[(1.0, 2.0), (10.0, 3.0)])
        .describe("flat <b>")
        .reference(2.5, "goal & limit")
        .standalone();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(svg.contains("<style>") && svg.contains("prefers-color-scheme: dark"));
    assert!(svg.contains("<title id=\"plot-title\">cost</title>"));
    assert!(svg.contains("<desc id=\"plot-desc\">flat &lt;b&gt;</desc>"));
    assert!(svg.contains("goal &amp; limit"));
}

#[test]
fn what_could_break_out_is_escaped() {
    let text = "a<b>&\"'\u{0}\u{1b}[1m\u{202e}é\n";
    assert_eq!(
        escape(text),
        "a&lt;b&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}[1m\u{fffd}é\n"
    );
}
