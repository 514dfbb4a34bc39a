//! The drawing. Coordinates are CSS pixels with one decimal.

use std::fmt::Write as _;

use super::super::layout::{columns, cut};
use super::axis::Range;
use super::{Lines, Look, STYLE, Scale, Series, escape};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
/// Below the drawing area: ticks and the label of the axis.
const BOTTOM: f64 = 48.0;
const LINE: f64 = 20.0;
/// Average advance of a character at 13 px.
const CHARACTER: f64 = 7.0;
/// The longest name in the legend, in columns.
const NAME: usize = 48;
/// A line of more points is drawn condensed.
const MOST_POINTS: usize = 800;
/// Width of what is condensed into one point, in pixels.
const COLUMN: f64 = 3.0;
/// Columns with a tooltip.
const PROBES: usize = 120;
const COLOURS: usize = 8;

/// Where the drawing area is, and the axes.
struct Frame {
    top: f64,
    height: f64,
    x: Range,
    y: Range,
}

impl Frame {
    fn x(&self, value: f64) -> Option<f64> {
        Some(LEFT + self.x.place(value)? * (WIDTH - LEFT - RIGHT))
    }

    fn y(&self, value: f64) -> Option<f64> {
        Some(self.top + (1.0 - self.y.place(value)?) * self.height)
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

pub(super) fn draw(plot: &Lines, id: &str, alone: bool) -> String {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let references = plot.references.iter().map(|reference| reference.at);
    let (legend, rows) = legend(&plot.series);
    let head = if alone { 34.0 } else { 4.0 };
    let frame = Frame {
        top: head + LINE * rows as f64 + LINE + 10.0,
        height: plot.height,
        x: Range::new(plot.x.scale, points().map(|point| point.0), 9),
        y: Range::new(
            plot.y.scale,
            points().map(|point| point.1).chain(references),
            5,
        ),
    };
    let total = frame.bottom() + BOTTOM;
    let mut svg = opening(plot, id, alone, total);
    if rows > 0 {
        push(
            &mut svg,
            format_args!("<g transform=\"translate(0 {head:.1})\">{legend}</g>\n"),
        );
    }
    grid(&mut svg, plot, &frame);
    for (place, series) in plot.series.iter().enumerate() {
        curve(
            &mut svg,
            &frame,
            series,
            series.colour.unwrap_or(place) % COLOURS,
        );
    }
    for reference in &plot.references {
        if let Some(y) = frame.y(reference.at) {
            push(
                &mut svg,
                format_args!(
                    "<path class=\"reference\" d=\"M{LEFT:.1} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                    WIDTH - RIGHT,
                    WIDTH - RIGHT - 4.0,
                    y - 5.0,
                    escape(&cut(&reference.label, 90)),
                ),
            );
        }
    }
    probes(&mut svg, plot, &frame);
    svg.push_str("</svg>\n");
    svg
}

fn opening(plot: &Lines, id: &str, alone: bool, total: f64) -> String {
    let mut svg = String::new();
    let space = if alone {
        " xmlns=\"http://www.w3.org/2000/svg\""
    } else {
        ""
    };
    push(
        &mut svg,
        format_args!(
            "<svg{space} class=\"plot\" viewBox=\"0 0 {WIDTH:.0} {total:.0}\" width=\"{WIDTH:.0}\" height=\"{total:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n",
            escape(&plot.title),
            escape(&plot.description),
        ),
    );
    if alone {
        push(
            &mut svg,
            format_args!(
                "<style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH:.0}\" height=\"{total:.0}\"/>\n<text class=\"head\" x=\"16\" y=\"25\">{}</text>\n",
                escape(&cut(&plot.title, 90)),
            ),
        );
    }
    svg
}

/// A sample and a name per line, in rows; and how many rows those are.
fn legend(series: &[Series]) -> (String, usize) {
    let mut svg = String::new();
    let (mut x, mut row) = (LEFT, 0_usize);
    for (place, line) in series.iter().enumerate() {
        if line.name.is_empty() {
            continue;
        }
        let name = cut(&line.name, NAME);
        let width = 32.0 + columns(&name) as f64 * CHARACTER + 18.0;
        if x > LEFT && x + width > WIDTH - RIGHT {
            (x, row) = (LEFT, row + 1);
        }
        let y = row as f64 * LINE + 14.0;
        let colour = line.colour.unwrap_or(place) % COLOURS;
        match line.look {
            Look::Area => push(
                &mut svg,
                format_args!(
                    "<rect class=\"area\" x=\"{x:.1}\" y=\"{:.1}\" width=\"24\" height=\"10\"/>",
                    y - 9.0,
                ),
            ),
            Look::Marks => mark(&mut svg, x + 12.0, y - 4.0, colour),
            look => {
                let dashed = if look == Look::Dashed { " dashed" } else { "" };
                push(
                    &mut svg,
                    format_args!(
                        "<path class=\"line k{colour}{dashed}\" d=\"M{x:.1} {:.1}h24\"/>",
                        y - 4.0,
                    ),
                );
                if look == Look::Marked {
                    mark(&mut svg, x + 12.0, y - 4.0, colour);
                }
            }
        }
        push(
            &mut svg,
            format_args!(
                "<text class=\"name\" x=\"{:.1}\" y=\"{y:.1}\">{}<title>{}</title></text>",
                x + 32.0,
                escape(&name),
                escape(&line.name),
            ),
        );
        x += width;
    }
    let rows = if svg.is_empty() { 0 } else { row + 1 };
    (svg, rows)
}

fn grid(svg: &mut String, plot: &Lines, frame: &Frame) {
    let (right, bottom) = (WIDTH - RIGHT, frame.bottom());
    let mut label = cut(&plot.y.label, 80);
    if plot.x.scale != Scale::Percentile && plot.series.iter().any(is_long) {
        label.push_str(" · mean, with a band from lowest to highest");
    }
    push(
        svg,
        format_args!(
            "<text x=\"{LEFT:.1}\" y=\"{:.1}\">{}</text>\n",
            frame.top - 10.0,
            escape(&label),
        ),
    );
    for tick in &frame.y.ticks {
        if let Some(y) = frame.y(*tick) {
            push(
                svg,
                format_args!(
                    "<path class=\"grid\" d=\"M{LEFT:.1} {y:.1}H{right:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                    LEFT - 8.0,
                    y + 4.5,
                    escape(&(plot.y.format)(*tick)),
                ),
            );
        }
    }
    let mut free = 0.0;
    for tick in &frame.x.ticks {
        let Some(x) = frame.x(*tick) else { continue };
        push(
            svg,
            format_args!("<path class=\"axis\" d=\"M{x:.1} {bottom:.1}v5\"/>",),
        );
        let text = (plot.x.format)(*tick);
        let half = columns(&text) as f64 * CHARACTER / 2.0;
        // The last one stays within the drawing.
        let x = x.min(WIDTH - half - 2.0);
        if x - half >= free {
            push(
                svg,
                format_args!(
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                    bottom + 20.0,
                    escape(&text),
                ),
            );
            free = x + half + 8.0;
        }
    }
    push(
        svg,
        format_args!(
            "<path class=\"axis\" d=\"M{LEFT:.1} {bottom:.1}H{right:.1}\"/><text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            bottom + 40.0,
            escape(&cut(&plot.x.label, 100)),
        ),
    );
}

fn curve(svg: &mut String, frame: &Frame, series: &Series, colour: usize) {
    let mut runs = runs(frame, series);
    if series.look != Look::Marks {
        if is_long(series) {
            runs = runs.iter().map(|run| condensed(svg, run, colour)).collect();
        }
        line(svg, frame, &runs, series.look, colour);
    }
    let single = runs.iter().all(|run| run.len() == 1) && series.look != Look::Area;
    if matches!(series.look, Look::Marked | Look::Marks) || single {
        for (x, y) in runs.into_iter().flatten() {
            mark(svg, x, y, colour);
        }
        svg.push('\n');
    }
}

fn line(svg: &mut String, frame: &Frame, runs: &[Vec<(f64, f64)>], look: Look, colour: usize) {
    let mut path = String::new();
    for run in runs {
        trace(&mut path, run.iter(), 'M');
        match run.first() {
            Some((first, _)) if look == Look::Area => push(
                &mut path,
                format_args!("V{:.1}H{first:.1}Z", frame.bottom()),
            ),
            // A single point would be a line without length: round ends make a
            // dot of it.
            Some(_) if run.len() == 1 => path.push_str("h0.1"),
            _ => {}
        }
    }
    let class = match look {
        Look::Area => "area".to_owned(),
        Look::Dashed => format!("line dashed k{colour}"),
        _ => format!("line k{colour}"),
    };
    if !path.is_empty() {
        push(
            svg,
            format_args!("<path class=\"{class}\" d=\"{path}\"/>\n"),
        );
    }
}

fn trace<'a>(path: &mut String, points: impl Iterator<Item = &'a (f64, f64)>, start: char) {
    for (i, (x, y)) in points.enumerate() {
        let step = if i == 0 { start } else { 'L' };
        push(path, format_args!("{step}{x:.1} {y:.1}"));
    }
}

/// Whether a line is drawn condensed.
fn is_long(series: &Series) -> bool {
    series.look != Look::Marks && series.points.len() > MOST_POINTS
}

/// The points in pixels, apart where there is a gap.
fn runs(frame: &Frame, series: &Series) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for (x, y) in &series.points {
        match (frame.x(*x), frame.y(*y), runs.last_mut()) {
            (Some(x), Some(y), Some(run)) => run.push((x, y)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// The mean of every few pixels, for the line; behind it a band from the lowest
/// to the highest of them, so that no peak gets lost.
fn condensed(svg: &mut String, run: &[(f64, f64)], colour: usize) -> Vec<(f64, f64)> {
    let (mut line, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
    for column in run.chunk_by(|a, b| (a.0 / COLUMN).floor() >= (b.0 / COLUMN).floor()) {
        let count = column.len().max(1) as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| column.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let (top, bottom) = column.iter().fold((y, y), |ends, point| {
            (ends.0.min(point.1), ends.1.max(point.1))
        });
        line.push((x, y));
        high.push((x, top));
        low.push((x, bottom));
    }
    let mut path = String::new();
    trace(&mut path, high.iter(), 'M');
    trace(&mut path, low.iter().rev(), 'L');
    if !path.is_empty() {
        push(
            svg,
            format_args!("<path class=\"band m{colour}\" d=\"{path}Z\"/>\n"),
        );
    }
    line
}

/// A mark whose shape goes with its colour.
fn mark(svg: &mut String, x: f64, y: f64, colour: usize) {
    let shape = match colour % 4 {
        0 => format!("<circle class=\"m{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\"/>"),
        1 => format!(
            "<path class=\"m{colour}\" d=\"M{:.1} {:.1}h6.6v6.6h-6.6z\"/>",
            x - 3.3,
            y - 3.3
        ),
        2 => format!(
            "<path class=\"m{colour}\" d=\"M{x:.1} {:.1}l4.4 7.6h-8.8z\"/>",
            y - 4.6
        ),
        _ => format!(
            "<path class=\"m{colour}\" d=\"M{x:.1} {:.1}l4.6 4.6l-4.6 4.6l-4.6 -4.6z\"/>",
            y - 4.6
        ),
    };
    svg.push_str(&shape);
}

/// Columns that show their values when pointed at.
fn probes(svg: &mut String, plot: &Lines, frame: &Frame) {
    let mut columns: Vec<(f64, f64, String)> = Vec::new();
    let longest = plot.series.iter().max_by_key(|series| series.points.len());
    let Some(longest) = longest.filter(|series| !series.points.is_empty()) else {
        return;
    };
    let step = longest.points.len().div_ceil(PROBES);
    for (x, _) in longest.points.iter().step_by(step) {
        let Some(place) = frame.x(*x) else { continue };
        let mut text = match plot.x.scale {
            Scale::Percentile => String::new(),
            _ => format!("{} {}", (plot.x.format)(*x), plot.x.label),
        };
        for series in &plot.series {
            let at = series.points.partition_point(|point| point.0 < *x);
            if let Some((_, y)) = series.points.get(at).filter(|point| point.1.is_finite()) {
                push(
                    &mut text,
                    format_args!("\n{}: {}", series.name, (plot.y.format)(*y)),
                );
            }
        }
        columns.push((place, *x, text));
    }
    let right = WIDTH - RIGHT;
    let starts: Vec<f64> = columns.iter().map(|column| column.0).collect();
    for (i, (place, _, text)) in columns.iter().enumerate() {
        let middle = |other: Option<&f64>, end: f64| other.map_or(end, |x| (x + place) / 2.0);
        let from = middle(i.checked_sub(1).and_then(|i| starts.get(i)), LEFT);
        let to = middle(starts.get(i + 1), right);
        push(
            svg,
            format_args!(
                "<rect class=\"probe\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>\n",
                frame.top,
                (to - from).max(0.0),
                frame.height,
                escape(text.trim()),
            ),
        );
    }
}

/// Writing to a `String` can't fail.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).unwrap_or_default();
}
