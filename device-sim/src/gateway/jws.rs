//! Compact JWS (RFC 7515) taken apart by hand, so that each fault in one can be named.

use aws_lc_rs::signature::{UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{
    GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD as BASE64URL,
};
use serde_json::{Map, Value};

/// How the three parts may be encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Base64url without padding (RFC 7515, section 2).
    #[default]
    Strict,
    /// Plain and padded base64 as well, which the crates `a2` and `apns-h2` send and Apple accepts.
    Lenient,
}

const BASE64_ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parts of a compact JWS, not verified.
#[derive(Debug)]
pub(crate) struct Jws<'a> {
    signing_input: &'a str,
    signature: Vec<u8>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'a> Jws<'a> {
    pub(crate) fn parse(token: &'a str, encoding: Encoding) -> Option<Self> {
        let (signing_input, signature) = token.rsplit_once('.')?;
        let (header, claims) = signing_input.split_once('.')?;
        Some(Self {
            signing_input,
            signature: decode(signature, encoding)?,
            header: serde_json::from_slice(&decode(header, encoding)?).ok()?,
            claims: serde_json::from_slice(&decode(claims, encoding)?).ok()?,
        })
    }

    /// A text member of the header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// A text claim.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// A claim that is a whole number of seconds.
    pub(crate) fn seconds(&self, name: &str) -> Option<u64> {
        self.claims.get(name).and_then(Value::as_u64)
    }

    pub(crate) fn verify(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        public_key: &[u8],
    ) -> bool {
        UnparsedPublicKey::new(algorithm, public_key)
            .verify(self.signing_input.as_bytes(), &self.signature)
            .is_ok()
    }
}

fn decode(part: &str, encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Strict => BASE64URL.decode(part).ok(),
        Encoding::Lenient => {
            let plain: String = part
                .chars()
                .map(|letter| match letter {
                    '-' => '+',
                    '_' => '/',
                    other => other,
                })
                .collect();
            BASE64_ANY_PADDING.decode(plain).ok()
        }
    }
}
