//! What is durable and not yet in the tree: batches, one record each, appended
//! to a file and synced before they are answered.
//!
//! sled writes a page's worth for a row and wakes seven threads per flush; a
//! row of a challenge changes several times within seconds. So a batch is made
//! durable by one write and one sync here, shown to readers from memory, and
//! only the last state of each row goes into the tree, many batches at a time
//! (see `sink`). After a crash the records that the tree may lack are read back.
//!
//! A record: CRC-32 (IEEE 802.3) of what follows in it; the payload's length,
//! `u32`; the batch's number, `u64`; the payload. The payload: of each row the
//! length of its key, `u32`; that of its value, `u32`, all ones for a row that
//! is removed; key; value. All numbers are little-endian.
//!
//! Files are used again from their beginning once the tree holds what was in
//! them, and grow ahead of what is written: a sync that also has to make a new
//! size durable takes three times as long. What an earlier use has left behind
//! bears lower numbers and ends the reading: within a file each record bears the
//! number after the one before it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sled::IVec;

use super::tx::{Key, Overlay, Row};

/// How the files are called; a number follows.
const PREFIX: &str = "journal.";
/// CRC, length and number.
const HEADER: usize = 16;
/// In place of a length: the row is removed.
const REMOVED: u32 = u32::MAX;

/// A file grows by as much as it holds, but at least and at most by so much.
const GROWTH: (u64, u64) = (64 << 10, 1 << 20);

/// One file of records.
pub(super) struct Journal {
    file: File,
    /// Where the next record goes.
    length: u64,
    /// How much room the file has.
    room: u64,
}

impl Journal {
    /// Bytes of records since its beginning.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds a record, unsynced.
    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let end = self.length.saturating_add(record.len() as u64);
        if end > self.room {
            let growth = end.clamp(GROWTH.0, GROWTH.1);
            let zeros = vec![0; usize::try_from(growth).unwrap_or_default()];
            self.file.write_all_at(&zeros, end)?;
            self.room = end.saturating_add(growth);
        }
        self.file.write_all_at(record, self.length)?;
        self.length = end;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Begins anew: the tree holds what was in it.
    pub(super) fn rewind(&mut self) {
        self.length = 0;
    }

    /// Gives the room back.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.length = 0;
        self.room = 0;
        if self.file.metadata()?.len() > 0 {
            self.file.set_len(0)?;
        }
        Ok(())
    }
}

/// The files of a directory, made as they are needed.
pub(super) struct Journals {
    dir: PathBuf,
    /// How many there are.
    count: u32,
    free: Vec<Journal>,
}

impl Journals {
    /// One to begin with batch after batch: none of its records is needed.
    pub(super) fn take(&mut self) -> io::Result<Journal> {
        if let Some(mut journal) = self.free.pop() {
            journal.rewind();
            return Ok(journal);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path(&self.dir, self.count))?;
        file.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        self.count = self.count.saturating_add(1);
        Ok(Journal {
            file,
            length: 0,
            room: 0,
        })
    }

    /// Takes back those whose records the tree holds.
    pub(super) fn release(&mut self, journals: Vec<Journal>) {
        self.free.extend(journals);
    }

    /// Gives the room of all that are free back.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.free.iter_mut().try_for_each(Journal::clear)
    }
}

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{PREFIX}{number}"))
}

/// Bytes of all journals of a directory.
pub(super) fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for number in 0.. {
        match std::fs::metadata(path(dir, number)) {
            Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// What the journals hold beyond the tree.
pub(super) struct Recovered {
    /// The last state of each row.
    pub(super) rows: Overlay,
    /// The number of the last batch there is, in the tree or here.
    pub(super) last: u64,
    /// Those that hold records the tree may lack.
    pub(super) used: Vec<Journal>,
    pub(super) journals: Journals,
}

/// Reads what the tree, which ends with batch `batch`, may lack. An error in
/// words says that batches are missing in between.
pub(super) fn recover(dir: &Path, batch: u64) -> io::Result<Result<Recovered, String>> {
    let mut found = Vec::new();
    let mut count = 0_u32;
    loop {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path(dir, count));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        count = count.saturating_add(1);
        let bytes = read(&file)?;
        let first = Records::new(&bytes).next().map(|(number, _)| number);
        let journal = Journal {
            file,
            length: 0,
            room: bytes.len() as u64,
        };
        found.push((first, bytes, journal));
    }
    found.sort_by_key(|(first, _, _)| *first);
    let mut recovered = Recovered {
        rows: Overlay::new(),
        last: batch,
        used: Vec::new(),
        journals: Journals {
            dir: dir.to_owned(),
            count,
            free: Vec::new(),
        },
    };
    for (_, bytes, journal) in found {
        let mut needed = false;
        for (number, rows) in Records::new(&bytes) {
            let next = recovered.last.saturating_add(1);
            if number > next {
                return Ok(Err(format!(
                    "batches {next} to {} are missing",
                    number.saturating_sub(1)
                )));
            }
            if number == next {
                recovered.last = number;
                recovered.rows.extend(rows);
                needed = true;
            }
        }
        if needed {
            // A killed process may have left it in memory only.
            journal.sync()?;
            recovered.used.push(journal);
        } else {
            recovered.journals.free.push(journal);
        }
    }
    Ok(Ok(recovered))
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Writes a batch as a record into `record`, whose content is replaced.
pub(super) fn encode(number: u64, rows: &Overlay, record: &mut Vec<u8>) -> Result<(), String> {
    let length = |bytes: usize| {
        u32::try_from(bytes)
            .ok()
            .filter(|length| *length != REMOVED)
            .ok_or_else(|| "a batch is too large for the journal".to_owned())
    };
    record.clear();
    record.extend_from_slice(&[0; HEADER]);
    for (key, Row { value, .. }) in rows {
        record.extend_from_slice(&length(key.len())?.to_le_bytes());
        let value_length = match value {
            Some(value) => length(value.len())?,
            None => REMOVED,
        };
        record.extend_from_slice(&value_length.to_le_bytes());
        record.extend_from_slice(key);
        if let Some(value) = value {
            record.extend_from_slice(value);
        }
    }
    let payload = length(record.len().saturating_sub(HEADER))?.to_le_bytes();
    let number = number.to_le_bytes();
    for (at, byte) in record.iter_mut().skip(4).zip(payload.iter().chain(&number)) {
        *at = *byte;
    }
    let crc = crc32fast::hash(record.get(4..).unwrap_or_default()).to_le_bytes();
    for (at, byte) in record.iter_mut().zip(crc) {
        *at = byte;
    }
    Ok(())
}

/// The rows of a record.
type Rows = Vec<(Key, Row)>;

/// The records of a file, up to the first that is torn or of an earlier use.
struct Records<'a> {
    rest: &'a [u8],
    last: Option<u64>,
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            last: None,
        }
    }
}

impl Iterator for Records<'_> {
    type Item = (u64, Rows);

    fn next(&mut self) -> Option<Self::Item> {
        let (crc, checked) = self.rest.split_first_chunk::<4>()?;
        let (length, numbered) = checked.split_first_chunk::<4>()?;
        let (number, payload) = numbered.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (payload, rest) = payload.split_at_checked(length)?;
        let checked = checked.get(..length.checked_add(HEADER - 4)?)?;
        if u32::from_le_bytes(*crc) != crc32fast::hash(checked) {
            return None;
        }
        let number = u64::from_le_bytes(*number);
        if self
            .last
            .is_some_and(|last| last.checked_add(1) != Some(number))
        {
            return None;
        }
        let rows = decode(payload)?;
        self.rest = rest;
        self.last = Some(number);
        Some((number, rows))
    }
}

fn decode(mut payload: &[u8]) -> Option<Rows> {
    let mut rows = Vec::new();
    while !payload.is_empty() {
        let (key, rest) = payload.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let key_length = usize::try_from(u32::from_le_bytes(*key)).ok()?;
        let (key, rest) = rest.split_at_checked(key_length)?;
        let value_length = u32::from_le_bytes(*value);
        let (value, rest) = if value_length == REMOVED {
            (None, rest)
        } else {
            let (value, rest) = rest.split_at_checked(usize::try_from(value_length).ok()?)?;
            (Some(IVec::from(value)), rest)
        };
        rows.push((key.into(), Row::known(value)));
        payload = rest;
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn overlay(rows: &[(&str, Option<&str>)]) -> Overlay {
        rows.iter()
            .map(|(key, value)| {
                let row = Row::known(value.map(IVec::from));
                (Key::from(key.as_bytes()), row)
            })
            .collect()
    }

    fn record(number: u64, rows: &Overlay) -> Vec<u8> {
        let mut record = b"what was there".to_vec();
        encode(number, rows, &mut record).unwrap();
        record
    }

    fn numbers(bytes: &[u8]) -> Vec<u64> {
        Records::new(bytes).map(|(number, _)| number).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let rows = overlay(&[("", Some("")), ("a", None), ("b", Some("value"))]);
        let bytes = record(7, &rows);
        let read: Vec<_> = Records::new(&bytes).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].0, 7);
        assert_eq!(read[0].1, rows.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn no_torn_or_changed_record_is_read() {
        let rows = overlay(&[("a", Some("1")), ("b", None)]);
        let mut whole = record(1, &rows);
        let first = whole.len();
        whole.extend(record(2, &rows));
        assert_eq!(numbers(&whole), [1, 2]);
        for length in 0..whole.len() {
            let expected: &[u64] = if length < first { &[] } else { &[1] };
            assert_eq!(numbers(&whole[..length]), expected);
            let mut zeroed = whole.clone();
            zeroed[length..].fill(0);
            assert_eq!(numbers(&zeroed), expected);
            let mut changed = whole.clone();
            changed[length] ^= 1;
            assert_eq!(numbers(&changed), expected);
        }
    }

    #[test]
    fn an_earlier_use_ends_the_reading() {
        let rows = overlay(&[("a", Some("1"))]);
        let records = |numbers: &[u64]| -> Vec<u8> {
            numbers.iter().flat_map(|n| record(*n, &rows)).collect()
        };
        assert_eq!(numbers(&records(&[5, 6, 2, 3])), [5, 6]);
        assert_eq!(numbers(&records(&[5, 7])), [5]);
        assert_eq!(numbers(&records(&[5, 5])), [5]);
    }

    #[test]
    fn recovery_takes_what_the_tree_lacks_and_notices_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let files: [&[u64]; 4] = [&[6, 7, 2], &[], &[3, 4, 5], &[1]];
        for (number, records) in (0..).zip(files) {
            let bytes: Vec<u8> = records
                .iter()
                .flat_map(|n| record(*n, &overlay(&[("last", Some(&n.to_string()))])))
                .collect();
            std::fs::write(path(dir.path(), number), bytes).unwrap();
        }
        for (batch, used) in [(3, 2), (2, 2), (5, 1), (7, 0), (9, 0), (0, 3)] {
            let found = recover(dir.path(), batch).unwrap();
            // Batch 2 is only in what an earlier use has left.
            if batch == 0 {
                assert_eq!(found.err().as_deref(), Some("batches 2 to 2 are missing"));
                continue;
            }
            let found = found.unwrap();
            assert_eq!(found.last, batch.max(7));
            assert_eq!(found.used.len(), used, "{batch}");
            assert_eq!(found.used.len() + found.journals.free.len(), 4);
            let last = found.rows.get(b"last".as_slice());
            let expected = (batch < 7).then(|| Row::known(Some(IVec::from("7"))));
            assert_eq!(last.cloned(), expected);
        }
    }
}
