//! What was let in, and what was not.

use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// Counted at every call: each counter is looked up once, here.
pub(crate) struct AdmissionMetrics {
    admitted_new: IntCounter,
    admitted_finishing: IntCounter,
    overloaded: IntCounter,
    over_share: IntCounter,
    limit: Gauge,
    in_flight: IntGauge,
    delay: Histogram,
}

/// Buckets around the delays aimed at, seconds.
const DELAYS: [f64; 10] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0,
];

impl AdmissionMetrics {
    /// `refused`: calls answered with an error, by reason.
    pub(super) fn new(
        registry: &Registry,
        refused: &IntCounterVec,
    ) -> Result<Self, prometheus::Error> {
        let admitted = IntCounterVec::new(
            Opts::new(
                "countersign_calls_admitted_total",
                "Calls let in, by whether they begin something or finish it",
            ),
            &["class"],
        )?;
        registry.register(Box::new(admitted.clone()))?;
        let limit = Gauge::new(
            "countersign_new_calls_limit",
            "The present limit on calls in flight that begin something",
        )?;
        registry.register(Box::new(limit.clone()))?;
        let in_flight = IntGauge::new(
            "countersign_new_calls_in_flight",
            "Calls in flight that begin something",
        )?;
        registry.register(Box::new(in_flight.clone()))?;
        let delay = Histogram::with_opts(
            HistogramOpts::new(
                "countersign_run_queue_delay_seconds",
                "How long a task that is ready waits until it runs, in samples",
            )
            .buckets(DELAYS.to_vec()),
        )?;
        registry.register(Box::new(delay.clone()))?;
        Ok(Self {
            admitted_new: admitted.with_label_values(&["new"]),
            admitted_finishing: admitted.with_label_values(&["finishing"]),
            overloaded: refused.with_label_values(&["OVERLOADED"]),
            over_share: refused.with_label_values(&["TENANT_OVER_SHARE"]),
            limit,
            in_flight,
            delay,
        })
    }

    pub(crate) fn admitted_new(&self) {
        self.admitted_new.inc();
    }

    pub(crate) fn admitted_finishing(&self) {
        self.admitted_finishing.inc();
    }

    /// Nobody could be let in.
    pub(crate) fn overloaded(&self) {
        self.overloaded.inc();
    }

    /// Others could be.
    pub(crate) fn over_share(&self) {
        self.over_share.inc();
    }

    pub(crate) fn limits(&self, limit: f64, in_flight: u32) {
        self.limit.set(limit);
        self.in_flight.set(i64::from(in_flight));
    }

    pub(crate) fn waited(&self, delay: Duration) {
        self.delay.observe(delay.as_secs_f64());
    }
}
