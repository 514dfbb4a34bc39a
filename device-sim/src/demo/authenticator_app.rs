//! An authenticator app as anybody has it on a phone (RFC 6238), which knows no
//! more of the broker than the QR code said.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

/// Seconds of a step (RFC 6238, section 4.1: the default).
const STEP_SECONDS: u64 = 30;
/// 10^6: the usual six digits (RFC 4226, section 5.3).
const MODULUS: u32 = 1_000_000;

/// The app with one account in it.
pub(crate) struct AuthenticatorApp {
    secret: Vec<u8>,
}

impl AuthenticatorApp {
    /// Scans a QR code: `otpauth://totp/…?secret=…`. `None`: it is not of that
    /// kind.
    pub(crate) fn scan(otpauth_uri: &str) -> Option<Self> {
        let (_, query) = otpauth_uri
            .strip_prefix("otpauth://totp/")?
            .split_once('?')?;
        let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, secret) = parameters.find(|(name, _)| *name == "secret")?;
        let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).ok()?;
        Some(Self { secret })
    }

    /// The code of a step.
    pub(crate) fn code(&self, step: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let bytes = tag.as_ref();
        // RFC 4226, section 5.3: dynamic truncation.
        let offset = usize::from(bytes.last().copied().unwrap_or_default() & 0xf);
        let word = bytes.get(offset..offset + 4).unwrap_or_default();
        let word = word.try_into().map_or(0, u32::from_be_bytes) & 0x7fff_ffff;
        format!("{:06}", word % MODULUS)
    }
}

/// The step of a moment, counted from 1970.
pub(crate) fn step_at(time: SystemTime) -> u64 {
    since_1970(time).as_secs() / STEP_SECONDS
}

/// How long the code of that moment stays.
pub(crate) fn left_at(time: SystemTime) -> Duration {
    let next = Duration::from_secs((step_at(time) + 1) * STEP_SECONDS);
    next.saturating_sub(since_1970(time))
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// RFC 6238, appendix B, SHA-1, the last six of the eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let uri = "otpauth://totp/Eagle%20IT:tom?issuer=Eagle%20IT\
                   &secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&digits=6";
        let app = AuthenticatorApp::scan(uri).unwrap();
        let vectors = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ];
        for (seconds, code) in vectors {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(app.code(step_at(time)), code, "{seconds}");
        }
    }

    #[test]
    fn a_code_stays_until_the_next_step() {
        let at = |millis| left_at(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(60_000), Duration::from_secs(30));
        assert_eq!(at(89_999), Duration::from_millis(1));
    }

    #[test]
    fn other_qr_codes_are_not_taken() {
        for uri in [
            "",
            "countersign://enroll?secret=GEZDGNBV",
            "otpauth://totp/x",
            "otpauth://totp/x?secret=1",
        ] {
            assert!(AuthenticatorApp::scan(uri).is_none(), "{uri}");
        }
    }
}
