//! The broker on its embedded store and all the gateways, in this process:
//! the only place, beside `bench`, that names the server library.

use std::path::{Path, PathBuf};

use countersign_server::clock::Clock;
use countersign_server::config::{Config, ConfigFile};
use countersign_server::{ServeError, Server, StartError, init};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use crate::gateway::{Gateways, GatewaysConfig};

/// Ports tried for HTTP: what was free a moment ago may be taken.
const BIND_ATTEMPTS: u32 = 5;

/// A running broker with its gateways.
pub struct Installation {
    /// `http://` address of the gRPC port.
    pub grpc: String,
    /// `http://` address of the HTTP port.
    pub http: String,
    /// The first admin key.
    pub admin_key: String,
    /// Where everything is kept.
    pub directory: PathBuf,
    gateways: Gateways,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
    _temporary: Option<TempDir>,
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Installation({}, {})", self.grpc, self.http)
    }
}

impl Installation {
    /// Starts in `directory`, or in a temporary one.
    ///
    /// # Errors
    /// [`DemoError::Part`], [`DemoError::Io`].
    pub async fn start(directory: Option<&Path>) -> Result<Self, DemoError> {
        let (directory, temporary) = match directory {
            Some(directory) => {
                std::fs::create_dir_all(directory)?;
                (directory.canonicalize()?, None)
            }
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("countersign-demo-")
                    .tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let gateways = Gateways::start(GatewaysConfig {
            credentials: Some(directory.join("gateways")),
            ..GatewaysConfig::default()
        })
        .await
        .map_err(|error| DemoError::part("gateways")(&error))?;

        let clock = Clock::system();
        let mut attempts = BIND_ATTEMPTS;
        let (admin_key, server) = loop {
            let config = config(&directory, &gateways, free_port()?)?;
            let admin_key = admin_key(&directory, &config, &clock).await?;
            match Server::bind(config, clock.clone()).await {
                Ok(server) => break (admin_key, server),
                // Somebody else took the port meanwhile.
                Err(StartError::Bind { .. }) if attempts > 1 => attempts -= 1,
                Err(error) => return Err(DemoError::part("broker")(&error)),
            }
        };
        let (grpc, http) = (server.grpc_addr(), server.http_addr());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
        Ok(Self {
            grpc: format!("http://{grpc}"),
            http: format!("http://{http}"),
            admin_key,
            directory,
            gateways,
            stop,
            serving,
            _temporary: temporary,
        })
    }

    /// The push and SMS gateways.
    #[must_use]
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// Lets running calls end and closes the store.
    ///
    /// # Errors
    /// [`DemoError::Part`] when the broker did not stop well.
    pub async fn stop(self) -> Result<(), DemoError> {
        self.stop.cancel();
        let served = self.serving.await;
        self.gateways.stop();
        served
            .map_err(|error| DemoError::part("broker")(&error))?
            .map_err(|error| DemoError::part("broker")(&error))
    }
}

/// SMS gateways are told where to report before the broker listens there.
fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

fn config(directory: &Path, gateways: &Gateways, http_port: u16) -> Result<Config, DemoError> {
    let http = format!("127.0.0.1:{http_port}");
    let text = format!(
        "data_dir = {:?}\n[grpc]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"{http}\"\n{}{}",
        directory.join("broker").display().to_string(),
        gateways.broker_toml(),
        gateways.sms_toml(&format!("http://{http}")),
    );
    let file = ConfigFile {
        name: "demo",
        text: &text,
    };
    Config::load(Some(file), [])
        .map(|loaded| loaded.config)
        .map_err(|faults| DemoError::Part {
            part: "broker's configuration",
            cause: faults.to_string(),
        })
}

/// Made with the store, and kept beside it: it can't be asked for again.
async fn admin_key(directory: &Path, config: &Config, clock: &Clock) -> Result<String, DemoError> {
    let file = directory.join("admin.key");
    if file.exists() {
        return Ok(std::fs::read_to_string(file)?.trim().to_owned());
    }
    let report = init(config, clock)
        .await
        .map_err(|error| DemoError::part("broker's first start")(&error))?;
    let mut kept = tempfile::NamedTempFile::new_in(directory)?;
    std::io::Write::write_all(&mut kept, report.admin_key.as_bytes())?;
    kept.persist(file).map_err(|error| error.error)?;
    Ok(report.admin_key)
}
