//! Goal 1: flows per second of the broker against those of the ideal flow.

use std::sync::Arc;

use countersign_proto::v1::TenantPolicy;
use prost::Message as _;

use super::closed_loop::{Crew, Slice};
use super::cores::Cores;
use super::outcome::{self, Goal, Section};
use super::side::{Road, Side, Waiting};
use super::stage::{self, Broker, BrokerOptions, IdealServer};
use super::stats::{Spread, of_neighbours, ratio};
use super::{BenchError, Progress, Sabotage, Settings, people};

/// privacyIDEA's published rate on two cores, and per core as a share of the
/// ideal flow.
pub(super) const PRIVACYIDEA: (f64, f64) = (9.0, 0.0010);

/// Share of its core that the ideal flow must have had for flows per second to
/// be judged: with less, something else than the server set the pace.
const SATURATED: f64 = 0.85;

/// Per cent of the server's core that others may use before it is said.
const QUIET: f64 = 10.0;

/// What a sabotaged broker may have at most of the honest one's flows.
const SEEN: f64 = 0.9;

/// One thing that is compared with the ideal flow.
struct Variant {
    key: &'static str,
    crew: Option<Crew>,
    /// At least so much of the ideal flow.
    goal: Option<f64>,
    /// Only where so many are in flight.
    only_at: Option<usize>,
}

/// Everything of this benchmark, set up.
struct Contest {
    ideal: Option<Crew>,
    variants: Vec<Variant>,
    sizes: Vec<String>,
    /// Kept for their data directories.
    brokers: Vec<Broker>,
}

impl Contest {
    async fn add(
        &mut self,
        key: &'static str,
        side: Side,
        people: Vec<people::Person>,
        goal: Option<f64>,
        only_at: Option<usize>,
    ) -> Result<(), BenchError> {
        let crew = self.prepare(side, people).await?;
        self.variants.push(Variant {
            key,
            crew: Some(crew),
            goal,
            only_at,
        });
        Ok(())
    }

    async fn prepare(
        &mut self,
        side: Side,
        people: Vec<people::Person>,
    ) -> Result<Crew, BenchError> {
        let side = Arc::new(side);
        let mut handsets = stage::open_all(&side, people).await?;
        if let Some(first) = handsets.first_mut() {
            let (created, decided) = side.proven_flow(first).await?;
            self.sizes.push(format!(
                "{} {}+{}",
                side.name,
                created.encoded_len(),
                decided.encoded_len()
            ));
        }
        Ok(Crew::new(side, handsets, 1))
    }
}

async fn set_up(
    settings: &Settings,
    cores: &Cores,
    progress: &Progress,
) -> Result<Contest, BenchError> {
    let users = settings.users();
    let population = stage::population();
    progress.say("setting up");
    let ideal = IdealServer::start(cores, users, true).await?;
    let of_ideal = || people::of_the_ideal(&population, users);
    let mut contest = Contest {
        ideal: None,
        variants: Vec::new(),
        sizes: Vec::new(),
        brokers: Vec::new(),
    };
    contest.ideal = Some(
        contest
            .prepare(ideal.side("ideal flow")?, of_ideal())
            .await?,
    );

    let gateways = stage::gateways().await?;
    let options = BrokerOptions {
        config: gateways.broker_toml(),
        ..BrokerOptions::default()
    };
    let broker = Broker::start(settings, cores, options).await?;
    let organisation = broker.organisation(TenantPolicy::default()).await?;
    let side = broker.side("broker, Subscribe", &organisation, Road::Subscribe, None)?;
    let none = || Ok(None);
    let phones = |from: u64| from * users..(from + 1) * users;
    progress.say("registering phones");
    let enrolled = people::import(&broker, &organisation, &population, phones(0), none).await?;
    contest
        .add("subscribe", side, enrolled, Some(0.8), None)
        .await?;

    let side = broker.side(
        "broker, APNs over TLS",
        &organisation,
        Road::Push,
        Some(gateways.clone()),
    )?;
    let push = || stage::push_registration(&gateways).map(Some);
    let enrolled = people::import(&broker, &organisation, &population, phones(1), push).await?;
    contest.add("apns", side, enrolled, Some(0.5), None).await?;

    let side = broker.side("broker, four calls", &organisation, Road::Fetch, None)?;
    let enrolled = people::import(&broker, &organisation, &population, phones(2), none).await?;
    contest.add("fetch", side, enrolled, None, None).await?;

    for sabotage in &settings.sabotage {
        let (key, name, options) = match sabotage {
            Sabotage::CommitPerCall => (
                "commit_per_call",
                "sabotage: commit each",
                BrokerOptions {
                    batch_commands: Some(1),
                    ..BrokerOptions::default()
                },
            ),
            Sabotage::ExtraVerify => (
                "extra_verify",
                "sabotage: verify +4",
                BrokerOptions {
                    extra_verify: 4,
                    ..BrokerOptions::default()
                },
            ),
        };
        let broker = Broker::start(settings, cores, options).await?;
        let organisation = broker.organisation(TenantPolicy::default()).await?;
        let side = broker.side(name, &organisation, Road::Subscribe, None)?;
        let enrolled = people::import(&broker, &organisation, &population, phones(0), none).await?;
        contest.add(key, side, enrolled, None, None).await?;
        contest.brokers.push(broker);
    }

    // Yardsticks.
    let once = settings.in_flight.first().copied();
    let side = Side {
        waiting: Waiting::Stream,
        ..ideal.side("ideal, wait as stream")?
    };
    contest
        .add("ideal_stream", side, of_ideal(), None, once)
        .await?;
    let side = Side {
        fresh: true,
        ..ideal.side("ideal, connection/call")?
    };
    contest
        .add("ideal_connections", side, of_ideal(), None, once)
        .await?;
    let unsigned = IdealServer::start(cores, users, false).await?;
    let side = unsigned.side("ideal, no signatures")?;
    contest
        .add("ideal_unsigned", side, of_ideal(), None, once)
        .await?;
    contest.brokers.push(broker);
    Ok(contest)
}

/// Measured slices of one number in flight.
#[derive(Default)]
struct Series {
    /// Of the ideal flow: one before each slice of a variant, one at the end.
    ideal: Vec<Slice>,
    /// By variant: the place in `ideal` of the neighbour before, and the slice.
    of: Vec<Vec<(usize, Slice)>>,
}

impl Series {
    /// Ratios of variant `place` to its neighbours.
    fn ratios(&self, place: usize, of: impl Fn(&Slice) -> f64) -> Spread {
        let mut values = Vec::new();
        for (before, slice) in self.of.get(place).into_iter().flatten() {
            let around = [self.ideal.get(*before), self.ideal.get(before + 1)];
            let around: Vec<f64> = around.into_iter().flatten().map(&of).collect();
            values.push(of_neighbours(&[of(slice)], &around).median);
        }
        Spread::of(values)
    }
}

async fn measure(
    contest: &mut Contest,
    settings: &Settings,
    in_flight: usize,
    section: &mut Section,
    progress: &Progress,
) -> Result<(Series, Vec<usize>), BenchError> {
    let chosen: Vec<usize> = contest
        .variants
        .iter()
        .enumerate()
        .filter(|(_, variant)| variant.only_at.is_none_or(|only| only == in_flight))
        .map(|(place, _)| place)
        .collect();
    let crews = contest.variants.iter_mut().map(|variant| &mut variant.crew);
    for crew in crews.chain([&mut contest.ideal]) {
        if let Some(old) = crew.take() {
            let side = old.side.clone();
            *crew = Some(Crew::new(side, old.disband(), in_flight));
        }
    }
    let mut series = Series {
        ideal: Vec::new(),
        of: (0..contest.variants.len()).map(|_| Vec::new()).collect(),
    };
    // The first round warms up and is thrown away.
    for round in 0..=settings.rounds {
        progress.say(&format!("flow, {in_flight} in flight: round {round}"));
        // Every second round the other way about: no variant always comes last.
        let mut order = chosen.clone();
        if round % 2 == 0 {
            order.reverse();
        }
        for place in order {
            let before = series.ideal.len();
            let ideal = slice(&mut contest.ideal, settings, in_flight, section).await?;
            let variant = contest.variants.get_mut(place);
            let variant = variant.ok_or_else(|| BenchError::Wrong("no variant".to_owned()))?;
            let measured = slice(&mut variant.crew, settings, in_flight, section).await?;
            if round > 0 {
                series.ideal.push(ideal);
                if let Some(of) = series.of.get_mut(place) {
                    of.push((before, measured));
                }
            }
        }
    }
    let last = slice(&mut contest.ideal, settings, in_flight, section).await?;
    series.ideal.push(last);
    Ok((series, chosen))
}

async fn slice(
    crew: &mut Option<Crew>,
    settings: &Settings,
    in_flight: usize,
    section: &mut Section,
) -> Result<Slice, BenchError> {
    let crew = crew.as_mut();
    let crew = crew.ok_or_else(|| BenchError::Wrong("no crew".to_owned()))?;
    let mut slice = crew.work(settings.ramp(), settings.slice()).await?;
    let raw = slice.raw(crew.side.name, in_flight);
    section.slices.push(raw);
    Ok(slice)
}

/// Runs it.
pub(super) async fn run(
    settings: &Settings,
    cores: &Cores,
    progress: &Progress,
) -> Result<Section, BenchError> {
    let mut contest = set_up(settings, cores, progress).await?;
    let mut section = Section::new(
        "flow",
        "FLOW: approvals in a closed loop, the server on one core",
        &[
            "", "flows/s", "us each", "busy %", "syncs", "of ideal", "goal",
        ],
    );
    for &in_flight in &settings.in_flight {
        let (series, chosen) =
            measure(&mut contest, settings, in_flight, &mut section, progress).await?;
        describe(&contest, &series, &chosen, in_flight, &mut section);
        let unseen = unseen_sabotage(&contest, &series, in_flight);
        section.faults.extend(unseen);
    }
    section.table.rule();
    section.table.row([
        "privacyIDEA, 2 cores".to_owned(),
        format!("{:.0}", PRIVACYIDEA.0),
        String::new(),
        String::new(),
        String::new(),
        format!("{:.4}/core", PRIVACYIDEA.1),
        "published".to_owned(),
    ]);
    let others = Spread::of(section.slices.iter().map(|slice| slice.others_share));
    let others = Spread {
        median: 100.0 * others.median,
        min: 100.0 * others.min,
        max: 100.0 * others.max,
    };
    let yardstick = "a quiet machine, 0 to 5";
    section.figure("others", others, "% of a core", yardstick, None);
    section.notes.push(format!(
        "Others than the server measured used {:.0} % of its core ({:.0}-{:.0}).{}",
        others.median,
        others.min,
        others.max,
        if others.median > QUIET {
            " This machine was not quiet: flows per second say little."
        } else {
            ""
        }
    ));
    section.notes.push(format!(
        "A row's first line is by flows per second, its second by the server's computing time. \
         \"busy\": per cent of a core that the server and the load used; where the server's is \
         well below 100, the load was what ran out, and only the second line counts. \"us \
         each\": microseconds of the server's core per flow. Every slice is compared with the \
         ideal flow's slices just before and after it. Bytes of the answers to CreateChallenge \
         and WaitChallenge: {}.",
        contest.sizes.join(", ")
    ));
    Ok(section)
}

fn describe(
    contest: &Contest,
    series: &Series,
    chosen: &[usize],
    in_flight: usize,
    section: &mut Section,
) {
    if !section.figures.is_empty() {
        section.table.rule();
    }
    section.table.row([format!("{in_flight} in flight")]);
    let busy = |slices: &[&Slice]| {
        let mean = |of: &dyn Fn(&Slice) -> f64| {
            Spread::of(slices.iter().map(|slice| 100.0 * of(slice))).median
        };
        format!(
            "{:.0}+{:.0}",
            mean(&Slice::server_share),
            mean(&Slice::own_share)
        )
    };
    let ideal: Vec<&Slice> = series.ideal.iter().collect();
    let rate = Spread::of(ideal.iter().map(|slice| slice.rate()));
    let cpu = Spread::of(ideal.iter().map(|slice| slice.cpu_per_flow()));
    section.figure(
        format!("ideal.{in_flight}.flows"),
        rate,
        "1/s",
        "itself",
        None,
    );
    section.figure(format!("ideal.{in_flight}.cpu"), cpu, "us", "itself", None);
    section.table.row([
        "ideal flow".to_owned(),
        format!("{:.0}", rate.median),
        format!("{:.0}", cpu.median),
        busy(&ideal),
        String::new(),
        "1".to_owned(),
    ]);
    let share = Spread::of(ideal.iter().map(|slice| slice.server_share()));
    let saturated = share.median >= SATURATED;
    if !saturated && in_flight > 1 {
        section.notes.push(format!(
            "At {in_flight} in flight the ideal flow had only {:.0} % of its core: others, or \
             the load, set the pace. Flows per second are not judged, the server's time is.",
            100.0 * share.median
        ));
    }
    for &place in chosen {
        let Some(variant) = contest.variants.get(place) else {
            continue;
        };
        let Some(crew) = &variant.crew else { continue };
        let slices: Vec<&Slice> = series
            .of
            .get(place)
            .into_iter()
            .flatten()
            .map(|(_, slice)| slice)
            .collect();
        let rate = Spread::of(slices.iter().map(|slice| slice.rate()));
        let cpu = Spread::of(slices.iter().map(|slice| slice.cpu_per_flow()));
        let syncs = Spread::of(slices.iter().map(|slice| slice.syncs_per_flow()));
        let by_rate = series.ratios(place, Slice::rate);
        // Twice the time per flow is half of the ideal.
        let by_cpu = series.ratios(place, |slice| ratio(1e6, slice.cpu_per_flow()));
        let key = |what: &str| format!("{}.{in_flight}.{what}", variant.key);
        let yardstick = format!("ideal flow, {in_flight} in flight");
        let point = (in_flight as f64, by_rate.median);
        match section
            .series
            .iter_mut()
            .find(|line| line.name == crew.side.name)
        {
            Some(line) => {
                line.points.push(point);
                line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
            None if variant.only_at.is_none() => section.series.push(outcome::Series {
                plot: "flows of the ideal flow's".to_owned(),
                name: crew.side.name.to_owned(),
                x: "in flight",
                log_x: true,
                goal: variant.goal,
                y: "ratio",
                points: vec![point],
            }),
            None => {}
        }
        let goal = variant
            .goal
            .filter(|_| in_flight > 1 && saturated)
            .map(|limit| Goal::at_least(by_rate, limit));
        let goal = section.figure(key("of_ideal"), by_rate, "ratio", &yardstick, goal);
        let cpu_goal = variant
            .goal
            .filter(|_| in_flight > 1)
            .map(|limit| Goal::at_least(by_cpu, limit));
        let cpu_goal = section.figure(
            key("of_ideal_by_cpu"),
            by_cpu,
            "ratio",
            &yardstick,
            cpu_goal,
        );
        section.figure(key("flows"), rate, "1/s", &yardstick, None);
        section.figure(key("cpu"), cpu, "us", &yardstick, None);
        let durable = !crew.side.served.hello.http.is_empty();
        let mut sync_goal = String::new();
        if durable {
            let limit = match (variant.key, in_flight) {
                ("subscribe", 1) => Some(2.0),
                ("subscribe", 128) => Some(0.1),
                _ => None,
            };
            let goal = limit.map(|limit| Goal::at_most(syncs, limit));
            sync_goal = section.figure(key("syncs"), syncs, "per flow", "one per flow", goal);
        }
        section.table.row([
            crew.side.name.to_owned(),
            format!("{:.0}", rate.median),
            format!("{:.0}", cpu.median),
            busy(&slices),
            if durable {
                format!("{:.2}", syncs.median)
            } else {
                String::new()
            },
            by_rate.to_string(),
            goal,
        ]);
        section.table.row([
            "  by server's time".to_owned(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            by_cpu.to_string(),
            cpu_goal,
        ]);
        if !sync_goal.is_empty() {
            section.table.row([
                "  syncs per flow".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                format!("{:.2}", syncs.median),
                String::new(),
                sync_goal,
            ]);
        }
        if variant.key == "subscribe" && in_flight > 1 {
            let judged = if saturated { by_rate } else { by_cpu };
            let times = |value: f64| ratio(value, PRIVACYIDEA.1);
            let times = Spread {
                median: times(judged.median),
                min: times(judged.min),
                max: times(judged.max),
            };
            let goal = Goal::at_least(times, 500.0);
            let yardstick = "privacyIDEA 3.14, published";
            let goal = section.figure(key("of_privacyidea"), times, "ratio", yardstick, Some(goal));
            section.table.row([
                "  of privacyIDEA/core".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                format!("{:.0} ({:.0}-{:.0})", times.median, times.min, times.max),
                goal,
            ]);
        }
        let refused: u64 = slices.iter().map(|slice| slice.refused).sum();
        if refused > 0 {
            section.notes.push(format!(
                "{} at {in_flight} in flight: {refused} flows were refused for now.",
                crew.side.name
            ));
        }
        let failed: u64 = slices.iter().map(|slice| slice.failed).sum();
        if failed > 0 {
            section.notes.push(format!(
                "{} at {in_flight} in flight: {failed} flows failed.",
                crew.side.name
            ));
        }
    }
}

/// Sabotage that did not move the figure.
fn unseen_sabotage(contest: &Contest, series: &Series, in_flight: usize) -> Vec<String> {
    let by_cpu = |key: &str| {
        let place = contest.variants.iter().position(|v| v.key == key)?;
        let rate = series.ratios(place, Slice::rate).median;
        let cpu = series.ratios(place, |slice| ratio(1e6, slice.cpu_per_flow()));
        Some(rate.min(cpu.median))
    };
    // Alone, a flow has no other whose commit it could share, and costs so much
    // that a few signatures hardly show.
    let keys = ["commit_per_call", "extra_verify"].into_iter();
    keys.filter(|_| in_flight > 1)
        .filter_map(|key| {
            let (honest, sabotaged) = (by_cpu("subscribe")?, by_cpu(key)?);
            (sabotaged > SEEN * honest).then(|| {
                format!(
                    "sabotage {key} was not seen at {in_flight} in flight: {sabotaged:.2} of the \
                 ideal, where the honest broker has {honest:.2}"
                )
            })
        })
        .collect()
}
