//! What the broker uses of the machine, as far as it can be seen: from its
//! process where that runs here, otherwise from its metrics.

use std::time::{Duration, Instant};

use crate::fetch::get_text;
use crate::report::process::Usage;
use crate::report::{BrokerSide, Sample};

/// Where to look.
pub(super) struct BrokerEye {
    pid: Option<u32>,
    metrics: Option<String>,
    first: Option<Usage>,
    last: Option<(Instant, Usage)>,
    peak_bytes: u64,
}

impl BrokerEye {
    /// Looks once. `http`: the address of the broker's HTTP port.
    pub(super) async fn open(pid: Option<u32>, http: Option<&str>) -> Self {
        let mut eye = Self {
            pid,
            metrics: http.map(|http| format!("{http}/metrics")),
            first: None,
            last: None,
            peak_bytes: 0,
        };
        eye.first = eye.look().await;
        eye.last = eye.first.map(|usage| (Instant::now(), usage));
        eye
    }

    async fn look(&self) -> Option<Usage> {
        if let Some(pid) = self.pid {
            return Usage::of(pid);
        }
        let text = get_text(self.metrics.as_deref()?).await.ok()?;
        usage(&text)
    }

    /// Adds what can be seen of the time since the last look to `sample`.
    pub(super) async fn sample(&mut self, sample: Sample) -> Sample {
        let Some(usage) = self.look().await else {
            return sample;
        };
        let now = Instant::now();
        let cores = self
            .last
            .map(|(then, before)| usage.cores_since(&before, now.saturating_duration_since(then)));
        self.last = Some((now, usage));
        self.first.get_or_insert(usage);
        self.peak_bytes = self.peak_bytes.max(usage.rss_bytes);
        Sample {
            broker_rss_bytes: Some(usage.rss_bytes),
            broker_cpu_cores: cores,
            ..sample
        }
    }

    /// What `flows` flows cost.
    pub(super) fn side(&self, flows: u64) -> Option<BrokerSide> {
        let (first, (_, last)) = (self.first?, self.last?);
        let cpu = last.cpu.saturating_sub(first.cpu).as_secs_f64();
        Some(BrokerSide {
            cpu_seconds: cpu,
            cpu_us_per_flow: cpu * 1e6 / flows.max(1) as f64,
            rss_start_bytes: first.rss_bytes,
            rss_peak_bytes: self.peak_bytes.max(first.rss_bytes),
            rss_end_bytes: last.rss_bytes,
            fds_start: first.fds,
            fds_end: last.fds,
            ..BrokerSide::default()
        })
    }
}

/// From Prometheus' text: the names that its client libraries give a process.
fn usage(metrics: &str) -> Option<Usage> {
    let value = |name: &str| {
        let mut lines = metrics.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        let value: f64 = line.split_whitespace().next()?.parse().ok()?;
        (value >= 0.0).then_some(value)
    };
    let bytes = value("process_resident_memory_bytes")? as u64;
    Some(Usage {
        cpu: Duration::try_from_secs_f64(value("process_cpu_seconds_total")?).ok()?,
        rss_bytes: bytes,
        rss_peak_bytes: bytes,
        fds: value("process_open_fds").map(|fds| fds as u64),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn metrics_are_read() {
        let text = "# HELP process_cpu_seconds_total x\nprocess_cpu_seconds_total 1.5\n\
                    process_resident_memory_bytes 5.3e7\nprocess_open_fds 12\nother 3\n";
        let usage = usage(text).unwrap();
        assert_eq!(usage.cpu, Duration::from_millis(1500));
        assert_eq!((usage.rss_bytes, usage.fds), (53_000_000, Some(12)));
        assert_eq!(super::usage("process_open_fds 12\n"), None);
    }
}
