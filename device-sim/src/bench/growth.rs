//! Goal 4: what a flow costs where there is much: devices, pending challenges,
//! history; what a great expiry does to others; how long a start takes. A
//! broker that grows is compared, size by size, with one that stays small.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use countersign_proto::v1::{GetChallengeRequest, TenantPolicy};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;

use super::closed_loop::{Crew, Slice};
use super::cores::Cores;
use super::open_loop::gates;
use super::outcome::{Goal, Section, Series};
use super::people::{self, Organisation, Person};
use super::process::Served;
use super::side::{Handset, Road, Side};
use super::stage::{self, Broker, BrokerOptions};
use super::stats::{Spread, of_neighbours, ratio};
use super::{BenchError, Progress, Settings, metrics};
use crate::fleet::Idp;

/// Phones that take part in flows.
const ACTIVE: u64 = 256;
/// Longest life of a challenge, in seconds.
const LIFE: u64 = 600;
/// Creations in flight.
const AT_ONCE: usize = 32;
/// What a great expiry may delay others by, in milliseconds.
const MOST_DELAY: f64 = 50.0;

struct Sizes {
    devices: Vec<u64>,
    pending: Vec<u64>,
    /// Decided challenges.
    history: Vec<u64>,
    expiring: u64,
}

impl Sizes {
    fn of(settings: &Settings) -> Self {
        if settings.quick {
            return Self {
                devices: vec![300, 600, 1200],
                pending: vec![50, 200],
                history: vec![300],
                expiring: 300,
            };
        }
        let most = settings.devices.max(10_000);
        let mut devices = vec![10_000, 30_000, 100_000, 300_000, 1_000_000];
        devices.retain(|size| *size <= most);
        Self {
            pending: vec![1_000, 10_000, settings.pending.max(10_001)],
            history: vec![20_000, 100_000],
            expiring: settings.pending,
            devices,
        }
    }
}

/// A broker and the organisation whose people it asks.
struct Installation {
    broker: Broker,
    organisation: Organisation,
    registered: u64,
}

impl Installation {
    async fn new(settings: &Settings, cores: &Cores) -> Result<Self, BenchError> {
        let broker = Broker::start(settings, cores, BrokerOptions::default()).await?;
        let organisation = broker.organisation(TenantPolicy::default()).await?;
        Ok(Self {
            broker,
            organisation,
            registered: 0,
        })
    }

    /// Registers phones until there are `count`.
    async fn grow(&mut self, count: u64) -> Result<(), BenchError> {
        let range = self.registered..count;
        let none = || Ok(None);
        let population = stage::population();
        let keep = |_| false;
        people::import_some(
            &self.broker,
            &self.organisation,
            &population,
            range,
            none,
            keep,
        )
        .await?;
        self.registered = self.registered.max(count);
        Ok(())
    }

    /// Phones from all over the population.
    async fn active(&self) -> Result<Vec<Person>, BenchError> {
        let population = stage::population();
        let step = (self.registered / ACTIVE).max(1);
        let mut people = Vec::new();
        for place in 0..ACTIVE.min(self.registered) {
            // Importing again tells the id that it has.
            let index = place * step;
            let range = index..index + 1;
            let none = || Ok(None);
            people.extend(
                people::import(&self.broker, &self.organisation, &population, range, none).await?,
            );
        }
        Ok(people)
    }

    fn side(&self, name: &'static str) -> Result<Arc<Side>, BenchError> {
        let side = self
            .broker
            .side(name, &self.organisation, Road::Subscribe, None)?;
        Ok(Arc::new(side))
    }

    async fn crew(&self, name: &'static str, in_flight: usize) -> Result<Crew, BenchError> {
        let side = self.side(name)?;
        let handsets = stage::open_all(&side, self.active().await?).await?;
        Ok(Crew::new(side, handsets, in_flight))
    }

    /// Creates a challenge for `count` of those who take part in no flow.
    async fn ask(&self, count: u64, expire: Option<SystemTime>) -> Result<(), BenchError> {
        let step = (self.registered / ACTIVE).max(1);
        let population = stage::population();
        let idp = Idp::new(self.broker.connections.clone(), &self.organisation.api_key)?;
        let indexes = (0..self.registered).filter(|index| step < 2 || index % step != 0);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let created = stream::iter(indexes.take(count)).map(|index| {
            let (idp, population) = (&idp, &population);
            async move {
                let request_id = Uuid::new_v4().hyphenated().to_string();
                let mut message = Idp::typical_request(request_id, population.user_id(index));
                let life = match expire {
                    None => Duration::from_secs(LIFE),
                    Some(at) => at.duration_since(SystemTime::now()).unwrap_or_default(),
                };
                message.ttl = Some(prost_types::Duration {
                    seconds: i64::try_from(life.as_secs()).unwrap_or_default(),
                    nanos: i32::try_from(life.subsec_nanos()).unwrap_or_default(),
                });
                // The broker may say that this is faster than it can.
                for _ in 0..100 {
                    match idp.create(index, message.clone()).await {
                        Err(status) if status.code() == tonic::Code::ResourceExhausted => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        other => {
                            return other
                                .map(|_| ())
                                .map_err(BenchError::call("CreateChallenge"));
                        }
                    }
                }
                Err(BenchError::Wrong(
                    "the broker takes no challenges".to_owned(),
                ))
            }
        });
        created
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }
}

/// Slices of flows that a broker which has just grown does before it is compared:
/// the store tidies its log as it is written to, and has much to do after a
/// million rows in no order. The first of them is shown.
const SETTLING: u32 = 10;

/// What a size costs.
struct Cost {
    /// Computing time per flow right after growing, us.
    at_first: f64,
    /// The same, once settled.
    settled: Spread,
    /// That of the small broker's.
    ratio: Spread,
}

/// Compares `big` with a new broker that has `devices` devices and no history,
/// round by round.
async fn compare(
    (settings, cores, devices): (&Settings, &Cores, u64),
    in_flight: usize,
    big: &mut Crew,
    section: &mut Section,
) -> Result<Cost, BenchError> {
    let first: Slice = big.work(settings.ramp(), settings.slice()).await?;
    let rest = settings.slice() * SETTLING.saturating_sub(1);
    big.work(Duration::ZERO, rest).await?;
    let mut installation = Installation::new(settings, cores).await?;
    installation.grow(devices).await?;
    let mut small = installation.crew("stays small", in_flight).await?;
    let mut values = [Vec::new(), Vec::new()];
    for round in 0..=settings.rounds {
        for (crew, values) in [&mut small, &mut *big].into_iter().zip(&mut values) {
            let mut slice: Slice = crew.work(settings.ramp(), settings.slice()).await?;
            if round > 0 {
                values.push(slice.cpu_per_flow());
                section.slices.push(slice.raw(crew.side.name, in_flight));
            }
        }
    }
    let [of_small, of_big] = values;
    Ok(Cost {
        at_first: first.cpu_per_flow(),
        ratio: of_neighbours(&of_big, &of_small),
        settled: Spread::of(of_big),
    })
}

struct Lines {
    points: Vec<(f64, f64)>,
    limit: Option<f64>,
    key: &'static str,
    of: &'static str,
}

impl Lines {
    fn new(key: &'static str, of: &'static str) -> Self {
        Self {
            points: Vec::new(),
            limit: None,
            key,
            of,
        }
    }

    /// One more size; the last has the goal.
    fn add(
        &mut self,
        size: u64,
        cost: Cost,
        goal: Option<f64>,
        yardstick: &str,
        section: &mut Section,
    ) {
        let value = cost.ratio;
        self.points.push((size as f64, value.median));
        self.limit = self.limit.or(goal);
        let goal = goal.map(|limit| Goal::at_most(value, limit));
        let key = format!("{}.{size}", self.key);
        let cell = section.figure(key, value, "ratio", yardstick, goal);
        section.table.row([
            format!("{size} {}", self.of),
            format!("{:.0}", cost.at_first),
            format!("{:.0}", cost.settled.median),
            value.to_string(),
            cell,
        ]);
    }

    fn finish(self, section: &mut Section, x: &'static str) {
        section.series.push(Series {
            plot: format!("growth by {}", self.key),
            name: "computing time per flow".to_owned(),
            x,
            log_x: true,
            goal: self.limit,
            y: "of the small broker's",
            points: self.points,
        });
    }
}

/// Runs it.
pub(super) async fn run(
    settings: &Settings,
    cores: &Cores,
    progress: &Progress,
) -> Result<Section, BenchError> {
    let sizes = Sizes::of(settings);
    let first = sizes.devices.first().copied().unwrap_or(10_000);
    let in_flight = settings.in_flight.first().copied().unwrap_or(64);
    let title = "GROWTH: the server's time per flow in us, and of a broker that stays small";
    let mut section = Section::new(
        "growth",
        title,
        &["", "at first", "settled", "of the small", "goal"],
    );
    let small_has = format!("a new broker with {first} devices");

    let small = (settings, cores, first);
    let mut big = Installation::new(settings, cores).await?;
    let mut line = Lines::new("devices", "devices");
    let largest = sizes.devices.last().copied();
    for &size in &sizes.devices {
        progress.say(&format!("growth: {size} devices"));
        let started = Instant::now();
        let new = size.saturating_sub(big.registered);
        big.grow(size).await?;
        let rate = ratio(new as f64, started.elapsed().as_secs_f64());
        let mut crew = big.crew("grows", in_flight).await?;
        let compared = compare(small, in_flight, &mut crew, &mut section).await?;
        let goal = (Some(size) == largest).then_some(1.2);
        line.add(size, compared, goal, &small_has, &mut section);
        let rss = big.broker.served.usage()?.rss;
        section.notes.push(format!(
            "{size} devices: imported at {rate:.0}/s, the broker holds {:.0} MiB and {:.0} MiB on disk.",
            rss as f64 / f64::from(1 << 20),
            people::disk_bytes(&big.broker.data_dir)? as f64 / f64::from(1 << 20),
        ));
    }
    line.finish(&mut section, "devices");
    section.table.rule();

    let mut line = Lines::new("history", "decided before");
    for &target in &sizes.history {
        progress.say(&format!("growth: {target} decided challenges"));
        let mut crew = big.crew("grows", in_flight.max(64)).await?;
        loop {
            let counts = metrics::read(&big.broker.served.hello.http).await?;
            if counts.decided >= target {
                break;
            }
            crew.work(Duration::ZERO, settings.slice()).await?;
        }
        let handsets = crew.disband();
        let mut crew = Crew::new(big.side("grows")?, handsets, in_flight);
        let compared = compare(small, in_flight, &mut crew, &mut section).await?;
        line.add(target, compared, None, &small_has, &mut section);
    }
    line.finish(&mut section, "decided challenges");
    section.table.rule();

    let mut line = Lines::new("pending", "pending");
    let largest = sizes.pending.last().copied();
    let mut crew = big.crew("grows", in_flight).await?;
    for &size in &sizes.pending {
        progress.say(&format!("growth: {size} pending"));
        // Those asked before are asked anew: their old challenge ends.
        big.ask(size, None).await?;
        let compared = compare(small, in_flight, &mut crew, &mut section).await?;
        let goal = (Some(size) == largest).then_some(1.2);
        line.add(size, compared, goal, &small_has, &mut section);
    }
    line.finish(&mut section, "pending challenges");
    section.table.rule();
    let mut handsets = crew.disband();
    expiry(&big, sizes.expiring, &mut handsets, &mut section, progress).await?;
    section.table.rule();
    big.ask(sizes.expiring, None).await?;
    drop(handsets);
    start(cores, big, &mut section, progress).await?;
    Ok(section)
}

/// A great many challenges expire at once; how long others wait then.
async fn expiry(
    big: &Installation,
    count: u64,
    handsets: &mut [Handset],
    section: &mut Section,
    progress: &Progress,
) -> Result<(), BenchError> {
    progress.say(&format!("growth: {count} challenges that expire together"));
    let side = big.side("grows")?;
    let handset = handsets
        .first_mut()
        .ok_or_else(|| BenchError::Wrong("nobody is registered".to_owned()))?;
    let (probed, _) = side.proven_flow(handset).await?;
    // Time enough to create them all, at a guess from the first.
    let started = Instant::now();
    let tenth = (count / 10).max(1);
    big.ask(tenth, None).await?;
    let guess = started.elapsed() * 20;
    let at = SystemTime::now() + guess + Duration::from_secs(20);
    // The whole second, as a person would have it.
    let at = UNIX_EPOCH
        + Duration::from_secs(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let life = at.duration_since(SystemTime::now()).unwrap_or_default();
    if life > Duration::from_secs(LIFE) {
        let what = "creating so many challenges takes longer than they live";
        return Err(BenchError::Unfit(what.to_owned()));
    }
    big.ask(count, Some(at)).await?;
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    if left < Duration::from_secs(2) {
        section
            .notes
            .push("The expiry could not be measured: its time had come.".to_owned());
        return Ok(());
    }
    let calm = Duration::from_secs(3).min(left);
    tokio::time::sleep(left.saturating_sub(calm)).await;
    let before = metrics::read(&big.broker.served.hello.http).await?;
    let zero = Instant::now() + at.duration_since(SystemTime::now()).unwrap_or_default();
    let begin = Instant::now() + Duration::from_millis(20);
    let end = zero + Duration::from_secs(10);
    let every = Duration::from_millis(4);
    let mut times = Vec::new();
    let mut next = begin;
    while next < end {
        times.push(next);
        next += every;
    }
    let idp = Idp::new(big.broker.connections.clone(), &big.organisation.api_key)?;
    let population = stage::population();
    let mut probes = tokio::task::JoinSet::new();
    for (place, gate) in gates(times).into_iter().enumerate() {
        let idp = idp.clone();
        let index = place as u64;
        let challenge_id = probed.challenge_id.clone();
        // Of nobody whose challenge expires, each rarely: nobody is to be asked
        // too often.
        let last = big.registered.saturating_sub(1);
        let user = population.user_id(last.saturating_sub(index / 5 % (last / 2).max(1)));
        probes.spawn(async move {
            let intended = gate.await.map_err(BenchError::part("the load's clock"))?;
            let late = intended.elapsed();
            // Every fifth writes.
            if place % 5 == 0 {
                let message = Idp::typical_request(String::new(), user);
                let created = idp.create(index, message).await;
                created.map_err(BenchError::call("CreateChallenge"))?;
                return Ok::<_, BenchError>((intended, late, intended.elapsed()));
            }
            let message = GetChallengeRequest { challenge_id };
            idp.client(index)
                .get_challenge(idp.authorized(message))
                .await
                .map_err(BenchError::call("GetChallenge"))?;
            Ok((intended, late, intended.elapsed()))
        });
    }
    let mut delays = Vec::new();
    let mut refused = 0;
    let mut why = String::new();
    while let Some(probe) = probes.join_next().await {
        match probe.map_err(BenchError::part("a probe"))? {
            Ok(probe) => delays.push(probe),
            Err(error) => {
                refused += 1;
                why = format!(" ({error})");
            }
        }
    }
    let after = metrics::read(&big.broker.served.hello.http)
        .await?
        .since(before);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let longest = |after_zero: bool, which: fn(&(Instant, Duration, Duration)) -> Duration| {
        let part = delays
            .iter()
            .filter(|probe| (probe.0 >= zero) == after_zero);
        millis(part.map(which).max().unwrap_or_default())
    };
    let calm_longest = longest(false, |probe| probe.2);
    let storm = Spread::of([longest(true, |probe| probe.2)]);
    let late = longest(true, |probe| probe.1);
    let goal = Goal::at_most(storm, MOST_DELAY);
    let yardstick = format!("{calm_longest:.1} ms just before");
    let cell = section.figure("expiry.longest_delay", storm, "ms", &yardstick, Some(goal));
    section.table.row([
        format!("{count} expire at once: longest call, ms"),
        format!("before {calm_longest:.1}"),
        format!("{:.1}", storm.median),
        String::new(),
        cell,
    ]);
    section.notes.push(format!(
        "Probes every 4 ms, one in five a write; the load itself was late by {late:.1} ms at \
         most; {refused} probes were refused or failed{why}; {} challenges were decided while it \
         was watched.",
        after.decided
    ));
    let mut buckets = std::collections::BTreeMap::new();
    for (intended, _, took) in &delays {
        let at = if *intended >= zero {
            intended.duration_since(zero).as_secs_f64()
        } else {
            -zero.duration_since(*intended).as_secs_f64()
        };
        let bucket = buckets.entry((at * 10.0).floor() as i64).or_insert(0.0_f64);
        *bucket = bucket.max(millis(*took));
    }
    section.series.push(Series {
        plot: "a great expiry".to_owned(),
        name: "longest call".to_owned(),
        x: "seconds since the expiry",
        log_x: false,
        goal: Some(MOST_DELAY),
        y: "ms",
        points: buckets
            .into_iter()
            .map(|(bucket, worst)| (bucket as f64 / 10.0, worst))
            .collect(),
    });
    Ok(())
}

/// How long a start takes, against opening the store alone.
async fn start(
    cores: &Cores,
    big: Installation,
    section: &mut Section,
    progress: &Progress,
) -> Result<(), BenchError> {
    let mut broker = big.broker;
    let mut starts = Vec::new();
    let mut opens = Vec::new();
    for round in 0..3 {
        progress.say(&format!("growth: start {round}"));
        let stopped = broker.stop().await?;
        let arguments = vec![
            "open".to_owned(),
            format!("--data-dir={}", stopped.data_dir().display()),
        ];
        let opened = Served::start("store", cores.server, arguments).await?;
        opens.push(opened.hello.start_seconds);
        opened.stop().await?;
        broker = stopped.start(cores).await?;
        starts.push(broker.served.hello.start_seconds);
    }
    let value = of_neighbours(&starts, &opens);
    let goal = Goal::at_most(value, 3.0);
    let open = Spread::of(opens);
    let yardstick = format!("opening the store alone, {:.2} s", open.median);
    let cell = section.figure("start", value, "ratio", yardstick, Some(goal));
    section.table.row([
        format!("start with {} devices, ms", big.registered),
        String::new(),
        format!("{:.0}", 1e3 * Spread::of(starts).median),
        format!("{value} of {:.0}", 1e3 * open.median),
        cell,
    ]);
    Ok(())
}
