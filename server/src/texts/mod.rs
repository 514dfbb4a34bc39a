//! What the broker writes to people by text message, in Dutch, French, English
//! and German: `server/locales/*.ftl`, by Project Fluent. Each message is one
//! segment of the GSM alphabet, whatever the names in it: a code in two halves
//! may arrive as one.

pub mod gsm7;

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};

/// Most septets of a device's name in a notice; the organisation's gets the rest.
const NAME_SEPTETS: usize = 24;
/// Longest host of a bound code: with more, no room would be left for the words.
const MAX_HOST_BYTES: usize = 64;

/// A language that the texts are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Dutch.
    Nl,
    /// French.
    Fr,
    /// English.
    En,
    /// German.
    De,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nl, Self::Fr, Self::En, Self::De];

    /// The language of a BCP 47 tag, whatever its region (`nl-BE` is Dutch).
    /// `None` for one that there are no texts in: take the tenant's.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Self> {
        let wanted = tag.split(['-', '_', '.']).next().unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|language| language.tag().eq_ignore_ascii_case(wanted))
    }

    /// Its BCP 47 tag.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Nl => "nl",
            Self::Fr => "fr",
            Self::En => "en",
            Self::De => "de",
        }
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Nl => include_str!("../../locales/nl.ftl"),
            Self::Fr => include_str!("../../locales/fr.ftl"),
            Self::En => include_str!("../../locales/en.ftl"),
            Self::De => include_str!("../../locales/de.ftl"),
        }
    }
}

/// What a user is told of their account afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A device was registered.
    DeviceAdded {
        /// As its owner calls it.
        name: String,
    },
    /// A device was removed.
    DeviceRemoved {
        /// As its owner calls it.
        name: String,
    },
    /// A phone number was confirmed.
    PhoneAdded {
        /// As `PhoneNumber::masked` gives it.
        masked: String,
    },
    /// A phone number was removed.
    PhoneRemoved {
        /// As `PhoneNumber::masked` gives it.
        masked: String,
    },
    /// An authenticator app was confirmed.
    TotpAdded,
    /// The authenticator app was removed.
    TotpRemoved,
    /// Recovery codes were made; those before are void.
    RecoveryCodesMade,
    /// The recovery codes were removed.
    RecoveryCodesRemoved,
    /// No more sign-ins until somebody unlocks the account.
    AccountLocked,
    /// Sign-ins are possible again.
    AccountUnlocked,
    /// An operator removed all authenticators.
    AccountReset,
    /// "It wasn't me" was answered.
    SignInReported,
}

/// The text that carries a sign-in code: the code first and, when the sign-in
/// page's `host` is given (lower case, at most 64 bytes), the line last by which
/// browsers fill it in on that page only (WICG, "Origin-bound one-time codes
/// delivered via SMS").
#[must_use]
pub fn sign_in_code(
    language: Language,
    organisation: &str,
    code: &str,
    host: Option<&str>,
) -> String {
    code_text(language, "code-sign-in", organisation, code, host)
}

/// The text that carries the code by which a phone number is confirmed; like
/// [`sign_in_code`].
#[must_use]
pub fn confirm_number_code(
    language: Language,
    organisation: &str,
    code: &str,
    host: Option<&str>,
) -> String {
    code_text(language, "code-confirm-number", organisation, code, host)
}

/// The text that tells a user what became of their account.
#[must_use]
pub fn notice(language: Language, notice: &Notice, organisation: &str) -> String {
    let texts = Texts::of(language);
    let named = |name: &str| {
        let name = gsm7::transliterate(&without_links(name));
        if name.is_empty() {
            texts.format("unnamed", &[])
        } else {
            gsm7::fit(&name, NAME_SEPTETS)
        }
    };
    let (id, argument) = match notice {
        Notice::DeviceAdded { name } => ("device-added", Some(("name", named(name)))),
        Notice::DeviceRemoved { name } => ("device-removed", Some(("name", named(name)))),
        Notice::PhoneAdded { masked } => ("phone-added", Some(("number", masked.clone()))),
        Notice::PhoneRemoved { masked } => ("phone-removed", Some(("number", masked.clone()))),
        Notice::TotpAdded => ("totp-added", None),
        Notice::TotpRemoved => ("totp-removed", None),
        Notice::RecoveryCodesMade => ("recovery-codes-made", None),
        Notice::RecoveryCodesRemoved => ("recovery-codes-removed", None),
        Notice::AccountLocked => ("account-locked", None),
        Notice::AccountUnlocked => ("account-unlocked", None),
        Notice::AccountReset => ("account-reset", None),
        Notice::SignInReported => ("sign-in-reported", None),
    };
    texts.for_organisation(id, organisation, argument, gsm7::SEGMENT)
}

fn code_text(
    language: Language,
    id: &str,
    organisation: &str,
    code: &str,
    host: Option<&str>,
) -> String {
    let bound = host
        .filter(|host| is_host(host))
        .map(|host| format!("\n@{host} #{code}"))
        .unwrap_or_default();
    let room = gsm7::SEGMENT.saturating_sub(bound.len());
    let argument = Some(("code", code.to_owned()));
    let text = Texts::of(language).for_organisation(id, organisation, argument, room);
    text + &bound
}

/// Whether a browser would take it for a host, and it leaves room for the words.
fn is_host(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
    (1..=MAX_HOST_BYTES).contains(&host.len()) && host.bytes().all(plain)
}

/// A device's name comes from whoever registers it, and a phone makes links and
/// numbers to call of what looks like one: only words are kept.
fn without_links(name: &str) -> String {
    name.replace(
        ['.', '/', ':', '\\', '+', '\u{3002}', '\u{ff0e}', '\u{ff61}'],
        " ",
    )
}

/// The texts of one language.
struct Texts {
    bundle: FluentBundle<FluentResource>,
}

static TEXTS: LazyLock<[Texts; 4]> = LazyLock::new(|| Language::ALL.map(Texts::read));

impl Texts {
    fn of(language: Language) -> &'static Self {
        let [nl, fr, en, de] = &*TEXTS;
        match language {
            Language::Nl => nl,
            Language::Fr => fr,
            Language::En => en,
            Language::De => de,
        }
    }

    fn read(language: Language) -> Self {
        // Of a file with a fault, what can be read; the tests hold all four to
        // be whole.
        let resource = match FluentResource::try_new(language.source().to_owned()) {
            Ok(resource) | Err((resource, _)) => resource,
        };
        let mut bundle = FluentBundle::new_concurrent(language.tag().parse().into_iter().collect());
        // The marks around arguments are not in the GSM alphabet.
        bundle.set_use_isolating(false);
        bundle.add_resource_overriding(resource);
        Self { bundle }
    }

    fn format(&self, id: &str, arguments: &[(&'static str, &str)]) -> String {
        let mut values = FluentArgs::new();
        for (name, value) in arguments {
            values.set(*name, *value);
        }
        let pattern = self
            .bundle
            .get_message(id)
            .and_then(|message| message.value());
        match pattern {
            Some(pattern) => self
                .bundle
                .format_pattern(pattern, Some(&values), &mut Vec::new())
                .into_owned(),
            None => id.to_owned(),
        }
    }

    /// A text of at most `room` septets: the organisation's name gives way.
    fn for_organisation(
        &self,
        id: &str,
        organisation: &str,
        argument: Option<(&'static str, String)>,
        room: usize,
    ) -> String {
        let spelled = gsm7::transliterate(organisation);
        let named = if spelled.is_empty() {
            self.format("your-organisation", &[])
        } else {
            spelled
        };
        let with = |organisation: &str| {
            let mut arguments = vec![("organisation", organisation)];
            if let Some((name, value)) = &argument {
                arguments.push((*name, value.as_str()));
            }
            self.format(id, &arguments)
        };
        let words = gsm7::septets(&with("")).unwrap_or(room);
        with(&gsm7::fit(&named, room.saturating_sub(words)))
    }
}

#[cfg(test)]
mod tests;
