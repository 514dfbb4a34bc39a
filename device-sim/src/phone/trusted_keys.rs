//! The broker's keys that the phone trusts.

use std::collections::BTreeMap;

use countersign_proto::signing::{PublicKey, Purpose, key_id, sha256};
use countersign_proto::v1::{BrokerKey, KeyAlgorithm, SignedChallenge, SignedKeySuccession};
use prost::Message as _;

use super::PhoneError;

/// Keys by their RFC 7638 thumbprint. One gets in by being pinned or by being
/// signed with a key that is in already; none ever leaves, since a challenge
/// signed just before a rotation arrives just after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys {
    keys: BTreeMap<String, [u8; 32]>,
}

impl TrustedKeys {
    /// Trusts `public_key`, whatever it is.
    pub fn trust(&mut self, public_key: [u8; 32]) -> String {
        let id = key_id(&public_key);
        self.keys.insert(id.clone(), public_key);
        id
    }

    /// The keys to trust after an enrolment. With `pin` (SHA-256 of a public
    /// key, from the QR code) one of `keys` must match it and all others must
    /// follow from that one; without, as when the user typed the ticket, the
    /// connection has to vouch for them.
    ///
    /// # Errors
    /// [`PhoneError::KeyNotPinned`], [`PhoneError::KeyNotVouchedFor`],
    /// [`PhoneError::BadSignature`], [`PhoneError::Malformed`].
    pub fn at_enrollment(
        pin: Option<[u8; 32]>,
        keys: &[BrokerKey],
        successions: &[SignedKeySuccession],
    ) -> Result<Self, PhoneError> {
        let mut trusted = Self::default();
        let keys = keys
            .iter()
            .map(public_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        match pin {
            Some(pin) => {
                let pinned = keys
                    .iter()
                    .find(|key| sha256(key.as_slice()) == pin)
                    .ok_or(PhoneError::KeyNotPinned)?;
                trusted.trust(*pinned);
            }
            None if keys.is_empty() => return Err(PhoneError::KeyNotPinned),
            None => {
                for key in &keys {
                    trusted.trust(*key);
                }
            }
        }
        trusted.extend(successions)?;
        for key in &keys {
            let key_id = key_id(key);
            if !trusted.contains(&key_id) {
                return Err(PhoneError::KeyNotVouchedFor { key_id });
            }
        }
        Ok(trusted)
    }

    /// Trusts every key that follows from one already trusted, in whatever
    /// order they come, and tells how many were new. A succession by an unknown
    /// signer is passed over: it proves nothing, but may belong to a chain
    /// older than this phone.
    ///
    /// # Errors
    /// [`PhoneError::BadSignature`] or [`PhoneError::Malformed`] for one that
    /// names a trusted signer and is not by it.
    pub fn extend(&mut self, successions: &[SignedKeySuccession]) -> Result<usize, PhoneError> {
        let before = self.keys.len();
        // Nothing is kept unless all of it holds.
        let mut extended = self.clone();
        loop {
            let known = extended.keys.len();
            for succession in successions {
                if let Some(signer) = extended.keys.get(&succession.signer_key_id) {
                    verify(
                        signer,
                        Purpose::KeySuccession,
                        &succession.body,
                        &succession.signature,
                    )?;
                    let next = BrokerKey::decode(succession.body.clone())
                        .map_err(|_| PhoneError::Malformed("key succession"))?;
                    extended.trust(public_bytes(&next)?);
                }
            }
            if extended.keys.len() == known {
                break;
            }
        }
        *self = extended;
        Ok(self.keys.len() - before)
    }

    /// Checks the signature on a challenge.
    ///
    /// # Errors
    /// [`PhoneError::UnknownKey`], [`PhoneError::BadSignature`].
    pub fn verify_challenge(&self, challenge: &SignedChallenge) -> Result<(), PhoneError> {
        let key = self
            .keys
            .get(&challenge.key_id)
            .ok_or_else(|| PhoneError::UnknownKey {
                key_id: challenge.key_id.clone(),
            })?;
        verify(
            key,
            Purpose::Challenge,
            &challenge.body,
            &challenge.signature,
        )
    }

    /// Whether the key with this thumbprint is trusted.
    #[must_use]
    pub fn contains(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// Thumbprints and public keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8; 32])> {
        self.keys.iter().map(|(id, key)| (id.as_str(), key))
    }
}

fn public_bytes(key: &BrokerKey) -> Result<[u8; 32], PhoneError> {
    let bytes = <[u8; 32]>::try_from(key.public_key.as_ref())
        .map_err(|_| PhoneError::Malformed("broker key"))?;
    // The name of a key is computed, never believed.
    if key.key_id != key_id(&bytes) {
        return Err(PhoneError::Malformed("broker key id"));
    }
    Ok(bytes)
}

fn verify(
    key: &[u8; 32],
    purpose: Purpose,
    body: &[u8],
    signature: &[u8],
) -> Result<(), PhoneError> {
    PublicKey::from_bytes(KeyAlgorithm::Ed25519, key)
        .and_then(|key| key.verify(purpose, body, signature))
        .map_err(|_| PhoneError::BadSignature)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bytes::Bytes;
    use countersign_proto::signing::PrivateKey;

    use super::*;

    struct Signer(PrivateKey);

    impl Signer {
        fn new(seed: u8) -> Self {
            Self(PrivateKey::from_ed25519_seed(&[seed; 32]))
        }
        fn public(&self) -> [u8; 32] {
            self.0.public_bytes().try_into().unwrap()
        }
        fn broker_key(&self) -> BrokerKey {
            BrokerKey {
                key_id: key_id(&self.public()),
                public_key: self.public().to_vec().into(),
                activate_time: None,
            }
        }
        fn vouches_for(&self, next: &Self) -> SignedKeySuccession {
            let body = Bytes::from(next.broker_key().encode_to_vec());
            SignedKeySuccession {
                signature: self.0.sign(Purpose::KeySuccession, &body).unwrap().into(),
                signer_key_id: key_id(&self.public()),
                body,
            }
        }
    }

    #[test]
    fn the_pinned_key_and_its_successors_are_trusted_in_any_order() {
        let (a, b, c) = (Signer::new(1), Signer::new(2), Signer::new(3));
        let trusted = TrustedKeys::at_enrollment(
            Some(sha256(&a.public())),
            &[c.broker_key(), b.broker_key(), a.broker_key()],
            &[b.vouches_for(&c), a.vouches_for(&b)],
        )
        .unwrap();
        assert_eq!(trusted.iter().count(), 3);
    }

    #[test]
    fn a_broker_without_the_pinned_key_is_refused() {
        let (a, b) = (Signer::new(1), Signer::new(2));
        let result = TrustedKeys::at_enrollment(
            Some(sha256(&a.public())),
            &[b.broker_key()],
            &[a.vouches_for(&b)],
        );
        assert!(matches!(result, Err(PhoneError::KeyNotPinned)));
        assert!(matches!(
            TrustedKeys::at_enrollment(None, &[], &[]),
            Err(PhoneError::KeyNotPinned)
        ));
    }

    #[test]
    fn a_key_that_nobody_vouched_for_is_refused() {
        let (a, b, stranger) = (Signer::new(1), Signer::new(2), Signer::new(9));
        let result = TrustedKeys::at_enrollment(
            Some(sha256(&a.public())),
            &[a.broker_key(), b.broker_key()],
            &[stranger.vouches_for(&b)],
        );
        assert!(
            matches!(result, Err(PhoneError::KeyNotVouchedFor { key_id: id }) if id == key_id(&b.public()))
        );
    }

    #[test]
    fn a_succession_with_a_forged_signature_changes_nothing() {
        let (a, b, c, stranger) = (
            Signer::new(1),
            Signer::new(2),
            Signer::new(3),
            Signer::new(9),
        );
        let mut trusted = TrustedKeys::default();
        trusted.trust(a.public());
        let mut forged = stranger.vouches_for(&c);
        forged.signer_key_id = key_id(&a.public());
        let result = trusted.extend(&[a.vouches_for(&b), forged]);
        assert!(matches!(result, Err(PhoneError::BadSignature)));
        assert_eq!(trusted.iter().count(), 1);
        assert_eq!(trusted.extend(&[a.vouches_for(&b)]).unwrap(), 1);
        assert_eq!(trusted.extend(&[a.vouches_for(&b)]).unwrap(), 0);
    }

    #[test]
    fn a_key_under_a_false_name_is_refused() {
        let (a, b) = (Signer::new(1), Signer::new(2));
        let mut key = b.broker_key();
        key.key_id = key_id(&a.public());
        assert!(matches!(
            TrustedKeys::at_enrollment(None, &[key], &[]),
            Err(PhoneError::Malformed(_))
        ));
    }

    #[test]
    fn a_challenge_needs_a_trusted_key_and_the_right_label() {
        let (a, b) = (Signer::new(1), Signer::new(2));
        let mut trusted = TrustedKeys::default();
        trusted.trust(a.public());
        let signed = |signer: &Signer, purpose| SignedChallenge {
            body: Bytes::from_static(b"body"),
            key_id: key_id(&signer.public()),
            signature: signer.0.sign(purpose, b"body").unwrap().into(),
        };
        let good = signed(&a, Purpose::Challenge);
        assert!(trusted.verify_challenge(&good).is_ok());
        assert!(matches!(
            trusted.verify_challenge(&signed(&b, Purpose::Challenge)),
            Err(PhoneError::UnknownKey { .. })
        ));
        assert!(matches!(
            trusted.verify_challenge(&signed(&a, Purpose::KeySuccession)),
            Err(PhoneError::BadSignature)
        ));
        let mut altered = good;
        altered.body = Bytes::from_static(b"Body");
        assert!(trusted.verify_challenge(&altered).is_err());
    }
}
