//! Following a challenge to its end, and giving it up.

use std::{sync::Arc, time::Duration};

use super::{Broker, IdpCaller, Shown, error::BrokerError, hub::Waiting, wait_timeout};
use crate::{
    domain::{
        challenge::{Challenge, Event, Final, Method, Outcome, SignedBody},
        ids::ChallengeId,
        receipt,
    },
    store::Decided,
};

impl Broker {
    /// The challenge as it is now.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] and those of the store.
    pub async fn get_challenge(
        &self,
        caller: &IdpCaller,
        id: ChallengeId,
    ) -> Result<Shown, BrokerError> {
        let now = self.now();
        let (challenge, signed) = self
            .store
            .challenge(caller.tenant, id)
            .await?
            .ok_or(BrokerError::NotFound("challenge"))?;
        if challenge.outcome.is_none() && !challenge.is_open(now) {
            // Its time is up and the sweep has not come by yet: expiry is a
            // decision, taken on access too.
            let key = self.keyring.current_id(now)?;
            let by = crate::domain::audit::By::broker();
            match self
                .store
                .decide(caller.tenant, id, Event::Tick, now, key, by)
                .await?
            {
                Decided::Recorded(challenge) | Decided::Lapsed(challenge) => {
                    self.withdraw(&challenge);
                    return self.show(challenge, signed);
                }
                Decided::Already(challenge) => return self.show_stored(challenge, signed).await,
                Decided::PromptExpired
                | Decided::NotFound
                | Decided::ReportedLate { .. }
                | Decided::Revoked { .. } => {
                    return Err(BrokerError::NotFound("challenge"));
                }
            }
        }
        self.show_stored(challenge, signed).await
    }

    /// Answers at the decision, or when the challenge goes on by another method
    /// than `known` (none: than at the call's beginning), or with what is when
    /// `timeout` has passed or the broker stops.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] and those of the store.
    pub async fn wait_challenge(
        &self,
        caller: &IdpCaller,
        id: ChallengeId,
        timeout: Option<Duration>,
        mut known: Option<Method>,
    ) -> Result<Shown, BrokerError> {
        let end = self.clock.sleep(wait_timeout(timeout)?);
        tokio::pin!(end);
        let mut waiting = self.hub.challenges.wait_on(id);
        loop {
            // Looking takes more memory than waiting, so it has its own. It is
            // given back, and with it the challenge, while nothing happens.
            let shown = Box::pin(self.get_challenge(caller, id)).await?;
            let method = shown.challenge.method;
            if shown.challenge.outcome.is_some() || *known.get_or_insert(method) != method {
                return Ok(shown);
            }
            drop(shown);
            let ended = tokio::select! {
                () = waiting.changed() => false,
                () = &mut end => true,
                () = self.hub.stopping.cancelled() => true,
            };
            self.still_admits(caller).await?;
            if ended {
                return Box::pin(self.get_challenge(caller, id)).await;
            }
        }
    }

    /// Starts following a challenge: what is now, and the place to wait for more.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] and those of the store.
    pub async fn watch_challenge(
        self: &Arc<Self>,
        caller: IdpCaller,
        id: ChallengeId,
    ) -> Result<Watch, BrokerError> {
        let waiting = self.hub.challenges.wait_on(id);
        let first = self.get_challenge(&caller, id).await?;
        Ok(Watch {
            broker: self.clone(),
            caller,
            id,
            waiting,
            next: Some(first),
            last: None,
        })
    }

    /// The identity provider gives up.
    ///
    /// # Errors
    /// [`BrokerError::AlreadyDecided`] when it ended otherwise before.
    pub async fn cancel_challenge(
        &self,
        caller: &IdpCaller,
        id: ChallengeId,
    ) -> Result<Shown, BrokerError> {
        let now = self.now();
        let key = self.keyring.current_id(now)?;
        let decided = self
            .store
            .decide(
                caller.tenant,
                id,
                Event::Cancel,
                now,
                key,
                caller.by.clone(),
            )
            .await?;
        match decided {
            Decided::Recorded(challenge) => {
                self.withdraw(&challenge);
                self.get_challenge(caller, id).await
            }
            Decided::Already(challenge) => match &challenge.outcome {
                Some(outcome) if outcome.state == Final::Cancelled => {
                    self.get_challenge(caller, id).await
                }
                _ => Err(already_decided(&challenge)),
            },
            Decided::Lapsed(challenge) => {
                self.withdraw(&challenge);
                Err(already_decided(&challenge))
            }
            Decided::PromptExpired
            | Decided::NotFound
            | Decided::ReportedLate { .. }
            | Decided::Revoked { .. } => Err(BrokerError::NotFound("challenge")),
        }
    }

    /// Adds the receipt.
    pub(crate) fn show(
        &self,
        challenge: Challenge,
        signed: SignedBody,
    ) -> Result<Shown, BrokerError> {
        let receipt = match &challenge.outcome {
            None => String::new(),
            Some(outcome) => {
                let input =
                    receipt::signing_input(&self.identity.issuer, &challenge, &signed, outcome);
                let signature = self.keyring.sign_receipt(&outcome.receipt_key_id, &input)?;
                receipt::compact(input, &signature)
            }
        };
        Ok(Shown {
            browser_token: self.token_of(&challenge),
            challenge,
            signed,
            receipt,
            revocation: None,
        })
    }

    /// The same for a challenge as it was read: what was said after its end may
    /// be there too.
    async fn show_stored(
        &self,
        challenge: Challenge,
        signed: SignedBody,
    ) -> Result<Shown, BrokerError> {
        let approved = |outcome: &Outcome| outcome.state == Final::Approved;
        let revocation = if challenge.outcome.as_ref().is_some_and(approved) {
            let (tenant, id) = (challenge.tenant, challenge.id);
            self.store.revocation(tenant, id).await?
        } else {
            None
        };
        let shown = self.show(challenge, signed)?;
        Ok(Shown {
            revocation,
            ..shown
        })
    }
}

/// The refusal of what comes after the end.
pub(super) fn already_decided(challenge: &Challenge) -> BrokerError {
    match &challenge.outcome {
        Some(outcome) => BrokerError::AlreadyDecided {
            state: outcome.state,
            reason: outcome.reason,
            device: outcome.proof.as_ref().map(|proof| proof.device),
        },
        None => BrokerError::Internal("a pending challenge was taken for an ended one".into()),
    }
}

/// A caller following a challenge.
pub struct Watch {
    broker: Arc<Broker>,
    caller: IdpCaller,
    id: ChallengeId,
    waiting: Waiting<ChallengeId>,
    next: Option<Shown>,
    last: Option<Challenge>,
}

impl Watch {
    /// The next change; `None` after the final one.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when the broker stops before the end.
    pub async fn next(&mut self) -> Result<Option<Shown>, BrokerError> {
        if self
            .last
            .as_ref()
            .is_some_and(|challenge| challenge.outcome.is_some())
        {
            return Ok(None);
        }
        loop {
            let shown = match self.next.take() {
                Some(first) => first,
                None => {
                    tokio::select! {
                        () = self.waiting.changed() => {}
                        () = self.broker.hub.stopping.cancelled() => {
                            return Err(BrokerError::Unavailable);
                        }
                    }
                    self.broker.still_admits(&self.caller).await?;
                    self.broker.get_challenge(&self.caller, self.id).await?
                }
            };
            if self.last.as_ref() != Some(&shown.challenge) {
                self.last = Some(shown.challenge.clone());
                return Ok(Some(shown));
            }
        }
    }
}
