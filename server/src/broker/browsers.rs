//! Remembered browsers: tokens made and read.

use subtle::ConstantTimeEq as _;

use super::{Broker, IdpCaller, error::BrokerError, keyring::Keyring};
use crate::domain::{
    browser::{BrowserToken, Claim, Standing, TOKEN_SHOWN},
    challenge::{Challenge, Final},
    context::SignInContext,
    ids::{TenantId, UserId},
    policy::Policy,
    risk::{self, Origin},
    time::Timestamp,
};

impl Keyring {
    /// The token that goes with `claim`.
    fn browser_token(&self, (tenant, user): (TenantId, &UserId), claim: Claim) -> BrowserToken {
        let parts: [&[u8]; 4] = [
            tenant.as_bytes(),
            user.as_str().as_bytes(),
            claim.browser.as_bytes(),
            claim.issued_by.as_bytes(),
        ];
        BrowserToken {
            claim,
            mac: self.keyed_hash("browser-token", &parts),
        }
    }

    /// What a token says, if it was made for this user.
    fn read_browser_token(
        &self,
        whose: (TenantId, &UserId),
        token: &BrowserToken,
    ) -> Option<Claim> {
        let made = self.browser_token(whose, token.claim);
        bool::from(made.mac.ct_eq(&token.mac)).then_some(token.claim)
    }
}

impl Broker {
    /// What a token says, if it was made for this user. One that was not is as
    /// none.
    pub(super) fn claim(
        &self,
        whose: (TenantId, &UserId),
        token: Option<&BrowserToken>,
    ) -> Option<Claim> {
        self.keyring.read_browser_token(whose, token?)
    }

    /// What that is worth at present.
    pub(super) async fn standing(
        &self,
        (tenant, user): (TenantId, &UserId),
        claim: Option<&Claim>,
        rules: &Policy,
        now: Timestamp,
    ) -> Result<Option<Standing>, BrokerError> {
        let Some(claim) = claim else {
            return Ok(None);
        };
        let browser = self.store.browser(tenant, user, claim.browser).await?;
        Ok(browser.map(|browser| browser.standing(claim, rules, now)))
    }

    /// The token that a challenge gives out, for as long as it is shown.
    pub(super) fn token_of(&self, challenge: &Challenge) -> Option<BrowserToken> {
        let outcome = challenge.outcome.as_ref()?;
        let shown =
            outcome.state == Final::Approved && self.now() < outcome.decide_time.after(TOKEN_SHOWN);
        let claim = Claim {
            browser: challenge.remembering.browser.filter(|_| shown)?,
            issued_by: challenge.id,
        };
        let whose = (challenge.tenant, &challenge.user);
        Some(self.keyring.browser_token(whose, claim))
    }

    /// Where a sign-in comes from.
    pub(super) fn origin(
        &self,
        (tenant, user): (TenantId, &UserId),
        context: &SignInContext,
    ) -> Origin {
        let tag = |label: &str, of: &[u8]| {
            let parts = [tenant.as_bytes(), user.as_str().as_bytes(), of];
            self.keyring.tag(label, &parts)
        };
        Origin {
            network: risk::network(&context.client_address)
                .map(|network| tag("origin-network", &network)),
            place: risk::place(context).map(|place| tag("origin-place", place.as_bytes())),
        }
    }

    /// Forgets all browsers of a user; how many there were.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget_browsers(
        &self,
        caller: &IdpCaller,
        user: UserId,
    ) -> Result<usize, BrokerError> {
        let by = caller.by.clone();
        let now = self.now();
        Ok(self
            .store
            .forget_browsers(caller.tenant, user, now, by)
            .await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{
        broker::keyring::MasterKey,
        domain::ids::{BrowserId, ChallengeId},
    };

    fn keyring(byte: u8) -> Keyring {
        Keyring::new(MasterKey::new(&[byte; 32]).unwrap(), Vec::new()).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_user_browser_and_challenge_only() {
        let (tenant, tom) = (
            TenantId::from_bytes([1; 16]),
            UserId::from_stored("tom".into()),
        );
        let claim = Claim {
            browser: BrowserId::from_bytes([2; 16]),
            issued_by: ChallengeId::from_bytes([3; 16]),
        };
        let ring = keyring(1);
        let token = ring.browser_token((tenant, &tom), claim);
        assert_eq!(ring.read_browser_token((tenant, &tom), &token), Some(claim));
        let ann = UserId::from_stored("ann".into());
        assert_eq!(ring.read_browser_token((tenant, &ann), &token), None);
        let other = TenantId::from_bytes([4; 16]);
        assert_eq!(ring.read_browser_token((other, &tom), &token), None);
        assert_eq!(keyring(2).read_browser_token((tenant, &tom), &token), None);
        let text = token.reveal();
        for (at, _) in text.char_indices().skip(4) {
            let mut bytes = text.as_bytes().to_vec();
            let letter = bytes.get_mut(at).unwrap();
            *letter = if *letter == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            let read = BrowserToken::parse(&changed)
                .and_then(|token| ring.read_browser_token((tenant, &tom), &token));
            assert_eq!(read, None, "{at}");
        }
    }
}
