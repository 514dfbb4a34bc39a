//! A real broker in this process.

use std::{ffi::OsString, net::SocketAddr};

use countersign_server::{Server, clock::Clock, config::Config};
use serde_json::Value;

use super::{countersign, lines, parts};

/// A broker that runs until the test ends, and a key of its installation.
pub(super) struct Real {
    address: SocketAddr,
    admin_key: String,
    _dir: tempfile::TempDir,
}

impl Real {
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further configuration, as variables.
    pub(super) async fn start_with(further: &[(&str, &str)]) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let own = [
            ("COUNTERSIGN_DATA_DIR", data.to_str().unwrap()),
            ("COUNTERSIGN_GRPC__LISTEN", "127.0.0.1:0"),
            ("COUNTERSIGN_HTTP__LISTEN", "127.0.0.1:0"),
        ];
        let environment: Vec<_> = own
            .iter()
            .chain(further)
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        let config = || {
            Config::load(None, environment.clone())
                .map_err(|faults| faults.to_string())
                .unwrap()
                .config
        };
        let made = countersign_server::init(&config(), &Clock::system())
            .await
            .unwrap();
        let server = Server::bind(config(), Clock::system()).await.unwrap();
        let address = server.grpc_addr();
        tokio::spawn(server.serve(std::future::pending()));
        Self {
            address,
            admin_key: made.admin_key,
            _dir: dir,
        }
    }

    /// Runs a command with a key, and gives exit code, output and errors.
    pub(super) async fn run_as(&self, key: &str, arguments: &[&str]) -> (i32, String, String) {
        let mut command = countersign(arguments);
        command
            .env("COUNTERSIGN_ADDRESS", format!("http://{}", self.address))
            .env("COUNTERSIGN_ADMIN_KEY", key)
            .env("COUNTERSIGN_API_KEY", key);
        parts(command.output().await.unwrap())
    }

    /// As the operator of the installation.
    pub(super) async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_as(&self.admin_key, arguments).await
    }

    /// What a command prints when all goes well.
    pub(super) async fn text(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        stdout
    }

    /// The same for programs.
    pub(super) async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        lines(&self.text(&arguments).await)
    }
}
