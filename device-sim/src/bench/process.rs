//! Servers under measurement: processes of this same program, and what the
//! kernel says of them (`proc(5)`).

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BenchError, cores};

/// Clock ticks per second in `/proc/PID/stat` (`USER_HZ`; 100 on every Linux).
const TICKS: u64 = 100;
/// How long a server may take to end before it is killed.
const END: Duration = Duration::from_secs(60);

/// What a server says on standard output once it listens: one line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Hello {
    /// `http://` address of the gRPC port.
    pub(super) grpc: String,
    /// `http://` address of the HTTP port.
    #[serde(default)]
    pub(super) http: String,
    /// The broker's first admin key.
    #[serde(default)]
    pub(super) admin_key: String,
    /// The ideal flow's key set.
    #[serde(default)]
    pub(super) jwks: String,
    /// From the start of the process to this line, in seconds.
    #[serde(default)]
    pub(super) start_seconds: f64,
}

/// A server's process. Dropping it ends it.
pub(super) struct Served {
    what: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it said of itself.
    pub(super) hello: Hello,
}

impl Served {
    /// Starts `device-sim bench-child ARGS…` on `core` and waits until it listens.
    pub(super) async fn start(
        what: &'static str,
        core: usize,
        arguments: Vec<String>,
    ) -> Result<Self, BenchError> {
        let failed = move |cause: String| BenchError::Child { what, cause };
        let start = move || -> Result<Self, BenchError> {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .arg("bench-child")
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            // What a thread starts inherits its cores.
            cores::stay_on(&[core])?;
            let mut child = command.spawn()?;
            let stdin = child.stdin.take();
            let stdout = child.stdout.take();
            let mut line = String::new();
            if let Some(stdout) = stdout {
                BufReader::new(stdout).read_line(&mut line)?;
            }
            let mut served = Self {
                what,
                child,
                stdin,
                hello: Hello::default(),
            };
            served.hello = serde_json::from_str(&line)
                .map_err(|_| failed(format!("did not start: {}", line.trim())))?;
            Ok(served)
        };
        // A thread of its own, whose cores nobody else inherits.
        let (send, receive) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || drop(send.send(start())));
        receive
            .await
            .map_err(|_| failed("its thread ended".to_owned()))?
    }

    /// As the kernel has it now.
    pub(super) fn usage(&self) -> Result<Usage, BenchError> {
        Usage::of(&self.child.id().to_string())
    }

    /// Lets it end in order.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        self.stdin.take();
        let what = self.what;
        for _ in 0..END.as_millis() / 20 {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    let cause = format!("ended with {status}");
                    Err(BenchError::Child { what, cause })
                };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let cause = "did not end".to_owned();
        Err(BenchError::Child { what, cause })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stdin.take();
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// What a process has used and holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    ticks: u64,
    tasks: HashMap<String, u64>,
    /// Bytes resident.
    pub(super) rss: u64,
    /// Bytes resident that are no file's.
    pub(super) rss_anonymous: u64,
    /// Open files.
    pub(super) files: u64,
}

impl Usage {
    /// Of this process.
    pub(super) fn own() -> Result<Self, BenchError> {
        Self::of("self")
    }

    fn of(pid: &str) -> Result<Self, BenchError> {
        let directory = format!("/proc/{pid}");
        let stat = std::fs::read_to_string(format!("{directory}/stat"))?;
        // After the command's name, which may hold anything: utime is the 12th
        // field from there, stime the 13th.
        let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
        let mut fields = fields.split_whitespace().skip(11);
        let mut field = || fields.next().and_then(|f| f.parse().ok()).unwrap_or(0_u64);
        let ticks = field() + field();
        let mut tasks = HashMap::new();
        for task in std::fs::read_dir(format!("{directory}/task"))? {
            let task = task?;
            // A thread may end while we look.
            let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let nanos = text.split_whitespace().next();
            if let Some(nanos) = nanos.and_then(|n| n.parse().ok()) {
                tasks.insert(task.file_name().to_string_lossy().into_owned(), nanos);
            }
        }
        let status = std::fs::read_to_string(format!("{directory}/status"))?;
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        let files = std::fs::read_dir(format!("{directory}/fd"))?.count();
        Ok(Self {
            ticks,
            tasks,
            rss: kilobytes("VmRSS:"),
            rss_anonymous: kilobytes("RssAnon:"),
            files: u64::try_from(files).unwrap_or(u64::MAX),
        })
    }

    /// Computing time since `before`: to the nanosecond, unless a thread ended
    /// in between, then to the hundredth of a second.
    pub(super) fn cpu_since(&self, before: &Self) -> Duration {
        let whole = before
            .tasks
            .keys()
            .all(|task| self.tasks.contains_key(task));
        if !whole || self.tasks.is_empty() {
            let ticks = self.ticks.saturating_sub(before.ticks);
            return Duration::from_millis(ticks * 1000 / TICKS);
        }
        let spent = self.tasks.iter().map(|(task, now)| {
            let then = before.tasks.get(task).copied().unwrap_or(0);
            now.saturating_sub(then)
        });
        Duration::from_nanos(spent.sum())
    }
}
