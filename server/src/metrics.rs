//! Counters for Prometheus. Labels have few values: no user, device or tenant.

mod admission;
mod process;

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::domain::{
    challenge::{Method, Outcome},
    code::CodeRefusal,
    receipt::{final_name, reason_name},
};

use admission::AdmissionMetrics;

/// What the broker counts.
pub struct Metrics {
    pub(crate) admission: AdmissionMetrics,
    registry: Registry,
    created: IntCounter,
    decided: IntCounterVec,
    pushes: IntCounterVec,
    push_seconds: HistogramVec,
    push_alarms: IntGaugeVec,
    calls: IntCounterVec,
    subscribed: IntGauge,
    went_on: IntCounterVec,
    guesses: IntCounterVec,
    codes_refused: IntCounterVec,
    range_alarms: IntCounter,
    texts: IntCounterVec,
    text_seconds: HistogramVec,
    text_receipts: IntCounterVec,
    store: [IntCounter; 5],
    store_counts: Mutex<Option<StoreCounts>>,
}

/// What the store has done since it was opened: commands, batches, syncs, bytes
/// written, commands refused.
pub(crate) type StoreCounts = Box<dyn Fn() -> [u64; 5] + Send + Sync>;

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// [`prometheus::Error`] when two metrics share a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let created = IntCounter::new("countersign_challenges_created_total", "Challenges issued")?;
        registry.register(Box::new(created.clone()))?;
        let push_seconds = HistogramVec::new(
            HistogramOpts::new(
                "countersign_push_seconds",
                "Time from handing a push to a gateway to its answer",
            ),
            &["gateway"],
        )?;
        registry.register(Box::new(push_seconds.clone()))?;
        let push_alarms = IntGaugeVec::new(
            Opts::new(
                "countersign_push_credential_refused",
                "1 for each credential that its push gateway refuses at present",
            ),
            &["gateway", "credential"],
        )?;
        registry.register(Box::new(push_alarms.clone()))?;
        let subscribed = IntGauge::new("countersign_subscribed_devices", "Open Subscribe streams")?;
        registry.register(Box::new(subscribed.clone()))?;
        let range_alarms = IntCounter::new(
            "countersign_sms_range_alarms_total",
            "Ranges of numbers that became suspicious of SMS pumping",
        )?;
        registry.register(Box::new(range_alarms.clone()))?;
        let text_seconds = HistogramVec::new(
            HistogramOpts::new(
                "countersign_text_seconds",
                "Time from handing a text message to the gateways to their answer",
            ),
            &["purpose"],
        )?;
        registry.register(Box::new(text_seconds.clone()))?;
        let store = [
            ("commands", "Commands that the store has answered"),
            ("batches", "Groups of commands committed together"),
            ("syncs", "Syncs of the store's log"),
            ("bytes", "Bytes of keys and values written"),
            ("refused", "Commands refused because too many were waiting"),
        ];
        let store = store.map(|(what, help)| {
            let counter = IntCounter::new(format!("countersign_store_{what}_total"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        });
        let [commands, batches, syncs, bytes, refused] = store;
        let calls = counter(
            "countersign_calls_refused_total",
            "Calls answered with an error, by reason",
            &["reason"],
        )?;
        Ok(Self {
            store: [commands?, batches?, syncs?, bytes?, refused?],
            store_counts: Mutex::new(None),
            admission: AdmissionMetrics::new(&registry, &calls)?,
            went_on: counter(
                "countersign_challenges_went_on_total",
                "Challenges that went on by another method, by method and who wanted it",
                &["method", "by"],
            )?,
            guesses: counter(
                "countersign_guesses_total",
                "Typed codes, by method and verdict",
                &["method", "verdict"],
            )?,
            codes_refused: counter(
                "countersign_codes_refused_total",
                "Codes and prompts that were not sent, by reason",
                &["reason"],
            )?,
            range_alarms,
            texts: counter(
                "countersign_texts_total",
                "Tries of text messages, by purpose and outcome",
                &["purpose", "outcome"],
            )?,
            text_seconds,
            text_receipts: counter(
                "countersign_text_receipts_total",
                "What networks say of text messages, by gateway",
                &["gateway", "state"],
            )?,
            created,
            decided: counter(
                "countersign_challenges_decided_total",
                "Decisions, by state and reason",
                &["state", "reason"],
            )?,
            pushes: counter(
                "countersign_pushes_total",
                "Tries of pushes, by gateway, kind, outcome and reason",
                &["gateway", "kind", "outcome", "reason"],
            )?,
            push_seconds,
            push_alarms,
            calls,
            subscribed,
            registry,
        })
    }

    pub(crate) fn went_on(&self, method: Method, by: &str) {
        self.went_on.with_label_values(&[method.name(), by]).inc();
    }

    pub(crate) fn guessed(&self, method: Method, verdict: &str) {
        self.guesses
            .with_label_values(&[method.name(), verdict])
            .inc();
    }

    pub(crate) fn code_refused(&self, refusal: CodeRefusal) {
        let reason = refusal.name();
        self.codes_refused.with_label_values(&[reason]).inc();
    }

    pub(crate) fn country_refused(&self) {
        self.codes_refused.with_label_values(&["COUNTRY"]).inc();
    }

    pub(crate) fn range_alarm(&self) {
        self.range_alarms.inc();
    }

    pub(crate) fn texted(&self, purpose: &str, outcome: &str, took: Duration) {
        self.texts.with_label_values(&[purpose, outcome]).inc();
        self.text_seconds
            .with_label_values(&[purpose])
            .observe(took.as_secs_f64());
    }

    pub(crate) fn text_receipt(&self, gateway: &str, delivered: bool) {
        let state = if delivered { "delivered" } else { "failed" };
        self.text_receipts
            .with_label_values(&[gateway, state])
            .inc();
    }

    pub(crate) fn created(&self) {
        self.created.inc();
    }

    pub(crate) fn decided(&self, outcome: &Outcome) {
        let labels = [final_name(outcome.state), reason_name(outcome.reason)];
        self.decided.with_label_values(&labels).inc();
    }

    /// `reason` is one of few: see [`crate::broker::dispatch`].
    pub(crate) fn pushed(
        &self,
        gateway: &str,
        kind: &str,
        outcome: &str,
        reason: &str,
        took: Duration,
    ) {
        self.pushes
            .with_label_values(&[gateway, kind, outcome, reason])
            .inc();
        self.push_seconds
            .with_label_values(&[gateway])
            .observe(took.as_secs_f64());
    }

    /// Gateway and credential of each alarm: as many as are configured, so the
    /// labels stay few.
    pub(crate) fn alarmed<'a>(&self, alarms: impl Iterator<Item = (&'a str, &'a str)>) {
        self.push_alarms.reset();
        for (gateway, credential) in alarms {
            self.push_alarms
                .with_label_values(&[gateway, credential])
                .set(1);
        }
    }

    pub(crate) fn refused(&self, reason: &str) {
        self.calls.with_label_values(&[reason]).inc();
    }

    pub(crate) fn subscribed(&self, by: i64) {
        self.subscribed.add(by);
    }

    /// Where to ask what the store has done.
    pub(crate) fn count_store(&self, counts: StoreCounts) {
        *self.store_counts.lock() = Some(counts);
    }

    /// The text exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        // Held, so that two who read at a time don't count twice.
        if let Some(counts) = &*self.store_counts.lock() {
            for (counter, now) in self.store.iter().zip(counts()) {
                counter.inc_by(now.saturating_sub(counter.get()));
            }
        }
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics can't be rendered");
        }
        let mut text = String::from_utf8(out).unwrap_or_default();
        text.push_str(&process::render());
        text
    }
}
