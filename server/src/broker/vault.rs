//! What the broker keeps sealed, and what it keeps as keyed hashes only:
//! numbers, secrets of authenticator apps, codes.

use zeroize::Zeroizing;

use super::{error::BrokerError, keyring::Keyring};
use crate::domain::{
    code::CodeHash,
    ids::{AuthenticatorId, TenantId, UserId},
    phone_number::PhoneNumber,
    secret_code,
    spending::Tag,
    totp,
};

fn tag(hash: [u8; 32]) -> Tag {
    let mut tag = [0; 16];
    for (to, from) in tag.iter_mut().zip(hash) {
        *to = from;
    }
    tag
}

impl Keyring {
    /// A hash that nobody can make without the broker's key.
    pub(super) fn keyed_hash(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.master.keyed_hash(label, parts)
    }

    /// The same, as short as it may be to stand for something.
    pub(super) fn tag(&self, label: &str, parts: &[&[u8]]) -> Tag {
        tag(self.keyed_hash(label, parts))
    }

    pub(super) fn seal_number(
        &self,
        id: AuthenticatorId,
        number: &PhoneNumber,
    ) -> Result<Vec<u8>, BrokerError> {
        let label = format!("phone-number {id}");
        self.master.seal(&label, number.e164().as_bytes())
    }

    pub(super) fn open_number(
        &self,
        id: AuthenticatorId,
        sealed: &[u8],
    ) -> Result<Zeroizing<String>, BrokerError> {
        let opened = self.master.open(&format!("phone-number {id}"), sealed)?;
        let number = std::str::from_utf8(&opened)
            .map_err(|_| BrokerError::Internal("a sealed number is no text".into()))?;
        Ok(Zeroizing::new(number.to_owned()))
    }

    /// Stands for a number of this organisation.
    pub(super) fn number_tag(&self, tenant: TenantId, number: &PhoneNumber) -> Tag {
        let parts: [&[u8]; 2] = [tenant.as_bytes(), number.e164().as_bytes()];
        tag(self.master.keyed_hash("phone-number", &parts))
    }

    /// Stands for a range of numbers.
    pub(super) fn range_tag(&self, tenant: TenantId, number: &PhoneNumber) -> Tag {
        let range = number.range();
        let parts: [&[u8]; 2] = [tenant.as_bytes(), range.as_bytes()];
        tag(self.master.keyed_hash("phone-range", &parts))
    }

    pub(super) fn seal_totp(
        &self,
        id: AuthenticatorId,
        secret: &totp::Secret,
    ) -> Result<Vec<u8>, BrokerError> {
        self.master.seal(&format!("totp {id}"), secret.as_bytes())
    }

    pub(super) fn open_totp(
        &self,
        id: AuthenticatorId,
        sealed: &[u8],
    ) -> Result<totp::Secret, BrokerError> {
        let opened = self.master.open(&format!("totp {id}"), sealed)?;
        <[u8; totp::SECRET_BYTES]>::try_from(opened.as_slice())
            .map(totp::Secret::new)
            .map_err(|_| BrokerError::Internal("a sealed TOTP secret has another length".into()))
    }

    /// The digits of a code: they follow from `seed` and the broker's key, so that
    /// nobody needs to store them until the text is sent.
    pub(super) fn digits(&self, seed: &[u8; 16], digits: u8) -> Zeroizing<String> {
        let random = tag(self.master.keyed_hash("code-digits", &[seed]));
        Zeroizing::new(secret_code::digits(&random, u32::from(digits)))
    }

    /// What a code for `owner` (a challenge, a number, an app) must give.
    pub(super) fn code_hash(&self, owner: &[u8; 16], code: &str) -> CodeHash {
        CodeHash(self.master.keyed_hash("code", &[owner, code.as_bytes()]))
    }

    /// What a recovery code of this user must give.
    pub(super) fn recovery_hash(&self, tenant: TenantId, user: &UserId, code: &str) -> CodeHash {
        let parts: [&[u8]; 3] = [tenant.as_bytes(), user.as_str().as_bytes(), code.as_bytes()];
        CodeHash(self.master.keyed_hash("recovery-code", &parts))
    }

    /// What a gateway gives back with what it says of a text: which challenge and
    /// which number it was for. It can't be made up without the broker's key.
    pub(super) fn receipt_reference(
        &self,
        tenant: TenantId,
        challenge: &[u8; 16],
        phone: AuthenticatorId,
        nth: u32,
    ) -> String {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let mut bytes = tenant.as_bytes().to_vec();
        bytes.extend_from_slice(challenge);
        bytes.extend_from_slice(phone.as_bytes());
        bytes.extend_from_slice(&nth.to_be_bytes());
        let mac = tag(self.master.keyed_hash("text-receipt", &[&bytes]));
        bytes.extend_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a reference back, with the send that it is of; none: it was made up.
    pub(super) fn read_reference(
        &self,
        reference: &str,
    ) -> Option<(
        TenantId,
        crate::domain::ids::ChallengeId,
        AuthenticatorId,
        u32,
    )> {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        use subtle::ConstantTimeEq as _;
        let bytes = URL_SAFE_NO_PAD.decode(reference).ok()?;
        let (said, mac) = bytes.split_at_checked(52)?;
        let expected = tag(self.master.keyed_hash("text-receipt", &[said]));
        if !bool::from(expected.ct_eq(mac)) {
            return None;
        }
        let (tenant, rest) = said.split_first_chunk::<16>()?;
        let (challenge, rest) = rest.split_first_chunk::<16>()?;
        let (phone, nth) = rest.split_first_chunk::<16>()?;
        Some((
            TenantId::from_bytes(*tenant),
            crate::domain::ids::ChallengeId::from_bytes(*challenge),
            AuthenticatorId::from_bytes(*phone),
            u32::from_be_bytes(nth.try_into().ok()?),
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{broker::keyring::MasterKey, domain::ids::ChallengeId};

    fn keyring(byte: u8) -> Keyring {
        Keyring::new(MasterKey::new(&[byte; 32]).unwrap(), Vec::new()).unwrap()
    }

    #[test]
    fn a_code_belongs_to_its_owner_and_its_broker() {
        let ring = keyring(1);
        let hash = ring.code_hash(&[1; 16], "123456");
        assert_eq!(hash, ring.code_hash(&[1; 16], "123456"));
        assert_ne!(hash, ring.code_hash(&[2; 16], "123456"));
        assert_ne!(hash, ring.code_hash(&[1; 16], "123457"));
        assert_ne!(hash, keyring(2).code_hash(&[1; 16], "123456"));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let tenant = TenantId::from_bytes([1; 16]);
        let hash = |user: &str, code: &str| {
            keyring(1).recovery_hash(tenant, &UserId::from_stored(user.into()), code)
        };
        assert_ne!(hash("tom", "ab"), hash("toma", "b"));
    }

    #[test]
    fn a_number_opens_only_as_its_own() {
        let ring = keyring(1);
        let number = PhoneNumber::parse("phone_number", "+32470123440").unwrap();
        let (id, other) = ([1; 16], [2; 16]);
        let sealed = ring
            .seal_number(AuthenticatorId::from_bytes(id), &number)
            .unwrap();
        let opened = ring.open_number(AuthenticatorId::from_bytes(id), &sealed);
        assert_eq!(opened.unwrap().as_str(), "+32470123440");
        ring.open_number(AuthenticatorId::from_bytes(other), &sealed)
            .unwrap_err();
        assert!(sealed.len() <= 64);
    }

    #[test]
    fn a_reference_can_not_be_made_up() {
        let ring = keyring(1);
        let tenant = TenantId::from_bytes([1; 16]);
        let phone = AuthenticatorId::from_bytes([3; 16]);
        let reference = ring.receipt_reference(tenant, &[2; 16], phone, 3);
        assert_eq!(
            ring.read_reference(&reference),
            Some((tenant, ChallengeId::from_bytes([2; 16]), phone, 3))
        );
        assert!(reference.len() <= 128);
        assert_eq!(keyring(2).read_reference(&reference), None);
        for at in 0..reference.len() {
            let mut bytes = reference.clone().into_bytes();
            let letter = bytes.get_mut(at).unwrap();
            *letter = if *letter == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(ring.read_reference(&changed), None, "{at}");
        }
    }
}
