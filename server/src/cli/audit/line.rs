//! The lines of an export: one JSON object each, bytes in base64 (RFC 4648,
//! section 4). What is hashed and signed stands there as bytes; beside it, for
//! people, what they say.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_proto::v1::{
    AuditContent, AuditDigests, AuditExportHeader, AuditHead, AuditSeal, SignedAuditHead,
    SignedAuditSeal, audit_line,
};
use prost::Message as _;
use serde::{Deserialize, Serialize};

/// What the header of every export says that this program writes.
pub(super) const FORMAT: &str = "countersign-audit/1";

/// Bytes in base64.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Base64(pub(super) Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD
            .decode(text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("not base64"))
    }
}

/// One line.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line {
    Header(HeaderLine),
    Entry(Box<EntryLine>),
    Digests(DigestsLine),
    Head(HeadLine),
    Seal(SealLine),
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLine {
    pub(super) format: String,
    pub(super) issuer: String,
    pub(super) tenant_id: String,
    pub(super) export_time: String,
    pub(super) jwks: serde_json::Value,
    pub(super) heads: Vec<HeadLine>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryLine {
    pub(super) writer: u64,
    pub(super) sequence: u64,
    pub(super) time: String,
    /// Empty: in the installation.
    pub(super) tenant_id: String,
    pub(super) actor: String,
    pub(super) address: String,
    pub(super) action: String,
    pub(super) object: String,
    pub(super) outcome: String,
    pub(super) user_id: String,
    pub(super) content: Base64,
    pub(super) link: Base64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DigestsLine {
    pub(super) writer: u64,
    pub(super) first_sequence: u64,
    pub(super) digests: Vec<Base64>,
    pub(super) link: Base64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadLine {
    pub(super) writer: u64,
    pub(super) sequence: u64,
    pub(super) first_kept: u64,
    pub(super) sign_time: String,
    pub(super) body: Base64,
    pub(super) key_id: String,
    pub(super) signature: Base64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealLine {
    pub(super) entries: u64,
    pub(super) body: Base64,
    pub(super) key_id: String,
    pub(super) signature: Base64,
}

fn time_of(time: Option<prost_types::Timestamp>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

impl HeadLine {
    /// None when the body is none.
    pub(super) fn new(signed: SignedAuditHead) -> Option<Self> {
        let head = AuditHead::decode(signed.body.as_ref()).ok()?;
        Some(Self {
            writer: head.writer,
            sequence: head.sequence,
            first_kept: head.first_kept,
            sign_time: time_of(head.sign_time),
            body: Base64(signed.body.into()),
            key_id: signed.key_id,
            signature: Base64(signed.signature.into()),
        })
    }
}

impl HeaderLine {
    pub(super) fn new(header: AuditExportHeader) -> Option<Self> {
        Some(Self {
            format: FORMAT.to_owned(),
            issuer: header.issuer,
            tenant_id: header.tenant_id,
            export_time: time_of(header.export_time),
            jwks: serde_json::from_str(&header.jwks).ok()?,
            heads: header
                .heads
                .into_iter()
                .map(HeadLine::new)
                .collect::<Option<_>>()?,
        })
    }
}

impl EntryLine {
    /// None when the content is none.
    pub(super) fn new(writer: u64, sequence: u64, content: Vec<u8>, link: Vec<u8>) -> Option<Self> {
        let told = AuditContent::decode(content.as_slice()).ok()?;
        let tenant_id = match told.tenant_id {
            None => String::new(),
            Some(id) => uuid::Uuid::from_slice(&id).ok()?.to_string(),
        };
        let seconds = i64::try_from(told.time_ms / 1000).ok()?;
        let nanos = i32::try_from(told.time_ms % 1000 * 1_000_000).ok()?;
        Some(Self {
            writer,
            sequence,
            time: prost_types::Timestamp { seconds, nanos }.to_string(),
            tenant_id,
            actor: told.actor,
            address: told.address,
            action: told.action,
            object: told.object,
            outcome: told.outcome,
            user_id: told.user_id,
            content: Base64(content),
            link: Base64(link),
        })
    }

    /// The first field that says something else in `other`.
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            ("time", &self.time, &other.time),
            ("tenant_id", &self.tenant_id, &other.tenant_id),
            ("actor", &self.actor, &other.actor),
            ("address", &self.address, &other.address),
            ("action", &self.action, &other.action),
            ("object", &self.object, &other.object),
            ("outcome", &self.outcome, &other.outcome),
            ("user_id", &self.user_id, &other.user_id),
        ]
        .into_iter()
        .find(|(_, one, other)| one != other)
        .map(|(field, _, _)| field)
    }
}

impl From<AuditDigests> for DigestsLine {
    fn from(run: AuditDigests) -> Self {
        Self {
            writer: run.writer,
            first_sequence: run.first_sequence,
            digests: run
                .digests
                .into_iter()
                .map(|digest| Base64(digest.into()))
                .collect(),
            link: Base64(run.link.into()),
        }
    }
}

impl SealLine {
    fn new(signed: SignedAuditSeal) -> Option<Self> {
        Some(Self {
            entries: AuditSeal::decode(signed.body.as_ref()).ok()?.entries,
            body: Base64(signed.body.into()),
            key_id: signed.key_id,
            signature: Base64(signed.signature.into()),
        })
    }
}

impl Line {
    /// What the broker sent, as it is written; none when it is not understood.
    pub(super) fn new(line: audit_line::Line) -> Option<Self> {
        Some(match line {
            audit_line::Line::Entry(entry) => Self::Entry(Box::new(EntryLine::new(
                entry.writer,
                entry.sequence,
                entry.content.into(),
                entry.link.into(),
            )?)),
            audit_line::Line::Digests(run) => Self::Digests(run.into()),
            audit_line::Line::Head(head) => Self::Head(HeadLine::new(head)?),
            audit_line::Line::Seal(seal) => Self::Seal(SealLine::new(seal)?),
        })
    }
}
