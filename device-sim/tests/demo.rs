//! `device-sim demo`, as a newcomer runs it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Only for a demo that hangs; nothing here depends on it.
const PATIENCE: Duration = Duration::from_secs(120);

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_device-sim"));
    command.arg("demo").args(arguments).kill_on_drop(true);
    command
}

#[tokio::test]
async fn once_goes_through_and_again_in_the_same_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("demo");
    for _ in 0..2 {
        let running = demo(&["--once", "--data-dir", data_dir.to_str().unwrap()]).output();
        let output = tokio::time::timeout(PATIENCE, running)
            .await
            .unwrap()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}\n{errors}");
        assert_eq!(
            text.matches("the receipt holds: APPROVED, signed by the broker and by the phone")
                .count(),
            2,
            "{text}"
        );
        assert_eq!(
            text.matches("the receipt holds: DENIED").count(),
            2,
            "{text}"
        );
        for words in [
            "signed by the broker (method: TOTP, amr: otp)",
            "signed by the broker (method: RECOVERY_CODE, amr: otp)",
            "signed by the broker (method: SMS, amr: otp sms)",
            "APNs refuses the push (Unregistered): the broker goes on by itself",
            "the page: We texted your phone +XX XXXXXXX40. Please enter the code.",
            " is uw aanmeldcode voor Eagle IT",
        ] {
            assert_eq!(text.matches(words).count(), 1, "{words}: {text}");
        }
        for words in [
            "APNs carries the challenge itself",
            "FCM carries only a wake-up",
        ] {
            assert_eq!(text.matches(words).count(), 2, "{text}");
        }
        assert_eq!(
            text.matches("Moet de aanmelding worden goedgekeurd?")
                .count(),
            4,
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_a_failure() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = demo(&["--once", "--data-dir", file.path().to_str().unwrap()]).output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("device-sim: ")
    );
}

/// A person before the demo.
struct Session {
    child: Child,
    keyboard: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
    /// The lines from here on are not looked at yet.
    mark: usize,
}

impl Session {
    fn start(language: &str) -> Self {
        let mut child = demo(&["--language", language])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            keyboard: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            seen: Vec::new(),
            mark: 0,
        }
    }

    /// Waits until a line has come with each of the texts, in any order, since
    /// the last call; the lines.
    async fn sees<const N: usize>(&mut self, texts: [&str; N]) -> [String; N] {
        loop {
            let new = self.seen.get(self.mark..).unwrap();
            let found = texts.map(|text| new.iter().find(|line| line.contains(text)).cloned());
            if found.iter().all(Option::is_some) {
                let last = texts.map(|text| new.iter().position(|line| line.contains(text)));
                self.mark += last.into_iter().flatten().max().unwrap() + 1;
                return found.map(Option::unwrap);
            }
            let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
            let Ok(Ok(Some(line))) = line else {
                panic!("{texts:?} did not come, only {:#?}", self.seen);
            };
            self.seen.push(line);
        }
    }

    async fn types(&mut self, typed: &str) {
        let typed = format!("{typed}\n");
        self.keyboard.write_all(typed.as_bytes()).await.unwrap();
    }

    async fn leaves(mut self) {
        self.types("q").await;
        self.sees(["Goodbye"]).await;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        assert!(status.unwrap().unwrap().success());
    }
}

/// The word of a line behind `before`, without its punctuation.
fn word_behind(line: &str, before: &str) -> String {
    let (_, rest) = line.split_once(before).unwrap();
    let word = rest.split_whitespace().next().unwrap();
    word.trim_end_matches([',', '.']).to_owned()
}

#[tokio::test]
async fn a_person_signs_in_twice_and_leaves() {
    let mut person = Session::start("fr");
    person.sees(["[Enter]"]).await;
    person.types("").await;
    for (key, words, decision) in [
        ("a", "You are signed in", "APPROVED"),
        ("r", "The sign-in was denied", "DENIED"),
    ] {
        person.sees(["[s] sign in"]).await;
        person.types("s").await;
        let [page, _] = person.sees(["Number: ", "APPROUVER"]).await;
        let number = match key {
            "a" => word_behind(&page, "Number: "),
            _ => String::new(),
        };
        person.types(&format!("{number}{key}")).await;
        let receipt = format!("The receipt holds: {decision}, signed by the broker and by the");
        person.sees([words, &receipt]).await;
    }
    person.sees(["[s] sign in"]).await;
    person.leaves().await;
}

#[tokio::test]
async fn a_person_signs_in_another_way() {
    const TEXTED: &str = "The page: We texted your phone +XX XXXXXXX40. Please enter the code.";
    const TEXT: &str = " est votre code de connexion";
    let mut person = Session::start("fr");
    let [control, _] = person.sees(["control page at ", "[Enter]"]).await;
    let control = word_behind(&control, "control page at ");
    person.types("").await;
    person.sees(["[s] sign in"]).await;

    person.types("s").await;
    person.sees(["APPROUVER"]).await;
    person.types("t").await;
    let [_, text] = person.sees([TEXTED, TEXT]).await;
    let code = word_behind(&text, "│ ");
    let wrong = (code.parse::<u32>().unwrap() + 1) % 1_000_000;
    person.types(&format!("{wrong:06}")).await;
    person
        .sees(["That code is not right. Please try again. 4 tries left."])
        .await;
    person.types("t").await;
    person.sees(["You can ask for another text in "]).await;
    person.types(&code).await;
    let receipt = "The receipt holds: APPROVED, signed by the broker, for a code";
    let [_, receipt] = person.sees(["You are signed in", receipt]).await;
    assert!(receipt.contains("(method: SMS, amr: otp sms)"), "{receipt}");

    person.types("s").await;
    person.sees(["APPROUVER"]).await;
    person.types("o").await;
    let shows = "The authenticator app shows ";
    let [app] = person.sees([shows]).await;
    person.types(&word_behind(&app, shows)).await;
    person
        .sees(["You are signed in", "(method: TOTP, amr: otp)"])
        .await;

    person.types("s").await;
    person.sees(["APPROUVER"]).await;
    person.types("v").await;
    let says = "The sheet of paper says ";
    let [sheet] = person.sees([says]).await;
    person
        .types(&word_behind(&sheet, says).to_lowercase())
        .await;
    person
        .sees(["You are signed in", "(method: RECOVERY_CODE, amr: otp)"])
        .await;

    // reqwest comes without one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let down = reqwest::Client::new().put(format!("{control}faults/apns"));
    let down = down.json(&serde_json::json!({ "down": true })).send().await;
    assert!(down.unwrap().status().is_success());
    person.types("s").await;
    let [_, text] = person.sees([TEXTED, TEXT]).await;
    person.types(&word_behind(&text, "│ ")).await;
    person
        .sees(["You are signed in", "(method: SMS, amr: otp sms)"])
        .await;
    person.leaves().await;
}
