#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::time::Duration;

use clap::{Command, CommandFactory};
use qrcode::{Color, EcLevel, QrCode};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    arguments::{Command as Action, KeyAction, Role},
    failure::Kind,
    *,
};

#[test]
fn the_flags_are_well_formed() {
    Arguments::command().debug_assert();
}

fn each_command(command: &Command, path: &str, visit: &mut impl FnMut(&Command, &str)) {
    visit(command, path);
    for child in command.get_subcommands() {
        each_command(child, &format!("{path} {}", child.get_name()), visit);
    }
}

#[test]
fn help_explains_every_command_and_every_flag() {
    let mut command = Arguments::command();
    command.build();
    let mut seen = 0;
    each_command(&command, "countersign", &mut |command, path| {
        if path.contains(" help") {
            return;
        }
        assert!(command.get_about().is_some(), "{path}");
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string);
            let name = argument.get_id();
            assert!(help.is_some_and(|help| help.len() > 5), "{path} {name}");
            for value in argument.get_possible_values() {
                let is_ours = name != "shell" && argument.get_action().takes_values();
                let help = value.get_help().map(ToString::to_string);
                assert!(
                    !is_ours || help.is_some(),
                    "{path} {name} {}",
                    value.get_name()
                );
            }
            seen += 1;
        }
    });
    assert!(seen > 50, "{seen}");
}

#[test]
fn help_tells_the_exit_codes() {
    let help = Arguments::command().render_long_help().to_string();
    for code in ["0 ", "1 ", "2 ", "69 ", "77 ", "78 "] {
        assert!(help.contains(&format!("\n  {code}")), "{code}");
    }
}

#[test]
fn secrets_are_no_flags() {
    let mut command = Arguments::command();
    command.build();
    each_command(&command, "countersign", &mut |command, path| {
        for argument in command.get_arguments() {
            let name = argument.get_id().as_str();
            assert!(
                !name.ends_with("key") && !name.contains("secret"),
                "{path} {name}"
            );
        }
    });
}

#[test]
fn commands_are_understood_with_flags_before_and_after() {
    let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
    let arguments =
        parse("countersign key create --tenant t --role idp --json --address http://[::1]:1");
    let arguments = arguments.unwrap();
    assert!(arguments.json);
    let Action::Key(command) = arguments.command else {
        panic!("another command")
    };
    assert_eq!(command.admin.remote.address, "http://[::1]:1");
    assert!(matches!(
        command.action,
        KeyAction::Create { tenant: Some(tenant), role: Role::Idp, .. } if tenant == "t"
    ));
    assert!(parse("countersign key create --role admin --installation").is_ok());
    assert!(parse("countersign key create --role admin --tenant t").is_ok());
    for faulty in [
        "countersign",
        "countersign key create --role idp",
        "countersign key create --role idp --installation",
        "countersign key create --role admin",
        "countersign key create --role admin --tenant t --installation",
        "countersign key create --role root",
        "countersign tenant create",
        "countersign tenant create x --number-digits 7",
        "countersign tenant create x --challenge-ttl 60",
        "countersign serve --colour red",
    ] {
        assert_eq!(parse(faulty).unwrap_err().exit_code(), 2, "{faulty}");
    }
}

#[test]
fn a_status_becomes_one_sentence() {
    let mut details = ErrorDetails::with_error_info("FIELD_INVALID", "countersign", []);
    details.add_bad_request_violation("display_name", "must not be empty");
    let cases = [
        (
            Status::with_error_details(Code::InvalidArgument, "the request is invalid", details),
            (
                Kind::Failed,
                "the request is invalid; display_name: must not be empty [FIELD_INVALID]",
            ),
        ),
        (
            Status::with_error_details(
                Code::PermissionDenied,
                "this key may not do that",
                ErrorDetails::with_error_info("ROLE_REQUIRED", "countersign", []),
            ),
            (Kind::Permission, "this key may not do that [ROLE_REQUIRED]"),
        ),
        (
            Status::with_error_details(
                Code::InvalidArgument,
                "user_id: is required",
                ErrorDetails::with_bad_request_violation("user_id", "is required"),
            ),
            (Kind::Failed, "user_id: is required [InvalidArgument]"),
        ),
        (
            Status::unauthenticated("no"),
            (Kind::Permission, "no [Unauthenticated]"),
        ),
        (
            Status::with_error_details(
                Code::Unavailable,
                "starting",
                ErrorDetails::with_retry_info(Some(Duration::from_millis(1500))),
            ),
            (
                Kind::Unavailable,
                "starting; try again in 2 s [Unavailable]",
            ),
        ),
        (
            Status::not_found("\u{1b}[2Jgone"),
            (Kind::Failed, "\u{fffd}[2Jgone [NotFound]"),
        ),
    ];
    for (status, expected) in cases {
        assert_eq!(Failure::from_status(&status).parts(), expected);
    }
}

#[test]
fn tables_align_and_show_no_control_characters() {
    let rows = [
        ["1".to_owned(), "Café".to_owned(), "x".to_owned()],
        ["22".to_owned(), "a\u{1b}[31mb\n".to_owned(), String::new()],
    ];
    assert_eq!(
        output::table(["ID", "NAME", "LAST"], &rows),
        "ID  NAME      LAST\n1   Café      x\n22  a\u{fffd}[31mb\u{fffd}\n"
    );
}

/// Reads the half blocks back into modules, quiet zone included.
fn modules(lines: &str, dark_is_drawn: bool) -> Vec<Vec<bool>> {
    let mut rows = Vec::new();
    for line in lines.lines() {
        let blocks = line
            .trim_start_matches("\u{1b}[30;107m")
            .trim_end_matches("\u{1b}[0m");
        let halves = |upper: bool| {
            let drawn = blocks.chars().map(move |block| match block {
                ' ' => false,
                '█' => true,
                '▀' => upper,
                '▄' => !upper,
                other => panic!("{other:?}"),
            });
            drawn.map(|drawn| drawn == dark_is_drawn).collect()
        };
        rows.push(halves(true));
        rows.push(halves(false));
    }
    rows
}

#[test]
fn the_terminal_shows_the_qr_code_with_its_quiet_zone() {
    const QUIET: usize = 4;
    let text = "countersign://enroll?ticket=ABCDEFGHJKMNPQRSTVWXYZ0123456789&at=https://a.example";
    let code = QrCode::with_error_correction_level(text, EcLevel::L).unwrap();
    for colours in [true, false] {
        let shown = qr::render(text, colours).unwrap();
        let coloured =
            |line: &str| line.starts_with("\u{1b}[30;107m") && line.ends_with("\u{1b}[0m");
        assert!(shown.lines().all(|line| coloured(line) == colours));
        let seen = modules(&shown, colours);
        let width = code.width() + 2 * QUIET;
        for (y, row) in seen.iter().enumerate().take(width) {
            assert_eq!(row.len(), width);
            for (x, dark) in row.iter().enumerate() {
                let inside = |i: usize| i.checked_sub(QUIET).filter(|i| *i < code.width());
                let expected = match (inside(x), inside(y)) {
                    (Some(x), Some(y)) => code[(x, y)] == Color::Dark,
                    _ => false,
                };
                assert_eq!(*dark, expected, "{x} {y}");
            }
        }
        assert!(seen.len() >= width);
    }
}
