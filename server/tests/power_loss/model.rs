//! A disk that keeps what was synced and forgets at will what was not.
//!
//! Data is kept or lost in blocks of 4 KiB, names in the order in which they
//! changed. A file's sync covers its own writes, a directory's sync the names
//! in it; an fsync (not fdatasync) of a file also covers all earlier changes
//! of names, as the ordered journals of ext4 and XFS do. Nothing else makes
//! anything durable.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};

const BLOCK: usize = 4096;

/// In place of a percentage of blocks to keep: lose one to three.
const ALL_BUT_FEW: usize = 101;

/// A seeded generator (SplitMix64, Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Whether only a directory's own sync covers its names, as POSIX has it.
fn strict() -> bool {
    std::env::var_os("POWER_LOSS_STRICT").is_some()
}

/// One call, as the recorder wrote it down.
pub enum Record {
    Open {
        handle: u32,
        path: PathBuf,
        made: bool,
    },
    Write {
        handle: u32,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        handle: u32,
        length: usize,
    },
    SyncBegin {
        handle: u32,
        names: bool,
    },
    SyncEnd {
        handle: u32,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
}

pub fn parse(mut log: &[u8]) -> Vec<Record> {
    fn path(bytes: &[u8]) -> PathBuf {
        PathBuf::from(str::from_utf8(bytes).unwrap())
    }
    let mut records = Vec::new();
    // A record cut short by the process's end is no record.
    while log.len() >= 17 {
        let number = |from: usize, to: usize| {
            let mut bytes = [0; 8];
            bytes[..to - from].copy_from_slice(&log[from..to]);
            u64::from_le_bytes(bytes)
        };
        let (handle, offset) = (number(1, 5) as u32, number(5, 13) as usize);
        let end = 17 + number(13, 17) as usize;
        if log.len() < end {
            break;
        }
        let bytes = &log[17..end];
        records.push(match log[0] {
            1 => Record::Open {
                handle,
                path: path(bytes),
                made: offset == 1,
            },
            2 => Record::Write {
                handle,
                offset,
                data: bytes.to_vec(),
            },
            3 => Record::Truncate {
                handle,
                length: offset,
            },
            4 => Record::SyncBegin {
                handle,
                names: offset == 1,
            },
            5 => Record::SyncEnd { handle },
            6 => {
                let mut names = bytes.split(|byte| *byte == 0).map(path);
                Record::Rename {
                    from: names.next().unwrap(),
                    to: names.next().unwrap(),
                }
            }
            7 => Record::Unlink { path: path(bytes) },
            8 => Record::MakeDir { path: path(bytes) },
            other => panic!("unknown operation {other}"),
        });
        log = &log[end..];
    }
    records
}

#[derive(Clone, PartialEq)]
enum Node {
    File(usize),
    Directory,
}

#[derive(Clone)]
enum NameChange {
    Set(PathBuf, Node),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Set(path, node) => {
                names.insert(path.clone(), node.clone());
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
        }
    }

    fn parent(&self) -> &Path {
        let (Self::Set(path, _) | Self::Rename(_, path) | Self::Unlink(path)) = self;
        path.parent().unwrap()
    }
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    pending: VecDeque<(u64, Change)>,
}

enum Target {
    Inode(usize),
    Directory(PathBuf),
}

/// The disk after the records replayed so far.
#[derive(Default)]
pub struct Disk {
    clock: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    pending_names: Vec<(u64, NameChange)>,
    handles: HashMap<u32, Target>,
    syncs_begun: HashMap<u32, VecDeque<(u64, bool)>>,
}

/// Files (with their bytes) and directories (without) by path.
pub type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Disk {
    pub fn replay(&mut self, record: &Record) {
        self.clock += 1;
        match record {
            Record::Open { handle, path, made } => {
                let target = if *made {
                    let inode = self.inodes.len();
                    self.inodes.push(Inode::default());
                    self.change_name(NameChange::Set(path.clone(), Node::File(inode)));
                    Target::Inode(inode)
                } else {
                    match self.names.get(path) {
                        Some(Node::File(inode)) => Target::Inode(*inode),
                        Some(Node::Directory) | None => Target::Directory(path.clone()),
                    }
                };
                self.handles.insert(*handle, target);
            }
            Record::Write {
                handle,
                offset,
                data,
            } => {
                self.change(*handle, Change::Write(*offset, data.clone()));
            }
            Record::Truncate { handle, length } => {
                self.change(*handle, Change::Truncate(*length));
            }
            Record::SyncBegin { handle, names } => {
                let begun = self.syncs_begun.entry(*handle).or_default();
                begun.push_back((self.clock, *names));
            }
            Record::SyncEnd { handle } => self.synced(*handle),
            Record::Rename { from, to } => {
                self.change_name(NameChange::Rename(from.clone(), to.clone()));
            }
            Record::Unlink { path } => self.change_name(NameChange::Unlink(path.clone())),
            Record::MakeDir { path } => {
                self.change_name(NameChange::Set(path.clone(), Node::Directory));
            }
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push((self.clock, change));
    }

    fn change(&mut self, handle: u32, change: Change) {
        let Target::Inode(inode) = self.handles[&handle] else {
            panic!("a write to a directory");
        };
        self.inodes[inode].pending.push_back((self.clock, change));
    }

    fn synced(&mut self, handle: u32) {
        let (begun, names) = self
            .syncs_begun
            .get_mut(&handle)
            .unwrap()
            .pop_front()
            .unwrap();
        match &self.handles[&handle] {
            Target::Inode(inode) => {
                let Inode { durable, pending } = &mut self.inodes[*inode];
                while pending.front().is_some_and(|(at, _)| *at < begun) {
                    match pending.pop_front().unwrap().1 {
                        Change::Write(offset, data) => put(durable, offset, &data),
                        Change::Truncate(length) => durable.resize(length, 0),
                    }
                }
            }
            Target::Directory(path) => {
                let path = path.clone();
                self.names_synced(|at, change| at < begun && change.parent() == path);
            }
        }
        if names && !strict() {
            self.names_synced(|at, _| at < begun);
        }
    }

    fn names_synced(&mut self, covers: impl Fn(u64, &NameChange) -> bool) {
        let (covered, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending_names)
            .into_iter()
            .partition(|(at, change)| covers(*at, change));
        for (_, change) in covered {
            change.apply(&mut self.durable_names);
        }
        self.pending_names = left;
    }

    /// What might be found after losing power now.
    pub fn cut(&self, random: &mut Random) -> Image {
        let mut names = self.durable_names.clone();
        let survive = random.below(self.pending_names.len() + 1);
        for (_, change) in &self.pending_names[..survive] {
            change.apply(&mut names);
        }
        let keep_percent = [0, 10, 50, 90, 100, ALL_BUT_FEW, ALL_BUT_FEW][random.below(7)];
        names
            .into_iter()
            .map(|(path, node)| match node {
                Node::Directory => (path, None),
                Node::File(inode) => {
                    let bytes = self.inodes[inode].cut(keep_percent, random);
                    (path, Some(bytes))
                }
            })
            .collect()
    }
}

impl Inode {
    fn cut(&self, keep_percent: usize, random: &mut Random) -> Vec<u8> {
        // A block reaches the disk as it was at some moment: with the first
        // few of the writes to it, or all, or none.
        let mut writes: BTreeMap<usize, usize> = BTreeMap::new();
        for (_, change) in &self.pending {
            if let Change::Write(offset, data) = change {
                for (block, _, _) in blocks(*offset, data) {
                    *writes.entry(block).or_default() += 1;
                }
            }
        }
        let mut allowed: BTreeMap<usize, usize> = writes
            .into_iter()
            .map(|(block, count)| {
                let kept = if random.chance(keep_percent) {
                    count
                } else if random.chance(keep_percent) {
                    random.below(count + 1)
                } else {
                    0
                };
                (block, kept)
            })
            .collect();
        if keep_percent == ALL_BUT_FEW && !allowed.is_empty() {
            for _ in 0..=random.below(3) {
                let unlucky = random.below(allowed.len());
                if let Some(kept) = allowed.values_mut().nth(unlucky) {
                    *kept = 0;
                }
            }
        }
        let mut bytes = self.durable.clone();
        let mut longest = bytes.len();
        for (_, change) in &self.pending {
            match change {
                Change::Write(offset, data) => {
                    longest = longest.max(offset + data.len());
                    for (block, at, part) in blocks(*offset, data) {
                        let left = allowed.get_mut(&block).unwrap();
                        if *left > 0 {
                            *left -= 1;
                            put(&mut bytes, at, part);
                        }
                    }
                }
                Change::Truncate(length) => {
                    if random.chance(50) {
                        bytes.resize(*length, 0);
                        longest = *length;
                    }
                }
            }
        }
        // The length may have been kept without the data.
        if keep_percent > 0 && random.chance(30) {
            let length = longest.max(bytes.len());
            bytes.resize(length, 0);
        }
        bytes
    }
}

/// The parts of a write by block: block number, offset, bytes.
fn blocks(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let mut at = offset;
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = BLOCK - at % BLOCK;
        let (part, after) = rest.split_at(room.min(rest.len()));
        let item = (at / BLOCK, at, part);
        at += part.len();
        rest = after;
        Some(item)
    })
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}
