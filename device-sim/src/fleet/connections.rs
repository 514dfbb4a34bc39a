//! The ways to the broker, shared by all.

use std::error::Error as _;
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::FleetError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which broker.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://` or `https://` address of the gRPC port.
    pub url: String,
    /// Certificates to trust, in PEM; `None`: the machine's own.
    pub ca_pem: Option<String>,
}

impl Target {
    /// A broker without TLS, or with a certificate that the machine trusts.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca_pem: None,
        }
    }

    fn endpoint(&self) -> Result<Endpoint, FleetError> {
        let bad = |why: &dyn std::fmt::Display| FleetError::BadAddress(why.to_string());
        let endpoint = Endpoint::from_shared(self.url.clone()).map_err(|error| bad(&error))?;
        let endpoint = match endpoint.uri().scheme_str() {
            Some("http") => endpoint,
            Some("https") => {
                let tls = match &self.ca_pem {
                    Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                    None => ClientTlsConfig::new().with_enabled_roots(),
                };
                endpoint.tls_config(tls).map_err(|error| bad(&error))?
            }
            _ => {
                return Err(bad(&format_args!(
                    "{:?} is neither http nor https",
                    self.url
                )));
            }
        };
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true))
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// [`FleetError::BadAddress`], [`FleetError::Unreachable`].
    pub async fn connect(&self) -> Result<Channel, FleetError> {
        self.endpoint()?.connect().await.map_err(|error| {
            let mut cause = error.to_string();
            let mut source = error.source();
            while let Some(deeper) = source {
                cause = deeper.to_string();
                source = deeper.source();
            }
            FleetError::Unreachable {
                address: self.url.clone(),
                cause,
            }
        })
    }
}

/// A fixed number of HTTP/2 connections, used in turn.
#[derive(Clone, Debug)]
pub struct Connections {
    channels: Vec<Channel>,
}

impl Connections {
    /// Opens `count` connections, at least one.
    ///
    /// # Errors
    /// As [`Target::connect`].
    pub async fn open(target: &Target, count: usize) -> Result<Self, FleetError> {
        let mut channels = Vec::with_capacity(count.max(1));
        for _ in 0..count.max(1) {
            channels.push(target.connect().await?);
        }
        Ok(Self { channels })
    }

    /// The connection for number `index`: the same one each time.
    #[must_use]
    pub fn pick(&self, index: u64) -> Channel {
        let count = u64::try_from(self.channels.len()).unwrap_or(1).max(1);
        let place = usize::try_from(index % count).unwrap_or_default();
        match self.channels.get(place) {
            Some(channel) => channel.clone(),
            // There is at least one.
            None => Endpoint::from_static("http://0.0.0.0").connect_lazy(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.channels.len()
    }
}
