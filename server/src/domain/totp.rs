//! Codes of an authenticator app: RFC 6238 with what every such app supports,
//! HMAC-SHA-1, six digits, steps of 30 s.

use std::fmt;

use aws_lc_rs::hmac;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::ZeroizeOnDrop;

use super::{secret_code, time::Timestamp};

/// Bytes of a secret: as many as the hash has (RFC 4226, section 4, R6).
pub const SECRET_BYTES: usize = 20;
/// Digits of a code (RFC 4226, section 5.3: at least 6).
pub const DIGITS: u32 = 6;
/// 10^[`DIGITS`].
const MODULUS: u32 = 1_000_000;
/// Seconds of a step (RFC 6238, section 4.1: the default).
pub const STEP_SECONDS: u64 = 30;

/// All but the unreserved characters (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What the broker and the app share.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Secret([u8; SECRET_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// From 20 random bytes, or from what [`as_bytes`](Self::as_bytes) gave.
    #[must_use]
    pub const fn new(random: [u8; SECRET_BYTES]) -> Self {
        Self(random)
    }

    /// To be sealed and stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// To be typed where no QR code can be scanned: 32 characters of base32
    /// (RFC 4648, section 6), without padding.
    #[must_use]
    pub fn base32(&self) -> String {
        data_encoding::BASE32_NOPAD.encode(&self.0)
    }

    /// The six digits of a step.
    #[must_use]
    pub fn code(&self, step: u64) -> String {
        let code = self.truncated(step) % MODULUS;
        format!("{code:06}")
    }

    /// The step whose code was typed, if it is one of those that
    /// [`acceptable_steps`] gives and later than `last`, the last that was
    /// accepted: no step may be accepted twice (RFC 6238, section 5.2). Takes
    /// the same time whichever step it is, and whether it is one.
    #[must_use]
    pub fn find_step(&self, typed: &str, now: Timestamp, last: Option<u64>) -> Option<u64> {
        let typed = secret_code::normalise_digits(typed, DIGITS)?;
        let mut found = Choice::from(0);
        let mut step_found = 0_u64;
        for step in acceptable_steps(now) {
            let fresh = Choice::from(u8::from(last.is_none_or(|last| step > last)));
            let right = self.code(step).as_bytes().ct_eq(typed.as_bytes()) & fresh;
            step_found.conditional_assign(&step, right);
            found |= right;
        }
        bool::from(found).then_some(step_found)
    }

    /// For a QR code, as authenticator apps read it ("Key URI Format" of the
    /// Google Authenticator wiki): the organisation both before the account and
    /// as a parameter.
    #[must_use]
    pub fn otpauth_uri(&self, issuer: &str, account: &str) -> String {
        // Neither may have a colon, for one stands between them.
        let [issuer, account] = [issuer, account].map(|text| {
            let text = text.replace(':', "-");
            utf8_percent_encode(text.trim(), ESCAPED).to_string()
        });
        format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}\
             &algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
            self.base32()
        )
    }

    /// HMAC of the counter, truncated to 31 bits (RFC 4226, section 5.3).
    fn truncated(&self, counter: u64) -> u32 {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &counter.to_be_bytes());
        let bytes = tag.as_ref();
        let offset = usize::from(bytes.last().copied().unwrap_or_default() & 0xf);
        bytes
            .get(offset..)
            .and_then(|rest| rest.first_chunk::<4>())
            .map_or(0, |word| u32::from_be_bytes(*word) & 0x7fff_ffff)
    }
}

/// The step of a moment: whole 30 s since 1970.
#[must_use]
pub const fn step_at(now: Timestamp) -> u64 {
    now.as_secs() / STEP_SECONDS
}

/// The steps whose codes are accepted: this one, the one before and the one
/// after, for clocks that are not quite right and people who type slowly.
#[must_use]
pub const fn acceptable_steps(now: Timestamp) -> [u64; 3] {
    let step = step_at(now);
    [step.saturating_sub(1), step, step.saturating_add(1)]
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "tests"
    )]
    use super::*;

    /// Of both RFCs.
    const SECRET: Secret = Secret::new(*b"12345678901234567890");

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000 + 999)
    }

    #[test]
    fn vectors_of_rfc_4226_appendix_d() {
        for (counter, truncated, code) in [
            (0, 1_284_755_224, "755224"),
            (1, 1_094_287_082, "287082"),
            (2, 137_359_152, "359152"),
            (3, 1_726_969_429, "969429"),
            (4, 1_640_338_314, "338314"),
            (5, 868_254_676, "254676"),
            (6, 1_918_287_922, "287922"),
            (7, 82_162_583, "162583"),
            (8, 673_399_871, "399871"),
            (9, 645_520_489, "520489"),
        ] {
            assert_eq!(SECRET.truncated(counter), truncated);
            assert_eq!(SECRET.code(counter), code);
        }
    }

    /// They have eight digits there.
    #[test]
    fn vectors_of_rfc_6238_appendix_b() {
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            let step = step_at(at(seconds));
            let eight = format!("{:08}", SECRET.truncated(step) % 100_000_000);
            assert_eq!(eight, code);
            assert_eq!(SECRET.code(step), code.get(2..).unwrap());
        }
    }

    #[test]
    fn one_step_either_side_and_none_twice() {
        let now = at(1_000_000);
        let step = step_at(now);
        for offset in 0..=4 {
            let tried = step - 2 + offset;
            let wanted = (1..=3).contains(&offset).then_some(tried);
            let code = SECRET.code(tried);
            assert_eq!(SECRET.find_step(&code, now, None), wanted, "{offset}");
            assert_eq!(
                SECRET.find_step(&code, now, Some(tried - 1)),
                wanted,
                "{offset}"
            );
            assert_eq!(SECRET.find_step(&code, now, Some(tried)), None, "{offset}");
        }
        let code = SECRET.code(step);
        let typed = format!(" {} {}", &code[..3], &code[3..]);
        assert_eq!(SECRET.find_step(&typed, now, None), Some(step));
        for wrong in ["", "12345", "1234567", "abcdef"] {
            assert_eq!(SECRET.find_step(wrong, now, None), None);
        }
        assert_eq!(acceptable_steps(at(0)), [0, 0, 1]);
        assert_eq!(step_at(Timestamp::from_millis(29_999)), 0);
        assert_eq!(step_at(Timestamp::from_millis(30_000)), 1);
    }

    /// The secret of the Key URI Format's own example has ten bytes; this is the
    /// RFCs'. Checked with `base64.b32encode` of Python.
    #[test]
    fn what_the_app_is_given() {
        assert_eq!(SECRET.base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(
            SECRET.otpauth_uri("Eagle IT BVBA", "tom.cool@example.be"),
            "otpauth://totp/Eagle%20IT%20BVBA:tom.cool%40example.be\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Eagle%20IT%20BVBA\
             &algorithm=SHA1&digits=6&period=30"
        );
        assert!(
            SECRET
                .otpauth_uri("Café: R&D/Köln?#%+", "a:b")
                .starts_with("otpauth://totp/Caf%C3%A9-%20R%26D%2FK%C3%B6ln%3F%23%25%2B:a-b?")
        );
        assert_eq!(format!("{SECRET:?}"), "Secret(…)");
    }
}
