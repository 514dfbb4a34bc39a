//! The broker as a process of its own, to be killed.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread::JoinHandle,
    time::SystemTime,
};

use tonic::transport::{Channel, Endpoint};

/// A running `countersign serve`.
pub struct BrokerProcess {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    pub grpc: String,
    pub http: String,
}

/// The broker's binary, beside the tests. `cargo test --workspace` builds it; a
/// test run of this crate alone does not: then it is built here, and again when
/// it is older than its sources.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut folder = std::env::current_exe().unwrap();
        folder.pop();
        if folder.ends_with("deps") {
            folder.pop();
        }
        let path = folder.join("countersign");
        let built = path.metadata().and_then(|file| file.modified());
        if built.is_ok_and(|built| built >= newest_source()) {
            return path;
        }
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "-p", "countersign-server"])
            .args(["--bin", "countersign", "--profile", profile])
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .current_dir(workspace())
            .status()
            .unwrap();
        assert!(status.success(), "the broker can't be built");
        path
    })
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn newest_source() -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut folders = vec![
        workspace().join("server/src"),
        workspace().join("proto/src"),
        workspace().join("proto/countersign"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                newest = newest.max(metadata.modified().unwrap());
            }
        }
    }
    newest
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .env("COUNTERSIGN_DATA_DIR", dir)
        .env("COUNTERSIGN_GRPC__LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN_HTTP__LISTEN", "127.0.0.1:0")
        // The ports change with each start, the receipts must not.
        .env("COUNTERSIGN_ISSUER", "https://broker.example")
        .env("COUNTERSIGN_LOG__FORMAT", "json")
        .stdin(Stdio::null());
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

/// Runs `countersign serve` where it must refuse to, with further settings: its
/// exit code and what it said.
pub fn refusal(dir: &Path, settings: &[(&str, &Path)]) -> (i32, String) {
    let mut command = command(dir);
    for (name, value) in settings {
        command.env(name, value);
    }
    let Output { status, stderr, .. } = command.arg("serve").output().unwrap();
    let code = status.code().expect("ended by itself");
    (code, String::from_utf8(stderr).unwrap())
}

impl BrokerProcess {
    /// Starts it on `dir` and waits until it listens.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// [`Self::start`] with further environment variables.
    pub fn start_with(dir: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = command(dir)
            .envs(environment.iter().copied())
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (grpc, http) = loop {
            let Some(line) = lines.next() else {
                let said = log.lock().unwrap().join("\n");
                panic!("the broker ended before it listened: {said}");
            };
            let line = line.unwrap();
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            log.lock().unwrap().push(line);
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
        let further = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                further.lock().unwrap().push(line);
            }
        });
        Self {
            child,
            log,
            reader: Some(reader),
            grpc,
            http,
        }
    }

    /// What it has logged; after it has ended, to the last line.
    pub fn log(&mut self) -> Vec<String> {
        if let (Ok(Some(_)), Some(reader)) = (self.child.try_wait(), self.reader.take()) {
            reader.join().unwrap();
        }
        self.log.lock().unwrap().clone()
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// A connection of its own, made at the first call.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.address())
            .unwrap()
            .connect_lazy()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no last word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; does not wait for the end.
    pub fn ask_to_end(&self) {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.ended()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
