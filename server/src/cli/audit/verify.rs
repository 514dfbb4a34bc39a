//! `countersign audit verify`

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::{
    signing::{PublicKey, key_id},
    v1::KeyAlgorithm,
};
use serde_json::{Value, json};

use super::{
    super::{
        failure::Failure,
        output::{Output, printable_lines},
    },
    VerifyArgs,
    check::{ChainSummary, Check, Fault, Keys, Summary},
    line::Line,
};

/// Faults told at most: after the first the others often follow from it.
const MAX_FAULTS: usize = 50;
/// The longest line that can be one.
const MAX_LINE: u64 = 16 << 20;

pub(super) fn run(what: &VerifyArgs, out: &Output) -> Result<(), Failure> {
    let keys = keys(what)?;
    let (summary, faults) =
        check(open(&what.file)?, keys).map_err(|error| unreadable(&what.file, &error))?;
    let trusted = what.jwks.is_some() || !what.key_fingerprint.is_empty();
    let shown = faults.iter().take(MAX_FAULTS);
    let value = json!({
        "whole": faults.is_empty(),
        "faults": faults.iter().map(|fault| json!({"line": fault.line, "fault": fault.text})).collect::<Vec<_>>(),
        "keys_from_the_file": !trusted,
        "issuer": summary.issuer,
        "tenant_id": summary.tenant_id,
        "export_time": summary.export_time,
        "entries": summary.entries,
        "digests": summary.digests,
        "chains": summary.chains.iter().map(|chain| json!({
            "writer": chain.writer, "first": chain.first, "last": chain.last,
            "sign_time": chain.sign_time, "key_id": chain.key_id,
        })).collect::<Vec<_>>(),
    });
    out.show(&value, || {
        if faults.is_empty() {
            describe(&summary, trusted)
        } else {
            let text: String = shown
                .map(|fault| format!("line {}: {}\n", fault.line, fault.text))
                .collect();
            printable_lines(&text)
        }
    })?;
    if faults.is_empty() {
        Ok(())
    } else {
        let count = faults.len();
        let faults = if count == 1 { "fault" } else { "faults" };
        Err(Failure::failed(format!(
            "{} is not as the broker wrote it: {count} {faults}",
            what.file.display()
        )))
    }
}

fn describe(summary: &Summary, trusted: bool) -> String {
    let mut text = format!(
        "Whole: {} entries in full, {} as digests; exported by {} at {}\n",
        summary.entries, summary.digests, summary.issuer, summary.export_time
    );
    for ChainSummary {
        writer,
        first,
        last,
        sign_time,
        key_id,
    } in &summary.chains
    {
        if *first > 1 {
            text.push_str(&format!(
                "Writer {writer}: entries 1 to {} had left by age; a signed head vouches for them\n",
                first.saturating_sub(1)
            ));
        }
        text.push_str(&format!(
            "Writer {writer}: entries {first} to {last}, signed at {sign_time} by key {key_id}\n"
        ));
    }
    if !trusted {
        text.push_str(
            "The keys are those in the file itself, where anybody could have put them: compare \
             the key id with one you know, or use --jwks or --key-fingerprint\n",
        );
    }
    printable_lines(&text)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot read {}: {error}", path.display()))
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    File::open(path)
        .map(BufReader::new)
        .map_err(|error| unreadable(path, &error))
}

/// Checks all lines.
pub(super) fn check(mut file: impl BufRead, keys: Keys) -> std::io::Result<(Summary, Vec<Fault>)> {
    let mut check = Check::new(keys);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = std::io::Read::take(&mut file, MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(check.finish());
        }
        check.line(&String::from_utf8_lossy(&line));
    }
}

/// The keys that count.
fn keys(what: &VerifyArgs) -> Result<Keys, Failure> {
    let mut keys = match &what.jwks {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
            serde_json::from_str(&text)
                .ok()
                .and_then(|set| key_set(&set))
                .ok_or_else(|| {
                    Failure::failed(format!(
                        "{} is no JSON Web Key Set with Ed25519 keys",
                        path.display()
                    ))
                })?
        }
        None => {
            let mut first = String::new();
            let mut file = std::io::Read::take(open(&what.file)?, MAX_LINE);
            file.read_line(&mut first)
                .map_err(|error| unreadable(&what.file, &error))?;
            match serde_json::from_str(&first) {
                Ok(Line::Header(header)) => key_set(&header.jwks).unwrap_or_default(),
                // The check says what is wrong with it.
                _ => Keys::new(),
            }
        }
    };
    if !what.key_fingerprint.is_empty() {
        keys.retain(|key_id, _| what.key_fingerprint.contains(key_id));
        if keys.is_empty() {
            return Err(Failure::failed("none of the keys has that fingerprint"));
        }
    }
    Ok(keys)
}

/// The Ed25519 keys of a JSON Web Key Set (RFC 7517, RFC 8037), by their
/// thumbprints, which are computed, not believed.
pub(super) fn key_set(set: &Value) -> Option<Keys> {
    let mut keys = Keys::new();
    for key in set.get("keys")?.as_array()? {
        if key.get("crv").and_then(Value::as_str) != Some("Ed25519") {
            continue;
        }
        let x = URL_SAFE_NO_PAD.decode(key.get("x")?.as_str()?).ok()?;
        let x = <[u8; 32]>::try_from(x).ok()?;
        let public = PublicKey::from_bytes(KeyAlgorithm::Ed25519, &x).ok()?;
        keys.insert(key_id(&x), public);
    }
    Some(keys)
}
