//! `device-sim demo`, as a newcomer runs it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

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
            text.matches("the receipt holds: APPROVED").count(),
            2,
            "{text}"
        );
        assert_eq!(
            text.matches("the receipt holds: DENIED").count(),
            2,
            "{text}"
        );
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

#[tokio::test]
async fn a_person_signs_in_twice_and_leaves() {
    let mut child = demo(&["--language", "fr"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    // What is typed once a line that holds the text has come; {} is the number
    // on the page.
    let script = [
        ("[Enter]", ""),
        ("[s] sign in", "s"),
        ("APPROUVER", "{}a"),
        ("You are signed in", ""),
        ("The receipt holds: APPROVED", ""),
        ("[s] sign in", "s"),
        ("APPROUVER", "r"),
        ("The sign-in was denied", ""),
        ("The receipt holds: DENIED", ""),
        ("[s] sign in", "q"),
        ("Goodbye", ""),
    ];
    let mut number = String::new();
    for (text, typed) in script {
        loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
            let Ok(Ok(Some(line))) = line else {
                panic!("{text:?} did not come, only {seen:#?}");
            };
            if let Some((_, shown)) = line.split_once("Number: ") {
                shown.clone_into(&mut number);
            }
            let found = line.contains(text);
            seen.push(line);
            if found {
                break;
            }
        }
        if !typed.is_empty() || text == "[Enter]" {
            let typed = format!("{}\n", typed.replace("{}", &number));
            keyboard.write_all(typed.as_bytes()).await.unwrap();
        }
    }
    let status = tokio::time::timeout(PATIENCE, child.wait()).await;
    assert!(status.unwrap().unwrap().success());
}
