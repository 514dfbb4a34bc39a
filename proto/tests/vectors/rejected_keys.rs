//! Public keys that nobody may register or trust.

use countersign_proto::v1::KeyAlgorithm;

use crate::files::{File, RejectedKey, algorithm_name, hex};
use crate::keys;

/// The eight points whose order divides 8, the cofactor (RFC 8032, section
/// 5.1), then their encodings with y not reduced or with the sign bit of x = 0
/// set. Anybody can make a signature that verifies with such a "key".
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

pub(crate) fn make() -> File<RejectedKey> {
    let mut vectors = Vec::new();
    let ed25519 = keys::ed25519_device().public();
    let p256 = keys::p256_device().public();
    let mut add = |name: &str, why: &str, algorithm: KeyAlgorithm, bytes: &[u8]| {
        vectors.push(RejectedKey {
            name: name.to_owned(),
            why: why.to_owned(),
            algorithm: algorithm_name(algorithm),
            public_key: hex(bytes),
        });
    };

    for (at, bytes) in SMALL_ORDER.iter().enumerate() {
        add(
            &format!("ed25519-small-order-{}", at + 1),
            "a point of small order: anybody can sign for it",
            KeyAlgorithm::Ed25519,
            &crate::from_hex(bytes),
        );
    }
    let mut beyond = [0xff; 32];
    (beyond[0], beyond[31]) = (0xf0, 0x7f);
    add(
        "ed25519-not-canonical",
        "y is 3 written as p + 3: decoding fails (RFC 8032, section 5.1.3)",
        KeyAlgorithm::Ed25519,
        &beyond,
    );
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    add(
        "ed25519-off-curve",
        "no point has y = 2",
        KeyAlgorithm::Ed25519,
        &off_curve,
    );
    add(
        "ed25519-empty",
        "32 bytes are needed",
        KeyAlgorithm::Ed25519,
        &[],
    );
    add(
        "ed25519-short",
        "32 bytes are needed",
        KeyAlgorithm::Ed25519,
        &ed25519[..31],
    );
    add(
        "ed25519-long",
        "32 bytes are needed",
        KeyAlgorithm::Ed25519,
        &with_zero(&ed25519),
    );
    let spki = [
        &crate::from_hex("302a300506032b6570032100"),
        ed25519.as_slice(),
    ]
    .concat();
    add(
        "ed25519-spki",
        "SubjectPublicKeyInfo, not the bare key",
        KeyAlgorithm::Ed25519,
        &spki,
    );
    add(
        "ed25519-is-p256",
        "a key of the other kind",
        KeyAlgorithm::Ed25519,
        &p256,
    );

    let (x, y) = p256[1..].split_at(32);
    // The y-coordinate of RFC 6979's key is odd: SEC 1, section 2.3.3, says 03.
    add(
        "p256-compressed",
        "uncompressed is needed",
        KeyAlgorithm::P256,
        &[&[3], x].concat(),
    );
    add(
        "p256-hybrid",
        "the first byte must be 04",
        KeyAlgorithm::P256,
        &[&[7], x, y].concat(),
    );
    add(
        "p256-without-04",
        "the first byte must be 04",
        KeyAlgorithm::P256,
        &p256[1..],
    );
    add(
        "p256-infinity",
        "the point at infinity",
        KeyAlgorithm::P256,
        &[0],
    );
    add(
        "p256-all-zero",
        "(0, 0) is not on the curve",
        KeyAlgorithm::P256,
        &zero_point(),
    );
    let mut off_curve = p256.clone();
    off_curve[64] ^= 1;
    add(
        "p256-off-curve",
        "one bit of y is flipped",
        KeyAlgorithm::P256,
        &off_curve,
    );
    add(
        "p256-swapped",
        "y before x: not on the curve",
        KeyAlgorithm::P256,
        &[&[4], y, x].concat(),
    );
    add(
        "p256-x-beyond",
        "x is greater than the prime",
        KeyAlgorithm::P256,
        &beyond_prime(y),
    );
    add("p256-empty", "65 bytes are needed", KeyAlgorithm::P256, &[]);
    add(
        "p256-long",
        "65 bytes are needed",
        KeyAlgorithm::P256,
        &with_zero(&p256),
    );
    let spki = [
        &crate::from_hex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
        p256.as_slice(),
    ]
    .concat();
    add(
        "p256-spki",
        "SubjectPublicKeyInfo, not the bare key",
        KeyAlgorithm::P256,
        &spki,
    );
    add(
        "p256-is-ed25519",
        "a key of the other kind",
        KeyAlgorithm::P256,
        &ed25519,
    );

    File {
        about: "Public keys that nobody may register or trust. See README.md.".to_owned(),
        vectors,
    }
}

fn with_zero(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0]].concat()
}

fn zero_point() -> [u8; 65] {
    let mut bytes = [0; 65];
    bytes[0] = 4;
    bytes
}

fn beyond_prime(y: &[u8]) -> Vec<u8> {
    [&[4], [0xff; 32].as_slice(), y].concat()
}
