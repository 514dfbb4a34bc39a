//! Templates of requests: literal text and placeholders.

use zeroize::Zeroizing;

use crate::delivery::sms::form;

/// Where a template stands, and so how what is filled in is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A URL or a form: percent-encoded.
    Url,
    /// The inside of a JSON string (RFC 8259, section 7).
    Json,
    /// XML character data or an attribute's value.
    Xml,
    /// As it is.
    Plain,
    /// The value of a header: as it is.
    Header,
}

impl Place {
    /// Of a body with this media type, in small letters.
    pub(super) fn of_body(media_type: &str) -> Option<Self> {
        match media_type {
            "application/x-www-form-urlencoded" => Some(Self::Url),
            "application/json" => Some(Self::Json),
            "application/xml" | "text/xml" => Some(Self::Xml),
            "text/plain" => Some(Self::Plain),
            other if other.ends_with("+json") => Some(Self::Json),
            other if other.ends_with("+xml") => Some(Self::Xml),
            _ => None,
        }
    }

    fn encode(self, text: &str) -> String {
        match self {
            Self::Url => form::encode(text),
            Self::Json => {
                let quoted = serde_json::Value::from(text).to_string();
                let inside = quoted.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
                inside.unwrap_or_default().to_owned()
            }
            Self::Xml => text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&apos;"),
            Self::Plain | Self::Header => text.to_owned(),
        }
    }
}

/// What can be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blank {
    To,
    ToDigits,
    Text,
    Id,
    Reference,
    StatusUrl,
    Secret,
}

const BLANKS: [(&str, Blank); 7] = [
    ("to", Blank::To),
    ("to_digits", Blank::ToDigits),
    ("text", Blank::Text),
    ("id", Blank::Id),
    ("reference", Blank::Reference),
    ("status_url", Blank::StatusUrl),
    ("secret", Blank::Secret),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Blank(Blank),
}

/// A template, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
    place: Place,
}

impl Template {
    /// A brace that begins no name, as in JSON, is literal.
    pub(super) fn parse(text: &str, place: Place) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            literal.push_str(before);
            let name_ends = after.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let name = name_ends.and_then(|end| {
                let (name, tail) = after.split_at_checked(end)?;
                Some((name, tail.strip_prefix('}')?)).filter(|_| !name.is_empty())
            });
            rest = match name {
                None => {
                    literal.push('{');
                    after
                }
                Some((name, tail)) => {
                    let known = BLANKS.iter().find(|(known, _)| *known == name);
                    let Some((_, blank)) = known else {
                        let names: Vec<_> = BLANKS
                            .iter()
                            .map(|(name, _)| format!("{{{name}}}"))
                            .collect();
                        return Err(format!("{{{name}}} is none of {}", names.join(", ")));
                    };
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                    parts.push(Part::Blank(*blank));
                    tail
                }
            };
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        Ok(Self { parts, place })
    }

    pub(super) fn is_json(&self) -> bool {
        self.place == Place::Json
    }

    pub(super) fn has(&self, blank: Blank) -> bool {
        self.parts.contains(&Part::Blank(blank))
    }

    /// The literal text before the first placeholder.
    pub(super) fn head(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            _ => "",
        }
    }

    /// The result holds the text and perhaps the secret.
    pub(super) fn fill<'v>(&self, value: impl Fn(Blank) -> &'v str) -> Zeroizing<String> {
        let mut filled = Zeroizing::new(String::new());
        for part in &self.parts {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Blank(blank) => {
                    filled.push_str(&Zeroizing::new(self.place.encode(value(*blank))));
                }
            }
        }
        filled
    }
}

/// Whether `text` looks like `pattern`, in which `*` stands for anything.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
        let Some((_, after)) = left.split_once(piece) else {
            return false;
        };
        left = after;
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn filled(template: &str, place: Place, text: &str) -> String {
        let template = Template::parse(template, place).unwrap();
        template.fill(|_| text).to_string()
    }

    #[test]
    fn what_is_filled_in_is_encoded_for_where_it_stands() {
        let text = "a b&c=\"é\"</x>\n%+1";
        assert_eq!(
            filled("http://h/?t={text}&u=1", Place::Url, text),
            "http://h/?t=a%20b%26c%3D%22%C3%A9%22%3C%2Fx%3E%0A%25%2B1&u=1"
        );
        let json = filled(r#"{"t":"{text}","o":{"n":1}}"#, Place::Json, text);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["t"], text);
        assert_eq!(json["o"]["n"], 1);
        assert_eq!(
            filled("<t>{text}</t>", Place::Xml, "<&'\">"),
            "<t>&lt;&amp;&apos;&quot;&gt;</t>"
        );
        assert_eq!(filled("{text}", Place::Plain, text), text);
    }

    #[test]
    fn names_are_known_and_other_braces_literal() {
        let fault = Template::parse("a{phone}", Place::Url).unwrap_err();
        assert!(fault.starts_with("{phone} is none of {to}, "), "{fault}");
        for literal in ["{", "}", "{}", "{ to}", "{to", "{TO}", "{\"to\"}"] {
            assert_eq!(filled(literal, Place::Plain, "x"), literal);
        }
        assert_eq!(filled("{{to}}", Place::Plain, "x"), "{x}");
        assert_eq!(filled("{to}{to_digits}", Place::Plain, "x"), "xx");
    }

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("0: Accepted", "0: Accepted"),
            ("0:*", "0: Accepted for delivery"),
            ("*ok*", "it is ok"),
            ("*\"status\":*\"queued\"*", "{\"status\": \"queued\"}"),
            ("a*b*c", "a b b c"),
            ("*", ""),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("0:*", "3: Queued"),
            ("ok", "ok "),
            ("a*a", "a"),
            ("a*b*c", "a c"),
            ("*x", "xy"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
