//! Randomness from the operating system. Without it nothing is issued.

use super::error::BrokerError;
use crate::domain::ids::IdRandom;

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], BrokerError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| BrokerError::Internal(format!("no randomness: {error}")))?;
    Ok(bytes)
}

/// The random part of a new id.
pub(crate) fn id() -> Result<IdRandom, BrokerError> {
    bytes()
}

/// A number of exactly `digits` decimal digits, each as likely as any other.
pub(crate) fn digits(digits: u8) -> Result<String, BrokerError> {
    let mut text = String::with_capacity(usize::from(digits));
    while text.len() < usize::from(digits) {
        // Several at a time: each draw is a call of the system.
        for byte in bytes::<8>()? {
            // 250 is the largest multiple of ten in a byte: beyond it 0 to 5
            // would come up more often.
            if byte < 250 && text.len() < usize::from(digits) {
                text.push(char::from(b'0' + byte % 10));
            }
        }
    }
    Ok(text)
}
