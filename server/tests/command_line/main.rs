//! The binary as a person or a script meets it: its output, its exit codes and
//! what it asks of a broker. The broker's side is played here, so that only
//! the command line is under test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod audit;
mod enroll;
mod failures;
mod import;
mod on_this_machine;
mod operators;
mod played;
mod real;
mod rules;

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

fn countersign(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Exit code, standard output, standard error.
fn parts(output: Output) -> (i32, String, String) {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
