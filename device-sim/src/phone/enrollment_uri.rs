//! `countersign://enroll?v=1&b=…&t=…&k=…`: what the QR code says.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::PhoneError;

/// A ticket with the broker's address and the key to pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollmentUri {
    /// `http://` or `https://` address of the broker's gRPC port.
    pub broker: String,
    /// The ticket's code.
    pub ticket: String,
    /// SHA-256 of the broker's current Ed25519 public key.
    pub key_digest: [u8; 32],
}

const SCHEME: &str = "countersign://enroll?";

impl FromStr for EnrollmentUri {
    type Err = PhoneError;

    /// Unknown parameters are passed over; a repeated one is an error, since
    /// two readers might each take another.
    fn from_str(text: &str) -> Result<Self, PhoneError> {
        use PhoneError::BadEnrollmentUri as Bad;
        let query = text
            .trim()
            .strip_prefix(SCHEME)
            .ok_or(Bad("it does not start with countersign://enroll?"))?;
        let (mut version, mut broker, mut ticket, mut key) = (None, None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "v" => &mut version,
                "b" => &mut broker,
                "t" => &mut ticket,
                "k" => &mut key,
                _ => continue,
            };
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| Bad("a parameter is not UTF-8"))?
                .into_owned();
            if slot.replace(value).is_some() {
                return Err(Bad("a parameter is given twice"));
            }
        }
        if version.as_deref() != Some("1") {
            return Err(Bad("its version is not 1"));
        }
        let broker = broker.ok_or(Bad("the broker's address is missing"))?;
        if !(broker.starts_with("https://") || broker.starts_with("http://"))
            || broker.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(Bad("the broker's address is neither http nor https"));
        }
        let ticket = ticket
            .filter(|ticket| !ticket.is_empty())
            .ok_or(Bad("the ticket is missing"))?;
        let key_digest = URL_SAFE_NO_PAD
            .decode(key.ok_or(Bad("the key's digest is missing"))?)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or(Bad("the key's digest is not 32 bytes of base64url"))?;
        Ok(Self {
            broker,
            ticket,
            key_digest,
        })
    }
}

impl fmt::Display for EnrollmentUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEME}v=1&b={}&t={}&k={}",
            utf8_percent_encode(&self.broker, NON_ALPHANUMERIC),
            utf8_percent_encode(&self.ticket, NON_ALPHANUMERIC),
            URL_SAFE_NO_PAD.encode(self.key_digest),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn parse(query: &str) -> Result<EnrollmentUri, PhoneError> {
        format!("countersign://enroll?{query}").parse()
    }

    #[test]
    fn reads_what_the_broker_writes() {
        let uri = parse(&format!(
            "v=1&b=https%3A%2F%2Fbroker.example%3A8443&t=0123-4567-89AB-CDEF&k={KEY}"
        ))
        .unwrap();
        assert_eq!(uri.broker, "https://broker.example:8443");
        assert_eq!(uri.ticket, "0123-4567-89AB-CDEF");
        assert_eq!(uri.key_digest.to_vec(), (0..32).collect::<Vec<u8>>());
        assert_eq!(uri.to_string().parse::<EnrollmentUri>().unwrap(), uri);
    }

    #[test]
    fn order_and_unknown_parameters_do_not_matter() {
        let uri = parse(&format!("x=9&k={KEY}&t=T&b=http%3A%2F%2F[::1]:1&v=1&flag")).unwrap();
        assert_eq!(
            (uri.broker.as_str(), uri.ticket.as_str()),
            ("http://[::1]:1", "T")
        );
    }

    #[test]
    fn refuses_anything_else() {
        let good = format!("v=1&b=http%3A%2F%2Fh&t=T&k={KEY}");
        assert!(parse(&good).is_ok());
        for bad in [
            String::new(),
            good.replace("v=1", "v=2"),
            good.replace("v=1&", ""),
            good.replace("&t=T", ""),
            good.replace("t=T", "t="),
            good.replace(&format!("&k={KEY}"), ""),
            good.replace(KEY, "AAEC"),
            good.replace(KEY, &format!("{KEY}=")),
            good.replace("http%3A", "javascript%3A"),
            good.replace("%2Fh", "%2Fh%0A"),
            good.replace("t=T", "t=%FF"),
            format!("{good}&t=U"),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
        assert!(
            format!("https://enroll?{good}")
                .parse::<EnrollmentUri>()
                .is_err()
        );
    }
}
