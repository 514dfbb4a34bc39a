//! The rules of one organisation.

use std::time::Duration;

use super::Invalid;

/// When a number must be typed on the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberMatching {
    /// Approve and deny are enough.
    Off,
    /// Every approval needs the number.
    Always,
}

/// Which challenge gives way when a user with a pending one gets another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingLimit {
    /// The older one ends as cancelled.
    Supersede,
    /// The newer one is refused.
    Reject,
}

/// The rules of one organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When a number must be typed.
    pub number_matching: NumberMatching,
    /// How many digits, 2 to 6.
    pub number_digits: u8,
    /// Life of a challenge, 15 s to 10 min.
    pub challenge_ttl: Duration,
    /// Which of two challenges gives way.
    pub pending_limit: PendingLimit,
    /// Pushes carry the challenge, encrypted to the device.
    pub encrypted_prompts: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            number_matching: NumberMatching::Always,
            number_digits: 2,
            challenge_ttl: Duration::from_secs(60),
            pending_limit: PendingLimit::Supersede,
            encrypted_prompts: false,
        }
    }
}

/// Shortest life of a challenge.
pub const MIN_CHALLENGE_TTL: Duration = Duration::from_secs(15);
/// Longest life of a challenge (NIST SP 800-63B-4: at most 10 min).
pub const MAX_CHALLENGE_TTL: Duration = Duration::from_secs(600);
/// Most devices of one user.
pub const MAX_DEVICES_PER_USER: usize = 10;

impl Policy {
    /// Checks the whole.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field out of range.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(2..=6).contains(&self.number_digits) {
            return Err(Invalid::new("policy.number_digits", "must be 2 to 6"));
        }
        check_challenge_ttl("policy.challenge_ttl", self.challenge_ttl)
    }

    /// How many digits this challenge asks for; 0 for none.
    #[must_use]
    pub fn digits(&self) -> u8 {
        match self.number_matching {
            NumberMatching::Off => 0,
            NumberMatching::Always => self.number_digits,
        }
    }
}

/// Checks a challenge's life.
///
/// # Errors
/// [`Invalid`] outside 15 s to 10 min.
pub fn check_challenge_ttl(field: &str, ttl: Duration) -> Result<(), Invalid> {
    if (MIN_CHALLENGE_TTL..=MAX_CHALLENGE_TTL).contains(&ttl) {
        Ok(())
    } else {
        Err(Invalid::new(field, "must be 15 s to 10 min"))
    }
}
