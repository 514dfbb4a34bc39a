//! What identity providers are told of: read from entries of the audit trail,
//! one event per entry.

use super::{
    account::LockReason,
    audit::Told,
    challenge::{Final, Reason},
    ids::{AuthenticatorId, ChallengeId, DeviceId},
    receipt::{final_name, reason_name},
    time::Timestamp,
};

/// The actions that are events, all but those of what was never confirmed.
const ACTIONS: &[&str] = &[
    "account.locked",
    "account.reset",
    "account.unlocked",
    "challenge.decided",
    "challenge.revoked",
    "device.imported",
    "device.registered",
    "device.removed",
    "phone.confirmed",
    "phone.removed",
    "recovery_codes.created",
    "recovery_codes.removed",
    "totp.confirmed",
    "totp.removed",
];

/// The outcome of a removal of something that was never confirmed: nobody was
/// told that it came, and nobody is told that it went.
pub const UNCONFIRMED: &str = "UNCONFIRMED";

/// The outcome of unlocking an account that was not locked.
pub const WAS_NOT_LOCKED: &str = "WAS_NOT_LOCKED";

const STATES: [Final; 4] = [
    Final::Approved,
    Final::Denied,
    Final::Expired,
    Final::Cancelled,
];

const REASONS: [Reason; 13] = [
    Reason::UserApproved,
    Reason::UserDenied,
    Reason::FraudReported,
    Reason::WrongNumber,
    Reason::Superseded,
    Reason::Unreachable,
    Reason::TimedOut,
    Reason::CancelledByCaller,
    Reason::CodeVerified,
    Reason::TooManyAttempts,
    Reason::LockedOut,
    Reason::RememberedBrowser,
    Reason::Policy,
];

const LOCK_REASONS: [LockReason; 3] = [
    LockReason::TooManyFailures,
    LockReason::FraudReported,
    LockReason::Operator,
];

/// Whether entries of this action are events.
#[must_use]
pub fn is_event(action: &str, outcome: &str) -> bool {
    ACTIONS.contains(&action) && outcome != UNCONFIRMED && outcome != WAS_NOT_LOCKED
}

/// What kind of authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authenticator {
    /// A registered phone.
    Device(DeviceId),
    /// A number that is texted.
    PhoneNumber(AuthenticatorId),
    /// An authenticator app.
    TotpApp(AuthenticatorId),
    /// Codes on paper.
    RecoveryCodes(AuthenticatorId),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A challenge ended.
    Decided {
        /// Which.
        challenge: ChallengeId,
        /// How.
        state: Final,
        /// Why.
        reason: Reason,
        /// By whose answer, where a device gave it.
        device: Option<DeviceId>,
    },
    /// A device said "that wasn't me" of an approved challenge.
    Revoked {
        /// Which.
        challenge: ChallengeId,
        /// The device that said so.
        device: DeviceId,
    },
    /// The user can answer with something more.
    Enrolled(Authenticator),
    /// The user can't answer with it any more.
    Removed(Authenticator),
    /// Nobody signs in to the account.
    Locked(LockReason),
    /// The lock is gone.
    Unlocked,
    /// The service desk took everything away.
    Reset,
}

/// Something that happened to a user of an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantEvent {
    /// When.
    pub time: Timestamp,
    /// To whom.
    pub user: String,
    /// What.
    pub what: What,
}

fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, wanted: &str) -> Option<T> {
    all.iter().copied().find(|one| name(*one) == wanted)
}

fn challenge(text: &str) -> Option<ChallengeId> {
    ChallengeId::parse("challenge", text).ok()
}

fn device(text: &str) -> Option<DeviceId> {
    DeviceId::parse("device", text).ok()
}

impl TenantEvent {
    /// What an entry says; none when it is no event.
    #[must_use]
    pub fn of(told: &Told) -> Option<Self> {
        if !is_event(&told.action, &told.outcome) {
            return None;
        }
        let other = || AuthenticatorId::parse("authenticator", &told.object).ok();
        let what = match told.action.as_str() {
            "challenge.decided" => {
                let (state, reason) = told.outcome.split_once(' ')?;
                What::Decided {
                    challenge: challenge(&told.object)?,
                    state: named(&STATES, final_name, state)?,
                    reason: named(&REASONS, reason_name, reason)?,
                    device: told.actor.strip_prefix("device:").and_then(device),
                }
            }
            "challenge.revoked" => What::Revoked {
                challenge: challenge(&told.object)?,
                device: device(&told.outcome)?,
            },
            "device.imported" | "device.registered" => {
                What::Enrolled(Authenticator::Device(device(&told.object)?))
            }
            "device.removed" => What::Removed(Authenticator::Device(device(&told.object)?)),
            "phone.confirmed" => What::Enrolled(Authenticator::PhoneNumber(other()?)),
            "phone.removed" => What::Removed(Authenticator::PhoneNumber(other()?)),
            "totp.confirmed" => What::Enrolled(Authenticator::TotpApp(other()?)),
            "totp.removed" => What::Removed(Authenticator::TotpApp(other()?)),
            "recovery_codes.created" => What::Enrolled(Authenticator::RecoveryCodes(other()?)),
            "recovery_codes.removed" => What::Removed(Authenticator::RecoveryCodes(other()?)),
            "account.locked" => {
                What::Locked(named(&LOCK_REASONS, LockReason::name, &told.outcome)?)
            }
            "account.unlocked" => What::Unlocked,
            "account.reset" => What::Reset,
            _ => return None,
        };
        Some(Self {
            time: told.time,
            user: told.user.clone(),
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn told(action: &str, outcome: &str) -> Told {
        Told {
            time: Timestamp::from_millis(7),
            tenant: None,
            actor: format!("device:{}", DeviceId::from_bytes([3; 16])),
            address: String::new(),
            action: action.into(),
            object: ChallengeId::from_bytes([2; 16]).to_string(),
            outcome: outcome.into(),
            user: "tom".into(),
        }
    }

    #[test]
    fn every_end_is_read_back() {
        let (id, by) = (
            ChallengeId::from_bytes([2; 16]),
            DeviceId::from_bytes([3; 16]),
        );
        for state in STATES {
            for reason in REASONS {
                let outcome = format!("{} {}", final_name(state), reason_name(reason));
                let event = TenantEvent::of(&told("challenge.decided", &outcome)).unwrap();
                let expected = What::Decided {
                    challenge: id,
                    state,
                    reason,
                    device: Some(by),
                };
                assert_eq!((event.what, event.user.as_str()), (expected, "tom"));
            }
        }
    }

    #[test]
    fn every_action_is_an_event_and_known_to_the_audit_trail() {
        for action in ACTIONS {
            let outcome = match *action {
                "challenge.decided" => "APPROVED USER_APPROVED".to_owned(),
                "challenge.revoked" => DeviceId::from_bytes([3; 16]).to_string(),
                "account.locked" => LockReason::Operator.name().to_owned(),
                _ => String::new(),
            };
            assert!(
                TenantEvent::of(&told(action, &outcome)).is_some(),
                "{action}"
            );
            let known = super::super::audit::ACTIONS;
            assert!(known.iter().any(|(name, _)| name == action), "{action}");
        }
        assert_eq!(TenantEvent::of(&told("phone.removed", UNCONFIRMED)), None);
        assert_eq!(
            TenantEvent::of(&told("account.unlocked", WAS_NOT_LOCKED)),
            None
        );
        assert_eq!(TenantEvent::of(&told("device.push_replaced", "")), None);
        for reason in LOCK_REASONS {
            let event = TenantEvent::of(&told("account.locked", reason.name())).unwrap();
            assert_eq!(event.what, What::Locked(reason));
        }
    }
}
