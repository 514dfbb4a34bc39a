//! The broker's signing keys and whose turn it is.

use super::time::Timestamp;

/// One of the broker's Ed25519 keys, its private half sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// RFC 7638 thumbprint.
    pub key_id: String,
    /// Ed25519.
    pub public_key: [u8; 32],
    /// The seed, encrypted with the installation's master key.
    pub sealed_seed: Vec<u8>,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it starts signing.
    pub activate_time: Timestamp,
    /// How the key before it vouched for it; none for the first.
    pub succession: Option<Succession>,
}

/// A key's signature over its successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// A serialized `BrokerKey`, as signed.
    pub body: Vec<u8>,
    /// The key that signed.
    pub signer_key_id: String,
    /// 64 bytes.
    pub signature: Vec<u8>,
}

/// Where a key stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Announced, not yet signing.
    Next,
    /// Signing.
    Current,
    /// No longer signing; still verifies.
    Retired,
    /// Never signed, and never will: a newer key's time comes first.
    Overtaken,
}

/// Position of the key that signs at `now`: the newest of those whose time has
/// come. Keys sign in the order in which they follow from one another, so one
/// that is overtaken by a newer key before its time never signs: phones that
/// pinned the newer one could not follow back.
#[must_use]
pub fn current(keys: &[SigningKey], now: Timestamp) -> Option<usize> {
    keys.iter()
        .rposition(|key| key.activate_time <= now)
        // A clock that was set back to before there was any key must not stop
        // the broker: the first key signs.
        .or_else(|| (!keys.is_empty()).then_some(0))
}

/// Where the key at `index` stands at `now`.
#[must_use]
pub fn turn(keys: &[SigningKey], index: usize, now: Timestamp) -> Turn {
    let current = current(keys, now);
    if current == Some(index) {
        return Turn::Current;
    }
    let mut newer = keys.iter().skip(index.saturating_add(1));
    let overtaken = keys
        .get(index)
        .is_some_and(|key| newer.any(|newer| newer.activate_time < key.activate_time));
    match current {
        _ if overtaken => Turn::Overtaken,
        Some(current) if index < current => Turn::Retired,
        Some(_) | None => Turn::Next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(activate_time: u64) -> SigningKey {
        SigningKey {
            key_id: String::new(),
            public_key: [0; 32],
            sealed_seed: Vec::new(),
            create_time: Timestamp::default(),
            activate_time: Timestamp::from_millis(activate_time),
            succession: None,
        }
    }

    fn turns(keys: &[SigningKey], now: u64) -> Vec<Turn> {
        (0..keys.len())
            .map(|index| turn(keys, index, Timestamp::from_millis(now)))
            .collect()
    }

    #[test]
    fn a_key_that_is_overtaken_never_signs() {
        use Turn::{Current, Next, Overtaken, Retired};
        let keys = [key(10), key(90), key(50), key(70)];
        assert_eq!(turns(&keys, 20), [Current, Overtaken, Next, Next]);
        assert_eq!(turns(&keys, 60), [Retired, Overtaken, Current, Next]);
        assert_eq!(turns(&keys, 99), [Retired, Overtaken, Retired, Current]);
        // At the same moment it may have signed.
        assert_eq!(turns(&[key(10), key(10)], 10), [Retired, Current]);
        // Before the first key's time it signs all the same.
        assert_eq!(turns(&keys, 5), [Current, Overtaken, Next, Next]);
    }
}
