//! How much memory there is for the process.

use std::{fs, path::Path};

const MIB: u64 = 1 << 20;
/// Where nothing tells.
const UNKNOWN: u64 = 1 << 30;

/// What `limits.max_store_cache_bytes` is where it is not set: pages kept take
/// about twice their size, so a quarter of the memory.
pub(super) fn store_cache() -> u64 {
    share(available(Path::new("/")).unwrap_or(UNKNOWN))
}

fn share(memory: u64) -> u64 {
    (memory / 8).clamp(64 * MIB, 512 * MIB)
}

/// The machine's memory, or what the process's control group or one above it may
/// have, if that is less.
fn available(root: &Path) -> Option<u64> {
    let total = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = kibibytes(&total)?.saturating_mul(1024);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut least = total;
    // Version 2 has no controllers in its line; version 1 one line for each set.
    for (controller, mounted, file) in [
        ("", "sys/fs/cgroup", "memory.max"),
        ("memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ] {
        let path = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
            let is_it = controllers.split(',').any(|other| other == controller);
            is_it.then_some(path)
        });
        // Inside a container the path may be the host's: then only the top is there.
        let mounted = root.join(mounted);
        let limits = mounted.join(path.unwrap_or_default());
        let limits = limits
            .ancestors()
            .take_while(|group| group.starts_with(&mounted))
            .filter_map(|group| fs::read_to_string(group.join(file)).ok())
            .filter_map(|limit| limit.trim().parse::<u64>().ok());
        least = limits.fold(least, u64::min);
    }
    Some(least)
}

fn kibibytes(meminfo: &str) -> Option<u64> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_narrowest_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(available(root), None);
        write(
            root,
            "proc/meminfo",
            "MemTotal:    8000000 kB\nMemFree: 1 kB\n",
        );
        assert_eq!(available(root), Some(8_192_000_000));
        write(
            root,
            "proc/self/cgroup",
            "0::/system.slice/broker.service\n",
        );
        write(
            root,
            "sys/fs/cgroup/system.slice/broker.service/memory.max",
            "max\n",
        );
        assert_eq!(available(root), Some(8_192_000_000));
        write(
            root,
            "sys/fs/cgroup/system.slice/memory.max",
            "2147483648\n",
        );
        assert_eq!(available(root), Some(2 << 30));
        // A container that sees its own group as the root.
        write(root, "proc/self/cgroup", "0::/\n");
        assert_eq!(available(root), Some(8_192_000_000));
        write(root, "sys/fs/cgroup/memory.max", "1073741824\n");
        assert_eq!(available(root), Some(1 << 30));
    }

    #[test]
    fn older_control_groups_count_too() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "proc/meminfo", "MemTotal: 8000000 kB\n");
        let groups = "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n";
        write(root, "proc/self/cgroup", groups);
        let limit = "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes";
        write(root, limit, "9223372036854771712\n");
        assert_eq!(available(root), Some(8_192_000_000));
        write(root, limit, "536870912\n");
        assert_eq!(available(root), Some(512 * MIB));
        fs::remove_file(root.join(limit)).unwrap();
        let top = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        write(root, top, "1073741824\n");
        assert_eq!(available(root), Some(1 << 30));
    }

    #[test]
    fn the_cache_has_an_eighth_within_bounds() {
        assert_eq!(share(256 * MIB), 64 * MIB);
        assert_eq!(share(2048 * MIB), 256 * MIB);
        assert_eq!(share(1 << 40), 512 * MIB);
    }
}
