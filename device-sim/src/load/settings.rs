//! What is asked for on the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, FromArgMatches as _, Subcommand};

use super::attackers::Attacks;
use super::behaviour::{Answer, Channel, Think, span};
use super::error::LoadError;
use super::mix::{Mix, Named};
use super::rate::Rate;
use super::schedule::{Arrivals, Plan};
use crate::fleet;

/// Puts many sign-ins a second on a broker, with phones that answer them, and reports how it did.
///
/// Sign-ins start when the schedule says so, whatever became of those before, and latency counts
/// from when each was meant to start. The users are made from a seed: `device-sim load prepare`
/// registers them once.
#[derive(Args, Clone, Debug)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct LoadArgs {
    #[command(subcommand)]
    pub(super) command: Option<LoadCommand>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum LoadCommand {
    /// Registers the users that a run needs, or what is missing of them.
    Prepare(PrepareArgs),
}

/// Which broker, as whom, and who lives there.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// Address of the broker's gRPC port: http://… or https://…
    #[arg(long, value_name = "URL", required = true)]
    pub broker: Option<String>,
    /// Certificates (PEM) to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// File with an API key of role idp; once per organisation. Without it the key is taken from
    /// COUNTERSIGN_API_KEY.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Vec<PathBuf>,
    /// Users of each organisation, with one phone each; at most 10 million.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub devices: u64,
    /// Seed of who the users are.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub population: u64,
    /// Roads by which prompts come, with their weights: subscribe (the app is open), fetch (the
    /// user opens the app), apns, fcm. A user's road never changes.
    #[arg(long, value_name = "MIX", default_value = "subscribe")]
    pub channels: Mix<Channel>,
    /// Control page of `device-sim gateways`, for apns, fcm and sms.
    #[arg(long, value_name = "URL")]
    pub gateways: Option<String>,
    /// The app that phones woken by Apple have.
    #[arg(long, value_name = "TOPIC", default_value = "be.example.countersign")]
    pub apns_app: String,
    /// The project of the app that phones woken by Google have.
    #[arg(long, value_name = "ID", default_value = "countersign-example")]
    pub fcm_project: String,
}

/// How the users are to be registered.
#[derive(Args, Clone, Debug)]
pub struct PrepareArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// File with an admin API key, for a bulk import (the broker must allow it:
    /// limits.allow_device_import). Without it, and without COUNTERSIGN_ADMIN_KEY, every phone is
    /// registered by a ticket of its own.
    #[arg(long, value_name = "FILE")]
    pub(super) admin_key_file: Option<PathBuf>,
    /// Calls under way at a time.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(super) in_flight: usize,
}

/// What load is to be put on the broker.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Sign-ins a second over all organisations: 500/s, a ramp 100..2000/s, or pieces of equal
    /// length 100,500,1000/s. Also /m and /h.
    #[arg(long, value_name = "RATE", default_value = "10/s")]
    pub(super) rate: Rate,
    /// How long sign-ins keep coming.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    pub(super) duration: Duration,
    /// poisson (as those of many people) or uniform.
    #[arg(long, value_name = "HOW", default_value = "poisson")]
    pub(super) arrivals: Arrivals,
    /// Seed of who signs in when and what they do.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Shares of the organisations, in the order of their keys: 3,1. Default: all the same.
    #[arg(long, value_name = "WEIGHTS", value_delimiter = ',')]
    pub(super) tenant_weights: Vec<f64>,
    /// What users do, with weights: approve, deny, ignore, wrong-number (approves where policy asks
    /// for none), late (after the time is up), report (that it wasn't them), flaky (loses the
    /// network on the way), sms, totp.
    #[arg(long, value_name = "MIX", default_value = "approve")]
    pub(super) answers: Mix<Answer>,
    /// How long users look at a prompt: instant, human (6s), or the median of human times.
    #[arg(long, value_name = "TIME", default_value = "instant")]
    pub(super) think: Think,
    /// Life of a challenge, 15s to 10m. Default: as the organisation's policy says.
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(super) ttl: Option<Duration>,
    /// Connections of the identity providers; each carries up to 1000 calls at a time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(super) idp_connections: usize,
    /// Connections that the phones' calls share. Open apps have more of their own.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(super) phone_connections: usize,
    /// Apps that stay open, of each organisation; others on the road `subscribe` open theirs when
    /// they sign in.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(super) open_apps: u64,
    /// How the identity provider waits: poll (WaitChallenge) or watch (WatchChallenge).
    #[arg(long, value_name = "HOW", default_value = "poll")]
    pub(super) wait: Waiting,
    /// Length of one long poll, at most 5m.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    pub(super) poll: Duration,
    /// Attackers and their attempts a second: bomber (asks again and again), guesser (types random
    /// codes), replayer (sends captured messages again), e.g. bomber=20/s,guesser=50/s.
    #[arg(long, value_name = "RATES")]
    pub(super) attackers: Option<Attacks>,
    /// Sign-ins under way at a time. What is due beyond is not started, which is the generator's
    /// failure. Default: what --idp-connections can carry.
    #[arg(long, value_name = "N")]
    pub(super) max_in_flight: Option<u64>,
    /// How long sign-ins under way may take when no more come. What is left is cancelled.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span)]
    pub(super) drain: Duration,
    /// Leave what is pending at the end pending.
    #[arg(long)]
    pub(super) keep: bool,
    /// The broker's HTTP port (http://…): for the keys that receipts are verified with, and for
    /// what the broker uses of the machine.
    #[arg(long, value_name = "URL", alias = "metrics")]
    pub(super) http: Option<String>,
    /// The broker's process, when it runs on this machine: what it uses is then read from the
    /// system.
    #[arg(long, value_name = "PID")]
    pub(super) broker_pid: Option<u32>,
    /// Share of the sign-ins that are read again afterwards and their receipts verified, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    pub(super) sample: f64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the report as one HTML page.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Compare with an earlier report (JSON).
    #[arg(long, value_name = "FILE")]
    pub(super) compare: Option<PathBuf>,
    /// No progress bar.
    #[arg(long)]
    pub(super) quiet: bool,
}

/// How the identity provider waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// `WaitChallenge`.
    Poll,
    /// `WatchChallenge`.
    Watch,
}

impl Named for Waiting {
    const ALL: &'static [(&'static str, Self)] = &[("poll", Self::Poll), ("watch", Self::Watch)];
}

impl std::str::FromStr for Waiting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::named(text)
    }
}

/// Calls that one connection carries: a little below a broker's usual limit of
/// streams (1024).
pub(super) const CALLS_PER_CONNECTION: u64 = 1000;
/// Of the users, how many at most are attacked. They sign in to nothing else.
const MOST_VICTIMS: u64 = 30;

impl TargetArgs {
    pub(super) fn target(&self) -> Result<fleet::Target, LoadError> {
        let ca_pem = self.ca.as_deref().map(|path| read("--ca", path));
        Ok(fleet::Target {
            url: self.address().to_owned(),
            ca_pem: ca_pem.transpose()?,
        })
    }

    /// The broker's address.
    pub(super) fn address(&self) -> &str {
        let broker = self.broker.as_deref().unwrap_or_default();
        broker.trim_end_matches('/')
    }

    /// The keys of the organisations.
    pub(super) fn api_keys(&self) -> Result<Vec<String>, LoadError> {
        if self.api_key_file.is_empty() {
            return Ok(vec![key(None, "--api-key-file", "COUNTERSIGN_API_KEY")?]);
        }
        let files = self.api_key_file.iter();
        files
            .map(|path| key(Some(path), "--api-key-file", "COUNTERSIGN_API_KEY"))
            .collect()
    }

    pub(super) fn check(&self) -> Result<(), LoadError> {
        if !(1..=10_000_000).contains(&self.devices) {
            return Err(LoadError::usage("--devices", "must be 1 to 10000000"));
        }
        let pushed = self.channels.has(Channel::Apns) || self.channels.has(Channel::Fcm);
        if pushed && self.gateways.is_none() {
            let why = "apns and fcm need --gateways, the control page of `device-sim gateways`";
            return Err(LoadError::usage("--channels", why));
        }
        Ok(())
    }
}

impl PrepareArgs {
    /// From arguments as on the command line, without the program's name.
    ///
    /// # Errors
    /// What a user would be told.
    pub fn read<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&matches::<Self>(arguments)?)
    }

    /// The operator's key, if there is one.
    pub(super) fn admin_key(&self) -> Result<Option<String>, LoadError> {
        let file = self.admin_key_file.as_deref();
        if file.is_none() && std::env::var_os("COUNTERSIGN_ADMIN_KEY").is_none() {
            return Ok(None);
        }
        key(file, "--admin-key-file", "COUNTERSIGN_ADMIN_KEY").map(Some)
    }
}

/// Arguments without a program around them.
fn matches<'a, A: Args>(
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<clap::ArgMatches, clap::Error> {
    let command = clap::Command::new("load").no_binary_name(true);
    A::augment_args(command).try_get_matches_from(arguments)
}

impl RunArgs {
    /// From arguments as on the command line, without the program's name.
    ///
    /// # Errors
    /// What a user would be told.
    pub fn read<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&matches::<Self>(arguments)?)
    }

    pub(super) fn check(&self) -> Result<(), LoadError> {
        self.target.check()?;
        if self.duration.is_zero() {
            return Err(LoadError::usage("--duration", "must be more than 0"));
        }
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(LoadError::usage("--sample", "must be 0 to 1"));
        }
        let minute = Duration::from_secs(60);
        if self.poll < Duration::from_secs(1) || self.poll > 5 * minute {
            return Err(LoadError::usage("--poll", "must be 1s to 5m"));
        }
        if self
            .ttl
            .is_some_and(|ttl| ttl < Duration::from_secs(15) || ttl > 10 * minute)
        {
            return Err(LoadError::usage("--ttl", "must be 15s to 10m"));
        }
        if self.answers.has(Answer::Sms) && self.target.gateways.is_none() {
            let why = "sms needs --gateways, the control page of `device-sim gateways`";
            return Err(LoadError::usage("--answers", why));
        }
        if self.users() == 0 {
            let why = "must be more when some of the users are attacked";
            return Err(LoadError::usage("--devices", why));
        }
        Ok(())
    }

    /// Of each organisation: those who sign in.
    pub(super) fn users(&self) -> u64 {
        self.target.devices - self.victims()
    }

    /// Those who are attacked: the last ones.
    pub(super) fn victims(&self) -> u64 {
        match self.attackers {
            None => 0,
            Some(_) => self.target.devices.div_ceil(10).min(MOST_VICTIMS),
        }
    }

    /// The broker's HTTP port, from the address of any page on it.
    pub(super) fn http_address(&self) -> Option<String> {
        let http = self.http.as_deref()?.trim_end_matches('/');
        let http = http.strip_suffix("/metrics").unwrap_or(http);
        Some(http.to_owned())
    }

    /// All that shapes the load, by name.
    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        let target = &self.target;
        let mut all = BTreeMap::from([
            ("rate", self.rate.to_string()),
            ("duration", format!("{}s", self.duration.as_secs_f64())),
            ("arrivals", self.arrivals.name().to_owned()),
            ("devices", target.devices.to_string()),
            ("population", target.population.to_string()),
            ("channels", target.channels.to_string()),
            ("answers", self.answers.to_string()),
            ("think", self.think.to_string()),
            (
                "organisations",
                target.api_key_file.len().max(1).to_string(),
            ),
            ("idp-connections", self.idp_connections.to_string()),
            ("phone-connections", self.phone_connections.to_string()),
            ("open-apps", self.open_apps.to_string()),
            ("wait", self.wait.name().to_owned()),
            ("max-in-flight", self.most_in_flight().to_string()),
            ("sample", self.sample.to_string()),
        ]);
        if let Some(attackers) = &self.attackers {
            all.insert("attackers", attackers.to_string());
        }
        if let Some(ttl) = self.ttl {
            all.insert("ttl", format!("{}s", ttl.as_secs_f64()));
        }
        if !self.tenant_weights.is_empty() {
            all.insert("tenant-weights", format!("{:?}", self.tenant_weights));
        }
        all.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Sign-ins that may be under way at a time.
    pub(super) fn most_in_flight(&self) -> u64 {
        let connections = u64::try_from(self.idp_connections.max(1)).unwrap_or(u64::MAX);
        let carried = connections.saturating_mul(CALLS_PER_CONNECTION);
        self.max_in_flight.unwrap_or(carried)
    }

    /// The schedule for so many organisations.
    ///
    /// # Errors
    /// The weights do not fit.
    pub fn plan(&self, tenants: usize) -> Result<Plan, LoadError> {
        let weights = match self.tenant_weights.as_slice() {
            [] => vec![1.0; tenants],
            weights if weights.len() == tenants => weights.to_vec(),
            weights => {
                let why = format!("{} weights for {tenants} API keys", weights.len());
                return Err(LoadError::usage("--tenant-weights", &why));
            }
        };
        let usable = |weight: &f64| weight.is_finite() && *weight >= 0.0;
        if !weights.iter().all(usable) || weights.iter().sum::<f64>() <= 0.0 {
            let why = "must be numbers, none below 0 and not all 0";
            return Err(LoadError::usage("--tenant-weights", why));
        }
        Ok(Plan {
            seed: self.seed,
            rate: self.rate.clone(),
            duration: self.duration,
            arrivals: self.arrivals,
            tenants: weights,
            users: self.users(),
            answers: self.answers.clone(),
            think: self.think,
            channels: self.target.channels.clone(),
            population: self.target.population,
        })
    }
}

fn read(flag: &str, path: &Path) -> Result<String, LoadError> {
    std::fs::read_to_string(path)
        .map_err(|error| LoadError::usage(flag, &format!("{}: {error}", path.display())))
}

/// An API key from a file or, without one, from the environment.
fn key(file: Option<&Path>, flag: &str, variable: &str) -> Result<String, LoadError> {
    let (key, origin) = match file {
        Some(path) => (read(flag, path)?, path.display().to_string()),
        None => {
            let why = format!("name a file with an API key, or set {variable}");
            let key = std::env::var(variable).map_err(|_| LoadError::usage(flag, &why))?;
            (key, variable.to_owned())
        }
    };
    let key = key.trim();
    // csk_<id>_<secret>
    if key.splitn(3, '_').count() == 3 && key.starts_with("csk_") {
        Ok(key.to_owned())
    } else {
        let why = format!("{origin} does not hold an API key (csk_<id>_<secret>)");
        Err(LoadError::usage(flag, &why))
    }
}

/// The id inside an API key.
pub(super) fn key_id(key: &str) -> &str {
    key.split('_').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn args(further: &[&'static str]) -> Result<RunArgs, clap::Error> {
        let all = ["--broker", "http://127.0.0.1:1"].iter().chain(further);
        RunArgs::read(all.copied())
    }

    #[test]
    fn what_cannot_be_read_names_its_flag() {
        for (flag, value) in [
            ("--rate", "fast"),
            ("--duration", "long"),
            ("--arrivals", "late"),
            ("--answers", "approve=x"),
            ("--think", "soon"),
            ("--channels", "pigeon"),
            ("--attackers", "bomber"),
            ("--wait", "sleep"),
            ("--seed", "one"),
        ] {
            let told = args(&[flag, value]).unwrap_err().to_string();
            assert!(told.contains(flag), "{flag}: {told}");
        }
        assert!(
            RunArgs::read([])
                .unwrap_err()
                .to_string()
                .contains("--broker")
        );
    }

    #[test]
    fn what_does_not_fit_together_names_its_flag() {
        for (flag, further) in [
            ("--devices", vec!["--devices", "0"]),
            (
                "--devices",
                vec!["--devices", "1", "--attackers", "bomber=1/s"],
            ),
            ("--channels", vec!["--channels", "apns"]),
            ("--answers", vec!["--answers", "sms"]),
            ("--duration", vec!["--duration", "0s"]),
            ("--sample", vec!["--sample", "2"]),
            ("--poll", vec!["--poll", "10m"]),
            ("--ttl", vec!["--ttl", "5s"]),
        ] {
            let told = args(&further).unwrap().check().unwrap_err().to_string();
            assert!(told.starts_with(flag), "{flag}: {told}");
        }
        let weights = args(&["--tenant-weights", "1,2"]).unwrap().plan(3);
        let told = weights.unwrap_err().to_string();
        assert!(told.starts_with("--tenant-weights"), "{told}");
        args(&[]).unwrap().check().unwrap();
    }

    #[test]
    fn keys_are_found_by_their_ids() {
        assert_eq!(key_id("csk_12ab_se_cret"), "12ab");
    }
}
