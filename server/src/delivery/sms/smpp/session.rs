//! Connecting, binding, listening, and doing it again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use rusmpp::pdus::{BindTransceiver, DeliverSm, DeliverSmResp};
use rusmpp::values::{InterfaceVersion, Npi, Ton};
use rusmpp::{Command, Pdu};
use rusmppc::error::Error;
use rusmppc::{Client, ConnectionBuilder, Event};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::receipt::Receipt;
use super::submit::c_octets;
use super::{Link, Smpp, status};
use crate::delivery::alarm::Trouble;
use crate::delivery::sms::SmppConfig;

/// Longest wait for a connection and its TLS handshake, and for a bind.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// `enquire_link` on a session, so that a dead one is found before a text is
/// lost on it.
const ENQUIRE_EVERY: Duration = Duration::from_secs(30);
/// Longest wait for its response.
const ENQUIRE_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for texts under way, and for the unbind, at the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// First pause after a try that failed, doubled at each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A session that lasted this long is no try that failed.
const LASTING_MS: u64 = 30_000;
/// Largest command, in octets: a text or a receipt is below 1000.
const MAX_COMMAND: usize = 16 * 1024;

/// Why there is no session.
struct Trip {
    reason: String,
    /// The SMSC refuses our credentials.
    refused: bool,
}

impl Trip {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            refused: false,
        }
    }
}

/// An error in words of our own: the library's repeat whole commands.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::Connect(error) | Error::Io(error) => format!("connection lost: {}", error.kind()),
        Error::ConnectionClosed | Error::ConnectionClosedByPeer => "connection closed".to_owned(),
        Error::Encode(_) => "can't be encoded".to_owned(),
        Error::Decode(_) => "malformed command".to_owned(),
        Error::EnquireLinkTimeout { .. } => "link does not answer".to_owned(),
        Error::ResponseTimeout { .. } => "no answer in time".to_owned(),
        Error::UnexpectedResponse { response } => status::reason(response.status()),
        _ => "session failed".to_owned(),
    }
}

/// SMPP 3.4, section 4.1.5.
pub(super) fn bind_request(config: &SmppConfig, password: &str) -> Result<BindTransceiver, String> {
    // Section 5.2.2: 8 characters and a zero byte.
    let password = c_octets(password)
        .filter(|_| password.is_ascii())
        .ok_or_else(|| "must hold at most 8 ASCII characters".to_owned())?;
    let too_long = || "system_id or system_type is too long".to_owned();
    Ok(BindTransceiver::builder()
        .system_id(c_octets(&config.system_id).ok_or_else(too_long)?)
        .password(password)
        .system_type(c_octets(&config.system_type).ok_or_else(too_long)?)
        .interface_version(InterfaceVersion::Smpp3_4)
        .addr_ton(Ton::Unknown)
        .addr_npi(Npi::Unknown)
        .build())
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A bound session. Its end shows in `events`.
struct Session {
    client: Client,
    events: Box<dyn Stream<Item = Event> + Send + Unpin>,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Smpp {
    /// Until `stop`.
    pub(super) async fn keep_bound(&self, stop: CancellationToken) {
        let now = &self.bell.now;
        let mut pause = FIRST_PAUSE;
        loop {
            let opened = tokio::select! {
                opened = self.open() => opened,
                () = stop.cancelled() => break,
            };
            let trip = match opened {
                Err(trip) => trip,
                Ok(mut session) => {
                    tracing::info!(gateway = self.name, "smpp session bound");
                    self.bell.clear(Trouble::Refused);
                    let since_ms = now();
                    self.link.send_replace(Link::Bound(session.client.clone()));
                    let lost = tokio::select! {
                        lost = self.listen(&mut session) => lost,
                        () = stop.cancelled() => {
                            self.unbind(session).await;
                            break;
                        }
                    };
                    tracing::warn!(
                        gateway = self.name,
                        reason = lost.reason,
                        "smpp session lost"
                    );
                    if now().abs_diff(since_ms) >= LASTING_MS {
                        pause = FIRST_PAUSE;
                        self.link.send_replace(Link::Connecting);
                        continue;
                    }
                    lost
                }
            };
            if trip.refused {
                self.bell.raise(Trouble::Refused, &trip.reason);
            }
            tracing::debug!(
                gateway = self.name,
                reason = trip.reason,
                ?pause,
                "no smpp session"
            );
            self.link.send_replace(Link::Down {
                reason: trip.reason,
                refused: trip.refused,
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        self.link.send_replace(Link::Down {
            reason: "stopped".to_owned(),
            refused: false,
        });
    }

    async fn open(&self) -> Result<Session, Trip> {
        let password = self.password.fresh().await;
        let bind = bind_request(&self.config, password.text()).map_err(|fault| Trip {
            reason: format!("password_file: {fault}"),
            refused: true,
        })?;
        let stream = tokio::time::timeout(CONNECT_LIMIT, self.connect());
        let stream = stream
            .await
            .map_err(|_| Trip::new("can't connect: no answer in time"))?
            .map_err(|error| Trip::new(format!("can't connect: {error}")))?;
        let (client, events, connection) = ConnectionBuilder::new()
            .max_command_length(MAX_COMMAND)
            .enquire_link_interval(ENQUIRE_EVERY)
            .enquire_link_response_timeout(ENQUIRE_LIMIT)
            .no_response_timeout()
            // It knows 5.0 only by name; what is spoken here is in 3.4.
            .disable_interface_version_check()
            .no_spawn()
            .connected(stream);
        let connection = connection.with_subscriber(NoSubscriber::default());
        let session = Session {
            client,
            events: Box::new(events),
            connection: tokio::spawn(connection),
        };
        match tokio::time::timeout(CONNECT_LIMIT, session.client.bind_transceiver(bind)).await {
            Ok(Ok(_bound)) => Ok(session),
            Ok(Err(error)) => Err(Trip {
                reason: format!("bind: {}", said(&error)),
                refused: matches!(
                    &error,
                    Error::UnexpectedResponse { response }
                        if status::is_credential(response.status())
                ),
            }),
            Err(_elapsed) => Err(Trip::new("bind: no answer in time")),
        }
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Connection>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
        Ok(Box::new(connector.connect(name, stream).await?))
    }

    /// Takes receipts until the session ends.
    async fn listen(&self, session: &mut Session) -> Trip {
        while let Some(event) = session.events.next().await {
            match event {
                Event::Error(error) => return Trip::new(said(&error)),
                Event::Incoming(command) => {
                    if let Err(trip) = self.incoming(&session.client, command).await {
                        return trip;
                    }
                }
            }
        }
        Trip::new("connection closed")
    }

    async fn incoming(&self, client: &Client, command: Command) -> Result<(), Trip> {
        let sequence = command.sequence_number();
        let sent = match command.pdu() {
            Some(Pdu::DeliverSm(pdu)) => {
                self.delivered(pdu);
                let response = DeliverSmResp::default();
                client.deliver_sm_resp(sequence, response).await
            }
            Some(Pdu::Unbind) => {
                let answered = client.unbind_resp(sequence).await;
                let reason = "unbound by the SMSC";
                return Err(Trip::new(
                    answered.map_or_else(|e| said(&e), |()| reason.to_owned()),
                ));
            }
            // Late responses, and what nobody asked for.
            _ => Ok(()),
        };
        sent.map_err(|error| Trip::new(said(&error)))
    }

    fn delivered(&self, pdu: &DeliverSm) {
        let Some(receipt) = Receipt::read(pdu) else {
            tracing::debug!(gateway = self.name, "a text from a phone was dropped");
            return;
        };
        let now_ms = (self.bell.now)();
        let reference = self.book.lock().look_up(&receipt, now_ms);
        if let (Some(reference), Some(state)) = (reference, receipt.state) {
            self.receipts.tell(&self.name, reference, state);
        }
    }

    /// Lets texts under way end, then says goodbye.
    async fn unbind(&self, mut session: Session) {
        let client = session.client.clone();
        let ended = async {
            // New ones wait behind this, and find the link down.
            let _last = self.under_way.write().await;
            self.link.send_replace(Link::Down {
                reason: "stopped".to_owned(),
                refused: false,
            });
            client.unbind().await
        };
        // Responses and receipts still come in meanwhile.
        let listening = async {
            let _trip = self.listen(&mut session).await;
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = tokio::time::timeout(DRAIN_LIMIT, ended) => ended.is_ok_and(|ended| ended.is_ok()),
            () = listening => false,
        };
        if tokio::time::timeout(DRAIN_LIMIT, client.close_and_wait())
            .await
            .is_err()
            || !ended
        {
            tracing::debug!(gateway = self.name, "smpp session not unbound in order");
        } else {
            tracing::info!(gateway = self.name, "smpp session unbound");
        }
    }
}
