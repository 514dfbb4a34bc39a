//! Text messages intended: entries of the durable outbox. They hold neither
//! number nor code: the number is sealed in the account, and the digits follow
//! from `seed` and the broker's key.

use super::{
    challenge::DeliveryState,
    ids::{AuthenticatorId, ChallengeId, TenantId, TextId, UserId},
    time::Timestamp,
};

/// What a text is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPurpose {
    /// A code for a sign-in.
    SignInCode(ChallengeId),
    /// A code that proves that the number is the user's.
    ConfirmNumber,
    /// Something happened to the account.
    Notice(Notice),
}

/// What happened to an account, for its owner to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A phone of this name was registered.
    DeviceAdded(String),
    /// A phone of this name was removed.
    DeviceRemoved(String),
    /// A number, masked, was confirmed.
    PhoneAdded(String),
    /// A number, masked, was removed.
    PhoneRemoved(String),
    /// An authenticator app was confirmed.
    TotpAdded,
    /// An authenticator app was removed.
    TotpRemoved,
    /// New recovery codes were made.
    RecoveryCodesCreated,
    /// The recovery codes were removed.
    RecoveryCodesRemoved,
    /// The account was locked.
    AccountLocked,
    /// The service desk took all authenticators away.
    AccountReset,
    /// The account was unlocked.
    AccountUnlocked,
}

impl Notice {
    /// What stands in its sentence: a name, or a masked number.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::DeviceAdded(detail)
            | Self::DeviceRemoved(detail)
            | Self::PhoneAdded(detail)
            | Self::PhoneRemoved(detail) => Some(detail),
            Self::TotpAdded
            | Self::TotpRemoved
            | Self::RecoveryCodesCreated
            | Self::RecoveryCodesRemoved
            | Self::AccountLocked
            | Self::AccountReset
            | Self::AccountUnlocked => None,
        }
    }

    /// The same with at most `bytes` of detail.
    #[must_use]
    pub fn shortened(&self, bytes: usize) -> Self {
        let mut short = self.clone();
        match &mut short {
            Self::DeviceAdded(detail)
            | Self::DeviceRemoved(detail)
            | Self::PhoneAdded(detail)
            | Self::PhoneRemoved(detail) => detail.truncate(detail.floor_char_boundary(bytes)),
            Self::TotpAdded
            | Self::TotpRemoved
            | Self::RecoveryCodesCreated
            | Self::RecoveryCodesRemoved
            | Self::AccountLocked
            | Self::AccountReset
            | Self::AccountUnlocked => {}
        }
        short
    }
}

/// What a network says of a text with a code for a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Of which organisation.
    pub tenant: TenantId,
    /// For which challenge.
    pub challenge: ChallengeId,
    /// To which number.
    pub phone: AuthenticatorId,
    /// Which send of the challenge, from 1; 0 where that is not known.
    pub nth: u32,
    /// How far it came.
    pub state: DeliveryState,
    /// What the network gave as the reason.
    pub reason: String,
}

/// A text intended: stored before it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextJob {
    /// The same for every try.
    pub id: TextId,
    /// Not to be tried before.
    pub due: Timestamp,
    /// Of which organisation.
    pub tenant: TenantId,
    /// Whose.
    pub user: UserId,
    /// To which number.
    pub phone: AuthenticatorId,
    /// What for.
    pub purpose: TextPurpose,
    /// From which the digits follow.
    pub seed: [u8; 16],
    /// How many digits; 0 where there is no code.
    pub digits: u8,
    /// Sealed number, where the account holds it no more (it was removed).
    pub sealed_number: Vec<u8>,
    /// Which send of its challenge, or of the number to be confirmed, from 1; 0
    /// where that was not kept, or there is no code.
    pub nth: u32,
    /// When the meters counted it; 0 where that was not kept.
    pub metered: Timestamp,
    /// Tries so far.
    pub attempts: u32,
    /// Of no use after this.
    pub expire_time: Timestamp,
}
