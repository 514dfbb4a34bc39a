#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const ORGANISATION: &str = "Eagle IT BVBA";

fn notices(name: &str) -> Vec<Notice> {
    let name = || name.to_owned();
    let masked = || "+XX XXXXXXX40".to_owned();
    vec![
        Notice::DeviceAdded { name: name() },
        Notice::DeviceRemoved { name: name() },
        Notice::PhoneAdded { masked: masked() },
        Notice::PhoneRemoved { masked: masked() },
        Notice::TotpAdded,
        Notice::TotpRemoved,
        Notice::RecoveryCodesMade,
        Notice::RecoveryCodesRemoved,
        Notice::AccountLocked,
        Notice::AccountUnlocked,
        Notice::AccountReset,
        Notice::SignInReported,
    ]
}

/// Every text of a language: a bound code, an unbound one, the notices.
fn all(language: Language) -> Vec<String> {
    let mut texts = vec![
        sign_in_code(language, ORGANISATION, "001234", Some("login.example.be")),
        confirm_number_code(language, ORGANISATION, "001234", None),
    ];
    let notices = notices("iPhone van Tom");
    texts.extend(notices.iter().map(|n| notice(language, n, ORGANISATION)));
    texts
}

#[test]
fn dutch() {
    let wanted = [
        "001234 is uw aanmeldcode voor Eagle IT BVBA. Geef deze code nooit door.\n@login.example.be #001234",
        "001234 bevestigt uw telefoonnummer bij Eagle IT BVBA. Geef deze code nooit door.",
        "Eagle IT BVBA: het toestel iPhone van Tom kan nu uw aanmeldingen goedkeuren. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: het toestel iPhone van Tom kan uw aanmeldingen niet langer goedkeuren. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: het nummer +XX XXXXXXX40 ontvangt voortaan uw aanmeldcodes. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: het nummer +XX XXXXXXX40 ontvangt geen aanmeldcodes meer. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: er is een authenticator-app toegevoegd om u aan te melden. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: de authenticator-app om u aan te melden is verwijderd. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: er zijn nieuwe herstelcodes gemaakt. De vorige werken niet meer. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: uw herstelcodes zijn verwijderd en werken niet meer. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: uw account is vergrendeld. Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: uw account is ontgrendeld. U kunt zich weer aanmelden. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: uw aanmeldmethoden zijn gewist. Registreer ze opnieuw. Was u dit niet? Neem contact op met uw helpdesk.",
        "Eagle IT BVBA: er is gemeld dat een aanmelding niet van u was. Wijzig uw wachtwoord en neem contact op met uw helpdesk.",
    ];
    assert_eq!(all(Language::Nl), wanted);
}

#[test]
fn french() {
    let wanted = [
        "001234 est votre code de connexion pour Eagle IT BVBA. Ne le partagez jamais.\n@login.example.be #001234",
        "001234 confirme votre numéro chez Eagle IT BVBA. Ne partagez jamais ce code.",
        "Eagle IT BVBA : l'appareil iPhone van Tom peut désormais approuver vos connexions. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : l'appareil iPhone van Tom ne peut plus approuver vos connexions. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : le numéro +XX XXXXXXX40 recevra désormais vos codes de connexion. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : le numéro +XX XXXXXXX40 ne recevra plus vos codes de connexion. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : une application d'authentification a été ajoutée à votre compte. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : l'application d'authentification a été retirée de votre compte. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : de nouveaux codes de secours ont été créés, les anciens sont annulés. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : vos codes de secours ont été supprimés et ne fonctionnent plus. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : votre compte est verrouillé. Contactez votre helpdesk.",
        "Eagle IT BVBA : votre compte est déverrouillé. Vous pouvez à nouveau vous connecter. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : vos moyens de connexion ont été effacés. Enregistrez-les à nouveau. Ce n'était pas vous ? Contactez votre helpdesk.",
        "Eagle IT BVBA : une connexion a été signalée comme n'étant pas de vous. Changez de mot de passe et contactez votre helpdesk.",
    ];
    assert_eq!(all(Language::Fr), wanted);
}

#[test]
fn english() {
    let wanted = [
        "001234 is your sign-in code for Eagle IT BVBA. Never share it with anyone.\n@login.example.be #001234",
        "001234 confirms your phone number for Eagle IT BVBA. Never share this code.",
        "Eagle IT BVBA: the device iPhone van Tom can now approve your sign-ins. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: the device iPhone van Tom can no longer approve your sign-ins. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: the number +XX XXXXXXX40 will receive your sign-in codes from now on. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: the number +XX XXXXXXX40 will no longer receive your sign-in codes. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: an authenticator app was added to your account. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: the authenticator app was removed from your account. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: new recovery codes were made. The old ones no longer work. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: your recovery codes were removed and no longer work. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: your account is locked. Contact your helpdesk.",
        "Eagle IT BVBA: your account is unlocked. You can sign in again. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: your ways to sign in were erased. Please register them again. Wasn't this you? Contact your helpdesk.",
        "Eagle IT BVBA: a sign-in was reported as not yours. Change your password and contact your helpdesk.",
    ];
    assert_eq!(all(Language::En), wanted);
}

#[test]
fn german() {
    let wanted = [
        "001234 ist Ihr Anmeldecode für Eagle IT BVBA. Geben Sie ihn niemals weiter.\n@login.example.be #001234",
        "001234 bestätigt Ihre Nummer bei Eagle IT BVBA. Geben Sie den Code niemals weiter.",
        "Eagle IT BVBA: Das Gerät iPhone van Tom kann nun Ihre Anmeldungen genehmigen. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Das Gerät iPhone van Tom kann Ihre Anmeldungen nicht mehr genehmigen. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Die Nummer +XX XXXXXXX40 erhält nun Ihre Anmeldecodes. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Die Nummer +XX XXXXXXX40 erhält keine Anmeldecodes mehr. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Ihrem Konto wurde eine Authenticator-App hinzugefügt. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Die Authenticator-App wurde aus Ihrem Konto entfernt. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Es gibt neue Wiederherstellungscodes. Die alten gelten nicht mehr. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Ihre Wiederherstellungscodes wurden entfernt und gelten nicht mehr. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Ihr Konto ist gesperrt. Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Ihr Konto ist entsperrt. Sie können sich wieder anmelden. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Ihre Anmeldemethoden wurden gelöscht. Bitte neu registrieren. Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.",
        "Eagle IT BVBA: Eine Anmeldung wurde als fremd gemeldet. Ändern Sie Ihr Passwort und informieren Sie Ihren Helpdesk.",
    ];
    assert_eq!(all(Language::De), wanted);
}

#[test]
fn tags() {
    for (tag, language) in [
        ("nl", Some(Language::Nl)),
        ("nl-BE", Some(Language::Nl)),
        ("FR-be", Some(Language::Fr)),
        ("de_AT.UTF-8", Some(Language::De)),
        ("en-Latn-GB", Some(Language::En)),
        ("pt-BR", None),
        ("nld", None),
        ("", None),
    ] {
        assert_eq!(Language::from_tag(tag), language, "{tag}");
    }
    for language in Language::ALL {
        assert_eq!(Language::from_tag(language.tag()), Some(language));
    }
}

/// Message ids with the variables and terms that each uses.
fn messages(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    assert!(FluentResource::try_new(source.to_owned()).is_ok());
    source
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(id, value)| {
            let used = value.split("{ ").skip(1);
            let used = used.map(|rest| rest.split(' ').next().unwrap().to_owned());
            (id.to_owned(), used.collect())
        })
        .collect()
}

#[test]
fn all_four_files_have_the_same_messages() {
    let dutch = messages(Language::Nl.source());
    assert_eq!(dutch.len(), 17);
    for language in Language::ALL {
        assert_eq!(messages(language.source()), dutch, "{language:?}");
    }
}

#[test]
fn the_longest_bound_line_leaves_room_for_a_name() {
    let host = "a".repeat(64);
    for language in Language::ALL {
        for text in [
            sign_in_code(language, ORGANISATION, "1234567890", Some(&host)),
            confirm_number_code(language, ORGANISATION, "1234567890", Some(&host)),
        ] {
            assert!(text.contains("Eagle"), "{text}");
            assert!(text.ends_with(&format!("\n@{host} #1234567890")), "{text}");
        }
    }
}

#[test]
fn names_can_not_forge() {
    // A second bound line, in what a browser reads.
    let text = sign_in_code(
        Language::Nl,
        "x\n@evil.example #666666",
        "123456",
        Some("login.example.be"),
    );
    assert_eq!(
        text,
        "123456 is uw aanmeldcode voor x evil.example #666666. Geef deze code nooit door.\n\
         @login.example.be #123456"
    );
    // What is no host binds nothing.
    for host in ["", "evil.example #1 @x", "höst", "a\nb", &"a".repeat(65)] {
        let text = sign_in_code(Language::Nl, "x", "123456", Some(host));
        assert_eq!(
            text,
            "123456 is uw aanmeldcode voor x. Geef deze code nooit door."
        );
    }
    // A link in a device's name.
    let added = Notice::DeviceAdded {
        name: "https://evil.example/?a +32470123456".into(),
    };
    assert_eq!(
        notice(Language::Nl, &added, "x"),
        "x: het toestel https evil example ?a... kan nu uw aanmeldingen goedkeuren. Was u dit \
         niet? Neem contact op met uw helpdesk."
    );
}

#[test]
fn names_that_show_nothing() {
    let code = sign_in_code(Language::Nl, "\u{200b}", "123456", None);
    assert_eq!(
        code,
        "123456 is uw aanmeldcode voor uw organisatie. Geef deze code nooit door."
    );
    let added = Notice::DeviceAdded {
        name: String::new(),
    };
    assert_eq!(
        notice(Language::Fr, &added, ORGANISATION),
        "Eagle IT BVBA : l'appareil sans nom peut désormais approuver vos connexions. Ce \
         n'était pas vous ? Contactez votre helpdesk."
    );
}

/// A name as a tenant or a device may have: 1 to 128 bytes.
fn any_name() -> impl Strategy<Value = String> {
    let anything = prop_oneof![
        ".{1,128}",
        "\\PC{1,64}",
        "[A-Z]{100,128}",
        "[€\\[\\]{}@#]{1,60}"
    ];
    anything.prop_map(|text: String| {
        let end = text.floor_char_boundary(128);
        text.get(..end).unwrap().to_owned()
    })
}

proptest! {
    #[test]
    fn a_code_is_one_segment(
        organisation in any_name(),
        code in "[0-9]{4,10}",
        host in proptest::option::of("[a-z0-9][a-z0-9.-]{0,63}"),
    ) {
        for language in Language::ALL {
            for text in [
                sign_in_code(language, &organisation, &code, host.as_deref()),
                confirm_number_code(language, &organisation, &code, host.as_deref()),
            ] {
                let taken = gsm7::septets(&text);
                prop_assert!(taken.is_some_and(|taken| taken <= 160), "{taken:?} {text:?}");
                let first = text.split(' ').next();
                prop_assert_eq!(first, Some(code.as_str()));
                let lines: Vec<&str> = text.split('\n').collect();
                let hosts = text.matches('@').count();
                match &host {
                    Some(host) => {
                        prop_assert_eq!((lines.len(), hosts), (2, 1), "{:?}", text);
                        let bound = format!("@{host} #{code}");
                        prop_assert_eq!(lines.last().copied(), Some(bound.as_str()));
                    }
                    None => prop_assert_eq!((lines.len(), hosts), (1, 0), "{:?}", text),
                }
            }
        }
    }

    #[test]
    fn a_notice_is_one_segment(organisation in any_name(), name in any_name()) {
        for language in Language::ALL {
            for told in notices(&name) {
                let text = notice(language, &told, &organisation);
                let taken = gsm7::septets(&text);
                prop_assert!(taken.is_some_and(|taken| taken <= 160), "{taken:?} {text:?}");
                prop_assert!(!text.contains(['@', '\n']));
            }
        }
    }
}
