//! Browsers remembered from an earlier approval: "don't ask again on this
//! device".
//!
//! A token is `csb_<browser>_<secret>`, its secret the challenge that gave it
//! out and a keyed hash over that, the browser, the user and the organisation.
//! Nothing of it is stored: the row of a browser names the challenge whose
//! token counts, and each use hands out the next one.

use std::time::Duration;

use super::{
    ids::{BrowserId, ChallengeId, TenantId, UserId},
    policy::Policy,
    time::Timestamp,
};

/// Most browsers remembered of one user: the oldest leaves.
pub const MAX_BROWSERS_PER_USER: usize = 20;
/// How long after a decision the token can be read again with the challenge:
/// as long as its receipt may be accepted.
pub const TOKEN_SHOWN: Duration = super::receipt::RECEIPT_LIFETIME;

/// A browser that policy may let through without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser {
    /// Its id: that of the challenge whose approval it was remembered with.
    pub id: BrowserId,
    /// Of which organisation.
    pub tenant: TenantId,
    /// Whose.
    pub user: UserId,
    /// The challenge that gave out the one token that counts.
    pub issued_by: ChallengeId,
    /// When the user approved.
    pub create_time: Timestamp,
    /// When it is to be asked again; use does not put that off.
    pub expire_time: Timestamp,
    /// The organisation's rules as they were: others end it.
    pub policy_version: u64,
}

/// What a token says, its keyed hash verified: authentic, for this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which browser.
    pub browser: BrowserId,
    /// The challenge that gave the token out.
    pub issued_by: ChallengeId,
}

/// What an authentic token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody needs to be asked.
    Approves,
    /// The browser is the one it was, and the user is to be asked.
    Known,
    /// The token was used before: somebody has a copy.
    Replayed,
}

impl Browser {
    /// Remembers the browser of an approved challenge; none where policy never
    /// does.
    #[must_use]
    pub fn new(
        (tenant, user): (TenantId, UserId),
        approved: ChallengeId,
        rules: &Policy,
        now: Timestamp,
    ) -> Option<Self> {
        if rules.browser_days == 0 {
            return None;
        }
        let days = Duration::from_secs(86_400).saturating_mul(rules.browser_days);
        Some(Self {
            id: BrowserId::from_bytes(*approved.as_bytes()),
            tenant,
            user,
            issued_by: approved,
            create_time: now,
            expire_time: now.after(days),
            policy_version: rules.version,
        })
    }

    /// What a token for this browser is worth.
    #[must_use]
    pub fn standing(&self, claim: &Claim, rules: &Policy, now: Timestamp) -> Standing {
        if claim.issued_by != self.issued_by {
            return Standing::Replayed;
        }
        let counts = now < self.expire_time
            && self.policy_version == rules.version
            && rules.browser_days > 0;
        if counts {
            Standing::Approves
        } else {
            Standing::Known
        }
    }
}

/// What a challenge has to do with remembered browsers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembering {
    /// The user wants this browser to be remembered.
    pub wanted: bool,
    /// The browser for which the challenge gives out a token.
    pub browser: Option<BrowserId>,
}

/// Why browsers are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgetting {
    /// The user wants it.
    Asked,
    /// A device, a number or an app was removed.
    AuthenticatorRemoved,
    /// The account was locked.
    Locked,
    /// Everything was taken away.
    Reset,
    /// "That wasn't me".
    FraudReported,
    /// A newer one took its place.
    TooMany,
}

impl Forgetting {
    /// Its name, for the audit trail.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "ASKED",
            Self::AuthenticatorRemoved => "AUTHENTICATOR_REMOVED",
            Self::Locked => "LOCKED",
            Self::Reset => "RESET",
            Self::FraudReported => "FRAUD_REPORTED",
            Self::TooMany => "TOO_MANY",
        }
    }
}

/// A token as presented, or to be handed out. Not verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BrowserToken {
    /// What it says.
    pub claim: Claim,
    /// The keyed hash that makes it so.
    pub mac: [u8; 32],
}

impl std::fmt::Debug for BrowserToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BrowserToken({} …)", self.claim.browser)
    }
}

impl BrowserToken {
    /// Reads `csb_<browser>_<secret>`; `None` when it has not that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (browser, secret) = text.strip_prefix("csb_")?.split_once('_')?;
        let secret: [u8; 48] = unhex(secret)?;
        let (issued_by, mac) = secret.split_first_chunk::<16>()?;
        Some(Self {
            claim: Claim {
                browser: BrowserId::from_bytes(unhex(browser)?),
                issued_by: ChallengeId::from_bytes(*issued_by),
            },
            mac: mac.try_into().ok()?,
        })
    }

    /// `csb_<browser>_<secret>`, both in lower-case hexadecimal.
    #[must_use]
    pub fn reveal(&self) -> zeroize::Zeroizing<String> {
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        zeroize::Zeroizing::new(format!(
            "csb_{}_{}{}",
            hex(self.claim.browser.as_bytes()),
            hex(self.claim.issued_by.as_bytes()),
            hex(&self.mac)
        ))
    }
}

/// Lower-case hexadecimal of exactly `N` bytes: one token has one form.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'a'..=b'f' => byte.checked_sub(b'a').and_then(|n| n.checked_add(10)),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (to, [high, low]) in bytes.iter_mut().zip(pairs) {
        *to = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const FIRST: ChallengeId = ChallengeId::from_bytes([1; 16]);
    const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn browser(rules: &Policy) -> Option<Browser> {
        let user = UserId::from_stored("tom".into());
        Browser::new((TenantId::from_bytes([9; 16]), user), FIRST, rules, START)
    }

    #[test]
    fn a_browser_is_remembered_for_the_days_of_policy_and_no_longer() {
        for days in [1, 30, 90] {
            let rules = Policy {
                browser_days: days,
                ..Policy::default()
            };
            let it = browser(&rules).unwrap();
            let claim = Claim {
                browser: it.id,
                issued_by: FIRST,
            };
            let end = START.after(Duration::from_secs(u64::from(days) * 86_400));
            let last = end.before(Duration::from_millis(1));
            assert_eq!(it.standing(&claim, &rules, last), Standing::Approves);
            assert_eq!(it.standing(&claim, &rules, end), Standing::Known);
        }
        let never = Policy {
            browser_days: 0,
            ..Policy::default()
        };
        assert_eq!(browser(&never), None);
    }

    #[test]
    fn other_rules_and_used_tokens_do_not_approve() {
        let rules = Policy::default();
        let it = browser(&rules).unwrap();
        let claim = |issued_by| Claim {
            browser: it.id,
            issued_by,
        };
        let changed = Policy {
            version: 2,
            ..Policy::default()
        };
        assert_eq!(it.standing(&claim(FIRST), &changed, START), Standing::Known);
        let other = ChallengeId::from_bytes([2; 16]);
        let replayed = Standing::Replayed;
        assert_eq!(it.standing(&claim(other), &rules, START), replayed);
        assert_eq!(it.standing(&claim(other), &changed, START), replayed);
    }

    #[test]
    fn a_token_has_one_form() {
        let token = BrowserToken {
            claim: Claim {
                browser: BrowserId::from_bytes([0xab; 16]),
                issued_by: FIRST,
            },
            mac: [0x0f; 32],
        };
        let text = token.reveal();
        assert_eq!(text.len(), 133);
        assert_eq!(BrowserToken::parse(&text), Some(token));
        assert!(!format!("{token:?}").contains("0f0f"));
        for wrong in [
            text.to_uppercase(),
            text.replace("csb_", "csk_"),
            format!("{}0", *text),
            text.get(..131).unwrap().to_owned(),
            text.replacen("_", "", 2),
            text.replace('f', "g"),
            text.replace('f', "é"),
            String::new(),
            "csb__".into(),
        ] {
            assert_eq!(BrowserToken::parse(&wrong), None, "{wrong}");
        }
    }
}
