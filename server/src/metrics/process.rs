//! What the operating system says of this process, under the names that
//! Prometheus' client libraries agreed on ("Process metrics").

use std::fmt::Write as _;

use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};

/// In the text exposition format. What can't be found out is left out: all but
/// the processor time comes from `/proc` (proc(5)).
pub(super) fn render() -> String {
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            // To a string: can't fail.
            write!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            )
            .unwrap_or_default();
        }
    };
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    put(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent",
        Some(format!("{}.{:09}", cpu.tv_sec, cpu.tv_nsec)),
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    put(
        "process_resident_memory_bytes",
        "gauge",
        "Memory held in RAM",
        kibibytes(&status, "VmRSS:"),
    );
    put(
        "process_virtual_memory_bytes",
        "gauge",
        "Address space",
        kibibytes(&status, "VmSize:"),
    );
    put(
        "process_threads",
        "gauge",
        "Threads",
        field(&status, "Threads:").map(str::to_owned),
    );
    // Less the one that looks.
    let open = std::fs::read_dir("/proc/self/fd").map(|fds| fds.count().saturating_sub(1));
    put(
        "process_open_fds",
        "gauge",
        "Open file descriptors",
        open.ok().map(|open| open.to_string()),
    );
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    put(
        "process_max_fds",
        "gauge",
        "File descriptors that may be open",
        field(&limits, "Max open files")
            .filter(|most| *most != "unlimited")
            .map(str::to_owned),
    );
    put(
        "process_start_time_seconds",
        "gauge",
        "When the process started, since the Unix epoch",
        start_time().map(|at| at.to_string()),
    );
    out
}

/// The first word after `name` at the beginning of a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

fn kibibytes(status: &str, name: &str) -> Option<String> {
    let size: u64 = field(status, name)?.parse().ok()?;
    Some(size.saturating_mul(1024).to_string())
}

/// When the machine was started, and how many ticks later the process.
fn start_time() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: u64 = field(&machine, "btime")?.parse().ok()?;
    let process = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name, may hold anything; the 22nd is the 20th after it.
    let (_, rest) = process.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    let after = ticks.checked_div(clock_ticks_per_second())?;
    Some(booted.saturating_add(after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    #[test]
    #[cfg(target_os = "linux")]
    fn each_is_there_and_credible() {
        let text = super::render();
        let value = |name: &str| -> f64 {
            let value = super::field(&text, &format!("{name} "));
            let value = value.unwrap_or_else(|| panic!("{name} in {text}"));
            value.parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") > value("process_open_fds"));
        // After the year 2020, in seconds.
        let start = value("process_start_time_seconds");
        assert!((1.6e9..1e10).contains(&start));
    }
}
