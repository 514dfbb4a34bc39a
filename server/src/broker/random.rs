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

/// What a new challenge needs: the random parts of its id, its nonce and its
/// collapse id, in one call of the system.
pub(super) fn for_challenge() -> Result<(IdRandom, [u8; 32], [u8; 16]), BrokerError> {
    let drawn = bytes::<58>()?;
    let (mut id, mut nonce, mut collapse) = ([0; 10], [0; 32], [0; 16]);
    let parts = id.iter_mut().chain(&mut nonce).chain(&mut collapse);
    for (to, from) in parts.zip(drawn) {
        *to = from;
    }
    Ok((id, nonce, collapse))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_byte_of_a_challenge_is_random() {
        let mut seen = [0_u8; 58];
        for _ in 0..64 {
            let (id, nonce, collapse) = for_challenge().unwrap();
            let drawn = id.iter().chain(&nonce).chain(&collapse);
            for (seen, byte) in seen.iter_mut().zip(drawn) {
                *seen |= byte;
            }
        }
        // 64 draws leave a bit unset once in 2^64.
        assert_eq!(seen, [u8::MAX; 58]);
    }
}
