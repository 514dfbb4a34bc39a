//! What the sessions share: who is bound, receipts on their way, parts of long messages.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc;

use super::pdu::{Body, Pdu, Status, command};
use super::receipt::Report;
use super::submit::{Part, Submit};
use crate::gateway::sms::alphabet::Alphabet;

/// Sessions that an account may have bound at once.
const SESSIONS: usize = 16;
/// Receipts kept while no session takes them.
const WAITING: usize = 10_000;
/// Unfinished long messages kept.
const UNFINISHED: usize = 1000;

/// For a session's writer.
pub(super) enum Out {
    Pdu(Pdu),
    /// The connection is closed.
    Close,
}

/// What a session may do (section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Transmitter,
    Receiver,
    Transceiver,
}

struct Session {
    bound: Bound,
    out: mpsc::UnboundedSender<Out>,
    sequence: u32,
    /// Receipts sent and not answered, by sequence number.
    unanswered: BTreeMap<u32, Report>,
}

impl Session {
    fn send(&mut self, command: u32, body: bytes::Bytes) -> u32 {
        self.sequence += 1;
        let pdu = Pdu {
            command,
            status: Status::ESME_ROK.0,
            sequence: self.sequence,
            body,
        };
        // A session that has just ended gives its receipts back.
        drop(self.out.send(Out::Pdu(pdu)));
        self.sequence
    }
}

/// Sender, recipient, reference number and count of parts.
type LongMessage = (String, String, u16, u8);

#[derive(Default)]
pub(super) struct Centre {
    last_session: u64,
    sessions: BTreeMap<u64, Session>,
    waiting: VecDeque<Report>,
    unfinished: VecDeque<(LongMessage, BTreeMap<u8, Vec<u8>>)>,
    enquiries_answered: u64,
}

impl Centre {
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn enquire(&mut self) -> usize {
        for session in self.sessions.values_mut() {
            session.send(command::ENQUIRE_LINK, Body::default().finish());
        }
        self.sessions.len()
    }

    pub(super) fn enquiries_answered(&self) -> u64 {
        self.enquiries_answered
    }

    pub(super) fn enquiry_answered(&mut self) {
        self.enquiries_answered += 1;
    }

    /// A number for a new session; none if there are too many.
    pub(super) fn admit(&mut self) -> Option<u64> {
        (self.sessions.len() < SESSIONS).then(|| {
            self.last_session += 1;
            self.last_session
        })
    }

    /// A session is bound, its answer already sent: it gets the receipts that waited.
    pub(super) fn join(&mut self, id: u64, bound: Bound, out: mpsc::UnboundedSender<Out>) {
        let session = Session {
            bound,
            out,
            sequence: 0,
            unanswered: BTreeMap::new(),
        };
        self.sessions.insert(id, session);
        for report in std::mem::take(&mut self.waiting) {
            self.report(report, id);
        }
    }

    /// A session has ended: what it had not answered goes to another, or waits.
    pub(super) fn leave(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        for report in session.unanswered.into_values() {
            self.report(report, id);
        }
    }

    /// Sends a receipt, by the preferred session if that one takes any.
    pub(super) fn report(&mut self, report: Report, preferred: u64) {
        let takes = |session: &Session| session.bound != Bound::Transmitter;
        let id = match self.sessions.get(&preferred) {
            Some(session) if takes(session) => Some(preferred),
            _ => {
                let mut sessions = self.sessions.iter();
                sessions.find(|(_, one)| takes(one)).map(|(id, _)| *id)
            }
        };
        match id.and_then(|id| self.sessions.get_mut(&id)) {
            Some(session) => {
                let sequence = session.send(command::DELIVER_SM, report.body());
                session.unanswered.insert(sequence, report);
            }
            None => self.keep(report),
        }
    }

    fn keep(&mut self, report: Report) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(report);
    }

    /// A receipt is answered. One that the client can't take now waits for its next bind.
    pub(super) fn answered(&mut self, id: u64, sequence: u32, status: u32) -> Option<Report> {
        let report = self.sessions.get_mut(&id)?.unanswered.remove(&sequence)?;
        if status == Status::ESME_RX_T_APPN.0 {
            self.keep(report.clone());
        }
        Some(report)
    }

    /// Adds a part. Answers the whole message's data once every part is there.
    pub(super) fn assemble(&mut self, submit: &Submit, part: Part) -> Option<Vec<u8>> {
        let key = (
            submit.from.clone(),
            submit.to.clone(),
            part.reference,
            part.total,
        );
        let at = self.unfinished.iter().position(|(one, _)| *one == key);
        let (key, mut parts) = at
            .and_then(|at| self.unfinished.remove(at))
            .unwrap_or_else(|| (key, BTreeMap::new()));
        parts.insert(part.number, submit.data.clone());
        if parts.len() == usize::from(part.total) {
            return Some(parts.into_values().flatten().collect());
        }
        if self.unfinished.len() >= UNFINISHED {
            self.unfinished.pop_front();
        }
        self.unfinished.push_back((key, parts));
        None
    }
}

/// Septets or code units of data as it travels.
pub(super) fn units(alphabet: Alphabet, data: &[u8]) -> usize {
    match alphabet {
        Alphabet::Gsm7 => data.len(),
        Alphabet::Ucs2 => data.len() / 2,
    }
}
