//! What the two HTTP gateways have in common: a port, faults, the record of requests, and the way a
//! message takes once it is accepted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::alphabet::Measure;
use super::inbox::{Inbox, MessageStatus, SmsGateway, Submission};
use crate::fault::{Fault, Faults};
use crate::gateway::clock::GatewayClock;
use crate::gateway::http::{Body, Command, READ_LIMIT, Reset, recorded, response, serve};
use crate::gateway::journal::{Arrival, Fate, Journal};
use crate::gateway::listener::Listener;

/// What every text message gateway has.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) gateway: SmsGateway,
    pub(super) clock: GatewayClock,
    pub(super) inbox: Inbox,
    pub(super) journal: Journal,
    pub(super) faults: Faults,
    pub(super) stop: CancellationToken,
}

/// An accepted message, and where it goes from here.
pub(super) struct Accepted {
    pub(super) id: String,
    pub(super) fate: Fate,
    /// Each state the message goes through, with Twilio's error code.
    pub(super) course: Vec<(MessageStatus, Option<u32>)>,
}

impl Desk {
    /// Takes a message in, as the fault has it.
    pub(super) fn accept(
        &self,
        id: String,
        (from, to, text): (&str, &str, &str),
        measure: Measure,
        fault: Option<&Fault>,
    ) -> Accepted {
        let (copies, fate) = match fault {
            Some(Fault::Drop) => {
                return Accepted {
                    id,
                    fate: Fate::Dropped,
                    course: Vec::new(),
                };
            }
            Some(Fault::Duplicate) => (2, Fate::Duplicated),
            _ => (1, Fate::Delivered),
        };
        let submission = Submission {
            id,
            gateway: self.gateway,
            from: from.to_owned(),
            to: to.to_owned(),
            text: text.to_owned(),
            measure,
            time_ms: self.clock.now_ms(),
            copies,
        };
        let course = self.inbox.accept(&submission);
        Accepted {
            id: submission.id,
            fate,
            course,
        }
    }
}

/// An HTTP gateway's answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    /// The reason for a refusal, for the record.
    pub(super) reason: Option<String>,
    /// Seconds.
    pub(super) retry_after: Option<u64>,
}

/// One of the HTTP gateways.
pub(super) trait Endpoint: Send + Sync + 'static {
    fn desk(&self) -> &Desk;

    /// Handles a request, and starts what follows from it. What the request says goes into
    /// `arrival`.
    fn handle(
        self: Arc<Self>,
        parts: Parts,
        body: Bytes,
        fault: Option<&Fault>,
        arrival: &mut Arrival,
    ) -> impl Future<Output = Answer> + Send;
}

/// Starts to listen; the function makes the endpoint for the port found.
pub(super) async fn start<E: Endpoint>(
    listen: SocketAddr,
    tls: Arc<ServerConfig>,
    desk: Desk,
    make: impl FnOnce(Desk, SocketAddr) -> E,
) -> io::Result<Arc<E>> {
    let (listener, addr) = Listener::bind(
        listen,
        tls,
        desk.faults.clone(),
        desk.journal.clone(),
        desk.stop.clone(),
    )
    .await?;
    let endpoint = Arc::new(make(desk, addr));
    let serving = Arc::clone(&endpoint);
    tokio::spawn(listener.run(move |tls| {
        let endpoint = Arc::clone(&serving);
        serve(tls, move |request, commands| {
            answer(Arc::clone(&endpoint), request, commands)
        })
    }));
    Ok(endpoint)
}

async fn answer<E: Endpoint>(
    endpoint: Arc<E>,
    request: Request<Incoming>,
    commands: mpsc::UnboundedSender<Command>,
) -> Result<Response<Body>, Reset> {
    let desk = endpoint.desk().clone();
    let draw = desk.faults.draw();
    let (parts, body) = request.into_parts();
    let mut arrival = Arrival {
        time_ms: desk.clock.now_ms(),
        headers: recorded(&parts.headers),
        fault: draw.label(),
        ..Arrival::default()
    };
    if !draw.delay.is_zero() {
        tokio::time::sleep(draw.delay).await;
    }
    let unprocessed = match &draw.fault {
        Some(Fault::RefuseStream | Fault::Reset { processed: false }) => Some(("reset", None)),
        Some(Fault::Disconnect) => Some(("disconnected", Some(Command::Cut))),
        Some(Fault::Goaway { .. }) => {
            desk.journal.count(|counters| counters.goaways += 1);
            Some(("goaway", Some(Command::Goodbye)))
        }
        _ => None,
    };
    if let Some((word, command)) = unprocessed {
        arrival.reason = Some(word.to_owned());
        desk.journal.record(arrival);
        if let Some(command) = command {
            drop(commands.send(command));
        }
        return Err(Reset);
    }
    let Ok(body) = Limited::new(body, READ_LIMIT).collect().await else {
        arrival.status = StatusCode::PAYLOAD_TOO_LARGE.as_u16();
        desk.journal.record(arrival);
        return Ok(response(StatusCode::PAYLOAD_TOO_LARGE, "{}", false));
    };
    let answer = endpoint
        .handle(parts, body.to_bytes(), draw.fault.as_ref(), &mut arrival)
        .await;
    arrival.status = answer.status;
    arrival.reason.clone_from(&answer.reason);
    if matches!(draw.fault, Some(Fault::Reset { processed: true })) {
        arrival.status = 0;
        arrival.reason = Some("reset after processing".to_owned());
        desk.journal.record(arrival);
        return Err(Reset);
    }
    // Recorded first: whoever has the answer finds the record.
    desk.journal.record(arrival);
    let stalled = matches!(draw.fault, Some(Fault::Stall));
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = match answer.body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let mut response = response(status, &text, stalled);
    if stalled {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    }
    if status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Basic realm=\"device-sim\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, realm);
    }
    if let Some(seconds) = answer.retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}
