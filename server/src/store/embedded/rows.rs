//! Typed access to rows, for commands and readers alike.

use super::record::Record;
use crate::store::{
    StoreError,
    engine::{Snapshot, Tx},
};

/// Something rows can be read from.
pub(super) trait Rows {
    fn raw(&mut self, key: &[u8]) -> Option<Vec<u8>>;
    /// The value of a row, looked at where it is.
    fn peek<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T>;
    fn raw_under(
        &mut self,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)>;
}

impl Rows for Tx<'_> {
    fn raw(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }
    fn peek<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.peek(key, look)
    }
    fn raw_under(
        &mut self,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.scan_prefix(prefix, from, limit)
    }
}

impl Rows for Snapshot<'_> {
    fn raw(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }
    fn peek<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.peek(key, look)
    }
    fn raw_under(
        &mut self,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.scan_prefix(prefix, from, limit)
    }
}

/// The record under `key`.
pub(super) fn load<R: Record>(rows: &mut impl Rows, key: &[u8]) -> Result<Option<R>, StoreError> {
    rows.peek(key, read).transpose()
}

/// A record from its stored value.
pub(super) fn read<R: Record>(value: &[u8]) -> Result<R, StoreError> {
    R::from_value(value)
        .map_err(|error| StoreError::Corrupt(format!("{}: {error}", std::any::type_name::<R>())))
}

/// Puts a record under `key`.
pub(super) fn save<R: Record>(tx: &mut Tx<'_>, key: Vec<u8>, record: &R) {
    tx.put(key, record.to_value());
}
