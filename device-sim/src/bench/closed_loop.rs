//! Closed loop: so many flows in flight, each followed by the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::BenchError;
use super::metrics::{self, Counts};
use super::process::Usage;
use super::side::{Handset, Side};

/// Failures in a slice beyond which the measurement is given up.
const TOO_MANY: u64 = 100;

/// Workers, each with phones of its own, so that no user is asked twice at a
/// time.
pub(super) struct Crew {
    pub(super) side: Arc<Side>,
    workers: Vec<Worker>,
}

struct Worker {
    handsets: Vec<Handset>,
    next: usize,
}

/// What happened while it was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Slice {
    /// Flows that ended well.
    pub(super) flows: u64,
    /// Flows that failed.
    pub(super) failed: u64,
    /// Flows that were refused for now.
    pub(super) refused: u64,
    /// For how long.
    pub(super) wall: Duration,
    /// The server's computing time.
    pub(super) cpu: Duration,
    /// The load's computing time.
    pub(super) own_cpu: Duration,
    /// What the broker counted (over slightly longer).
    pub(super) counts: Counts,
    /// From the flow's beginning to the caller's answer.
    pub(super) latencies: Vec<Duration>,
}

impl Slice {
    pub(super) fn rate(&self) -> f64 {
        super::stats::ratio(self.flows as f64, self.wall.as_secs_f64())
    }

    /// Microseconds of the server's time per flow.
    pub(super) fn cpu_per_flow(&self) -> f64 {
        super::stats::ratio(self.cpu.as_secs_f64() * 1e6, self.flows as f64)
    }

    /// Share of one core that the server had.
    pub(super) fn server_share(&self) -> f64 {
        super::stats::ratio(self.cpu.as_secs_f64(), self.wall.as_secs_f64())
    }

    /// Share of one core that the load took.
    pub(super) fn own_share(&self) -> f64 {
        super::stats::ratio(self.own_cpu.as_secs_f64(), self.wall.as_secs_f64())
    }

    /// Syncs of the store's log per decision.
    pub(super) fn syncs_per_flow(&self) -> f64 {
        super::stats::ratio(self.counts.syncs as f64, self.counts.decided as f64)
    }
}

#[derive(Default)]
struct Progress {
    flows: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    first_failure: Mutex<Option<BenchError>>,
    latencies: Mutex<Vec<Duration>>,
}

impl Crew {
    /// Deals `handsets` out to `workers`.
    pub(super) fn new(side: Arc<Side>, handsets: Vec<Handset>, workers: usize) -> Self {
        let mut hands: Vec<Worker> = (0..workers.max(1))
            .map(|_| Worker {
                handsets: Vec::new(),
                next: 0,
            })
            .collect();
        let count = hands.len();
        for (place, handset) in handsets.into_iter().enumerate() {
            if let Some(worker) = hands.get_mut(place % count) {
                worker.handsets.push(handset);
            }
        }
        hands.retain(|worker| !worker.handsets.is_empty());
        Self {
            side,
            workers: hands,
        }
    }

    /// The phones, to be dealt out anew.
    pub(super) fn disband(self) -> Vec<Handset> {
        let workers = self.workers.into_iter();
        workers.flat_map(|worker| worker.handsets).collect()
    }

    async fn counts(&self) -> Result<Counts, BenchError> {
        if self.side.served.hello.http.is_empty() {
            return Ok(Counts::default());
        }
        metrics::read(&self.side.served.hello.http).await
    }

    /// Lets all work for `ramp`, then for `time`, which is measured.
    pub(super) async fn work(
        &mut self,
        ramp: Duration,
        time: Duration,
    ) -> Result<Slice, BenchError> {
        let stop = CancellationToken::new();
        let progress = Arc::new(Progress::default());
        let tasks: Vec<_> = std::mem::take(&mut self.workers)
            .into_iter()
            .map(|worker| {
                let (side, stop) = (self.side.clone(), stop.clone());
                tokio::spawn(worker.run(side, stop, progress.clone()))
            })
            .collect();
        tokio::time::sleep(ramp).await;
        let counts = self.counts().await;
        let (usage, own) = (self.side.served.usage(), Usage::own());
        let flows = progress.flows.load(Relaxed);
        progress.latencies.lock().clear();
        let started = Instant::now();
        tokio::time::sleep(time).await;
        let (usage_then, own_then) = (self.side.served.usage(), Usage::own());
        let wall = started.elapsed();
        let flows = progress.flows.load(Relaxed).saturating_sub(flows);
        let latencies = std::mem::take(&mut *progress.latencies.lock());
        let counts_then = self.counts().await;
        stop.cancel();
        for task in tasks {
            let worker = task.await;
            self.workers
                .push(worker.map_err(BenchError::part("a worker"))?);
        }
        let failed = progress.failed.load(Relaxed);
        if let Some(error) = progress.first_failure.lock().take()
            && (failed > TOO_MANY || flows == 0)
        {
            return Err(error);
        }
        Ok(Slice {
            flows,
            failed,
            refused: progress.refused.load(Relaxed),
            wall,
            cpu: usage_then?.cpu_since(&usage?),
            own_cpu: own_then?.cpu_since(&own?),
            counts: counts_then?.since(counts?),
            latencies,
        })
    }
}

impl Worker {
    async fn run(
        mut self,
        side: Arc<Side>,
        stop: CancellationToken,
        progress: Arc<Progress>,
    ) -> Self {
        let mut failures = 0;
        while !stop.is_cancelled() {
            self.next = (self.next + 1) % self.handsets.len();
            let Some(handset) = self.handsets.get_mut(self.next) else {
                break;
            };
            match side.flow(handset).await {
                Ok(times) => {
                    progress.flows.fetch_add(1, Relaxed);
                    let took = times.answered.duration_since(times.begun);
                    progress.latencies.lock().push(took);
                }
                Err(BenchError::Call { status, .. })
                    if status.code() == tonic::Code::ResourceExhausted =>
                {
                    progress.refused.fetch_add(1, Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => {
                    progress.failed.fetch_add(1, Relaxed);
                    progress.first_failure.lock().get_or_insert(error);
                    failures += 1;
                    if failures > TOO_MANY {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        self
    }
}
