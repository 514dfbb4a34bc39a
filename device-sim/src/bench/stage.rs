//! Sets up what is compared: servers in processes of their own, with the same
//! people registered.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_proto::v1::{Gateway, PushEnvironment, PushRegistration, TenantPolicy};
use tempfile::TempDir;

use super::cores::Cores;
use super::people::{self, Organisation, Person};
use super::process::Served;
use super::side::{Handset, Road, Side, Waiting};
use super::{BenchError, Settings};
use crate::fleet::{Connections, Idp, Population, Target};
use crate::gateway::{Environment, Gateways, GatewaysConfig, Registration, Vendor};

/// Connections to each server, shared by the identity provider and the phones.
pub(super) const CONNECTIONS: usize = 8;
/// Whoever is measured here.
pub(super) const SEED: u64 = 6;
/// The app that the emulated Apple knows.
const APP: &str = "be.example.countersign";

/// How a broker's process is to be run, other than by default.
#[derive(Clone, Debug, Default)]
pub(super) struct BrokerOptions {
    /// Commands per commit, at most.
    pub(super) batch_commands: Option<usize>,
    /// Signatures verified in vain per decision.
    pub(super) extra_verify: u64,
    /// Lines of `[limits]`.
    pub(super) limits: String,
    /// Further tables of the configuration.
    pub(super) config: String,
}

/// A running broker of the benchmark.
pub(super) struct Broker {
    pub(super) served: Arc<Served>,
    pub(super) target: Target,
    pub(super) connections: Connections,
    pub(super) admin_key: String,
    pub(super) data_dir: PathBuf,
    options: BrokerOptions,
    directory: TempDir,
}

impl Broker {
    /// Starts one on a new data directory.
    pub(super) async fn start(
        settings: &Settings,
        cores: &Cores,
        options: BrokerOptions,
    ) -> Result<Self, BenchError> {
        let mut directory = tempfile::Builder::new();
        directory.prefix("countersign-bench-");
        let directory = match &settings.data_dir {
            Some(parent) => directory.tempdir_in(parent)?,
            None => directory.tempdir()?,
        };
        let stopped = Stopped {
            data_dir: directory.path().join("broker"),
            directory,
            options,
            admin_key: String::new(),
        };
        stopped.start(cores).await
    }

    /// Stops it; its data stays.
    pub(super) async fn stop(self) -> Result<Stopped, BenchError> {
        let Self {
            served,
            connections,
            admin_key,
            options,
            directory,
            ..
        } = self;
        drop(connections);
        let served = Arc::into_inner(served)
            .ok_or_else(|| BenchError::Wrong("the broker is still in use".to_owned()))?;
        served.stop().await?;
        Ok(Stopped {
            data_dir: directory.path().join("broker"),
            directory,
            options,
            admin_key,
        })
    }

    /// Adds an organisation.
    pub(super) async fn organisation(
        &self,
        policy: TenantPolicy,
    ) -> Result<Organisation, BenchError> {
        people::make_organisation(&self.connections, &self.admin_key, policy).await
    }

    /// A side that asks the people of `organisation`.
    pub(super) fn side(
        &self,
        name: &'static str,
        organisation: &Organisation,
        road: Road,
        gateways: Option<Arc<Gateways>>,
    ) -> Result<Side, BenchError> {
        Ok(Side {
            name,
            served: self.served.clone(),
            target: self.target.clone(),
            idp: Idp::new(self.connections.clone(), &organisation.api_key)?,
            api_key: organisation.api_key.clone(),
            audience: organisation.api_key_id.clone(),
            connections: self.connections.clone(),
            road,
            waiting: Waiting::Poll,
            fresh: false,
            signatures: true,
            gateways,
        })
    }
}

/// A broker's data, while none runs on it.
pub(super) struct Stopped {
    directory: TempDir,
    data_dir: PathBuf,
    options: BrokerOptions,
    admin_key: String,
}

impl Stopped {
    /// Where the data is.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Starts a broker on it.
    pub(super) async fn start(self, cores: &Cores) -> Result<Broker, BenchError> {
        self.start_ahead(cores, Duration::ZERO).await
    }

    /// Starts a broker whose clock is ahead.
    pub(super) async fn start_ahead(
        self,
        cores: &Cores,
        ahead: Duration,
    ) -> Result<Broker, BenchError> {
        let Self {
            directory,
            data_dir,
            options,
            admin_key,
        } = self;
        let config = directory.path().join("more.toml");
        // Nothing else differs from a broker in production.
        let text = format!(
            "[limits]\nallow_device_import = true\n{}\n{}",
            options.limits, options.config
        );
        std::fs::write(&config, text)?;
        let mut arguments = vec![
            "broker".to_owned(),
            format!("--data-dir={}", data_dir.display()),
            format!("--config={}", config.display()),
            format!("--extra-verify={}", options.extra_verify),
            format!("--ahead={}", ahead.as_secs()),
        ];
        if let Some(most) = options.batch_commands {
            arguments.push(format!("--batch-commands={most}"));
        }
        let served = Arc::new(Served::start("broker", cores.server, arguments).await?);
        let target = Target::new(&served.hello.grpc);
        let made = served.hello.admin_key.clone();
        Ok(Broker {
            connections: Connections::open(&target, CONNECTIONS).await?,
            target,
            admin_key: if made.is_empty() { admin_key } else { made },
            served,
            data_dir,
            options,
            directory,
        })
    }
}

/// A running ideal server.
pub(super) struct IdealServer {
    pub(super) served: Arc<Served>,
    pub(super) target: Target,
    pub(super) connections: Connections,
    signatures: bool,
}

impl IdealServer {
    /// Starts one that knows `users` people.
    pub(super) async fn start(
        cores: &Cores,
        users: u64,
        signatures: bool,
    ) -> Result<Self, BenchError> {
        let mut arguments = vec![
            "ideal".to_owned(),
            format!("--seed={SEED}"),
            format!("--users={users}"),
        ];
        if !signatures {
            arguments.push("--no-signatures".to_owned());
        }
        let served = Arc::new(Served::start("ideal", cores.server, arguments).await?);
        let target = Target::new(&served.hello.grpc);
        Ok(Self {
            connections: Connections::open(&target, CONNECTIONS).await?,
            target,
            served,
            signatures,
        })
    }

    /// A side that asks its people.
    pub(super) fn side(&self, name: &'static str) -> Result<Side, BenchError> {
        // It looks at no key, but every caller sends one.
        let api_key = format!("csk_ideal_{}", "0".repeat(43));
        Ok(Side {
            name,
            served: self.served.clone(),
            target: self.target.clone(),
            idp: Idp::new(self.connections.clone(), &api_key)?,
            api_key,
            audience: super::ideal::AUDIENCE.to_owned(),
            connections: self.connections.clone(),
            road: Road::Fetch,
            waiting: Waiting::Poll,
            fresh: false,
            signatures: self.signatures,
            gateways: None,
        })
    }
}

/// The population of all measurements.
pub(super) fn population() -> Population {
    Population { seed: SEED }
}

/// Emulated gateways on the load's cores.
pub(super) async fn gateways() -> Result<Arc<Gateways>, BenchError> {
    let config = GatewaysConfig {
        keep_received: 16,
        ..GatewaysConfig::default()
    };
    let gateways = Gateways::start(config).await;
    Ok(Arc::new(gateways.map_err(BenchError::part("gateways"))?))
}

/// A new registration with the emulated Apple.
pub(super) fn push_registration(gateways: &Gateways) -> Result<PushRegistration, BenchError> {
    let token = gateways
        .issue_token(&Registration {
            gateway: Vendor::Apns,
            app_id: APP.to_owned(),
            environment: Environment::Production,
        })
        .map_err(BenchError::part("gateways"))?;
    Ok(PushRegistration {
        gateway: Gateway::Apns.into(),
        app_id: APP.to_owned(),
        environment: PushEnvironment::Production.into(),
        token,
    })
}

/// Opens what the phones of `people` hold open.
pub(super) async fn open_all(side: &Side, people: Vec<Person>) -> Result<Vec<Handset>, BenchError> {
    let mut handsets = Vec::with_capacity(people.len());
    for person in people {
        handsets.push(side.open(person).await?);
    }
    Ok(handsets)
}
