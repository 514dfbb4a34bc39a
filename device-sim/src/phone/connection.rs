//! The way to the broker.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::PhoneError;
use super::error::with_causes;

/// Long enough for a mobile network, short enough for a challenge of a minute.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An open `Subscribe` stream has to survive the idle limits of the networks
/// between, and to notice a dead peer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Connects to `broker`, an `http://` or `https://` address. With `ca_pem`
/// (certificates in PEM) only these are trusted, otherwise the machine's own.
///
/// # Errors
/// [`PhoneError::BadBrokerAddress`], [`PhoneError::Unreachable`].
pub async fn connect(broker: &str, ca_pem: Option<&str>) -> Result<Channel, PhoneError> {
    endpoint(broker, ca_pem)?
        .connect()
        .await
        .map_err(|error| PhoneError::Unreachable {
            broker: broker.to_owned(),
            cause: with_causes(&error),
        })
}

/// Connects at the first call; must be called inside a tokio runtime.
pub(super) fn connect_lazily(broker: &str, ca_pem: Option<&str>) -> Result<Channel, PhoneError> {
    Ok(endpoint(broker, ca_pem)?.connect_lazy())
}

fn endpoint(broker: &str, ca_pem: Option<&str>) -> Result<Endpoint, PhoneError> {
    let bad = |error: tonic::transport::Error| PhoneError::BadBrokerAddress(with_causes(&error));
    let endpoint = Endpoint::from_shared(broker.to_owned()).map_err(bad)?;
    let endpoint = match endpoint.uri().scheme_str() {
        Some("http") => endpoint,
        Some("https") => {
            let tls = match ca_pem {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_enabled_roots(),
            };
            endpoint.tls_config(tls).map_err(bad)?
        }
        _ => {
            return Err(PhoneError::BadBrokerAddress(format!(
                "{broker:?} is neither http nor https"
            )));
        }
    };
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}
