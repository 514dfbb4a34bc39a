//! Numbers, authenticator apps and recovery codes: added, confirmed, removed.

use zeroize::Zeroizing;

use super::{
    Broker, IdpCaller,
    codes::{check_typed, typed_digits, typed_totp},
    error::BrokerError,
    random,
};
use crate::{
    domain::{
        Invalid,
        account::{
            Account, AccountChange, AccountRefusal, Phone, RECOVERY_CODES, RecoveryCodes, Totp,
        },
        audit::{By, Entry},
        context::{check_language, check_text},
        device::Device,
        ids::{AuthenticatorId, DeviceId, TenantId, UserId},
        phone_number::PhoneNumber,
        secret_code,
        text::TextPurpose,
        time::Timestamp,
        totp,
    },
    store::AccountChanged,
};

/// Everything a user can answer with.
#[derive(Debug)]
pub struct Authenticators {
    /// Registered phones, oldest first.
    pub devices: Vec<Device>,
    /// The rest.
    pub account: Account,
}

/// An authenticator app, as shown once.
pub struct NewTotp {
    /// As stored.
    pub totp: Totp,
    /// For the QR code.
    pub otpauth_uri: Zeroizing<String>,
    /// For typing.
    pub secret: Zeroizing<String>,
}

/// Recovery codes, as shown once.
pub struct NewRecoveryCodes {
    /// As stored.
    pub set: RecoveryCodes,
    /// In clear.
    pub codes: Vec<Zeroizing<String>>,
}

impl Broker {
    /// Everything the user can answer with.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list_authenticators(
        &self,
        tenant: TenantId,
        user: &UserId,
    ) -> Result<Authenticators, BrokerError> {
        Ok(Authenticators {
            devices: self.store.devices_of(tenant, user).await?,
            account: self.store.account(tenant, user).await?,
        })
    }

    /// Adds a number, and texts it a code.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn add_phone(
        &self,
        caller: &IdpCaller,
        user: UserId,
        number: &str,
        language: &str,
    ) -> Result<Phone, BrokerError> {
        let number = PhoneNumber::parse("phone_number", number)?;
        if !language.is_empty() {
            check_language("language", language)?;
        }
        let policy = self.tenant_of(caller.tenant).await?.policy;
        if !policy.methods.sms {
            return Err(BrokerError::NotByPolicy("text messages"));
        }
        if !policy
            .sms
            .countries
            .iter()
            .any(|country| country == number.country())
        {
            self.metrics.country_refused();
            let entry = Entry {
                time: self.now(),
                tenant: Some(caller.tenant),
                object: user.to_string(),
                user: Some(user),
                by: caller.by.clone(),
                action: "code.refused",
                outcome: format!("COUNTRY {}", number.country()),
            };
            self.store.note(entry).await?;
            return Err(Invalid::new(
                "phone_number",
                "is of a country that the organisation does not text",
            )
            .into());
        }
        if !self.can_text() {
            return Err(BrokerError::NoTextGateway);
        }
        let now = self.now();
        let tag = self.keyring.number_tag(caller.tenant, &number);
        let mut known = self.store.account(caller.tenant, &user).await?;
        known.drop_unconfirmed(now);
        let known = known.phones.into_iter().find(|phone| phone.number == tag);
        let phone = match known {
            Some(phone) => phone,
            None => {
                let id = AuthenticatorId::new(now, &random::id()?);
                Phone {
                    id,
                    sealed_number: self.keyring.seal_number(id, &number)?,
                    number: tag,
                    range: self.keyring.range_tag(caller.tenant, &number),
                    masked: number.masked(),
                    country: number.country().to_owned(),
                    language: language.to_owned(),
                    create_time: now,
                    last_used_time: None,
                    confirming: None,
                }
            }
        };
        let purpose = TextPurpose::ConfirmNumber;
        let order = self.order_code((caller.tenant, &user), &phone, purpose, &policy, now)?;
        let change = AccountChange::AddPhone {
            phone: Box::new(phone),
            order: Box::new(order),
        };
        let account = self
            .change(caller.tenant, user, change, now, &caller.by)
            .await?;
        account
            .phones
            .into_iter()
            .find(|phone| phone.number == tag)
            .ok_or_else(|| BrokerError::Internal("a number was added and is not there".into()))
    }

    /// A code for a number was typed.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn confirm_phone(
        &self,
        caller: &IdpCaller,
        user: UserId,
        id: AuthenticatorId,
        typed: &str,
    ) -> Result<Phone, BrokerError> {
        check_typed(typed)?;
        let typed = typed_digits(typed)?;
        let change = AccountChange::ConfirmPhone {
            id,
            typed: self.keyring.code_hash(id.as_bytes(), &typed),
        };
        let now = self.now();
        let account = self
            .change(caller.tenant, user, change, now, &caller.by)
            .await?;
        account
            .phone(id)
            .cloned()
            .ok_or(BrokerError::NotFound("authenticator"))
    }

    /// Adds an authenticator app.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn add_totp(
        &self,
        caller: &IdpCaller,
        user: UserId,
        account_name: &str,
    ) -> Result<NewTotp, BrokerError> {
        check_text("account_name", account_name, 0, 128)?;
        let tenant = self.tenant_of(caller.tenant).await?;
        if !tenant.policy.methods.totp {
            return Err(BrokerError::NotByPolicy("authenticator apps"));
        }
        let now = self.now();
        let id = AuthenticatorId::new(now, &random::id()?);
        let secret = totp::Secret::new(random::bytes()?);
        let totp = Totp {
            id,
            sealed_secret: self.keyring.seal_totp(id, &secret)?,
            create_time: now,
            last_used_time: None,
            confirmed: false,
            wrong: 0,
            last_step: 0,
        };
        let name = if account_name.is_empty() {
            user.as_str()
        } else {
            account_name
        };
        let uri = Zeroizing::new(secret.otpauth_uri(&tenant.display_name, name));
        let change = AccountChange::AddTotp(totp.clone());
        self.change(caller.tenant, user, change, now, &caller.by)
            .await?;
        Ok(NewTotp {
            totp,
            otpauth_uri: uri,
            secret: Zeroizing::new(secret.base32()),
        })
    }

    /// A code from a new authenticator app was typed.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn confirm_totp(
        &self,
        caller: &IdpCaller,
        user: UserId,
        id: AuthenticatorId,
        typed: &str,
    ) -> Result<Totp, BrokerError> {
        check_typed(typed)?;
        let typed = self.keyring.code_hash(id.as_bytes(), &typed_totp(typed)?);
        let now = self.now();
        let account = self.store.account(caller.tenant, &user).await?;
        let app = account.totps.iter().find(|app| app.id == id);
        let app = app.ok_or(BrokerError::NotFound("authenticator"))?;
        let valid = self.totp_candidates(id.as_bytes(), app, now)?;
        let change = AccountChange::ConfirmTotp { id, typed, valid };
        let account = self
            .change(caller.tenant, user, change, now, &caller.by)
            .await?;
        account
            .totps
            .into_iter()
            .find(|app| app.id == id)
            .ok_or(BrokerError::NotFound("authenticator"))
    }

    /// Makes a set of recovery codes; an earlier one is void.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn create_recovery_codes(
        &self,
        caller: &IdpCaller,
        user: UserId,
    ) -> Result<NewRecoveryCodes, BrokerError> {
        let policy = self.tenant_of(caller.tenant).await?.policy;
        if !policy.methods.recovery_code {
            return Err(BrokerError::NotByPolicy("recovery codes"));
        }
        let now = self.now();
        let mut codes = Vec::new();
        let mut unused = Vec::new();
        for _ in 0..RECOVERY_CODES {
            let code = Zeroizing::new(secret_code::recovery_code(&random::bytes()?));
            let plain = secret_code::normalise_recovery(&code)
                .ok_or_else(|| BrokerError::Internal("a recovery code can't be read".into()))?;
            unused.push(self.keyring.recovery_hash(caller.tenant, &user, &plain));
            codes.push(code);
        }
        let set = RecoveryCodes {
            id: AuthenticatorId::new(now, &random::id()?),
            create_time: now,
            last_used_time: None,
            unused,
        };
        let change = AccountChange::SetRecoveryCodes(set.clone());
        self.change(caller.tenant, user, change, now, &caller.by)
            .await?;
        Ok(NewRecoveryCodes { set, codes })
    }

    /// Takes an authenticator away; what only it could have answered ends.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] when the user has no such authenticator.
    pub async fn remove_authenticator(
        &self,
        tenant: TenantId,
        user: UserId,
        id: AuthenticatorId,
        by: &By,
    ) -> Result<(), BrokerError> {
        let device = DeviceId::from_bytes(*id.as_bytes());
        match self
            .remove_device(tenant, user.clone(), device, by.clone())
            .await
        {
            Err(BrokerError::NotFound(_)) => {}
            done => return done,
        }
        let change = AccountChange::Remove(id);
        self.change(tenant, user, change, self.now(), by).await?;
        Ok(())
    }

    /// Changes an account, and tells whoever has to know.
    pub(super) async fn change(
        &self,
        tenant: TenantId,
        user: UserId,
        change: AccountChange,
        now: Timestamp,
        by: &By,
    ) -> Result<Account, BrokerError> {
        let key = self.keyring.current_id(now)?;
        let changed = self
            .store
            .change_account(tenant, user, change, now, key, by.clone())
            .await?;
        match changed {
            AccountChanged::Done {
                account,
                event,
                ended,
                dropped,
                devices,
                range_alarm,
            } => {
                tracing::debug!(%tenant, ?event, ended = ended.len(), "account changed");
                self.note_range_alarm(range_alarm, &tenant);
                for device in devices {
                    self.hub.close(device);
                }
                for challenge in &ended {
                    self.withdraw(challenge);
                }
                for id in dropped {
                    self.end_if_unheard(tenant, id).await?;
                }
                Ok(*account)
            }
            AccountChanged::Refused(refusal) => Err(match refusal {
                AccountRefusal::NotFound => BrokerError::NotFound("authenticator"),
                AccountRefusal::AlreadyThere(id) => BrokerError::NumberKnown(id),
                AccountRefusal::TooMany => BrokerError::TooManyAuthenticators,
                AccountRefusal::WrongCode { attempts_left } => {
                    BrokerError::WrongCode { attempts_left }
                }
                AccountRefusal::NoSnooze => BrokerError::NoSnooze,
                AccountRefusal::Locked => BrokerError::AccountLocked,
                AccountRefusal::CodeExpired => BrokerError::NoCodeExpected,
                AccountRefusal::NotSent(refusal) => {
                    self.metrics.code_refused(refusal);
                    BrokerError::refused(refusal, now)
                }
            }),
        }
    }
}
