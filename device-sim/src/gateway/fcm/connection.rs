//! One connection to the FCM emulator, HTTP/1.1 or HTTP/2, and the faults of its answers.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use super::error::Refusal;
use super::{Service, faulty, recorded_body};
use crate::fault::{Fault, Faults};
use crate::gateway::http::{self as connection, Body, Command, READ_LIMIT, Reset, form, response};
use crate::gateway::journal::Arrival;

pub(super) async fn serve(service: Arc<Service>, tls: TlsStream<TcpStream>) {
    connection::serve(tls, move |request, commands| {
        let service = Arc::clone(&service);
        async move { service.answer(request, &commands).await }
    })
    .await;
}

impl Service {
    async fn answer(
        &self,
        request: Request<Incoming>,
        commands: &mpsc::UnboundedSender<Command>,
    ) -> Result<Response<Body>, Reset> {
        let token_endpoint = request.uri().path() == "/token";
        let faults: &Faults = self.faults(token_endpoint);
        let journal = self.journal(token_endpoint);
        let draw = faults.draw();
        let (parts, body) = request.into_parts();
        let mut arrival = Arrival {
            time_ms: self.clock.now_ms(),
            headers: connection::recorded(&parts.headers),
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
                journal.count(|counters| counters.goaways += 1);
                Some(("goaway", Some(Command::Goodbye)))
            }
            _ => None,
        };
        if let Some((word, command)) = unprocessed {
            arrival.reason = Some(word.to_owned());
            journal.record(arrival);
            if let Some(command) = command {
                drop(commands.send(command));
            }
            return Err(Reset);
        }
        let Ok(body) = Limited::new(body, READ_LIMIT).collect().await else {
            arrival.status = StatusCode::PAYLOAD_TOO_LARGE.as_u16();
            journal.record(arrival);
            return Ok(response(
                StatusCode::PAYLOAD_TOO_LARGE,
                &json!({}).to_string(),
                false,
            ));
        };
        let body = body.to_bytes();
        arrival.payload = recorded_body(&body, token_endpoint);
        let scripted = draw
            .fault
            .as_ref()
            .and_then(|fault| faulty(fault, token_endpoint));
        let answer = if token_endpoint {
            // A scripted refusal comes before the checks here: nothing may be minted under it.
            match scripted {
                Some(refusal) => Err(refusal),
                None => self.mint(&parts, form(&parts, body).await, &mut arrival),
            }
        } else {
            match (self.examine(&parts, &body, &mut arrival), scripted) {
                (Ok(_), Some(refusal)) | (Err(refusal), _) => Err(refusal),
                (Ok(accepted), None) => {
                    let name = accepted.push.name.clone();
                    arrival.id.clone_from(&name);
                    arrival.fate = Some(self.deliver(accepted, draw.fault.as_ref()));
                    Ok(json!({ "name": name }))
                }
            }
        };
        arrival.status = answer.as_ref().map_or_else(|refusal| refusal.code, |_| 200);
        arrival.reason = answer.as_ref().err().map(|refusal| refusal.reason.clone());
        if matches!(draw.fault, Some(Fault::Reset { processed: true })) {
            arrival.status = 0;
            arrival.reason = Some("reset after processing".to_owned());
            journal.record(arrival);
            return Err(Reset);
        }
        // Recorded first: whoever has the answer finds the record.
        journal.record(arrival);
        let stalled = matches!(draw.fault, Some(Fault::Stall));
        Ok(match answer {
            Ok(body) => response(StatusCode::OK, &body.to_string(), stalled),
            Err(refusal) => refused(&refusal, stalled),
        })
    }
}

fn refused(refusal: &Refusal, stalled: bool) -> Response<Body> {
    let mut response = response(refusal.status(), &refusal.body.to_string(), stalled);
    if let Some(seconds) = refusal.retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
