//! What was measured: as JSON, and as text in 80 columns, each figure beside
//! its yardstick.

use std::fmt::Write as _;

use serde::Serialize;

use super::stats::Spread;

/// Width of the text.
const WIDTH: usize = 80;

/// Everything one run measured.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Version of this program.
    pub version: &'static str,
    /// Built with optimisation.
    pub optimised: bool,
    /// When, in seconds since 1970.
    pub time: u64,
    /// The processor, as it names itself.
    pub processor: String,
    /// Its cores that this process may use.
    pub cores: usize,
    /// The server's core.
    pub server_core: usize,
    /// Cores of the load.
    pub client_cores: Vec<usize>,
    /// Rounds per comparison.
    pub rounds: usize,
    /// By benchmark.
    pub sections: Vec<Section>,
}

/// One benchmark.
#[derive(Debug, Default, Serialize)]
pub struct Section {
    /// Short name.
    pub name: String,
    /// One line.
    pub title: String,
    /// Every figure.
    pub figures: Vec<Figure>,
    /// Lines for plots.
    pub series: Vec<Series>,
    /// Raw slices, in order.
    pub slices: Vec<RawSlice>,
    /// What a reader must know besides.
    pub notes: Vec<String>,
    /// What shows that the measurement itself is not to be trusted.
    pub faults: Vec<String>,
    /// The text's rows.
    #[serde(skip)]
    pub table: Table,
}

/// A figure with its yardstick.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// E.g. `subscribe.64.flows_of_ideal`.
    pub key: String,
    /// Median, smallest, largest.
    pub value: Spread,
    /// Of the value.
    pub unit: &'static str,
    /// What it is to be compared with.
    pub yardstick: String,
    /// What it should be.
    pub goal: Option<Goal>,
}

/// A limit that a figure is to keep.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// In words.
    pub text: String,
    /// Whether the median meets it.
    pub met: bool,
}

impl Goal {
    /// The median must be at least `limit`.
    pub(super) fn at_least(value: Spread, limit: f64) -> Self {
        Self {
            text: format!(">={limit}"),
            met: value.median >= limit,
        }
    }

    /// The median must be at most `limit`.
    pub(super) fn at_most(value: Spread, limit: f64) -> Self {
        Self {
            text: format!("<={limit}"),
            met: value.median <= limit,
        }
    }

    /// As it stands in a table.
    pub(super) fn cell(&self) -> String {
        let verdict = if self.met { "PASS" } else { "FAIL" };
        format!("{} {verdict}", self.text)
    }
}

/// Points of one line.
#[derive(Debug, Serialize)]
pub struct Series {
    /// Which plot it belongs to.
    pub plot: String,
    /// The line's name.
    pub name: String,
    /// Of the x axis.
    pub x: &'static str,
    /// Whether the x axis is to be logarithmic.
    pub log_x: bool,
    /// What the values should not pass, or should reach.
    pub goal: Option<f64>,
    /// Of the y axis.
    pub y: &'static str,
    /// In order of x.
    pub points: Vec<(f64, f64)>,
}

/// One slice as it was measured.
#[derive(Debug, Serialize)]
pub struct RawSlice {
    /// Which side.
    pub side: String,
    /// Flows in flight, or per second where the loop was open.
    pub load: f64,
    /// Flows per second.
    pub rate: f64,
    /// Microseconds of the server's time per flow.
    pub cpu_per_flow: f64,
    /// Share of its core that the server used.
    pub server_share: f64,
    /// Share of one core that the load used.
    pub load_share: f64,
    /// Share of the server's core that neither had.
    pub others_share: f64,
    /// Flows that failed.
    pub failed: u64,
    /// Median of the time from a flow's beginning (in the latency benchmark: the
    /// phone's answer) to the caller's answer, in ms.
    pub p50_ms: f64,
    /// The same, 99th percentile.
    pub p99_ms: f64,
}

/// Rows of cells under heads.
#[derive(Debug, Default)]
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these heads.
    pub(super) fn new(heads: &[&str]) -> Self {
        Self {
            heads: heads.iter().map(|head| (*head).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// One more row.
    pub(super) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// A rule that begins a group.
    pub(super) fn rule(&mut self) {
        self.rows.push(Vec::new());
    }

    fn write(&self, out: &mut String) {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let total = |widths: &[usize]| widths.iter().map(|width| width + 1).sum::<usize>();
        // What does not fit is taken from the first column.
        let over = total(&widths).saturating_sub(WIDTH + 1);
        if let Some(first) = widths.first_mut() {
            *first = first.saturating_sub(over);
        }
        let line = |out: &mut String, cells: &[String]| {
            let mut text = String::new();
            for (place, (width, cell)) in widths.iter().zip(cells).enumerate() {
                let cell: String = cell.chars().take(*width).collect();
                if place == 0 {
                    write!(text, "{cell:<width$} ").ok();
                } else {
                    write!(text, "{cell:>width$} ").ok();
                }
            }
            writeln!(out, "{}", text.trim_end()).ok();
        };
        let rule = "-".repeat(total(&widths).saturating_sub(1).min(WIDTH));
        line(out, &self.heads);
        writeln!(out, "{rule}").ok();
        for row in &self.rows {
            if row.is_empty() {
                writeln!(out, "{rule}").ok();
            } else {
                line(out, row);
            }
        }
    }
}

impl Section {
    /// An empty one.
    pub(super) fn new(name: &str, title: &str, heads: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            table: Table::new(heads),
            ..Self::default()
        }
    }

    /// Notes a figure; the cell that shows its goal.
    pub(super) fn figure(
        &mut self,
        key: impl Into<String>,
        value: Spread,
        unit: &'static str,
        yardstick: impl Into<String>,
        goal: Option<Goal>,
    ) -> String {
        let cell = goal.as_ref().map(Goal::cell).unwrap_or_default();
        self.figures.push(Figure {
            key: key.into(),
            value,
            unit,
            yardstick: yardstick.into(),
            goal,
        });
        cell
    }

    /// As text.
    pub(super) fn text(&self) -> String {
        let mut out = format!("\n{}\n\n", self.title);
        self.table.write(&mut out);
        for note in &self.notes {
            out.push('\n');
            wrap(&mut out, note);
        }
        for fault in &self.faults {
            out.push('\n');
            wrap(&mut out, &format!("NOT TO BE TRUSTED: {fault}"));
        }
        out
    }

    /// Goals that were missed.
    pub(super) fn missed(&self) -> usize {
        let missed = |figure: &&Figure| figure.goal.as_ref().is_some_and(|goal| !goal.met);
        self.figures.iter().filter(missed).count()
    }
}

fn wrap(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

impl Outcome {
    /// Of nothing yet.
    pub(super) fn new(cores: &super::cores::Cores, rounds: usize) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "model name").then(|| value.trim().to_owned())
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            time: since.unwrap_or_default().as_secs(),
            processor: model.unwrap_or_default(),
            cores: cores.all,
            server_core: cores.server,
            client_cores: cores.client.clone(),
            rounds,
            sections: Vec::new(),
        }
    }

    /// The lines above the tables.
    pub(super) fn head(&self) -> String {
        let mut head = format!(
            "{}, {} cores; servers on core {}, the load on {:?}; medians of {} rounds (extremes)\n",
            self.processor, self.cores, self.server_core, self.client_cores, self.rounds
        );
        if !self.optimised {
            head.push_str("Built without optimisation: these figures say nothing.\n");
        }
        let mut out = String::new();
        for line in head.lines() {
            wrap(&mut out, line);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_table_keeps_to_80_columns() {
        let mut section = Section::new("x", "X", &["what", "figure", "goal"]);
        section
            .table
            .row(["w".repeat(90), "1234567890".to_owned(), "PASS".to_owned()]);
        section.table.rule();
        section.notes.push("word ".repeat(40));
        let text = section.text();
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(text.contains("1234567890 PASS"), "{text}");
    }

    #[test]
    fn goals_look_at_the_median() {
        let value = Spread {
            median: 0.8,
            min: 0.1,
            max: 2.0,
        };
        assert!(Goal::at_least(value, 0.8).met);
        assert!(!Goal::at_least(value, 0.81).met);
        assert!(Goal::at_most(value, 0.8).met);
        assert!(!Goal::at_most(value, 0.79).met);
        let mut section = Section::new("x", "X", &[]);
        section.figure("a", value, "", "", Some(Goal::at_most(value, 0.79)));
        section.figure("b", value, "", "", Some(Goal::at_most(value, 0.8)));
        assert_eq!(section.missed(), 1);
    }
}
