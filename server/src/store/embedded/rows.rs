//! Typed access to rows, for commands and readers alike.

use std::{any::Any, sync::Arc};

use super::record::Record;
use crate::store::{
    StoreError,
    engine::{Key, Pair, Snapshot, Tx},
};

/// Something rows can be read from.
pub(super) trait Rows {
    fn raw(&mut self, key: &[u8]) -> Option<Vec<u8>>;
    /// The value of a row, looked at where it is.
    fn peek<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T>;
    /// A row as it was decoded before, if it has not changed since.
    fn decoded<T: Any + Send + Sync, E>(
        &mut self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<Result<Arc<T>, E>>;
    fn raw_under(&mut self, prefix: &[u8], from: Option<&[u8]>, limit: usize) -> Vec<Pair>;
    /// The last row under `prefix` whose key is `at` or comes before it.
    fn raw_last(&mut self, prefix: &[u8], at: &[u8]) -> Option<Pair>;
}

impl Rows for Tx<'_> {
    fn raw(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }
    fn peek<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.peek(key, look)
    }
    fn decoded<T: Any + Send + Sync, E>(
        &mut self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<Result<Arc<T>, E>> {
        self.decoded(key, decode)
    }
    fn raw_under(&mut self, prefix: &[u8], from: Option<&[u8]>, limit: usize) -> Vec<Pair> {
        self.scan_prefix(prefix, from, limit)
    }
    fn raw_last(&mut self, prefix: &[u8], at: &[u8]) -> Option<Pair> {
        self.last_under(prefix, at)
    }
}

impl Rows for Snapshot<'_> {
    fn raw(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }
    fn peek<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.peek(key, look)
    }
    fn decoded<T: Any + Send + Sync, E>(
        &mut self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<Result<Arc<T>, E>> {
        self.decoded(key, decode)
    }
    fn raw_under(&mut self, prefix: &[u8], from: Option<&[u8]>, limit: usize) -> Vec<Pair> {
        self.scan_prefix(prefix, from, limit)
    }
    fn raw_last(&mut self, prefix: &[u8], at: &[u8]) -> Option<Pair> {
        self.last_under(prefix, at)
    }
}

/// The record under `key`.
pub(super) fn load<R: Record>(rows: &mut impl Rows, key: &[u8]) -> Result<Option<R>, StoreError> {
    rows.peek(key, read).transpose()
}

/// The record under `key`, for those that are read much more often than they
/// change: decoded once.
pub(super) fn load_shared<R: Record + Any + Send + Sync>(
    rows: &mut impl Rows,
    key: &[u8],
) -> Result<Option<Arc<R>>, StoreError> {
    rows.decoded(key, read).transpose()
}

/// The same, as one's own.
pub(super) fn load_often<R: Record + Clone + Any + Send + Sync>(
    rows: &mut impl Rows,
    key: &[u8],
) -> Result<Option<R>, StoreError> {
    Ok(load_shared(rows, key)?.map(Arc::unwrap_or_clone))
}

/// A record from its stored value.
pub(super) fn read<R: Record>(value: &[u8]) -> Result<R, StoreError> {
    R::from_value(value)
        .map_err(|error| StoreError::Corrupt(format!("{}: {error}", std::any::type_name::<R>())))
}

/// Puts a record under `key`.
pub(super) fn save<R: Record>(tx: &mut Tx<'_>, key: Key, record: &R) {
    tx.put(key, record.to_value());
}

/// Puts a record under a key that there has never been; see [`Tx::put_new`].
pub(super) fn save_new<R: Record>(tx: &mut Tx<'_>, key: Key, record: &R) {
    tx.put_new(key, record.to_value());
}
