//! Checks an export line by line, in constant memory, and names each fault.

use std::collections::{BTreeMap, HashMap};

use countersign_proto::{
    signing::{PublicKey, Purpose, SigningError, sha256},
    v1::{AuditHead, AuditSeal},
};
use prost::Message as _;

use super::line::{Base64, DigestsLine, EntryLine, FORMAT, HeadLine, HeaderLine, Line, SealLine};
use crate::domain::audit::{FIRST_LINK, Places, link_over};

/// Something that is not as the broker wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where in the file, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// The keys that count, by key id.
pub(super) type Keys = HashMap<String, PublicKey>;

/// One writer's chain so far.
struct Chain {
    /// As the header has it: where it ends.
    end: HeadLine,
    /// The next place; 0: nothing has come.
    next: u64,
    /// The first place that has come.
    first: u64,
    /// The link before the next place, where it is known.
    link: Option<[u8; 32]>,
    /// A signed head vouches for all up to here.
    vouched: u64,
    /// Places passed over, by first: the last, and on which line that was seen.
    missing: BTreeMap<u64, (u64, usize)>,
}

impl Chain {
    fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }
}

/// What was found to be so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) issuer: String,
    pub(super) tenant_id: String,
    pub(super) export_time: String,
    pub(super) entries: u64,
    pub(super) digests: u64,
    pub(super) chains: Vec<ChainSummary>,
}

/// What was found to be so of one chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ChainSummary {
    pub(super) writer: u64,
    /// The first entry that is there.
    pub(super) first: u64,
    pub(super) last: u64,
    /// When the head at the end was signed, and by which key.
    pub(super) sign_time: String,
    pub(super) key_id: String,
}

/// An export being checked.
pub(super) struct Check {
    keys: Keys,
    header: Option<HeaderLine>,
    chains: BTreeMap<u64, Chain>,
    places: Places,
    digests: u64,
    sealed: Option<usize>,
    line: usize,
    faults: Vec<Fault>,
}

fn entries(first: u64, last: u64) -> String {
    if first == last {
        format!("entry {first} is")
    } else {
        format!("entries {first} to {last} are")
    }
}

fn bytes32(bytes: &Base64) -> Option<[u8; 32]> {
    bytes.0.as_slice().try_into().ok()
}

impl Check {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            header: None,
            chains: BTreeMap::new(),
            places: Places::default(),
            digests: 0,
            sealed: None,
            line: 0,
            faults: Vec::new(),
        }
    }

    fn fault(&mut self, text: impl Into<String>) {
        self.fault_at(self.line, text);
    }

    fn fault_at(&mut self, line: usize, text: impl Into<String>) {
        let text = text.into();
        self.faults.push(Fault { line, text });
    }

    /// Takes in the next line.
    pub(super) fn line(&mut self, text: &str) {
        self.line = self.line.saturating_add(1);
        let line = match serde_json::from_str::<Line>(text) {
            Ok(line) => line,
            Err(error) => {
                self.fault(format!("this is no line of an export: {error}"));
                return;
            }
        };
        if let Some(sealed) = self.sealed {
            self.fault(format!(
                "this stands after the seal, which is line {sealed}"
            ));
            return;
        }
        if let Line::Header(header) = line {
            if self.line == 1 {
                self.start(header);
            } else {
                self.fault("a second header: two exports were put together");
            }
            return;
        }
        if self.header.is_none() {
            if self.line == 1 {
                self.fault("the header is missing");
            }
            return;
        }
        match line {
            Line::Header(_) => {}
            Line::Entry(entry) => self.entry(&entry),
            Line::Digests(run) => self.run(&run),
            Line::Head(head) => self.head(&head),
            Line::Seal(seal) => self.seal(&seal),
        }
    }

    fn start(&mut self, header: HeaderLine) {
        if header.format != FORMAT {
            self.fault(format!("the format is not {FORMAT}"));
        }
        for end in &header.heads {
            self.signed_head(end, Some(&header.issuer));
            let chain = Chain {
                end: end.clone(),
                next: 0,
                first: 0,
                link: None,
                vouched: 0,
                missing: BTreeMap::new(),
            };
            if self.chains.insert(end.writer, chain).is_some() {
                self.fault(format!("the header names writer {} twice", end.writer));
            }
        }
        self.header = Some(header);
    }

    fn verify(
        &mut self,
        purpose: Purpose,
        what: &str,
        key_id: &str,
        body: &[u8],
        signature: &[u8],
    ) {
        match self
            .keys
            .get(key_id)
            .map(|key| key.verify(purpose, body, signature))
        {
            Some(Ok(())) => {}
            Some(Err(
                SigningError::BadSignature
                | SigningError::BadPublicKey
                | SigningError::BadPrivateKey,
            )) => {
                self.fault(format!(
                    "the signature of {what} does not match: it was altered"
                ));
            }
            None => self.fault(format!(
                "{what} is signed by key {key_id}, which is not among those to be trusted"
            )),
        }
    }

    /// Checks a head's signature and what stands beside its body. Older heads may
    /// have another issuer: operators can change it. The keys are what counts.
    fn signed_head(&mut self, head: &HeadLine, issuer: Option<&str>) {
        let what = format!("the head of entry {}", head.sequence);
        self.verify(
            Purpose::AuditHead,
            &what,
            &head.key_id,
            &head.body.0,
            &head.signature.0,
        );
        let Ok(body) = AuditHead::decode(head.body.0.as_slice()) else {
            self.fault(format!("{what} has a body that is none"));
            return;
        };
        if issuer.is_some_and(|issuer| issuer != body.issuer) {
            self.fault(format!("{what} is of another broker: {}", body.issuer));
        }
        let time = body
            .sign_time
            .map(|time| time.to_string())
            .unwrap_or_default();
        let same = (body.writer, body.sequence, body.first_kept)
            == (head.writer, head.sequence, head.first_kept)
            && time == head.sign_time;
        if !same {
            self.fault(format!("{what} says something else than its signed body"));
        }
    }

    fn entry(&mut self, entry: &EntryLine) {
        let sequence = entry.sequence;
        let read = EntryLine::new(
            entry.writer,
            sequence,
            entry.content.0.clone(),
            entry.link.0.clone(),
        );
        match read.map(|read| entry.difference(&read)) {
            None => self.fault(format!("entry {sequence} has a content that is none")),
            Some(Some(field)) => self.fault(format!(
                "entry {sequence} says another {field} than its content"
            )),
            Some(None) => {}
        }
        let tenant = self.header.as_ref().map(|header| header.tenant_id.clone());
        if let Some(tenant) = tenant.filter(|tenant| !tenant.is_empty())
            && tenant != entry.tenant_id
        {
            self.fault(format!(
                "entry {sequence} is not of the organisation whose export this is"
            ));
        }
        self.places.add(entry.writer, sequence);
        let Some(link) = bytes32(&entry.link) else {
            self.fault(format!("the link of entry {sequence} is none"));
            return;
        };
        self.place(entry.writer, sequence, &[sha256(&entry.content.0)], link);
    }

    fn run(&mut self, run: &DigestsLine) {
        let digests: Option<Vec<[u8; 32]>> = run.digests.iter().map(bytes32).collect();
        let (Some(digests), Some(link)) = (digests, bytes32(&run.link)) else {
            self.fault("a digest or a link has not 32 bytes");
            return;
        };
        if digests.is_empty() {
            self.fault("a run of no digests");
            return;
        }
        let count = u64::try_from(digests.len()).unwrap_or(u64::MAX);
        self.digests = self.digests.saturating_add(count);
        self.place(run.writer, run.first_sequence, &digests, link);
    }

    /// One entry, or a run of them, in its place: all rules of the chain.
    fn place(&mut self, writer: u64, first: u64, digests: &[[u8; 32]], stated: [u8; 32]) {
        let line = self.line;
        let count = u64::try_from(digests.len()).unwrap_or(u64::MAX);
        let last = first.saturating_add(count.saturating_sub(1));
        let Some(chain) = self.chains.get_mut(&writer) else {
            self.fault(format!(
                "{} of writer {writer}, whom the header does not name",
                entries(first, last)
            ));
            return;
        };
        if chain.next == 0 {
            chain.first = 1;
            chain.next = 1;
            chain.link = Some(FIRST_LINK);
        }
        if first < chain.next {
            let before = chain.last();
            let text = if !fill(&mut chain.missing, first, last) {
                format!("{} there a second time", entries(first, last))
            } else if last == before {
                format!("{} out of order, after its head", entries(first, last))
            } else {
                format!(
                    "{} out of order, after entry {before}",
                    entries(first, last)
                )
            };
            self.fault(text);
            return;
        }
        if first > chain.next {
            chain
                .missing
                .insert(chain.next, (first.saturating_sub(1), line));
            chain.link = None;
        }
        let follows = chain.link.is_none_or(|link| {
            let computed = digests
                .iter()
                .fold(link, |link, digest| link_over(&link, digest));
            computed == stated
        });
        chain.link = Some(stated);
        chain.next = last.saturating_add(1);
        if follows {
            return;
        }
        let text = if first == last {
            format!(
                "entry {first} was altered, or the one before it together with its link: \
                 it does not follow"
            )
        } else {
            format!(
                "one of entries {first} to {last}, of which only digests are there, was altered, \
                 or the one before together with its link: they do not follow"
            )
        };
        self.fault(text);
    }

    fn head(&mut self, head: &HeadLine) {
        self.signed_head(head, None);
        let link = AuditHead::decode(head.body.0.as_slice())
            .ok()
            .and_then(|body| <[u8; 32]>::try_from(body.link.as_ref()).ok());
        let (line, sequence) = (self.line, head.sequence);
        let Some(chain) = self.chains.get_mut(&head.writer) else {
            self.fault(format!(
                "the head of entry {sequence} of writer {}, whom the header does not name",
                head.writer
            ));
            return;
        };
        let last = chain.last();
        if chain.next == 0 {
            // What came before has left by age; whether that is true is found at
            // the end.
            chain.next = sequence.saturating_add(1);
            chain.first = chain.next;
            chain.link = link;
            chain.vouched = sequence;
        } else if sequence == last {
            let same = chain.link == link;
            chain.vouched = sequence;
            if !same {
                self.fault(format!(
                    "the chain up to entry {sequence} is not the one that was signed: an entry \
                     before was altered together with the links after it"
                ));
            }
        } else if sequence > last {
            chain.missing.insert(chain.next, (sequence, line));
            chain.next = sequence.saturating_add(1);
            chain.link = link;
            chain.vouched = sequence;
        } else {
            self.fault(format!(
                "the head of entry {sequence} is out of order, after entry {last}"
            ));
        }
    }

    fn seal(&mut self, seal: &SealLine) {
        self.sealed = Some(self.line);
        self.verify(
            Purpose::AuditExport,
            "the seal",
            &seal.key_id,
            &seal.body.0,
            &seal.signature.0,
        );
        let Ok(body) = AuditSeal::decode(seal.body.0.as_slice()) else {
            self.fault("the seal has a body that is none");
            return;
        };
        if body.entries != seal.entries {
            self.fault("the seal says something else than its signed body");
        }
        if let Some(header) = &self.header {
            let time = body
                .export_time
                .map(|time| time.to_string())
                .unwrap_or_default();
            let heads = header.heads.iter().map(|head| head.body.0.as_slice());
            let same = (&body.issuer, &body.tenant_id, &time)
                == (&header.issuer, &header.tenant_id, &header.export_time)
                && heads.eq(body.heads.iter().map(AsRef::as_ref));
            if !same {
                self.fault("the seal is of another export: the header does not belong to it");
            }
        }
        if body.places_digest.as_ref() != self.places.digest() {
            self.fault(format!(
                "the entries that are there in full, {}, are not those that were sealed, {}: some \
                 are missing, were added, or stand here as digests",
                self.places.entries(),
                body.entries
            ));
        }
    }

    /// All lines have come.
    pub(super) fn finish(mut self) -> (Summary, Vec<Fault>) {
        let mut summary = Summary {
            entries: self.places.entries(),
            digests: self.digests,
            ..Summary::default()
        };
        match &self.header {
            Some(header) => {
                summary.issuer.clone_from(&header.issuer);
                summary.tenant_id.clone_from(&header.tenant_id);
                summary.export_time.clone_from(&header.export_time);
            }
            None if self.line == 0 => self.fault("the file is empty"),
            None => {}
        }
        for (writer, chain) in std::mem::take(&mut self.chains) {
            self.finish_chain(&chain);
            summary.chains.push(ChainSummary {
                writer,
                first: chain.first,
                last: chain.last(),
                sign_time: chain.end.sign_time,
                key_id: chain.end.key_id,
            });
        }
        if self.header.is_some() && self.sealed.is_none() {
            self.fault("the seal is missing: the end of the export was cut off");
        }
        self.faults.sort_by_key(|fault| fault.line);
        (summary, self.faults)
    }

    fn finish_chain(&mut self, chain: &Chain) {
        for (first, (last, line)) in &chain.missing {
            self.fault_at(
                *line,
                format!("{} missing before this", entries(*first, *last)),
            );
        }
        let (last, end) = (chain.last(), &chain.end);
        if last < end.sequence {
            self.fault(format!(
                "{} missing: the export was cut off after entry {last}",
                entries(last.saturating_add(1), end.sequence)
            ));
        } else if last > end.sequence {
            self.fault(format!(
                "{} beyond the end that the header names",
                entries(end.sequence.saturating_add(1), last)
            ));
        }
        if chain.vouched < last {
            self.fault(format!(
                "{} not vouched for: no signed head follows",
                entries(chain.vouched.saturating_add(1), last)
            ));
        }
        if chain.first > end.first_kept.max(1) {
            self.fault_at(
                1,
                format!(
                    "{} missing at the start: the head signed at {} says they were still kept",
                    entries(end.first_kept.max(1), chain.first.saturating_sub(1)),
                    end.sign_time
                ),
            );
        }
    }
}

/// Takes `first` to `last` out of the places passed over, if all of them are.
fn fill(missing: &mut BTreeMap<u64, (u64, usize)>, first: u64, last: u64) -> bool {
    let Some((&start, &(end, line))) = missing.range(..=first).next_back() else {
        return false;
    };
    if last > end {
        return false;
    }
    missing.remove(&start);
    if start < first {
        missing.insert(start, (first.saturating_sub(1), line));
    }
    if last < end {
        missing.insert(last.saturating_add(1), (end, line));
    }
    true
}
