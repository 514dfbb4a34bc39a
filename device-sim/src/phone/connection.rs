//! The way to the broker.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::PhoneError;
use super::failure::in_words;

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
            cause: in_words(&error).to_owned(),
        })
}

/// Connects at the first call; must be called inside a tokio runtime.
pub(super) fn connect_lazily(broker: &str, ca_pem: Option<&str>) -> Result<Channel, PhoneError> {
    Ok(endpoint(broker, ca_pem)?.connect_lazy())
}

fn endpoint(broker: &str, ca_pem: Option<&str>) -> Result<Endpoint, PhoneError> {
    let endpoint = Endpoint::from_shared(broker.to_owned())
        .map_err(|_| PhoneError::BadBrokerAddress(format!("{broker:?} is no address")))?;
    let endpoint = match endpoint.uri().scheme_str() {
        Some("http") => endpoint,
        Some("https") => {
            let tls = match ca_pem {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_enabled_roots(),
            };
            endpoint.tls_config(tls).map_err(|_| {
                PhoneError::BadBrokerAddress("the certificates to trust cannot be read".to_owned())
            })?
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
