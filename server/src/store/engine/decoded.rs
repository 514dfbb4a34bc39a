//! Rows as their readers understand them, kept for the next reader.
//!
//! Exact: an entry is what the durable row under its key decodes to. It is made
//! by a reader while nothing can be published, and goes in the same step that
//! publishes another value for its key. So nobody is shown what is not durable,
//! and nobody what was there before a change that was answered.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::tx::Key;

/// Rows per generation. Rows are a few hundred bytes: with two generations about
/// 10 MiB.
const GENERATION: usize = 1 << 13;

type Row = Arc<dyn Any + Send + Sync>;

#[derive(Default)]
struct Generations {
    /// Used of late.
    young: HashMap<Key, Row>,
    /// Used before those.
    old: HashMap<Key, Row>,
    /// The first bytes of keys there have been.
    kinds: Kinds,
}

/// A set of bytes.
#[derive(Default)]
struct Kinds([u64; 4]);

impl Kinds {
    fn place(byte: u8) -> (usize, u64) {
        (usize::from(byte >> 6), 1 << (byte & 63))
    }

    fn add(&mut self, key: &[u8]) {
        let (word, bit) = Self::place(key.first().copied().unwrap_or_default());
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    fn has(&self, key: &[u8]) -> bool {
        let (word, bit) = Self::place(key.first().copied().unwrap_or_default());
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Decoded(Mutex<Generations>);

impl Decoded {
    pub(super) fn get<T: Any + Send + Sync>(&self, key: &[u8]) -> Option<Arc<T>> {
        let mut kept = self.0.lock();
        if let Some(row) = kept.young.get(key) {
            return Arc::clone(row).downcast().ok();
        }
        let (key, row) = kept.old.remove_entry(key)?;
        kept.note(key, Arc::clone(&row));
        drop(kept);
        row.downcast().ok()
    }

    /// Only for what is durable under `key`, and while nothing is published.
    pub(super) fn note<T: Any + Send + Sync>(&self, key: &[u8], row: Arc<T>) {
        self.0.lock().note(key.into(), row);
    }

    /// Forgets rows that are about to change.
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a Key>) {
        let mut kept = self.0.lock();
        for key in keys {
            if kept.kinds.has(key) {
                kept.young.remove(key.as_slice());
                kept.old.remove(key.as_slice());
            }
        }
    }
}

impl Generations {
    fn note(&mut self, key: Key, row: Row) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.kinds.add(&key);
        self.young.insert(key, row);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_changes_is_forgotten_whichever_generation_it_is_in() {
        let decoded = Decoded::default();
        for n in 0..3 * GENERATION {
            decoded.note(&n.to_le_bytes(), Arc::new(n));
        }
        {
            let kept = decoded.0.lock();
            assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION);
        }
        for n in [GENERATION, 2 * GENERATION, 3 * GENERATION - 1] {
            let key = Key::from(n.to_le_bytes().as_slice());
            assert_eq!(decoded.get::<usize>(&key).as_deref(), Some(&n));
            decoded.forget([&key].into_iter());
            assert_eq!(decoded.get::<usize>(&key), None);
        }
        assert_eq!(decoded.get::<usize>(&0_usize.to_le_bytes()), None);
    }
}
