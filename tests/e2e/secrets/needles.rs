//! What must not be found, in every guise that a log could give it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Secrets and what they are.
#[derive(Default)]
pub(super) struct Needles(Vec<(String, String)>);

impl Needles {
    /// A text: plain, in hexadecimal, in base64, as a list of bytes.
    pub(super) fn text(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 6, "{name}: too short to be told apart");
        self.0.push((name.to_owned(), secret.to_owned()));
        self.bytes(name, secret.as_bytes());
    }

    /// Bytes: in hexadecimal, in base64, as a list.
    pub(super) fn bytes(&mut self, name: &str, secret: &[u8]) {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let list: Vec<_> = secret.iter().map(u8::to_string).collect();
        for guise in [
            hex.to_uppercase(),
            hex,
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            list.join(", "),
            list.join(","),
        ] {
            self.0.push((name.to_owned(), guise));
        }
    }

    /// A device token may show its first six characters.
    pub(super) fn device_token(&mut self, token: &str) {
        self.0
            .push(("device token".to_owned(), token[..7].to_owned()));
        self.text("device token", &token[6..]);
    }

    /// The body of a PEM file, line by line.
    pub(super) fn pem(&mut self, name: &str, pem: &str) {
        for line in pem.lines().filter(|line| line.len() >= 16) {
            if !line.starts_with('-') {
                self.text(name, line);
            }
        }
    }

    /// What of it stands in `line`.
    pub(super) fn found_in(&self, line: &str) -> Vec<&str> {
        let found = |(_, guise): &&(String, String)| {
            line.match_indices(guise.as_str()).any(|(at, _)| {
                // A number of six digits is found by itself only, not within
                // another one or within an id.
                let digits = guise.bytes().all(|byte| byte.is_ascii_digit());
                let end = at + guise.len();
                let joined = |neighbour: Option<char>| {
                    neighbour.is_some_and(|letter| letter.is_ascii_alphanumeric())
                };
                !(digits
                    && (joined(line[..at].chars().next_back())
                        || joined(line[end..].chars().next())))
            })
        };
        self.0
            .iter()
            .filter(found)
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

#[test]
fn every_guise_is_found() {
    let mut needles = Needles::default();
    needles.text("key", "csk_abc");
    needles.bytes("seed", &[0xab; 32]);
    needles.text("number", "123456");
    needles.device_token("0123456789abcdef");
    let found = |line: &str| needles.found_in(line);
    assert_eq!(found("authorization: Bearer csk_abc"), ["key"]);
    assert_eq!(found("[99, 115, 107, 95, 97, 98, 99]"), ["key"]);
    assert_eq!(found(&format!("seed {}", "ab".repeat(32))), ["seed"]);
    assert_eq!(found("number=\"123456\""), ["number"]);
    assert!(found("0a123456 and 1234567").is_empty());
    assert!(found("token 012345…").is_empty());
    assert_eq!(found("token 0123456…"), ["device token"]);
    assert_eq!(found("…6789abcdef"), ["device token"]);
}
