//! What the identity provider says of a sign-in, checked before anybody sees it.

use super::Invalid;

/// What the user is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignInContext {
    /// The application being signed in to.
    pub application_name: String,
    /// The browser's address, or empty.
    pub client_address: String,
    /// Place in words, or empty.
    pub location: String,
    /// The browser's User-Agent, or empty.
    pub user_agent: String,
    /// Binds page and prompt together, or empty.
    pub binding_message: String,
    /// Further lines: label and value.
    pub details: Vec<(String, String)>,
}

/// Most detail lines in one prompt.
pub const MAX_DETAILS: usize = 8;

/// Most bytes of text in one context, so that a challenge fits in one stored
/// value.
pub const MAX_CONTEXT_BYTES: usize = 2048;

impl SignInContext {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that is missing, too long, or has
    /// characters that could disguise a prompt.
    pub fn check(&self) -> Result<(), Invalid> {
        check_text("context.application_name", &self.application_name, 1, 128)?;
        if !self.client_address.is_empty()
            && self.client_address.parse::<std::net::IpAddr>().is_err()
        {
            return Err(Invalid::new(
                "context.client_address",
                "must be an IPv4 or IPv6 address",
            ));
        }
        check_text("context.location", &self.location, 0, 128)?;
        check_text("context.user_agent", &self.user_agent, 0, 512)?;
        check_text("context.binding_message", &self.binding_message, 0, 256)?;
        if self.details.len() > MAX_DETAILS {
            return Err(Invalid::new(
                "context.details",
                "must have at most 8 entries",
            ));
        }
        let mut total = [
            &self.application_name,
            &self.location,
            &self.user_agent,
            &self.binding_message,
        ]
        .iter()
        .fold(0_usize, |sum, text| sum.saturating_add(text.len()));
        for (index, (label, value)) in self.details.iter().enumerate() {
            check_text(&format!("context.details[{index}].label"), label, 1, 64)?;
            check_text(&format!("context.details[{index}].value"), value, 0, 256)?;
            total = total
                .saturating_add(label.len())
                .saturating_add(value.len());
        }
        if total > MAX_CONTEXT_BYTES {
            return Err(Invalid::new(
                "context",
                "must have at most 2048 bytes of text in all",
            ));
        }
        Ok(())
    }
}

/// Checks a text that a person will read.
///
/// # Errors
/// [`Invalid`] when it has fewer than `min` or more than `max` bytes, a control
/// character, or one that changes the direction of what follows.
pub fn check_text(field: &str, text: &str, min: usize, max: usize) -> Result<(), Invalid> {
    if text.len() < min || (min > 0 && text.trim().is_empty()) {
        return Err(Invalid::new(field, "is required"));
    }
    if text.len() > max {
        return Err(Invalid::new(
            field,
            format!("must have at most {max} bytes"),
        ));
    }
    if text.chars().any(is_disguising) {
        return Err(Invalid::new(
            field,
            "must not have control or text-direction characters",
        ));
    }
    Ok(())
}

/// Checks a BCP 47 tag's form (RFC 5646, section 2.1): empty, or subtags of 1 to
/// 8 letters and digits, 35 characters in all (section 4.4.1).
///
/// # Errors
/// [`Invalid`] for anything else.
pub fn check_language(field: &str, tag: &str) -> Result<(), Invalid> {
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if tag.is_empty() || (tag.len() <= 35 && tag.split('-').all(subtag)) {
        Ok(())
    } else {
        Err(Invalid::new(field, "must be a BCP 47 language tag"))
    }
}

/// Control characters, line and paragraph separators, the bidirectional
/// formatting characters of Unicode UAX #9, and characters that show nothing.
/// The joiners U+200C and U+200D stay: scripts and emoji need them.
#[must_use]
pub fn is_disguising(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{E0000}'..='\u{E007F}')
}
