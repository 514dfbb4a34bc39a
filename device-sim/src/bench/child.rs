//! The servers' side of a measurement: a process that serves until its standard
//! input ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use countersign_proto::signing::{PublicKey, Purpose};
use countersign_proto::v1::KeyAlgorithm;
use countersign_server::clock::Clock;
use countersign_server::config::{Config, ConfigFile};
use countersign_server::store::Store as _;
use countersign_server::store::embedded::EmbeddedStore;
use countersign_server::store::engine::EngineOptions;
use countersign_server::{Server, init};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::ideal::{self, Ideal, IdealOptions};
use super::process::Hello;
use super::{BenchError, cores, metrics, people};
use crate::fleet::Population;

/// A server of the benchmark
#[derive(Args, Clone, Debug)]
pub struct ChildArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand, Clone, Debug)]
enum Kind {
    /// The ideal flow
    Ideal {
        /// Seed of the population
        #[arg(long)]
        seed: u64,
        /// How many phones are registered
        #[arg(long)]
        users: u64,
        /// Neither makes nor verifies signatures
        #[arg(long)]
        no_signatures: bool,
    },
    /// The broker
    Broker {
        /// Where its data is; made if it isn't there
        #[arg(long)]
        data_dir: PathBuf,
        /// Further configuration
        #[arg(long)]
        config: Option<PathBuf>,
        /// Commands per commit, at most
        #[arg(long)]
        batch_commands: Option<usize>,
        /// Signatures verified in vain per decision
        #[arg(long, default_value_t = 0)]
        extra_verify: u64,
        /// How far its clock is ahead, in seconds
        #[arg(long, default_value_t = 0)]
        ahead: u64,
    },
    /// The store alone, opened and closed
    Open {
        /// Where its data is
        #[arg(long)]
        data_dir: PathBuf,
    },
}

/// Serves until standard input ends.
///
/// # Errors
/// [`BenchError`].
pub async fn run(args: ChildArgs) -> Result<(), BenchError> {
    let started = Instant::now();
    cores::raise_file_limit();
    match args.kind {
        Kind::Ideal {
            seed,
            users,
            no_signatures,
        } => {
            let population = Population { seed };
            let phones = (0..users).map(|index| {
                let public = population.key(index).public_bytes();
                let key = PublicKey::from_bytes(KeyAlgorithm::Ed25519, &public)
                    .map_err(|_| BenchError::Wrong("a key of the population".to_owned()))?;
                let id = people::ideal_device_id(&population, index);
                Ok((id, population.user_id(index), key))
            });
            let phones = phones.collect::<Result<Vec<_>, BenchError>>()?;
            let options = IdealOptions {
                signatures: !no_signatures,
            };
            let ideal = Ideal::new(options, phones);
            let jwks = ideal.jwks();
            let (address, served) = ideal::serve(ideal).await?;
            say(&Hello {
                grpc: format!("http://{address}"),
                jwks,
                start_seconds: started.elapsed().as_secs_f64(),
                ..Hello::default()
            })?;
            end_of_input().await;
            served.abort();
            Ok(())
        }
        Kind::Open { data_dir } => {
            let store = EmbeddedStore::open(&data_dir, EngineOptions::default());
            let store = store.map_err(BenchError::part("store"))?;
            say(&Hello {
                start_seconds: started.elapsed().as_secs_f64(),
                ..Hello::default()
            })?;
            end_of_input().await;
            store.close().await.map_err(BenchError::part("store"))
        }
        Kind::Broker {
            data_dir,
            config,
            batch_commands,
            extra_verify,
            ahead,
        } => {
            let more = match config {
                None => String::new(),
                Some(file) => std::fs::read_to_string(file)?,
            };
            let config = broker_config(&data_dir, &more)?;
            let mut engine = EngineOptions::default();
            if let Some(most) = batch_commands {
                engine.batch_commands = most;
            }
            let clock = match ahead {
                0 => Clock::system(),
                ahead => clock_ahead(Duration::from_secs(ahead)),
            };
            let admin_key = if config.data_dir.exists() {
                String::new()
            } else {
                let report = init(&config, &clock).await;
                report
                    .map_err(BenchError::part("broker's first start"))?
                    .admin_key
            };
            let started = Instant::now();
            let server = Server::bind_with(config, clock, engine).await;
            let server = server.map_err(BenchError::part("broker's start"))?;
            let http = format!("http://{}", server.http_addr());
            let stop = CancellationToken::new();
            let hello = Hello {
                grpc: format!("http://{}", server.grpc_addr()),
                http: http.clone(),
                admin_key,
                start_seconds: started.elapsed().as_secs_f64(),
                ..Hello::default()
            };
            let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
            say(&hello)?;
            if extra_verify > 0 {
                tokio::spawn(verify_in_vain(http, extra_verify));
            }
            end_of_input().await;
            stop.cancel();
            serving
                .await
                .map_err(BenchError::part("broker"))?
                .map_err(BenchError::part("broker"))
        }
    }
}

/// A clock that goes as the system's does, but is ahead of it. It ticks by the
/// tenth of a second: for what happens in days.
fn clock_ahead(by: Duration) -> Clock {
    let now = move || {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from((since + by).as_millis()).unwrap_or(u64::MAX)
    };
    let (clock, hand) = Clock::manual(now());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            hand.set(now());
        }
    });
    clock
}

/// The defaults of production, on free ports of loopback.
fn broker_config(data_dir: &Path, more: &str) -> Result<Config, BenchError> {
    let text = format!(
        "data_dir = {:?}\n[grpc]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n{more}",
        data_dir.display().to_string(),
    );
    let file = ConfigFile {
        name: "bench",
        text: &text,
    };
    Config::load(Some(file), [])
        .map(|loaded| loaded.config)
        .map_err(BenchError::part("broker's configuration"))
}

fn say(hello: &Hello) -> Result<(), BenchError> {
    println!("{}", serde_json::to_string(hello)?);
    Ok(())
}

async fn end_of_input() {
    let mut input = tokio::io::stdin();
    let mut nothing = [0; 64];
    while input.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
}

/// Sabotage: work that a flow does not need, in proportion to the decisions.
async fn verify_in_vain(http: String, times: u64) {
    let population = Population { seed: 0 };
    let key = population.key(0);
    let body = [7; 280];
    let (Ok(signature), Ok(public)) = (
        key.sign(Purpose::Response, &body),
        PublicKey::from_bytes(KeyAlgorithm::Ed25519, &key.public_bytes()),
    ) else {
        return;
    };
    let mut seen = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Ok(counts) = metrics::read(&http).await else {
            continue;
        };
        for _ in 0..counts.decided.saturating_sub(seen).saturating_mul(times) {
            if public.verify(Purpose::Response, &body, &signature).is_err() {
                return;
            }
        }
        seen = counts.decided;
    }
}
