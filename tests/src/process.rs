//! The broker as a process of its own, to be killed.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running `countersign serve`.
pub struct BrokerProcess {
    child: Child,
    pub grpc: String,
    pub http: String,
}

/// The broker's binary, built beside the tests. `cargo test --workspace` builds
/// it; a test run of this crate alone does not, and is told so.
pub fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let path = path.join("countersign");
    assert!(
        path.exists(),
        "{} is missing: run `cargo test --workspace`",
        path.display()
    );
    path
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .env("COUNTERSIGN_DATA_DIR", dir)
        .env("COUNTERSIGN_GRPC__LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN_HTTP__LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN_LOG__FORMAT", "json");
    command
}

/// Runs `countersign init`: the admin key.
pub fn init(dir: &Path) -> String {
    let output = command(dir).args(["init", "--json"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["admin_key"].as_str().unwrap().to_owned()
}

impl BrokerProcess {
    /// Starts it on `dir` and waits until it listens.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, |_| {})
    }

    /// The same, with further arguments or environment.
    pub fn start_with(dir: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(dir);
        command.arg("serve");
        change(&mut command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (grpc, http) = loop {
            let line = lines
                .next()
                .expect("the broker ended before it listened")
                .unwrap();
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let fields = if event["fields"].is_object() {
                &event["fields"]
            } else {
                &event
            };
            if let (Some(grpc), Some(http)) = (fields["grpc"].as_str(), fields["http"].as_str()) {
                break (grpc.to_owned(), http.to_owned());
            }
        };
        // Keep reading, or a full pipe would stop it.
        std::thread::spawn(move || for _ in lines {});
        Self { child, grpc, http }
    }

    /// SIGKILL: no last word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
