//! Goal 3: what those who wait cost: callers in a long poll, phones with their
//! stream open; and what is left of connections that have gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use countersign_proto::v1::device_service_client::DeviceServiceClient;
use countersign_proto::v1::subscribe_response::Event;
use countersign_proto::v1::{
    Challenge, ChallengeState, GetChallengeRequest, SubscribeRequest, SubscribeResponse,
    TenantPolicy, WaitChallengeRequest,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tonic::Streaming;
use uuid::Uuid;

use super::cores::{self, Cores};
use super::outcome::{Goal, Section};
use super::people::{self, Person};
use super::side::{Handset, Road, Side};
use super::stage::{self, Broker, BrokerOptions, IdealServer};
use super::stats::{Spread, ratio};
use super::{BenchError, Progress, Settings};
use crate::fleet::{Connections, Idp};
use crate::phone::method::SUBSCRIBE;

/// Calls that share a connection, at most: below the broker's default limit.
const PER_CONNECTION: u64 = 800;
/// How long a caller waits: longer than it takes to measure.
const WAIT: i64 = 290;
/// How long a challenge lives: the longest there is.
const LIFE: i64 = 600;
/// Decisions among the waiting.
const DECISIONS: usize = 200;
/// New connections per second.
const CHURN: f64 = 2000.0;
/// The same, where only the working is looked at.
const QUICK_CHURN: f64 = 100.0;
/// Connections being opened or used at a time.
const CHURN_AT_ONCE: usize = 512;

/// What is measured of one server.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Bytes per waiting caller.
    caller: f64,
    /// Bytes per subscribed phone.
    phone: f64,
    /// Per cent of a core while all are idle.
    idle: f64,
    /// Answers per decision.
    answers: f64,
    /// Microseconds of the server's time per decision among them.
    decision: f64,
    /// Open files of the server.
    files: u64,
    /// Bytes held at the end.
    rss: u64,
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Creates a long-lived challenge for each of `people`.
async fn create_all(side: &Side, people: &[Person]) -> Result<Vec<Challenge>, BenchError> {
    let created = stream::iter(people).map(|person| async move {
        let request_id = Uuid::new_v4().hyphenated().to_string();
        let user = person.phone.user_id().to_owned();
        let mut message = Idp::typical_request(request_id, user);
        message.ttl = Some(prost_types::Duration {
            seconds: LIFE,
            nanos: 0,
        });
        side.idp
            .create(person.index, message)
            .await
            .map_err(BenchError::call("CreateChallenge"))
    });
    created.buffered(32).try_collect().await
}

/// Holds a stream open for each of `people`.
async fn subscribe_all(
    side: &Side,
    people: &[Person],
) -> Result<Vec<Streaming<SubscribeResponse>>, BenchError> {
    let streams = stream::iter(people).map(|person| async move {
        let message = SubscribeRequest::default();
        let request = person.phone.proven(SUBSCRIBE, message, SystemTime::now())?;
        let mut stream = DeviceServiceClient::new(side.connections.pick(person.index))
            .subscribe(request)
            .await
            .map_err(BenchError::call("Subscribe"))?
            .into_inner();
        loop {
            let item = stream.next().await;
            let item = item.ok_or_else(|| BenchError::Wrong("a stream ended".to_owned()))?;
            let item = item.map_err(BenchError::call("Subscribe"))?;
            if matches!(item.event, Some(Event::CaughtUp(_))) {
                return Ok::<_, BenchError>(stream);
            }
        }
    });
    streams.buffered(32).try_collect().await
}

/// Answers that came to waiting callers.
#[derive(Default)]
struct Answers {
    decided: AtomicU64,
    undecided: AtomicU64,
    failure: Mutex<Option<BenchError>>,
}

/// A caller waits for each of `challenges`.
fn wait_all(
    side: &Arc<Side>,
    ways: &Connections,
    people: &[Person],
    challenges: &[Challenge],
    answers: &Arc<Answers>,
) -> Result<JoinSet<()>, BenchError> {
    let idp = Idp::new(ways.clone(), &side.api_key)?;
    let mut waiting = JoinSet::new();
    for (person, challenge) in people.iter().zip(challenges) {
        let (idp, answers) = (idp.clone(), answers.clone());
        let (index, challenge_id) = (person.index, challenge.challenge_id.clone());
        waiting.spawn(async move {
            let message = WaitChallengeRequest {
                challenge_id,
                timeout: Some(prost_types::Duration {
                    seconds: WAIT,
                    nanos: 0,
                }),
                ..WaitChallengeRequest::default()
            };
            let answer = idp
                .client(index)
                .wait_challenge(idp.authorized(message))
                .await;
            match answer {
                Ok(answer) => {
                    let challenge = answer.into_inner().challenge.unwrap_or_default();
                    if challenge.state() == ChallengeState::Approved {
                        answers.decided.fetch_add(1, Relaxed);
                    } else {
                        answers.undecided.fetch_add(1, Relaxed);
                    }
                }
                Err(status) => {
                    let error = BenchError::call("WaitChallenge")(status);
                    answers.failure.lock().get_or_insert(error);
                }
            }
        });
    }
    Ok(waiting)
}

async fn measure(
    settings: &Settings,
    side: &Arc<Side>,
    people: Vec<Person>,
    progress: &Progress,
) -> Result<Held, BenchError> {
    let name = side.name;
    let count = people.len();
    let heads = count.max(1) as f64;
    progress.say(&format!("waiters, {name}: {count} challenges"));
    let challenges = create_all(side, &people).await?;
    let connections = count as u64 / PER_CONNECTION + 1;
    let connections = usize::try_from(connections).unwrap_or(1);
    let callers = Connections::open(&side.target, connections).await?;
    let phones = Connections::open(&side.target, connections).await?;
    settle().await;
    let anonymous = || side.served.usage().map(|usage| usage.rss_anonymous);
    let empty = anonymous()?;

    progress.say(&format!("waiters, {name}: {count} callers wait"));
    let answers = Arc::new(Answers::default());
    let waiting = wait_all(side, &callers, &people, &challenges, &answers)?;
    // All have arrived when the server has come to rest.
    let mut before = side.served.usage()?;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = side.served.usage()?;
        if now.cpu_since(&before) < Duration::from_millis(25) {
            break;
        }
        before = now;
    }
    let with_callers = anonymous()?;

    progress.say(&format!("waiters, {name}: {count} phones subscribe"));
    let subscribing = Side {
        name,
        served: side.served.clone(),
        target: side.target.clone(),
        idp: side.idp.clone(),
        api_key: side.api_key.clone(),
        audience: side.audience.clone(),
        connections: phones,
        road: Road::Subscribe,
        waiting: side.waiting,
        fresh: false,
        signatures: side.signatures,
        gateways: None,
    };
    let streams = subscribe_all(&subscribing, &people).await?;
    settle().await;
    let with_phones = anonymous()?;

    let idle = Duration::from_secs(if settings.quick { 2 } else { 20 });
    progress.say(&format!("waiters, {name}: idle for {} s", idle.as_secs()));
    let before = side.served.usage()?;
    let started = Instant::now();
    tokio::time::sleep(idle).await;
    let after = side.served.usage()?;
    let cpu = after.cpu_since(&before).as_secs_f64();
    let idle_share = 100.0 * ratio(cpu, started.elapsed().as_secs_f64());
    let early = answers.decided.load(Relaxed) + answers.undecided.load(Relaxed);
    if let Some(error) = answers.failure.lock().take() {
        return Err(error);
    }
    if early > 0 {
        return Err(BenchError::Wrong(format!(
            "{early} callers were answered though nothing was decided"
        )));
    }

    progress.say(&format!("waiters, {name}: some decisions"));
    let decisions = DECISIONS.min(count);
    let before = side.served.usage()?;
    for (person, challenge) in people.iter().zip(&challenges).take(decisions) {
        let signed = challenge.signed_challenge.clone().unwrap_or_default();
        let response = side.approval(person, challenge, &signed)?;
        side.respond(person.index, response).await?;
    }
    settle().await;
    let after = side.served.usage()?;
    let spent = after.cpu_since(&before).as_secs_f64() * 1e6;
    let told = answers.decided.load(Relaxed);
    let others = answers.undecided.load(Relaxed);
    let held = Held {
        caller: ratio(with_callers as f64 - empty as f64, heads),
        phone: ratio(with_phones as f64 - with_callers as f64, heads),
        idle: idle_share,
        answers: ratio((told + others) as f64, decisions as f64),
        decision: ratio(spent, decisions as f64),
        files: after.files,
        rss: after.rss,
    };
    drop((waiting, streams));
    Ok(held)
}

/// Opens connections at a rate, makes one call on each, closes them.
async fn churn(
    side: &Side,
    challenge_id: &str,
    rate: f64,
    time: Duration,
) -> Result<f64, BenchError> {
    let started = Instant::now();
    let mut calls = JoinSet::new();
    let mut opened = 0_u64;
    while started.elapsed() < time {
        let due = started.elapsed().as_secs_f64() * rate;
        while (opened as f64) < due && calls.len() < CHURN_AT_ONCE {
            opened += 1;
            let (target, api_key) = (side.target.clone(), side.api_key.clone());
            let challenge_id = challenge_id.to_owned();
            calls.spawn(async move {
                let idp = Idp::new(Connections::open(&target, 1).await?, &api_key)?;
                let message = GetChallengeRequest { challenge_id };
                idp.client(0)
                    .get_challenge(idp.authorized(message))
                    .await
                    .map_err(BenchError::call("GetChallenge"))?;
                Ok::<_, BenchError>(())
            });
        }
        while let Some(ended) = calls.try_join_next() {
            ended.map_err(BenchError::part("a caller"))??;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while let Some(ended) = calls.join_next().await {
        ended.map_err(BenchError::part("a caller"))??;
    }
    Ok(ratio(opened as f64, started.elapsed().as_secs_f64()))
}

/// Runs it.
pub(super) async fn run(
    settings: &Settings,
    cores: &Cores,
    progress: &Progress,
) -> Result<Section, BenchError> {
    let count = if settings.quick {
        400
    } else {
        settings.waiters
    };
    let population = stage::population();
    let files = cores::raise_file_limit();

    progress.say("waiters: setting up");
    let broker = Broker::start(settings, cores, BrokerOptions::default()).await?;
    let organisation = broker.organisation(TenantPolicy::default()).await?;
    let people = people::import(&broker, &organisation, &population, 0..count, || Ok(None)).await?;
    let side = Arc::new(broker.side("broker", &organisation, Road::Fetch, None)?);
    let of_broker = measure(settings, &side, people, progress).await?;

    let ideal = IdealServer::start(cores, count, true).await?;
    let side = Arc::new(ideal.side("bare tonic")?);
    let people = people::of_the_ideal(&population, count);
    let bare = measure(settings, &side, people, progress).await?;
    drop((side, ideal));

    let mut section = Section::new(
        "waiters",
        &format!("WAITERS: {count} callers and {count} phones held at once"),
        &["", "broker", "bare tonic", "ratio", "goal"],
    );
    section.notes.push(format!(
        "Bytes: growth of RssAnon per head, over connections of at most {PER_CONNECTION} calls \
         each; the hard limit of open files is {files}. The phones' yardstick is a bare stream \
         that never says anything. {DECISIONS} decisions among the waiting, one after the other."
    ));
    for (key, name, broker, bare) in [
        (
            "caller_bytes",
            "bytes per waiting caller",
            of_broker.caller,
            bare.caller,
        ),
        (
            "phone_bytes",
            "bytes per subscribed phone",
            of_broker.phone,
            bare.phone,
        ),
    ] {
        let of_bare = Spread::of([ratio(broker, bare)]);
        let goal = (key == "caller_bytes").then(|| Goal::at_most(of_bare, 1.5));
        let yardstick = format!("bare tonic, {bare:.0}");
        section.figure(key, Spread::of([broker]), "bytes", yardstick, None);
        let cell = section.figure(
            format!("{key}_of_bare"),
            of_bare,
            "ratio",
            "bare tonic",
            goal,
        );
        section.table.row([
            name.to_owned(),
            format!("{broker:.0}"),
            format!("{bare:.0}"),
            format!("{:.2}", of_bare.median),
            cell,
        ]);
    }
    let idle = Spread::of([of_broker.idle]);
    let goal = Goal::at_most(idle, 0.5);
    let yardstick = format!("bare tonic, {:.2}", bare.idle);
    let cell = section.figure("idle", idle, "% of a core", yardstick, Some(goal));
    section.table.row([
        "all idle, % of a core".to_owned(),
        format!("{:.2}", of_broker.idle),
        format!("{:.2}", bare.idle),
        String::new(),
        cell,
    ]);
    let answers = Spread::of([of_broker.answers]);
    let goal = Goal {
        text: "=1".to_owned(),
        met: (of_broker.answers - 1.0).abs() < 1e-9,
    };
    let cell = section.figure("answers_per_decision", answers, "callers", "1", Some(goal));
    section.table.row([
        "callers answered per decision".to_owned(),
        format!("{:.2}", of_broker.answers),
        format!("{:.2}", bare.answers),
        String::new(),
        cell,
    ]);
    let decision = Spread::of([of_broker.decision]);
    let yardstick = format!("bare tonic, {:.0}", bare.decision);
    section.figure("decision_cpu", decision, "us", yardstick, None);
    section.table.row([
        "us of the server per decision".to_owned(),
        format!("{:.0}", of_broker.decision),
        format!("{:.0}", bare.decision),
        format!("{:.2}", ratio(of_broker.decision, bare.decision)),
        String::new(),
    ]);
    let megabytes = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
    section.table.row([
        "MiB held by the server".to_owned(),
        megabytes(of_broker.rss),
        megabytes(bare.rss),
        String::new(),
        String::new(),
    ]);
    section.table.row([
        "open files of the server".to_owned(),
        of_broker.files.to_string(),
        bare.files.to_string(),
        String::new(),
        String::new(),
    ]);
    churning(settings, cores, &mut section, progress).await?;
    Ok(section)
}

async fn churning(
    settings: &Settings,
    cores: &Cores,
    section: &mut Section,
    progress: &Progress,
) -> Result<(), BenchError> {
    let broker = Broker::start(settings, cores, BrokerOptions::default()).await?;
    let organisation = broker.organisation(TenantPolicy::default()).await?;
    let population = stage::population();
    let people = people::import(&broker, &organisation, &population, 0..1, || Ok(None)).await?;
    let side = broker.side("broker", &organisation, Road::Fetch, None)?;
    let mut handsets: Vec<Handset> = stage::open_all(&side, people).await?;
    let mut challenge_id = String::new();
    if let Some(handset) = handsets.first_mut() {
        challenge_id = side.proven_flow(handset).await?.0.challenge_id;
    }
    let time = Duration::from_secs(if settings.quick { 1 } else { 10 });
    // What the allocator keeps after the first time is no leak.
    let mut before = broker.served.usage()?;
    let mut values = Vec::new();
    let mut files = 0;
    let mut rate = 0.0;
    let rounds = 3;
    let wanted = if settings.quick { QUICK_CHURN } else { CHURN };
    for round in 0..=rounds {
        progress.say(&format!("waiters: churn, round {round}"));
        rate = churn(&side, &challenge_id, wanted, time).await?;
        // Closed connections are noticed at once; the broker keeps nonces of
        // proofs for a minute, and there are none here.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = broker.served.usage()?;
        if round > 0 {
            values.push(ratio(after.rss as f64, before.rss as f64));
            files = after.files.saturating_sub(before.files);
        }
        before = after;
    }
    let spread = Spread::of(values.iter().copied());
    // Each against the one before: what leaks grows every time.
    let goal = Goal::at_most(spread, 1.05);
    let cell = section.figure("churn_rss", spread, "ratio", "before the churn", Some(goal));
    section.table.rule();
    section.table.row([
        format!("memory after {rate:.0} connections/s"),
        format!("{:.3}", spread.median),
        "before: 1".to_owned(),
        spread.to_string(),
        cell,
    ]);
    section.figure(
        "churn_files",
        Spread::of([files as f64]),
        "files",
        "0",
        None,
    );
    section.notes.push(format!(
        "Churn: each connection is opened, used for one call and closed; {wanted:.0} per second \
         were wanted, {rate:.0} reached. Memory is compared with that after the round before."
    ));
    section.table.row([
        "open files that were left".to_owned(),
        files.to_string(),
        "0".to_owned(),
        String::new(),
        String::new(),
    ]);
    Ok(())
}
