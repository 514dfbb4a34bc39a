//! What Linux says about the machine and about a process (`/proc`).

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::model::{BrokerSide, Machine};

/// Ticks per second in `/proc/PID/stat`: `USER_HZ`, 100 on every architecture
/// that is in use (proc(5), sysconf(3)).
const TICKS_PER_SECOND: u64 = 100;

impl Machine {
    /// This one. What the system doesn't tell stays empty.
    #[must_use]
    pub fn here() -> Self {
        let field = |file: &str, name: &str| {
            fs::read_to_string(file).ok().and_then(|text| {
                let line = text.lines().find(|line| line.starts_with(name))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            })
        };
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu_model: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: usable_cores(),
            memory_bytes: memory.unwrap_or_default().saturating_mul(1024),
            kernel: format!("{} {}", std::env::consts::OS, release.trim()),
        }
    }
}

/// Processors this process may use.
#[must_use]
pub fn usable_cores() -> u32 {
    std::thread::available_parallelism()
        .ok()
        .and_then(|cores| u32::try_from(cores.get()).ok())
        .unwrap_or(1)
}

/// What a process has used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The most it ever was, in bytes.
    pub rss_peak_bytes: u64,
    /// Open descriptors, if they may be seen.
    pub fds: Option<u64>,
}

impl Usage {
    /// That of the process with this id; `None` once it is gone, or where
    /// there is no `/proc`.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let kilobytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        Some(Self {
            cpu: cpu(&stat)?,
            rss_bytes: kilobytes("VmRSS:")?.saturating_mul(1024),
            rss_peak_bytes: kilobytes("VmHWM:")?.saturating_mul(1024),
            fds: fs::read_dir(folder.join("fd"))
                .ok()
                .map(|entries| entries.count() as u64),
        })
    }

    /// Processors kept busy since `earlier`, `elapsed` ago.
    #[must_use]
    pub fn cores_since(&self, earlier: &Self, elapsed: Duration) -> f64 {
        if elapsed.is_zero() {
            return 0.0;
        }
        self.cpu.saturating_sub(earlier.cpu).as_secs_f64() / elapsed.as_secs_f64()
    }
}

impl BrokerSide {
    /// From what the broker had used up before and after `flows` were completed.
    /// Of its disk nothing is known yet.
    #[must_use]
    pub fn between(start: &Usage, end: &Usage, flows: u64) -> Self {
        let cpu = end.cpu.saturating_sub(start.cpu);
        Self {
            cpu_seconds: cpu.as_secs_f64(),
            cpu_us_per_flow: cpu.as_secs_f64() * 1e6 / flows.max(1) as f64,
            rss_start_bytes: start.rss_bytes,
            rss_peak_bytes: end.rss_peak_bytes,
            rss_end_bytes: end.rss_bytes,
            fds_start: start.fds,
            fds_end: end.fds,
            disk_start_bytes: None,
            disk_end_bytes: None,
        }
    }
}

/// What a folder takes up on disk, in bytes. Files that go away meanwhile don't
/// count; links aren't followed.
///
/// # Errors
/// When the folder itself can't be read.
pub fn disk_bytes(folder: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    /// Unit of `st_blocks`, in bytes (stat(2)).
    const BLOCK: u64 = 512;
    let mut sum = 0_u64;
    for entry in fs::read_dir(folder)?.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let size = metadata.blocks().saturating_mul(BLOCK);
        sum = sum.saturating_add(size);
        if metadata.is_dir() {
            sum = sum.saturating_add(disk_bytes(&entry.path()).unwrap_or(0));
        }
    }
    Ok(sum)
}

/// The 14th and 15th field of `/proc/PID/stat`. The 2nd, the name, may hold
/// spaces and brackets: counted is from the last bracket.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    Some(Duration::from_millis(
        ticks.checked_mul(1_000 / TICKS_PER_SECOND)?,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 9 0 0 0 250 31 0 0 20 0 4 0";
        assert_eq!(cpu(stat), Some(Duration::from_millis(2_810)));
        assert_eq!(cpu("17 (a) S 1"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_bytes > 100_000 && usage.rss_peak_bytes >= usage.rss_bytes);
        assert!(usage.fds.unwrap() >= 3);
        assert_eq!(Usage::of(u32::MAX), None);
        let machine = Machine::here();
        assert!(
            machine.cores > 0 && machine.memory_bytes > 1_000_000,
            "{machine:?}"
        );
        assert!(machine.kernel.starts_with("linux "));
    }

    #[test]
    fn what_the_broker_used_is_the_difference() {
        let usage = |seconds, rss_bytes, fds| Usage {
            cpu: Duration::from_secs(seconds),
            rss_bytes,
            rss_peak_bytes: rss_bytes + 5,
            fds,
        };
        let side = BrokerSide::between(&usage(2, 10, Some(3)), &usage(6, 40, None), 1_000);
        assert!((side.cpu_seconds - 4.0).abs() < 1e-9);
        assert!((side.cpu_us_per_flow - 4_000.0).abs() < 1e-6);
        assert_eq!(
            (
                side.rss_start_bytes,
                side.rss_peak_bytes,
                side.rss_end_bytes
            ),
            (10, 45, 40)
        );
        assert_eq!((side.fds_start, side.fds_end), (Some(3), None));
    }

    #[test]
    fn a_folder_takes_up_what_all_its_files_do() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let before = disk_bytes(folder.path()).unwrap();
        fs::write(deep.join("c"), vec![1; 100_000]).unwrap();
        let grown = disk_bytes(folder.path()).unwrap() - before;
        assert!((100_000..300_000).contains(&grown), "{grown}");
        assert!(disk_bytes(&folder.path().join("none")).is_err());
    }

    #[test]
    fn cores_are_processor_time_over_elapsed_time() {
        let at = |millis| Usage {
            cpu: Duration::from_millis(millis),
            ..Usage::default()
        };
        let cores = at(4_000).cores_since(&at(1_000), Duration::from_secs(2));
        assert!((cores - 1.5).abs() < 1e-9);
        assert!(at(0).cores_since(&at(5), Duration::ZERO).abs() < 1e-9);
    }
}
