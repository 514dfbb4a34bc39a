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
mod imported;
mod keys;
mod rejected_keys;
mod rejected_signatures;
mod sealed;

use std::fmt::Debug;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_proto::sealing::{EncryptionKey, SealingError};
use countersign_proto::signing::{PublicKey, Purpose, SIGNATURE_LENGTH};
use countersign_proto::v1::{ChallengeBody, KeyAlgorithm, SealedChallenge};
use files::{Accepted, File, Rejected, RejectedKey, from_hex, hex, purpose};
use prost::Message as _;
use sealed::{RejectedSealed, Sealed, bytes32};
use serde::Serialize;
use serde::de::DeserializeOwned;

const ACCEPTED: [&str; 7] = [
    "challenge",
    "response",
    "device-proof",
    "enroll",
    "key-succession",
    "audit-head",
    "audit-export",
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
    check("imported-device", &imported::make());
    check("sealed-challenge", &sealed::make());
    check("rejected-sealed-challenges", &sealed::make_rejected());
}

/// By what the README says, not by the library.
#[test]
fn ids_of_imported_devices_are_uuids_of_version_8() {
    if writing() {
        return;
    }
    for vector in files::read::<imported::Imported>("imported-device")
        .unwrap()
        .vectors
    {
        let hashed = from_hex(&vector.hashed_bytes);
        let mut id = countersign_proto::signing::sha256(&hashed)[..16].to_vec();
        id[6] = 0x80 | id[6] & 0x0f;
        id[8] = 0x80 | id[8] & 0x3f;
        assert_eq!(
            vector.device_id.replace('-', ""),
            hex(id),
            "{}",
            vector.name
        );
    }
}

/// By the library that broker and simulated phones use.
#[test]
fn sealed_challenges_are_opened_and_verify() {
    if writing() {
        return;
    }
    let broker = keys::broker();
    let broker = PublicKey::from_bytes(KeyAlgorithm::Ed25519, &broker.public()).unwrap();
    for vector in files::read::<Sealed>("sealed-challenge").unwrap().vectors {
        let key = EncryptionKey::from_bytes(&bytes32(&vector.recipient_private_key)).unwrap();
        let text = vector.push["c"].as_str().unwrap();
        let sealed = STANDARD.decode(text).unwrap();
        assert_eq!(hex(&sealed), vector.sealed, "{}", vector.name);
        let sealed = SealedChallenge::decode(sealed.as_slice()).unwrap();
        let opened = key
            .open(&sealed, &vector.device_id, &vector.challenge_id)
            .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(hex(opened.encode_to_vec()), vector.plaintext);
        broker
            .verify(Purpose::Challenge, &opened.body, &opened.signature)
            .unwrap();
        let body = ChallengeBody::decode(opened.body).unwrap();
        assert_eq!(body.challenge_id, vector.challenge_id);
    }
}

#[test]
fn rejected_sealed_challenges_are_not_opened() {
    if writing() {
        return;
    }
    for vector in files::read::<RejectedSealed>("rejected-sealed-challenges")
        .unwrap()
        .vectors
    {
        let key = EncryptionKey::from_bytes(&bytes32(&vector.recipient_private_key)).unwrap();
        let sealed = SealedChallenge::decode(from_hex(&vector.sealed).as_slice()).unwrap();
        assert_eq!(
            key.open(&sealed, &vector.device_id, &vector.challenge_id),
            Err(SealingError::NotOpened),
            "{}",
            vector.name
        );
    }
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
    // With a key of small order, this signature (the neutral point and zero)
    // goes with one message in eight, at least.
    let mut neutral = [0; SIGNATURE_LENGTH];
    neutral[0] = 1;
    for vector in files::read::<RejectedKey>("rejected-keys").unwrap().vectors {
        let public = from_hex(&vector.public_key);
        let key = PublicKey::from_bytes(vector.algorithm(), &public);
        assert!(key.is_err(), "accepted: {}", vector.name);
        // Where one came into the broker's store all the same.
        let Ok(key) = PublicKey::from_accepted(vector.algorithm(), &public) else {
            continue;
        };
        for body in 0..64_u8 {
            let verified = key.verify(Purpose::Response, &[body], &neutral);
            assert!(verified.is_err(), "verifies: {}", vector.name);
        }
    }
}
