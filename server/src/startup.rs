//! Starting and stopping the broker.

use std::{io, net::SocketAddr};

use thiserror::Error;

use crate::{clock::Clock, config::Config};

/// What [`init`] made.
#[derive(Debug)]
pub struct InitReport {
    /// The first API key, of the whole installation: `csk_<id>_<secret>`.
    pub admin_key: String,
}

/// Why [`init`] made nothing.
#[derive(Debug, Error)]
#[error("not built yet")]
pub struct InitError;

/// Makes an empty store, the keys and the first API key.
///
/// # Errors
/// When there is one already or it can't be written.
pub fn init(_config: &Config, _clock: &Clock) -> Result<InitReport, InitError> {
    Err(InitError)
}

/// Why the broker did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A port could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Why the broker stopped other than by being told to.
#[derive(Debug, Error)]
#[error("stopped")]
pub struct ServeError;

/// The broker, its ports bound.
#[derive(Debug)]
pub struct Server {
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Server {
    /// Opens the store and binds the ports.
    ///
    /// # Errors
    /// When either fails.
    pub async fn bind(config: Config, _clock: Clock) -> Result<Self, StartError> {
        Ok(Self {
            grpc: config.grpc.listen,
            http: config.http.listen,
        })
    }

    /// Where the gRPC port is bound.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc
    }

    /// Where the HTTP port is bound.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Serves until `shutdown`, then lets running calls end.
    ///
    /// # Errors
    /// When it can't go on.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        shutdown.await;
        Ok(())
    }
}
