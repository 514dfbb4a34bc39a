//! Goal 5: bytes on disk per decided challenge, and whether what is old gives
//! its space back.

use std::path::Path;
use std::time::Duration;

use countersign_proto::v1::TenantPolicy;
use countersign_server::store::embedded::EmbeddedStore;
use countersign_server::store::engine::EngineOptions;

use super::closed_loop::Crew;
use super::cores::Cores;
use super::outcome::{Goal, Section, Series};
use super::people::{self, disk_bytes};
use super::side::Road;
use super::stage::{self, Broker, BrokerOptions};
use super::stats::{Spread, ratio};
use super::{BenchError, Progress, Settings, metrics};

/// How far the clock is put ahead, so that everything is old (challenges stay
/// for 30 days, audit entries for 400).
const AHEAD: Duration = Duration::from_secs(402 * 86_400);

/// Runs it.
pub(super) async fn run(
    settings: &Settings,
    cores: &Cores,
    progress: &Progress,
) -> Result<Section, BenchError> {
    let rounds: u64 = 3;
    let each = if settings.quick {
        300
    } else {
        settings.decided / rounds
    };
    let in_flight = settings.in_flight.iter().copied().max().unwrap_or(64);
    let population = stage::population();
    let mut section = Section::new(
        "disk",
        "DISK: what a decided challenge takes, and gives back",
        &["", "MiB", "bytes each", "yardstick", "goal"],
    );
    let mut broker = Broker::start(settings, cores, BrokerOptions::default()).await?;
    let organisation = broker.organisation(TenantPolicy::default()).await?;
    let users = settings.users();
    let none = || Ok(None);
    people::import(&broker, &organisation, &population, 0..users, none).await?;
    // With the store closed and opened anew, so that the log is cut.
    broker = broker.stop().await?.start(cores).await?;
    let empty = disk_bytes(&broker.data_dir)?;
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    section.table.row([
        format!("{users} devices, nothing decided"),
        megabytes(empty),
        String::new(),
        String::new(),
        String::new(),
    ]);
    let mut decided = 0;
    let mut written = 0;
    let mut points = Vec::new();
    let mut per_challenge = Vec::new();
    let mut largest = empty;
    for round in 1..=rounds {
        progress.say(&format!("disk: {} decided", round * each));
        let side = broker.side("broker", &organisation, Road::Subscribe, None)?;
        let side = std::sync::Arc::new(side);
        let people = people::import(&broker, &organisation, &population, 0..users, none).await?;
        let handsets = stage::open_all(&side, people).await?;
        let mut crew = Crew::new(side, handsets, in_flight);
        let before = metrics::read(&broker.served.hello.http).await?;
        let counts = loop {
            crew.work(Duration::ZERO, settings.slice()).await?;
            let counts = metrics::read(&broker.served.hello.http)
                .await?
                .since(before);
            if counts.decided >= each {
                break counts;
            }
        };
        drop(crew);
        decided += counts.decided;
        written += counts.bytes;
        largest = largest.max(disk_bytes(&broker.data_dir)?);
        broker = broker.stop().await?.start(cores).await?;
        let now = disk_bytes(&broker.data_dir)?;
        let each = ratio(now.saturating_sub(empty) as f64, decided as f64);
        points.push((decided as f64, each));
        per_challenge.push(each);
        section.table.row([
            format!("{decided} decided"),
            megabytes(now),
            format!("{each:.0}"),
            format!("{:.0} written", ratio(written as f64, decided as f64)),
            String::new(),
        ]);
        largest = largest.max(now);
    }
    let last = Spread {
        median: per_challenge.last().copied().unwrap_or_default(),
        ..Spread::of(per_challenge.iter().copied())
    };
    let goal = Goal::at_most(last, 2560.0);
    let logical = ratio(written as f64, decided as f64);
    let yardstick = format!("{logical:.0} bytes of keys and values written");
    let cell = section.figure("bytes_per_challenge", last, "bytes", yardstick, Some(goal));
    section.table.row([
        "per decided challenge, audit included".to_owned(),
        String::new(),
        format!("{:.0}", last.median),
        format!("{logical:.0} written"),
        cell,
    ]);
    section.series.push(Series {
        plot: "bytes on disk".to_owned(),
        name: "per decided challenge".to_owned(),
        x: "decided challenges",
        log_x: false,
        goal: Some(2560.0),
        y: "bytes",
        points,
    });

    let stopped = broker.stop().await?;
    let dense = compact(stopped.data_dir())?;
    section.table.row([
        format!("{decided} decided, compacted"),
        megabytes(dense),
        format!(
            "{:.0}",
            ratio(dense.saturating_sub(empty) as f64, decided as f64)
        ),
        String::new(),
        String::new(),
    ]);

    progress.say("disk: everything is old");
    let before = disk_bytes(stopped.data_dir())?;
    broker = stopped.start_ahead(cores, AHEAD).await?;
    // Done when the broker has come to rest; the first look is at the start.
    let patience = if settings.quick { 10 } else { 300 };
    let mut last_usage = broker.served.usage()?;
    for _ in 0..patience {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let usage = broker.served.usage()?;
        if usage.cpu_since(&last_usage) < Duration::from_millis(20) {
            break;
        }
        last_usage = usage;
    }
    let used = disk_bytes(&broker.data_dir)?;
    let mut stopped = broker.stop().await?;
    // A second opening: the store cuts its file where the end is free.
    broker = stopped.start_ahead(cores, AHEAD).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stopped = broker.stop().await?;
    let left = disk_bytes(stopped.data_dir())?;
    let compacted = compact(stopped.data_dir())?;
    let given = |left: u64| {
        Spread::of([ratio(
            before.saturating_sub(left) as f64,
            before.saturating_sub(empty) as f64,
        )])
    };
    let percent = |given: &Spread| format!("{:.0} % given back", 100.0 * given.median);
    section.table.rule();
    section.table.row([
        "after retention".to_owned(),
        megabytes(used),
        String::new(),
        format!("at most {}", megabytes(largest)),
        String::new(),
    ]);
    let reopened = given(left);
    section.table.row([
        "after retention, opened anew".to_owned(),
        megabytes(left),
        String::new(),
        percent(&reopened),
        String::new(),
    ]);
    let of = "what decisions took";
    section.figure("given_back_by_opening", reopened, "share", of, None);
    let given = given(compacted);
    let goal = Goal {
        text: ">=0.5".to_owned(),
        met: given.median >= 0.5,
    };
    let cell = section.figure("given_back", given, "share", of, Some(goal));
    section.table.row([
        "after retention, compacted".to_owned(),
        megabytes(compacted),
        String::new(),
        percent(&given),
        cell,
    ]);
    section.notes.push(
        "Blocks on disk of the whole data directory, after closing and opening the store. For \
         retention the broker's clock is put 402 days ahead. Compacted: as `countersign \
         compact` does it. The goal is that half is given back."
            .to_owned(),
    );
    Ok(section)
}

/// What a stopped broker's directory takes once it is written anew.
fn compact(data_dir: &Path) -> Result<u64, BenchError> {
    let compacted = EmbeddedStore::compact(data_dir, EngineOptions::default());
    compacted.map_err(|error| BenchError::Part {
        part: "compaction",
        cause: error.to_string(),
    })?;
    disk_bytes(data_dir)
}
