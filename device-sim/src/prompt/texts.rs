//! The app's sentences in Dutch, French, English and German.

use std::borrow::Cow;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};

const SOURCES: [(&str, &str); 4] = [
    ("en", include_str!("../../locales/en.ftl")),
    ("nl", include_str!("../../locales/nl.ftl")),
    ("fr", include_str!("../../locales/fr.ftl")),
    ("de", include_str!("../../locales/de.ftl")),
];

macro_rules! texts {
    ($($variant:ident $id:literal,)*) => {
        /// A sentence or word of the app, named as in `locales/*.ftl`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the files in locales say what each is")]
        pub enum Text { $($variant,)* }

        impl Text {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The message's id in `locales/*.ftl`.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }
        }
    };
}

texts! {
    PromptTitle "prompt-title",
    Deny "deny",
    Approve "approve",
    NotMe "not-me",
    KeyDeny "key-deny",
    KeyApprove "key-approve",
    KeyNotMe "key-not-me",
    LabelAccount "label-account",
    LabelApplication "label-application",
    LabelPlace "label-place",
    LabelAddress "label-address",
    LabelTime "label-time",
    LabelMessage "label-message",
    Moment "moment",
    PlaceAndAddress "place-and-address",
    Number "number",
    NumberFirst "number-first",
    Sending "sending",
    DoneApproved "done-approved",
    DoneDenied "done-denied",
    DoneReported "done-reported",
    DoneRevoked "done-revoked",
    DoneWrongNumber "done-wrong-number",
    Withdrawn "withdrawn",
    WithdrawnAnswered "withdrawn-answered",
    WithdrawnSuperseded "withdrawn-superseded",
    Expired "expired",
    AnswerFailed "answer-failed",
    Enrolled "enrolled",
    Waiting "waiting",
    Untrusted "untrusted",
    Disconnected "disconnected",
    Connected "connected",
    Removed "removed",
    NoInput "no-input",
    Goodbye "goodbye",
    ApprovedElsewhere "approved-elsewhere",
    OrNotMe "or-not-me",
    NoticeUnknown "notice-unknown",
    NoticeDeviceAdded "notice-device-added",
    NoticeDeviceRemoved "notice-device-removed",
    NoticePhoneAdded "notice-phone-added",
    NoticePhoneRemoved "notice-phone-removed",
    NoticeTotpAdded "notice-totp-added",
    NoticeTotpRemoved "notice-totp-removed",
    NoticeRecoveryCodesCreated "notice-recovery-codes-created",
    NoticeRecoveryCodesRemoved "notice-recovery-codes-removed",
    NoticeAccountLocked "notice-account-locked",
    NoticeAccountUnlocked "notice-account-unlocked",
    NoticeAccountReset "notice-account-reset",
}

/// The texts in one language.
pub struct Texts {
    bundle: FluentBundle<FluentResource>,
    language: &'static str,
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Texts({})", self.language)
    }
}

impl Texts {
    /// The texts for a BCP 47 tag, by its language alone (`nl-BE` is Dutch);
    /// English for any other.
    #[must_use]
    pub fn for_language(tag: &str) -> Self {
        let wanted = tag
            .split(['-', '_', '.'])
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let (language, source) = SOURCES
            .into_iter()
            .find(|(language, _)| *language == wanted)
            .unwrap_or(("en", include_str!("../../locales/en.ftl")));
        // A file with a fault yields what can be read of it; tests hold all
        // four to be whole.
        let resource = match FluentResource::try_new(source.to_owned()) {
            Ok(resource) => resource,
            Err((resource, _)) => resource,
        };
        let mut bundle = FluentBundle::new_concurrent(language.parse().into_iter().collect());
        // Terminals would show the marks; plain_text keeps the arguments from
        // reaching beyond themselves.
        bundle.set_use_isolating(false);
        bundle.add_resource_overriding(resource);
        Self { bundle, language }
    }

    /// The language actually used: `en`, `nl`, `fr` or `de`.
    #[must_use]
    pub fn language(&self) -> &'static str {
        self.language
    }

    /// A text without arguments.
    #[must_use]
    pub fn get(&self, text: Text) -> String {
        self.with(text, &[])
    }

    /// A text with its arguments.
    #[must_use]
    pub fn with(&self, text: Text, arguments: &[(&str, &str)]) -> String {
        let mut values = FluentArgs::new();
        for (name, value) in arguments {
            values.set(Cow::Owned((*name).to_owned()), *value);
        }
        let pattern = self
            .bundle
            .get_message(text.id())
            .and_then(|message| message.value());
        match pattern {
            Some(pattern) => self
                .bundle
                .format_pattern(pattern, Some(&values), &mut Vec::new())
                .into_owned(),
            None => text.id().to_owned(),
        }
    }

    /// The key that stands for a choice.
    #[must_use]
    pub fn key(&self, text: Text) -> char {
        self.get(text).chars().next().unwrap_or('?')
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Message ids with the variables that each uses.
    fn messages(source: &str) -> BTreeMap<String, BTreeSet<String>> {
        assert!(FluentResource::try_new(source.to_owned()).is_ok());
        source
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(" = "))
            .map(|(id, value)| {
                let variables = value.split("{ $").skip(1);
                let variables = variables.map(|rest| rest.split(' ').next().unwrap().to_owned());
                (id.to_owned(), variables.collect())
            })
            .collect()
    }

    #[test]
    fn all_four_languages_have_every_text_with_the_same_arguments() {
        let ids: BTreeSet<String> = Text::ALL.iter().map(|text| text.id().to_owned()).collect();
        let english = messages(SOURCES.first().unwrap().1);
        for (language, source) in SOURCES {
            let messages = messages(source);
            assert_eq!(
                messages.keys().cloned().collect::<BTreeSet<_>>(),
                ids,
                "{language}"
            );
            assert_eq!(messages, english, "{language}");
        }
    }

    #[test]
    fn the_dutch_prompt_reads_as_on_the_sheet() {
        let texts = Texts::for_language("nl-BE");
        assert_eq!(texts.language(), "nl");
        assert_eq!(
            texts.get(Text::PromptTitle),
            "Moet de aanmelding worden goedgekeurd?"
        );
        assert_eq!(texts.get(Text::Deny), "WEIGEREN");
        assert_eq!(texts.get(Text::Approve), "GOEDKEUREN");
        assert_eq!(
            texts.with(Text::NumberFirst, &[("digits", "2")]),
            "Typ eerst het nummer van 2 cijfers dat op de aanmeldpagina staat."
        );
    }

    #[test]
    fn keys_are_one_letter_and_no_two_alike() {
        for (language, _) in SOURCES {
            let texts = Texts::for_language(language);
            let keys = [Text::KeyApprove, Text::KeyDeny, Text::KeyNotMe];
            let keys: BTreeSet<String> = keys.map(|key| texts.get(key)).into();
            assert_eq!(keys.len(), 3, "{language}");
            assert!(
                keys.iter().all(|key| key.len() == 1 && key != "q"),
                "{language}"
            );
        }
    }

    #[test]
    fn an_unknown_language_is_english() {
        for (tag, language) in [
            ("pt-BR", "en"),
            ("", "en"),
            ("FR", "fr"),
            ("de_AT.UTF-8", "de"),
        ] {
            assert_eq!(Texts::for_language(tag).language(), language);
        }
    }
}
