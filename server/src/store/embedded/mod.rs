//! The embedded engine behind the trait: typed rows over one ordered tree.

mod accounts;
mod audit;
mod browsers;
mod challenges;
mod claims;
mod codes;
mod events;
mod expiry;
mod import;
mod installation;
mod keys;
mod notices;
mod outbox;
mod record;
mod registration;
mod retention;
mod revocations;
mod rows;
#[cfg(test)]
mod tests;
mod texts;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use accounts::Doing;
use async_trait::async_trait;
use claims::Claims;

use super::{
    AccountChanged, Created, Decided, GoOn, Guessed, Happened, Hint, Imported, Left, Listener,
    NewChallenge, PushResult, Redeemed, Removed, Replaced, Store, StoreError, TextResult, WentOn,
    engine::{Compacted, Engine, EngineError, EngineOptions, EngineStats, OpenError, Tx},
};
use crate::domain::{
    account::{Account, AccountChange},
    api_key::{ApiKey, ApiKeyId},
    audit::{By, Chain, ChainedEntry, Entry, SignedHead},
    browser::{Browser, Forgetting},
    challenge::{Challenge, DeliveryState, Event, SignedBody},
    code::Guess,
    device::{Device, PushGateway, PushRegistration},
    ids::{BrowserId, ChallengeId, DeviceId, EnrollmentId, PushId, TenantId, TextId, UserId},
    notice::Kept,
    policy::Policy,
    push::PushJob,
    revocation::Revocation,
    signing_key::SigningKey,
    tenant::{PolicyVersion, Tenant},
    text::{Receipt, TextJob},
    ticket::{Ticket, TicketCode},
    time::Timestamp,
};

/// Where hints go once a commit is durable.
#[derive(Clone, Default)]
struct Hints(Arc<OnceLock<Listener>>);

impl Hints {
    fn after_commit(&self, tx: &mut Tx<'_>, hint: Hint) {
        let listener = self.0.clone();
        tx.after_commit(Box::new(move || {
            if let Some(listener) = listener.get() {
                listener(hint);
            }
        }));
    }
}

/// The store on the embedded engine.
pub struct EmbeddedStore {
    engine: Engine,
    hints: Hints,
    pushes: Claims<PushId>,
    texts: Claims<TextId>,
}

/// The version of what is stored. 2: several entries of the audit trail in a row,
/// of which a program that knows version 1 would see the first only. 3: such rows
/// may be compressed.
const SCHEMA: u32 = 3;

impl EmbeddedStore {
    /// What the engine has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// Opens an existing directory.
    ///
    /// # Errors
    /// [`OpenError`], in words for an operator.
    pub fn open(dir: &Path, options: EngineOptions) -> Result<Self, OpenError> {
        let engine = Engine::open(dir, at_this_version(options))?;
        if engine.schema_version() < SCHEMA {
            // First in the queue, so part of the first commit. It is refused only
            // where everything else is too.
            let raised = engine.write_lazy(|tx| tx.set_schema_version(SCHEMA));
            if let Err(error) = raised {
                tracing::error!(%error, "the store's version can't be noted");
            }
        }
        let store = Self::over(engine);
        if let Err(error) = store.write_lazy(|tx, _| audit::leave_unreadable(tx)) {
            tracing::error!(%error, "the audit trail's last entries were not looked at");
        }
        Ok(store)
    }

    /// Writes a directory that nobody has open anew, without what has left it.
    ///
    /// # Errors
    /// [`OpenError`], in words for an operator.
    pub fn compact(dir: &Path, options: EngineOptions) -> Result<Compacted, OpenError> {
        Engine::compact(dir, at_this_version(options))
    }

    /// Makes a new directory.
    ///
    /// # Errors
    /// [`OpenError`], in words for an operator.
    pub fn create(dir: &Path, options: EngineOptions) -> Result<Self, OpenError> {
        Engine::create(dir, at_this_version(options)).map(Self::over)
    }

    fn over(engine: Engine) -> Self {
        Self {
            engine,
            hints: Hints::default(),
            pushes: Claims::default(),
            texts: Claims::default(),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Tx<'_>, &Hints) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let hints = self.hints.clone();
        self.engine
            .write(move |tx| {
                let done = step(tx, &hints);
                audit::tell(tx, &hints);
                done
            })
            .await
            .map_err(engine_error)?
    }

    fn write_lazy(
        &self,
        step: impl FnOnce(&mut Tx<'_>, &Hints) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let hints = self.hints.clone();
        self.engine
            .write_lazy(move |tx| {
                if let Err(error) = step(tx, &hints) {
                    tx.roll_back();
                    tracing::error!(%error, "progress could not be noted");
                }
                audit::tell(tx, &hints);
            })
            .map_err(engine_error)
    }
}

fn at_this_version(options: EngineOptions) -> EngineOptions {
    EngineOptions {
        schema_version: SCHEMA,
        ..options
    }
}

fn engine_error(error: EngineError) -> StoreError {
    match error {
        EngineError::Overloaded => StoreError::Overloaded,
        EngineError::Unavailable => StoreError::Unavailable(error.to_string()),
        EngineError::Unknown => StoreError::Unknown(error.to_string()),
        EngineError::TooLarge { .. } => StoreError::Corrupt(error.to_string()),
    }
}

macro_rules! read {
    ($self:ident, |$rows:ident| $body:expr) => {
        $self
            .engine
            .read(|$rows| $body)
            .await
            .map_err(engine_error)?
    };
}

#[async_trait]
impl Store for EmbeddedStore {
    fn listen(&self, listener: Listener) {
        if self.hints.0.set(listener).is_err() {
            tracing::error!("the store has a listener already");
        }
    }

    async fn add_signing_key(&self, key: SigningKey, by: By) -> Result<(), StoreError> {
        self.write(move |tx, _| installation::add_signing_key(tx, &key, &by))
            .await
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        read!(self, |rows| installation::signing_keys(rows))
    }

    async fn add_tenant(&self, tenant: Tenant, by: By) -> Result<(), StoreError> {
        self.write(move |tx, _| installation::add_tenant(tx, &tenant, &by))
            .await
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        read!(self, |rows| rows::load_often(rows, &keys::tenant(id)))
    }

    async fn tenants(
        &self,
        after: Option<TenantId>,
        limit: usize,
    ) -> Result<Vec<Tenant>, StoreError> {
        read!(self, |rows| installation::tenants(rows, after, limit))
    }

    async fn replace_policy(
        &self,
        id: TenantId,
        expected: u64,
        policy: Policy,
        why: String,
        now: Timestamp,
        by: By,
    ) -> Result<Replaced, StoreError> {
        self.write(move |tx, _| {
            installation::replace_policy(tx, id, expected, policy, &why, now, &by)
        })
        .await
    }

    async fn policy_versions(
        &self,
        id: TenantId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<PolicyVersion>, StoreError> {
        read!(self, |rows| installation::policy_versions(
            rows, id, before, limit
        ))
    }

    async fn add_api_key(&self, key: ApiKey, by: By) -> Result<(), StoreError> {
        self.write(move |tx, _| installation::add_api_key(tx, &key, &by))
            .await
    }

    async fn api_key(&self, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let key = keys::api_key(id);
        read!(self, |rows| rows::load_often(rows, &key))
    }

    async fn api_keys(&self, tenant: Option<TenantId>) -> Result<Vec<ApiKey>, StoreError> {
        read!(self, |rows| installation::api_keys(rows, tenant))
    }

    async fn revoke_api_key(
        &self,
        id: ApiKeyId,
        scope: Option<TenantId>,
        now: Timestamp,
        by: By,
    ) -> Result<Option<ApiKey>, StoreError> {
        self.write(move |tx, _| installation::revoke_api_key(tx, &id, scope, now, &by))
            .await
    }

    async fn add_ticket(&self, ticket: Ticket, by: By) -> Result<bool, StoreError> {
        self.write(move |tx, hints| registration::add_ticket(tx, hints, &ticket, &by))
            .await
    }

    async fn ticket(
        &self,
        tenant: TenantId,
        id: EnrollmentId,
    ) -> Result<Option<Ticket>, StoreError> {
        read!(self, |rows| rows::load(rows, &keys::ticket(tenant, id)))
    }

    async fn redeem(
        &self,
        code: TicketCode,
        device: Device,
        now: Timestamp,
        address: String,
    ) -> Result<Redeemed, StoreError> {
        self.write(move |tx, hints| registration::redeem(tx, hints, &code, device, now, &address))
            .await
    }

    async fn import_devices(
        &self,
        devices: Vec<Device>,
        now: Timestamp,
        by: By,
    ) -> Result<Imported, StoreError> {
        let hints = self.hints.clone();
        let done = self
            .engine
            .write(move |tx| {
                let done = import::import(tx, &hints, &devices, now, &by);
                audit::tell(tx, &hints);
                done
            })
            .await;
        match done {
            Err(EngineError::TooLarge { .. }) => Ok(Imported::TooMuch),
            done => done.map_err(engine_error)?,
        }
    }

    async fn device(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        read!(self, |rows| rows::load_often(rows, &keys::device(id)))
    }

    async fn devices_of(&self, tenant: TenantId, user: &UserId) -> Result<Vec<Device>, StoreError> {
        let user = user.clone();
        read!(self, |rows| registration::devices_of(rows, tenant, &user))
    }

    async fn remove_device(
        &self,
        tenant: TenantId,
        user: UserId,
        id: DeviceId,
        now: Timestamp,
        receipt_key_id: String,
        by: By,
    ) -> Result<Removed, StoreError> {
        self.write(move |tx, hints| {
            registration::remove_device(tx, hints, tenant, &user, id, now, &receipt_key_id, &by)
        })
        .await
    }

    async fn replace_push(
        &self,
        id: DeviceId,
        push: Option<PushRegistration>,
        now: Timestamp,
        by: By,
    ) -> Result<bool, StoreError> {
        self.write(move |tx, _| registration::replace_push(tx, id, push, now, &by))
            .await
    }

    async fn create(&self, new: NewChallenge) -> Result<Created, StoreError> {
        self.write(move |tx, hints| challenges::create(tx, hints, &new))
            .await
    }

    async fn challenge(
        &self,
        tenant: TenantId,
        id: ChallengeId,
    ) -> Result<Option<(Challenge, SignedBody)>, StoreError> {
        read!(self, |rows| challenges::load(rows, tenant, id))
    }

    async fn pending_of(
        &self,
        tenant: TenantId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<(Challenge, SignedBody)>, StoreError> {
        let user = user.clone();
        read!(self, |rows| {
            let mut found = Vec::new();
            for challenge in challenges::pending_of(rows, tenant, &user)? {
                if challenge.is_open(now) {
                    found.extend(challenges::load(rows, tenant, challenge.id)?);
                }
            }
            Ok(found)
        })
    }

    async fn decide(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        event: Event,
        now: Timestamp,
        receipt_key_id: String,
        by: By,
    ) -> Result<Decided, StoreError> {
        self.write(move |tx, hints| {
            challenges::decide(tx, hints, tenant, id, event, now, &receipt_key_id, &by)
        })
        .await
    }

    async fn expire_due(
        &self,
        now: Timestamp,
        limit: usize,
        receipt_key_id: String,
    ) -> Result<Vec<Challenge>, StoreError> {
        let mut ended = Vec::new();
        loop {
            let (left, key) = (limit.saturating_sub(ended.len()), receipt_key_id.clone());
            let step = self
                .write(move |tx, hints| expiry::expire_due(tx, hints, now, left, &key))
                .await;
            match step {
                Ok(step) => {
                    ended.extend(step.ended);
                    if !step.more || ended.len() >= limit {
                        return Ok(ended);
                    }
                }
                // Those that have ended must be told of.
                Err(error) if ended.is_empty() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "the sweep was interrupted");
                    return Ok(ended);
                }
            }
        }
    }

    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(read!(self, |rows| expiry::next_expiry(rows)))
    }

    async fn note_delivery(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        device: DeviceId,
        state: DeliveryState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |tx, hints| {
            challenges::note_delivery(tx, hints, tenant, id, device, state, "", now)
        })
        .await
    }

    fn note_delivery_soon(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        device: DeviceId,
        state: DeliveryState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write_lazy(move |tx, hints| {
            challenges::note_delivery(tx, hints, tenant, id, device, state, "", now)
        })
    }

    async fn claim_pushes(
        &self,
        gateway: PushGateway,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<PushJob>, StoreError> {
        let outbox = outbox::of(gateway);
        Ok(read!(self, |rows| self
            .pushes
            .claim(rows, &outbox, now, limit)))
    }

    async fn next_push(&self, gateway: PushGateway) -> Result<Option<Timestamp>, StoreError> {
        let outbox = outbox::of(gateway);
        Ok(read!(self, |rows| self.pushes.next(rows, &outbox)))
    }

    async fn finish_push(
        &self,
        job: PushJob,
        result: PushResult,
        unheard: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError> {
        let claims = self.pushes.clone();
        // Only a failed prompt can end a challenge; nothing else is waited for.
        let may_end = unheard.is_some()
            && matches!(
                &result,
                PushResult::Finished {
                    delivery: Some((DeliveryState::Failed, _)),
                    ..
                }
            );
        let step = move |tx: &mut Tx<'_>, hints: &Hints| {
            outbox::finish(tx, hints, &claims, &job, &result, unheard.as_deref(), now)
        };
        if may_end {
            self.write(step).await
        } else {
            self.write_lazy(move |tx, hints| step(tx, hints).map(drop))?;
            Ok(None)
        }
    }

    async fn account(&self, tenant: TenantId, user: &UserId) -> Result<Account, StoreError> {
        let user = user.clone();
        read!(self, |rows| accounts::load(rows, tenant, &user))
    }

    async fn change_account(
        &self,
        tenant: TenantId,
        user: UserId,
        change: AccountChange,
        now: Timestamp,
        receipt_key_id: String,
        by: By,
    ) -> Result<AccountChanged, StoreError> {
        self.write(move |tx, hints| {
            let doing = Doing {
                now,
                receipt_key_id: &receipt_key_id,
                by: &by,
            };
            accounts::change(tx, hints, tenant, &user, change, doing)
        })
        .await
    }

    async fn go_on(&self, go_on: GoOn) -> Result<WentOn, StoreError> {
        self.write(move |tx, hints| codes::go_on(tx, hints, &go_on))
            .await
    }

    async fn guess(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        guess: Guess,
        now: Timestamp,
        receipt_key_id: String,
        by: By,
    ) -> Result<Option<Guessed>, StoreError> {
        self.write(move |tx, hints| {
            let doing = Doing {
                now,
                receipt_key_id: &receipt_key_id,
                by: &by,
            };
            codes::guess(tx, hints, tenant, id, &guess, doing)
        })
        .await
    }

    async fn fallbacks_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(TenantId, ChallengeId)>, StoreError> {
        Ok(read!(self, |rows| codes::fallbacks_due(rows, now, limit)))
    }

    async fn next_fallback(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(read!(self, |rows| codes::next_fallback(rows)))
    }

    async fn claim_texts(&self, now: Timestamp, limit: usize) -> Result<Vec<TextJob>, StoreError> {
        let outbox = texts::outbox();
        Ok(read!(self, |rows| self
            .texts
            .claim(rows, &outbox, now, limit)))
    }

    async fn next_text(&self) -> Result<Option<Timestamp>, StoreError> {
        let outbox = texts::outbox();
        Ok(read!(self, |rows| self.texts.next(rows, &outbox)))
    }

    async fn finish_text(
        &self,
        job: TextJob,
        result: TextResult,
        unheard: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError> {
        let claims = self.texts.clone();
        // Only a failed code can end a challenge; nothing else is waited for.
        let may_end = unheard.is_some()
            && matches!(
                &result,
                TextResult::Finished(Some((DeliveryState::Failed, _)))
            );
        let step = move |tx: &mut Tx<'_>, hints: &Hints| {
            texts::finish(tx, hints, &claims, &job, &result, unheard.as_deref(), now)
        };
        if may_end {
            self.write(step).await
        } else {
            self.write_lazy(move |tx, hints| step(tx, hints).map(drop))?;
            Ok(None)
        }
    }

    fn note_text_receipt(&self, receipt: Receipt, now: Timestamp) -> Result<(), StoreError> {
        self.write_lazy(move |tx, hints| texts::note_receipt(tx, hints, &receipt, now))
    }

    async fn browser(
        &self,
        tenant: TenantId,
        user: &UserId,
        id: BrowserId,
    ) -> Result<Option<Browser>, StoreError> {
        let key = keys::browser(tenant, user, id);
        read!(self, |rows| rows::load(rows, &key))
    }

    async fn forget_browsers(
        &self,
        tenant: TenantId,
        user: UserId,
        now: Timestamp,
        by: By,
    ) -> Result<usize, StoreError> {
        let why = Forgetting::Asked;
        self.write(move |tx, _| browsers::forget(tx, tenant, &user, why, now, &by))
            .await
    }

    async fn note(&self, entry: Entry) -> Result<(), StoreError> {
        self.write(move |tx, _| audit::append(tx, &entry)).await
    }

    fn is_healthy(&self) -> bool {
        self.engine.is_open()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await.map_err(engine_error)
    }

    async fn audit_chains(&self) -> Result<Vec<Chain>, StoreError> {
        read!(self, |rows| audit::chains(rows))
    }

    async fn audit_page(
        &self,
        writer: u64,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ChainedEntry>, StoreError> {
        read!(self, |rows| audit::page(rows, writer, from, limit))
    }

    async fn events_after(
        &self,
        tenant: TenantId,
        writer: u64,
        after: u64,
        limit: usize,
    ) -> Result<Happened, StoreError> {
        read!(self, |rows| events::after(
            rows, tenant, writer, after, limit
        ))
    }

    async fn revocation(
        &self,
        tenant: TenantId,
        id: ChallengeId,
    ) -> Result<Option<Revocation>, StoreError> {
        read!(self, |rows| rows::load(rows, &keys::revocation(tenant, id)))
    }

    async fn recent_approvals(
        &self,
        device: &Device,
        now: Timestamp,
    ) -> Result<Vec<(SignedBody, Timestamp)>, StoreError> {
        let device = device.clone();
        read!(self, |rows| revocations::recent(rows, &device, now))
    }

    async fn notices(
        &self,
        device: &Device,
        after: u64,
        now: Timestamp,
    ) -> Result<Vec<Kept>, StoreError> {
        let device = device.clone();
        read!(self, |rows| notices::for_device(rows, &device, after, now))
    }

    async fn audit_heads(
        &self,
        writer: u64,
        from: u64,
        limit: usize,
    ) -> Result<Vec<SignedHead>, StoreError> {
        read!(self, |rows| audit::heads(rows, writer, from, limit))
    }

    async fn add_audit_head(&self, head: SignedHead) -> Result<(), StoreError> {
        // It adds nothing to the trail, and nobody waits for it but an export.
        self.engine
            .write_along(move |tx| audit::add_head(tx, &head))
            .await
            .map_err(engine_error)?
    }

    async fn remove_challenges(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Left, StoreError> {
        self.write(move |tx, _| retention::remove_challenges(tx, before, now))
            .await
    }

    async fn remove_tickets(&self, before: Timestamp, now: Timestamp) -> Result<Left, StoreError> {
        self.write(move |tx, _| retention::remove_tickets(tx, before, now))
            .await
    }

    async fn remove_audit(
        &self,
        writer: u64,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Left, StoreError> {
        self.write(move |tx, _| retention::remove_audit(tx, writer, before, now))
            .await
    }

    async fn index_for_removal(&self) -> Result<bool, StoreError> {
        self.write(retention::index_step).await
    }
}
