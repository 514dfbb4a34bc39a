//! Signatures that nobody may accept, each beside the one it was made from.

use countersign_proto::signing::{PrivateKey, PublicKey, Purpose, sha256};
use countersign_proto::v1::KeyAlgorithm;

use crate::accepted::{self, P256_ORDER};
use crate::bodies;
use crate::files::{Accepted, File, Rejected, algorithm_name, from_hex, hex, read};
use crate::keys::{self, TestKey};

/// Order of the base point of Ed25519, little-endian (RFC 8032, section 5.1).
const ED25519_ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/// Over `challenge-minimal` by the broker's key, with R the neutral element
/// and S = kA: the equation of RFC 8032, section 5.1.7, holds.
const SMALL_ORDER_R: &str = concat!(
    "0100000000000000000000000000000000000000000000000000000000000000",
    "4b21cb85cf0d1bb1441a2af870a09de5569a69991fe70a3a2475878285bab90a",
);

/// The same with a point of order 8 added to R: only the equation multiplied
/// by the cofactor holds.
const COFACTOR_R: &str = concat!(
    "c98626f67ca338ad2b8971c4bfe070fae1a53fe98599be2fdfee082684483ee8",
    "2c21e34ce1bbc4db1f2bee297415f987436bef49f1e58f0882e54d4a5c88500a",
);

/// The base point of P-256 (SP 800-186, section 3.2.1.3): the public key of
/// the private key 1.
const P256_BASE: &str = concat!(
    "04",
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
);

/// A good signature, to be spoilt.
struct Good {
    short: &'static str,
    key: TestKey,
    purpose: Purpose,
    other_purpose: Purpose,
    body: Vec<u8>,
    signature: Vec<u8>,
    other_public: Vec<u8>,
}

struct Maker<'a> {
    stored: Option<&'a File<Rejected>>,
    vectors: Vec<Rejected>,
}

pub(crate) fn make(stored: Option<&File<Rejected>>) -> File<Rejected> {
    let broker = keys::broker();
    let challenge = bodies::challenge_minimal().bytes;
    let ed25519 = Good {
        short: "ed25519",
        purpose: Purpose::Challenge,
        other_purpose: Purpose::KeySuccession,
        signature: broker.private.sign(Purpose::Challenge, &challenge).unwrap(),
        body: challenge,
        other_public: keys::next_broker().public(),
        key: broker,
    };
    let approved = stored_vector("response", "response-p256-approve");
    let p256 = Good {
        short: "p256",
        key: keys::p256_device(),
        purpose: Purpose::Response,
        other_purpose: Purpose::DeviceProof,
        body: from_hex(&approved.body),
        signature: from_hex(&approved.signature),
        other_public: from_hex(P256_BASE),
    };
    let mut maker = Maker {
        stored,
        vectors: Vec::new(),
    };
    for good in [&ed25519, &p256] {
        maker.of_both(good);
    }
    maker.of_ed25519(&ed25519);
    maker.of_p256(&p256);
    File {
        about: "Signatures that nobody may accept. See README.md.".to_owned(),
        vectors: maker.vectors,
    }
}

impl Maker<'_> {
    fn add(&mut self, name: &str, why: &str, good: &Good, signature: &[u8]) {
        self.add_over(name, why, good, &good.body, signature);
    }

    fn add_over(&mut self, name: &str, why: &str, good: &Good, body: &[u8], signature: &[u8]) {
        self.vectors.push(Rejected {
            name: format!("{}-{name}", good.short),
            why: why.to_owned(),
            label: good.purpose.label().to_owned(),
            algorithm: algorithm_name(good.key.private.algorithm()),
            public_key: hex(good.key.public()),
            body: hex(body),
            signature: hex(signature),
            strict_only: false,
        });
    }

    /// A signature over other bytes; for P-256 the stored one while it is good.
    fn signed(&self, name: &str, good: &Good, message: &[u8]) -> Vec<u8> {
        let key = &good.key;
        if key.private.algorithm() == KeyAlgorithm::P256 {
            let name = format!("{}-{name}", good.short);
            let known = self
                .stored
                .and_then(|file| file.vectors.iter().find(|vector| vector.name == name))
                .map(|vector| from_hex(&vector.signature));
            let public = PublicKey::from_bytes(KeyAlgorithm::P256, &key.public()).unwrap();
            if let Some(known) = known.filter(|known| public.verify_raw(message, known).is_ok()) {
                return known;
            }
        }
        key.private.sign_raw(message).unwrap()
    }

    fn of_both(&mut self, good: &Good) {
        let signed_bytes = good.purpose.message(&good.body);
        let without_zero = [good.purpose.label().as_bytes(), &good.body].concat();
        for (name, why, message) in [
            (
                "other-label",
                "made for another purpose",
                good.other_purpose.message(&good.body),
            ),
            ("no-label", "the body alone was signed", good.body.clone()),
            (
                "no-zero-byte",
                "the zero byte after the label is missing",
                without_zero,
            ),
            (
                "hashed-first",
                "SHA-256 of the bytes was signed",
                sha256(&signed_bytes).to_vec(),
            ),
        ] {
            let signature = self.signed(name, good, &message);
            self.add(name, why, good, &signature);
        }

        let mut body = good.body.clone();
        body[0] ^= 0x01;
        self.add_over(
            "body-first-bit",
            "one bit is flipped",
            good,
            &body,
            &good.signature,
        );
        let mut body = good.body.clone();
        *body.last_mut().unwrap() ^= 0x80;
        self.add_over(
            "body-last-bit",
            "one bit is flipped",
            good,
            &body,
            &good.signature,
        );
        let longer = [good.body.as_slice(), &[0]].concat();
        self.add_over(
            "body-longer",
            "a zero byte is appended",
            good,
            &longer,
            &good.signature,
        );
        self.add_over(
            "body-empty",
            "the body is left out",
            good,
            &[],
            &good.signature,
        );
        for (name, at) in [
            ("r-bit", 0),
            ("r-last-bit", 31),
            ("s-bit", 32),
            ("s-last-bit", 63),
        ] {
            let mut signature = good.signature.clone();
            signature[at] ^= 0x01;
            self.add(name, "one bit is flipped", good, &signature);
        }
        self.add("empty", "64 bytes are needed", good, &[]);
        self.add("short", "64 bytes are needed", good, &good.signature[..63]);
        self.add(
            "long",
            "64 bytes are needed",
            good,
            &[&good.signature[..], &[0]].concat(),
        );
        self.add("all-zero", "r and s are 0", good, &[0; 64]);

        self.add("other-key", "made by another key", good, &good.signature);
        if let Some(vector) = self.vectors.last_mut() {
            vector.public_key = hex(&good.other_public);
        }
    }

    fn of_ed25519(&mut self, good: &Good) {
        let (r, s) = good.signature.split_at(32);
        let greater = add_little_endian(s, &from_hex(ED25519_ORDER));
        self.add(
            "s-not-reduced",
            "S + L instead of S (RFC 8032, section 5.1.7)",
            good,
            &[r, &greater].concat(),
        );
        self.add(
            "cofactor",
            "R has a part of small order",
            good,
            &from_hex(COFACTOR_R),
        );
        self.add(
            "small-order-r",
            "R is of small order",
            good,
            &from_hex(SMALL_ORDER_R),
        );
        if let Some(vector) = self.vectors.last_mut() {
            vector.strict_only = true;
        }
        let received = bodies::challenge_with_unknown_field().bytes;
        let PrivateKey::Ed25519(_) = good.key.private else {
            panic!("not Ed25519")
        };
        let signature = good.key.private.sign(good.purpose, &received).unwrap();
        self.add(
            "serialized-again",
            "the body was parsed and serialized again, losing an unknown field",
            good,
            &signature,
        );
    }

    fn of_p256(&mut self, good: &Good) {
        let (r, s) = good.signature.split_at(32);
        let order = from_hex(P256_ORDER);
        let zero = [0; 32];
        let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
        self.add("der", "DER, not r‖s", good, &der(r, s));
        self.add("swapped", "s‖r, not r‖s", good, &[s, r].concat());
        let little_endian = [reversed(r), reversed(s)].concat();
        self.add(
            "little-endian",
            "r and s are big-endian",
            good,
            &little_endian,
        );
        self.add("r-zero", "r is 0", good, &[zero.as_slice(), s].concat());
        self.add("s-zero", "s is 0", good, &[r, &zero].concat());
        self.add(
            "r-order",
            "r is the order",
            good,
            &[order.as_slice(), s].concat(),
        );
        self.add("s-order", "s is the order", good, &[r, &order].concat());
    }
}

fn stored_vector(file: &str, name: &str) -> Accepted {
    let stored = read(file);
    let made = accepted::make(file, stored.as_ref());
    made.vectors
        .into_iter()
        .find(|vector| vector.name == name)
        .unwrap()
}

fn add_little_endian(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            let sum = u16::from(*a) + u16::from(*b) + carry;
            carry = sum >> 8;
            sum.to_le_bytes()[0]
        })
        .collect()
}

/// `ECDSA-Sig-Value` (RFC 3279, section 2.2.3).
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    for number in [r, s] {
        let start = number.iter().position(|byte| *byte != 0).unwrap();
        let mut digits = number[start..].to_vec();
        if digits[0] & 0x80 != 0 {
            digits.insert(0, 0);
        }
        content.extend([0x02, u8::try_from(digits.len()).unwrap()]);
        content.extend(digits);
    }
    [
        [0x30, u8::try_from(content.len()).unwrap()].as_slice(),
        &content,
    ]
    .concat()
}
