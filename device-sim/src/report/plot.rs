//! Plots of lines as SVG, without scripts, fonts or anything else from outside.
//! They follow the reader's light or dark scheme.

mod axis;
mod draw;

pub use axis::{Axis, Scale};

use super::layout::harmful;
use super::quantity;

/// Turns a value into the text of a tick.
pub type Format = fn(f64) -> String;

/// A plot of several lines over one horizontal axis.
#[derive(Clone, Debug)]
pub struct Lines {
    /// One line: what is to be seen.
    pub title: String,
    /// What a reader who can't see it should know; may be longer.
    pub description: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, drawn in this order.
    pub series: Vec<Series>,
    /// Horizontal lines to measure the others by: a goal, a limit.
    pub references: Vec<Reference>,
    /// Height of the drawing area in CSS pixels; it is about 800 wide.
    pub height: f64,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend; empty for one that needs none.
    pub name: String,
    /// Horizontal and vertical values, ascending by the former. Where one isn't
    /// finite (or not above 0 on a logarithmic axis) the line has a gap.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub look: Look,
    /// Number of its colour, 0 to 7; its place among the lines by default.
    pub colour: Option<usize>,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// A line.
    #[default]
    Line,
    /// A dashed line.
    Dashed,
    /// A line with a mark at every point, for few of them.
    Marked,
    /// Marks alone.
    Marks,
    /// A grey area down to the axis: what the others are held against.
    Area,
}

/// A horizontal line across the plot.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Where, in units of the vertical axis.
    pub at: f64,
    /// What it says, in a few words.
    pub label: String,
}

impl Lines {
    /// An empty plot.
    #[must_use]
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self {
            title: title.to_owned(),
            description: String::new(),
            x,
            y,
            series: Vec::new(),
            references: Vec::new(),
            height: 240.0,
        }
    }

    /// With a description for those who can't see it.
    #[must_use]
    pub fn describe(mut self, description: &str) -> Self {
        description.clone_into(&mut self.description);
        self
    }

    /// With one more line.
    #[must_use]
    pub fn line(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// With a horizontal line at `at`.
    #[must_use]
    pub fn reference(mut self, at: f64, label: &str) -> Self {
        self.references.push(Reference {
            at,
            label: label.to_owned(),
        });
        self
    }

    /// As an element for an HTML page that has [`STYLE`] in it. `id`, unique on
    /// the page and of letters and digits, links the title to the drawing.
    #[must_use]
    pub fn inline(&self, id: &str) -> String {
        draw::draw(self, id, false)
    }

    /// As a file of its own, with the title above it.
    #[must_use]
    pub fn standalone(&self) -> String {
        draw::draw(self, "plot", true)
    }
}

impl Series {
    /// A plain line in the next colour.
    #[must_use]
    pub fn new(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            name: name.to_owned(),
            points: points.into_iter().collect(),
            look: Look::Line,
            colour: None,
        }
    }

    /// Drawn that way.
    #[must_use]
    pub fn look(mut self, look: Look) -> Self {
        self.look = look;
        self
    }

    /// In that colour: 0 blue, 1 orange, 2 green, 3 violet, 4 ochre, 5 teal,
    /// 6 pink, 7 slate.
    #[must_use]
    pub fn colour(mut self, colour: usize) -> Self {
        self.colour = Some(colour);
        self
    }
}

/// The style of plots, for the page they are on.
pub const STYLE: &str = include_str!("plot/plot.css");

/// Text for HTML and XML, in elements and in attributes in double quotes.
/// Characters that XML doesn't allow become U+FFFD.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if harmful(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Seconds as `m:ss`, for a time axis.
#[must_use]
pub fn clock(seconds: f64) -> String {
    quantity::clock(seconds.max(0.0).round() as u64)
}

#[cfg(test)]
mod tests;
