//! Exports as they are, and in every way in which they should not be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use countersign_proto::signing::{PrivateKey, Purpose, key_id, sha256};
use serde_json::{Value, json};

use super::{
    check::{Keys, Summary},
    line::{Base64, DigestsLine, EntryLine, FORMAT, HeadLine, HeaderLine, Line, SealLine},
    verify,
};
use crate::domain::{
    audit::{
        By, Chain, Entry, ExportHeader, FIRST_LINK, Places, SignedHead, head_body, next_link,
        seal_body,
    },
    ids::{TenantId, UserId},
    time::Timestamp,
};

const OWN: TenantId = TenantId::from_bytes([0x11; 16]);
const OTHER: TenantId = TenantId::from_bytes([0x22; 16]);
const ISSUER: &str = "https://approve.example.be";

fn at(n: u64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + n * 1000)
}

fn stamp(n: u64) -> String {
    crate::domain::body::timestamp(at(n)).to_string()
}

/// A broker with a trail of 20 entries: those of [`OTHER`] are 4, 5, 6 and 11.
struct Broker {
    key: PrivateKey,
    contents: Vec<(Option<TenantId>, Vec<u8>)>,
}

impl Broker {
    fn new(seed: u8) -> Self {
        let contents = (1..=20_u64)
            .map(|n| {
                let tenant = match n {
                    1 => None,
                    4..=6 | 11 => Some(OTHER),
                    _ => Some(OWN),
                };
                let entry = Entry {
                    time: at(n),
                    tenant,
                    user: Some(UserId::from_stored(format!("user {n}"))),
                    by: By::broker(),
                    action: "challenge.decided",
                    object: format!("object {n}"),
                    outcome: "EXPIRED TIMED_OUT".into(),
                };
                (tenant, entry.content(&[seed; 16]))
            })
            .collect();
        Self {
            key: PrivateKey::from_ed25519_seed(&[seed; 32]),
            contents,
        }
    }

    fn public(&self) -> [u8; 32] {
        self.key.public_bytes().try_into().unwrap()
    }

    fn jwks(&self) -> Value {
        use base64::Engine as _;
        let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.public());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": key_id(&self.public()), "x": x}]})
    }

    fn link(&self, sequence: u64) -> [u8; 32] {
        let before = &self.contents[..usize::try_from(sequence).unwrap()];
        before
            .iter()
            .fold(FIRST_LINK, |link, (_, content)| next_link(&link, content))
    }

    fn head(&self, sequence: u64, first_kept: u64) -> SignedHead {
        let chain = Chain {
            writer: 1,
            first_kept,
            sequence,
            link: self.link(sequence),
            signed: None,
        };
        let body = head_body(ISSUER, &chain, at(sequence));
        SignedHead {
            writer: 1,
            sequence,
            signature: self.key.sign(Purpose::AuditHead, &body).unwrap(),
            body,
            key_id: key_id(&self.public()),
            sign_time: at(sequence),
            first_kept,
        }
    }

    /// Of `tenant`, from `first_kept` to `last`; heads after 8, 16 and the last.
    fn export(&self, tenant: Option<TenantId>, first_kept: u64, last: u64) -> Vec<String> {
        let written = |head: &SignedHead| HeadLine {
            writer: head.writer,
            sequence: head.sequence,
            first_kept: head.first_kept,
            sign_time: crate::domain::body::timestamp(head.sign_time).to_string(),
            body: Base64(head.body.clone()),
            key_id: head.key_id.clone(),
            signature: Base64(head.signature.clone()),
        };
        let header = ExportHeader {
            issuer: ISSUER.into(),
            tenant,
            time: at(1000),
            heads: vec![self.head(last, first_kept)],
        };
        let mut lines = vec![Line::Header(HeaderLine {
            format: FORMAT.into(),
            issuer: ISSUER.into(),
            tenant_id: tenant.map(|id| id.to_string()).unwrap_or_default(),
            export_time: stamp(1000),
            jwks: self.jwks(),
            heads: header.heads.iter().map(written).collect(),
        })];
        if first_kept > 1 {
            lines.push(Line::Head(written(&self.head(first_kept - 1, 1))));
        }
        let mut places = Places::default();
        for n in first_kept..=last {
            let (of, content) = self.contents[usize::try_from(n).unwrap() - 1].clone();
            let link = self.link(n).to_vec();
            if tenant.is_none() || tenant == of {
                places.add(1, n);
                lines.push(Line::Entry(Box::new(
                    EntryLine::new(1, n, content, link).unwrap(),
                )));
            } else if let Some(Line::Digests(run)) = lines.last_mut() {
                run.digests.push(Base64(sha256(&content).to_vec()));
                run.link = Base64(link);
            } else {
                lines.push(Line::Digests(DigestsLine {
                    writer: 1,
                    first_sequence: n,
                    digests: vec![Base64(sha256(&content).to_vec())],
                    link: Base64(link),
                }));
            }
            if n == last {
                lines.push(Line::Head(written(&header.heads[0])));
            } else if n == 8 || n == 16 {
                lines.push(Line::Head(written(&self.head(n, first_kept))));
            }
        }
        let body = seal_body(&header, &places);
        lines.push(Line::Seal(SealLine {
            entries: places.entries(),
            signature: Base64(self.key.sign(Purpose::AuditExport, &body).unwrap()),
            body: Base64(body),
            key_id: key_id(&self.public()),
        }));
        lines
            .iter()
            .map(|line| serde_json::to_string(line).unwrap())
            .collect()
    }

    fn keys(&self) -> Keys {
        verify::key_set(&self.jwks()).unwrap()
    }

    fn check(&self, lines: &[String]) -> (Summary, Vec<String>) {
        let text = lines.join("\n");
        let (summary, faults) = verify::check(text.as_bytes(), self.keys()).unwrap();
        let faults = faults
            .into_iter()
            .map(|fault| format!("{}: {}", fault.line, fault.text))
            .collect();
        (summary, faults)
    }

    #[track_caller]
    fn finds(&self, lines: &[String], wanted: &[&str]) {
        let (_, faults) = self.check(lines);
        assert_eq!(faults, wanted);
    }
}

/// The line of this entry, from 0.
fn line_of(lines: &[String], sequence: u64) -> usize {
    let wanted = format!(r#""sequence":{sequence},"time""#);
    lines
        .iter()
        .position(|line| line.contains(&wanted))
        .unwrap()
}

fn head_of(lines: &[String], sequence: u64) -> usize {
    let start = format!(r#"{{"type":"head","writer":1,"sequence":{sequence},"#);
    lines
        .iter()
        .position(|line| line.starts_with(&start))
        .unwrap()
}

/// Changes fields of a line.
fn set(lines: &mut [String], line: usize, field: &str, value: Value) {
    let mut parsed: Value = serde_json::from_str(&lines[line]).unwrap();
    parsed[field] = value;
    lines[line] = serde_json::to_string(&parsed).unwrap();
}

fn get(lines: &[String], line: usize, field: &str) -> Value {
    serde_json::from_str::<Value>(&lines[line]).unwrap()[field].clone()
}

#[test]
fn what_the_broker_wrote_is_whole() {
    let broker = Broker::new(1);
    for (tenant, first, last, entries) in [
        (None, 1, 20, 20),
        (Some(OWN), 1, 20, 15),
        (Some(OTHER), 1, 20, 4),
        (Some(OWN), 9, 20, 11),
        (Some(OWN), 1, 3, 2),
        (Some(OTHER), 17, 20, 0),
    ] {
        let (summary, faults) = broker.check(&broker.export(tenant, first, last));
        assert_eq!(faults, [""; 0], "{tenant:?} {first} {last}");
        assert_eq!(summary.entries, entries);
        assert_eq!(summary.digests, last - first + 1 - entries);
        let chain = &summary.chains[0];
        assert_eq!((chain.first, chain.last), (first, last));
    }
}

#[test]
fn an_entry_altered() {
    let broker = Broker::new(1);
    let export = broker.export(Some(OWN), 1, 20);
    let line = line_of(&export, 12);
    // Its content, and what stands beside it in keeping with that.
    let mut lines = export.clone();
    let other = Broker::new(2).export(Some(OWN), 1, 20);
    let forged = get(&other, line_of(&other, 13), "content");
    for field in ["time", "object", "user_id"] {
        set(
            &mut lines,
            line,
            field,
            get(&other, line_of(&other, 13), field),
        );
    }
    set(&mut lines, line, "content", forged);
    broker.finds(
        &lines,
        &["12: entry 12 was altered, or the one before it together with its link: it does not follow"],
    );
    assert_eq!(line + 1, 12);
    // And its link as well.
    let link = next_link(&broker.link(11), &{
        let content: Base64 = serde_json::from_value(get(&lines, line, "content")).unwrap();
        content.0
    });
    set(&mut lines, line, "link", json!(Base64(link.to_vec())));
    broker.finds(
        &lines,
        &["13: entry 13 was altered, or the one before it together with its link: it does not follow"],
    );
}

/// With all links after it made to fit, a signed head is what tells.
#[test]
fn an_entry_altered_with_all_links_after_it() {
    let broker = Broker::new(1);
    let mut forger = Broker::new(1);
    let mut entry = Broker::new(1).contents[9].1.clone();
    let at = entry
        .windows(9)
        .position(|part| part == b"object 10")
        .unwrap();
    entry[at] = b'0';
    forger.contents[9].1 = entry;
    let (export, forged) = (
        broker.export(Some(OWN), 1, 20),
        forger.export(Some(OWN), 1, 20),
    );
    let lines: Vec<String> = export
        .iter()
        .zip(&forged)
        .map(|(own, forged)| {
            if own.contains("\"body\"") {
                own
            } else {
                forged
            }
        })
        .cloned()
        .collect();
    let (_, faults) = broker.check(&lines);
    assert_eq!(faults.len(), 2, "{faults:?}");
    for (fault, sequence) in faults.iter().zip([16, 20]) {
        let wanted = format!("the chain up to entry {sequence} is not the one that was signed");
        assert!(fault.contains(&wanted), "{fault}");
    }
}

#[test]
fn what_stands_beside_a_content_must_be_what_it_says() {
    let broker = Broker::new(1);
    let export = broker.export(Some(OWN), 1, 20);
    let line = line_of(&export, 2);
    for field in [
        "time", "actor", "address", "action", "object", "outcome", "user_id",
    ] {
        let mut lines = export.clone();
        set(&mut lines, line, field, json!("2026-01-01T00:00:09Z"));
        broker.finds(
            &lines,
            &[&format!("3: entry 2 says another {field} than its content")],
        );
    }
    let mut lines = export.clone();
    set(&mut lines, line, "remark", json!("approved by the boss"));
    let (_, faults) = broker.check(&lines);
    assert!(
        faults[0].starts_with("3: this is no line of an export: unknown field"),
        "{faults:?}"
    );
    let head = head_of(&export, 8);
    let mut lines = export.clone();
    set(&mut lines, head, "first_kept", json!(2));
    broker.finds(
        &lines,
        &[&format!(
            "{}: the head of entry 8 says something else than its signed body",
            head + 1
        )],
    );
}

#[test]
fn an_entry_dropped() {
    let broker = Broker::new(1);
    let export = broker.export(Some(OWN), 1, 20);
    let seal = "the entries that are there in full, 14, are not those that were sealed, 15: some \
                are missing, were added, or stand here as digests";
    for sequence in [2, 9, 16, 20] {
        let mut lines = export.clone();
        let line = line_of(&lines, sequence);
        lines.remove(line);
        broker.finds(
            &lines,
            &[
                &format!("{}: entry {sequence} is missing before this", line + 1),
                &format!("{}: {seal}", lines.len()),
            ],
        );
    }
    // One of a run of digests, and the run.
    let run = line_of(&export, 3) + 1;
    let mut lines = export.clone();
    lines.remove(run);
    broker.finds(
        &lines,
        &[&format!(
            "{}: entries 4 to 6 are missing before this",
            run + 1
        )],
    );
    let mut lines = export.clone();
    let mut digests = get(&lines, run, "digests");
    digests.as_array_mut().unwrap().remove(1);
    set(&mut lines, run, "digests", digests);
    broker.finds(
        &lines,
        &[
            &format!(
                "{}: one of entries 4 to 5, of which only digests are there, was altered, or the \
                 one before together with its link: they do not follow",
                run + 1
            ),
            &format!("{}: entry 6 is missing before this", run + 2),
        ],
    );
}

#[test]
fn an_entry_twice() {
    let broker = Broker::new(1);
    let export = broker.export(None, 1, 20);
    for (to, sequence) in [(13, 12), (18, 3)] {
        let mut lines = export.clone();
        let line = line_of(&lines, to);
        let twin = lines[line_of(&lines, sequence)].clone();
        lines.insert(line, twin);
        let (_, faults) = broker.check(&lines);
        let wanted = format!("{}: entry {sequence} is there a second time", line + 1);
        assert_eq!(faults[0], wanted);
        assert!(
            faults[1].contains("are not those that were sealed"),
            "{faults:?}"
        );
    }
}

#[test]
fn lines_swapped() {
    let broker = Broker::new(1);
    let export = broker.export(None, 1, 20);
    let line = line_of(&export, 12);
    let mut lines = export.clone();
    lines.swap(line, line + 1);
    let (_, faults) = broker.check(&lines);
    assert_eq!(
        faults[0],
        format!("{}: entry 12 is out of order, after entry 13", line + 2)
    );
    // Far apart.
    let (one, two) = (line_of(&export, 3), line_of(&export, 18));
    let mut lines = export.clone();
    lines.swap(one, two);
    let (_, faults) = broker.check(&lines);
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("entry 3 is out of order")),
        "{faults:?}"
    );
    // A head before its entry.
    let head = head_of(&export, 8);
    let mut lines = export.clone();
    lines.swap(head - 1, head);
    let (_, faults) = broker.check(&lines);
    assert_eq!(
        faults[0],
        format!("{}: entry 8 is out of order, after its head", head + 1)
    );
}

#[test]
fn the_tail_cut_off() {
    let broker = Broker::new(1);
    let export = broker.export(Some(OWN), 1, 20);
    // After a signed head in the middle: all before it is in order.
    for head in [8, 16] {
        let mut lines = export.clone();
        lines.truncate(head_of(&export, head) + 1);
        let line = lines.len();
        let next = head + 1;
        broker.finds(
            &lines,
            &[
                &format!(
                    "{line}: entries {next} to 20 are missing: the export was cut off after entry \
                     {head}"
                ),
                &format!("{line}: the seal is missing: the end of the export was cut off"),
            ],
        );
        // With the head made the end of the export, too.
        let older = broker.export(Some(OWN), 1, head);
        let mut headers = lines.clone();
        headers[0] = older[0].clone();
        headers.push(export.last().unwrap().clone());
        let (_, faults) = broker.check(&headers);
        assert!(
            faults[0].contains("the seal is of another export"),
            "{faults:?}"
        );
    }
    // In the middle.
    let mut lines = export.clone();
    lines.truncate(line_of(&export, 14) + 1);
    let (_, faults) = broker.check(&lines);
    assert!(
        faults[0].contains("entries 15 to 20 are missing"),
        "{faults:?}"
    );
    assert!(
        faults[1].contains("entries 9 to 14 are not vouched for"),
        "{faults:?}"
    );
    for lines in [&[][..], &export[..1], &export[1..]] {
        assert!(!broker.check(lines).1.is_empty());
    }
}

/// Entries may leave by age, but only as a head says.
#[test]
fn the_start_cut_off() {
    let broker = Broker::new(1);
    let export = broker.export(Some(OWN), 1, 20);
    let mut lines = export.clone();
    lines.drain(1..head_of(&export, 8));
    let (_, faults) = broker.check(&lines);
    let wanted = format!(
        "1: entries 1 to 8 are missing at the start: the head signed at {} says they were still \
         kept",
        stamp(20)
    );
    assert_eq!(faults[0], wanted);
    // Without the head of what has left.
    let mut lines = broker.export(Some(OWN), 9, 20);
    lines.remove(1);
    broker.finds(&lines, &["2: entries 1 to 8 are missing before this"]);
    // With somebody's own head instead.
    let mut lines = broker.export(Some(OWN), 9, 20);
    let foreign = Broker::new(2).export(Some(OWN), 9, 20);
    lines[1] = foreign[1].clone();
    let (_, faults) = broker.check(&lines);
    assert!(
        faults[0].starts_with("2: the head of entry 8 is signed by key"),
        "{faults:?}"
    );
}

#[test]
fn two_exports_spliced() {
    let broker = Broker::new(1);
    let export = broker.export(Some(OWN), 1, 20);
    // Of another organisation: its entries are genuine, but are not to be here.
    let other = broker.export(Some(OTHER), 1, 20);
    let mut lines = export.clone();
    let run = line_of(&export, 3) + 1;
    let theirs: Vec<String> = (4..=6).map(|n| other[line_of(&other, n)].clone()).collect();
    lines.splice(run..=run, theirs);
    let (_, faults) = broker.check(&lines);
    for n in 4..=6 {
        let wanted = format!("entry {n} is not of the organisation whose export this is");
        assert!(
            faults.iter().any(|fault| fault.contains(&wanted)),
            "{faults:?}"
        );
    }
    // One of the own entries as if it were somebody else's.
    let mut lines = export.clone();
    let line = line_of(&export, 10);
    let run = other
        .iter()
        .position(|line| line.contains(r#""first_sequence":7,"#))
        .unwrap();
    lines[line] = serde_json::to_string(&Line::Digests(DigestsLine {
        writer: 1,
        first_sequence: 10,
        digests: vec![Base64(sha256(&broker.contents[9].1).to_vec())],
        link: Base64(broker.link(10).to_vec()),
    }))
    .unwrap();
    assert!(other[run].contains("digests"));
    let (_, faults) = broker.check(&lines);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("or stand here as digests"), "{faults:?}");
    // Of the same organisation, made earlier: the end of it after the start of
    // the later one.
    let earlier = broker.export(Some(OWN), 1, 16);
    let mut lines = export[..line_of(&export, 13)].to_vec();
    lines.extend_from_slice(&earlier[line_of(&earlier, 13)..]);
    let (_, faults) = broker.check(&lines);
    assert!(
        faults[0].contains("the seal is of another export"),
        "{faults:?}"
    );
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("entries 17 to 20 are missing")),
        "{faults:?}"
    );
    // Of another broker.
    let foreign = Broker::new(2).export(Some(OWN), 1, 20);
    let mut lines = export.clone();
    let (from, to) = (line_of(&export, 12), line_of(&export, 14));
    lines[from..=to].clone_from_slice(&foreign[from..=to]);
    let (_, faults) = broker.check(&lines);
    assert!(
        faults[0].starts_with("12: entry 12 was altered"),
        "{faults:?}"
    );
    // One after the other.
    let mut lines = export.clone();
    lines.extend(other);
    let (_, faults) = broker.check(&lines);
    assert!(faults[0].contains("after the seal"), "{faults:?}");
}

/// A whole export of somebody else is whole, but only with their keys.
#[test]
fn the_keys_of_somebody_else() {
    let broker = Broker::new(1);
    let foreign = Broker::new(2).export(Some(OWN), 1, 20);
    let (_, faults) = broker.check(&foreign);
    assert!(faults.len() >= 3, "{faults:?}");
    for fault in faults {
        assert!(
            fault.contains("is not among those to be trusted"),
            "{fault}"
        );
    }
    // A key that calls itself by another's name.
    let mut jwks = Broker::new(2).jwks();
    jwks["keys"][0]["kid"] = json!(key_id(&broker.public()));
    let keys = verify::key_set(&jwks).unwrap();
    assert!(!keys.contains_key(&key_id(&broker.public())));
}

/// Whatever is broken anywhere, something is said, and nothing ends the program.
#[test]
fn any_damage_is_noticed() {
    let broker = Broker::new(1);
    let export = broker.export(Some(OWN), 1, 20);
    let text = export.join("\n").into_bytes();
    let keys = broker.keys();
    for at in (0..text.len()).step_by(3) {
        for bit in [0, 4] {
            let mut damaged = text.clone();
            damaged[at] ^= 1 << bit;
            let (_, faults) = verify::check(damaged.as_slice(), keys.clone()).unwrap();
            let jwks = String::from_utf8_lossy(&export[0].as_bytes()[..at.min(export[0].len())])
                .contains("\"jwks\"")
                && !String::from_utf8_lossy(&text[..at]).contains("\"heads\"");
            assert!(
                // The keys given count, not those in the file.
                !faults.is_empty() || jwks,
                "byte {at}: {}",
                String::from_utf8_lossy(&text[at.saturating_sub(40)..at])
            );
        }
    }
    for line in 0..export.len() {
        let mut lines = export.clone();
        lines.remove(line);
        let (_, faults) = broker.check(&lines);
        // A head in the middle may go: the next one vouches for its entries.
        let spare = line == head_of(&export, 8) || line == head_of(&export, 16);
        assert_eq!(faults.is_empty(), spare, "line {line}");
        let mut lines = export.clone();
        lines.insert(line, export[line].clone());
        let (_, faults) = broker.check(&lines);
        assert_eq!(
            faults.is_empty(),
            export[line].contains("\"head\""),
            "line {line} twice"
        );
    }
}
