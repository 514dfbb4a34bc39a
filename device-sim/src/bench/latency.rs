//! Goal 2: from the phone's answer to the identity provider's, at half the
//! broker's maximum rate, against the ideal flow at the same rate.

use std::sync::Arc;
use std::time::Duration;

use countersign_proto::v1::TenantPolicy;

use super::closed_loop::Crew;
use super::cores::Cores;
use super::open_loop::{Begin, Offered, Pool, offer};
use super::outcome::{Goal, RawSlice, Section, Series};
use super::side::Road;
use super::stage::{self, Broker, BrokerOptions, IdealServer};
use super::stats::{Spread, of_neighbours, percentile};
use super::{BenchError, Progress, Settings, people};

/// How long before its answer a phone has the challenge.
const AHEAD: Duration = Duration::from_millis(200);
/// Share of the maximum rate that is offered.
const SHARE: f64 = 0.5;

/// The figures of one slice, in microseconds.
struct Measured {
    median: f64,
    p99: f64,
}

fn measured(offered: &mut Offered) -> Measured {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Measured {
        median: micros(percentile(&mut offered.latencies, 0.5)),
        p99: micros(percentile(&mut offered.latencies, 0.99)),
    }
}

/// Runs it.
pub(super) async fn run(
    settings: &Settings,
    cores: &Cores,
    progress: &Progress,
) -> Result<Section, BenchError> {
    progress.say("latency: setting up");
    let users = settings.users().max(1024);
    let population = stage::population();
    let in_flight = settings.in_flight.iter().copied().max().unwrap_or(64);

    let ideal = IdealServer::start(cores, users, true).await?;
    let ideal = Arc::new(ideal.side("ideal flow")?);
    let people = people::of_the_ideal(&population, users);
    let handsets = stage::open_all(&ideal, people).await?;
    let mut crew = Crew::new(ideal.clone(), handsets, in_flight);
    let (ramp, time) = (settings.ramp(), settings.slice());
    crew.work(ramp, time).await?;
    let ideal_pool = Arc::new(Pool::new(ideal, crew.disband()));

    let broker = Broker::start(settings, cores, BrokerOptions::default()).await?;
    let organisation = broker.organisation(TenantPolicy::default()).await?;
    let side = broker.side("broker, Subscribe", &organisation, Road::Subscribe, None)?;
    let people = people::import(&broker, &organisation, &population, 0..users, || Ok(None)).await?;
    let side = Arc::new(side);
    let handsets = stage::open_all(&side, people).await?;
    let mut crew = Crew::new(side.clone(), handsets, in_flight);
    crew.work(ramp, time).await?;
    let maximum = crew.work(ramp, time).await?.rate();
    let pool = Arc::new(Pool::new(side, crew.disband()));
    let rate = maximum * SHARE;

    let title =
        format!("LATENCY: phone's answer to caller's, at {rate:.0}/s, half of {maximum:.0}");
    let heads = [
        "", "p50 us", "p99 us", "busy %", "late us", "of ideal", "goal",
    ];
    let mut section = Section::new("latency", &title, &heads);
    // Longer slices than elsewhere: a p99 needs its thousands.
    let time = settings.slice() * 2;
    let begin = Begin::Respond { ahead: AHEAD };
    let mut of_ideal = Vec::new();
    let mut of_broker = Vec::new();
    let mut shares = [Vec::new(), Vec::new()];
    let mut lateness = [Vec::new(), Vec::new()];
    let mut trouble = 0;
    for round in 0..=settings.rounds {
        progress.say(&format!("latency: round {round}"));
        let seed = u64::try_from(round).unwrap_or_default();
        for (side, pool) in [&ideal_pool, &pool].into_iter().enumerate() {
            let mut offered = offer(pool, begin, rate, time, seed).await?;
            if round == 0 {
                continue;
            }
            trouble += offered.due.saturating_sub(offered.good);
            let millis = |time: Duration| time.as_secs_f64() * 1e3;
            section.slices.push(RawSlice {
                p50_ms: millis(percentile(&mut offered.latencies, 0.5)),
                p99_ms: millis(percentile(&mut offered.latencies, 0.99)),
                side: pool.side.name.to_owned(),
                load: rate,
                rate: offered.goodput(),
                cpu_per_flow: 0.0,
                server_share: offered.server_share(),
                load_share: offered.own_share(),
                others_share: 0.0,
                failed: offered.due.saturating_sub(offered.good),
            });
            if let Some(shares) = shares.get_mut(side) {
                shares.push((offered.server_share(), offered.own_share()));
            }
            if let Some(lateness) = lateness.get_mut(side) {
                lateness.push(percentile(&mut offered.lateness, 0.99).as_secs_f64() * 1e6);
            }
            let measured = measured(&mut offered);
            if side == 0 {
                &mut of_ideal
            } else {
                &mut of_broker
            }
            .push(measured);
        }
    }
    if of_broker.iter().any(|slice| slice.p99 == 0.0) {
        return Err(BenchError::Wrong("a slice without an answer".to_owned()));
    }
    let all =
        |of: &[Measured], which: fn(&Measured) -> f64| of.iter().map(which).collect::<Vec<_>>();
    for (side, name, of) in [
        (0, "ideal flow", &of_ideal),
        (1, "broker, Subscribe", &of_broker),
    ] {
        let median = Spread::of(all(of, |slice| slice.median));
        let p99 = Spread::of(all(of, |slice| slice.p99));
        let shares = shares.get(side).cloned().unwrap_or_default();
        let server = Spread::of(shares.iter().map(|share| 100.0 * share.0)).median;
        let load = Spread::of(shares.iter().map(|share| 100.0 * share.1)).median;
        let late = Spread::of(lateness.get(side).cloned().unwrap_or_default());
        section.table.row([
            name.to_owned(),
            format!("{:.0}", median.median),
            format!("{:.0}", p99.median),
            format!("{server:.0}+{load:.0}"),
            format!("{:.0}", late.median),
            if side == 0 {
                "1".to_owned()
            } else {
                String::new()
            },
            String::new(),
        ]);
        let key = |what: &str| format!("{}.{what}", if side == 0 { "ideal" } else { "subscribe" });
        let yardstick = "ideal flow at the same rate";
        section.figure(key("p50"), median, "us", yardstick, None);
        section.figure(key("p99"), p99, "us", yardstick, None);
        section.series.push(Series {
            plot: "latency by round".to_owned(),
            name: name.to_owned(),
            x: "round",
            log_x: false,
            goal: None,
            y: "p99 in us",
            points: all(of, |slice| slice.p99)
                .into_iter()
                .enumerate()
                .map(|(round, p99)| (round as f64 + 1.0, p99))
                .collect(),
        });
    }
    for (name, key, which, limit) in [
        (
            "  p50 of the ideal's",
            "p50_of_ideal",
            (|slice: &Measured| slice.median) as fn(&Measured) -> f64,
            None,
        ),
        (
            "  p99 of the ideal's",
            "p99_of_ideal",
            |slice: &Measured| slice.p99,
            Some(3.0),
        ),
    ] {
        let ratio = of_neighbours(&all(&of_broker, which), &all(&of_ideal, which));
        let goal = limit.map(|limit| Goal::at_most(ratio, limit));
        let goal = section.figure(key, ratio, "ratio", "ideal flow at the same rate", goal);
        section.table.row([
            name.to_owned(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            ratio.to_string(),
            goal,
        ]);
    }
    section.notes.push(
        "Counted from when the phone should have answered, so that nothing that stands in a \
         queue is hidden, the load's own lateness included: its p99 is \"late us\", and where \
         that is not far below the latencies, they are the load's. Answers come at random \
         intervals (Poisson); the challenge was fetched and the answer signed beforehand."
            .to_owned(),
    );
    if trouble > 0 {
        section
            .notes
            .push(format!("{trouble} flows failed or could not begin."));
    }
    Ok(section)
}
