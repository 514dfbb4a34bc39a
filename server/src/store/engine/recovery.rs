//! How sled may recover its log, decided before it touches anything.
//!
//! When sled opens a log it rebuilds its page table, either from the whole log
//! or from a snapshot (`snap.LSN`) and what follows it; writes a new snapshot;
//! and then overwrites every segment that holds nothing live. Both ways have a
//! trap:
//!
//! - A half-written snapshot (`.generating`) or a damaged one makes opening
//!   fail, though the whole log would do.
//! - A scan of the whole log wants an unbroken run of segments from the one
//!   that the newest header calls stable to the end, and takes a gap for the
//!   point where power was lost. If an earlier opening has overwritten a
//!   segment of that run because nothing in it was live, a scan would drop
//!   everything after it, **and overwrite it**. Only the snapshot knows better.
//!
//! So the whole log is read where that is sound, the snapshot kept where it is
//! needed, and neither tried where neither can work.
//!
//! sled renames its new snapshot into place and overwrites segments without
//! syncing the directory in between, which is sound on file systems with one
//! ordered journal (ext4, XFS). On others a power cut in those milliseconds of
//! an opening can leave a store that is refused, though nothing in it was
//! overwritten that was live.
//!
//! The header of a segment, 20 bytes (sled 0.34.7, `pagecache/logger.rs`), all
//! little-endian: CRC-32 of the rest, inverted; its LSN, xor `i64::MAX`; the
//! highest LSN stable when it was begun, xor `i64::MAX`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const HEADER: usize = 20;

/// What opening may rely on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The log alone; any snapshot should go.
    WholeLog,
    /// This snapshot and what the log holds after it; others should go.
    Snapshot(PathBuf),
    /// Neither would bring back what was stored, and trying would destroy it.
    Neither(String),
}

/// Decides by the log's segment headers and the snapshots there are, each with
/// the LSN in its name.
pub(super) fn plan(
    log: &File,
    segment_size: i64,
    snapshots: &BTreeMap<i64, PathBuf>,
) -> io::Result<Plan> {
    let mut stable = BTreeMap::new();
    let length = log.metadata()?.len();
    let mut at = 0;
    while at < length {
        let mut header = [0; HEADER];
        match log.read_exact_at(&mut header, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        if let Some((lsn, stable_lsn)) = parse(&header) {
            stable.insert(lsn, stable_lsn);
        }
        at = at.saturating_add(segment_size.unsigned_abs());
    }
    let Some(newest) = stable.keys().next_back().copied() else {
        return Ok(Plan::Neither("no segment of the log is intact".to_owned()));
    };
    let floor = |lsn: i64| {
        lsn.checked_div_euclid(segment_size)
            .unwrap_or(0)
            .saturating_mul(segment_size)
    };
    let first = floor(stable.values().max().copied().unwrap_or(0).max(0));
    let mut wanted = first;
    while wanted <= newest && stable.contains_key(&wanted) {
        wanted = wanted.saturating_add(segment_size);
    }
    if wanted > newest {
        return Ok(Plan::WholeLog);
    }
    // There is a gap. A snapshot from beyond it is from a time when the log
    // was whole, and the gap is of sled's own making.
    if let Some((lsn, path)) = snapshots.last_key_value()
        && floor(*lsn) > wanted
    {
        return Ok(Plan::Snapshot(path.clone()));
    }
    if wanted == first {
        return Ok(Plan::Neither(format!(
            "the log lacks the segment with LSN {wanted}, and no snapshot makes up for it"
        )));
    }
    Ok(Plan::WholeLog)
}

/// Whether a snapshot is complete: its last twelve bytes are its length and
/// the CRC-32 of what comes before them (sled 0.34.7, `pagecache/snapshot.rs`).
pub(super) fn is_whole(snapshot: &Path) -> io::Result<bool> {
    let bytes = std::fs::read(snapshot)?;
    Ok(bytes
        .split_last_chunk::<12>()
        .is_some_and(|(content, end)| {
            let length = end.first_chunk::<8>().copied().map(u64::from_le_bytes);
            let crc = end.last_chunk::<4>().copied().map(u32::from_le_bytes);
            length == u64::try_from(content.len()).ok() && crc == Some(crc32(content))
        }))
}

/// The LSN and the stable LSN of an intact header.
fn parse(header: &[u8; HEADER]) -> Option<(i64, i64)> {
    let (crc, rest) = header.split_first_chunk::<4>()?;
    let (lsn, stable) = rest.split_first_chunk::<8>()?;
    let stable = stable.first_chunk::<8>()?;
    let intact = u32::from_le_bytes(*crc) == !crc32(rest);
    let plain = |bytes: &[u8; 8]| i64::from_le_bytes(*bytes) ^ i64::MAX;
    intact.then(|| (plain(lsn), plain(stable)))
}

/// CRC-32 as in IEEE 802.3, bit by bit: it sees 16 bytes per segment.
fn crc32(bytes: &[u8]) -> u32 {
    let remainder = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    !remainder
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SEGMENT: i64 = 4096;

    fn header(lsn: i64, stable: i64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let (crc, rest) = header.split_at_mut(4);
        let (first, second) = rest.split_at_mut(8);
        first.copy_from_slice(&(lsn ^ i64::MAX).to_le_bytes());
        second.copy_from_slice(&(stable ^ i64::MAX).to_le_bytes());
        crc.copy_from_slice(&(!crc32(rest)).to_le_bytes());
        header
    }

    /// Plans for a log of segments given by number and stable LSN.
    fn planned(segments: &[Option<(i64, i64)>], snapshots: &[i64]) -> Plan {
        let log = tempfile::tempfile().unwrap();
        for (at, segment) in (0_u64..).step_by(4096).zip(segments) {
            log.write_all_at(&[0; 4096], at).unwrap();
            if let Some((number, stable)) = segment {
                log.write_all_at(&header(number * SEGMENT, *stable), at)
                    .unwrap();
            }
        }
        let snapshots = snapshots
            .iter()
            .map(|lsn| (*lsn, format!("snap.{lsn}").into()));
        plan(&log, SEGMENT, &snapshots.collect()).unwrap()
    }

    #[test]
    fn crc32_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn an_unbroken_log_needs_no_snapshot() {
        assert_eq!(planned(&[Some((0, -1))], &[100]), Plan::WholeLog);
        let whole = [Some((0, -1)), Some((1, 4000)), Some((2, 8000))];
        assert_eq!(planned(&whole, &[]), Plan::WholeLog);
        // Older segments may be gone, and places taken again.
        let reused = [
            Some((7, 7 * SEGMENT - 1)),
            None,
            Some((6, 5 * SEGMENT)),
            Some((3, 9000)),
        ];
        assert_eq!(planned(&reused, &[6 * SEGMENT]), Plan::WholeLog);
    }

    #[test]
    fn a_gap_sled_made_needs_the_snapshot_from_beyond_it() {
        let gap = [None, Some((1, 4000))];
        let beyond = SEGMENT + 100;
        assert_eq!(
            planned(&gap, &[50, beyond]),
            Plan::Snapshot(format!("snap.{beyond}").into())
        );
        for useless in [&[][..], &[50]] {
            assert!(matches!(planned(&gap, useless), Plan::Neither(_)));
        }
        // Also where older segments hold something live.
        let gap = [Some((0, -1)), None, Some((2, SEGMENT + 4000))];
        assert!(matches!(planned(&gap, &[]), Plan::Neither(_)));
        assert!(matches!(planned(&gap, &[2 * SEGMENT]), Plan::Snapshot(_)));
    }

    #[test]
    fn a_gap_behind_the_stable_part_is_where_power_was_lost() {
        let torn = [Some((0, -1)), None, Some((2, 4000))];
        assert_eq!(planned(&torn, &[50]), Plan::WholeLog);
    }

    #[test]
    fn a_log_without_an_intact_segment_is_left_alone() {
        for log in [&[][..], &[None, None]] {
            assert!(matches!(planned(log, &[]), Plan::Neither(_)));
        }
    }
}
