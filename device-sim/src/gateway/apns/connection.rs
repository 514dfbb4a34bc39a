//! One provider's connection: HTTP/2 with the stream limits, resets and farewells of APNs.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason as ResetCode, RecvStream};
use http::{HeaderValue, Response};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use super::frames::{Frames, Goodbye, GoodbyeSlot, STREAMS_AFTER};
use super::{Accepted, Refusal, Service, arrival, checks, recorded_body};
use crate::fault::Fault;
use crate::gateway::device::Environment;

/// Most of a body that is read before the request is judged too large anyway.
const READ_LIMIT: usize = 64 * 1024;
/// Pause before SETTINGS are tried again that had to wait for the client's acknowledgement.
const SETTINGS_PAUSE: Duration = Duration::from_millis(5);
/// HTTP/2's default flow-control window (RFC 9113, section 6.9.2).
const DEFAULT_WINDOW: u32 = 65_535;
/// Flow-control window of a connection: `STREAMS_AFTER` bodies of the largest size.
const CONNECTION_WINDOW: u32 = STREAMS_AFTER * 5120;

enum Command {
    /// The first request was authenticated: allow more streams.
    Raise,
    Goodbye(Goodbye),
    Cut,
}

/// What the streams of a connection share.
#[derive(Default)]
struct Shared {
    team: Option<String>,
    authenticated: bool,
    running: usize,
    /// The highest stream that was processed.
    processed: u32,
    /// After GOAWAY: the last stream that may be processed.
    last: Option<u32>,
}

struct Connection {
    service: Arc<Service>,
    shared: Mutex<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

pub(super) async fn serve(service: Arc<Service>, tls: TlsStream<TcpStream>) {
    // A client that offers no protocol at all gets past the handshake; APNs speaks h2 only.
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        service
            .journal
            .count(|counters| counters.failed_handshakes += 1);
        return;
    }
    let goodbye = GoodbyeSlot::default();
    let frames = Frames::new(tls, Arc::clone(&goodbye));
    let handshake = Builder::new()
        .max_concurrent_streams(STREAMS_AFTER)
        // With the default, a burst of pushes is cut into frames so small that `h2` takes them for
        // an attack and ends the connection.
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake::<_, Bytes>(frames)
        .await;
    let Ok(mut http) = handshake else {
        return;
    };
    let (commands, mut inbox) = mpsc::unbounded_channel();
    let connection = Arc::new(Connection {
        service,
        shared: Mutex::default(),
        commands,
    });
    let mut raise = false;
    loop {
        if raise && http.set_initial_window_size(DEFAULT_WINDOW).is_ok() {
            raise = false;
        }
        tokio::select! {
            Some(command) = inbox.recv() => match command {
                Command::Raise => raise = true,
                Command::Goodbye(words) => {
                    *goodbye.lock() = Some(words);
                    http.graceful_shutdown();
                }
                Command::Cut => return,
            },
            accepted = http.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    connection.accept(request, respond);
                }
                Some(Err(_)) | None => return,
            },
            () = tokio::time::sleep(SETTINGS_PAUSE), if raise => {}
        }
    }
}

impl Connection {
    fn accept(
        self: &Arc<Self>,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let refused = {
            let mut shared = self.shared.lock();
            let early = !shared.authenticated && shared.running > 0;
            let late = shared
                .last
                .is_some_and(|last| u32::from(respond.stream_id()) > last);
            if !early && !late {
                shared.running += 1;
            }
            early || late
        };
        if refused {
            self.service
                .journal
                .count(|counters| counters.refused_streams += 1);
            respond.send_reset(ResetCode::REFUSED_STREAM);
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.answer(request, respond).await;
            this.shared.lock().running -= 1;
        });
    }

    async fn answer(&self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let service = &self.service;
        let draw = service.faults.draw();
        let (parts, mut body) = request.into_parts();
        let mut arrival = arrival(&parts, service.clock.now_ms());
        arrival.fault = draw.label();
        if !draw.delay.is_zero() {
            tokio::time::sleep(draw.delay).await;
        }
        if let Some(fault) = &draw.fault
            && let Some((word, parked)) = self.unprocessed(fault, &mut respond)
        {
            arrival.reason = Some(word.to_owned());
            service.journal.record(arrival);
            if parked {
                // GOAWAY speaks for this stream; a reset would overtake it.
                drop(poll_fn(|cx| respond.poll_reset(cx)).await);
            }
            return;
        }
        let Ok(body) = read(&mut body).await else {
            arrival.reason = Some("cancelled by client".to_owned());
            service.journal.record(arrival);
            return;
        };
        arrival.payload = recorded_body(&body);
        if !self.begin(u32::from(respond.stream_id())) {
            service
                .journal
                .count(|counters| counters.refused_streams += 1);
            respond.send_reset(ResetCode::REFUSED_STREAM);
            return;
        }
        let (apns_id, judged) = self.judge(&parts, &body);
        arrival.id.clone_from(&apns_id);
        let judged = match (judged, &draw.fault) {
            (Ok(accepted), Some(fault)) => match service.faulty(fault) {
                Some(refusal) => Err(refusal),
                None => Ok(accepted),
            },
            (judged, _) => judged,
        };
        let refusal = match judged {
            Ok(accepted) => {
                arrival.token.clone_from(&accepted.token);
                arrival.fate = Some(service.deliver(accepted, draw.fault.as_ref()));
                None
            }
            Err(refusal) => Some(refusal),
        };
        arrival.status = refusal.as_ref().map_or(200, |refusal| refusal.status);
        arrival.reason = refusal.as_ref().map(|refusal| refusal.reason.clone());
        match draw.fault {
            Some(Fault::Reset { processed: true }) => {
                arrival.status = 0;
                arrival.reason = Some("reset after processing".to_owned());
                respond.send_reset(ResetCode::INTERNAL_ERROR);
                service.journal.record(arrival);
            }
            Some(Fault::Stall) => {
                service.journal.record(arrival);
                stall(self.response(&apns_id, refusal.as_ref()), respond).await;
            }
            _ => {
                // Recorded first: whoever has the answer finds the record.
                service.journal.record(arrival);
                self.send(&apns_id, refusal, respond);
            }
        }
    }

    /// Commits a fault that leaves the request unprocessed. `None` if the fault is of another kind;
    /// otherwise its name, and whether the stream must be kept as it is until the connection ends.
    fn unprocessed(
        &self,
        fault: &Fault,
        respond: &mut SendResponse<Bytes>,
    ) -> Option<(&'static str, bool)> {
        match fault {
            Fault::RefuseStream => {
                respond.send_reset(ResetCode::REFUSED_STREAM);
                Some(("refused stream", false))
            }
            Fault::Reset { processed: false } => {
                respond.send_reset(ResetCode::INTERNAL_ERROR);
                Some(("reset", false))
            }
            Fault::Disconnect => {
                self.command(Command::Cut);
                Some(("disconnected", true))
            }
            Fault::Goaway { code } => Some(("goaway", self.goaway(*code, respond))),
            _ => None,
        }
    }

    /// Says goodbye to the client. Whether that tells it that this stream was not processed.
    fn goaway(&self, code: u32, respond: &mut SendResponse<Bytes>) -> bool {
        let id = u32::from(respond.stream_id());
        let last_stream = {
            let mut shared = self.shared.lock();
            // Clients' streams have odd numbers; a later one may have been processed already.
            let last = shared.processed.max(id.saturating_sub(2));
            *shared.last.get_or_insert(last)
        };
        self.command(Command::Goodbye(Goodbye { last_stream, code }));
        self.service.journal.count(|counters| counters.goaways += 1);
        if id <= last_stream {
            respond.send_reset(ResetCode::REFUSED_STREAM);
        }
        id > last_stream
    }

    /// Whether a stream may still be processed.
    fn begin(&self, id: u32) -> bool {
        let mut shared = self.shared.lock();
        let allowed = shared.last.is_none_or(|last| id <= last);
        if allowed {
            shared.processed = shared.processed.max(id);
        }
        allowed
    }

    /// The checks, in their order. Answers with the `apns-id` to echo.
    fn judge(
        &self,
        parts: &http::request::Parts,
        body: &[u8],
    ) -> (String, Result<Accepted, Refusal>) {
        let service = &self.service;
        let given = checks::apns_id(&parts.headers);
        let apns_id = given.clone().unwrap_or_else(|_| checks::new_apns_id());
        let judged = (|| {
            let token = checks::device_token(&parts.method, parts.uri.path());
            if let Err(refused) = token
                && refused != super::BAD_DEVICE_TOKEN
            {
                return Err(refused.into());
            }
            checks::single_headers(&parts.headers)?;
            let team = {
                let mut shared = self.shared.lock();
                let team = service.authenticate(&parts.headers, &mut shared.team)?;
                if !std::mem::replace(&mut shared.authenticated, true) {
                    self.command(Command::Raise);
                }
                team
            };
            given?;
            service.examine(&team, token?, &apns_id, &parts.headers, body)
        })();
        (apns_id, judged)
    }

    fn send(&self, apns_id: &str, refusal: Option<Refusal>, mut respond: SendResponse<Bytes>) {
        let response = self.response(apns_id, refusal.as_ref());
        let Ok(mut stream) = respond.send_response(response, refusal.is_none()) else {
            // The client has gone.
            return;
        };
        if let Some(refusal) = refusal {
            let mut body = json!({ "reason": refusal.reason });
            if let (Some(timestamp), Some(body)) = (refusal.timestamp, body.as_object_mut()) {
                body.insert("timestamp".to_owned(), timestamp.into());
            }
            drop(stream.send_data(Bytes::from(body.to_string()), true));
        }
    }

    fn response(&self, apns_id: &str, refusal: Option<&Refusal>) -> Response<()> {
        let status = refusal.map_or(200, |refusal| refusal.status);
        let mut response = Response::new(());
        *response.status_mut() =
            http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(apns_id) {
            headers.insert("apns-id", value);
        }
        if refusal.is_some() {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
        } else if self.service.environment == Environment::Sandbox {
            // "apns-unique-id: available only in the development environment".
            let id = uuid::Uuid::new_v4().hyphenated().to_string();
            if let Ok(value) = HeaderValue::from_str(&id) {
                headers.insert("apns-unique-id", value);
            }
        }
        if let Some(seconds) = refusal.and_then(|refusal| refusal.retry_after) {
            headers.insert("retry-after", HeaderValue::from(seconds));
        }
        response
    }

    fn command(&self, command: Command) {
        // The connection may be gone; then there is nothing to command.
        drop(self.commands.send(command));
    }
}

/// Sends the beginning of an answer and waits for the client to lose patience.
async fn stall(response: Response<()>, mut respond: SendResponse<Bytes>) {
    if let Ok(mut stream) = respond.send_response(response, false) {
        drop(poll_fn(|cx| stream.poll_reset(cx)).await);
    }
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() > READ_LIMIT {
            break;
        }
    }
    Ok(bytes)
}
