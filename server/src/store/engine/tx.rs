//! What commands and readers see: the tree with an overlay on top.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sled::{IVec, Tree};
use smallvec::SmallVec;

use super::decoded::Decoded;
use super::disk::SCHEMA_KEY;
use super::error::EngineError;

/// The largest value, bytes. Larger ones would leave the log for blob files,
/// which sled never syncs.
pub const MAX_VALUE: usize = 4096;
/// The largest key, bytes. Keys are copied into index pages.
pub const MAX_KEY: usize = 512;

/// The most bytes of keys and values one command may write. What is logged
/// between two syncs must stay well below one of sled's segments.
pub const MAX_COMMAND_BYTES: usize = 256 << 10;
/// The most keys one command may write: each can rewrite the page it is on.
pub const MAX_COMMAND_WRITES: usize = 1024;

/// The last state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// `None` is "absent".
    pub(super) value: Option<IVec>,
    /// No older value is anywhere below: when it is removed again, nothing need
    /// say so.
    pub(super) fresh: bool,
}

impl Row {
    pub(super) fn known(value: Option<IVec>) -> Self {
        Self {
            value,
            fresh: false,
        }
    }
}

/// A key, within the maps that are searched by it: looking at one that lay
/// elsewhere would take as long as all the rest. Longer ones than this are rare.
pub type Key = SmallVec<[u8; 72]>;

/// Keys to their last states.
pub(super) type Overlay = BTreeMap<Key, Row>;

/// Puts a later layer over an earlier one.
pub(super) fn lay_over(below: &mut Overlay, above: Overlay) {
    for (key, row) in above {
        match below.entry(key) {
            Entry::Vacant(entry) => {
                if row.value.is_some() || !row.fresh {
                    entry.insert(row);
                }
            }
            Entry::Occupied(mut entry) => {
                if row.value.is_none() && entry.get().fresh {
                    entry.remove();
                } else {
                    entry.get_mut().value = row.value;
                }
            }
        }
    }
}

/// A key and its value.
pub type Pair = (Key, Vec<u8>);

/// Runs after the commit that carries it is durable.
pub(super) type Callback = Box<dyn FnOnce() + Send>;

/// Calls into the tree; a panic in there is a failure of the store, not of
/// the caller.
pub(super) fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the storage library panicked".to_owned()),
    }
}

/// The first key after every key that starts with `prefix`.
fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// Where a row is looked for that the command at hand has not written: first
/// what is durable and not yet in the tree, newest first, then the tree.
#[derive(Clone, Copy)]
pub(super) struct Below<'a> {
    pub(super) decoded: &'a Decoded,
    pub(super) recent: &'a Overlay,
    pub(super) sinking: &'a Overlay,
    pub(super) tree: &'a Tree,
}

impl Below<'_> {
    /// Looks at the value of `key`, if it has one.
    fn peek<T>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, String> {
        for layer in [self.recent, self.sinking] {
            if let Some(row) = layer.get(key) {
                return Ok(row.value.as_deref().map(look));
            }
        }
        let value = guarded(|| self.tree.get(key))?;
        Ok(value.as_deref().map(look))
    }

    /// As [`Below::peek`], by what an earlier look has made of it.
    fn decoded<T: Any + Send + Sync, E>(
        &self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<Result<Arc<T>, E>>, String> {
        if let Some(row) = self.decoded.get(key) {
            return Ok(Some(Ok(row)));
        }
        let found = self.peek(key, decode)?;
        Ok(found.map(|row| {
            row.map(|row| {
                let row = Arc::new(row);
                self.decoded.note(key, Arc::clone(&row));
                row
            })
        }))
    }
}

/// Up to `limit` pairs under `prefix`, from `from` (inclusive) on, in key
/// order, where an earlier layer wins over a later one and all over the tree.
fn merged_scan(
    tree: &Tree,
    layers: &[&Overlay],
    prefix: &[u8],
    from: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Pair>, String> {
    let start = from.filter(|from| *from > prefix).unwrap_or(prefix);
    let end = prefix_end(prefix);
    if matches!(&end, Bound::Excluded(end) if start >= end.as_slice()) {
        return Ok(Vec::new());
    }
    let bounds = (Bound::Included(start), end.as_ref().map(Vec::as_slice));
    guarded(|| {
        let mut found = Vec::new();
        let mut above: SmallVec<[_; 3]> = layers
            .iter()
            .map(|layer| layer.range::<[u8], _>(bounds).peekable())
            .collect();
        let mut below = tree.range::<&[u8], _>(bounds);
        let mut stored = below.next().transpose()?;
        while found.len() < limit {
            let first = above
                .iter_mut()
                .filter_map(|layer| layer.peek().map(|(key, _)| key.as_slice()))
                .min();
            let Some(first) = first.filter(|first| {
                stored
                    .as_ref()
                    .is_none_or(|(key, _)| *first <= key.as_ref())
            }) else {
                let Some((key, value)) = stored.take() else {
                    break;
                };
                found.push((key.as_ref().into(), value.to_vec()));
                stored = below.next().transpose()?;
                continue;
            };
            if stored
                .as_ref()
                .is_some_and(|(key, _)| key.as_ref() == first)
            {
                stored = below.next().transpose()?;
            }
            // The first layer that has the key says what it is; the others pass it.
            let mut newest = None;
            for layer in &mut above {
                if let Some((_, row)) = layer.next_if(|(key, _)| key.as_slice() == first) {
                    newest.get_or_insert(&row.value);
                }
            }
            if let Some(Some(value)) = newest {
                found.push((first.into(), value.to_vec()));
            }
        }
        Ok(found)
    })
}

/// The last pair under `prefix` whose key is `at`, itself under `prefix`, or comes
/// before it; layers as in [`merged_scan`].
fn merged_last(
    tree: &Tree,
    layers: &[&Overlay],
    prefix: &[u8],
    at: &[u8],
) -> Result<Option<Pair>, String> {
    if !at.starts_with(prefix) {
        return Ok(None);
    }
    let mut end = Bound::Included(Key::from(at));
    loop {
        let bounds = (
            Bound::Included(prefix),
            end.as_ref().map(|end| end.as_slice()),
        );
        let stored = guarded(|| tree.range::<&[u8], _>(bounds).next_back().transpose())?;
        let mut last: Option<(&[u8], Option<&[u8]>)> = stored
            .as_ref()
            .map(|(key, value)| (key.as_ref(), Some(value.as_ref())));
        // From the oldest layer to the newest, which has the last word.
        for layer in layers.iter().rev() {
            if let Some((key, row)) = layer.range::<[u8], _>(bounds).next_back()
                && last.is_none_or(|(known, _)| key.as_slice() >= known)
            {
                last = Some((key.as_slice(), row.value.as_deref()));
            }
        }
        match last {
            None => return Ok(None),
            Some((key, Some(value))) => return Ok(Some((key.into(), value.to_vec()))),
            // Removed: what comes before it?
            Some((key, None)) => {
                let before = Key::from(key);
                end = Bound::Excluded(before);
            }
        }
    }
}

/// What one command sees and changes: what is durable, the changes of the
/// commands before it in the same batch, and its own.
///
/// A failure of the tree makes the methods answer "nothing there"; the result
/// of the command is then thrown away and its caller told
/// [`EngineError::Unknown`].
pub struct Tx<'a> {
    below: Below<'a>,
    overlay: &'a mut Overlay,
    /// What this command replaced in the overlay, oldest first; the outer
    /// `None` is "the overlay had no entry".
    undo: Vec<(Key, Option<Row>)>,
    written: usize,
    callbacks: Vec<Callback>,
    rejected: Option<EngineError>,
    rolled_back: bool,
    failed: Option<String>,
}

/// What a command left behind.
pub(super) struct Evaluated {
    pub(super) callbacks: Vec<Callback>,
    /// Bytes of keys and values added to the overlay.
    pub(super) written: usize,
    pub(super) failed: Option<String>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(below: Below<'a>, overlay: &'a mut Overlay) -> Self {
        Self {
            below,
            overlay,
            undo: Vec::new(),
            written: 0,
            callbacks: Vec::new(),
            rejected: None,
            rolled_back: false,
            failed: None,
        }
    }

    /// The value of `key`, if it has one.
    pub fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.peek(key, <[u8]>::to_vec)
    }

    /// Looks at the value of `key` where it is, if it has one.
    pub fn peek<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if let Some(row) = self.overlay.get(key) {
            return row.value.as_deref().map(look);
        }
        self.below.peek(key, look).unwrap_or_else(|reason| {
            self.failed.get_or_insert(reason);
            None
        })
    }

    /// As [`Tx::peek`], for rows that are read again and again as the same type:
    /// what was made of one is kept until the row changes.
    pub fn decoded<T: Any + Send + Sync, E>(
        &mut self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<Result<Arc<T>, E>> {
        if let Some(row) = self.overlay.get(key) {
            let value = row.value.as_deref();
            return value.map(|value| decode(value).map(Arc::new));
        }
        self.below.decoded(key, decode).unwrap_or_else(|reason| {
            self.failed.get_or_insert(reason);
            None
        })
    }

    /// Sets `key` to `value`. A key over [`MAX_KEY`], a value over
    /// [`MAX_VALUE`], or more of them than [`MAX_COMMAND_BYTES`] and
    /// [`MAX_COMMAND_WRITES`] allow makes the whole command fail with
    /// [`EngineError::TooLarge`], whatever it returns.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.put_row(Key::from(key.as_ref()), value.as_ref(), false);
    }

    /// As [`Tx::put`], for a key that there has never been, because an id in it has
    /// just been made: if it is removed before it has reached the tree, the tree
    /// never hears of it.
    pub fn put_new(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let key = Key::from(key.as_ref());
        debug_assert!(self.peek(&key, |_| ()).is_none(), "a new key is there");
        self.put_row(key, value.as_ref(), true);
    }

    /// Puts `more` at the end of the value of `key`. `false`, and nothing happens,
    /// where there is none or it would get longer than [`MAX_VALUE`].
    #[must_use]
    pub fn append(&mut self, key: impl AsRef<[u8]>, more: &[u8]) -> bool {
        let key = key.as_ref();
        let longer = self.peek(key, |value| {
            let fits = value.len().saturating_add(more.len()) <= MAX_VALUE;
            fits.then(|| {
                let mut longer = SmallVec::<[u8; MAX_VALUE]>::from_slice(value);
                longer.extend_from_slice(more);
                longer
            })
        });
        let Some(longer) = longer.flatten() else {
            return false;
        };
        self.put(key, longer);
        true
    }

    fn put_row(&mut self, key: Key, value: &[u8], fresh: bool) {
        for (size, limit) in [(key.len(), MAX_KEY), (value.len(), MAX_VALUE)] {
            if size > limit {
                self.rejected
                    .get_or_insert(EngineError::TooLarge { size, limit });
                return;
            }
        }
        let value = Some(IVec::from(value));
        self.set(key, Row { value, fresh });
    }

    /// Removes `key`; nothing happens if it is absent.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.set(Key::from(key.as_ref()), Row::known(None));
    }

    /// Whether this command has put or removed `key`.
    #[must_use]
    pub fn has_written(&self, key: &[u8]) -> bool {
        self.undo
            .iter()
            .any(|(written, _)| written.as_slice() == key)
    }

    /// The keys under `prefix` that this command has put or removed.
    pub fn written_under<'b>(&'b self, prefix: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        self.undo
            .iter()
            .map(|(written, _)| written.as_slice())
            .filter(move |written| written.starts_with(prefix))
    }

    /// Up to `limit` pairs whose keys start with `prefix`, in key order, from
    /// the full key `from` (inclusive) on if one is given.
    pub fn scan_prefix(&mut self, prefix: &[u8], from: Option<&[u8]>, limit: usize) -> Vec<Pair> {
        let layers = [&*self.overlay, self.below.recent, self.below.sinking];
        match merged_scan(self.below.tree, &layers, prefix, from, limit) {
            Ok(found) => found,
            Err(reason) => {
                self.failed.get_or_insert(reason);
                Vec::new()
            }
        }
    }

    /// The last pair whose key starts with `prefix` and is `at` or comes before
    /// it.
    pub fn last_under(&mut self, prefix: &[u8], at: &[u8]) -> Option<Pair> {
        let layers = [&*self.overlay, self.below.recent, self.below.sinking];
        merged_last(self.below.tree, &layers, prefix, at).unwrap_or_else(|reason| {
            self.failed.get_or_insert(reason);
            None
        })
    }

    /// Runs `callback` on the writer thread once this command is durable and
    /// visible to readers, just before its caller is answered; never if the
    /// command is rolled back or the store fails. It must be quick and must
    /// not wait for the store.
    pub fn after_commit(&mut self, callback: Box<dyn FnOnce() + Send>) {
        self.callbacks.push(callback);
    }

    /// Undoes all this command writes, as an `Err` does where there is one to
    /// be returned.
    pub fn roll_back(&mut self) {
        self.rolled_back = true;
    }

    /// Records that the contents now have schema `version`, as the last step
    /// of a forward migration.
    pub fn set_schema_version(&mut self, version: u32) {
        let version = IVec::from(&version.to_be_bytes());
        self.set(SCHEMA_KEY.into(), Row::known(Some(version)));
    }

    fn set(&mut self, key: Key, row: Row) {
        let length = |row: &Row| row.value.as_ref().map_or(0, |value| value.len());
        self.written = self
            .written
            .saturating_add(key.len())
            .saturating_add(length(&row));
        let before = match self.overlay.entry(key.clone()) {
            Entry::Occupied(mut entry) => {
                // What is below has not changed by being covered.
                let fresh = entry.get().fresh;
                let before = entry.insert(Row { fresh, ..row });
                // A batch logs a key once, however often it was set.
                self.written = self
                    .written
                    .saturating_sub(key.len())
                    .saturating_sub(length(&before));
                Some(before)
            }
            Entry::Vacant(entry) => {
                entry.insert(row);
                None
            }
        };
        self.undo.push((key, before));
        for (size, limit) in [
            (self.written, MAX_COMMAND_BYTES),
            (self.undo.len(), MAX_COMMAND_WRITES),
        ] {
            if size > limit {
                self.rejected
                    .get_or_insert(EngineError::TooLarge { size, limit });
            }
        }
    }

    /// Whether the command broke a limit, and with what.
    pub(super) fn rejected(&self) -> Option<EngineError> {
        self.rejected
    }

    /// Ends the command: its changes stay in the overlay or are undone.
    pub(super) fn finish(self, keep: bool) -> Evaluated {
        if keep && !self.rolled_back {
            return Evaluated {
                callbacks: self.callbacks,
                written: self.written,
                failed: self.failed,
            };
        }
        for (key, before) in self.undo.into_iter().rev() {
            match before {
                Some(row) => {
                    self.overlay.insert(key, row);
                }
                None => {
                    self.overlay.remove(&key);
                }
            }
        }
        Evaluated {
            callbacks: Vec::new(),
            written: 0,
            failed: self.failed,
        }
    }
}

/// One consistent, durable state.
pub struct Snapshot<'a> {
    below: Below<'a>,
    failed: Option<String>,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(below: Below<'a>) -> Self {
        Self {
            below,
            failed: None,
        }
    }

    /// The value of `key`, if it has one.
    pub fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.peek(key, <[u8]>::to_vec)
    }

    /// Looks at the value of `key` where it is, if it has one.
    pub fn peek<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.below.peek(key, look).unwrap_or_else(|reason| {
            self.failed.get_or_insert(reason);
            None
        })
    }

    /// As [`Tx::decoded`].
    pub fn decoded<T: Any + Send + Sync, E>(
        &mut self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<Result<Arc<T>, E>> {
        self.below.decoded(key, decode).unwrap_or_else(|reason| {
            self.failed.get_or_insert(reason);
            None
        })
    }

    /// As [`Tx::scan_prefix`].
    pub fn scan_prefix(&mut self, prefix: &[u8], from: Option<&[u8]>, limit: usize) -> Vec<Pair> {
        let layers = [self.below.recent, self.below.sinking];
        match merged_scan(self.below.tree, &layers, prefix, from, limit) {
            Ok(found) => found,
            Err(reason) => {
                self.failed.get_or_insert(reason);
                Vec::new()
            }
        }
    }

    /// As [`Tx::last_under`].
    pub fn last_under(&mut self, prefix: &[u8], at: &[u8]) -> Option<Pair> {
        let layers = [self.below.recent, self.below.sinking];
        merged_last(self.below.tree, &layers, prefix, at).unwrap_or_else(|reason| {
            self.failed.get_or_insert(reason);
            None
        })
    }

    pub(super) fn failure(self) -> Option<String> {
        self.failed
    }
}
