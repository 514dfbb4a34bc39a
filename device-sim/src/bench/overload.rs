//! Goal 6: what becomes of a broker that is offered three times what it can do,
//! and of an organisation beside one that floods it.

use std::sync::Arc;
use std::time::Duration;

use countersign_proto::v1::TenantPolicy;
use rustix::process::setpriority_process;

use super::closed_loop::Crew;
use super::cores::Cores;
use super::open_loop::{Begin, Offered, Pool, Refused, offer};
use super::outcome::{Goal, Section, Series};
use super::people::Person;
use super::process::Served;
use super::side::{Road, Side, Waiting};
use super::stage::{self, Broker, BrokerOptions};
use super::stats::{Spread, of_neighbours, percentile, ratio};
use super::{BenchError, Progress, Settings, people};
use crate::fleet::{Connections, Idp, Target};

/// What is offered, of the maximum.
const TIMES: f64 = 3.0;
/// What takes longer is not counted: the person has gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections, so that none runs out of streams.
const WAYS: usize = 32;
/// What one organisation asks beside the other, of the maximum.
const MODEST: f64 = 0.1;
/// What the other asks when it behaves.
const NORMAL: f64 = 0.3;

fn users(settings: &Settings) -> u64 {
    if settings.quick { 512 } else { 8192 }
}

/// Adds up refusals of several slices.
fn add_up(into: &mut std::collections::BTreeMap<String, Refused>, offered: &Offered) {
    for (kind, refused) in &offered.refused {
        let sum = into.entry(kind.clone()).or_default();
        sum.count += refused.count;
        sum.with_retry += refused.with_retry;
        sum.latencies.extend(&refused.latencies);
    }
}

/// Runs it.
pub(super) async fn run(
    settings: &Settings,
    cores: &Cores,
    progress: &Progress,
) -> Result<Section, BenchError> {
    progress.say("overload: setting up");
    let population = stage::population();
    let broker = Broker::start(settings, cores, BrokerOptions::default()).await?;
    let organisation = broker.organisation(TenantPolicy::default()).await?;
    let range = 0..users(settings);
    let people = people::import(&broker, &organisation, &population, range, || Ok(None)).await?;
    let connections = Connections::open(&broker.target, WAYS).await?;
    let side = Arc::new(Side {
        idp: Idp::new(connections.clone(), &organisation.api_key)?,
        connections,
        ..broker.side("broker, Subscribe", &organisation, Road::Subscribe, None)?
    });
    let mut handsets = stage::open_all(&side, people).await?;
    let in_flight = settings.in_flight.first().copied().unwrap_or(64);
    let time = settings.slice() * 2;
    let begin = Begin::Flow { patience: PATIENCE };
    let resting = broker.served.usage()?.rss;

    let mut maximum = Vec::new();
    let mut goodput = Vec::new();
    let mut asked = Vec::new();
    let mut slices = Vec::new();
    let mut refused = std::collections::BTreeMap::new();
    let mut failed_at_most = 0;
    for round in 0..=settings.rounds {
        progress.say(&format!("overload: round {round}"));
        let mut crew = Crew::new(side.clone(), handsets, in_flight);
        let closed = crew.work(settings.ramp(), settings.slice()).await?;
        let pool = Arc::new(Pool::new(side.clone(), crew.disband()));
        let seed = u64::try_from(round).unwrap_or_default();
        let rate = closed.rate() * TIMES;
        let mut offered = offer(&pool, begin, rate, time, seed).await?;
        handsets = pool.disband();
        if round == 0 {
            continue;
        }
        failed_at_most += closed.failed;
        maximum.push(closed.rate());
        goodput.push(offered.goodput());
        asked.push(ratio(offered.due as f64, offered.wall.as_secs_f64()));
        add_up(&mut refused, &offered);
        offered.refused.clear();
        slices.push(offered);
    }
    let mut section = Section::new(
        "overload",
        "OVERLOAD: three times what the broker can do",
        &["", "figure", "yardstick", "of it", "goal"],
    );
    let of_maximum = of_neighbours(&goodput, &maximum);
    let (maximum, goodput) = (Spread::of(maximum), Spread::of(goodput));
    let asked = Spread::of(asked);
    let yardstick = format!("closed loop, {in_flight} in flight");
    section.figure("maximum", maximum, "1/s", "itself", None);
    let goal = Goal::at_least(of_maximum, 0.9);
    let cell = section.figure(
        "goodput_of_maximum",
        of_maximum,
        "ratio",
        &yardstick,
        Some(goal),
    );
    section.figure("goodput", goodput, "1/s", &yardstick, None);
    section.figure("offered", asked, "1/s", &yardstick, None);
    let rounded = |spread: Spread| format!("{:.0}", spread.median);
    section.table.row([
        "flows offered per second".to_owned(),
        rounded(asked),
        format!("max {}", rounded(maximum)),
        format!("{:.1}", ratio(asked.median, maximum.median)),
        String::new(),
    ]);
    section.table.row([
        "flows that ended well, per second".to_owned(),
        rounded(goodput),
        format!("max {}", rounded(maximum)),
        of_maximum.to_string(),
        cell,
    ]);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let p99 = Spread::of(
        slices
            .iter_mut()
            .map(|slice| millis(percentile(&mut slice.latencies, 0.99))),
    );
    section.figure("p99_of_good", p99, "ms", "given up after 5 s", None);
    section.table.row([
        "p99 of those, ms".to_owned(),
        rounded(p99),
        "given up: 5000".to_owned(),
        String::new(),
        String::new(),
    ]);
    let peak = slices.iter().map(|slice| slice.rss_peak).max().unwrap_or(0);
    let grown = ratio(peak as f64, resting as f64);
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let value = Spread::of([megabytes(peak)]);
    section.figure(
        "rss_peak",
        value,
        "MiB",
        format!("at rest {:.0}", megabytes(resting)),
        None,
    );
    section.table.row([
        "most memory held, MiB".to_owned(),
        format!("{:.0}", megabytes(peak)),
        format!("at rest {:.0}", megabytes(resting)),
        format!("{grown:.2}"),
        String::new(),
    ]);
    section.table.rule();
    let mut sum = Refused::default();
    let mut other = 0;
    for (kind, mut refused) in refused {
        let in_form = kind.contains("ResourceExhausted") || kind.contains("Unavailable");
        section.table.row([
            kind,
            refused.count.to_string(),
            format!("{} RetryInfo", refused.with_retry),
            format!(
                "p99 {:.1} ms",
                millis(percentile(&mut refused.latencies, 0.99))
            ),
            String::new(),
        ]);
        if in_form {
            sum.count += refused.count;
            sum.with_retry += refused.with_retry;
            sum.latencies.append(&mut refused.latencies);
        } else {
            other += refused.count;
        }
    }
    let share = Spread::of([ratio(sum.with_retry as f64, sum.count.max(1) as f64)]);
    if sum.count > 0 {
        let goal = Goal::at_least(share, 1.0);
        let cell = section.figure("refusals_with_retry", share, "share", "all", Some(goal));
        section.table.row([
            "refused in good form".to_owned(),
            sum.count.to_string(),
            format!("{} RetryInfo", sum.with_retry),
            format!("{:.2}", share.median),
            cell,
        ]);
    }
    let due: u64 = slices.iter().map(|slice| slice.due).sum();
    let lost = Spread::of([ratio(other as f64, due as f64)]);
    section.figure("failed_otherwise", lost, "share", "flows offered", None);
    section.table.row([
        "failed in another way".to_owned(),
        other.to_string(),
        format!("of {due}"),
        format!("{:.3}", lost.median),
        String::new(),
    ]);
    let unbegun: u64 = slices.iter().map(|slice| slice.unbegun).sum();
    let own = Spread::of(slices.iter().map(|slice| 100.0 * slice.own_share())).median;
    let server = Spread::of(slices.iter().map(|slice| 100.0 * slice.server_share())).median;
    section.notes.push(format!(
        "A caller that is refused does not come back; a phone that is refused comes back when \
         RetryInfo says. The server used {server:.0} % of its core, the load {own:.0} % of one; \
         {unbegun} flows found no free phone; in the closed loop {failed_at_most} flows failed."
    ));
    section.series.push(Series {
        plot: "goodput under overload".to_owned(),
        name: "goodput of maximum".to_owned(),
        x: "round",
        log_x: false,
        goal: Some(0.9),
        y: "ratio",
        points: slices
            .iter()
            .enumerate()
            .map(|(round, slice)| (round as f64 + 1.0, ratio(slice.goodput(), maximum.median)))
            .collect(),
    });
    Ok(section)
}

/// What the flooding organisation needs in its own thread.
struct Flood {
    served: Arc<Served>,
    target: Target,
    api_key: String,
    audience: String,
    people: Vec<Person>,
}

/// Lets it ask at `rate` for `time`, in a thread that gives way to all others of
/// this process; its people come back with what happened.
fn flood(
    flood: Flood,
    rate: f64,
    time: Duration,
) -> tokio::sync::oneshot::Receiver<Result<(Flood, Offered), BenchError>> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let run = move || {
            // Of this thread alone (Linux), so that what is measured beside it
            // does not wait for the load.
            setpriority_process(None, 19).map_err(std::io::Error::from)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async move {
                let connections = Connections::open(&flood.target, WAYS).await?;
                let side = Arc::new(Side {
                    name: "the other organisation",
                    served: flood.served.clone(),
                    target: flood.target.clone(),
                    idp: Idp::new(connections.clone(), &flood.api_key)?,
                    api_key: flood.api_key.clone(),
                    audience: flood.audience.clone(),
                    connections,
                    road: Road::Fetch,
                    waiting: Waiting::Poll,
                    fresh: false,
                    signatures: true,
                    gateways: None,
                });
                let handsets = stage::open_all(&side, flood.people).await?;
                let pool = Arc::new(Pool::new(side.clone(), handsets));
                let begin = Begin::Flow { patience: PATIENCE };
                let offered = offer(&pool, begin, rate, time, 1).await?;
                let people = pool.disband().into_iter().map(|handset| handset.person);
                let flood = Flood {
                    served: flood.served,
                    target: flood.target,
                    api_key: flood.api_key,
                    audience: flood.audience,
                    people: people.collect(),
                };
                Ok((flood, offered))
            })
        };
        drop(send.send(run()));
    });
    receive
}

/// Runs the comparison of organisations.
pub(super) async fn fairness(
    settings: &Settings,
    cores: &Cores,
    progress: &Progress,
) -> Result<Section, BenchError> {
    progress.say("fairness: setting up");
    let population = stage::population();
    let broker = Broker::start(settings, cores, BrokerOptions::default()).await?;
    let ours = broker.organisation(TenantPolicy::default()).await?;
    let theirs = broker.organisation(TenantPolicy::default()).await?;
    let half = users(settings) / 2;
    let people = people::import(&broker, &ours, &population, 0..half, || Ok(None)).await?;
    let side = Arc::new(broker.side("ours", &ours, Road::Subscribe, None)?);
    let handsets = stage::open_all(&side, people).await?;
    let in_flight = settings.in_flight.first().copied().unwrap_or(64);
    let mut crew = Crew::new(side.clone(), handsets, in_flight);
    crew.work(settings.ramp(), settings.slice()).await?;
    let maximum = crew.work(settings.ramp(), settings.slice()).await?.rate();
    let pool = Arc::new(Pool::new(side, crew.disband()));
    let range = half..3 * half;
    let mut other = Flood {
        served: broker.served.clone(),
        target: broker.target.clone(),
        api_key: theirs.api_key.clone(),
        audience: theirs.api_key_id.clone(),
        people: people::import(&broker, &theirs, &population, range, || Ok(None)).await?,
    };

    let time = settings.slice() * 2;
    let (before, after) = (settings.ramp(), settings.ramp());
    let mut values = [Vec::new(), Vec::new()];
    let mut notes = [Offered::default(), Offered::default()];
    let mut p50s = [Vec::new(), Vec::new()];
    let mut lost = [0_u64; 2];
    for round in 0..=settings.rounds {
        progress.say(&format!("fairness: round {round}"));
        for (kind, share) in [NORMAL, TIMES].into_iter().enumerate() {
            let flooding = flood(other, maximum * share, before + time + after);
            tokio::time::sleep(before).await;
            let seed = u64::try_from(round).unwrap_or_default();
            let begin = Begin::Respond {
                ahead: Duration::from_millis(200),
            };
            let mut offered = offer(&pool, begin, maximum * MODEST, time, seed).await?;
            let flooded = flooding.await.map_err(BenchError::part("the flood"))?;
            let (people, theirs) = flooded?;
            other = people;
            if round == 0 {
                continue;
            }
            if let (Some(values), Some(p50s), Some(note), Some(lost)) = (
                values.get_mut(kind),
                p50s.get_mut(kind),
                notes.get_mut(kind),
                lost.get_mut(kind),
            ) {
                let micros = |time: Duration| time.as_secs_f64() * 1e6;
                values.push(micros(percentile(&mut offered.latencies, 0.99)));
                p50s.push(micros(percentile(&mut offered.latencies, 0.5)));
                *lost += offered.due.saturating_sub(offered.good);
                *note = Offered {
                    lateness: offered.lateness,
                    ..theirs
                };
            }
        }
    }
    let [calm, flooded] = values;
    let [calm_p50, flooded_p50] = p50s;
    let [mut calm_note, mut flooded_note] = notes;
    let [calm_lost, flooded_lost] = lost;
    let mut section = Section::new(
        "fairness",
        "FAIRNESS: an organisation beside one that floods the broker",
        &["", "p50 us", "p99 us", "late us", "lost", "ratio", "goal"],
    );
    for (name, p50, p99, note, lost) in [
        (
            "beside a normal one",
            &calm_p50,
            &calm,
            &mut calm_note,
            calm_lost,
        ),
        (
            "beside a flood",
            &flooded_p50,
            &flooded,
            &mut flooded_note,
            flooded_lost,
        ),
    ] {
        let late = percentile(&mut note.lateness, 0.99);
        section.table.row([
            name.to_owned(),
            format!("{:.0}", Spread::of(p50.iter().copied()).median),
            format!("{:.0}", Spread::of(p99.iter().copied()).median),
            format!("{:.0}", late.as_secs_f64() * 1e6),
            lost.to_string(),
            String::new(),
            String::new(),
        ]);
    }
    let values = of_neighbours(&flooded, &calm);
    let goal = Goal::at_most(values, 1.2);
    let yardstick = "the same beside an organisation that behaves";
    let cell = section.figure("p99_beside_flood", values, "ratio", yardstick, Some(goal));
    section.table.row([
        "  p99, flooded of calm".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        values.to_string(),
        cell,
    ]);
    let medians = of_neighbours(&flooded_p50, &calm_p50);
    section.figure("p50_beside_flood", medians, "ratio", yardstick, None);
    section.table.row([
        "  p50, flooded of calm".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        medians.to_string(),
        String::new(),
    ]);
    let refused: u64 = flooded_note
        .refused
        .values()
        .map(|refused| refused.count)
        .sum();
    section.notes.push(format!(
        "From the phone's answer to the caller's, at {:.0} flows/s (a tenth of the maximum \
         {maximum:.0}); the other organisation asks {:.0}/s, or {:.0}/s. In the last flood {} of \
         its {} flows ended well and {refused} of its calls were refused.",
        maximum * MODEST,
        maximum * NORMAL,
        maximum * TIMES,
        flooded_note.good,
        flooded_note.due,
    ));
    Ok(section)
}
