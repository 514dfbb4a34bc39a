//! Challenges sealed to one device.
//!
//! The library gives no say over its ephemeral key, so the ciphertexts are made
//! here, step by step as RFC 9180 has it: a second opinion on the library, which
//! has to open them.

use aws_lc_rs::{aead, agreement, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_proto::sealing::{EncryptionKey, info};
use countersign_proto::signing::Purpose;
use countersign_proto::v1::{KeyAlgorithm, SealedChallenge, SignedChallenge};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bodies::{self, Body};
use crate::files::{File, from_hex, hex};
use crate::keys;

/// The device's key and the broker's ephemeral one: RFC 9180, appendix A.2.1,
/// `skRm` and `skEm`.
const RECIPIENT: &str = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb";
const EPHEMERAL: &str = "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600";

/// A sealed challenge that everybody opens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Sealed {
    pub(crate) name: String,
    pub(crate) info: String,
    pub(crate) device_id: String,
    pub(crate) challenge_id: String,
    pub(crate) recipient_private_key: String,
    pub(crate) recipient_public_key: String,
    pub(crate) ephemeral_private_key: String,
    pub(crate) shared_secret: String,
    pub(crate) key: String,
    pub(crate) base_nonce: String,
    pub(crate) plaintext: String,
    pub(crate) encapsulated_key: String,
    pub(crate) ciphertext: String,
    pub(crate) sealed: String,
    pub(crate) push: Value,
}

/// A sealed challenge that nobody may open.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct RejectedSealed {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) device_id: String,
    pub(crate) challenge_id: String,
    pub(crate) recipient_private_key: String,
    pub(crate) sealed: String,
}

pub(crate) fn make() -> File<Sealed> {
    File {
        about: "What a push carries, encrypted to one device: SealedChallenge. See README.md."
            .to_owned(),
        vectors: vec![
            vector("sealed-with-number", bodies::challenge_with_number()),
            vector("sealed-minimal", bodies::challenge_minimal()),
        ],
    }
}

pub(crate) fn make_rejected() -> File<RejectedSealed> {
    let good = vector("", bodies::challenge_minimal());
    let reject = |name: &str, why: &str| RejectedSealed {
        name: name.to_owned(),
        why: why.to_owned(),
        device_id: good.device_id.clone(),
        challenge_id: good.challenge_id.clone(),
        recipient_private_key: good.recipient_private_key.clone(),
        sealed: good.sealed.clone(),
    };
    let altered = |name: &str, why: &str, alter: fn(&mut Vec<u8>, &mut Vec<u8>)| {
        let mut encapsulated_key = from_hex(&good.encapsulated_key);
        let mut ciphertext = from_hex(&good.ciphertext);
        alter(&mut encapsulated_key, &mut ciphertext);
        RejectedSealed {
            sealed: hex(message(encapsulated_key, ciphertext)),
            ..reject(name, why)
        }
    };
    let mut vectors = vec![
        altered("altered-ciphertext", "one bit of ct differs", |_, ct| {
            ct[20] ^= 1;
        }),
        altered("altered-tag", "one bit of the tag differs", |_, ct| {
            *ct.last_mut().unwrap() ^= 1;
        }),
        altered("no-tag", "the tag is missing", |_, ct| {
            ct.truncate(ct.len() - 16);
        }),
        altered(
            "encapsulated-key-high-bit",
            "X25519 ignores that bit of enc, the key schedule does not",
            |enc, _| enc[31] ^= 0x80,
        ),
        altered(
            "encapsulated-key-of-small-order",
            "the shared secret would be zero (RFC 7748, section 6.1)",
            |enc, _| enc.fill(0),
        ),
    ];
    vectors.push(RejectedSealed {
        device_id: bodies::device_id(KeyAlgorithm::Ed25519),
        ..reject("other-device-id", "sealed for another device id")
    });
    vectors.push(RejectedSealed {
        challenge_id: "01970f3c-5c00-7a10-8b5e-2f6d7c8e9a02".to_owned(),
        ..reject("other-challenge-id", "sealed for another challenge id")
    });
    vectors.push(RejectedSealed {
        recipient_private_key: EPHEMERAL.to_owned(),
        ..reject("other-key", "sealed to another device's key")
    });
    File {
        about: "Sealed challenges that nobody may open. See README.md.".to_owned(),
        vectors,
    }
}

fn message(encapsulated_key: Vec<u8>, ciphertext: Vec<u8>) -> Vec<u8> {
    SealedChallenge {
        encapsulated_key: encapsulated_key.into(),
        ciphertext: ciphertext.into(),
    }
    .encode_to_vec()
}

fn vector(name: &str, body: Body) -> Sealed {
    let broker = keys::broker();
    let challenge = SignedChallenge {
        signature: broker
            .private
            .sign(Purpose::Challenge, &body.bytes)
            .unwrap()
            .into(),
        key_id: broker.written.key_id.clone().unwrap(),
        body: body.bytes.into(),
    };
    let device_id = bodies::device_id(KeyAlgorithm::P256);
    let info = info(&device_id, bodies::CHALLENGE_ID);
    let recipient = EncryptionKey::from_bytes(&bytes32(RECIPIENT)).unwrap();
    let plaintext = challenge.encode_to_vec();
    let made = hpke_seal(recipient.public_bytes(), &info, &plaintext);
    let sealed = message(made.encapsulated_key.clone(), made.ciphertext.clone());
    Sealed {
        name: name.to_owned(),
        info: hex(info),
        push: json!({
            "v": 1,
            "t": "sealed",
            "id": bodies::CHALLENGE_ID,
            "c": STANDARD.encode(&sealed),
        }),
        device_id,
        challenge_id: bodies::CHALLENGE_ID.to_owned(),
        recipient_private_key: RECIPIENT.to_owned(),
        recipient_public_key: hex(recipient.public_bytes()),
        ephemeral_private_key: EPHEMERAL.to_owned(),
        shared_secret: hex(made.shared_secret),
        key: hex(made.key),
        base_nonce: hex(made.base_nonce),
        plaintext: hex(plaintext),
        encapsulated_key: hex(made.encapsulated_key),
        ciphertext: hex(made.ciphertext),
        sealed: hex(sealed),
    }
}

pub(crate) fn bytes32(text: &str) -> [u8; 32] {
    from_hex(text).try_into().unwrap()
}

struct Made {
    shared_secret: Vec<u8>,
    key: Vec<u8>,
    base_nonce: Vec<u8>,
    encapsulated_key: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// RFC 9180, section 7.1: `KEM_ID` in two bytes after "KEM".
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
/// Section 5.1: KEM, KDF and AEAD after "HPKE".
const HPKE_SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";

/// RFC 9180, sections 4.1 (`Encap`), 5.1 (`KeySchedule`) and 5.2 (`Seal`, with
/// sequence number 0) for base mode.
fn hpke_seal(recipient: &[u8; 32], info: &[u8], plaintext: &[u8]) -> Made {
    let ephemeral =
        agreement::PrivateKey::from_private_key(&agreement::X25519, &bytes32(EPHEMERAL)).unwrap();
    let encapsulated_key = ephemeral.compute_public_key().unwrap().as_ref().to_vec();
    let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, recipient);
    let dh = agreement::agree(&ephemeral, peer, (), |secret| Ok(secret.to_vec())).unwrap();
    let eae_prk = labeled_extract(KEM_SUITE, b"", b"eae_prk", &dh);
    let kem_context = [encapsulated_key.as_slice(), recipient].concat();
    let shared_secret = labeled_expand(KEM_SUITE, &eae_prk, b"shared_secret", &kem_context, 32);

    let context = [
        &[0][..],
        &labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", b""),
        &labeled_extract(HPKE_SUITE, b"", b"info_hash", info),
    ]
    .concat();
    let secret = labeled_extract(HPKE_SUITE, &shared_secret, b"secret", b"");
    let key = labeled_expand(HPKE_SUITE, &secret, b"key", &context, 32);
    let base_nonce = labeled_expand(HPKE_SUITE, &secret, b"base_nonce", &context, 12);

    let cipher = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &key).unwrap();
    let nonce = aead::Nonce::try_assume_unique_for_key(&base_nonce).unwrap();
    let mut ciphertext = plaintext.to_vec();
    aead::LessSafeKey::new(cipher)
        .seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut ciphertext)
        .unwrap();
    Made {
        shared_secret,
        key,
        base_nonce,
        encapsulated_key,
        ciphertext,
    }
}

/// Section 4; HKDF-Extract is RFC 5869, section 2.2.
fn labeled_extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Vec<u8> {
    let labeled = [b"HPKE-v1", suite, label, ikm].concat();
    hmac_sha256(salt, &labeled)
}

/// Section 4; HKDF-Expand is RFC 5869, section 2.3, of which one round is enough.
fn labeled_expand(suite: &[u8], prk: &[u8], label: &[u8], info: &[u8], length: u8) -> Vec<u8> {
    let labeled = [&[0, length][..], b"HPKE-v1", suite, label, info, &[1]].concat();
    let mut out = hmac_sha256(prk, &labeled);
    out.truncate(length.into());
    out
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}
