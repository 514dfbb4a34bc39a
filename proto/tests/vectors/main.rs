//! The golden vectors in `proto/vectors/`: what is written there is what this
//! code makes and accepts, byte for byte.
//!
//! ECDSA signatures are randomized, so the stored ones are verified, and kept
//! when the files are written anew. To write them:
//! `COUNTERSIGN_WRITE_VECTORS=1 cargo test -p countersign-proto --test vectors`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod accepted;
mod bodies;
mod files;
mod keys;
mod rejected_keys;
mod rejected_signatures;

use std::fmt::Debug;

use countersign_proto::signing::PublicKey;
use files::{Accepted, File, Rejected, RejectedKey, from_hex, purpose};
use serde::Serialize;
use serde::de::DeserializeOwned;

const ACCEPTED: [&str; 5] = [
    "challenge",
    "response",
    "device-proof",
    "enroll",
    "key-succession",
];

fn writing() -> bool {
    std::env::var_os("COUNTERSIGN_WRITE_VECTORS").is_some()
}

fn check<T: DeserializeOwned + Serialize + Debug + PartialEq>(name: &str, made: &File<T>) {
    if writing() {
        files::write(name, made);
    }
    assert_eq!(files::read(name).as_ref(), Some(made), "{name}.json");
}

#[test]
fn the_files_are_what_this_code_makes() {
    for name in ACCEPTED {
        check(name, &accepted::make(name, files::read(name).as_ref()));
    }
    let stored = files::read("rejected-signatures");
    check(
        "rejected-signatures",
        &rejected_signatures::make(stored.as_ref()),
    );
    check("rejected-keys", &rejected_keys::make());
}

#[test]
fn accepted_vectors_verify() {
    if writing() {
        return;
    }
    for name in ACCEPTED {
        for vector in files::read::<Accepted>(name).unwrap().vectors {
            let public = from_hex(&vector.key.public_key);
            let key = PublicKey::from_bytes(vector.key.algorithm(), &public).unwrap();
            let body = from_hex(&vector.body);
            let purpose = purpose(&vector.label);
            assert_eq!(
                purpose.message(&body),
                from_hex(&vector.signed_bytes),
                "{}",
                vector.name
            );
            key.verify(purpose, &body, &from_hex(&vector.signature))
                .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        }
    }
}

#[test]
fn rejected_signatures_are_rejected() {
    if writing() {
        return;
    }
    for vector in files::read::<Rejected>("rejected-signatures")
        .unwrap()
        .vectors
    {
        let public = from_hex(&vector.public_key);
        let key = PublicKey::from_bytes(vector.algorithm(), &public)
            .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        let verified = key.verify(
            purpose(&vector.label),
            &from_hex(&vector.body),
            &from_hex(&vector.signature),
        );
        assert!(verified.is_err(), "accepted: {}", vector.name);
    }
}

#[test]
fn rejected_keys_are_rejected() {
    if writing() {
        return;
    }
    for vector in files::read::<RejectedKey>("rejected-keys").unwrap().vectors {
        let key = PublicKey::from_bytes(vector.algorithm(), &from_hex(&vector.public_key));
        assert!(key.is_err(), "accepted: {}", vector.name);
    }
}
