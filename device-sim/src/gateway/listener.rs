//! A port, with TLS on it or without: accepts connections until told to stop, cuts them while the
//! gateway is down.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::credentials::ServerIdentity;
use super::journal::Journal;
use crate::fault::Faults;

/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// TLS 1.2 and 1.3 with these application protocols (RFC 7301).
pub(crate) fn tls_config(
    identity: &ServerIdentity,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// One emulator's port, without TLS.
pub(crate) struct Port {
    tcp: TcpListener,
    faults: Faults,
    journal: Journal,
    stop: CancellationToken,
}

impl Port {
    pub(crate) async fn bind(
        addr: SocketAddr,
        faults: Faults,
        journal: Journal,
        stop: CancellationToken,
    ) -> io::Result<(Self, SocketAddr)> {
        let tcp = TcpListener::bind(addr).await?;
        let addr = tcp.local_addr()?;
        let port = Self {
            tcp,
            faults,
            journal,
            stop,
        };
        Ok((port, addr))
    }

    /// Serves connections until stopped, each counted. `serve`'s future is dropped, and the
    /// connection with it, when the gateway stops or goes down.
    pub(crate) async fn run<F, Fut>(self, serve: F)
    where
        F: Fn(TcpStream) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let journal = self.journal.clone();
        self.accept(move |tcp| {
            journal.count(|counters| counters.connections += 1);
            serve(tcp)
        })
        .await;
    }

    async fn accept<F, Fut>(self, serve: F)
    where
        F: Fn(TcpStream) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.tcp.accept() => accepted,
            };
            let Ok((tcp, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let mut down = self.faults.watch_down();
            if *down.borrow_and_update() {
                continue;
            }
            // Answers are small; waiting to fill a segment would only add delay.
            drop(tcp.set_nodelay(true));
            let connection = serve(tcp);
            let stop = self.stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = down.wait_for(|down| *down) => {}
                    () = connection => {}
                }
            });
        }
    }
}

/// One emulator's port with TLS.
pub(crate) struct Listener {
    port: Port,
    tls: Arc<ServerConfig>,
}

impl Listener {
    pub(crate) async fn bind(
        addr: SocketAddr,
        tls: Arc<ServerConfig>,
        faults: Faults,
        journal: Journal,
        stop: CancellationToken,
    ) -> io::Result<(Self, SocketAddr)> {
        let (port, addr) = Port::bind(addr, faults, journal, stop).await?;
        Ok((Self { port, tls }, addr))
    }

    /// As [`Port::run`]; `serve` gets each connection past its handshake.
    pub(crate) async fn run<F, Fut>(self, serve: F)
    where
        F: Fn(TlsStream<TcpStream>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let acceptor = TlsAcceptor::from(self.tls);
        let journal = self.port.journal.clone();
        self.port
            .accept(move |tcp| {
                let handshake = acceptor.accept(tcp);
                let (serve, journal) = (serve.clone(), journal.clone());
                async move {
                    match tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await {
                        Ok(Ok(tls)) => {
                            journal.count(|counters| counters.connections += 1);
                            serve(tls).await;
                        }
                        Ok(Err(_)) | Err(_) => {
                            journal.count(|counters| counters.failed_handshakes += 1);
                        }
                    }
                }
            })
            .await;
    }
}
