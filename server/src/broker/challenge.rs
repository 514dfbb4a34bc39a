//! Asking for an approval.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Broker, IdpCaller, Shown, dispatch, error::BrokerError, hub::DeviceEvent, random};
use crate::{
    domain::{
        account::Account,
        body::challenge_body,
        browser::{BrowserToken, Claim, Remembering, Standing},
        challenge::{Challenge, Delivery, DeliveryState, Final, Method, Road, SignedBody},
        code::{CodeOrder, CodeRefusal, Codes},
        context::SignInContext,
        device::Device,
        ids::{ChallengeId, DeviceId, PushId, UserId},
        policy::{Policy, check_challenge_ttl},
        push::{PushJob, PushKind},
        receipt, risk, sign_in,
        tenant::Tenant,
        text::TextPurpose,
        time::Timestamp,
    },
    store::{Created, NewChallenge},
};

/// A push waits this long for an app that is open: it may show the prompt
/// without being woken.
const OPEN_APP_GRACE: Duration = Duration::from_secs(2);

/// A sign-in to be approved, its fields checked one by one.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// The caller's `request_id` and the SHA-256 of the request's content.
    pub idempotency: Option<([u8; 16], [u8; 32])>,
    /// Whose sign-in.
    pub user: UserId,
    /// What the user is shown.
    pub context: SignInContext,
    /// How the user is to be asked; none: by policy.
    pub method: Option<Method>,
    /// One device only.
    pub device: Option<DeviceId>,
    /// Life; none: by policy.
    pub ttl: Option<Duration>,
    /// The browser's token, as presented.
    pub browser: Option<BrowserToken>,
    /// The browser is to be remembered.
    pub remember: bool,
}

/// What a challenge is made of beside the request.
struct Grounds {
    devices: Vec<Device>,
    account: Account,
    claim: Option<Claim>,
    standing: Option<Standing>,
}

impl Broker {
    /// Issues, signs, stores and dispatches a challenge.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing is stored unless said otherwise by `Unknown`.
    pub async fn create_challenge(
        &self,
        caller: &IdpCaller,
        request: NewRequest,
    ) -> Result<Shown, BrokerError> {
        request.context.check()?;
        if let Some(ttl) = request.ttl {
            check_challenge_ttl("ttl", ttl)?;
        }
        let now = self.now();
        let tenant = self.tenant_of(caller.tenant).await?;
        if let Some(method) = request.method
            && !tenant.policy.methods.allow(method)
        {
            return Err(BrokerError::NotByPolicy("this method"));
        }
        let mut devices = self.store.devices_of(caller.tenant, &request.user).await?;
        if let Some(only) = request.device {
            devices.retain(|device| device.id == only);
            if devices.is_empty() {
                return Err(BrokerError::NotFound("device"));
            }
        }
        let whose = (caller.tenant, &request.user);
        let claim = self.claim(whose, request.browser.as_ref());
        let grounds = Grounds {
            account: self.store.account(caller.tenant, &request.user).await?,
            standing: self
                .standing(whose, claim.as_ref(), &tenant.policy, now)
                .await?,
            devices,
            claim,
        };
        let (signed, created) = self
            .create_by(caller, &tenant, &request, &grounds, now)
            .await?;
        match created {
            Created::Existing(id) => {
                let shown = self.get_challenge(caller, id).await?;
                // A retry comes soon. What comes later would let somebody in
                // whom nobody asked.
                if shown.challenge.outcome.as_ref().is_some_and(|outcome| {
                    outcome.state == Final::Approved
                        && now >= outcome.decide_time.after(receipt::RECEIPT_LIFETIME)
                }) {
                    return Err(BrokerError::RequestIdReused);
                }
                Ok(shown)
            }
            Created::Conflict => Err(BrokerError::RequestIdReused),
            Created::PendingExists(until) => Err(BrokerError::PendingExists {
                retry_after: until.since(now),
            }),
            Created::Refused(refusal) => {
                self.metrics.code_refused(refusal);
                Err(BrokerError::refused(refusal, now))
            }
            Created::New {
                challenge,
                superseded,
                range_alarm,
            } => {
                self.metrics.created();
                tracing::debug!(
                    tenant = %tenant.id,
                    challenge = %challenge.id,
                    method = ?challenge.method,
                    devices = challenge.deliveries.len(),
                    superseded = superseded.len(),
                    "challenge created"
                );
                self.note_range_alarm(range_alarm, &tenant.id);
                for old in &superseded {
                    self.withdraw(old);
                }
                if challenge.outcome.is_some() {
                    self.count_decision(&challenge);
                } else {
                    self.offer(&challenge, &signed);
                }
                self.show(*challenge, signed)
            }
        }
    }

    /// Stores a challenge by the first method that the user can be asked by. Where
    /// no text may be sent now, an authenticator app takes its place.
    async fn create_by(
        &self,
        caller: &IdpCaller,
        tenant: &Tenant,
        request: &NewRequest,
        grounds: &Grounds,
        now: Timestamp,
    ) -> Result<(SignedBody, Created), BrokerError> {
        let mut without_texts = false;
        loop {
            let (challenge, signed, code) =
                self.issue(caller, tenant, request, grounds, without_texts, now)?;
            let pushes = self.pushes(&challenge, now)?;
            let created = self
                .store
                .create(NewChallenge {
                    challenge,
                    signed: signed.clone(),
                    idempotency: request.idempotency,
                    pending_limit: tenant.policy.pending_limit,
                    pushes,
                    code,
                    browser: grounds.claim,
                    by: caller.by.clone(),
                })
                .await?;
            let by_app = Method::Totp;
            match created {
                Created::Refused(CodeRefusal::Capped(..) | CodeRefusal::CoolOff(_))
                    if !without_texts
                        && request.method.is_none()
                        && grounds.account.can_answer_by(by_app, &tenant.policy) =>
                {
                    without_texts = true;
                }
                created => return Ok((signed, created)),
            }
        }
    }

    /// Shows a prompt on phones whose app is open.
    pub(super) fn offer(&self, challenge: &Challenge, signed: &SignedBody) {
        let event = DeviceEvent::Challenge(Arc::new(signed.clone()));
        for delivery in &challenge.deliveries {
            self.hub.send(delivery.device, &event);
        }
    }

    fn issue(
        &self,
        caller: &IdpCaller,
        tenant: &Tenant,
        request: &NewRequest,
        grounds: &Grounds,
        without_texts: bool,
        now: Timestamp,
    ) -> Result<(Challenge, SignedBody, Option<CodeOrder>), BrokerError> {
        let policy: &Policy = &tenant.policy;
        let account = &grounds.account;
        let (id, nonce, collapse) = random::for_challenge()?;
        let id = ChallengeId::new(now, &id);
        let deliveries: Vec<_> = grounds
            .devices
            .iter()
            .map(|device| self.plan(device, now))
            .collect();
        let can = |method| match method {
            Method::Push => deliveries
                .iter()
                .any(|delivery| delivery.state != DeliveryState::Failed),
            Method::Sms => {
                !without_texts && self.can_text() && account.can_answer_by(method, policy)
            }
            Method::Totp | Method::RecoveryCode | Method::RememberedBrowser => {
                account.can_answer_by(method, policy)
            }
        };
        let allowed = |method: &Method| policy.methods.allow(*method) && can(*method);
        let only = request.method.or(request.device.map(|_| Method::Push));
        let method = match only {
            Some(method) => Some(method).filter(allowed),
            // Recovery codes are few: they are asked for only when told to.
            None => sign_in::order(policy.methods.recommended)
                .into_iter()
                .filter(|method| *method != Method::RecoveryCode)
                .find(allowed),
        };
        let origin = self.origin((tenant.id, &request.user), &request.context);
        let risks = risk::assess(grounds.standing, &origin, account, policy, now);
        let asked = method.or(only).unwrap_or(Method::Push);
        let digits = match asked {
            Method::Push => policy.digits(!risks.is_empty()),
            Method::Sms | Method::Totp | Method::RecoveryCode | Method::RememberedBrowser => 0,
        };
        // Codes take longer to find and to type than a prompt to answer.
        let ttl = request.ttl.unwrap_or(match asked {
            Method::Push => policy.challenge_ttl,
            Method::Sms | Method::Totp | Method::RecoveryCode | Method::RememberedBrowser => {
                policy.codes.ttl
            }
        });
        let expire_time = now.after(ttl);
        let body = challenge_body(
            id,
            tenant,
            &request.user,
            &request.context,
            digits,
            (now, expire_time),
            &nonce,
        );
        let signed = self.keyring.sign_challenge(body, now)?;
        // Where nobody answers, or nobody can be reached after all.
        let fallback_time = (asked == Method::Push && only.is_none() && allowed(&Method::Sms))
            .then(|| match policy.codes.fallback_after {
                Some(after) => now.after(after).min(expire_time),
                None => expire_time,
            });
        let mut challenge = Challenge {
            id,
            tenant: tenant.id,
            user: request.user.clone(),
            api_key: caller.api_key.clone(),
            method: asked,
            number: random::digits(digits)?,
            create_time: now,
            expire_time,
            prompt_expire_time: expire_time,
            fallback_time,
            codes: Codes::new(&policy.codes),
            collapse_id: URL_SAFE_NO_PAD.encode(collapse),
            deliveries: match asked {
                Method::Push => deliveries,
                Method::Sms | Method::Totp | Method::RecoveryCode | Method::RememberedBrowser => {
                    Vec::new()
                }
            },
            outcome: None,
            remembering: Remembering {
                wanted: request.remember,
                browser: None,
            },
            origin,
            risks,
        };
        let mut code = None;
        match method {
            None => challenge.end_unreachable(now, &signed.key_id),
            Some(Method::Sms) => {
                if let Some(phone) = account.phone_for_codes(&policy.sms) {
                    let purpose = TextPurpose::SignInCode(id);
                    let whose = (tenant.id, &request.user);
                    code = Some(self.order_code(whose, phone, purpose, policy, now)?);
                }
            }
            Some(
                Method::Push | Method::Totp | Method::RecoveryCode | Method::RememberedBrowser,
            ) => {}
        }
        Ok((challenge, signed, code))
    }

    /// By which road the prompt goes to a device.
    pub(super) fn plan(&self, device: &Device, now: Timestamp) -> Delivery {
        let usable = device.push.as_ref().filter(|push| !push.quarantined);
        let (road, state, reason) = match (usable, &device.push) {
            (Some(push), _) => (Road::Push(push.gateway), DeliveryState::Queued, ""),
            (None, _) if self.hub.is_subscribed(device.id) => {
                (Road::Subscribe, DeliveryState::Accepted, "")
            }
            // It counts on being woken, and can't be.
            (None, Some(push)) => (
                Road::Push(push.gateway),
                DeliveryState::Failed,
                dispatch::unusable(push),
            ),
            (None, None) => (Road::Subscribe, DeliveryState::Queued, ""),
        };
        Delivery {
            device: device.id,
            road,
            state,
            reason: reason.to_owned(),
            update_time: now,
            pushed: false,
        }
    }

    /// The prompt once more, for "back to the app": not to phones that have it on
    /// an open stream.
    pub(super) fn pushes_again(
        &self,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<Vec<PushJob>, BrokerError> {
        let mut jobs = self.pushes(challenge, now)?;
        jobs.retain(|job| !self.hub.is_subscribed(job.device));
        Ok(jobs)
    }

    fn pushes(&self, challenge: &Challenge, now: Timestamp) -> Result<Vec<PushJob>, BrokerError> {
        let mut jobs = Vec::new();
        for delivery in &challenge.deliveries {
            let Road::Push(gateway) = delivery.road else {
                continue;
            };
            if delivery.state == DeliveryState::Failed {
                continue;
            }
            let open = self.hub.is_subscribed(delivery.device);
            jobs.push(PushJob {
                id: PushId::new(now, &random::id()?),
                gateway,
                due: if open { now.after(OPEN_APP_GRACE) } else { now },
                kind: PushKind::Prompt,
                tenant: challenge.tenant,
                challenge: challenge.id,
                device: delivery.device,
                attempts: 0,
                perhaps_sent: false,
                expire_time: challenge.expire_time,
                farewell: None,
            });
        }
        Ok(jobs)
    }
}
