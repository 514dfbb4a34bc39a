//! Status callbacks over HTTP: the address a gateway is given, and what it
//! sends there.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method};

use super::is_reference;

/// What is authenticated begins with this and a zero byte.
const LABEL: &[u8] = b"countersign/v1/sms-status\0";
/// The parameter that holds [`super::Text::reference`].
pub(super) const REFERENCE: &str = "reference";
/// The parameter that holds our own authentication of it.
const MAC: &str = "mac";

/// A status callback as it came in.
#[derive(Clone, Copy)]
pub struct CallbackRequest<'a> {
    /// `GET` or `POST`.
    pub method: &'a Method,
    /// Path and query as received, byte for byte: signatures cover them.
    pub path_and_query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
}

impl std::fmt::Debug for CallbackRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackRequest")
            .field("method", self.method)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl<'a> CallbackRequest<'a> {
    /// The query's parameters, decoded.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        let query = self.path_and_query.split_once('?').map(|(_, query)| query);
        super::form::parse(query.unwrap_or_default())
    }

    /// The media type of the body, without parameters, in small letters.
    pub(super) fn media_type(&self) -> String {
        let value = self.headers.get(http::header::CONTENT_TYPE);
        let value = value.and_then(|value| value.to_str().ok());
        let essence = value.unwrap_or_default().split(';').next();
        essence.unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// A header that stands there once.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        value.to_str().ok()
    }
}

/// Why a status callback is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackRefused {
    /// No gateway of that name reports over HTTP.
    #[error("no such gateway")]
    UnknownGateway,
    /// It is not proven to come from the gateway.
    #[error("signature missing or wrong")]
    Forged,
    /// It is, but can't be understood.
    #[error("malformed status callback")]
    Malformed,
}

/// The only value of the parameter `name`.
pub(super) fn only<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = parameters.iter().filter(|(key, _)| key == name);
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value.as_str())
}

/// Where `gateway` reports what became of a text.
pub(super) fn address(callback_url: &str, gateway: &str, reference: &str) -> String {
    format!("{callback_url}/sms/{gateway}/status?{REFERENCE}={reference}")
}

/// Authenticates the addresses of gateways that sign nothing themselves: only
/// who was given an address can report under it.
pub(super) struct AddressKey(hmac::Key);

impl AddressKey {
    /// `secret` is that of the gateway, or one kept for this alone.
    pub(super) fn derive(secret: &str) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = hmac::sign(&secret, b"countersign/v1/sms-status-key");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    fn covered(gateway: &str, reference: &str) -> Vec<u8> {
        [LABEL, gateway.as_bytes(), b"\0", reference.as_bytes()].concat()
    }

    /// As [`address`], with the proof.
    pub(super) fn address(&self, callback_url: &str, gateway: &str, reference: &str) -> String {
        let mac = hmac::sign(&self.0, &Self::covered(gateway, reference));
        let mac = URL_SAFE_NO_PAD.encode(mac);
        format!("{}&{MAC}={mac}", address(callback_url, gateway, reference))
    }

    /// The reference in `query`, if the address was made by us.
    pub(super) fn verify(
        &self,
        gateway: &str,
        query: &[(String, String)],
    ) -> Result<String, CallbackRefused> {
        let proven = || {
            let reference = only(query, REFERENCE).filter(|text| is_reference(text))?;
            let mac = URL_SAFE_NO_PAD.decode(only(query, MAC)?).ok()?;
            // Takes the same time whatever matches.
            hmac::verify(&self.0, &Self::covered(gateway, reference), &mac).ok()?;
            Some(reference.to_owned())
        };
        proven().ok_or(CallbackRefused::Forged)
    }
}
