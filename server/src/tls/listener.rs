//! Accepts connections on one port, plain or TLS.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Stream, future::poll_fn};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Tls, gathering::Gathering};

/// The pause after the operating system refused to hand over a connection
/// (out of descriptors or memory), so that the loop doesn't spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a [`Listener`] treats connections.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// With it the port speaks TLS and nothing else.
    pub tls: Option<Tls>,
    /// Open connections, handshakes included; what comes beyond is closed at once.
    pub max_connections: usize,
    /// The longest a TLS handshake, and then the first bytes of HTTP, may take,
    /// in real time.
    pub handshake_timeout: Duration,
    /// How long a connection may then be silent, where the protocol has no
    /// keep-alive of its own.
    pub idle_timeout: Option<Duration>,
}

/// A bound port. A stream of [`Connection`]s that never ends, for
/// `tonic::transport::Server::serve_with_incoming_shutdown`, and an
/// [`axum::serve::Listener`]. Dropping it closes the port; open connections
/// stay.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    options: ListenerOptions,
    permits: Arc<Semaphore>,
    full: bool,
    refused: bool,
    handshakes: JoinSet<Option<Connection>>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// Who is at the other end. In request extensions on both ports (for axum
/// inside `ConnectInfo`).
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Address and port the connection comes from (a proxy's, behind one).
    pub peer_address: SocketAddr,
    /// The client's verified certificate chain, its own first; empty when it
    /// sent none.
    pub peer_certificates: Arc<[CertificateDer<'static>]>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// An accepted connection. What is written goes out, with what other tasks add
/// to it, soon after a flush: to whoever goes on to read, flush or shut it down,
/// as HTTP does.
pub struct Connection {
    io: Gathering<Io>,
    patience: Patience,
    info: ConnectionInfo,
    // Held for as long as the connection is open.
    _permit: OwnedSemaphorePermit,
}

/// A connection that says nothing holds a place that others need.
struct Patience {
    deadline: Option<Pin<Box<Sleep>>>,
    opening_left: usize,
    idle: Option<Duration>,
}

/// Length of HTTP/2's connection preface (RFC 9113, section 3.4); no request of
/// HTTP/1 is shorter in earnest.
const OPENING: usize = 24;

impl Patience {
    fn new(options: &ListenerOptions) -> Self {
        Self {
            deadline: Some(Box::pin(sleep(options.handshake_timeout))),
            opening_left: OPENING,
            idle: options.idle_timeout,
        }
    }

    fn heard(&mut self, bytes: usize) {
        self.opening_left = self.opening_left.saturating_sub(bytes);
        if self.opening_left == 0 {
            // With HTTP/2 its own pings take over from here.
            self.deadline = self.idle.map(|idle| Box::pin(sleep(idle)));
        }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Listener {
    /// Binds the port.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub async fn bind(address: SocketAddr, options: ListenerOptions) -> io::Result<Self> {
        Ok(Self {
            tcp: TcpListener::bind(address).await?,
            permits: Arc::new(Semaphore::new(
                options.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            full: false,
            refused: false,
            handshakes: JoinSet::new(),
            pause: None,
            options,
        })
    }

    /// The address bound, with the port that was chosen for port 0.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        loop {
            while let Poll::Ready(Some(done)) = self.handshakes.poll_join_next(cx) {
                match done {
                    Ok(Some(connection)) => return Poll::Ready(connection),
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a TLS handshake was cut short"),
                }
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let (stream, peer) = match ready!(self.tcp.poll_accept(cx)) {
                Ok(accepted) => accepted,
                Err(error) if gone_before_accept(&error) => continue,
                Err(error) => {
                    // Once, not for each of the many tries that follow.
                    if !self.refused {
                        self.refused = true;
                        tracing::error!(%error, "cannot accept connections");
                    }
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                    continue;
                }
            };
            self.refused = false;
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                if !self.full {
                    self.full = true;
                    tracing::warn!(
                        max_connections = self.options.max_connections,
                        "too many connections, closing new ones"
                    );
                }
                continue;
            };
            self.full = false;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            let Some(tls) = &self.options.tls else {
                let patience = Patience::new(&self.options);
                return Poll::Ready(Connection::plain(stream, peer, permit, patience));
            };
            let acceptor = TlsAcceptor::from(tls.current());
            let options = self.options.clone();
            self.handshakes
                .spawn(handshake(acceptor, options, stream, peer, permit));
        }
    }
}

/// Runs in a task of its own, so that a slow client holds up nobody.
async fn handshake(
    acceptor: TlsAcceptor,
    options: ListenerOptions,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) -> Option<Connection> {
    let limit = options.handshake_timeout;
    match timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let patience = Patience::new(&options);
            Some(Connection::tls(stream, peer, permit, patience))
        }
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, ?limit, "TLS handshake took too long");
            None
        }
    }
}

/// Faults of a connection that ended while it waited to be accepted, not of
/// the listening socket (accept(2)).
fn gone_before_accept(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl Stream for Listener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_connection(cx)
            .map(|connection| Some(Ok(connection)))
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let connection = poll_fn(|cx| self.poll_connection(cx)).await;
        let peer = connection.info.peer_address;
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Listener>>
    for ConnectionInfo
{
    fn connect_info(stream: axum::serve::IncomingStream<'_, Listener>) -> Self {
        stream.io().info.clone()
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl Connection {
    fn plain(
        stream: TcpStream,
        peer_address: SocketAddr,
        permit: OwnedSemaphorePermit,
        patience: Patience,
    ) -> Self {
        Self {
            io: Gathering::new(Io::Plain(stream)),
            patience,
            info: ConnectionInfo {
                peer_address,
                peer_certificates: Arc::from([]),
                tls: false,
            },
            _permit: permit,
        }
    }

    fn tls(
        stream: TlsStream<TcpStream>,
        peer_address: SocketAddr,
        permit: OwnedSemaphorePermit,
        patience: Patience,
    ) -> Self {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let peer_certificates = certificates.iter().cloned().collect();
        Self {
            io: Gathering::new(Io::Tls(Box::new(stream))),
            patience,
            info: ConnectionInfo {
                peer_address,
                peer_certificates,
                tls: true,
            },
            _permit: permit,
        }
    }

    /// Who is at the other end.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                self.patience
                    .heard(buf.filled().len().saturating_sub(before));
                Poll::Ready(Ok(()))
            }
            Poll::Pending if self.patience.is_over(cx) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

/// Written to from one buffer only.
impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
