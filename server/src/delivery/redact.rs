//! What may be shown of things that must not be shown.

/// Longest text kept of what a gateway said, in characters.
const MAX_REASON_CHARS: usize = 120;

/// A device token as it may stand in a log: its first six characters.
pub(super) fn device_token(token: &str) -> String {
    let head: String = token.chars().take(6).collect();
    format!("{head}…")
}

/// A gateway's own words, made safe to keep: printable ASCII, short, and
/// without the secret `forbidden` should the gateway echo it.
pub(super) fn reason(text: &str, forbidden: &str) -> String {
    let text = if forbidden.is_empty() {
        text.to_owned()
    } else {
        text.replace(forbidden, "[redacted]")
    };
    text.chars()
        .take(MAX_REASON_CHARS)
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_token_shows_six_characters() {
        assert_eq!(device_token("0123456789abcdef"), "012345…");
        assert_eq!(device_token("ab"), "ab…");
        assert_eq!(device_token("ééééééé"), "éééééé…");
    }

    #[test]
    fn a_reason_is_short_printable_and_without_the_secret() {
        assert_eq!(reason("bad SECRET\n", "SECRET"), "bad [redacted]?");
        assert_eq!(reason(&"x".repeat(500), "").len(), MAX_REASON_CHARS);
    }
}
