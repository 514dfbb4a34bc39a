//! `device-sim bench`: the broker against the ideal flow, in one run.
//!
//! Machines are shared, and their speed drifts by a factor of two within
//! minutes. So nothing is compared but neighbours: short slices of the ideal
//! flow and of the broker in turn, each slice set against those just before and
//! after it, and of all ratios the median is shown with the extremes. Servers
//! are processes of their own, on a core of their own; what they use, the kernel
//! says.
//!
//! Only `child` and `stage` know the broker other than by its address.

mod child;
mod closed_loop;
mod cores;
mod disk;
mod error;
mod flow;
mod growth;
mod ideal;
mod latency;
mod metrics;
mod open_loop;
mod outcome;
mod overload;
mod people;
mod plots;
mod process;
mod side;
mod stage;
mod stats;
mod waiters;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

pub use child::{ChildArgs, run as run_child};
pub use error::BenchError;
pub use outcome::{Figure, Goal, Outcome, RawSlice, Section, Series, Table};
pub use stats::Spread;

use cores::Cores;

/// The organisation that asks, on both sides.
pub(crate) const ORGANISATION: &str = "Eagle IT BVBA";

/// The broker against the ideal flow
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    pub what: What,
    /// Rounds of each comparison, after one that warms up
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: usize,
    /// Length of a slice in seconds
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,
    /// Flows in flight, e.g. 1,64,128
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [64, 128, 1])]
    pub in_flight: Vec<usize>,
    /// Waiting callers, and subscribed phones
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub waiters: u64,
    /// Registered devices, at most
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub devices: u64,
    /// Pending challenges, at most
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub pending: u64,
    /// Decided challenges whose space is measured
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    pub decided: u64,
    /// Seconds instead of minutes: to see that it works; its figures say little
    #[arg(long)]
    pub quick: bool,
    /// The server's core; unset: the last
    #[arg(long, value_name = "CORE")]
    pub server_core: Option<usize>,
    /// The load's core; unset: all others
    #[arg(long, value_name = "CORE")]
    pub client_core: Option<usize>,
    /// Where the brokers' data directories are made, to choose a disk; unset:
    /// the directory for temporary files
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Adds a broker that is slowed down in this way to `flow`; fails where that
    /// does not show
    #[arg(long, value_enum, value_name = "HOW")]
    pub sabotage: Vec<Sabotage>,
    /// Writes every figure to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes a plot of every comparison over sizes or rounds to a directory, as
    /// SVG
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Fails where a goal is missed
    #[arg(long)]
    pub strict: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Everything, in this order
    All,
    /// Flows per second
    Flow,
    /// From the phone's answer to the caller's
    Latency,
    /// Three times the maximum rate
    Overload,
    /// An organisation beside one that floods the broker
    Fairness,
    /// Memory of those who wait, and what connections leave behind
    Waiters,
    /// Cost against devices, pending challenges and history; a great expiry; the
    /// start
    Growth,
    /// Bytes per decided challenge, and what retention gives back
    Disk,
}

/// Ways to make a broker slow, to see that the benchmark would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// Each command of the store in a commit of its own
    CommitPerCall,
    /// Four signatures verified in vain per decision
    ExtraVerify,
}

/// How much is measured.
#[derive(Clone, Debug)]
struct Settings {
    rounds: usize,
    seconds: f64,
    in_flight: Vec<usize>,
    quick: bool,
    data_dir: Option<PathBuf>,
    sabotage: Vec<Sabotage>,
    waiters: u64,
    devices: u64,
    pending: u64,
    decided: u64,
}

impl Settings {
    fn new(args: &BenchArgs) -> Self {
        let quick = args.quick;
        Self {
            rounds: if quick { 1 } else { args.rounds.max(1) },
            seconds: if quick { 0.4 } else { args.seconds.max(0.1) },
            in_flight: if quick {
                vec![16]
            } else {
                args.in_flight.clone()
            },
            quick,
            data_dir: args.data_dir.clone(),
            sabotage: args.sabotage.clone(),
            waiters: args.waiters,
            devices: args.devices,
            pending: args.pending,
            decided: args.decided,
        }
    }

    /// How long a slice is measured.
    fn slice(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How long all work before a slice is measured.
    fn ramp(&self) -> Duration {
        Duration::from_secs_f64(self.seconds / 4.0)
    }

    /// Users on each side of a comparison.
    fn users(&self) -> u64 {
        let most = self.in_flight.iter().copied().max().unwrap_or(1);
        // Four phones for each flow in flight.
        u64::try_from(most * 4).unwrap_or(u64::MAX)
    }
}

/// Says on standard error what is being done.
struct Progress;

impl Progress {
    fn say(&self, what: &str) {
        eprintln!("bench: {what}");
    }
}

/// Measures and prints.
///
/// # Errors
/// [`BenchError`]: something could not be measured, or sabotage was not seen, or
/// (with `--strict`) a goal was missed.
pub async fn run(args: BenchArgs) -> Result<(), BenchError> {
    // A thread of its own, so that nothing else of this process is bound to its
    // cores.
    let measured = tokio::task::spawn_blocking(move || {
        let cores = Cores::choose(args.server_core, args.client_core)?;
        cores::stay_on(&cores.client)?;
        cores::raise_file_limit();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.client.len())
            .enable_all()
            .build()?
            .block_on(measure(args, cores))
    });
    measured.await.map_err(BenchError::part("the benchmark"))?
}

async fn measure(args: BenchArgs, cores: Cores) -> Result<(), BenchError> {
    let settings = Settings::new(&args);
    let progress = Progress;
    let mut outcome = Outcome::new(&cores, settings.rounds);
    print!("{}", outcome.head());
    if !cores.apart() {
        println!("Server and load share a core: flows per second say nothing.");
    }
    let wanted = |what| args.what == What::All || args.what == what;
    if wanted(What::Flow) {
        let section = flow::run(&settings, &cores, &progress).await?;
        finish(&mut outcome, section, &args)?;
    }
    if wanted(What::Latency) {
        let section = latency::run(&settings, &cores, &progress).await?;
        finish(&mut outcome, section, &args)?;
    }
    if wanted(What::Overload) {
        let section = overload::run(&settings, &cores, &progress).await?;
        finish(&mut outcome, section, &args)?;
    }
    if wanted(What::Fairness) {
        let section = overload::fairness(&settings, &cores, &progress).await?;
        finish(&mut outcome, section, &args)?;
    }
    if wanted(What::Waiters) {
        let section = waiters::run(&settings, &cores, &progress).await?;
        finish(&mut outcome, section, &args)?;
    }
    if wanted(What::Growth) {
        let section = growth::run(&settings, &cores, &progress).await?;
        finish(&mut outcome, section, &args)?;
    }
    if wanted(What::Disk) {
        let section = disk::run(&settings, &cores, &progress).await?;
        finish(&mut outcome, section, &args)?;
    }
    let faults = outcome.sections.iter().flat_map(|section| &section.faults);
    if let Some(fault) = faults.into_iter().next() {
        return Err(BenchError::Wrong(fault.clone()));
    }
    let missed: usize = outcome.sections.iter().map(Section::missed).sum();
    if args.strict && missed > 0 {
        return Err(BenchError::Wrong(format!("{missed} goals were missed")));
    }
    Ok(())
}

/// Prints a section, and writes what there is so far.
fn finish(outcome: &mut Outcome, section: Section, args: &BenchArgs) -> Result<(), BenchError> {
    print!("{}", section.text());
    if let Some(directory) = &args.plots {
        plots::write(directory, &section)?;
    }
    outcome.sections.push(section);
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(outcome)?)?;
    }
    Ok(())
}
