//! Samples of everything ever written, as hexadecimal in `golden/`: an old
//! database opens for ever. They are never changed; `COUNTERSIGN_NEW_GOLDEN=1`
//! adds those that are missing.

mod accounts;
mod browsers;
mod events;
mod samples;

use std::path::PathBuf;

use super::super::record::BadRecord;
use samples::samples;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/store/embedded/golden/v1")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn what_was_ever_written_is_read_and_written_the_same() {
    let add = std::env::var_os("COUNTERSIGN_NEW_GOLDEN").is_some();
    let mut known = std::collections::BTreeSet::new();
    for sample in samples() {
        let path = folder().join(format!("{}.hex", sample.name));
        if add && !path.exists() {
            std::fs::write(&path, format!("{}\n", hex(&sample.bytes))).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; COUNTERSIGN_NEW_GOLDEN=1 adds it",
                path.display()
            )
        });
        let name = &sample.name;
        assert_eq!(
            (sample.is_read_from)(&unhex(text.trim())),
            Ok(true),
            "{name}"
        );
        assert_eq!(hex(&sample.bytes), text.trim(), "{name}");
        assert!(known.insert(path), "two samples are called {name}");
    }
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            known.contains(&path),
            "{} is read by nothing",
            path.display()
        );
    }
}

#[test]
fn what_is_not_understood_is_an_error() {
    for sample in samples() {
        let name = &sample.name;
        if name.starts_with("key-") {
            continue;
        }
        let unknown = Err(BadRecord("unknown record version"));
        for version in [0, 2, 255] {
            let mut other = sample.bytes.clone();
            other[0] = version;
            assert_eq!((sample.is_read_from)(&other), unknown, "{name}");
        }
        assert_eq!(
            (sample.is_read_from)(&[]),
            Err(BadRecord("empty value")),
            "{name}"
        );
        assert_ne!(
            (sample.is_read_from)(&sample.bytes[..1]),
            Ok(true),
            "{name}"
        );
        // Damage may go unnoticed here, but must not end the process.
        for at in 0..sample.bytes.len() {
            drop((sample.is_read_from)(&sample.bytes[..at]));
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut other = sample.bytes.clone();
                other[at] = value;
                drop((sample.is_read_from)(&other));
            }
        }
    }
}

/// In protobuf the last of two values of a field counts, and two of a message
/// are merged: so what is added at the end takes the place of what was there.
#[test]
fn an_unknown_variant_is_an_error() {
    for (name, added, error) in [
        ("tenant-off-supersede", "2063", "unknown NumberMatching"),
        ("tenant-off-supersede", "3863", "unknown PendingLimit"),
        (
            "tenant-off-supersede",
            "28ac02",
            "number_digits out of range",
        ),
        ("api-key-idp", "2063", "unknown Role"),
        ("ticket-open", "4863", "unknown ticket state"),
        ("ticket-redeemed", "4801", "unknown ticket state"),
        ("device-ed25519", "2063", "unknown key algorithm"),
        ("device-ed25519", "2002", "not a public key"),
        ("device-ed25519", "3063", "unknown KeyProtection"),
        ("device-ed25519", "3863", "unknown Platform"),
        ("device-apns", "5a020863", "unknown PushGateway"),
        ("challenge-method-push", "2863", "unknown Method"),
        (
            "challenge-queued",
            "5216 0a103333333333333333333333333333333310631801",
            "unknown Road",
        ),
        (
            "challenge-queued",
            "5216 0a103333333333333333333333333333333310011863",
            "unknown DeliveryState",
        ),
        ("challenge-final-denied", "5a020863", "unknown Final"),
        ("challenge-final-denied", "5a021063", "unknown Reason"),
        (
            "challenge-proof-ed25519",
            "5a042a023863",
            "unknown UserVerification",
        ),
        (
            "challenge-proof-ed25519",
            "5a042a022063",
            "unknown key algorithm",
        ),
        (
            "challenge-proof-ed25519",
            "5a042a023063",
            "unknown KeyProtection",
        ),
        ("push-apns-prompt", "1063", "unknown PushGateway"),
        ("push-apns-prompt", "2063", "unknown PushKind"),
        ("push-apns-prompt", "0a0100", "an id must have 16 bytes"),
        ("account-locked-operator", "5a021063", "unknown LockReason"),
        ("account-full", "1a030a0100", "an id must have 16 bytes"),
        ("text-sign-in", "3063", "unknown TextPurpose"),
        ("text-sign-in", "3a0100", "an id must have 16 bytes"),
        ("text-sign-in", "68ac02", "digits out of range"),
        ("text-notice-totp-added", "4063", "unknown Notice"),
        ("meter-range", "120100", "an id must have 16 bytes"),
        ("audit-entry", "1a0100", "a chain link must have 32 bytes"),
        (
            "audit-entries",
            "220308ad02",
            "entries of the audit trail in the wrong order",
        ),
        ("decisions", "0a03120100", "an id must have 16 bytes"),
        ("stretch", "088008", "a place beyond its stretch"),
        ("stretch", "0801", "places in the wrong order"),
    ] {
        let sample = samples()
            .into_iter()
            .find(|sample| sample.name == name)
            .unwrap();
        let mut bytes = sample.bytes.clone();
        bytes.extend(unhex(&added.replace(' ', "")));
        assert_eq!(
            (sample.is_read_from)(&bytes),
            Err(BadRecord(error)),
            "{name} {added}"
        );
    }
}
