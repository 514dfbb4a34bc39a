//! Open loop: flows begin at a chosen rate, whatever becomes of those before.
//! What is counted, is counted from when something should have begun, so that a
//! stall is not hidden.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::oneshot;
use tonic_types::StatusExt as _;

use super::BenchError;
use super::process::Usage;
use super::side::{Handset, Side};

/// Kinds of refusals that are told apart.
const KINDS: usize = 32;

/// Phones that are free to be asked.
pub(super) struct Pool {
    pub(super) side: Arc<Side>,
    free: Mutex<VecDeque<Handset>>,
}

/// What begins at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// The phone's `Respond`: everything before is done this long ahead.
    Respond {
        /// How long ahead.
        ahead: Duration,
    },
    /// The whole flow, given up when it takes longer than this.
    Flow {
        /// How long it may take.
        patience: Duration,
    },
}

/// Calls that were refused in one way.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    /// How often.
    pub(super) count: u64,
    /// How often with a time to come back.
    pub(super) with_retry: u64,
    /// How long the refusals took.
    pub(super) latencies: Vec<Duration>,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Offered {
    /// Flows that should have begun.
    pub(super) due: u64,
    /// Flows that ended well, in time.
    pub(super) good: u64,
    /// Flows that could not begin for want of a free phone.
    pub(super) unbegun: u64,
    /// For how long flows began.
    pub(super) wall: Duration,
    /// From the intended begin to the caller's answer.
    pub(super) latencies: Vec<Duration>,
    /// How late the load itself was.
    pub(super) lateness: Vec<Duration>,
    /// Calls that were refused, by call, code and reason.
    pub(super) refused: BTreeMap<String, Refused>,
    /// The server's computing time.
    pub(super) cpu: Duration,
    /// The load's computing time.
    pub(super) own_cpu: Duration,
    /// The most bytes that the server held.
    pub(super) rss_peak: u64,
    /// The most flows under way.
    pub(super) most_under_way: usize,
}

#[derive(Default)]
struct Notes {
    offered: Mutex<Offered>,
    under_way: AtomicUsize,
}

impl Pool {
    pub(super) fn new(side: Arc<Side>, handsets: Vec<Handset>) -> Self {
        Self {
            side,
            free: Mutex::new(handsets.into()),
        }
    }

    /// The phones, when none is in use.
    pub(super) fn disband(&self) -> Vec<Handset> {
        std::mem::take(&mut *self.free.lock()).into()
    }

    /// The phone that has not been asked for longest.
    fn take(&self) -> Option<Handset> {
        self.free.lock().pop_front()
    }

    fn give_back(&self, handset: Handset) {
        self.free.lock().push_back(handset);
    }
}

/// Opens a gate for each of `times`: the timers of the runtime would be late by
/// up to a millisecond, a sleeping thread is by a twentieth of that.
pub(super) fn gates(times: Vec<Instant>) -> Vec<oneshot::Receiver<Instant>> {
    let (senders, receivers): (Vec<_>, Vec<_>) = times.iter().map(|_| oneshot::channel()).unzip();
    std::thread::spawn(move || {
        for (at, sender) in times.into_iter().zip(senders) {
            let wait = at.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            // Whoever waited may have given up.
            drop(sender.send(at));
        }
    });
    receivers
}

/// Begins flows at `rate` per second for `time`, at random intervals that follow
/// from `seed`, and waits until all have ended.
pub(super) async fn offer(
    pool: &Arc<Pool>,
    begin: Begin,
    rate: f64,
    time: Duration,
    seed: u64,
) -> Result<Offered, BenchError> {
    let mut random = StdRng::seed_from_u64(seed);
    let ahead = match begin {
        Begin::Respond { ahead } => ahead,
        Begin::Flow { .. } => Duration::ZERO,
    };
    let start = Instant::now() + ahead + Duration::from_millis(50);
    let mut at = 0.0;
    let mut times = Vec::new();
    while at < time.as_secs_f64() {
        times.push(start + Duration::from_secs_f64(at));
        // A Poisson process: exponential intervals.
        let uniform: f64 = random.random();
        at -= (1.0 - uniform).ln() / rate.max(0.001);
    }
    let notes = Arc::new(Notes::default());
    let due = times.len();
    let usage = pool.side.served.usage()?;
    let own = Usage::own()?;
    let begun = Instant::now();
    let early: Vec<Instant> = times
        .iter()
        .map(|at| at.checked_sub(ahead).unwrap_or(*at))
        .collect();
    let precise = matches!(begin, Begin::Respond { .. }).then(|| gates(times.clone()));
    let mut precise = precise.map(Vec::into_iter);
    let mut flows = tokio::task::JoinSet::new();
    for (at, early) in times.into_iter().zip(early) {
        let gate = precise.as_mut().and_then(Iterator::next);
        tokio::time::sleep_until(early.into()).await;
        let Some(handset) = pool.take() else {
            notes.offered.lock().unbegun += 1;
            continue;
        };
        let under_way = notes.under_way.fetch_add(1, Relaxed) + 1;
        {
            let mut offered = notes.offered.lock();
            offered.most_under_way = offered.most_under_way.max(under_way);
        }
        let (of, noted) = (pool.clone(), notes.clone());
        flows.spawn(async move {
            let handset = match (begin, gate) {
                (Begin::Flow { patience }, _) => {
                    whole(&of.side, handset, at, patience, &noted).await
                }
                (Begin::Respond { .. }, Some(gate)) => {
                    timed_answer(&of.side, handset, gate, &noted).await
                }
                (Begin::Respond { .. }, None) => handset,
            };
            noted.under_way.fetch_sub(1, Relaxed);
            of.give_back(handset);
        });
        if flows.len() % 64 == 0 {
            let rss = pool.side.served.usage()?.rss;
            let mut offered = notes.offered.lock();
            offered.rss_peak = offered.rss_peak.max(rss);
            drop(offered);
            while flows.try_join_next().is_some() {}
        }
    }
    let wall = begun.elapsed();
    let cpu = pool.side.served.usage()?.cpu_since(&usage);
    let own_cpu = Usage::own()?.cpu_since(&own);
    while flows.join_next().await.is_some() {}
    let mut offered = std::mem::take(&mut *notes.offered.lock());
    offered.due = u64::try_from(due).unwrap_or(u64::MAX);
    offered.wall = wall;
    offered.cpu = cpu;
    offered.own_cpu = own_cpu;
    Ok(offered)
}

/// Everything is made ready, then the phone answers at its time.
async fn timed_answer(
    side: &Arc<Side>,
    mut handset: Handset,
    gate: oneshot::Receiver<Instant>,
    notes: &Notes,
) -> Handset {
    let result = async {
        let created = side.create(&handset.person).await?;
        let index = handset.person.index;
        let told = {
            let (side, id) = (side.clone(), created.challenge_id.clone());
            tokio::spawn(async move {
                let decided = side.decided(index, &id).await;
                (decided, Instant::now())
            })
        };
        let signed = side.reach(&mut handset, &created).await?;
        let response = side.approval(&handset.person, &created, &signed)?;
        let intended = gate.await.map_err(BenchError::part("the load's clock"))?;
        let sent = Instant::now();
        side.respond(index, response).await?;
        let (decided, answered) = told.await.map_err(BenchError::part("a caller"))?;
        decided?;
        Ok::<_, BenchError>((intended, sent, answered))
    };
    let result = result.await;
    let mut offered = notes.offered.lock();
    match result {
        Ok((intended, sent, answered)) => {
            offered.good += 1;
            let lateness = sent.saturating_duration_since(intended);
            offered.lateness.push(lateness);
            let took = answered.saturating_duration_since(intended);
            offered.latencies.push(took);
        }
        Err(error) => offered.refuse(&error, Duration::ZERO),
    }
    drop(offered);
    handset
}

/// The whole flow from its time on. A caller that is refused comes no more; a
/// phone that is refused comes back when it is told to.
async fn whole(
    side: &Arc<Side>,
    mut handset: Handset,
    intended: Instant,
    patience: Duration,
    notes: &Notes,
) -> Handset {
    let begun = Instant::now();
    let lateness = begun.saturating_duration_since(intended);
    let deadline = intended + patience;
    let flow = async {
        let created = side.create(&handset.person).await;
        let created = created.inspect_err(|error| {
            notes.offered.lock().refuse(error, begun.elapsed());
        })?;
        let index = handset.person.index;
        let told = async {
            loop {
                let asked = Instant::now();
                match side.decided(index, &created.challenge_id).await {
                    Ok(_) => return Ok::<_, BenchError>(Instant::now()),
                    Err(error) => come_back(error, asked, notes).await?,
                }
            }
        };
        let answer = async {
            let signed = loop {
                let asked = Instant::now();
                match side.reach(&mut handset, &created).await {
                    Ok(signed) => break signed,
                    Err(error) => come_back(error, asked, notes).await?,
                }
            };
            let response = side.approval(&handset.person, &created, &signed)?;
            loop {
                let asked = Instant::now();
                match side.respond(index, response.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(error) => come_back(error, asked, notes).await?,
                }
            }
        };
        let (answered, ()) = futures_util::future::try_join(told, answer).await?;
        Ok::<_, BenchError>(answered)
    };
    let ended = tokio::time::timeout_at(deadline.into(), flow).await;
    let mut offered = notes.offered.lock();
    offered.lateness.push(lateness);
    match ended {
        Ok(Ok(answered)) => {
            offered.good += 1;
            let took = answered.saturating_duration_since(intended);
            offered.latencies.push(took);
        }
        // Noted where it happened.
        Ok(Err(_)) => {}
        Err(_) => {
            let late = offered.refused.entry("(took too long)".to_owned());
            late.or_default().count += 1;
        }
    }
    drop(offered);
    handset
}

/// Waits as long as a refusal says; an error where it is none.
async fn come_back(error: BenchError, asked: Instant, notes: &Notes) -> Result<(), BenchError> {
    notes.offered.lock().refuse(&error, asked.elapsed());
    let BenchError::Call { status, .. } = &error else {
        return Err(error);
    };
    match status.get_details_retry_info() {
        Some(info) => {
            let wait = info.retry_delay.unwrap_or(Duration::from_millis(100));
            tokio::time::sleep(wait).await;
            Ok(())
        }
        None => Err(error),
    }
}

impl Offered {
    fn refuse(&mut self, error: &BenchError, took: Duration) {
        let (kind, retry) = match error {
            BenchError::Call { call, status } => {
                let info = status.get_details_error_info();
                let reason = info.map(|info| info.reason).unwrap_or_default();
                let retry = status.get_details_retry_info().is_some();
                (format!("{call} {:?} {reason}", status.code()), retry)
            }
            other => (other.to_string(), false),
        };
        let kind = if self.refused.len() < KINDS || self.refused.contains_key(&kind) {
            kind
        } else {
            "(other)".to_owned()
        };
        let refused = self.refused.entry(kind).or_default();
        refused.count += 1;
        refused.with_retry += u64::from(retry);
        refused.latencies.push(took);
    }

    /// Share of one core that the server had.
    pub(super) fn server_share(&self) -> f64 {
        super::stats::ratio(self.cpu.as_secs_f64(), self.wall.as_secs_f64())
    }

    /// Share of one core that the load took.
    pub(super) fn own_share(&self) -> f64 {
        super::stats::ratio(self.own_cpu.as_secs_f64(), self.wall.as_secs_f64())
    }

    /// Flows that ended well, per second.
    pub(super) fn goodput(&self) -> f64 {
        super::stats::ratio(self.good as f64, self.wall.as_secs_f64())
    }
}
