//! A run from its first connection to its report.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::apps;
use super::attackers::{self, Siege};
use super::broker_side::BrokerEye;
use super::captures::Captures;
use super::codes::Codes;
use super::error::LoadError;
use super::flow;
use super::inbox::Inboxes;
use super::push;
use super::run::{Run, UnderWay, recorder};
use super::schedule::Schedule;
use super::settings::{CALLS_PER_CONNECTION, LoadArgs, LoadCommand, RunArgs};
use super::tenant::Tenant;
use super::verified::Verified;
use crate::fetch::get_text;
use crate::fleet::{Connections, Population};
use crate::report::compare::Comparison;
use crate::report::generator::{Evidence, judge};
use crate::report::process::{Usage, usable_cores};
use crate::report::progress::{Line, Progress};
use crate::report::{Check, LoadReport, Machine, Sample, Target, Totals, html, json, text};

/// Runs `device-sim load` and prints the report.
///
/// # Errors
/// [`LoadError`]; [`LoadError::NotPassed`] with a report that was given out.
pub async fn run(args: LoadArgs) -> Result<(), LoadError> {
    match args.command {
        Some(LoadCommand::Prepare(args)) => {
            let prepared = super::prepare(args).await?;
            say(&format!("{prepared}\n"));
            Ok(())
        }
        None => run_load(args.run).await,
    }
}

async fn run_load(args: RunArgs) -> Result<(), LoadError> {
    let earlier = match &args.compare {
        None => None,
        Some(path) => {
            let read = json::read(path);
            Some(read.map_err(|error| LoadError::Earlier(error.to_string()))?)
        }
    };
    let interrupt = Interrupt::default();
    let watching = tokio::spawn(interrupt.clone().watch());
    let mut report = measure(args.clone(), interrupt).await?;
    watching.abort();
    report.command = std::env::args().skip(1).collect();
    give_out(&args, &report, earlier.as_ref())
}

/// What Ctrl-C does: first no more sign-ins, then no more waiting for those
/// under way.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// No more sign-ins.
    pub stop: CancellationToken,
    /// What is still pending is given up.
    pub give_up: CancellationToken,
}

impl Interrupt {
    async fn watch(self) {
        if tokio::signal::ctrl_c().await.is_ok() {
            say("\nno more sign-ins; once more gives up those under way\n");
            self.stop.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            self.give_up.cancel();
        }
    }
}

fn give_out(
    args: &RunArgs,
    report: &LoadReport,
    earlier: Option<&LoadReport>,
) -> Result<(), LoadError> {
    let comparison = earlier.map(|earlier| Comparison::of(earlier, report));
    let mut words = text::to_string(report);
    if let Some(comparison) = &comparison {
        words.push('\n');
        words += &comparison.to_text();
    }
    let mut out = std::io::stdout().lock();
    let printed = out.write_all(words.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|cause| LoadError::Io {
        what: "cannot print the report".to_owned(),
        cause,
    })?;
    let file = |path: &std::path::Path| {
        let what = format!("cannot write {}", path.display());
        move |cause| LoadError::Io { what, cause }
    };
    if let Some(path) = &args.json {
        json::write(report, path).map_err(file(path))?;
    }
    if let Some(path) = &args.html {
        html::write(report, comparison.as_ref(), path).map_err(file(path))?;
    }
    if report.passed() {
        Ok(())
    } else {
        let broken = report.checks.iter().filter(|check| !check.passed);
        let mut broken: Vec<_> = broken.map(|check| check.name.clone()).collect();
        let holes = report.attackers.iter().filter(|one| one.accepted > 0);
        broken.extend(holes.map(|one| format!("{} got through", one.model)));
        Err(LoadError::NotPassed(format!(
            "not passed: {}",
            broken.join("; ")
        )))
    }
}

/// Carries a run out. What is interrupted still has a report.
///
/// # Errors
/// [`LoadError`], before the first sign-in.
pub async fn measure(args: RunArgs, interrupt: Interrupt) -> Result<LoadReport, LoadError> {
    args.check()?;
    let run = set_up(args, interrupt).await?;
    let plan = run.args.plan(run.tenants.len())?;
    let listening = push::listen(&run).await?;
    let open_ones = open_apps(&run).await;
    let schedule = Schedule::new(plan);
    let codes = Codes::give(&run, schedule.clone()).await;
    run.codes.get_or_init(|| codes);
    let armed = attackers::arm(&run).await;
    let http = run.args.http_address();
    let eye = BrokerEye::open(run.args.broker_pid, http.as_deref()).await;
    let started = now_in_words();
    run.started.get_or_init(Instant::now);
    let attack = tokio::spawn(attackers::attack(Arc::clone(&run), armed));
    let over = CancellationToken::new();
    let ticks = tokio::spawn(tick(Arc::clone(&run), eye, over.clone()));
    pace(&run, schedule).await;
    let measured = run.now().min(run.args.duration);
    run.stop.cancel();
    drain(&run).await;
    drop(attack.await);
    over.cancel();
    let eye = ticks.await.ok();
    drop((open_ones, listening));
    Ok(report(&run, started, measured, eye.as_ref()))
}

/// Connects, and looks whether everybody is there.
async fn set_up(args: RunArgs, interrupt: Interrupt) -> Result<Arc<Run>, LoadError> {
    let target = args.target.target()?;
    let keys = args.target.api_keys()?;
    // The seed and the time: a run may be repeated against the same broker.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let id = args.seed ^ u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or_default();
    let idp = Connections::open(&target, args.idp_connections).await?;
    let population = Population {
        seed: args.target.population,
    };
    let mut tenants = Vec::new();
    for key in &keys {
        let (users, keep) = (args.target.devices, args.open_apps);
        let population = population.clone();
        tenants.push(Tenant::open(idp.clone(), key, population, users, keep).await?);
    }
    let jwks = match args.http_address() {
        Some(http) => Some(get_text(&format!("{http}/.well-known/jwks.json")).await?),
        None => None,
    };
    let (recorder, measured) = recorder(tenants.len());
    let replayed = args.attackers.as_ref();
    let replayed = replayed.is_some_and(|attacks| attacks.has(attackers::Model::Replayer));
    let mut run = Run {
        phones: Connections::open(&target, args.phone_connections).await?,
        apps: idp,
        tenants,
        inboxes: Arc::new(Inboxes::default()),
        recorder,
        measured,
        verified: Verified::default(),
        captures: Captures::new(replayed),
        id,
        started: OnceLock::new(),
        jwks,
        siege: Siege::default(),
        codes: OnceLock::new(),
        in_flight: AtomicU64::new(0),
        stop: interrupt.stop,
        give_up: interrupt.give_up,
        args,
    };
    let streams = u64::try_from(run.apps_to_open().len()).unwrap_or(u64::MAX);
    // One more for apps that are opened for a while.
    let connections = streams.div_ceil(CALLS_PER_CONNECTION) + 1;
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    run.apps = Connections::open(&target, connections).await?;
    Ok(Arc::new(run))
}

async fn open_apps(run: &Arc<Run>) -> tokio::task::JoinSet<()> {
    let all = run.apps_to_open();
    let count = all.len();
    let mut progress = progress(&run.args);
    let since = Instant::now();
    let mut shown = 0;
    let open_ones = apps::keep_open(run, all, |open| {
        let seconds = since.elapsed().as_secs();
        if let Some(progress) = &mut progress
            && seconds > shown
        {
            shown = seconds;
            progress.show(&Line {
                phase: format!("opening apps: {open} of {count}"),
                elapsed_seconds: seconds,
                ..Line::default()
            });
        }
    })
    .await;
    if let Some(mut progress) = progress {
        progress.clear();
    }
    open_ones
}

/// Starts each sign-in when it is due, whatever became of the others.
async fn pace(run: &Arc<Run>, schedule: Schedule) {
    let (start, most) = (run.start(), run.args.most_in_flight());
    for arrival in schedule {
        let due = start + arrival.at;
        // Several may be due at one turn of the timer.
        if Instant::now() < due {
            tokio::select! {
                biased;
                () = run.stop.cancelled() => return,
                () = tokio::time::sleep_until(due.into()) => {}
            }
        } else if run.stop.is_cancelled() {
            return;
        }
        run.recorder.offered(arrival.at);
        match UnderWay::new(run, most) {
            Some(under_way) => drop(tokio::spawn(flow::sign_in(under_way, arrival))),
            None => {
                let example = format!("{most} are under way: see --max-in-flight");
                let why = "the generator has too many under way";
                run.recorder.error(run.now(), "start", why, &example);
            }
        }
    }
    // The last of the time passes, too.
    tokio::select! {
        () = run.stop.cancelled() => {}
        () = tokio::time::sleep_until((start + run.args.duration).into()) => {}
    }
}

/// Waits for the sign-ins under way, then gives them up.
async fn drain(run: &Arc<Run>) {
    let until = Instant::now() + run.args.drain;
    while run.in_flight.load(Ordering::Relaxed) > 0 && Instant::now() < until {
        tokio::select! {
            () = run.give_up.cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    run.give_up.cancel();
    while run.in_flight.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(LOOK).await;
    }
}

/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(20);

/// Once a second: what machine and broker did in it, and the progress line.
async fn tick(run: Arc<Run>, mut eye: BrokerEye, over: CancellationToken) -> BrokerEye {
    let second = Duration::from_secs(1);
    let mut ticks = tokio::time::interval_at((run.start() + second).into(), second);
    let mut progress = progress(&run.args);
    let mut before = (Instant::now(), Usage::of(std::process::id()));
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            () = over.cancelled() => true,
        };
        let (now, usage) = (Instant::now(), Usage::of(std::process::id()));
        let elapsed = now.saturating_duration_since(before.0);
        let cores = match (&before.1, &usage) {
            (Some(earlier), Some(usage)) => usage.cores_since(earlier, elapsed),
            _ => 0.0,
        };
        before = (now, usage);
        let sample = Sample {
            generator_cpu_cores: cores,
            ..Sample::default()
        };
        let sample = eye.sample(sample).await;
        if last {
            if let Some(mut progress) = progress {
                progress.clear();
            }
            return eye;
        }
        let point = run.recorder.tick(run.now(), sample);
        if let Some(progress) = &mut progress {
            let draining = run.stop.is_cancelled();
            let phase = if draining { "draining" } else { "" };
            progress.show(&Line {
                phase: phase.to_owned(),
                elapsed_seconds: point.at_seconds + 1,
                total_seconds: run.args.duration.as_secs(),
                last: point,
                errors: run.recorder.errors(),
            });
        }
    }
}

fn report(run: &Run, started: String, measured: Duration, eye: Option<&BrokerEye>) -> LoadReport {
    let recorded = run.recorder.finish();
    let totals = Totals::of(&recorded.series);
    let cores = f64::from(usable_cores());
    let lag = recorded.lag.p99_us;
    let evidence = Evidence::of(&recorded.series, cores, lag, recorded.late_starts);
    let mut checks = run.verified.checks();
    checks.push(counts_add_up(&totals, &recorded.outcomes));
    let args = &run.args;
    let address = args.target.address();
    LoadReport {
        format: crate::report::FORMAT,
        title: format!(
            "{} for {} s, answers {}",
            args.rate,
            args.duration.as_secs_f64(),
            args.answers
        ),
        command: Vec::new(),
        seed: args.seed,
        started,
        planned_seconds: args.duration.as_secs_f64(),
        measured_seconds: measured.as_secs_f64(),
        machine: Machine::here(),
        target: Target {
            address: address.to_owned(),
            tls: address.starts_with("https://"),
            version: None,
            connections: u32::try_from(args.idp_connections).unwrap_or(u32::MAX),
        },
        settings: args.settings(),
        steps: recorded.steps,
        outcomes: recorded.outcomes,
        errors: recorded.errors,
        generator: judge(&evidence),
        attackers: run.siege.rows(args.attackers.as_ref()),
        checks,
        broker: eye.and_then(|eye| eye.side(totals.completed)),
        series: recorded.series,
    }
}

fn counts_add_up(totals: &Totals, outcomes: &BTreeMap<String, u64>) -> Check {
    let decided: u64 = outcomes.values().sum();
    let ended = totals.completed + totals.refused + totals.failed;
    Check {
        name: "every sign-in that started has come to one end".to_owned(),
        passed: totals.started == ended
            && decided == totals.completed
            && totals.started <= totals.offered,
        detail: format!(
            "{} due, {} started, {} decided, {} refused, {} failed",
            totals.offered, totals.started, totals.completed, totals.refused, totals.failed
        ),
    }
}

fn progress(args: &RunArgs) -> Option<Progress> {
    (!args.quiet).then(Progress::on_stderr)
}

/// The time as in RFC 3339.
fn now_in_words() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// On standard error: standard output is for the report.
fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    // A closed terminal is no reason to stop.
    drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
}
