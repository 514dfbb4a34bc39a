//! "Are you sure?", before what can't be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use super::{
    failure::{Failure, Kind},
    output::printable,
};

/// Asks at the terminal, unless `--yes` was given.
pub(super) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "this cannot be undone: confirm it with --yes where there is no terminal to ask at",
        ));
    }
    ask(question, io::stdin().lock(), io::stderr().lock())
}

fn ask(question: &str, mut answers: impl BufRead, mut terminal: impl Write) -> Result<(), Failure> {
    write!(terminal, "{} [y/N] ", printable(question))?;
    terminal.flush()?;
    let mut answer = String::new();
    answers
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Kind::Failed, "nothing was done")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, meant) in [
            ("y\n", true),
            ("yes\n", true),
            ("Y \n", true),
            ("n\n", false),
            ("\n", false),
            ("", false),
            ("yep\n", false),
        ] {
            let mut shown = Vec::new();
            let outcome = ask("Take it away?\u{7}", answer.as_bytes(), &mut shown);
            assert_eq!(outcome.is_ok(), meant, "{answer:?}");
            assert_eq!(
                String::from_utf8(shown).unwrap(),
                "Take it away?\u{fffd} [y/N] "
            );
        }
    }
}
