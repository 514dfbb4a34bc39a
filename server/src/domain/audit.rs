//! What is written down of every change: who, what, to what, with what outcome.
//! No code, secret, token or full phone number ever stands in it.
//!
//! An entry is stored as a serialized `AuditContent` and never again serialized
//! to be verified. Entries of one writer form a chain, and the broker signs a
//! link of it now and then; see `audit.proto`.

use countersign_proto::{signing::sha256, v1};
use prost::Message as _;

use super::{
    api_key::ApiKeyId,
    ids::{DeviceId, TenantId, UserId},
    time::Timestamp,
};

/// Every action that is written down, with its object and outcome. An action
/// that is not here fails a test.
pub const ACTIONS: &[(&str, &str)] = &[
    ("account.listed", "the user"),
    ("account.locked", "the user; why, e.g. TOO_MANY_FAILURES"),
    ("account.reset", "the user"),
    (
        "account.snoozed",
        "the user; how often registering may still be put off",
    ),
    ("account.unlisted", "the user"),
    ("account.unlocked", "the user"),
    ("api_key.created", "the key's id; its role"),
    ("api_key.revoked", "the key's id"),
    (
        "audit.removed",
        "the writer; the last entry that left by age",
    ),
    (
        "browser.forgotten",
        "how many of the user's; why, e.g. LOCKED",
    ),
    (
        "browser.remembered",
        "the browser's id; the challenge by whose approval",
    ),
    (
        "browser.replayed",
        "the browser's id, forgotten because a used token came back",
    ),
    ("browser.used", "the browser's id; the challenge approved"),
    (
        "challenge.created",
        "the challenge's id; what was out of the ordinary, e.g. UNKNOWN_BROWSER",
    ),
    (
        "challenge.decided",
        "the challenge's id; state and reason, e.g. APPROVED USER_APPROVED",
    ),
    (
        "challenge.method_changed",
        "the challenge's id; the way of answering",
    ),
    (
        "challenge.reported_late",
        "the challenge's id, ended before otherwise than by an approval; the device that said so",
    ),
    (
        "challenge.revoked",
        "the challenge's id; the device that said so",
    ),
    (
        "challenges.removed",
        "how many left by age; the time before which they were decided",
    ),
    (
        "code.refused",
        "the challenge's or number's id, or the user; why no code was sent: for a country that is not texted, COUNTRY and which",
    ),
    (
        "code.sent",
        "the challenge's id, SMS and the masked number; or the number's id, CONFIRM and the masked number",
    ),
    ("code.verified", "the challenge's id; the way of answering"),
    (
        "code.wrong",
        "the challenge's id, the way of answering; or the number's or app's id, CONFIRM",
    ),
    (
        "device.imported",
        "the device's id, registered by an operator without a proof of possession",
    ),
    ("device.push_replaced", "the device's id"),
    ("device.registered", "the device's id"),
    ("device.removed", "the device's id"),
    (
        "device.token_judged",
        "the device's id; what a gateway said of its token: dead or doubtful",
    ),
    (
        "notice.refused",
        "the number's id; why it was not told of a change",
    ),
    ("phone.added", "the number's id; the number, masked"),
    ("phone.confirmed", "the number's id; the number, masked"),
    ("phone.removed", "the number's id"),
    (
        "policy.changed",
        "the organisation; the new version and each field with its old and new value",
    ),
    ("push.credential_refused", "gateway and credential; why"),
    ("push.credential_works", "gateway and credential"),
    ("recovery_codes.created", "the set's id"),
    ("recovery_codes.removed", "the set's id"),
    ("signing_key.created", "the key's id"),
    (
        "sms.range_alarm",
        "4 bytes of the range's keyed hash; its country",
    ),
    ("tenant.created", "the organisation's id"),
    ("ticket.created", "the ticket's id"),
    ("ticket.replaced", "the ticket's id"),
    (
        "ticket.tried",
        "the ticket's id; redeemed, wrong_code or locked",
    ),
    (
        "tickets.removed",
        "how many left by age; the time before which they ended",
    ),
    ("totp.added", "the app's id"),
    ("totp.confirmed", "the app's id"),
    ("totp.removed", "the app's id"),
];

/// Who caused a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The holder of an API key.
    ApiKey(ApiKeyId),
    /// A registered phone.
    Device(DeviceId),
    /// Somebody with a ticket.
    Ticket,
    /// The broker itself: time ran out, a newer challenge came.
    Broker,
    /// Whoever ran `countersign init`.
    Operator,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ApiKey(id) => write!(f, "api_key:{id}"),
            Self::Device(id) => write!(f, "device:{id}"),
            Self::Ticket => f.write_str("ticket"),
            Self::Broker => f.write_str("broker"),
            Self::Operator => f.write_str("operator"),
        }
    }
}

/// Who caused a change, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// Network address of the caller, or empty.
    pub address: String,
}

impl By {
    /// The broker itself.
    #[must_use]
    pub fn broker() -> Self {
        Self {
            actor: Actor::Broker,
            address: String::new(),
        }
    }
}

/// One entry before it is chained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub time: Timestamp,
    /// In which organisation; none: in the installation.
    pub tenant: Option<TenantId>,
    /// About which user, where it is about one.
    pub user: Option<UserId>,
    /// Who.
    pub by: By,
    /// What, e.g. `challenge.decided`: one of [`ACTIONS`].
    pub action: &'static str,
    /// To what, e.g. a challenge id.
    pub object: String,
    /// With what outcome, e.g. `APPROVED USER_APPROVED`.
    pub outcome: String,
}

impl Entry {
    /// What is stored and hashed of it. The salt keeps others from guessing it
    /// by its digest.
    #[must_use]
    pub fn content(&self, salt: &[u8; 16]) -> Vec<u8> {
        v1::AuditContent {
            time_ms: self.time.as_millis(),
            tenant_id: self.tenant.map(|id| id.as_bytes().to_vec().into()),
            actor: self.by.actor.to_string(),
            address: self.by.address.clone(),
            action: self.action.to_owned(),
            object: self.object.clone(),
            outcome: self.outcome.clone(),
            user_id: self
                .user
                .as_ref()
                .map(|user| user.as_str().to_owned())
                .unwrap_or_default(),
            salt: salt.to_vec().into(),
        }
        .encode_to_vec()
    }
}

/// What an entry says, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub time: Timestamp,
    /// In which organisation.
    pub tenant: Option<TenantId>,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// With what outcome.
    pub outcome: String,
    /// About which user, or empty. Entries of the first version name the user in
    /// the outcome, if at all.
    pub user: String,
}

impl Told {
    /// Reads a content; none when it is none.
    #[must_use]
    pub fn read(content: &[u8]) -> Option<Self> {
        let content = v1::AuditContent::decode(content).ok()?;
        let tenant = match content.tenant_id {
            None => None,
            Some(id) => Some(TenantId::from_bytes(id.as_ref().try_into().ok()?)),
        };
        Some(Self {
            time: Timestamp::from_millis(content.time_ms),
            tenant,
            actor: content.actor,
            address: content.address,
            action: content.action,
            object: content.object,
            outcome: content.outcome,
            user: content.user_id,
        })
    }
}

/// The link of an empty chain.
pub const FIRST_LINK: [u8; 32] = [0; 32];

/// The chain's next link: `SHA-256(link ‖ SHA-256(content))`.
#[must_use]
pub fn next_link(link: &[u8; 32], content: &[u8]) -> [u8; 32] {
    link_over(link, &sha256(content))
}

/// The same for somebody who has the content's digest only.
#[must_use]
pub fn link_over(link: &[u8; 32], digest: &[u8; 32]) -> [u8; 32] {
    let mut input = [0; 64];
    let (before, after) = input.split_at_mut(32);
    before.copy_from_slice(link);
    after.copy_from_slice(digest);
    sha256(&input)
}

/// An entry in its place in the chain of its writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainedEntry {
    /// Its place, from 1.
    pub sequence: u64,
    /// What is hashed, exactly as stored.
    pub content: Vec<u8>,
    /// The chain's link after it.
    pub link: [u8; 32],
}

/// A link that the broker has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// Whose chain.
    pub writer: u64,
    /// The entry whose link is signed.
    pub sequence: u64,
    /// The serialized `AuditHead`.
    pub body: Vec<u8>,
    /// Which key signed.
    pub key_id: String,
    /// Its signature.
    pub signature: Vec<u8>,
    /// When, as in the body.
    pub sign_time: Timestamp,
    /// As in the body.
    pub first_kept: u64,
}

impl SignedHead {
    /// Whether it vouches for all of `chain`, under this issuer.
    #[must_use]
    pub fn is_of(&self, chain: &Chain, issuer: &str) -> bool {
        let body = v1::AuditHead::decode(self.body.as_slice()).unwrap_or_default();
        (self.sequence, self.first_kept) == (chain.sequence, chain.first_kept)
            && body.link.as_ref() == chain.link.as_slice()
            && body.issuer == issuer
    }
}

/// Where the chain of a writer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Whose.
    pub writer: u64,
    /// The oldest entry that has not left by age; one after the last when all have.
    pub first_kept: u64,
    /// The last entry.
    pub sequence: u64,
    /// Its link.
    pub link: [u8; 32],
    /// The newest signed head.
    pub signed: Option<SignedHead>,
}

/// What is signed of a chain.
#[must_use]
pub fn head_body(issuer: &str, chain: &Chain, now: Timestamp) -> Vec<u8> {
    v1::AuditHead {
        issuer: issuer.to_owned(),
        writer: chain.writer,
        sequence: chain.sequence,
        link: chain.link.to_vec().into(),
        first_kept: chain.first_kept,
        sign_time: Some(super::body::timestamp(now)),
    }
    .encode_to_vec()
}

/// Which entries an export has in full, so that none can be passed off as
/// somebody else's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    entries: u64,
    digest: [u8; 32],
}

impl Places {
    /// Takes in the next.
    pub fn add(&mut self, writer: u64, sequence: u64) {
        let mut input = self.digest.to_vec();
        input.extend_from_slice(&writer.to_be_bytes());
        input.extend_from_slice(&sequence.to_be_bytes());
        self.digest = sha256(&input);
        self.entries = self.entries.saturating_add(1);
    }

    /// How many.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The chain over their places, as `AuditSeal` has it.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// What an export says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportHeader {
    /// The broker.
    pub issuer: String,
    /// Whose entries are there in full; none: everybody's.
    pub tenant: Option<TenantId>,
    /// When it was made.
    pub time: Timestamp,
    /// The end of each chain.
    pub heads: Vec<SignedHead>,
}

/// What is signed of an export.
#[must_use]
pub fn seal_body(header: &ExportHeader, places: &Places) -> Vec<u8> {
    v1::AuditSeal {
        issuer: header.issuer.clone(),
        tenant_id: header.tenant.map(|id| id.to_string()).unwrap_or_default(),
        export_time: Some(super::body::timestamp(header.time)),
        entries: places.entries,
        places_digest: places.digest.to_vec().into(),
        heads: header
            .heads
            .iter()
            .map(|head| head.body.clone().into())
            .collect(),
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Text in quotes that looks like an action, `noun.verb`, where entries are made.
    fn actions_in(source: &str, found: &mut BTreeSet<String>) {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for text in code.split('"').skip(1).step_by(2) {
            let is_word = |part: &str| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            };
            if let Some((noun, verb)) = text.split_once('.')
                && is_word(noun)
                && is_word(verb)
            {
                found.insert(text.to_owned());
            }
        }
    }

    #[test]
    fn every_action_is_in_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![root.join("store/embedded"), root.join("broker")];
        let mut found = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.ends_with("tests") && !path.ends_with("golden") {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    actions_in(&std::fs::read_to_string(path).unwrap(), &mut found);
                }
            }
        }
        // Fields of requests, which look the same.
        found.retain(|text| !text.starts_with("context.") && !text.starts_with("body."));
        let table: BTreeSet<String> = ACTIONS
            .iter()
            .map(|(action, _)| (*action).to_owned())
            .collect();
        let missing: Vec<_> = found.difference(&table).collect();
        assert!(missing.is_empty(), "not in ACTIONS: {missing:?}");
        let unused: Vec<_> = table.difference(&found).collect();
        assert!(
            unused.is_empty(),
            "in ACTIONS, but never written: {unused:?}"
        );
    }

    /// Entries of the first version: no user, no salt.
    #[test]
    fn the_first_version_is_read() {
        let content = [
            &[0x08, 0xfb, 0xe2, 0xac, 0x9e, 0xb7, 0x33][..],
            &[0x1a, 6],
            b"broker",
            &[0x2a, 17],
            b"challenge.decided",
        ]
        .concat();
        let told = Told::read(&content).unwrap();
        assert_eq!(told.time.as_millis(), 1_767_174_254_971);
        assert_eq!((told.actor.as_str(), told.tenant), ("broker", None));
        assert_eq!(told.user, "");
        assert_eq!(Told::read(&[0xff]), None);
        assert_eq!(Told::read(&[0x12, 1, 0]), None, "a tenant of one byte");
    }
}
