//! The audit trail for operators: pages, what is new, exports, and the heads
//! that the broker signs now and then.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use countersign_proto::signing::{Purpose, sha256};
use tokio::sync::{Notify, watch};

use super::{Broker, administer::AdminCaller, error::BrokerError};
use crate::domain::{
    Invalid,
    audit::{
        Actor, Chain, ChainedEntry, ExportHeader, Places, SignedHead, Told, head_body, seal_body,
    },
    challenge::SignedBody,
    ids::TenantId,
    time::Timestamp,
};

/// A head is signed at the latest after so many entries.
const ENTRIES_PER_HEAD: u64 = 1000;
/// And after this time, if there is anything new.
const TIME_PER_HEAD: Duration = Duration::from_secs(3600);
/// Entries read from the store at a time: a read holds up the next commit.
const READ: usize = 256;
/// Entries looked at for one page; what a filter leaves of them is the page.
const SCAN: usize = 8192;
/// How far the broker's clock may have been set back without a search by time
/// passing over entries.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// Wakes those who follow the audit trail, and who signs its heads.
pub(crate) struct News {
    last: watch::Sender<u64>,
    head_due: Notify,
}

impl News {
    pub(crate) fn new() -> Self {
        Self {
            last: watch::Sender::new(0),
            head_due: Notify::new(),
        }
    }

    pub(crate) fn tell(&self, sequence: u64) {
        self.last.send_replace(sequence);
        if sequence.is_multiple_of(ENTRIES_PER_HEAD) {
            self.head_due.notify_one();
        }
    }

    pub(crate) fn resync(&self) {
        self.last.send_modify(|_| {});
        self.head_due.notify_one();
    }
}

/// A place in the trail: all up to it have been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// In whose chain.
    pub writer: u64,
    /// After which entry.
    pub after: u64,
}

impl Position {
    /// Reads what [`Position`] shows as; `field` names it in the error.
    ///
    /// # Errors
    /// [`Invalid`] when it is anything else.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let number = |part: &str| {
            let canonical = part == "0" || !part.starts_with('0');
            (canonical && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse().ok())
                .flatten()
        };
        text.split_once('.')
            .and_then(|(writer, after)| {
                Some(Self {
                    writer: number(writer)?,
                    after: number(after)?,
                })
            })
            .ok_or_else(|| Invalid::new(field, "must come from an earlier answer"))
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.writer, self.after)
    }
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub start: Option<Timestamp>,
    /// Before.
    pub end: Option<Timestamp>,
    /// This action, or all that start with it if it ends in a full stop; empty: any.
    pub action: String,
    /// This object; empty: any.
    pub object: String,
    /// This user; empty: any.
    pub user: String,
}

impl Filter {
    fn admits(&self, told: &Told) -> bool {
        let is = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let action = is(&self.action, &told.action)
            || (self.action.ends_with('.') && told.action.starts_with(&self.action));
        action
            && is(&self.object, &told.object)
            && is(&self.user, &told.user)
            && self.start.is_none_or(|start| told.time >= start)
            && self.end.is_none_or(|end| told.time < end)
    }
}

/// An entry with what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whose chain.
    pub writer: u64,
    /// The entry in its place.
    pub entry: ChainedEntry,
    /// What it says.
    pub told: Told,
}

/// A page of entries.
#[derive(Clone, Debug)]
pub struct Page {
    /// In order.
    pub entries: Vec<Recorded>,
    /// All up to here have been looked at.
    pub position: Position,
    /// There is more after it.
    pub more: bool,
}

fn read(writer: u64, entry: ChainedEntry) -> Result<Recorded, BrokerError> {
    let told = Told::read(&entry.content).ok_or_else(|| {
        BrokerError::Internal(format!("audit entry {} can't be read", entry.sequence))
    })?;
    Ok(Recorded {
        writer,
        entry,
        told,
    })
}

fn sees(scope: Option<TenantId>, told: &Told) -> bool {
    scope.is_none_or(|tenant| told.tenant == Some(tenant))
}

impl Broker {
    /// Whose entries a caller gets: none is everybody's.
    async fn audit_scope(
        &self,
        caller: &AdminCaller,
        tenant: Option<TenantId>,
    ) -> Result<Option<TenantId>, BrokerError> {
        match tenant {
            None => Ok(caller.scope),
            Some(tenant) => Ok(Some(self.get_tenant(caller, tenant).await?.id)),
        }
    }

    /// A page of the audit trail.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn list_audit(
        &self,
        caller: &AdminCaller,
        tenant: Option<TenantId>,
        filter: &Filter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, BrokerError> {
        let scope = self.audit_scope(caller, tenant).await?;
        self.check_position(after, "page_token").await?;
        self.scan(scope, filter, after, limit).await
    }

    /// A place beyond the trail, as after an older backup was restored: whoever
    /// went on from there would miss what is written until then.
    async fn check_position(
        &self,
        position: Option<Position>,
        field: &str,
    ) -> Result<(), BrokerError> {
        let Some(position) = position else {
            return Ok(());
        };
        let chains = self.store.audit_chains().await?;
        let known = chains
            .iter()
            .any(|chain| chain.writer == position.writer && position.after <= chain.sequence);
        if known || chains.is_empty() {
            Ok(())
        } else {
            Err(Invalid::new(field, "is beyond the end of the trail").into())
        }
    }

    async fn scan(
        &self,
        scope: Option<TenantId>,
        filter: &Filter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, BrokerError> {
        let chains = self.store.audit_chains().await?;
        let mut position = match (after, chains.first()) {
            (Some(after), _) => after,
            (None, Some(chain)) => self.first_of(chain, filter.start).await?,
            (None, None) => Position {
                writer: 0,
                after: 0,
            },
        };
        let mut entries = Vec::new();
        let mut scanned = 0_usize;
        for chain in &chains {
            if chain.writer < position.writer {
                continue;
            }
            if chain.writer > position.writer {
                position = self.first_of(chain, filter.start).await?;
            }
            while position.after < chain.sequence {
                if scanned >= SCAN || entries.len() >= limit {
                    return Ok(Page {
                        entries,
                        position,
                        more: true,
                    });
                }
                let from = position.after.saturating_add(1);
                let found = self.store.audit_page(chain.writer, from, READ).await?;
                if found.is_empty() {
                    break;
                }
                for entry in found {
                    if entries.len() >= limit {
                        break;
                    }
                    position.after = entry.sequence;
                    scanned = scanned.saturating_add(1);
                    let recorded = read(chain.writer, entry)?;
                    if let Some(end) = filter.end
                        && recorded.told.time >= end.after(CLOCK_SLACK)
                    {
                        position.after = chain.sequence;
                        break;
                    }
                    if sees(scope, &recorded.told) && filter.admits(&recorded.told) {
                        entries.push(recorded);
                    }
                }
            }
        }
        Ok(Page {
            entries,
            position,
            more: false,
        })
    }

    /// Where to start looking for what was written from `start` on: times grow
    /// with the sequence, but for a clock that was set back.
    async fn first_of(
        &self,
        chain: &Chain,
        start: Option<Timestamp>,
    ) -> Result<Position, BrokerError> {
        let at = |after| Position {
            writer: chain.writer,
            after,
        };
        let mut low = chain.first_kept.saturating_sub(1);
        let Some(start) = start.map(|start| start.before(CLOCK_SLACK)) else {
            return Ok(at(low));
        };
        // All up to `low` are older; `high` is not, or is beyond the end.
        let mut high = chain.sequence.saturating_add(1);
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            let found = self.store.audit_page(chain.writer, middle, 1).await?;
            let older = match found.into_iter().next() {
                Some(entry) => read(chain.writer, entry)?.told.time < start,
                None => false,
            };
            if older {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(at(low))
    }

    /// Follows the audit trail from `after`, or from now on.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn watch_audit(
        self: &Arc<Self>,
        caller: AdminCaller,
        tenant: Option<TenantId>,
        after: Option<Position>,
    ) -> Result<AuditWatch, BrokerError> {
        let scope = self.audit_scope(&caller, tenant).await?;
        self.check_position(after, "resume_token").await?;
        // Before looking, so that nothing is missed in between.
        let news = self.schedule.audit.last.subscribe();
        let position = match after {
            Some(after) => after,
            None => {
                let chains = self.store.audit_chains().await?;
                let last = chains.last().map(|chain| (chain.writer, chain.sequence));
                let (writer, after) = last.unwrap_or_default();
                Position { writer, after }
            }
        };
        Ok(AuditWatch {
            broker: self.clone(),
            caller,
            scope,
            position,
            news,
            first: true,
        })
    }

    /// Whether the key of an operator who has been waiting still admits.
    async fn still_admits_admin(&self, caller: &AdminCaller) -> Result<(), BrokerError> {
        let Actor::ApiKey(id) = &caller.by.actor else {
            return Ok(());
        };
        let key = self.store.api_key(id).await?;
        if key.is_some_and(|key| key.revoke_time.is_none()) {
            Ok(())
        } else {
            Err(BrokerError::Unauthenticated)
        }
    }

    /// Signs the link at the end of `chain`, unless the newest signed head is
    /// that already.
    async fn sign_head(&self, chain: &Chain) -> Result<SignedHead, BrokerError> {
        if let Some(signed) = &chain.signed
            && signed.is_of(chain, &self.identity.issuer)
        {
            return Ok(signed.clone());
        }
        let now = self.now();
        let body = head_body(&self.identity.issuer, chain, now);
        let signed = self.keyring.sign_audit(Purpose::AuditHead, body, now)?;
        let head = SignedHead {
            writer: chain.writer,
            sequence: chain.sequence,
            body: signed.body,
            key_id: signed.key_id,
            signature: signed.signature,
            sign_time: now,
            first_kept: chain.first_kept,
        };
        self.store.add_audit_head(head.clone()).await?;
        Ok(head)
    }

    /// Signs a head for each chain that has grown.
    pub(super) async fn sign_heads(&self) -> Result<(), BrokerError> {
        for chain in self.store.audit_chains().await? {
            self.sign_head(&chain).await?;
        }
        Ok(())
    }

    /// Runs until the broker stops: signs heads of the audit trail.
    pub async fn run_audit(self: Arc<Self>) {
        let stopping = self.hub.stopping.clone();
        loop {
            tokio::select! {
                () = self.clock.sleep(TIME_PER_HEAD) => {}
                () = self.schedule.audit.head_due.notified() => {}
                () = stopping.cancelled() => return,
            }
            if let Err(error) = self.sign_heads().await {
                tracing::error!(%error, "the head of the audit trail could not be signed");
            }
        }
    }

    /// Starts an export.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn export_audit(
        self: &Arc<Self>,
        caller: &AdminCaller,
        tenant: Option<TenantId>,
    ) -> Result<AuditExport, BrokerError> {
        let tenant = self.audit_scope(caller, tenant).await?;
        let mut chains = VecDeque::new();
        let mut heads = Vec::new();
        for chain in self.store.audit_chains().await? {
            heads.push(self.sign_head(&chain).await?);
            chains.push_back(chain);
        }
        let header = ExportHeader {
            issuer: self.identity.issuer.clone(),
            tenant,
            time: self.now(),
            heads,
        };
        Ok(AuditExport {
            broker: self.clone(),
            caller: caller.clone(),
            header,
            places: Places::default(),
            chains,
            after: None,
            sealed: false,
        })
    }
}

/// Somebody who follows the audit trail.
pub struct AuditWatch {
    broker: Arc<Broker>,
    caller: AdminCaller,
    scope: Option<TenantId>,
    position: Position,
    news: watch::Receiver<u64>,
    first: bool,
}

/// Entries in one answer to somebody who follows.
const WATCH_PAGE: usize = 256;

impl AuditWatch {
    /// What is new; the first answer comes at once. None when the broker stops.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn next(&mut self) -> Result<Option<Page>, BrokerError> {
        loop {
            if self.broker.hub.stopping.is_cancelled() {
                return Err(BrokerError::Unavailable);
            }
            self.news.mark_unchanged();
            self.broker.still_admits_admin(&self.caller).await?;
            let page = self
                .broker
                .scan(
                    self.scope,
                    &Filter::default(),
                    Some(self.position),
                    WATCH_PAGE,
                )
                .await?;
            self.position = page.position;
            if std::mem::take(&mut self.first) || !page.entries.is_empty() {
                return Ok(Some(page));
            }
            if page.more {
                continue;
            }
            tokio::select! {
                changed = self.news.changed() => {
                    if changed.is_err() {
                        return Ok(None);
                    }
                }
                () = self.broker.hub.stopping.cancelled() => {}
            }
        }
    }
}

/// One line of an export.
#[derive(Clone, Debug)]
pub enum ExportLine {
    /// An entry in full.
    Entry(Box<Recorded>),
    /// Entries of others.
    Digests {
        /// Whose chain.
        writer: u64,
        /// Place of the first.
        first: u64,
        /// SHA-256 of each.
        digests: Vec<[u8; 32]>,
        /// The link after the last.
        link: [u8; 32],
    },
    /// A signed head.
    Head(SignedHead),
    /// The broker's word that this is all.
    Seal(SignedBody),
}

/// An export under way.
pub struct AuditExport {
    broker: Arc<Broker>,
    caller: AdminCaller,
    header: ExportHeader,
    places: Places,
    chains: VecDeque<Chain>,
    /// In the first of them: all up to here is written.
    after: Option<u64>,
    sealed: bool,
}

impl AuditExport {
    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &ExportHeader {
        &self.header
    }

    /// The next lines; none at the end.
    ///
    /// # Errors
    /// [`BrokerError`]; `Unavailable` also when entries have left by age while
    /// they were being exported.
    pub async fn next(&mut self) -> Result<Option<Vec<ExportLine>>, BrokerError> {
        let Some(chain) = self.chains.front() else {
            return self.seal();
        };
        if self.broker.hub.stopping.is_cancelled() {
            return Err(BrokerError::Unavailable);
        }
        self.broker.still_admits_admin(&self.caller).await?;
        let store = &self.broker.store;
        let writer = chain.writer;
        let before_first = chain.first_kept.saturating_sub(1);
        let mut lines = Vec::new();
        let after = match self.after {
            Some(after) => after,
            None if before_first == 0 => 0,
            None => {
                let anchor = store.audit_heads(writer, before_first, 1).await?;
                let anchor = anchor
                    .into_iter()
                    .find(|head| head.sequence == before_first)
                    .ok_or(BrokerError::Unavailable)?;
                lines.push(ExportLine::Head(anchor));
                before_first
            }
        };
        let from = after.saturating_add(1);
        let left = usize::try_from(chain.sequence.saturating_sub(after)).unwrap_or(READ);
        let entries = store.audit_page(writer, from, READ.min(left)).await?;
        let last = entries.last().map_or(after, |entry| entry.sequence);
        let heads = store.audit_heads(writer, from, READ).await?;
        let mut heads = heads
            .into_iter()
            .filter(|head| head.sequence <= last)
            .peekable();
        let mut expected = from;
        for entry in entries {
            if entry.sequence != expected {
                // They have left by age since the export began.
                return Err(BrokerError::Unavailable);
            }
            expected = expected.saturating_add(1);
            let sequence = entry.sequence;
            let recorded = read(writer, entry)?;
            if sees(self.header.tenant, &recorded.told) {
                self.places.add(writer, sequence);
                lines.push(ExportLine::Entry(Box::new(recorded)));
            } else {
                push_digest(&mut lines, &recorded);
            }
            if let Some(head) = heads.next_if(|head| head.sequence == sequence) {
                lines.push(ExportLine::Head(head));
            }
        }
        if last == after && last < chain.sequence {
            return Err(BrokerError::Unavailable);
        }
        if last >= chain.sequence {
            self.chains.pop_front();
            self.after = None;
        } else {
            self.after = Some(last);
        }
        Ok(Some(lines))
    }

    fn seal(&mut self) -> Result<Option<Vec<ExportLine>>, BrokerError> {
        if std::mem::replace(&mut self.sealed, true) {
            return Ok(None);
        }
        let body = seal_body(&self.header, &self.places);
        let now = self.broker.now();
        let signed = self
            .broker
            .keyring
            .sign_audit(Purpose::AuditExport, body, now)?;
        Ok(Some(vec![ExportLine::Seal(signed)]))
    }
}

/// Adds an entry of somebody else to a run of digests.
fn push_digest(lines: &mut Vec<ExportLine>, recorded: &Recorded) {
    let digest = sha256(&recorded.entry.content);
    if let Some(ExportLine::Digests { digests, link, .. }) = lines.last_mut() {
        digests.push(digest);
        *link = recorded.entry.link;
    } else {
        lines.push(ExportLine::Digests {
            writer: recorded.writer,
            first: recorded.entry.sequence,
            digests: vec![digest],
            link: recorded.entry.link,
        });
    }
}
