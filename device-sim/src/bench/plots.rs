//! A section's lines as SVG files, one per plot.

use std::path::Path;

use super::BenchError;
use super::outcome::{Section, Series};
use crate::report::plot::{Axis, Lines, Look, Scale, Series as Line};
use crate::report::quantity::number;

/// Writes the plots of `section` into `directory`.
pub(super) fn write(directory: &Path, section: &Section) -> Result<(), BenchError> {
    std::fs::create_dir_all(directory)?;
    let mut done: Vec<&str> = Vec::new();
    for series in &section.series {
        if done.contains(&series.plot.as_str()) {
            continue;
        }
        done.push(&series.plot);
        let all: Vec<&Series> = section
            .series
            .iter()
            .filter(|other| other.plot == series.plot)
            .collect();
        let file = format!("{}-{}.svg", section.name, file_name(&series.plot));
        std::fs::write(directory.join(file), plot(series, &all))?;
    }
    Ok(())
}

fn file_name(plot: &str) -> String {
    let letters = plot
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == ' ');
    letters.collect::<String>().replace(' ', "-")
}

fn plot(first: &Series, all: &[&Series]) -> String {
    let scale = if first.log_x {
        Scale::Log
    } else {
        Scale::Linear
    };
    let x = Axis::new(first.x, scale, number);
    let y = Axis::new(first.y, Scale::Linear, number);
    let mut lines = Lines::new(&first.plot, x, y);
    let mut goals: Vec<f64> = all.iter().filter_map(|series| series.goal).collect();
    goals.dedup();
    for series in all {
        let look = if series.points.len() > 20 {
            Look::Line
        } else {
            Look::Marked
        };
        lines = lines.line(Line::new(&series.name, series.points.clone()).look(look));
    }
    for goal in goals {
        lines = lines.reference(goal, "goal");
    }
    lines.standalone()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn series(plot: &str, name: &str) -> Series {
        Series {
            plot: plot.to_owned(),
            name: name.to_owned(),
            x: "devices",
            log_x: true,
            goal: Some(1.2),
            y: "ratio",
            points: vec![(10_000.0, 1.0), (1e6, 1.1)],
        }
    }

    #[test]
    fn one_file_per_plot() {
        let directory = tempfile::tempdir().unwrap();
        let mut section = Section::new("growth", "", &[]);
        section.series = vec![
            series("a b's", "one"),
            series("a b's", "two"),
            series("c", "x"),
        ];
        write(directory.path(), &section).unwrap();
        let both = std::fs::read_to_string(directory.path().join("growth-a-bs.svg")).unwrap();
        assert!(both.contains("one") && both.contains("two"), "{both}");
        assert!(directory.path().join("growth-c.svg").exists());
    }
}
