//! What a sign-in page has to show next, and putting registering off.

use super::{
    Broker, IdpCaller, administer::AdminCaller, authenticators::Authenticators, error::BrokerError,
};
use crate::domain::{
    account::AccountChange,
    browser::BrowserToken,
    challenge::DeliveryState,
    ids::{TenantId, UserId},
    sign_in::{self, NextStep, SignInOptions, Surroundings},
};

impl Broker {
    /// What a sign-in page has to show next.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn sign_in_options(
        &self,
        caller: &IdpCaller,
        user: &UserId,
        token: Option<&BrowserToken>,
    ) -> Result<SignInOptions, BrokerError> {
        let now = self.now();
        let rules = self.tenant_of(caller.tenant).await?.policy;
        let whose = (caller.tenant, user);
        let claim = self.claim(whose, token);
        let devices = self.store.devices_of(caller.tenant, user).await?;
        let around = Surroundings {
            browser: self.standing(whose, claim.as_ref(), &rules, now).await?,
            devices: devices
                .into_iter()
                .map(|device| {
                    let reached = self.plan(&device, now).state != DeliveryState::Failed;
                    (device.display_name, reached)
                })
                .collect(),
            can_text: self.can_text(),
        };
        let account = self.store.account(caller.tenant, user).await?;
        Ok(sign_in::options(&account, &around, &rules, now))
    }

    /// Puts registering off; how often it still may be, and until when.
    ///
    /// # Errors
    /// [`BrokerError::NoSnooze`] when there is nothing to put off.
    pub async fn snooze(&self, caller: &IdpCaller, user: UserId) -> Result<u32, BrokerError> {
        let options = self.sign_in_options(caller, &user, None).await?;
        if !matches!(options.next_step, NextStep::EnrollOrSnooze { .. }) {
            return Err(BrokerError::NoSnooze);
        }
        let now = self.now();
        let change = AccountChange::Snooze;
        let account = self
            .change(caller.tenant, user, change, now, &caller.by)
            .await?;
        let rules = self.tenant_of(caller.tenant).await?.policy.enrolment;
        Ok(account.snoozes_left(&rules, now).unwrap_or_default())
    }

    /// Puts a user on the list of those for whom an authenticator is asked, or
    /// takes them off.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] for the organisation, and those of the store.
    pub async fn list_for_enrolment(
        &self,
        caller: &AdminCaller,
        tenant: TenantId,
        user: &UserId,
        listed: bool,
    ) -> Result<Authenticators, BrokerError> {
        let change = AccountChange::List(listed);
        self.change_user(caller, tenant, user, change).await
    }
}
