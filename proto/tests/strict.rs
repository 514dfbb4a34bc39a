//! Ed25519 is verified as `verify_strict` of ed25519-dalek does it: the same
//! signatures are accepted, the same refused, those included that only their
//! maker can make (points with a part of small order, S beyond the order).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use aws_lc_rs::digest::{SHA512, digest};
use countersign_proto::signing::PublicKey;
use countersign_proto::v1::KeyAlgorithm;
use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};

fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    digest(&SHA512, &parts.concat())
        .as_ref()
        .try_into()
        .unwrap()
}

fn scalar(what: &str, n: u32) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&sha512(&[what.as_bytes(), &n.to_be_bytes()]))
}

/// The forms a point may be written in: the canonical one, the other sign, and
/// y with the prime (2²⁵⁵ − 19) added where that fits.
fn forms(point: EdwardsPoint) -> Vec<[u8; 32]> {
    let canonical = point.compress().to_bytes();
    let mut other_sign = canonical;
    other_sign[31] ^= 0x80;
    let mut forms = vec![canonical, other_sign];
    if canonical[0] < 19 && canonical[1..31].iter().all(|byte| *byte == 0) {
        let mut beyond = [0xff; 32];
        beyond[0] = canonical[0] + 0xed;
        for sign in [0x7f, 0xff] {
            beyond[31] = sign;
            forms.push(beyond);
        }
    }
    forms
}

/// S + ℓ, which a lax verifier takes for S.
fn beyond_the_order(s: Scalar) -> [u8; 32] {
    let order: [u8; 32] = {
        let mut order = (-Scalar::ONE).to_bytes();
        order[0] += 1;
        order
    };
    let mut sum = [0; 32];
    let mut carry = 0;
    for (to, (a, b)) in sum.iter_mut().zip(s.to_bytes().into_iter().zip(order)) {
        let total = u16::from(a) + u16::from(b) + carry;
        *to = total.to_le_bytes()[0];
        carry = total >> 8;
    }
    sum
}

fn ours(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    PublicKey::from_accepted(KeyAlgorithm::Ed25519, key)
        .unwrap()
        .verify_raw(message, signature)
        .is_ok()
}

fn theirs(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    ed25519_dalek::VerifyingKey::from_bytes(key).is_ok_and(|key| {
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
            .is_ok()
    })
}

#[test]
fn the_same_signatures_are_accepted_as_by_verify_strict() {
    let torsion = &EIGHT_TORSION;
    let (mut accepted, mut with_torsion, mut refused) = (0, 0, 0);
    for n in 0..6 {
        let message = format!("message {n}");
        let message = message.as_bytes();
        let secrets = [Scalar::ZERO, scalar("a", n)];
        let nonces = [Scalar::ZERO, scalar("r", n)];
        for (a, r) in secrets.iter().flat_map(|a| nonces.map(|r| (*a, r))) {
            for (of_key, of_nonce) in (0..8).flat_map(|key| (0..8).map(move |nonce| (key, nonce))) {
                let key = EdwardsPoint::mul_base(&a) + torsion[of_key];
                let nonce = EdwardsPoint::mul_base(&r) + torsion[of_nonce];
                for (key, nonce) in forms(key)
                    .into_iter()
                    .flat_map(|key| forms(nonce).into_iter().map(move |nonce| (key, nonce)))
                {
                    let k = Scalar::from_bytes_mod_order_wide(&sha512(&[&nonce, &key, message]));
                    let s = r + k * a;
                    for s in [s.to_bytes(), beyond_the_order(s)] {
                        let signature: [u8; 64] = [nonce, s].concat().try_into().unwrap();
                        let verified = ours(&key, message, &signature);
                        assert_eq!(
                            verified,
                            theirs(&key, message, &signature),
                            "key {key:02x?} signature {signature:02x?}"
                        );
                        if !verified {
                            refused += 1;
                        } else if of_key == 0 && of_nonce == 0 {
                            accepted += 1;
                        } else {
                            with_torsion += 1;
                        }
                    }
                }
            }
        }
    }
    // The cases are not all of one kind.
    assert_eq!(accepted, 6);
    assert!(with_torsion > 0 && refused > 1000);
}

#[test]
fn no_bit_of_a_signature_may_be_altered() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key().to_bytes();
    let signature = ed25519_dalek::Signer::sign(&key, b"message").to_bytes();
    assert!(ours(&public, b"message", &signature));
    for bit in 0..512 {
        let mut altered = signature;
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(!ours(&public, b"message", &altered), "bit {bit}");
    }
}
