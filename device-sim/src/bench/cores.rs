//! Who computes where: servers on one core, the load on the others.

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::BenchError;

/// The cores of a run.
#[derive(Clone, Debug)]
pub(super) struct Cores {
    /// The server's only one.
    pub(super) server: usize,
    /// The load's.
    pub(super) client: Vec<usize>,
    /// How many this process may use.
    pub(super) all: usize,
}

impl Cores {
    /// The server on the last allowed core, the load on all others, unless told
    /// otherwise.
    pub(super) fn choose(server: Option<usize>, client: Option<usize>) -> Result<Self, BenchError> {
        let set = sched_getaffinity(None).map_err(std::io::Error::from)?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect();
        let all = allowed.len();
        let server = match server.or(allowed.last().copied()) {
            Some(core) if allowed.contains(&core) => core,
            other => return Err(BenchError::Unfit(format!("there is no core {other:?}"))),
        };
        let client = match client {
            Some(core) if allowed.contains(&core) => vec![core],
            Some(core) => return Err(BenchError::Unfit(format!("there is no core {core}"))),
            None => {
                let mut others = allowed;
                others.retain(|core| *core != server);
                if others.is_empty() {
                    others.push(server);
                }
                others
            }
        };
        Ok(Self {
            server,
            client,
            all,
        })
    }

    /// Whether load and server are kept apart.
    pub(super) fn apart(&self) -> bool {
        !self.client.contains(&self.server)
    }
}

/// Keeps the calling thread, and the threads and processes it starts from now
/// on, on these cores.
pub(super) fn stay_on(cores: &[usize]) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).map_err(std::io::Error::from)?;
    Ok(())
}

/// Lets this process open as many files as it may: how many that is.
pub(super) fn raise_file_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => most,
        Err(_) => getrlimit(Resource::Nofile).current.unwrap_or(most),
    }
}
