//! Tickets: with one, one phone can register for one user.
//!
//! A ticket code is 20 characters of Crockford base32: 8 that find the ticket,
//! 12 (60 bits) that open it. The same code is in the QR code and under "can't
//! scan?". Whoever has found a ticket gets five tries at the rest.

use std::time::Duration;

use subtle::ConstantTimeEq as _;

use super::{
    Invalid, crockford,
    ids::{DeviceId, EnrollmentId, TenantId, UserId},
    time::Timestamp,
};

/// Wrong codes that a ticket survives.
pub const MAX_TRIES: u32 = 5;
/// Life of a ticket unless said otherwise.
pub const DEFAULT_TTL: Duration = Duration::from_secs(600);
const LOCATOR_CHARS: usize = 8;
const CODE_CHARS: usize = 20;

/// Checks a ticket's life.
///
/// # Errors
/// [`Invalid`] outside 1 to 60 min.
pub fn check_ttl(ttl: Duration) -> Result<(), Invalid> {
    if (Duration::from_secs(60)..=Duration::from_secs(3600)).contains(&ttl) {
        Ok(())
    } else {
        Err(Invalid::new("ttl", "must be 1 to 60 min"))
    }
}

/// What is typed or scanned: kept only as a hash once it was handed out.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketCode {
    chars: String,
}

impl std::fmt::Debug for TicketCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketCode(…)")
    }
}

impl TicketCode {
    /// A new code from 20 random bytes.
    #[must_use]
    pub fn new(random: &[u8; CODE_CHARS]) -> Self {
        let chars = crockford::encode(random);
        Self { chars }
    }

    /// Reads what a person typed: case, spaces and dashes don't matter, O is 0,
    /// I and L are 1 (Crockford). `None` when it is no code at all.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        crockford::normalise(text, CODE_CHARS).map(|chars| Self { chars })
    }

    /// The half that finds the ticket.
    #[must_use]
    pub fn locator(&self) -> &str {
        self.chars.get(..LOCATOR_CHARS).unwrap_or_default()
    }

    /// SHA-256 of the half that opens it.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        let secret = self.chars.get(LOCATOR_CHARS..).unwrap_or_default();
        countersign_proto::signing::sha256(secret.as_bytes())
    }

    /// For the QR code: no groups.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.chars
    }

    /// For people: groups of four.
    #[must_use]
    pub fn grouped(&self) -> String {
        crockford::grouped(&self.chars)
    }
}

/// Where a ticket stands, its time aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketState {
    /// Waiting for a phone.
    Open,
    /// A phone registered with it.
    Redeemed(DeviceId),
    /// Its time ran out.
    Expired,
    /// A newer ticket took its place.
    Replaced,
    /// Too many wrong codes.
    Locked,
}

/// A ticket as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its id.
    pub id: EnrollmentId,
    /// Of which organisation.
    pub tenant: TenantId,
    /// For which user.
    pub user: UserId,
    /// Finds it.
    pub locator: String,
    /// Opens it.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub create_time: Timestamp,
    /// When it dies.
    pub expire_time: Timestamp,
    /// Wrong codes so far.
    pub wrong_tries: u32,
    /// Where it stands.
    pub state: TicketState,
}

/// What became of a try to redeem a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// The code is right; the ticket is now used up.
    Redeemed,
    /// The code is wrong; the try was counted.
    Wrong,
    /// The ticket is used, dead or too old; nothing changed.
    Dead,
}

impl Ticket {
    /// Where it stands at `now`.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> TicketState {
        if self.state == TicketState::Open && now >= self.expire_time {
            TicketState::Expired
        } else {
            self.state
        }
    }

    /// Tries to redeem it for `device`.
    pub fn redeem(&mut self, secret_hash: &[u8; 32], device: DeviceId, now: Timestamp) -> Try {
        if self.state_at(now) != TicketState::Open {
            return Try::Dead;
        }
        if bool::from(self.secret_hash.ct_eq(secret_hash)) {
            self.state = TicketState::Redeemed(device);
            return Try::Redeemed;
        }
        self.wrong_tries = self.wrong_tries.saturating_add(1);
        if self.wrong_tries >= MAX_TRIES {
            self.state = TicketState::Locked;
        }
        Try::Wrong
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    #[test]
    fn forgives_typing_errors() {
        let code = TicketCode::new(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 31, 0, 1, 1, 0, 5, 6, 7, 8]);
        assert_eq!(code.grouped(), "0123-4567-89AZ-0110-5678");
        for typed in [
            "o1234567 89az oiLo 5678",
            "0123-4567-89AZ-0110-5678",
            "O123456789azOIlO5678",
        ] {
            assert_eq!(TicketCode::parse(typed), Some(code.clone()), "{typed}");
        }
        for typed in [
            "",
            "0123",
            "0123-4567-89AZ-0110-567U",
            "0123-4567-89AZ-0110-5678-9",
        ] {
            assert_eq!(TicketCode::parse(typed), None, "{typed}");
        }
    }

    #[test]
    fn survives_four_wrong_codes_not_five() {
        let at = Timestamp::from_millis;
        let code = TicketCode::new(&[7; 20]);
        let device = DeviceId::new(at(1), &[1; 10]);
        let fresh = Ticket {
            id: EnrollmentId::new(at(1), &[1; 10]),
            tenant: TenantId::new(at(1), &[1; 10]),
            user: UserId::from_stored("tom".into()),
            locator: code.locator().into(),
            secret_hash: code.secret_hash(),
            create_time: at(0),
            expire_time: at(1000),
            wrong_tries: 0,
            state: TicketState::Open,
        };
        let mut ticket = fresh.clone();
        for _ in 0..4 {
            assert_eq!(ticket.redeem(&[0; 32], device, at(1)), Try::Wrong);
        }
        let mut lucky = ticket.clone();
        assert_eq!(
            lucky.redeem(&code.secret_hash(), device, at(1)),
            Try::Redeemed
        );
        assert_eq!(lucky.redeem(&code.secret_hash(), device, at(1)), Try::Dead);
        assert_eq!(ticket.redeem(&[0; 32], device, at(1)), Try::Wrong);
        assert_eq!(ticket.state, TicketState::Locked);
        assert_eq!(ticket.redeem(&code.secret_hash(), device, at(1)), Try::Dead);
        let mut late = fresh;
        assert_eq!(
            late.redeem(&code.secret_hash(), device, at(1000)),
            Try::Dead
        );
    }
}
