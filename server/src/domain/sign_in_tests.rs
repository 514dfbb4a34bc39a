#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::domain::{
    account::{Phone, RecoveryCodes, Totp},
    code::CodeHash,
    ids::{AuthenticatorId, TenantId, UserId},
    policy::Enforcement,
};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

fn earlier(seconds: u64) -> Timestamp {
    NOW.before(Duration::from_secs(seconds))
}

/// A situation: what is changed of an ordinary one, in which nobody has
/// registered anything and everything works.
struct Case {
    account: Account,
    around: Surroundings,
    rules: Policy,
}

fn case() -> Case {
    let mut rules = Policy::default();
    rules.sms.countries = vec!["BE".into()];
    let user = UserId::from_stored("tom".into());
    Case {
        account: Account::new(TenantId::from_bytes([9; 16]), user),
        around: Surroundings {
            devices: Vec::new(),
            can_text: true,
            browser: None,
        },
        rules,
    }
}

impl Case {
    fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn device(self, reached: bool) -> Self {
        self.but(|it| it.around.devices.push(("Tom's phone".into(), reached)))
    }

    fn number(self, country: &str) -> Self {
        self.but(|it| {
            it.account.phones.push(Phone {
                id: AuthenticatorId::from_bytes([1; 16]),
                sealed_number: Vec::new(),
                number: [1; 16],
                range: [2; 16],
                masked: "+XX XXXXXXX40".into(),
                country: country.into(),
                language: "nl".into(),
                create_time: NOW,
                last_used_time: None,
                confirming: None,
            });
        })
    }

    fn app(self) -> Self {
        self.but(|it| {
            it.account.totps.push(Totp {
                id: AuthenticatorId::from_bytes([2; 16]),
                sealed_secret: Vec::new(),
                create_time: NOW,
                last_used_time: None,
                confirmed: true,
                wrong: 0,
                last_step: 0,
            });
        })
    }

    fn recovery(self) -> Self {
        self.but(|it| {
            it.account.recovery = Some(RecoveryCodes {
                id: AuthenticatorId::from_bytes([3; 16]),
                create_time: NOW,
                last_used_time: None,
                unused: vec![CodeHash([1; 32])],
            });
        })
    }

    fn encouraged(self, snoozed: u32, until: Option<Timestamp>) -> Self {
        self.but(|it| {
            it.rules.enrolment.enforcement = Enforcement::Encouraged;
            it.rules.enrolment.snooze_until = until;
            it.account.snoozes = snoozed;
        })
    }

    fn options(&self) -> SignInOptions {
        options(&self.account, &self.around, &self.rules, NOW)
    }

    /// The step, the methods (in brackets: not now) and the choices.
    fn shown(&self) -> (NextStep, Vec<String>, Vec<EnrolmentChoice>) {
        let options = self.options();
        let methods = options.offers.iter().map(|offer| {
            let name = offer.method.name();
            if offer.available {
                name.to_owned()
            } else {
                format!("({name})")
            }
        });
        (options.next_step, methods.collect(), options.choices)
    }
}

/// What it is called, what it is, and what is shown.
type Row = (
    &'static str,
    Case,
    NextStep,
    &'static [&'static str],
    &'static [EnrolmentChoice],
);

#[test]
fn what_is_shown_next() {
    use EnrolmentChoice as C;
    use NextStep as N;
    const ALL: &[EnrolmentChoice] = &[C::MobileApp, C::AuthenticationPhone, C::TotpApp];
    let off = |it: &mut Case| it.rules.enrolment.enforcement = Enforcement::Off;
    let listed_only = |it: &mut Case| it.rules.enrolment.listed_users_only = true;
    let locked = |it: &mut Case| it.account.lock_for(LockReason::Operator, NOW);
    let remembered = |it: &mut Case| it.around.browser = Some(Standing::Approves);
    let snooze = |left, until| N::EnrollOrSnooze { left, until };
    let table: Vec<Row> = vec![
        // Whether anything is asked.
        (
            "switched off",
            case().device(true).but(off),
            N::NothingToAsk,
            &[],
            &[],
        ),
        (
            "off and locked",
            case().but(off).but(locked),
            N::Locked(LockReason::Operator),
            &[],
            &[],
        ),
        (
            "not started",
            case()
                .device(true)
                .but(|it| it.rules.enrolment.start_time = Some(later(1))),
            N::NothingToAsk,
            &[],
            &[],
        ),
        (
            "just started",
            case()
                .device(true)
                .but(|it| it.rules.enrolment.start_time = Some(NOW)),
            N::Approve,
            &["PUSH"],
            &[],
        ),
        (
            "not listed",
            case().device(true).but(listed_only),
            N::NothingToAsk,
            &[],
            &[],
        ),
        (
            "listed",
            case().but(listed_only).but(|it| it.account.listed = true),
            N::Enroll,
            &[],
            ALL,
        ),
        (
            "locked",
            case().device(true).but(locked),
            N::Locked(LockReason::Operator),
            &[],
            &[],
        ),
        // Registering.
        ("nothing registered", case(), N::Enroll, &[], ALL),
        (
            "encouraged",
            case().encouraged(0, None),
            snooze(3, None),
            &[],
            ALL,
        ),
        (
            "the last snooze",
            case().encouraged(2, None),
            snooze(1, None),
            &[],
            ALL,
        ),
        (
            "no snooze left",
            case().encouraged(3, None),
            N::Enroll,
            &[],
            ALL,
        ),
        (
            "encouraged until a time",
            case().encouraged(0, Some(later(1))),
            snooze(3, Some(later(1))),
            &[],
            ALL,
        ),
        (
            "its time is up",
            case().encouraged(0, Some(NOW)),
            N::Enroll,
            &[],
            ALL,
        ),
        (
            "encouraged, and something is registered",
            case().encouraged(0, None).app(),
            N::EnterCode,
            &["TOTP"],
            &[],
        ),
        (
            "a number that waits to be confirmed",
            case().number("BE").but(|it| {
                let rules = &it.rules.codes;
                it.account.phones[0].confirming = Some(crate::domain::code::Codes::new(rules));
            }),
            N::Enroll,
            &[],
            ALL,
        ),
        (
            "a number of another country",
            case().number("FR"),
            N::AskServiceDesk,
            &[],
            &[],
        ),
        (
            "no gateway for texts",
            case().but(|it| it.around.can_text = false),
            N::Enroll,
            &[],
            &[C::MobileApp, C::TotpApp],
        ),
        (
            "no country may be texted",
            case().but(|it| it.rules.sms.countries.clear()),
            N::Enroll,
            &[],
            &[C::MobileApp, C::TotpApp],
        ),
        (
            "texts recommended, no pushes",
            case().but(|it| {
                it.rules.methods.recommended = Method::Sms;
                it.rules.methods.push = false;
            }),
            N::Enroll,
            &[],
            &[C::AuthenticationPhone, C::TotpApp],
        ),
        // Answering.
        ("an app", case().device(true), N::Approve, &["PUSH"], &[]),
        ("a number", case().number("BE"), N::EnterCode, &["SMS"], &[]),
        (
            "everything",
            case().device(true).number("BE").app().recovery(),
            N::Approve,
            &["PUSH", "SMS", "TOTP", "RECOVERY_CODE"],
            &[],
        ),
        (
            "texts recommended",
            case()
                .device(true)
                .number("BE")
                .app()
                .but(|it| it.rules.methods.recommended = Method::Sms),
            N::EnterCode,
            &["SMS", "PUSH", "TOTP"],
            &[],
        ),
        (
            "pushes no longer allowed",
            case()
                .device(true)
                .app()
                .but(|it| it.rules.methods.push = false),
            N::EnterCode,
            &["TOTP"],
            &[],
        ),
        (
            "no phone within reach",
            case().device(false).number("BE"),
            N::EnterCode,
            &["SMS", "(PUSH)"],
            &[],
        ),
        (
            "nothing within reach",
            case().device(false),
            N::Approve,
            &["(PUSH)"],
            &[],
        ),
        (
            "one of two phones within reach",
            case().device(false).device(true),
            N::Approve,
            &["PUSH"],
            &[],
        ),
        (
            "recovery codes only",
            case().recovery(),
            N::EnterCode,
            &["RECOVERY_CODE"],
            &[],
        ),
        (
            "recovery codes, and nothing else within reach",
            case().device(false).recovery(),
            N::EnterCode,
            &["RECOVERY_CODE", "(PUSH)"],
            &[],
        ),
        // Remembered.
        (
            "remembered",
            case().device(true).but(remembered),
            N::Remembered,
            &["PUSH"],
            &[],
        ),
        (
            "remembered and locked",
            case().device(true).but(remembered).but(locked),
            N::Locked(LockReason::Operator),
            &[],
            &[],
        ),
        (
            "known, and to be asked",
            case()
                .device(true)
                .but(|it| it.around.browser = Some(Standing::Known)),
            N::Approve,
            &["PUSH"],
            &[],
        ),
        (
            "a used token",
            case()
                .device(true)
                .but(|it| it.around.browser = Some(Standing::Replayed)),
            N::Approve,
            &["PUSH"],
            &[],
        ),
    ];
    for (name, case, step, methods, choices) in table {
        let (shown_step, shown_methods, shown_choices) = case.shown();
        assert_eq!(shown_step, step, "{name}");
        assert_eq!(shown_methods, methods, "{name}");
        assert_eq!(shown_choices, choices, "{name}");
    }
}

#[test]
fn what_cannot_be_had_yet_says_from_when() {
    let tired = case().device(true).number("BE").app().but(|it| {
        it.account.prompts = 5;
        it.account.last_prompt = NOW;
        it.account.no_code_before = later(60);
        it.account.no_guess_before = later(30);
    });
    let options = tired.options();
    assert_eq!(options.next_step, NextStep::Approve);
    let waits: Vec<_> = options
        .offers
        .iter()
        .map(|offer| (offer.method, offer.available, offer.available_time))
        .collect();
    assert_eq!(
        waits,
        [
            (Method::Push, false, Some(later(10))),
            (Method::Sms, false, Some(later(60))),
            (Method::Totp, false, Some(later(30))),
        ]
    );
    let over = case()
        .app()
        .but(|it| it.account.no_guess_before = earlier(1));
    assert!(over.options().offers[0].available);
    // No time heals what is out of reach.
    let away = tired.but(|it| it.around.devices[0].1 = false);
    let offers = away.options().offers;
    let push = offers.iter().find(|offer| offer.method == Method::Push);
    assert_eq!(push.unwrap().available_time, None);
}

#[test]
fn numbers_are_masked_and_phones_named() {
    let options = case().device(true).number("BE").options();
    assert_eq!(options.offers[0].devices, ["Tom's phone"]);
    assert_eq!(options.offers[1].masked, "+XX XXXXXXX40");
}

/// What policy forbids is still registered: the password alone opens no way to
/// register something else, nor to put it off.
#[test]
fn who_has_something_forbidden_is_not_sent_to_register() {
    let forbid = |it: &mut Case| {
        let methods = &mut it.rules.methods;
        (methods.push, methods.sms, methods.totp) = (false, false, false);
        methods.recovery_code = false;
        it.rules.enrolment.enforcement = Enforcement::Encouraged;
    };
    for case in [
        case().device(true),
        case().device(false),
        case().number("BE"),
        case().app(),
    ] {
        let it = case.but(forbid);
        let shown = options(&it.account, &it.around, &it.rules, NOW);
        assert_eq!(shown.next_step, NextStep::AskServiceDesk);
        assert!(shown.choices.is_empty());
    }
    let it = case().number("FR");
    let shown = options(&it.account, &it.around, &it.rules, NOW);
    assert_eq!(shown.next_step, NextStep::AskServiceDesk);
    let it = case().but(forbid);
    let shown = options(&it.account, &it.around, &it.rules, NOW);
    assert!(matches!(shown.next_step, NextStep::EnrollOrSnooze { .. }));
}
