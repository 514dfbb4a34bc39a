//! "Sign in another way": codes by text message, from an authenticator app, or
//! from a sheet of paper.

use super::{Broker, IdpCaller, Shown, error::BrokerError, following::already_decided, random};
use crate::domain::{
    Invalid,
    account::Phone,
    audit::By,
    challenge::{Challenge, GuessVerdict, Method},
    code::{CodeHash, CodeOrder, CodeRefusal, Guess, SentCode, TotpCandidate},
    ids::{ChallengeId, TenantId, TextId, UserId},
    policy::Policy,
    secret_code,
    tenant::Tenant,
    text::{TextJob, TextPurpose},
    time::Timestamp,
    totp,
};
use crate::store::{GoOn, StoreError, WentOn};

/// Longest text that is looked at as a code, in bytes.
const MAX_TYPED: usize = 64;
/// Digits of any code that a policy can ask for.
const DIGITS: std::ops::RangeInclusive<u32> = 4..=10;

/// Checks that something was typed that may be looked at.
pub(super) fn check_typed(typed: &str) -> Result<(), Invalid> {
    if typed.trim().is_empty() {
        return Err(Invalid::new("code", "is required"));
    }
    if typed.len() > MAX_TYPED {
        return Err(Invalid::new("code", "must have at most 64 bytes"));
    }
    Ok(())
}

/// Reads a code by text message, of whatever length it was sent with.
pub(super) fn typed_digits(typed: &str) -> Result<String, Invalid> {
    DIGITS
        .clone()
        .find_map(|digits| secret_code::normalise_digits(typed, digits))
        .ok_or_else(|| Invalid::new("code", "must be the digits of the text message"))
}

/// Reads a code of an authenticator app.
pub(super) fn typed_totp(typed: &str) -> Result<String, Invalid> {
    secret_code::normalise_digits(typed, totp::DIGITS)
        .ok_or_else(|| Invalid::new("code", "must be the 6 digits of the authenticator app"))
}

impl Broker {
    /// The organisation of a caller.
    pub(super) async fn tenant_of(&self, tenant: TenantId) -> Result<Tenant, BrokerError> {
        self.store
            .tenant(tenant)
            .await?
            .ok_or(BrokerError::Unauthenticated)
    }

    /// A new code and the text that carries it. `owner` is what the code belongs
    /// to: the challenge, or the number that it confirms.
    pub(super) fn order_code(
        &self,
        (tenant, user): (TenantId, &UserId),
        phone: &Phone,
        purpose: TextPurpose,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<CodeOrder, BrokerError> {
        let owner = match &purpose {
            TextPurpose::SignInCode(challenge) => *challenge.as_bytes(),
            TextPurpose::ConfirmNumber | TextPurpose::Notice(_) => *phone.id.as_bytes(),
        };
        let seed = random::bytes()?;
        let code = self.keyring.digits(&seed, policy.codes.digits);
        let expire_time = now.after(policy.codes.ttl);
        Ok(CodeOrder {
            code: SentCode {
                phone: phone.id,
                hash: self.keyring.code_hash(&owner, &code),
                expire_time,
            },
            masked: phone.masked.clone(),
            job: TextJob {
                id: TextId::new(now, &random::id()?),
                due: now,
                tenant,
                user: user.clone(),
                phone: phone.id,
                purpose,
                seed,
                digits: policy.codes.digits,
                sealed_number: Vec::new(),
                nth: 0,
                metered: Timestamp::default(),
                attempts: 0,
                expire_time,
            },
        })
    }

    /// Goes on with a challenge by another way; see `SendCode`.
    ///
    /// # Errors
    /// [`BrokerError`]; the challenge goes on as it was.
    pub async fn send_code(
        &self,
        caller: &IdpCaller,
        id: ChallengeId,
        method: Option<Method>,
    ) -> Result<Shown, BrokerError> {
        let Shown {
            challenge, signed, ..
        } = self.get_challenge(caller, id).await?;
        if challenge.outcome.is_some() {
            return Err(already_decided(&challenge));
        }
        let method = method.unwrap_or(challenge.method);
        let tenant = self.tenant_of(caller.tenant).await?;
        if !tenant.policy.methods.allow(method) {
            return Err(BrokerError::NotByPolicy("this method"));
        }
        let now = self.now();
        let mut order = None;
        let mut pushes = Vec::new();
        match method {
            Method::Sms => order = Some(self.order_for(&challenge, &tenant.policy, now).await?),
            Method::Push => pushes = self.pushes_again(&challenge, now)?,
            Method::Totp | Method::RecoveryCode => {}
            Method::RememberedBrowser => {
                return Err(Invalid::new("method", "must not be REMEMBERED_BROWSER").into());
            }
        }
        let went_on = self
            .store
            .go_on(GoOn {
                tenant: caller.tenant,
                challenge: id,
                method,
                order,
                pushes,
                by_itself: false,
                now,
                receipt_key_id: self.keyring.current_id(now)?,
                by: caller.by.clone(),
            })
            .await?;
        match went_on {
            WentOn::Done {
                challenge,
                range_alarm,
            } => {
                self.metrics.went_on(method, "caller");
                self.note_range_alarm(range_alarm, &challenge.tenant);
                if method == Method::Push {
                    self.offer(&challenge, &signed);
                }
                self.show(*challenge, signed)
            }
            WentOn::Refused(refusal) => {
                self.metrics.code_refused(refusal);
                Err(BrokerError::refused(refusal, now))
            }
            WentOn::Already(challenge) => Err(already_decided(&challenge)),
            WentOn::Ended(challenge) => {
                self.withdraw(&challenge);
                self.show(*challenge, signed)
            }
            WentOn::NotFound => Err(BrokerError::NotFound("challenge")),
        }
    }

    async fn order_for(
        &self,
        challenge: &Challenge,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<CodeOrder, BrokerError> {
        if !self.can_text() {
            return Err(BrokerError::NoTextGateway);
        }
        let (tenant, user) = (challenge.tenant, &challenge.user);
        let account = self.store.account(tenant, user).await?;
        let phone = account
            .phone_for_codes(&policy.sms)
            .ok_or(BrokerError::refused(CodeRefusal::NoAuthenticator, now))?;
        let purpose = TextPurpose::SignInCode(challenge.id);
        self.order_code((tenant, user), phone, purpose, policy, now)
    }

    /// Looks at a typed code; see `VerifyCode`.
    ///
    /// # Errors
    /// [`BrokerError`]: nothing is decided then.
    pub async fn verify_code(
        &self,
        caller: &IdpCaller,
        id: ChallengeId,
        typed: &str,
    ) -> Result<Shown, BrokerError> {
        check_typed(typed)?;
        let Shown {
            challenge, signed, ..
        } = self.get_challenge(caller, id).await?;
        if challenge.outcome.is_some() {
            return Err(already_decided(&challenge));
        }
        let now = self.now();
        let guess = self.read_guess(&challenge, typed, now).await?;
        let method = guess.method();
        let key = self.keyring.current_id(now)?;
        let guessed = self
            .store
            .guess(caller.tenant, id, guess, now, key, caller.by.clone())
            .await?
            .ok_or(BrokerError::NotFound("challenge"))?;
        for other in &guessed.ended {
            self.withdraw(other);
        }
        let challenge = guessed.challenge;
        match guessed.verdict {
            GuessVerdict::Right => {
                self.metrics.guessed(method, "right");
                self.withdraw(&challenge);
                self.show(challenge, signed)
            }
            GuessVerdict::Wrong => {
                self.metrics.guessed(method, "wrong");
                if challenge.outcome.is_some() {
                    self.withdraw(&challenge);
                    return self.show(challenge, signed);
                }
                Err(BrokerError::WrongCode {
                    attempts_left: challenge.codes.attempts_left(),
                })
            }
            GuessVerdict::Wait(until) => {
                self.metrics.guessed(method, "not_compared");
                Err(BrokerError::GuessTooSoon(until.since(now)))
            }
            GuessVerdict::Locked | GuessVerdict::Expired => {
                self.withdraw(&challenge);
                self.show(challenge, signed)
            }
            GuessVerdict::AlreadyDecided => Err(already_decided(&challenge)),
            GuessVerdict::NothingToCheck => Err(BrokerError::NoCodeExpected),
        }
    }

    /// What was typed, hashed for the challenge's method. Nothing is compared
    /// here.
    async fn read_guess(
        &self,
        challenge: &Challenge,
        typed: &str,
        now: Timestamp,
    ) -> Result<Guess, BrokerError> {
        let owner = challenge.id.as_bytes();
        match challenge.method {
            Method::Sms => {
                let code = typed_digits(typed)?;
                Ok(Guess::Sms(self.keyring.code_hash(owner, &code)))
            }
            Method::Totp => {
                let code = typed_totp(typed)?;
                let typed = self.keyring.code_hash(owner, &code);
                let account = self
                    .store
                    .account(challenge.tenant, &challenge.user)
                    .await?;
                let mut valid = Vec::new();
                for app in account.totps.iter().filter(|app| app.confirmed) {
                    valid.extend(self.totp_candidates(owner, app, now)?);
                }
                Ok(Guess::Totp { typed, valid })
            }
            Method::RecoveryCode => {
                let code = secret_code::normalise_recovery(typed)
                    .ok_or_else(|| Invalid::new("code", "must be a recovery code"))?;
                let hash = self
                    .keyring
                    .recovery_hash(challenge.tenant, &challenge.user, &code);
                Ok(Guess::RecoveryCode(hash))
            }
            Method::Push | Method::RememberedBrowser => Err(BrokerError::NoCodeExpected),
        }
    }

    /// What an app shows at about `now`, hashed for `owner`.
    pub(super) fn totp_candidates(
        &self,
        owner: &[u8; 16],
        app: &crate::domain::account::Totp,
        now: Timestamp,
    ) -> Result<Vec<TotpCandidate>, BrokerError> {
        let secret = self.keyring.open_totp(app.id, &app.sealed_secret)?;
        let hash = |step| -> CodeHash { self.keyring.code_hash(owner, &secret.code(step)) };
        Ok(totp::acceptable_steps(now)
            .into_iter()
            .map(|step| TotpCandidate {
                authenticator: app.id,
                step,
                hash: hash(step),
            })
            .collect())
    }

    /// A row of neighbouring numbers is being texted: somebody may be earning by
    /// it.
    pub(super) fn note_range_alarm(&self, raised: bool, tenant: &TenantId) {
        if raised {
            self.metrics.range_alarm();
            tracing::warn!(%tenant, "text messages go to numbers in a row: SMS pumping?");
        }
    }

    /// Runs until the broker stops: a prompt that nobody answers, or that reaches
    /// nobody, turns into a text message.
    pub async fn run_fallback(self: std::sync::Arc<Self>) {
        let stopping = self.hub.stopping.clone();
        while !stopping.is_cancelled() {
            self.schedule.fallback.expect_any();
            let next = match self.store.next_fallback().await {
                Ok(next) => next.map_or(u64::MAX, Timestamp::as_millis),
                Err(error) => {
                    tracing::error!(%error, "the next fallback can't be read");
                    self.clock.now_ms().saturating_add(1000)
                }
            };
            self.schedule.fallback.expect_at(next);
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = self.schedule.fallback.earlier() => continue,
                () = stopping.cancelled() => return,
            }
            if let Err(error) = self.fall_back_all().await {
                tracing::error!(%error, "a fallback to text messages failed");
                tokio::select! {
                    () = self.clock.sleep(std::time::Duration::from_secs(1)) => {}
                    () = stopping.cancelled() => return,
                }
            }
        }
    }

    async fn fall_back_all(&self) -> Result<(), BrokerError> {
        const BATCH: usize = 64;
        loop {
            let due = self.store.fallbacks_due(self.now(), BATCH).await?;
            let last = due.len() < BATCH;
            for (tenant, id) in due {
                self.fall_back(tenant, id).await?;
            }
            if last {
                return Ok(());
            }
        }
    }

    async fn fall_back(&self, tenant: TenantId, id: ChallengeId) -> Result<(), BrokerError> {
        let now = self.now();
        // Without an order the step only takes it off the list: also where the
        // challenge is gone or can't be read, so that it holds up no other.
        let order = match self.store.challenge(tenant, id).await {
            Ok(Some((challenge, _))) => {
                let policy = self.tenant_of(tenant).await?.policy;
                if policy.methods.sms {
                    self.order_for(&challenge, &policy, now).await.ok()
                } else {
                    None
                }
            }
            Ok(None) => None,
            Err(StoreError::Corrupt(cause)) => {
                tracing::error!(%cause, challenge = %id, "a challenge can't be read");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let went_on = self
            .store
            .go_on(GoOn {
                tenant,
                challenge: id,
                method: Method::Sms,
                order,
                pushes: Vec::new(),
                by_itself: true,
                now,
                receipt_key_id: self.keyring.current_id(now)?,
                by: By::broker(),
            })
            .await?;
        match went_on {
            WentOn::Done { range_alarm, .. } => {
                self.metrics.went_on(Method::Sms, "broker");
                self.note_range_alarm(range_alarm, &tenant);
            }
            WentOn::Refused(refusal) => {
                self.metrics.code_refused(refusal);
                // Without the text there may be nobody left to ask.
                self.end_if_unheard(tenant, id).await?;
            }
            WentOn::Ended(challenge) => self.withdraw(&challenge),
            WentOn::Already(_) | WentOn::NotFound => {}
        }
        Ok(())
    }
}
