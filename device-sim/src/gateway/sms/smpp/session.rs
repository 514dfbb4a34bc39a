//! One connection to the message centre.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Service;
use super::centre::{Bound, Out, units};
use super::pdu::{Body, Fields, Pdu, RESPONSE, Status, command, tag};
use super::receipt::Report;
use super::submit::{self, Registered, Submit};
use crate::fault::Fault;
use crate::gateway::device::hex;
use crate::gateway::journal::{Arrival, Fate};
use crate::gateway::sms::alphabet::{Measure, segments};
use crate::gateway::sms::inbox::MessageStatus;
use crate::gateway::sms::number::NumberTrouble;

/// Longest a connection may stay without a bind (`session_init_timer`, section 7.2).
const SESSION_INIT: Duration = Duration::from_secs(30);
/// The centre's version of the protocol, and the first that knows optional parameters.
const VERSION: u8 = 0x34;

pub(super) async fn run(service: Arc<Service>, tcp: TcpStream) {
    let (mut incoming, mut outgoing) = tcp.into_split();
    let (out, mut queue) = mpsc::unbounded_channel();
    let mut session = Session {
        service,
        out,
        bound: None,
    };
    let writer = async {
        while let Some(Out::Pdu(pdu)) = queue.recv().await {
            if outgoing.write_all(&pdu.encode()).await.is_err() {
                return;
            }
        }
    };
    let reader = async {
        loop {
            let next = Pdu::read(&mut incoming);
            let next = if session.bound.is_some() {
                next.await
            } else {
                match tokio::time::timeout(SESSION_INIT, next).await {
                    Ok(next) => next,
                    Err(_) => return,
                }
            };
            match next {
                Ok(Some(Ok(pdu))) => session.handle(pdu),
                Ok(Some(Err(bad))) => {
                    session.nack(bad.sequence, Status::ESME_RINVCMDLEN);
                    session.close();
                    // The writer ends the connection, once it has written.
                    std::future::pending::<()>().await;
                }
                Ok(None) | Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = writer => {}
        () = reader => {}
    }
}

struct Session {
    service: Arc<Service>,
    out: mpsc::UnboundedSender<Out>,
    bound: Option<(u64, Bound)>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((id, _)) = self.bound {
            self.service.centre.lock().leave(id);
        }
    }
}

impl Session {
    fn handle(&mut self, pdu: Pdu) {
        match pdu.command {
            command::BIND_TRANSMITTER => self.bind(&pdu, Bound::Transmitter),
            command::BIND_RECEIVER => self.bind(&pdu, Bound::Receiver),
            command::BIND_TRANSCEIVER => self.bind(&pdu, Bound::Transceiver),
            command::SUBMIT_SM => self.submit(pdu),
            command::ENQUIRE_LINK => {
                let status = match self.bound {
                    Some(_) => Status::ESME_ROK,
                    None => Status::ESME_RINVBNDSTS,
                };
                self.respond(&pdu, status, Bytes::new());
            }
            command::ENQUIRE_LINK_RESP => self.service.centre.lock().enquiry_answered(),
            command::UNBIND if self.bound.is_none() => {
                self.respond(&pdu, Status::ESME_RINVBNDSTS, Bytes::new());
            }
            command::UNBIND => {
                self.respond(&pdu, Status::ESME_ROK, Bytes::new());
                self.close();
            }
            command::UNBIND_RESP => self.close(),
            command::DELIVER_SM_RESP | command::GENERIC_NACK => self.answered(&pdu),
            // An answer to nothing asks for none.
            other if other & RESPONSE != 0 => {}
            _ => self.nack(pdu.sequence, Status::ESME_RINVCMDID),
        }
    }

    fn respond(&self, request: &Pdu, status: Status, body: Bytes) {
        respond(&self.out, request, status, body);
    }

    fn nack(&self, sequence: u32, status: Status) {
        let pdu = Pdu {
            command: command::GENERIC_NACK,
            status: status.0,
            sequence,
            body: Bytes::new(),
        };
        // The reader sees the connection's end as well.
        drop(self.out.send(Out::Pdu(pdu)));
    }

    fn close(&self) {
        drop(self.out.send(Out::Close));
    }

    fn answered(&self, pdu: &Pdu) {
        let Some((id, _)) = self.bound else {
            return;
        };
        let answered = self
            .service
            .centre
            .lock()
            .answered(id, pdu.sequence, pdu.status);
        if let Some(report) = answered {
            let inbox = &self.service.desk.inbox;
            inbox.receipt(&report.id, report.status, &Status::name_of(pdu.status));
        }
    }

    fn bind(&mut self, pdu: &Pdu, bound: Bound) {
        let result = if self.bound.is_some() {
            Err(Status::ESME_RALYBND)
        } else {
            self.check_bind(&pdu.body)
        };
        let (name, receives) = match bound {
            Bound::Transmitter => ("bind_transmitter", false),
            Bound::Receiver => ("bind_receiver", true),
            Bound::Transceiver => ("bind_transceiver", true),
        };
        let status = result.as_ref().err().copied();
        self.service.desk.journal.record(Arrival {
            time_ms: self.service.desk.clock.now_ms(),
            status: http_status(status),
            reason: status.map(|status| status.1.to_owned()),
            payload: json!({ "command": name, "receives": receives }),
            ..Arrival::default()
        });
        let (id, version) = match result {
            Ok(bound) => bound,
            Err(status) => return self.respond(pdu, status, Bytes::new()),
        };
        self.bound = Some((id, bound));
        let mut body = Body::default().string("device-sim");
        if version >= VERSION {
            body = body.parameter(tag::SC_INTERFACE_VERSION, &[VERSION]);
        }
        self.respond(pdu, Status::ESME_ROK, body.finish());
        let out = self.out.clone();
        self.service.centre.lock().join(id, bound, out);
    }

    /// The session's number and the client's version.
    fn check_bind(&self, body: &[u8]) -> Result<(u64, u8), Status> {
        let mut fields = Fields::new(body);
        let system_id = fields.string(16, Status::ESME_RINVSYSID)?;
        let password = fields.string(9, Status::ESME_RINVPASWD)?;
        fields.string(13, Status::ESME_RINVSYSTYP)?;
        let version = fields.octet()?;
        let (_ton, _npi) = (fields.octet()?, fields.octet()?);
        fields.string(41, Status::ESME_RBINDFAIL)?;
        if !fields.is_empty() {
            return Err(Status::ESME_RINVCMDLEN);
        }
        if system_id != self.service.system_id {
            return Err(Status::ESME_RINVSYSID);
        }
        if password != self.service.password {
            return Err(Status::ESME_RINVPASWD);
        }
        let id = self.service.centre.lock().admit();
        Ok((id.ok_or(Status::ESME_RBINDFAIL)?, version))
    }

    fn submit(&mut self, pdu: Pdu) {
        let id = match self.bound {
            Some((id, Bound::Transmitter | Bound::Transceiver)) => id,
            Some((_, Bound::Receiver)) | None => {
                return self.respond(&pdu, Status::ESME_RINVBNDSTS, Bytes::new());
            }
        };
        let draw = self.service.desk.faults.draw();
        let submission = Submission {
            service: Arc::clone(&self.service),
            out: self.out.clone(),
            session: id,
            fault: draw.fault.clone(),
            label: draw.label(),
        };
        if draw.delay.is_zero() {
            submission.take(&pdu);
        } else {
            // Others of the same session need not wait.
            tokio::spawn(async move {
                tokio::time::sleep(draw.delay).await;
                submission.take(&pdu);
            });
        }
    }
}

/// One `submit_sm`.
struct Submission {
    service: Arc<Service>,
    out: mpsc::UnboundedSender<Out>,
    session: u64,
    fault: Option<Fault>,
    label: Option<String>,
}

impl Submission {
    fn take(self, pdu: &Pdu) {
        let desk = &self.service.desk;
        let mut arrival = Arrival {
            time_ms: desk.clock.now_ms(),
            fault: self.label.clone(),
            ..Arrival::default()
        };
        if let Some(Fault::RefuseStream | Fault::Reset { processed: false } | Fault::Disconnect) =
            self.fault
        {
            arrival.reason = Some("disconnected".to_owned());
            desk.journal.record(arrival);
            drop(self.out.send(Out::Close));
            return;
        }
        let parsed = submit::parse(&pdu.body, desk.clock.now_ms());
        let parsed = parsed.and_then(|submit| {
            let trouble = desk.inbox.trouble(&submit.to).map(troubled);
            let fault = self.fault.as_ref().and_then(faulty);
            trouble.or(fault).map_or(Ok(submit), Err)
        });
        let submit = match parsed {
            Ok(submit) => submit,
            Err(status) => {
                arrival.status = http_status(Some(status));
                arrival.reason = Some(status.1.to_owned());
                desk.journal.record(arrival);
                respond(&self.out, pdu, status, Bytes::new());
                if matches!(self.fault, Some(Fault::Goaway { .. })) {
                    desk.journal.count(|counters| counters.goaways += 1);
                    self.unbind();
                }
                return;
            }
        };
        let id = hex(&rand::random::<[u8; 8]>());
        arrival.id.clone_from(&id);
        arrival.app_id.clone_from(&submit.from);
        arrival.token.clone_from(&submit.to);
        let (fate, course) = self.accept(&id, &submit, &mut arrival);
        arrival.fate = Some(fate);
        let unanswered = match self.fault {
            Some(Fault::Stall) => Some("unanswered"),
            Some(Fault::Reset { .. }) => Some("disconnected after processing"),
            _ => None,
        };
        arrival.status = if unanswered.is_some() { 0 } else { 200 };
        arrival.reason = unanswered.map(str::to_owned);
        desk.journal.record(arrival);
        if unanswered.is_none() {
            let body = Body::default().string(&id).finish();
            respond(&self.out, pdu, Status::ESME_ROK, body);
        }
        if let Some(Fault::Reset { .. }) = self.fault {
            drop(self.out.send(Out::Close));
        }
        self.report(&id, &submit, course);
    }

    /// Enters the message, if all of it is there. Answers the states it will go through.
    fn accept(
        &self,
        id: &str,
        submit: &Submit,
        arrival: &mut Arrival,
    ) -> (Fate, Vec<(MessageStatus, Option<u32>)>) {
        let (data, parts) = match submit.part {
            Some(part) if part.total > 1 => {
                let whole = self.service.centre.lock().assemble(submit, part);
                let Some(data) = whole else {
                    let course = vec![(MessageStatus::Delivered, None)];
                    return (Fate::Stored, course);
                };
                (data, Some(usize::from(part.total)))
            }
            _ => (submit.data.clone(), None),
        };
        let text = submit::text(submit.alphabet, &data);
        arrival.payload = json!({
            "command": "submit_sm",
            "from": submit.from,
            "to": submit.to,
            "alphabet": submit.alphabet,
            "text": text,
        });
        let units = units(submit.alphabet, &data);
        let measure = Measure {
            alphabet: submit.alphabet,
            units,
            segments: parts.unwrap_or_else(|| segments(submit.alphabet, units)),
        };
        let parties = (submit.from.as_str(), submit.to.as_str(), text.as_str());
        let desk = &self.service.desk;
        let accepted = desk.accept(id.to_owned(), parties, measure, self.fault.as_ref());
        (accepted.fate, accepted.course)
    }

    /// Takes the message through its states, and sends the receipt of the last.
    fn report(&self, id: &str, submit: &Submit, course: Vec<(MessageStatus, Option<u32>)>) {
        let desk = &self.service.desk;
        for (status, error_code) in course {
            desk.inbox.set_status(id, status, error_code);
            let wanted = match status {
                MessageStatus::Queued | MessageStatus::Sent => false,
                MessageStatus::Delivered => submit.registered == Registered::All,
                MessageStatus::Undelivered | MessageStatus::Failed => {
                    submit.registered != Registered::None
                }
            };
            if wanted {
                let now_ms = desk.clock.now_ms();
                let text = submit::text(submit.alphabet, &submit.data);
                let report = Report {
                    id: id.to_owned(),
                    from: submit.from.clone(),
                    from_kind: submit.from_kind,
                    to: submit.to.clone(),
                    beginning: Report::beginning(&text),
                    status,
                    error_code,
                    submit_ms: now_ms,
                    done_ms: now_ms,
                };
                self.service.centre.lock().report(report, self.session);
            }
        }
    }

    fn unbind(&self) {
        let pdu = Pdu {
            command: command::UNBIND,
            status: Status::ESME_ROK.0,
            // Of the centre's own numbers none comes near.
            sequence: 0x7FFF_FFFF,
            body: Bytes::new(),
        };
        drop(self.out.send(Out::Pdu(pdu)));
    }
}

fn respond(out: &mpsc::UnboundedSender<Out>, request: &Pdu, status: Status, body: Bytes) {
    let pdu = Pdu {
        command: request.command | RESPONSE,
        status: status.0,
        sequence: request.sequence,
        body,
    };
    // A connection that has ended takes no answer.
    drop(out.send(Out::Pdu(pdu)));
}

/// For the record, which counts in HTTP's statuses.
fn http_status(refused: Option<Status>) -> u16 {
    if refused.is_some() { 400 } else { 200 }
}

fn troubled(trouble: NumberTrouble) -> Status {
    match trouble {
        NumberTrouble::Invalid | NumberTrouble::NotMobile => Status::ESME_RINVDSTADR,
        NumberTrouble::Unroutable | NumberTrouble::Forbidden | NumberTrouble::Unsubscribed => {
            Status::ESME_RSUBMITFAIL
        }
    }
}

/// The refusal that a fault stands for, if it stands for one.
fn faulty(fault: &Fault) -> Option<Status> {
    match fault {
        Fault::Unregistered | Fault::BadDeviceToken => Some(Status::ESME_RINVDSTADR),
        Fault::TooManyRequests { .. } => Some(Status::ESME_RTHROTTLED),
        Fault::InternalError | Fault::Goaway { .. } => Some(Status::ESME_RSYSERR),
        Fault::Unavailable { .. } => Some(Status::ESME_RMSGQFUL),
        Fault::Reply { reason, .. } => Some(scripted(reason)),
        Fault::None
        | Fault::Latency { .. }
        | Fault::Drop
        | Fault::Duplicate
        | Fault::Stall
        | Fault::Reset { .. }
        | Fault::RefuseStream
        | Fault::Disconnect => None,
    }
}

/// A status by number (`0x58`, `88`); "submit failed" for anything else.
fn scripted(reason: &str) -> Status {
    let number = match reason.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => reason.parse().ok(),
    };
    number.map_or(Status::ESME_RSUBMITFAIL, |number| {
        Status(number, "scripted")
    })
}
